//! Sets: items that are put in and taken out.

use std::collections::BTreeSet;
use std::marker::PhantomData;

use super::Soft;
use super::access::{Reader, Writer};
use super::context::Dot;
use super::place::{Path, Place};
use crate::schema::Live;

/// Items. Who takes one out takes out what it has seen: an item that another puts in at the same
/// time stays in (Bieniusz and others, "An optimized conflict-free replicated set", 2012).
pub struct Set<T> {
    path: Path,
    is: PhantomData<fn(T) -> T>,
}

impl<T: Live + Ord> Set<T> {
    /// Puts an item in. If it is in, it is put in anew, and stays if another takes it out at the
    /// same time.
    pub fn insert(&self, writer: &mut Writer<'_>, item: &T) {
        let path = self.path.then_key(item);
        let seen: Vec<Dot> = writer.reader().at(&path).into_iter().map(|(dot, _)| dot).collect();
        writer.write(&path, &seen, &());
    }

    /// Takes an item out.
    pub fn remove(&self, writer: &mut Writer<'_>, item: &T) {
        writer.clear(&self.path.then_key(item));
    }

    /// Takes all items out.
    pub fn clear(&self, writer: &mut Writer<'_>) {
        writer.clear(&self.path);
    }

    /// Whether an item is in.
    pub fn contains(&self, reader: Reader<'_>, item: &T) -> bool {
        !reader.at(&self.path.then_key(item)).is_empty()
    }

    /// All items.
    pub fn items(&self, reader: Reader<'_>) -> BTreeSet<T> {
        let keys = reader.keys(&self.path).into_iter();
        keys.filter_map(|key| self.path.next_key(key)).collect()
    }
}

impl<T: Live + Ord> Soft for Set<T> {
    const NAME: &'static str = "Set";

    fn at(place: &mut Place) -> Self {
        place.holds::<T>();
        Self { path: place.path.clone(), is: PhantomData }
    }
}
