//! What this node saw of members that were doubted, for people who ask why.
//!
//! SWIM forgets why it believes what it believes. Here each node keeps a little of it: that a
//! member was suspected and by whom, what this node itself had to go by if that was its own doing,
//! that the member objected, or did not in time. It keeps only what happened while it was there,
//! and never what others tell of the past.
//!
//! Invariants: of one member no more than [`OF_MEMBER_MAX`] pieces are kept, the last ones, and of
//! no more than [`DOUBTED_MAX`] members, those of whom something was seen last. Nothing is kept
//! twice. Of whom something is kept is in `doubted` with when the last of it was seen, and whose
//! answer is kept, in `answered`.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use live_objects::{Answered, Evidence, Finding, Member, NodeId, Time};

use crate::entry::Generation;

/// All that this node saw.
#[derive(Default)]
pub(crate) struct Seen {
    of: BTreeMap<NodeId, VecDeque<Piece>>,
    doubted: BTreeSet<(Time, NodeId)>,
    answers: BTreeMap<NodeId, Answer>,
    answered: BTreeSet<(Time, NodeId)>,
}

/// Something that was seen, and when. What in it is ago is so by then.
struct Piece {
    at: Time,
    member: Member,
    generation: Generation,
    finding: Finding,
}

/// The last answer of a member to this node.
#[derive(Clone, Copy)]
struct Answer {
    at: Time,
    took: Option<Duration>,
}

impl Seen {
    /// Something was seen of a member that said it is of this generation.
    pub(crate) fn note(
        &mut self,
        now: Time,
        (member, generation): (Member, Generation),
        finding: Finding,
    ) {
        let is_known = |it: &Piece| {
            (it.member, it.generation) == (member, generation) && is_same(&it.finding, &finding)
        };
        let pieces = self.of.entry(member.node).or_default();
        if pieces.iter().any(is_known) {
            return;
        }
        let before = pieces.back().map(|last| last.at);
        if pieces.len() == OF_MEMBER_MAX {
            pieces.pop_front();
        }
        pieces.push_back(Piece { at: now, member, generation, finding });
        let stalest = renew(&mut self.doubted, member.node, (before, now), DOUBTED_MAX);
        if let Some(stalest) = stalest {
            self.of.remove(&stalest);
        }
    }

    /// A member answered this node; it took so long, if that is known.
    pub(crate) fn answered(&mut self, now: Time, node: NodeId, took: Option<Duration>) {
        let before = self.answers.insert(node, Answer { at: now, took }).map(|before| before.at);
        let oldest = renew(&mut self.answered, node, (before, now), ANSWERS_MAX);
        if let Some(oldest) = oldest {
            self.answers.remove(&oldest);
        }
    }

    /// The last answer of a member, if that is known.
    pub(crate) fn answer_of(&self, now: Time, node: NodeId) -> Option<Answered> {
        let answer = self.answers.get(&node)?;
        Some(Answered { ago: rounded(now.since(answer.at)), took: answer.took.map(rounded) })
    }

    /// All of these, by member.
    pub(crate) fn answers(&self, now: Time) -> impl Iterator<Item = (NodeId, Answered)> {
        self.answers.keys().filter_map(move |node| Some((*node, self.answer_of(now, *node)?)))
    }

    /// What was seen of a node, the first first.
    pub(crate) fn of(&self, now: Time, node: NodeId) -> Vec<Evidence> {
        self.of.get(&node).into_iter().flatten().map(|piece| piece.told(now)).collect()
    }
}

impl Piece {
    fn told(&self, now: Time) -> Evidence {
        let ago = rounded(now.since(self.at));
        let mut finding = self.finding.clone();
        if let Finding::Suspected { silence: Some(silence), .. } = &mut finding {
            silence.since += ago;
            silence.before.iter_mut().for_each(|before| before.ago += ago);
        }
        Evidence { member: self.member, ago, finding }
    }
}

/// A member was seen now, and before, if it was. Gives who was seen longest ago, if it is one more
/// than are kept.
fn renew(
    seen: &mut BTreeSet<(Time, NodeId)>,
    node: NodeId,
    (before, now): (Option<Time>, Time),
    max: usize,
) -> Option<NodeId> {
    if let Some(before) = before {
        seen.remove(&(before, node));
    }
    seen.insert((now, node));
    if seen.len() > max { seen.pop_first().map(|(_, node)| node) } else { None }
}

/// Whether one adds nothing to the other.
fn is_same(one: &Finding, other: &Finding) -> bool {
    match (one, other) {
        (Finding::Suspected { accuser, .. }, Finding::Suspected { accuser: theirs, .. }) => {
            accuser == theirs
        }
        _ => one == other,
    }
}

/// To microseconds: people are told of it.
pub(crate) fn rounded(span: Duration) -> Duration {
    Duration::from_micros(u64::try_from(span.as_micros()).unwrap_or(u64::MAX))
}

/// How many pieces are kept of one member.
pub(crate) const OF_MEMBER_MAX: usize = 8;

/// Of how many members something is kept.
pub(crate) const DOUBTED_MAX: usize = 256;

/// Of how many members the last answer is kept.
const ANSWERS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::tests::entry;
    use live_objects::Silence;

    const fn at(millis: u64) -> Time {
        Time::from_nanos(millis * 1_000_000)
    }

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn said(number: u16, generation: u64) -> (Member, Generation) {
        let node = NodeId::from_public_key(&number.to_be_bytes());
        let like = entry(1, generation);
        (Member { node, ..like.member }, like.generation)
    }

    fn accused(by: u16) -> Finding {
        Finding::Suspected { accuser: Some(said(by, 1).0.node), silence: None }
    }

    fn findings(seen: &Seen, number: u16) -> Vec<Finding> {
        seen.of(at(99_000), said(number, 1).0.node).into_iter().map(|it| it.finding).collect()
    }

    #[test]
    fn what_was_seen_is_told_with_how_long_ago() {
        let mut seen = Seen::default();
        let (member, generation) = said(1, 1);
        seen.answered(at(100), member.node, Some(ms(7)));
        let before = seen.answer_of(at(400), member.node);
        assert_eq!(before, Some(Answered { ago: ms(300), took: Some(ms(7)) }));
        let silence = Silence { since: ms(200), attempts: 5, helpers: Vec::new(), before };
        let accuser = Some(said(2, 1).0.node);
        let silence = Some(Box::new(silence));
        seen.note(at(400), (member, generation), Finding::Suspected { accuser, silence });
        let told = seen.of(at(1_000), member.node);
        let Finding::Suspected { silence: Some(silence), .. } = &told[0].finding else {
            panic!("{told:?}")
        };
        let before = silence.before.expect("it answered before");
        assert_eq!((told[0].ago, silence.since, before.ago), (ms(600), ms(800), ms(900)));
        assert_eq!(seen.of(at(1_000), said(2, 1).0.node), []);
    }

    #[test]
    fn what_is_known_is_not_kept_twice() {
        let mut seen = Seen::default();
        for finding in [accused(2), accused(2), accused(3), Finding::Faulty, Finding::Faulty] {
            seen.note(at(1), said(1, 1), finding);
        }
        seen.note(at(2), said(1, 2), accused(2));
        assert_eq!(findings(&seen, 1), [accused(2), accused(3), Finding::Faulty, accused(2)]);
    }

    #[test]
    fn the_last_is_kept_of_those_who_were_doubted_last() {
        let mut seen = Seen::default();
        for by in 0..=OF_MEMBER_MAX as u16 {
            seen.note(at(1), said(0, 1), accused(by));
        }
        let last = OF_MEMBER_MAX as u16;
        assert_eq!(findings(&seen, 0), (1..=last).map(accused).collect::<Vec<_>>());
        for number in 1..DOUBTED_MAX as u16 {
            seen.note(at(u64::from(number) + 1), said(number, 1), Finding::Left);
        }
        assert_eq!((seen.of.len(), findings(&seen, 0).len()), (DOUBTED_MAX, OF_MEMBER_MAX));
        seen.note(at(9_000), said(9_999, 1), Finding::Left);
        assert_eq!((seen.of.len(), findings(&seen, 0)), (DOUBTED_MAX, Vec::new()));
        assert_eq!(findings(&seen, 1), [Finding::Left]);
        seen.note(at(9_001), said(1, 1), accused(2));
        seen.note(at(9_002), said(10_000, 1), Finding::Left);
        assert_eq!((findings(&seen, 1).len(), findings(&seen, 2)), (2, Vec::new()));
        assert_eq!((seen.of.len(), seen.doubted.len()), (DOUBTED_MAX, DOUBTED_MAX));
    }

    #[test]
    fn the_last_answers_are_kept() {
        let mut seen = Seen::default();
        for number in 0..=ANSWERS_MAX as u16 {
            seen.answered(at(u64::from(number)), said(number, 1).0.node, None);
        }
        let of = |number| seen.answer_of(at(9_000), said(number, 1).0.node);
        assert_eq!((seen.answers.len(), of(0)), (ANSWERS_MAX, None));
        assert_eq!(of(1), Some(Answered { ago: ms(8_999), took: None }));
        seen.answered(at(1_000), said(1, 1).0.node, None);
        seen.answered(at(1_001), said(1_000, 1).0.node, None);
        let of = |number| seen.answer_of(at(9_000), said(number, 1).0.node);
        assert_eq!((of(1).is_some(), of(2)), (true, None));
        assert_eq!((seen.answers.len(), seen.answered.len()), (ANSWERS_MAX, ANSWERS_MAX));
    }
}
