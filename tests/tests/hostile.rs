//! Stories of clusters in which some say what they should not: a parrot, which repeats what it
//! hears to whoever is there, as it was or damaged. That needs no knowledge of what anything means.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use gossip::Gossip;
use live_objects::{
    Command, Cost, Event, Input, Io, Lack, Module, Name, NodeId, ObjectId, ObjectType, Share, Spec,
    Summary, Target, Time, Via,
};
use live_objects_sim::{Network, World};

/// Gossip that repeats what it hears.
#[derive(Default)]
struct Parrot {
    gossip: Gossip,
    heard: VecDeque<Bytes>,
    peers: Vec<NodeId>,
    said: usize,
}

impl Parrot {
    /// Something that it heard, in turns as it was, with another byte, and cut short.
    fn next(&mut self) -> Option<(NodeId, Bytes)> {
        self.said += 1;
        let at = self.said * 7;
        let to = *self.peers.get(at % self.peers.len().max(1))?;
        let mut body = self.heard.get(at % self.heard.len().max(1))?.to_vec();
        let place = at % body.len().max(1);
        match self.said % 4 {
            0 => body.truncate(place),
            1 => body.iter_mut().skip(place).take(1).for_each(|byte| *byte ^= 1 << (at % 8)),
            _ => {}
        }
        Some((to, body.into()))
    }
}

impl Module for Parrot {
    fn name(&self) -> &'static str {
        self.gossip.name()
    }

    fn offers(&self, ty: &ObjectType) -> Result<Cost, Lack> {
        self.gossip.offers(ty)
    }

    fn handle(&mut self, now: Time, input: Input, io: &mut Io<'_>) {
        if let Input::Datagram { from, bytes } = &input {
            self.heard.push_back(bytes.clone());
            if self.heard.len() > HEARD_MAX {
                self.heard.pop_front();
            }
            if !self.peers.contains(from) {
                self.peers.push(*from);
            }
        }
        self.gossip.handle(now, input, io);
    }

    fn finish(&mut self, now: Time, io: &mut Io<'_>) {
        self.gossip.finish(now, io);
        for _ in 0..SAID_A_STEP {
            if let Some((to, body)) = self.next() {
                let is_sent = io.send(Target::Node(to), Via::Datagram, body);
                assert!(is_sent.is_ok(), "datagrams always have room");
            }
        }
    }

    fn next_wake(&self) -> Option<Time> {
        self.gossip.next_wake()
    }
}

fn told(world: &World, node: usize, object: ObjectId) -> (Option<f64>, u64) {
    let estimates = crate::told(world, node, object, 0).filter_map(|(_, event)| match event {
        Event::Aggregate(estimate) => Some((estimate.value, estimate.members)),
        _ => None,
    });
    estimates.last().expect("who opened it was told")
}

/// Of twenty two repeat all that they hear. The others are in nobody's way, know each other, and
/// come to the right sum; and so they do when the two are gone.
#[test]
fn parrots_deceive_nobody() {
    for seed in crate::seeds(1) {
        let honest = 18;
        let mut world = World::new(seed, honest + 2, move |node| {
            let module: Box<dyn Module> =
                if node < honest { Box::new(Gossip::default()) } else { Box::<Parrot>::default() };
            vec![module]
        });
        world.set_network(Network::LAN.with_loss(0.02));
        let object = "/load".parse::<Name>().expect("a name").id();
        for node in 0..honest + 2 {
            world.start(node);
            let name = "/load".parse().expect("a name");
            let spec = Spec::new(name, ObjectType::aggregate(Summary::Sum));
            world.open(node, spec).expect("gossip carries it");
            let set = Command::Set(Share::new((1 << (node % 20)).into()).expect("it is finite"));
            world.send(node, object, set).expect("the feed is empty");
        }
        let sum = |nodes: usize| {
            let sum = (0..nodes).map(|node| f64::from(1 << (node % 20))).sum();
            (Some(sum), nodes as u64)
        };
        world.run(Duration::from_secs(40));
        for node in 0..honest {
            let counts = world.counts(node).expect("it runs");
            assert!(counts.get("gossip.malformed") > 0 && counts.get("gossip.unsolicited") > 0);
        }
        (honest..honest + 2).for_each(|parrot| world.crash(parrot));
        world.run(Duration::from_secs(30));
        for node in 0..honest {
            assert_eq!(told(&world, node, object), sum(honest), "node {node} of {world:?}");
        }
    }
}

/// How much a parrot remembers, and says whenever it has something to do.
const HEARD_MAX: usize = 256;
const SAID_A_STEP: usize = 3;
