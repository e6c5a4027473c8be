//! What a soft state is made of: values under keys, each written by one dot, and a context.
//!
//! Two stores merge without anybody who understands them: a dot that both have stays; one that only
//! one of them has stays if the other has not seen it, and goes if the other has, since it was
//! replaced or taken out there. (The causal dot stores of Almeida, Shoker and Baquero, "Delta state
//! replicated data types", JPDC 2018, section 7: all types that we have are one map from keys to
//! dots, and differ in what they write into it.) So whoever carries states needs no more than this
//! file, and types are a matter of the applications.
//!
//! A *delta* is a store too: what was written, and a context of these dots and of those that they
//! replace. Merging deltas in any order, and any of them often, gives what merging the states does.
//!
//! Invariants: every dot is in the context, and under one key. What a store counts for is known at
//! any time.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::context::{Author, Context, Dot};

/// Values under keys, and all that is known of what was written.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "FlatStore", into = "FlatStore")]
pub struct Store {
    entries: BTreeMap<Bytes, BTreeMap<Dot, Bytes>>,
    /// Under which key each dot is.
    places: BTreeMap<Dot, Bytes>,
    context: Context,
    /// What entries count for.
    bytes: usize,
    /// The exclusive or over the hashes of all dots.
    sum: u64,
}

impl Store {
    /// What an update may make a state count for, in bytes.
    pub const BYTES_MAX: usize = 1 << 20;
    /// What a state that is heard of may count for in what must be known for ever of who wrote into
    /// it: less than [`Self::BYTES_MAX`], so that whoever is told of many still writes. Values can
    /// be taken out, this cannot.
    pub const KNOWN_BYTES_MAX: usize = Self::BYTES_MAX / 4 * 3;
    /// What states that were updated apart may come to when they are merged.
    pub const MERGED_BYTES_MAX: usize = 2 * Self::BYTES_MAX;
    /// What an update may count for.
    pub const DELTA_BYTES_MAX: usize = 256 << 10;
    /// The longest key: the place of a value, with the keys of all maps around it.
    pub const KEY_BYTES_MAX: usize = 1 << 10;
    /// The longest value.
    pub const VALUE_BYTES_MAX: usize = 64 << 10;

    /// Takes in another store, or a delta. Tells whether that was news.
    pub fn merge(&mut self, other: &Self) -> bool {
        let gone: Vec<Dot> = self.dots_in(&other.context).collect();
        let gone = gone.into_iter().filter(|dot| !other.places.contains_key(dot));
        let mut is_news = false;
        for dot in gone.collect::<Vec<_>>() {
            self.remove(dot);
            is_news = true;
        }
        for (dot, key) in &other.places {
            if !self.context.has(*dot) {
                self.put(key.clone(), *dot, other.entries[key][dot].clone());
                is_news = true;
            }
        }
        if !self.context.covers(&other.context) {
            self.context.merge(&other.context);
            is_news = true;
        }
        is_news
    }

    /// Whether it holds nothing, and knows of nothing.
    pub fn is_empty(&self) -> bool {
        self.context.is_empty()
    }

    /// All that is known of what was written.
    pub const fn context(&self) -> &Context {
        &self.context
    }

    /// The dots that stand, each with its key and its value.
    pub fn dots(&self) -> impl Iterator<Item = (Dot, &Bytes, &Bytes)> {
        self.places.iter().map(|(dot, key)| (*dot, key, &self.entries[key][dot]))
    }

    /// A number that is the same for equal stores, and differs for others, but for one in 2^64.
    pub fn digest(&self) -> u64 {
        self.sum ^ self.context.hash().rotate_left(1)
    }

    /// What it counts for, in bytes: the most that it takes when written, but for how many authors
    /// and keys there are.
    pub fn size(&self) -> usize {
        self.bytes + self.context.size()
    }

    /// What it would count for, at most, with a delta merged in.
    pub fn size_with(&self, delta: &Self) -> usize {
        let gone = self.dots_in(&delta.context).filter(|dot| !delta.places.contains_key(dot));
        let freed: usize = gone.map(|dot| self.cost_of(dot)).sum();
        // What is known already takes no more room: who takes something out never needs any.
        self.bytes - freed + delta.bytes + self.context.size_with(&delta.context)
    }

    /// What of it was written by those of whom a context knows already: a delta too.
    pub fn of_authors(&self, known: &Context) -> Self {
        let mut some = Self { context: self.context.of_authors(known), ..Self::default() };
        for (dot, key, value) in self.dots() {
            if some.context.has(dot) {
                some.put(key.clone(), dot, value.clone());
            }
        }
        some
    }

    /// Writes it.
    pub fn encode(&self) -> Bytes {
        postcard::to_allocvec(self).expect("memory takes every store").into()
    }

    /// Reads one. Whatever the bytes hold, it is no larger than they are, but for a constant
    /// factor, and takes as long as that.
    pub fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        match postcard::take_from_bytes(bytes) {
            Ok((store, [])) => Ok(store),
            Ok(_) => Err(StoreError::Overlong),
            Err(_) => Err(StoreError::Malformed),
        }
    }

    /// It in pieces of at most `bytes_max` bytes, which merge to the whole. What no piece has room
    /// for is in none of them.
    pub fn pieces(&self, bytes_max: usize) -> Vec<Bytes> {
        let mut pieces = Pieces { done: Vec::new(), piece: Self::default(), room: 0, bytes_max };
        for (dot, key, value) in self.dots() {
            if let Some(piece) = pieces.with_room(key.len() + value.len() + DOT_COST_MAX) {
                piece.insert(key.clone(), dot, value.clone());
            }
        }
        let standing: Context = self.places.keys().copied().collect();
        for (author, first, last) in self.context.without(&standing).spans() {
            if let Some(piece) = pieces.with_room(DOT_COST_MAX) {
                piece.context.add_span(author, first, last);
            }
        }
        pieces.finish()
    }

    /// What stands under a key.
    pub(super) fn at(&self, key: &[u8]) -> impl Iterator<Item = (Dot, &Bytes)> {
        let dots = self.entries.get(key).into_iter().flatten();
        dots.map(|(dot, value)| (*dot, value))
    }

    /// The keys that begin so, in order.
    pub(super) fn keys(&self, begin: &[u8]) -> impl Iterator<Item = &Bytes> {
        let from = self.entries.range(Bytes::copy_from_slice(begin)..);
        let begin = begin.to_vec();
        from.map(|(key, _)| key).take_while(move |key| key.starts_with(&begin))
    }

    /// Writes a value that was never written before.
    pub(super) fn insert(&mut self, key: Bytes, dot: Dot, value: Bytes) {
        self.context.add(dot);
        self.put(key, dot, value);
    }

    /// The same, where the context is seen to once for many.
    fn put(&mut self, key: Bytes, dot: Dot, value: Bytes) {
        self.bytes += cost(&key, &value);
        self.sum ^= dot.hash();
        self.places.insert(dot, key.clone());
        self.entries.entry(key).or_default().insert(dot, value);
    }

    /// From now on these dots are known to have been replaced or taken out.
    pub(super) fn forget_all(&mut self, dots: &Context) {
        let gone: Vec<Dot> = self.dots_in(dots).collect();
        gone.into_iter().for_each(|dot| self.remove(dot));
        self.context.merge(dots);
    }

    pub(super) fn has(&self, dot: Dot) -> bool {
        self.places.contains_key(&dot)
    }

    /// The dots that stand of those in a context.
    fn dots_in(&self, context: &Context) -> impl Iterator<Item = Dot> {
        context.spans().flat_map(|(author, first, last)| {
            let of = |number| Dot { author, number };
            self.places.range(of(first)..=of(last)).map(|(dot, _)| *dot)
        })
    }

    fn remove(&mut self, dot: Dot) {
        let Some(key) = self.places.remove(&dot) else { return };
        let dots = self.entries.get_mut(&key).expect("a dot's key has it");
        let value = dots.remove(&dot).expect("it is there");
        self.bytes -= cost(&key, &value);
        self.sum ^= dot.hash();
        if dots.is_empty() {
            self.entries.remove(&key);
        }
    }

    fn cost_of(&self, dot: Dot) -> usize {
        let key = &self.places[&dot];
        cost(key, &self.entries[key][&dot])
    }
}

/// Pieces of a store that are being filled.
struct Pieces {
    done: Vec<Bytes>,
    piece: Store,
    room: usize,
    bytes_max: usize,
}

impl Pieces {
    /// A piece that has room for so much, if any can.
    fn with_room(&mut self, cost: usize) -> Option<&mut Store> {
        let room_max = self.bytes_max.saturating_sub(EMPTY_COST_MAX);
        if cost > room_max {
            return None;
        }
        if cost > self.room {
            self.end();
            self.room = room_max;
        }
        self.room -= cost;
        Some(&mut self.piece)
    }

    fn end(&mut self) {
        let piece = std::mem::take(&mut self.piece);
        if !piece.is_empty() {
            let bytes = piece.encode();
            assert!(bytes.len() <= self.bytes_max, "a piece of {} bytes", bytes.len());
            self.done.push(bytes);
        }
    }

    fn finish(mut self) -> Vec<Bytes> {
        self.end();
        self.done
    }
}

/// Why bytes are no store. The peer's fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum StoreError {
    /// They do not say what a store would.
    #[error("not what a soft state is made of")]
    Malformed,
    /// Something comes after it.
    #[error("bytes are left over after a soft state")]
    Overlong,
}

/// A store as it travels: authors go by where they stand in the context.
#[derive(Serialize, Deserialize)]
pub(super) struct FlatStore {
    context: Context,
    entries: Vec<(Bytes, Vec<FlatDot>)>,
}

/// The author, the number and the value.
type FlatDot = (u32, u64, Bytes);

impl TryFrom<FlatStore> for Store {
    type Error = Misplaced;

    fn try_from(FlatStore { context, entries }: FlatStore) -> Result<Self, Misplaced> {
        let authors: Vec<Author> = context.authors().collect();
        let room = READ_BYTES_MAX - context.size();
        let mut store = Self::default();
        for (key, dots) in entries {
            if key.len() > Self::KEY_BYTES_MAX || store.entries.contains_key(&key) {
                return Err(Misplaced);
            }
            for (author, number, value) in dots {
                let author = *authors.get(author as usize).ok_or(Misplaced)?;
                let dot = Dot { author, number };
                let is_right = context.has(dot) && !store.has(dot);
                if !is_right || value.len() > Self::VALUE_BYTES_MAX {
                    return Err(Misplaced);
                }
                store.put(key.clone(), dot, value);
                if store.bytes > room {
                    return Err(Misplaced);
                }
            }
        }
        store.context = context;
        Ok(store)
    }
}

impl From<Store> for FlatStore {
    fn from(store: Store) -> Self {
        let authors: BTreeMap<Author, u32> = store.context.authors().zip(0..).collect();
        let entry = |(key, dots): (Bytes, BTreeMap<Dot, Bytes>)| {
            let dots = dots.into_iter();
            (key, dots.map(|(dot, value)| (authors[&dot.author], dot.number, value)).collect())
        };
        Self { entries: store.entries.into_iter().map(entry).collect(), context: store.context }
    }
}

/// A dot stands where none can.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("a dot stands twice, or is not in the context, or its key, value or all is too long")]
pub(super) struct Misplaced;

/// What a value under a key counts for.
fn cost(key: &Bytes, value: &Bytes) -> usize {
    key.len() + value.len() + DOT_COST
}

/// What a store that is read may count for: a delta has what it brings, which dots are gone, and
/// which gaps are closed, each of which is no more than the largest state.
pub(super) const READ_BYTES_MAX: usize = 3 * Store::MERGED_BYTES_MAX;

/// What a value counts for beside key and value: the most that their lengths take when written, how
/// many dots the key has, the author's place and the number.
const DOT_COST: usize = 2 + 3 + 3 + 3 + 9;

/// The most bytes that a dot, or a span, takes when written beside key and value: their lengths and
/// how many dots the key has; the author's place and the number; in the context the author, how
/// many spans it has, and a span.
const DOT_COST_MAX: usize = 2 + 3 + 1 + 5 + 9 + 8 + 3 + 18;

/// The most bytes that a store of nothing takes when written: how many authors, how many keys.
const EMPTY_COST_MAX: usize = 5 + 5;
