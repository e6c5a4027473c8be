//! Evidence: what a member saw of another that was doubted.
//!
//! A verdict on a member is reached by many: one finds that it does not answer and *accuses* it,
//! all others hear of that, and each waits for itself whether it objects (SWIM, DSN 2002, section
//! 4.2). So who wants to know why a member was taken for dead asks several, its accuser above all,
//! and each tells what it saw itself, with how long ago, since nodes have no clock in common.
//!
//! Nobody tells what it was told by others, but for who accused: that travels with a suspicion.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::node::{Member, NodeId};

/// What one member tells of another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Testimony {
    /// Who tells it.
    pub witness: NodeId,
    /// What it saw, the first first.
    pub evidence: Vec<Evidence>,
}

/// Something that was seen of a member.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Evidence {
    /// Of whom, in which life.
    pub member: Member,
    /// How long before it was told.
    pub ago: Duration,
    /// What.
    pub finding: Finding,
}

/// What may be found of a member. Variants are numbered by position on the wire: new ones go last.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Finding {
    /// It was suspected.
    Suspected {
        /// By whom, if that is known: the accuser.
        accuser: Option<NodeId>,
        /// What the accuser had to go by, if whoever tells it is the accuser.
        silence: Option<Box<Silence>>,
    },
    /// It objected: it is alive.
    Refuted,
    /// It did not object in time, and was declared faulty.
    Faulty,
    /// It said good-bye.
    Left,
    /// It came back, by itself or in another life.
    Back,
}

/// A probe that was not answered.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Silence {
    /// How long before it was told the first attempt was made.
    pub since: Duration,
    /// How many attempts were made.
    pub attempts: u8,
    /// Who was asked to probe the member too. None of them had an answer to pass on.
    pub helpers: Vec<NodeId>,
    /// The last answer that the member gave to the accuser before, if that is known.
    pub before: Option<Answered>,
}

/// An answer to a probe.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Answered {
    /// How long before it was told.
    pub ago: Duration,
    /// How long it took, if only one attempt was made.
    pub took: Option<Duration>,
}

impl Testimony {
    /// What it counts for in a byte budget.
    pub(crate) fn size(&self) -> usize {
        let silence = |evidence: &Evidence| match &evidence.finding {
            Finding::Suspected { silence: Some(silence), .. } => {
                size_of::<Silence>() + size_of_val(silence.helpers.as_slice())
            }
            _ => 0,
        };
        size_of::<Self>()
            + size_of_val(self.evidence.as_slice())
            + self.evidence.iter().map(silence).sum::<usize>()
    }
}
