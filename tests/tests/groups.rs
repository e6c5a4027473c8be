//! Stories of groups in simulated worlds: topics and replicated states, whose members agree.
//!
//! Every world has all the checkers there are, so a story asserts only what is its own.

mod flow;
mod joins;
mod names;
mod order;
mod regions;
mod states;
mod swarms;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use gossip::Gossip;
use groupcomm::{Config, Founding, Groupcomm, Mutation};
use live_objects::{
    Agreement, Command, Event, ObjectId, ObjectType, Order, ReplicatedEvent, Spec, Time,
    TopicEvent, TrySendError, View,
};
use live_objects_sim::{GroupsChecker, MembersChecker, StatesChecker, ViewsChecker, World};

use crate::told;

/// The seeds of a story that depends on chance: so many, or the one that is asked for. Each prints
/// the line that replays it, of which a failure shows the last.
fn seeds(count: u64) -> impl Iterator<Item = u64> {
    crate::seeds(count).inspect(|seed| {
        let thread = std::thread::current();
        let name = thread.name().expect("a test's thread has its name");
        eprintln!("replay it: SEED={seed} cargo test -p tests {name}");
    })
}

/// A cluster of which all nodes are in one view.
fn cluster(seed: u64, nodes: usize) -> World {
    let mut world = start(seed, nodes, None);
    expect_settled(&mut world);
    world
}

/// A cluster that node 0 founds, the first time it starts, and that just started.
fn start(seed: u64, nodes: usize, mutation: Option<Mutation>) -> World {
    let is_founded = AtomicBool::new(false);
    let mut world = World::new(seed, nodes, move |node| {
        let founds = node == 0 && !is_founded.swap(true, Ordering::Relaxed);
        let founding = if founds { Founding::Alone } else { Founding::Wait };
        let config = Config { founding, mutation };
        vec![Box::new(Gossip::default()), Box::new(Groupcomm::new(config))]
    });
    world.set_seeds(&[0, nodes - 1]);
    world.add_checker(MembersChecker::default());
    world.add_checker(ViewsChecker::default());
    world.add_checker(GroupsChecker::default());
    world.add_checker(StatesChecker::default());
    for node in 0..nodes {
        world.start(node);
        enter(&mut world, node);
    }
    world
}

/// Opens what tells a node who is up, and who is in the views of the cluster.
fn enter(world: &mut World, node: usize) {
    for agreement in [Agreement::Eventual, Agreement::Views] {
        let name = if agreement == Agreement::Views { "/views" } else { "/members" };
        let spec = Spec::new(name.parse().expect("a name"), ObjectType::members(agreement));
        world.open(node, spec).expect("a module carries it");
    }
}

fn expect_settled(world: &mut World) {
    assert!(world.settle(Duration::from_secs(60)), "{world:?}: {:?}", world.stuck());
    assert_eq!(world.violations(), []);
}

/// Opens the topic of a story at some nodes.
fn open_topic(world: &mut World, nodes: impl IntoIterator<Item = usize>, order: Order) -> ObjectId {
    let spec = Spec::new("/topic".parse().expect("a name"), ObjectType::topic(order));
    for node in nodes {
        world.open(node, spec.clone()).expect("it is not open there");
    }
    spec.name.id()
}

/// Bytes that begin with a number, as far as there is room for it.
fn payload(number: u64, len: usize) -> Bytes {
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.resize(len, b'.');
    bytes.into()
}

fn try_say(world: &mut World, node: usize, object: ObjectId, bytes: Bytes) -> bool {
    match world.send(node, object, Command::Send(bytes)) {
        Ok(()) => true,
        Err(TrySendError::Full(_)) => false,
        Err(error) => panic!("node {node} has the topic open: {error:?}"),
    }
}

/// Says a message of a number in a feed that has room for it.
fn say(world: &mut World, node: usize, object: ObjectId, number: u64) {
    assert!(try_say(world, node, object, payload(number, 8)), "the feed of node {node} is full");
}

/// A message or an update, as a node heard it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Heard {
    at: Time,
    /// By which node.
    from: usize,
    own: Option<u64>,
    bytes: Bytes,
    /// How many views the node was told of before, since the same record.
    view: usize,
}

impl Heard {
    /// What is the same for all who heard it.
    fn said(&self) -> (usize, Bytes) {
        (self.from, self.bytes.clone())
    }
}

/// The messages or updates that a node heard, in order, since the record `since`.
fn heard(world: &World, node: usize, object: ObjectId, since: usize) -> Vec<Heard> {
    let mut view = 0;
    let mut all = Vec::new();
    for (at, event) in told(world, node, object, since) {
        view += usize::from(view_of(event).is_some());
        if let Event::Topic(TopicEvent::Message { from, own, bytes })
        | Event::Replicated(ReplicatedEvent::Update { from, own, bytes }) = event
        {
            let from = world.node_of(*from).expect("it is a node's");
            all.push(Heard { at, from, own: *own, bytes: bytes.clone(), view });
        }
    }
    all
}

/// What a node heard of each sender, in order.
fn by_sender(heard: &[Heard]) -> BTreeMap<usize, Vec<Bytes>> {
    let mut senders: BTreeMap<usize, Vec<Bytes>> = BTreeMap::new();
    for message in heard {
        senders.entry(message.from).or_default().push(message.bytes.clone());
    }
    senders
}

/// The views of an object that a node was told of since the record `since`.
fn views(world: &World, node: usize, object: ObjectId, since: usize) -> Vec<View> {
    told(world, node, object, since).filter_map(|(_, event)| view_of(event).cloned()).collect()
}

fn view_of(event: &Event) -> Option<&View> {
    match event {
        Event::Topic(TopicEvent::View(view)) | Event::Replicated(ReplicatedEvent::View(view)) => {
            Some(view)
        }
        _ => None,
    }
}

/// Whether all these nodes are in one view of an object, with nobody else.
fn are_together(world: &World, nodes: &[usize], object: ObjectId) -> bool {
    let last = |node: &usize| views(world, *node, object, 0).pop();
    let first = last(&nodes[0]);
    first.as_ref().is_some_and(|view| view.members.len() == nodes.len())
        && nodes.iter().all(|node| last(node) == first)
}

fn expect_together(world: &mut World, nodes: &[usize], object: ObjectId) {
    let span = Duration::from_secs(20);
    assert!(world.run_until(span, |world| are_together(world, nodes, object)), "{nodes:?}");
}

/// The orders that a topic can have.
const ORDERS: [Order; 2] = [Order::Fifo, Order::Total];
