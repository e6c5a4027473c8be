//! Who is who: nodes, and the lives of their processes.
//!
//! A node's id is derived from its key, so that it survives restarts and cannot be borrowed. A node
//! that starts again is the same node in a new *incarnation*: whatever was promised to the old one
//! is void. A [`Member`] is both, and is what views, suspicions and signals speak of.

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

/// The identity of a node: the first 16 bytes of the SHA-256 hash of its public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId([u8; Self::LEN]);

impl NodeId {
    /// Its length on the wire, in bytes.
    pub const LEN: usize = 16;

    /// The id of the node that holds this public key.
    pub fn from_public_key(key: &[u8]) -> Self {
        let hash: [u8; 32] = Sha256::digest(key).into();
        let mut id = [0; Self::LEN];
        id.copy_from_slice(&hash[..Self::LEN]);
        Self(id)
    }

    /// An id as it was read from the wire.
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The id as it is written to the wire.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The first four bytes: enough to tell the nodes of a log apart.
impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// How the id of a node begins: its first hex digits, or all of them. It is how people name nodes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct IdPrefix {
    /// The lowest id that begins so.
    first: NodeId,
    digits: usize,
}

impl IdPrefix {
    /// The lowest id that begins so.
    pub const fn first(&self) -> NodeId {
        self.first
    }

    /// The highest.
    pub fn last(&self) -> NodeId {
        let mut last = self.first.0;
        (self.digits..Self::DIGITS).for_each(|digit| last[digit / 2] |= mask(digit));
        NodeId(last)
    }

    /// Whether a node's id begins so.
    pub fn has(&self, node: NodeId) -> bool {
        (self.first..=self.last()).contains(&node)
    }

    /// The same without its last digit, if it has any: all ids begin with none.
    pub fn shortened(&self) -> Option<Self> {
        let digits = self.digits.checked_sub(1)?;
        let mut first = self.first.0;
        first[digits / 2] &= !mask(digits);
        Some(Self { first: NodeId(first), digits })
    }

    const DIGITS: usize = 2 * NodeId::LEN;
}

/// The bits of a digit in its byte.
const fn mask(digit: usize) -> u8 {
    if digit.is_multiple_of(2) { 0xf0 } else { 0x0f }
}

impl From<NodeId> for IdPrefix {
    fn from(node: NodeId) -> Self {
        Self { first: node, digits: Self::DIGITS }
    }
}

impl FromStr for IdPrefix {
    type Err = IdPrefixError;

    fn from_str(text: &str) -> Result<Self, IdPrefixError> {
        let mut first = [0; NodeId::LEN];
        for (at, char) in text.chars().enumerate() {
            let digit = char.to_digit(16).ok_or(IdPrefixError::Digit(char))?;
            let byte = first.get_mut(at / 2).ok_or(IdPrefixError::Long)?;
            *byte |= (digit as u8 * 0x11) & mask(at);
        }
        match text.len() {
            0 => Err(IdPrefixError::Empty),
            digits => Ok(Self { first: NodeId(first), digits }),
        }
    }
}

impl fmt::Display for IdPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.first.to_string()[..self.digits])
    }
}

impl fmt::Debug for IdPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}…")
    }
}

/// Why a text is not how an id begins. The caller's fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum IdPrefixError {
    /// It has no digits.
    #[error("nothing: write how the node's id begins, as `logo members` tells it")]
    Empty,
    /// It is longer than an id.
    #[error("longer than an id: write at most 32 hex digits")]
    Long,
    /// It has something in it that is no hex digit.
    #[error("{0:?} is no hex digit: write how the node's id begins, as `logo members` tells it")]
    Digit(char),
}

/// One life of a node's process: 128 random bits, drawn when it starts. It has no order; which of
/// two incarnations is the later is known from the generation that goes with it in the membership.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incarnation([u8; Self::LEN]);

impl Incarnation {
    /// Its length on the wire, in bytes.
    pub const LEN: usize = 16;

    /// An incarnation as it was drawn by a driver, or read from the wire.
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The incarnation as it is written to the wire.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..2].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A node in one of its lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Member {
    /// Which node.
    pub node: NodeId,
    /// Which of its lives.
    pub incarnation: Incarnation,
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}~{:?}", self.node, self.incarnation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_the_hash_of_a_key() {
        let id = NodeId::from_public_key(b"a key");
        assert_eq!(id, NodeId::from_public_key(b"a key"));
        assert_ne!(id, NodeId::from_public_key(b"another key"));
        assert_eq!(id.to_string().len(), 32);
        assert!(id.to_string().starts_with(&format!("{id:?}")));
    }

    #[test]
    fn nodes_are_named_by_how_their_ids_begin() {
        let prefix: IdPrefix = "a1B".parse().unwrap();
        let id = |first: [u8; 2], fill: u8| {
            let mut bytes = [fill; NodeId::LEN];
            bytes[..2].copy_from_slice(&first);
            NodeId::from_bytes(bytes)
        };
        assert_eq!((prefix.first(), prefix.last()), (id([0xa1, 0xb0], 0), id([0xa1, 0xbf], 0xff)));
        assert!(prefix.has(id([0xa1, 0xb7], 9)) && !prefix.has(id([0xa1, 0xc0], 0)));
        assert_eq!(prefix.to_string(), "a1b");
        let shorter = prefix.shortened().unwrap();
        assert_eq!((shorter, shorter.to_string()), ("a1".parse().unwrap(), "a1".to_owned()));
        let none = shorter.shortened().and_then(|it| it.shortened()).unwrap();
        assert!(none.has(id([0, 0], 0)) && none.has(id([0xff, 0xff], 0xff)));
        assert_eq!(none.shortened(), None);
        let whole = IdPrefix::from(id([1, 2], 3));
        assert_eq!(whole.to_string().parse(), Ok(whole));
        assert_eq!((whole.first(), whole.last()), (id([1, 2], 3), id([1, 2], 3)));
    }

    #[test]
    fn what_no_id_begins_with_is_refused() {
        let refused = |text: &str| text.parse::<IdPrefix>().unwrap_err();
        assert_eq!(refused(""), IdPrefixError::Empty);
        assert_eq!(refused("a1-"), IdPrefixError::Digit('-'));
        assert_eq!(refused("é"), IdPrefixError::Digit('é'));
        assert_eq!(refused(&"a".repeat(33)), IdPrefixError::Long);
    }
}
