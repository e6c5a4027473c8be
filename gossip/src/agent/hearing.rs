//! What a node is told: packets and messages are read here, and entries of members taken in.
//!
//! Every part that goes by who is up learns of a change in one place, whatever brought it.

use live_objects::{Io, NodeId, Time};
use tracing::trace;

use super::{Agent, Noted};
use crate::control::Control;
use crate::entry::{Entry, Standing, Telling};
use crate::knowledge::{Heard, Source};
use crate::members::{Change, Merged};
use crate::wire::payloads::Supply;
use crate::wire::{Packet, PacketError};

impl Agent {
    pub(super) fn on_datagram(&mut self, now: Time, from: NodeId, bytes: &[u8], io: &mut Io<'_>) {
        match Packet::decode(bytes) {
            Ok(packet) => self.on_packet(now, from, &packet, io),
            Err(error) => {
                trace!(?from, %error, "datagram dropped");
                io.count(match error {
                    PacketError::UnknownLeg(_) => "gossip.unknown_leg",
                    _ => "gossip.malformed",
                });
            }
        }
    }

    pub(super) fn on_message(&mut self, now: Time, from: NodeId, bytes: &[u8], io: &mut Io<'_>) {
        if Supply::is_one(bytes) {
            return self.on_supply(from, bytes, io);
        }
        match Control::decode(bytes) {
            Ok(message) => {
                self.on_control(now, from, message, io);
                self.show_changed();
            }
            Err(error) => {
                trace!(?from, %error, "message dropped");
                io.count("gossip.malformed");
            }
        }
    }

    /// Takes in what was heard. Says whether it made this node object.
    pub(super) fn hear(
        &mut self,
        now: Time,
        entry: Entry,
        (from, source): (NodeId, Source),
        io: &mut Io<'_>,
    ) -> bool {
        if self.knowledge.is_forged(from, &entry, self.unix_ms(now)) {
            trace!(?from, ?entry, "it is not his to say");
            io.count("gossip.entry_forged");
            return false;
        }
        // Whoever was said to be gone, and is of a higher generation now, heard of it.
        let said = self.said_gone.get(&entry.member.node);
        let objects = said.is_some_and(|(said, _)| *said < entry.generation);
        if entry.standing.is_up() && (entry.member.node == from || objects) {
            self.knowledge.on_objection(&entry);
        }
        let accusation = entry.accusation();
        let heard = self.knowledge.hear(entry, source);
        if let Merged::Buried(entry) = &heard.merged {
            io.count("gossip.buried");
            self.buried.push((from, entry.brief()));
        }
        if let Some(accusation) = accusation {
            self.on_accusation(now, accusation, &heard.merged);
        }
        self.on_heard(now, heard, io)
    }

    /// What time it is, as this node's clock said when it started.
    fn unix_ms(&self, now: Time) -> u64 {
        let lived = now.since(self.born_at).as_millis();
        self.born_unix_ms.saturating_add(u64::try_from(lived).unwrap_or(u64::MAX))
    }

    /// What it comes to. Says whether this node objects.
    pub(super) fn on_heard(&mut self, now: Time, heard: Heard, io: &mut Io<'_>) -> bool {
        if heard.gave_way {
            io.count("gossip.rumors_full");
        }
        let objects = heard.merged == Merged::Refuted;
        match heard.merged {
            Merged::Stale | Merged::Known | Merged::Elsewhere | Merged::Buried(_) => {}
            Merged::Changed(change) => self.on_change(now, change, io),
            Merged::Refused => io.count("gossip.members_full"),
            Merged::Refuted => {
                io.count("gossip.refuted");
                self.on_urgent(now, self.knowledge.members().me(), Telling::Brief);
            }
            Merged::Outbid => io.count("gossip.outbid"),
            Merged::Unplaced => io.count("gossip.unplaced"),
        }
        objects
    }

    /// There is news of a node. Newcomers learn of all at once, which is no news to others.
    fn on_urgent(&mut self, now: Time, node: NodeId, telling: Telling) {
        self.pace.on_news(now);
        if !self.pulls.is_newcomer() {
            self.unpushed.push((node, telling));
        }
    }

    /// Every part that goes by who is up, and how, learns of a change here.
    fn on_change(&mut self, now: Time, change: Change, io: &mut Io<'_>) {
        let Entry { member, standing, addresses, credential, .. } = &change.after;
        let before = change.before.as_ref();
        let is_known = before.is_some_and(|it| it.member == *member && it.addresses == *addresses);
        let is_shown = !credential.bytes().is_empty();
        if (!is_known || is_shown) && addresses.iter().next().is_some() {
            io.introduce(*member, &Vec::from(addresses.clone()), credential.bytes());
        }
        if standing.is_up() {
            self.seeds.on_up(member.node, addresses);
        } else {
            self.seeds.on_down(member.node);
        }
        match (change.was_up(), standing.is_up()) {
            (false, true) => self.partners.insert(member.node),
            (true, false) => {
                self.partners.remove(member.node);
                self.clock.forget(member.node);
            }
            (true, true) | (false, false) => {}
        }
        if *standing == Standing::Suspect {
            let span = self.config.suspicion(self.knowledge.members().up_count());
            self.suspicions.start(member.node, now + span);
        } else {
            self.suspicions.clear(member.node);
        }
        self.note_change(now, &change);
        if !change.is_of_stranger() {
            self.on_urgent(now, member.node, change.telling());
        }
        self.show(&change);
        self.on_aggregates_change(now, &change);
        self.on_nearest_change(&change);
        self.on_overlays_change(&change);
        let node = change.after.member.node;
        self.noted.push(Noted::Change(change));
        while let Some(entry) = self.knowledge.let_go_beside(node) {
            self.on_let_go(entry);
        }
    }
}
