//! Aggregates: what a share a node, summed up over all nodes, is asked for and answered with.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::sketch::{
    Distinct, Groups, Heavy, High, Histogram, Quantiles, Sketch, TopK, WeightError, Weighted,
};

/// What an aggregate tells of the shares of all members. Variants are numbered by position on the
/// wire: new ones go last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Summary {
    /// Their mean.
    Average,
    /// Their sum.
    Sum,
    /// How many there are.
    Count,
    /// The least of them.
    Min,
    /// The greatest of them.
    Max,
    /// The mean square of how far they are from their mean.
    Variance,
    /// Where the values in them lie: a [`Quantiles`].
    Quantiles,
    /// How many different items there are in them: a [`Distinct`].
    Distinct,
    /// Which keys are heaviest over all of them: a [`TopK`].
    TopK,
    /// Which members have the greatest: a [`Highest`](crate::sketch::Highest).
    Highest,
    /// How many values lie in each of some ranges: a [`Histogram`].
    Histogram,
    /// How often something happens, at all members together, in a second.
    Rate,
    /// What a [`Query`](crate::Query) asks for, by group: [`Groups`]. It is of queries alone, and
    /// of no aggregate that an application opens.
    Groups,
    /// Their mean, to which each counts for its weight: a [`Weighted`].
    WeightedAverage,
}

impl Summary {
    /// Whether shares are summed up by sketches, and not by numbers.
    pub const fn has_sketches(self) -> bool {
        match self {
            Self::Quantiles
            | Self::Distinct
            | Self::TopK
            | Self::Highest
            | Self::Histogram
            | Self::Groups => true,
            Self::Average
            | Self::Sum
            | Self::Count
            | Self::Min
            | Self::Max
            | Self::Variance
            | Self::Rate
            | Self::WeightedAverage => false,
        }
    }

    /// Into how many parts a share is split, each of which fits into a packet.
    pub const fn parts(self) -> u8 {
        match self {
            Self::Quantiles => Quantiles::PARTS,
            Self::Distinct => Distinct::PARTS,
            Self::TopK => TopK::PARTS,
            Self::Groups => Groups::PARTS,
            Self::Average
            | Self::Sum
            | Self::Count
            | Self::Min
            | Self::Max
            | Self::Variance
            | Self::Highest
            | Self::Histogram
            | Self::Rate
            | Self::WeightedAverage => 1,
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Average => "Average",
            Self::Sum => "Sum",
            Self::Count => "Count",
            Self::Min => "Min",
            Self::Max => "Max",
            Self::Variance => "Variance",
            Self::Quantiles => "Quantiles",
            Self::Distinct => "Distinct",
            Self::TopK => "TopK",
            Self::Highest => "Highest",
            Self::Histogram => "Histogram",
            Self::Rate => "Rate",
            Self::Groups => "Groups",
            Self::WeightedAverage => "WeightedAverage",
        })
    }
}

/// What one member gives to an aggregate: a finite number, one with a weight, or a sketch of many
/// values.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Share(Given);

#[derive(Clone, PartialEq, Debug)]
enum Given {
    Number(f64),
    Weighted(Weighted),
    Sketch(Arc<Sketch>),
}

/// A number is never NaN.
impl Eq for Given {}

impl Share {
    /// The number, if it is one that can be summed up.
    pub fn new(number: f64) -> Result<Self, NotFinite> {
        finite(number).map(|number| Self(Given::Number(number)))
    }

    /// A value that counts for so much in a [`Summary::WeightedAverage`].
    pub fn weighted(value: f64, weight: f64) -> Result<Self, WeightError> {
        Weighted::new(value, weight).map(|weighted| Self(Given::Weighted(weighted)))
    }

    /// The number, if it is one.
    pub fn number(&self) -> Option<f64> {
        if let Given::Number(number) = self.0 { Some(number) } else { None }
    }

    /// What has weights, if it is that.
    pub fn as_weighted(&self) -> Option<Weighted> {
        if let Given::Weighted(weighted) = self.0 { Some(weighted) } else { None }
    }

    /// The sketch, if it is one.
    pub fn sketch(&self) -> Option<&Sketch> {
        if let Given::Sketch(sketch) = &self.0 { Some(sketch) } else { None }
    }

    /// Of two shares in one aggregate, what they are together: numbers are added up, sketches
    /// joined, and so is what has weights. None if they are not of one kind, or one summary.
    pub fn joined(&self, other: &Self) -> Option<Self> {
        Some(match (&self.0, &other.0) {
            (Given::Number(one), Given::Number(other)) => {
                Self(Given::Number((one + other).clamp(f64::MIN, f64::MAX)))
            }
            (Given::Weighted(one), Given::Weighted(other)) => {
                Self(Given::Weighted(one.joined(*other)))
            }
            (Given::Sketch(one), Given::Sketch(other)) if one.summary() == other.summary() => {
                one.joined(other).into()
            }
            _ => return None,
        })
    }

    /// A part of it, if it is a number: so many times as much.
    #[must_use]
    pub fn scaled(&self, by: f64) -> Option<Self> {
        self.number().and_then(|number| Self::new(number * by).ok())
    }

    /// What it counts for in a byte budget, beside what every command does.
    pub(crate) fn size(&self) -> usize {
        self.sketch().map_or(0, Sketch::size)
    }
}

impl From<Sketch> for Share {
    fn from(sketch: Sketch) -> Self {
        Self(Given::Sketch(Arc::new(sketch)))
    }
}

/// The number, if it is one that can be summed up.
pub(crate) fn finite(number: f64) -> Result<f64, NotFinite> {
    if number.is_finite() { Ok(number) } else { Err(NotFinite(number)) }
}

/// A number cannot be a share, nor be in one. Nothing changed.
#[derive(Clone, Copy, PartialEq, Debug, Error)]
#[error("{0} cannot be summed up with others' shares: set a finite number")]
pub struct NotFinite(f64);

/// What a node knows of an aggregate. Answers are local: asking sends nothing.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Estimate {
    /// The value. None where there is none, as of the mean of no shares. Of sketches it is the
    /// number that says most: the median, how many different items, the weight of all keys, the
    /// highest value, how many values.
    pub value: Option<f64>,
    /// How many members' shares are in it.
    pub members: u64,
    /// How old the oldest share in it is.
    pub age: Duration,
    /// By how much the value may be off, beside what is not known yet: 0 where it is exact. Of the
    /// median that is a bound; of how many items there are the standard error, which two counts of
    /// three keep to, and of a thousand all but three keep to three times that.
    pub spread: f64,
    sketches: Vec<Arc<Sketch>>,
}

impl Estimate {
    /// Of a number.
    pub fn of_number(value: Option<f64>, members: u64, age: Duration) -> Self {
        Self { value, members, age, ..Self::default() }
    }

    /// Of sketches: all parts of one, in their order, those left out that are not known.
    pub fn of_sketches(sketches: Vec<Arc<Sketch>>, members: u64, age: Duration) -> Self {
        let known = Self { members, age, sketches, ..Self::default() };
        let (value, error) = match known.sketches.first().map(|first| first.summary()) {
            Some(Summary::Quantiles) => (known.quantile(0.5), Quantiles::ERROR),
            Some(Summary::Distinct) => (Some(known.distinct().estimate()), Distinct::ERROR),
            Some(_) => {
                let values = known.sketches.iter().filter_map(|sketch| sketch.value());
                (values.reduce(|sum, value| sum + value), 0.0)
            }
            None => (None, 0.0),
        };
        Self { value, spread: error * value.unwrap_or(0.0).abs(), ..known }
    }

    /// Of a variance: its root, in the unit of the shares.
    pub fn deviation(&self) -> Option<f64> {
        self.value.map(f64::sqrt)
    }

    /// Of quantiles: the value below which this part of all values lies, from 0 to 1, to
    /// [`Quantiles::ERROR`]. None if there are none.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        self.quantiles().quantile(q)
    }

    /// Of quantiles: how many values lie where.
    pub fn quantiles(&self) -> Quantiles {
        Quantiles::whole(self.sketches.iter().filter_map(|sketch| match &**sketch {
            Sketch::Quantiles(part) => Some(part),
            _ => None,
        }))
    }

    /// Of the heaviest keys: those that are known to be heavy, the heaviest first.
    pub fn top(&self) -> Vec<Heavy> {
        let part = |sketch: &Arc<Sketch>| match &**sketch {
            Sketch::TopK(part) => part.heaviest(),
            _ => Vec::new(),
        };
        let mut all: Vec<Heavy> = self.sketches.iter().flat_map(part).collect();
        all.sort_by(|one, other| {
            other.weight.cmp(&one.weight).then_with(|| one.key.cmp(&other.key))
        });
        all
    }

    /// Of the highest shares: whose they are, the highest first.
    pub fn highest(&self) -> &[High] {
        match self.sketches.first().map(|sketch| &**sketch) {
            Some(Sketch::Highest(highest)) => highest.entries(),
            _ => &[],
        }
    }

    /// Of a histogram: its ranges, and how many values lie in each.
    pub fn histogram(&self) -> Option<&Histogram> {
        match self.sketches.first().map(|sketch| &**sketch) {
            Some(Sketch::Histogram(histogram)) => Some(histogram),
            _ => None,
        }
    }

    fn distinct(&self) -> Distinct {
        Distinct::whole(self.sketches.iter().filter_map(|sketch| match &**sketch {
            Sketch::Distinct(part) => Some(part),
            _ => None,
        }))
    }

    /// What it counts for in a byte budget, beside what every event does.
    pub(crate) fn size(&self) -> usize {
        self.sketches.iter().map(|sketch| sketch.size()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::NodeId;
    use crate::sketch::Highest;

    fn told(sketch: Sketch) -> Estimate {
        let parts = sketch.parts().into_iter().map(Arc::new).collect();
        Estimate::of_sketches(parts, 1, Duration::ZERO)
    }

    #[test]
    fn each_sketch_says_what_it_is_asked() {
        let mut quantiles = Quantiles::new();
        (1..=100).for_each(|value| quantiles.record(value.into()).unwrap());
        let of = told(Sketch::Quantiles(quantiles));
        let [median, high] = [0.5, 0.99].map(|q| of.quantile(q).unwrap());
        assert!((median - 50.0).abs() <= 0.51 && (high - 99.0).abs() <= 1.0, "{median} {high}");
        assert_eq!((of.value, of.spread), (Some(median), 0.01 * median));

        let mut distinct = Distinct::new();
        (0..1_000_u32).for_each(|item| distinct.insert(&item.to_be_bytes()));
        let of = told(Sketch::Distinct(distinct.clone()));
        assert_eq!(of.value, Some(distinct.estimate()));
        assert!((17.5..20.0).contains(&of.spread));

        let mut top = TopK::new();
        (1..=20_u8).for_each(|key| top.add(&[key % 7], key.into()).unwrap());
        let of = told(Sketch::TopK(top));
        let weights: Vec<u64> = of.top().iter().map(|heavy| heavy.weight).collect();
        assert_eq!((weights, of.value), (vec![39, 36, 33, 30, 27, 24, 21], Some(210.0)));

        let highest = Highest::of(NodeId::from_bytes([7; 16]), 5.0).unwrap();
        let of = told(Sketch::Highest(highest.clone()));
        assert_eq!((of.highest(), of.value), (highest.entries(), Some(5.0)));

        let histogram = Histogram::new(&[1.0]).unwrap();
        let of = told(Sketch::Histogram(histogram.clone()));
        assert_eq!((of.histogram(), of.value), (Some(&histogram), Some(0.0)));

        let none = Estimate::of_sketches(Vec::new(), 0, Duration::ZERO);
        assert_eq!(none, Estimate::default());
        assert_eq!((none.quantile(0.5), none.top(), none.histogram()), (None, Vec::new(), None));
        let variance = Estimate::of_number(Some(9.0), 1, Duration::ZERO);
        assert_eq!(variance.deviation(), Some(3.0));
    }

    #[test]
    fn what_is_large_counts_for_it() {
        assert_eq!(Share::new(1.0).unwrap().size(), 0);
        let share = Share::from(Sketch::Distinct(Distinct::new()));
        assert!(share.size() > Distinct::REGISTERS);
        assert!(told(Sketch::Distinct(Distinct::new())).size() > Distinct::REGISTERS);
        assert!(Share::new(f64::NAN).is_err());
    }
}
