//! What exchanges carry of records, and what mends what news missed.
//!
//! News of records rides on exchanges, with a digest of the table; if the one who began an exchange
//! finds that the digests differ, although neither side has news under way, it sends its inventory,
//! and both send what the other lacks. A node does so once in some rounds at most, and the records
//! of one turn are bounded, so a newcomer gets a large table in several turns.
//!
//! There are two tables, each on a shelf of its own: claims of names, with metadata beside them,
//! which all nodes keep, and entries of directories. Where members are many these are kept in
//! groups (`records/affinity`): then they travel, and are compared, within the group alone, and
//! some exchanges are with members of it.

mod fates;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use bytes::Bytes;
use live_objects::{Io, NodeId, ObjectId, Rng, Start, Target, Via};

use self::fates::Fates;
use super::claims::Claimed;
use super::errands::DUE_MAX;
use super::{Agent, len_max, send};
use crate::control::Control;
use crate::knowledge::{Draft, Source};
use crate::members::Change;
use crate::records::affinity::Depth;
use crate::records::{
    Collection, Hashes, Hearing, Inventory, Merged, NEWS_MAX, Record, RecordKey, Records,
    RecordsDigest, Version,
};
use crate::wire::{Leg, Packet, RECORDS_DIGEST_SECTION_LEN, SECTION_LEN};

/// The records of other nodes that this one keeps, and its own.
pub(super) struct Shelves {
    pub(super) claims: Shelf,
    pub(super) entries: Shelf,
    /// In how many groups entries are kept.
    pub(super) depth: Depth,
    /// Entries that were heard first in this step, and are pushed on at its end.
    unpushed: Vec<RecordKey>,
    /// What became of members since it was last seen to what they publish.
    fates: Fates,
    /// How often a round began.
    rounds: u64,
    /// Whether an exchange with a member of this node's group waits for a round that is free.
    is_group_waiting: bool,
}

pub(super) struct Shelf {
    pub(super) records: Records,
    mending: Mending,
}

impl Shelves {
    pub(super) fn new(start: &Start, feedback: u32, rng: &Rng) -> Self {
        let shelf = |label| {
            let records = Records::new(start.me, start.unix_ms, feedback, rng.fork(label));
            Shelf { records, mending: Mending::default() }
        };
        let (claims, entries) = (shelf("claims"), shelf("entries"));
        Self {
            claims,
            entries,
            depth: Depth::default(),
            unpushed: Vec::new(),
            fates: Fates::default(),
            rounds: 0,
            is_group_waiting: false,
        }
    }

    /// The digest of all records that this node keeps.
    pub(super) fn total(&self) -> u64 {
        let total = |shelf: &Shelf| shelf.records.digest(0).map_or(0, |digest| digest.total);
        total(&self.claims) ^ total(&self.entries).rotate_left(1)
    }

    fn of(&mut self, collection: Collection) -> &mut Shelf {
        match collection {
            Collection::Claims => &mut self.claims,
            Collection::Entries => &mut self.entries,
        }
    }

    pub(super) fn all(&mut self) -> [&mut Shelf; 2] {
        [&mut self.claims, &mut self.entries]
    }
}

/// When tables are compared.
#[derive(Default)]
struct Mending {
    /// The round in which this node last sent an inventory.
    last: Option<u64>,
    /// The round since which it has waited for news to mend a difference.
    waits_since: Option<u64>,
    /// Whose questions it answered in this round.
    answers: Vec<NodeId>,
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
    pub(super) fn on_round_of_records(&mut self, io: &mut Io<'_>) {
        let is_due = self.is_time(EXPIRE_ROUNDS);
        let members = self.knowledge.members();
        let (me, rounds) = (members.me(), self.rounds);
        let mut restated = Vec::new();
        for Shelf { records, mending } in self.shelves.all() {
            restated.extend(records.restate(rounds));
            mending.answers.clear();
            mending.has_table |= rounds >= NEWCOMER_ROUNDS;
            if is_due {
                records.expire(rounds, |publisher| {
                    members.of(publisher.node).is_some_and(|held| held.member == publisher)
                });
            }
        }
        let Shelves { claims, entries, depth, .. } = &mut self.shelves;
        io.gauge("gossip.claims", claims.records.len());
        io.gauge("gossip.entries", entries.records.len());
        io.gauge("gossip.members", members.up_count());
        io.gauge("gossip.aggregates", self.aggregates.len());
        io.gauge("gossip.nearest", self.nearest.len());
        let view = members.view().depth();
        let among = if view.bits() > 0 { view } else { depth.among(members.up_count()) };
        if std::mem::replace(depth, among) != among {
            entries.records.set_part(among.part(me));
            self.on_groups_change();
        }
        for key in restated {
            if self.collection(key.object) == Collection::Entries {
                self.on_written(key, io);
            }
        }
    }

    /// Whether the next exchange should be with a member of this node's group: if it is not free,
    /// one of the next is.
    pub(super) fn is_turn_of_group(&mut self, is_free: bool) -> bool {
        let is_due = self.is_group_due() || self.shelves.is_group_waiting;
        self.shelves.is_group_waiting = is_due && !is_free;
        is_due && is_free
    }

    fn is_group_due(&mut self) -> bool {
        let Shelves { entries: Shelf { records, mending }, depth, rounds, .. } = &mut self.shelves;
        *rounds += 1;
        if depth.groups() == 1 {
            return false;
        }
        let sent_max = self.config.sent_max(self.knowledge.members().up_count());
        let Some(digest) = records.digest(sent_max) else {
            return rounds.is_multiple_of(EMPTY_TURNS);
        };
        let is_unsettled = !digest.is_quiet || mending.waits_since.is_some();
        rounds.is_multiple_of(if is_unsettled { UNSETTLED_TURNS } else { CALM_TURNS })
    }

    /// What a member publishes is shown while it is up: it will be seen to when all changes of a
    /// packet are known, since who publishes much may change as often as a packet has entries.
    pub(super) fn show(&mut self, change: &Change) {
        self.shelves.fates.add(change);
    }

    /// Shows what members publish who came up, and hides what those do who went.
    pub(super) fn show_changed(&mut self) {
        for (node, fate) in self.shelves.fates.take() {
            let (round, Shelves { claims, entries, .. }) = (self.rounds, &mut self.shelves);
            let claimed = claims.records.on_member(node, fate.after, &fate.replaced, round);
            drop(entries.records.on_member(node, fate.after, &fate.replaced, round));
            // It was a contact for a moment.
            if self.knowledge.members().standing(node).is_none() {
                self.shelves.all().into_iter().for_each(|shelf| shelf.records.unwatch(node));
            }
            claimed.iter().for_each(|key| self.doubt(key));
            if claimed.iter().any(|key| Self::is_metadata(key.object)) {
                self.on_metadata(node, node);
            }
        }
    }

    /// Adds to a packet of an exchange what is to be said of messages and of records, as far as
    /// membership left room.
    pub(super) fn add_news(&mut self, packet: &mut Packet, draft: Draft<'_>, len_max: usize) {
        if packet.digest.is_none() {
            return;
        }
        self.add_haves(packet, draft, len_max);
        let members = self.knowledge.members();
        let sent_max = self.knowledge.sent_max();
        let told_records = draft.answers.map_or(&[][..], |answered| &answered.news.records);
        let has_room = packet.encoded_len() + 2 * RECORDS_DIGEST_SECTION_LEN <= len_max;
        let Shelves { claims, entries, depth, .. } = &mut self.shelves;
        let is_of_group = depth.part(members.me()).has(draft.to);
        if has_room {
            packet.news.claims = claims.records.digest(sent_max);
            let entries = entries.records.digest(sent_max).filter(|_| is_of_group);
            packet.news.entries = entries.map(|digest| (depth.code(), digest));
        }
        let room = len_max.saturating_sub(packet.encoded_len() + SECTION_LEN);
        packet.news.records = claims.records.pick(told_records, room, sent_max);
        if is_of_group {
            let room = len_max.saturating_sub(packet.encoded_len() + SECTION_LEN);
            packet.news.records.extend(entries.records.pick(told_records, room, sent_max));
        }
    }

    /// Takes in records, from whomever they came. Tells whether all are kept here.
    pub(super) fn hear_records(
        &mut self,
        from: NodeId,
        records: &[Record],
        source: Source,
        io: &mut Io<'_>,
    ) -> bool {
        let mut are_kept = true;
        // Of one name there may be very many: after the first all others are looked at together.
        let mut more = BTreeMap::<(ObjectId, Bytes), Option<Claimed>>::new();
        for record in records {
            let collection = self.collection(record.key.object);
            let kept = &mut self.shelves.of(collection).records;
            let hash = record.hash();
            if kept.hear_again(record, hash) {
                continue;
            }
            let members = self.knowledge.members();
            let is_up = members.may_be(record.member());
            let is_watched = members.standing(record.key.publisher).is_some();
            let hearing = Hearing { round: self.rounds, is_up, is_watched, source };
            let held = kept.version(&record.key);
            if record.is_forged(from, held) {
                are_kept = false;
                io.count("gossip.record_forged");
                continue;
            }
            match kept.merge(record.clone(), hash, hearing) {
                Merged::Known => {}
                Merged::Changed if Self::is_metadata(record.key.object) => {
                    self.on_metadata(record.key.publisher, from);
                }
                Merged::Changed if collection == Collection::Claims => {
                    let RecordKey { object, key, publisher } = record.key.clone();
                    let newcomer = held.is_none().then_some(publisher);
                    match more.entry((object, key.clone())) {
                        Entry::Vacant(entry) => {
                            entry.insert(None);
                            self.doubt_said(object, &key, Claimed::of(newcomer));
                        }
                        Entry::Occupied(mut entry) => {
                            entry.get_mut().get_or_insert_default().add(newcomer);
                        }
                    }
                }
                Merged::Changed if source == Source::News => {
                    self.shelves.unpushed.push(record.key.clone());
                }
                Merged::Changed => {}
                Merged::Refused => {
                    are_kept = false;
                    io.count("gossip.records_full");
                }
                Merged::Overruled => {
                    io.count("gossip.record_overruled");
                    if collection == Collection::Entries {
                        self.on_overruled(record.key.clone(), io);
                    }
                }
                Merged::Elsewhere => {
                    are_kept = false;
                    io.count("gossip.record_elsewhere");
                }
            }
        }
        for ((object, key), said) in more {
            said.into_iter().for_each(|said| self.doubt_said(object, &key, said));
        }
        are_kept
    }

    /// This node published or withdrew an entry.
    pub(super) fn on_written(&mut self, key: RecordKey, io: &mut Io<'_>) {
        self.bring_entry(key, DUE_MAX, io);
    }

    /// An entry was overruled that others wrote in this node's name. Of these no more wait than
    /// half of all, so that there is room for what it writes.
    fn on_overruled(&mut self, key: RecordKey, io: &mut Io<'_>) {
        self.bring_entry(key, DUE_MAX / 2, io);
    }

    fn bring_entry(&mut self, key: RecordKey, max: usize, io: &mut Io<'_>) {
        let records = &self.shelves.entries.records;
        if records.version(&key) > Some(Version::HEARSAY_MAX) {
            self.bring_by_hand(key);
        } else if records.keeps(key.place()) {
            self.shelves.unpushed.push(key);
        } else {
            self.deliver_entry(key, max, io);
        }
    }

    /// Pushes entries that were heard first in this step to a few of the group, as far as the
    /// period has room for that: the rest rides on exchanges.
    pub(super) fn push_records(&mut self, io: &mut Io<'_>) {
        let unpushed = std::mem::take(&mut self.shelves.unpushed);
        if unpushed.is_empty() {
            return;
        }
        let (members, shelves) = (self.knowledge.members(), &self.shelves);
        let part = shelves.depth.part(members.me());
        for to in self.partners.some_of(part, FANOUT, members, &[]) {
            let Some(len_max) = len_max(to, io) else { continue };
            let mut packet = Packet::new(Leg::Push);
            let room = len_max.min(self.push_left);
            let mut room = room.saturating_sub(packet.encoded_len() + SECTION_LEN);
            let others = unpushed.iter().filter(|key| key.publisher != to);
            for record in others.filter_map(|key| shelves.entries.records.record(key)) {
                let Some(left) = room.checked_sub(record.encoded_len()) else { break };
                room = left;
                packet.news.records.push(record);
            }
            if !packet.news.records.is_empty() {
                self.push_left = self.push_left.saturating_sub(packet.encoded_len());
                send(&packet, to, io);
            }
        }
    }

    /// Looks whether a partner knows the same records.
    pub(super) fn compare_records(&mut self, from: NodeId, packet: &Packet, io: &mut Io<'_>) {
        self.compare_shelf(Collection::Claims, from, packet, io);
        let is_of_group = self.shelves.depth.part(self.knowledge.members().me()).has(from);
        let own = self.shelves.depth.code();
        if is_of_group && packet.news.entries.is_some_and(|(depth, _)| depth == own) {
            self.compare_shelf(Collection::Entries, from, packet, io);
        }
    }

    fn compare_shelf(
        &mut self,
        collection: Collection,
        from: NodeId,
        packet: &Packet,
        io: &mut Io<'_>,
    ) {
        let theirs = match collection {
            Collection::Claims => packet.news.claims,
            Collection::Entries => packet.news.entries.map(|(_, digest)| digest),
        };
        let Some(theirs) = theirs else { return };
        let Shelf { records, mending } = self.shelves.of(collection);
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
                Some(sums) => vec![Control::Sums(collection, sums)],
                None => inventory(collection, records.inventory()),
            };
            tell(from, first, io);
        }
    }

    /// Whether a partner has the records that this node has, as far as both keep them.
    pub(super) fn has_same_records(&self, packet: &Packet) -> bool {
        let total = |digest: Option<RecordsDigest>| digest.map_or(0, |digest| digest.total);
        let Shelves { claims, entries, depth, .. } = &self.shelves;
        let is_same = |(theirs, digest): (u8, RecordsDigest)| {
            theirs != depth.code() || digest.total == total(entries.records.digest(0))
        };
        total(packet.news.claims) == total(claims.records.digest(0))
            && packet.news.entries.is_none_or(is_same)
    }

    /// What another has, summed up.
    pub(super) fn on_sums(
        &mut self,
        from: NodeId,
        collection: Collection,
        theirs: &Hashes,
        io: &mut Io<'_>,
    ) {
        if let Some(records) = self.answering(from, collection, io) {
            let pieces = records.inventory_beside(theirs);
            tell(from, inventory(collection, pieces), io);
        }
    }

    /// A piece of what another has.
    pub(super) fn on_inventory(
        &mut self,
        from: NodeId,
        collection: Collection,
        theirs: &Inventory,
        io: &mut Io<'_>,
    ) {
        if let Some(records) = self.answering(from, collection, io) {
            let mut answers = Control::records(records.beyond(theirs));
            let lacking = records.lacking(theirs);
            if !lacking.0.is_empty() {
                answers.push(Control::Want(collection, lacking));
            }
            tell(from, answers, io);
        }
    }

    /// Another asks for records.
    pub(super) fn on_want(
        &mut self,
        from: NodeId,
        collection: Collection,
        hashes: &Hashes,
        io: &mut Io<'_>,
    ) {
        if let Some(records) = self.answering(from, collection, io) {
            tell(from, Control::records(records.of_hashes(hashes)), io);
        }
    }

    /// Records that were sent because this node lacked them.
    pub(super) fn on_records(&mut self, from: NodeId, records: &[Record], io: &mut Io<'_>) {
        let (claims, entries): (Vec<Record>, Vec<Record>) = records
            .iter()
            .cloned()
            .partition(|record| self.collection(record.key.object) == Collection::Claims);
        for (collection, of_it) in [(Collection::Claims, claims), (Collection::Entries, entries)] {
            // Of many at once others hear as this node did.
            let source = if records.len() > NEWS_MAX {
                Source::Newcomer
            } else {
                self.shelves.of(collection).mending.source()
            };
            self.hear_records(from, &of_it, source, io);
        }
    }

    /// Claims that gave way to others are not there any more.
    pub(super) fn doubt_given_way(&mut self) {
        self.shelves.entries.records.take_given_way();
        for key in self.shelves.claims.records.take_given_way() {
            self.doubt(&key);
        }
    }

    pub(super) fn collection(&self, object: ObjectId) -> Collection {
        let is_claim = object == self.claims.directory() || Self::is_metadata(object);
        if is_claim { Collection::Claims } else { Collection::Entries }
    }

    /// The records by which another is answered, unless this round's answers were many.
    fn answering(
        &mut self,
        from: NodeId,
        collection: Collection,
        io: &mut Io<'_>,
    ) -> Option<&Records> {
        self.may_answer(from, collection, io).then(|| &self.shelves.of(collection).records)
    }

    /// Whether another is answered over a link; counts it.
    pub(super) fn may_answer(
        &mut self,
        from: NodeId,
        collection: Collection,
        io: &mut Io<'_>,
    ) -> bool {
        let answers = &mut self.shelves.of(collection).mending.answers;
        let his = answers.iter().filter(|to| **to == from).count();
        if answers.len() == ANSWERS_MAX || his == ANSWERS_TO_ONE_MAX {
            io.count("gossip.mending_full");
            return false;
        }
        answers.push(from);
        true
    }
}

fn inventory(collection: Collection, pieces: Vec<Inventory>) -> Vec<Control> {
    pieces.into_iter().map(|piece| Control::Inventory(collection, piece)).collect()
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

/// To how many of its group an entry is pushed by each node that hears it first.
const FANOUT: usize = 3;

/// Of so many rounds one has its exchange within the group: while entries travel; when they are at
/// rest; where there are none.
const UNSETTLED_TURNS: u64 = 2;
const CALM_TURNS: u64 = 8;
const EMPTY_TURNS: u64 = 64;

/// A node sends its inventory once in so many rounds at most.
const MEND_ROUNDS: u64 = 5;

/// How long it waits for news to mend the difference.
const PATIENCE_ROUNDS: u64 = 25;

/// How many sums, pieces of inventories and requests a node answers in a round, and how many of
/// one: some are left for others, however much he asks.
const ANSWERS_MAX: usize = 16;
const ANSWERS_TO_ONE_MAX: usize = 12;

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
