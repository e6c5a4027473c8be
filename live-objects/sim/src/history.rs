//! What happened in a world, as an outside observer saw it: the ground that checkers stand on.

use std::fmt;

use live_objects::{Command, Epoch, Event, Member, ObjectId, Spec, Time};

use crate::fault::Fault;

/// One thing that happened, at one node.
#[derive(Clone, PartialEq, Debug)]
pub struct Record {
    /// When, on the world's own clock, which no node sees.
    pub at: Time,
    /// At which node, by number. For faults of the network: 0.
    pub node: usize,
    /// What.
    pub what: What,
}

/// What can happen.
#[derive(Clone, PartialEq, Debug)]
pub enum What {
    /// The node started a new life.
    Started(Member),
    /// The node's process was killed.
    Crashed,
    /// The node's process ended after its modules had said good-bye.
    Stopped,
    /// The application opened an object.
    Opened(ObjectId, Spec),
    /// The application closed an object.
    Closed(ObjectId),
    /// The application gave an object a command, which was accepted.
    Command(ObjectId, Command),
    /// The application heard from an object.
    Event(ObjectId, Event),
    /// The state that a replica had come to. Seen at the beginning of a view, or when the replica
    /// has a state in it, and then every so many updates.
    State {
        /// Of which object.
        object: ObjectId,
        /// The last view that the replica was told of.
        epoch: Epoch,
        /// How many updates it took in since the beginning of that view.
        updates: u64,
        /// The state's hash.
        hash: u64,
    },
    /// Something was done to the world.
    Fault(Fault),
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} node {:>2} {:?}", self.at, self.node, self.what)
    }
}
