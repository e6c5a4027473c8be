//! Which members have the highest values: exact, since the ten highest of all are among the ten
//! highest of any zone that they are in.
//!
//! Invariant: values are finite and descend; of equal ones the lower node comes first; no more than
//! [`Highest::MEMBERS_MAX`].

use bytes::{Buf, BufMut, BytesMut};

use super::SketchError;
use crate::aggregate::{NotFinite, finite};
use crate::node::NodeId;

/// A member's value.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct High {
    /// What it set.
    pub value: f64,
    /// Who.
    pub node: NodeId,
}

/// It is never NaN.
impl Eq for High {}

/// The members whose values are highest.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Highest {
    entries: Vec<High>,
}

impl Highest {
    /// How many members are kept.
    pub const MEMBERS_MAX: usize = 10;

    /// Of one member.
    pub fn of(node: NodeId, value: f64) -> Result<Self, NotFinite> {
        // There is one 0, so that equal values are equal bytes.
        Ok(Self { entries: vec![High { value: finite(value)? + 0.0, node }] })
    }

    /// Who they are, the highest first.
    pub fn entries(&self) -> &[High] {
        &self.entries
    }

    pub(super) fn merged(&self, other: &Self) -> Self {
        let mut entries = [&self.entries[..], &other.entries].concat();
        entries.sort_by(|one, other| {
            other.value.total_cmp(&one.value).then_with(|| one.node.cmp(&other.node))
        });
        entries.dedup();
        entries.truncate(Self::MEMBERS_MAX);
        Self { entries }
    }

    pub(super) fn encoded_len(&self) -> usize {
        self.entries.len() * (8 + NodeId::LEN)
    }

    /// ```text
    ///  value f64, node [16], and so on
    /// ```
    pub(super) fn put(&self, out: &mut BytesMut) {
        for High { value, node } in &self.entries {
            out.put_f64(*value);
            out.put_slice(node.as_bytes());
        }
    }

    pub(super) fn take(bytes: &mut &[u8]) -> Result<Self, SketchError> {
        let mut sum = Self::default();
        while !bytes.is_empty() {
            let value = bytes.try_get_f64()?;
            let node = bytes.split_off(..NodeId::LEN).ok_or(SketchError::Truncated)?;
            let node = NodeId::from_bytes(node.try_into().expect("it is as long as that"));
            let one = Self::of(node, value);
            let one = one.map_err(|_| SketchError::Unsound("a number that is not finite"))?;
            let before = sum.entries.len();
            sum = sum.merged(&one);
            if sum.entries.len() == before || sum.entries.last() != one.entries.last() {
                return Err(SketchError::Unsound("members out of order, or too many"));
            }
        }
        Ok(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Sketch;
    use super::super::tests::{bytes, part_laws};
    use super::*;
    use proptest::prelude::*;

    fn node(number: u8) -> NodeId {
        NodeId::from_bytes([number; 16])
    }

    fn all(values: &[f64], from: u8) -> Highest {
        let values = values.iter().zip(from..);
        values.fold(Highest::default(), |sum, (value, number)| {
            sum.merged(&Highest::of(node(number), *value).unwrap())
        })
    }

    proptest! {
        #[test]
        fn the_highest_of_parts_are_the_highest_of_all(
            values in prop::collection::vec(prop_oneof![-9.0..9.0, Just(0.0), Just(-0.0)], 3..60),
            cuts: [prop::sample::Index; 2],
        ) {
            let mut cuts = cuts.map(|cut| cut.index(values.len()));
            cuts.sort();
            let of = |from: usize, to: usize| all(&values[from..to], from as u8);
            let parts = [of(0, cuts[0]), of(cuts[0], cuts[1]), of(cuts[1], values.len())];
            let [one, two, three] = parts.map(Sketch::Highest);
            part_laws(&[one.clone(), two.clone(), three.clone()])?;
            let whole = one.merged(&two).merged(&three);
            prop_assert_eq!(&whole, &one.merged(&two.merged(&three)));
            prop_assert_eq!(&whole, &Sketch::Highest(all(&values, 0)));
            let mut truth = values;
            truth.sort_by(|one, other| (other + 0.0).total_cmp(&(one + 0.0)));
            truth.truncate(Highest::MEMBERS_MAX);
            let Sketch::Highest(whole) = whole else { unreachable!("what it was made of") };
            let told: Vec<f64> = whole.entries().iter().map(|high| high.value).collect();
            prop_assert_eq!(told, truth);
        }
    }

    #[test]
    fn golden_bytes() {
        let both = all(&[-0.0, 1.5], 7);
        let nodes = ["08".repeat(16), "07".repeat(16)];
        let golden = format!("3ff8000000000000{}0000000000000000{}", nodes[0], nodes[1]);
        assert_eq!(bytes(&Sketch::Highest(both)), golden);
    }

    #[test]
    fn damage_is_refused() {
        let mut out = BytesMut::new();
        all(&[1.0; 10], 1).put(&mut out);
        let take = |bytes: &[u8]| Highest::take(&mut &bytes[..]);
        assert!(take(&out).is_ok());
        assert_eq!(take(&out[..30]), Err(SketchError::Truncated));
        assert!(take(&[&out[24..], &out[..24]].concat()).is_err(), "out of order");
        assert!(take(&[&out[..24], &out[..24]].concat()).is_err(), "twice");
        let eleventh = [&0_f64.to_be_bytes()[..], &[9; 16]].concat();
        assert!(take(&[&out[..], &eleventh].concat()).is_err(), "eleven");
        assert!(take(&[&f64::NAN.to_be_bytes()[..], &[9; 16]].concat()).is_err());
    }
}
