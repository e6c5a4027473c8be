//! The real driver of LO/GO: what runs a node's [`Stack`](live_objects::Stack) on real sockets.
//!
//! A [`Node`] is one task with the stack of the node, and one UDP port that carries all its links.
//! A link is a QUIC connection between two nodes, made when a message is first sent. Both ends
//! prove who they are ([`Identity`]) and that they belong to the cluster ([`Authority`]). Datagrams
//! to a member whose credential is known need no link: they are sealed for it. While one develops,
//! the nodes of a machine find each other by a [`Folder`].
//!
//! **Guarantees.** Modules see of links what they see in the simulator. Whoever a message is said
//! to be from has the key that its id is the hash of. The loop never waits for a peer, and every
//! queue is bounded in bytes: a peer that does not read costs itself. A node without an identity is
//! not reached from other machines. Keys and certificates change while nodes run ([`Node::renew`]).
//!
//! **Not here.** Protocols. Multicast: each receiver of a datagram is sent its own. Congestion
//! control of datagrams that use no link: whoever sends many of them sees to that.
//!
//! ```
//! use live_objects_net::{Authority, Config, Node};
//!
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let authority = Authority::create();
//! let config = Config {
//!     listen: "127.0.0.1:0".parse().unwrap(),
//!     advertise: Vec::new(),
//!     seeds: Vec::new(),
//!     identity: Some(authority.issue()),
//!     disk: None,
//! };
//! let node = Node::start(config, Vec::new()).await.unwrap();
//! assert_ne!(node.address().port(), 0);
//! node.stop().await;
//! # });
//! ```
//!
//! **Reading order.** `node`: the loop. `wire`: what a step sends by. `links`, `peer`: which
//! connection is the link. `link`, `carry`: one connection, from its dial to its end. `socket`,
//! `seal`, `pairs`, `pair`: datagrams without a connection. `lanes`, `inbox`: what waits.
//! `framing`: messages on a stream. `tls`, `identity`, `authority`, `credential`, `revocation`,
//! `turn`: who may. `folder`: nodes of one machine. `disk`: what modules keep.

mod authority;
mod carry;
mod clock;
mod credential;
mod disk;
mod folder;
mod framing;
mod identity;
mod inbox;
mod lanes;
mod link;
mod links;
mod node;
mod pair;
mod pairs;
mod peer;
mod private;
mod revocation;
mod seal;
mod socket;
mod tally;
#[cfg(test)]
mod tests;
mod tls;
mod turn;
mod wire;

pub use authority::{Authority, AuthorityError};
pub use disk::DiskFolderError;
pub use folder::{Entry, Folder, FolderError, Presence};
pub use identity::{Identity, IdentityError};
pub use links::RenewError;
pub use node::{Config, Node, NodeError, StartError};
pub use tls::CertificateError;
