//! Where in a state a value is: the names of fields and the keys of maps that lead to it.
//!
//! A path is a key of the store: segment by segment, each with its length before it, so that one
//! path begins with another if, and only if, it leads into it.

use core::fmt::Write;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::Soft;
use super::access::read;
use crate::schema::{Live, SchemaId};

/// Where something is to be put into a state.
pub struct Place {
    pub(super) path: Path,
    /// What is here, in words, if that is asked for.
    shape: Option<String>,
}

impl Place {
    /// The whole of a state.
    pub(super) const fn root() -> Self {
        Self::new(Path::ROOT)
    }

    pub(super) const fn new(path: Path) -> Self {
        Self { path, shape: None }
    }

    /// Puts a field of this name here. No two fields of a type may have the same name.
    pub fn field<S: Soft>(&mut self, name: &str) -> S {
        let mut inner = Self { path: self.path.then(name.as_bytes()), shape: self.inner_shape() };
        let field = S::at(&mut inner);
        self.describe(|shape| {
            write!(shape, "{name:?}: {} {{{}}}, ", S::NAME, inner.shape.unwrap_or_default())
        });
        field
    }

    /// Here are values of this type.
    pub(super) fn holds<T: Live>(&mut self) {
        self.describe(|shape| write!(shape, "{}, ", T::schema().id()));
    }

    /// What is in here by key is such.
    pub(super) fn holds_inside<S: Soft>(&mut self) {
        if self.shape.is_some() {
            drop(self.field::<S>(""));
        }
    }

    fn describe(&mut self, describe: impl FnOnce(&mut String) -> core::fmt::Result) {
        if let Some(shape) = &mut self.shape {
            describe(shape).expect("memory takes any text");
        }
    }

    /// A type that contains itself is described to some depth.
    fn inner_shape(&self) -> Option<String> {
        self.shape.as_ref().filter(|_| self.path.depth < DEPTH_MAX).map(|_| String::new())
    }
}

/// What two nodes compare, of a type of soft states.
pub(super) fn schema_of<S: Soft>() -> SchemaId {
    let mut root = Place { path: Path::ROOT, shape: Some(String::new()) };
    S::at(&mut root);
    let shape = root.shape.expect("it was asked for");
    let digest: [u8; 32] = Sha256::digest(format!("{} {{{shape}}}", S::NAME)).into();
    let hash = u64::from_be_bytes(digest[..8].try_into().expect("eight of its bytes"));
    SchemaId { name: S::NAME.to_owned(), version: S::VERSION, hash }
}

/// A key of the store, and why it cannot be one if it cannot.
#[derive(Clone)]
pub(super) struct Path {
    key: Vec<u8>,
    depth: usize,
    fault: Option<String>,
}

impl Path {
    pub(super) const ROOT: Self = Self { key: Vec::new(), depth: 0, fault: None };

    pub(super) fn of_key(key: &[u8]) -> Self {
        Self { key: key.to_vec(), ..Self::ROOT }
    }

    pub(super) fn key(&self) -> &[u8] {
        &self.key
    }

    pub(super) fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// The path one step further.
    pub(super) fn then(&self, segment: &[u8]) -> Self {
        let mut next = self.clone();
        next.depth += 1;
        // Where the path is at fault already it leads nowhere.
        let len = postcard::to_allocvec(&segment.len()).expect("a number can be written");
        next.key.extend(len);
        next.key.extend_from_slice(segment);
        next
    }

    /// The path to what has this key, or to this item.
    pub(super) fn then_key<K: Serialize>(&self, key: &K) -> Self {
        match postcard::to_allocvec(key) {
            Ok(segment) => self.then(&segment),
            Err(error) => Self { fault: Some(error.to_string()), ..self.then(b"") },
        }
    }

    /// The key by which another path goes on from here.
    pub(super) fn next_key<K: DeserializeOwned>(&self, longer: &[u8]) -> Option<K> {
        let rest = longer.strip_prefix(self.key.as_slice())?;
        let (len, rest): (usize, _) = postcard::take_from_bytes(rest).ok()?;
        read(rest.get(..len)?)
    }
}

/// How deep a type of states is described.
const DEPTH_MAX: usize = 8;
