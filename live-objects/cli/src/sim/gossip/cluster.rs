//! The cluster of gossip's stories: how it starts, who knows whom, what it sends.
//!
//! How nodes find each other is a story of its own (`start`): there every node has a Members object
//! open from its start, and tells every change of it. Who knows how many is counted from that as it
//! comes, and the history is dropped as it is read: rosters of all nodes would be the square of
//! their number. The other stories begin when all have known each other for a while.

use std::time::Duration;

use gossip::{Config, Gossip};
use live_objects::{Agreement, Envelope, Event, MembersEvent, Time};
use live_objects_sim::{Latency, Network, Record, What, World};

use crate::sim::{acquainted_world, open_members};

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

/// A world whose nodes all know each other, and have nothing left to say of it.
pub(super) fn settled(seed: u64, nodes: u32, threads: usize) -> World {
    settled_among(seed, (nodes, nodes), threads)
}

/// The first nodes of a world know each other; there are more, who do not run yet and whom none of
/// them knows.
pub(super) fn settled_among(seed: u64, (nodes, all): (u32, u32), threads: usize) -> World {
    let mut world = acquainted(seed, (nodes, all), Config::default(), threads);
    world.run(REST);
    world.take_history();
    world
}

/// All nodes hear of whoever comes and goes from now on.
pub(super) fn listen(world: &mut World) {
    let nodes: Vec<usize> = (0..world.nodes()).collect();
    // Each is told the whole roster first: not all of that at once.
    for some in nodes.chunks(LISTEN_AT_ONCE) {
        some.iter().for_each(|node| open_members(world, *node, Agreement::Eventual));
        world.run(GLANCE);
        world.take_history();
    }
}

/// The first nodes of a world start at once from one roster: they know whom they would know if they
/// had found each other some time ago.
pub(super) fn acquainted(
    seed: u64,
    (nodes, all): (u32, u32),
    config: Config,
    threads: usize,
) -> World {
    let mut world = acquainted_world(seed, (nodes, all), config, |gossip| vec![Box::new(gossip)]);
    world.set_threads(threads);
    world.set_network(Network { latency: LATENCY, ..Network::LAN });
    world.set_seeds(&[]);
    (0..nodes as usize).for_each(|node| world.start(node));
    world
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
        let all = (nodes as u64).pow(2);
        Self { counts: vec![0; nodes], pairs: 0, all, full_at: None, nearly_full_at: None }
    }

    /// How many of all pairs are known, of a node and itself included.
    pub(super) fn share(&self) -> f64 {
        self.pairs as f64 / self.all as f64
    }

    /// How many of all nodes know as many as there are.
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
/// Of so many nodes.
const LISTEN_AT_ONCE: usize = 256;
/// How long nodes have to know each other.
pub(super) const FULL_WITHIN: Duration = Duration::from_secs(300);
/// How often the history is read and dropped.
pub(super) const GLANCE: Duration = Duration::from_millis(20);
/// Longer than it takes until all know what round it is, and have nothing to say.
const REST: Duration = Duration::from_secs(15);
/// IPv4 and UDP headers, which the traffic's longest datagram is without.
const HEADER_BYTES: u64 = 28;
/// A seal and its counter.
const SEAL_BYTES: u64 = Envelope::SEAL_LEN as u64;
