//! Questions to those who know what this node does not: what is asked, and who was asked when.
//!
//! A question goes to one member of the group that keeps what it is about (`records/affinity`), in
//! one datagram, and most often comes back answered in one. If who was asked does not answer in
//! time another is asked, and another, as many as [`ATTEMPTS_MAX`], and the same again only if
//! there is nobody else. A question is whole without what was asked before, and asking twice
//! changes nothing, so an answer that comes late, or twice, is an answer to nothing.
//!
//! Invariant: every question that is open has one deadline. No search begins while there are
//! [`QUESTIONS_MAX`] of them.

use std::collections::{BTreeMap, BTreeSet};

use live_objects::{Attributes, NodeId, ObjectId, Predicate, Rng, Time};
use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::records::Sought;
use crate::records::affinity::Part;

/// What is asked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Question {
    /// What is published?
    Find { object: ObjectId, sought: Sought },
    /// Do you keep these records, which come with the question?
    Keep,
    /// Do you keep just this much of what I publish, in the group that we name by so many bits: so
    /// many records, whose hashes' exclusive or is this?
    Check { depth: u8, count: u32, sum: u64 },
    /// Does what you say of yourself in this catalog match, and where may others be who do, of
    /// those whose ids begin with so many bits as yours? A [`Clue`] answers.
    Search { object: ObjectId, bits: u8, matching: Predicate },
    /// What did you see of this node? What did stands beside the answer.
    Why(NodeId),
    /// Do you claim this, which comes with the question? What you do comes with the answer.
    Claim,
}

/// What whoever is asked in a search knows.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Clue {
    /// At which levels its sibling zones may have somebody who matches, in order.
    pub(crate) levels: Vec<u8>,
    /// What it says of itself, if that matches.
    pub(crate) attributes: Option<Attributes>,
}

/// What is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) verdict: Verdict,
    /// By how many bits whoever answers names its group.
    pub(crate) depth: u8,
}

/// How much of an answer it is. Numbered as on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Verdict {
    /// All of it; or yes.
    Whole,
    /// There is more than a datagram takes: ask over a link.
    Long,
    /// I do not keep that; or no.
    Not,
}

/// A question that waits for its answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Open<A> {
    /// For what it was asked.
    pub(crate) about: A,
    /// Whom to ask: any of these.
    pub(crate) among: Part,
    /// Who was asked, the last being the one who has time until the deadline.
    pub(crate) asked: Vec<NodeId>,
    deadline: Time,
    /// How many pieces of answers came.
    pieces: u32,
    /// How many were asked when one of them was last given more time.
    prolonged: usize,
}

/// The questions that wait.
pub(crate) struct Questions<A> {
    next_number: u32,
    open: BTreeMap<u32, Open<A>>,
    deadlines: BTreeSet<(Time, u32)>,
}

impl<A> Questions<A> {
    pub(crate) fn new(mut rng: Rng) -> Self {
        Self { next_number: rng.random(), open: BTreeMap::new(), deadlines: BTreeSet::new() }
    }

    /// Whether no more can be asked for now.
    pub(crate) fn is_full(&self) -> bool {
        self.open.len() >= QUESTIONS_MAX
    }

    /// A question for any of these, which was put to nobody yet; gives its number.
    pub(crate) fn open(&mut self, about: A, among: Part, now: Time) -> u32 {
        let number = self.next_number;
        self.next_number = number.wrapping_add(1);
        let asked = Vec::new();
        self.put(number, Open { about, among, asked, deadline: now, pieces: 0, prolonged: 0 });
        number
    }

    pub(crate) fn get(&self, number: u32) -> Option<&Open<A>> {
        self.open.get(&number)
    }

    /// Somebody is asked, and has time until then.
    pub(crate) fn ask(&mut self, number: u32, node: NodeId, deadline: Time) {
        if let Some(mut open) = self.remove(number) {
            open.asked.push(node);
            self.put(number, Open { deadline, ..open });
        }
    }

    /// Whoever was asked last has more time.
    pub(crate) fn postpone(&mut self, number: u32, deadline: Time) {
        if let Some(open) = self.remove(number) {
            let prolonged = open.asked.len();
            self.put(number, Open { deadline, prolonged, ..open });
        }
    }

    /// A piece of an answer came from a node, and the next has time until then: for what it was
    /// asked, if it was. Who sends pieces without end is believed no more.
    pub(crate) fn answered(&mut self, number: u32, from: NodeId, deadline: Time) -> Option<A>
    where
        A: Clone,
    {
        let open = self.open.get(&number).filter(|open| open.asked.contains(&from))?;
        if open.pieces >= PIECES_MAX {
            return None;
        }
        let mut open = self.remove(number)?;
        open.pieces += 1;
        let about = open.about.clone();
        self.put(number, Open { deadline, ..open });
        Some(about)
    }

    /// A question whose deadline has passed.
    pub(crate) fn due(&self, now: Time) -> Option<u32> {
        let (deadline, number) = self.deadlines.first()?;
        (*deadline <= now).then_some(*number)
    }

    pub(crate) fn next_deadline(&self) -> Option<Time> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Those that are asked for something else are asked no more.
    pub(crate) fn retain(&mut self, is_kept: impl Fn(&A) -> bool) {
        self.open.retain(|_, open| is_kept(&open.about));
        let open = &self.open;
        self.deadlines.retain(|(_, number)| open.contains_key(number));
    }

    pub(crate) fn remove(&mut self, number: u32) -> Option<Open<A>> {
        let open = self.open.remove(&number)?;
        self.deadlines.remove(&(open.deadline, number));
        Some(open)
    }

    fn put(&mut self, number: u32, open: Open<A>) {
        self.deadlines.insert((open.deadline, number));
        self.open.insert(number, open);
        assert_eq!(self.open.len(), self.deadlines.len(), "each has one deadline");
    }
}

impl<A> Open<A> {
    /// Whether whoever was asked last has been given more time: he gets it once.
    pub(crate) fn is_prolonged(&self) -> bool {
        self.prolonged == self.asked.len()
    }

    /// Whether nobody more is to be asked.
    pub(crate) fn is_in_vain(&self) -> bool {
        self.asked.len() >= ATTEMPTS_MAX
    }
}

/// How many are asked at most, one after the other: should half of a group be gone, all of them
/// once in 256 times.
pub(crate) const ATTEMPTS_MAX: usize = 8;

/// In how many pieces answers come, of all who were asked together.
const PIECES_MAX: u32 = 64;

/// While so many questions wait, no search begins.
pub(crate) const QUESTIONS_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(nanos: u64) -> Time {
        Time::from_nanos(nanos)
    }

    fn node(number: u8) -> NodeId {
        NodeId::from_bytes([number; NodeId::LEN])
    }

    fn questions() -> Questions<&'static str> {
        Questions::new(Rng::from_seed([7; 32]))
    }

    #[test]
    fn an_answer_counts_from_whoever_was_asked() {
        let mut questions = questions();
        let number = questions.open("who", Part::ALL, at(1));
        assert_eq!(questions.due(at(1)), Some(number));
        questions.ask(number, node(1), at(5));
        assert_eq!((questions.due(at(4)), questions.next_deadline()), (None, Some(at(5))));
        questions.ask(number, node(2), at(9));
        assert_eq!(questions.answered(number, node(3), at(20)), None);
        assert_eq!(questions.answered(number.wrapping_add(1), node(1), at(20)), None);
        assert_eq!(questions.answered(number, node(1), at(20)), Some("who"), "late, but asked");
        assert_eq!(questions.next_deadline(), Some(at(20)));
        let done = questions.remove(number).expect("it is open until all came");
        assert_eq!(done.asked, [node(1), node(2)]);
        assert_eq!(questions.answered(number, node(2), at(20)), None);
        assert_eq!(questions.next_deadline(), None);
    }

    #[test]
    fn what_is_asked_for_nobody_is_forgotten() {
        let mut questions = questions();
        let kept = questions.open("kept", Part::ALL, at(2));
        let gone = questions.open("gone", Part::ALL, at(1));
        questions.retain(|about| *about == "kept");
        assert!(questions.get(gone).is_none() && questions.get(kept).is_some());
        assert_eq!(questions.next_deadline(), Some(at(2)));
    }

    #[test]
    fn each_who_is_asked_gets_more_time_once() {
        let mut questions = questions();
        let number = questions.open("who", Part::ALL, at(1));
        for asked in 1..3 {
            questions.ask(number, node(asked), at(5));
            assert!(!questions.get(number).unwrap().is_prolonged());
            questions.postpone(number, at(9));
            assert!(questions.get(number).unwrap().is_prolonged());
        }
    }

    #[test]
    fn pieces_end() {
        let mut questions = questions();
        let number = questions.open("who", Part::ALL, at(1));
        questions.ask(number, node(1), at(5));
        for _ in 0..PIECES_MAX {
            assert!(questions.answered(number, node(1), at(9)).is_some());
        }
        assert_eq!(questions.answered(number, node(1), at(99)), None);
        assert_eq!(questions.due(at(9)), Some(number), "its time runs out");
    }

    #[test]
    fn there_are_so_many_questions_and_attempts() {
        let mut questions = questions();
        let first = questions.open("first", Part::ALL, at(1));
        for number in 1..ATTEMPTS_MAX {
            questions.ask(first, node(number as u8), at(2));
            assert!(!questions.get(first).expect("it is open").is_in_vain());
        }
        questions.ask(first, node(99), at(2));
        assert!(questions.get(first).expect("it is open").is_in_vain());
        assert!(!questions.is_full());
        for _ in 1..QUESTIONS_MAX {
            questions.open("more", Part::ALL, at(1));
        }
        assert!(questions.is_full());
    }
}
