//! Directories: what holders publish and look up, and how the records of all nodes come to be the
//! same.
//!
//! Whoever asks is answered at once from this node's own table. News of records rides on exchanges,
//! with a digest of the table; if the one who began an exchange finds that the digests differ,
//! although neither side has news under way, it sends its inventory, and both send what the other
//! lacks. A node does so once in some rounds at most, and the records of one turn are bounded, so a
//! newcomer gets a large table in several turns.
//!
//! An answer that finds no room waits in the feed, with all commands behind it, until its
//! application has read on.

use std::collections::BTreeMap;

use live_objects::{
    Command, DirectoryEvent, Event, Io, Member, NodeId, ObjectId, Rng, Start, Target, Via,
};

use super::Agent;
use crate::control::Control;
use crate::knowledge::{Draft, Source};
use crate::members::Change;
use crate::records::{Found, Hashes, Hearing, Inventory, Merged, Record, Records};
use crate::wire::{Leg, Packet, RECORDS_DIGEST_SECTION_LEN, SECTION_LEN};

/// The open directories, and the records of all nodes.
pub(super) struct Directories {
    /// Whether an answer waits for room.
    open: BTreeMap<ObjectId, Answers>,
    pub(super) records: Records,
    mending: Mending,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Answers {
    AtOnce,
    WaitForRoom,
}

impl Directories {
    pub(super) fn new(start: &Start, feedback: u32, rng: Rng) -> Self {
        let records = Records::new(start.me, start.unix_ms, feedback, rng);
        Self { open: BTreeMap::new(), records, mending: Mending::default() }
    }

    pub(super) fn has(&self, object: ObjectId) -> bool {
        self.open.contains_key(&object)
    }

    pub(super) fn open(&mut self, object: ObjectId) {
        self.open.insert(object, Answers::AtOnce);
    }

    /// A directory is not carried any more: what was published there is withdrawn.
    pub(super) fn close(&mut self, object: ObjectId, round: u64) {
        if self.open.remove(&object).is_some() {
            self.records.withdraw_all(object, round);
        }
    }
}

/// When tables are compared.
#[derive(Default)]
struct Mending {
    /// The round in which this node last sent an inventory.
    last: Option<u64>,
    /// The round since which it has waited for news to mend a difference.
    waits_since: Option<u64>,
    /// How many questions it answered in this round.
    answers: u32,
    has_table: bool,
}

impl Mending {
    /// A partner knows other records. Says whether this node sends an inventory in this round: news
    /// that is under way mends most differences, and is waited for, but not for ever, and not by a
    /// newcomer, to whom nobody says again what was said before.
    fn begins(&mut self, round: u64, is_quiet: bool) -> bool {
        let waits_since = *self.waits_since.get_or_insert(round);
        let waits = !is_quiet && self.has_table && round < waits_since + PATIENCE_ROUNDS;
        let begins = !waits && self.last.is_none_or(|last| round >= last + MEND_ROUNDS);
        if begins {
            (self.last, self.waits_since) = (Some(round), Some(round));
        }
        begins
    }

    /// A partner knows the same records.
    fn end(&mut self) {
        self.waits_since = None;
        self.has_table = true;
    }

    /// How what comes from another's table is heard.
    fn source(&self) -> Source {
        if self.has_table { Source::Table } else { Source::Newcomer }
    }
}

impl Agent {
    /// A directory's feed holds something.
    pub(super) fn on_asks(&mut self, object: ObjectId, io: &mut Io<'_>) {
        while self.directories.open.get(&object) == Some(&Answers::AtOnce) {
            let Some(taken) = io.take(object, usize::MAX) else { return };
            let (records, round) = (&mut self.directories.records, self.rounds);
            let is_open_to_all = object != self.claims.directory();
            let found = match taken.command {
                Command::Publish { key, value } if is_open_to_all => {
                    if !records.write(object, key, Some(value), round) {
                        io.count("gossip.records_full");
                    }
                    None
                }
                Command::Withdraw(key) if is_open_to_all => {
                    records.withdraw(object, key, round);
                    None
                }
                Command::Find(key) => Some(records.find(object, &key)),
                Command::List(prefix) => Some(records.list(object, &prefix)),
                _ => {
                    io.count("gossip.unknown_command");
                    None
                }
            };
            if let Some(Found { listings, cut }) = found {
                let found = DirectoryEvent::Found { command: taken.message, listings };
                if io.emit(object, Event::Directory(found)).is_err() {
                    self.directories.open.insert(object, Answers::WaitForRoom);
                    io.rewind(object, taken.message);
                    return;
                }
                (0..cut).for_each(|_| io.count("gossip.listings_cut"));
            }
            io.release(object, taken.message);
        }
    }

    /// The application has read on.
    pub(super) fn on_directory_drained(&mut self, object: ObjectId, io: &mut Io<'_>) {
        if let Some(answers) = self.directories.open.get_mut(&object) {
            *answers = Answers::AtOnce;
            self.on_asks(object, io);
        }
    }

    pub(super) fn on_round_of_records(&mut self) {
        let is_due = self.is_time(EXPIRE_ROUNDS);
        let mending = &mut self.directories.mending;
        mending.answers = 0;
        mending.has_table |= self.rounds >= NEWCOMER_ROUNDS;
        if is_due {
            let members = self.knowledge.members();
            let is_known = |publisher: Member| {
                members.of(publisher.node).is_some_and(|held| held.member == publisher)
            };
            self.directories.records.expire(self.rounds, is_known);
        }
    }

    /// What a member publishes is shown while it is up.
    pub(super) fn show(&mut self, change: &Change) {
        let now = &change.after;
        let node = now.member.node;
        let up = now.standing.is_up().then_some(now.member.incarnation);
        let former = change.before.as_ref().map(|before| before.member.incarnation);
        let replaced = former.filter(|former| *former != now.member.incarnation);
        let records = &mut self.directories.records;
        let claimed: Vec<_> = records.keys_of(node).cloned().collect();
        records.on_member(node, up, replaced, self.rounds);
        claimed.iter().for_each(|key| self.doubt(key));
    }

    /// Adds to a packet of an exchange what is to be said of records and of messages, as far as
    /// membership left room.
    pub(super) fn add_news(&mut self, packet: &mut Packet, draft: Draft<'_>, len_max: usize) {
        if packet.digest.is_none() {
            return;
        }
        let sent_max = self.knowledge.sent_max();
        let (told_records, told_messages) = draft.answers.map_or((&[][..], &[][..]), |answered| {
            (answered.news.records.as_slice(), answered.news.messages.as_slice())
        });
        let records = &mut self.directories.records;
        if packet.encoded_len() + RECORDS_DIGEST_SECTION_LEN <= len_max {
            packet.news.digest = records.digest(sent_max);
        }
        let room = len_max.saturating_sub(packet.encoded_len() + SECTION_LEN);
        packet.news.records = records.pick(told_records, room, sent_max);
        let room = len_max.saturating_sub(packet.encoded_len() + SECTION_LEN);
        let messages = self.topics.news.pick(draft.to, told_messages, room, sent_max);
        packet.news.messages = messages;
    }

    /// Takes in records, from whomever they came.
    pub(super) fn hear_records(&mut self, records: &[Record], source: Source, io: &mut Io<'_>) {
        for record in records {
            let publisher = self.knowledge.members().of(record.key.publisher);
            let is_up = publisher
                .is_some_and(|held| held.standing.is_up() && held.member == record.member());
            let hearing = Hearing { round: self.rounds, is_up, source };
            match self.directories.records.merge(record.clone(), hearing) {
                Merged::Known => {}
                Merged::Changed => self.doubt(&record.key),
                Merged::Refused => io.count("gossip.records_full"),
                Merged::Overruled => io.count("gossip.record_overruled"),
            }
        }
    }

    /// Looks whether a partner knows the same records.
    pub(super) fn compare_records(&mut self, from: NodeId, packet: &Packet, io: &mut Io<'_>) {
        let Some(theirs) = packet.news.digest else { return };
        let Directories { records, mending, .. } = &mut self.directories;
        let own = records.digest(self.knowledge.sent_max());
        if own.map_or(0, |own| own.total) == theirs.total {
            records.all_known();
            mending.end();
            return;
        }
        let members = self.knowledge.members().digest().total();
        let is_quiet =
            theirs.is_quiet && own.is_none_or(|own| own.is_quiet) && packet.digest == Some(members);
        // Who answers an exchange asks in its own.
        let is_asking = matches!(packet.leg, Leg::Ack { .. });
        if is_asking && mending.begins(self.rounds, is_quiet) {
            let first = match records.sums() {
                Some(sums) => vec![Control::Sums(sums)],
                None => records.inventory().into_iter().map(Control::Inventory).collect(),
            };
            tell(from, first, io);
        }
    }

    /// What another has, summed up.
    pub(super) fn on_sums(&mut self, from: NodeId, theirs: &Hashes, io: &mut Io<'_>) {
        if self.may_answer(io) {
            let pieces = self.directories.records.inventory_beside(theirs);
            tell(from, pieces.into_iter().map(Control::Inventory).collect(), io);
        }
    }

    /// A piece of what another has.
    pub(super) fn on_inventory(&mut self, from: NodeId, theirs: &Inventory, io: &mut Io<'_>) {
        if self.may_answer(io) {
            let records = &self.directories.records;
            let mut answers = Control::records(records.beyond(theirs));
            let lacking = records.lacking(theirs);
            if !lacking.0.is_empty() {
                answers.push(Control::Want(lacking));
            }
            tell(from, answers, io);
        }
    }

    /// Another asks for records.
    pub(super) fn on_want(&mut self, from: NodeId, hashes: &Hashes, io: &mut Io<'_>) {
        if self.may_answer(io) {
            tell(from, Control::records(self.directories.records.of_hashes(hashes)), io);
        }
    }

    /// Records that were sent because this node lacked them.
    pub(super) fn on_records(&mut self, records: &[Record], io: &mut Io<'_>) {
        let source = self.directories.mending.source();
        self.hear_records(records, source, io);
    }

    fn may_answer(&mut self, io: &mut Io<'_>) -> bool {
        let answers = &mut self.directories.mending.answers;
        if *answers == ANSWERS_MAX {
            io.count("gossip.mending_full");
            return false;
        }
        *answers += 1;
        true
    }
}

/// Says it over the link, as far as that has room. The next comparison finds the rest.
fn tell(to: NodeId, messages: Vec<Control>, io: &mut Io<'_>) {
    for message in messages {
        if io.send(Target::Node(to), Via::Control, message.encode()).is_err() {
            io.count("gossip.mending_full");
            return;
        }
    }
}

/// A node sends its inventory once in so many rounds at most.
const MEND_ROUNDS: u64 = 5;

/// How long it waits for news to mend the difference.
const PATIENCE_ROUNDS: u64 = 25;

/// How many sums, pieces of inventories and requests a node answers in a round.
const ANSWERS_MAX: u32 = 16;

/// Until when at most a node is a newcomer, whose lacks are no news to others.
const NEWCOMER_ROUNDS: u64 = 50;

/// After how many rounds it is looked which records are over.
const EXPIRE_ROUNDS: u64 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_is_waited_for_but_not_for_ever_nor_by_newcomers() {
        let mut mending = Mending::default();
        assert!(mending.begins(7, false), "a newcomer");
        assert!(!(8..7 + MEND_ROUNDS).any(|round| mending.begins(round, true)));
        assert!(mending.begins(7 + MEND_ROUNDS, false));
        mending.end();
        assert!(!(50..50 + PATIENCE_ROUNDS).any(|round| mending.begins(round, false)));
        assert!(mending.begins(50 + PATIENCE_ROUNDS, false));
        assert!(mending.begins(50 + PATIENCE_ROUNDS + MEND_ROUNDS, true));
        mending.end();
        assert!(mending.begins(200, true));
    }
}
