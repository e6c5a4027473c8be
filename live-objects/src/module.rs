//! The contract between a protocol and whatever drives it.
//!
//! A [`Module`] is one agent a node that carries *all* objects given to it. It is a state machine
//! without I/O: a driver hands it inputs and the time, and it answers through [`Io`] with sends,
//! events and signals. It owns no socket, clock, task, lock or ambient chance, so the same code
//! runs on real sockets and in the deterministic simulator.
//!
//! One *step* is: [`Module::handle`] once for each input of a batch, then [`Module::finish`] once.
//! After each step the driver asks [`Module::next_wake`]; deadlines are pulled, never pushed, so
//! there is nothing to cancel.
//!
//! Nothing in a step ever waits. What a module cannot do now it does not take: commands stay in the
//! object's feed ([`Io::take`]), and the application's `send` waits with them. A peer that takes
//! nothing shows as no [`Io::room`]; an application that reads nothing shows as a refused
//! [`Io::emit`]. In both cases an input tells when to go on. What must wait runs beside the loop:
//! the disk ([`Io::disk`]), or an engine of the module's own ([`Io::poster`]).

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;

use crate::disk::{DiskError, Tag};
use crate::name::ObjectId;
use crate::node::{Member, NodeId};
use crate::object::{Kind, ObjectType, Spec};
use crate::port::Port;
use crate::property::Properties;
use crate::signal::Signal;
use crate::stack::Io;
use crate::time::Time;

/// A protocol that keeps the promises of some types of objects.
pub trait Module: Send {
    /// Its name: letters a to z, digits and hyphens. The same at every node, since peers find it by
    /// a hash of this name, and in every life, since what it keeps on disk is found by it too.
    fn name(&self) -> &'static str;

    /// Whether it keeps all that this type promises and, if so, how dear it is. Of several modules
    /// the cheapest gets the object; of equally cheap ones the first by name.
    fn offers(&self, ty: &ObjectType) -> Result<Cost, Lack>;

    /// The longest command that it takes of an object of this type, in bytes.
    fn command_bytes_max(&self, _ty: &ObjectType) -> usize {
        Port::COMMAND_BYTES_MAX
    }

    /// Takes one input of a step.
    fn handle(&mut self, now: Time, input: Input, io: &mut Io<'_>);

    /// Ends a step: what several inputs caused is done once here, such as one acknowledgement for
    /// many messages. Not called if the step brought this module no input.
    fn finish(&mut self, now: Time, io: &mut Io<'_>);

    /// When it next wants [`Input::Wake`], if nothing else happens before.
    fn next_wake(&self) -> Option<Time>;
}

/// What happens to a module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// The node starts. The first input, once.
    Start(Start),
    /// The application opened an object that this module carries from now on.
    Open {
        /// Which object.
        object: ObjectId,
        /// What was asked for.
        spec: Arc<Spec>,
    },
    /// The application closed an object. Commands not yet taken are gone.
    Close {
        /// Which object.
        object: ObjectId,
    },
    /// An object's feed went from empty to not empty. Said at the edge only.
    Commands {
        /// Which object.
        object: ObjectId,
    },
    /// The application has read what made the last [`Io::emit`] fail.
    Drained {
        /// Which object.
        object: ObjectId,
    },
    /// The replica of an object kept a snapshot for a cut that it was told to freeze:
    /// [`Io::read_frozen`] reads it.
    Frozen {
        /// Which object.
        object: ObjectId,
    },
    /// A datagram: it may have been lost, doubled or overtaken.
    Datagram {
        /// Who sent it; the driver has checked that.
        from: NodeId,
        /// What it holds.
        bytes: Bytes,
    },
    /// A message of a stream, [`Via::Control`] or [`Via::Bulk`]: each of the two is whole and in
    /// order from one [`Link::Up`] to the next [`Link::Down`].
    Message {
        /// Who sent it; the driver has checked that.
        from: NodeId,
        /// What it holds.
        bytes: Bytes,
    },
    /// A link to a peer came up or went down.
    Link {
        /// Which peer.
        peer: NodeId,
        /// What became of it.
        link: Link,
    },
    /// There is room again for bulk messages to a peer to whom [`Io::room`] was 0 or a send failed.
    Room {
        /// Which peer.
        to: NodeId,
    },
    /// Another module of this node has something to tell.
    Signal(Signal),
    /// What engines of this module posted went from nothing to something: [`Io::next_post`] takes
    /// it. Said at the edge only.
    Posted,
    /// The disk did what it was [asked](crate::Disk), or failed.
    Done {
        /// By what the module knows what it asked.
        tag: Tag,
        /// What was read; nothing, of what reads nothing.
        result: Result<Bytes, DiskError>,
    },
    /// The moment that [`Module::next_wake`] asked for has come.
    Wake,
    /// The node is to stop: say good-bye, then call [`Io::stopped`]. Modules are stopped one after
    /// another, the last loaded first.
    Stop,
}

/// What a module needs to know when its node starts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Start {
    /// This node, in this life.
    pub me: Member,
    /// Milliseconds since 1970 by the node's clock, which may be wrong. For numbers that should
    /// grow from one life of a node to the next; never for comparing with another node's.
    pub unix_ms: u64,
    /// Where others reach this node.
    pub addresses: Vec<SocketAddr>,
    /// Where nodes of the cluster may be found. Nobody may be there yet.
    pub seeds: Vec<SocketAddr>,
    /// What this node shows others of itself, so that their drivers can
    /// [send it datagrams](Io::introduce) without a link: at most [`CREDENTIAL_BYTES_MAX`], which
    /// modules pass on and do not read. Empty where the driver has none.
    pub credential: Bytes,
}

/// The longest credential of a node.
pub const CREDENTIAL_BYTES_MAX: usize = 128;

/// What became of a link. After `Down` then `Up` nothing is known of what was in flight.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Link {
    /// Messages can be sent, and those sent before it came up are on their way.
    Up,
    /// Whatever was not yet delivered may be lost. Nothing more is sent until a module sends again.
    Down(Down),
}

/// Why a link is down.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Down {
    /// No address is known for the peer: nothing was sent.
    NoAddress,
    /// The peer does not answer.
    Silent,
    /// The peer closed the link or knows nothing of it: it stopped, or started again.
    Closed,
    /// Nobody had used the link for a while. No evidence against the peer.
    Idle,
}

/// To whom something is sent. A node never hears itself: its own id among `Nodes` is passed over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target<'a> {
    /// One node.
    Node(NodeId),
    /// Each of these nodes.
    Nodes(&'a [NodeId]),
}

impl Target<'_> {
    /// The nodes, in the order given.
    pub const fn nodes(&self) -> &[NodeId] {
        match self {
            Self::Node(node) => core::slice::from_ref(node),
            Self::Nodes(nodes) => nodes,
        }
    }
}

/// How something is sent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Via {
    /// At once and at most once or a few times. To whoever was [introduced](Io::introduce) with a
    /// credential it needs no link, and makes none. At most [`Io::datagram_max`] bytes.
    Datagram,
    /// In order over the peer's link, which is made if there is none. For what is small and urgent.
    Control,
    /// As `Control`, in an order of its own, and never in the way of it. For what is large; ask
    /// [`Io::room`] first.
    Bulk,
}

/// A send had no room: the peer, or the way to it, takes no faster. Nothing was sent to any target.
/// [`Input::Room`] follows for each target that had none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("no room: the peer takes no faster")]
pub struct Full;

/// What a module lacks to carry an object.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Lack {
    /// It does not know the kind.
    #[error("it does not carry objects of kind {0}")]
    Kind(Kind),
    /// It keeps less than the type promises.
    #[error("of this kind it keeps {0}")]
    Properties(Properties),
    /// It keeps more than the type promises, at a price that its holders did not ask to pay.
    #[error("it is for stronger types: {0}")]
    Excess(&'static str),
}

impl Lack {
    /// What a module that keeps so much of an object's kind lacks to carry it, if anything.
    pub fn of(ty: &ObjectType, keeps: Properties) -> Result<(), Self> {
        if keeps.keep(&ty.properties) { Ok(()) } else { Err(Self::Properties(keeps)) }
    }
}

/// How dear it is to carry an object, as bytes on the wire for one message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cost {
    /// How often the message crosses the wire for each node that receives it.
    pub copies: u32,
    /// What goes with each copy, in bytes.
    pub overhead_bytes: u32,
}

impl Cost {
    /// Expected bytes on the wire, for each receiver, of a message of `message_bytes`.
    pub const fn at(self, message_bytes: usize) -> u64 {
        self.copies as u64 * (message_bytes as u64 + self.overhead_bytes as u64)
    }
}
