//! The simulated disk of a host. It outlives the host's lives, and forgets what it may.
//!
//! Works are done one after another, each in a time of its own. At a crash the works under way are
//! lost. Some crashes take the process alone: what the files hold stays, and what was not synced is
//! as unsafe as before. Others take the machine: of what was not synced a part is kept, of any
//! length, the end of which may have become something else.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use live_objects::{Arrival, DiskAct, DiskError, DiskWork, Rng, Time};
use rand::{Rng as _, RngExt};

use crate::trace::Trace;

/// The disk of one host.
pub(crate) struct Disk {
    files: BTreeMap<(&'static str, u64), File>,
    works: VecDeque<Work>,
    rng: Rng,
    /// Appends fail.
    pub(crate) is_full: bool,
    /// Something failed in this life: all else does too, for the same reason.
    failed: Option<DiskError>,
}

#[derive(Default)]
struct File {
    bytes: Vec<u8>,
    /// How much of it no crash takes.
    synced: usize,
}

/// Something that is asked, and when it is done.
struct Work {
    at: Time,
    module: &'static str,
    work: DiskWork,
}

impl Disk {
    pub(crate) fn new(rng: Rng) -> Self {
        Self { files: BTreeMap::new(), works: VecDeque::new(), rng, is_full: false, failed: None }
    }

    pub(crate) fn ask(&mut self, now: Time, module: &'static str, work: DiskWork) {
        let begins = self.works.back().map_or(now, |last| last.at.max(now));
        let at = begins + self.draw_time(&work.act);
        self.works.push_back(Work { at, module, work });
    }

    /// When the next work is done.
    pub(crate) fn next_timer(&self) -> Option<Time> {
        self.works.front().map(|work| work.at)
    }

    /// What is done by now.
    pub(crate) fn on_timer(&mut self, now: Time, trace: &mut Trace, arrivals: &mut Vec<Arrival>) {
        while let Some((module, tag, result)) = self.next_done(now) {
            trace.time(now);
            trace.number(tag);
            trace.bytes(result.as_deref().unwrap_or(b"failed"));
            arrivals.push(Arrival::Disk { module, tag, result });
        }
    }

    /// The host's process is gone, and perhaps its machine: nothing is told any more.
    pub(crate) fn crash(&mut self, now: Time) {
        while self.next_done(now).is_some() {}
        self.end();
        let is_machine = self.rng.random_ratio(2, 3);
        for file in self.files.values_mut().filter(|_| is_machine) {
            file.crash(&mut self.rng);
        }
    }

    /// The host's process ended by itself. The works under way are lost.
    pub(crate) fn end(&mut self) {
        self.works.clear();
        self.failed = None;
    }

    fn next_done(&mut self, now: Time) -> Option<(&'static str, u64, Result<Bytes, DiskError>)> {
        if self.next_timer().is_none_or(|at| at > now) {
            return None;
        }
        let Work { module, work, .. } = self.works.pop_front()?;
        let DiskWork { file, act, tag } = work;
        let result = match &self.failed {
            Some(error) => Err(error.clone()),
            None => self.act((module, file), act),
        };
        self.failed = result.as_ref().err().cloned();
        Some((module, tag, result))
    }

    fn act(&mut self, file: (&'static str, u64), act: DiskAct) -> Result<Bytes, DiskError> {
        match act {
            DiskAct::Append(_) if self.is_full => {
                return Err(DiskError::Failed("no space left on device".to_owned()));
            }
            DiskAct::Append(bytes) => self.files.entry(file).or_default().bytes.extend(bytes),
            DiskAct::Sync => {
                let file = self.files.entry(file).or_default();
                file.synced = file.bytes.len();
            }
            DiskAct::Read { offset, bytes_max } => {
                let Some(file) = self.files.get(&file) else { return Ok(Bytes::new()) };
                let len = file.bytes.len();
                let begin = usize::try_from(offset).map_or(len, |offset| offset.min(len));
                let end = begin.saturating_add(bytes_max).min(len);
                return Ok(Bytes::copy_from_slice(&file.bytes[begin..end]));
            }
        }
        Ok(Bytes::new())
    }

    fn draw_time(&mut self, act: &DiskAct) -> Duration {
        let micros = match act {
            DiskAct::Append(_) => 5..50,
            DiskAct::Sync if self.rng.random_ratio(1, 20) => 10_000..100_000,
            DiskAct::Sync => 100..5_000,
            DiskAct::Read { .. } => 20..200,
        };
        Duration::from_micros(self.rng.random_range(micros))
    }
}

impl File {
    fn crash(&mut self, rng: &mut Rng) {
        let kept = rng.random_range(self.synced..=self.bytes.len());
        self.bytes.truncate(kept);
        if rng.random_ratio(1, 2) {
            let torn = rng.random_range(self.synced..=kept);
            rng.fill_bytes(&mut self.bytes[torn..]);
        }
        self.synced = kept;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(seed: u8) -> Disk {
        Disk::new(Rng::from_seed([seed; 32]))
    }

    /// Asks, and returns what came of it.
    fn ask(disk: &mut Disk, file: u64, act: DiskAct) -> Result<Bytes, DiskError> {
        disk.ask(Time::ZERO, "diary", DiskWork { file, act, tag: 7 });
        let mut arrivals = Vec::new();
        disk.on_timer(Time::MAX, &mut Trace::new(), &mut arrivals);
        match arrivals.pop() {
            Some(Arrival::Disk { module: "diary", tag: 7, result }) => result,
            other => panic!("{other:?}"),
        }
    }

    fn read(disk: &mut Disk, offset: u64, bytes_max: usize) -> Bytes {
        ask(disk, 0, DiskAct::Read { offset, bytes_max }).unwrap()
    }

    fn append(disk: &mut Disk, bytes: &'static [u8]) {
        ask(disk, 0, DiskAct::Append(bytes.into())).unwrap();
    }

    #[test]
    fn reads_what_is_there_and_no_more() {
        let mut disk = disk(0);
        assert_eq!(read(&mut disk, 0, 9), "");
        append(&mut disk, b"abc");
        append(&mut disk, b"def");
        assert_eq!(read(&mut disk, 1, 4), "bcde");
        assert_eq!(read(&mut disk, 4, 9), "ef");
        assert_eq!(read(&mut disk, 7, 9), "");
        assert_eq!(read(&mut disk, u64::MAX, usize::MAX), "");
    }

    #[test]
    fn a_crash_takes_nothing_that_was_synced_and_all_else_in_some_way() {
        let (mut lengths, mut torn) = ([0; 4], 0);
        for seed in 0..100 {
            let mut disk = disk(seed);
            append(&mut disk, b"abc");
            ask(&mut disk, 0, DiskAct::Sync).unwrap();
            append(&mut disk, b"def");
            disk.crash(Time::MAX);
            let left = read(&mut disk, 0, 9);
            assert_eq!(left[..3], *b"abc", "seed {seed}");
            lengths[left.len() - 3] += 1;
            torn += usize::from(!b"abcdef".starts_with(&left));
        }
        assert!(lengths.iter().all(|count| *count > 0), "{lengths:?}");
        assert!(torn > 0);
    }

    #[test]
    fn what_was_read_after_a_crash_may_be_gone_after_the_next() {
        let is_gone = |seed| {
            let mut disk = disk(seed);
            append(&mut disk, b"abc");
            disk.crash(Time::MAX);
            let left = read(&mut disk, 0, 9);
            disk.crash(Time::MAX);
            left != read(&mut disk, 0, 9)
        };
        assert!((0..100).any(is_gone));
    }

    #[test]
    fn what_is_under_way_at_a_crash_is_not_done() {
        let mut disk = disk(0);
        let act = DiskAct::Append("abc".into());
        disk.ask(Time::ZERO, "diary", DiskWork { file: 0, act, tag: 1 });
        disk.ask(Time::ZERO, "diary", DiskWork { file: 0, act: DiskAct::Sync, tag: 2 });
        disk.crash(Time::ZERO);
        assert_eq!(disk.next_timer(), None);
        assert_eq!(read(&mut disk, 0, 9), "");
    }

    #[test]
    fn whatever_is_asked_after_a_failure_fails_until_the_next_life() {
        let mut disk = disk(0);
        disk.is_full = true;
        let full = ask(&mut disk, 0, DiskAct::Append("abc".into())).unwrap_err();
        disk.is_full = false;
        assert_eq!(ask(&mut disk, 0, DiskAct::Sync), Err(full));
        disk.end();
        append(&mut disk, b"abc");
        assert_eq!(read(&mut disk, 0, 9), "abc");
    }
}
