//! Maps: states by key.

use std::collections::BTreeSet;
use std::marker::PhantomData;

use super::Soft;
use super::access::{Reader, Writer};
use super::place::{Path, Place};
use crate::schema::Live;

/// States of type `V` by key. A key is in as long as there is something in its state. Who takes a
/// key out takes out what it has seen: what another writes there at the same time stays.
pub struct Map<K, V> {
    path: Path,
    is: PhantomData<fn(K, V) -> V>,
}

impl<K: Live + Ord, V: Soft> Map<K, V> {
    /// The state of a key, whether there is something in it or not.
    pub fn at(&self, key: &K) -> V {
        V::at(&mut Place::new(self.path.then_key(key)))
    }

    /// Takes a key out, with all that is in its state.
    pub fn remove(&self, writer: &mut Writer<'_>, key: &K) {
        writer.clear(&self.path.then_key(key));
    }

    /// Takes all keys out.
    pub fn clear(&self, writer: &mut Writer<'_>) {
        writer.clear(&self.path);
    }

    /// Whether a key is in.
    pub fn contains(&self, reader: Reader<'_>, key: &K) -> bool {
        !reader.keys(&self.path.then_key(key)).is_empty()
    }

    /// All keys that are in.
    pub fn keys(&self, reader: Reader<'_>) -> BTreeSet<K> {
        let keys = reader.keys(&self.path).into_iter();
        keys.filter_map(|key| self.path.next_key(key)).collect()
    }
}

impl<K: Live + Ord, V: Soft> Soft for Map<K, V> {
    const NAME: &'static str = "Map";

    fn at(place: &mut Place) -> Self {
        place.holds::<K>();
        place.holds_inside::<V>();
        Self { path: place.path.clone(), is: PhantomData }
    }
}
