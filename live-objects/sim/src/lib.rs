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
//! **Guarantees.** The seed and the story decide everything: history, counters and hash are the
//! same on every run and on any number of threads. Every byte passes through the codecs. Modules
//! see what they would see on sockets: their own clock, their own part of the truth.
//!
//! **Not here.** Bandwidth of the network (links have a bounded buffer, datagrams have not), disks,
//! and how long things take on a real processor.
//!
//! **Reading order.** `world`: the story's words and how time passes. `fault`, `history`,
//! `checker`, `swarm`: what is done, seen, checked and counted. `host`, `wire`, `link`, `network`,
//! `clock`: a node and its network.

mod checker;
mod clock;
mod fault;
mod history;
mod host;
mod link;
mod network;
mod site;
mod swarm;
mod trace;
mod wire;
mod world;

pub use checker::{Checker, MembersChecker, Violation};
pub use fault::{Fault, Nemesis};
pub use history::{Record, What};
pub use host::Traffic;
pub use network::{Latency, Network};
pub use swarm::{SeedReport, SwarmReport, swarm};
pub use world::World;
