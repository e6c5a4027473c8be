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

use std::collections::VecDeque;

use bytes::Bytes;
use live_objects::{Member, ObjectId};

use crate::map::Regrouped;
use crate::wire::Class;

/// A message as it is delivered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Message {
    pub(crate) from: Member,
    /// Which of its sender's commands it is.
    pub(crate) number: u64,
    /// In which opening of this member, if it sent it and that is told.
    pub(crate) session: Option<u32>,
    pub(crate) ordered_by: u64,
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

/// A point in the life of a group that the streams of its members are to pass.
struct Change {
    /// The map that the members send under from there on.
    number: u64,
    /// Whose streams are to pass it.
    before: Vec<Member>,
    what: Told,
    /// In which opening this member is in the group from there on.
    session: Option<u32>,
}

/// A group at one of its members.
pub(crate) struct Live {
    pub(crate) class: Class,
    pub(crate) object: ObjectId,
    me: Member,
    /// The view that was installed, if it holds this member, and in which opening that is in it.
    stay: Option<(Vec<Member>, u32)>,
    /// Changes that are known and not installed.
    changes: VecDeque<Change>,
    /// What belongs to views not yet installed, and the map that it was said under.
    held: VecDeque<(u64, Message)>,
    /// Messages of members that were not in the view.
    pub(crate) absurd: u64,
}

impl Live {
    /// A group that this member is about to be in.
    pub(crate) fn new(class: Class, object: ObjectId, me: Member) -> Self {
        let (changes, held) = (VecDeque::new(), VecDeque::new());
        Self { class, object, me, stay: None, changes, held, absurd: 0 }
    }

    /// The group's members change. This member is in it then in this opening, or in none.
    pub(crate) fn on_change(&mut self, change: Regrouped, session: Option<u32>) {
        let (number, before) = (change.number, change.before.clone());
        self.changes.push_back(Change { number, before, what: Told::Installed(change), session });
    }

    /// A member of the group, which has these now, wants a snapshot. This member is in it in this
    /// opening.
    pub(crate) fn on_cut(&mut self, cut: u64, by: Member, before: Vec<Member>, session: u32) {
        let (what, session) = (Told::Cut { cut, by }, Some(session));
        self.changes.push_back(Change { number: cut, before, what, session });
    }

    /// Whether this member is in the group's present view.
    pub(crate) fn is_in(&self) -> bool {
        self.stay.is_some()
    }

    /// Whether a change waits to be installed.
    pub(crate) fn is_changing(&self) -> bool {
        !self.changes.is_empty()
    }

    /// A message comes, sent under this map. Tells it, unless it has to wait or was sent before this
    /// member was in.
    pub(crate) fn on_message(&mut self, map: u64, message: Message) -> Option<Told> {
        if self.changes.front().is_some_and(|change| map >= change.number) {
            self.held.push_back((map, message));
            return None;
        }
        self.tell(message)
    }

    /// What is told in the present view.
    fn tell(&mut self, message: Message) -> Option<Told> {
        let (members, session) = self.stay.as_ref()?;
        if !members.contains(&message.from) {
            self.absurd += 1;
            return None;
        }
        let session = (message.from == self.me).then_some(*session);
        Some(Told::Message(Message { session, ..message }))
    }

    /// Installs what can be, given up to which map all is settled, and under which each member
    /// stably sends by now.
    pub(crate) fn install(
        &mut self,
        settled: u64,
        map_of: impl Fn(Member) -> Option<u64>,
    ) -> Vec<Told> {
        let mut told = Vec::new();
        while let Some(change) = self.changes.front() {
            let has_passed =
                |member: &Member| map_of(*member).is_none_or(|map| map >= change.number);
            if change.number > settled || !change.before.iter().all(has_passed) {
                break;
            }
            let Change { what, session, .. } = self.changes.pop_front().expect("there is one");
            if let Told::Installed(change) = &what {
                self.stay = session.map(|session| (change.after.clone(), session));
            }
            if self.stay.is_some() || matches!(what, Told::Installed(_)) {
                told.push(what);
            }
            let until = self.changes.front().map_or(u64::MAX, |next| next.number);
            let held = std::mem::take(&mut self.held);
            let (now, later): (VecDeque<_>, VecDeque<_>) =
                held.into_iter().partition(|(map, _)| *map < until);
            self.held = later;
            told.extend(now.into_iter().filter_map(|(_, message)| self.tell(message)));
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
        Regrouped { group: 0, number, before, after, snapshot: false, founded: false }
    }

    fn message(from: u8) -> Message {
        let (session, bytes) = (None, Bytes::new());
        Message { from: member(from), number: 0, session, ordered_by: 0, bytes }
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
        assert_eq!(live.install(1, |_| Some(0)), [installed]);
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
            move |from| {
                let later = if from == member(3) { of_3 } else { 8 };
                Some(if from == member(1) { of_1 } else { later })
            }
        };
        assert_eq!(live.install(8, map(4, 8)), []);
        let expected = [Told::Installed(change(5, &[1, 2], &[1, 2, 3])), told(2)];
        assert_eq!(live.install(8, map(8, 6)), expected);
        assert_eq!(live.install(8, map(8, 8))[1], told(3));
        assert!(!live.is_changing());
    }

    #[test]
    fn what_a_stranger_says_is_dropped() {
        let mut live = live();
        assert_eq!((live.on_message(1, message(9)), live.absurd), (None, 1));
    }

    #[test]
    fn what_is_not_settled_is_not_installed() {
        let mut live = live();
        live.on_change(change(5, &[1, 2], &[1, 2, 3]), Some(SESSION));
        assert_eq!(live.install(4, |_| Some(5)), []);
        assert_eq!(live.install(5, |_| Some(5)).len(), 1);
    }

    #[test]
    fn a_joiner_hears_nothing_of_before() {
        let mut live = Live::new(Class::Fifo, OBJECT, member(3));
        live.on_change(change(5, &[1, 2], &[1, 2, 3]), Some(SESSION));
        assert_eq!(live.on_message(4, message(1)), None);
        assert_eq!(live.on_message(5, message(2)), None);
        assert_eq!(live.install(5, |_| Some(5))[1..], [told(2)]);
    }

    #[test]
    fn who_sends_no_more_is_not_waited_for() {
        let mut live = live();
        live.on_change(change(5, &[1, 2], &[1]), Some(SESSION));
        assert_eq!(live.install(5, |from| (from == member(1)).then_some(5)).len(), 1);
    }

    #[test]
    fn a_snapshot_is_taken_where_all_streams_have_passed_the_wish_for_it() {
        let mut live = live();
        let both = vec![member(1), member(2)];
        live.on_cut(5, member(2), both, SESSION);
        assert_eq!(live.on_message(4, message(2)), Some(told(2)));
        assert_eq!(live.on_message(5, message(1)), None);
        assert_eq!(live.install(5, |from| Some(if from == member(1) { 5 } else { 4 })), []);
        let cut = Told::Cut { cut: 5, by: member(2) };
        assert_eq!(live.install(5, |_| Some(5)), [cut, told(1)]);
        assert!(live.is_in());
    }
}
