//! A group as one of its members lives it: which view it is in, and what is delivered in it.
//!
//! A change of the group's members is known at one point of the total order, but messages of other
//! orders flow past that point. Each frame says under which group map it was cut: what a member
//! sent under an earlier map belongs to the old view, the rest to the new. So the new view is
//! installed when the stream of every member of the old one has passed the change, and what
//! overtook it waits. Nobody stops sending (the idea of QSM's and Spread's light-weight groups;
//! the marks are those of Chandy and Lamport, 1985).
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
    /// The group map that it was sent under.
    pub(crate) map: u64,
    /// If this member sent it: in which opening, and which of its commands it is.
    pub(crate) own: Option<(u32, u64)>,
    pub(crate) ordered_by: u64,
    pub(crate) bytes: Bytes,
}

/// What a group tells its member.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Told {
    /// The members change as said, here and now.
    Installed(Regrouped),
    Message(Message),
}

/// A group at one of its members.
pub(crate) struct Live {
    pub(crate) class: Class,
    pub(crate) object: ObjectId,
    me: Member,
    /// Whether a view that holds this member was installed.
    is_in: bool,
    /// Changes that are known and not installed.
    changes: VecDeque<Regrouped>,
    /// Messages that belong to views not yet installed.
    held: VecDeque<Message>,
}

impl Live {
    /// A group that this member is about to be in.
    pub(crate) fn new(class: Class, object: ObjectId, me: Member) -> Self {
        Self { class, object, me, is_in: false, changes: VecDeque::new(), held: VecDeque::new() }
    }

    /// The group's members change.
    pub(crate) fn on_change(&mut self, change: Regrouped) {
        self.changes.push_back(change);
    }

    /// Whether this member is in the group's present view.
    pub(crate) fn is_in(&self) -> bool {
        self.is_in
    }

    /// Whether a change waits to be installed.
    pub(crate) fn is_changing(&self) -> bool {
        !self.changes.is_empty()
    }

    /// How many bytes of messages wait.
    pub(crate) fn bytes(&self) -> usize {
        self.held.iter().map(|message| message.bytes.len()).sum()
    }

    /// A message comes. Tells it, unless it has to wait or was sent before this member was in.
    pub(crate) fn on_message(&mut self, message: Message) -> Option<Told> {
        if self.changes.front().is_some_and(|change| message.map >= change.number) {
            self.held.push_back(message);
            return None;
        }
        self.is_in.then_some(Told::Message(message))
    }

    /// Installs what can be, given the map under which each member sends by now.
    pub(crate) fn install(&mut self, map_of: impl Fn(Member) -> Option<u64>) -> Vec<Told> {
        let mut told = Vec::new();
        while let Some(change) = self.changes.front() {
            let has_passed =
                |member: &Member| map_of(*member).is_none_or(|map| map >= change.number);
            if !change.before.iter().all(has_passed) {
                break;
            }
            let change = self.changes.pop_front().expect("there is one");
            self.is_in = change.after.contains(&self.me);
            told.push(Told::Installed(change));
            let until = self.changes.front().map_or(u64::MAX, |next| next.number);
            let (now, later): (VecDeque<_>, VecDeque<_>) =
                std::mem::take(&mut self.held).into_iter().partition(|held| held.map < until);
            self.held = later;
            if self.is_in {
                told.extend(now.into_iter().map(Told::Message));
            }
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use live_objects::{Incarnation, NodeId};

    const OBJECT: ObjectId = ObjectId::from_bytes([7; ObjectId::LEN]);

    fn member(node: u8) -> Member {
        let incarnation = Incarnation::from_bytes([node; Incarnation::LEN]);
        Member { node: NodeId::from_bytes([node; NodeId::LEN]), incarnation }
    }

    fn change(number: u64, before: &[u8], after: &[u8]) -> Regrouped {
        let members = |nodes: &[u8]| nodes.iter().map(|node| member(*node)).collect();
        let (before, after) = (members(before), members(after));
        Regrouped { group: 0, number, before, after, snapshot: false, founded: false }
    }

    fn message(from: u8, map: u64) -> Message {
        Message { from: member(from), map, own: None, ordered_by: 0, bytes: Bytes::new() }
    }

    /// A group that its first member is in.
    fn live() -> Live {
        let mut live = Live::new(Class::Fifo, OBJECT, member(1));
        live.on_change(change(1, &[], &[1, 2]));
        assert_eq!(live.install(|_| Some(0)), [Told::Installed(change(1, &[], &[1, 2]))]);
        live
    }

    #[test]
    fn what_overtook_a_change_waits_for_it() {
        let mut live = live();
        let told = |from, map| Some(Told::Message(message(from, map)));
        assert_eq!(live.on_message(message(2, 1)), told(2, 1));
        live.on_change(change(5, &[1, 2], &[1, 2, 3]));
        live.on_change(change(7, &[1, 2, 3], &[1, 3]));
        assert_eq!(live.on_message(message(2, 6)), None);
        assert_eq!(live.on_message(message(2, 8)), None);
        assert_eq!(live.on_message(message(1, 4)), told(1, 4), "it belongs to the old view");
        assert_eq!(live.install(|from| Some(if from == member(1) { 4 } else { 8 })), []);
        let expected =
            [Told::Installed(change(5, &[1, 2], &[1, 2, 3])), Told::Message(message(2, 6))];
        assert_eq!(live.install(|from| Some(if from == member(3) { 6 } else { 8 })), expected);
        assert_eq!(live.install(|_| Some(8)).len(), 2);
        assert!(!live.is_changing());
    }

    #[test]
    fn a_joiner_hears_nothing_of_before() {
        let mut live = Live::new(Class::Fifo, OBJECT, member(3));
        live.on_change(change(5, &[1, 2], &[1, 2, 3]));
        assert_eq!(live.on_message(message(1, 4)), None);
        assert_eq!(live.on_message(message(2, 5)), None);
        let told = live.install(|_| Some(5));
        assert_eq!(told[1..], [Told::Message(message(2, 5))]);
    }

    #[test]
    fn who_sends_no_more_is_not_waited_for() {
        let mut live = live();
        live.on_change(change(5, &[1, 2], &[1]));
        assert_eq!(live.install(|from| (from == member(1)).then_some(5)).len(), 1);
    }
}
