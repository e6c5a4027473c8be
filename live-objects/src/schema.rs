//! What the messages of an object are made of, as far as two nodes must agree on it.
//!
//! A type names its schema by a hash: nodes whose programs were built from different definitions of
//! the same name find out when they open the object, not when they decode each other's messages.
//! Who has the schema itself can read and write such messages without the Rust type (`json`).
//!
//! We build on neither `postcard-schema` nor `postcard-dyn`: the latter (0.2.1) panics where a
//! schema has a `char`, loops as often as hostile bytes promise, ignores bytes that are left over,
//! and its errors say not where. The former keeps the names of inner types in the shape, so that
//! renaming one would change what two nodes have agreed on, and its derive passes over the serde
//! attributes that it does not know.
//!
//! Invariant: a schema is within the limits below, whoever it comes from.

mod flat;
mod json;
mod live;
mod shape;

use core::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use self::flat::{Flat, Step};
pub use self::json::{JsonError, JsonProblem};
pub use self::live::Live;
pub use self::shape::{Field, Fields, Primitive, Shape, Variant};

/// Which schema the messages, updates or values of an object have.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct SchemaId {
    /// What it is called.
    pub name: String,
    /// Which version of that it is.
    pub version: u32,
    /// A hash of its name and structure: equal for equal ones.
    pub hash: u64,
}

impl fmt::Display for SchemaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} version {} ({:016x})", self.name, self.version, self.hash)
    }
}

/// What values of a type are called and made of. It can be sent: serde reads it back within its
/// limits, however it came.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "Flat", into = "Flat")]
pub struct Schema {
    name: String,
    version: u32,
    shape: Shape,
}

impl Schema {
    /// How many shapes and variants one is made of, at most.
    pub const SIZE_MAX: usize = 4096;
    /// How deep its shapes are nested, at most.
    pub const DEPTH_MAX: usize = 64;
    /// The longest name of a type, field or variant, in bytes.
    pub const NAME_LEN_MAX: usize = 255;

    /// A schema within the limits.
    pub fn new(name: impl Into<String>, version: u32, shape: Shape) -> Result<Self, SchemaError> {
        let name = name.into();
        shape::check_name(&name)?;
        shape.check()?;
        Ok(Self { name, version, shape })
    }

    /// What the type is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Which version of that it is.
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// What its values are made of.
    pub const fn shape(&self) -> &Shape {
        &self.shape
    }

    /// What two nodes compare: equal for schemas of the same name, version and shape.
    pub fn id(&self) -> SchemaId {
        let steps = Step::of(&self.shape);
        let bytes = postcard::to_allocvec(&(&self.name, &steps)).expect("memory takes any bytes");
        let digest: [u8; 32] = Sha256::digest(&bytes).into();
        let mut hash = [0; 8];
        hash.copy_from_slice(&digest[..8]);
        let hash = u64::from_be_bytes(hash);
        SchemaId { name: self.name.clone(), version: self.version, hash }
    }
}

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} version {}: {}", self.name, self.version, self.shape)
    }
}

/// What was to be a schema is none.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum SchemaError {
    /// A name is empty or too long.
    #[error("`{0}` is no name for a type, field or variant: take 1 to 255 bytes")]
    Name(String),
    /// Two fields or variants beside each other have the same name.
    #[error("`{0}` is the name of two: name them apart")]
    SameName(String),
    /// It is made of too much.
    #[error("a schema has at most {} shapes and variants", Schema::SIZE_MAX)]
    TooLarge,
    /// It is nested too deep.
    #[error("the shapes of a schema are nested at most {} deep", Schema::DEPTH_MAX)]
    TooDeep,
    /// What came over the wire lacks parts, or has some that belong nowhere.
    #[error("the parts of a schema do not fit together: its sender's program is broken")]
    Parts,
}

#[cfg(test)]
mod tests;
