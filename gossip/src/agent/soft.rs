//! Soft states: what holders write, how it spreads, and how it is found that somebody lacks some.
//!
//! What an application writes is a delta. At the end of the step it goes along the broadcast tree,
//! as messages of topics do, to everybody at once; of what is too long for that, or too much for
//! the period, it is said there that it is. That goes the second way, which mends what the first
//! one lost too: *anti-entropy* (Demers and others, "Epidemic algorithms for replicated database
//! maintenance", PODC 1987). While a state is *unsettled*, since something in it is new or a holder
//! has come, a node meets another holder in each round, of whom claims tell, until some of them in
//! turn had the same. At rest it meets one in some rounds, for the sake of one state after the
//! other.
//!
//! Who meets for that tells a fold over all states that it has, and the digests of those that are
//! unsettled. If the fold is another at the other side, that one tells its digests; where two
//! differ, the states are compared over a link ([`Summary`]), and both sides have the same after
//! that. Nothing here knows what is in a state: whoever holds it merges alike.
//!
//! An application that reads too slowly is given the whole state when it has read on.
//!
//! Invariant: what is told to an application is merged here before.

mod states;

use bytes::Bytes;
use live_objects::soft::{Difference, Store, Summary};
use live_objects::{Command, Event, Io, NodeId, ObjectId, ReplicatedEvent, Target, Via};
use rand::RngExt;
use tracing::trace;

pub(super) use self::states::SoftStates;
use self::states::{LISTED_MAX, Merged};
use super::Agent;
use crate::control::Control;
use crate::knowledge::Draft;
use crate::news::MessageId;
use crate::wire::soft::{SOFT_SECTION_LEN_MIN, Said, SoftSection};
use crate::wire::{Leg, Packet};

impl Agent {
    /// A state's feed holds something.
    pub(super) fn on_updates(&mut self, object: ObjectId, io: &mut Io<'_>) {
        while let Some(taken) = io.take(object, usize::MAX) {
            io.release(object, taken.message);
            let Some(state) = self.soft.open.get_mut(&object) else { return };
            let Command::Update(bytes) = taken.command else {
                io.count("gossip.unknown_command");
                continue;
            };
            let Ok(delta) = Store::decode(&bytes) else {
                io.count("gossip.delta_unreadable");
                continue;
            };
            match state.merge(&delta) {
                Merged::Known => {}
                Merged::Changed => {
                    state.unsaid.merge(&delta);
                    self.soft.unsaid.insert(object);
                    self.soft.hurry(object);
                }
                Merged::Full => io.count("gossip.soft_full"),
            }
        }
    }

    /// The step ends: says what was written in it, as far as the period has room for that. Of the
    /// rest it says that it is there.
    pub(super) fn say_deltas(&mut self, io: &mut Io<'_>) {
        let is_alone = self.knowledge.members().up_count() < 2;
        for object in std::mem::take(&mut self.soft.unsaid) {
            let Some(state) = self.soft.open.get_mut(&object) else { continue };
            let (unsaid, topic) = (std::mem::take(&mut state.unsaid), state.topic);
            let mut beyond = std::mem::take(&mut state.beyond);
            if is_alone {
                continue;
            }
            let mut said = Store::default();
            for message in Said::pieces(&unsaid) {
                let piece = Said::decode(&message);
                if !self.say_delta(topic, message, io) {
                    io.count("gossip.delta_unsaid");
                    break;
                }
                let Some(Said::Delta(piece)) = piece else { unreachable!("it was just made") };
                said.merge(&piece);
            }
            beyond.extend(unsaid.dots().map(|(dot, ..)| dot).filter(|it| !said.context().has(*it)));
            beyond.truncate(Said::BEYOND_MAX);
            if !beyond.is_empty() && !self.say_delta(topic, Said::beyond(&beyond), io) {
                // In the next period there is room again.
                self.soft.open.get_mut(&object).expect("it is open").beyond = beyond;
                self.soft.unsaid.insert(object);
            }
        }
        self.soft.unjoined.retain(|object| {
            let author = self.soft.open[object].author;
            io.emit(*object, Event::Replicated(ReplicatedEvent::Joined { author })).is_err()
        });
    }

    /// What another wrote, as it came along the tree.
    pub(super) fn hear_delta(
        &mut self,
        object: ObjectId,
        id: MessageId,
        bytes: &Bytes,
        io: &mut Io<'_>,
    ) {
        match Said::decode(bytes) {
            Some(Said::Delta(delta)) => {
                self.soft.take_in(object, &delta, io);
            }
            Some(Said::Beyond(dots)) => self.soft.expect(object, &dots),
            None => {
                trace!(origin = ?id.origin, "a delta was dropped");
                io.count("gossip.delta_unreadable");
            }
        }
    }

    /// A round begins. Whom to meet for the sake of a state, if anybody.
    pub(super) fn on_round_of_soft(&mut self) -> Option<NodeId> {
        (self.soft.answered, self.soft.taken, self.soft.meant) = (0, 0, None);
        self.soft.turns += 1;
        for _ in 0..TRIES_MAX {
            let object = self.soft.next()?;
            let (members, records) = (self.knowledge.members(), &self.shelves.claims.records);
            let name = &self.soft.open[&object].spec.name;
            let claims = records.at(self.claims.directory(), name.as_str().as_bytes());
            let holders = claims.map(|claim| claim.publisher.node);
            let others = holders.filter(|node| *node != members.me() && members.is_up(*node));
            let others: Vec<NodeId> = others.collect();
            if others.is_empty() {
                // Who comes will be heard of.
                self.soft.settle(object);
                continue;
            }
            self.soft.meant = Some(others[self.soft.rng.random_range(0..others.len())]);
            break;
        }
        self.soft.meant
    }

    /// Adds to a probe or its answer what this node has.
    pub(super) fn tell_soft(&mut self, draft: Draft<'_>, packet: &mut Packet, len_max: usize) {
        let room = len_max.saturating_sub(packet.encoded_len());
        if self.soft.open.is_empty() || room < SOFT_SECTION_LEN_MIN {
            return;
        }
        let room = SoftSection::room(room);
        let asked = draft.answers.and_then(|asked| asked.soft.as_ref());
        packet.soft = match (draft.leg, asked) {
            (Leg::Probe { .. }, _) if self.soft.meant == Some(draft.to) => {
                Some(self.soft.ask(room))
            }
            (Leg::Ack { .. }, Some(asked)) => Some(self.soft.answer(asked, room)),
            _ => None,
        };
    }

    /// Looks whether whom this node met has the same.
    pub(super) fn hear_soft(&mut self, from: NodeId, packet: &Packet, io: &mut Io<'_>) {
        let (Leg::Ack { .. }, Some(section)) = (packet.leg, &packet.soft) else { return };
        if section.fold == self.soft.fold() {
            for object in self.soft.unsettled.keys().copied().collect::<Vec<_>>() {
                self.soft.on_agreement(object);
            }
            return;
        }
        for (called, digest) in section.listed.iter().take(LISTED_MAX) {
            let Some(object) = self.soft.named(*called) else { continue };
            if self.soft.open[&object].digest == *digest {
                self.soft.on_agreement(object);
            } else {
                self.compare_soft(from, object, io);
            }
        }
    }

    /// Asks another what is lacking here of a state.
    fn compare_soft(&mut self, from: NodeId, object: ObjectId, io: &mut Io<'_>) {
        let round = self.rounds;
        if round < self.soft.open[&object].rests_until {
            return;
        }
        self.soft.hurry(object);
        let state = self.soft.open.get_mut(&object).expect("it was just seen");
        if state.asked.is_some_and(|(_, since)| round < since + PATIENCE_ROUNDS) {
            return;
        }
        let (ty, summary) = (state.ty, Summary::of(&state.store));
        if over_link(from, &Control::Compare { object, ty, summary }, io).is_some() {
            state.asked = Some((from, round));
        } else {
            state.rests_until = round + 1;
        }
    }

    /// Another asks what it lacks.
    pub(super) fn on_compare(
        &mut self,
        from: NodeId,
        (object, ty): (ObjectId, u64),
        theirs: &Summary,
        io: &mut Io<'_>,
    ) {
        if self.soft.answered > ANSWERED_BYTES_MAX {
            return io.count("gossip.soft_busy");
        }
        let Some(state) = self.soft.of_type(object, ty, io) else { return };
        let (difference, own) = (theirs.answer(&state.store), Some(Summary::of(&state.store)));
        let cost = state.store.size() / COMPARED_PART;
        let answer = Control::Differ { object, ty, difference, own };
        self.soft.answered += over_link(from, &answer, io).unwrap_or(0).max(cost);
    }

    /// Another tells what is lacking here.
    pub(super) fn on_differ(
        &mut self,
        from: NodeId,
        (object, ty): (ObjectId, u64),
        (difference, theirs): (&Difference, Option<&Summary>),
        io: &mut Io<'_>,
    ) {
        let is_busy = self.soft.taken > ANSWERED_BYTES_MAX;
        let Some(state) = self.soft.of_type(object, ty, io) else { return };
        // What was asked for is heard in any case.
        let is_asked = state.asked.take_if(|(asked, _)| *asked == from).is_some();
        if is_busy && !is_asked {
            return io.count("gossip.soft_busy");
        }
        let cost = if is_asked { 0 } else { state.store.size() / COMPARED_PART };
        let delta = difference.delta(&state.store);
        self.soft.taken += cost;
        let is_whole = self.soft.take_in(object, &delta, io);
        let state = self.soft.open.get_mut(&object).expect("it was just seen");
        if is_asked && !is_whole {
            // Whoever has more than there is room for here would be asked for it again at once.
            state.rests_until = self.rounds + REFUSED_ROUNDS;
        }
        let store = &state.store;
        if let Some(theirs) = theirs.filter(|theirs| **theirs != Summary::of(store)) {
            let difference = theirs.answer(store);
            let answer = Control::Differ { object, ty, difference, own: None };
            self.soft.answered += over_link(from, &answer, io).unwrap_or(0);
        }
    }
}

/// Sends a message, if the link has room for it, and gives how long it is. If it has none, whoever
/// compares next says it again.
fn over_link(to: NodeId, message: &Control, io: &mut Io<'_>) -> Option<usize> {
    let bytes = message.encode();
    let len = bytes.len();
    let sent = io.send(Target::Node(to), Via::Bulk, bytes);
    if sent.is_err() {
        io.count("gossip.soft_unsent");
    }
    sent.ok().map(|()| len)
}

/// For how many states in a round it is looked whether somebody else holds them.
const TRIES_MAX: usize = 8;

/// For how many rounds an answer over a link is waited for.
const PATIENCE_ROUNDS: u64 = 5;

/// For how many rounds nobody is asked after an answer for which there was no room.
const REFUSED_ROUNDS: u64 = 10;

/// How much is answered over links in a round, in bytes, before others have to ask again: one
/// answer may be as long as it must.
const ANSWERED_BYTES_MAX: usize = Store::BYTES_MAX;

/// To compare a state takes as long as to answer with one that is so many times smaller.
const COMPARED_PART: usize = 4;
