//! Queries: what is asked of all who describe themselves in catalogs, as a value.
//!
//! A query is a live object whose type carries it. Whoever asks it opens that object, and a claim
//! tells all nodes, as of any object; each gives what its own attributes come to, for as long as
//! anybody asks. (Astrolabe's aggregation functions are certificates that gossip spreads: van
//! Renesse, Birman and Vogels, TOCS 2003, section 5. They expire; a claim goes with its holder.)
//! An object's name is made of the hash of the query, so that all who ask the same share one.
//!
//! A *row* is what a node says of itself in one catalog whose name fits the pattern, if the
//! predicate is true of it, in which `zone` is what the stars of the pattern stand for. Rows are
//! told apart by nothing but the group that they are in.
//!
//! Invariant: a query is within its bounds, whoever it comes from.

mod pattern;
mod tally;

use core::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

pub use self::pattern::{Pattern, PatternError};
pub use self::tally::{Group, Tally};
use crate::attributes::{AttributeError, Attributes, Scalar, check_name};
use crate::name::Name;
use crate::predicate::Predicate;
use crate::sketch::Sketch;
use crate::sketch::cell::{Cell, Measure};
use crate::sketch::groups::{Groups, Layout};

/// What is asked. Clones share it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "Parts", into = "Parts")]
pub struct Query(Arc<Parts>);

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Parts {
    from: Pattern,
    matching: Predicate,
    keys: Vec<GroupKey>,
    columns: Vec<Column>,
}

/// By what rows are grouped. Variants are numbered by position on the wire: new ones go last.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum GroupKey {
    /// By what the stars of the pattern stand for; by the whole name if it has none.
    Zone,
    /// By the value of an attribute. Those who do not have it are one group.
    Attribute(String),
}

/// What is asked of each group. Variants are numbered by position on the wire: new ones go last.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Column {
    /// How many rows are in it.
    Members,
    /// A function of an attribute's values. Texts are only counted.
    Of(Function, String),
}

/// What is made of values. Variants are numbered by position on the wire: new ones go last.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Function {
    /// How many there are.
    Count,
    /// Their sum.
    Sum,
    /// Their mean.
    Average,
    /// The least.
    Min,
    /// The greatest.
    Max,
    /// The mean square of how far they are from their mean.
    Variance,
    /// The root of that.
    Deviation,
    /// The value below which so many of a hundred lie, from 1 to 99.
    Percentile(u8),
}

impl Function {
    const fn measure(self) -> Measure {
        match self {
            Self::Count => Measure::Count,
            Self::Sum | Self::Average => Measure::Sum,
            Self::Min => Measure::Min,
            Self::Max => Measure::Max,
            Self::Variance | Self::Deviation => Measure::Moments,
            Self::Percentile(_) => Measure::Percentiles,
        }
    }

    /// What a cell of its measure says.
    fn value(self, cell: &Cell) -> Option<f64> {
        let over = |number: f64, count: &u32| (*count > 0).then(|| number / f64::from(*count));
        match (self, cell) {
            (_, Cell::Count(count)) => Some(f64::from(*count)),
            (Self::Average, Cell::Sum { count, sum }) => over(*sum, count),
            (_, Cell::Sum { count, sum }) => (*count > 0).then_some(*sum),
            (_, Cell::Min(number) | Cell::Max(number)) => *number,
            (Self::Deviation, Cell::Moments { count, moments }) => {
                over(moments.squares, count).map(f64::sqrt)
            }
            (_, Cell::Moments { count, moments }) => over(moments.squares, count),
            (Self::Percentile(of), Cell::Percentiles(it)) => it.quantile(f64::from(of) / 100.0),
            (_, Cell::Percentiles(_)) => None,
        }
    }
}

impl Query {
    /// The most columns.
    pub const COLUMNS_MAX: usize = 8;
    /// The most keys that rows are grouped by.
    pub const KEYS_MAX: usize = Groups::KEYS_MAX;
    /// The most bytes that it takes when written.
    pub const LEN_MAX: usize = 700;

    /// A query, if it is within its bounds.
    ///
    /// ```
    /// use live_objects::{Column, Function, GroupKey, Predicate, Query};
    ///
    /// // SELECT zone, avg(load) FROM '/dc/*' WHERE role = 'db' GROUP BY zone
    /// let load = Column::Of(Function::Average, "load".to_owned());
    /// let is_db = Predicate::equal("role", "db")?;
    /// let query = Query::new("/dc/*".parse()?, is_db, vec![GroupKey::Zone], vec![load])?;
    /// assert!(query.name().as_str().starts_with("/queries/"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(
        from: Pattern,
        matching: Predicate,
        keys: Vec<GroupKey>,
        columns: Vec<Column>,
    ) -> Result<Self, QueryError> {
        Parts { from, matching, keys, columns }.try_into()
    }

    /// Of which catalogs.
    pub fn pattern(&self) -> &Pattern {
        &self.0.from
    }

    /// What must be true of a row.
    pub fn matching(&self) -> &Predicate {
        &self.0.matching
    }

    /// By what rows are grouped.
    pub fn keys(&self) -> &[GroupKey] {
        &self.0.keys
    }

    /// What is asked of each group.
    pub fn columns(&self) -> &[Column] {
        &self.0.columns
    }

    /// What its object is called.
    pub fn name(&self) -> Name {
        let hash: [u8; 32] = Sha256::digest(self.to_bytes()).into();
        let hex: String = hash[..NAME_BYTES].iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{}{hex}", Self::PREFIX).parse().expect("digits are a segment")
    }

    /// By which name a predicate asks of what the stars of the pattern stand for, and of no
    /// attribute.
    pub const ZONE: &str = "zone";

    /// What the names of all queries begin with.
    pub const PREFIX: &str = "/queries/";

    /// What a node gives that says this of itself; none if no row of it is asked for.
    pub fn share<'a>(
        &self,
        own: impl Iterator<Item = (&'a Name, &'a Attributes)>,
    ) -> Option<Sketch> {
        let Parts { from, matching, keys, .. } = &*self.0;
        let measures = self.measures();
        let mut groups = Groups::new(self.layout());
        for (name, attributes) in own {
            let Some(zone) = from.zone(name).map(Scalar::Text) else { continue };
            let value = |of: &str| if of == Self::ZONE { Some(&zone) } else { attributes.get(of) };
            if !matching.holds(value) {
                continue;
            }
            let key = |key: &GroupKey| match key {
                GroupKey::Zone => Some(zone.clone()),
                GroupKey::Attribute(name) => attributes.get(name).cloned(),
            };
            let cell = |(measure, name): &(Measure, &str)| match attributes.get(name) {
                Some(value) => measure.one(value.number()),
                None => measure.empty(),
            };
            let keys: Vec<Option<Scalar>> = keys.iter().map(key).collect();
            groups.add(&keys, measures.iter().map(cell).collect());
        }
        (!groups.is_empty()).then_some(Sketch::Groups(groups))
    }

    /// Whether a sketch can be of this query.
    pub fn fits(&self, sketch: &Sketch) -> bool {
        matches!(sketch, Sketch::Groups(groups) if *groups.layout() == self.layout())
    }

    /// What the parts of it come to, as far as they are of this query.
    pub fn tally(&self, parts: &[Arc<Sketch>]) -> Tally {
        let parts = parts.iter().filter(|part| self.fits(part));
        let parts: Vec<&Groups> = parts
            .filter_map(
                |part| if let Sketch::Groups(groups) = &**part { Some(groups) } else { None },
            )
            .collect();
        Tally::new(self, &parts)
    }

    /// What is measured, each thing once.
    fn measures(&self) -> Vec<(Measure, &str)> {
        let mut measures = Vec::new();
        for column in &self.0.columns {
            if let Column::Of(function, name) = column {
                let measure = (function.measure(), name.as_str());
                if !measures.contains(&measure) {
                    measures.push(measure);
                }
            }
        }
        measures
    }

    fn layout(&self) -> Layout {
        let measures = self.measures().into_iter().map(|(measure, _)| measure).collect();
        Layout { keys: self.0.keys.len() as u8, measures }
    }

    fn to_bytes(&self) -> Vec<u8> {
        self.0.to_bytes()
    }
}

/// Equal ones are written alike.
impl Hash for Query {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.to_bytes().hash(state);
    }
}

impl Parts {
    fn to_bytes(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("memory takes every query")
    }
}

impl TryFrom<Parts> for Query {
    type Error = QueryError;

    fn try_from(parts: Parts) -> Result<Self, QueryError> {
        let Parts { keys, columns, .. } = &parts;
        if columns.is_empty() {
            return Err(QueryError::NoColumns);
        }
        if columns.len() > Self::COLUMNS_MAX {
            return Err(QueryError::TooManyColumns(columns.len()));
        }
        if keys.len() > Self::KEYS_MAX {
            return Err(QueryError::TooManyKeys(keys.len()));
        }
        for key in keys {
            if let GroupKey::Attribute(name) = key {
                check_name(name)?;
            }
        }
        for column in columns {
            if let Column::Of(function, name) = column {
                check_name(name)?;
                if let Function::Percentile(of) = function
                    && !(1..=99).contains(of)
                {
                    return Err(QueryError::Percentile(*of));
                }
            }
        }
        let len = parts.to_bytes().len();
        if len > Self::LEN_MAX { Err(QueryError::TooLong(len)) } else { Ok(Self(Arc::new(parts))) }
    }
}

impl From<Query> for Parts {
    fn from(query: Query) -> Self {
        Arc::unwrap_or_clone(query.0)
    }
}

/// Why something is no query.
#[derive(Clone, PartialEq, Debug, Error)]
pub enum QueryError {
    /// It asks for nothing.
    #[error("the query asks for nothing: name a column at least, such as count(*)")]
    NoColumns,
    /// It asks for too much.
    #[error("these are {0} columns, and there may be {max}", max = Query::COLUMNS_MAX)]
    TooManyColumns(usize),
    /// It groups by too much.
    #[error("rows are grouped by {0} keys, and may be by {max}", max = Query::KEYS_MAX)]
    TooManyKeys(usize),
    /// There is no such percentile.
    #[error("there is no percentile {0}: ask for one from 1 to 99, or for min or max")]
    Percentile(u8),
    /// A name in it can be no attribute's.
    #[error(transparent)]
    Attribute(#[from] AttributeError),
    /// It is too long.
    #[error(
        "the query takes {0} bytes, and may take {max}: shorten its WHERE, or ask in two",
        max = Query::LEN_MAX
    )]
    TooLong(usize),
}

/// How much of the hash is in the name.
const NAME_BYTES: usize = 16;

#[cfg(test)]
mod tests;
