//! Group communication: strong and narrow. Who is in, agreed view by view.
//!
//! [`Groupcomm`] is a [`Module`](live_objects::Module) without I/O. The nodes that opened one of
//! its objects are the *configuration* of the cluster: they install the same numbered views in the
//! same order. Whom to doubt it hears from another module of the node, by signals
//! ([`Signal`](live_objects::Signal)); gossip sends them.
//!
//! **Guarantees.** A member is in its own views. Members install the same views in the same order,
//! and there is at most one view an epoch, hence one primary partition: a new view needs a quorum
//! of the last one. Whoever is cut off from a quorum installs nothing until it is back; it is then
//! told that it is outside, and joins again. A leave that is asked for shrinks the view first, if
//! that takes no longer than five seconds.
//!
//! **Not guaranteed.** Nobody is in a view until somebody *founds* the cluster ([`Config::found`]),
//! and a cluster that lost a quorum of its members for good stands still. A view may hold a member
//! that is dead and not yet suspected. Members are trusted not to lie.
//!
//! **Reading order.** `configuration`: the state of a member and how views follow each other.
//! `change`: one change of view, as an instance of Paxos. `control`: what travels. `agent`: the
//! machine that these are parts of.

mod agent;
mod change;
mod config;
mod configuration;
mod control;
mod delivery;
mod founding;
mod groups;
mod live;
mod map;
mod objects;
mod outbox;
mod peers;
mod streams;
mod transfer;
mod wire;

pub use agent::Groupcomm;
pub use config::{Config, Founding, Mutation};
