//! The node's clock: the only place where real time enters.
//!
//! [`Time`] counts from the start of the node, on a clock that never goes back.

#![expect(clippy::disallowed_methods, reason = "this is the clock")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use live_objects::Time;

/// The clock of one node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { start: Instant::now() }
    }

    pub(crate) fn now(self) -> Time {
        Time::ZERO + self.start.elapsed()
    }

    /// The moment as the runtime's timers know it.
    pub(crate) fn instant(self, at: Time) -> tokio::time::Instant {
        let span = at.since(Time::ZERO).min(FAR);
        tokio::time::Instant::from_std(self.start + span)
    }
}

/// Milliseconds since 1970 by the machine's clock, which may be wrong.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Timers are set no further ahead than ten years after the start: no node lives to see more.
const FAR: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
