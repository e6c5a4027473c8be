//! What a node publishes: a record, and which of two is the later.
//!
//! A record belongs to its publisher, which alone writes it, and to whom nobody else's word is an
//! answer. So two of them are compared by the publisher's own *version*, which grows with each
//! write and, as a generation does, from one life of a node to the next.
//!
//! Invariant: [`Record::precedence`] is a total order of all that can be said under one key by one
//! publisher. A table keeps the greatest, so in whatever order and however often records are heard
//! the outcome is the same.

use bytes::Bytes;
use live_objects::{Incarnation, Member, NodeId, ObjectId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::digest::{halves, mix};

/// The longest key and value together, in bytes: a record fits into one packet.
pub(crate) const RECORD_BYTES_MAX: usize = 1_000;

/// Where a record stands. The order of the fields is that of the answers to who asks.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct RecordKey {
    pub(crate) object: ObjectId,
    pub(crate) key: Bytes,
    pub(crate) publisher: NodeId,
}

impl RecordKey {
    /// Where in the tree of zones the key is at home: among ids, which are hashes too. All nodes
    /// must compute the same, from object and key alone.
    pub(crate) fn place(&self) -> NodeId {
        place(self.object, &self.key)
    }

    /// Key and value together, in bytes.
    pub(crate) fn len_with(&self, value: Option<&Bytes>) -> usize {
        self.key.len() + value.map_or(0, Bytes::len)
    }
}

/// Where what is published in an object under a key is at home.
pub(crate) fn place(object: ObjectId, key: &[u8]) -> NodeId {
    let words = halves(object.as_bytes()).into_iter().chain([key.len() as u64]);
    let high = words.chain(words_of(key)).fold(0, |hash, word| mix(hash ^ word));
    NodeId::from_bytes(((u128::from(high) << 64) | u128::from(mix(high))).to_be_bytes())
}

/// Bytes in words of eight.
fn words_of(bytes: &[u8]) -> impl Iterator<Item = u64> {
    let word = |bytes: &[u8]| bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
    bytes.chunks(8).map(word)
}

/// What a publisher says under a key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub(crate) struct Record {
    pub(crate) key: RecordKey,
    /// In which of its lives the publisher says so.
    pub(crate) incarnation: Incarnation,
    pub(crate) version: Version,
    /// None if it was withdrawn.
    pub(crate) value: Option<Bytes>,
}

impl Record {
    /// A record as it was read.
    pub(crate) fn checked(self) -> Result<Self, AbsurdRecord> {
        let len = self.len();
        if len > RECORD_BYTES_MAX { Err(AbsurdRecord::TooLong(len)) } else { Ok(self) }
    }

    /// Of two records under one key of one publisher the greater holds.
    pub(crate) fn precedence(&self) -> Precedence<'_> {
        Precedence::of(self.version, self.incarnation, &self.value)
    }

    /// Who says so.
    pub(crate) fn member(&self) -> Member {
        Member { node: self.key.publisher, incarnation: self.incarnation }
    }

    /// Key and value together, in bytes.
    pub(crate) fn len(&self) -> usize {
        self.key.len_with(self.value.as_ref())
    }

    /// By which two nodes find out whether both have it. All must compute the same: it is the first
    /// eight bytes of SHA-256 over object, publisher, incarnation, version, the length of the key,
    /// the key, and the value, with a 1 before it; or a 0, if there is none. So nobody can make a
    /// record of the hash of another's, which takes 2^64 attempts. It takes a microsecond, and is
    /// computed once for each record that is heard.
    pub(crate) fn hash(&self) -> u64 {
        let RecordKey { object, key, publisher } = &self.key;
        let mut hash = Sha256::new();
        hash.update(object.as_bytes());
        hash.update(publisher.as_bytes());
        hash.update(self.incarnation.as_bytes());
        hash.update(self.version.0.to_be_bytes());
        hash.update((key.len() as u64).to_be_bytes());
        hash.update(key);
        hash.update([u8::from(self.value.is_some())]);
        hash.update(self.value.as_deref().unwrap_or_default());
        let hash: [u8; 32] = hash.finalize().into();
        u64::from_be_bytes(hash[..8].try_into().expect("eight of its bytes"))
    }

    /// Whether it says in another's name what only he is believed, where this version is held.
    pub(crate) fn is_forged(&self, from: NodeId, held: Option<Version>) -> bool {
        from != self.key.publisher
            && self.version > Version::HEARSAY_MAX
            && held.is_none_or(|held| held < self.version)
    }
}

/// What counts between two records of one publisher under one key, in this order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Precedence<'a> {
    version: Version,
    /// Whether it withdraws what nobody can go above by hearsay: else a value that somebody made up
    /// could not be withdrawn by those who pass on what its publisher says.
    is_last_word: bool,
    incarnation: Incarnation,
    value: &'a Option<Bytes>,
}

impl<'a> Precedence<'a> {
    pub(super) fn of(version: Version, incarnation: Incarnation, value: &'a Option<Bytes>) -> Self {
        let is_last_word = version == Version::HEARSAY_MAX && value.is_none();
        Self { version, is_last_word, incarnation, value }
    }

    pub(super) const fn is_last_word(&self) -> bool {
        self.is_last_word
    }
}

/// The number that a publisher raises with each write. It begins with the clock's milliseconds, so
/// that a node's next life begins higher; if the clock was set back the node hears of its former
/// records, and goes above these.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Version(u64);

impl Version {
    /// The highest that is accepted: one that cannot be raised would lock its publisher out.
    pub(crate) const MAX: Self = Self(1 << 62);
    /// The highest that is taken from others than the publisher: whatever they make up he can
    /// override. The same goes for generations. A withdrawal of this version overrides all values.
    pub(crate) const HEARSAY_MAX: Self = Self(Self::MAX.0 / 2);

    /// Below all that a life which begins now writes.
    pub(crate) fn at_start(unix_ms: u64) -> Self {
        Self(unix_ms.min(Self::HEARSAY_MAX.0))
    }

    /// One higher than this one, unless this is the highest.
    pub(crate) fn raised(self) -> Self {
        Self(self.0 + 1).min(Self::MAX)
    }
}

impl TryFrom<u64> for Version {
    type Error = AbsurdRecord;

    fn try_from(number: u64) -> Result<Self, AbsurdRecord> {
        if number > Self::MAX.0 { Err(AbsurdRecord::Version(number)) } else { Ok(Self(number)) }
    }
}

impl From<Version> for u64 {
    fn from(version: Version) -> Self {
        version.0
    }
}

/// A record as it is written by serde.
#[derive(Clone, Serialize, Deserialize)]
struct Written {
    object: ObjectId,
    publisher: Member,
    version: u64,
    key: Vec<u8>,
    value: Option<Vec<u8>>,
}

impl From<Record> for Written {
    fn from(record: Record) -> Self {
        Self {
            object: record.key.object,
            publisher: record.member(),
            version: record.version.0,
            key: record.key.key.into(),
            value: record.value.map(Vec::from),
        }
    }
}

impl TryFrom<Written> for Record {
    type Error = AbsurdRecord;

    fn try_from(written: Written) -> Result<Self, AbsurdRecord> {
        let Written { object, publisher, version, key, value } = written;
        let key = RecordKey { object, key: key.into(), publisher: publisher.node };
        let version = Version::try_from(version)?;
        let value = value.map(Bytes::from);
        Self { key, incarnation: publisher.incarnation, version, value }.checked()
    }
}

/// What no node that keeps to the protocol says. The peer's fault; nothing changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub(crate) enum AbsurdRecord {
    #[error("version {0} is above all that a publisher can reach")]
    Version(u64),
    #[error("a record of {0} bytes, more than {RECORD_BYTES_MAX}")]
    TooLong(usize),
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::entry::tests::entry;
    use proptest::prelude::*;

    pub(crate) fn record(publisher: u8, key: &'static [u8], version: u64) -> Record {
        let Member { node, incarnation } = entry(publisher, 1).member;
        let object = ObjectId::from_bytes([3; ObjectId::LEN]);
        let key = RecordKey { object, key: Bytes::from_static(key), publisher: node };
        let value = Some(Bytes::from_static(b"value"));
        Record { key, incarnation, version: Version(version), value }
    }

    /// Any record at all.
    pub(crate) fn records() -> impl Strategy<Value = Record> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..20);
        let value = prop::option::of(bytes());
        (any::<[[u8; 16]; 3]>(), 0..=Version::MAX.0, bytes(), value).prop_map(
            |([object, publisher, incarnation], version, key, value)| Record {
                key: RecordKey {
                    object: ObjectId::from_bytes(object),
                    key: key.into(),
                    publisher: NodeId::from_bytes(publisher),
                },
                incarnation: Incarnation::from_bytes(incarnation),
                version: Version(version),
                value: value.map(Bytes::from),
            },
        )
    }

    /// Two builds that hash differently would exchange their records for ever.
    #[test]
    fn golden_hash() {
        assert_eq!(record(1, b"a key of some length", 7).hash(), 0x8dce_6622_5161_9a71);
    }

    /// Two builds that place differently would look for things where they are not.
    #[test]
    fn golden_place() {
        let RecordKey { object, .. } = record(1, b"", 7).key;
        let place = |key: &[u8]| u128::from_be_bytes(*place(object, key).as_bytes());
        assert_eq!(place(b"a key of some length"), 0x3e95_639a_5cd9_c2ac_be65_b001_fbf7_f729);
        assert_ne!(place(b""), place(b"\0"));
        assert_eq!(record(1, b"k", 7).key.place(), record(2, b"k", 9).key.place());
    }

    #[test]
    fn what_is_another_record_has_another_hash() {
        let hash = record(1, b"key", 7).hash();
        let with = |value| Record { value, ..record(1, b"key", 7) };
        let others = [record(2, b"key", 7), record(1, b"kez", 7), record(1, b"key", 8)];
        let values = [None, Some(""), Some("\0"), Some("another")];
        let others: Vec<Record> =
            others.into_iter().chain(values.map(|value| with(value.map(Bytes::from)))).collect();
        assert!(others.iter().all(|other| other.hash() != hash));
        assert_ne!(record(1, b"", 7).hash(), record(1, b"\0", 7).hash());
    }

    #[test]
    fn no_version_is_beyond_reach() {
        assert_eq!(Version::try_from(u64::MAX), Err(AbsurdRecord::Version(u64::MAX)));
        let mad_clock = Version::at_start(u64::MAX);
        assert!(mad_clock.raised() > mad_clock);
        assert_eq!(Version::MAX.raised(), Version::MAX, "no overflow");
    }

    #[test]
    fn a_record_is_so_long_at_most() {
        let mut long = record(1, b"key", 7);
        long.value = Some(vec![0; RECORD_BYTES_MAX - 3].into());
        assert_eq!(long.clone().checked(), Ok(long.clone()));
        long.value = Some(vec![0; RECORD_BYTES_MAX - 2].into());
        assert_eq!(long.checked(), Err(AbsurdRecord::TooLong(RECORD_BYTES_MAX + 1)));
    }
}
