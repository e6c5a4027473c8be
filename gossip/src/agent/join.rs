//! How nodes find each other: seeds are dialled, tombstones are knocked at, tables are pulled.
//!
//! A newcomer dials its seeds; whichever link comes up first, it pulls that peer's table, with its
//! own entry in the request, and then those of others (`transfer`). A link between two that did not
//! know each other makes both pull, newcomers or not: so two clusters, or two halves of one, that
//! touch anywhere become one. Nor need there be a link before: whoever gets a packet from somebody
//! unknown pulls, since an exchange mends only the table of the one who began it. A long table
//! comes in many pieces; a few members of each zone are first, so that a newcomer can ask for what
//! aggregates come to while the rest is on its way.
//!
//! To touch after both sides of a partition gave each other up, members go on trying what may have
//! come back: now and then a seed at which nobody lives, now and then somebody declared faulty, who
//! is told so and objects. All members together make a few such attempts a period, however many
//! they are.

use live_objects::{Io, NodeId, Target, Time, Via};
use rand::RngExt;

use super::errands::Piece;
use super::{Agent, shown};
use crate::control::{Control, HASHES_MAX, Known, MESSAGE_LEN_MAX};
use crate::digest::short_hash;
use crate::entry::{Entry, Standing, Telling};
use crate::knowledge::{Draft, Source};
use crate::members::GRAVES_MAX;
use crate::probe::{Probe, Stage};
use crate::records::affinity::Part;
use crate::transfer::{Give, LAST, Then, Which};
use crate::wire::Leg;
use crate::zones::place::{sibling, zone};

impl Agent {
    /// The part of a round that looks beyond the members.
    pub(super) fn look_around(&mut self, now: Time, io: &mut Io<'_>) {
        if self.pulls.on_round() {
            io.count("gossip.pull_stalled");
        }
        self.gives.on_round();
        let members = self.knowledge.members();
        let is_retry = self.is_time(RETRY_ROUNDS);
        if self.pulls.is_newcomer() && self.pulls.is_idle() {
            // Members that were heard of meanwhile have a table, whether or not the seeds answer.
            let known = self.partners.some(1, members, &[]);
            known.into_iter().for_each(|peer| self.pulls.offer(peer));
        }
        if is_retry && members.up_count() < 2 {
            self.seeds.all().for_each(|seed| io.dial(seed));
        }
        // As often in time where rounds are far apart.
        let passed = u32::try_from(self.rounds - self.rounds_before).unwrap_or(u32::MAX).max(1);
        let often_of =
            |members: usize| (SEEK_ROUNDS.max(members as u32 / SEEK_ROUNDS) / passed).max(1);
        // All have the same seeds, but who is faulty is known to those alone who kept him.
        if let Some(seed) = self.seeds.lost(often_of(self.cluster_size())) {
            io.dial(seed);
        }
        let often = often_of(members.up_count());
        if let Some(node) = self.faulty(often) {
            let probe = Probe { target: node, stage: Stage::Knocking };
            match self.probes.start(probe, now + self.config.ack_timeout) {
                Some(number) => self.say(now, Draft::new(Leg::Probe { number }, node), io),
                None => io.count("gossip.probes_full"),
            }
        }
    }

    pub(super) fn on_link_up(&mut self, peer: NodeId) {
        let members = self.knowledge.members();
        if peer != members.me() && (self.pulls.is_newcomer() || !members.is_up(peer)) {
            self.pulls.meet(peer);
        }
    }

    pub(super) fn on_link_down(&mut self, peer: NodeId) {
        self.pulls.on_down(peer);
        self.gives.end(peer);
        self.payloads.on_link_down(peer);
    }

    pub(super) fn on_control(
        &mut self,
        now: Time,
        from: NodeId,
        message: Control,
        io: &mut Io<'_>,
    ) {
        match message {
            Control::Pull { known: Known { hashes, .. }, .. } | Control::Fetch(hashes)
                if hashes.len() > HASHES_MAX =>
            {
                io.count("gossip.malformed");
            }
            Control::Pull { entry, known } if entry.member.node == from => {
                let source = if self.pulls.is_newcomer() { Source::Newcomer } else { Source::News };
                self.hear(now, entry, (from, source), io);
                self.on_pull(from, known, io);
            }
            Control::Pull { .. } => io.count("gossip.malformed"),
            Control::Fetch(hashes) => {
                let known = self.knowledge.members().len();
                let give = Give::new(Which::These, hashes, None, LAST);
                if self.gives.compare(from, known) && self.gives.start(from, give) {
                    self.give(from, io);
                } else {
                    io.count("gossip.gives_full");
                }
            }
            Control::Table { entries, last } => {
                let source = self.table();
                let known = self.knowledge.members().up_count();
                for entry in entries {
                    self.hear(now, entry, (from, source), io);
                }
                if source == Source::Newcomer && (last || known <= FEW_KNOWN) {
                    self.ask_for_rows(now, io);
                }
                let up = self.knowledge.members().up_count();
                match self.pulls.on_piece(from, up.saturating_sub(known), up, last) {
                    Then::Ask(behind) => self.ask(from, Some(behind), io),
                    Then::Wait | Then::Done => {}
                }
            }
            Control::Busy { entries } => {
                let source = self.table();
                for entry in entries {
                    self.hear(now, entry, (from, source), io);
                }
                self.pulls.on_busy(from);
            }
            Control::Buried { hashes } => {
                if hashes.len() > GRAVES_MAX {
                    io.count("gossip.malformed");
                } else if self.pulls.is_newcomer() && self.pulls.asks(from) {
                    self.knowledge.on_buried(&hashes);
                } else {
                    io.count("gossip.unsolicited");
                }
            }
            Control::Inventory(of, theirs) => self.on_inventory(from, of, &theirs, io),
            Control::Want(of, hashes) => self.on_want(from, of, &hashes, io),
            Control::Records { records } => self.on_records(from, &records, io),
            Control::Sums(of, theirs) => self.on_sums(from, of, &theirs, io),
            Control::Ask { number, question } => self.on_long_ask(from, number, &question, io),
            Control::Answer { number, answer, records, last } => {
                let piece = Piece { number, answer, records, last };
                self.on_piece_of_answer(now, from, piece, io);
            }
            Control::Compare { object, ty, summary } => {
                self.on_compare(from, (object, ty), &summary, io);
            }
            Control::View { depth, entries } => self.on_view(now, from, (depth, entries), io),
            Control::Differ { object, ty, difference, own } => {
                self.on_differ(from, (object, ty), (&difference, own.as_ref()), io);
            }
        }
    }

    /// Asks for a table, if one is wanted and somebody can be asked.
    pub(super) fn pull(&mut self, io: &mut Io<'_>) {
        let (members, is_newcomer) = (self.knowledge.members(), self.pulls.is_newcomer());
        // Whoever became known since its link came up is of this cluster by now, or pulls from
        // here.
        let again = self.pulls.again_from();
        let is_wanted = |peer| is_newcomer || again == Some(peer) || !members.is_up(peer);
        let Some(peer) = self.pulls.next(is_wanted) else { return };
        self.ask(peer, None, io);
    }

    /// Asks a peer for what this node lacks of the nodes behind one.
    fn ask(&mut self, peer: NodeId, behind: Option<NodeId>, io: &mut Io<'_>) {
        let members = self.knowledge.members();
        // Of another neighbourhood this node wants to know no more than who is there.
        let behind = behind.or_else(|| (!members.view().is_near(peer)).then_some(LAST));
        let mut rest = members.after(behind);
        let mut last = LAST;
        let mut hashes = Vec::with_capacity(members.len().min(HASHES_MAX));
        hashes.extend(rest.by_ref().take(HASHES_MAX).map(|entry| {
            last = entry.member.node;
            short_hash(&entry)
        }));
        let up_to = if rest.next().is_some() { last } else { LAST };
        let known = Known { behind, up_to, hashes };
        let mut entry = members.own();
        entry.credential = shown(&entry, io);
        let request = Control::Pull { entry, known };
        if io.send(Target::Node(peer), Via::Control, request.encode()).is_ok() {
            self.pulls.asked(up_to);
        } else {
            self.pulls.postpone(peer);
        }
    }

    /// A peer pulls: it gets what it lacks, and is asked for what this node lacks.
    fn on_pull(&mut self, from: NodeId, known: Known, io: &mut Io<'_>) {
        let Known { behind, up_to, mut hashes } = known;
        if behind.is_none_or(|behind| behind == LAST) && self.refer(from, io) {
            return;
        }
        let members = self.knowledge.members();
        if !self.gives.compare(from, members.len()) {
            return self.send_away(from, io);
        }
        let (known, knows_few) = (hashes.len(), hashes.len() <= FEW_KNOWN);
        let is_new = knows_few && members.len() > AT_ONCE_MAX;
        hashes.sort_unstable();
        let mut mine: Vec<u32> = members.after(behind).map(|entry| short_hash(&entry)).collect();
        mine.sort_unstable();
        let lacking = |hash: &u32| mine.binary_search(hash).is_err();
        let lacking: Vec<u32> = hashes.iter().copied().filter(lacking).take(HASHES_MAX).collect();
        let is_lacking = !lacking.is_empty();
        let fetch = Control::Fetch(lacking).encode();
        if is_lacking && io.send(Target::Node(from), Via::Control, fetch).is_err() {
            // Exchanges will find it.
            io.count("gossip.fetch_unsent");
        }
        if self.gives.start(from, Give::new(Which::Others, hashes, behind, up_to)) {
            // Who was sent away before knows some by now.
            if knows_few || known < mine.len() / 2 {
                self.give_buried(from, io);
            }
            if is_new {
                let first = Control::Table { entries: self.some_of_each(from, io), last: false };
                if io.send(Target::Node(from), Via::Bulk, first.encode()).is_err() {
                    // They are in the table too.
                    io.count("gossip.first_unsent");
                }
            }
            self.give(from, io);
        } else {
            self.send_away(from, io);
        }
    }

    /// Tells a newcomer who is gone, or it would believe whoever does not know.
    fn give_buried(&mut self, to: NodeId, io: &mut Io<'_>) {
        let hashes: Vec<u32> = self.knowledge.members().buried().collect();
        if hashes.is_empty() {
            return;
        }
        let bytes = Control::Buried { hashes }.encode();
        self.gives.gave(to, bytes.len());
        if io.send(Target::Node(to), Via::Bulk, bytes).is_err() {
            // It will be told of each that it takes for a member.
            io.count("gossip.buried_unsent");
        }
    }

    /// Tells a peer of others whom it may ask. Who asks again at once knows them.
    fn send_away(&mut self, from: NodeId, io: &mut Io<'_>) {
        io.count("gossip.gives_full");
        let is_first = self.gives.send_away(from);
        let entries = if is_first { self.some_of_each(from, io) } else { Vec::new() };
        let busy = Control::Busy { entries };
        if io.send(Target::Node(from), Via::Bulk, busy.encode()).is_err() {
            // Its patience will end.
            io.count("gossip.busy_unsent");
        }
    }

    /// A few members in each sibling zone of a node: whoever has these can ask for all rows.
    fn some_of_each(&mut self, node: NodeId, io: &Io<'_>) -> Vec<Entry> {
        let members = self.knowledge.members();
        let mut some = Vec::new();
        for level in 0..NodeId::LEN * 8 {
            let ((first, last), (from, to)) = (sibling(node, level), zone(node, level as u32 + 1));
            some.extend(self.partners.some_of(Part { first, last }, EACH, members, &[node]));
            if members.up_between(from, to).all(|(other, _)| other == node) {
                break;
            }
        }
        let some = some.into_iter().filter_map(|node| members.of(node));
        some.map(|entry| with_shown(entry, io)).collect()
    }

    /// Gives a peer as much as there is room for. [`Input::Room`] goes on.
    ///
    /// [`Input::Room`]: live_objects::Input::Room
    pub(super) fn give(&mut self, to: NodeId, io: &mut Io<'_>) {
        while let Some(give) = self.gives.next(to) {
            let room = io.room(to);
            if room == 0 {
                return;
            }
            let members = self.knowledge.members();
            let rest = members.after(give.behind).take_while(|it| it.member.node <= give.up_to);
            let wanted = rest.filter(|entry| give.has(short_hash(entry)));
            let wanted = wanted.map(|entry| with_shown(Telling::Whole.of(entry), io));
            let piece = Control::table(wanted, room.min(MESSAGE_LEN_MAX));
            let bytes = piece.encode();
            let len = bytes.len();
            if io.send(Target::Node(to), Via::Bulk, bytes).is_err() {
                return;
            }
            match piece {
                Control::Table { entries, last: false } => {
                    let last = entries.last().expect("a piece that is not the last is not empty");
                    give.behind = Some(last.member.node);
                }
                _ => self.gives.end_first(to),
            }
            self.gives.gave(to, len);
        }
    }

    /// Now and then, a tombstone of somebody who may have come back.
    fn faulty(&mut self, often: u32) -> Option<NodeId> {
        let members = self.knowledge.members();
        let tombstones = members.tombstones();
        if tombstones.is_empty() || !self.rng.random_ratio(1, often) {
            return None;
        }
        let node = tombstones[self.rng.random_range(0..tombstones.len())];
        (members.standing(node) == Some(Standing::Faulty)).then_some(node)
    }
}

/// An entry with what its member shows, unless it is brief.
pub(super) fn with_shown(mut entry: Entry, io: &Io<'_>) -> Entry {
    if !entry.is_brief() {
        entry.credential = shown(&entry, io);
    }
    entry
}

/// A node that knows nobody tries again in so many rounds.
const RETRY_ROUNDS: u64 = 5;

/// How many members in each of its sibling zones are told to a newcomer before all others, or to
/// whoever pulls from a node that gave much already.
const EACH: usize = 3;

/// Who knows no more than so many is told of these first, if the table is so long that it takes
/// more than one message.
const FEW_KNOWN: usize = 8;
const AT_ONCE_MAX: usize = 400;

/// A member seeks what may have come back once in about so many rounds; in a large cluster, less
/// often in proportion.
const SEEK_ROUNDS: u32 = 10;
