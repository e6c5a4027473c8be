//! What an application's code sees of a state while it reads and while it writes.
//!
//! A writer changes nothing: it collects a delta, which is merged if it is taken, and forgotten if
//! not. What was written shows to whoever reads through the same writer.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::context::{Author, Dot};
use super::place::Path;
use super::store::Store;

/// A state as it is read.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    store: &'a Store,
    /// What was written since.
    delta: Option<&'a Store>,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(store: &'a Store) -> Self {
        Self { store, delta: None }
    }

    /// What stands at a place.
    pub(super) fn at(&self, path: &Path) -> Vec<(Dot, &'a Bytes)> {
        if path.fault().is_some() {
            return Vec::new();
        }
        let delta = self.delta;
        let key = path.key();
        let stands = |(dot, _): &(Dot, &Bytes)| delta.is_none_or(|it| !it.context().has(*dot));
        let before = self.store.at(key).filter(stands);
        before.chain(delta.into_iter().flat_map(|delta| delta.at(key))).collect()
    }

    /// The keys of all that stands at a place and in it.
    pub(super) fn keys(&self, path: &Path) -> BTreeSet<&'a Bytes> {
        if path.fault().is_some() {
            return BTreeSet::new();
        }
        let key = path.key();
        let stands = |key: &&Bytes| {
            let delta = self.delta;
            delta.is_none_or(|delta| self.store.at(key).any(|(dot, _)| !delta.context().has(dot)))
        };
        let before = self.store.keys(key).filter(stands);
        before.chain(self.delta.into_iter().flat_map(|delta| delta.keys(key))).collect()
    }
}

/// A state as it is written.
pub struct Writer<'a> {
    store: &'a Store,
    delta: Store,
    author: Author,
    fault: Option<WriteError>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(store: &'a Store, author: Author) -> Self {
        Self { store, delta: Store::default(), author, fault: None }
    }

    /// What is there, with all that was written so far.
    pub const fn reader(&self) -> Reader<'_> {
        Reader { store: self.store, delta: Some(&self.delta) }
    }

    /// Who writes.
    pub(super) const fn author(&self) -> Author {
        self.author
    }

    /// Writes a value at a place, in place of these.
    pub(super) fn write(&mut self, path: &Path, replaced: &[Dot], value: &impl Serialize) {
        match written(path, value) {
            Ok(value) => {
                self.take_out(replaced);
                let own = |store: &Store| store.context().last(self.author);
                let number = own(self.store).max(own(&self.delta)) + 1;
                let dot = Dot { author: self.author, number };
                self.delta.insert(Bytes::copy_from_slice(path.key()), dot, value);
            }
            Err(fault) => self.fault = self.fault.take().or(Some(fault)),
        }
    }

    /// Takes out what these wrote.
    pub(super) fn take_out(&mut self, dots: &[Dot]) {
        self.delta.forget_all(&dots.iter().copied().collect());
    }

    /// Takes out all that stands at a place and in it.
    pub(super) fn clear(&mut self, path: &Path) {
        if let Some(fault) = path.fault() {
            let fault = WriteError::Unwritable(fault.to_owned());
            self.fault = self.fault.take().or(Some(fault));
        }
        let reader = self.reader();
        let keys = reader.keys(path).into_iter().map(|key| Path::of_key(key));
        let dots = keys.flat_map(|path| reader.at(&path).into_iter().map(|(dot, _)| dot));
        let dots: Vec<Dot> = dots.collect();
        self.take_out(&dots);
    }

    /// The delta, if all could be written and the state does not become too large by it.
    pub(super) fn finish(self) -> Result<Store, WriteError> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let (before, bytes) = (self.store.size(), self.store.size_with(&self.delta));
        if bytes > Store::BYTES_MAX && bytes > before {
            return Err(WriteError::Full { bytes });
        }
        Ok(self.delta)
    }
}

/// Why an update was not made. The application's fault; nothing changed.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum WriteError {
    /// A place is too deep, or a key or an item too long.
    #[error(
        "a key or an item of {0} bytes, with the names and keys of what it is in: {max} at most",
        max = Store::KEY_BYTES_MAX
    )]
    LongKey(usize),
    /// A value is too long.
    #[error("a value of {0} bytes: {max} at most; keep it in parts", max = Store::VALUE_BYTES_MAX)]
    LongValue(usize),
    /// A key, an item or a value cannot be written as bytes.
    #[error("it cannot be written as bytes: {0}")]
    Unwritable(String),
    /// The state would become too large.
    #[error(
        "the state would take {bytes} bytes: {max} at most, what is known of all who ever wrote \
         into it included; take something out, or begin another",
        max = Store::BYTES_MAX
    )]
    Full {
        /// What it would take.
        bytes: usize,
    },
}

fn written(path: &Path, value: &impl Serialize) -> Result<Bytes, WriteError> {
    if let Some(fault) = path.fault() {
        return Err(WriteError::Unwritable(fault.to_owned()));
    }
    if path.key().len() > Store::KEY_BYTES_MAX {
        return Err(WriteError::LongKey(path.key().len()));
    }
    let value = postcard::to_allocvec(value);
    let value = value.map_err(|error| WriteError::Unwritable(error.to_string()))?;
    if value.len() > Store::VALUE_BYTES_MAX {
        return Err(WriteError::LongValue(value.len()));
    }
    Ok(value.into())
}

/// What the bytes say, if they say all of it and nothing else. What cannot be read was written by
/// another program, or by nobody who keeps the rules.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let (value, rest) = postcard::take_from_bytes(bytes).ok()?;
    rest.is_empty().then_some(value)
}
