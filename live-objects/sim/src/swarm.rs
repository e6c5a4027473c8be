//! A swarm: the same story under many seeds, and what came of all of them together.
//!
//! Stories that were thought up find the bugs that were thought of; the others fall to numbers. A
//! swarm runs each seed in a world of its own, many at a time, and sums them up in the order of
//! seeds, so that its report is the same on any number of threads.

use rayon::prelude::*;

use crate::checker::Violation;
use crate::fault::Fault;
use crate::history::What;
use crate::trace::Trace;
use crate::world::World;

/// What came of one seed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SeedReport {
    /// The seed.
    pub seed: u64,
    /// What must not have happened.
    pub violations: Vec<Violation>,
    /// What had not happened when it should have.
    pub stuck: Vec<Violation>,
    /// Events that applications heard.
    pub events: u64,
    /// Processes killed.
    pub crashes: u64,
    /// Times that the network was cut.
    pub partitions: u64,
    /// The world's hash.
    pub trace_hash: u64,
}

impl SeedReport {
    /// What came of a world whose story is over, [`World::settle`] being its end.
    pub fn of(seed: u64, world: &World) -> Self {
        let count = |is: fn(&What) -> bool| {
            world.history().iter().filter(|record| is(&record.what)).count() as u64
        };
        Self {
            seed,
            violations: world.violations().to_vec(),
            stuck: world.stuck().to_vec(),
            events: count(|what| matches!(what, What::Event(..))),
            crashes: count(|what| matches!(what, What::Crashed)),
            partitions: count(|what| {
                matches!(what, What::Fault(Fault::Cut(..) | Fault::CutOneWay(..)))
            }),
            trace_hash: world.trace_hash(),
        }
    }

    /// Whether nothing was wrong.
    pub fn is_good(&self) -> bool {
        self.violations.is_empty() && self.stuck.is_empty()
    }
}

/// What came of a swarm, summed up over its seeds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SwarmReport {
    /// How many seeds were run.
    pub seeds: u64,
    /// How many of them had a violation.
    pub violations: u64,
    /// How many of them were stuck at the end.
    pub stuck: u64,
    /// Events that applications heard.
    pub events: u64,
    /// Processes killed.
    pub crashes: u64,
    /// Times that a network was cut.
    pub partitions: u64,
    /// A hash of all that happened.
    pub trace_hash: u64,
    /// The first seed that went wrong, if any did.
    pub first_bad: Option<SeedReport>,
}

/// Runs a story under each of `seeds` seeds from `first` on, on `threads` threads. `done` hears of
/// each seed as it ends, in no order.
pub fn swarm(
    seeds: std::ops::Range<u64>,
    threads: usize,
    story: impl Fn(u64) -> World + Sync,
    done: impl Fn(&SeedReport) + Sync,
) -> SwarmReport {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.max(1)).build();
    let pool = pool.expect("threads can be started");
    let run = |seed| {
        let report = SeedReport::of(seed, &story(seed));
        done(&report);
        report
    };
    let reports: Vec<SeedReport> = pool.install(|| seeds.into_par_iter().map(run).collect());
    let sum = |of: fn(&SeedReport) -> u64| reports.iter().map(of).sum();
    let mut trace = Trace::new();
    reports.iter().for_each(|report| trace.number(report.trace_hash));
    SwarmReport {
        seeds: reports.len() as u64,
        violations: sum(|report| u64::from(!report.violations.is_empty())),
        stuck: sum(|report| u64::from(!report.stuck.is_empty())),
        events: sum(|report| report.events),
        crashes: sum(|report| report.crashes),
        partitions: sum(|report| report.partitions),
        trace_hash: trace.hash(),
        first_bad: reports.into_iter().find(|report| !report.is_good()),
    }
}
