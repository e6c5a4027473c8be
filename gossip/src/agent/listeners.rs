//! Who wants to know who is here: open objects of kind `Members`, and the other modules of the
//! node.
//!
//! An object gets a roster first and then every change. If its application does not read, so that
//! an event finds no room, the object gets nothing more until the application has caught up, and
//! then a roster as of that moment: what changed meanwhile is in it. So a slow reader holds up
//! nobody and costs nothing, and an object costs nothing while nothing changes.

use std::collections::BTreeMap;

use live_objects::{Departure, Event, Io, MembersEvent, ObjectId, Signal};

use super::Noted;
use crate::entry::{Entry, Standing};
use crate::members::{Change, Members};

/// The open objects.
#[derive(Default)]
pub(super) struct Listeners {
    objects: BTreeMap<ObjectId, Listener>,
    /// Those who get a roster at the end of the step.
    due: Vec<ObjectId>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Listener {
    /// It knows all that this node knows.
    Current,
    /// It needs a roster.
    Behind,
}

impl Listeners {
    pub(super) fn open(&mut self, object: ObjectId) {
        self.objects.insert(object, Listener::Behind);
        self.due.push(object);
    }

    pub(super) fn has(&self, object: ObjectId) -> bool {
        self.objects.contains_key(&object)
    }

    pub(super) fn close(&mut self, object: ObjectId) {
        self.objects.remove(&object);
        self.due.retain(|due| *due != object);
    }

    /// The object's application has caught up.
    pub(super) fn drained(&mut self, object: ObjectId) {
        let is_behind = self.objects.get(&object) == Some(&Listener::Behind);
        if is_behind && !self.due.contains(&object) {
            self.due.push(object);
        }
    }

    /// Tells those who know all that this node knows of something that is no change of members.
    pub(super) fn tell_all(&mut self, event: &MembersEvent, io: &mut Io<'_>) {
        for (object, listener) in &mut self.objects {
            if *listener == Listener::Current
                && io.emit(*object, Event::Members(event.clone())).is_err()
            {
                *listener = Listener::Behind;
            }
        }
    }

    /// Tells of the changes of a step, after which `members` holds.
    pub(super) fn tell(&mut self, noted: &[Noted], members: &Members, io: &mut Io<'_>) {
        for noted in noted {
            // Of whom this node does not watch any more it has nothing to signal.
            if let Noted::Change(change) = noted {
                signals_of(change).into_iter().flatten().for_each(|signal| io.signal(signal));
            }
        }
        let events_of = |noted: &Noted| match noted {
            Noted::Change(change) => events_of(change),
            Noted::LetGo(member) => {
                [Some(MembersEvent::Down(*member, Departure::Unwatched)), None, None]
            }
        };
        let events: Vec<MembersEvent> = noted.iter().flat_map(events_of).flatten().collect();
        if !events.is_empty() {
            for (object, listener) in &mut self.objects {
                let tell = |event: &MembersEvent| io.emit(*object, Event::Members(event.clone()));
                if *listener == Listener::Current && events.iter().try_for_each(tell).is_err() {
                    *listener = Listener::Behind;
                }
            }
        }
        for object in std::mem::take(&mut self.due) {
            let roster = MembersEvent::Roster(members.up().collect());
            if io.emit(object, Event::Members(roster)).is_ok() {
                self.objects.insert(object, Listener::Current);
            }
        }
    }
}

/// What an application sees of a change.
fn events_of(change: &Change) -> [Option<MembersEvent>; 3] {
    let now = change.after.member;
    let before = change.before.as_ref().filter(|before| before.standing.is_up());
    let same = before.filter(|before| before.member == now);
    let former = before.filter(|before| before.member != now);
    let down = |entry: &Entry, departure| Some(MembersEvent::Down(entry.member, departure));
    let replaced = former.and_then(|former| down(former, Departure::Failed));
    match (same.map(|same| same.standing), change.after.standing) {
        (None, Standing::Alive) => [replaced, Some(MembersEvent::Up(now)), None],
        (None, Standing::Suspect) => {
            [replaced, Some(MembersEvent::Up(now)), Some(MembersEvent::Suspect(now))]
        }
        (None, Standing::Faulty | Standing::Left) => [replaced, None, None],
        (Some(Standing::Suspect), Standing::Alive) => {
            [Some(MembersEvent::Cleared(now)), None, None]
        }
        (Some(Standing::Alive), Standing::Suspect) => {
            [Some(MembersEvent::Suspect(now)), None, None]
        }
        (Some(_), Standing::Faulty) => [down(&change.after, Departure::Failed), None, None],
        (Some(_), Standing::Left) => [down(&change.after, Departure::Left), None, None],
        (Some(_), Standing::Alive | Standing::Suspect) => [None, None, None],
    }
}

/// What other modules hear of a change: every standing that is new.
fn signals_of(change: &Change) -> [Option<Signal>; 2] {
    let now = change.after.member;
    let same = change.before.as_ref().filter(|before| before.member == now);
    let former = change.before.as_ref().filter(|before| before.member != now);
    let replaced = former.filter(|former| former.standing.is_up());
    let is_new = same.is_none_or(|same| same.standing != change.after.standing);
    let signal = match change.after.standing {
        Standing::Alive => Signal::Alive(now),
        Standing::Suspect => Signal::Suspect(now),
        Standing::Faulty => Signal::Faulty(now),
        Standing::Left => Signal::Left(now),
    };
    [replaced.map(|former| Signal::Faulty(former.member)), is_new.then_some(signal)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::tests::entry;
    use Standing::{Alive, Faulty, Left, Suspect};
    use live_objects::{Incarnation, Member};

    fn seen(before: Option<Standing>, after: Standing) -> Vec<MembersEvent> {
        let before = before.map(|before| entry(1, 1).as_standing(before));
        let change = Change { before, after: entry(1, 2).as_standing(after) };
        events_of(&change).into_iter().flatten().collect()
    }

    #[test]
    fn applications_see_who_is_up() {
        let me = entry(1, 1).member;
        let down = |departure| MembersEvent::Down(me, departure);
        for was_none in [None, Some(Faulty), Some(Left)] {
            assert_eq!(seen(was_none, Alive), [MembersEvent::Up(me)]);
            assert_eq!(seen(was_none, Suspect), [MembersEvent::Up(me), MembersEvent::Suspect(me)]);
            assert_eq!(seen(was_none, Faulty), []);
        }
        for was_up in [Alive, Suspect] {
            assert_eq!(seen(Some(was_up), Faulty), [down(Departure::Failed)]);
            assert_eq!(seen(Some(was_up), Left), [down(Departure::Left)]);
            assert_eq!(seen(Some(was_up), was_up), []);
        }
        assert_eq!(seen(Some(Alive), Suspect), [MembersEvent::Suspect(me)]);
        assert_eq!(seen(Some(Suspect), Alive), [MembersEvent::Cleared(me)]);
    }

    #[test]
    fn a_new_life_ends_the_former() {
        let former = Incarnation::from_bytes([9; Incarnation::LEN]);
        let mut before = entry(1, 1).as_standing(Suspect);
        before.member = Member { incarnation: former, ..before.member };
        let change = Change { before: Some(before.clone()), after: entry(1, 2) };
        let now = change.after.member;
        let gone = MembersEvent::Down(before.member, Departure::Failed);
        assert_eq!(events_of(&change), [Some(gone), Some(MembersEvent::Up(now)), None]);
        let signals = [Some(Signal::Faulty(before.member)), Some(Signal::Alive(now))];
        assert_eq!(signals_of(&change), signals);
    }

    #[test]
    fn modules_hear_every_new_standing() {
        let heard = |before: Option<Standing>, after| {
            let before = before.map(|before| entry(1, 1).as_standing(before));
            signals_of(&Change { before, after: entry(1, 2).as_standing(after) })
        };
        let me = entry(1, 1).member;
        assert_eq!(heard(None, Faulty), [None, Some(Signal::Faulty(me))]);
        assert_eq!(heard(Some(Faulty), Left), [None, Some(Signal::Left(me))]);
        assert_eq!(heard(Some(Suspect), Alive), [None, Some(Signal::Alive(me))]);
        assert_eq!(heard(Some(Alive), Alive), [None, None]);
    }
}
