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
//! Where there are too many origins the one of those that are no members that was silent for
//! longest gives way: somebody may have made it up, and where a node knows but a part of all
//! members nearly all origins are strangers to it. A message that comes twice is better than one
//! that never comes.
//!
//! Invariant: a message is new once, as long as copies of it are under way and its window is there.

use std::collections::{BTreeMap, BTreeSet};

use live_objects::Member;

use super::MessageId;

/// The windows of all origins.
#[derive(Default)]
pub(crate) struct Windows {
    all: BTreeMap<Member, Window>,
    /// Those of whom nobody was a member here when last looked at, and when they were heard.
    strangers: BTreeSet<(u64, Member)>,
    /// How many gave way.
    given_way: usize,
}

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
    /// Heard this message in this round. Members are here, others are strangers.
    pub(crate) fn hear(
        &mut self,
        MessageId { origin, number }: MessageId,
        round: u64,
        is_here: impl Fn(Member) -> bool,
    ) -> Novelty {
        // No floor rises above the last number: nobody comes to it who counts.
        if number == u64::MAX {
            return Novelty::Refused;
        }
        let is_known = self.all.contains_key(&origin);
        if !is_known && self.all.len() >= ORIGINS_MAX && !self.let_go_of_one(&is_here) {
            return Novelty::Refused;
        }
        let window = self.all.entry(origin).or_default();
        if number < window.floor || !window.above.insert(number) {
            return Novelty::Known;
        }
        let was_stranger = self.strangers.remove(&(window.heard, origin));
        if (was_stranger || !is_known) && !is_here(origin) {
            self.strangers.insert((round, origin));
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

    /// Forgets the stranger that was silent for longest. Says whether there was one.
    fn let_go_of_one(&mut self, is_here: impl Fn(Member) -> bool) -> bool {
        // Who has become a member meanwhile is no stranger any more.
        let first = std::iter::from_fn(|| self.strangers.pop_first());
        let first = first.map(|(_, origin)| origin).find(|origin| !is_here(*origin));
        let forgotten = first.is_some_and(|origin| self.all.remove(&origin).is_some());
        self.given_way += usize::from(forgotten);
        forgotten
    }

    /// How many gave way since this was asked last.
    pub(crate) fn take_given_way(&mut self) -> usize {
        std::mem::take(&mut self.given_way)
    }

    /// Forgets the origins of whom nothing new was heard for so long that no copy can be under way,
    /// and looks at who of the others is here.
    pub(crate) fn forget(&mut self, round: u64, is_here: impl Fn(Member) -> bool) {
        self.all.retain(|_, window| round < window.heard.saturating_add(IDLE_ROUNDS));
        let strangers = self.all.iter().filter(|(origin, _)| !is_here(**origin));
        self.strangers = strangers.map(|(origin, window)| (window.heard, *origin)).collect();
    }
}

/// The most origins. What is heard of more is dropped where all of them are members.
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

    fn hear(windows: &mut Windows, id: MessageId, round: u64) -> Novelty {
        windows.hear(id, round, |_| true)
    }

    fn forget(windows: &mut Windows, round: u64) {
        windows.forget(round, |_| true);
    }

    proptest! {
        #[test]
        fn a_message_is_new_once(numbers in prop::collection::vec(0..50_u64, 0..200)) {
            let mut windows = Windows::default();
            let mut heard = BTreeSet::new();
            for number in numbers {
                let novelty = hear(&mut windows, id(1, number), 0);
                prop_assert_eq!(novelty == Novelty::New, heard.insert(number));
            }
        }
    }

    #[test]
    fn the_last_of_all_numbers_is_refused_and_the_one_before_is_new_once() {
        let mut windows = Windows::default();
        for number in [u64::MAX - 1, u64::MAX, u64::MAX] {
            let expected = if number == u64::MAX { Novelty::Refused } else { Novelty::New };
            assert_eq!(hear(&mut windows, id(1, number), 0), expected);
        }
        assert_eq!(hear(&mut windows, id(1, u64::MAX - 1), 0), Novelty::Known);
    }

    #[test]
    fn without_gaps_nothing_is_remembered() {
        let mut windows = Windows::default();
        for number in [1, 0, 2, 4, 3] {
            assert_eq!(hear(&mut windows, id(1, number), 0), Novelty::New);
        }
        let window = &windows.all[&id(1, 0).origin];
        assert_eq!((window.floor, window.above.len()), (5, 0));
    }

    #[test]
    fn a_gap_is_given_up_when_too_much_is_above_it() {
        let mut windows = Windows::default();
        for number in 1..=NUMBERS_MAX as u64 {
            hear(&mut windows, id(1, number), 0);
        }
        assert_eq!(windows.all[&id(1, 0).origin].above.len(), NUMBERS_MAX);
        hear(&mut windows, id(1, NUMBERS_MAX as u64 + 1), 0);
        assert_eq!(windows.all[&id(1, 0).origin].above.len(), 0);
        assert_eq!(hear(&mut windows, id(1, 0), 0), Novelty::Known);
        assert_eq!(hear(&mut windows, id(1, u64::MAX - 1), 0), Novelty::New);
    }

    #[test]
    fn origins_are_so_many_and_the_silent_are_forgotten() {
        let mut windows = Windows::default();
        for origin in 0..ORIGINS_MAX as u64 {
            assert_eq!(hear(&mut windows, id(origin, 0), 5), Novelty::New);
        }
        assert_eq!(hear(&mut windows, id(9_999, 0), 5), Novelty::Refused);
        assert_eq!(hear(&mut windows, id(7, 1), 6), Novelty::New);
        forget(&mut windows, 5 + IDLE_ROUNDS - 1);
        assert_eq!(windows.all.len(), ORIGINS_MAX);
        forget(&mut windows, 5 + IDLE_ROUNDS);
        assert_eq!(windows.all.len(), 1, "of one a message came later");
    }

    /// Whoever makes up origins silences neither members nor those whom this node does not know.
    #[test]
    fn the_stranger_that_was_silent_for_longest_gives_way() {
        let mut windows = Windows::default();
        let is_here = |origin: Member| origin == id(0, 0).origin || origin == id(2, 0).origin;
        assert_eq!(windows.hear(id(0, 0), 0, is_here), Novelty::New);
        for origin in 1..ORIGINS_MAX as u64 {
            assert_eq!(windows.hear(id(origin, 0), origin / 20, |_| false), Novelty::New);
        }
        assert_eq!(windows.hear(id(1, 1), 150, is_here), Novelty::New);
        for (turn, origin) in [7_777, 8_888, 9_999].into_iter().enumerate() {
            assert_eq!(windows.hear(id(origin, 0), 150, is_here), Novelty::New, "{origin}");
            assert_eq!(windows.hear(id(origin, 0), 150, is_here), Novelty::Known);
            assert_eq!((windows.all.len(), windows.take_given_way()), (ORIGINS_MAX, 1));
            // The first was heard again, and the second has become a member.
            assert!((0..3).all(|known| windows.all.contains_key(&id(known, 0).origin)));
            assert!(!windows.all.contains_key(&id(3 + turn as u64, 0).origin));
        }
        // Where all are members nobody gives way, whoever it is that comes.
        windows.forget(150, |_| true);
        assert_eq!(windows.hear(id(77_777, 0), 151, |_| false), Novelty::Refused);
        windows.forget(150, |_| false);
        let is_here = |origin: Member| origin == id(77_777, 0).origin;
        assert_eq!(windows.hear(id(77_777, 0), 151, is_here), Novelty::New, "they left");
    }

    /// Whoever speaks in another's name cannot keep him from being heard for good.
    #[test]
    fn a_window_that_was_raised_comes_down_again() {
        let mut windows = Windows::default();
        (0..3).for_each(|number| assert_eq!(hear(&mut windows, id(1, number), 5), Novelty::New));
        for number in 0..=NUMBERS_MAX as u64 {
            hear(&mut windows, id(1, (1 << 60) + number), 6);
        }
        assert_eq!(hear(&mut windows, id(1, 3), 7), Novelty::Known);
        forget(&mut windows, 6 + IDLE_ROUNDS);
        assert_eq!(hear(&mut windows, id(1, 4), 6 + IDLE_ROUNDS), Novelty::New);
    }
}
