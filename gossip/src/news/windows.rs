//! Which messages were heard: a window of numbers for each origin.
//!
//! An origin numbers its messages 0, 1, 2, … in each of its lives. Of a window all numbers below
//! its *floor* count as heard, and of those above it the heard ones are remembered. The floor rises
//! with what is heard without a gap, so that a stream of which nothing is missing costs one number.
//! Where too many are remembered above a gap the gap is given up: what was missing in it counts as
//! heard, and is dropped should it still come.
//!
//! A window in which nothing was new for long is forgotten, since no copy of what it remembers is
//! under way any more: so if somebody spoke in an origin's name, of numbers far above its own, it
//! is heard again soon after that ends.
//!
//! Invariant: a message is new once, as long as copies of it are under way.

use std::collections::{BTreeMap, BTreeSet};

use live_objects::Member;

use super::MessageId;

/// The windows of all origins.
#[derive(Default)]
pub(crate) struct Windows(BTreeMap<Member, Window>);

#[derive(Default)]
struct Window {
    floor: u64,
    above: BTreeSet<u64>,
    /// The round in which a message was last new.
    heard: u64,
}

/// What a message is to a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Novelty {
    /// It was not heard before.
    New,
    /// It was.
    Known,
    /// It cannot be told: there are too many origins, or it has the last of all numbers.
    Refused,
}

impl Windows {
    /// Heard this message in this round.
    pub(crate) fn hear(&mut self, id: MessageId, round: u64) -> Novelty {
        // No floor rises above the last number: nobody comes to it who counts.
        if id.number == u64::MAX || self.0.len() >= ORIGINS_MAX && !self.0.contains_key(&id.origin)
        {
            return Novelty::Refused;
        }
        let window = self.0.entry(id.origin).or_default();
        if id.number < window.floor || !window.above.insert(id.number) {
            return Novelty::Known;
        }
        window.heard = round;
        if window.above.len() > NUMBERS_MAX {
            window.floor = *window.above.first().expect("just seen to hold more than none");
        }
        while window.above.remove(&window.floor) {
            window.floor = window.floor.saturating_add(1);
        }
        Novelty::New
    }

    /// Forgets the origins of whom nothing new was heard for so long that no copy can be under way.
    pub(crate) fn forget(&mut self, round: u64) {
        self.0.retain(|_, window| round < window.heard + IDLE_ROUNDS);
    }

    /// Forgets the origins that are not here, for the sake of one who is.
    pub(crate) fn make_room(&mut self, is_here: impl Fn(Member) -> bool) {
        self.0.retain(|origin, _| is_here(*origin));
    }
}

/// The most origins. What is heard of more is dropped.
const ORIGINS_MAX: usize = 2_048;

/// The most numbers that are remembered above a gap.
const NUMBERS_MAX: usize = 2_048;

/// For how many rounds an origin is remembered after its last message.
const IDLE_ROUNDS: u64 = 200;

#[cfg(test)]
mod tests {
    use super::*;
    use live_objects::{Incarnation, NodeId};
    use proptest::prelude::*;

    fn id(origin: u64, number: u64) -> MessageId {
        let mut node = [0; NodeId::LEN];
        node[..8].copy_from_slice(&origin.to_be_bytes());
        let incarnation = Incarnation::from_bytes([1; Incarnation::LEN]);
        MessageId { origin: Member { node: NodeId::from_bytes(node), incarnation }, number }
    }

    proptest! {
        #[test]
        fn a_message_is_new_once(numbers in prop::collection::vec(0..50_u64, 0..200)) {
            let mut windows = Windows::default();
            let mut heard = BTreeSet::new();
            for number in numbers {
                let novelty = windows.hear(id(1, number), 0);
                prop_assert_eq!(novelty == Novelty::New, heard.insert(number));
            }
        }
    }

    #[test]
    fn the_last_of_all_numbers_is_refused_and_the_one_before_is_new_once() {
        let mut windows = Windows::default();
        for number in [u64::MAX - 1, u64::MAX, u64::MAX] {
            let expected = if number == u64::MAX { Novelty::Refused } else { Novelty::New };
            assert_eq!(windows.hear(id(1, number), 0), expected);
        }
        assert_eq!(windows.hear(id(1, u64::MAX - 1), 0), Novelty::Known);
    }

    #[test]
    fn without_gaps_nothing_is_remembered() {
        let mut windows = Windows::default();
        for number in [1, 0, 2, 4, 3] {
            assert_eq!(windows.hear(id(1, number), 0), Novelty::New);
        }
        let window = &windows.0[&id(1, 0).origin];
        assert_eq!((window.floor, window.above.len()), (5, 0));
    }

    #[test]
    fn a_gap_is_given_up_when_too_much_is_above_it() {
        let mut windows = Windows::default();
        for number in 1..=NUMBERS_MAX as u64 {
            windows.hear(id(1, number), 0);
        }
        assert_eq!(windows.0[&id(1, 0).origin].above.len(), NUMBERS_MAX);
        windows.hear(id(1, NUMBERS_MAX as u64 + 1), 0);
        assert_eq!(windows.0[&id(1, 0).origin].above.len(), 0);
        assert_eq!(windows.hear(id(1, 0), 0), Novelty::Known);
        assert_eq!(windows.hear(id(1, u64::MAX - 1), 0), Novelty::New);
    }

    #[test]
    fn origins_are_so_many_and_the_silent_are_forgotten() {
        let mut windows = Windows::default();
        for origin in 0..ORIGINS_MAX as u64 {
            assert_eq!(windows.hear(id(origin, 0), 5), Novelty::New);
        }
        assert_eq!(windows.hear(id(9_999, 0), 5), Novelty::Refused);
        assert_eq!(windows.hear(id(7, 1), 6), Novelty::New);
        windows.forget(5 + IDLE_ROUNDS - 1);
        assert_eq!(windows.0.len(), ORIGINS_MAX);
        windows.make_room(|origin| origin != id(9, 0).origin);
        assert_eq!(windows.0.len(), ORIGINS_MAX - 1, "one is not here");
        assert_eq!(windows.hear(id(9_999, 0), 5), Novelty::New);
        windows.forget(5 + IDLE_ROUNDS);
        assert_eq!(windows.0.len(), 1, "of one a message came later");
    }

    /// Whoever speaks in another's name cannot keep him from being heard for good.
    #[test]
    fn a_window_that_was_raised_comes_down_again() {
        let mut windows = Windows::default();
        (0..3).for_each(|number| assert_eq!(windows.hear(id(1, number), 5), Novelty::New));
        for number in 0..=NUMBERS_MAX as u64 {
            windows.hear(id(1, (1 << 60) + number), 6);
        }
        assert_eq!(windows.hear(id(1, 3), 7), Novelty::Known);
        windows.forget(6 + IDLE_ROUNDS);
        assert_eq!(windows.hear(id(1, 4), 6 + IDLE_ROUNDS), Novelty::New);
    }
}
