//! The cluster of gossip's stories: how it starts, who knows whom, what it sends.
//!
//! Every node has a Members object open from its start, and tells every change of it. Who knows how
//! many is counted from that as it comes, and the history is dropped as it is read: rosters of all
//! nodes would be the square of their number.

use std::time::Duration;

use gossip::{Config, Gossip};
use live_objects::{Agreement, Envelope, Event, MembersEvent, Time};
use live_objects_sim::{Latency, Network, Record, What, World};

use crate::join;
use crate::sim::open_members;

/// All nodes start at once and are told of these seeds, on a network that loses so much.
pub(super) fn started(seed: u64, nodes: u32, threads: usize, seeds: &[usize], loss: f64) -> World {
    let mut world = World::new(seed, nodes as usize, |_| vec![Box::new(Gossip::default())]);
    world.set_threads(threads);
    world.set_network(Network { latency: LATENCY, ..Network::LAN }.with_loss(loss));
    world.set_seeds(seeds);
    world.start_all();
    (0..world.nodes()).for_each(|node| open_members(&mut world, node, Agreement::Eventual));
    world
}

/// A world whose nodes all know each other, and have nothing left to say of it: a network that
/// loses nothing brought them together some time ago. None if that did not come to be in time.
pub(super) fn settled(seed: u64, nodes: u32, threads: usize) -> Option<World> {
    settle(begun(seed, nodes, nodes, threads), seed, nodes, 1)
}

/// As [`settled`], but few of the nodes have a Members object open, and there are more nodes that
/// do not run yet.
pub(super) fn settled_quietly(seed: u64, nodes: u32, all: u32, threads: usize) -> Option<World> {
    settle(begun(seed, nodes, all, threads), seed, nodes, LISTENS_EVERY)
}

/// The first of all nodes start, each with a seed of its own among them.
fn begun(seed: u64, nodes: u32, all: u32, threads: usize) -> World {
    let mut world = World::new(seed, all as usize, |_| vec![Box::new(Gossip::default())]);
    world.set_threads(threads);
    world.set_network(Network { latency: LATENCY, ..Network::LAN });
    // A seed for every so many, so that no one node has to give all the tables.
    world.set_seeds(&(0..nodes as usize).step_by(SEED_EVERY).collect::<Vec<_>>());
    (0..nodes as usize).for_each(|node| world.start(node));
    world
}

/// One node of so many listens until it knows all, and then all have a rest.
fn settle(mut world: World, seed: u64, nodes: u32, every: usize) -> Option<World> {
    let listening = (0..nodes as usize).step_by(every);
    listening.for_each(|node| open_members(&mut world, node, Agreement::Eventual));
    let mut known = Known::by(nodes as usize, every);
    while known.full_at.is_none() {
        if world.now() >= Time::ZERO + FULL_WITHIN {
            join::complain(&format!("seed {seed}: {} of all pairs are known", known.share()));
            return None;
        }
        world.run(GLANCE);
        world.take_history().iter().for_each(|record| known.read(record));
    }
    let full_at = world.now();
    world.run(REST);
    world.take_history();
    join::complain(&format!("seed {seed}: {nodes} nodes knew each other at {full_at:?}"));
    Some(world)
}

/// How many members each node believes up, from what its Members object told.
pub(super) struct Known {
    counts: Vec<usize>,
    pairs: u64,
    all: u64,
    /// When all pairs were first known, and 99 % of them.
    pub(super) full_at: Option<Time>,
    pub(super) nearly_full_at: Option<Time>,
}

impl Known {
    pub(super) fn new(nodes: usize) -> Self {
        Self::by(nodes, 1)
    }

    /// If one of so many of them listens.
    fn by(nodes: usize, every: usize) -> Self {
        let all = nodes as u64 * nodes.div_ceil(every) as u64;
        Self { counts: vec![0; nodes], pairs: 0, all, full_at: None, nearly_full_at: None }
    }

    /// How many of all pairs are known, of one who listens and itself included.
    pub(super) fn share(&self) -> f64 {
        self.pairs as f64 / self.all as f64
    }

    /// How many of all nodes, if all listen, know as many as there are.
    pub(super) fn complete(&self) -> usize {
        self.counts.iter().filter(|count| **count == self.counts.len()).count()
    }

    pub(super) fn read(&mut self, record: &Record) {
        let What::Event(_, Event::Members(event)) = &record.what else { return };
        let count = &mut self.counts[record.node];
        let before = *count;
        match event {
            MembersEvent::Roster(all) => *count = all.len(),
            MembersEvent::Up(_) => *count += 1,
            MembersEvent::Down(..) => *count -= 1,
            _ => return,
        }
        self.pairs = self.pairs + *count as u64 - before as u64;
        if self.pairs * 100 >= self.all * 99 {
            self.nearly_full_at.get_or_insert(record.at);
        }
        if self.pairs == self.all {
            self.full_at.get_or_insert(record.at);
        }
    }
}

/// What all nodes have sent, as bytes.
#[derive(Clone, Copy)]
pub(super) struct Sent {
    /// With headers and seals.
    pub(super) datagrams: u64,
    pub(super) links: u64,
    pub(super) datagram_count: u64,
    /// The longest datagram, with headers and seal.
    pub(super) datagram_max: u64,
}

impl Sent {
    pub(super) fn by(world: &World) -> Self {
        let mut sent = Self { datagrams: 0, links: 0, datagram_count: 0, datagram_max: 0 };
        for node in 0..world.nodes() {
            let one = world.traffic(node);
            sent.datagrams += one.datagram_bytes + one.datagrams * SEAL_BYTES;
            sent.links += one.link_bytes;
            sent.datagram_count += one.datagrams;
            sent.datagram_max = sent.datagram_max.max(one.datagram_bytes_max);
        }
        sent.datagram_max += HEADER_BYTES + SEAL_BYTES;
        sent
    }

    pub(super) fn since(self, before: Self) -> Self {
        Self {
            datagrams: self.datagrams - before.datagrams,
            links: self.links - before.links,
            datagram_count: self.datagram_count - before.datagram_count,
            ..self
        }
    }

    pub(super) fn bytes(self) -> u64 {
        self.datagrams + self.links
    }

    /// Bytes of one node in a second.
    pub(super) fn rate(self, nodes: u32, span: Duration) -> f64 {
        self.bytes() as f64 / f64::from(nodes) / span.as_secs_f64()
    }
}

/// In periods of the failure detector, which are stretched at rest.
pub(super) fn probe_periods(span: Duration) -> f64 {
    let Config { period, stretch, .. } = Config::default();
    span.as_secs_f64() / (period * stretch).as_secs_f64()
}

/// Between the racks of a site, so that an exchange of three takes some of the period.
pub(super) const LATENCY: Latency = Latency {
    min: Duration::from_millis(5),
    typical: Duration::from_millis(20),
    slow: Duration::from_millis(50),
    slow_share: 0.01,
};
pub(super) const SEED_EVERY: usize = 50;
/// Of so many nodes one listens where few do.
const LISTENS_EVERY: usize = 16;
/// How long nodes have to know each other.
pub(super) const FULL_WITHIN: Duration = Duration::from_secs(300);
/// How often the history is read and dropped.
pub(super) const GLANCE: Duration = Duration::from_millis(20);
/// Longer than it takes to tell all news, and than links stay open that nobody uses.
const REST: Duration = Duration::from_secs(15);
/// IPv4 and UDP headers, which the traffic's longest datagram is without.
const HEADER_BYTES: u64 = 28;
/// A seal and its counter.
const SEAL_BYTES: u64 = Envelope::SEAL_LEN as u64;
