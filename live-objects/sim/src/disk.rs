//! The simulated disk of a host. It outlives the host's lives, and forgets what it may.
//!
//! What one module asks is done one after another, each in a time of its own. When the process is
//! gone the works under way are lost. When the power is, of what was not synced a part is kept, of
//! any length, and a stretch of that may have become something else.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use live_objects::{Arrival, DiskAct, DiskError, DiskWork, Rng, Tag, Time};
use rand::{Rng as _, RngExt};

use crate::trace::Trace;

/// The disk of one host.
pub(crate) struct Disk {
    files: BTreeMap<(&'static str, u64), File>,
    works: BTreeMap<&'static str, VecDeque<Work>>,
    rng: Rng,
    /// Appends fail.
    pub(crate) is_full: bool,
    /// What failed a module in this life: all else that it asks does too, for the same reason.
    failed: BTreeMap<&'static str, DiskError>,
}

#[derive(Default)]
struct File {
    bytes: Vec<u8>,
    /// How much of it nothing takes.
    synced: usize,
}

/// Something that is asked, and when it is done.
struct Work {
    at: Time,
    work: DiskWork,
}

impl Disk {
    pub(crate) fn new(rng: Rng) -> Self {
        Self {
            files: BTreeMap::new(),
            works: BTreeMap::new(),
            rng,
            is_full: false,
            failed: BTreeMap::new(),
        }
    }

    pub(crate) fn ask(&mut self, now: Time, module: &'static str, work: DiskWork) {
        let last = self.works.get(module).and_then(VecDeque::back);
        let begins = last.map_or(now, |last| last.at.max(now));
        let at = begins + self.draw_time(&work.act);
        self.works.entry(module).or_default().push_back(Work { at, work });
    }

    /// When the next work is done.
    pub(crate) fn next_timer(&self) -> Option<Time> {
        self.works.values().filter_map(|works| Some(works.front()?.at)).min()
    }

    /// What is done by now.
    pub(crate) fn on_timer(&mut self, now: Time, trace: &mut Trace, arrivals: &mut Vec<Arrival>) {
        while let Some((module, tag, result)) = self.next_done(now) {
            trace.time(now);
            trace.number(tag.0);
            trace.bytes(result.as_deref().unwrap_or(b"failed"));
            arrivals.push(Arrival::Disk { module, tag, result });
        }
    }

    /// The host's process is gone: the works under way are lost, and nobody is told any more.
    pub(crate) fn end(&mut self, now: Time) {
        while self.next_done(now).is_some() {}
        self.works.clear();
        self.failed.clear();
    }

    /// The power of the host's machine is gone, after its process.
    pub(crate) fn lose_power(&mut self) {
        for file in self.files.values_mut() {
            file.lose_power(&mut self.rng);
        }
    }

    fn next_done(&mut self, now: Time) -> Option<(&'static str, Tag, Result<Bytes, DiskError>)> {
        let next = |(module, works): (&&'static str, &VecDeque<Work>)| {
            works.front().map(|work| (work.at, *module))
        };
        let (_, module) = self.works.iter().filter_map(next).min().filter(|(at, _)| *at <= now)?;
        let DiskWork { file, act, tag } = self.works.get_mut(module)?.pop_front()?.work;
        let result = match self.failed.get(module) {
            Some(error) => Err(error.clone()),
            None => self.act((module, file), act),
        };
        if let Err(error) = &result {
            self.failed.insert(module, error.clone());
        }
        Some((module, tag, result))
    }

    fn act(&mut self, file: (&'static str, u64), act: DiskAct) -> Result<Bytes, DiskError> {
        match act {
            DiskAct::Append(bytes) if self.is_full => {
                let some = self.rng.random_range(0..=bytes.len());
                self.files.entry(file).or_default().bytes.extend(&bytes[..some]);
                return Err(DiskError::Full("no space left on the simulated device".to_owned()));
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
    fn lose_power(&mut self, rng: &mut Rng) {
        let kept = rng.random_range(self.synced..=self.bytes.len());
        self.bytes.truncate(kept);
        if rng.random_ratio(1, 2) {
            let from = rng.random_range(self.synced..=kept);
            let to = if rng.random_ratio(1, 2) { kept } else { rng.random_range(from..=kept) };
            rng.fill_bytes(&mut self.bytes[from..to]);
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

    const TAG: Tag = Tag(7);

    /// Asks, and returns what came of it.
    fn ask(disk: &mut Disk, file: u64, act: DiskAct) -> Result<Bytes, DiskError> {
        disk.ask(Time::ZERO, "diary", DiskWork { file, act, tag: TAG });
        let mut arrivals = Vec::new();
        disk.on_timer(Time::MAX, &mut Trace::new(), &mut arrivals);
        match arrivals.pop() {
            Some(Arrival::Disk { module: "diary", tag: TAG, result }) => result,
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
    fn without_power_what_was_synced_stays_and_all_else_goes_in_some_way() {
        let (mut lengths, mut torn, mut torn_within) = ([0; 4], 0, 0);
        for seed in 0..=255 {
            let mut disk = disk(seed);
            append(&mut disk, b"abc");
            ask(&mut disk, 0, DiskAct::Sync).unwrap();
            append(&mut disk, b"def");
            disk.end(Time::MAX);
            disk.lose_power();
            let left = read(&mut disk, 0, 9);
            assert_eq!(left[..3], *b"abc", "seed {seed}");
            lengths[left.len() - 3] += 1;
            let is_torn = !b"abcdef".starts_with(&left);
            torn += usize::from(is_torn);
            torn_within += usize::from(is_torn && left.last() == b"abcdef"[..left.len()].last());
        }
        assert!(lengths.iter().all(|count| *count > 0), "{lengths:?}");
        assert!(torn > torn_within && torn_within > 0, "{torn} torn, {torn_within} not at the end");
    }

    #[test]
    fn what_outlives_a_process_may_not_outlive_its_machine() {
        let is_gone = |seed| {
            let mut disk = disk(seed);
            append(&mut disk, b"abc");
            disk.end(Time::MAX);
            assert_eq!(read(&mut disk, 0, 9), "abc");
            disk.end(Time::MAX);
            disk.lose_power();
            read(&mut disk, 0, 9) != "abc"
        };
        assert!((0..100).any(is_gone));
    }

    #[test]
    fn what_is_under_way_when_the_process_goes_is_not_done() {
        let mut disk = disk(0);
        let act = DiskAct::Append("abc".into());
        disk.ask(Time::ZERO, "diary", DiskWork { file: 0, act, tag: TAG });
        disk.ask(Time::ZERO, "diary", DiskWork { file: 0, act: DiskAct::Sync, tag: TAG });
        disk.end(Time::ZERO);
        assert_eq!(disk.next_timer(), None);
        assert_eq!(read(&mut disk, 0, 9), "");
    }

    #[test]
    fn whatever_a_module_asks_after_a_failure_fails_until_the_next_life() {
        let mut disk = disk(0);
        disk.is_full = true;
        let full = ask(&mut disk, 0, DiskAct::Append("abc".into())).unwrap_err();
        disk.is_full = false;
        assert_eq!(ask(&mut disk, 0, DiskAct::Sync), Err(full));
        let work = DiskWork { file: 0, act: DiskAct::Append("abc".into()), tag: TAG };
        disk.ask(Time::ZERO, "log", work);
        let mut arrivals = Vec::new();
        disk.on_timer(Time::MAX, &mut Trace::new(), &mut arrivals);
        let done = Arrival::Disk { module: "log", tag: TAG, result: Ok(Bytes::new()) };
        assert_eq!(arrivals, [done], "another module's works go on");
        disk.end(Time::MAX);
        ask(&mut disk, 0, DiskAct::Sync).unwrap();
        assert!(b"abc".starts_with(&read(&mut disk, 0, 9)), "a part of what failed may be there");
    }
}
