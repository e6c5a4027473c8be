//! Where an application's task and a node's loop meet: the port of one open object.
//!
//! A port holds the object's feed (commands, from the application to the module) and its event
//! queue (from the module to the application), both bounded in bytes and drawn from the node's
//! [`Budget`]. The two sides may run on different threads, so this file and `doorbell.rs` are the
//! only ones of the crate with a lock; it is held for the few instructions of a push or a pop and
//! never across a call into a module. Neither side waits for the other:
//!
//! - an application that finds the feed full is told so, and gets its command back;
//! - a module that finds the event queue full keeps the event, and hears [`Input::Drained`] when
//!   the reader has caught up;
//! - a module that needs a snapshot which the application has not made yet hears [`Input::Frozen`]
//!   when it has.
//!
//! [`Input::Drained`]: crate::Input::Drained
//! [`Input::Frozen`]: crate::Input::Frozen

#![allow(clippy::disallowed_types, reason = "an application's task and a node's loop meet here")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use thiserror::Error;

use crate::budget::Budget;
use crate::doorbell::{Doorbell, Ring};
use crate::event::{Command, Event};
use crate::feed::{Feed, Taken};
use crate::name::ObjectId;
use crate::replica::{Chunk, Snapshot};

/// The application's end of an open object. Clones share the object.
#[derive(Clone)]
pub struct Port {
    object: ObjectId,
    shared: Arc<Mutex<Shared>>,
    doorbell: Doorbell,
}

struct Shared {
    budget: Budget,
    feed: Feed,
    events: VecDeque<Event>,
    events_bytes: usize,
    /// By their cuts; at most [`Port::SNAPSHOTS_MAX`].
    snapshots: BTreeMap<u64, Snapshot>,
    /// A refused `emit` waits for the reader.
    starved: bool,
    is_closed: bool,
}

impl Port {
    /// What the commands of one object may count for, in bytes, before its feed is full.
    pub const FEED_BYTES_MAX: usize = 1 << 20;
    /// What the events of one object may count for, in bytes, before its queue is full.
    pub const EVENTS_BYTES_MAX: usize = 1 << 20;
    /// How many snapshots an object keeps. One more, and that of the oldest cut goes.
    pub const SNAPSHOTS_MAX: usize = 16;

    pub(crate) fn new(object: ObjectId, budget: Budget, doorbell: Doorbell) -> Self {
        let shared = Shared {
            budget,
            feed: Feed::default(),
            events: VecDeque::new(),
            events_bytes: 0,
            snapshots: BTreeMap::new(),
            starved: false,
            is_closed: false,
        };
        Self { object, shared: Arc::new(Mutex::new(shared)), doorbell }
    }

    /// Which object this is.
    pub fn object(&self) -> ObjectId {
        self.object
    }

    /// Gives the object a command. An object accepts a command of any size when its feed is empty,
    /// so that what is larger than the limit can still be said. Returns the command's number among
    /// those that the object accepted: 0, 1, 2, …
    pub fn try_send(&self, command: Command) -> Result<u64, TrySendError> {
        let cost = command.cost();
        let mut shared = self.lock();
        if shared.is_closed {
            return Err(TrySendError::Closed(command));
        }
        let held = shared.feed.bytes();
        if !shared.budget.take(cost, held, Self::FEED_BYTES_MAX) {
            return Err(TrySendError::Full(command));
        }
        let was_taken = shared.feed.is_taken();
        let number = shared.feed.push(command);
        drop(shared);
        if was_taken {
            self.doorbell.ring(self.object, Ring::Commands);
        }
        Ok(number)
    }

    /// The next event, if one is there.
    pub fn try_next(&self) -> Option<Event> {
        let mut shared = self.lock();
        let event = shared.events.pop_front()?;
        let cost = event.cost();
        shared.events_bytes -= cost;
        shared.budget.give(cost);
        let drained = shared.starved && shared.events_bytes <= Self::EVENTS_BYTES_MAX / 2;
        if drained {
            shared.starved = false;
        }
        drop(shared);
        if drained {
            self.doorbell.ring(self.object, Ring::Drained);
        }
        Some(event)
    }

    /// Keeps a snapshot of the object's state for a cut, and tells the module. A replica does so
    /// when it is told to freeze.
    pub fn freeze(&self, cut: u64, snapshot: Snapshot) {
        let mut shared = self.lock();
        if shared.is_closed {
            return;
        }
        let dropped = (shared.snapshots.insert(cut, snapshot), shared.snapshots_over());
        drop(shared);
        // A snapshot may be the last to hold a large state: letting go of it takes a while.
        drop(dropped);
        self.doorbell.ring(self.object, Ring::Frozen);
    }

    /// Closes the object: the module lets go of it, commands not yet taken are dropped, events that
    /// wait can still be read. Closing twice is the same as once.
    pub fn close(&self) {
        let mut shared = self.lock();
        if shared.is_closed {
            return;
        }
        shared.is_closed = true;
        let feed = std::mem::take(&mut shared.feed);
        shared.budget.give(feed.bytes());
        let snapshots = std::mem::take(&mut shared.snapshots);
        drop(shared);
        drop(snapshots);
        self.doorbell.ring(self.object, Ring::Closed);
    }

    pub(crate) fn take(&self, bytes_max: usize) -> Option<Taken> {
        self.lock().feed.take(bytes_max)
    }

    pub(crate) fn has_commands(&self) -> bool {
        !self.lock().feed.is_taken()
    }

    pub(crate) fn release(&self, message: u64) {
        let mut shared = self.lock();
        if !shared.is_closed {
            let freed = shared.feed.release(message);
            shared.budget.give(freed);
        }
    }

    pub(crate) fn rewind(&self, message: u64) {
        let mut shared = self.lock();
        if !shared.is_closed {
            shared.feed.rewind(message);
        }
    }

    /// Reads from a snapshot. It is out of the port meanwhile: making its bytes takes the time it
    /// takes, and runs the application's code.
    pub(crate) fn read_frozen(&self, cut: u64, offset: u64, bytes_max: usize) -> Option<Chunk> {
        let mut snapshot = self.lock().snapshots.remove(&cut)?;
        let chunk = snapshot.read(offset, bytes_max);
        let mut shared = self.lock();
        if !shared.is_closed {
            // Whatever the replica froze meanwhile for the same cut is newer.
            shared.snapshots.entry(cut).or_insert(snapshot);
            let dropped = shared.snapshots_over();
            drop(shared);
            drop(dropped);
        }
        Some(chunk)
    }

    pub(crate) fn thaw(&self, cut: u64) {
        let mut shared = self.lock();
        let later = cut.checked_add(1).map(|later| shared.snapshots.split_off(&later));
        let dropped = std::mem::replace(&mut shared.snapshots, later.unwrap_or_default());
        drop(shared);
        drop(dropped);
    }

    /// Queues an event. An empty queue accepts an event of any size, as an empty feed any command.
    pub(crate) fn emit(&self, event: Event) -> Result<(), EventsFull> {
        let cost = event.cost();
        let mut shared = self.lock();
        let held = shared.events_bytes;
        if !shared.budget.take(cost, held, Self::EVENTS_BYTES_MAX) {
            shared.starved = true;
            return Err(EventsFull);
        }
        shared.events_bytes += cost;
        shared.events.push_back(event);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().expect("no code that holds the lock panics")
    }
}

impl Shared {
    /// Takes out the snapshot of the oldest cut if there is one too many.
    fn snapshots_over(&mut self) -> Option<Snapshot> {
        let is_over = self.snapshots.len() > Port::SNAPSHOTS_MAX;
        is_over.then(|| self.snapshots.pop_first()).flatten().map(|(_, snapshot)| snapshot)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.budget.give(self.feed.bytes() + self.events_bytes);
    }
}

/// Why a command was not accepted. The command comes back; nothing changed.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum TrySendError {
    /// The object's feed, or the node's budget, has no room: the module takes no faster. Try again.
    #[error("the object's feed is full: its module takes commands no faster; try again")]
    Full(Command),
    /// The object was closed.
    #[error("the object is closed")]
    Closed(Command),
}

/// The application does not read an object's events as fast as they come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("the object's event queue is full")]
pub struct EventsFull;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Name;
    use bytes::Bytes;

    fn port(budget: &Budget) -> (Port, Doorbell) {
        let object = "/port".parse::<Name>().unwrap().id();
        let doorbell = Doorbell::default();
        (Port::new(object, budget.clone(), doorbell.clone()), doorbell)
    }

    fn command(bytes: usize) -> Command {
        Command::Custom(Bytes::from(vec![0; bytes]))
    }

    fn event(bytes: usize) -> Event {
        Event::Custom(Bytes::from(vec![0; bytes]))
    }

    #[test]
    fn a_full_feed_gives_the_command_back() {
        let (port, doorbell) = port(&Budget::new(usize::MAX));
        assert_eq!(port.try_send(command(Port::FEED_BYTES_MAX * 2)), Ok(0), "alone, any size");
        assert_eq!(port.try_send(command(1)), Err(TrySendError::Full(command(1))));
        assert_eq!(doorbell.answer(), [(port.object(), Ring::Commands)]);
        port.take(usize::MAX);
        port.release(0);
        assert_eq!(port.try_send(command(1)), Ok(1));
    }

    #[test]
    fn the_bell_rings_at_the_edge_only() {
        let (port, doorbell) = port(&Budget::new(usize::MAX));
        port.try_send(command(1)).unwrap();
        port.try_send(command(1)).unwrap();
        assert_eq!(doorbell.answer().len(), 1);
        port.take(9);
        port.try_send(command(1)).unwrap();
        assert_eq!(doorbell.answer().len(), 0, "one command still waits to be taken");
    }

    #[test]
    fn a_reader_that_caught_up_is_reported_once() {
        let (port, doorbell) = port(&Budget::new(usize::MAX));
        let half = Port::EVENTS_BYTES_MAX / 2;
        assert_eq!(port.emit(event(half)), Ok(()));
        assert_eq!(port.emit(event(half)), Err(EventsFull));
        assert_eq!(port.try_next(), Some(event(half)));
        assert_eq!(port.try_next(), None);
        assert_eq!(doorbell.answer(), [(port.object(), Ring::Drained)]);
    }

    #[test]
    fn the_budget_bounds_feeds_and_events_together_and_gets_all_back() {
        let budget = Budget::new(1_000);
        let (port, _) = port(&budget);
        port.try_send(command(400)).unwrap();
        port.emit(event(400)).unwrap();
        assert_eq!(port.try_send(command(100)), Err(TrySendError::Full(command(100))));
        port.close();
        assert_eq!(port.try_send(command(1)), Err(TrySendError::Closed(command(1))));
        assert_eq!(port.try_next(), Some(event(400)), "what was queued can still be read");
        assert_eq!(budget.free(), 1_000);
    }

    #[test]
    fn snapshots_are_bounded_and_the_oldest_goes() {
        let (port, doorbell) = port(&Budget::new(usize::MAX));
        let snapshot = || Snapshot::new(Box::new(crate::List::<u8>::new()));
        let read = |cut| port.read_frozen(cut, 0, 99).map(|chunk| chunk.last);
        let cuts = Port::SNAPSHOTS_MAX as u64;
        (0..=cuts).for_each(|cut| port.freeze(cut, snapshot()));
        assert_eq!(doorbell.answer().last(), Some(&(port.object(), Ring::Frozen)));
        assert_eq!([read(0), read(1), read(cuts), read(cuts + 1)], [None, TRUE, TRUE, None]);
        port.thaw(cuts - 1);
        assert_eq!([read(1), read(cuts - 1), read(cuts)], [None, None, TRUE]);
        port.thaw(u64::MAX);
        assert_eq!(read(cuts), None);
        port.freeze(7, snapshot());
        port.close();
        port.freeze(8, snapshot());
        assert_eq!([read(7), read(8)], [None, None], "a closed object keeps none");
    }

    const TRUE: Option<bool> = Some(true);

    #[test]
    fn a_dropped_port_gives_back_what_nobody_read() {
        let budget = Budget::new(1_000);
        let (port, _) = port(&budget);
        port.try_send(command(100)).unwrap();
        port.emit(event(100)).unwrap();
        drop(port);
        assert_eq!(budget.free(), 1_000);
    }
}
