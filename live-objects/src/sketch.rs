//! Sketches: summaries of many values in few bytes, that merge.
//!
//! A *mergeable summary* (Agarwal, Cormode, Huang, Phillips, Wei and Yi, PODS 2012) of two sets is
//! made of the summaries of both, and is then no worse than one that was made of all at once, and
//! no longer. That is what an aggregate needs that goes up a tree: [`Quantiles`] is DDSketch,
//! [`Distinct`] HyperLogLog, [`TopK`] Misra-Gries; [`Highest`] and [`Histogram`] are exact.
//! [`Groups`] is what a query comes to, of which each cell is one.
//!
//! A row of an aggregate has to fit into a packet. What would not is split into *parts*, each a
//! sketch of its own: of some of the buckets, registers or keys, and the same ones everywhere. Two
//! parts of the same kind merge to one of at most [`Sketch::LEN_MAX`] bytes, whatever is in them.
//!
//! Invariant: merging does not depend on which of the two comes first, to the last bit. So whoever
//! merges the same parts up the same tree comes to the same.

pub(crate) mod cell;
mod distinct;
pub(crate) mod groups;
mod highest;
mod histogram;
mod moments;
mod percentiles;
mod quantiles;
mod top;
mod weighted;

use bytes::BytesMut;
use thiserror::Error;

pub use self::distinct::Distinct;
pub use self::groups::Groups;
pub use self::highest::{High, Highest};
pub use self::histogram::{BoundsError, Histogram};
pub use self::moments::Moments;
pub use self::quantiles::Quantiles;
pub use self::top::{Heavy, LongKey, TopK};
pub use self::weighted::{WeightError, Weighted};
use crate::aggregate::Summary;
use crate::varint::VarintError;

/// A sketch of what some members gave.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Sketch {
    /// Of values: where how many lie.
    Quantiles(Quantiles),
    /// Of items: how many different ones there are.
    Distinct(Distinct),
    /// Of keys with weights: the heaviest.
    TopK(TopK),
    /// Of a value a member: the highest.
    Highest(Highest),
    /// Of values: how many lie in each of some ranges.
    Histogram(Histogram),
    /// Of rows: what a query asks for of each group of them.
    Groups(Groups),
}

impl Sketch {
    /// The longest part, in bytes: a packet has room for one beside all that it must carry.
    pub const LEN_MAX: usize = 900;

    /// Which summary it is of.
    pub const fn summary(&self) -> Summary {
        match self {
            Self::Quantiles(_) => Summary::Quantiles,
            Self::Distinct(_) => Summary::Distinct,
            Self::TopK(_) => Summary::TopK,
            Self::Highest(_) => Summary::Highest,
            Self::Histogram(_) => Summary::Histogram,
            Self::Groups(_) => Summary::Groups,
        }
    }

    /// The sketch of both, as a share may be: as large as those were.
    ///
    /// # Panics
    /// If the two are of different summaries.
    pub fn joined(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Quantiles(one), Self::Quantiles(other)) => Self::Quantiles(one.joined(other)),
            (Self::Distinct(one), Self::Distinct(other)) => Self::Distinct(one.merged(other)),
            (Self::TopK(one), Self::TopK(other)) => Self::TopK(one.joined(other)),
            (Self::Highest(one), Self::Highest(other)) => Self::Highest(one.merged(other)),
            (Self::Histogram(one), Self::Histogram(other)) => Self::Histogram(one.merged(other)),
            (Self::Groups(one), Self::Groups(other)) => Self::Groups(one.joined(other)),
            _ => panic!("{} is not merged with {}", self.summary(), other.summary()),
        }
    }

    /// The part of both, of at most [`Sketch::LEN_MAX`] bytes.
    ///
    /// # Panics
    /// If the two are of different summaries.
    pub fn merged(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Quantiles(one), Self::Quantiles(other)) => Self::Quantiles(one.merged(other)),
            (Self::TopK(one), Self::TopK(other)) => Self::TopK(one.merged(other)),
            (Self::Groups(one), Self::Groups(other)) => Self::Groups(one.merged(other)),
            _ => self.joined(other),
        }
    }

    /// Whether all that is in it belongs into the part of this number. What does not was written by
    /// nobody who keeps to the rules, and merged with what does it might be none that can be read.
    pub fn is_of_part(&self, part: u8) -> bool {
        match self {
            Self::Quantiles(it) => it.is_of_part(part),
            Self::TopK(it) => it.is_of_part(part),
            Self::Groups(it) => it.is_of_part(part),
            Self::Distinct(_) => part < Distinct::PARTS,
            Self::Highest(_) | Self::Histogram(_) => part == 0,
        }
    }

    /// Whether both can be in one: histograms can if their ranges are the same, groups if they are
    /// of the same query.
    pub fn mixes_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Histogram(one), Self::Histogram(other)) => one.bounds() == other.bounds(),
            (Self::Groups(one), Self::Groups(other)) => one.mixes_with(other),
            _ => self.summary() == other.summary(),
        }
    }

    /// Which of two that cannot be in one is kept.
    pub fn prevails_over(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Histogram(one), Self::Histogram(other)) => one.prevails_over(other),
            (Self::Groups(one), Self::Groups(other)) => one.prevails_over(other),
            _ => true,
        }
    }

    /// Its parts, [`Summary::parts`] of them.
    pub fn parts(&self) -> Vec<Self> {
        match self {
            Self::Quantiles(whole) => whole.parts().into_iter().map(Self::Quantiles).collect(),
            Self::Distinct(whole) => whole.parts().into_iter().map(Self::Distinct).collect(),
            Self::TopK(whole) => whole.parts().into_iter().map(Self::TopK).collect(),
            Self::Groups(whole) => whole.parts().into_iter().map(Self::Groups).collect(),
            Self::Highest(_) | Self::Histogram(_) => vec![self.clone()],
        }
    }

    /// The number that says most about it, if it has one: a median, how many, the total weight, the
    /// highest value.
    pub fn value(&self) -> Option<f64> {
        match self {
            Self::Quantiles(it) => it.quantile(0.5),
            Self::Distinct(it) => Some(it.estimate()),
            Self::TopK(it) => Some(it.total() as f64),
            Self::Highest(it) => it.entries().first().map(|high| high.value),
            Self::Histogram(it) => Some(it.count() as f64),
            Self::Groups(it) => Some(it.members() as f64),
        }
    }

    /// How much memory it takes, about, in bytes.
    pub(crate) fn size(&self) -> usize {
        let held = match self {
            Self::Quantiles(it) => it.size(),
            Self::Distinct(it) => it.size(),
            Self::TopK(it) => it.size(),
            Self::Highest(it) => size_of_val(it.entries()),
            Self::Histogram(it) => it.size(),
            Self::Groups(it) => it.size(),
        };
        size_of::<Self>() + held
    }

    /// How long a part is when written.
    pub fn encoded_len(&self) -> usize {
        match self {
            Self::Quantiles(it) => it.encoded_len(),
            Self::Distinct(it) => it.encoded_len(),
            Self::TopK(it) => it.encoded_len(),
            Self::Highest(it) => it.encoded_len(),
            Self::Histogram(it) => it.encoded_len(),
            Self::Groups(it) => it.encoded_len(),
        }
    }

    /// Writes a part.
    pub fn put(&self, out: &mut BytesMut) {
        match self {
            Self::Quantiles(it) => it.put(out),
            Self::Distinct(it) => it.put(out),
            Self::TopK(it) => it.put(out),
            Self::Highest(it) => it.put(out),
            Self::Histogram(it) => it.put(out),
            Self::Groups(it) => it.put(out),
        }
    }

    /// Reads a part of this summary, of all these bytes. None if it has no sketch.
    pub fn take(summary: Summary, mut bytes: &[u8]) -> Option<Result<Self, SketchError>> {
        let taken = match summary {
            _ if bytes.len() > Self::LEN_MAX => Err(SketchError::Long(bytes.len())),
            Summary::Quantiles => Quantiles::take(&mut bytes).map(Self::Quantiles),
            Summary::Distinct => Distinct::take(&mut bytes).map(Self::Distinct),
            Summary::TopK => TopK::take(&mut bytes).map(Self::TopK),
            Summary::Highest => Highest::take(&mut bytes).map(Self::Highest),
            Summary::Histogram => Histogram::take(&mut bytes).map(Self::Histogram),
            Summary::Groups => Groups::take(&mut bytes).map(Self::Groups),
            Summary::Average
            | Summary::Sum
            | Summary::Count
            | Summary::Min
            | Summary::Max
            | Summary::Variance
            | Summary::Rate
            | Summary::WeightedAverage => return None,
        };
        Some(match taken {
            Ok(_) if !bytes.is_empty() => Err(SketchError::Overlong),
            taken => taken,
        })
    }
}

/// Why a sketch cannot be read. Whoever wrote it is to blame; nothing changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum SketchError {
    /// It ends too early.
    #[error("a sketch ends too early")]
    Truncated,
    /// It does not end where it should.
    #[error("a sketch is longer than what it holds")]
    Overlong,
    /// It is too long.
    #[error("a sketch of {0} bytes, longer than any")]
    Long(usize),
    /// It holds what none can hold.
    #[error("a sketch holds {0}")]
    Unsound(&'static str),
}

impl From<VarintError> for SketchError {
    fn from(why: VarintError) -> Self {
        match why {
            VarintError::Truncated => Self::Truncated,
            VarintError::TooLarge => Self::Unsound("an integer longer than 64 bits"),
        }
    }
}

impl From<bytes::TryGetError> for SketchError {
    fn from(_: bytes::TryGetError) -> Self {
        Self::Truncated
    }
}

/// The hash of a key or an item, of 64 bits: the finaliser of SplitMix64 (Steele, Lea, Flood,
/// OOPSLA 2014), once for each eight bytes and once for the length. It resists nobody, and is
/// written down here since all nodes, of all builds, must hash alike.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let word = |chunk: &[u8]| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    };
    bytes.chunks(8).map(word).fold(mix(bytes.len() as u64), |hash, word| mix(hash ^ word))
}

fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
pub(crate) mod tests;
