//! Who is who: nodes, and the lives of their processes.
//!
//! A node's id is derived from its key, so that it survives restarts and cannot be borrowed. A node
//! that starts again is the same node in a new *incarnation*: whatever was promised to the old one
//! is void. A [`Member`] is both, and is what views, suspicions and signals speak of.

use core::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

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
}
