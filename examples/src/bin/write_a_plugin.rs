//! A module with a kind of its own: a roll call. Whoever has the object open can call the roll, and
//! hears of everybody else who has it open. It runs in the simulator first, then on sockets; the
//! module does not know which.

use std::collections::BTreeSet;
use std::error::Error;
use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use logo::live_objects::{
    Agreement, Command, Cost, Event, Input, Io, Kind, Lack, Module, NodeId, ObjectId, ObjectType,
    Port, Signal, Spec, Target, Time, Via,
};
use logo::sim::{What, World};
use logo::{Gossip, Node};

/// The module: one a node, for all roll calls that the node has open.
#[derive(Default)]
struct RollCall {
    /// Who is up, as gossip tells.
    peers: BTreeSet<NodeId>,
    open: BTreeSet<ObjectId>,
}

/// What is said, and then of which object.
const CALL: u8 = 0;
const HERE: u8 = 1;

impl RollCall {
    fn call(&self, object: ObjectId, io: &mut Io<'_>) {
        let message = [&[CALL], &object.as_bytes()[..]].concat();
        let peers: Vec<NodeId> = self.peers.iter().copied().collect();
        for peer in peers {
            // A peer that takes no more now is not heard of in this call.
            let _ = io.send(Target::Node(peer), Via::Control, message.clone().into());
        }
    }

    fn hear(&self, from: NodeId, message: &[u8], io: &mut Io<'_>) {
        let Some((&what, object)) = message.split_first() else {
            return io.count("roll.malformed");
        };
        let Ok(object) = object.try_into().map(ObjectId::from_bytes) else {
            return io.count("roll.malformed");
        };
        if !self.open.contains(&object) {
            return;
        }
        match what {
            CALL => {
                let here = [&[HERE], &object.as_bytes()[..]].concat();
                let _ = io.send(Target::Node(from), Via::Control, here.into());
            }
            // Whoever does not listen misses it.
            HERE => drop(io.emit(object, Event::Custom(Bytes::copy_from_slice(from.as_bytes())))),
            _ => io.count("roll.malformed"),
        }
    }
}

impl Module for RollCall {
    fn name(&self) -> &'static str {
        "roll-call"
    }

    fn offers(&self, ty: &ObjectType) -> Result<Cost, Lack> {
        match &ty.kind {
            Kind::Custom(name) if name == "roll" => Ok(Cost { copies: 1, overhead_bytes: 17 }),
            kind => Err(Lack::Kind(kind.clone())),
        }
    }

    fn handle(&mut self, _now: Time, input: Input, io: &mut Io<'_>) {
        match input {
            Input::Open { object, .. } => {
                self.open.insert(object);
                io.emit(object, Event::Opened).expect("an empty queue takes any event");
            }
            Input::Close { object } => {
                self.open.remove(&object);
            }
            Input::Commands { object } => {
                while let Some(taken) = io.take(object, usize::MAX) {
                    io.release(object, taken.message);
                    self.call(object, io);
                }
            }
            Input::Message { from, bytes } => self.hear(from, &bytes, io),
            Input::Signal(Signal::Alive(member)) => {
                self.peers.insert(member.node);
            }
            Input::Signal(Signal::Faulty(member) | Signal::Left(member)) => {
                self.peers.remove(&member.node);
            }
            Input::Stop => io.stopped(),
            _ => {}
        }
    }

    fn finish(&mut self, _now: Time, _io: &mut Io<'_>) {}

    fn next_wake(&self) -> Option<Time> {
        None
    }
}

fn roll() -> Spec {
    let name = "/class/roll".parse().expect("it is a name");
    Spec::new(name, ObjectType::custom("roll", Agreement::Eventual))
}

/// Five simulated nodes; the same seed gives the same story, always.
fn simulated() -> usize {
    let mut world =
        World::new(7, 5, |_| vec![Box::new(Gossip::default()), Box::<RollCall>::default()]);
    world.start_all();
    let opened = |node| world.open(node, roll()).expect("a module carries it");
    let [object, ..] = [0, 1, 2, 3, 4].map(opened);
    world.run(Duration::from_secs(5));
    world.send(0, object, Command::Custom(Bytes::new())).expect("there is room");
    world.run(Duration::from_secs(1));
    let heard = |what: &What| matches!(what, What::Event(_, Event::Custom(_)));
    world.history().iter().filter(|record| heard(&record.what)).count()
}

/// Three nodes on sockets of this machine.
async fn on_sockets() -> Result<usize, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let mut nodes: Vec<(Node, Port)> = Vec::new();
    for _ in 0..3 {
        let folder = folder.path().join("class");
        let node = Node::local_at(&folder, vec![Box::<RollCall>::default()]).await?;
        let port = node.open_port(roll()).await?;
        nodes.push((node, port));
    }
    let (_, port) = &nodes[0];
    let mut present = BTreeSet::new();
    while present.len() < 2 {
        port.try_send(Command::Custom(Bytes::new()))?;
        let answers = async {
            while let Some(event) = poll_fn(|context| port.poll_next(context)).await {
                if let Event::Custom(who) = event {
                    present.insert(who);
                }
            }
        };
        let _ = tokio::time::timeout(Duration::from_millis(500), answers).await;
    }
    Ok(present.len())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (simulated, on_sockets) = (simulated(), on_sockets().await?);
    println!("in the simulator {simulated} of 4 answered, on sockets {on_sockets} of 2");
    if (simulated, on_sockets) == (4, 2) { Ok(()) } else { Err("somebody is missing".into()) }
}
