//! What members hold of the streams of regions when the view is to be changed, and what follows
//! from it: where the streams end.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a member held when it promised to change the view.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Holdings {
    /// Whether it knows the group map.
    pub(crate) has_map: bool,
    /// For each region that may lose a member, and each of its members.
    pub(crate) regions: BTreeMap<u32, Vec<Held>>,
}

/// What is held of one stream.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Held {
    /// Whose stream, by place in the view.
    pub(crate) of: u16,
    /// All up to here.
    pub(crate) prefix: u64,
    /// Beyond that, from and with the first to and with the second, upwards.
    pub(crate) beyond: Vec<(u64, u64)>,
}

/// Where a stream ends in a view.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct End {
    /// Whose stream, by place in the view.
    pub(crate) of: u16,
    /// Its last frame: the highest number up to which some member holds every frame.
    pub(crate) last: u64,
    /// The place of a member that holds as much as any other.
    pub(crate) holder: u16,
}

/// Where the streams of each region end.
pub(crate) type Ends = BTreeMap<u32, Vec<End>>;

impl Holdings {
    /// Whether nothing is missing of what regions end with. A region of which this member holds
    /// nothing is none of its own.
    pub(crate) fn reach(&self, ends: &Ends) -> bool {
        self.regions.iter().all(|(region, streams)| {
            let ends = ends.get(region).map_or(&[][..], Vec::as_slice);
            streams.iter().zip(ends).all(|(held, end)| held.reaches(end.last))
        })
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

/// Where the streams of each region end, by what members hold, who are known by their places in the
/// view.
pub(crate) fn ends<'a>(holdings: impl Iterator<Item = (u16, &'a Holdings)>) -> Ends {
    let mut regions: BTreeMap<u32, Vec<(u16, &[Held])>> = BTreeMap::new();
    for (by, held) in holdings {
        for (region, streams) in &held.regions {
            regions.entry(*region).or_default().push((by, streams));
        }
    }
    let ends = regions.into_iter().map(|(region, holders)| (region, ends_of(&holders)));
    ends.collect()
}

fn ends_of(holders: &[(u16, &[Held])]) -> Vec<End> {
    let len = holders.iter().map(|(_, streams)| streams.len()).max().unwrap_or(0);
    let end_of = |stream: usize| {
        let held = holders.iter().filter_map(|(by, streams)| Some((*by, streams.get(stream)?)));
        let most = held.clone().max_by_key(|(_, held)| held.prefix);
        let (holder, mut last) = most.map_or((0, 0), |(by, held)| (by, held.prefix));
        let ranges = held.clone().flat_map(|(_, held)| held.beyond.iter().copied());
        let mut ranges: Vec<(u64, u64)> = ranges.collect();
        ranges.sort_unstable();
        for (first, until) in ranges {
            if first <= last + 1 {
                last = last.max(until);
            }
        }
        let of = held.clone().next().map_or(0, |(_, held)| held.of);
        End { of, last, holder }
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
        Holdings { has_map: true, regions: [(7, vec![Held { of: 0, prefix, beyond }])].into() }
    }

    fn end(of: &[Holdings]) -> (u64, u16) {
        let End { last, holder, .. } = ends((0..).zip(of))[&7][0];
        (last, holder)
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
        let ends = Ends::from([(7, vec![End { of: 0, last: 3, holder: 0 }]), (8, vec![])]);
        assert!(of(&[1, 2, 3]).reach(&ends) && of(&[1, 2, 3, 9]).reach(&ends));
        assert!(!of(&[1, 3]).reach(&ends) && !of(&[1, 2]).reach(&ends));
        assert!(Holdings::default().reach(&ends), "it is in no region that ends");
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
            let most = holdings.iter().map(|held| held.regions[&7][0].prefix).max();
            prop_assert_eq!(Some(holdings[usize::from(holder)].regions[&7][0].prefix), most);
        }
    }
}
