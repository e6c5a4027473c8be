//! Collections for replicated states: a clone is made at once and shares all it can, so that a
//! state made of them is frozen by cloning it.
//!
//! They are those of the crate `rpds` (a red-black tree, and a trie of 32 branches a node), with
//! the few methods that a state needs and the two that restoring does. Both are ordered: whatever
//! iterates over one sees the same at every member.

use core::borrow::Borrow;
use core::fmt;
use std::ops::Bound::{Excluded, Unbounded};

use bytes::Bytes;
use rpds::{RedBlackTreeMapSync, VectorSync};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::restore::RestoreError;
use super::snapshot::{Frozen, Records};

/// An ordered map. Cloning takes no longer for a large one than for an empty one.
pub struct Map<K, V>(RedBlackTreeMapSync<K, V>);

impl<K: Ord, V> Map<K, V> {
    /// A map of nothing.
    pub fn new() -> Self {
        Self(RedBlackTreeMapSync::new_sync())
    }

    /// The value of a key.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.0.get(key)
    }

    /// Whether the key has a value.
    pub fn contains<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.0.contains_key(key)
    }

    /// Gives a key a value, whatever it had before.
    pub fn insert(&mut self, key: K, value: V) {
        self.0.insert_mut(key, value);
    }

    /// Takes a key out; whether it was there.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.0.remove_mut(key)
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.0.size()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All keys and their values, in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.0.iter()
    }
}

impl<K: Ord + DeserializeOwned, V: DeserializeOwned> Map<K, V> {
    /// Takes in a record of a frozen map.
    pub fn restore(&mut self, record: &[u8]) -> Result<(), RestoreError> {
        let (key, value) = decode(record)?;
        self.insert(key, value);
        Ok(())
    }
}

/// One record an entry.
impl<K, V> Frozen for Map<K, V>
where
    K: Ord + Clone + Serialize + Send + Sync + 'static,
    V: Serialize + Send + Sync + 'static,
{
    fn records(&self) -> Records {
        let map = self.0.clone();
        let mut last: Option<K> = None;
        Box::new(std::iter::from_fn(move || {
            let behind = last.as_ref().map_or(Unbounded, Excluded);
            let (key, value) = map.range::<K, _>((behind, Unbounded)).next()?;
            let record = encode(&(key, value));
            last = Some(key.clone());
            Some(record)
        }))
    }
}

impl<K: Ord, V> Clone for Map<K, V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Ord, V> Default for Map<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Ord, V: PartialEq> PartialEq for Map<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<K: Ord + fmt::Debug, V: fmt::Debug> fmt::Debug for Map<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// A list that grows at its end. Cloning takes no longer for a long one than for an empty one.
pub struct List<V>(VectorSync<V>);

impl<V> List<V> {
    /// A list of nothing.
    pub fn new() -> Self {
        Self(VectorSync::new_sync())
    }

    /// The value at a place, counted from 0.
    pub fn get(&self, place: usize) -> Option<&V> {
        self.0.get(place)
    }

    /// Adds a value at the end.
    pub fn push(&mut self, value: V) {
        self.0.push_back_mut(value);
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All values, from the first on.
    pub fn iter(&self) -> impl Iterator<Item = &V> {
        self.0.iter()
    }
}

impl<V: DeserializeOwned> List<V> {
    /// Takes in a record of a frozen list.
    pub fn restore(&mut self, record: &[u8]) -> Result<(), RestoreError> {
        self.push(decode(record)?);
        Ok(())
    }
}

/// One record a value.
impl<V: Serialize + Send + Sync + 'static> Frozen for List<V> {
    fn records(&self) -> Records {
        let list = self.clone();
        let mut places = 0..list.len();
        Box::new(std::iter::from_fn(move || list.get(places.next()?).map(encode)))
    }
}

impl<V> Clone for List<V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<V> Default for List<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V: PartialEq> PartialEq for List<V> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<V: fmt::Debug> fmt::Debug for List<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

fn encode<T: Serialize>(value: &T) -> Bytes {
    postcard::to_allocvec(value).expect("a value that restores is one that postcard writes").into()
}

/// A whole record and nothing else.
fn decode<T: DeserializeOwned>(record: &[u8]) -> Result<T, RestoreError> {
    match postcard::take_from_bytes(record) {
        Ok((value, [])) => Ok(value),
        Ok(_) | Err(_) => Err(RestoreError::Record),
    }
}
