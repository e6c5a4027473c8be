//! SWIM: a round a period, the answers to others' rounds, and what follows from no answer.
//!
//! ```text
//!  round ──probe──▶ partner                      acked: done
//!    ack_timeout ──probe──▶ partner again,       by any: done
//!      and again ──probe request──▶ helpers ──probe──▶ partner
//!        3.5 periods ──▶ suspect                 overridden: done
//!          suspicion ──▶ faulty                  overridden: back again
//! ```
//!
//! Deadlines are looked at when the module wakes, after what arrived in the same step: whoever
//! slept too long first reads the answers that came meanwhile.
//!
//! Invariant: a suspicion is raised, and a verdict given, only of the very generation that did not
//! answer.

use std::collections::BTreeMap;

use live_objects::sketch::Sketch;
use live_objects::{Io, NodeId, Time};
use tracing::trace;

use super::aggregates::ROUND_BYTES_MAX;
use super::errands::Beside;
use super::{Agent, len_max, send, shown};
use crate::entry::{Accuser, Entry, Generation, Standing, Telling};
use crate::knowledge::{Draft, Source};
use crate::partners::Turn;
use crate::probe::{ATTEMPTS, HELPED_ATTEMPTS, Probe, Stage};
use crate::question::Question;
use crate::wire::rows::Rows;
use crate::wire::{HEAD_LEN, Leg, PACKET_LEN_MIN, Packet};

impl Agent {
    pub(super) fn on_wake(&mut self, now: Time, io: &mut Io<'_>) {
        if let Some(slept) = self.pace.slept(now, self.wakes_at) {
            // Nobody is to be suspected of this node's own silence.
            trace!(?slept, "this node did not run");
            io.count("gossip.slept");
            self.probes.postpone(slept);
            self.suspicions.postpone(slept);
        }
        while let Some((number, probe)) = self.probes.due(now) {
            self.on_silence(now, number, probe, io);
        }
        self.on_deadlines_of_errands(now, io);
        while let Some(node) = self.suspicions.due(now) {
            let suspect = self.knowledge.members().of(node).expect("who is suspected has a row");
            assert_eq!(suspect.standing, Standing::Suspect, "a suspicion that was not cleared");
            self.conclude(now, Entry { standing: Standing::Faulty, ..suspect }, io);
        }
        self.show_changed();
        self.ask_again(now, io);
        if self.pace.begin(now) {
            self.on_round(now, io);
            self.rounds_before = self.rounds;
            let is_busy = self.pulls.is_newcomer() || self.suspicions.next_end().is_some();
            if !is_busy {
                let stretch = self.config.stretch;
                let is_idle = self.aggregates.is_idle();
                self.pace.rest(if is_idle { stretch } else { (stretch * 3 / 5).max(1) });
            }
        }
    }

    pub(super) fn on_packet(&mut self, now: Time, from: NodeId, packet: &Packet, io: &mut Io<'_>) {
        // What an ack says is compared with what is known here only if it was waited for: whoever
        // says what nobody asked him could make others believe that all know their news.
        let is_awaited = match packet.leg {
            Leg::Ack { number } => self.probes.awaits(number, from),
            _ => true,
        };
        let is_table = matches!(packet.leg, Leg::Rest { .. }) || self.pulls.is_newcomer();
        let source = if is_table { self.table() } else { Source::News };
        let mut objects = false;
        for entry in &packet.entries {
            objects |= self.hear(now, entry.clone(), (from, source), io);
        }
        self.show_changed();
        // An answer's records are for whoever asked, not to be kept.
        let is_answer = matches!(packet.leg, Leg::Answer { .. });
        let records = if is_answer { &[] } else { packet.news.records.as_slice() };
        let are_kept = self.hear_records(from, records, Source::News, io);
        if !packet.news.messages.is_empty() {
            self.heard_pushes[0] += packet.encoded_len() + HEAD_LEN;
        }
        self.hear_messages(from, &packet.news.messages, io);
        self.answer_haves(from, packet, io);
        if is_awaited {
            self.compare_records(from, packet, io);
        }
        if matches!(packet.leg, Leg::Probe { .. } | Leg::Ack { .. })
            && self.knowledge.members().may_be_up(from)
        {
            self.clock.hear(now, from, packet.round);
        }
        self.hear_aggregates(now, from, packet, io);
        self.hear_offers(packet, io);
        self.hear_stands(packet, io);
        if is_awaited {
            self.hear_soft(from, packet, io);
        }
        self.hear_scope(packet);
        // Who is not known here and goes by an old table of its own may never be told of by others.
        // It is a newcomer, mostly, and will be told of, if it says anything else.
        let is_exchange =
            matches!(packet.leg, Leg::Probe { .. } | Leg::Ack { .. } | Leg::Rest { .. });
        let members = self.knowledge.members();
        if is_exchange && members.standing(from).is_none() && members.view().is_near(from) {
            self.pulls.meet(from);
        }
        match packet.leg {
            Leg::Probe { number } => {
                let leg = Leg::Ack { number };
                let is_lean = packet.digest.is_none();
                let ack = Draft { answers: Some(packet), is_lean, ..Draft::new(leg, from) };
                self.say(now, ack, io);
            }
            Leg::Ack { .. } => {
                self.on_ack(now, from, packet, io);
                if is_awaited {
                    let digest = packet.digest.filter(|_| self.knowledge.is_like(from, packet));
                    digest.iter().for_each(|digest| self.knowledge.compare(*digest));
                    self.compare_all(now, from, packet);
                    self.say_rest(now, from, packet, io);
                }
            }
            Leg::Rest { .. } => self.say_rest(now, from, packet, io),
            Leg::Push => {}
            Leg::Ask { number } => match &packet.question {
                Some(Question::Why(node)) => self.on_why(now, from, (number, *node), io),
                Some(question) => {
                    let beside = Beside { records, are_kept };
                    self.on_ask(from, (number, question), beside, io);
                }
                None => io.count("gossip.malformed"),
            },
            Leg::Answer { .. } => self.on_answer_to_ask(now, from, packet, io),
            Leg::ProbeRequest { number, target } => {
                let stage = Stage::Helping { asker: from, number };
                self.on_request(now, Probe { target, stage }, io);
            }
        }
        // A probe's answer says it already.
        if objects && !matches!(packet.leg, Leg::Probe { .. }) && len_max(from, io).is_some() {
            send(&self.knowledge.own_word(0), from, io);
        }
    }

    fn on_round(&mut self, now: Time, io: &mut Io<'_>) {
        self.on_round_of_pushes();
        self.on_round_of_view(now, io);
        for (partner, is_lean) in self.on_exchanges(now) {
            self.exchange(now, partner, is_lean, io);
        }
        self.look_around(now, io);
        self.on_round_of_metadata(io);
        self.on_round_of_payloads(io);
        self.on_round_of_topics(io);
        self.on_round_of_records(io);
        self.on_round_of_errands(now, io);
        self.on_round_of_claims(now, io);
    }

    /// Who has just got a table asks for all rows that it lacks: others count on a row of
    /// everything from the rounds before.
    pub(super) fn ask_for_rows(&mut self, now: Time, io: &mut Io<'_>) {
        if !self.probes.has_room() {
            return;
        }
        let empty = self.aggregates.empty(self.clock.at(now), &self.partners);
        let members = self.knowledge.members();
        let of_level = empty.into_iter().take(EMPTY_MAX);
        let of_level = of_level.filter_map(|level| self.partners.next_at(level, members));
        for partner in of_level.collect::<Vec<_>>() {
            self.exchange(now, partner, true, io);
        }
    }

    /// Starts an exchange.
    pub(super) fn exchange(&mut self, now: Time, partner: NodeId, is_lean: bool, io: &mut Io<'_>) {
        let held = self.knowledge.members().of(partner).expect("partners have rows");
        let generation = held.generation;
        let stage = Stage::Own { generation, sent: vec![now], helpers: Vec::new(), is_lean };
        let deadline = now + self.config.ack_timeout;
        let Some(number) = self.probes.start(Probe { target: partner, stage }, deadline) else {
            return io.count("gossip.probes_full");
        };
        let probe = Draft { is_lean, ..Draft::new(Leg::Probe { number }, partner) };
        self.say_attempt(now, probe, 1, io);
    }

    /// With whom exchanges are started in a round, and which of these are for rows, or for an
    /// overlay, alone.
    fn on_exchanges(&mut self, now: Time) -> BTreeMap<NodeId, bool> {
        let round = self.clock.at(now);
        let levels = self.aggregates.on_round(round, &self.partners);
        let is_free = levels.as_ref().is_none_or(|levels| !levels.is_due);
        let is_turn_of_group = self.is_turn_of_group(is_free);
        let is_turn_of_ring = self.is_turn_of_ring();
        let members = self.knowledge.members();
        let group = self.shelves.depth.part(members.me());
        let of_group = if is_turn_of_group {
            self.partners.some_of(group, 1, members, &[]).pop()
        } else {
            None
        };
        let levels_of = levels.as_ref();
        let by_level = levels_of.filter(|_| !self.aggregates.is_turn_of_all() && !is_turn_of_ring);
        let first =
            of_group.or_else(|| by_level.and_then(|it| self.partners.next_at(it.first, members)));
        let turn = if self.pace.is_resting() {
            Turn::Long(round, self.config.stretch)
        } else {
            Turn::Short(round)
        };
        let first = first.or_else(|| self.partners.next(turn, members));
        let said_bytes = std::mem::take(&mut self.said_bytes);
        let rows_bytes = std::mem::take(&mut self.said_rows_bytes);
        self.heard_pushes = [0, self.heard_pushes[0]];
        self.urgent = if rows_bytes <= URGENT_BYTES_MAX {
            URGENT_MAX.min(self.urgent + 1)
        } else if rows_bytes <= URGENT_KEPT_BYTES_MAX {
            self.urgent
        } else {
            self.urgent.saturating_sub(1)
        };
        let urgent = levels_of.map_or(&[][..], |levels| &levels.urgent);
        // Of many aggregates there is more to tell than a node may say anyhow.
        let is_busy = said_bytes + self.heard_pushes() > ROUND_BYTES_MAX / 2;
        let is_full = self.aggregates.are_many() && is_busy;
        if urgent.is_empty() || is_full {
            self.urgent = 0;
        }
        let urgent = urgent.iter().take(self.urgent);
        let urgent = urgent.filter_map(|level| self.partners.next_at(*level, members));
        let mut lean: Vec<NodeId> = urgent.collect();
        let mut partners: Vec<NodeId> = first.into_iter().collect();
        self.nearest.on_round();
        if lean.is_empty() {
            let may_hurry = said_bytes <= MEASURING_BYTES_MAX;
            partners.extend(self.nearest.measures(may_hurry, members));
        }
        let beside = if said_bytes <= MEETINGS_BYTES_MAX { MEETINGS_MAX } else { 0 };
        lean.extend(self.on_round_of_overlays(beside));
        lean.extend(self.on_round_of_soft());
        let members = self.knowledge.members();
        // Others count on a row of everything from the rounds before. Who has just come has none.
        if self.rounds < YOUNG_ROUNDS
            && let Some(levels) = levels
        {
            let of_empty = levels.empty.into_iter().take(EMPTY_MAX);
            lean.extend(of_empty.filter_map(|level| self.partners.next_at(level, members)));
        }
        let lean = lean.into_iter().map(|partner| (partner, true));
        lean.chain(partners.into_iter().map(|partner| (partner, false))).collect()
    }

    /// A probe's deadline has passed: the partner is asked again, and so are helpers, or is
    /// suspected.
    fn on_silence(&mut self, now: Time, number: u32, probe: Probe, io: &mut Io<'_>) {
        let Probe { target, stage: Stage::Own { generation, mut sent, mut helpers, is_lean } } =
            probe
        else {
            return;
        };
        let attempts = sent.len();
        if attempts == ATTEMPTS {
            return self.suspect(now, (target, generation), (&sent, helpers), io);
        }
        sent.push(now);
        let probe = Draft { is_lean, ..Draft::new(Leg::Probe { number }, target) };
        self.say_attempt(now, probe, sent.len() as u8, io);
        self.tell_another(target, io);
        if HELPED_ATTEMPTS.contains(&attempts) {
            let members = self.knowledge.members();
            let others = self.partners.some(self.config.helpers, members, &[target]);
            for helper in &others {
                let request = Draft::new(Leg::ProbeRequest { number, target }, *helper);
                let request = Draft { about: Some(target), is_lean: true, ..request };
                self.say(now, request, io);
            }
            helpers.extend(others);
        }
        let stage = Stage::Own { generation, sent, helpers, is_lean };
        self.probes.wait(number, Probe { target, stage }, now + self.config.period / 2);
    }

    /// A member of this generation did not answer, nor did any helper in its name.
    fn suspect(
        &mut self,
        now: Time,
        (target, generation): (NodeId, Generation),
        (sent, helpers): (&[Time], Vec<NodeId>),
        io: &mut Io<'_>,
    ) {
        let held = self.knowledge.members().of(target);
        let is_still = |held: &Entry| held.generation == generation && held.standing.is_up();
        let Some(silent) = held.filter(is_still) else { return };
        trace!(member = ?silent.member, "does not answer");
        self.on_silent(now, &silent, sent, helpers);
        if silent.standing == Standing::Alive {
            let accuser = Some(Accuser::of(self.knowledge.members().me()));
            self.conclude(now, Entry { standing: Standing::Suspect, accuser, ..silent }, io);
        }
    }

    /// By this node's own eyes, a member of this generation did not answer, or did not object.
    fn conclude(&mut self, now: Time, entry: Entry, io: &mut Io<'_>) {
        let concluded = self.knowledge.conclude(entry);
        self.on_heard(now, concluded, io);
    }

    /// An answer. If it is to none of our questions it came too late, or was not the first: what it
    /// told is taken in all the same, since a member on a slow path may have no other way to
    /// object.
    fn on_ack(&mut self, now: Time, from: NodeId, packet: &Packet, io: &mut Io<'_>) {
        let Leg::Ack { number } = packet.leg else { return };
        match self.probes.on_ack(number, from) {
            Some(Probe { target, stage: Stage::Helping { asker, number } }) => {
                let relayed = Draft::new(Leg::Ack { number }, asker);
                self.say(now, Draft { about: Some(target), ..relayed }, io);
            }
            Some(probe) => {
                self.on_answered_probe(now, from, &probe);
                self.on_answer(now, from, &probe, packet.standpoint);
                self.on_met(now, from, io);
            }
            None => {
                trace!(?from, number, "an answer to nothing");
                io.count("gossip.unsolicited");
            }
        }
    }

    /// Somebody asks for a probe; its target's entry came with the request.
    fn on_request(&mut self, now: Time, probe: Probe, io: &mut Io<'_>) {
        let target = probe.target;
        if !self.knowledge.members().is_up(target) || target == self.knowledge.members().me() {
            io.count("gossip.request_for_nobody");
            return;
        }
        match self.probes.help(probe, now + 2 * self.config.period) {
            Some(number) => {
                let probe = Draft::new(Leg::Probe { number }, target);
                self.say(now, Draft { is_lean: true, ..probe }, io);
            }
            None => io.count("gossip.probes_full"),
        }
    }

    /// Looks whether a partner knows what this node knows, of members and of records.
    fn compare_all(&mut self, now: Time, from: NodeId, packet: &Packet) {
        let Some(digest) = packet.digest else { return };
        if !self.knowledge.is_like(from, packet) {
            return;
        }
        if digest != self.knowledge.members().digest().total() {
            self.pulls.on_difference(from, self.rounds);
        }
        if digest == self.knowledge.members().digest().total() && self.has_same_records(packet) {
            self.pace.on_agreement();
        } else {
            self.pace.on_news(now);
        }
    }

    /// Whether a multiple of so many periods has passed since the last round.
    pub(super) fn is_time(&self, every: u64) -> bool {
        self.rounds / every != self.rounds_before / every
    }

    /// Sends a probe, an ack or a probe request.
    pub(super) fn say(&mut self, now: Time, draft: Draft<'_>, io: &mut Io<'_>) {
        self.say_attempt(now, draft, 0, io);
    }

    /// Sends a probe that is this attempt of its kind, if its answer is to be timed.
    fn say_attempt(&mut self, now: Time, draft: Draft<'_>, attempt: u8, io: &mut Io<'_>) {
        if let Some(len_max) = len_max(draft.to, io) {
            let reserved = self.haves_reserved(draft) + self.aggregates.reserved();
            let for_members = len_max.saturating_sub(reserved);
            let mut packet = self.knowledge.packet(draft, for_members.max(PACKET_LEN_MIN));
            // However much news there is, aggregates go on; and so does news of any length.
            let for_rows = match self.rounds % 4 {
                _ if self.aggregates.is_idle() => 0,
                0 => 0,
                _ if self.aggregates.is_turn_of_sketches(self.rounds) => SKETCH_RESERVED,
                _ => ROWS_RESERVED,
            };
            self.introduce(&mut packet);
            complete(&mut packet, len_max, io);
            packet.round = self.clock.said(now);
            self.tell_offers(draft, attempt, &mut packet, len_max);
            self.tell_stands(draft, attempt, &mut packet, len_max);
            self.tell_soft(draft, &mut packet, len_max);
            let for_news = if self.overlays.is_moving() { NEWS_BESIDE } else { len_max };
            let for_news = packet.encoded_len() + for_news;
            self.add_news(&mut packet, draft, len_max.saturating_sub(for_rows).min(for_news));
            self.tell_aggregates(draft, &mut packet, len_max);
            self.count_said(&packet);
            send(&packet, draft.to, io);
        }
    }

    /// What the third and fourth packet of an exchange say, if they have to say something.
    fn say_rest(&mut self, now: Time, to: NodeId, answered: &Packet, io: &mut Io<'_>) {
        let (Leg::Ack { number } | Leg::Rest { number }) = answered.leg else { return };
        let Some(len_max) = len_max(to, io) else { return };
        let leg = Leg::Rest { number };
        let rest = match (&answered.buckets, &answered.inventory) {
            (Some(buckets), _) => self.knowledge.ask(number, buckets, len_max),
            (None, Some(inventory)) => self.knowledge.supply(number, inventory, len_max),
            (None, None) if matches!(answered.leg, Leg::Ack { .. }) => {
                let named = self.knowledge.acquaint(number, to, answered, len_max);
                named.or_else(|| self.knowledge.ask_beside(number, to, answered, len_max))
            }
            (None, None) => None,
        };
        let is_empty = rest.is_none();
        let mut packet = rest.unwrap_or(Packet::new(leg));
        complete(&mut packet, len_max, io);
        let draft = Draft { answers: Some(answered), ..Draft::new(leg, to) };
        packet.round = self.clock.said(now);
        self.tell_aggregates(draft, &mut packet, len_max);
        if !is_empty || packet.rows.is_some() || packet.terms.is_some() {
            self.count_said(&packet);
            send(&packet, to, io);
        }
    }

    /// Who has come lately says who it is to those whom it asks for rows, and nothing else: they
    /// would pull its table, to find out.
    fn introduce(&self, packet: &mut Packet) {
        let is_lean = packet.digest.is_none() && matches!(packet.leg, Leg::Probe { .. });
        if is_lean && self.rounds < NEW_ROUNDS && !self.is_expected {
            packet.entries.insert(0, Telling::Whole.of(self.knowledge.members().own()));
        }
    }

    fn count_said(&mut self, packet: &Packet) {
        self.said_bytes += packet.encoded_len() + HEAD_LEN;
        let terms = packet.terms.as_ref().map_or(0, |terms| terms.section_len(packet.round));
        self.said_rows_bytes += packet.rows.as_ref().map_or(0, Rows::section_len) + terms;
    }

    /// How what comes from another's table is heard.
    pub(super) fn table(&self) -> Source {
        if self.pulls.is_newcomer() { Source::Newcomer } else { Source::Table }
    }
}

/// Adds to the entries of a packet what their members show, which the driver keeps. They were
/// picked as if all showed as much as this node; should one show more, there is a packet for it
/// later.
pub(super) fn complete(packet: &mut Packet, len_max: usize, io: &Io<'_>) {
    for entry in packet.entries.iter_mut().filter(|entry| !entry.is_brief()) {
        entry.credential = shown(entry, io);
    }
    while packet.encoded_len() > len_max {
        packet.entries.pop().expect("a packet without entries is not too long");
    }
}

/// For how many rounds a node asks for all rows that it lacks at once, one of each level.
const YOUNG_ROUNDS: u64 = 10;

/// For how many it says who it is.
const NEW_ROUNDS: u64 = 50;

/// Of how many levels: the others' zones are hardly ever more.
const EMPTY_MAX: usize = 24;

/// How much of a packet news leaves to aggregates in most rounds, in bytes: some thirty rows.
const ROWS_RESERVED: usize = 700;

/// And in one of four, where there are sketches: any of them fits, with the head of its row.
const SKETCH_RESERVED: usize = Sketch::LEN_MAX + 60;

/// How much of a packet is for news of records and topics, in bytes, while overlays take shape: a
/// third, or claims, of which there are many then, would take all that a node may say.
const NEWS_BESIDE: usize = 400;

/// How many exchanges a node starts beside the first while something is urgent: one more than in
/// the period before if it told no more than so many bytes of rows in that, and one less if it told
/// more than so many.
const URGENT_MAX: usize = 6;
const URGENT_BYTES_MAX: usize = 1_200;
const URGENT_KEPT_BYTES_MAX: usize = 2_000;

/// How many are started for the sake of overlays, if no more than so many bytes were said.
const MEETINGS_MAX: usize = 2;
const MEETINGS_BYTES_MAX: usize = 2_600;

/// One is started to measure how far away another is, if no more were said.
const MEASURING_BYTES_MAX: usize = 2_200;
