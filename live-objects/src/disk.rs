//! What a module keeps on the disk of its node.
//!
//! A module has files of its own, by number, each of which grows at its end. It asks for what it
//! wants in a step; the driver does it later, one thing after another in the order asked, and the
//! module hears [`Input::Done`] of each. What is not there reads as an empty file, so a module that
//! numbers its files from 0 finds at its start where it was.
//!
//! **Guarantees.** What was appended before a sync that is done is read after any crash, as it was.
//! What was appended since may be there wholly, in part, or changed: a module that cares writes
//! checksums, reads up to the first that is wrong, and goes on in another file. What it read so
//! may still be lost in the next crash, until the file is synced again.
//!
//! Once something failed, all that the module asks after it in that life of the node fails too, and
//! a failed append may be there in part. A failed sync reaches further: the system may take for
//! written what it has dropped, show it to whoever reads it, and call a later sync of it done
//! (Rebello et al., *Can applications recover from fsync failures?*, USENIX ATC 2020, §3). What was
//! not synced then is safe only when it is written again, in another file.
//!
//! **Not here.** Records, checksums, segments, removal: they come with the log of the first module
//! that makes updates durable.
//!
//! [`Input::Done`]: crate::Input::Done

use std::collections::VecDeque;

use bytes::Bytes;
use thiserror::Error;

use crate::budget::Budget;
use crate::stack::Driver;

/// One thing that a module asked of the disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DiskWork {
    /// Which file of the module.
    pub file: u64,
    /// What to do with it.
    pub act: DiskAct,
    /// By what the module knows the answer.
    pub tag: Tag,
}

/// By what a module knows what it asked: a number of its own choice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Tag(pub u64);

/// What can be done with a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DiskAct {
    /// Write this at its end. Answered with no bytes.
    Append(Bytes),
    /// Make all that was appended to it safe from any crash. Answered with no bytes.
    Sync,
    /// Read from `offset` on. Answered with `bytes_max` bytes, or fewer if it ends before.
    Read {
        /// The first byte wanted.
        offset: u64,
        /// How many are wanted.
        bytes_max: usize,
    },
}

impl DiskWork {
    /// What it holds of memory until it is done.
    fn cost(&self) -> usize {
        let bytes = match &self.act {
            DiskAct::Append(bytes) => bytes.len(),
            DiskAct::Sync => 0,
            DiskAct::Read { bytes_max, .. } => *bytes_max,
        };
        bytes.saturating_add(OVERHEAD_BYTES)
    }
}

/// The disk, as a module has it in a step: see [`Io::disk`](crate::Io::disk).
pub struct Disk<'a> {
    pub(crate) module: &'static str,
    pub(crate) works: &'a mut Works,
    pub(crate) budget: &'a Budget,
    pub(crate) driver: &'a mut dyn Driver,
}

impl Disk<'_> {
    /// What a module's works may count for, in bytes, until they are done. One is always taken.
    pub const BYTES_MAX: usize = 8 << 20;

    /// Writes at the end of a file. [`Input::Done`](crate::Input::Done) without bytes follows; the
    /// bytes are safe once a later [`Disk::sync`] of this file is done.
    pub fn append(&mut self, file: u64, bytes: Bytes, tag: Tag) -> Result<(), DiskBusy> {
        self.ask(DiskWork { file, act: DiskAct::Append(bytes), tag })
    }

    /// Makes safe what was appended to a file. [`Input::Done`](crate::Input::Done) without bytes
    /// follows.
    pub fn sync(&mut self, file: u64, tag: Tag) -> Result<(), DiskBusy> {
        self.ask(DiskWork { file, act: DiskAct::Sync, tag })
    }

    /// Reads from `offset` on. [`Input::Done`](crate::Input::Done) follows with `bytes_max` bytes,
    /// or fewer if the file ends before.
    ///
    /// # Panics
    /// If more than [`Disk::BYTES_MAX`] are wanted: room is kept for all of them.
    pub fn read(
        &mut self,
        file: u64,
        offset: u64,
        bytes_max: usize,
        tag: Tag,
    ) -> Result<(), DiskBusy> {
        let most = Self::BYTES_MAX;
        assert!(bytes_max <= most, "a read of {bytes_max} bytes, {most} at most: read on after it");
        self.ask(DiskWork { file, act: DiskAct::Read { offset, bytes_max }, tag })
    }

    fn ask(&mut self, work: DiskWork) -> Result<(), DiskBusy> {
        if !self.works.begin(work.cost(), self.budget) {
            return Err(DiskBusy);
        }
        self.driver.disk(self.module, work);
        Ok(())
    }
}

/// What a module's works that are not done yet count for, in order.
#[derive(Default)]
pub(crate) struct Works {
    costs: VecDeque<usize>,
    bytes: usize,
}

impl Works {
    fn begin(&mut self, cost: usize, budget: &Budget) -> bool {
        if !budget.take(cost, self.bytes, Disk::BYTES_MAX) {
            return false;
        }
        self.bytes += cost;
        self.costs.push_back(cost);
        true
    }

    /// The oldest is done.
    ///
    /// # Panics
    /// If there is none.
    pub(crate) fn end(&mut self, budget: &Budget) {
        let cost = self.costs.pop_front().expect("a driver does what was asked, once");
        self.bytes -= cost;
        budget.give(cost);
    }
}

/// The disk has enough to do for this module: nothing was asked. Ask again when something is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("the disk has enough to do: ask again when something is done")]
pub struct DiskBusy;

/// Why the disk did not do what it was asked, nor does anything else of this module in this life of
/// the node. What was to be appended may be there in part.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum DiskError {
    /// The node was not given a place for files.
    #[error("this node keeps nothing on disk: give it a folder of its own")]
    NoFolder,
    /// There was no room for something, now or before.
    #[error("the disk is full: make room, then start the node anew: {0}")]
    Full(String),
    /// Something failed, now or before.
    #[error("the disk failed, and nothing more is asked of it until the node starts anew: {0}")]
    Failed(String),
}

const OVERHEAD_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn works_are_bounded_and_give_all_back() {
        let budget = Budget::new(usize::MAX);
        let free = budget.free();
        let mut works = Works::default();
        assert!(works.begin(Disk::BYTES_MAX * 2, &budget), "one is always taken");
        assert!(!works.begin(1, &budget));
        works.end(&budget);
        assert!(works.begin(Disk::BYTES_MAX - 1, &budget));
        assert!(works.begin(1, &budget));
        assert!(!works.begin(1, &budget));
        works.end(&budget);
        works.end(&budget);
        assert_eq!(budget.free(), free);
    }
}
