//! The stories of `logo sim gossip`: what gossip's figures are in a large cluster.
//!
//! All nodes start and are given time to know each other, on a network that loses nothing. Then the
//! network begins to lose packets and all nodes open the aggregate and set their shares at once:
//! that is round 0, when all members are known and all tables are empty. After each round every
//! node's last estimate is compared with the truth.
//!
//! Datagrams are counted with what they will be on sockets: 28 bytes of IP and UDP headers, and the
//! seal of 16 bytes with the 8 bytes of its counter.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use gossip::{Config, Gossip};
use live_objects::{
    Agreement, Command, Envelope, Estimate, Event, MembersEvent, Name, ObjectId, ObjectType, Share,
    Spec, Summary,
};
use live_objects_sim::{Fault, Latency, Network, Traffic, What, World};
use rand::RngExt;
use serde::Serialize;

use super::{open_members, threads_of_machine};
use crate::join;

/// Which part of gossip.
#[derive(Subcommand)]
pub(crate) enum Figures {
    /// In how many rounds all nodes know an average exactly, and at what cost.
    ///
    /// Each node sets a share of one Average. The average is exact when every node counts all
    /// members and is off by no more than 1e-9 of the largest share, from then on. Goals at 1,000
    /// nodes and a loss of 0.05: exact by round 24, no datagram above 1,200 bytes, 2,400 bytes a
    /// node and round.
    ///
    /// The exit code is 1 if it does not become exact, or if a datagram is too long.
    ///
    /// Example: logo sim gossip aggregate --nodes 1000 --loss 0.05 --seed 1 --json
    Aggregate(AggregateArgs),
}

/// What the story of the aggregate is told.
#[derive(Args)]
pub(crate) struct AggregateArgs {
    /// How many nodes there are.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u16).range(2..=10_000))]
    nodes: u16,
    /// The chance that a packet is lost, from 0 to 0.9.
    #[arg(long, default_value_t = 0.05, value_parser = loss)]
    loss: f64,
    /// What decides everything.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// For how many rounds to watch.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: u32,
    /// Print the result as one line of JSON.
    #[arg(long)]
    json: bool,
}

/// What came of it, in the order in which it is printed.
#[derive(Serialize)]
struct Outcome {
    nodes: u16,
    loss: f64,
    seed: u64,
    rounds: u32,
    /// The first round from which on every node was exact.
    round_exact: Option<u32>,
    /// The first round from which on every node's average and count were within 1 %.
    round_1_percent: Option<u32>,
    datagram_bytes_max: u64,
    bytes_per_node_round_mean: f64,
    datagrams_per_node_round: f64,
    trace_hash: String,
    seconds: f64,
}

impl Figures {
    pub(crate) fn run(&self) -> ExitCode {
        let Self::Aggregate(args) = self;
        let outcome = args.story();
        outcome.print(args.json);
        let is_good = outcome.round_exact.is_some() && outcome.datagram_bytes_max <= DATAGRAM_MAX;
        join::ended(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

impl AggregateArgs {
    fn story(&self) -> Outcome {
        let begin = Instant::now();
        let nodes = usize::from(self.nodes);
        let mut world = settled(self.seed, nodes);
        join::complain(&format!("{nodes} nodes know each other, {} s", begin.elapsed().as_secs()));
        world.apply(&Fault::Loss(self.loss));
        let (object, truth) = set_shares(&mut world);
        let mut watch = Watch { truth, last: vec![None; nodes], seen: world.history().len() };
        let before = traffic(&world);
        let (mut round_exact, mut round_1_percent) = (None, None);
        for round in 1..=self.rounds {
            world.run(Config::default().period);
            watch.read(&world, object);
            keep(&mut round_exact, round, watch.all(|truth, told| truth.is_exact(told)));
            keep(&mut round_1_percent, round, watch.all(|truth, told| truth.is_near(told)));
            let exact = watch.last.iter().flatten().filter(|told| watch.truth.is_exact(told));
            let oldest = watch.last.iter().flatten().map(|told| told.age).max();
            join::complain(&format!(
                "round {round}: exact at {} nodes, age {oldest:?}",
                exact.count()
            ));
        }
        let after = traffic(&world);
        let per_node_round = |count: u64| {
            let mean = count as f64 / nodes as f64 / f64::from(self.rounds);
            (mean * 100.0).round() / 100.0
        };
        let datagrams = after.datagrams - before.datagrams;
        let bytes = after.datagram_bytes - before.datagram_bytes + datagrams * SEAL_BYTES;
        Outcome {
            nodes: self.nodes,
            loss: self.loss,
            seed: self.seed,
            rounds: self.rounds,
            round_exact,
            round_1_percent,
            datagram_bytes_max: after.datagram_bytes_max + HEADER_BYTES + SEAL_BYTES,
            bytes_per_node_round_mean: per_node_round(bytes),
            datagrams_per_node_round: per_node_round(datagrams),
            trace_hash: format!("{:016x}", world.trace_hash()),
            seconds: (begin.elapsed().as_secs_f64() * 10.0).round() / 10.0,
        }
    }
}

/// What all know who know all.
struct Truth {
    members: u64,
    average: f64,
    largest: f64,
}

impl Truth {
    fn is_exact(&self, told: &Estimate) -> bool {
        let error = told.value.map(|value| (value - self.average).abs());
        told.members == self.members && error.is_some_and(|error| error <= 1e-9 * self.largest)
    }

    fn is_near(&self, told: &Estimate) -> bool {
        let is_near = |value: f64, truth: f64| (value - truth).abs() <= 0.01 * truth.abs();
        let is_counted = is_near(told.members as f64, self.members as f64);
        is_counted && told.value.is_some_and(|value| is_near(value, self.average))
    }
}

/// Every node's last estimate.
struct Watch {
    truth: Truth,
    last: Vec<Option<Estimate>>,
    /// How much of the history was read.
    seen: usize,
}

impl Watch {
    fn read(&mut self, world: &World, object: ObjectId) {
        for record in &world.history()[self.seen..] {
            match &record.what {
                What::Event(of, Event::Aggregate(estimate)) if *of == object => {
                    self.last[record.node] = Some(*estimate);
                }
                _ => {}
            }
        }
        self.seen = world.history().len();
    }

    fn all(&self, is_so: impl Fn(&Truth, &Estimate) -> bool) -> bool {
        self.last.iter().all(|told| told.is_some_and(|told| is_so(&self.truth, &told)))
    }
}

impl Outcome {
    fn print(&self, json: bool) {
        if json {
            let _ = join::line(&serde_json::to_string(self).expect("an outcome is plain data"));
            return;
        }
        let told = |round: Option<u32>| round.map_or("never".to_owned(), |it| it.to_string());
        let _ = join::line(&format!(
            "aggregate: {} nodes, loss {}, seed {}",
            self.nodes, self.loss, self.seed
        ));
        let _ = join::line(&format!(
            "  exact at every node from round:       {}",
            told(self.round_exact)
        ));
        let _ = join::line(&format!(
            "  within 1 % at every node from round:  {}",
            told(self.round_1_percent)
        ));
        let _ = join::line(&format!(
            "  longest datagram:                     {} B",
            self.datagram_bytes_max
        ));
        let _ = join::line(&format!(
            "  sent a node and round:                {} B",
            self.bytes_per_node_round_mean
        ));
        let _ = join::line(&format!(
            "  datagrams a node and round:           {}",
            self.datagrams_per_node_round
        ));
        let _ = join::line(&format!("  trace hash {}, {} s", self.trace_hash, self.seconds));
    }
}

/// A world whose nodes all know each other.
fn settled(seed: u64, nodes: usize) -> World {
    let mut world = World::new(seed, nodes, |_| vec![Box::new(Gossip::default())]);
    world.set_threads(threads_of_machine());
    world.set_network(Network { latency: LATENCY, ..Network::LAN });
    // A seed for every so many, so that no one node has to give all the tables.
    world.set_seeds(&(0..nodes).step_by(SEED_EVERY).collect::<Vec<_>>());
    world.start_all();
    loop {
        world.run(SETTLE);
        let seen = world.history().len();
        (0..nodes).for_each(|node| open_members(&mut world, node, Agreement::Eventual));
        world.run(Duration::from_millis(1));
        let is_whole = |what: &What| match what {
            What::Event(_, Event::Members(MembersEvent::Roster(all))) => all.len() == nodes,
            _ => false,
        };
        let whole = world.history()[seen..].iter().filter(|record| is_whole(&record.what)).count();
        let members = "/members".parse::<Name>().expect("a name").id();
        (0..nodes).for_each(|node| world.close(node, members));
        if whole == nodes {
            return world;
        }
        join::complain(&format!("{whole} of {nodes} nodes know all, at {:?}", world.now()));
    }
}

/// Every node opens the aggregate and sets a share.
fn set_shares(world: &mut World) -> (ObjectId, Truth) {
    let mut rng = world.rng("shares");
    let nodes = world.nodes();
    let shares: Vec<f64> = (0..nodes).map(|_| rng.random_range(0.0..1_000.0)).collect();
    let name: Name = "/load".parse().expect("a name");
    let object = name.id();
    for (node, share) in shares.iter().enumerate() {
        let spec = Spec::new(name.clone(), ObjectType::aggregate(Summary::Average));
        world.open(node, spec).expect("gossip carries it");
        let share = Share::new(*share).expect("it is finite");
        world.send(node, object, Command::Set(share)).expect("the feed is empty");
    }
    let largest = shares.iter().copied().fold(0.0, f64::max);
    let average = shares.iter().sum::<f64>() / nodes as f64;
    (object, Truth { members: nodes as u64, average, largest })
}

/// What all nodes sent.
fn traffic(world: &World) -> Traffic {
    let mut all = world.traffic(0);
    for node in 1..world.nodes() {
        let one = world.traffic(node);
        all.datagrams += one.datagrams;
        all.datagram_bytes += one.datagram_bytes;
        all.datagram_bytes_max = all.datagram_bytes_max.max(one.datagram_bytes_max);
        all.link_bytes += one.link_bytes;
    }
    all
}

/// The first round since which something has always been so.
fn keep(since: &mut Option<u32>, round: u32, is_so: bool) {
    *since = if is_so { since.or(Some(round)) } else { None };
}

fn loss(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(loss) if (0.0..=0.9).contains(&loss) => Ok(loss),
        _ => Err("choose 0 to 0.9".into()),
    }
}

/// Between the racks of a site, so that an exchange of three takes some of the period.
const LATENCY: Latency = Latency {
    min: Duration::from_millis(5),
    typical: Duration::from_millis(20),
    slow: Duration::from_millis(50),
    slow_share: 0.01,
};
const SEED_EVERY: usize = 50;
/// How long nodes have to know each other before it is looked whether they do.
const SETTLE: Duration = Duration::from_secs(10);
const DATAGRAM_MAX: u64 = 1_200;
/// IPv4 and UDP headers, which the traffic's longest datagram is without.
const HEADER_BYTES: u64 = 28;
/// What a datagram bears on sockets that it does not here.
const SEAL_BYTES: u64 = Envelope::SEAL_LEN as u64;
