//! Group communication: strong and narrow. Agreed views, messages in order, replicated states.
//!
//! [`Groupcomm`] is a [`Module`](live_objects::Module) without I/O, one agent a node for all its
//! groups. The nodes that opened one of its objects are the *configuration* of the cluster: they
//! install the same numbered views in the same order. A *group* is light: a name, a type and some
//! of those nodes. Groups with nearly the same members share a *region*, a set of nodes in which
//! each has one stream of numbered frames, of whatever group; so thousands of groups cost little
//! more than one. A group whose members change moves from one region to another, which stops
//! nobody; a node that dies is noticed in its own regions and in no others. Whom to doubt the
//! module hears from another module of the node, by signals ([`Signal`](live_objects::Signal));
//! gossip sends them.
//!
//! **Guarantees** (virtual synchrony: Birman and Joseph, SOSP 1987). A member is in its own views
//! (V1). Members install the same views in the same order, in one partition at a time (V2). Those
//! that go from one view to the next have delivered the same messages in the first (V3), each in
//! the view in which it was sent (V4), unaltered and once (V5), in the order that the type names
//! (V6: per sender, or the same for all). What is told to be *stable* is held by every member of
//! the view, with its place in the total order: whoever survives delivers it (V7). Who joins a
//! replicated state begins with the others' state at the cut of its first view (V8). When faults
//! stop, all are in one view again, and all that was accepted from members that live is delivered
//! (V9). A name belongs to the type that it was opened with, for as long as anybody has it open.
//!
//! Whoever is cut off from a quorum of the last view installs nothing until it is back; it is then
//! told that it is outside, and joins again. What it heard in the meantime may be unknown to the
//! others, what it said and was not told to be stable is said again. A leave that is asked for
//! shrinks the view first, if that takes no longer than five seconds.
//!
//! **Not guaranteed.** Nobody is in a view until somebody *founds* the cluster
//! ([`Config::founding`]), and a cluster that lost a quorum of its members for good stands still.
//! States are in memory: what all who held one lost is lost. A view may hold a member that is dead
//! and not yet suspected. Members are trusted not to lie. A reader that stalls holds up whoever
//! sends to its node, until it is closed after half a minute.
//!
//! **Reading order.** Views: `configuration` (a member's state, and how views follow each other),
//! `change` (one change, as an instance of Paxos), `holdings`, `founding`, `peers`. Groups: `map`
//! (who is in which), `cover` (which region each is in), `places`, `live` (how a member lives a
//! change), `groups` (all of them). Messages: `region`, and of each `streams` (frames, repair,
//! stability), `delivery` (the two orders) and `sending` (what becomes of what is said there);
//! `regions` (all of them), `outbox` (what is sent), `post`. States: `transfer`. The machine that
//! these are parts of: `objects`, `agent`. What travels: `wire`, `control`.

mod agent;
mod change;
mod config;
mod configuration;
mod control;
mod cover;
mod delivery;
mod founding;
mod groups;
mod holdings;
mod live;
mod map;
mod objects;
mod outbox;
mod peers;
mod places;
mod post;
mod region;
mod regions;
mod sending;
mod streams;
mod transfer;
mod wire;

pub use agent::Groupcomm;
pub use config::{Config, Founding, Mutation};
pub use control::MEMBERS_MAX;
