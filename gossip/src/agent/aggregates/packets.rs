//! What a node takes from the rows of a packet, and which rows it puts into one: by who the other
//! is, and by how much was said in the round.

use live_objects::{Io, NodeId, Time};
use tracing::trace;

use super::entitled;
use super::telling::Asked;
use crate::agent::Agent;
use crate::knowledge::Draft;
use crate::wire::rows::Rows;
use crate::wire::{HEAD_LEN, Leg, Naming, Packet};
use crate::zones::place::level;
use crate::zones::row::Round;
use crate::zones::{Headcount, Told};

impl Agent {
    /// Takes in what a packet says of aggregates.
    pub(in crate::agent) fn hear_aggregates(
        &mut self,
        now: Time,
        from: NodeId,
        packet: &Packet,
        io: &mut Io<'_>,
    ) {
        let members = self.knowledge.members();
        if !members.may_be_up(from) || from == members.me() {
            return;
        }
        self.hear_terms(now, from, packet, io);
        let (members, Some(rows)) = (self.knowledge.members(), &packet.rows) else { return };
        let round = self.clock.at(now);
        let (me, level) = (members.me(), level(members.me(), from));
        let is_new = self.pulls.is_newcomer();
        let known = self.partners.known(level);
        let known = if is_new { Headcount::open(known.count) } else { known };
        let is_settled = !is_new && round > self.aggregates.unsettled_until;
        let known = Headcount { is_settled, ..known };
        self.aggregates.is_agreed = rows.subjects == self.aggregates.digest(rows.round);
        let are_placed = self.aggregates.is_agreed && self.aggregates.are_many();
        let places = if are_placed { self.aggregates.places(rows.round) } else { Vec::new() };
        for (title, row) in &rows.told {
            let told = Told { row: row.clone(), teller: from, level, known };
            let named = (*title, &places[..]);
            let refused = match self.aggregates.named(named, &self.queries, &self.claims) {
                Ok((subject, _)) if !self.queries.fits(subject, &told.row.body) => {
                    Some("gossip.row_unfit")
                }
                Ok(named) => entitled::fault(named.0, &told, me)
                    .or_else(|| self.aggregates.take(named, told, round)),
                Err(why) => Some(why),
            };
            if let Some(why) = refused {
                trace!(?from, ?title, ?row, why, "a row was not taken");
                io.count(why);
            }
        }
    }

    /// Adds to a packet what it has room for: of a rest, only if whom it answers does not know the
    /// subjects.
    pub(in crate::agent) fn tell_aggregates(
        &mut self,
        draft: Draft<'_>,
        packet: &mut Packet,
        len_max: usize,
    ) {
        let members = self.knowledge.members();
        // Whoever does not know the round would stamp its share with one of long ago.
        let is_told = packet.round != Round::UNKNOWN && members.may_be_up(draft.to);
        if !is_told || draft.to == members.me() {
            return;
        }
        let level = level(members.me(), draft.to);
        let deeper = self.partners.counts().filter(|(of, _)| *of > level);
        let members = 1 + deeper.map(|(_, count)| count).sum::<u32>();
        self.tell_terms(draft, packet, (level, members), len_max);
        let said = self.said_bytes + packet.encoded_len() + HEAD_LEN;
        let wanted_len_max = self.wanted_len_max(said);
        let round = packet.round;
        let numbers = Asked {
            round,
            level,
            naming: Naming::Short,
            wants: 0,
            wanted_len_max,
            members,
            with_numbers: true,
            is_agreed: self.aggregates.is_agreed,
        };
        let Some(asked) = self.asked(draft, numbers) else { return };
        if !matches!(draft.leg, Leg::Rest { .. }) {
            let known = self.partners.count(level);
            packet.wants = self.aggregates.wants(round, level, known);
        }
        match len_max.checked_sub(packet.encoded_len()) {
            Some(room) => packet.rows = self.aggregates.tell(asked, room),
            None => packet.wants = None,
        }
    }

    /// How much of a packet is for rows of sketches and of many numbers, if so much was said in the
    /// round. Beside messages there is room for those numbers whose turn it is, and now and then
    /// for a sketch.
    fn wanted_len_max(&self, said: usize) -> usize {
        let left = ROUND_BYTES_MAX.saturating_sub(said);
        let is_turn_of_sketches = self.aggregates.is_turn_of_sketches(self.rounds);
        if self.aggregates.are_many() && !is_turn_of_sketches {
            left.saturating_sub(HEARD_LATE + self.heard_pushes()).max(WANTED_LEN_MIN)
        } else {
            left
        }
    }

    /// Which rows a packet is to tell, if any: of a probe, those of numbers.
    fn asked(&self, draft: Draft<'_>, numbers: Asked) -> Option<Asked> {
        let (is_ack, asked) = match (draft.leg, draft.answers) {
            (Leg::Probe { .. }, _) => return Some(numbers),
            (Leg::Ack { .. }, Some(asked)) => (true, asked),
            (Leg::Rest { .. }, Some(asked)) if !matches!(asked.leg, Leg::Rest { .. }) => {
                (false, asked)
            }
            _ => return None,
        };
        let is_known = |rows: &Rows| rows.subjects == self.aggregates.digest(rows.round);
        if !asked.rows.as_ref().is_some_and(is_known) {
            return Some(Asked { naming: Naming::InFull, wants: u64::MAX, ..numbers });
        }
        let wants = asked.wants.unwrap_or(0);
        let asked = Asked { wants, with_numbers: is_ack, is_agreed: true, ..numbers };
        (is_ack || wants != 0).then_some(asked)
    }
}

/// What a node may say in a round goes to rows of sketches and of many numbers once all else is
/// said, in bytes: two of the longest datagrams.
pub(in crate::agent) const ROUND_BYTES_MAX: usize = 2_400;

/// What is left of that for what comes later in the round where numbers are many, in bytes.
const HEARD_LATE: usize = 250;

/// How much of a packet is for such rows all the same where numbers are many, in bytes: those of a
/// turn fit.
const WANTED_LEN_MIN: usize = 280;
