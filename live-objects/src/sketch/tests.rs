//! What holds of every kind of sketch.

use super::*;
use crate::attributes::Scalar;
use crate::node::NodeId;
use proptest::prelude::*;

/// What is written, in hexadecimal digits.
pub(crate) fn bytes(sketch: &Sketch) -> String {
    let mut out = BytesMut::new();
    sketch.put(&mut out);
    out.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Parts are no longer than they may be, come back as they were written, and merge alike from both
/// sides.
pub(crate) fn part_laws(parts: &[Sketch]) -> Result<(), TestCaseError> {
    for one in parts {
        for other in parts {
            let merged = one.merged(other);
            prop_assert_eq!(&merged, &other.merged(one));
            let mut out = BytesMut::new();
            merged.put(&mut out);
            prop_assert_eq!(out.len(), merged.encoded_len());
            prop_assert!(out.len() <= Sketch::LEN_MAX);
            prop_assert_eq!(Sketch::take(merged.summary(), &out), Some(Ok(merged)));
        }
    }
    Ok(())
}

fn summaries() -> impl Strategy<Value = Summary> {
    prop::sample::select(vec![
        Summary::Quantiles,
        Summary::Distinct,
        Summary::TopK,
        Summary::Highest,
        Summary::Histogram,
        Summary::Groups,
    ])
}

proptest! {
    /// What comes from anywhere is refused, or is as good as any other.
    #[test]
    fn nothing_makes_it_panic(
        summary in summaries(),
        one in prop::collection::vec(any::<u8>(), 0..99),
        other in prop::collection::vec(any::<u8>(), 0..99),
    ) {
        let taken = [one, other].map(|bytes| Sketch::take(summary, &bytes).expect("a sketch"));
        if let [Ok(one), Ok(other)] = taken && one.mixes_with(&other) {
            let merged = one.merged(&other);
            prop_assert!(merged.encoded_len() <= Sketch::LEN_MAX);
            prop_assert!(merged.value().is_none_or(f64::is_finite));
        }
    }

    /// Whoever merges what somebody made up with its own can be read by all, or nobody would hear
    /// what else it says.
    #[test]
    fn what_is_made_up_keeps_the_laws_of_its_part(
        whole in wholes(),
        at in any::<prop::sample::Index>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let part = at.index(whole.parts().len());
        let own = whole.parts().remove(part);
        let mut bytes = BytesMut::new();
        own.put(&mut bytes);
        let len = bytes.len();
        damage.iter().filter(|_| len > 0).for_each(|(at, byte)| bytes[at.index(len)] = *byte);
        prop_assert!(own.is_of_part(part as u8));
        if let Some(Ok(made_up)) = Sketch::take(whole.summary(), &bytes)
            && made_up.is_of_part(part as u8)
            && made_up.mixes_with(&own)
        {
            part_laws(&[own, made_up])?;
        }
    }
}

/// Any sketch of some numbers.
fn wholes() -> impl Strategy<Value = Sketch> {
    let numbers = prop::collection::vec(-9e9..9e9_f64, 1..60);
    (summaries(), numbers, 0..3_u8).prop_map(|(summary, numbers, keys)| {
        let mut numbers = numbers.into_iter();
        match summary {
            Summary::Quantiles => {
                let mut sketch = Quantiles::new();
                numbers.for_each(|number| sketch.record(number).expect("it is finite"));
                Sketch::Quantiles(sketch)
            }
            Summary::Distinct => {
                let mut sketch = Distinct::new();
                numbers.for_each(|number| sketch.insert(&number.to_be_bytes()));
                Sketch::Distinct(sketch)
            }
            Summary::TopK => {
                let mut sketch = TopK::new();
                numbers.for_each(|number| {
                    let weight = number.abs() as u64;
                    sketch.add(&number.to_be_bytes(), weight).expect("it is short");
                });
                Sketch::TopK(sketch)
            }
            Summary::Histogram => {
                let mut sketch = Histogram::new(&[-1.0, 7.5]).expect("they ascend");
                numbers.for_each(|number| sketch.record(number).expect("it is finite"));
                Sketch::Histogram(sketch)
            }
            Summary::Groups => {
                let measures = vec![cell::Measure::Percentiles, cell::Measure::Moments];
                let mut sketch = Groups::new(groups::Layout { keys, measures });
                numbers.for_each(|number| {
                    let key = vec![Some(Scalar::Number(number.round() + 0.0)); keys.into()];
                    let cells = sketch.layout().measures.clone();
                    sketch.add(&key, cells.iter().map(|it| it.one(Some(number))).collect());
                });
                Sketch::Groups(sketch)
            }
            _ => {
                let node = NodeId::from_bytes([7; NodeId::LEN]);
                let number = numbers.next().expect("there is one at least");
                Sketch::Highest(Highest::of(node, number).expect("it is finite"))
            }
        }
    })
}

/// Buckets of another part lie between those of this one, where there is nothing to write.
#[test]
fn what_belongs_into_another_part_is_found_out() {
    let mut whole = Quantiles::new();
    (1..40).for_each(|number| whole.record(f64::from(number)).expect("it is finite"));
    let parts = Sketch::Quantiles(whole).parts();
    for (part, sketch) in parts.iter().enumerate() {
        let is_of = |other: usize| sketch.is_of_part(other as u8);
        assert_eq!((0..parts.len()).filter(|other| is_of(*other)).collect::<Vec<_>>(), [part]);
    }
    let mixed = parts[0].merged(&parts[1]);
    let mut bytes = BytesMut::new();
    mixed.put(&mut bytes);
    assert_ne!(Sketch::take(Summary::Quantiles, &bytes), Some(Ok(mixed)), "nobody can read it");
}

#[test]
fn each_fault_has_its_name() {
    let take = |summary, bytes: &[u8]| Sketch::take(summary, bytes).expect("a sketch");
    assert_eq!(take(Summary::Highest, &[0; 901]), Err(SketchError::Long(901)));
    assert_eq!(take(Summary::Histogram, &[0, 0, 0]), Err(SketchError::Overlong));
    assert_eq!(Sketch::take(Summary::Sum, &[]), None);
}

#[test]
#[should_panic(expected = "Distinct is not merged with Highest")]
fn sketches_of_different_summaries_do_not_merge() {
    Sketch::Distinct(Distinct::new()).merged(&Sketch::Highest(Highest::default()));
}
