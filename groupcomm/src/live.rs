//! A group as one of its members lives it: which view it is in, and what is delivered in it.
//!
//! A change of the group's members is known at one point of the total order, but messages of other
//! orders flow past that point. Each frame says under which group map it was cut: what a member
//! sent under an earlier map belongs to the old view, the rest to the new. So the new view is
//! installed when the stream of every member of the old one has passed the change, and what
//! overtook it waits. Nobody stops sending (the idea of QSM's and Spread's light-weight groups;
//! the marks are those of Chandy and Lamport, 1985).
//!
//! A member sends nothing under a change that is not *settled*, held by all members of the
//! configuration, and the marks must be stable before a view is installed. Whoever installs it then
//! knows that whatever becomes of it, all others deliver the same in the view before: what it
//! delivered there lies within every trim.
//!
//! A snapshot is taken at such a point too, since messages flow past the wish for it in the same
//! way.
//!
//! Invariant: every member delivers a message in the view in which it was sent.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use fixedbitset::FixedBitSet;
use live_objects::{Member, ObjectId, Port};

use crate::map::Regrouped;
use crate::wire::{Class, Part};

/// A message as it is delivered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Message {
    pub(crate) from: Member,
    /// Which of its sender's commands it is.
    pub(crate) number: u64,
    /// In which opening of this member, if it sent it and that is told.
    pub(crate) session: Option<u32>,
    pub(crate) ordered_by: u64,
    /// In which region it came.
    pub(crate) region: u32,
    pub(crate) bytes: Bytes,
}

/// What a group tells its member.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Told {
    /// The members change as said, here and now.
    Installed(Regrouped),
    Message(Message),
    /// A snapshot of the state as it is here and now is wanted, under this number.
    Cut {
        cut: u64,
        by: Member,
    },
}

/// A view of the group that this member is in.
#[derive(Clone, Copy)]
struct Stay {
    /// Its members send under this map, or a later one.
    since: u64,
    /// In which opening this member is in it.
    session: u32,
}

struct Partial {
    number: u64,
    /// The map under which it was begun.
    map: u64,
    bytes: BytesMut,
}

/// A point in the life of a group that the streams of its members are to pass.
struct Change {
    /// The map that the members send under from there on.
    number: u64,
    /// Whose streams are to pass it, in the region where the group is until then.
    before: Arc<[Member]>,
    from: Option<u32>,
    /// How many of these have.
    passed: usize,
    /// What is told when all have.
    what: Option<Told>,
    /// In which opening this member is in the group from there on.
    session: Option<u32>,
}

/// A group at one of its members.
pub(crate) struct Live {
    pub(crate) class: Class,
    pub(crate) object: ObjectId,
    me: Member,
    /// In which region this member sends what it says, if it may say anything.
    pub(crate) sends_in: Option<u32>,
    /// Who may say something, by place in the configuration: members of the group, or of one of its
    /// views that is not over.
    pub(crate) speakers: FixedBitSet,
    /// The view that was installed, if it holds this member.
    stay: Option<Stay>,
    /// Changes that are known and not installed.
    changes: VecDeque<Change>,
    /// Messages of which parts have come, by region and sender.
    partials: BTreeMap<(u32, Member), Partial>,
    /// What belongs to views not yet installed, and the map that it was said under.
    held: VecDeque<(u64, Message)>,
    /// Parts that do not fit together.
    pub(crate) absurd: usize,
}

impl Live {
    /// A group that this member is about to be in.
    pub(crate) fn new(class: Class, object: ObjectId, me: Member) -> Self {
        Self {
            class,
            object,
            me,
            sends_in: None,
            speakers: FixedBitSet::new(),
            stay: None,
            changes: VecDeque::new(),
            partials: BTreeMap::new(),
            held: VecDeque::new(),
            absurd: 0,
        }
    }

    /// The group's members change. This member is in it then in this opening, or in none.
    pub(crate) fn on_change(&mut self, change: Regrouped, session: Option<u32>) {
        let (number, before, from) = (change.number, Arc::clone(&change.before), change.from);
        let what = Some(Told::Installed(change));
        self.changes.push_back(Change { number, before, from, passed: 0, what, session });
    }

    /// The group moves from a region with these members to another.
    pub(crate) fn on_move(&mut self, number: u64, before: Arc<[Member]>, from: u32) {
        let (what, session) = (None, None);
        self.changes.push_back(Change {
            number,
            before,
            from: Some(from),
            passed: 0,
            what,
            session,
        });
    }

    /// A member of the group, which has these now, wants a snapshot. The group is in that region,
    /// and this member in the group in that opening.
    pub(crate) fn on_cut(
        &mut self,
        cut: u64,
        by: Member,
        before: Arc<[Member]>,
        (from, session): (Option<u32>, u32),
    ) {
        let (what, session) = (Some(Told::Cut { cut, by }), Some(session));
        self.changes.push_back(Change { number: cut, before, from, passed: 0, what, session });
    }

    /// Whether this member is in the group's present view.
    pub(crate) fn is_in(&self) -> bool {
        self.stay.is_some()
    }

    /// The regions that it waits for what comes in.
    pub(crate) fn awaited(&self) -> impl Iterator<Item = u32> {
        self.changes.iter().filter_map(|change| change.from)
    }

    /// The member whose stream it waits for next to pass a change, and in which region.
    pub(crate) fn awaits(&self) -> Option<(u32, Member)> {
        let change = self.changes.front()?;
        change.from.zip(change.before.get(change.passed).copied())
    }

    /// Members of views that are not over.
    pub(crate) fn before(&self) -> impl Iterator<Item = Member> {
        self.changes.iter().flat_map(|change| change.before.iter().copied())
    }

    /// How many changes wait to be installed.
    pub(crate) fn changes(&self) -> usize {
        self.changes.len()
    }

    /// A message comes in a region from a member, or a part of one, sent under this map.
    pub(crate) fn on_part(
        &mut self,
        (region, from): (u32, Member),
        map: u64,
        ordered_by: u64,
        part: Part,
    ) -> Option<Told> {
        let number = part.message;
        let bytes = self.assemble((region, from), map, part)?;
        let message = Message { from, number, session: None, ordered_by, region, bytes };
        self.on_message(map, message)
    }

    /// The message that a part is the last of. Whoever has not heard its beginning was not in the
    /// group yet.
    fn assemble(&mut self, by: (u32, Member), map: u64, part: Part) -> Option<Bytes> {
        if part.offset == 0 {
            self.partials.remove(&by);
            if part.last {
                return Some(part.bytes);
            }
            let bytes = BytesMut::from(&part.bytes[..]);
            self.partials.insert(by, Partial { number: part.message, map, bytes });
            return None;
        }
        let partial = self.partials.get_mut(&by)?;
        let len = partial.bytes.len();
        let is_next = partial.number == part.message && len == part.offset as usize;
        if !is_next || len + part.bytes.len() > Port::COMMAND_BYTES_MAX {
            self.absurd += 1;
            return None;
        }
        partial.bytes.extend_from_slice(&part.bytes);
        part.last.then(|| {
            let partial = self.partials.remove(&by).expect("it was there just now");
            partial.bytes.freeze()
        })
    }

    /// A message comes, sent under this map. Tells it, unless it has to wait or was sent before
    /// this member was in.
    fn on_message(&mut self, map: u64, message: Message) -> Option<Told> {
        if self.changes.front().is_some_and(|change| map >= change.number) {
            self.held.push_back((map, message));
            return None;
        }
        self.tell(map, message)
    }

    /// What is told in the present view.
    fn tell(&self, map: u64, message: Message) -> Option<Told> {
        // The group may have been in this region before this member was in the group.
        let stay = self.stay.as_ref().filter(|stay| map >= stay.since)?;
        let session = (message.from == self.me).then_some(stay.session);
        Some(Told::Message(Message { session, ..message }))
    }

    /// Installs what can be, given up to which map all is settled, and under which each member
    /// stably sends by now in a region. Nobody is waited for who sends no more.
    pub(crate) fn install(
        &mut self,
        settled: u64,
        map_of: impl Fn(Option<u32>, Member) -> Option<u64>,
    ) -> Vec<Told> {
        let mut told = Vec::new();
        while let Some(change) = self.changes.front_mut() {
            while let Some(member) = change.before.get(change.passed)
                && map_of(change.from, *member).is_none_or(|map| map >= change.number)
            {
                change.passed += 1;
            }
            if change.number > settled || change.passed < change.before.len() {
                break;
            }
            let change = self.changes.pop_front().expect("there is one");
            if !matches!(change.what, Some(Told::Cut { .. })) {
                // What was half said before is said anew, if at all.
                self.partials.retain(|_, partial| partial.map >= change.number);
            }
            let is_view = matches!(change.what, Some(Told::Installed(_)));
            if is_view {
                let since = change.number;
                self.stay = change.session.map(|session| Stay { since, session });
            }
            told.extend(change.what.filter(|_| self.stay.is_some() || is_view));
            let until = self.changes.front().map_or(u64::MAX, |next| next.number);
            let held = std::mem::take(&mut self.held);
            let (now, later): (VecDeque<_>, VecDeque<_>) =
                held.into_iter().partition(|(map, _)| *map < until);
            self.held = later;
            told.extend(now.into_iter().filter_map(|(map, message)| self.tell(map, message)));
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use live_objects::{Incarnation, NodeId};

    const OBJECT: ObjectId = ObjectId::from_bytes([7; ObjectId::LEN]);
    const ME: u8 = 1;
    const SESSION: u32 = 4;

    fn member(node: u8) -> Member {
        let incarnation = Incarnation::from_bytes([node; Incarnation::LEN]);
        Member { node: NodeId::from_bytes([node; NodeId::LEN]), incarnation }
    }

    fn change(number: u64, before: &[u8], after: &[u8]) -> Regrouped {
        let members = |nodes: &[u8]| nodes.iter().map(|node| member(*node)).collect();
        let (before, after) = (members(before), members(after));
        let (from, to) = (Some(1), Some(1));
        Regrouped { group: 0, number, before, after, from, to, snapshot: false, founded: false }
    }

    fn message(from: u8) -> Message {
        let (session, region, bytes) = (None, 1, Bytes::new());
        Message { from: member(from), number: 0, session, ordered_by: 0, region, bytes }
    }

    /// A message as it is told.
    fn told(from: u8) -> Told {
        let session = (from == ME).then_some(SESSION);
        Told::Message(Message { session, ..message(from) })
    }

    /// A group that its first member is in.
    fn live() -> Live {
        let mut live = Live::new(Class::Fifo, OBJECT, member(ME));
        live.on_change(change(1, &[], &[1, 2]), Some(SESSION));
        let installed = Told::Installed(change(1, &[], &[1, 2]));
        assert_eq!(live.install(1, |_, _| Some(0)), [installed]);
        live
    }

    #[test]
    fn what_overtook_a_change_waits_for_it() {
        let mut live = live();
        assert_eq!(live.on_message(1, message(2)), Some(told(2)));
        live.on_change(change(5, &[1, 2], &[1, 2, 3]), Some(SESSION));
        live.on_change(change(7, &[1, 2, 3], &[1, 3]), Some(SESSION));
        assert_eq!(live.on_message(6, message(2)), None);
        assert_eq!(live.on_message(8, message(3)), None);
        assert_eq!(live.on_message(4, message(1)), Some(told(1)), "it belongs to the old view");
        let map = |of_1, of_3| {
            move |_, from| {
                let later = if from == member(3) { of_3 } else { 8 };
                Some(if from == member(1) { of_1 } else { later })
            }
        };
        assert_eq!(live.install(8, map(4, 8)), []);
        let expected = [Told::Installed(change(5, &[1, 2], &[1, 2, 3])), told(2)];
        assert_eq!(live.install(8, map(8, 6)), expected);
        assert_eq!(live.install(8, map(8, 8))[1], told(3));
        assert_eq!(live.changes(), 0);
    }

    #[test]
    fn a_message_is_told_when_its_last_part_has_come() {
        let mut live = live();
        let mut part = |region, from, offset, last, text: &'static str| {
            let bytes = Bytes::from_static(text.as_bytes());
            let part = Part { class: Class::Fifo, group: 0, message: 0, offset, last, bytes };
            let told = live.on_part((region, member(from)), 1, 0, part);
            told.map(|told| {
                let Told::Message(message) = told else { panic!("{told:?}") };
                String::from_utf8(message.bytes.to_vec()).unwrap()
            })
        };
        assert_eq!(part(1, 2, 0, true, "whole"), Some("whole".into()));
        assert_eq!(part(1, 2, 0, false, "ab"), None);
        assert_eq!(part(2, 2, 0, false, "ab"), None, "it is said anew elsewhere");
        assert_eq!(part(1, 2, 2, false, "c"), None);
        assert_eq!(part(2, 2, 2, true, "cd"), Some("abcd".into()));
        assert_eq!(part(1, 1, 2, true, "end"), None, "who heard no beginning hears no end");
        assert_eq!(part(1, 2, 9, true, "x"), None);
        assert_eq!(live.absurd, 1);
    }

    #[test]
    fn what_was_half_said_by_one_who_is_gone_is_forgotten_with_the_view() {
        let mut live = live();
        let bytes = Bytes::from_static(b"ab");
        let part = Part { class: Class::Fifo, group: 0, message: 0, offset: 0, last: false, bytes };
        live.on_change(change(5, &[1, 2], &[1]), Some(SESSION));
        live.on_part((1, member(2)), 1, 0, part.clone());
        live.on_part((1, member(1)), 5, 0, part);
        assert_eq!(live.partials.len(), 2, "it may say the rest yet");
        live.install(5, |_, _| Some(5));
        assert_eq!(live.partials.keys().map(|(_, from)| *from).collect::<Vec<_>>(), [member(1)]);
    }

    #[test]
    fn what_is_not_settled_is_not_installed() {
        let mut live = live();
        live.on_change(change(5, &[1, 2], &[1, 2, 3]), Some(SESSION));
        assert_eq!(live.install(4, |_, _| Some(5)), []);
        assert_eq!(live.install(5, |_, _| Some(5)).len(), 1);
    }

    #[test]
    fn a_joiner_hears_nothing_of_before() {
        let mut live = Live::new(Class::Fifo, OBJECT, member(3));
        live.on_change(change(5, &[1, 2], &[1, 2, 3]), Some(SESSION));
        assert_eq!(live.on_message(4, message(1)), None);
        assert_eq!(live.on_message(5, message(2)), None);
        assert_eq!(live.install(5, |_, _| Some(5))[1..], [told(2)]);
    }

    /// The group was in a region that this member is in, then in one that it is not in, and comes
    /// back with it.
    #[test]
    fn a_joiner_hears_nothing_of_before_however_late_it_comes() {
        let mut live = Live::new(Class::Fifo, OBJECT, member(3));
        live.on_change(change(7, &[1, 2], &[1, 2, 3]), Some(SESSION));
        assert_eq!(live.install(7, |_, _| None).len(), 1);
        assert_eq!((live.on_message(4, message(2)), live.absurd), (None, 0));
        assert_eq!(live.on_message(7, message(2)), Some(told(2)));
    }

    #[test]
    fn who_sends_no_more_is_not_waited_for() {
        let mut live = live();
        live.on_change(change(5, &[1, 2], &[1]), Some(SESSION));
        assert_eq!(live.install(5, |_, from| (from == member(1)).then_some(5)).len(), 1);
    }

    #[test]
    fn what_comes_by_the_region_that_a_group_moves_to_waits_for_what_came_by_the_other() {
        let mut live = live();
        live.install(4, |_, _| None);
        live.on_move(5, [member(1), member(2)].into(), 1);
        assert_eq!(live.awaits(), Some((1, member(1))));
        assert_eq!(live.on_message(5, message(1)), None);
        assert_eq!(live.install(5, |_, from| (from == member(2)).then_some(4)), []);
        assert_eq!(live.awaits(), Some((1, member(2))), "who sends no more is not waited for");
        assert_eq!(live.on_message(4, message(2)), Some(told(2)));
        assert_eq!(live.install(5, |_, _| Some(5)), [told(1)], "the view is as it was");
        assert_eq!((live.awaits(), live.changes()), (None, 0));
    }

    #[test]
    fn a_snapshot_is_taken_where_all_streams_have_passed_the_wish_for_it() {
        let mut live = live();
        let both = vec![member(1), member(2)];
        live.on_cut(5, member(2), both.into(), (Some(1), SESSION));
        assert_eq!(live.awaited().collect::<Vec<_>>(), [1]);
        assert_eq!(live.on_message(4, message(2)), Some(told(2)));
        assert_eq!(live.on_message(5, message(1)), None);
        assert_eq!(live.install(5, |_, from| Some(if from == member(1) { 5 } else { 4 })), []);
        let cut = Told::Cut { cut: 5, by: member(2) };
        assert_eq!(live.install(5, |_, _| Some(5)), [cut, told(1)]);
        assert!(live.is_in());
    }
}
