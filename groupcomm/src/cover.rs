//! Which region each group is in: a part of the group map, so that all members know it.
//!
//! A *region* is a set of members that never changes. A group is in one region at a time, which
//! holds all its members and perhaps a few more, to whom what is sent in the group is of no use:
//! no more than one in five (Dr. Multicast, EuroSys 2010, bounds that in the same way, and QSM
//! allows none). So groups with nearly the same members share what a region has once for all of
//! them: streams, acknowledgements, repair, and the flush when a member dies.
//!
//! A group stays where it is as long as its region fits. Else the smallest region that fits takes
//! it. If none does, one is *widened* by the members that it lacks, as long as all its groups fit
//! still: they move to a new region together. Only a group that is like no other gets a region of
//! just its members. A region that no group is in any more is forgotten here; its members go on
//! with it until all have what was sent in it.
//!
//! Groups are placed one after the other, and what becomes of them is told when all are: what is
//! moved twice at once moves once.

use std::collections::{BTreeMap, BTreeSet};

use fixedbitset::FixedBitSet;
use live_objects::{Member, View};
use serde::{Deserialize, Serialize};

use crate::places::Places;

/// The regions, and which groups are in each.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Cover {
    regions: BTreeMap<u32, Region>,
    /// How many there were.
    count: u32,
    /// All who can be members.
    #[serde(skip)]
    places: Places,
    /// Of each region.
    #[serde(skip)]
    shapes: BTreeMap<u32, Shape>,
    /// In which region each group is, and how many members it has.
    #[serde(skip)]
    seats: BTreeMap<u32, (u32, usize)>,
    /// Groups that were moved since it was last asked, and where they were.
    #[serde(skip)]
    moved: BTreeMap<u32, Option<u32>>,
    /// Regions that were opened since it was last asked.
    #[serde(skip)]
    opened: Vec<u32>,
    /// Regions that no group is in any more, since it was last asked.
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
    groups: BTreeSet<u32>,
}

/// What is compared of a region.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Shape {
    /// Its members, by their places among all.
    members: FixedBitSet,
    /// How many groups in it have so many members.
    sizes: BTreeMap<usize, u32>,
}

impl Cover {
    pub(crate) fn region(&self, region: u32) -> Option<&Region> {
        self.regions.get(&region)
    }

    /// In which region a group is. Only a group without members is in none.
    pub(crate) fn region_of(&self, group: u32) -> Option<u32> {
        self.seats.get(&group).map(|(region, _)| *region)
    }

    /// Completes one that was read: of this view, and of these groups, each with its members. Tells
    /// whether it fits them.
    pub(crate) fn complete(
        &mut self,
        view: &View,
        groups: impl Iterator<Item = (u32, Vec<Member>)>,
    ) -> bool {
        let is_in_order = |region: &Region| region.members.is_sorted_by(|one, next| one < next);
        let is_known = |(id, region): (&u32, &Region)| {
            *id <= self.count
                && !region.groups.is_empty()
                && is_in_order(region)
                && region.members.iter().all(|member| view.has(*member))
        };
        if self.count > COUNT_MAX || !self.regions.iter().all(is_known) {
            return false;
        }
        self.see(view);
        let members: BTreeMap<u32, Vec<Member>> = groups.collect();
        for (id, region) in &self.regions {
            let shape = self.shapes.get_mut(id).expect("it was just seen");
            for group in &region.groups {
                let Some(members) = members.get(group) else { return false };
                let set = set(&self.places, members);
                if !shape.fits(&set) || self.seats.insert(*group, (*id, members.len())).is_some() {
                    return false;
                }
                *shape.sizes.entry(members.len()).or_default() += 1;
            }
        }
        self.seats.len() == members.len()
    }

    /// Places a group that has these members now, under this map.
    pub(crate) fn place(&mut self, group: u32, members: &[Member], map: u64) {
        let set = set(&self.places, members);
        let from = self.region_of(group);
        if let Some(from) = from.filter(|from| self.shapes[from].fits(&set)) {
            self.leave(group);
            self.enter(group, from, members.len());
            return;
        }
        self.leave(group);
        self.moved.entry(group).or_insert(from);
        if !members.is_empty() {
            let fitting = self.shapes.iter().filter(|(_, shape)| shape.fits(&set));
            let best = fitting.min_by_key(|(_, shape)| shape.members.count_ones(..));
            let best = best.map(|(id, _)| *id).or_else(|| self.widen(&set, map));
            let to = best.unwrap_or_else(|| self.open(set, BTreeSet::new(), map));
            self.enter(group, to, members.len());
        }
        self.close_empty(from);
    }

    /// Groups that were moved since this was last asked, and where they were before.
    pub(crate) fn moved(&mut self) -> BTreeMap<u32, Option<u32>> {
        std::mem::take(&mut self.moved)
    }

    /// Regions that were opened since this was last asked, and are open.
    pub(crate) fn opened(&mut self) -> Vec<u32> {
        let opened = std::mem::take(&mut self.opened).into_iter();
        opened.filter(|region| self.regions.contains_key(region)).collect()
    }

    /// The regions that no group is in any more, since this was last asked.
    pub(crate) fn idle(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.idle)
    }

    /// A view is installed: regions that have lost a member are no more. Returns the groups that
    /// were in them, which are in none now.
    pub(crate) fn install(&mut self, view: &View) -> BTreeSet<u32> {
        let members: BTreeSet<Member> = view.members.iter().copied().collect();
        let is_lost = |region: &Region| !region.members.iter().all(|it| members.contains(it));
        let lost = self.regions.iter().filter(|(_, region)| is_lost(region));
        let lost: Vec<u32> = lost.map(|(id, _)| *id).collect();
        let mut groups = BTreeSet::new();
        for id in lost {
            let region = self.regions.remove(&id).expect("it was just found");
            for group in &region.groups {
                self.seats.remove(group);
                self.moved.insert(*group, Some(id));
            }
            groups.extend(region.groups);
        }
        self.see(view);
        for (id, size) in self.seats.values() {
            let shape = self.shapes.get_mut(id).expect("a group is in a region");
            *shape.sizes.entry(*size).or_default() += 1;
        }
        groups
    }

    /// The members of this view can be members of regions. Sees those anew, with no groups.
    fn see(&mut self, view: &View) {
        self.places = Places::of_view(view);
        let shape = |region: &Region| Shape {
            members: set(&self.places, &region.members),
            sizes: BTreeMap::new(),
        };
        self.shapes = self.regions.iter().map(|(id, region)| (*id, shape(region))).collect();
    }

    /// Widens the region that takes the fewest more to hold these. Tells which it is then.
    fn widen(&mut self, set: &FixedBitSet, map: u64) -> Option<u32> {
        let size = set.count_ones(..);
        let widened = self.shapes.iter().filter_map(|(id, shape)| {
            let all = shape.members.union_count(set);
            let least = shape.sizes.keys().next().map_or(size, |least| size.min(*least));
            fits(all, least).then_some((all, *id))
        });
        let (_, id) = widened.min()?;
        let mut members = self.shapes[&id].members.clone();
        members.union_with(set);
        if self.regions[&id].since == map {
            // Nobody knows it yet.
            self.regions.get_mut(&id).expect("it was just found").members = self.listed(&members);
            self.shapes.get_mut(&id).expect("it was just found").members = members;
            return Some(id);
        }
        let region = self.regions.remove(&id).expect("it was just found");
        let shape = self.shapes.remove(&id).expect("it was just found");
        self.idle.push(id);
        for group in &region.groups {
            self.moved.entry(*group).or_insert(Some(id));
        }
        let to = self.open(members, region.groups, map);
        self.shapes.get_mut(&to).expect("it was just opened").sizes = shape.sizes;
        for group in &self.regions[&to].groups {
            self.seats.get_mut(group).expect("it has one").0 = to;
        }
        Some(to)
    }

    fn open(&mut self, members: FixedBitSet, groups: BTreeSet<u32>, map: u64) -> u32 {
        self.count += 1;
        self.opened.push(self.count);
        let region = Region { members: self.listed(&members), since: map, groups };
        self.regions.insert(self.count, region);
        self.shapes.insert(self.count, Shape { members, sizes: BTreeMap::new() });
        self.count
    }

    fn listed(&self, members: &FixedBitSet) -> Vec<Member> {
        members.ones().map(|place| self.places.member(place as u16)).collect()
    }

    fn enter(&mut self, group: u32, region: u32, size: usize) {
        self.seats.insert(group, (region, size));
        self.regions.get_mut(&region).expect("it is open").groups.insert(group);
        *self.shapes.get_mut(&region).expect("it is open").sizes.entry(size).or_default() += 1;
    }

    fn leave(&mut self, group: u32) {
        let Some((id, size)) = self.seats.remove(&group) else { return };
        self.regions.get_mut(&id).expect("a group is in it").groups.remove(&group);
        let shape = self.shapes.get_mut(&id).expect("a group is in it");
        let count = shape.sizes.get_mut(&size).expect("a group of that size is in it");
        *count -= 1;
        if *count == 0 {
            shape.sizes.remove(&size);
        }
    }

    fn close_empty(&mut self, region: Option<u32>) {
        let is_empty = |id: &u32| self.regions.get(id).is_some_and(|it| it.groups.is_empty());
        if let Some(id) = region.filter(is_empty) {
            self.regions.remove(&id);
            self.shapes.remove(&id);
            self.idle.push(id);
        }
    }
}

impl Shape {
    /// Whether a group of these members can be in it.
    fn fits(&self, members: &FixedBitSet) -> bool {
        fits(self.members.count_ones(..), members.count_ones(..))
            && members.is_subset(&self.members)
    }
}

/// Whether so few of all members of a region can be those of a group.
fn fits(all: usize, few: usize) -> bool {
    few > 0 && few <= all && (all - few) * UNWANTED_ONE_IN <= all
}

/// Where these are among all, all of whom are known.
fn set(places: &Places, members: &[Member]) -> FixedBitSet {
    let mut set = FixedBitSet::with_capacity(places.len());
    for member in members {
        let place = places.of(*member).expect("only members of the view are in groups");
        set.insert(usize::from(place));
    }
    set
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

    fn view(nodes: impl IntoIterator<Item = u8>) -> View {
        let epoch = Epoch { cluster: ClusterId::from_bytes([1; 16]), number: 2 };
        View { epoch, members: members(nodes) }
    }

    /// That of twenty members, in no order.
    fn cover() -> Cover {
        let mut cover = Cover::default();
        cover.install(&view((0..20).rev()));
        cover
    }

    /// Places a group, and tells in which region it is then.
    fn place(cover: &mut Cover, group: u32, nodes: std::ops::Range<u8>, map: u64) -> Option<u32> {
        cover.place(group, &members(nodes), map);
        cover.region_of(group)
    }

    #[test]
    fn groups_with_nearly_the_same_members_share_a_region() {
        let mut cover = cover();
        let ten = place(&mut cover, 0, 0..10, 1);
        assert_eq!(place(&mut cover, 1, 0..10, 2), ten);
        assert_eq!(place(&mut cover, 2, 0..8, 3), ten, "two of ten have no use for it");
        let seven = place(&mut cover, 3, 0..7, 4);
        assert_ne!(seven, ten);
        assert_eq!(place(&mut cover, 4, 1..7, 5), seven, "the smallest that fits");
        assert_eq!(cover.region(seven.unwrap()).unwrap().since, 4);
        assert!(cover.idle().is_empty());
    }

    #[test]
    fn a_region_is_widened_for_a_group_that_is_like_its_own() {
        let mut cover = cover();
        let ten = place(&mut cover, 0, 0..10, 1);
        cover.moved();
        let eleven = place(&mut cover, 1, 1..11, 2);
        assert_eq!(cover.region(eleven.unwrap()).unwrap().members, members(0..11));
        assert_eq!(cover.region_of(0), eleven);
        assert_eq!(cover.moved(), [(0, ten), (1, None)].into());
        assert_eq!((cover.idle(), cover.region(ten.unwrap())), (vec![ten.unwrap()], None));
        assert_ne!(place(&mut cover, 2, 5..15, 3), eleven, "the others would be of no use to it");
    }

    #[test]
    fn what_is_moved_twice_at_once_moves_once() {
        let mut cover = cover();
        let ten = place(&mut cover, 0, 0..10, 1);
        place(&mut cover, 1, 0..10, 1);
        cover.moved();
        let eleven = place(&mut cover, 0, 0..11, 2);
        assert_eq!(place(&mut cover, 1, 0..12, 2), eleven, "nobody knows it yet");
        assert_eq!(cover.region(eleven.unwrap()).unwrap().members, members(0..12));
        assert_eq!(cover.moved(), [(0, ten), (1, ten)].into());
        assert_eq!(cover.idle(), [ten.unwrap()]);
        assert_eq!(cover.opened(), [eleven.unwrap()], "the other is no more");
    }

    #[test]
    fn a_group_stays_where_it_fits_and_the_last_one_takes_its_region_along() {
        let mut cover = cover();
        let ten = place(&mut cover, 0, 0..10, 1);
        assert_eq!(place(&mut cover, 0, 1..10, 2), ten);
        let five = place(&mut cover, 0, 0..5, 3);
        assert_ne!(five, ten);
        assert_eq!(cover.region(ten.unwrap()), None);
        assert_eq!(place(&mut cover, 0, 0..0, 4), None);
        assert_eq!(cover.idle(), [ten.unwrap(), five.unwrap()]);
        assert!(cover.regions.is_empty() && cover.shapes.is_empty() && cover.seats.is_empty());
    }

    #[test]
    fn a_region_ends_with_its_first_loss() {
        let mut cover = cover();
        let ten = place(&mut cover, 0, 0..10, 1);
        let few = place(&mut cover, 1, 5..7, 1);
        assert_eq!(cover.install(&view(1..20)), [0].into());
        assert_eq!((cover.region_of(0), cover.region_of(1)), (None, few));
        assert_eq!(place(&mut cover, 0, 1..10, 2), Some(3));
        assert_eq!(cover.moved(), [(0, ten), (1, None)].into());
        assert_eq!(place(&mut cover, 1, 5..7, 2), few, "it is seen as it was");
    }

    #[test]
    fn one_that_was_read_is_as_it_was_and_none_that_does_not_fit() {
        let mut cover = cover();
        place(&mut cover, 0, 0..10, 1);
        place(&mut cover, 1, 0..8, 1);
        place(&mut cover, 2, 5..7, 1);
        cover.moved();
        cover.opened();
        let bytes = postcard::to_allocvec(&cover).unwrap();
        let read = |groups: &[(u32, std::ops::Range<u8>)], nodes| {
            let mut read: Cover = postcard::from_bytes(&bytes).unwrap();
            let groups = groups.iter().map(|(group, nodes)| (*group, members(nodes.clone())));
            read.complete(&view(nodes), groups).then_some(read)
        };
        let groups = [(0, 0..10), (1, 0..8), (2, 5..7)];
        assert_eq!(read(&groups, 0..20), Some(cover));
        assert_eq!(read(&groups, 1..20), None, "a member is not in the view");
        assert_eq!(read(&groups[..2], 0..20), None, "a group is not known");
        assert_eq!(read(&[&groups[..], &[(3, 0..1)]].concat(), 0..20), None, "one has no region");
        assert_eq!(read(&[(0, 0..10), (1, 0..7), (2, 5..7)], 0..20), None, "one is too small");
    }
}
