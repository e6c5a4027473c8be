//! What this node lacks and asked for.
//!
//! It asks one who has it, and again after a while if it does not come: whoever said last that he
//! has it. (Plumtree, SRDS 2007, section 3.6, goes on to the next who announced a message, in the
//! order in which they did.)
//!
//! Invariant: of what is asked for each thing stands in the queue once, and there are at most
//! [`ASKED_MAX`].

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use live_objects::{NodeId, Time};

/// What was asked for and did not come yet.
pub(crate) struct Wants {
    /// For how long an answer is waited for.
    patience: Duration,
    asked: BTreeMap<u32, Want>,
    queue: BTreeSet<(Time, u32)>,
}

struct Want {
    /// Who said last that he has it.
    from: NodeId,
    attempts: u32,
    deadline: Time,
}

impl Wants {
    pub(crate) fn new(patience: Duration) -> Self {
        Self { patience, asked: BTreeMap::new(), queue: BTreeSet::new() }
    }

    /// Somebody has what this node lacks. Says whether he is to be asked for it: nobody is just
    /// now, and there is room for more wants.
    pub(crate) fn ask(&mut self, have: u32, from: NodeId, now: Time) -> bool {
        if let Some(want) = self.asked.get_mut(&have) {
            want.from = from;
            return false;
        }
        let his = self.asked.values().filter(|want| want.from == from).count();
        let is_room = self.asked.len() < ASKED_MAX && his < ASKED_OF_ONE_MAX;
        if is_room {
            self.wait(have, Want { from, attempts: 1, deadline: now + self.patience });
        }
        is_room
    }

    /// It came. Says whether it was asked for.
    pub(crate) fn came(&mut self, have: u32) -> bool {
        let Some(want) = self.asked.remove(&have) else { return false };
        let stood = self.queue.remove(&(want.deadline, have));
        assert!(stood, "what is asked for stands in the queue");
        true
    }

    /// What did not come in time, and whom to ask for it again, but for what was asked for so often
    /// that it is given up.
    pub(crate) fn due(&mut self, now: Time) -> BTreeMap<NodeId, Vec<u32>> {
        let mut due: BTreeMap<NodeId, Vec<u32>> = BTreeMap::new();
        while let Some((deadline, have)) = self.queue.first().copied()
            && deadline <= now
        {
            self.queue.pop_first();
            let want = self.asked.remove(&have).expect("what stands in the queue is asked for");
            if want.attempts < ATTEMPTS_MAX {
                due.entry(want.from).or_default().push(have);
                let (attempts, deadline) = (want.attempts + 1, now + self.patience);
                self.wait(have, Want { attempts, deadline, ..want });
            }
        }
        due
    }

    /// When the next is due.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        self.queue.first().map(|(deadline, _)| *deadline)
    }

    fn wait(&mut self, have: u32, want: Want) {
        self.queue.insert((want.deadline, have));
        self.asked.insert(have, want);
        assert_eq!(self.asked.len(), self.queue.len(), "each stands in the queue once");
    }
}

/// The most that is asked for and did not come yet.
pub(crate) const ASKED_MAX: usize = 1_024;

/// The most that one is asked for: who says that he has what there is not must leave some to
/// others.
const ASKED_OF_ONE_MAX: usize = 256;

/// How often it is asked for. Should somebody say again that he has it, it is asked for anew.
const ATTEMPTS_MAX: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::tests::entry;

    const PATIENCE: Duration = Duration::from_millis(100);

    fn node(number: u8) -> NodeId {
        entry(number, 1).member.node
    }

    fn at(patiences: u32) -> Time {
        Time::ZERO + PATIENCE * patiences
    }

    #[test]
    fn one_is_asked_at_a_time_and_another_if_it_does_not_come() {
        let mut wants = Wants::new(PATIENCE);
        assert!(wants.ask(7, node(1), at(0)));
        assert!(!wants.ask(7, node(2), at(0)));
        assert!(wants.due(at(0)).is_empty());
        assert_eq!(wants.next_deadline(), Some(at(1)));
        assert_eq!(wants.due(at(1)), BTreeMap::from([(node(2), vec![7])]));
        assert!(wants.came(7) && !wants.came(7));
        assert_eq!(wants.next_deadline(), None);
        assert!(wants.ask(7, node(1), at(1)), "it was forgotten meanwhile");
    }

    #[test]
    fn what_does_not_come_is_given_up() {
        let mut wants = Wants::new(PATIENCE);
        assert!(wants.ask(7, node(1), at(0)));
        let asked = (1..20).filter(|turn| !wants.due(at(*turn)).is_empty()).count();
        assert_eq!(asked as u32 + 1, ATTEMPTS_MAX);
        assert_eq!(wants.next_deadline(), None);
        assert!(wants.ask(7, node(1), at(20)));
    }

    #[test]
    fn so_much_is_asked_for() {
        let mut wants = Wants::new(PATIENCE);
        let by = |have: usize| node((have / ASKED_OF_ONE_MAX) as u8);
        assert!((0..ASKED_OF_ONE_MAX).all(|have| wants.ask(have as u32, by(have), at(0))));
        assert!(!wants.ask(u32::MAX, node(0), at(0)), "one has not all of it");
        assert!((ASKED_OF_ONE_MAX..ASKED_MAX).all(|have| wants.ask(have as u32, by(have), at(0))));
        assert!(!wants.ask(u32::MAX, node(99), at(0)));
        assert_eq!(wants.due(at(1))[&node(1)].len(), ASKED_OF_ONE_MAX);
    }
}
