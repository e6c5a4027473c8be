//! What the messages of an object are made of, as far as two nodes must agree on it.
//!
//! A type names its schema by a hash: nodes whose programs were built from different definitions of
//! the same name find out when they open the object, not when they decode each other's messages.

use core::fmt;

use serde::{Deserialize, Serialize};

/// Which schema the messages, updates or values of an object have.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct SchemaId {
    /// What it is called.
    pub name: String,
    /// Which version of that it is.
    pub version: u32,
    /// A hash of its structure: equal for equal structures.
    pub hash: u64,
}

impl fmt::Display for SchemaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} version {} ({:016x})", self.name, self.version, self.hash)
    }
}
