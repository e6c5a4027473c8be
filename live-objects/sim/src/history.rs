//! What happened in a world, as an outside observer saw it: the ground that checkers stand on.

use std::fmt;

use live_objects::{
    Command, Departure, Epoch, Estimate, Event, Member, MembersEvent, ObjectId, ReplicatedEvent,
    Spec, Time, TopicEvent,
};

use crate::fault::Fault;
use crate::trace::Trace;

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

impl Record {
    /// Adds it to a hash. What it holds of an application's bytes is hashed as it is: writing them
    /// out would take longer than all else.
    pub(crate) fn trace(&self, trace: &mut Trace) {
        trace.time(self.at);
        trace.number(self.node as u64);
        let (object, from, own, bytes) = match &self.what {
            // What a large world tells by the million. Writing it out would take as long as the
            // rest of it does.
            What::Event(object, Event::Members(event)) if trace_members(trace, event) => {
                trace.bytes(object.as_bytes());
                return;
            }
            What::Event(object, Event::Aggregate(Estimate { value, members, age, .. })) => {
                trace.bytes(object.as_bytes());
                trace.number(value.map_or(0, |value| !value.to_bits()));
                trace.number(*members);
                trace.number(age.as_nanos() as u64);
                return;
            }
            What::Command(object, command) => (object, None, None, command.payload()),
            What::Event(
                object,
                Event::Topic(TopicEvent::Message { from, own, bytes })
                | Event::Replicated(ReplicatedEvent::Update { from, own, bytes }),
            ) => (object, Some(from), *own, bytes),
            What::Event(object, Event::Replicated(ReplicatedEvent::Merge { delta })) => {
                (object, None, None, delta)
            }
            What::Event(
                object,
                Event::Replicated(ReplicatedEvent::Restore { offset, bytes, last }),
            ) => (object, None, Some(offset * 2 + u64::from(*last)), bytes),
            other => {
                trace.bytes(format!("{other:?}").as_bytes());
                return;
            }
        };
        trace.bytes(object.as_bytes());
        if let Some(from) = from {
            trace.bytes(from.node.as_bytes());
            trace.bytes(from.incarnation.as_bytes());
        }
        trace.number(own.map_or(0, |own| own + 1));
        trace.bytes(bytes);
    }
}

/// Adds what a membership tells to a hash, if that is who is up, and says whether it did.
fn trace_members(trace: &mut Trace, event: &MembersEvent) -> bool {
    let (tag, members) = match event {
        MembersEvent::Roster(members) => (0, members.as_slice()),
        MembersEvent::Up(member) => (1, std::slice::from_ref(member)),
        MembersEvent::Suspect(member) => (2, std::slice::from_ref(member)),
        MembersEvent::Cleared(member) => (3, std::slice::from_ref(member)),
        MembersEvent::Down(member, Departure::Left) => (4, std::slice::from_ref(member)),
        MembersEvent::Down(member, Departure::Failed) => (5, std::slice::from_ref(member)),
        MembersEvent::Down(member, Departure::Unwatched) => (6, std::slice::from_ref(member)),
        MembersEvent::View(_)
        | MembersEvent::Outside
        | MembersEvent::ForeignCluster(..)
        | MembersEvent::Evidence { .. }
        | MembersEvent::Unclear { .. }
        | MembersEvent::Heard { .. }
        | MembersEvent::MetadataChanged(_)
        | MembersEvent::Metadata { .. } => return false,
    };
    trace.number(tag);
    for member in members {
        trace.bytes(member.node.as_bytes());
        trace.bytes(member.incarnation.as_bytes());
    }
    true
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} node {:>2} {:?}", self.at, self.node, self.what)
    }
}
