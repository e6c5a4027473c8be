//! All regions that a member is in: which of them has something to deliver, to say or to wait for.
//!
//! A step costs as much as the regions that something came from or goes to, however many there are.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use live_objects::{ClusterId, Member, NodeId, Rng, Time, View};

use crate::control::Cut;
use crate::cover;
use crate::holdings::{Ends, Held, Holdings};
use crate::region::{Heard, Region};
use crate::streams::Streams;
use crate::wire::{Frame, Packet, Tag};

/// The regions of a member.
pub(crate) struct Regions {
    me: Member,
    rng: Rng,
    cluster: Option<ClusterId>,
    regions: BTreeMap<u32, Region>,
    by_tag: BTreeMap<Tag, u32>,
    /// Those that were let go of last.
    done: VecDeque<Tag>,
    /// Those that something came from or goes to in this step.
    touched: BTreeSet<u32>,
    /// Those that may have something to deliver.
    ready: BTreeSet<u32>,
    /// Whose streams have stably passed something, and in which region.
    passed: Vec<(u32, Member)>,
    /// When each has something to do.
    wakes: BTreeSet<(Time, u32)>,
    wake_of: BTreeMap<u32, Time>,
    /// Whether this member knows the group map, and so can make sense of what is sent.
    has_map: bool,
    is_choked: bool,
    /// How many bytes of frames are kept in all of them.
    kept_bytes: usize,
    out: Vec<(NodeId, Bytes)>,
}

/// What became of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Taken {
    In,
    /// It is of no region that this member is in.
    Elsewhere,
    /// It makes no sense.
    Absurd,
}

impl Regions {
    pub(crate) fn new(me: Member, rng: Rng) -> Self {
        Self {
            me,
            rng,
            cluster: None,
            regions: BTreeMap::new(),
            by_tag: BTreeMap::new(),
            done: VecDeque::new(),
            touched: BTreeSet::new(),
            ready: BTreeSet::new(),
            passed: Vec::new(),
            wakes: BTreeSet::new(),
            wake_of: BTreeMap::new(),
            has_map: false,
            is_choked: false,
            kept_bytes: 0,
            out: Vec::new(),
        }
    }

    /// A view begins: its root does.
    pub(crate) fn begin_view(&mut self, view: &View) {
        self.cluster = Some(view.epoch.cluster);
        self.put(ROOT, Tag::of_view(&view.epoch), view.members.clone(), 0);
    }

    /// This member is in no view, and so in no region.
    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.me, self.rng.fork("outside"));
    }

    /// A group of this member is in that region from now on.
    pub(crate) fn open(&mut self, id: u32, region: &cover::Region) {
        let cluster = self.cluster.expect("groups are in regions of a view");
        if !self.regions.contains_key(&id) {
            let tag = Tag::of_region(cluster, id, region.since);
            // Whoever orders what others say has more to do: not one for all regions.
            let sequencer = id as usize % region.members.len();
            self.put(id, tag, region.members.clone(), sequencer);
        }
    }

    fn put(&mut self, id: u32, tag: Tag, members: Vec<Member>, sequencer: usize) {
        let rng = self.rng.fork(&format!("{tag:?}"));
        let mut streams = Streams::new(tag, members, self.me, sequencer, rng);
        streams.set_choked(self.is_choked);
        self.by_tag.insert(tag, id);
        let pause = if id == ROOT { BATCH } else { Duration::ZERO };
        self.regions.insert(id, Region::new(streams, pause));
    }

    /// How many there are beside the root.
    pub(crate) fn len(&self) -> usize {
        self.regions.len() - usize::from(self.regions.contains_key(&ROOT))
    }

    /// How many bytes of frames are kept that not all are known to hold.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }

    pub(crate) fn get(&self, id: u32) -> Option<&Region> {
        self.regions.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: u32) -> Option<&mut Region> {
        let region = self.regions.get_mut(&id)?;
        self.touched.insert(id);
        Some(region)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Region> {
        self.regions.values_mut()
    }

    /// This step is to look at a region.
    pub(crate) fn touch(&mut self, id: u32) {
        self.touched.insert(id);
    }

    /// Those that something came from or goes to in this step.
    pub(crate) fn touched(&self) -> Vec<u32> {
        self.touched.iter().copied().collect()
    }

    pub(crate) fn has_map(&self) -> bool {
        self.has_map
    }

    /// This member knows the group map from now on.
    pub(crate) fn set_has_map(&mut self) {
        self.has_map = true;
    }

    /// Acknowledges nothing new, or goes on.
    pub(crate) fn set_choked(&mut self, is_choked: bool) {
        if self.is_choked != is_choked {
            self.is_choked = is_choked;
            self.touched.extend(self.regions.keys());
            self.regions.values_mut().for_each(|region| region.streams.set_choked(is_choked));
        }
    }

    /// Takes in a packet.
    pub(crate) fn on_packet(
        &mut self,
        now: Time,
        from: NodeId,
        (tag, packet): (Tag, Packet),
        bytes: Bytes,
    ) -> Taken {
        let Some(id) = self.by_tag.get(&tag).copied() else {
            if self.done.contains(&tag) && packet != Packet::Done {
                self.out.push((from, Packet::Done.encode(tag)));
            }
            return Taken::Elsewhere;
        };
        let region = self.get_mut(id).expect("it has a tag");
        if region.streams.on_packet(now, from, packet, bytes) { Taken::In } else { Taken::Absurd }
    }

    /// The sender of a frame that came before.
    pub(crate) fn sender_again(&self, tag: Tag, frame: &Frame) -> Option<Member> {
        let streams = &self.regions.get(self.by_tag.get(&tag)?)?.streams;
        let origin = streams.members().get(usize::from(frame.origin));
        origin.copied().filter(|_| streams.has(frame))
    }

    /// A step looks at those that have something to do by now.
    pub(crate) fn wake(&mut self, now: Time) {
        let due = self.wakes.iter().take_while(|(at, _)| *at <= now);
        self.touched.extend(due.map(|(_, id)| *id));
    }

    /// Takes in what came in order, and what is stable.
    pub(crate) fn take_in(&mut self) {
        for id in &self.touched {
            if let Some(region) = self.regions.get_mut(id) {
                region.take_in();
                region.on_stable();
                self.passed.extend(region.passed_lately().map(|member| (*id, member)));
                self.ready.insert(*id);
            }
        }
    }

    /// What comes next of any region, given the number of the group map as it is now.
    pub(crate) fn hear(&mut self, map: u64) -> Option<(u32, Heard)> {
        while let Some(id) = self.ready.first().copied() {
            if let Some(region) = self.regions.get_mut(&id) {
                let heard = region.hear(map);
                self.passed.extend(region.passed_lately().map(|member| (id, member)));
                if let Some(heard) = heard {
                    return Some((id, heard));
                }
            }
            self.ready.remove(&id);
        }
        None
    }

    /// Whose streams have stably passed something since this was last asked, and in which region.
    pub(crate) fn passed(&mut self) -> Vec<(u32, Member)> {
        std::mem::take(&mut self.passed)
    }

    /// The group map has changed, which others may wait for.
    pub(crate) fn on_map(&mut self) {
        self.ready.extend(self.regions.keys());
    }

    /// A view may be installed without these: their regions deliver nothing more meanwhile, nor
    /// does the root. Returns what this member holds of them.
    pub(crate) fn wedge(&mut self, going: &BTreeSet<Member>) -> Holdings {
        let mut holdings = Holdings { has_map: self.has_map, regions: BTreeMap::new() };
        let Some(root) = self.regions.get(&ROOT) else { return holdings };
        let places = (0..).zip(root.streams.members().iter());
        let places: BTreeMap<Member, u16> = places.map(|(place, it)| (*it, place)).collect();
        for (id, region) in &mut self.regions {
            let streams = &mut region.streams;
            let may_lose = || streams.members().iter().any(|member| going.contains(member));
            if *id == ROOT || streams.is_wedged() || may_lose() {
                self.touched.insert(*id);
                let held = region.streams.wedge();
                let held = held.into_iter().zip(region.streams.members().iter());
                let held = held.map(|((prefix, beyond), member)| {
                    let of = *places.get(member).expect("who is in a region is in the view");
                    Held { of, prefix, beyond }
                });
                holdings.regions.insert(*id, held.collect());
            }
        }
        holdings
    }

    /// Sees to it that this member holds all that its regions end with. Tells whether it does.
    pub(crate) fn gather(&mut self, ends: &Ends, view: &View) -> bool {
        let mut has_all = true;
        for (id, ends) in ends {
            let Some(region) = self.regions.get_mut(id) else { continue };
            let holder = |place: u16| view.members.get(usize::from(place)).map(|it| it.node);
            let ends = ends.iter().map(|end| (end.last, holder(end.holder)));
            let ends = ends.map(|(last, holder)| (last, holder.unwrap_or(self.me.node)));
            let has_it = region.streams.gather(&ends.collect::<Vec<_>>());
            if !has_it {
                self.touched.insert(*id);
            }
            has_all &= has_it;
        }
        has_all
    }

    /// Whether a view can follow for this member: it cuts off nothing that was delivered here.
    pub(crate) fn admit(&self, next: &View, cut: &Cut) -> bool {
        cut.trim.contains_key(&ROOT) && self.all_end(next, cut, Streams::admits)
    }

    /// Whether this member holds all that its regions end with when that view follows.
    pub(crate) fn hold(&self, next: &View, cut: &Cut) -> bool {
        self.all_end(next, cut, |streams, trim| streams.holds(trim.iter().copied()))
    }

    /// Whether that is so of all regions that end with the next view, and where they do.
    fn all_end(&self, next: &View, cut: &Cut, is_so: impl Fn(&Streams, &[u64]) -> bool) -> bool {
        let mut ending = self.ending(next).into_iter();
        ending.all(|id| {
            let trim = cut.trim.get(&id).map(|trim| lasts(trim));
            trim.is_none_or(|trim| is_so(&self.regions[&id].streams, &trim))
        })
    }

    /// The root, and the regions that lose a member with the next view.
    pub(crate) fn ending(&self, next: &View) -> Vec<u32> {
        let ends = |id: u32, region: &Region| {
            id == ROOT || !region.streams.members().iter().all(|member| next.has(*member))
        };
        let ending = self.regions.iter().filter(|(id, region)| ends(**id, region));
        ending.map(|(id, _)| *id).collect()
    }

    /// A region closes where the view says, or where it is if that says nothing.
    pub(crate) fn close(&mut self, id: u32, cut: &Cut) {
        let region = self.regions.get_mut(&id).expect("it ends");
        let trim = cut.trim.get(&id).map(|trim| lasts(trim));
        region.close(&trim.unwrap_or_else(|| region.streams.prefixes()));
        self.ready.insert(id);
    }

    /// A view is installed: those that closed are let go of, and the rest go on.
    pub(crate) fn go_on(&mut self, closed: &[u32]) {
        closed.iter().for_each(|id| self.remove(*id));
        for (id, region) in self.regions.iter_mut().filter(|(_, it)| it.streams.is_wedged()) {
            region.streams.unwedge();
            self.touched.insert(*id);
        }
    }

    fn remove(&mut self, id: u32) {
        let Some(region) = self.regions.remove(&id) else { return };
        self.kept_bytes -= region.counted_bytes;
        self.by_tag.remove(&region.streams.tag());
        self.touched.remove(&id);
        self.ready.remove(&id);
        if let Some(at) = self.wake_of.remove(&id) {
            self.wakes.remove(&(at, id));
        }
    }

    /// What is to be sent now. Regions that are of no use any more are let go of, unless a group
    /// still waits for them.
    pub(crate) fn finish(
        &mut self,
        now: Time,
        is_awaited: impl Fn(u32) -> bool,
    ) -> Vec<(NodeId, Bytes)> {
        let mut out = std::mem::take(&mut self.out);
        for id in std::mem::take(&mut self.touched) {
            let Some(region) = self.regions.get_mut(&id) else { continue };
            out.extend(region.streams.finish(now));
            let kept_bytes = region.streams.kept_bytes();
            let counted = std::mem::replace(&mut region.counted_bytes, kept_bytes);
            self.kept_bytes = self.kept_bytes + kept_bytes - counted;
            let (wakes_at, is_done) = (region.next_wake(now), region.is_done());
            if is_done && !is_awaited(id) {
                self.done.push_back(region.streams.tag());
                if self.done.len() > DONE_MAX {
                    self.done.pop_front();
                }
                self.remove(id);
                continue;
            }
            self.set_wake(id, wakes_at);
        }
        out
    }

    fn set_wake(&mut self, id: u32, at: Option<Time>) {
        let before = match at {
            Some(at) => self.wake_of.insert(id, at),
            None => self.wake_of.remove(&id),
        };
        if before != at {
            self.wakes.extend(at.map(|at| (at, id)));
            if let Some(before) = before {
                self.wakes.remove(&(before, id));
            }
        }
    }

    pub(crate) fn next_wake(&self) -> Option<Time> {
        self.wakes.first().map(|(at, _)| *at)
    }
}

/// How far each stream goes, in the order of a region's members.
fn lasts(trim: &[(u16, u64)]) -> Vec<u64> {
    trim.iter().map(|(_, last)| *last).collect()
}

/// The region that all members of a view are in.
pub(crate) const ROOT: u32 = 0;
/// How long changes of the group map that follow one are gathered, so that many are one change.
const BATCH: Duration = Duration::from_millis(20);
/// Of how many regions that were let go of a member remembers that.
const DONE_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cover::Cover;
    use live_objects::{Epoch, Incarnation};

    fn member(node: u8) -> Member {
        let incarnation = Incarnation::from_bytes([1; Incarnation::LEN]);
        Member { node: NodeId::from_bytes([node; NodeId::LEN]), incarnation }
    }

    fn view(number: u64, members: &[u8]) -> View {
        let epoch = Epoch { cluster: ClusterId::from_bytes([9; 16]), number };
        View { epoch, members: members.iter().map(|node| member(*node)).collect() }
    }

    /// Member 0 of a view of five, and two regions that it is in: of the first three, and of itself
    /// with the last.
    fn regions() -> (Regions, [u32; 2]) {
        let mut regions = Regions::new(member(0), Rng::from_seed([7; 32]));
        regions.begin_view(&view(1, &[4, 3, 2, 1, 0]));
        let mut cover = Cover::default();
        cover.install(&view(1, &[4, 3, 2, 1, 0]));
        let ids = [(0, &[0, 1, 2][..]), (1, &[0, 4])].map(|(group, nodes)| {
            let members: Vec<Member> = nodes.iter().map(|node| member(*node)).collect();
            cover.place(group, &members, 1);
            let id = cover.region_of(group).expect("it has members");
            regions.open(id, cover.region(id).expect("it was made just now"));
            id
        });
        (regions, ids)
    }

    fn is_wedged(regions: &Regions, id: u32) -> bool {
        regions.get(id).expect("it is open").streams.is_wedged()
    }

    #[test]
    fn only_regions_that_may_lose_a_member_are_wedged() {
        let (mut regions, [spared, struck]) = regions();
        let holdings = regions.wedge(&[member(4)].into());
        assert_eq!(holdings.regions.keys().copied().collect::<Vec<_>>(), [ROOT, struck]);
        let places = holdings.regions[&struck].iter().map(|held| held.of);
        assert_eq!(places.collect::<Vec<_>>(), [4, 0], "by their places in the view");
        assert!(is_wedged(&regions, struck) && !is_wedged(&regions, spared));
        // Another leader, who would leave out another.
        let holdings = regions.wedge(&[member(1)].into());
        assert_eq!(holdings.regions.len(), 3, "what was promised before is promised still");
    }

    #[test]
    fn what_loses_nobody_after_all_goes_on() {
        let (mut regions, [spared, struck]) = regions();
        regions.wedge(&[member(1), member(4)].into());
        let next = view(2, &[3, 2, 1, 0]);
        assert_eq!(regions.ending(&next), [ROOT, struck]);
        let trim = [(ROOT, (0..5).map(|of| (of, 0)).collect()), (struck, vec![(4, 0), (0, 0)])];
        let cut = Cut { trim: trim.into(), is_reset: false };
        assert!(regions.admit(&next, &cut) && regions.hold(&next, &cut));
        assert!(!regions.admit(&next, &Cut::default()), "it says nothing of the root");
        let short = Cut { trim: [(ROOT, vec![(0, 0)])].into(), is_reset: false };
        assert!(!regions.admit(&next, &short), "it says nothing of four streams");
        let lacking = Cut { trim: [(ROOT, vec![(0, 9)])].into(), is_reset: false };
        assert!(!regions.hold(&next, &lacking));
        [ROOT, struck].iter().for_each(|id| regions.close(*id, &cut));
        regions.go_on(&[ROOT, struck]);
        assert!(regions.get(struck).is_none() && !is_wedged(&regions, spared));
    }

    #[test]
    fn what_is_of_no_region_of_this_member_is_passed_over() {
        let (mut regions, _) = regions();
        let tag = Tag::of_region(ClusterId::from_bytes([9; 16]), 77, 1);
        let packet = Packet::Query;
        let bytes = packet.encode(tag);
        let taken = regions.on_packet(Time::ZERO, member(1).node, (tag, packet), bytes);
        assert_eq!(taken, Taken::Elsewhere);
        assert_eq!(regions.finish(Time::ZERO, |_| false), [], "it was never in it");
    }
}
