//! How applications' tasks get the attention of the node's loop.
//!
//! A port rings once when something changes from *nothing to do* to *something to do*, so the bell
//! holds at most a few entries an object however fast its application works. (A replica rings for
//! each cut that it freezes; it freezes those that its module asked for.)

#![allow(clippy::disallowed_types, reason = "applications' tasks and the node's loop meet here")]

use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use crate::name::ObjectId;

/// A bell shared by all ports of a node.
#[derive(Clone, Default)]
pub(crate) struct Doorbell {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    rings: Vec<(ObjectId, Ring)>,
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
        let mut shared = self.lock();
        shared.rings.push((object, ring));
        let waker = shared.waker.take();
        drop(shared);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(crate) fn has_rung(&self) -> bool {
        !self.lock().rings.is_empty()
    }

    /// Whether it has rung; if not, the task is woken when it does.
    pub(crate) fn poll_rung(&self, context: &Context<'_>) -> Poll<()> {
        let mut shared = self.lock();
        if shared.rings.is_empty() {
            shared.waker = Some(context.waker().clone());
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }

    /// Everything that rang since it was last answered, in order.
    pub(crate) fn answer(&self) -> Vec<(ObjectId, Ring)> {
        std::mem::take(&mut self.lock().rings)
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().expect("no code that holds the lock panics")
    }
}
