//! Stories of what gossip carries beside the membership: best-effort topics, directories, and
//! claims of names. The configuration is the default, with periods of 200 ms.

mod affinity;
mod directories;
mod names;
mod swarms;
mod topics;

use std::time::Duration;

use bytes::Bytes;
use gossip::Gossip;
use live_objects::{
    Agreement, Command, DirectoryEvent, Event, Listing, MembersEvent, ObjectId, ObjectType, Spec,
    TopicEvent,
};
use live_objects_sim::{MembersChecker, World};

use crate::told;

const PERIOD: Duration = Duration::from_millis(200);

/// A cluster whose nodes all know each other.
fn cluster(seed: u64, nodes: usize) -> World {
    let mut world = World::new(seed, nodes, |_| vec![Box::new(Gossip::default())]);
    world.add_checker(MembersChecker::default());
    world.set_seeds(&[0, nodes - 1]);
    (0..nodes).for_each(|node| enter(&mut world, node));
    expect_settled(&mut world);
    world
}

/// Starts a node, which is told who is up.
fn enter(world: &mut World, node: usize) {
    world.start(node);
    crate::open_members(world, node, Agreement::Eventual);
}

fn expect_settled(world: &mut World) {
    assert!(world.settle(Duration::from_secs(60)), "{world:?}: {:?}", world.stuck());
    assert_eq!(world.violations(), []);
}

fn spec(name: &str, ty: ObjectType) -> Spec {
    Spec::new(name.parse().expect("a name"), ty)
}

/// Opens an object at some nodes.
fn open(
    world: &mut World,
    nodes: impl IntoIterator<Item = usize>,
    name: &str,
    ty: &ObjectType,
) -> ObjectId {
    let spec = spec(name, ty.clone());
    for node in nodes {
        world.open(node, spec.clone()).expect("a module carries it, and it is not open there");
    }
    spec.name.id()
}

fn give(world: &mut World, node: usize, object: ObjectId, command: Command) {
    world.send(node, object, command).expect("it is open, and its feed has room");
}

fn say(world: &mut World, node: usize, object: ObjectId, text: impl Into<Bytes>) {
    give(world, node, object, Command::Send(text.into()));
}

fn events(world: &World, node: usize, object: ObjectId, since: usize) -> Vec<Event> {
    told(world, node, object, since).map(|(_, event)| event.clone()).collect()
}

/// The messages that a node heard, and from which nodes, since the record `since`.
fn heard(world: &World, node: usize, object: ObjectId, since: usize) -> Vec<(usize, Bytes)> {
    let message = |event: &Event| match event {
        Event::Topic(TopicEvent::Message { from, bytes, .. }) => {
            Some((world.node_of(*from).expect("it is a node's"), bytes.clone()))
        }
        _ => None,
    };
    told(world, node, object, since).filter_map(|(_, event)| message(event)).collect()
}

/// Asks a directory, and hears what it answers at once.
fn ask(world: &mut World, node: usize, object: ObjectId, command: Command) -> Vec<Listing> {
    let since = world.history().len();
    give(world, node, object, command);
    world.run(Duration::from_millis(1));
    let found = events(world, node, object, since);
    match found.as_slice() {
        [Event::Directory(DirectoryEvent::Found { listings, .. })] => listings.clone(),
        other => panic!("one answer: {other:?}"),
    }
}

/// Key, publishing node and value of each listing.
fn plain(world: &World, listings: &[Listing]) -> Vec<(Bytes, usize, Bytes)> {
    let node = |listing: &Listing| world.node_of(listing.publisher).expect("it is a node's");
    let plain = |it: &Listing| (it.key.clone(), node(it), it.value.clone());
    listings.iter().map(plain).collect()
}

/// Whether a node was told that a member of another is gone.
fn knows_gone(world: &World, node: usize, gone: usize) -> bool {
    let members = "/members".parse::<live_objects::Name>().expect("a name").id();
    told(world, node, members, 0).any(|(_, event)| {
        matches!(event, Event::Members(MembersEvent::Down(member, _))
            if world.node_of(*member) == Some(gone))
    })
}
