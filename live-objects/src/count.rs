//! Counters: what a node dropped, refused or mended, and how much it keeps, by name. Nothing from
//! the network is dropped without one.

use std::collections::BTreeMap;

/// Counters by name. A name reads `module.what`, such as `gossip.malformed`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Counts(BTreeMap<&'static str, u64>);

impl Counts {
    /// Adds one to the counter `name`.
    pub fn add(&mut self, name: &'static str) {
        *self.0.entry(name).or_default() += 1;
    }

    /// Adds so many to the counter `name`.
    pub fn add_many(&mut self, name: &'static str, count: u64) {
        *self.0.entry(name).or_default() += count;
    }

    /// Sets the counter `name`, of something that may be less again.
    pub fn set(&mut self, name: &'static str, count: u64) {
        self.0.insert(name, count);
    }

    /// What the counter `name` stands at.
    pub fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// Every counter that ever counted, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().map(|(name, count)| (*name, *count))
    }
}
