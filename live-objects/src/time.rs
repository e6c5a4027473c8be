//! Time as a value: nanoseconds on the clock of one node.
//!
//! A core never asks what time it is; a driver tells it. `Time` therefore has no `now`: it is made
//! by the driver from its own clock (the real one, or the simulator's), and starts at an arbitrary
//! point, so that only differences mean anything and values of two nodes must not be compared.
//! Spans are the standard library's `Duration`.

use core::fmt;
use core::ops::{Add, Sub};
use core::time::Duration;

/// A moment on one node's clock, in nanoseconds since that clock's own beginning.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(u64);

impl Time {
    /// The clock's beginning.
    pub const ZERO: Self = Self(0);
    /// Later than any moment that a node lives to see (584 years).
    pub const MAX: Self = Self(u64::MAX);

    /// The moment `nanos` nanoseconds after the clock's beginning.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the clock's beginning.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this moment is; zero if it is not after it.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    /// Saturates at [`Time::MAX`], so that "never" stays never.
    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(nanos(span)))
    }
}

impl Sub<Duration> for Time {
    type Output = Self;

    /// Saturates at [`Time::ZERO`].
    fn sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(span)))
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}s", self.0 / 1_000_000_000, self.0 % 1_000_000_000 / 1_000)
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Time::MAX + Duration::from_secs(1), Time::MAX);
        assert_eq!(Time::ZERO + Duration::MAX, Time::MAX);
        assert_eq!(Time::ZERO - Duration::from_secs(1), Time::ZERO);
        assert_eq!(Time::from_nanos(5).since(Time::from_nanos(7)), Duration::ZERO);
    }

    #[test]
    fn prints_seconds() {
        assert_eq!(format!("{:?}", Time::from_nanos(1_500_002_000)), "1.500002s");
    }
}
