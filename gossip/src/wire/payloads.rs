//! The messages of payloads, over links. They are laid out by hand: most of one is a piece, which
//! is not to be taken apart byte by byte.
//!
//! ```text
//!  tag 44, need:    node [16], incarnation [16], number u64, offset u32, accepts u8
//!                   (0 pieces alone, 1 a later too)
//!  tag 45, piece:   node [16], incarnation [16], number u64, offset u32, bytes to the end
//!  tag 46, later:   node [16], incarnation [16], number u64
//!  tag 47, lacking: node [16], incarnation [16], number u64
//! ```
//!
//! No variant of [`Control`](crate::control::Control) begins so.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use live_objects::{Incarnation, Member, NodeId};

use super::{PacketError, take_array};
use crate::news::{MessageId, PAYLOAD_LEN_MAX};
use crate::payloads::Accepts;

/// What two say to each other of a payload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Supply {
    /// Send me this payload from here on; at its end, send me no more.
    Need { id: MessageId, offset: usize, accepts: Accepts },
    /// A piece of it.
    Piece { id: MessageId, offset: usize, bytes: Bytes },
    /// I shall have it, and send it then.
    Later { id: MessageId },
    /// I have it not, or cannot send it.
    Lacking { id: MessageId },
}

impl Supply {
    /// What a piece takes beside its bytes.
    pub(crate) const PIECE_HEAD_LEN: usize = HEAD_LEN + OFFSET_LEN;

    /// Whether a message is one of these.
    pub(crate) fn is_one(bytes: &[u8]) -> bool {
        bytes.first().is_some_and(|tag| (TAG_NEED..=TAG_LACKING).contains(tag))
    }

    /// Writes it.
    pub(crate) fn encode(&self) -> Bytes {
        let (tag, id) = match self {
            Self::Need { id, .. } => (TAG_NEED, id),
            Self::Piece { id, .. } => (TAG_PIECE, id),
            Self::Later { id } => (TAG_LATER, id),
            Self::Lacking { id } => (TAG_LACKING, id),
        };
        let len = if let Self::Piece { bytes, .. } = self { bytes.len() } else { 1 };
        let mut out = BytesMut::with_capacity(Self::PIECE_HEAD_LEN + len);
        out.put_u8(tag);
        out.put_slice(id.origin.node.as_bytes());
        out.put_slice(id.origin.incarnation.as_bytes());
        out.put_u64(id.number);
        if let Self::Need { offset, .. } | Self::Piece { offset, .. } = self {
            out.put_u32(u32::try_from(*offset).expect("no payload is so long"));
        }
        match self {
            Self::Need { accepts, .. } => out.put_u8((*accepts == Accepts::Later).into()),
            Self::Piece { bytes, .. } => out.put_slice(bytes),
            Self::Later { .. } | Self::Lacking { .. } => {}
        }
        out.freeze()
    }

    /// Reads one.
    pub(crate) fn decode(mut bytes: &[u8]) -> Result<Self, PacketError> {
        let bytes = &mut bytes;
        let tag = bytes.try_get_u8()?;
        let node = NodeId::from_bytes(take_array(bytes)?);
        let incarnation = Incarnation::from_bytes(take_array(bytes)?);
        let id = MessageId { origin: Member { node, incarnation }, number: bytes.try_get_u64()? };
        let supply = match tag {
            TAG_NEED => {
                let offset = take_offset(bytes)?;
                let accepts = match bytes.try_get_u8()? {
                    0 => Accepts::Pieces,
                    _ => Accepts::Later,
                };
                Self::Need { id, offset, accepts }
            }
            TAG_PIECE => {
                let offset = take_offset(bytes)?;
                Self::Piece { id, offset, bytes: bytes.copy_to_bytes(bytes.len()) }
            }
            TAG_LATER => Self::Later { id },
            _ => Self::Lacking { id },
        };
        if bytes.is_empty() { Ok(supply) } else { Err(PacketError::Overlong) }
    }
}

fn take_offset(bytes: &mut &[u8]) -> Result<usize, PacketError> {
    let offset = usize::try_from(bytes.try_get_u32()?).unwrap_or(usize::MAX);
    if offset > PAYLOAD_LEN_MAX { Err(PacketError::LongMessage(offset)) } else { Ok(offset) }
}

const TAG_NEED: u8 = 44;
const TAG_PIECE: u8 = 45;
const TAG_LATER: u8 = 46;
const TAG_LACKING: u8 = 47;

const HEAD_LEN: usize = 1 + NodeId::LEN + Incarnation::LEN + 8;
const OFFSET_LEN: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::news::tests::message;
    use crate::wire::tests::hex;
    use proptest::prelude::*;

    fn all(offset: usize, bytes: Bytes) -> [Supply; 5] {
        let id = message(1, 7, b"").id;
        [
            Supply::Need { id, offset, accepts: Accepts::Later },
            Supply::Need { id, offset, accepts: Accepts::Pieces },
            Supply::Piece { id, offset, bytes },
            Supply::Later { id },
            Supply::Lacking { id },
        ]
    }

    proptest! {
        #[test]
        fn reads_what_it_wrote(offset in 0..=PAYLOAD_LEN_MAX, bytes: Vec<u8>) {
            for supply in all(offset, bytes.clone().into()) {
                let written = supply.encode();
                prop_assert!(Supply::is_one(&written));
                if let Supply::Piece { .. } = supply {
                    prop_assert_eq!(written.len(), Supply::PIECE_HEAD_LEN + bytes.len());
                }
                prop_assert_eq!(Supply::decode(&written), Ok(supply));
            }
        }

        #[test]
        fn never_panics(tag in TAG_NEED..=TAG_LACKING, bytes: Vec<u8>) {
            let _ = Supply::decode(&[&[tag][..], &bytes].concat());
        }
    }

    #[test]
    fn golden_bytes() {
        let head = format!("{}{}{:016x}", "10".repeat(16), "01".repeat(16), 7);
        let written = all(300, Bytes::from_static(b"hi")).map(|supply| hex(&supply.encode()));
        let tails = ["0000012c01", "0000012c00", "0000012c6869", "", ""];
        let tags = ["2c", "2c", "2d", "2e", "2f"];
        for ((written, tag), tail) in written.iter().zip(tags).zip(tails) {
            assert_eq!(*written, format!("{tag}{head}{tail}"));
        }
    }

    #[test]
    fn each_fault_has_its_name() {
        let [need, .., later, _] = all(0, Bytes::new()).map(|supply| supply.encode().to_vec());
        assert_eq!(Supply::decode(&need[..need.len() - 1]), Err(PacketError::Truncated));
        assert_eq!(Supply::decode(&[&later[..], &[0]].concat()), Err(PacketError::Overlong));
        let mut far = need;
        far[HEAD_LEN] = 1;
        assert!(matches!(Supply::decode(&far), Err(PacketError::LongMessage(_))));
        assert!(!Supply::is_one(&[11]) && !Supply::is_one(&[]));
    }
}
