//! How applications' tasks, and those of modules' engines, get the attention of the node's loop.
//!
//! A port rings once when something changes from *nothing to do* to *something to do*, so the bell
//! holds at most a few entries an object however fast its application works. (A replica rings for
//! each cut that it freezes; it freezes those that its module asked for.)

#![allow(clippy::disallowed_types, reason = "other tasks and the node's loop meet here")]

use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use crate::name::ObjectId;

/// A bell shared by all ports and posters of a node.
#[derive(Clone, Default)]
pub(crate) struct Doorbell {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    rung: Rung,
    /// The node's loop, when it waits.
    waker: Option<Waker>,
}

/// Everything that rang since it was last answered.
#[derive(Default)]
pub(crate) struct Rung {
    /// What ports rang for, in order.
    pub(crate) rings: Vec<(ObjectId, Ring)>,
    /// The slots of the modules that something was posted to.
    pub(crate) posted: Vec<usize>,
}

/// What a port rang for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ring {
    /// Its feed went from empty to not empty.
    Commands,
    /// Its event queue was full and has room again.
    Drained,
    /// Its replica froze the state for a cut.
    Frozen,
    /// The application closed the object.
    Closed,
}

impl Doorbell {
    pub(crate) fn ring(&self, object: ObjectId, ring: Ring) {
        self.note(|rung| rung.rings.push((object, ring)));
    }

    /// The queue of posts to the module of this slot went from empty to not empty.
    pub(crate) fn ring_posted(&self, slot: usize) {
        self.note(|rung| rung.posted.push(slot));
    }

    fn note(&self, note: impl FnOnce(&mut Rung)) {
        let mut shared = self.lock();
        note(&mut shared.rung);
        let waker = shared.waker.take();
        drop(shared);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(crate) fn has_rung(&self) -> bool {
        self.lock().rung.is_some()
    }

    /// Whether it has rung; if not, the task is woken when it does.
    pub(crate) fn poll_rung(&self, context: &Context<'_>) -> Poll<()> {
        let mut shared = self.lock();
        if shared.rung.is_some() {
            return Poll::Ready(());
        }
        shared.waker = Some(context.waker().clone());
        Poll::Pending
    }

    pub(crate) fn answer(&self) -> Rung {
        std::mem::take(&mut self.lock().rung)
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().expect("no code that holds the lock panics")
    }
}

impl Rung {
    fn is_some(&self) -> bool {
        !self.rings.is_empty() || !self.posted.is_empty()
    }
}

/// A task waits, once however often it asked.
pub(crate) fn wait(waiting: &mut Vec<Waker>, context: &Context<'_>) {
    if !waiting.iter().any(|waker| waker.will_wake(context.waker())) {
        waiting.push(context.waker().clone());
    }
}
