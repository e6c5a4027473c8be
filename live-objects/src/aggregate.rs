//! Aggregates: what a number a node, summed up over all nodes, is asked for and answered with.

use core::fmt;
use core::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

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
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Average => "Average",
            Self::Sum => "Sum",
            Self::Count => "Count",
            Self::Min => "Min",
            Self::Max => "Max",
        })
    }
}

/// What one member gives to an aggregate: a finite number.
#[derive(Clone, Copy, PartialEq, PartialOrd, Debug)]
pub struct Share(f64);

/// It is never NaN.
impl Eq for Share {}

impl Share {
    /// The number, if it is one that can be summed up.
    pub const fn new(number: f64) -> Result<Self, NotFinite> {
        if number.is_finite() { Ok(Self(number)) } else { Err(NotFinite(number)) }
    }

    /// The number.
    pub const fn number(self) -> f64 {
        self.0
    }
}

/// A number cannot be a share. Nothing changed.
#[derive(Clone, Copy, PartialEq, Debug, Error)]
#[error("{0} cannot be summed up with others' shares: set a finite number")]
pub struct NotFinite(f64);

/// What a node knows of an aggregate. Answers are local: asking sends nothing.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Estimate {
    /// The value. None where there is none, as of the mean of no shares.
    pub value: Option<f64>,
    /// How many members' shares are in it.
    pub members: u64,
    /// How old the oldest share in it is.
    pub age: Duration,
}
