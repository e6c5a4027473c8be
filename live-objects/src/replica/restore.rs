//! Restoring: a state from the stream of another member's snapshot, however it is cut into pieces.
//!
//! The pieces come from peers, so nothing that they hold may panic here. Records are given to the
//! state as they become whole; whether they were the right ones is known with the end record, so
//! nobody sees the state before.

use bytes::{Buf, BytesMut};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::State;
use super::snapshot::{END, HASH_LEN, Snapshot};

/// Why a state was not restored. A replica that met one has no state until it is founded, or
/// restored from the beginning.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum RestoreError {
    /// The provider's fault, or that of a state whose records another version cannot read.
    #[error("a record of the state cannot be read: do all members run the same version?")]
    Record,
    /// The provider's fault: a record is longer than [`Snapshot::RECORD_BYTES_MAX`].
    #[error("a record of the state is {0} bytes long, longer than any may be")]
    TooLong(u32),
    /// The provider's fault, or that of a state whose records are not the same at every member: the
    /// hash in the end record is not that of the records that came.
    #[error("the state that came is not the one that was sent")]
    Hash,
    /// The provider's fault: the last piece ends before the end record does, or goes on after it.
    #[error("the state does not end where its last piece does")]
    End,
    /// The module's fault: a piece does not follow the one before it.
    #[error("a piece of the state begins at byte {offset}, not at {expected}")]
    Gap {
        /// Where it begins.
        offset: u64,
        /// Where it was to begin.
        expected: u64,
    },
}

/// A state of which not all pieces have come.
pub(super) struct Restoring<S> {
    state: S,
    /// What came and is not a whole record yet.
    pending: BytesMut,
    /// How much came.
    offset: u64,
    /// Over all whole records.
    hasher: Sha256,
    /// The end record came, and was right.
    is_ended: bool,
}

impl<S: State> Restoring<S> {
    pub(super) fn new(initial: S) -> Self {
        let (pending, hasher) = (BytesMut::new(), Sha256::new());
        Self { state: initial, pending, offset: 0, hasher, is_ended: false }
    }

    /// Takes the next piece in.
    pub(super) fn take(&mut self, offset: u64, piece: &[u8]) -> Result<(), RestoreError> {
        if offset != self.offset {
            return Err(RestoreError::Gap { offset, expected: self.offset });
        }
        self.offset += piece.len() as u64;
        self.pending.extend_from_slice(piece);
        while !self.is_ended && self.next()? {}
        if self.is_ended && !self.pending.is_empty() {
            return Err(RestoreError::End);
        }
        Ok(())
    }

    /// The state, after its last piece.
    pub(super) fn finish(self) -> Result<S, RestoreError> {
        if self.is_ended { Ok(self.state) } else { Err(RestoreError::End) }
    }

    /// Takes in the next record. False if it is not whole yet.
    fn next(&mut self) -> Result<bool, RestoreError> {
        let Some((prefix, behind)) = self.pending.split_first_chunk() else { return Ok(false) };
        let length = u32::from_be_bytes(*prefix);
        if length == END {
            let Some(hash) = behind.get(..HASH_LEN) else { return Ok(false) };
            if *hash != *self.hasher.finalize_reset() {
                return Err(RestoreError::Hash);
            }
            self.is_ended = true;
            self.pending.advance(prefix.len() + HASH_LEN);
            return Ok(true);
        }
        let bytes = length as usize;
        if bytes > Snapshot::RECORD_BYTES_MAX {
            return Err(RestoreError::TooLong(length));
        }
        let Some(record) = behind.get(..bytes) else { return Ok(false) };
        self.hasher.update(prefix);
        self.hasher.update(record);
        self.state.restore(record)?;
        self.pending.advance(prefix.len() + bytes);
        Ok(true)
    }
}
