//! Where an application's task and a node's loop meet: the port of one open object.
//!
//! A port holds the object's feed (commands, from the application to the module) and its event
//! queue (from the module to the application), both bounded in bytes and drawn from the node's
//! [`Budget`]. The two sides may run on different threads, so this file, `poster.rs` and
//! `doorbell.rs` are the only ones of the crate with a lock; it is held for the few instructions of
//! a push or a pop and never across a call into a module. Neither side waits for the other:
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
use std::task::{Context, Poll, Waker};

use thiserror::Error;

use crate::budget::Budget;
use crate::doorbell::{Doorbell, Ring, wait};
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
    /// The longest command.
    command_bytes_max: usize,
    /// Tasks that wait for an event, and tasks that wait for room in the feed.
    readers: Vec<Waker>,
    writers: Vec<Waker>,
}

impl Port {
    /// What the commands of one object may count for, in bytes, before its feed is full.
    pub const FEED_BYTES_MAX: usize = 1 << 20;
    /// What the events of one object may count for, in bytes, before its queue is full.
    pub const EVENTS_BYTES_MAX: usize = 1 << 20;
    /// The longest command of any object, in bytes. What is larger is better sent in pieces.
    pub const COMMAND_BYTES_MAX: usize = 64 << 20;
    /// How many snapshots an object keeps. One more, and that of the oldest cut goes.
    pub const SNAPSHOTS_MAX: usize = 16;

    pub(crate) fn new(
        object: ObjectId,
        command_bytes_max: usize,
        budget: Budget,
        doorbell: Doorbell,
    ) -> Self {
        let shared = Shared {
            budget,
            feed: Feed::default(),
            events: VecDeque::new(),
            events_bytes: 0,
            snapshots: BTreeMap::new(),
            starved: false,
            is_closed: false,
            command_bytes_max: command_bytes_max.min(Self::COMMAND_BYTES_MAX),
            readers: Vec::new(),
            writers: Vec::new(),
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
        self.send(command, &mut self.lock())
    }

    /// As [`Port::try_send`], but if the feed is full the command is left where it is, and the task
    /// is woken when there is room again. The command is taken out when it is accepted, or when the
    /// object was closed.
    ///
    /// # Panics
    /// If there is no command.
    pub fn poll_send(
        &self,
        context: &mut Context<'_>,
        command: &mut Option<Command>,
    ) -> Poll<Result<u64, TrySendError>> {
        let mut shared = self.lock();
        match self.send(command.take().expect("a command to send"), &mut shared) {
            Err(TrySendError::Full(refused)) => {
                *command = Some(refused);
                wait(&mut shared.writers, context);
                Poll::Pending
            }
            sent => Poll::Ready(sent),
        }
    }

    fn send(&self, command: Command, shared: &mut Shared) -> Result<u64, TrySendError> {
        let cost = command.cost();
        if shared.is_closed {
            return Err(TrySendError::Closed(command));
        }
        let bytes_max = shared.command_bytes_max;
        if command.len() > bytes_max {
            return Err(TrySendError::TooLong { command, bytes_max });
        }
        let held = shared.feed.bytes();
        if !shared.budget.take(cost, held, Self::FEED_BYTES_MAX) {
            return Err(TrySendError::Full(command));
        }
        let was_taken = shared.feed.is_taken();
        let number = shared.feed.push(command);
        if was_taken {
            self.doorbell.ring(self.object, Ring::Commands);
        }
        Ok(number)
    }

    /// The next event, if one is there.
    pub fn try_next(&self) -> Option<Event> {
        self.next(&mut self.lock())
    }

    /// The next event. If none is there the task is woken when one comes; if none is there and the
    /// object was closed, there is none to come.
    pub fn poll_next(&self, context: &mut Context<'_>) -> Poll<Option<Event>> {
        let mut shared = self.lock();
        let event = self.next(&mut shared);
        if event.is_some() || shared.is_closed {
            return Poll::Ready(event);
        }
        wait(&mut shared.readers, context);
        Poll::Pending
    }

    fn next(&self, shared: &mut Shared) -> Option<Event> {
        let event = shared.events.pop_front()?;
        let cost = event.cost();
        shared.events_bytes -= cost;
        shared.budget.give(cost);
        if shared.events.is_empty() && shared.events.capacity() > IDLE_EVENTS_MAX {
            shared.events = VecDeque::new();
        }
        let drained = shared.starved && shared.events_bytes <= Self::EVENTS_BYTES_MAX / 2;
        if drained {
            shared.starved = false;
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
        let mut waiting = std::mem::take(&mut shared.writers);
        waiting.append(&mut shared.readers);
        drop(shared);
        drop(snapshots);
        waiting.into_iter().for_each(Waker::wake);
        self.doorbell.ring(self.object, Ring::Closed);
    }

    /// Whether the object was closed, or its node is gone: it takes no more commands.
    pub fn is_closed(&self) -> bool {
        self.lock().is_closed
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
            let waiting = std::mem::take(&mut shared.writers);
            drop(shared);
            waiting.into_iter().for_each(Waker::wake);
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

    /// Queues an event, in place of the last if it [replaces](Event::replaces) that. An empty queue
    /// accepts an event of any size, as an empty feed any command.
    pub(crate) fn emit(&self, event: Event) -> Result<(), EventsFull> {
        let cost = event.cost();
        let mut shared = self.lock();
        if let Some(last) = shared.events.back().filter(|last| event.replaces(last)) {
            let before = last.cost();
            let others = shared.events_bytes - before;
            let held = if others == 0 { 0 } else { shared.events_bytes };
            let more = cost.saturating_sub(before);
            if more > 0 && !shared.budget.take(more, held, Self::EVENTS_BYTES_MAX) {
                shared.starved = true;
                return Err(EventsFull);
            }
            shared.budget.give(before.saturating_sub(cost));
            shared.events_bytes = others + cost;
            *shared.events.back_mut().expect("it was just seen") = event;
            return Ok(());
        }
        let held = shared.events_bytes;
        if !shared.budget.take(cost, held, Self::EVENTS_BYTES_MAX) {
            shared.starved = true;
            return Err(EventsFull);
        }
        shared.events_bytes += cost;
        shared.events.push_back(event);
        let waiting = std::mem::take(&mut shared.readers);
        drop(shared);
        waiting.into_iter().for_each(Waker::wake);
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
    /// The command is longer than the object's module takes.
    #[error(
        "the command is {} bytes long, and may have {bytes_max} at most: send it in pieces",
        command.len()
    )]
    TooLong {
        /// What was to be sent.
        command: Command,
        /// How long it may be.
        bytes_max: usize,
    },
}

/// A queue that was read keeps room for so many events, and no more however many it once held.
const IDLE_EVENTS_MAX: usize = 64;

/// The application does not read an object's events as fast as they come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("the object's event queue is full")]
pub struct EventsFull;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::Estimate;
    use crate::name::Name;
    use crate::nearest::{Load, Near};
    use crate::node::{Incarnation, Member, NodeId};
    use crate::sketch::{Distinct, Sketch};
    use bytes::Bytes;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    fn port(budget: &Budget) -> (Port, Doorbell) {
        let object = "/port".parse::<Name>().unwrap().id();
        let doorbell = Doorbell::default();
        (Port::new(object, usize::MAX, budget.clone(), doorbell.clone()), doorbell)
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
        assert_eq!(doorbell.rings(), [(port.object(), Ring::Commands)]);
        port.take(usize::MAX);
        port.release(0);
        assert_eq!(port.try_send(command(1)), Ok(1));
        let long = port.try_send(command(Port::COMMAND_BYTES_MAX + 1)).unwrap_err();
        assert!(long.to_string().contains("67108865 bytes long"), "{long}");
    }

    /// How often a waker of its own was woken.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_task_that_waits_for_room_is_woken_by_it() {
        let (port, _) = port(&Budget::new(usize::MAX));
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let mut context = Context::from_waker(&waker);
        port.try_send(command(Port::FEED_BYTES_MAX)).unwrap();
        let mut waiting = Some(command(1));
        assert!(port.poll_send(&mut context, &mut waiting).is_pending());
        assert!(port.poll_send(&mut context, &mut waiting).is_pending());
        assert_eq!(waiting, Some(command(1)), "it is kept");
        port.take(usize::MAX);
        port.release(0);
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert_eq!(port.poll_send(&mut context, &mut waiting), Poll::Ready(Ok(1)));
        assert_eq!(waiting, None);
    }

    #[test]
    fn a_task_that_waits_for_an_event_is_woken_by_it_and_by_the_end() {
        let (port, _) = port(&Budget::new(usize::MAX));
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let mut context = Context::from_waker(&waker);
        assert!(port.poll_next(&mut context).is_pending());
        port.emit(event(1)).unwrap();
        port.emit(event(2)).unwrap();
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert_eq!(port.poll_next(&mut context), Poll::Ready(Some(event(1))));
        port.close();
        assert_eq!(port.poll_next(&mut context), Poll::Ready(Some(event(2))));
        assert_eq!(port.poll_next(&mut context), Poll::Ready(None));
    }

    #[test]
    fn the_bell_rings_at_the_edge_only() {
        let (port, doorbell) = port(&Budget::new(usize::MAX));
        port.try_send(command(1)).unwrap();
        port.try_send(command(1)).unwrap();
        assert_eq!(doorbell.rings().len(), 1);
        port.take(9);
        port.try_send(command(1)).unwrap();
        assert_eq!(doorbell.rings().len(), 0, "one command still waits to be taken");
    }

    #[test]
    fn a_reader_that_caught_up_is_reported_once() {
        let (port, doorbell) = port(&Budget::new(usize::MAX));
        let half = Port::EVENTS_BYTES_MAX / 2;
        assert_eq!(port.emit(event(half)), Ok(()));
        assert_eq!(port.emit(event(half)), Err(EventsFull));
        assert_eq!(port.try_next(), Some(event(half)));
        assert_eq!(port.try_next(), None);
        assert_eq!(doorbell.rings(), [(port.object(), Ring::Drained)]);
    }

    #[test]
    fn an_estimate_that_nobody_read_gives_way_to_the_next() {
        let estimate = |members| {
            Event::Aggregate(Estimate::of_number(None, members, core::time::Duration::ZERO))
        };
        let budget = Budget::new(1_000);
        let (port, _) = port(&budget);
        (1..100).for_each(|members| port.emit(estimate(members)).unwrap());
        port.emit(event(1)).unwrap();
        port.emit(estimate(100)).unwrap();
        let heard: Vec<_> = std::iter::from_fn(|| port.try_next()).collect();
        assert_eq!(heard, [estimate(99), event(1), estimate(100)]);
        assert_eq!(budget.free(), 1_000);
    }

    /// One that takes more or less room than what it replaces.
    #[test]
    fn what_replaces_another_counts_for_what_it_is() {
        let budget = Budget::new(10_000);
        let (port, _) = port(&budget);
        let small = || Event::Aggregate(Estimate::of_number(None, 1, core::time::Duration::ZERO));
        let large = || {
            let sketch = Sketch::Distinct(Distinct::new());
            let sketches = vec![Arc::new(sketch)];
            Event::Aggregate(Estimate::of_sketches(sketches, 1, core::time::Duration::ZERO))
        };
        port.emit(small()).unwrap();
        port.emit(large()).unwrap();
        assert!(budget.free() < 7_000);
        assert_eq!((port.try_next(), budget.free()), (Some(large()), 10_000));
        port.emit(large()).unwrap();
        port.emit(small()).unwrap();
        assert!(budget.free() > 9_000);
        // Alone it may be of any size; behind another there has to be room.
        let held = Budget::take(&budget, budget.free(), 1, usize::MAX);
        assert!(held && port.emit(large()).is_ok());
        assert_eq!(port.try_next(), Some(large()));
        budget.give(9_000);
        port.emit(event(8_000)).unwrap();
        port.emit(small()).unwrap();
        assert_eq!(port.emit(large()), Err(EventsFull));
        assert_eq!([port.try_next(), port.try_next()], [Some(event(8_000)), Some(small())]);
    }

    #[test]
    fn a_command_that_is_too_long_for_its_module_comes_back() {
        let object = "/port".parse::<Name>().unwrap().id();
        let port = Port::new(object, 10, Budget::new(usize::MAX), Doorbell::default());
        let publish = |key, value| Command::Publish {
            key: Bytes::from(vec![0; key]),
            value: Bytes::from(vec![0; value]),
        };
        assert_eq!(port.try_send(publish(4, 6)), Ok(0));
        let refused = TrySendError::TooLong { command: publish(4, 7), bytes_max: 10 };
        assert!(refused.to_string().contains("11 bytes long, and may have 10"), "{refused}");
        assert_eq!(port.try_send(publish(4, 7)), Err(refused));
    }

    #[test]
    fn what_replaces_an_event_counts_in_its_place() {
        let budget = Budget::new(usize::MAX);
        let (port, _) = port(&budget);
        let free = budget.free();
        let near = Near {
            member: Member {
                node: NodeId::from_bytes([1; NodeId::LEN]),
                incarnation: Incarnation::from_bytes([1; Incarnation::LEN]),
            },
            round_trip: core::time::Duration::ZERO,
            error: core::time::Duration::ZERO,
            is_measured: false,
            foretold: core::time::Duration::ZERO,
            load: Load::IDLE,
        };
        for count in [0, 8, 3] {
            let event = Event::Nearest(vec![near; count]);
            let cost = event.cost();
            port.emit(event).unwrap();
            assert_eq!(free - budget.free(), cost);
        }
        assert_eq!(port.try_next(), Some(Event::Nearest(vec![near; 3])));
        assert_eq!((port.try_next(), budget.free()), (None, free));
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
        assert_eq!(doorbell.rings().last(), Some(&(port.object(), Ring::Frozen)));
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
