//! What of a message is told along the tree: all of it, or, of a long one, what it is known by.
//!
//! A message that does not fit into a packet is *announced*: its length and a hash of it go where
//! short ones go, and who holds the topic pulls the rest, the *payload* (`payloads`). Whoever has
//! the announcement knows what it is to get, from whomever it gets it.
//!
//! Invariant: what is announced is hardly shorter than what is told whole, and no longer than
//! [`PAYLOAD_LEN_MAX`].

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::MESSAGE_BYTES_MAX;

/// The longest message of a topic.
pub(crate) const PAYLOAD_LEN_MAX: usize = 1 << 20;

/// What is told of a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Content {
    /// At most [`MESSAGE_BYTES_MAX`].
    Whole(Bytes),
    Announced(Announcement),
}

/// What a payload is known by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Announcement {
    len: usize,
    hash: [u8; HASH_LEN],
}

impl Content {
    pub(crate) const fn is_announced(&self) -> bool {
        matches!(self, Self::Announced(_))
    }

    /// How long the message is.
    pub(crate) const fn len(&self) -> usize {
        match self {
            Self::Whole(bytes) => bytes.len(),
            Self::Announced(announcement) => announcement.len,
        }
    }

    /// How long what is told of it is, beside its length.
    pub(crate) const fn told_len(&self) -> usize {
        match self {
            Self::Whole(bytes) => bytes.len(),
            Self::Announced(_) => HASH_LEN,
        }
    }
}

impl Announcement {
    /// None if nothing of that length is announced.
    pub(crate) fn new(len: usize, hash: [u8; HASH_LEN]) -> Option<Self> {
        (MESSAGE_BYTES_MAX..=PAYLOAD_LEN_MAX).contains(&len).then_some(Self { len, hash })
    }

    pub(crate) fn of(payload: &[u8]) -> Self {
        Self { len: payload.len(), hash: hash(payload) }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) const fn hash(&self) -> &[u8; HASH_LEN] {
        &self.hash
    }

    /// Whether these bytes are what was announced.
    pub(crate) fn is_of(&self, payload: &[u8]) -> bool {
        *self == Self::of(payload)
    }
}

fn hash(payload: &[u8]) -> [u8; HASH_LEN] {
    let whole: [u8; 32] = Sha256::digest(payload).into();
    whole[..HASH_LEN].try_into().expect("it is a part")
}

/// To find other bytes of the same hash takes 2^128 attempts. Its origin alone could look for two
/// that have the same, and tell them to different nodes, as it could anyway.
const HASH_LEN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_hash() {
        let announcement = Announcement::of(&[7; MESSAGE_BYTES_MAX + 1]);
        assert_eq!(announcement.len(), 1_001);
        assert!(announcement.is_of(&[7; 1_001]) && !announcement.is_of(&[7; 1_000]));
        assert!(!announcement.is_of(&[[7; 1_000].as_slice(), &[8]].concat()));
    }

    #[test]
    fn what_is_short_is_not_announced_and_what_is_longer_than_any_neither() {
        let announced = [0, 999, 1_000, PAYLOAD_LEN_MAX, PAYLOAD_LEN_MAX + 1]
            .map(|len| Announcement::new(len, [0; HASH_LEN]).is_some());
        assert_eq!(announced, [false, false, true, true, false]);
    }
}
