//! Types of objects, and what an application says when it opens one.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::name::Name;
use crate::property::{Agreement, Order, Properties};

/// What an application sees of an object: which commands it gives and which events it gets.
/// Variants are numbered by position on the wire, so that new ones go last.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Kind {
    /// Who is in the cluster: no commands, events of [`MembersEvent`](crate::MembersEvent).
    Members,
    /// A kind that a plug-in brings, by the plug-in's own name for it: commands and events are
    /// bytes which the module and its handles understand.
    Custom(String),
    /// Messages that any holder sends to all: commands are [`Command::Send`](crate::Command::Send),
    /// events [`TopicEvent`](crate::TopicEvent).
    Topic,
    /// A state that every holder has a copy of: commands are
    /// [`Command::Update`](crate::Command::Update), events
    /// [`ReplicatedEvent`](crate::ReplicatedEvent), which a [`Replica`](crate::Replica) takes in.
    Replicated,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Members => f.write_str("Members"),
            Self::Custom(name) => write!(f, "{name} (custom)"),
            Self::Topic => f.write_str("Topic"),
            Self::Replicated => f.write_str("Replicated"),
        }
    }
}

/// The type of an object: its kind and what it promises.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct ObjectType {
    /// What an application sees of it.
    pub kind: Kind,
    /// What it promises.
    pub properties: Properties,
}

impl ObjectType {
    /// The type of an object that tells who is in the cluster.
    pub const fn members(agreement: Agreement) -> Self {
        Self { kind: Kind::Members, properties: Properties::of_agreement(agreement) }
    }

    /// The type of a topic whose messages reach all members of its views.
    pub const fn topic(order: Order) -> Self {
        Self { kind: Kind::Topic, properties: Properties::virtual_synchrony(order) }
    }

    /// The type of a state whose updates all members apply in the same order.
    pub const fn replicated() -> Self {
        Self { kind: Kind::Replicated, properties: Properties::virtual_synchrony(Order::Total) }
    }

    /// The type of an object of a plug-in's own kind.
    pub fn custom(kind: &str, agreement: Agreement) -> Self {
        let properties = Properties::of_agreement(agreement);
        Self { kind: Kind::Custom(kind.to_owned()), properties }
    }
}

impl fmt::Display for ObjectType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with {}", self.kind, self.properties)
    }
}

/// What an application says when it opens an object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Spec {
    /// Which object.
    pub name: Name,
    /// What it is to promise.
    pub ty: ObjectType,
    /// How large its messages are expected to be, in bytes: modules are compared at this size.
    pub message_bytes: usize,
}

impl Spec {
    /// An object whose messages are about as large as most are, 100 bytes.
    pub const fn new(name: Name, ty: ObjectType) -> Self {
        Self { name, ty, message_bytes: 100 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Types go over the wire in postcard's form: a change here is a change of the wire.
    #[test]
    fn golden_bytes() {
        let golden = |ty: ObjectType, bytes: &[u8]| {
            assert_eq!(postcard::to_allocvec(&ty).unwrap(), bytes);
            assert_eq!(postcard::from_bytes(bytes), Ok(ty));
        };
        golden(ObjectType::members(Agreement::Eventual), &[0, 0, 0, 0]);
        golden(ObjectType::members(Agreement::Views), &[0, 1, 0, 0]);
        golden(ObjectType::custom("board", Agreement::Views), b"\x01\x05board\x01\x00\x00");
        golden(ObjectType::topic(Order::Fifo), &[2, 1, 1, 1]);
        golden(ObjectType::replicated(), &[3, 1, 1, 2]);
    }
}
