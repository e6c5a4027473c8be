//! Groups through all kinds of faults, and the checkers through all kinds of bugs.
//!
//! The story is that of `sim mixed`, under worse weather and with few nodes and many in turn. Then
//! bugs are planted one after the other: each must be caught, and by the checker that is meant for
//! it.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use clap::Args;
use groupcomm::Mutation;
use live_objects_sim::{SeedReport, World, swarm};
use serde::Serialize;

use crate::join;
use crate::sim::{mixed, threads, threads_of_machine};

/// What the swarm is told.
#[derive(Args)]
pub(crate) struct Swarm {
    /// How many seeds to run: 0, 1, 2, …
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// Run this seed alone, and plant no bug.
    #[arg(long, conflicts_with_all = ["seeds", "mutation_seeds"])]
    seed: Option<u64>,
    /// Print all that happened; with --seed.
    #[arg(long, requires = "seed")]
    history: bool,
    /// Under how many seeds at most each bug is looked for; 0 plants none.
    #[arg(long, default_value_t = 60)]
    mutation_seeds: u64,
    /// On how many threads. What comes out does not depend on it.
    #[arg(long, default_value_t = threads_of_machine(), value_parser = threads)]
    threads: usize,
    /// Print the result as one line of JSON.
    #[arg(long)]
    json: bool,
}

/// What it says, in the order in which it is printed.
#[derive(Serialize)]
struct Summary {
    scenario: &'static str,
    nodes: &'static str,
    seeds: u64,
    violations: u64,
    stuck: u64,
    /// Seeds that ended with no quorum left, in which nothing can settle.
    lost: u64,
    mutations: usize,
    mutations_caught: usize,
    seeds_per_minute: f64,
    events: u64,
    views: u64,
    deliveries: u64,
    crashes: u64,
    partitions: u64,
    trace_hash: String,
    all_seconds: f64,
    caught: Vec<Caught>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_bad: Option<String>,
}

/// A planted bug, and what saw it.
#[derive(Serialize)]
struct Caught {
    bug: &'static str,
    meant_for: &'static str,
    /// Under which seed, and what was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    what: Option<String>,
}

impl Swarm {
    pub(crate) fn run(&self) -> ExitCode {
        let (begin, ended) = (Instant::now(), AtomicU64::new(0));
        let report = swarm(
            self.seed.map_or(0..self.seeds, |seed| seed..seed + 1),
            self.threads,
            |seed| {
                let world = story(seed, None);
                for record in world.history().iter().filter(|_| self.history) {
                    let _ = join::line(&record.to_string());
                }
                world
            },
            |_| {
                let ended = ended.fetch_add(1, Ordering::Relaxed) + 1;
                if ended.is_multiple_of(PROGRESS_SEEDS) {
                    join::complain(&format!("{ended} seeds, {} s", begin.elapsed().as_secs()));
                }
            },
        );
        let seconds = begin.elapsed().as_secs_f64();
        let plants = self.seed.is_none() && self.mutation_seeds > 0;
        let bugs = if plants { &BUGS[..] } else { &[] };
        let caught: Vec<Caught> = bugs.iter().map(|bug| self.look_for(bug)).collect();
        let first_bad = report.first_bad.as_ref().map(|bad| {
            let found = bad.violations.iter().chain(&bad.stuck).next();
            let found = found.expect("a bad seed has something wrong with it");
            let (seed, nodes) = (bad.seed, nodes_of(bad.seed));
            let replay = format!("cargo run --release -- sim groups swarm --seed {seed} --history");
            format!("{found} ({nodes} nodes; replay it: {replay})")
        });
        let summary = Summary {
            scenario: "swarm",
            nodes: "5-25",
            seeds: report.seeds,
            violations: report.violations,
            stuck: report.stuck,
            lost: report.lost,
            mutations: caught.len(),
            mutations_caught: caught.iter().filter(|caught| caught.seed.is_some()).count(),
            seeds_per_minute: (report.seeds as f64 * 600.0 / seconds).round() / 10.0,
            events: report.events,
            views: report.views,
            deliveries: report.deliveries,
            crashes: report.crashes,
            partitions: report.partitions,
            trace_hash: format!("{:016x}", report.trace_hash),
            all_seconds: (begin.elapsed().as_secs_f64() * 10.0).round() / 10.0,
            caught,
            first_bad,
        };
        summary.print(self.json);
        let is_good = summary.first_bad.is_none() && summary.mutations_caught == summary.mutations;
        join::ended(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Plants a bug under one seed after the other, some at once, until the checker that is meant
    /// for it says what it is meant to say.
    fn look_for(&self, bug: &Bug) -> Caught {
        let mut first = 0;
        while first < self.mutation_seeds {
            let seeds = first..(first + self.threads as u64).min(self.mutation_seeds);
            first = seeds.end;
            let found = std::sync::Mutex::new(Vec::new());
            swarm(
                seeds,
                self.threads,
                |seed| story(seed, Some(bug.mutation)),
                |report| {
                    let seen = bug.seen(report).map(|what| (report.seed, what));
                    found.lock().expect("nobody panics while it is held").extend(seen);
                },
            );
            let found = found.into_inner().expect("nobody panics while it is held");
            if let Some((seed, what)) = found.into_iter().min() {
                join::complain(&format!("{} is caught under seed {seed}", bug.name));
                let (seed, what) = (Some(seed), Some(what));
                return Caught { bug: bug.name, meant_for: bug.invariant, seed, what };
            }
        }
        join::complain(&format!("{} is not caught", bug.name));
        Caught { bug: bug.name, meant_for: bug.invariant, seed: None, what: None }
    }
}

impl Summary {
    fn print(&self, is_json: bool) {
        if is_json {
            let _ = join::line(&serde_json::to_string(self).expect("a summary is plain data"));
            return;
        }
        let Self { seeds, violations, stuck, lost, .. } = self;
        let _ = join::line(&format!("swarm: {seeds} seeds of {} nodes", self.nodes));
        let _ = join::line(&format!("  what must not happen: {violations} seeds"));
        let _ = join::line(&format!("  stuck at the end:     {stuck} seeds"));
        let _ = join::line(&format!("  lost their quorum:    {lost} seeds"));
        let _ = join::line(&format!("  seeds a minute:       {}", self.seeds_per_minute));
        let (caught, all) = (self.mutations_caught, self.mutations);
        let _ = join::line(&format!("  bugs caught:          {caught} of {all}"));
        for Caught { bug, meant_for, seed, .. } in &self.caught {
            let seed = seed.map_or("never".to_owned(), |seed| format!("under seed {seed}"));
            let _ = join::line(&format!("    {bug}, by {meant_for}: {seed}"));
        }
        let _ = join::line(&format!("  trace hash {}", self.trace_hash));
        if let Some(bad) = &self.first_bad {
            let _ = join::line(&format!("  the first that went wrong: {bad}"));
        }
    }
}

/// A bug that can be planted, and how the checker that is meant for it begins what it says.
struct Bug {
    name: &'static str,
    mutation: Mutation,
    checker: &'static str,
    invariant: &'static str,
}

impl Bug {
    /// What the checker said, if it did.
    fn seen(&self, report: &SeedReport) -> Option<String> {
        let mut found = report.violations.iter();
        let is_it =
            |checker: &str, what: &str| checker == self.checker && what.starts_with(self.invariant);
        Some(found.find(|found| is_it(found.checker, &found.what))?.to_string())
    }
}

const fn bug(
    name: &'static str,
    mutation: Mutation,
    (checker, invariant): (&'static str, &'static str),
) -> Bug {
    Bug { name, mutation, checker, invariant }
}

const BUGS: [Bug; 12] = [
    bug("minority-view", Mutation::MinorityView, ("views", "V2")),
    bug("forget-accepted", Mutation::ForgetAccepted, ("views", "V2")),
    bug("skip-repair", Mutation::SkipRepair, ("groups", "V3")),
    bug("skip-trim", Mutation::SkipTrim, ("groups", "V3")),
    bug("lose-message", Mutation::LoseMessage, ("groups", "V3")),
    bug("skip-marks", Mutation::SkipMarks, ("groups", "V4")),
    bug("alter-message", Mutation::AlterMessage, ("groups", "V5")),
    bug("deliver-twice", Mutation::DeliverTwice, ("groups", "V5")),
    bug("forget-fate", Mutation::ForgetFate, ("groups", "V5")),
    bug("skip-order", Mutation::SkipOrder, ("groups", "V6")),
    bug("ack-before-stable", Mutation::AckBeforeStable, ("groups", "V7")),
    bug("drop-updates", Mutation::DropUpdates, ("states", "V8")),
];

fn story(seed: u64, mutation: Option<Mutation>) -> World {
    mixed::told(seed, nodes_of(seed), LOSS_MAX, mutation)
}

/// Few nodes and many in turn.
fn nodes_of(seed: u64) -> usize {
    5 + (seed % 21) as usize
}

const LOSS_MAX: f64 = 0.3;
const PROGRESS_SEEDS: u64 = 50;
