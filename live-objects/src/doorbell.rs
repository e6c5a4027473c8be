//! How applications' tasks get the attention of the node's loop.
//!
//! A port rings once when something changes from *nothing to do* to *something to do*, so the bell
//! holds at most a few entries an object however fast its application works. (A replica rings for
//! each cut that it freezes; it freezes those that its module asked for.)

#![allow(clippy::disallowed_types, reason = "applications' tasks and the node's loop meet here")]

use std::sync::{Arc, Mutex};

use crate::name::ObjectId;

/// A bell shared by all ports of a node.
#[derive(Clone, Default)]
pub(crate) struct Doorbell {
    rings: Arc<Mutex<Vec<(ObjectId, Ring)>>>,
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
        self.lock().push((object, ring));
    }

    pub(crate) fn has_rung(&self) -> bool {
        !self.lock().is_empty()
    }

    /// Everything that rang since it was last answered, in order.
    pub(crate) fn answer(&self) -> Vec<(ObjectId, Ring)> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(ObjectId, Ring)>> {
        self.rings.lock().expect("no code that holds the lock panics")
    }
}
