//! The foundation of LO/GO: live objects, and the contract of the modules that carry them.
//!
//! An application opens a *live object* by name and type. The type says what the object promises;
//! the [`Stack`] of the node finds the cheapest [`Module`] that keeps the promise and hands the
//! object to it. What the application says to the object and hears from it goes through a [`Port`].
//!
//! **Guarantees.** Nothing here does I/O, reads a clock, draws ambient chance or waits: a stack
//! given the same arrivals at the same times does the same. Every queue is bounded in bytes. Input
//! from the network never panics; what cannot be read is counted and dropped.
//!
//! **Not here.** Protocols (the crates `gossip` and those beside it) and drivers: the simulated one
//! is `live-objects-sim`, which is also where to try a module of one's own.
//!
//! ```
//! use live_objects::{Agreement, Name, ObjectType, OpenError, Rng, Spec, Stack};
//!
//! // A node without modules keeps no promises, and says so.
//! let mut stack = Stack::new(Vec::new(), &Rng::from_seed([7; 32])).unwrap();
//! let name: Name = "/shop/members".parse().unwrap();
//! let refused = stack.open(Spec::new(name, ObjectType::members(Agreement::Eventual)));
//! assert!(matches!(refused, Err(OpenError::NoModule { .. })));
//! ```
//!
//! **Reading order.** `name`, `property`, `schema`, `object`: what an object is. `schema/shape`,
//! `schema/flat`, `schema/live`, `schema/json`: what messages are made of, how that is sent, which
//! types know it, and how to do without them. `module`: the contract. `stack`, `stack/round`,
//! `stack/io`: how inputs find their module, whose turn it is, and what a module may do. `port`,
//! `feed`, `doorbell`, `budget`: where applications meet the node's loop. `poster`, `disk`: what a
//! module has done beside it. `replica`, `replica/snapshot`, `replica/restore`,
//! `replica/collections`: what an application's replicated state is, and how one member gets it
//! from another. `soft` and the files below it: states without an order, which all merge.
//! `aggregate`: shares summed up over all nodes; `sketch` and the files below it: what sums up many
//! values in few bytes. `attributes`, `predicate`: what holders say of themselves, and what is
//! asked for. `query`, `query/pattern`, `query/tally`: what is asked of all of them, and answered.
//! `overlay`, `overlay/ranks`: who has whom for a neighbour. `envelope`: what goes over the wire.

mod aggregate;
mod attributes;
mod budget;
mod count;
mod disk;
mod doorbell;
mod envelope;
mod event;
mod evidence;
mod feed;
mod module;
mod name;
mod nearest;
mod node;
mod object;
pub mod overlay;
mod port;
mod poster;
mod predicate;
mod property;
mod query;
mod replica;
mod rng;
mod schema;
mod signal;
pub mod sketch;
pub mod soft;
mod stack;
mod time;
pub mod varint;
mod view;

pub use aggregate::{Estimate, NotFinite, Share, Summary};
pub use attributes::{AttributeError, Attributes, Scalar};
pub use budget::Budget;
pub use count::Counts;
pub use disk::{Disk, DiskAct, DiskBusy, DiskError, DiskWork, Tag};
pub use envelope::{Envelope, EnvelopeError, ModuleTag};
pub use event::{
    CatalogEvent, Closure, Command, Departure, Described, DirectoryEvent, Event, Listing,
    MembersEvent, Refusal, ReplicatedEvent, Told, TopicEvent,
};
pub use evidence::{Answered, Evidence, Finding, Silence, Testimony};
pub use feed::Taken;
pub use module::{
    CREDENTIAL_BYTES_MAX, Cost, Down, Full, Input, Lack, Link, Module, Start, Target, Via,
};
pub use name::{Name, NameError, ObjectId};
pub use nearest::{Load, Near, NoLoad};
pub use node::{IdPrefix, IdPrefixError, Incarnation, Member, NodeId};
pub use object::{Kind, ObjectType, Spec};
pub use port::{EventsFull, Port, TrySendError};
pub use poster::{PostError, Poster};
pub use predicate::{Predicate, PredicateError, Relation};
pub use property::{Agreement, Delivery, Order, Properties};
pub use query::{
    Column, Function, Group, GroupKey, Pattern, PatternError, Query, QueryError, Tally,
};
pub use replica::{
    Chunk, Frozen, List, Map, Records, Replica, Replicate, RestoreError, Snapshot, State,
};
pub use rng::Rng;
pub use schema::{
    Field, Fields, JsonError, JsonProblem, Live, Primitive, Schema, SchemaError, SchemaId, Shape,
    Variant,
};
pub use signal::Signal;
pub use stack::{Arrival, Driver, Io, LoadError, OpenError, Stack};
pub use time::Time;
pub use view::{ClusterId, Epoch, View};
