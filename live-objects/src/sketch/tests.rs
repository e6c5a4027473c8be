//! What holds of every kind of sketch.

use super::*;
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
