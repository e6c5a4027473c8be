//! What thousands of groups cost, whose members overlap in one way or another.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use clap::{Args, ValueEnum};
use live_objects::{Command, ObjectId, Order, Rng};
use live_objects_sim::World;
use rand::RngExt;
use rand::seq::{IndexedRandom, SliceRandom};

use super::cluster::{GLANCE, Sent, Views, founded, spec};
use super::setting::Setting;
use crate::join;
use crate::sim::figures::{Figure, Outcome, Told};
use crate::sim::memory_bytes;

/// What the story of the scale is told.
#[derive(Args)]
pub(crate) struct Scale {
    #[command(flatten)]
    setting: Setting,
    /// How many nodes there are.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(10..=1_000))]
    nodes: u32,
    /// How many groups.
    #[arg(long, default_value_t = 8_192, value_parser = clap::value_parser!(u32).range(1..))]
    groups: u32,
    /// Who is in which group.
    #[arg(long, value_enum, default_value_t = Model::Cloned)]
    model: Model,
}

/// How groups overlap.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Model {
    Cloned,
    Zipf,
}

impl Scale {
    pub(crate) fn run(&self) -> ExitCode {
        let model = if self.model == Model::Zipf { "zipf" } else { "cloned" };
        let facts = vec![
            ("nodes", self.nodes.into()),
            ("groups", self.groups.into()),
            ("model", model.into()),
        ];
        let story = |seed, threads| self.story(seed, threads);
        self.setting.of("scale", facts, 1).tell(story, |outcome| self.is_good(outcome))
    }

    fn story(&self, seed: u64, threads: usize) -> Told {
        let mut world = founded(seed, self.nodes, threads);
        let mut rng = world.rng("scale");
        let members = self.model.members(self.nodes as usize, self.groups, &mut rng);
        let rss_before = memory_bytes("VmRSS:");
        let opened = Groups::open(&mut world, members);
        let rss = memory_bytes("VmRSS:").zip(rss_before).map(|(after, before)| after - before);
        let mut groups = opened.groups;
        let regions = |node: usize, world: &World| {
            world.counts(node).map_or(0, |counts| counts.get("groupcomm.regions"))
        };
        let each: Vec<u64> = (0..world.nodes()).map(|node| regions(node, &world)).collect();
        let mean = each.iter().sum::<u64>() as f64 / each.len() as f64;
        let load = groups.load(&mut world, &mut rng);
        let messages = f64::from(MESSAGES) * f64::from(self.nodes);
        let victim = rng.random_range(0..world.nodes());
        let touched = each[victim];
        let crash = groups.crash(&mut world, victim);
        let trace_hash = world.trace_hash();
        drop(world);
        let one = self.crash_of_one(seed, threads, groups.width(victim));
        let per_region = touched.max(1) as f64 * one as f64;
        let count = |count: u64| Some(count as f64);
        let seats = groups.seats() as f64;
        let sample = vec![
            Figure::new("opened_s", Some(opened.took_s)),
            Figure::new("opening_packets_per_seat", Some(opened.sent.datagrams as f64 / seats)),
            Figure::new("seats_per_node_mean", Some(seats / f64::from(self.nodes))),
            Figure::new("regions_per_node_mean", Some(mean)),
            Figure::new(REGIONS_MAX, count(each.iter().copied().max().unwrap_or(0))),
            Figure::new("packets_per_message", Some(load.datagrams as f64 / messages)),
            Figure::new("packets_per_delivery", Some(load.datagrams as f64 / load.wanted as f64)),
            Figure::new(
                UNWANTED,
                Some(load.unwanted as f64 / (load.wanted + load.unwanted) as f64),
            ),
            Figure::new("bytes_per_node", rss.map(|bytes| bytes / f64::from(self.nodes))),
            Figure::new("crash_messages", count(crash)),
            Figure::new("regions_touched", count(touched)),
            Figure::new("crash_messages_one_group", count(one)),
            Figure::new(CRASH_SHARE, Some(crash as f64 / per_region)),
        ];
        Told::new(vec![sample], trace_hash)
    }

    /// What a crash costs with one group of so many members.
    fn crash_of_one(&self, seed: u64, threads: usize, width: usize) -> u64 {
        let mut world = founded(seed, self.nodes, threads);
        let members = vec![(0..width).collect()];
        let mut groups = Groups::open(&mut world, members).groups;
        groups.crash(&mut world, width - 1)
    }

    fn is_good(&self, outcome: &Outcome) -> bool {
        let at_most = |key: &str, max: f64| outcome.figure(key).is_some_and(|value| value <= max);
        let regions_max = if self.model == Model::Zipf { 16.0 } else { 8.0 };
        at_most("regions_per_node_mean", regions_max)
            && at_most(UNWANTED, UNWANTED_MAX)
            && at_most(CRASH_SHARE, CRASH_SHARE_MAX)
    }
}

impl Model {
    /// The nodes in each group.
    fn members(self, nodes: usize, groups: u32, rng: &mut Rng) -> Vec<Vec<usize>> {
        match self {
            Self::Cloned => cloned(nodes, groups, rng),
            Self::Zipf => zipf(nodes, groups, rng),
        }
    }
}

/// Services on racks of five nodes each. A service has a rack or several, and its partitions are
/// each on one of these, cloned on all its nodes; one group of each service is of all its nodes.
fn cloned(nodes: usize, groups: u32, rng: &mut Rng) -> Vec<Vec<usize>> {
    let racks: Vec<Vec<usize>> =
        (0..nodes).collect::<Vec<_>>().chunks(CLONES).map(<[usize]>::to_vec).collect();
    let mut services: Vec<Vec<usize>> = Vec::new();
    // Each rack has room for a few services.
    for _ in 0..SERVICES_PER_RACK {
        let mut free: Vec<usize> = (0..racks.len()).collect();
        free.shuffle(rng);
        while !free.is_empty() {
            let size = rng.random_range(1..=SERVICE_RACKS_MAX).min(free.len());
            services.push(free.split_off(free.len() - size));
        }
    }
    let mut members = Vec::new();
    for service in &services {
        members.push(service.iter().flat_map(|rack| racks[*rack].clone()).collect());
    }
    while members.len() < groups as usize {
        let service = services.choose(rng).expect("there are some");
        let rack = service.choose(rng).expect("a service has a rack");
        members.push(racks[*rack].clone());
    }
    members.truncate(groups as usize);
    members
}

/// Interests, the popularity of which goes by Zipf's law, and the number of their groups too. Who
/// has an interest does without one group in twenty of it.
fn zipf(nodes: usize, groups: u32, rng: &mut Rng) -> Vec<Vec<usize>> {
    let harmonic: f64 = (1..=INTERESTS).map(|rank| 1.0 / rank as f64).sum();
    let mut members = Vec::new();
    for rank in 1..=INTERESTS {
        let chance = (1.5 / (rank as f64).sqrt()).min(1.0);
        let have: Vec<usize> = (0..nodes).filter(|_| rng.random_bool(chance)).collect();
        let share = f64::from(groups) / (rank as f64 * harmonic);
        for _ in 0..share.ceil() as usize {
            let some = have.iter().copied().filter(|_| !rng.random_bool(DOES_WITHOUT));
            members.push(some.collect::<Vec<_>>());
        }
    }
    members.retain(|members| !members.is_empty());
    members.truncate(groups as usize);
    members
}

/// The groups of a cluster.
struct Groups {
    ids: Vec<ObjectId>,
    members: Vec<Vec<usize>>,
    /// By node.
    of: BTreeMap<usize, Vec<usize>>,
    views: Views,
}

/// How the groups came to be.
struct Opened {
    groups: Groups,
    took_s: f64,
    sent: Sent,
}

impl Groups {
    /// All nodes open their groups, some hundreds at once, and are in them.
    fn open(world: &mut World, members: Vec<Vec<usize>>) -> Opened {
        let (begin, before) = (world.now(), Sent::by(world));
        let mut of: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (group, members) in members.iter().enumerate() {
            members.iter().for_each(|node| of.entry(*node).or_default().push(group));
        }
        let ids = (0..).map(|group| spec(group, Order::Fifo).name.id());
        let ids: Vec<ObjectId> = ids.take(members.len()).collect();
        let mut groups = Self { ids, members, of, views: Views::default() };
        let all: Vec<usize> = (0..groups.ids.len()).collect();
        for some in all.chunks(OPEN_AT_ONCE) {
            for group in some {
                let number = u32::try_from(*group).expect("a number of a group");
                for node in &groups.members[*group] {
                    world.open(*node, spec(number, Order::Fifo)).expect("a module carries it");
                }
            }
            groups.run_until_settled(world, some, &[]);
            let opened = some.last().map_or(0, |last| last + 1);
            join::complain(&format!("{opened} groups are open at {:?}", world.now()));
        }
        let (now, sent) = (world.now(), Sent::by(world).since(before));
        world.run(QUIET);
        groups.read(world);
        Opened { took_s: now.since(begin).as_secs_f64(), groups, sent }
    }

    /// Lets time pass until in these groups all are in views of just the members that are not gone.
    fn run_until_settled(&mut self, world: &mut World, groups: &[usize], gone: &[usize]) {
        let left = world.nodes() - gone.len();
        // Which nodes wait for how large a view of which group.
        let mut waiting: Vec<(usize, ObjectId, usize)> = Vec::new();
        for group in groups {
            let members = self.members[*group].iter().filter(|node| !gone.contains(node));
            let (id, count) = (self.ids[*group], members.clone().count());
            waiting.extend(members.map(|node| (*node, id, count)));
        }
        // All were in one view from the beginning.
        let is_whole = |views: &Views| gone.is_empty() || views.count(left) == left;
        while !waiting.is_empty() || !is_whole(&self.views) {
            world.run(GLANCE);
            self.read(world);
            let views = &self.views;
            waiting.retain(|(node, group, count)| views.of(*node, *group) != Some(*count));
        }
    }

    fn read(&mut self, world: &mut World) {
        world.take_history().for_each(|record| self.views.read(&record));
    }

    /// Each node says something in one of its groups, ten times a second for some seconds.
    fn load(&mut self, world: &mut World, rng: &mut Rng) -> Sent {
        let before = Sent::by(world);
        for number in 0..MESSAGES {
            for (node, groups) in &self.of {
                let group = groups.choose(rng).expect("it has some");
                let mut bytes = (u64::from(number) << 32 | *node as u64).to_be_bytes().to_vec();
                bytes.resize(MESSAGE_BYTES, b'.');
                let command = Command::Send(Bytes::from(bytes));
                world.send(*node, self.ids[*group], command).expect("there is room for it");
                if node % (world.nodes() / 10) == 0 {
                    world.run(PAUSE);
                    world.take_history();
                }
            }
        }
        world.run(QUIET);
        self.read(world);
        Sent::by(world).since(before)
    }

    /// One crashes. What is sent until all survivors are in new views of all groups.
    fn crash(&mut self, world: &mut World, victim: usize) -> u64 {
        let counted = |world: &World| {
            let sent = Sent::by(world);
            sent.datagrams + sent.messages
        };
        world.crash(victim);
        let before = counted(world);
        let all: Vec<usize> = (0..self.ids.len()).collect();
        self.run_until_settled(world, &all, &[victim]);
        world.run(QUIET);
        self.read(world);
        counted(world) - before
    }

    /// How many members a group of this node has, on average over all of them.
    fn width(&self, node: usize) -> usize {
        let groups = self.of.get(&node).map_or(&[][..], Vec::as_slice);
        let sum: usize = groups.iter().map(|group| self.members[*group].len()).sum();
        sum.checked_div(groups.len()).unwrap_or(0).max(2)
    }

    /// How many pairs there are of a group and a member of it.
    fn seats(&self) -> usize {
        self.members.iter().map(Vec::len).sum()
    }
}

const REGIONS_MAX: &str = "regions_per_node_max";
const UNWANTED: &str = "unwanted_share";
const UNWANTED_MAX: f64 = 0.2;
/// What a crash costs over what it costs with one group, a region.
const CRASH_SHARE: &str = "crash_messages_over_one_a_region";
const CRASH_SHARE_MAX: f64 = 1.2;
const CLONES: usize = 5;
const SERVICES_PER_RACK: usize = 3;
const SERVICE_RACKS_MAX: usize = 8;
const INTERESTS: usize = 12;
const DOES_WITHOUT: f64 = 0.05;
const OPEN_AT_ONCE: usize = 256;
const MESSAGES: u32 = 20;
const MESSAGE_BYTES: usize = 100;
const PAUSE: Duration = Duration::from_millis(10);
const QUIET: Duration = Duration::from_secs(2);
