//! Types of objects, and what an application says when it opens one.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::aggregate::Summary;
use crate::name::Name;
use crate::property::{Agreement, Order, Properties};
use crate::query::Query;
use crate::schema::SchemaId;

/// What an application sees of an object: which commands it gives and which events it gets.
/// Variants are numbered by position on the wire, so that new ones go last.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Kind {
    /// Who is in the cluster: commands are [`Command::Why`](crate::Command::Why),
    /// [`Command::Heard`](crate::Command::Heard), [`Command::Metadata`](crate::Command::Metadata)
    /// and [`Command::SetMetadata`](crate::Command::SetMetadata), where no views are agreed on,
    /// events of [`MembersEvent`](crate::MembersEvent).
    Members,
    /// A kind that a plug-in brings, by the plug-in's own name for it: commands and events are
    /// bytes which the module and its handles understand.
    Custom(String),
    /// Messages that any holder sends to all: commands are [`Command::Send`](crate::Command::Send),
    /// events [`TopicEvent`](crate::TopicEvent).
    Topic,
    /// A state that every holder has a copy of: commands are
    /// [`Command::Update`](crate::Command::Update), events
    /// [`ReplicatedEvent`](crate::ReplicatedEvent), which a [`Replica`](crate::Replica) takes in
    /// or, of a soft state, a [`Holder`](crate::soft::Holder).
    Replicated,
    /// What sums up the shares of all holders: commands are [`Command::Set`](crate::Command::Set)
    /// and [`Command::Add`](crate::Command::Add), events [`Estimate`](crate::Estimate)s, of which
    /// an application that reads late gets the last alone.
    Aggregate(Summary),
    /// Values by key, each its publisher's own: commands are
    /// [`Command::Publish`](crate::Command::Publish) and those beside it, events
    /// [`DirectoryEvent`](crate::DirectoryEvent).
    Directory,
    /// The nearest of those who offer themselves: commands are
    /// [`Command::Offer`](crate::Command::Offer) and those beside it, events lists of
    /// [`Near`](crate::Near), of which an application that reads late gets the last alone.
    Nearest,
    /// Holders by what they say of themselves: commands are
    /// [`Command::Describe`](crate::Command::Describe) and
    /// [`Command::Search`](crate::Command::Search), events [`CatalogEvent`](crate::CatalogEvent).
    Catalog,
    /// Who has whom for a neighbour, by the [`Rank`](crate::overlay::Rank) of this name: commands
    /// are [`Command::Stand`](crate::Command::Stand), events
    /// [`Event::Neighbours`](crate::Event::Neighbours), of which an application that reads late
    /// gets the last alone.
    Overlay(String),
    /// What is asked of all who describe themselves in catalogs: no commands, events are
    /// [`Tally`](crate::Tally)s, of which an application that reads late gets the last alone.
    Query(Query),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Members => f.write_str("Members"),
            Self::Custom(name) => write!(f, "{name} (custom)"),
            Self::Topic => f.write_str("Topic"),
            Self::Replicated => f.write_str("Replicated"),
            Self::Aggregate(summary) => summary.fmt(f),
            Self::Directory => f.write_str("Directory"),
            Self::Nearest => f.write_str("Nearest"),
            Self::Catalog => f.write_str("Catalog"),
            Self::Overlay(rank) => write!(f, "Overlay ({rank})"),
            Self::Query(query) => write!(f, "Query of {}", query.pattern()),
        }
    }
}

/// The type of an object: its kind, what it promises, and what its messages are made of.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct ObjectType {
    /// What an application sees of it.
    pub kind: Kind,
    /// What it promises.
    pub properties: Properties,
    /// What its messages, updates or values are made of; none if that is between applications.
    pub schema: Option<SchemaId>,
}

impl ObjectType {
    /// The type of an object that tells who is in the cluster.
    pub const fn members(agreement: Agreement) -> Self {
        Self::new(Kind::Members, Properties::of_agreement(agreement))
    }

    /// The type of a topic whose messages reach all members of its views.
    pub const fn topic(order: Order) -> Self {
        Self::new(Kind::Topic, Properties::virtual_synchrony(order))
    }

    /// The type of a topic whose messages reach most holders, most of the time, in any order.
    pub const fn best_effort_topic() -> Self {
        Self::new(Kind::Topic, Properties::of_agreement(Agreement::Eventual))
    }

    /// The type of a state whose updates all members apply in the same order.
    pub const fn replicated() -> Self {
        Self::new(Kind::Replicated, Properties::virtual_synchrony(Order::Total))
    }

    /// The type of a state that everybody updates at once, and all merge: see
    /// [`soft`](crate::soft).
    pub const fn soft_state() -> Self {
        Self::new(Kind::Replicated, Properties::epidemic())
    }

    /// The type of what sums up the shares of all holders.
    pub const fn aggregate(summary: Summary) -> Self {
        Self::new(Kind::Aggregate(summary), Properties::of_agreement(Agreement::Eventual))
    }

    /// The type of a directory of values by key.
    pub const fn directory() -> Self {
        Self::new(Kind::Directory, Properties::of_agreement(Agreement::Eventual))
    }

    /// The type of an object that finds the nearest of those who offer themselves.
    pub const fn nearest() -> Self {
        Self::new(Kind::Nearest, Properties::of_agreement(Agreement::Eventual))
    }

    /// The type of an object whose holders describe themselves by attributes.
    pub const fn catalog() -> Self {
        Self::new(Kind::Catalog, Properties::of_agreement(Agreement::Eventual))
    }

    /// The type of an object that tells neighbours by the rank of this name.
    pub fn overlay(rank: &str) -> Self {
        Self::new(Kind::Overlay(rank.to_owned()), Properties::of_agreement(Agreement::Eventual))
    }

    /// The type of the object of a query.
    pub const fn query(query: Query) -> Self {
        Self::new(Kind::Query(query), Properties::of_agreement(Agreement::Eventual))
    }

    /// The type of an object of a plug-in's own kind.
    pub fn custom(kind: &str, agreement: Agreement) -> Self {
        Self::new(Kind::Custom(kind.to_owned()), Properties::of_agreement(agreement))
    }

    /// This type, of messages that have this schema.
    pub fn of(self, schema: SchemaId) -> Self {
        Self { schema: Some(schema), ..self }
    }

    /// Whether it is *strong*: its holders agree on who they are, and its name is claimed among
    /// them for certain. A weak object gives way to a strong one of the same name.
    pub const fn is_strong(&self) -> bool {
        matches!(self.properties.agreement, Agreement::Views)
    }

    const fn new(kind: Kind, properties: Properties) -> Self {
        Self { kind, properties, schema: None }
    }
}

impl fmt::Display for ObjectType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        if let Some(schema) = &self.schema {
            write!(f, " of {schema}")?;
        }
        write!(f, " with {}", self.properties)
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
        golden(ObjectType::members(Agreement::Eventual), &[0, 0, 0, 0, 0]);
        golden(ObjectType::members(Agreement::Views), &[0, 1, 0, 0, 0]);
        golden(ObjectType::custom("board", Agreement::Views), b"\x01\x05board\x01\x00\x00\x00");
        golden(ObjectType::best_effort_topic(), &[2, 0, 0, 0, 0]);
        golden(ObjectType::topic(Order::Fifo), &[2, 1, 1, 1, 0]);
        golden(ObjectType::replicated(), &[3, 1, 1, 2, 0]);
        golden(ObjectType::soft_state(), &[3, 0, 2, 0, 0]);
        golden(ObjectType::aggregate(Summary::Max), &[4, 4, 0, 0, 0, 0]);
        golden(ObjectType::aggregate(Summary::Rate), &[4, 11, 0, 0, 0, 0]);
        golden(ObjectType::aggregate(Summary::WeightedAverage), &[4, 13, 0, 0, 0, 0]);
        golden(ObjectType::nearest(), &[6, 0, 0, 0, 0]);
        golden(ObjectType::catalog(), &[7, 0, 0, 0, 0]);
        golden(ObjectType::overlay("ring"), b"\x08\x04ring\x00\x00\x00\x00");
        let schema = SchemaId { name: "Price".to_owned(), version: 2, hash: 3 };
        let directory = ObjectType::directory().of(schema);
        assert_eq!(
            directory.to_string(),
            "Directory of Price version 2 (0000000000000003) with agreement: eventual, delivery: \
             best effort, order: any"
        );
        golden(directory, b"\x05\x00\x00\x00\x01\x05Price\x02\x03");
    }
}
