//! Replicated states: how they are handed over, and what becomes of them.

use std::time::Duration;

use live_objects::{
    Command, Event, Frozen, Map, Member, ObjectId, ObjectType, Replica, ReplicatedEvent,
    RestoreError, Spec, State,
};
use live_objects_sim::{Latency, Network, World};

use super::{cluster, expect_settled, expect_together, heard, seeds, told};

/// A state that grows: what was noted under each number, and by whom.
#[derive(Default)]
pub(super) struct Ledger {
    notes: Map<u64, (Member, Vec<u8>)>,
}

impl State for Ledger {
    type Update = (u64, Vec<u8>);
    type Reply = usize;

    fn apply(&mut self, by: Member, (number, note): Self::Update) -> usize {
        self.notes.insert(number, (by, note));
        self.notes.len()
    }

    fn freeze(&self) -> Box<dyn Frozen> {
        Box::new(self.notes.clone())
    }

    fn restore(&mut self, record: &[u8]) -> Result<(), RestoreError> {
        self.notes.restore(record)
    }
}

/// The command that notes so many bytes under a number.
pub(super) fn note(number: u64, len: usize) -> Command {
    let update = (number, vec![b'.'; len]);
    Command::Update(postcard::to_allocvec(&update).expect("memory takes an update").into())
}

/// Opens a ledger at a node.
pub(super) fn open_ledger(world: &mut World, node: usize, name: &str) -> ObjectId {
    let spec = Spec::new(name.parse().expect("a name"), ObjectType::replicated());
    let make = |port| -> Box<dyn live_objects::Replicate> {
        Box::new(Replica::new(port, Ledger::default))
    };
    world.open_replica(node, spec, make).expect("it is not open there")
}

fn open(world: &mut World, node: usize) -> ObjectId {
    open_ledger(world, node, "/state")
}

fn update(world: &mut World, node: usize, object: ObjectId, number: u64, len: usize) {
    world.send(node, object, note(number, len)).expect("there is room for it");
}

/// A cluster of which some have a state of a megabyte.
fn with_megabyte(seed: u64, nodes: usize, holders: &[usize]) -> (World, ObjectId) {
    let mut world = cluster(seed, nodes);
    let objects: Vec<ObjectId> = holders.iter().map(|node| open(&mut world, *node)).collect();
    let object = objects[0];
    expect_together(&mut world, holders, object);
    for number in 0..64 {
        update(&mut world, holders[0], object, number, 16 << 10);
        world.run(Duration::from_millis(10));
    }
    let hashes = |world: &World| -> Vec<_> {
        holders.iter().map(|node| world.replica_hash(*node, object)).collect()
    };
    let is_same = |world: &World| {
        let all = holders.iter().all(|node| heard(world, *node, object, 0).len() == 64);
        all && hashes(world).windows(2).all(|pair| pair[0].is_some() && pair[0] == pair[1])
    };
    assert!(world.run_until(Duration::from_secs(10), is_same), "{:?}", hashes(&world));
    (world, object)
}

/// Where the pieces of a state that a node got begin, and whether each is the last.
fn pieces(world: &World, node: usize, object: ObjectId, since: usize) -> Vec<(u64, bool)> {
    let pieces = told(world, node, object, since).filter_map(|(_, event)| match event {
        Event::Replicated(ReplicatedEvent::Restore { offset, last, .. }) => Some((*offset, *last)),
        _ => None,
    });
    pieces.collect()
}

fn is_founded(world: &World, node: usize, object: ObjectId, since: usize) -> bool {
    let founded = Event::Replicated(ReplicatedEvent::Founded);
    told(world, node, object, since).any(|(_, event)| *event == founded)
}

/// Lets time pass until one of these nodes has so many pieces of the state that they fetch, and
/// none has all. The network is slow enough for that to be seen, though replicas read late.
fn run_into_transfer(world: &mut World, nodes: &[usize], object: ObjectId, count: usize) {
    let latency = Latency::fixed(Duration::from_millis(10));
    world.set_network(Network { latency, ..Network::LAN });
    let begin = world.now();
    while nodes.iter().all(|node| pieces(world, *node, object, 0).len() < count) {
        world.run(Duration::from_millis(1));
        assert!(world.now().since(begin) < Duration::from_secs(10), "they got nothing");
    }
    for node in nodes {
        let is_whole = pieces(world, *node, object, 0).iter().any(|(_, last)| *last);
        assert!(!is_whole, "node {node} got all");
    }
}

/// Whoever provides a state dies in the middle of it, and updates go on all the time. The joiner
/// goes on with another provider where it stopped, and ends with the state that all have.
#[test]
fn a_state_of_a_megabyte_is_handed_over_while_updates_go_on() {
    for seed in seeds(10) {
        let (mut world, object) = with_megabyte(seed, 5, &[1, 2, 3]);
        let sent = |world: &World| [1, 2, 3].map(|node| world.traffic(node).link_bytes);
        let before = sent(&world);
        open(&mut world, 4);
        run_into_transfer(&mut world, &[4], object, 1 + 4 * (seed as usize % 10));
        let gained = sent(&world).into_iter().zip(before).map(|(after, before)| after - before);
        let most = gained.enumerate().max_by_key(|(_, bytes)| *bytes).expect("there are three");
        let provider = [1, 2, 3][most.0];
        world.crash(provider);
        let crashed = world.now();
        let others: Vec<usize> = [1, 2, 3].into_iter().filter(|node| *node != provider).collect();
        for number in 0..100 {
            for node in &others {
                update(&mut world, *node, object, 1_000 + number * 2 + *node as u64 % 2, 100);
            }
            world.run(Duration::from_millis(20));
        }
        expect_settled(&mut world);
        let pieces = pieces(&world, 4, object, 0);
        let from_0 = pieces.iter().filter(|(offset, _)| *offset == 0).count();
        assert_eq!(from_0, 1, "what came was not thrown away");
        assert_eq!(pieces.last().map(|(_, last)| *last), Some(true));
        assert!(!is_founded(&world, 4, object, 0));
        let hash = world.replica_hash(others[0], object);
        assert!(hash.is_some());
        assert_eq!(world.replica_hash(others[1], object), hash);
        assert_eq!(world.replica_hash(4, object), hash);
        let mut later = heard(&world, others[0], object, 0);
        later.retain(|update| update.at >= crashed && others.contains(&update.from));
        assert!(later.len() >= 200, "{} updates", later.len());
    }
}

/// A state lives as long as one member that holds it does. Who opens it when nobody does begins
/// with the initial one, and is told so.
#[test]
fn a_state_outlives_all_but_its_last_holder() {
    for seed in seeds(10) {
        let mut world = cluster(seed, 7);
        let object = open(&mut world, 1);
        expect_together(&mut world, &[1], object);
        assert!(is_founded(&world, 1, object, 0));
        open(&mut world, 2);
        open(&mut world, 3);
        expect_together(&mut world, &[1, 2, 3], object);
        update(&mut world, 1, object, 1, 10);
        expect_settled(&mut world);
        let hash = world.replica_hash(1, object);
        world.crash(1);
        expect_settled(&mut world);
        world.crash(2);
        expect_settled(&mut world);
        open(&mut world, 4);
        expect_settled(&mut world);
        assert_eq!(world.replica_hash(4, object), hash);
        assert!(!is_founded(&world, 4, object, 0));
        // The last two go, one by closing it.
        world.close(3, object);
        expect_settled(&mut world);
        assert_eq!(world.replica_hash(4, object), hash);
        world.crash(4);
        expect_settled(&mut world);
        open(&mut world, 5);
        expect_settled(&mut world);
        assert!(is_founded(&world, 5, object, 0));
        assert!(world.replica_hash(5, object).is_some_and(|now| Some(now) != hash));
    }
}

/// The last holder dies while two others are fetching the state from it. Neither has it, so that it
/// begins anew, for both of them.
#[test]
fn a_state_is_founded_anew_when_its_last_holder_is_gone() {
    for seed in seeds(10) {
        let (mut world, object) = with_megabyte(seed, 5, &[1]);
        open(&mut world, 2);
        open(&mut world, 3);
        run_into_transfer(&mut world, &[2, 3], object, 1 + 4 * (seed as usize % 10));
        let since = world.history().len();
        world.crash(1);
        expect_settled(&mut world);
        let founded = [2, 3].map(|node| is_founded(&world, node, object, since));
        assert_eq!(founded, [true, true]);
        let hashes = [2, 3].map(|node| world.replica_hash(node, object));
        assert!(hashes[0].is_some() && hashes[0] == hashes[1], "{hashes:?}");
        update(&mut world, 2, object, 99, 10);
        expect_settled(&mut world);
    }
}

/// The only holder is asked to stop while another is fetching the state: it stays until the other
/// has it, and leaves then.
#[test]
fn a_holder_that_stops_hands_its_state_over_first() {
    for seed in seeds(10) {
        // Of every other seed it is the most senior node.
        let holder = seed as usize % 2;
        let (mut world, object) = with_megabyte(seed, 4, &[holder]);
        let hash = world.replica_hash(holder, object);
        open(&mut world, 2);
        run_into_transfer(&mut world, &[2], object, 1 + 4 * (seed as usize % 10));
        world.stop(holder);
        let is_gone = |world: &World| world.member(holder).is_none();
        assert!(world.run_until(Duration::from_secs(6), is_gone));
        expect_settled(&mut world);
        assert!(!is_founded(&world, 2, object, 0));
        assert_eq!(world.replica_hash(2, object), hash);
    }
}
