//! A row of the table of records: what is held under a key.

use bytes::Bytes;
use live_objects::{Incarnation, Member};

use super::record::{Precedence, Record, RecordKey, Version};
use crate::wire::RECORD_LEN_MIN;

/// All of a record but its key.
pub(super) struct Row {
    pub(super) incarnation: Incarnation,
    pub(super) version: Version,
    pub(super) value: Option<Bytes>,
    pub(super) hash: u64,
    /// Whether it is in the part that this node keeps.
    pub(super) is_kept: bool,
    /// Whether its publisher is up in that life.
    pub(super) is_shown: bool,
    /// Whether this node would hear of it if it were not.
    pub(super) is_watched: bool,
    /// The round in which it was heard, withdrawn or hidden.
    pub(super) since: u64,
}

impl Row {
    /// Who says so, if that is its key.
    pub(super) fn member(&self, key: &RecordKey) -> Member {
        Member { node: key.publisher, incarnation: self.incarnation }
    }

    pub(super) fn precedence(&self) -> Precedence<'_> {
        Precedence::of(self.version, self.incarnation, &self.value)
    }

    /// Whether it withdraws what nobody can go above by hearsay.
    pub(super) fn is_last_word(&self) -> bool {
        self.precedence().is_last_word()
    }

    /// Whether it is this record, if that is its key.
    pub(super) fn says(&self, key: &RecordKey, record: &Record) -> bool {
        record.key == *key && self.precedence() == record.precedence()
    }

    /// How long it is when written, if that is its key.
    pub(super) fn encoded_len(&self, key: &RecordKey) -> usize {
        RECORD_LEN_MIN + key.len_with(self.value.as_ref())
    }

    pub(super) fn record(&self, key: &RecordKey) -> Record {
        let (incarnation, version, value) = (self.incarnation, self.version, self.value.clone());
        Record { key: key.clone(), incarnation, version, value }
    }

    /// Whether others are to have it too.
    pub(super) fn counts(&self) -> bool {
        self.is_kept && self.is_published()
    }

    pub(super) fn is_published(&self) -> bool {
        self.is_shown && self.value.is_some()
    }
}
