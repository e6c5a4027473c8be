//! One region, as one of its members has it: the streams of its members, in which order they are
//! delivered, and under which group map each member sends by now.
//!
//! A region is a set of members that never changes, to which whatever is said in the groups that
//! are in it is sent (`cover`; QSM, NCA 2008). The *root* is the region of all members of a view;
//! it carries changes of the group map and nothing else. A region *closes* when a view is installed
//! that lacks one of its members: its streams then go as far as the view says. It is *idle* when no
//! group is in it any more, and let go of when all members hold all that was sent in it.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use live_objects::{Io, Member, Time};

use crate::delivery::{Batch, Delivery, Next, Place};
use crate::map::Change;
use crate::post;
use crate::sending::Sending;
use crate::streams::Streams;
use crate::wire::{Class, FrameWriter, Header, PACKET_LEN_MAX, Packet, Part};

/// A region.
pub(crate) struct Region {
    pub(crate) streams: Streams,
    pub(crate) sending: Sending,
    delivery: Delivery,
    /// For each class, the group map under which each member sends by now.
    marks: [Vec<Marks>; 2],
    /// Which of these are not as far as is known, by class and place.
    unstable: BTreeSet<(usize, usize)>,
    /// Who has stably passed something since that was last asked.
    passed: Vec<usize>,
    /// The last change of a group in it that everybody holds: what is sent is sent under that.
    as_of: u64,
    /// Others wait for this member to send something under that.
    must_mark: bool,
    /// A frame that is being filled.
    draft: Option<FrameWriter>,
    /// Since which change no group is in it.
    idle_since: Option<u64>,
    is_closed: bool,
    /// How many bytes of frames are counted as kept in it.
    pub(crate) counted_bytes: usize,
}

/// What comes out of a region.
pub(crate) enum Heard {
    /// A message of a group, or a part of one, that a member sent under this map.
    Part { from: Member, map: u64, ordered_by: u64, part: Part },
    /// What members change in the group map at once, and where that stands.
    Changes { changes: Vec<(Member, Vec<Change>)>, places: Vec<Place> },
}

/// Under which group map a member sends.
#[derive(Default)]
struct Marks {
    /// As far as its stream is stable.
    map: u64,
    /// Beyond that.
    unstable: VecDeque<(u64, Place)>,
}

impl Region {
    /// A region of these streams, the sequencer of which waits so long from one order to the next.
    pub(crate) fn new(streams: Streams, pause: Duration) -> Self {
        let members = streams.members().len();
        let marks = || (0..members).map(|_| Marks::default()).collect();
        Self {
            sending: Sending::with_pause(pause),
            delivery: Delivery::new(members, streams.sequencer()),
            marks: [marks(), marks()],
            unstable: BTreeSet::new(),
            passed: Vec::new(),
            as_of: 0,
            must_mark: false,
            draft: None,
            idle_since: None,
            is_closed: false,
            counted_bytes: 0,
            streams,
        }
    }

    /// Takes in what came in order.
    pub(crate) fn take_in(&mut self) {
        let me = self.streams.me();
        // What is not sent any more is ordered too: the region may go on after all.
        let is_sequencer = me == self.streams.sequencer();
        while let Some(frame) = self.streams.next_fresh() {
            if is_sequencer && usize::from(frame.origin) != me {
                let has_total = frame.has_total();
                self.sending.order(frame.origin, frame.number, frame.map, has_total);
            }
            self.delivery.push(frame);
        }
    }

    /// Goes by what is stable now.
    pub(crate) fn on_stable(&mut self) {
        let Self { marks, unstable, passed, streams, .. } = self;
        unstable.retain(|(class, place)| {
            let marks = &mut marks[*class][*place];
            if marks.on_stable(streams) {
                passed.push(*place);
            }
            !marks.unstable.is_empty()
        });
    }

    /// Who has stably passed something since this was last asked.
    pub(crate) fn passed_lately(&mut self) -> impl Iterator<Item = Member> {
        let members = self.streams.members();
        self.passed.drain(..).map(|place| members[place])
    }

    /// Whether what stands there is held by everybody.
    pub(crate) fn has_settled(&self, places: &[Place]) -> bool {
        self.is_closed || places.iter().all(|place| is_stable(&self.streams, *place))
    }

    /// How far the total order is stable.
    pub(crate) fn ordered(&self) -> u64 {
        self.streams.stable(self.streams.sequencer())
    }

    /// What comes next, given the number of the group map as it is now.
    pub(crate) fn hear(&mut self, map: u64) -> Option<Heard> {
        loop {
            match self.delivery.next(map)? {
                Next::Mark { class, place, map } => self.on_mark(class, place, map),
                Next::Part { place, map, part } => {
                    let (from, ordered_by) = (self.member(place.origin), place.ordered_by);
                    return Some(Heard::Part { from, map, ordered_by, part });
                }
                Next::Changes(Batch { changes, places }) => {
                    let changes = changes.into_iter().map(|(by, it)| (self.member(by), it));
                    return Some(Heard::Changes { changes: changes.collect(), places });
                }
            }
        }
    }

    fn on_mark(&mut self, class: Class, place: Place, map: u64) {
        let marks = &mut self.marks[class as usize][place.origin];
        let last = marks.unstable.back().map_or(marks.map, |(map, _)| *map);
        if map > last {
            marks.unstable.push_back((map, place));
            self.unstable.insert((class as usize, place.origin));
            self.on_stable();
        }
    }

    fn member(&self, place: usize) -> Member {
        self.streams.members()[place]
    }

    /// Under which map a member sends by now, as far as its stream is stable. None if nothing more
    /// is to be waited for.
    pub(crate) fn passed(&self, class: Class, member: Member) -> Option<u64> {
        if self.is_closed {
            return None;
        }
        // Those of a region are in the order of their ids, and no group is in the root.
        let place = self.streams.members().binary_search(&member).ok()?;
        Some(self.marks[class as usize][place].map)
    }

    /// A group in it changes with this map, which everybody holds.
    pub(crate) fn concern(&mut self, map: u64) {
        self.as_of = self.as_of.max(map);
    }

    /// As before, and others wait for this member to send something under that map.
    pub(crate) fn mark(&mut self, map: u64) {
        self.concern(map);
        self.must_mark = true;
    }

    /// No group is in it any more since this map, which everybody holds. All its members are to
    /// pass that, or the sequencer would not know when nobody needs it any more.
    pub(crate) fn set_idle(&mut self, map: u64) {
        self.idle_since = Some(map);
        self.mark(map);
    }

    /// Whether nothing more comes of it, if no group waits for it.
    pub(crate) fn is_done(&self) -> bool {
        let have_passed = |since| self.marks.iter().flatten().all(|marks| marks.map >= since);
        self.idle_since.is_some_and(have_passed)
            && !self.must_mark
            && !self.sending.has_orders()
            && !self.sending.is_waiting()
            && self.delivery.is_empty()
            && self.streams.is_stable()
    }

    /// When there is something to do next, as the last step left it.
    pub(crate) fn next_wake(&self, now: Time) -> Option<Time> {
        // What is due and not done waits for credit, or for the next view.
        let orders_at = self.sending.orders_at().filter(|at| *at > now);
        orders_at.into_iter().chain(self.streams.next_wake()).min()
    }

    /// Its streams go no further than that.
    pub(crate) fn close(&mut self, trim: &[u64]) {
        self.streams.finish_at(trim);
        self.take_in();
        self.delivery.close();
        self.is_closed = true;
        self.must_mark = false;
    }

    /// The frame that is being filled, if another may be sent.
    pub(crate) fn draft(&mut self, now: Time, io: &Io<'_>) -> Option<&mut FrameWriter> {
        if self.streams.is_wedged() || !self.streams.has_credit() {
            return None;
        }
        if self.draft.is_none() {
            let others = self.streams.others().iter();
            let len_max = others.map(|node| io.datagram_max(*node)).min();
            let len_max = len_max.unwrap_or(PACKET_LEN_MAX).min(PACKET_LEN_MAX);
            self.draft = Some(FrameWriter::new(len_max));
        }
        let draft = self.draft.as_mut()?;
        if self.sending.put_orders(now, draft) {
            self.streams.await_stable();
        }
        Some(draft)
    }

    /// Sends what was put into the draft, orders, and a mark if one is due. Tells whether it sent
    /// anything.
    pub(crate) fn flush(&mut self, now: Time, io: &mut Io<'_>) -> bool {
        let is_due = self.must_mark || self.sending.orders_at().is_some_and(|at| at <= now);
        if is_due && self.draft(now, io).is_none() {
            return false;
        }
        let Some(draft) = self.draft.take_if(|it| self.must_mark || !it.is_empty()) else {
            return false;
        };
        if std::mem::take(&mut self.must_mark) {
            self.streams.await_stable();
        }
        let origin = u16::try_from(self.streams.me()).expect("a view has at most 1,024 members");
        let (number, stable) = (self.streams.next_number(), self.streams.own_stable());
        let header = Header { origin, number, stable, map: self.as_of };
        let bytes = draft.seal(self.streams.tag(), header);
        let (_, packet) = Packet::decode(bytes.clone()).expect("what was written can be read");
        let Packet::Data(frame) = packet else { unreachable!("it was written as data") };
        self.streams.cast(now, frame, bytes.clone());
        io.count("groupcomm.frames");
        post::datagram(self.streams.others(), bytes, io);
        true
    }
}

impl Marks {
    /// Tells whether it has stably passed something.
    fn on_stable(&mut self, streams: &Streams) -> bool {
        let before = self.map;
        while let Some((map, place)) = self.unstable.front()
            && is_stable(streams, *place)
        {
            self.map = *map;
            self.unstable.pop_front();
        }
        self.map > before
    }
}

fn is_stable(streams: &Streams, place: Place) -> bool {
    let ordered = streams.stable(streams.sequencer());
    streams.stable(place.origin) >= place.number && ordered >= place.ordered_by
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Frame, Item, Tag};
    use bytes::Bytes;
    use live_objects::{ClusterId, Epoch, Incarnation, NodeId, Rng};

    fn member(node: u8) -> Member {
        let incarnation = Incarnation::from_bytes([1; Incarnation::LEN]);
        Member { node: NodeId::from_bytes([node; NodeId::LEN]), incarnation }
    }

    #[test]
    fn what_came_just_before_a_change_that_did_not_come_about_is_ordered() {
        let epoch = Epoch { cluster: ClusterId::from_bytes([9; 16]), number: 1 };
        let tag = Tag::of_view(&epoch);
        let members = vec![member(0), member(1)];
        let streams = Streams::new(tag, members, member(0), 0, Rng::from_seed([7; 32]));
        let mut region = Region::new(streams, Duration::ZERO);
        let bytes = Bytes::from_static(b"total");
        let (class, last) = (Class::Total, true);
        let part = Part { class, group: 0, message: 0, offset: 0, last, bytes };
        let items = vec![Item::Part(part)];
        let packet = Packet::Data(Frame { origin: 1, number: 1, stable: 0, map: 0, items });
        let bytes = packet.encode(tag);
        assert!(region.streams.on_packet(Time::ZERO, member(1).node, packet, bytes));
        region.streams.wedge();
        region.take_in();
        region.streams.unwedge();
        assert!(region.sending.has_orders());
    }
}
