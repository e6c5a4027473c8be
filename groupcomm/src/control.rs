//! The messages of the configuration. They are few and small, and go over the control stream,
//! written by serde and postcard. The variants are numbered by position on the wire: new ones go
//! last.

use bytes::Bytes;
use live_objects::{Epoch, Member, NodeId, View};
use serde::{Deserialize, Serialize};

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

    /// Reads one.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, postcard::Error> {
        if bytes.len() > MESSAGE_LEN_MAX {
            return Err(postcard::Error::SerializeBufferFull);
        }
        postcard::from_bytes(bytes)
    }
}

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
    fn long_messages_are_refused() {
        assert!(Control::decode(&vec![0; MESSAGE_LEN_MAX + 1]).is_err());
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
