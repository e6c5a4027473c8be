//! A node's clock: it starts anywhere and runs a little fast or slow.
//!
//! Modules see only this clock. It is piecewise linear: [`Clock::skew`] changes its rate from a
//! moment on, without a jump. Conversions are in integers, so that they are the same on every
//! machine.

use live_objects::Time;

/// A clock that reads `base_local` at the world's `base` and gains `ppm` microseconds a second.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    base: Time,
    base_local: Time,
    ppm: i32,
}

/// The most that a clock may gain or lose, in parts per million: half of its rate.
pub(crate) const SKEW_PPM_MAX: i32 = 500_000;

const MILLION: i128 = 1_000_000;

impl Clock {
    /// A clock that reads `start` when the world begins, and runs true.
    pub(crate) fn new(start: Time) -> Self {
        Self { base: Time::ZERO, base_local: start, ppm: 0 }
    }

    /// From the world's `now` on the clock gains `ppm` parts per million.
    pub(crate) fn skew(&mut self, now: Time, ppm: i32) {
        assert!(ppm.abs() <= SKEW_PPM_MAX, "a clock gains or loses {SKEW_PPM_MAX} ppm at most");
        *self = Self { base: now, base_local: self.local(now), ppm };
    }

    /// What the clock reads at the world's `now`, which is not before the last change of rate.
    pub(crate) fn local(&self, now: Time) -> Time {
        assert!(now >= self.base, "clocks are not asked about the past");
        let span = i128::from(now.as_nanos() - self.base.as_nanos());
        let local = span * (MILLION + i128::from(self.ppm)) / MILLION;
        Time::from_nanos(self.base_local.as_nanos().saturating_add(clamp(local)))
    }

    /// The first moment of the world at which the clock reads `local` or more.
    pub(crate) fn world(&self, local: Time) -> Time {
        let rate = MILLION + i128::from(self.ppm);
        let span = i128::from(local.as_nanos().saturating_sub(self.base_local.as_nanos()));
        let world = (span * MILLION + rate - 1) / rate;
        Time::from_nanos(self.base.as_nanos().saturating_add(clamp(world)))
    }
}

fn clamp(nanos: i128) -> u64 {
    u64::try_from(nanos).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_met_at_the_first_moment_that_reads_it() {
        let mut clock = Clock::new(Time::from_nanos(77));
        for (at, ppm) in [(1_000, 0), (2_000, 137), (5_000, -499_999), (9_001, 500_000)] {
            clock.skew(Time::from_nanos(at), ppm);
            for local in (clock.local(Time::from_nanos(at)).as_nanos()..).step_by(13).take(200) {
                let world = clock.world(Time::from_nanos(local));
                assert!(clock.local(world).as_nanos() >= local);
                let before = Time::from_nanos(world.as_nanos() - 1);
                assert!(before.as_nanos() < at || clock.local(before).as_nanos() < local);
            }
        }
    }

    #[test]
    fn never_stays_never() {
        assert_eq!(Clock::new(Time::ZERO).world(Time::MAX), Time::MAX);
    }
}
