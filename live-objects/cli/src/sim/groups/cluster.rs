//! The cluster of groups' stories: nodes that know each other and are all in one view, the groups
//! that they open, and what they send.

use std::collections::HashMap;
use std::time::Duration;

use groupcomm::{Config, Founding, Groupcomm};
use live_objects::{
    Agreement, Event, MembersEvent, Module, ObjectId, ObjectType, Order, Spec, TopicEvent,
};
use live_objects_sim::{Network, Record, What, World};

use crate::sim::{acquainted_world, open_members};

/// A world whose nodes are all in one view.
pub(super) fn founded(seed: u64, nodes: u32, threads: usize) -> World {
    let expected = u16::try_from(nodes).expect("a view has at most 1,024 members");
    let config = Config { founding: Founding::Expect(expected), ..Config::default() };
    let modules = move |gossip| -> Vec<Box<dyn Module>> {
        vec![Box::new(gossip), Box::new(Groupcomm::new(config))]
    };
    let all = (nodes, nodes);
    let mut world = acquainted_world(seed, all, gossip::Config::default(), modules);
    world.set_threads(threads);
    world.set_network(Network::LAN);
    world.start_all();
    (0..world.nodes()).for_each(|node| open_members(&mut world, node, Agreement::Views));
    let mut views = Views::default();
    while views.count(nodes as usize) < nodes as usize {
        world.run(GLANCE);
        world.take_history().for_each(|record| views.read(&record));
    }
    world
}

/// The name of a group.
pub(super) fn spec(group: u32, order: Order) -> Spec {
    let name = format!("/group/{group}").parse().expect("a name");
    Spec::new(name, ObjectType::topic(order))
}

/// In how large a view each node is, of the configuration and of each of its groups.
#[derive(Default)]
pub(super) struct Views {
    whole: HashMap<usize, usize>,
    groups: HashMap<(usize, ObjectId), usize>,
}

impl Views {
    /// How many nodes are in a configuration of so many.
    pub(super) fn count(&self, members: usize) -> usize {
        self.whole.values().filter(|count| **count == members).count()
    }

    /// How many members there are in the view of a group at a node.
    pub(super) fn of(&self, node: usize, group: ObjectId) -> Option<usize> {
        self.groups.get(&(node, group)).copied()
    }

    pub(super) fn read(&mut self, record: &Record) {
        match &record.what {
            What::Event(_, Event::Members(MembersEvent::View(view))) => {
                self.whole.insert(record.node, view.members.len());
            }
            What::Event(object, Event::Topic(TopicEvent::View(view))) => {
                self.groups.insert((record.node, *object), view.members.len());
            }
            _ => {}
        }
    }
}

/// What the groupcomm modules of all nodes that run have counted.
#[derive(Clone, Copy, Default)]
pub(super) struct Sent {
    pub(super) datagrams: u64,
    pub(super) messages: u64,
    /// Messages received, or parts of them, of groups that the receiver is in, and of others.
    pub(super) wanted: u64,
    pub(super) unwanted: u64,
}

impl Sent {
    pub(super) fn by(world: &World) -> Self {
        let sum = |name: &str| {
            let nodes = 0..world.nodes();
            nodes.filter_map(|node| world.counts(node)).map(|counts| counts.get(name)).sum()
        };
        Self {
            datagrams: sum("groupcomm.datagrams"),
            messages: sum("groupcomm.messages"),
            wanted: sum("groupcomm.wanted"),
            unwanted: sum("groupcomm.unwanted"),
        }
    }

    pub(super) fn since(self, before: Self) -> Self {
        Self {
            datagrams: self.datagrams - before.datagrams,
            messages: self.messages - before.messages,
            wanted: self.wanted - before.wanted,
            unwanted: self.unwanted - before.unwanted,
        }
    }
}

/// How often the history is read and dropped.
pub(super) const GLANCE: Duration = Duration::from_millis(5);
