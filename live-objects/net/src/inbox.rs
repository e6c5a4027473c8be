//! What the tasks of links tell the node's loop, and how much of it may wait.
//!
//! There is one inbox a node. What it holds of messages and datagrams is bounded in bytes: a task
//! that has read a message waits until there is room, so that its peer's flow control fills up and
//! the peer sees no room; a datagram that finds no room is dropped and counted. What came without a
//! connection may be anybody's, and has room of its own: it is in nobody's way. All else is small,
//! and there are at most a few of it a connection.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use live_objects::{Down, NodeId};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::link::{Claim, Connected, Ready};
use crate::tally::Tally;

/// What a task tells the loop.
#[derive(Debug)]
pub(crate) enum Happening {
    /// A dial ended: this is who answered, if anybody did.
    Dialled(Dial, Option<Connected>),
    /// A peer asks that a connection it dialled be the link.
    Claimed(Claim),
    /// A peer agrees that a connection dialled here is the link, or does not.
    Answered(Connection, Result<Ready, Down>),
    /// Messages of one lane, in order.
    Messages(Connection, Vec<Bytes>, Room),
    Datagram(Connection, Bytes, Room),
    /// A packet that is not QUIC's, and from where.
    Sealed(SocketAddr, Bytes, Room),
    /// Lanes that were full have drained to half.
    Drained(Connection),
    /// A connection is gone. What was read from it was told before.
    Lost(Connection, Down),
}

/// Whom a dial was for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Dial {
    /// A node, in the attempt of this number.
    Node(NodeId, u64),
    /// Whoever answers at this address.
    Address(SocketAddr),
}

/// Which connection, of all that this process had, and to whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Connection {
    pub(crate) peer: NodeId,
    pub(crate) number: u64,
}

/// Room in the inbox; given back when dropped.
pub(crate) type Room = OwnedSemaphorePermit;

/// A task's end of the inbox.
#[derive(Clone, Debug)]
pub(crate) struct Outlet {
    sender: UnboundedSender<Happening>,
    room: Arc<Semaphore>,
    sealed_room: Arc<Semaphore>,
    pub(crate) tally: Tally,
}

impl Outlet {
    pub(crate) fn new() -> (Self, UnboundedReceiver<Happening>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let room = Arc::new(Semaphore::new(INBOX_BYTES_MAX));
        let sealed_room = Arc::new(Semaphore::new(SEALED_BYTES_MAX));
        (Self { sender, room, sealed_room, tally: Tally::default() }, receiver)
    }

    pub(crate) fn tell(&self, happening: Happening) {
        // If the loop has ended nobody wants to know.
        let _ = self.sender.send(happening);
    }

    /// Waits for room, then tells. An empty inbox takes messages of any size.
    pub(crate) async fn messages(&self, from: Connection, messages: Vec<Bytes>) {
        let bytes = messages.iter().map(Bytes::len).sum();
        if let Ok(room) = self.room.clone().acquire_many_owned(cost(bytes)).await {
            self.tell(Happening::Messages(from, messages, room));
        }
    }

    pub(crate) fn datagram(&self, from: Connection, bytes: Bytes) {
        match self.room.clone().try_acquire_many_owned(cost(bytes.len())) {
            Ok(room) => self.tell(Happening::Datagram(from, bytes, room)),
            Err(_) => self.tally.add("net.datagram_unread"),
        }
    }

    pub(crate) fn sealed(&self, from: SocketAddr, packet: Bytes) {
        match self.sealed_room.clone().try_acquire_many_owned(cost(packet.len())) {
            Ok(room) => self.tell(Happening::Sealed(from, packet, room)),
            Err(_) => self.tally.add("net.datagram_unread"),
        }
    }

    /// Nothing more is read: whoever waits for room ends.
    pub(crate) fn close(&self) {
        self.room.close();
        self.sealed_room.close();
    }
}

fn cost(bytes: usize) -> u32 {
    let bytes = bytes.saturating_add(OVERHEAD_BYTES).min(INBOX_BYTES_MAX);
    u32::try_from(bytes).expect("the inbox is smaller than that")
}

const INBOX_BYTES_MAX: usize = 8 << 20;
/// Of packets without a connection.
const SEALED_BYTES_MAX: usize = 2 << 20;
/// What a happening takes beside its bytes.
const OVERHEAD_BYTES: usize = 128;
