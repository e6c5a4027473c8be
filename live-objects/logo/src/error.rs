//! What can go wrong for an application, and whose fault it is.

use live_objects::soft::WriteError;
use live_objects::{Closure, Command, Name, NameError, Refusal, RestoreError, TrySendError};
use live_objects_net::{FolderError, NodeError, StartError as NetError};
use thiserror::Error;

use crate::members::MetadataError;

/// Why a node did not start. Nothing runs.
#[derive(Debug, Error)]
pub enum StartError {
    /// The node cannot take part as asked.
    #[error(transparent)]
    Node(#[from] NetError),
    /// The node stopped at once, or no module of it agrees on views.
    #[error("the node takes no part in agreed views: {0}")]
    Seat(#[from] NodeError),
    /// The folder by which nodes of this machine find each other cannot be used.
    #[error("nodes of this user on this machine cannot find each other: {0}")]
    Folder(#[from] FolderError),
    /// What it is to say of itself cannot be said.
    #[error("what the node is to say of itself was not said: {0}")]
    Metadata(#[from] MetadataError),
    /// There is nothing to look at.
    #[error("no node of the cluster {0:?} runs on this machine: start one with `logo node`")]
    NoCluster(String),
}

/// Why an object was not opened. Nothing changed.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum OpenError {
    /// The text is no name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// This node cannot open it.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The name alone does not say enough.
    #[error(transparent)]
    Unknown(#[from] UnknownName),
    /// The module that was to carry it refused.
    #[error("{name}: {refusal}")]
    Refused {
        /// The object's name.
        name: String,
        /// Why.
        refusal: Refusal,
    },
    /// It was closed before it was of any use.
    #[error("{name}: {closure}")]
    Closed {
        /// The object's name.
        name: String,
        /// Why.
        closure: Closure,
    },
    /// The state that the others have cannot be taken over.
    #[error("{name}: the state of the others cannot be restored here: {error}")]
    Broken {
        /// The object's name.
        name: String,
        /// Why.
        error: RestoreError,
    },
    /// The state's own code panicked.
    #[error("{0}: the state's own code panicked while it took in the state of the others")]
    Panicked(String),
    /// The node stopped meanwhile.
    #[error("{0}: the node has stopped")]
    Gone(String),
}

/// Why an object was not opened by its name alone.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum UnknownName {
    /// Nobody that this node has heard of has it open.
    #[error("nobody has {0} open: see what there is with `ls`")]
    Nobody(Name),
    /// It is a state whose code this program does not have.
    #[error("{0} is a replicated state: only a program with its code can hold a copy of it")]
    State(Name),
}

/// Why something was not said to an object, or has no answer. Nothing was sent, but for
/// [`SendError::Unanswered`] and for what was waited for when the object was closed.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum SendError {
    /// There is no room: the object's module takes no faster. Only of calls that do not wait.
    #[error("the object takes no faster: try again later, or use the call that waits")]
    Full,
    /// The object was closed, or the node has stopped.
    #[error("the object is closed")]
    Closed,
    /// It is too long for the object.
    #[error("{bytes} bytes are too long for this object: {bytes_max} at most; send it in pieces")]
    TooLong {
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        bytes_max: usize,
    },
    /// The update was made, by all who hold the state, while this node was cut off from them: what
    /// it was answered is lost.
    #[error("the update was made, but its answer was lost: this node was cut off meanwhile")]
    Unanswered,
    /// It cannot be written as bytes.
    #[error("the message cannot be written as bytes: {0}")]
    Unwritable(String),
    /// This node is not in the primary partition, and only there a state is updated.
    #[error(
        "this node is cut off from the primary partition: the state can be read, and is stale; \
         try again when the node is back"
    )]
    NoPrimary,
}

/// Why a soft state was not updated. Nothing changed.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum UpdateError {
    /// It cannot be made.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// It was not taken.
    #[error(transparent)]
    Send(#[from] SendError),
}

/// Why a replicated state was not read.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum ReadError {
    /// What the others sent of it cannot be taken over, and what was there before is gone.
    #[error("there is no state: what the others sent of it cannot be restored here: {0}")]
    Broken(RestoreError),
    /// The state's own code panicked while it took something in. The object is closed: mend the
    /// code, and open it anew.
    #[error("there is no state: its own code panicked while it took in an update or the state")]
    Panicked,
    /// What the others sent could not be taken over, and is being sent again.
    #[error("there is no state yet: it is being restored; read it later")]
    Restoring,
}

impl From<TrySendError> for SendError {
    fn from(error: TrySendError) -> Self {
        match error {
            TrySendError::Full(_) => Self::Full,
            TrySendError::Closed(_) => Self::Closed,
            TrySendError::TooLong { command, bytes_max } => {
                Self::TooLong { bytes: len(&command), bytes_max }
            }
        }
    }
}

fn len(command: &Command) -> usize {
    let key = if let Command::Publish { key, .. } = command { key.len() } else { 0 };
    key + command.payload().len()
}
