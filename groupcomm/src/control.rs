//! The messages of the configuration. They are few and small, and go over the control stream,
//! written by serde and postcard. The variants are numbered by position on the wire: new ones go
//! last.

use std::collections::BTreeSet;

use bytes::Bytes;
use live_objects::{Epoch, Member, NodeId, View};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The longest message, which bounds what reading one can allocate.
pub(crate) const MESSAGE_LEN_MAX: usize = 64 << 10;

/// The number of an attempt to change a view: the higher one prevails. No two leaders share one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub(crate) struct Ballot {
    pub(crate) round: u32,
    pub(crate) leader: NodeId,
}

/// What goes over a stream.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Control {
    /// This member wants to be in the next view. Passed on to the leader.
    Join(Member),
    /// This member wants not to be in the next view. Passed on to the leader.
    Leave(Member),
    /// Paxos 1a: promise to follow no lower ballot in changing this view.
    Prepare(Epoch, Ballot),
    /// Paxos 1b, with what was accepted before.
    Promise(Epoch, Ballot, Option<(Ballot, Vec<Member>)>),
    /// Paxos 2a: accept that these are the members of the next view.
    Accept(Epoch, Ballot, Vec<Member>),
    /// Paxos 2b.
    Accepted(Epoch, Ballot),
    /// A higher ballot was promised: this one.
    Outbid(Epoch, Ballot),
    /// The view that the sender knows to be installed.
    Told(View),
}

impl Control {
    /// Writes it.
    pub(crate) fn encode(&self) -> Bytes {
        postcard::to_allocvec(self).expect("memory takes every message").into()
    }

    /// Reads one. What no member could have meant is refused here, so that nothing behind it need
    /// think of numbers that run over or of views with a node twice.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > MESSAGE_LEN_MAX {
            return Err(DecodeError::TooLong(bytes.len()));
        }
        let message: Self = postcard::from_bytes(bytes)?;
        if message.is_sane() { Ok(message) } else { Err(DecodeError::Absurd) }
    }

    fn is_sane(&self) -> bool {
        let epoch = |epoch: &Epoch| (1..=NUMBER_MAX).contains(&epoch.number);
        let ballot = |ballot: &Ballot| ballot.round <= ROUND_MAX;
        match self {
            Self::Join(_) | Self::Leave(_) => true,
            Self::Prepare(of, by) | Self::Accepted(of, by) | Self::Outbid(of, by) => {
                epoch(of) && ballot(by)
            }
            Self::Promise(of, by, accepted) => {
                let accepted_is_sane =
                    accepted.as_ref().is_none_or(|(by, members)| ballot(by) && is_sane(members));
                epoch(of) && ballot(by) && accepted_is_sane
            }
            Self::Accept(of, by, members) => epoch(of) && ballot(by) && is_sane(members),
            Self::Told(view) => epoch(&view.epoch) && is_sane(&view.members),
        }
    }
}

/// Whether these can be the members of a view.
fn is_sane(members: &[Member]) -> bool {
    let nodes: BTreeSet<NodeId> = members.iter().map(|member| member.node).collect();
    members.len() <= MEMBERS_MAX && nodes.len() == members.len()
}

/// Why a message was dropped. The peer's fault.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub(crate) enum DecodeError {
    #[error("{0} bytes, {MESSAGE_LEN_MAX} at most")]
    TooLong(usize),
    #[error("not a message: {0}")]
    Malformed(#[from] postcard::Error),
    #[error("a number or a list of members that no view can have")]
    Absurd,
}

/// The most members of a view.
pub(crate) const MEMBERS_MAX: usize = 1_024;
/// Higher than any number of a view, and of an attempt to change one, can honestly become; far
/// enough below what the types hold that counting on is safe.
const NUMBER_MAX: u64 = 1 << 62;
const ROUND_MAX: u32 = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;
    use live_objects::{ClusterId, Incarnation};
    use proptest::prelude::*;

    fn member(byte: u8) -> Member {
        Member {
            node: NodeId::from_bytes([byte; NodeId::LEN]),
            incarnation: Incarnation::from_bytes([byte; Incarnation::LEN]),
        }
    }

    #[test]
    fn golden_bytes() {
        let epoch = Epoch { cluster: ClusterId::from_bytes([9; 16]), number: 300 };
        let ballot = Ballot { round: 1, leader: member(2).node };
        let (nine, two, three) = ([9; 16], [2; 16], [3; 32]);
        let bytes = Control::Accept(epoch, ballot, vec![member(3)]).encode();
        let parts: [&[u8]; 6] = [&[4], &nine, &[172, 2, 1], &two, &[1], &three];
        assert_eq!(bytes, parts.concat());
        assert_eq!(Control::Join(member(3)).encode(), [&[0_u8][..], &three].concat());
    }

    #[test]
    fn what_is_too_long_or_absurd_is_refused() {
        let long = MESSAGE_LEN_MAX + 1;
        assert_eq!(Control::decode(&vec![0; long]), Err(DecodeError::TooLong(long)));
        let absurd = |message: Control| {
            assert_eq!(Control::decode(&message.encode()), Err(DecodeError::Absurd), "{message:?}");
        };
        let epoch = |number| Epoch { cluster: ClusterId::from_bytes([9; 16]), number };
        let ballot = |round| Ballot { round, leader: member(2).node };
        absurd(Control::Told(View { epoch: epoch(u64::MAX), members: vec![member(1)] }));
        absurd(Control::Told(View { epoch: epoch(0), members: vec![member(1)] }));
        absurd(Control::Told(View { epoch: epoch(1), members: vec![member(1), member(1)] }));
        absurd(Control::Prepare(epoch(1), ballot(u32::MAX)));
        absurd(Control::Outbid(epoch(1), ballot(u32::MAX)));
        absurd(Control::Promise(epoch(1), ballot(1), Some((ballot(u32::MAX), vec![]))));
        let node = |n: usize| {
            let mut id = [0; NodeId::LEN];
            id[..8].copy_from_slice(&n.to_be_bytes());
            Member { node: NodeId::from_bytes(id), ..member(1) }
        };
        let many = |count| Control::Accept(epoch(1), ballot(1), (0..count).map(node).collect());
        absurd(many(MEMBERS_MAX + 1));
        assert!(Control::decode(&many(MEMBERS_MAX).encode()).is_ok(), "a full view fits");
    }

    proptest! {
        #[test]
        fn what_can_be_read_is_written_the_same_and_nothing_panics(bytes: Vec<u8>) {
            if let Ok(message) = Control::decode(&bytes) {
                prop_assert_eq!(Control::decode(&message.encode()).unwrap(), message);
            }
        }
    }
}
