//! Cells: what one measure of a group comes to.
//!
//! Invariant: numbers are finite, and a cell in which nothing was measured says so.

use bytes::{Buf, BufMut, BytesMut};

use super::SketchError;
use super::moments::{Moments, stay_finite};
use super::percentiles::Percentiles;
use crate::varint::{put_varint, take_varint, varint_len};

/// What is measured of an attribute. They are numbered as on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Measure {
    Count = 0,
    Sum = 1,
    Min = 2,
    Max = 3,
    Moments = 4,
    Percentiles = 5,
}

/// What it comes to.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Cell {
    Count(u32),
    Sum { count: u32, sum: f64 },
    Min(Option<f64>),
    Max(Option<f64>),
    Moments { count: u32, moments: Moments },
    Percentiles(Percentiles),
}

/// No number is NaN.
impl Eq for Cell {}

impl Measure {
    pub(super) fn of_code(code: u8) -> Result<Self, SketchError> {
        Ok(match code {
            0 => Self::Count,
            1 => Self::Sum,
            2 => Self::Min,
            3 => Self::Max,
            4 => Self::Moments,
            5 => Self::Percentiles,
            _ => return Err(SketchError::Unsound("a measure that is none")),
        })
    }

    /// How long a cell of it may be, where percentiles may be so long.
    pub(super) const fn len_max(self, percentiles_len_max: usize) -> usize {
        match self {
            Self::Count => COUNT_LEN_MAX,
            Self::Sum => COUNT_LEN_MAX + 8,
            Self::Min | Self::Max => 1 + 8,
            Self::Moments => COUNT_LEN_MAX + 2 * 8,
            Self::Percentiles => percentiles_len_max,
        }
    }

    /// A cell in which nothing was measured.
    pub(crate) fn empty(self) -> Cell {
        match self {
            Self::Count => Cell::Count(0),
            Self::Sum => Cell::Sum { count: 0, sum: 0.0 },
            Self::Min => Cell::Min(None),
            Self::Max => Cell::Max(None),
            Self::Moments => Cell::Moments { count: 0, moments: Moments::default() },
            Self::Percentiles => Cell::Percentiles(Percentiles::default()),
        }
    }

    /// A cell in which one thing was, which is this number if it is one. None but counts have
    /// anything else in them.
    pub(crate) fn one(self, number: Option<f64>) -> Cell {
        let Some(number) = number else {
            return if self == Self::Count { Cell::Count(1) } else { self.empty() };
        };
        match self {
            Self::Count => Cell::Count(1),
            Self::Sum => Cell::Sum { count: 1, sum: number },
            Self::Min => Cell::Min(Some(number)),
            Self::Max => Cell::Max(Some(number)),
            Self::Moments => {
                Cell::Moments { count: 1, moments: Moments { mean: number, squares: 0.0 } }
            }
            Self::Percentiles => Cell::Percentiles(Percentiles::of(number)),
        }
    }

    pub(super) fn take(
        self,
        bytes: &mut &[u8],
        percentiles_len_max: usize,
    ) -> Result<Cell, SketchError> {
        let if_any = |bytes: &mut &[u8]| match bytes.try_get_u8()? {
            0 => Ok(None),
            // Of two zeros one, whichever side has it.
            1 => take_number(bytes).map(|number| Some(number + 0.0)),
            _ => Err(SketchError::Unsound("a flag that is none")),
        };
        Ok(match self {
            Self::Count => Cell::Count(take_count(bytes)?),
            Self::Sum => {
                let count = take_count(bytes)?;
                let sum = if count > 0 { take_number(bytes)? } else { 0.0 };
                Cell::Sum { count, sum }
            }
            Self::Min => Cell::Min(if_any(bytes)?),
            Self::Max => Cell::Max(if_any(bytes)?),
            Self::Moments => {
                let (count, mut moments) = (take_count(bytes)?, Moments::default());
                if count > 0 {
                    moments = Moments { mean: take_number(bytes)?, squares: take_number(bytes)? };
                }
                if moments.squares < 0.0 {
                    return Err(SketchError::Unsound("a sum of squares below 0"));
                }
                Cell::Moments { count, moments }
            }
            Self::Percentiles => Cell::Percentiles(Percentiles::take(bytes, percentiles_len_max)?),
        })
    }
}

impl Cell {
    /// Both as one.
    ///
    /// # Panics
    /// If they are of different measures.
    pub(super) fn merged(&self, other: &Self, percentiles_len_max: usize) -> Self {
        let either = |one: &Option<f64>, other: &Option<f64>, choose: fn(f64, f64) -> f64| {
            one.iter().chain(other).copied().reduce(choose)
        };
        match (self, other) {
            (Self::Count(one), Self::Count(other)) => Self::Count(one.saturating_add(*other)),
            (Self::Sum { count, sum }, Self::Sum { count: others, sum: other }) => {
                Self::Sum { count: count.saturating_add(*others), sum: stay_finite(sum + other) }
            }
            (Self::Min(one), Self::Min(other)) => Self::Min(either(one, other, f64::min)),
            (Self::Max(one), Self::Max(other)) => Self::Max(either(one, other, f64::max)),
            (Self::Moments { count: 0, .. }, Self::Moments { .. }) => other.clone(),
            (Self::Moments { .. }, Self::Moments { count: 0, .. }) => self.clone(),
            (Self::Moments { count, moments }, Self::Moments { count: others, moments: other }) => {
                Self::Moments {
                    count: count.saturating_add(*others),
                    moments: moments.merged((*count).into(), *other, (*others).into()),
                }
            }
            (Self::Percentiles(one), Self::Percentiles(other)) => {
                Self::Percentiles(one.merged(other, percentiles_len_max))
            }
            _ => panic!("cells of one layout are of one measure"),
        }
    }

    pub(super) fn encoded_len(&self) -> usize {
        match self {
            Self::Count(count) => count_len(*count),
            Self::Sum { count, .. } => count_len(*count) + if *count > 0 { 8 } else { 0 },
            Self::Min(number) | Self::Max(number) => 1 + if number.is_some() { 8 } else { 0 },
            Self::Moments { count, .. } => count_len(*count) + if *count > 0 { 16 } else { 0 },
            Self::Percentiles(it) => it.encoded_len(),
        }
    }

    /// ```text
    ///  Count:       count v
    ///  Sum:         count v, and if there is any: sum f64
    ///  Min, Max:    u8, 1 if there is any, and then: number f64
    ///  Moments:     count v, and if there is any: mean f64, sum of squares f64
    ///  Percentiles: as they say
    /// ```
    pub(super) fn put(&self, out: &mut BytesMut) {
        match self {
            Self::Count(count) => put_varint(out, u64::from(*count)),
            Self::Sum { count, sum } => {
                put_varint(out, u64::from(*count));
                if *count > 0 {
                    out.put_f64(*sum);
                }
            }
            Self::Min(number) | Self::Max(number) => {
                out.put_u8(number.is_some().into());
                number.iter().for_each(|number| out.put_f64(*number));
            }
            Self::Moments { count, moments } => {
                put_varint(out, u64::from(*count));
                if *count > 0 {
                    out.put_f64(moments.mean);
                    out.put_f64(moments.squares);
                }
            }
            Self::Percentiles(it) => it.put(out),
        }
    }

    /// What it takes in memory beside itself.
    pub(super) fn size(&self) -> usize {
        // Each bucket takes a byte at least when written, and eight in memory.
        if let Self::Percentiles(it) = self { 8 * it.encoded_len() } else { 0 }
    }
}

pub(super) fn count_len(count: u32) -> usize {
    varint_len(count.into())
}

pub(super) fn take_count(bytes: &mut &[u8]) -> Result<u32, SketchError> {
    let count = u32::try_from(take_varint(bytes)?);
    count.map_err(|_| SketchError::Unsound("more than can be counted"))
}

pub(super) fn take_number(bytes: &mut &[u8]) -> Result<f64, SketchError> {
    let number = bytes.try_get_f64()?;
    let is_sound = number.is_finite();
    if is_sound { Ok(number) } else { Err(SketchError::Unsound("a number that is not finite")) }
}

/// The longest count when written.
pub(super) const COUNT_LEN_MAX: usize = 5;
