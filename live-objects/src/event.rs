//! What an application tells an object, and what an object tells the application: one small enum a
//! kind, so that a handle need not look at what its kind cannot say.

use core::time::Duration;

use bytes::Bytes;
use thiserror::Error;

use crate::aggregate::{Estimate, Share};
use crate::attributes::Attributes;
use crate::evidence::{Answered, Testimony};
use crate::name::ObjectId;
use crate::nearest::{Load, Near};
use crate::node::{IdPrefix, Member, NodeId};
use crate::object::ObjectType;
use crate::overlay::{Descriptor, Profile, Ranking};
use crate::predicate::Predicate;
use crate::query::Tally;
use crate::soft::Author;
use crate::view::{ClusterId, View};

/// What an application asks of an object. Commands wait in the object's feed until its module takes
/// them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// A command of a plug-in's own kind.
    Custom(Bytes),
    /// Sends a message to all members of a topic.
    Send(Bytes),
    /// Updates a replicated state; a soft one by a delta, which its holder made and has merged.
    Update(Bytes),
    /// Sets this holder's share of an aggregate, in place of all that it was.
    Set(Share),
    /// Adds to this holder's share of an aggregate, and takes it away again after a while.
    Add {
        /// What.
        share: Share,
        /// For how long, to a tenth of it; none to add it for good.
        span: Option<Duration>,
    },
    /// Publishes a value in a directory, in place of what this holder published under the key
    /// before.
    Publish {
        /// Under which key.
        key: Bytes,
        /// What.
        value: Bytes,
    },
    /// Takes back what this holder published under the key.
    Withdraw(Bytes),
    /// Asks for what is published under the key: [`DirectoryEvent::Found`] answers.
    Find(Bytes),
    /// Asks for what is published under keys that begin so: [`DirectoryEvent::Found`] answers.
    List(Bytes),
    /// Offers this node to those who look for the nearest, with this load, in place of what it
    /// offered before.
    Offer(Load),
    /// Takes the offer back.
    Retract,
    /// Asks for the nearest: [`Event::Nearest`] answers at once.
    Rank,
    /// From here on passes over members with too much load for the mean of this aggregate, an
    /// [`Average`](crate::Summary::Average) that this node has open: see [`Near::balance`]. None
    /// passes over nobody.
    Balance(Option<ObjectId>),
    /// Says what this holder of a catalog is, in place of what it said before: nothing, if there
    /// are no attributes.
    Describe(Attributes),
    /// Looks for holders of a catalog by what they are: [`CatalogEvent::Found`] answers.
    Search {
        /// What must be true of what they say of themselves.
        matching: Predicate,
        /// How many to find at most.
        limit: u32,
    },
    /// Takes part in an overlay from here on, in place of where this holder stood before.
    Stand {
        /// Where it stands; none to stand where its node's id says ([`Profile::of_node`]).
        profile: Option<Profile>,
        /// By what rank: the one that the overlay's type names.
        ranking: Ranking,
    },
    /// Asks members what they saw of the node whose id begins so: [`MembersEvent::Evidence`]
    /// answers, or [`MembersEvent::Unclear`].
    Why(IdPrefix),
    /// Asks when members last answered this node, and how fast: [`MembersEvent::Heard`] answers at
    /// once.
    Heard,
    /// Says this of this node, in place of what it said of itself before: nothing, if it is empty.
    SetMetadata(Bytes),
    /// Asks for what a node says of itself: [`MembersEvent::Metadata`] answers.
    Metadata(NodeId),
}

impl Command {
    /// What the command counts for in a byte budget.
    pub(crate) fn cost(&self) -> usize {
        let beside = match self {
            Self::Set(share) | Self::Add { share, .. } => share.size(),
            Self::Describe(attributes) => attributes.size(),
            Self::Search { matching, .. } => matching.size(),
            _ => 0,
        };
        self.len() + beside + OVERHEAD_BYTES
    }

    /// How long it is, in bytes.
    pub(crate) fn len(&self) -> usize {
        let key = if let Self::Publish { key, .. } = self { key.len() } else { 0 };
        key + self.payload().len()
    }

    /// The payload from `offset` on, `bytes_max` bytes at most, and whether that is the last of it.
    pub(crate) fn slice(&self, offset: usize, bytes_max: usize) -> (Self, bool) {
        let end = self.payload().len().min(offset.saturating_add(bytes_max));
        let slice = self.payload().slice(offset..end);
        let last = end == self.payload().len();
        let slice = match self {
            Self::Custom(_) => Self::Custom(slice),
            Self::Send(_) => Self::Send(slice),
            Self::Update(_) => Self::Update(slice),
            Self::Set(_) | Self::Add { .. } => self.clone(),
            Self::Publish { key, .. } => Self::Publish { key: key.clone(), value: slice },
            Self::Withdraw(_) => Self::Withdraw(slice),
            Self::Find(_) => Self::Find(slice),
            Self::List(_) => Self::List(slice),
            Self::Offer(load) => Self::Offer(*load),
            Self::Retract => Self::Retract,
            Self::Rank => Self::Rank,
            Self::Balance(by) => Self::Balance(*by),
            Self::Describe(_) | Self::Search { .. } | Self::Stand { .. } => self.clone(),
            Self::Why(prefix) => Self::Why(*prefix),
            Self::Heard => Self::Heard,
            Self::SetMetadata(_) => Self::SetMetadata(slice),
            Self::Metadata(node) => Self::Metadata(*node),
        };
        (slice, last)
    }

    /// What the command holds: a message, an update, a value, metadata, or the key that it is
    /// about. Of a share, an offer, attributes, a search, a profile or a node, nothing.
    pub const fn payload(&self) -> &Bytes {
        match self {
            Self::Custom(bytes)
            | Self::Send(bytes)
            | Self::Update(bytes)
            | Self::Publish { value: bytes, .. }
            | Self::Withdraw(bytes)
            | Self::Find(bytes)
            | Self::List(bytes)
            | Self::SetMetadata(bytes) => bytes,
            Self::Set(_)
            | Self::Add { .. }
            | Self::Offer(_)
            | Self::Retract
            | Self::Rank
            | Self::Balance(_)
            | Self::Describe(_)
            | Self::Search { .. }
            | Self::Stand { .. }
            | Self::Why(_)
            | Self::Heard
            | Self::Metadata(_) => &NOTHING,
        }
    }
}

/// What an object tells the application.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// The module carries the object from now on.
    Opened,
    /// The object was not opened, and nothing more will be heard of it.
    Refused(Refusal),
    /// The object was closed, not by the application, and nothing more will be heard of it.
    Closed(Closure),
    /// Of an object of kind [`Members`](crate::Kind::Members).
    Members(MembersEvent),
    /// Of an object of a plug-in's own kind.
    Custom(Bytes),
    /// Of an object of kind [`Topic`](crate::Kind::Topic).
    Topic(TopicEvent),
    /// Of an object of kind [`Replicated`](crate::Kind::Replicated).
    Replicated(ReplicatedEvent),
    /// Of an object of kind [`Aggregate`](crate::Kind::Aggregate). One that nobody read yet is
    /// replaced by the next.
    Aggregate(Estimate),
    /// Of an object of kind [`Directory`](crate::Kind::Directory).
    Directory(DirectoryEvent),
    /// Of an object of kind [`Nearest`](crate::Kind::Nearest): the best of those who offer
    /// themselves, as far as this node knows, the best first, without this node. One that nobody
    /// read yet is replaced by the next.
    Nearest(Vec<Near>),
    /// Of an object of kind [`Catalog`](crate::Kind::Catalog).
    Catalog(CatalogEvent),
    /// Of an object of kind [`Overlay`](crate::Kind::Overlay) in which this node stands. One that
    /// nobody read yet is replaced by the next.
    Neighbours {
        /// This node, and where it stands.
        me: Descriptor,
        /// Its neighbours as far as it knows, the first the most.
        neighbours: Vec<Descriptor>,
    },
    /// Of an object of kind [`Query`](crate::Kind::Query): what this node knows of its answer. One
    /// that nobody read yet is replaced by the next.
    Query(Tally),
}

impl Event {
    /// What the event counts for in a byte budget.
    pub(crate) fn cost(&self) -> usize {
        OVERHEAD_BYTES
            + match self {
                Self::Members(MembersEvent::Roster(members)) => size_of_val(members.as_slice()),
                Self::Members(MembersEvent::Evidence { testimonies, .. }) => {
                    testimonies.iter().map(Testimony::size).sum()
                }
                Self::Members(MembersEvent::Heard { answers, .. }) => {
                    size_of_val(answers.as_slice())
                }
                Self::Members(MembersEvent::Metadata { metadata, .. }) => {
                    metadata.as_ref().map_or(0, Bytes::len)
                }
                Self::Members(MembersEvent::Unclear { candidates, .. }) => {
                    size_of_val(candidates.as_slice())
                }
                Self::Members(MembersEvent::View(view))
                | Self::Topic(TopicEvent::View(view))
                | Self::Replicated(ReplicatedEvent::View(view)) => {
                    size_of_val(view.members.as_slice())
                }
                Self::Custom(bytes)
                | Self::Topic(TopicEvent::Message { bytes, .. })
                | Self::Replicated(
                    ReplicatedEvent::Update { bytes, .. }
                    | ReplicatedEvent::Restore { bytes, .. }
                    | ReplicatedEvent::Merge { delta: bytes },
                ) => bytes.len(),
                Self::Directory(DirectoryEvent::Found { listings, .. }) => {
                    let len = |listing: &Listing| {
                        size_of::<Listing>() + listing.key.len() + listing.value.len()
                    };
                    listings.iter().map(len).sum()
                }
                Self::Catalog(CatalogEvent::Found { holders, .. }) => {
                    let len = |one: &Described| size_of::<Described>() + one.attributes.size();
                    holders.iter().map(len).sum()
                }
                Self::Aggregate(estimate) => estimate.size(),
                Self::Nearest(all) => size_of_val(all.as_slice()),
                Self::Neighbours { neighbours, .. } => size_of_val(neighbours.as_slice()),
                Self::Query(tally) => tally.size(),
                Self::Opened
                | Self::Refused(_)
                | Self::Closed(_)
                | Self::Members(_)
                | Self::Topic(_)
                | Self::Replicated(_) => 0,
            }
    }

    /// Whether it says all that `earlier` says, and more lately.
    pub(crate) const fn replaces(&self, earlier: &Self) -> bool {
        matches!(
            (self, earlier),
            (Self::Aggregate(_), Self::Aggregate(_))
                | (Self::Nearest(_), Self::Nearest(_))
                | (Self::Neighbours { .. }, Self::Neighbours { .. })
                | (Self::Query(_), Self::Query(_))
        )
    }
}

/// Why an object was not opened.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Refusal {
    /// The name belongs to an object of another type, which somebody has open.
    #[error(
        "the name is taken by an object of type {held}: open it with that type, or choose \
             another name"
    )]
    Held {
        /// The type that the object has.
        held: ObjectType,
    },
    /// No primary partition was reached in time, and only there may a strong object be opened.
    #[error(
        "this node reaches no primary partition: see that the cluster is founded and that most \
             of its members are up, then open the object again"
    )]
    NoPrimary,
}

/// Why an object was closed, not by the application.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Closure {
    /// The application read so slowly that it held up others, for too long.
    #[error(
        "the application read too slowly, and held up those who send to this node: read faster, \
             and open the object again"
    )]
    TooSlow,
    /// Two nodes had opened the name with different types, unseen by each other, and this node's
    /// type gave way: weak types give way to strong ones, and to those of more holders.
    #[error(
        "other nodes have the name open as an object of type {theirs}, and they prevail: open it \
             with that type, or choose another name"
    )]
    TypeConflict {
        /// The type that the name has.
        theirs: ObjectType,
    },
}

/// What a topic tells its members.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TopicEvent {
    /// From now on messages are delivered in this view. Its epoch is higher than that of any view
    /// of this topic before.
    View(View),
    /// This node is in no view any more: it was taken for dead, or too long cut off from most of
    /// the others. It joins again by itself, and misses what is sent meanwhile. What it heard since
    /// its last view may be unknown to the others, and what it sent then and was not told to be
    /// stable is sent again: it may hear that twice.
    Outside,
    /// Most members of the view are believed gone or out of reach. Until they are back, or this
    /// node is in another view, nothing is agreed on: what is sent waits, and what this node knows
    /// may be of the past.
    CutOff,
    /// After [`TopicEvent::CutOff`]: most members are in reach again.
    Reached,
    /// A message.
    Message {
        /// Who sent it.
        from: Member,
        /// If this very handle sent it: which of its commands that was, counted from 0.
        own: Option<u64>,
        /// What was sent.
        bytes: Bytes,
    },
    /// Commands up to and with this one, counted from 0, are held by every member of the view:
    /// whoever of them survives delivers them.
    Stable {
        /// Which command.
        message: u64,
    },
    /// The application read too slowly, and messages of a best-effort topic were dropped for it.
    Lagged {
        /// How many.
        missed: u64,
    },
}

/// What a directory tells who asked it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DirectoryEvent {
    /// What is published: the answer to a [`Command::Find`] or [`Command::List`], or a part of it.
    Found {
        /// To which command, counted from 0.
        command: u64,
        /// What was found, of each part by key and publisher.
        listings: Vec<Listing>,
        /// How much of the answer has been told with this.
        told: Told,
    },
}

/// What a catalog tells who searched it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CatalogEvent {
    /// Who matches: the answer to a [`Command::Search`], or a part of it, as soon as it comes.
    Found {
        /// To which command, counted from 0.
        command: u64,
        /// Who was found. In all parts together each is once.
        holders: Vec<Described>,
        /// How much of the answer has been told with this.
        told: Told,
    },
}

/// A holder of a catalog, as it described itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Described {
    /// Who.
    pub member: Member,
    /// What it says it is.
    pub attributes: Attributes,
}

/// How much of an answer has been told.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Told {
    /// A part: more is to come.
    Part,
    /// All that there is; of a search, no more than it was to find.
    All,
    /// All that there will be, but some may be missing: nobody answered of some who know, or more
    /// would have to be asked than may be.
    Some,
}

/// What a member published in a directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listing {
    /// Under which key.
    pub key: Bytes,
    /// Who.
    pub publisher: Member,
    /// What.
    pub value: Bytes,
}

/// What a replicated state tells its replica, in the order in which the replica must take it in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReplicatedEvent {
    /// From now on updates are made in this view. Its epoch is higher than that of any view of this
    /// object before.
    View(View),
    /// This node is in no view any more: see [`TopicEvent::Outside`]. The state is stale, and is
    /// replaced when this node is back.
    Outside,
    /// Most members of the view are believed gone or out of reach: see [`TopicEvent::CutOff`]. The
    /// state may be stale until they are back.
    CutOff,
    /// After [`ReplicatedEvent::CutOff`]: most members are in reach again.
    Reached,
    /// Begin with the type's initial state: nobody who lives holds another.
    Founded,
    /// A piece of the state, in which is all that was told before its first piece. What is told
    /// after the last piece is not.
    Restore {
        /// Where in the state the piece begins, in bytes. 0 begins anew.
        offset: u64,
        /// The piece.
        bytes: Bytes,
        /// Whether it is the last.
        last: bool,
    },
    /// Keep a snapshot of the state as it is now ([`Port::freeze`](crate::Port::freeze)) under this
    /// number, for members that joined.
    Freeze {
        /// Which cut this is.
        cut: u64,
    },
    /// An update to apply.
    Update {
        /// Who made it.
        from: Member,
        /// If this very handle made it: which of its commands that was, counted from 0.
        own: Option<u64>,
        /// What was given.
        bytes: Bytes,
    },
    /// Commands up to and with this one, counted from 0, and their order, are held by every member
    /// of the view: whoever of them survives has applied or will apply them in this order.
    Stable {
        /// Which command.
        message: u64,
    },
    /// Of a soft state, first: as whom this holder writes from then on. It is told another author
    /// if somebody spoke in the name of this one.
    Joined {
        /// The author of all that it writes.
        author: Author,
    },
    /// Of a soft state: what is new in it, to be [merged](crate::soft::Store::merge).
    Merge {
        /// A [delta](crate::soft::Store), as it is written.
        delta: Bytes,
    },
}

/// Who is in the cluster, as this node believes. Between two rosters the others are changes to
/// them: applied in order they give what this node believes now. With eventual agreement that is
/// all members of a cluster of up to ten thousand; of a larger one it is those whom this node
/// watches.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MembersEvent {
    /// Everybody who is up, this node included. The first event, and again whenever the reader was
    /// too slow to be told of every change.
    Roster(Vec<Member>),
    /// A node came up, or came back in a new incarnation.
    Up(Member),
    /// A member does not answer. It still counts as up.
    Suspect(Member),
    /// A suspected member answered after all.
    Cleared(Member),
    /// A member is gone.
    Down(Member, Departure),
    /// Of an object that agrees on views: this view is installed. It holds for all its members.
    View(View),
    /// Of an object that agrees on views: this node is in no view any more. It was taken for dead,
    /// or too long cut off from most of the others, and joins again by itself.
    Outside,
    /// Of an object that agrees on views: this node is in a cluster that was founded apart from
    /// the one that this application is in. They stay apart until one of them is stopped.
    ForeignCluster(ClusterId, NodeId),
    /// What members saw of a node: the answer to a [`Command::Why`], or a part of it, as it comes.
    Evidence {
        /// To which command, counted from 0.
        command: u64,
        /// Of which node.
        about: NodeId,
        /// What they tell, those who saw nothing included. In all parts together each is once.
        testimonies: Vec<Testimony>,
        /// How much of the answer has been told with this.
        told: Told,
    },
    /// No node that this node knows of begins as a [`Command::Why`] says, or more than one does.
    Unclear {
        /// Which command, counted from 0.
        command: u64,
        /// Some of those that do; if none does, some of those that begin most like that.
        candidates: Vec<NodeId>,
    },
    /// When members last answered probes of this node: the answer to a [`Command::Heard`].
    Heard {
        /// To which command, counted from 0.
        command: u64,
        /// Whoever answered lately and is up, by id.
        answers: Vec<(NodeId, Answered)>,
    },
    /// A member says something else of itself than before, or nothing more: [`Command::Metadata`]
    /// asks what.
    MetadataChanged(Member),
    /// What a node says of itself: the answer to a [`Command::Metadata`].
    Metadata {
        /// To which command, counted from 0.
        command: u64,
        /// Which node.
        about: NodeId,
        /// What it says; none if it says nothing, or is not up as far as this node knows.
        metadata: Option<Bytes>,
        /// [`Told::Some`] if it says something that did not get here in time.
        told: Told,
    },
}

impl MembersEvent {
    /// To which command it is an answer, counted from 0; none if it tells of a change.
    pub const fn answers(&self) -> Option<u64> {
        match self {
            Self::Evidence { command, .. }
            | Self::Unclear { command, .. }
            | Self::Heard { command, .. }
            | Self::Metadata { command, .. } => Some(*command),
            Self::Roster(_)
            | Self::Up(_)
            | Self::Suspect(_)
            | Self::Cleared(_)
            | Self::Down(..)
            | Self::View(_)
            | Self::Outside
            | Self::MetadataChanged(_)
            | Self::ForeignCluster(..) => None,
        }
    }
}

/// How a member went.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Departure {
    /// It said good-bye.
    Left,
    /// It stopped answering, and did not object to being suspected.
    Failed,
    /// It may be well, but this node does not watch it any more: of a cluster of very many a node
    /// watches its neighbours and a few others, and this one is none of them now.
    Unwatched,
}

static NOTHING: Bytes = Bytes::new();

/// What a queued command or event takes beside its payload.
const OVERHEAD_BYTES: usize = 64;
