//! What the driver dropped or refused, counted by the tasks of all its links.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use live_objects::Counts;

/// Counters that many tasks share.
#[derive(Clone, Default, Debug)]
pub(crate) struct Tally(Arc<Mutex<Counts>>);

impl Tally {
    pub(crate) fn add(&self, name: &'static str) {
        self.lock().add(name);
    }

    /// Adds so many to each of these.
    pub(crate) fn add_all<const N: usize>(&self, all: [(&'static str, usize); N]) {
        let mut counts = self.lock();
        all.into_iter().for_each(|(name, count)| counts.add_many(name, count as u64));
    }

    /// These counters and the given ones.
    pub(crate) fn with(&self, others: &Counts) -> BTreeMap<&'static str, u64> {
        let ours = self.lock();
        let mut all: BTreeMap<&'static str, u64> = others.iter().collect();
        ours.iter().for_each(|(name, count)| *all.entry(name).or_default() += count);
        all
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().expect("no code that holds the lock panics")
    }
}
