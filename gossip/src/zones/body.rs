//! Bodies: what the shares in a zone come to, a number or two, a sketch or a filter.
//!
//! Numbers lie in the row itself. Sketches and filters are shared by the rows that they are in,
//! since most rows are heard again and again with the same. Two bodies merge alike from either
//! side, to the last bit, so that both halves of a zone come to the same.
//!
//! Invariant: numbers are finite.

use std::sync::Arc;

use live_objects::sketch::{Highest, Moments, Quantiles, Sketch, Weighted};
use live_objects::{NodeId, Share, Summary};

use super::filter::Filter;

/// What the shares in a zone come to, if there are any.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Body {
    /// Their sum, least or greatest.
    Number(f64),
    Moments(Moments),
    Weighted(Weighted),
    Sketch(Arc<Sketch>),
    /// Which terms are there.
    Filter(Arc<Filter>),
}

/// No number is NaN.
impl Eq for Body {}

impl Default for Body {
    fn default() -> Self {
        Self::Number(0.0)
    }
}

impl Body {
    /// A member's share, in the parts that the summary has. None if the summary is not of such.
    pub(crate) fn of(share: &Share, summary: Summary, me: NodeId) -> Option<Vec<Self>> {
        let finite = "a share's number is finite";
        if summary == Summary::WeightedAverage || share.as_weighted().is_some() {
            let one = || share.number().map(|number| Weighted { sum: number, weight: 1.0 });
            let weighted = share.as_weighted().or_else(one)?;
            let is_of_it = summary == Summary::WeightedAverage;
            return is_of_it.then(|| vec![Self::Weighted(weighted)]);
        }
        let sketch = match (summary, share.number()) {
            (Summary::Count, Some(_)) => return Some(vec![Self::default()]),
            (Summary::Variance, Some(mean)) => {
                return Some(vec![Self::Moments(Moments { mean, squares: 0.0 })]);
            }
            (Summary::Quantiles, Some(number)) => {
                let mut one = Quantiles::new();
                one.record(number).expect(finite);
                &Sketch::Quantiles(one)
            }
            (Summary::Highest, Some(number)) => {
                &Sketch::Highest(Highest::of(me, number).expect(finite))
            }
            // Nobody speaks for others.
            (Summary::Highest, None) => return None,
            (Summary::Distinct | Summary::TopK | Summary::Histogram | Summary::Groups, Some(_)) => {
                return None;
            }
            (_, Some(number)) => return Some(vec![Self::Number(number)]),
            (_, None) => share.sketch().filter(|sketch| sketch.summary() == summary)?,
        };
        let parts: Vec<Self> =
            sketch.parts().into_iter().map(|part| Self::Sketch(Arc::new(part))).collect();
        (parts.len() == usize::from(summary.parts())).then_some(parts)
    }

    /// The two as one, each with how many shares are in it. They are of the same summary.
    pub(crate) fn merged(one: (&Self, u32), other: (&Self, u32), summary: Summary) -> Self {
        match (one.0, other.0) {
            (Self::Number(a), Self::Number(b)) => Self::Number(fold(summary, *a, *b)),
            (Self::Moments(a), Self::Moments(b)) => {
                Self::Moments(a.merged(one.1.into(), *b, other.1.into()))
            }
            (Self::Weighted(a), Self::Weighted(b)) => Self::Weighted(a.joined(*b)),
            (Self::Sketch(a), Self::Sketch(b)) => Self::Sketch(Arc::new(a.merged(b))),
            (Self::Filter(a), Self::Filter(b)) => Self::Filter(Arc::new(a.merged(b))),
            _ => panic!("bodies of one summary are of one kind"),
        }
    }

    /// Whether the two can be in one.
    pub(crate) fn mixes_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Sketch(one), Self::Sketch(other)) => one.mixes_with(other),
            _ => true,
        }
    }

    /// Which of two that cannot is kept.
    pub(crate) fn prevails_over(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Sketch(one), Self::Sketch(other)) => one.prevails_over(other),
            _ => true,
        }
    }

    /// Whether nothing was given: of a query, where a node has no row in this part.
    pub(crate) fn is_empty(&self) -> bool {
        let Self::Sketch(sketch) = self else { return false };
        matches!(&**sketch, Sketch::Groups(groups) if groups.is_empty())
    }

    /// The number that says most about it, of so many shares.
    pub(crate) fn value(&self, summary: Summary, count: u32) -> Option<f64> {
        let is_any = count > 0;
        match (self, summary) {
            (Self::Number(sum), Summary::Average) => is_any.then(|| sum / f64::from(count)),
            (_, Summary::Count) => Some(f64::from(count)),
            (Self::Number(number), Summary::Min | Summary::Max) => is_any.then_some(*number),
            (Self::Number(number), Summary::Sum | Summary::Rate) => Some(*number),
            (Self::Moments(moments), _) => is_any.then(|| moments.squares / f64::from(count)),
            (Self::Weighted(weighted), _) => weighted.mean(),
            (Self::Sketch(sketch), _) => sketch.value(),
            // As it is where there are no shares.
            (Self::Number(_) | Self::Filter(_), _) => None,
        }
    }

    /// Whether it says something that is so far from what another says that it is news.
    pub(crate) fn has_moved(&self, other: &Self) -> bool {
        let is_far = |one: f64, other: f64, scale: f64| (one - other).abs() > scale / NEWS_SHARE;
        let is_news = |one: f64, other: f64| is_far(one, other, one.abs().max(other.abs()));
        match (self, other) {
            (Self::Number(one), Self::Number(other)) => is_news(*one, *other),
            (Self::Moments(one), Self::Moments(other)) => {
                is_news(one.mean, other.mean) || is_news(one.squares, other.squares)
            }
            (Self::Weighted(one), Self::Weighted(other)) => {
                is_news(one.sum, other.sum) || is_news(one.weight, other.weight)
            }
            (Self::Sketch(one), Self::Sketch(other)) => {
                let value = |of: &Sketch| of.value().unwrap_or(0.0);
                is_news(value(one), value(other))
            }
            (Self::Filter(one), Self::Filter(other)) => one != other,
            _ => true,
        }
    }
}

fn fold(summary: Summary, one: f64, other: f64) -> f64 {
    match summary {
        Summary::Min => one.min(other),
        Summary::Max => one.max(other),
        Summary::Count => 0.0,
        _ => stay_finite(one + other),
    }
}

/// A sum of finite numbers may be infinite, and is never NaN.
fn stay_finite(sum: f64) -> f64 {
    sum.clamp(f64::MIN, f64::MAX)
}

/// A change is news if it is more than one part in so many.
const NEWS_SHARE: f64 = 1_000.0;

#[cfg(test)]
mod tests {
    use super::*;
    use live_objects::sketch::{Distinct, Histogram, TopK};
    use proptest::prelude::*;

    fn variance(values: &[f64]) -> (Body, u32) {
        let one = |value: &f64| (Body::Moments(Moments { mean: *value, squares: 0.0 }), 1);
        let merged = |one: (Body, u32), other: (Body, u32)| {
            let both = Body::merged((&one.0, one.1), (&other.0, other.1), Summary::Variance);
            (both, one.1 + other.1)
        };
        values.iter().map(one).reduce(merged).expect("there are values")
    }

    proptest! {
        /// However large the mean is.
        #[test]
        fn a_variance_is_as_two_passes_find_it(
            values in prop::collection::vec(-10.0..10.0_f64, 1..40),
            base in prop_oneof![Just(0.0), Just(1e9), Just(-1e6)],
        ) {
            let values: Vec<f64> = values.into_iter().map(|value| value + base).collect();
            let len = values.len() as f64;
            let mean = values.iter().sum::<f64>() / len;
            let truth = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / len;
            let (body, count) = variance(&values);
            let told = body.value(Summary::Variance, count).unwrap();
            prop_assert!((told - truth).abs() <= 1e-5 * (truth + 1e-6), "{told} for {truth}");
        }

        #[test]
        fn moments_merge_alike_from_both_sides(
            one in prop::num::f64::NORMAL, other in prop::num::f64::NORMAL,
            squares: [u32; 2], counts in [1..u32::MAX, 1..u32::MAX],
        ) {
            let [a, b] = [(one, 0), (other, 1)].map(|(mean, at)| {
                Body::Moments(Moments { mean, squares: squares[at].into() })
            });
            let (a, b) = ((&a, counts[0]), (&b, counts[1]));
            let merged = Body::merged(a, b, Summary::Variance);
            prop_assert_eq!(&merged, &Body::merged(b, a, Summary::Variance));
            let Body::Moments(Moments { mean, squares }) = merged else { unreachable!("they are") };
            prop_assert!(mean.is_finite() && squares.is_finite() && squares >= 0.0);
        }
    }

    #[test]
    fn each_summary_takes_its_own_shares() {
        let me = NodeId::from_bytes([7; 16]);
        let number = Share::new(2.0).unwrap();
        let histogram = Histogram::new(&[1.0]).unwrap();
        let sketches = [
            Sketch::Quantiles(Quantiles::new()),
            Sketch::Distinct(Distinct::new()),
            Sketch::TopK(TopK::new()),
            Sketch::Histogram(histogram),
            Sketch::Highest(Highest::of(me, 1.0).unwrap()),
        ];
        let numbers = [
            Summary::Average,
            Summary::Sum,
            Summary::Count,
            Summary::Min,
            Summary::Max,
            Summary::Variance,
            Summary::Quantiles,
            Summary::Highest,
            Summary::Rate,
            Summary::WeightedAverage,
        ];
        for summary in numbers {
            let parts = Body::of(&number, summary, me).expect("a number will do");
            assert_eq!(parts.len(), usize::from(summary.parts()));
        }
        for sketch in sketches {
            let of = sketch.summary();
            let share = Share::from(sketch);
            for summary in numbers.into_iter().chain([Summary::Distinct, Summary::TopK]) {
                let fits = summary == of && of != Summary::Highest;
                assert_eq!(Body::of(&share, summary, me).is_some(), fits, "{of} for {summary}");
            }
        }
        assert_eq!(Body::of(&number, Summary::Distinct, me), None);
        let weighted = Share::weighted(2.0, 3.0).unwrap();
        for summary in numbers {
            let fits = summary == Summary::WeightedAverage;
            assert_eq!(Body::of(&weighted, summary, me).is_some(), fits, "{summary}");
        }
        let part = Sketch::Distinct(Distinct::new()).parts().remove(0);
        assert_eq!(Body::of(&part.into(), Summary::Distinct, me), None, "no part is a whole");
    }
}
