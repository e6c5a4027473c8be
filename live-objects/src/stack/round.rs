//! Whose turn it is: the objects of one module that have something to take, round robin.
//!
//! The first `turns` objects of the line have not had their turn in this step; those behind them
//! have, or wait for the next one. Invariant: each object stands in the line at most once, which
//! the stack sees to by a mark on the object.

use std::collections::VecDeque;

use crate::name::ObjectId;

#[derive(Default)]
pub(super) struct Round {
    line: VecDeque<ObjectId>,
    turns: usize,
}

impl Round {
    /// A step begins: everybody in the line has a turn.
    pub(super) fn begin(&mut self) {
        self.turns = self.line.len();
    }

    /// Who is next in this step. The object leaves the line.
    pub(super) fn next(&mut self) -> Option<ObjectId> {
        self.turns = self.turns.checked_sub(1)?;
        Some(self.line.pop_front().expect("no more turns than objects in the line"))
    }

    /// An object that was not in the line joins it, with a turn in this step.
    pub(super) fn join(&mut self, object: ObjectId) {
        self.line.insert(self.turns, object);
        self.turns += 1;
    }

    /// An object that had its turn joins the line again, for the next step.
    pub(super) fn rejoin(&mut self, object: ObjectId) {
        self.line.push_back(object);
    }

    /// An object is closed.
    pub(super) fn leave(&mut self, object: ObjectId) {
        if let Some(place) = self.line.iter().position(|other| *other == object) {
            self.line.remove(place);
            self.turns -= usize::from(place < self.turns);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_joins_late_comes_before_those_who_had_their_turn() {
        let [a, b, c] = [1, 2, 3].map(|byte| ObjectId::from_bytes([byte; ObjectId::LEN]));
        let mut round = Round::default();
        round.join(a);
        round.join(b);
        assert_eq!(round.next(), Some(a));
        round.rejoin(a);
        round.join(c);
        assert_eq!([round.next(), round.next(), round.next()], [Some(b), Some(c), None]);
        round.begin();
        assert_eq!([round.next(), round.next()], [Some(a), None]);
    }
}
