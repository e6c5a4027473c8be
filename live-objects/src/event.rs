//! What an application tells an object, and what an object tells the application: one small enum a
//! kind, so that a handle need not look at what its kind cannot say.

use bytes::Bytes;

use crate::node::Member;
use crate::view::View;

/// What an application asks of an object. Commands wait in the object's feed until its module takes
/// them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// A command of a plug-in's own kind.
    Custom(Bytes),
}

impl Command {
    /// What the command counts for in a byte budget.
    pub(crate) fn cost(&self) -> usize {
        let Self::Custom(bytes) = self;
        bytes.len() + OVERHEAD_BYTES
    }

    /// The payload from `offset` on, `bytes_max` bytes at most, and whether that is the last of it.
    pub(crate) fn slice(&self, offset: usize, bytes_max: usize) -> (Self, bool) {
        let Self::Custom(bytes) = self;
        let end = bytes.len().min(offset.saturating_add(bytes_max));
        (Self::Custom(bytes.slice(offset..end)), end == bytes.len())
    }

    /// The payload's length in bytes.
    pub(crate) fn len(&self) -> usize {
        let Self::Custom(bytes) = self;
        bytes.len()
    }
}

/// What an object tells the application.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The module carries the object from now on.
    Opened,
    /// Of an object of kind [`Members`](crate::Kind::Members).
    Members(MembersEvent),
    /// Of an object of a plug-in's own kind.
    Custom(Bytes),
}

impl Event {
    /// What the event counts for in a byte budget.
    pub(crate) fn cost(&self) -> usize {
        OVERHEAD_BYTES
            + match self {
                Self::Members(
                    MembersEvent::Roster(members) | MembersEvent::View(View { members, .. }),
                ) => size_of_val(members.as_slice()),
                Self::Custom(bytes) => bytes.len(),
                Self::Opened | Self::Members(_) => 0,
            }
    }
}

/// Who is in the cluster, as this node believes. Between two rosters the others are changes to
/// them: applied in order they give what this node believes now.
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
}

/// How a member went.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Departure {
    /// It said good-bye.
    Left,
    /// It stopped answering, and did not object to being suspected.
    Failed,
}

/// What a queued command or event takes beside its payload.
const OVERHEAD_BYTES: usize = 64;
