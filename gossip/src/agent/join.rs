//! How nodes find each other: seeds are dialled, tombstones are knocked at, tables are pulled.
//!
//! A newcomer dials its seeds; whichever link comes up first, it pulls that peer's table, with its
//! own entry in the request. A link between two that did not know each other makes both pull,
//! newcomers or not: so two clusters, or two halves of one, that touch anywhere become one. Nor
//! need there be a link before: whoever gets a packet from somebody unknown pulls, since an
//! exchange mends only the table of the one who began it.
//!
//! To touch after both sides of a partition gave each other up, members go on trying what may have
//! come back: now and then a seed at which nobody lives, now and then somebody declared faulty, who
//! is told so and objects. All members together make a few such attempts a period, however many
//! they are.

use live_objects::{Io, NodeId, Target, Time, Via};
use rand::RngExt;

use super::Agent;
use crate::control::{Control, MESSAGE_LEN_MAX};
use crate::entry::Standing;
use crate::knowledge::{Draft, Source};
use crate::probe::{Probe, Stage};
use crate::wire::Leg;

impl Agent {
    /// The part of a round that looks beyond the members.
    pub(super) fn look_around(&mut self, now: Time, io: &mut Io<'_>) {
        if self.pulls.on_round() {
            io.count("gossip.pull_stalled");
        }
        let members = self.knowledge.members();
        let is_retry = self.rounds.is_multiple_of(RETRY_ROUNDS);
        if is_retry && self.pulls.is_newcomer() && self.pulls.is_idle() {
            // Members that were heard of meanwhile have a table, whether or not the seeds answer.
            let known = self.partners.some(1, members, &[members.me()]);
            known.into_iter().for_each(|peer| self.pulls.offer(peer));
        }
        if is_retry && members.up_count() < 2 {
            self.seeds.all().for_each(|seed| io.dial(seed));
        }
        let often = SEEK_ROUNDS.max(members.up_count() as u32 / SEEK_ROUNDS);
        if let Some(seed) = self.seeds.lost(often) {
            io.dial(seed);
        }
        if let Some(node) = self.faulty(often) {
            let probe = Probe { target: node, stage: Stage::Knocking };
            let number = self.probes.start(probe, now + self.config.ack_timeout);
            self.say(now, Draft::new(Leg::Probe { number }, node), io);
        }
    }

    pub(super) fn on_link_up(&mut self, peer: NodeId) {
        let members = self.knowledge.members();
        if peer != members.me() && (self.pulls.is_newcomer() || !members.is_up(peer)) {
            self.pulls.offer(peer);
        }
    }

    pub(super) fn on_link_down(&mut self, peer: NodeId) {
        self.pulls.on_down(peer);
        self.gives.end(peer);
    }

    pub(super) fn on_control(
        &mut self,
        now: Time,
        from: NodeId,
        message: Control,
        io: &mut Io<'_>,
    ) {
        match message {
            Control::Pull { entry } if entry.member.node == from => {
                self.hear(now, entry, Source::News, io);
                if self.gives.start(from) {
                    self.give(from, io);
                } else {
                    io.count("gossip.gives_full");
                }
            }
            Control::Pull { .. } => io.count("gossip.malformed"),
            Control::Table { entries, last } => {
                let source = self.table();
                for entry in entries {
                    self.hear(now, entry, source, io);
                }
                self.pulls.on_piece(from);
                if last {
                    self.pulls.on_last(from);
                }
            }
            Control::Inventory(theirs) => self.on_inventory(from, &theirs, io),
            Control::Want(hashes) => self.on_want(from, &hashes, io),
            Control::Records { records } => self.on_records(&records, io),
            Control::Sums(theirs) => self.on_sums(from, &theirs, io),
        }
    }

    /// Asks for a table, if one is wanted and somebody can be asked.
    pub(super) fn pull(&mut self, io: &mut Io<'_>) {
        let (members, is_newcomer) = (self.knowledge.members(), self.pulls.is_newcomer());
        // Whoever became known since its link came up is of this cluster by now, or pulls from
        // here.
        let Some(peer) = self.pulls.next(|peer| is_newcomer || !members.is_up(peer)) else {
            return;
        };
        let request = Control::Pull { entry: members.own() };
        if io.send(Target::Node(peer), Via::Control, request.encode()).is_err() {
            self.pulls.postpone(peer);
        }
    }

    /// Gives a peer as much of the table as there is room for. [`Input::Room`] goes on.
    ///
    /// [`Input::Room`]: live_objects::Input::Room
    pub(super) fn give(&mut self, to: NodeId, io: &mut Io<'_>) {
        while let Some(told) = self.gives.told(to) {
            let room = io.room(to);
            if room == 0 {
                return;
            }
            let rest = self.knowledge.members().after(told);
            let piece = Control::table(rest, room.min(MESSAGE_LEN_MAX));
            if io.send(Target::Node(to), Via::Bulk, piece.encode()).is_err() {
                return;
            }
            match piece {
                Control::Table { entries, last: false } => {
                    let last = entries.last().expect("a piece that is not the last is not empty");
                    self.gives.advance(to, last.member.node);
                }
                _ => self.gives.end(to),
            }
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

/// A node that knows nobody tries again in so many rounds.
const RETRY_ROUNDS: u64 = 5;

/// A member seeks what may have come back once in about so many rounds; in a large cluster, less
/// often in proportion.
const SEEK_ROUNDS: u32 = 10;
