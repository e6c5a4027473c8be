//! Open directories: what holders publish, and what they ask for.
//!
//! What this node keeps it answers at once, from its own table. What others keep it asks of them
//! (`agent/errands`): what is published under one key of one member of one group, a list of one
//! member of each.
//!
//! An answer that finds no room waits, and with it all commands behind it, until its application
//! has read on.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use live_objects::{Command, DirectoryEvent, Event, Io, Listing, ObjectId, Time, Told};

use super::Agent;
use crate::records::{Collection, Record, RecordKey, Sought, place};

/// The open directories.
#[derive(Default)]
pub(super) struct Directories {
    /// Answers that wait for room.
    open: BTreeMap<ObjectId, VecDeque<DirectoryEvent>>,
    /// Those whose commands wait until questions are answered.
    waiting: Vec<ObjectId>,
}

/// Which command is to be answered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Asked {
    pub(super) object: ObjectId,
    pub(super) command: u64,
}

impl Directories {
    pub(super) fn has(&self, object: ObjectId) -> bool {
        self.open.contains_key(&object)
    }

    pub(super) fn open(&mut self, object: ObjectId) {
        self.open.insert(object, VecDeque::new());
    }

    /// Tells whether it was open.
    pub(super) fn close(&mut self, object: ObjectId) -> bool {
        self.open.remove(&object).is_some()
    }

    /// Answers an application, now or when it has read on, if it has the directory open still.
    pub(super) fn answer(
        &mut self,
        Asked { object, command }: Asked,
        listings: Vec<Listing>,
        told: Told,
        io: &mut Io<'_>,
    ) {
        let Some(waits) = self.open.get_mut(&object) else { return };
        let found = DirectoryEvent::Found { command, listings, told };
        if !waits.is_empty() || io.emit(object, Event::Directory(found.clone())).is_err() {
            waits.push_back(found);
        }
    }

    /// The application has read on.
    fn go_on(&mut self, object: ObjectId, io: &mut Io<'_>) {
        let Some(waits) = self.open.get_mut(&object) else { return };
        while let Some(found) = waits.front() {
            if io.emit(object, Event::Directory(found.clone())).is_err() {
                return;
            }
            waits.pop_front();
        }
    }

    fn is_free(&self, object: ObjectId) -> bool {
        self.open.get(&object).is_some_and(VecDeque::is_empty)
    }
}

impl Agent {
    /// A directory's feed holds something.
    pub(super) fn on_asks(&mut self, now: Time, object: ObjectId, io: &mut Io<'_>) {
        while self.directories.is_free(object) {
            if self.errands.is_full() {
                self.directories.waiting.push(object);
                return;
            }
            let Some(taken) = io.take(object, usize::MAX) else { return };
            let is_open_to_all = object != self.claims.directory();
            match taken.command {
                Command::Publish { key, value } if is_open_to_all => {
                    self.write(object, key, Some(value), io);
                }
                Command::Withdraw(key) if is_open_to_all => self.write(object, key, None, io),
                Command::Find(key) => {
                    let asked = Asked { object, command: taken.message };
                    self.look_for(now, asked, Sought::Key(key), io);
                }
                Command::List(prefix) => {
                    let asked = Asked { object, command: taken.message };
                    self.look_for(now, asked, Sought::Prefix(prefix), io);
                }
                _ => io.count("gossip.unknown_command"),
            }
            io.release(object, taken.message);
        }
    }

    /// The application has read on.
    pub(super) fn on_directory_drained(&mut self, now: Time, object: ObjectId, io: &mut Io<'_>) {
        self.directories.go_on(object, io);
        self.on_asks(now, object, io);
    }

    /// Some questions were answered: commands that waited for that are taken.
    pub(super) fn on_answers(&mut self, now: Time, io: &mut Io<'_>) {
        if !self.errands.is_full() {
            for object in std::mem::take(&mut self.directories.waiting) {
                self.on_asks(now, object, io);
            }
        }
    }

    /// A directory is not carried any more: what was published there is withdrawn.
    pub(super) fn close_directory(&mut self, object: ObjectId, io: &mut Io<'_>) {
        if self.directories.close(object) {
            self.directories.waiting.retain(|waiting| *waiting != object);
            self.errands.forget(object);
            for key in self.shelves.entries.records.withdraw_all(object, self.rounds) {
                self.on_written(key, io);
            }
        }
    }

    fn write(&mut self, object: ObjectId, key: Bytes, value: Option<Bytes>, io: &mut Io<'_>) {
        let publisher = self.knowledge.members().me();
        let (records, round) = (&mut self.shelves.entries.records, self.rounds);
        let is_written = match value {
            Some(value) => {
                let is_written = records.write(object, key.clone(), Some(value), round);
                if !is_written {
                    io.count("gossip.records_full");
                }
                is_written
            }
            None => records.withdraw(object, key.clone(), round),
        };
        if is_written {
            self.on_written(RecordKey { object, key, publisher }, io);
        }
    }

    /// Finds what this node keeps, and asks for the rest.
    fn look_for(&mut self, now: Time, asked: Asked, sought: Sought, io: &mut Io<'_>) {
        let object = asked.object;
        let collection = self.collection(object);
        let is_all_here = match &sought {
            _ if collection == Collection::Claims || self.shelves.depth.groups() == 1 => true,
            Sought::Key(key) => self.shelves.entries.records.keeps(place(object, key)),
            Sought::Prefix(_) => false,
        };
        let records = match collection {
            Collection::Claims => &self.shelves.claims.records,
            Collection::Entries => &self.shelves.entries.records,
        };
        let found: Vec<Record> = records.sought(object, &sought).collect();
        let listings = self.listings(found, io);
        if is_all_here {
            self.directories.answer(asked, listings, Told::All, io);
            return;
        }
        if !listings.is_empty() {
            self.directories.answer(asked, listings, Told::Part, io);
        }
        self.ask_others(now, asked, sought, io);
    }

    /// Of some records, what is published by those who live, as much as an answer holds.
    pub(super) fn listings(&self, records: Vec<Record>, io: &mut Io<'_>) -> Vec<Listing> {
        let members = self.knowledge.members();
        let listing = |record: Record| {
            let publisher = record.member();
            Some(Listing { key: record.key.key, publisher, value: record.value? })
        };
        let living = records.into_iter().filter(|record| members.may_be(record.member()));
        let (listings, cut) = cut(living.filter_map(listing));
        (0..cut).for_each(|_| io.count("gossip.listings_cut"));
        listings
    }
}

/// What of it goes into one answer, and how many do not.
fn cut(all: impl Iterator<Item = Listing>) -> (Vec<Listing>, usize) {
    let (mut bytes, mut cut) = (0, 0);
    let mut listings = Vec::new();
    for listing in all {
        bytes += size_of::<Listing>() + listing.key.len() + listing.value.len();
        if bytes <= LISTINGS_BYTES_MAX {
            listings.push(listing);
        } else {
            cut += 1;
        }
    }
    (listings, cut)
}

/// The longest answer, in bytes of a queue of events.
const LISTINGS_BYTES_MAX: usize = 512 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::tests::entry;

    #[test]
    fn an_answer_is_so_long() {
        let listing = |number: u64| Listing {
            key: number.to_be_bytes().to_vec().into(),
            publisher: entry(1, 1).member,
            value: vec![0; 900].into(),
        };
        let (listings, more) = cut((0..600).map(listing));
        assert_eq!(listings.len() + more, 600);
        let bytes: usize = listings.len() * (size_of::<Listing>() + 908);
        assert!(more > 0 && bytes <= LISTINGS_BYTES_MAX && bytes + 1_100 > LISTINGS_BYTES_MAX);
    }
}
