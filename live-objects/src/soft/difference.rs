//! How two holders find what one of them lacks: sums of dots, and an answer to them.
//!
//! Who asks tells its context, and what its dots sum up to in each of some *buckets*, to which dots
//! belong by their hashes. Who answers tells what stands in the buckets whose sums differ: dots
//! that the asker has seen by their names alone, others with their values. What the answerer has
//! seen, and does not tell of, is gone there, and so it is here. (By contexts alone it is known
//! which dots the asker has not seen, but not which of those that it has are gone: Enes, Almeida,
//! Baquero and Leitão, "Efficient synchronization of state-based CRDTs", ICDE 2019, compare digests
//! for that too.)
//!
//! Invariant: who merges an answer with what it was asked by has all that the answerer had.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::context::{Context, Dot};
use super::store::Store;

/// What a holder has, summed up.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "FlatSummary", into = "FlatSummary")]
pub struct Summary {
    context: Context,
    /// Of each bucket; their number is a power of two.
    sums: Vec<u64>,
}

/// What another holder answers to a summary.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Difference {
    /// Dots that who asked has not seen, and all that the answerer has.
    news: Store,
    /// How many buckets there are, and which of them differ.
    buckets: u32,
    differing: BTreeSet<u32>,
    /// Which dots stand in those that who asked has seen.
    known: Context,
}

impl Summary {
    /// The most buckets.
    pub const BUCKETS_MAX: usize = 1 << 10;

    /// What this store has.
    pub fn of(store: &Store) -> Self {
        let dots = store.dots().count();
        let buckets = (dots / BUCKET_DOTS).next_power_of_two().clamp(1, Self::BUCKETS_MAX);
        Self { context: store.context().clone(), sums: sums(store, buckets) }
    }

    /// What this store has that the summed up one lacks, or no longer has that it does.
    pub fn answer(&self, store: &Store) -> Difference {
        let own = sums(store, self.sums.len());
        let buckets = self.sums.len() as u32;
        let differing: BTreeSet<u32> =
            (0..buckets).filter(|at| own[*at as usize] != self.sums[*at as usize]).collect();
        let (mut news, mut known) = (Store::default(), Context::default());
        for (dot, key, value) in store.dots() {
            if !self.context.has(dot) {
                news.insert(key.clone(), dot, value.clone());
            } else if differing.contains(&bucket(dot, self.sums.len())) {
                known.add(dot);
            }
        }
        news.forget_missing(store.context());
        Difference { news, buckets, differing, known }
    }
}

impl Difference {
    /// What of it is new to this store, as a delta to merge into it.
    pub fn delta(&self, store: &Store) -> Store {
        let mut delta = Store::default();
        for (dot, key, value) in self.news.dots().filter(|(dot, ..)| !store.context().has(*dot)) {
            delta.insert(key.clone(), dot, value.clone());
        }
        let is_gone = |dot: &Dot| {
            let is_told = self.differing.contains(&bucket(*dot, self.buckets as usize));
            let stands = self.known.has(*dot) || self.news.has(*dot);
            is_told && !stands && self.news.context().has(*dot)
        };
        let mut gone: Context = store.dots().map(|(dot, ..)| dot).filter(is_gone).collect();
        gone.merge(&self.news.context().without(store.context()));
        delta.forget_missing(&gone);
        delta
    }
}

impl Store {
    /// From now on these dots are known; those that do not stand here are gone.
    fn forget_missing(&mut self, known: &Context) {
        let standing: Context = self.dots().map(|(dot, ..)| dot).collect();
        self.forget_all(&known.without(&standing));
    }
}

/// As it travels.
#[derive(Serialize, Deserialize)]
pub(super) struct FlatSummary(Context, Vec<u64>);

/// There are no so many buckets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("{0} sums: a power of two is expected, of {max} at most", max = Summary::BUCKETS_MAX)]
pub(super) struct Uneven(usize);

impl TryFrom<FlatSummary> for Summary {
    type Error = Uneven;

    fn try_from(FlatSummary(context, sums): FlatSummary) -> Result<Self, Uneven> {
        if sums.len().is_power_of_two() && sums.len() <= Self::BUCKETS_MAX {
            Ok(Self { context, sums })
        } else {
            Err(Uneven(sums.len()))
        }
    }
}

impl From<Summary> for FlatSummary {
    fn from(summary: Summary) -> Self {
        Self(summary.context, summary.sums)
    }
}

fn sums(store: &Store, buckets: usize) -> Vec<u64> {
    let mut sums = vec![0; buckets];
    store.dots().for_each(|(dot, ..)| sums[bucket(dot, buckets) as usize] ^= dot.hash());
    sums
}

/// To which of so many, of a power of two, a dot belongs. Who answers may say any number.
const fn bucket(dot: Dot, buckets: usize) -> u32 {
    dot.hash() as u32 & (buckets as u32).wrapping_sub(1)
}

/// About how many dots are in a bucket.
const BUCKET_DOTS: usize = 8;
