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

/// Where a stream ends in a view.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct End {
    /// Its last frame: the highest number up to which some member holds every frame.
    pub(crate) last: u64,
    /// The place of a member that holds as much as any other.
    pub(crate) holder: u16,
}

impl Holdings {
    /// Whether nothing is missing of what a view ends with.
    pub(crate) fn reach(&self, ends: &[End]) -> bool {
        let mut held = self.streams.iter().zip(ends);
        self.streams.len() == ends.len() && held.all(|(held, end)| held.reaches(end.last))
    }
}

impl Held {
    fn reaches(&self, last: u64) -> bool {
        let mut end = self.prefix;
        for (first, until) in &self.beyond {
            if *first == end + 1 {
                end = *until;
            }
        }
        end >= last
    }
}

/// Where each stream ends, by what members hold, who are known by their places.
pub(crate) fn ends<'a>(holdings: impl Iterator<Item = (u16, &'a Holdings)> + Clone) -> Vec<End> {
    let len = holdings.clone().map(|(_, held)| held.streams.len()).max().unwrap_or(0);
    let end_of = |stream: usize| {
        let held = holdings.clone().filter_map(|(by, held)| Some((by, held.streams.get(stream)?)));
        let most = held.clone().max_by_key(|(_, held)| held.prefix);
        let (holder, mut last) = most.map_or((0, 0), |(by, held)| (by, held.prefix));
        let ranges = held.flat_map(|(_, held)| held.beyond.iter().copied());
        let mut ranges: Vec<(u64, u64)> = ranges.collect();
        ranges.sort_unstable();
        for (first, until) in ranges {
            if first <= last + 1 {
                last = last.max(until);
            }
        }
        End { last, holder }
    };
    (0..len).map(end_of).collect()
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

    fn end(of: &[Holdings]) -> (u64, u16) {
        let ends = ends((0..).zip(of));
        (ends[0].last, ends[0].holder)
    }

    #[test]
    fn ranges_of_several_members_join() {
        let of = |numbers: &[u64]| holdings(&numbers.iter().copied().collect());
        assert_eq!(end(&[of(&[1, 2, 5]), of(&[1, 3, 4])]), (5, 0));
        assert_eq!(end(&[of(&[1, 4]), of(&[1, 2, 5])]), (2, 1));
        assert_eq!(end(&[of(&[]), of(&[2])]).0, 0);
    }

    #[test]
    fn who_lacks_some_of_it_does_not_reach_the_end() {
        let of = |numbers: &[u64]| holdings(&numbers.iter().copied().collect());
        let ends = [End { last: 3, holder: 0 }];
        assert!(of(&[1, 2, 3]).reach(&ends) && of(&[1, 2, 3, 9]).reach(&ends));
        assert!(!of(&[1, 3]).reach(&ends) && !of(&[1, 2]).reach(&ends));
        assert!(!Holdings::default().reach(&ends));
    }

    proptest! {
        /// A stream ends as far as all that anybody holds goes without a gap.
        #[test]
        fn the_end_is_that_of_the_gapless_part_of_all(
            held in prop::collection::vec(prop::collection::btree_set(1_u64..20, 0..15), 1..5),
        ) {
            let all: BTreeSet<u64> = held.iter().flatten().copied().collect();
            let gapless = (1..).take_while(|number| all.contains(number)).count() as u64;
            let holdings: Vec<Holdings> = held.iter().map(holdings).collect();
            let (last, holder) = end(&holdings);
            prop_assert_eq!(last, gapless);
            let most = holdings.iter().map(|held| held.streams[0].prefix).max();
            prop_assert_eq!(Some(holdings[usize::from(holder)].streams[0].prefix), most);
        }
    }
}
