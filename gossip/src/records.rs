//! The table of records: what members publish, under which keys of which objects.
//!
//! Records travel as news, and what news missed is mended by comparing digests, both as in the
//! table of members (Demers et al., PODC 1987, sections 1.3 and 1.4). A record is *shown* while its
//! publisher is up in the life that wrote it. The digest is that of all values that are shown, so
//! two nodes that believe the same of the members, and hold the same of what these publish, agree;
//! what each remembers of the departed, or of what was withdrawn, does not count.
//!
//! A withdrawn record stays for a while, or an old rumor would bring the value back. Should one
//! come back after that, its publisher withdraws it again: as with members, nobody else writes what
//! is said in a node's name.
//!
//! Where there are many members, each *keeps* the records of one part of the keys alone
//! (`affinity`); beside these it has what it publishes itself. What it does not keep it neither
//! compares with others nor passes on.
//!
//! Invariants: `publishers` and `hashes` hold the keys of all rows, each once; but of records with
//! one hash, of which somebody can make two of his own with much effort, `hashes` holds the one
//! that came first, and the others are not told. What travels is in `hashes`. The sums are the
//! exclusive or of the hashes of all values that are kept and shown, by the first byte of the hash;
//! the total is that of these.

pub(crate) mod affinity;
mod inventory;
mod own;
mod record;
mod room;
mod row;
pub(crate) mod witnesses;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use live_objects::{Incarnation, Listing, Member, NodeId, ObjectId, Rng};
use serde::{Deserialize, Serialize};

use self::affinity::Part;
use self::inventory::SUMS;
pub(crate) use self::inventory::{Hashes, Inventory};
pub(crate) use self::record::{AbsurdRecord, RECORD_BYTES_MAX, Record, RecordKey, Version, place};
use self::room::Spare;
use self::row::Row;
use crate::knowledge::Source;
use crate::queue::Queue;
use crate::wire::RECORD_LEN_MIN;

/// All records that this node keeps, and which of them travel.
pub(crate) struct Records {
    me: Member,
    version: Version,
    rows: BTreeMap<RecordKey, Row>,
    /// In their order. Most publish but one, for which a set would be ten times as large. Whoever
    /// removes many goes from the last on, which moves the fewest.
    publishers: BTreeMap<NodeId, Vec<RecordKey>>,
    hashes: BTreeMap<u64, RecordKey>,
    sums: Box<[u64; SUMS]>,
    /// The exclusive or of all sums.
    total: u64,
    /// The part of the keys that this node keeps.
    part: Part,
    /// By their hashes.
    queue: Queue<u64>,
    feedback: u32,
    /// What may give way to others.
    spare: Spare,
    /// What this node published where others said something in its name, and when it says so again.
    contested: BTreeMap<RecordKey, (u64, Bytes)>,
    /// What was shown, and gave way.
    given_way: Vec<RecordKey>,
}

/// Which records are meant: each have a table of their own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Collection {
    /// Of names, which all nodes keep.
    Claims,
    /// What is published in directories.
    Entries,
}

/// How a record was heard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Hearing {
    pub(crate) round: u64,
    /// Whether its publisher is up in the life that wrote it.
    pub(crate) is_up: bool,
    /// Whether this node knows its publisher, and so would hear of it if it were not.
    pub(crate) is_watched: bool,
    pub(crate) source: Source,
}

/// What became of a record that was heard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Merged {
    /// The table knew better, or just that.
    Known,
    /// The table changed.
    Changed,
    /// It would have been one too many.
    Refused,
    /// It was said in this node's name, and this node overruled it.
    Overruled,
    /// It is for others to keep.
    Elsewhere,
}

/// What two nodes compare.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RecordsDigest {
    pub(crate) total: u64,
    /// Whether no news of records is under way at this node, or so much that it would take long.
    pub(crate) is_quiet: bool,
}

impl Records {
    /// The most records, those included that were withdrawn.
    pub(crate) const MAX: usize = 32_768;
    /// The most of one publisher.
    pub(crate) const PUBLISHER_MAX: usize = 4_096;
    /// The most that is shown of those whom this node does not know, and of one of them.
    const STRANGERS_MAX: usize = Self::MAX / 4 * 3;
    const STRANGER_MAX: usize = 512;

    /// An empty table of a node whose life began at this time.
    pub(crate) fn new(me: Member, unix_ms: u64, feedback: u32, rng: Rng) -> Self {
        Self {
            me,
            version: Version::at_start(unix_ms),
            rows: BTreeMap::new(),
            publishers: BTreeMap::new(),
            hashes: BTreeMap::new(),
            sums: Box::new([0; SUMS]),
            total: 0,
            part: Part::ALL,
            queue: Queue::new(rng),
            feedback,
            spare: Spare::default(),
            contested: BTreeMap::new(),
            given_way: Vec::new(),
        }
    }

    /// From now on this node keeps the records of this part. What it kept of others, and does not
    /// from now on, is dropped.
    pub(crate) fn set_part(&mut self, part: Part) {
        self.part = part;
        let keys: Vec<RecordKey> = self.rows.keys().cloned().collect();
        for key in keys {
            let is_kept = part.has(key.place());
            if !is_kept && key.publisher != self.me.node {
                self.remove(&key);
                continue;
            }
            self.toggle(&key);
            let row = self.rows.get_mut(&key).expect("it was just there");
            row.is_kept = is_kept;
            if !is_kept {
                self.queue.remove(&row.hash);
            }
            self.toggle(&key);
        }
    }

    /// Whether this node keeps what is at home in a place.
    pub(crate) fn keeps(&self, place: NodeId) -> bool {
        self.part.has(place)
    }

    /// What a node has published in a part of the keys: how much, and the exclusive or of the
    /// hashes.
    pub(crate) fn sum_of(&self, publisher: NodeId, part: Part) -> (u32, u64) {
        let shown = self.keys_of(publisher).filter(|key| part.has(key.place()));
        let rows = shown.map(|key| &self.rows[key]);
        let hashes = rows.filter(|row| row.is_published()).map(|row| row.hash);
        hashes.fold((0, 0), |(count, sum), hash| (count + 1, sum ^ hash))
    }

    /// Takes in what was heard, of this hash, unless it was heard before ([`Records::hear_again`]);
    /// what changed is news, but see [`Source::Newcomer`].
    pub(crate) fn merge(&mut self, record: Record, hash: u64, hearing: Hearing) -> Merged {
        let held = self.rows.get(&record.key);
        if let Some(held) = held.filter(|held| held.precedence() > record.precedence()) {
            // Who tells of what was withdrawn is told so.
            if hearing.source != Source::News && held.value.is_none() {
                self.spread(held.hash, &record.key);
            }
            return Merged::Known;
        }
        let (key, is_new) = (record.key.clone(), held.is_none());
        if key.publisher == self.me.node {
            return self.overrule(record, hearing.round);
        }
        if !self.part.has(key.place()) {
            return Merged::Elsewhere;
        }
        if record.value.is_none() && is_new && hearing.source != Source::News {
            return Merged::Known;
        }
        let is_shown = hearing.is_up && record.value.is_some();
        if !(if is_shown { self.make_room(&key, hearing.is_watched) } else { self.has_room(&key) })
        {
            return Merged::Refused;
        }
        let shown = (hearing.is_up, hearing.is_watched);
        // What all believe of its publisher alone is not passed on.
        let is_hearsay = record.version <= Version::HEARSAY_MAX;
        let was_news = self.put(record, hash, shown, hearing.round);
        if is_hearsay && (was_news || hearing.source != Source::Newcomer) {
            self.spread(hash, &key);
        }
        Merged::Changed
    }

    /// Whether just this is held, as of most that is told. Then it is news to fewer.
    pub(crate) fn hear_again(&mut self, record: &Record, hash: u64) -> bool {
        // By the hash, which is found sooner than the key.
        let is_held = self.hashes.get(&hash) == Some(&record.key);
        if is_held {
            self.queue.raise(&hash, self.feedback);
        }
        is_held || self.rows.get(&record.key).is_some_and(|held| held.says(&record.key, record))
    }

    /// From now on a node is up in this life, or in none; lives that others replaced are over.
    /// Gives what is shown from now on, or no more.
    #[must_use]
    pub(crate) fn on_member(
        &mut self,
        node: NodeId,
        up: Option<Incarnation>,
        replaced: &BTreeSet<Incarnation>,
        round: u64,
    ) -> Vec<RecordKey> {
        let mut changed = Vec::new();
        let keys: Vec<RecordKey> = self.keys_of(node).cloned().collect();
        for key in keys.into_iter().rev() {
            let row = &self.rows[&key];
            let is_other = row.is_shown != (up == Some(row.incarnation));
            if replaced.contains(&row.incarnation) {
                self.remove(&key);
                changed.push(key);
            } else if is_other || !row.is_watched {
                self.toggle(&key);
                let row = self.rows.get_mut(&key).expect("just seen");
                row.is_watched = true;
                if is_other {
                    (row.is_shown, row.since) = (!row.is_shown, round);
                }
                self.toggle(&key);
                changed.extend(is_other.then_some(key));
            }
        }
        changed
    }

    /// This node would not hear of it any more if a node were gone.
    pub(crate) fn unwatch(&mut self, node: NodeId) {
        let keys: Vec<RecordKey> = self.keys_of(node).cloned().collect();
        for key in keys {
            self.toggle(&key);
            let row = self.rows.get_mut(&key).expect("its publisher has the keys of rows");
            row.is_watched = false;
            self.toggle(&key);
        }
    }

    /// The version of what is held of this.
    pub(crate) fn version(&self, key: &RecordKey) -> Option<Version> {
        self.rows.get(key).map(|row| row.version)
    }

    /// Forgets what was withdrawn long ago, and what those published whom nobody knows. What nobody
    /// can go above but its publisher stays as long as that life of him is known: he could not
    /// withdraw it again so that all hear of it.
    pub(crate) fn expire(&mut self, round: u64, is_known: impl Fn(Member) -> bool) {
        let is_over = |(key, row): &(&RecordKey, &Row)| {
            let is_lost = !row.is_shown && !is_known(row.member(key));
            let is_for_life = row.version >= Version::HEARSAY_MAX && is_known(row.member(key));
            row.value.is_none() && !is_for_life && round >= row.since + WITHDRAWN_ROUNDS
                || is_lost && round >= row.since + UNKNOWN_ROUNDS
        };
        let over: Vec<RecordKey> =
            self.rows.iter().filter(is_over).map(|(key, _)| key.clone()).collect();
        over.iter().rev().for_each(|key| self.remove(key));
    }

    /// All that a node published or withdrew.
    pub(crate) fn keys_of(&self, node: NodeId) -> impl Iterator<Item = &RecordKey> {
        self.publishers.get(&node).into_iter().flatten()
    }

    /// What is published in an object under a key.
    pub(crate) fn at(&self, object: ObjectId, key: &[u8]) -> impl Iterator<Item = Listing> {
        let shown = self.of_key(object, key).filter(|(_, row)| row.is_shown);
        shown.filter_map(|(at, row)| {
            let (key, publisher) = (at.key.clone(), row.member(at));
            Some(Listing { key, publisher, value: row.value.clone()? })
        })
    }

    /// What is published in an object under a key, or under keys that begin so: what this node
    /// keeps of it, and its own.
    pub(crate) fn sought(&self, object: ObjectId, sought: &Sought) -> impl Iterator<Item = Record> {
        let key = sought.key();
        let begins = move |(found, _): &(&RecordKey, &Row)| {
            found.object == object && found.key.starts_with(key)
        };
        let is_whole = matches!(sought, Sought::Key(_));
        let is_right = move |key_found: &RecordKey| !is_whole || key_found.key.len() == key.len();
        let rows = self.rows.range(first_of(object, key)..).take_while(begins);
        let rows = rows.filter(move |(found, row)| row.is_published() && is_right(found));
        rows.map(|(key, row)| row.record(key))
    }

    /// What another node may compare with its own, if there is anything.
    pub(crate) fn digest(&self, sent_max: u32) -> Option<RecordsDigest> {
        let is_quiet = self.queue.is_quiet(sent_max) || self.queue.len() > NEWS_MAX;
        (!self.rows.is_empty()).then_some(RecordsDigest { total: self.total, is_quiet })
    }

    /// How many there are, those included that were withdrawn or are not shown.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Somebody knows all that this node does. That counts for less than it does with members: a
    /// difference is dearer to mend.
    pub(crate) fn all_known(&mut self) {
        self.queue.raise_all(1);
    }

    /// Adds news to a packet: what fits into `room` bytes and was not just told by its receiver.
    pub(crate) fn pick(&mut self, told: &[Record], room: usize, sent_max: u32) -> Vec<Record> {
        let (mut room, mut picked) = (room, Vec::new());
        let (rows, hashes) = (&self.rows, &self.hashes);
        self.queue.offer(sent_max, |hash| {
            if room < RECORD_LEN_MIN {
                return false;
            }
            let key = &hashes[hash];
            let row = &rows[key];
            let is_told = || told.iter().any(|record| row.says(key, record));
            let rest = room.checked_sub(row.encoded_len(key)).filter(|_| !is_told());
            room = rest.unwrap_or(room);
            rest.inspect(|_| picked.push(row.record(key))).is_some()
        });
        self.queue.done(sent_max);
        picked
    }

    /// What is held of an object under a key, shown or not.
    fn of_key(&self, object: ObjectId, key: &[u8]) -> impl Iterator<Item = (&RecordKey, &Row)> {
        let rows = self.rows.range(first_of(object, key)..);
        rows.take_while(move |(at, _)| at.object == object && at.key == key)
    }

    /// How many records of a publisher are held, those included that were withdrawn.
    pub(crate) fn count_of(&self, publisher: NodeId) -> usize {
        self.publishers.get(&publisher).map_or(0, Vec::len)
    }

    pub(crate) fn record(&self, key: &RecordKey) -> Option<Record> {
        self.rows.get(key).map(|row| row.record(key))
    }

    /// What has this key and this hash travels from now on, unless another took the hash first.
    fn spread(&mut self, hash: u64, key: &RecordKey) {
        if self.hashes.get(&hash) == Some(key) {
            self.queue.add(hash);
        }
    }

    /// Puts a record with this hash in its place, or in that of what it overrules. Tells whether
    /// that was news.
    fn put(
        &mut self,
        record: Record,
        hash: u64,
        (is_shown, is_watched): (bool, bool),
        round: u64,
    ) -> bool {
        let mut was_news = false;
        let Record { key, incarnation, version, value } = record;
        let is_kept = self.part.has(key.place());
        self.toggle(&key);
        let since = round;
        let row = Row { incarnation, version, value, hash, is_kept, is_shown, is_watched, since };
        match self.rows.insert(key.clone(), row) {
            Some(before) if before.hash == hash => {}
            Some(before) => was_news = self.forget_hash(before.hash, &key),
            None => {
                let keys = self.publishers.entry(key.publisher);
                let keys = keys.or_insert_with(|| Vec::with_capacity(1));
                keys.insert(keys.partition_point(|other| *other < key), key.clone());
            }
        }
        self.hashes.entry(hash).or_insert_with(|| key.clone());
        self.toggle(&key);
        was_news
    }

    /// No record under this key has this hash any more. Tells whether it was news.
    fn forget_hash(&mut self, hash: u64, key: &RecordKey) -> bool {
        let is_its = self.hashes.get(&hash) == Some(key);
        if is_its {
            self.hashes.remove(&hash);
        }
        is_its && self.queue.remove(&hash)
    }

    fn remove(&mut self, key: &RecordKey) {
        self.toggle(key);
        if let Some(row) = self.rows.remove(key) {
            self.forget_hash(row.hash, key);
        }
        let keys = self.publishers.get_mut(&key.publisher).expect("a row's publisher has one");
        keys.remove(keys.binary_search(key).expect("its publisher has the key of each row"));
        if keys.is_empty() {
            self.publishers.remove(&key.publisher);
        }
    }

    /// Counts a row in if it was not counted, and out if it was; and among what may give way.
    fn toggle(&mut self, key: &RecordKey) {
        let Some(row) = self.rows.get(key) else { return };
        if row.counts() {
            self.sums[(row.hash >> 56) as usize] ^= row.hash;
            self.total ^= row.hash;
        }
        self.spare.toggle(key, row);
    }
}

/// What somebody looks for in an object.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Sought {
    /// What is published under this key.
    Key(Bytes),
    /// What is published under keys that begin so.
    Prefix(Bytes),
}

impl Sought {
    pub(crate) const fn key(&self) -> &Bytes {
        match self {
            Self::Key(key) | Self::Prefix(key) => key,
        }
    }
}

/// Before all records of an object from a key on.
fn first_of(object: ObjectId, key: &[u8]) -> RecordKey {
    let publisher = NodeId::from_bytes([0; NodeId::LEN]);
    RecordKey { object, key: Bytes::copy_from_slice(key), publisher }
}

/// So many records are told as news; of more, which each node would tell some ten times, others
/// hear sooner and cheaper when tables are compared.
pub(crate) const NEWS_MAX: usize = 64;

/// For how many rounds a withdrawn record is remembered.
const WITHDRAWN_ROUNDS: u64 = 300;

/// For how many rounds a record is kept whose publisher nobody told of.
const UNKNOWN_ROUNDS: u64 = 150;

#[cfg(test)]
pub(crate) mod tests;
