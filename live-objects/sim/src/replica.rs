//! A replica at a host: what it was told, and which of its states are recorded.
//!
//! A state is recorded under a name that is the same at every member: the view, and how many
//! updates were applied in it. So a checker compares states of members that are never in the same
//! place at the same time. What members have in common begins with a view, so that its beginning is
//! recorded; for who joins, that is when the state is restored. Updates that it was told of before
//! its state came count: they are part of it.

#[cfg(test)]
mod tests;

use live_objects::{Epoch, Event, Replicate, ReplicatedEvent, Time};

/// A replica and where it stands.
pub(crate) struct Hosted {
    replica: Box<dyn Replicate>,
    /// When the application reads what waits in the port, if it is late to.
    pub(crate) reads_at: Option<Time>,
    /// The last view that it was told of, unless it is outside.
    epoch: Option<Epoch>,
    /// Updates since that view began.
    updates: u64,
}

impl Hosted {
    pub(crate) fn new(replica: Box<dyn Replicate>) -> Self {
        Self { replica, reads_at: None, epoch: None, updates: 0 }
    }

    /// Gives the replica an event. Returns the epoch, the updates since, and the hash of the state,
    /// when that is to be recorded.
    pub(crate) fn on_event(&mut self, event: &Event) -> Option<(Epoch, u64, u64)> {
        self.replica.on_event(event);
        let Event::Replicated(event) = event else { return None };
        match event {
            ReplicatedEvent::View(view) => {
                self.epoch = Some(view.epoch);
                self.updates = 0;
            }
            // What was told of this view before a state was, is part of that state.
            ReplicatedEvent::Founded | ReplicatedEvent::Restore { last: true, .. } => {}
            ReplicatedEvent::Update { .. } => {
                self.updates += 1;
                if !self.updates.is_multiple_of(UPDATES_EACH) {
                    return None;
                }
            }
            ReplicatedEvent::Outside => {
                self.epoch = None;
                return None;
            }
            ReplicatedEvent::Restore { last: false, .. }
            | ReplicatedEvent::Freeze { .. }
            | ReplicatedEvent::CutOff
            | ReplicatedEvent::Reached
            | ReplicatedEvent::Stable { .. }
            | ReplicatedEvent::Joined { .. }
            | ReplicatedEvent::Merge { .. } => return None,
        }
        Some((self.epoch?, self.updates, self.replica.hash()?))
    }

    pub(crate) fn hash(&self) -> Option<u64> {
        self.replica.hash()
    }
}

/// After how many updates of a view a state is recorded again: hashing one takes a while.
const UPDATES_EACH: u64 = 16;
