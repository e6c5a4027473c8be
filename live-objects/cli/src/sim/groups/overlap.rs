//! What a message costs, by the number of groups that have the same members.

use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use live_objects::{Command, ObjectId, Order};
use live_objects_sim::World;

use super::cluster::{GLANCE, Sent, Views, founded, spec};
use super::setting::Setting;
use crate::join;
use crate::sim::figures::{Figure, Outcome, Told};

/// What the story of the overlap is told.
#[derive(Args)]
pub(crate) struct Overlap {
    #[command(flatten)]
    setting: Setting,
    /// How many nodes there are, all of them in all groups.
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(2..=200))]
    nodes: u32,
    /// Up to how many groups.
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=8_192))]
    groups: u32,
}

impl Overlap {
    pub(crate) fn run(&self) -> ExitCode {
        let facts = vec![("nodes", self.nodes.into()), ("groups", self.groups.into())];
        let story = |seed, threads| self.story(seed, threads);
        self.setting.of("overlap", facts, usize::MAX).tell(story, |outcome| self.is_good(outcome))
    }

    fn story(&self, seed: u64, threads: usize) -> Told {
        let mut world = founded(seed, self.nodes, threads);
        let (mut groups, mut opened) = (Vec::new(), 0);
        let (mut sample, mut costs) = (Vec::new(), Vec::new());
        while opened < self.groups {
            let next = (2 * opened).clamp(1, self.groups);
            groups.extend(open(&mut world, opened..next));
            opened = next;
            let cost = self.cost(&mut world, &groups);
            join::complain(&format!("seed {seed}: {cost:.3} packets a message, {opened} groups"));
            sample.push(Figure::of("packets_per_message", opened, Some(cost)));
            costs.push(cost);
        }
        let (low, high) = costs.iter().fold((f64::MAX, 0.0), |(low, high): (f64, f64), cost| {
            (low.min(*cost), high.max(*cost))
        });
        sample.push(Figure::new(SPREAD, Some(high / low - 1.0)));
        Told::new(vec![sample], world.trace_hash())
    }

    /// Datagrams of all nodes for each message that one says, in one group after the other.
    fn cost(&self, world: &mut World, groups: &[ObjectId]) -> f64 {
        let before = Sent::by(world);
        for (number, group) in (0..MESSAGES).zip(groups.iter().cycle()) {
            let mut bytes = u64::from(number).to_be_bytes().to_vec();
            bytes.resize(MESSAGE_BYTES, b'.');
            let command = Command::Send(Bytes::from(bytes));
            world.send(0, *group, command).expect("there is room for it");
            world.run(PAUSE);
            world.take_history();
        }
        world.run(QUIET);
        let sent = Sent::by(world).since(before);
        let heard = u64::from(MESSAGES) * u64::from(self.nodes);
        assert_eq!((sent.wanted, sent.unwanted), (heard, 0), "all hear all of it");
        sent.datagrams as f64 / f64::from(MESSAGES)
    }

    fn is_good(&self, outcome: &Outcome) -> bool {
        outcome.figure(SPREAD).is_some_and(|spread| spread <= SPREAD_MAX)
    }
}

/// All nodes open these groups, and are in them.
fn open(world: &mut World, groups: std::ops::Range<u32>) -> Vec<ObjectId> {
    let nodes = world.nodes();
    for group in groups.clone() {
        for node in 0..nodes {
            world.open(node, spec(group, Order::Fifo)).expect("a module carries it");
        }
    }
    let ids: Vec<ObjectId> = groups.map(|group| spec(group, Order::Fifo).name.id()).collect();
    let mut views = Views::default();
    let is_in = |views: &Views, group| (0..nodes).all(|node| views.of(node, group) == Some(nodes));
    while !ids.iter().all(|group| is_in(&views, *group)) {
        world.run(GLANCE);
        world.take_history().for_each(|record| views.read(&record));
    }
    world.run(QUIET);
    world.take_history();
    ids
}

const SPREAD: &str = "packets_spread";
const SPREAD_MAX: f64 = 0.05;
const MESSAGES: u32 = 10_000;
const MESSAGE_BYTES: usize = 100;
const PAUSE: Duration = Duration::from_millis(1);
/// Until all is stable that was said.
const QUIET: Duration = Duration::from_secs(2);
