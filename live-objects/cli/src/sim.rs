//! `logo sim`: stories told to simulated worlds, many seeds at a time.

mod figures;
mod gossip;
mod groups;
mod membership;
mod mixed;
mod plot;
mod views;

use std::fmt;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use ::gossip::{Gossip, Roster};
use clap::{Args, Subcommand};
use live_objects::{Agreement, Module, ObjectType, Rng, Spec};
use live_objects_sim::{Network, SeedReport, SwarmReport, World, swarm};
use rand::RngExt;
use serde::Serialize;

use crate::join;

/// Which story.
#[derive(Subcommand)]
pub(crate) enum Scenario {
    /// SWIM membership while nodes crash, stop, pause and are cut off from each other.
    ///
    /// All nodes start at once and tell who they believe is up. For a minute of virtual time faults
    /// are drawn from the seed; then they stop, and within another minute everybody must know
    /// exactly who is up. Whoever is told of must have lived, and changes must make sense one after
    /// another.
    ///
    /// Example: logo sim membership --nodes 16 --seeds 200 --json
    Membership(SwarmArgs),
    /// Agreed views while nodes crash, stop, pause and are cut off from each other.
    ///
    /// Node 0 founds a cluster and the others join it. For a minute of virtual time faults are
    /// drawn from the seed; then they stop, and within another minute all who run must be in one
    /// view, unless so many died at once that no quorum is left. A member is in its own views (V1);
    /// all install the same views in the same order, one an epoch (V2).
    ///
    /// Example: logo sim views --nodes 9 --seeds 200 --json
    Views(ViewsArgs),
    /// Topics, replicated states and memberships at once, through the same faults.
    ///
    /// Node 0 founds a cluster. Applications open and close objects, say small things and large,
    /// and now and then open a name with a type that it has not. For a minute of virtual time
    /// faults are drawn from the seed; then they stop, and within another minute all must be in one
    /// view of each object, with the same state, and have heard all that was accepted. Virtual
    /// synchrony, order, stability and state transfer are checked throughout (V1 to V9).
    ///
    /// A seed with less than 60 s, 2 crashes, a partition, 500 deliveries or 3 views proves little:
    /// it is called poor, and the exit code is 1.
    ///
    /// Example: logo sim mixed --nodes 16 --seeds 200 --json
    Mixed(MixedArgs),
    /// Gossip's figures in a large cluster: how fast, and at what cost.
    #[command(subcommand)]
    Gossip(gossip::Figures),
    /// What groups cost, and what they bear.
    #[command(subcommand)]
    Groups(groups::Figures),
}

/// What the views are told.
#[derive(Args)]
pub(crate) struct ViewsArgs {
    #[command(flatten)]
    swarm: SwarmArgs,
    /// Plant a bug, to see the checkers see it.
    #[arg(long, value_enum)]
    mutate: Option<views::Mutate>,
}

/// What the mixed story is told.
#[derive(Args)]
pub(crate) struct MixedArgs {
    #[command(flatten)]
    swarm: SwarmArgs,
    /// Plant a bug, to see the checkers see it.
    #[arg(long, value_enum)]
    mutate: Option<mixed::Mutate>,
}

/// What all swarms are told.
#[derive(Args)]
pub(crate) struct SwarmArgs {
    /// How many nodes each world has.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(2..=1_000))]
    nodes: u16,
    /// How many seeds to run: 0, 1, 2, …
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// Run this seed alone.
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Print all that happened; with --seed.
    #[arg(long, requires = "seed")]
    history: bool,
    /// On how many threads. What comes out does not depend on it.
    #[arg(long, default_value_t = threads_of_machine(), value_parser = threads)]
    threads: usize,
    /// Print the result as one line of JSON.
    #[arg(long)]
    json: bool,
}

/// What a swarm says, in the order in which it is printed.
#[derive(Serialize)]
struct Summary {
    scenario: &'static str,
    nodes: u16,
    seeds: u64,
    violations: u64,
    stuck: u64,
    /// Seeds that ended with no quorum left, in which nothing can settle.
    lost: u64,
    /// Seeds in which too little happened.
    poor: u64,
    events: u64,
    views: u64,
    deliveries: u64,
    crashes: u64,
    partitions: u64,
    trace_hash: String,
    seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_bad: Option<Bad>,
}

/// The first seed that went wrong.
#[derive(Serialize)]
struct Bad {
    checker: &'static str,
    what: String,
    replay: String,
}

impl Scenario {
    /// Tells the story under every seed, and how it went.
    pub(crate) fn run(&self) -> ExitCode {
        match self {
            Self::Membership(args) => {
                let nodes = usize::from(args.nodes);
                args.run("membership", "", |seed| membership::story(seed, nodes), |_| true)
            }
            Self::Views(ViewsArgs { swarm, mutate }) => {
                let nodes = usize::from(swarm.nodes);
                let options = mutate.map_or("", views::Mutate::option);
                swarm.run("views", options, |seed| views::story(seed, nodes, *mutate), |_| true)
            }
            Self::Mixed(MixedArgs { swarm, mutate }) => {
                let nodes = usize::from(swarm.nodes);
                let options = mutate.map_or("", mixed::Mutate::option);
                let story = |seed| mixed::story(seed, nodes, *mutate);
                swarm.run("mixed", options, story, mixed::is_rich)
            }
            Self::Gossip(figures) => figures.run(),
            Self::Groups(figures) => figures.run(),
        }
    }
}

impl SwarmArgs {
    /// Tells a story under every seed. `options` are those that a replay needs beside nodes and
    /// seed. A seed that is not rich proves little.
    fn run(
        &self,
        scenario: &'static str,
        options: &str,
        story: impl Fn(u64) -> World + Sync,
        is_rich: impl Fn(&SeedReport) -> bool + Sync,
    ) -> ExitCode {
        let seeds = self.seed.map_or(0..self.seeds, |seed| seed..seed + 1);
        let (count, begin) = (seeds.end - seeds.start, Instant::now());
        let (ended, told_at) = (AtomicU64::new(0), AtomicU64::new(0));
        let poor = AtomicU64::new(0);
        let told = |seed| {
            let world = story(seed);
            if self.history {
                world.history().iter().for_each(|record| {
                    let _ = join::line(&record.to_string());
                });
            }
            world
        };
        let report = swarm(seeds, self.threads, told, |report| {
            if !is_rich(report) {
                poor.fetch_add(1, Ordering::Relaxed);
                join::complain(&format!("seed {} is poor: {}", report.seed, Richness(report)));
            }
            let ended = ended.fetch_add(1, Ordering::Relaxed) + 1;
            let seconds = begin.elapsed().as_secs();
            let is_due = |told: u64| (told + PROGRESS_SECONDS <= seconds).then_some(seconds);
            if told_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_due).is_ok() {
                join::complain(&format!("{ended} of {count} seeds, {seconds} s"));
            }
        });
        let mut summary = self.summary(scenario, options, report, begin.elapsed().as_secs_f64());
        summary.poor = poor.into_inner();
        summary.print(self.json);
        let is_bad = summary.first_bad.is_some() || summary.poor > 0;
        join::ended(if is_bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    fn summary(
        &self,
        scenario: &'static str,
        options: &str,
        report: SwarmReport,
        seconds: f64,
    ) -> Summary {
        let nodes = self.nodes;
        let first_bad = report.first_bad.map(|bad| {
            let found = bad.violations.into_iter().chain(bad.stuck).next();
            let found = found.expect("a bad seed has something wrong with it");
            let seed = bad.seed;
            let replay = format!(
                "cargo run --release -- sim {scenario} --nodes {nodes} --seed {seed}{options} --history"
            );
            Bad { checker: found.checker, what: found.to_string(), replay }
        });
        Summary {
            scenario,
            nodes,
            seeds: report.seeds,
            violations: report.violations,
            stuck: report.stuck,
            lost: report.lost,
            poor: 0,
            events: report.events,
            views: report.views,
            deliveries: report.deliveries,
            crashes: report.crashes,
            partitions: report.partitions,
            trace_hash: format!("{:016x}", report.trace_hash),
            seconds: (seconds * 10.0).round() / 10.0,
            first_bad,
        }
    }
}

impl Summary {
    fn print(&self, json: bool) {
        if json {
            let _ = join::line(&serde_json::to_string(self).expect("a summary is plain data"));
            return;
        }
        let Self { scenario, nodes, seeds, violations, stuck, .. } = self;
        let _ = join::line(&format!(
            "{scenario}: {seeds} seeds of {nodes} nodes in {} s",
            self.seconds
        ));
        let _ = join::line(&format!("  what must not happen: {violations} seeds"));
        let _ = join::line(&format!("  stuck at the end:     {stuck} seeds"));
        let _ = join::line(&format!("  lost their quorum:    {} seeds", self.lost));
        let _ = join::line(&format!("  proved too little:    {} seeds", self.poor));
        let _ = join::line(&format!(
            "  events {}, views {}, deliveries {}, crashes {}, partitions {}",
            self.events, self.views, self.deliveries, self.crashes, self.partitions
        ));
        let _ = join::line(&format!("  trace hash {}", self.trace_hash));
        if let Some(bad) = &self.first_bad {
            let _ = join::line(&format!("  the first that went wrong: {}", bad.what));
            let _ = join::line(&format!("  replay it: {}", bad.replay));
        }
    }
}

/// How much happened under a seed.
struct Richness<'a>(&'a SeedReport);

impl fmt::Display for Richness<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SeedReport { crashes, partitions, deliveries, views, lasted, .. } = self.0;
        write!(f, "{crashes} crashes, {partitions} partitions, {deliveries} deliveries, ")?;
        write!(f, "{views} views in {} s", lasted.as_secs())
    }
}

/// A near network or a far one, by chance, and its loss in quiet times.
fn set_network(world: &mut World, rng: &mut Rng) -> f64 {
    let loss = rng.random_range(0.0..0.05);
    let network = if rng.random_bool(0.5) { Network::LAN } else { Network::WAN };
    world.set_network(network.with_loss(loss));
    loss
}

/// A world whose first nodes will know each other when they start: `modules` makes those of a node
/// of its gossip.
fn acquainted_world(
    seed: u64,
    (nodes, all): (u32, u32),
    config: ::gossip::Config,
    modules: impl Fn(Gossip) -> Vec<Box<dyn Module>> + Send + Sync + 'static,
) -> World {
    let roster: Arc<OnceLock<Arc<Roster>>> = Arc::default();
    let known = Arc::clone(&roster);
    let world = World::new(seed, all as usize, move |_| {
        let roster = Arc::clone(known.get().expect("it is written before anybody starts"));
        modules(Gossip::acquainted(config, roster).expect("its numbers were checked"))
    });
    let members = (0..nodes as usize).map(|node| {
        let (member, address, credential) = world.next_member(node);
        (member, vec![address], credential)
    });
    let written = roster.set(Arc::new(Roster::new(members, config.whole_max)));
    written.unwrap_or_else(|_| unreachable!("it is written once"));
    world
}

/// Opens the object that tells a node who is in.
fn open_members(world: &mut World, node: usize, agreement: Agreement) {
    let name = "/members".parse().expect("a name");
    let spec = Spec::new(name, ObjectType::members(agreement));
    world.open(node, spec).expect("a module carries it");
}

/// How much memory this process has, by the name that the system has for it, where it tells.
fn memory_bytes(name: &str) -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024.0)
}

fn threads_of_machine() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(threads @ 1..=256) => Ok(threads),
        _ => Err("choose 1 to 256".into()),
    }
}

/// Progress is told about so often, at the end of a seed.
const PROGRESS_SECONDS: u64 = 2;
