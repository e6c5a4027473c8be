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
    rings: Vec<(ObjectId, Ring)>,
    /// The slots of the modules that something was posted to.
    posted: Vec<usize>,
    /// The node's loop, when it waits.
    waker: Option<Waker>,
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
        self.note(|shared| shared.rings.push((object, ring)));
    }

    /// The queue of posts to the module of this slot went from empty to not empty.
    pub(crate) fn ring_posted(&self, slot: usize) {
        self.note(|shared| shared.posted.push(slot));
    }

    fn note(&self, note: impl FnOnce(&mut Shared)) {
        let mut shared = self.lock();
        note(&mut shared);
        let waker = shared.waker.take();
        drop(shared);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(crate) fn has_rung(&self) -> bool {
        self.lock().has_rung()
    }

    /// Whether it has rung; if not, the task is woken when it does.
    pub(crate) fn poll_rung(&self, context: &Context<'_>) -> Poll<()> {
        let mut shared = self.lock();
        if shared.has_rung() {
            return Poll::Ready(());
        }
        shared.waker = Some(context.waker().clone());
        Poll::Pending
    }

    /// What ports rang for since this was last asked, in order.
    pub(crate) fn rings(&self) -> Vec<(ObjectId, Ring)> {
        std::mem::take(&mut self.lock().rings)
    }

    /// The slots of the modules that something was posted to since this was last asked.
    pub(crate) fn posted(&self) -> Vec<usize> {
        std::mem::take(&mut self.lock().posted)
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().expect("no code that holds the lock panics")
    }
}

impl Shared {
    fn has_rung(&self) -> bool {
        !self.rings.is_empty() || !self.posted.is_empty()
    }
}

/// A task waits, once however often it asked.
pub(crate) fn wait(waiting: &mut Vec<Waker>, context: &Context<'_>) {
    if !waiting.iter().any(|waker| waker.will_wake(context.waker())) {
        waiting.push(context.waker().clone());
    }
}
