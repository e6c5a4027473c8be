//! Pace: how long it is from one round to the next.
//!
//! While there is something to say a round begins each period. A node whose last few exchanges
//! found that others know what it knows is *calm*, and its rounds come a few periods apart: a
//! cluster at rest costs a fraction of one at work, and detects a crash hardly later, since the
//! first suspicion wakes all. Whatever is new makes a node begin its next round within a period.
//!
//! A node whose process did not run for a while wakes late. What it was waiting for may long be in
//! its socket, and it has no right to suspect anybody of silence: it is told how long it *slept*.
//! (Lifeguard, DSN-W 2018, section 4, infers from answers that do not come that a node may be slow
//! itself; a late clock shows it at once.)

use core::time::Duration;

use live_objects::Time;

/// When a node's rounds are.
pub(crate) struct Pace {
    period: Duration,
    /// The last round, and the next.
    last: Time,
    next: Time,
    /// How many exchanges in a row found nothing new.
    calm: u32,
}

impl Pace {
    /// The first round is at `first`.
    pub(crate) fn new(period: Duration, first: Time) -> Self {
        Self { period, last: first, next: first, calm: 0 }
    }

    /// When the next round is.
    pub(crate) fn next(&self) -> Time {
        self.next
    }

    /// Whether it rests.
    pub(crate) fn is_resting(&self) -> bool {
        self.calm >= CALM_EXCHANGES
    }

    /// A round begins, if it is time.
    pub(crate) fn begin(&mut self, now: Time) -> bool {
        let is_time = self.next <= now;
        if is_time {
            self.last = if now.since(self.next) < self.period { self.next } else { now };
            self.next = self.last + self.period;
        }
        is_time
    }

    /// If the last exchanges were calm, the next round is so many periods after the last.
    pub(crate) fn rest(&mut self, stretch: u32) {
        if self.is_resting() {
            self.next = self.last + self.period * stretch;
        }
    }

    /// A partner knows what this node knows.
    pub(crate) fn on_agreement(&mut self) {
        self.calm = self.calm.saturating_add(1);
    }

    /// There is something new.
    pub(crate) fn on_news(&mut self, now: Time) {
        self.calm = 0;
        self.next = self.next.min(self.last + self.period).max(now);
    }

    /// How long the process did not run when it should have, if that is worth mention: it was to
    /// wake at `due`.
    pub(crate) fn slept(&self, now: Time, due: Time) -> Option<Duration> {
        let slept = now.since(due);
        (slept > self.period).then_some(slept)
    }
}

/// After so many exchanges without news a node is calm.
const CALM_EXCHANGES: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_millis(200);

    fn at(millis: u64) -> Time {
        Time::ZERO + Duration::from_millis(millis)
    }

    fn calm() -> Pace {
        let mut pace = Pace::new(PERIOD, at(100));
        (0..CALM_EXCHANGES).for_each(|_| pace.on_agreement());
        pace
    }

    #[test]
    fn rounds_are_a_period_apart_whenever_it_wakes() {
        let mut pace = Pace::new(PERIOD, at(100));
        assert!(!pace.begin(at(99)) && pace.begin(at(100)));
        pace.rest(5);
        assert!(!pace.begin(at(299)) && pace.begin(at(310)));
        assert_eq!(pace.next(), at(500));
        assert!(pace.begin(at(1_100)));
        assert!(!pace.begin(at(1_200)), "it slept; rounds are not made up for");
        assert_eq!(pace.next(), at(1_300));
    }

    #[test]
    fn who_is_calm_rests_until_there_is_news() {
        let mut pace = calm();
        pace.begin(at(100));
        pace.rest(5);
        assert_eq!(pace.next(), at(1_100));
        assert!(pace.begin(at(1_100)));
        pace.rest(5);
        pace.on_news(at(1_200));
        assert_eq!(pace.next(), at(1_300));
        pace.begin(at(1_300));
        pace.rest(5);
        assert_eq!(pace.next(), at(1_500), "calm takes some exchanges again");
        let mut pace = calm();
        pace.begin(at(100));
        pace.rest(5);
        pace.on_news(at(700));
        assert_eq!(pace.next(), at(700));
    }

    #[test]
    fn who_wakes_late_has_slept() {
        let pace = calm();
        assert_eq!(pace.slept(at(400), at(200)), None);
        assert_eq!(pace.slept(at(401), at(200)), Some(Duration::from_millis(201)));
        assert_eq!(pace.slept(at(100), at(200)), None);
    }
}
