//! Counters: what all added, less what all took.

use super::Soft;
use super::access::{Reader, Writer, read};
use super::context::Dot;
use super::place::{Path, Place};

/// A number to which everybody adds, exact as far as what was added has spread. Each author keeps
/// one running total, which replaces its last; the value is the sum of all of them (the counter of
/// Shapiro and others, 2011, with one number for what an author added and took). What an author
/// added stays when it is gone, and so does its total: a counter grows by some 30 bytes for each
/// author that adds to it, mostly one an opening.
///
/// A counter that is taken out of a map while another adds to it, unseen, keeps all that this other
/// has ever added.
pub struct Counter {
    path: Path,
}

impl Counter {
    /// Adds so much, or takes it if it is negative. What an author added in all stays within the
    /// range of an `i64`.
    pub fn add(&self, writer: &mut Writer<'_>, amount: i64) {
        let author = writer.author();
        let all = writer.reader().at(&self.path);
        let own: Vec<_> = all.into_iter().filter(|(dot, _)| dot.author == author).collect();
        let before = own.iter().filter_map(|(_, value)| read::<i64>(value));
        let total = before.fold(0, i64::saturating_add).saturating_add(amount);
        let own: Vec<Dot> = own.into_iter().map(|(dot, _)| dot).collect();
        writer.write(&self.path, &own, &total);
    }

    /// What it comes to.
    pub fn value(&self, reader: Reader<'_>) -> i64 {
        let totals = reader.at(&self.path).into_iter().filter_map(|(_, value)| read::<i64>(value));
        let sum: i128 = totals.map(i128::from).sum();
        sum.clamp(i64::MIN.into(), i64::MAX.into()) as i64
    }
}

impl Soft for Counter {
    const NAME: &'static str = "Counter";

    fn at(place: &mut Place) -> Self {
        Self { path: place.path.clone() }
    }
}
