//! Snapshots: a state as it was at a cut, as a stream of bytes that is the same at every member.
//!
//! The stream is each record behind its length (four bytes, big endian), then an *end record*: four
//! bytes of ones and the SHA-256 over all that went before, by which a joiner knows that it has the
//! state that the others have. Since every member's stream is the same, a joiner that loses one
//! provider goes on with another at the byte where it stood.
//!
//! Invariant: a snapshot holds no more of its stream than the records that its readers stand in.

use bytes::buf::Chain;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use sha2::{Digest, Sha256};

/// A state as it was when [`State::freeze`](crate::State::freeze) was called, whatever is applied
/// since.
pub trait Frozen: Send {
    /// What the state can be restored from: the same records, in the same order, at every member
    /// that applied the same updates. Each is [`Snapshot::RECORD_BYTES_MAX`] bytes long at most.
    ///
    /// They are made as they are asked for, on the node's loop: hold what each is made from, not
    /// the records.
    fn records(&self) -> Records;
}

/// The records of a frozen state, one after another.
pub type Records = Box<dyn Iterator<Item = Bytes> + Send>;

/// What a port keeps for one cut: a frozen state, and where its readers stand in its stream.
pub struct Snapshot {
    frozen: Box<dyn Frozen>,
    /// The one that was read last stands last.
    pub(super) cursors: Vec<Cursor>,
}

/// A piece of a snapshot's stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chunk {
    /// The piece. Shorter than was asked for only if it is the last.
    pub bytes: Bytes,
    /// Whether the stream ends with it.
    pub last: bool,
}

impl Snapshot {
    /// How long a record of a frozen state may be, in bytes.
    pub const RECORD_BYTES_MAX: usize = 64 << 20;

    /// How many readers may stand in a snapshot. One more, and the one that has not read for the
    /// longest time begins anew when it reads on.
    pub(crate) const CURSORS_MAX: usize = 4;

    /// A snapshot of which nothing was read.
    pub fn new(frozen: Box<dyn Frozen>) -> Self {
        Self { frozen, cursors: Vec::new() }
    }

    /// The piece of the stream from `offset` on: at least one byte and `bytes_max` at most, fewer
    /// only at the end. Reading on from where a read ended costs what is read; any other offset is
    /// reached by making the stream from its beginning.
    ///
    /// # Panics
    /// If `bytes_max` is 0, or a record is longer than [`Snapshot::RECORD_BYTES_MAX`].
    pub fn read(&mut self, offset: u64, bytes_max: usize) -> Chunk {
        assert!(bytes_max > 0, "a piece of nothing would never end");
        let place = self.cursors.iter().position(|cursor| cursor.offset == offset);
        let mut cursor = match place {
            Some(place) => self.cursors.remove(place),
            None => Cursor::new(self.frozen.records()),
        };
        cursor.skip(offset);
        let chunk = cursor.read(bytes_max);
        if !chunk.last {
            if self.cursors.len() == Self::CURSORS_MAX {
                self.cursors.remove(0);
            }
            self.cursors.push(cursor);
        }
        chunk
    }
}

/// The first eight bytes of the hash in a frozen state's end record.
pub(super) fn hash(frozen: &dyn Frozen) -> u64 {
    let mut cursor = Cursor::new(frozen.records());
    while cursor.next() {}
    let first = cursor.pending.last_ref().first_chunk().expect("the end record holds a hash");
    u64::from_be_bytes(*first)
}

/// Where a reader stands in a stream.
pub(super) struct Cursor {
    records: Records,
    /// Over all that was made so far.
    hasher: Sha256,
    /// What was made and not read, and how far into the stream it begins.
    pending: Chain<Bytes, Bytes>,
    offset: u64,
    /// The end record was made.
    is_ended: bool,
}

impl Cursor {
    fn new(records: Records) -> Self {
        let pending = Bytes::new().chain(Bytes::new());
        Self { records, hasher: Sha256::new(), pending, offset: 0, is_ended: false }
    }

    /// Goes on to `offset`, or to the end if that is before it.
    fn skip(&mut self, offset: u64) {
        while self.offset < offset && (self.pending.has_remaining() || self.next()) {
            let behind = usize::try_from(offset - self.offset).unwrap_or(usize::MAX);
            let some = behind.min(self.pending.remaining());
            self.pending.advance(some);
            self.offset += some as u64;
        }
    }

    fn read(&mut self, bytes_max: usize) -> Chunk {
        let mut bytes = BytesMut::new();
        while bytes.len() < bytes_max && (self.pending.has_remaining() || self.next()) {
            let some = (bytes_max - bytes.len()).min(self.pending.remaining());
            bytes.put((&mut self.pending).take(some));
            self.offset += some as u64;
        }
        let last = self.is_ended && !self.pending.has_remaining();
        Chunk { bytes: bytes.freeze(), last }
    }

    /// Makes the next record, when nothing of the one before is left. False after the end record.
    fn next(&mut self) -> bool {
        if self.is_ended {
            return false;
        }
        self.pending = match self.records.next() {
            Some(record) => {
                let (bytes, max) = (record.len(), Snapshot::RECORD_BYTES_MAX);
                assert!(bytes <= max, "a state froze to a record of {bytes} bytes, {max} at most");
                let prefix = (bytes as u32).to_be_bytes();
                self.hasher.update(prefix);
                self.hasher.update(&record);
                Bytes::copy_from_slice(&prefix).chain(record)
            }
            None => {
                self.is_ended = true;
                let hash = self.hasher.finalize_reset();
                Bytes::copy_from_slice(&END.to_be_bytes()).chain(Bytes::copy_from_slice(&hash))
            }
        };
        true
    }
}

/// Stands where a record's length would: what follows is the hash.
pub(super) const END: u32 = u32::MAX;
/// The bytes of that hash.
pub(super) const HASH_LEN: usize = 32;
