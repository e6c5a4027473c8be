//! What this node publishes, and what it says to what others say in its name.
//!
//! It overrules that by a higher version. There is one that nobody can go above by hearsay
//! ([`Version::HEARSAY_MAX`]), nor the publisher in what others are to pass on. So of what has that
//! version a withdrawal has precedence over all values, whoever made them up: the publisher says
//! it, and others pass it on until no value is left. What is published there is said some rounds
//! later, in a version of which others believe the publisher alone: he has to say it to each.
//!
//! Invariant: what is `contested` is not published here.

use bytes::Bytes;
use live_objects::ObjectId;

use super::record::{Record, RecordKey, Version};
use super::row::Row;
use super::{Merged, Records};

impl Records {
    /// Publishes in this node's name, or withdraws what it published. Says whether there was room.
    #[must_use]
    pub(crate) fn write(
        &mut self,
        object: ObjectId,
        key: Bytes,
        value: Option<Bytes>,
        round: u64,
    ) -> bool {
        let key = RecordKey { object, key, publisher: self.me.node };
        self.contested.remove(&key);
        self.write_above(key, value, round, None)
    }

    /// The same, if a record is to be overruled. What others say in this node's name raises the
    /// version of that alone: so high as they say nobody else might be believed of what it
    /// publishes.
    fn write_above(
        &mut self,
        key: RecordKey,
        value: Option<Bytes>,
        round: u64,
        said: Option<Version>,
    ) -> bool {
        if !self.make_room(&key, true) {
            return false;
        }
        self.version = self.version.raised();
        let held = self.rows.get(&key).map(|held| held.version);
        let above = match held.max(said) {
            // It has precedence over all values of that version, and others pass it on.
            Some(Version::HEARSAY_MAX) if value.is_none() => Version::HEARSAY_MAX,
            other => other.map_or(self.version, Version::raised),
        };
        let (incarnation, version) = (self.me.incarnation, self.version.max(above));
        let is_kept = self.part.has(key.place());
        let record = Record { key, incarnation, version, value };
        let (key, hash) = (record.key.clone(), record.hash());
        // What has the same hash by chance is not told in its place.
        if self.hashes.insert(hash, key.clone()).is_some_and(|other| other != key) {
            self.queue.remove(&hash);
        }
        self.put(record, hash, (true, true), round);
        if is_kept {
            self.spread(hash, &key);
        }
        true
    }

    /// Withdraws what this node published in an object under a key. Tells whether it had.
    pub(crate) fn withdraw(&mut self, object: ObjectId, key: Bytes, round: u64) -> bool {
        let at = RecordKey { object, key, publisher: self.me.node };
        let is_contested = self.contested.remove(&at).is_some();
        let is_published = self.rows.get(&at).is_some_and(|row| row.value.is_some());
        if is_published {
            let had_room = self.write(object, at.key, None, round);
            assert!(had_room, "it takes the place of what was published");
        }
        is_published || is_contested
    }

    /// Withdraws all that this node published in an object. Gives what that was.
    pub(crate) fn withdraw_all(&mut self, object: ObjectId, round: u64) -> Vec<RecordKey> {
        let own = self.keys_of(self.me.node).filter(|key| key.object == object);
        let own: Vec<RecordKey> = own.cloned().collect();
        let published = own.into_iter();
        published.filter(|at| self.withdraw(object, at.key.clone(), round)).collect()
    }

    /// This node publishes nothing there any more, of which no other is to hear.
    pub(crate) fn drop_own(&mut self, object: ObjectId, key: Bytes) {
        let at = RecordKey { object, key, publisher: self.me.node };
        self.contested.remove(&at);
        if self.rows.contains_key(&at) {
            self.remove(&at);
        }
    }

    /// Something was said in this node's name that it did not say, or no longer says.
    pub(super) fn overrule(&mut self, said: Record, round: u64) -> Merged {
        let held = self.rows.get(&said.key);
        // What a former life published ends with it: all drop it when they hear of this life.
        if held.is_none() && said.incarnation != self.me.incarnation {
            return Merged::Known;
        }
        let value = held.and_then(|held| held.value.clone());
        let (key, is_last) = (said.key.clone(), said.version == Version::HEARSAY_MAX);
        if is_last && said.value.is_none() && held.is_some_and(Row::is_last_word) {
            return Merged::Known;
        }
        // Others are to hear that it was never said, which they pass on, before they hear what is,
        // which they do not.
        let is_late = is_last && said.value.is_some();
        let now = if is_late { None } else { value.clone() };
        if !self.write_above(said.key, now, round, Some(said.version)) {
            return Merged::Refused;
        }
        if let Some(value) = value.filter(|_| is_late) {
            self.contested.insert(key, (round + CONTESTED_ROUNDS, value));
        }
        Merged::Overruled
    }

    /// Publishes again what was withdrawn for a while. Gives where.
    pub(crate) fn restate(&mut self, round: u64) -> Vec<RecordKey> {
        let is_due = |(_, (due, _)): &(&RecordKey, &(u64, Bytes))| *due <= round;
        let due: Vec<RecordKey> =
            self.contested.iter().filter(is_due).map(|(key, _)| key.clone()).collect();
        let mut restated = Vec::new();
        for key in due {
            let (_, value) = self.contested.remove(&key).expect("it was just there");
            if self.write_above(key.clone(), Some(value), round, Some(Version::HEARSAY_MAX)) {
                restated.push(key);
            }
        }
        restated
    }
}

/// For how many rounds it is said of a key that nothing is published there, before what is: those
/// who keep it tell each other in fewer.
const CONTESTED_ROUNDS: u64 = 8;
