//! Which region each group is in: a part of the group map, so that all members know it.
//!
//! A *region* is a set of members that never changes. A group is in one region at a time, which
//! holds all its members and perhaps a few more, to whom what is sent in the group is of no use:
//! no more than one in five (Dr. Multicast, EuroSys 2010, bounds that in the same way, and QSM
//! allows none). So groups with nearly the same members share what a region has once for all of
//! them: streams, acknowledgements, repair, and the flush when a member dies.
//!
//! A group stays where it is as long as its region fits. Then the smallest region that fits takes
//! it, or a new one of exactly its members. A region that no group is in any more is forgotten
//! here; its members go on with it until all have what was sent in it.

use std::collections::BTreeMap;

use live_objects::{Member, View};
use serde::{Deserialize, Serialize};

/// The regions, and how many groups each has.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Cover {
    regions: BTreeMap<u32, Region>,
    /// How many there were.
    count: u32,
    /// Those that no group is in any more, since it was last asked.
    #[serde(skip)]
    idle: Vec<u32>,
}

/// A region.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Region {
    /// Who is in it, in the order of their ids.
    pub(crate) members: Vec<Member>,
    /// The group map with which it began.
    pub(crate) since: u64,
    groups: u32,
}

impl Cover {
    pub(crate) fn region(&self, region: u32) -> Option<&Region> {
        self.regions.get(&region)
    }

    /// Whether this is how these groups, each with its region and its members, are placed in a
    /// view.
    pub(crate) fn is_of(
        &self,
        view: &View,
        groups: impl Iterator<Item = (Option<u32>, Vec<Member>)>,
    ) -> bool {
        let mut counts: BTreeMap<u32, u32> = BTreeMap::new();
        for (region, mut members) in groups {
            members.sort_unstable();
            let held = region.and_then(|id| Some((id, self.regions.get(&id)?)));
            let Some((id, _)) = held.filter(|(_, held)| held.fits(&members)) else { return false };
            *counts.entry(id).or_default() += 1;
        }
        self.count <= COUNT_MAX
            && self.regions.iter().all(|(id, region)| {
                let is_known = *id <= self.count && counts.get(id) == Some(&region.groups);
                is_known
                    && region.members.is_sorted_by(|one, next| one < next)
                    && region.members.iter().all(|member| view.has(*member))
            })
    }

    /// Places a group that has these members now, and was in the region `from`. Tells in which it
    /// is, if it has any members.
    pub(crate) fn place(
        &mut self,
        mut members: Vec<Member>,
        from: Option<u32>,
        map: u64,
    ) -> Option<u32> {
        members.sort_unstable();
        let fits = |region: &Region| region.fits(&members);
        if from.is_some_and(|from| self.regions.get(&from).is_some_and(fits)) {
            return from;
        }
        self.leave(from);
        if members.is_empty() {
            return None;
        }
        let fitting = self.regions.iter().filter(|(_, region)| region.fits(&members));
        let best = fitting.min_by_key(|(_, region)| region.members.len()).map(|(id, _)| *id);
        let id = best.unwrap_or_else(|| {
            self.count += 1;
            let region = Region { members, since: map, groups: 0 };
            self.regions.insert(self.count, region);
            self.count
        });
        self.regions.get_mut(&id).expect("found or made").groups += 1;
        Some(id)
    }

    /// A view is installed: regions that have lost a member are no more. Returns them.
    pub(crate) fn install(&mut self, view: &View) -> Vec<u32> {
        let is_lost = |region: &Region| !region.members.iter().all(|member| view.has(*member));
        let lost = self.regions.iter().filter(|(_, region)| is_lost(region));
        let lost: Vec<u32> = lost.map(|(id, _)| *id).collect();
        for region in &lost {
            self.regions.remove(region);
        }
        lost
    }

    /// A group is in that region no more.
    fn leave(&mut self, from: Option<u32>) {
        let Some((from, region)) = from.and_then(|from| Some((from, self.regions.get_mut(&from)?)))
        else {
            return;
        };
        region.groups -= 1;
        if region.groups == 0 {
            self.regions.remove(&from);
            self.idle.push(from);
        }
    }

    /// The regions that no group is in any more, since it was last asked.
    pub(crate) fn idle(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.idle)
    }
}

impl Region {
    /// Whether a group of these members, in order, can be in it.
    fn fits(&self, members: &[Member]) -> bool {
        let (all, few) = (self.members.len(), members.len());
        few <= all
            && (all - few) * UNWANTED_ONE_IN <= all
            && few > 0
            && members.iter().all(|member| self.members.binary_search(member).is_ok())
    }
}

/// More regions than any cluster comes to have, far below what their numbers hold.
const COUNT_MAX: u32 = 1 << 31;
/// Of so many members of a region one may have no use for what is sent in a group.
const UNWANTED_ONE_IN: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use live_objects::{ClusterId, Epoch, Incarnation, NodeId};

    fn member(node: u8) -> Member {
        let incarnation = Incarnation::from_bytes([1; Incarnation::LEN]);
        Member { node: NodeId::from_bytes([node; NodeId::LEN]), incarnation }
    }

    fn members(nodes: impl IntoIterator<Item = u8>) -> Vec<Member> {
        nodes.into_iter().map(member).collect()
    }

    #[test]
    fn groups_with_nearly_the_same_members_share_a_region() {
        let mut cover = Cover::default();
        let ten = cover.place(members(0..10), None, 1);
        assert_eq!(cover.place(members((0..10).rev()), None, 2), ten, "in whatever order");
        assert_eq!(cover.place(members(0..8), None, 3), ten, "two of ten have no use for it");
        let seven = cover.place(members(0..7), None, 4);
        assert_ne!(seven, ten);
        assert_eq!(cover.place(members(1..7), None, 5), seven, "the smallest that fits");
        assert_eq!(cover.region(seven.unwrap()).unwrap().since, 4);
    }

    #[test]
    fn a_group_stays_where_it_fits_and_the_last_one_takes_its_region_along() {
        let mut cover = Cover::default();
        let ten = cover.place(members(0..10), None, 1);
        assert_eq!(cover.place(members(1..10), ten, 2), ten);
        let eleven = cover.place(members(0..11), ten, 3);
        assert_ne!(eleven, ten);
        assert_eq!(cover.region(ten.unwrap()), None);
        assert_eq!(cover.place(vec![], eleven, 4), None);
        assert_eq!(cover.idle(), [1, 2]);
        assert_eq!(cover, Cover { count: 2, ..Cover::default() });
    }

    #[test]
    fn a_region_ends_with_its_first_loss() {
        let mut cover = Cover::default();
        let ten = cover.place(members(0..10), None, 1).unwrap();
        let few = cover.place(members(5..7), None, 1).unwrap();
        let epoch = Epoch { cluster: ClusterId::from_bytes([1; 16]), number: 2 };
        assert_eq!(cover.install(&View { epoch, members: members(1..10) }), [ten]);
        assert!(cover.region(few).is_some());
        assert_eq!(cover.place(members(1..10), Some(ten), 2), Some(3));
    }
}
