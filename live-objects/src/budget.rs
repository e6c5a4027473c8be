//! The byte budget of a node: what all its feeds and queues may hold together, those of events, of
//! posts and of works of the disk.
//!
//! Queues are bounded in bytes and not in messages: a bound of a thousand messages is a hundred
//! kilobytes or a gigabyte, whichever comes. Each queue has a limit of its own; the budget bounds
//! their sum, so that ten thousand objects with modest limits cannot fill the memory together.
//!
//! An empty queue may always take one item, over the budget if need be. So whoever was refused has
//! something in the queue, and is told when that is gone: nobody waits for bytes that others hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering};

/// A number of bytes that many queues draw from. Clones share it.
#[derive(Clone, Debug)]
pub struct Budget {
    /// Below zero while empty queues hold an item each over the budget.
    free: Arc<AtomicIsize>,
}

impl Budget {
    /// What a node's queues may hold together, in bytes.
    pub const DEFAULT_BYTES: usize = 256 << 20;

    /// A budget of `bytes`; of `usize::MAX`, one that is never used up.
    pub fn new(bytes: usize) -> Self {
        let free = isize::try_from(bytes).unwrap_or(isize::MAX);
        Self { free: Arc::new(AtomicIsize::new(free)) }
    }

    /// Bytes that nobody holds.
    pub fn free(&self) -> usize {
        usize::try_from(self.free.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Takes `bytes` for a queue that holds `held` and may hold `limit`, or nothing.
    pub(crate) fn take(&self, bytes: usize, held: usize, limit: usize) -> bool {
        let bytes_signed = signed(bytes);
        if held == 0 {
            self.free.fetch_sub(bytes_signed, Ordering::Relaxed);
            return true;
        }
        let less = |free: isize| (free >= bytes_signed).then(|| free - bytes_signed);
        held + bytes <= limit
            && self.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    /// Gives back bytes that were taken.
    pub(crate) fn give(&self, bytes: usize) {
        self.free.fetch_add(signed(bytes), Ordering::Relaxed);
    }
}

fn signed(bytes: usize) -> isize {
    isize::try_from(bytes).expect("no allocation is larger than isize::MAX")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_all_or_nothing() {
        let budget = Budget::new(10);
        assert!(budget.take(6, 1, 99));
        assert!(!budget.clone().take(5, 1, 99), "more than is free");
        assert!(!budget.take(2, 3, 4), "more than the queue may hold");
        assert_eq!(budget.free(), 4);
        budget.give(6);
        assert!(budget.take(10, 1, 99));
    }

    #[test]
    fn an_empty_queue_takes_one_item_over_the_budget() {
        let budget = Budget::new(10);
        assert!(budget.take(25, 0, 1));
        assert_eq!(budget.free(), 0);
        assert!(!budget.take(1, 25, 99));
        budget.give(25);
        assert_eq!(budget.free(), 10);
    }
}
