//! The simulated driver of LO/GO, for its own protocols and for yours.
//!
//! A [`World`] is a set of nodes that run real modules over a simulated network, in virtual time. A
//! test tells it a story and looks at what came of it:
//!
//! ```
//! use std::time::Duration;
//! use live_objects_sim::{Network, World};
//!
//! // Five nodes without modules; put yours in the vector.
//! let mut world = World::new(7, 5, |_node| Vec::new());
//! world.set_network(Network::WAN.with_loss(0.05));
//! world.start_all();
//! world.run(Duration::from_secs(5));
//! world.cut(&[0, 1], &[2, 3, 4]);
//! world.crash(3);
//! world.run(Duration::from_secs(10));
//! world.heal();
//! world.start(3);
//! world.run(Duration::from_secs(5));
//! assert_eq!(world.running().len(), 5);
//! assert!(world.violations().is_empty());
//! ```
//!
//! A module of your own is tried in the same way. This one carries objects of a kind of its own,
//! and shouts what it is told to everybody that it has heard of:
//!
//! ```
//! use std::time::Duration;
//! use live_objects::{
//!     Agreement, Command, Cost, Event, Input, Io, Kind, Lack, Link, Module, NodeId, ObjectId,
//!     ObjectType, Spec, Target, Time, Via,
//! };
//! use live_objects_sim::{What, World};
//!
//! #[derive(Default)]
//! struct Shout {
//!     peers: Vec<NodeId>,
//!     object: Option<ObjectId>,
//! }
//!
//! impl Module for Shout {
//!     fn name(&self) -> &'static str { "shout" }
//!
//!     fn offers(&self, ty: &ObjectType) -> Result<Cost, Lack> {
//!         match &ty.kind {
//!             Kind::Custom(name) if name == "shout" => Ok(Cost { copies: 1, overhead_bytes: 31 }),
//!             kind => Err(Lack::Kind(kind.clone())),
//!         }
//!     }
//!
//!     fn handle(&mut self, _now: Time, input: Input, io: &mut Io<'_>) {
//!         match input {
//!             Input::Start(start) => start.seeds.iter().for_each(|seed| io.dial(*seed)),
//!             Input::Link { peer, link: Link::Up } => self.peers.push(peer),
//!             Input::Open { object, .. } => self.object = Some(object),
//!             Input::Commands { object } => {
//!                 while let Some(taken) = io.take(object, 1_000) {
//!                     let bytes = taken.command.payload().clone();
//!                     io.send(Target::Nodes(&self.peers), Via::Datagram, bytes).unwrap();
//!                     if taken.last {
//!                         io.release(object, taken.message);
//!                     }
//!                 }
//!             }
//!             Input::Datagram { bytes, .. } => {
//!                 // Best effort: what nobody opened, or reads too slowly, is lost.
//!                 let _ = self.object.map(|object| io.emit(object, Event::Custom(bytes)));
//!             }
//!             _ => {}
//!         }
//!     }
//!
//!     fn finish(&mut self, _now: Time, _io: &mut Io<'_>) {}
//!     fn next_wake(&self) -> Option<Time> { None }
//! }
//!
//! let mut world = World::new(7, 3, |_node| vec![Box::new(Shout::default())]);
//! world.start_all(); // the others dial node 0
//! world.run(Duration::from_secs(1));
//! let ty = ObjectType::custom("shout", Agreement::Eventual);
//! let [at_0, ..] = [0, 1, 2].map(|node| {
//!     world.open(node, Spec::new("/yard".parse().unwrap(), ty.clone())).unwrap()
//! });
//! world.run(Duration::from_secs(1));
//! world.send(0, at_0, Command::Custom("hello".into())).unwrap();
//! world.run(Duration::from_secs(1));
//! let heard = |record: &&live_objects_sim::Record| {
//!     record.what == What::Event(at_0, Event::Custom("hello".into()))
//! };
//! assert_eq!(world.history().iter().filter(heard).count(), 2);
//! ```
//!
//! For faults drawn from a seed see [`Nemesis`], for what must hold of a history [`Checker`], for
//! many seeds at once [`swarm()`].
//!
//! **Guarantees.** The seed and the story decide everything: history, counters and hash are the
//! same on every run and on any number of threads. Every byte passes through the codecs. Modules
//! see what they would see on sockets: their own clock, their own part of the truth.
//!
//! Disks that lose their power forget what was not synced, and tear what they half remember.
//!
//! **Not here.** Bandwidth of the network (links have a bounded buffer, datagrams have not), and
//! how long things take on a real processor.
//!
//! **Reading order.** `world`: the story's words and how time passes. `fault`, `history`,
//! `checker`, `swarm`: what is done, seen, checked and counted. `host`, `replica`, `wire`, `ends`,
//! `link`, `network`, `cities`, `clock`, `disk`: a node, its network and its disk.

mod checker;
mod cities;
mod clock;
mod disk;
mod ends;
mod fault;
mod history;
mod host;
mod link;
mod network;
mod replica;
mod site;
mod swarm;
mod trace;
mod wire;
mod world;

pub use checker::{
    Checker, GroupsChecker, MembersChecker, SoftChecker, StatesChecker, ViewsChecker, Violation,
};
pub use cities::Cities;
pub use fault::{Fault, Nemesis};
pub use history::{Record, What};
pub use host::Traffic;
pub use network::{Latency, Network};
pub use swarm::{SeedReport, SwarmReport, swarm};
pub use world::World;
