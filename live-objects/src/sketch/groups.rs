//! What the rows of a query come to, group by group: as SQL's GROUP BY, over all members.
//!
//! ```text
//!  layout            how many keys, and what is measured
//!  groups            by the hash of their keys: rows, and a cell a measure
//!  others, from h    all groups whose hash is h or more, as one
//! ```
//!
//! A part must fit into a packet. As many groups are kept, in the order of their hashes, as would
//! fit if each were as long as its key allows; all that follow are *others*, which are told as
//! such, so that nothing is lost in silence. How many fit goes by the keys alone, so the least hash
//! that does not fit is the same however parts are merged; and a group below it was never put to
//! the others anywhere, so that what is told of it is exact. (To keep the heaviest groups instead
//! needs counters that are off by a bound, as those of [`TopK`](super::TopK).)
//!
//! A group is in the part of its hash modulo [`Groups::PARTS`]. Sums are merged in the order of the
//! zones, and are the same at all who merge the same zones.
//!
//! Invariant: groups ascend by hash and key, all below the hash from which on there are others.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, BytesMut};

use super::cell::{COUNT_LEN_MAX, Cell, Measure, count_len, take_count};
use super::percentiles::Percentiles;
use super::{Sketch, SketchError, hash};
use crate::attributes::Scalar;
use crate::varint::{put_varint, take_varint, varint_len};

/// The groups of a query at some members.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Groups {
    layout: Layout,
    groups: BTreeMap<(u64, Key), Entry>,
    others: Option<(u64, Entry)>,
}

/// What a query asks for, as far as merging goes by it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Layout {
    pub(crate) keys: u8,
    pub(crate) measures: Vec<Measure>,
}

/// The key of a group, as it is written.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Key(Vec<u8>);

/// What is known of a group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    /// How many rows are in it.
    pub(crate) members: u32,
    /// In the order of the measures.
    pub(crate) cells: Vec<Cell>,
}

impl Groups {
    pub(crate) const PARTS: u8 = 8;

    /// The most keys.
    pub(crate) const KEYS_MAX: usize = 2;
    /// The most measures.
    pub(crate) const MEASURES_MAX: usize = 8;

    pub(crate) const fn new(layout: Layout) -> Self {
        Self { layout, groups: BTreeMap::new(), others: None }
    }

    pub(crate) const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Adds a row to its group.
    pub(crate) fn add(&mut self, keys: &[Option<Scalar>], cells: Vec<Cell>) {
        assert_eq!(keys.len(), usize::from(self.layout.keys), "a row is of its layout");
        let key = Key::of(keys);
        self.layout.add(&mut self.groups, (key.hash(), key), Entry { members: 1, cells });
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.others.is_none()
    }

    /// How many rows are in it.
    pub fn members(&self) -> u64 {
        let others = self.others.iter().map(|(_, others)| others);
        self.groups.values().chain(others).map(|entry| u64::from(entry.members)).sum()
    }

    pub(crate) fn groups(&self) -> impl Iterator<Item = (Vec<Option<Scalar>>, &Entry)> {
        self.groups.iter().map(|((_, key), entry)| (key.scalars(), entry))
    }

    pub(crate) fn others(&self) -> Option<&Entry> {
        self.others.as_ref().map(|(_, others)| others)
    }

    /// The others of several parts, as one.
    pub(crate) fn all_others<'a>(parts: impl Iterator<Item = &'a Self>) -> Option<Entry> {
        let others = parts.filter_map(|part| Some((&part.layout, part.others()?.clone())));
        others
            .reduce(|(layout, one), (_, other)| (layout, layout.merged(&one, &other)))
            .map(|it| it.1)
    }

    pub(super) fn is_of_part(&self, part: u8) -> bool {
        self.groups.keys().all(|(hash, _)| is_in(*hash, part))
    }

    pub(super) fn parts(&self) -> Vec<Self> {
        let of = |part: u8| {
            let is_in = |(at, _): &(&(u64, Key), &Entry)| is_in(at.0, part);
            let groups = self.groups.iter().filter(is_in);
            let groups = groups.map(|(at, entry)| (at.clone(), entry.clone())).collect();
            Self { layout: self.layout.clone(), groups, others: None }.shrunk()
        };
        (0..Self::PARTS).map(of).collect()
    }

    pub(super) fn joined(&self, other: &Self) -> Self {
        let (mut both, layout) = (self.clone(), &self.layout);
        for (at, entry) in &other.groups {
            layout.add(&mut both.groups, at.clone(), entry.clone());
        }
        if let Some((from, others)) = &other.others {
            both.put_to_others(*from, Some(others.clone()));
        }
        if let Some((from, _)) = both.others {
            both.put_to_others(from, None);
        }
        both
    }

    pub(super) fn merged(&self, other: &Self) -> Self {
        self.joined(other).shrunk()
    }

    pub(super) fn mixes_with(&self, other: &Self) -> bool {
        self.layout == other.layout
    }

    /// Of two that cannot be in one.
    pub(super) fn prevails_over(&self, other: &Self) -> bool {
        let order = |of: &Self| (of.members(), of.layout.clone());
        order(self) > order(other)
    }

    pub(super) fn size(&self) -> usize {
        let entry = |entry: &Entry| {
            let cells: usize = entry.cells.iter().map(Cell::size).sum();
            size_of::<Entry>() + size_of_val(&entry.cells[..]) + cells
        };
        let groups = self.groups.iter().map(|((_, key), it)| 40 + key.0.len() + entry(it));
        groups.sum::<usize>() + self.others().map_or(0, entry)
    }

    /// All groups of this hash and above are others; and so are these.
    fn put_to_others(&mut self, from: u64, more: Option<Entry>) {
        let from = self.others.as_ref().map_or(from, |(before, _)| from.min(*before));
        let over = self.groups.split_off(&(from, Key(Vec::new())));
        let before = self.others.take().map(|(_, others)| others);
        let all = before.into_iter().chain(more).chain(over.into_values());
        let others = all.reduce(|one, other| self.layout.merged(&one, &other));
        self.others = others.map(|others| (from, others));
    }

    /// Keeps as many groups as fit.
    fn shrunk(mut self) -> Self {
        let entry = self.layout.entry_len_max();
        let mut room = self.layout.room();
        let over = self.groups.keys().find(|(_, key)| {
            let left = room.checked_sub(key.0.len() + entry);
            room = left.unwrap_or(0);
            left.is_none()
        });
        if let Some(from) = over.map(|(hash, _)| *hash) {
            self.put_to_others(from, None);
        }
        self
    }

    pub(super) fn encoded_len(&self) -> usize {
        let others = self.others().map_or(0, |others| 8 + others.encoded_len());
        let groups = self.groups.iter().map(|((_, key), entry)| key.0.len() + entry.encoded_len());
        1 + self.layout.measures.len() + 1 + others + groups.sum::<usize>()
    }

    /// ```text
    ///  keys × 16 + measures u8, of each measure: code u8
    ///  u8, 1 if there are others, and then: hash u64, entry
    ///  of each group: key, entry
    ///  key:   of each of the keys: u8, 0 if there is none; 1: number f64; 2: length v, text
    ///  entry: rows v, a cell a measure
    /// ```
    pub(super) fn put(&self, out: &mut BytesMut) {
        out.put_u8(self.layout.keys << 4 | self.layout.measures.len() as u8);
        self.layout.measures.iter().for_each(|measure| out.put_u8(*measure as u8));
        out.put_u8(self.others.is_some().into());
        if let Some((from, others)) = &self.others {
            out.put_u64(*from);
            others.put(out);
        }
        for ((_, key), entry) in &self.groups {
            out.put_slice(&key.0);
            entry.put(out);
        }
    }

    pub(super) fn take(bytes: &mut &[u8]) -> Result<Self, SketchError> {
        let layout = Layout::take(bytes)?;
        let others = match bytes.try_get_u8()? {
            0 => None,
            // Without a key there is one group, for which all the room is.
            1 if layout.keys == 0 => return Err(SketchError::Unsound("others of no key")),
            1 => Some((bytes.try_get_u64()?, layout.take_entry(bytes)?)),
            _ => return Err(SketchError::Unsound("a flag that is none")),
        };
        let mut taken = Self { layout, groups: BTreeMap::new(), others };
        while !bytes.is_empty() {
            let key = Key::take(bytes, taken.layout.keys)?;
            let at = (key.hash(), key);
            let is_below = taken.others.as_ref().is_none_or(|(from, _)| at.0 < *from);
            if !is_below || taken.groups.last_key_value().is_some_and(|(last, _)| *last >= at) {
                return Err(SketchError::Unsound("groups out of order"));
            }
            let entry = taken.layout.take_entry(bytes)?;
            taken.groups.insert(at, entry);
        }
        let groups = taken.groups.len();
        let shrunk = taken.shrunk();
        if shrunk.groups.len() < groups {
            return Err(SketchError::Unsound("more groups than fit"));
        }
        Ok(shrunk)
    }
}

/// Whether a group of this hash is in a part.
fn is_in(hash: u64, part: u8) -> bool {
    hash % u64::from(Groups::PARTS) == u64::from(part)
}

impl Layout {
    /// How long the percentiles of a group may be, each.
    fn percentiles_len_max(&self) -> usize {
        let is_percentiles = |measure: &&Measure| **measure == Measure::Percentiles;
        let count = self.measures.iter().filter(is_percentiles).count().max(1);
        // Without a key there is one group, which has all the room.
        let all = if self.keys == 0 { WHOLE_LEN } else { GROUP_LEN };
        (all / count).max(Percentiles::LEN_MIN)
    }

    /// How long an entry may be.
    fn entry_len_max(&self) -> usize {
        let percentiles = self.percentiles_len_max();
        let cells = self.measures.iter().map(|measure| measure.len_max(percentiles));
        COUNT_LEN_MAX + cells.sum::<usize>()
    }

    /// How many bytes a part has for groups.
    fn room(&self) -> usize {
        let others = if self.keys == 0 { 0 } else { 8 + self.entry_len_max() };
        Sketch::LEN_MAX - (1 + self.measures.len() + 1) - others
    }

    fn add(&self, groups: &mut BTreeMap<(u64, Key), Entry>, at: (u64, Key), entry: Entry) {
        let both = match groups.get(&at) {
            Some(before) => self.merged(before, &entry),
            None => entry,
        };
        groups.insert(at, both);
    }

    fn merged(&self, one: &Entry, other: &Entry) -> Entry {
        let len_max = self.percentiles_len_max();
        let cells = one.cells.iter().zip(&other.cells);
        Entry {
            members: one.members.saturating_add(other.members),
            cells: cells.map(|(one, other)| one.merged(other, len_max)).collect(),
        }
    }

    fn take(bytes: &mut &[u8]) -> Result<Self, SketchError> {
        let head = bytes.try_get_u8()?;
        let (keys, measures) = (head >> 4, usize::from(head & 0x0f));
        if usize::from(keys) > Groups::KEYS_MAX || measures > Groups::MEASURES_MAX {
            return Err(SketchError::Unsound("a layout that is none"));
        }
        let measures = (0..measures).map(|_| Measure::of_code(bytes.try_get_u8()?));
        Ok(Self { keys, measures: measures.collect::<Result<_, SketchError>>()? })
    }

    fn take_entry(&self, bytes: &mut &[u8]) -> Result<Entry, SketchError> {
        let members = take_count(bytes)?;
        if members == 0 {
            return Err(SketchError::Unsound("a group of no rows"));
        }
        let len_max = self.percentiles_len_max();
        let cells = self.measures.iter().map(|measure| measure.take(bytes, len_max));
        Ok(Entry { members, cells: cells.collect::<Result<_, _>>()? })
    }
}

impl Entry {
    fn encoded_len(&self) -> usize {
        count_len(self.members) + self.cells.iter().map(Cell::encoded_len).sum::<usize>()
    }

    fn put(&self, out: &mut BytesMut) {
        put_varint(out, self.members.into());
        self.cells.iter().for_each(|cell| cell.put(out));
    }
}

impl Key {
    fn of(scalars: &[Option<Scalar>]) -> Self {
        let mut out = BytesMut::new();
        for scalar in scalars {
            match scalar {
                None => out.put_u8(0),
                Some(Scalar::Number(number)) => {
                    out.put_u8(1);
                    out.put_f64(*number);
                }
                Some(Scalar::Text(text)) => {
                    assert!(text.len() <= KEY_TEXT_LEN_MAX, "texts and names are no longer");
                    out.put_u8(2);
                    put_varint(&mut out, text.len() as u64);
                    out.put_slice(text.as_bytes());
                }
            }
        }
        Self(out.to_vec())
    }

    fn hash(&self) -> u64 {
        hash(&self.0)
    }

    fn scalars(&self) -> Vec<Option<Scalar>> {
        let mut bytes = &self.0[..];
        let mut scalars = Vec::new();
        while !bytes.is_empty() {
            scalars.push(take_scalar(&mut bytes).expect("it was written, or checked"));
        }
        scalars
    }

    fn take(bytes: &mut &[u8], keys: u8) -> Result<Self, SketchError> {
        let all = *bytes;
        (0..keys).try_for_each(|_| take_scalar(bytes).map(drop))?;
        Ok(Self(all[..all.len() - bytes.len()].to_vec()))
    }
}

fn take_scalar(bytes: &mut &[u8]) -> Result<Option<Scalar>, SketchError> {
    Ok(match bytes.try_get_u8()? {
        0 => None,
        1 => {
            let number = bytes.try_get_f64()?;
            // Equal keys are written alike.
            let is_sound = number.is_finite() && (number != 0.0 || number.is_sign_positive());
            if !is_sound {
                return Err(SketchError::Unsound("a key that is no number"));
            }
            Some(Scalar::Number(number))
        }
        2 => {
            let before = bytes.len();
            let len = usize::try_from(take_varint(bytes)?).unwrap_or(usize::MAX);
            if len > KEY_TEXT_LEN_MAX || before - bytes.len() != varint_len(len as u64) {
                return Err(SketchError::Unsound("a key that is too long"));
            }
            let text = bytes.split_off(..len).ok_or(SketchError::Truncated)?;
            let text =
                str::from_utf8(text).map_err(|_| SketchError::Unsound("a key of no text"))?;
            Some(Scalar::Text(text.to_owned()))
        }
        _ => return Err(SketchError::Unsound("a key of no kind")),
    })
}

/// What the percentiles of a group take, all of them; and those of a query without keys.
const GROUP_LEN: usize = 128;
const WHOLE_LEN: usize = 640;

/// The longest text of a key: a zone may be as long as a name.
const KEY_TEXT_LEN_MAX: usize = 255;

#[cfg(test)]
mod tests;
