//! How a module's engine tells the module what it did: by posts.
//!
//! A module never waits. What must wait (an engine written for an async runtime, a long
//! computation, another system's answer) runs in tasks or threads beside the node's loop. The
//! module starts them and tells them what to do by channels of its own; they answer by a
//! [`Poster`], and the module takes their posts when it likes, as it does commands. So only this
//! adapter, and not the engine, has to be a state machine.
//!
//! The queue is bounded in bytes and drawn from the node's budget: an engine that is faster than
//! its module takes waits, or is told.

#![allow(clippy::disallowed_types, reason = "an engine's tasks and the node's loop meet here")]

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use thiserror::Error;

use crate::budget::Budget;
use crate::doorbell::{Doorbell, wait};

/// Posts to one module of a node, which hears [`Input::Posted`](crate::Input::Posted) and takes
/// them by [`Io::next_post`](crate::Io::next_post). Clones post to the same module; made by
/// [`Io::poster`](crate::Io::poster).
///
/// In the simulator a post made by a task or thread is heard when its node has something else to
/// do, and no seed decides when it is made: such an engine is tried on sockets.
#[derive(Clone)]
pub struct Poster {
    slot: usize,
    shared: Arc<Mutex<Shared>>,
    doorbell: Doorbell,
}

struct Shared {
    budget: Budget,
    posts: VecDeque<Bytes>,
    bytes: usize,
    is_closed: bool,
    /// There was no post, and there is one, and nobody was told.
    is_news: bool,
    /// Tasks that wait for room.
    writers: Vec<Waker>,
}

impl Poster {
    /// What the posts to one module may count for, in bytes, before there is no room.
    pub const BYTES_MAX: usize = 1 << 20;

    pub(crate) fn new(slot: usize, budget: Budget, doorbell: Doorbell) -> Self {
        let shared = Shared {
            budget,
            posts: VecDeque::new(),
            bytes: 0,
            is_closed: false,
            is_news: false,
            writers: Vec::new(),
        };
        Self { slot, shared: Arc::new(Mutex::new(shared)), doorbell }
    }

    /// Posts to the module. When nothing else is posted, a post of any size is accepted.
    pub fn try_post(&self, bytes: Bytes) -> Result<(), PostError> {
        let mut shared = self.lock();
        let posted = shared.push(bytes);
        self.ring(shared);
        posted
    }

    /// Posts to the module, and waits until there is room to. Fails only if the module has stopped.
    /// Of several that wait none is first.
    pub async fn post(&self, bytes: Bytes) -> Result<(), PostError> {
        let mut bytes = Some(bytes);
        poll_fn(|context| self.poll_post(context, &mut bytes)).await
    }

    fn poll_post(
        &self,
        context: &Context<'_>,
        bytes: &mut Option<Bytes>,
    ) -> Poll<Result<(), PostError>> {
        let mut shared = self.lock();
        let posted = match shared.push(bytes.take().expect("it was not posted yet")) {
            Err(PostError::Full(refused)) => {
                *bytes = Some(refused);
                wait(&mut shared.writers, context);
                Poll::Pending
            }
            posted => Poll::Ready(posted),
        };
        self.ring(shared);
        posted
    }

    /// Tells the module that there are posts, if it does not know.
    fn ring(&self, mut shared: MutexGuard<'_, Shared>) {
        let is_news = std::mem::take(&mut shared.is_news);
        drop(shared);
        if is_news {
            self.doorbell.ring_posted(self.slot);
        }
    }

    /// The oldest post that was not taken.
    pub(crate) fn next(&self) -> Option<Bytes> {
        let mut shared = self.lock();
        let post = shared.posts.pop_front()?;
        shared.free(cost(&post));
        let waiting = std::mem::take(&mut shared.writers);
        drop(shared);
        waiting.into_iter().for_each(Waker::wake);
        Some(post)
    }

    /// Nobody takes posts any more.
    pub(crate) fn close(&self) {
        let mut shared = self.lock();
        shared.is_closed = true;
        shared.posts.clear();
        let held = shared.bytes;
        shared.free(held);
        let waiting = std::mem::take(&mut shared.writers);
        drop(shared);
        waiting.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().expect("no code that holds the lock panics")
    }
}

impl Shared {
    fn push(&mut self, bytes: Bytes) -> Result<(), PostError> {
        if self.is_closed {
            return Err(PostError::Gone(bytes));
        }
        let cost = cost(&bytes);
        if !self.budget.take(cost, self.bytes, Poster::BYTES_MAX) {
            return Err(PostError::Full(bytes));
        }
        self.bytes += cost;
        self.is_news |= self.posts.is_empty();
        self.posts.push_back(bytes);
        Ok(())
    }

    fn free(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.budget.give(bytes);
    }
}

impl fmt::Debug for Poster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shared = self.lock();
        write!(f, "Poster {{ posts: {}, is_closed: {} }}", shared.posts.len(), shared.is_closed)
    }
}

/// What a post counts for: its bytes, and what it takes beside them.
fn cost(bytes: &Bytes) -> usize {
    bytes.len() + OVERHEAD_BYTES
}

const OVERHEAD_BYTES: usize = 64;

/// Why something was not posted. Its bytes come back; the module hears nothing.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum PostError {
    /// The module, or its node, takes no faster. Only of calls that do not wait.
    #[error("the module takes posts no faster: try again, or use the call that waits")]
    Full(Bytes),
    /// The module has stopped, or its node has.
    #[error("the module has stopped: nobody hears what is posted")]
    Gone(Bytes),
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Wake;

    use std::sync::atomic::{AtomicUsize, Ordering};

    /// How often a waker of its own was woken.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn poster(budget: &Budget) -> Poster {
        Poster::new(3, budget.clone(), Doorbell::default())
    }

    fn bytes(len: usize) -> Bytes {
        Bytes::from(vec![7; len])
    }

    fn take(poster: &Poster) -> Vec<Bytes> {
        std::iter::from_fn(|| poster.next()).collect()
    }

    #[test]
    fn posts_come_in_order_and_ring_at_the_edge() {
        let poster = poster(&Budget::new(usize::MAX));
        let clone = poster.clone();
        poster.try_post(bytes(5)).unwrap();
        clone.try_post(bytes(4)).unwrap();
        assert_eq!(poster.doorbell.posted(), [3]);
        assert_eq!(take(&poster), [bytes(5), bytes(4)]);
        assert_eq!(poster.doorbell.posted(), [0; 0]);
        poster.try_post(bytes(1)).unwrap();
        assert_eq!(poster.doorbell.posted(), [3]);
    }

    #[test]
    fn a_full_poster_gives_the_bytes_back_and_wakes_who_waits() {
        let budget = Budget::new(usize::MAX);
        let free = budget.free();
        let poster = poster(&budget);
        poster.try_post(bytes(Poster::BYTES_MAX * 2)).expect("alone, any size");
        assert_eq!(poster.try_post(bytes(1)), Err(PostError::Full(bytes(1))));
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let mut waiting = Some(bytes(1));
        let context = Context::from_waker(&waker);
        assert!(poster.poll_post(&context, &mut waiting).is_pending());
        assert_eq!(take(&poster).len(), 1);
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert_eq!(poster.poll_post(&context, &mut waiting), Poll::Ready(Ok(())));
        poster.close();
        assert_eq!(budget.free(), free);
    }

    #[test]
    fn who_waits_is_told_when_nobody_hears_any_more() {
        let poster = poster(&Budget::new(usize::MAX));
        poster.try_post(bytes(Poster::BYTES_MAX)).unwrap();
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let context = Context::from_waker(&waker);
        let mut waiting = Some(bytes(1));
        assert!(poster.poll_post(&context, &mut waiting).is_pending());
        poster.close();
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        let gone = Err(PostError::Gone(bytes(1)));
        assert_eq!(poster.poll_post(&context, &mut waiting), Poll::Ready(gone));
    }
}
