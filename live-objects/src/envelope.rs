//! The envelope of everything that goes from node to node: which version, which module.
//!
//! ```text
//!  0         1           3
//!  +---------+-----------+----------------
//!  | version | module    | the module's own
//!  +---------+-----------+----------------
//! ```
//!
//! The version stays below 0x40: QUIC packets begin at 0x40 or above, so that both can share a port
//! and be told apart by their first byte. Integers on the wire are big-endian, here and everywhere.

use bytes::{Buf, Bytes};
use sha2::{Digest, Sha256};
use thiserror::Error;

/// Which module a message is for: the first two bytes of the SHA-256 hash of the module's name. A
/// stack refuses to load two modules whose tags are the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ModuleTag(u16);

impl ModuleTag {
    /// The tag of the module of this name.
    pub fn of(module: &str) -> Self {
        let hash: [u8; 32] = Sha256::digest(module.as_bytes()).into();
        Self(u16::from_be_bytes([hash[0], hash[1]]))
    }
}

/// What stands before every message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Envelope {
    /// Which module the message is for.
    pub module: ModuleTag,
}

impl Envelope {
    /// Its length on the wire, in bytes.
    pub const LEN: usize = 3;
    /// What a datagram bears beside its envelope when it uses no link: the seal, which is a byte
    /// for its kind, four for its sender, eight for its number and a tag of 16. Whoever counts
    /// bytes or cuts datagrams to size leaves room for it.
    pub const SEAL_LEN: usize = 1 + 4 + 8 + 16;
    /// The version that this build writes.
    pub const VERSION: u8 = 1;

    /// The envelope as it is written to the wire.
    pub const fn to_bytes(self) -> [u8; Self::LEN] {
        let [high, low] = self.module.0.to_be_bytes();
        [Self::VERSION, high, low]
    }

    /// Reads the envelope and leaves what it held in `bytes`.
    pub fn open(bytes: &mut Bytes) -> Result<Self, EnvelopeError> {
        let version = bytes.try_get_u8().map_err(|_| EnvelopeError::Truncated)?;
        if version > Self::VERSION {
            return Err(EnvelopeError::FutureVersion(version));
        }
        if version == 0 {
            return Err(EnvelopeError::Malformed);
        }
        let module = bytes.try_get_u16().map_err(|_| EnvelopeError::Truncated)?;
        Ok(Self { module: ModuleTag(module) })
    }
}

/// Why a message was dropped unread. The peer's fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum EnvelopeError {
    /// Shorter than an envelope.
    #[error("shorter than an envelope")]
    Truncated,
    /// No version of the envelope begins so.
    #[error("not an envelope")]
    Malformed,
    /// Written by a build newer than this one.
    #[error("version {0} of the envelope: the newest known here is {max}", max = Envelope::VERSION)]
    FutureVersion(u8),
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn golden_bytes() {
        let envelope = Envelope { module: ModuleTag::of("gossip") };
        assert_eq!(envelope.to_bytes(), [1, 221, 115]);
    }

    #[test]
    fn a_future_version_is_named() {
        let mut bytes = Bytes::from_static(&[2, 0, 0, 9]);
        assert_eq!(Envelope::open(&mut bytes), Err(EnvelopeError::FutureVersion(2)));
    }

    proptest! {
        #[test]
        fn reads_what_it_wrote(module in any::<u16>(), body: Vec<u8>) {
            let envelope = Envelope { module: ModuleTag(module) };
            let mut bytes = Bytes::from([&envelope.to_bytes()[..], &body].concat());
            prop_assert_eq!(Envelope::open(&mut bytes), Ok(envelope));
            prop_assert_eq!(bytes, Bytes::from(body));
        }

        #[test]
        fn never_panics(bytes: Vec<u8>) {
            let _ = Envelope::open(&mut Bytes::from(bytes));
        }
    }
}
