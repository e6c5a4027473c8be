//! Live objects for applications: a node, and typed handles on what it opens.
//!
//! ```no_run
//! use logo::prelude::*;
//!
//! # async fn story() -> Result<(), Box<dyn std::error::Error>> {
//! let node = Node::local("shop").await?;
//! let prices: Topic<String, Total> = node.open("/shop/prices").await?;
//! prices.send(&"a CD is 11.77".to_owned()).await?;
//! println!("{:?}", prices.next_message().await);
//! node.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! **Guarantees.** The guarantee is in the type: `Topic<T, Total>` and `Topic<T, BestEffort>` are
//! different types, a handle cannot do what its type does not promise, and a name that is open with
//! another type is refused. Nothing is called stable that could still be lost against the type's
//! word. Every queue is bounded in bytes: a call that waits waits for room, one that does not says
//! that there is none.
//!
//! **Not here.** How promises are kept (`gossip`, `groupcomm`), sockets (`live-objects-net`).
//!
//! **Reading order.** `node`: where objects are opened. `ready`: when enough others are known.
//! `object`: what a handle is. `topic`, `replicated`, `epidemic`, `members`, `aggregate`,
//! `directory`, `nearest`, `catalog`, `overlay`: the handles. `query` and the files below it, `sql`
//! first: questions in SQL to all who describe themselves. `table`: a state for whoever has none.
//! `names`, `dynamic`: which objects there are, and how to use them without a Rust type. `error`,
//! `channel`: what all share.

mod aggregate;
mod catalog;
mod channel;
mod directory;
mod dynamic;
mod epidemic;
mod error;
mod members;
mod names;
mod nearest;
mod node;
mod object;
mod overlay;
mod query;
mod ready;
mod reference;
mod replicated;
mod table;
#[cfg(test)]
mod tests;
mod topic;

pub use aggregate::{
    Aggregate, Average, Count, Distinct, Highest, Histogram, Max, Min, Numeric, Quantiles, Rate,
    SetError, Sum, Summarize, TopK, Variance, WeightedAverage,
};
pub use catalog::{Catalog, Search, SearchError};
pub use directory::{Directory, FindError, Listing};
pub use dynamic::{Dynamic, DynamicError};
pub use epidemic::Epidemic;
pub use error::{OpenError, ReadError, SendError, StartError, UnknownName, UpdateError};
pub use gossip::Gossip;
pub use groupcomm::{Founding, Groupcomm, MEMBERS_MAX};
pub use live_objects;
pub use live_objects::overlay::{
    Descriptor, KNearest, NoProfile, Profile, Random, Rank, Ring, Tree,
};
pub use live_objects::soft;
pub use live_objects_net::{
    Authority, AuthorityError, Folder, FolderError, Identity, IdentityError, NodeError, RenewError,
};
pub use live_objects_sim as sim;
pub use members::{Agree, Agreed, Eventual, Members, MetadataError, Why, WhyError};
pub use names::Holding;
pub use nearest::{Nearest, OfferError};
pub use node::{Node, Options, Place};
pub use object::Object;
pub use overlay::{Overlay, StandError};
pub use query::{
    Answer, AnswerError, Answers, NoCatalog, Query, QueryError, Rows, RowsError, SqlError,
};
pub use ready::NotReady;
pub use reference::Ref;
pub use replicated::{Reading, Replicated, Strength, Watch};
pub use table::{Table, TableUpdate};
pub use topic::{BestEffort, Fifo, Promise, Topic, TopicEvent, Total};

/// What an application usually needs.
pub mod prelude {
    pub use crate::{
        Aggregate, Agreed, Average, BestEffort, Catalog, Count, Directory, Epidemic, Eventual,
        Fifo, Max, Members, Min, Nearest, Node, Overlay, Ref, Replicated, Ring, Sum, Topic,
        TopicEvent, Total, Tree,
    };
    pub use live_objects::{
        Attributes, Described, Estimate, Frozen, List, Live, Map, Member, Near, Predicate,
        RestoreError, State,
    };
    pub use live_objects_derive::Live;
}
