//! Everything at once, through faults; and proof that the checkers see what is wrong.

use std::time::Duration;

use groupcomm::Mutation;
use live_objects::{Command, ObjectId, ObjectType, Order, Rng, Spec};
use live_objects_sim::{Nemesis, Network, World, swarm};
use rand::RngExt;
use rand::seq::IndexedRandom;

use super::states::{note, open_ledger};
use super::{heard, open_topic, say, start};

/// The objects of a swarm. Every second node opens an object from its start on.
const OBJECTS: [(&str, Option<Order>); 4] = [
    ("/prices", Some(Order::Total)),
    ("/chat", Some(Order::Fifo)),
    ("/stock", None),
    ("/takings", None),
];
const NODES: usize = 7;

/// A cluster works through twenty seconds of faults, and has a minute to settle.
fn story(seed: u64, mutation: Option<Mutation>) -> World {
    let mut world = start(seed, NODES, mutation);
    let mut load = Load { rng: world.rng("load"), said: 0 };
    (0..NODES).for_each(|node| open_some(&mut world, node));
    world.run(Duration::from_secs(3));
    world.set_network(Network { duplication: 0.01, ..Network::LAN.with_loss(0.02) });
    let (lasts, pause) = (Duration::from_secs(20), Duration::from_secs(1));
    let nemesis = Nemesis { lasts, pause, down_max: 2, loss_max: 0.2 };
    let begin = world.now();
    for (at, fault) in nemesis.plan(NODES, 0.02, &mut world.rng("nemesis")) {
        let at = begin + at;
        while world.now() < at {
            load.act(&mut world);
            let pause = Duration::from_millis(load.rng.random_range(10..150));
            world.run(pause.min(at.since(world.now())));
        }
        world.play(&[(Duration::ZERO, fault)], |world, node| {
            super::enter(world, node);
            open_some(world, node);
        });
    }
    world.settle(Duration::from_secs(60));
    world
}

/// Opens what a node has open from its start on.
fn open_some(world: &mut World, node: usize) {
    for index in (0..OBJECTS.len()).filter(|index| (node + index).is_multiple_of(2)) {
        open(world, node, index);
    }
}

fn open(world: &mut World, node: usize, index: usize) {
    let (name, order) = OBJECTS[index];
    let Some(order) = order else {
        open_ledger(world, node, name);
        return;
    };
    let spec = Spec::new(name.parse().expect("a name"), ObjectType::topic(order));
    world.open(node, spec).expect("it is not open there");
}

fn object(index: usize) -> ObjectId {
    OBJECTS[index].0.parse::<live_objects::Name>().expect("a name").id()
}

/// What the applications do.
struct Load {
    rng: Rng,
    said: u64,
}

impl Load {
    /// One thing, at one node that runs: it opens an object, closes it, or says a little.
    fn act(&mut self, world: &mut World) {
        let running = world.running();
        let Some(&(node, _)) = running.choose(&mut self.rng) else { return };
        let index = self.rng.random_range(0..OBJECTS.len());
        if !world.is_open(node, object(index)) {
            if self.rng.random_ratio(1, 4) {
                open(world, node, index);
            }
        } else if self.rng.random_ratio(1, 30) {
            world.close(node, object(index));
        } else {
            for _ in 0..self.rng.random_range(1..5) {
                self.say(world, node, index);
            }
        }
    }

    /// Says what nobody said before: mostly a little, now and then more than a frame holds.
    fn say(&mut self, world: &mut World, node: usize, index: usize) {
        self.said += 1;
        let is_long = self.rng.random_ratio(1, 8);
        let len = self.rng.random_range(if is_long { 1_000..20_000 } else { 0..200 });
        let command = match OBJECTS[index].1 {
            Some(_) => Command::Send(super::payload(self.said, 8 + len)),
            None => note(self.said, len),
        };
        // A full feed is a reason to wait, which this application does by doing without.
        let _ = world.send(node, object(index), command);
    }
}

#[test]
fn a_swarm_of_faults_finds_nothing_wrong_with_groups() {
    let report = swarm(crate::seeds(20), 2, |seed| story(seed, None), |_| {});
    if let Some(bad) = report.first_bad {
        let replay = "cargo test -p tests a_swarm_of_faults_finds_nothing_wrong_with_groups";
        panic!("{bad:?}\nreplay it: SEED={} {replay}", bad.seed);
    }
    let does_enough = report.crashes > 20 && report.partitions > 20 && report.deliveries > 20_000;
    assert!(does_enough || report.seeds == 1, "{report:?}");
}

/// Some seed of a swarm with a planted bug breaks the invariant of that name.
fn expect_caught(mutation: Mutation, invariant: &str) {
    let breaks = |seed| {
        let world = story(seed, Some(mutation));
        world.violations().iter().any(|found| found.what.starts_with(invariant))
    };
    assert!(crate::seeds(20).any(breaks), "no seed breaks {invariant}");
}

#[test]
fn going_on_without_repair_is_caught() {
    expect_caught(Mutation::SkipRepair, "V3");
}

#[test]
fn delivering_twice_is_caught() {
    expect_caught(Mutation::DeliverTwice, "V5");
}

#[test]
fn calling_stable_what_is_not_is_caught() {
    expect_caught(Mutation::AckBeforeStable, "V7");
}

/// The same seed is the same run, on one thread or two, in a world large enough to be shared out.
#[test]
fn the_history_of_groups_does_not_depend_on_threads() {
    let run = |threads| {
        let mut world = start(1, 40, None);
        world.set_threads(threads);
        world.set_network(Network::WAN);
        let object = open_topic(&mut world, 0..40, Order::Total);
        let ledger = open_ledger(&mut world, 1, "/state");
        world.run(Duration::from_secs(10));
        world.crash(0);
        for number in 0..20 {
            say(&mut world, 3, object, number);
            world.send(1, ledger, note(number, 2_000)).expect("there is room for it");
            world.run(Duration::from_millis(200));
        }
        world.run(Duration::from_secs(5));
        let heard = heard(&world, 39, object, 0).len();
        (world.trace_hash(), world.history().len(), heard)
    };
    let alone = run(1);
    assert!(alone.2 > 0, "{alone:?}");
    assert_eq!(alone, run(2));
}
