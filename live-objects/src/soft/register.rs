//! Registers: one value, which is replaced.

use std::marker::PhantomData;

use super::Soft;
use super::access::{Reader, Writer, read};
use super::context::Dot;
use super::place::{Path, Place};
use crate::schema::Live;

/// One value, or none. A write replaces what its writer has seen. Of values that were written
/// without one of the writers having seen the other's all are kept until the next write, and all
/// nodes choose the same: the one that comes after the most writes, as Lamport's clock counts them
/// (CACM 1978), then by who wrote it. No wall clock decides.
pub struct Register<T> {
    path: Path,
    is: PhantomData<fn(T) -> T>,
}

impl<T: Live> Register<T> {
    /// Writes the value.
    pub fn set(&self, writer: &mut Writer<'_>, value: &T) {
        let stamps = stamped::<T>(&writer.reader(), &self.path);
        let stamp = stamps.iter().map(|((stamp, _), _)| *stamp).max().unwrap_or(0);
        let seen: Vec<Dot> = writer.reader().at(&self.path).into_iter().map(|it| it.0).collect();
        writer.write(&self.path, &seen, &(stamp.saturating_add(1), value));
    }

    /// Takes the value out.
    pub fn clear(&self, writer: &mut Writer<'_>) {
        writer.clear(&self.path);
    }

    /// The value.
    pub fn get(&self, reader: Reader<'_>) -> Option<T> {
        self.all(reader).into_iter().next()
    }

    /// All values that none of the others' writers had seen; the first is the one that is chosen.
    pub fn all(&self, reader: Reader<'_>) -> Vec<T> {
        let mut all = stamped(&reader, &self.path);
        all.sort_by_key(|(order, _)| std::cmp::Reverse(*order));
        all.into_iter().map(|(_, value)| value).collect()
    }
}

fn stamped<T: Live>(reader: &Reader<'_>, path: &Path) -> Vec<((u64, Dot), T)> {
    let read = |(dot, value): (Dot, &bytes::Bytes)| {
        let (stamp, value) = read::<(u64, T)>(value)?;
        Some(((stamp, dot), value))
    };
    reader.at(path).into_iter().filter_map(read).collect()
}

impl<T: Live> Soft for Register<T> {
    const NAME: &'static str = "Register";

    fn at(place: &mut Place) -> Self {
        place.holds::<T>();
        Self { path: place.path.clone(), is: PhantomData }
    }
}
