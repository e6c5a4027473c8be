//! What members hold of a view's streams when the view is to be changed, and what follows from it:
//! the trim.

use serde::{Deserialize, Serialize};

/// What a member held when it promised to change the view.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Holdings {
    /// Whether it knows the group map.
    pub(crate) has_map: bool,
    /// For each member of the view.
    pub(crate) streams: Vec<Held>,
}

/// What is held of one stream.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Held {
    /// All up to here.
    pub(crate) prefix: u64,
    /// Beyond that, from and with the first to and with the second, upwards.
    pub(crate) beyond: Vec<(u64, u64)>,
}

/// The highest number of each stream up to which some member holds every frame.
pub(crate) fn trim<'a>(holdings: impl Iterator<Item = &'a Holdings> + Clone) -> Vec<u64> {
    let len = holdings.clone().map(|held| held.streams.len()).max().unwrap_or(0);
    let trim_of = |stream: usize| {
        let held = holdings.clone().filter_map(|held| held.streams.get(stream));
        let mut end = held.clone().map(|held| held.prefix).max().unwrap_or(0);
        let mut ranges: Vec<(u64, u64)> = held.flat_map(|held| held.beyond.clone()).collect();
        ranges.sort_unstable();
        for (first, last) in ranges {
            if first <= end + 1 {
                end = end.max(last);
            }
        }
        end
    };
    (0..len).map(trim_of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn holdings(numbers: &BTreeSet<u64>) -> Holdings {
        let prefix = (1..).take_while(|number| numbers.contains(number)).count() as u64;
        let beyond = numbers.range(prefix + 1..).map(|number| (*number, *number)).collect();
        Holdings { has_map: true, streams: vec![Held { prefix, beyond }] }
    }

    #[test]
    fn ranges_of_several_members_join() {
        let of = |numbers: &[u64]| holdings(&numbers.iter().copied().collect());
        assert_eq!(trim([of(&[1, 2, 5]), of(&[1, 3, 4])].iter()), [5]);
        assert_eq!(trim([of(&[1, 2, 5]), of(&[1, 4])].iter()), [2]);
        assert_eq!(trim([of(&[]), of(&[2])].iter()), [0]);
    }

    proptest! {
        /// The trim is as far as all that anybody holds goes without a gap.
        #[test]
        fn the_trim_is_the_gapless_part_of_all(
            held in prop::collection::vec(prop::collection::btree_set(1_u64..20, 0..15), 1..5),
        ) {
            let all: BTreeSet<u64> = held.iter().flatten().copied().collect();
            let gapless = (1..).take_while(|number| all.contains(number)).count() as u64;
            let holdings: Vec<Holdings> = held.iter().map(holdings).collect();
            prop_assert_eq!(trim(holdings.iter()), [gapless]);
        }
    }
}
