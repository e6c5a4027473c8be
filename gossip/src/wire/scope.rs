//! The section of partial views (`view`): which part of the cluster the sender keeps, and a hash of
//! the contacts that it keeps around the receiver.
//!
//! ```text
//!  tag 29, scope: depth u8, contacts u32
//! ```

use bytes::{Buf, BufMut, BytesMut};

use super::{PacketError, SECTION_LEN, put_section};
use crate::entry::Absurd;
use crate::records::affinity::Depth;

/// What the sender keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Scope {
    pub(crate) depth: Depth,
    pub(crate) contacts: u32,
}

impl Scope {
    pub(crate) const SECTION_LEN: usize = SECTION_LEN + LEN;

    pub(super) fn put(self, out: &mut BytesMut) {
        put_section(out, TAG_SCOPE, LEN);
        out.put_u8(self.depth.code());
        out.put_u32(self.contacts);
    }

    pub(super) fn take(body: &mut &[u8]) -> Result<Self, PacketError> {
        let code = body.try_get_u8()?;
        let depth = Depth::from_code(code);
        if depth.code() != code {
            return Err(Absurd::Depth(code).into());
        }
        Ok(Self { depth, contacts: body.try_get_u32()? })
    }
}

pub(super) const TAG_SCOPE: u8 = 29;

const LEN: usize = 1 + 4;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::wire::{Leg, Packet};
    use proptest::prelude::*;

    pub(crate) fn scopes() -> impl Strategy<Value = Scope> {
        let scope = |(code, contacts)| Scope { depth: Depth::from_code(code), contacts };
        (0..=16_u8, any::<u32>()).prop_map(scope)
    }

    #[test]
    fn golden_bytes_and_what_is_refused() {
        let mut packet = Packet::new(Leg::Push);
        packet.scope = Some(Scope { depth: Depth::from_code(8), contacts: 0x0102_0304 });
        let bytes = packet.encode();
        assert_eq!(bytes[bytes.len() - Scope::SECTION_LEN..], [29, 0, 5, 8, 1, 2, 3, 4]);
        let damaged = |at: usize, byte: u8| {
            let mut damaged = bytes.to_vec();
            let from_end = damaged.len() - Scope::SECTION_LEN + at;
            damaged[from_end] = byte;
            Packet::decode(&damaged)
        };
        assert_eq!(damaged(3, 17), Err(Absurd::Depth(17).into()));
        assert_eq!(damaged(2, 4), Err(PacketError::Truncated));
        assert_eq!(Packet::decode(&bytes[..bytes.len() - 1]), Err(PacketError::Truncated));
    }
}
