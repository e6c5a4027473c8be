//! The probes that wait for an answer.
//!
//! A probe that gets no answer is repeated a few times, and helpers are asked to probe too, before
//! the partner is suspected. SWIM asks once, and then the helpers once: where a quarter of the
//! packets is lost that makes one probe of seven fail, and of those of ours one of ten thousand, at
//! no cost where none is lost. Beside its own a node sends probes for others who asked for it, and
//! *knocks* at tombstones. All have a number, by which an answer finds its probe, and a deadline.

use core::ops::RangeInclusive;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use live_objects::{NodeId, Rng, Time};
use rand::RngExt;

use crate::entry::Generation;

/// A probe that waits for an answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Probe {
    pub(crate) target: NodeId,
    pub(crate) stage: Stage,
}

/// For whose sake, and how far, a target is probed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    /// It was asked at these times, being of this generation, and these were asked to ask it; and
    /// whether that was for rows alone.
    Own { generation: Generation, sent: Vec<Time>, helpers: Vec<NodeId>, is_lean: bool },
    /// It was asked for another's sake, whose probe has this number.
    Helping { asker: NodeId, number: u32 },
    /// It was declared faulty, and may have come back.
    Knocking,
}

/// The probes that wait.
pub(crate) struct Probes {
    next_number: u32,
    waiting: BTreeMap<u32, (Probe, Time)>,
    queue: BTreeSet<(Time, u32)>,
}

impl Probe {
    /// How long an answer to the attempt of this number took, if the probe is this node's own, and
    /// was sent so often.
    pub(crate) fn round_trip(&self, now: Time, attempt: u8) -> Option<Duration> {
        let Stage::Own { sent, .. } = &self.stage else { return None };
        sent.get(usize::from(attempt).checked_sub(1)?).map(|sent| now.since(*sent))
    }
}

impl Probes {
    pub(crate) fn new(mut rng: Rng) -> Self {
        Self { next_number: rng.random(), waiting: BTreeMap::new(), queue: BTreeSet::new() }
    }

    /// A new probe of this node's own; gives its number, or nothing if too many wait.
    pub(crate) fn start(&mut self, probe: Probe, deadline: Time) -> Option<u32> {
        if self.waiting.len() == PROBES_MAX {
            return None;
        }
        let number = self.next_number;
        self.next_number = number.wrapping_add(1);
        self.wait(number, probe, deadline);
        Some(number)
    }

    /// Whether there may be more than this node has to send.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting.len() < HELPS_MAX
    }

    /// A new probe for another's sake; gives its number, or nothing if too many wait.
    pub(crate) fn help(&mut self, probe: Probe, deadline: Time) -> Option<u32> {
        let asker = |stage: &Stage| match stage {
            Stage::Helping { asker, .. } => Some(*asker),
            Stage::Own { .. } | Stage::Knocking => None,
        };
        let his = asker(&probe.stage);
        let of_asker = self.waiting.values().filter(|(other, _)| asker(&other.stage) == his);
        let may = self.has_room() && of_asker.count() < HELPS_OF_ONE_MAX;
        if may { self.start(probe, deadline) } else { None }
    }

    /// A probe goes on, under its old number.
    pub(crate) fn wait(&mut self, number: u32, probe: Probe, deadline: Time) {
        let former = self.waiting.insert(number, (probe, deadline));
        assert!(former.is_none(), "two probes of one number");
        assert!(self.waiting.len() <= PROBES_MAX, "one that went on had its place");
        self.queue.insert((deadline, number));
    }

    /// A probe whose deadline has passed, and its number, until there is none. It no longer waits.
    pub(crate) fn due(&mut self, now: Time) -> Option<(u32, Probe)> {
        let (deadline, number) = *self.queue.first()?;
        if deadline <= now { self.remove(number).map(|probe| (number, probe)) } else { None }
    }

    /// All deadlines are later by so much.
    pub(crate) fn postpone(&mut self, by: Duration) {
        self.queue.clear();
        for (number, (_, deadline)) in &mut self.waiting {
            *deadline = *deadline + by;
            self.queue.insert((*deadline, *number));
        }
    }

    /// `from` answered the probe of this number. Gives the probe, which no longer waits, if there
    /// is one and the answer was its to give.
    pub(crate) fn on_ack(&mut self, number: u32, from: NodeId) -> Option<Probe> {
        if self.awaits(number, from) { self.remove(number) } else { None }
    }

    /// Whether an answer of `from` to the probe of this number is waited for.
    pub(crate) fn awaits(&self, number: u32, from: NodeId) -> bool {
        self.waiting.get(&number).is_some_and(|(Probe { target, stage }, _)| {
            let is_helper = matches!(stage, Stage::Own { helpers, .. } if helpers.contains(&from));
            from == *target || is_helper
        })
    }

    /// When the next deadline passes.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        self.queue.first().map(|(deadline, _)| *deadline)
    }

    fn remove(&mut self, number: u32) -> Option<Probe> {
        let (probe, deadline) = self.waiting.remove(&number)?;
        self.queue.remove(&(deadline, number));
        Some(probe)
    }
}

/// How often a partner is asked, half a period apart after the first, before it is suspected.
pub(crate) const ATTEMPTS: usize = 7;

/// After which attempts helpers are asked too: not at once, since a single loss is common and
/// helpers are dear; but so early that the last of them has one and a half periods for its two
/// round trips.
pub(crate) const HELPED_ATTEMPTS: RangeInclusive<usize> = 2..=4;

/// The most probes that wait.
const PROBES_MAX: usize = 576;

/// How many of one asker may wait, so that nobody has all of what there is for others.
const HELPS_OF_ONE_MAX: usize = 32;

/// How many may wait when another's is to be added. The rest is for this node's own: at most twelve
/// a period, each of which waits [`Config::ACK_PERIODS_MAX`](crate::Config::ACK_PERIODS_MAX)
/// periods and three more. Whoever waits so long, and starts 24 more a period, as in its first ten,
/// starts no more than there is room for.
const HELPS_MAX: usize = PROBES_MAX - 384;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::tests::entry;

    fn node(number: u8) -> NodeId {
        entry(number, 1).member.node
    }

    fn probes() -> Probes {
        Probes::new(Rng::from_seed([7; 32]))
    }

    fn knock(number: u8) -> Probe {
        Probe { target: node(number), stage: Stage::Knocking }
    }

    const fn at(nanos: u64) -> Time {
        Time::from_nanos(nanos)
    }

    #[test]
    fn an_answer_finds_its_probe_once() {
        let mut probes = probes();
        let number = probes.start(knock(1), at(9)).unwrap();
        assert_eq!(probes.on_ack(number.wrapping_add(1), node(1)), None, "no such probe");
        assert_eq!(probes.on_ack(number, node(2)), None, "not its to answer");
        assert_eq!(probes.on_ack(number, node(1)), Some(knock(1)));
        assert_eq!(probes.on_ack(number, node(1)), None);
        assert_eq!((probes.due(Time::MAX), probes.next_deadline()), (None, None));
    }

    #[test]
    fn an_answer_says_which_attempt_it_is_to() {
        let sent = vec![at(10), at(30)];
        let generation = Generation::at_start(1);
        let stage = Stage::Own { generation, sent, helpers: vec![], is_lean: false };
        let probe = Probe { target: node(1), stage };
        let took = |attempt| probe.round_trip(at(45), attempt).map(|it| it.as_nanos());
        assert_eq!([0, 1, 2, 3, 255].map(took), [None, Some(35), Some(15), None, None]);
        assert_eq!(knock(1).round_trip(at(45), 1), None);
    }

    #[test]
    fn helpers_may_answer_and_so_may_the_target_still() {
        let mut probes = probes();
        let generation = Generation::at_start(1);
        let own = |attempts, helpers| Probe {
            target: node(1),
            stage: Stage::Own { generation, sent: vec![at(0); attempts], helpers, is_lean: false },
        };
        for answers in [node(1), node(3)] {
            let number = probes.start(own(1, vec![]), at(5)).unwrap();
            assert_eq!(probes.due(at(4)), None);
            assert_eq!(probes.due(at(5)), Some((number, own(1, vec![]))));
            probes.wait(number, own(2, vec![node(2), node(3)]), at(15));
            assert_eq!(probes.next_deadline(), Some(at(15)));
            assert_eq!(probes.on_ack(number, node(4)), None);
            assert!(probes.on_ack(number, answers).is_some());
        }
    }

    #[test]
    fn who_asks_for_help_leaves_room_for_own_probes() {
        let mut probes = probes();
        let mut ask = |asker: usize| {
            let stage = Stage::Helping { asker: node(asker as u8), number: 7 };
            probes.help(Probe { target: node(1), stage }, at(9))
        };
        let askers = HELPS_MAX / HELPS_OF_ONE_MAX;
        for asker in 0..askers {
            assert!((0..HELPS_OF_ONE_MAX).all(|_| ask(asker).is_some()));
            assert_eq!(ask(asker), None, "one has not all of it");
        }
        assert_eq!(ask(askers), None);
        for _ in HELPS_MAX..PROBES_MAX {
            assert!(probes.start(knock(1), at(9)).is_some());
        }
        assert_eq!(probes.start(knock(1), at(9)), None, "nor has this node more than there is");
        assert_eq!(std::iter::from_fn(|| probes.due(at(9))).count(), PROBES_MAX);
        let stage = Stage::Helping { asker: node(0), number: 7 };
        assert!(probes.help(Probe { target: node(1), stage }, at(9)).is_some());
    }
}
