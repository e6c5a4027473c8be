//! How fast a member sends: as fast as those take it who keep up.
//!
//! So many bytes may be under way that not all others have acknowledged. Whoever acknowledges
//! nothing for a while though it lacks something is *behind*, and is not waited for: it sleeps, or
//! has much to ask for. What it lacks is kept for it, up to a bound. It keeps up again when it has
//! come as far as the others were.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use live_objects::Time;

/// What a sender goes by.
pub(super) struct Pace {
    /// When each member's acknowledgements last moved.
    moved_at: Vec<Time>,
    is_behind: Vec<bool>,
    /// So far all who keep up have the stream, and so many bytes lie beyond.
    passed: u64,
    bytes: usize,
    /// Since when there is something beyond.
    since: Time,
}

impl Pace {
    pub(super) fn new(members: usize) -> Self {
        Self {
            moved_at: vec![Time::ZERO; members],
            is_behind: vec![false; members],
            passed: 0,
            bytes: 0,
            since: Time::ZERO,
        }
    }

    /// Whether the window takes another frame.
    pub(super) fn has_room(&self) -> bool {
        self.bytes < WINDOW_BYTES
    }

    /// A frame of so many bytes is cut.
    pub(super) fn cast(&mut self, now: Time, bytes: usize) {
        if self.bytes == 0 {
            self.since = now;
        }
        self.bytes += bytes;
    }

    /// A member has come so far.
    pub(super) fn on_ack(&mut self, now: Time, from: usize, number: u64) {
        self.moved_at[from] = now;
        if number >= self.passed {
            self.is_behind[from] = false;
        }
    }

    /// Goes by how far the others are who want more, each by its place, given the frames that are
    /// not stable.
    pub(super) fn settle(
        &mut self,
        others: impl Iterator<Item = (usize, u64)> + Clone,
        kept: &BTreeMap<u64, Bytes>,
    ) {
        let keep_up = others.clone().filter(|(place, _)| !self.is_behind[*place]);
        // If nobody keeps up, all are waited for.
        let passed = keep_up.map(|(_, number)| number).min();
        let passed = passed.or_else(|| others.map(|(_, number)| number).min());
        // If nobody wants more, nobody is.
        let last = || kept.last_key_value().map_or(self.passed, |(number, _)| *number);
        let passed = passed.unwrap_or_else(last);
        if passed > self.passed {
            let freed = kept.range(self.passed + 1..=passed).map(|(_, bytes)| bytes.len());
            self.bytes -= freed.sum::<usize>();
            self.passed = passed;
        }
    }

    /// Once the window is full, finds out who is behind. Tells when it is to look again, if it is.
    pub(super) fn look(
        &mut self,
        now: Time,
        others: impl Iterator<Item = (usize, u64)>,
    ) -> Option<Time> {
        if self.has_room() {
            return None;
        }
        let mut looks_at = None;
        for (place, number) in others {
            if number > self.passed || self.is_behind[place] {
                continue;
            }
            let at = self.moved_at[place].max(self.since) + BEHIND;
            if at <= now {
                self.is_behind[place] = true;
            } else {
                looks_at = looks_at.into_iter().chain([at]).min();
            }
        }
        looks_at
    }
}

/// How many bytes of frames a member may have under way that not all who keep up have acknowledged.
pub(super) const WINDOW_BYTES: usize = 256 << 10;
/// How long one may acknowledge nothing, though it lacks something, and keep up.
pub(super) const BEHIND: Duration = Duration::from_millis(100);
