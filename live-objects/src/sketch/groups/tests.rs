//! What holds of groups, however they are merged.

use super::super::tests::{bytes, part_laws};
use super::*;
use proptest::prelude::*;

fn layout(keys: u8, measures: &[Measure]) -> Layout {
    Layout { keys, measures: measures.to_vec() }
}

fn wide() -> Layout {
    layout(1, &[Measure::Count, Measure::Max, Measure::Percentiles])
}

/// Rows, each a key and a number.
fn of(layout: &Layout, rows: &[(u16, f64)]) -> Groups {
    let mut groups = Groups::new(layout.clone());
    for (key, number) in rows {
        let key = match key % 3 {
            0 => Scalar::from(f64::from(*key)),
            _ => Scalar::from(format!("zone-{key}")),
        };
        let key = if layout.keys == 0 { vec![] } else { vec![Some(key)] };
        groups.add(&key, layout.measures.iter().map(|it| it.one(Some(*number))).collect());
    }
    groups
}

fn rows() -> impl Strategy<Value = Vec<(u16, f64)>> {
    // Whole numbers, whose sums are exact in any order.
    prop::collection::vec((0..200_u16, (-99..9_999_i32).prop_map(f64::from)), 0..80)
}

fn merged_parts(one: &[Groups], other: &[Groups]) -> Vec<Groups> {
    one.iter().zip(other).map(|(one, other)| one.merged(other)).collect()
}

proptest! {
    #[test]
    fn parts_merge(one in rows(), two in rows(), three in rows(), part in 0..8_usize) {
        let parts = [one, two, three]
            .map(|rows| Sketch::Groups(of(&wide(), &rows).parts().remove(part)));
        part_laws(&parts)?;
        let [one, two, three] = parts;
        prop_assert_eq!(one.merged(&two).merged(&three), one.merged(&two.merged(&three)));
    }

    /// Kept groups are exact, the rest is told as others, and all of it comes to all rows.
    #[test]
    fn nothing_is_lost(one in rows(), two in rows()) {
        let all = of(&wide(), &[&one[..], &two[..]].concat());
        let parts = merged_parts(&of(&wide(), &one).parts(), &of(&wide(), &two).parts());
        let members: u64 = parts.iter().map(Groups::members).sum();
        prop_assert_eq!(members, all.members());
        for (at, entry) in parts.iter().flat_map(|part| &part.groups) {
            prop_assert_eq!(&all.groups[at], entry);
        }
        let others = Groups::all_others(parts.iter());
        let kept = parts.iter().map(|part| part.groups.len()).sum::<usize>();
        prop_assert_eq!(others.is_some(), kept < all.groups.len());
    }

    /// Keys of very different lengths, so that how many fit is different where others are.
    #[test]
    fn what_fits_is_the_same_however_it_is_merged(
        keys in prop::collection::vec((0..40_u8, 0..4_usize), 1..60), cut: prop::sample::Index,
    ) {
        let layout = layout(2, &[Measure::Sum, Measure::Moments]);
        let of = |keys: &[(u8, usize)]| {
            let mut groups = Groups::new(layout.clone());
            for (key, len) in keys {
                let text = |fill: &str| Some(Scalar::from(format!("{key}{}", fill.repeat(*len))));
                let cells = layout.measures.iter().map(|it| it.one(Some(1.0)));
                groups.add(&[text(&"x".repeat(40)), text(&"y".repeat(60))], cells.collect());
            }
            groups
        };
        let (one, other) = keys.split_at(cut.index(keys.len()));
        prop_assert_eq!(merged_parts(&of(one).parts(), &of(other).parts()), of(&keys).parts());
    }

    #[test]
    fn sums_merge_alike_from_both_sides(
        one in prop::collection::vec(prop::num::f64::NORMAL, 1..9),
        two in prop::collection::vec(prop::num::f64::NORMAL, 1..9),
    ) {
        let measures = [Measure::Sum, Measure::Min, Measure::Max, Measure::Moments];
        let parts = [one, two].map(|numbers| {
            let rows: Vec<(u16, f64)> = numbers.into_iter().map(|number| (7, number)).collect();
            let parts = of(&layout(0, &measures), &rows).parts().into_iter();
            Sketch::Groups(parts.max_by_key(Groups::members).unwrap())
        });
        part_laws(&parts)?;
    }
}

#[test]
fn golden_bytes() {
    let mut groups = Groups::new(layout(2, &[Measure::Count, Measure::Sum, Measure::Percentiles]));
    let cells = |number| groups.layout.measures.iter().map(|it| it.one(number)).collect();
    let (one, none) = (cells(Some(1.0)), cells(None));
    groups.add(&[Some("db".into()), Some(2.0.into())], one);
    groups.add(&[Some("db".into()), None], none);
    let two = "02026462 01 4000000000000000  01 01 01 3ff0000000000000 00 01 808004 01";
    let unset = "02026462 00  01 01 00 0000";
    let golden = format!("23 00 01 05 00 {two} {unset}");
    assert_eq!(bytes(&Sketch::Groups(groups.clone())), golden.replace(' ', ""));
    let from = groups.groups.keys().nth(1).unwrap().0;
    groups.put_to_others(from, None);
    let golden = format!("23 00 01 05 01 {from:016x} {} {two}", &unset["02026462 00".len()..]);
    assert_eq!(bytes(&Sketch::Groups(groups)), golden.replace(' ', ""));
}

/// The longest keys and the most measures leave room for a group, and some dozens have room
/// where keys are short.
#[test]
fn a_part_has_room() {
    use Measure::{Max, Moments, Percentiles, Sum};
    for measures in [
        [Moments; 8],
        [Percentiles; 8],
        [Percentiles, Max, Sum, Moments].repeat(2).try_into().unwrap(),
    ] {
        for keys in 0..=2 {
            let layout = layout(keys, &measures);
            let key_len = [0, 258, 258 + 130][usize::from(keys)];
            assert!(layout.room() >= key_len + layout.entry_len_max(), "{layout:?}");
        }
    }
    let rows: Vec<(u16, f64)> = (0..400).map(|key| (key, 1.0)).collect();
    let kept = |layout: Layout| {
        of(&layout, &rows).parts().iter().map(|part| part.groups.len()).sum::<usize>()
    };
    let counts = [kept(wide()), kept(layout(1, &[Sum])), kept(layout(1, &[]))];
    assert!((30..50).contains(&counts[0]) && counts[1] > 150 && counts[2] > 300, "{counts:?}");
}

#[test]
fn damage_is_refused() {
    let take = |bytes: &[u8]| Groups::take(&mut &bytes[..]);
    let group = |key: &[u8]| [&[0x11, 0, 0][..], key, &[1, 1]].concat();
    assert!(take(&group(&[0])).is_ok());
    assert!(take(&[0x31, 0, 0]).is_err(), "three keys");
    assert!(take(&[0x09, 0]).is_err(), "nine measures");
    assert!(take(&[0x11, 6, 0]).is_err(), "a measure that is none");
    assert!(take(&[0x11, 0, 2]).is_err(), "a flag");
    assert!(take(&group(&[3])).is_err(), "a key of no kind");
    assert!(take(&group(&[2, 1, 0xff])).is_err(), "a key of no text");
    assert!(take(&group(&[2, 0x80, 0])).is_err(), "a length that is written longer");
    for number in [f64::NAN, f64::INFINITY, -0.0] {
        assert!(take(&group(&[&[1][..], &number.to_be_bytes()].concat())).is_err(), "{number}");
    }
    assert!(take(&[0x11, 0, 0, 0, 0, 1]).is_err(), "no rows");
    assert!(take(&[0x11, 0, 0, 0, 1, 1, 0, 1, 1]).is_err(), "a group twice");
    let above = [&[0x11, 0, 1][..], &[0; 8], &[1, 1], &[0, 1, 1]].concat();
    assert!(take(&above).is_err(), "a group that is among the others");
    for (measure, cell) in [(1, 1), (2, 0), (4, 1)] {
        let nan = [&[0x01, measure, 0, 1, 1][..], &f64::NAN.to_be_bytes(), &[0; 8]].concat();
        assert!(take(&nan[..nan.len() - if cell == 0 { 8 } else { 0 }]).is_err(), "{measure}");
    }
    let negative = [&[0x01, 4, 0, 1, 1][..], &1_f64.to_be_bytes(), &(-1_f64).to_be_bytes()];
    assert!(take(&negative.concat()).is_err(), "squares below 0");
    // More groups than fit, though all of them are as short as can be.
    let rows: Vec<(u16, f64)> = (0..400).map(|key| (key, 1.0)).collect();
    let full = of(&wide(), &rows);
    let mut out = BytesMut::new();
    full.put(&mut out);
    assert_eq!(take(&out), Err(SketchError::Unsound("more groups than fit")));
}
