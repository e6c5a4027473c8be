//! Rounds: a clock that all nodes of a cluster have about the same of, by hearsay.
//!
//! A round is a period long. A node begins anywhere, counts on by its own clock, and goes by what
//! others say with each packet: by the *median* of what the last few said, so that no single one
//! can set the clocks of others. Where half are ahead it begins their round, a whole one: it is
//! then behind them by what the packet took, and never ahead of all whom it heard. Without that,
//! each could begin a round as soon as it hears of another's, and rounds would go by several a
//! period.
//!
//! A node that has just started and heard nobody's clock does not know the round, and says so: many
//! that start together must not set the clocks of those who were there. What has stamps of rounds,
//! it does not tell either. If in some rounds nobody says it, all are new, and its own is as good.
//!
//! Who is far ahead of half goes back. (A wrong round does no harm but to him: what is stamped too
//! far ahead nobody takes, and what he has of it himself does not outlast his mistake.) Who is gone
//! has no voice any more. After the last round comes the first again, so that a clock that somebody
//! led to the end does not stand still there.

use core::time::Duration;
use std::collections::VecDeque;

use live_objects::{NodeId, Time};

use crate::zones::row::Round;

/// One node's count of rounds.
pub(crate) struct Rounds {
    period: Duration,
    round: Round,
    since: Time,
    /// By how much others were ahead of this node, or behind it, the last heard last; each once.
    heard: VecDeque<(NodeId, i64)>,
}

impl Rounds {
    pub(crate) fn new(period: Duration, now: Time) -> Self {
        Self { period, round: Round::FIRST, since: now, heard: VecDeque::new() }
    }

    /// The round that it is now.
    pub(crate) fn at(&self, now: Time) -> Round {
        let whole = now.since(self.since).as_nanos() / self.period.as_nanos();
        self.round.after(u64::try_from(whole).unwrap_or(u64::MAX))
    }

    /// The round that it is now, for others; [`Round::UNKNOWN`] if this node does not know.
    pub(crate) fn said(&self, now: Time) -> Round {
        let round = self.at(now);
        let is_old = round >= Round::FIRST.shifted(UNKNOWN_ROUNDS);
        if is_old || !self.heard.is_empty() { round } else { Round::UNKNOWN }
    }

    /// Another says that it is this round.
    pub(crate) fn hear(&mut self, now: Time, from: NodeId, round: Round) {
        if round == Round::UNKNOWN {
            return;
        }
        let mine = self.at(now);
        let ahead = u64::from(round) as i64 - u64::from(mine) as i64;
        self.heard.retain(|(node, _)| *node != from);
        if self.heard.len() == HEARD_MAX {
            self.heard.pop_front();
        }
        self.heard.push_back((from, ahead));
        let mut all: Vec<i64> = self.heard.iter().map(|(_, ahead)| *ahead).collect();
        all.sort_unstable();
        // Of an even number there are two in the middle: both must be on one side.
        let (low, high) = (all[(all.len() - 1) / 2], all[all.len() / 2]);
        let by = if low > 0 { low } else { high.min(0) };
        if !(-BEHIND_MAX..=0).contains(&by) {
            (self.round, self.since) = (mine.shifted(by), now);
            self.heard.iter_mut().for_each(|(_, ahead)| *ahead -= by);
        }
    }

    /// A member is gone: what it said counts no more.
    pub(crate) fn forget(&mut self, node: NodeId) {
        self.heard.retain(|(of, _)| *of != node);
    }
}

/// For how many rounds a node does not know if nobody tells it.
const UNKNOWN_ROUNDS: i64 = 5;

/// Of how many nodes it is kept what they said last: of five, two may be wrong.
const HEARD_MAX: usize = 5;

/// Most may be behind by so many rounds.
const BEHIND_MAX: i64 = Round::AHEAD_MAX as i64;

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_millis(200);

    fn node(number: u8) -> NodeId {
        NodeId::from_bytes([number; NodeId::LEN])
    }

    fn round(number: u64) -> Round {
        Round::try_from(u64::from(Round::FIRST) + number).unwrap()
    }

    #[test]
    fn who_has_just_started_does_not_know() {
        let mut rounds = Rounds::new(PERIOD, Time::ZERO);
        let at = |periods: u32| Time::ZERO + PERIOD * periods;
        assert_eq!([0, 4].map(|periods| rounds.said(at(periods))), [Round::UNKNOWN; 2]);
        assert_eq!(rounds.said(at(5)), round(5), "nobody knows better");
        rounds.hear(at(1), node(1), Round::UNKNOWN);
        assert_eq!(rounds.said(at(1)), Round::UNKNOWN);
        rounds.hear(at(1), node(1), round(77));
        assert_eq!([rounds.said(at(1)), rounds.at(at(2))], [77, 78].map(round));
    }

    #[test]
    fn rounds_go_by_one_a_period_whoever_begins_them() {
        let mut rounds = Rounds::new(PERIOD, Time::ZERO);
        let at = |millis: u64| Time::ZERO + Duration::from_millis(millis);
        assert_eq!([0, 199, 200, 999].map(|ms| rounds.at(at(ms))), [0, 0, 1, 4].map(round));
        rounds.hear(at(1_100), node(1), round(9));
        assert_eq!([1_100, 1_299, 1_300].map(|ms| rounds.at(at(ms))), [9, 9, 10].map(round));
        rounds.hear(at(1_300), node(1), round(8));
        assert_eq!(rounds.at(at(1_300)), round(10), "who is a little ahead stays so");
    }

    #[test]
    fn a_single_one_sets_nobody_else() {
        let mut rounds = Rounds::new(PERIOD, Time::ZERO);
        (1..=3).for_each(|honest| rounds.hear(Time::ZERO, node(honest), round(7)));
        for lie in [Round::MAX, round(0)] {
            (0..9).for_each(|_| rounds.hear(Time::ZERO, node(9), lie));
            assert_eq!(rounds.at(Time::ZERO), round(7));
        }
    }

    #[test]
    fn who_was_led_astray_comes_back() {
        let mut rounds = Rounds::new(PERIOD, Time::ZERO);
        rounds.hear(Time::ZERO, node(9), Round::MAX);
        rounds.hear(Time::ZERO, node(1), round(7));
        assert_eq!(rounds.at(Time::ZERO), Round::MAX, "one word against the other");
        rounds.hear(Time::ZERO, node(2), round(7));
        assert_eq!(rounds.at(Time::ZERO), round(7));
    }

    /// Where there are but two others, and one of them lied.
    #[test]
    fn who_is_gone_has_no_voice() {
        let mut rounds = Rounds::new(PERIOD, Time::ZERO);
        rounds.hear(Time::ZERO, node(9), round(432_000));
        (0..9).for_each(|_| rounds.hear(Time::ZERO, node(1), round(7)));
        assert_eq!(rounds.at(Time::ZERO), round(432_000));
        rounds.forget(node(9));
        rounds.hear(Time::ZERO, node(1), round(7));
        assert_eq!(rounds.at(Time::ZERO), round(7));
    }

    #[test]
    fn a_clock_that_was_led_to_the_end_begins_anew() {
        let mut rounds = Rounds::new(PERIOD, Time::ZERO);
        rounds.hear(Time::ZERO, node(9), Round::MAX);
        let at = |periods: u32| Time::ZERO + PERIOD * periods;
        assert_eq!([0, 1, 8].map(|it| rounds.at(at(it))), [Round::MAX, round(0), round(7)]);
        assert!(rounds.at(Time::MAX) <= Round::MAX);
    }

    /// Four nodes that hear each other all the time, with packets on the way for a tenth.
    #[test]
    fn clocks_do_not_drive_each_other() {
        let starts = [0, 50, 100, 150].map(|ms| Time::ZERO + Duration::from_millis(ms));
        let mut all = starts.map(|start| Rounds::new(PERIOD, start));
        for step in 8..2_000_u64 {
            let now = Time::ZERO + Duration::from_millis(20 * step);
            let sent = Time::ZERO + Duration::from_millis(20 * (step - 1));
            let (from, to) = ((step % 4) as usize, (step / 4 % 4) as usize);
            let said = all[from].at(sent);
            if from != to {
                all[to].hear(now, node(from as u8), said);
            }
        }
        let end = Time::ZERO + Duration::from_millis(20 * 2_000);
        for rounds in all {
            let count = u64::from(rounds.at(end)) - u64::from(Round::FIRST);
            assert!((199..=201).contains(&count), "{count} rounds in 200 periods");
        }
    }
}
