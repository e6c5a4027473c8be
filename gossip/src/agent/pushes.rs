//! News of members is pushed to a few of them at once, and what did not fit rides on exchanges.
//!
//! ```text
//!  heard first ──▶ 3 of the small zone around this node, if it is of one in there
//!              ──▶ 3 of all, whatever it is of
//! ```
//!
//! Each of the two has an allowance of bytes a period; entries of directories (`shelves`) share the
//! second. A third kind of push has its own: who believes in somebody that is gone is told so.

use std::collections::BTreeMap;

use live_objects::{Io, NodeId};

use super::exchange::complete;
use super::{Agent, len_max, send};
use crate::entry::{Entry, Standing, Telling};
use crate::records::affinity::Part;
use crate::wire::{Leg, Packet};

impl Agent {
    /// Each period has its allowances.
    pub(super) fn on_round_of_pushes(&mut self) {
        (self.push_left, self.push_close_left) = (PUSH_BYTES_MAX, PUSH_CLOSE_BYTES_MAX);
        self.buried_left = BURIED_BYTES_MAX;
    }

    /// Pushes news of members to a few of them at once, as far as the period has room for that: the
    /// rest rides on exchanges.
    pub(super) fn push_entries(&mut self, io: &mut Io<'_>) {
        let unpushed = std::mem::take(&mut self.unpushed);
        if unpushed.is_empty() || self.push_left == 0 && self.push_close_left == 0 {
            return;
        }
        let members = self.knowledge.members();
        let beside = self.partners.zone_of(BESIDE);
        let (close, far): (Vec<_>, Vec<_>) =
            unpushed.into_iter().partition(|(node, _)| beside.has(*node));
        // Where that zone is that of all, those anywhere are in it.
        let count = if beside == Part::ALL { 0 } else { FANOUT };
        let to_close = self.partners.some_of(beside, count, members, &[]);
        let to_some = self.partners.some(FANOUT, members, &to_close);
        self.push_close_left = self.push_each(&close, &to_close, self.push_close_left, io);
        let all = [close, far].concat();
        self.push_left = self.push_each(&all, &to_some, self.push_left, io);
    }

    /// Pushes to each as many of these as fit, where so many bytes are left. Gives how many still
    /// are.
    fn push_each(
        &self,
        unpushed: &[(NodeId, Telling)],
        to: &[NodeId],
        mut left: usize,
        io: &mut Io<'_>,
    ) -> usize {
        let members = self.knowledge.members();
        let told =
            |(node, telling): &(NodeId, Telling)| members.of(*node).map(|entry| telling.of(entry));
        for &to in to {
            let Some(len_max) = len_max(to, io) else { continue };
            let packet = self.push_of(unpushed.iter().filter_map(told), len_max.min(left));
            left = left.saturating_sub(send_push(packet, (to, len_max), io));
        }
        left
    }

    /// Tells those who believe in somebody that is gone. They take it for a suspicion, as all that
    /// others say. It has an allowance of its own, or who names many that are gone would leave none
    /// for news.
    pub(super) fn push_buried(&mut self, io: &mut Io<'_>) {
        let mut buried: BTreeMap<NodeId, Vec<Entry>> = BTreeMap::new();
        for (to, entry) in std::mem::take(&mut self.buried) {
            let gone = Entry { standing: Standing::Faulty, accuser: None, ..entry };
            buried.entry(to).or_default().push(gone);
        }
        for (to, gone) in buried {
            let Some(len_max) = len_max(to, io) else { continue };
            let packet = self.push_of(gone.into_iter(), len_max.min(self.buried_left));
            for Entry { member, generation, .. } in &packet.entries {
                self.said_gone.insert(member.node, (*generation, self.rounds));
            }
            while self.said_gone.len() > SAID_GONE_MAX {
                let first = self.said_gone.iter().min_by_key(|(node, (_, round))| (*round, **node));
                let first = *first.expect("there are many").0;
                self.said_gone.remove(&first);
            }
            let sent = send_push(packet, (to, len_max), io);
            self.buried_left = self.buried_left.saturating_sub(sent);
        }
    }

    /// As many of these as take no more bytes.
    fn push_of(&self, entries: impl Iterator<Item = Entry>, bytes_max: usize) -> Packet {
        let mut packet = Packet::new(Leg::Push);
        let mut room = packet.room(bytes_max);
        for entry in entries {
            let Some(left) = room.checked_sub(self.knowledge.entry_len(&entry)) else { break };
            room = left;
            packet.entries.push(entry);
        }
        packet
    }
}

/// Sends what is pushed, if it is anything. Gives how many bytes that took.
fn send_push(mut packet: Packet, (to, len_max): (NodeId, usize), io: &mut Io<'_>) -> usize {
    complete(&mut packet, len_max, io);
    if packet.entries.is_empty() {
        return 0;
    }
    send(&packet, to, io);
    packet.encoded_len()
}

/// How much news of members is pushed in a period, in bytes.
const PUSH_BYTES_MAX: usize = 1_200;

/// And as much again of those in the node's own small zone ([`BESIDE`]), which has to count them:
/// where many come and go, news of all others would take all that there is.
const PUSH_CLOSE_BYTES_MAX: usize = 1_200;

/// How much is told in a round of members that are gone to those who believe in them, in bytes.
const BURIED_BYTES_MAX: usize = 300;

/// Of how many it is remembered that this was told.
const SAID_GONE_MAX: usize = 256;

/// To how many members it is pushed by each node that hears it first.
const FANOUT: usize = 3;

/// And to as many more by each that is in the smallest zone of more than so many members in which
/// he is of whom it is: in a zone of few a row that counts who is gone is held for long by all who
/// have not heard of it.
const BESIDE: u32 = 64;
