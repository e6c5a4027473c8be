//! Datagrams without a connection: sealed under a pair's key, opened by whoever knows the sender.
//!
//! ```text
//!  0      1         5          13
//!  +------+---------+----------+----------------------------------------+------------+-----
//!  | 0x10 | sender  | number   |                                        | sealed     | tag
//!  | 0x11 | sender  | number   | epoch | incarnation | credential       | sealed     | tag
//!  | 0x12 | sender  | number   | epoch |
//!  +------+---------+----------+-------+--------------------------------+------------+-----
//!           [4]       u64        u64     [16]          [105]                           [16]
//! ```
//!
//! A *sealed* datagram (0x10) names its sender by the first bytes of its id; whoever knows that
//! node, its life and its credential, from the membership, has the [`pair`](crate::pair)'s keys and
//! opens it. Whoever does not, or knows another life, asks *who?* (0x12), with the number of what
//! it could not open. From then on, until the peer is heard, the sender's datagrams to it are
//! *introduced* (0x11): they show life and credential beside what is sealed. What was asked about
//! is not sent again. If that is of no use either, as when it is the *peer* that lives another
//! life, a link is made, whose handshake tells all.
//!
//! The membership takes a while to tell all of a newcomer, and meanwhile the first datagram to each
//! peer would be lost: the newcomer would take for dead who only did not know it. So in its first
//! [`YOUNG`] a node introduces itself unasked to whoever it has not heard.
//!
//! Who? is not sealed, so a forger can make a node introduce itself, or make a link; no more. It is
//! shorter than whatever it answers, and a second brings no more than [`ALLOWED_MAX`] of it.
//!
//! **What was opened opens no second time**, though pairs are forgotten: for their peer's next
//! life, by the module's word, or when there are too many. Of whoever was forgotten (`pairs`)
//! nothing is opened but an introduction that shows this node's *epoch*, drawn since and told in
//! who?, until one was; unasked ones show none, and are for those of whom nothing was forgotten. At
//! the sender nothing can go wrong: a pair made again has a stretch of numbers of its own. In this
//! no clock has a part.

use std::time::Duration;

use bytes::Bytes;
use live_objects::{Envelope, Incarnation, Member, NodeId, Rng, Time};

use crate::credential::{Credential, Trust};
use crate::identity::Identity;
use crate::pairs::{Asked, Pairs};
use crate::tally::Tally;

/// What a node seals and opens with, for all its peers.
pub(crate) struct Seals {
    me: Member,
    credential: Credential,
    pairs: Pairs,
    /// What of the present second is left.
    questions: Allowance,
    checks: Allowance,
    unasked_checks: Allowance,
    tally: Tally,
}

/// A packet, and what its head says.
#[derive(Clone, Copy)]
struct Packet<'a> {
    handle: Handle,
    number: u64,
    bytes: &'a [u8],
}

/// When something comes, by the node's clock and by the calendar.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) now: Time,
    pub(crate) unix_s: u64,
}

/// What became of a packet that came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    Opened {
        from: NodeId,
        body: Bytes,
    },
    /// It was counted and dropped; this is to be answered, if anything.
    Dropped(Option<Bytes>),
    /// A peer asked.
    Noted,
}

impl Seals {
    pub(crate) fn new(
        me: Member,
        identity: &Identity,
        trust: Trust,
        rng: Rng,
        tally: Tally,
    ) -> Self {
        let (secret, credential) = (identity.secret.clone(), identity.credential.clone());
        Self {
            me,
            credential,
            pairs: Pairs::new(me, secret, trust, rng, tally.clone()),
            questions: Allowance::default(),
            checks: Allowance::default(),
            unasked_checks: Allowance::default(),
            tally,
        }
    }

    /// Takes another identity of this node, and believes whom that believes from now on.
    pub(crate) fn renew(&mut self, identity: &Identity, trust: Trust) {
        self.credential = identity.credential.clone();
        self.pairs.renew(trust);
    }

    /// A member, and what it is said to show of itself.
    pub(crate) fn introduce(&mut self, member: Member, credential: &Bytes) {
        if member.node != self.me.node && !credential.is_empty() {
            self.pairs.introduce(member, credential);
        }
    }

    /// What a node shows, as far as it is known.
    pub(crate) fn credential(&self, node: NodeId) -> Bytes {
        let own = Some(self.credential.bytes()).filter(|_| node == self.me.node);
        own.or_else(|| self.pairs.credential(node)).cloned().unwrap_or_default()
    }

    /// A peer is known for certain to live this life.
    pub(crate) fn meet(&mut self, peer: Member) {
        self.pairs.meet(peer);
    }

    /// A node is not to be sealed for any more.
    pub(crate) fn forget(&mut self, node: NodeId) {
        self.pairs.forget(node);
    }

    /// Seals a datagram. None if that takes a link: the peer is not known, or this node is not
    /// known to the peer and there is no room to change that.
    pub(crate) fn seal(&mut self, moment: Moment, to: NodeId, body: &[u8]) -> Option<Bytes> {
        if !self.pairs.make(to, moment.unix_s) {
            return None;
        }
        self.pairs.touch(to);
        let made = self.pairs.made(to)?;
        let is_new = made.window.is_empty() && moment.now < Time::ZERO + YOUNG;
        let has_room = INTRODUCED_LEN + body.len() + TAG_LEN <= PACKET_LEN_MAX;
        let shown = match made.asked {
            Asked::No => (is_new && has_room).then_some(UNASKED),
            Asked::Who { epoch, .. } => Some(epoch),
            Asked::InVain => return None,
        };
        let clear_len = if shown.is_some() { INTRODUCED_LEN } else { SEALED_LEN };
        if clear_len + body.len() + TAG_LEN > PACKET_LEN_MAX {
            return None;
        }
        let kind = if shown.is_some() { INTRODUCED } else { SEALED };
        let mut packet = Vec::with_capacity(clear_len + body.len() + TAG_LEN);
        let number = self.pairs.take_number(to)?;
        put_head(&mut packet, kind, self.me.node, number);
        if let Some(epoch) = shown {
            packet.extend(epoch.to_be_bytes());
            packet.extend(self.me.incarnation.as_bytes());
            packet.extend_from_slice(self.credential.bytes());
        }
        assert_eq!(packet.len(), clear_len, "a packet is laid out as drawn");
        packet.extend_from_slice(body);
        self.pairs.made(to)?.keys.seal(number, &mut packet, clear_len);
        Some(packet.into())
    }

    /// Takes in what came from anybody at all.
    pub(crate) fn open(&mut self, moment: Moment, packet: &[u8]) -> Outcome {
        let Some((head, rest)) = packet.split_first_chunk::<SEALED_LEN>() else {
            return self.drop("net.seal_malformed");
        };
        let [kind, handle @ .., _, _, _, _, _, _, _, _] = *head;
        let packet = Packet { handle, number: number_of(head), bytes: packet };
        match (kind, rest.len()) {
            (SEALED, TAG_LEN..) => self.on_sealed(moment, packet),
            (INTRODUCED, INTRODUCTION_LEN..) => self.on_introduced(moment, packet),
            (WHO, EPOCH_LEN) => {
                let epoch = u64::from_be_bytes(rest.try_into().expect("it is so long"));
                self.on_who(moment.unix_s, packet, epoch)
            }
            _ => self.drop("net.seal_malformed"),
        }
    }

    fn on_sealed(&mut self, moment: Moment, packet: Packet<'_>) -> Outcome {
        let mut fault = "net.seal_unknown";
        for node in self.bearers(packet.handle) {
            if !self.pairs.make(node, moment.unix_s) {
                continue;
            }
            let Some(made) = self.pairs.made(node).filter(|made| !made.is_doubted) else {
                continue;
            };
            if !made.window.takes(packet.number) {
                fault = "net.seal_replayed";
                continue;
            }
            match made.keys.open(packet.number, packet.bytes, SEALED_LEN) {
                Some(body) => return self.opened(node, packet.number, body),
                None => fault = "net.seal_broken",
            }
        }
        self.drop(fault);
        let is_late = fault == "net.seal_replayed";
        Outcome::Dropped(if is_late { None } else { self.ask(moment.now, packet.number) })
    }

    fn on_introduced(&mut self, moment: Moment, packet: Packet<'_>) -> Outcome {
        let number = packet.number;
        let shown = &packet.bytes[SEALED_LEN..INTRODUCED_LEN];
        let (epoch, shown) = shown.split_first_chunk().expect("it is so long");
        let (incarnation, credential) = shown.split_first_chunk().expect("it is so long");
        let epoch = u64::from_be_bytes(*epoch);
        let is_unasked = epoch == UNASKED;
        if epoch != self.pairs.epoch() && !is_unasked {
            self.drop("net.seal_unknown");
            return Outcome::Dropped(self.ask(moment.now, number));
        }
        let credential = match Credential::read(&Bytes::copy_from_slice(credential)) {
            Ok(it) if handle_of(it.node()) == packet.handle && it.node() != self.me.node => it,
            _ => return self.drop("net.seal_malformed"),
        };
        let node = credential.node();
        let peer = Member { node, incarnation: Incarnation::from_bytes(*incarnation) };
        let is_forgotten = self.pairs.is_forgotten(peer);
        let made = self.pairs.made_in(peer);
        if is_unasked && made.as_ref().map_or(is_forgotten, |made| made.is_doubted) {
            self.drop("net.seal_unknown");
            return Outcome::Dropped(self.ask(moment.now, number));
        }
        let is_believed = made.as_ref().is_some_and(|made| {
            made.is_checked && made.credential == credential && !credential.is_over(moment.unix_s)
        });
        let is_made = made.is_some();
        if !is_believed {
            // Who shows the epoch was asked at its address: the others are in nobody's way.
            let checks = if is_unasked { &mut self.unasked_checks } else { &mut self.checks };
            if !checks.take(moment.now) {
                return self.drop("net.seal_crowded");
            }
            if self.pairs.trust.check(&credential, moment.unix_s).is_err() {
                return self.drop("net.credential_refused");
            }
        }
        if !is_made {
            return self.meet_stranger(moment, peer, credential, packet);
        }
        let made = self.pairs.made(node).expect("it was just there");
        if !made.window.takes(number) {
            return self.drop("net.seal_replayed");
        }
        let Some(body) = made.keys.open(number, packet.bytes, INTRODUCED_LEN) else {
            self.drop("net.seal_broken");
            return Outcome::Dropped(self.ask(moment.now, number));
        };
        (made.credential, made.is_checked, made.is_doubted) = (credential, true, false);
        self.opened(node, number, body)
    }

    /// Somebody whose credential is believed shows a life that is not known here. If it can seal,
    /// it lives it.
    fn meet_stranger(
        &mut self,
        moment: Moment,
        peer: Member,
        credential: Credential,
        packet: Packet<'_>,
    ) -> Outcome {
        let number = packet.number;
        let Some(mut made) = self.pairs.agree(peer, credential) else {
            return self.drop("net.credential_refused");
        };
        if !made.window.takes(number) {
            return self.drop("net.seal_replayed");
        }
        let Some(body) = made.keys.open(number, packet.bytes, INTRODUCED_LEN) else {
            self.drop("net.seal_broken");
            return Outcome::Dropped(self.ask(moment.now, number));
        };
        // It has shown the epoch, or of this life nothing was forgotten.
        made.is_doubted = false;
        self.pairs.put(peer, made);
        self.opened(peer.node, number, body)
    }

    /// A peer cannot open what was sealed under this number.
    fn on_who(&mut self, unix_s: u64, packet: Packet<'_>, epoch: u64) -> Outcome {
        let number = packet.number;
        for node in self.bearers(packet.handle) {
            if !self.pairs.make(node, unix_s) {
                continue;
            }
            let Some(made) = self.pairs.made(node) else { continue };
            if !made.numbers.is_recent(number) {
                continue;
            }
            match made.asked {
                Asked::Who { epoch: before, since } if before == epoch => {
                    if number >= since {
                        made.asked = Asked::InVain;
                    }
                }
                _ => made.asked = Asked::Who { epoch, since: made.numbers.next() },
            }
            self.tally.add("net.seal_asked");
            return Outcome::Noted;
        }
        self.drop("net.seal_unasked")
    }

    fn opened(&mut self, from: NodeId, number: u64, body: Vec<u8>) -> Outcome {
        let made = self.pairs.made(from).expect("what was opened has keys");
        made.window.note(number);
        made.asked = Asked::No;
        self.pairs.touch(from);
        Outcome::Opened { from, body: body.into() }
    }

    /// What to answer to whoever sent what could not be opened, if there is still room for that.
    fn ask(&mut self, now: Time, number: u64) -> Option<Bytes> {
        if !self.questions.take(now) {
            return None;
        }
        let mut packet = Vec::with_capacity(SEALED_LEN + EPOCH_LEN);
        put_head(&mut packet, WHO, self.me.node, number);
        packet.extend(self.pairs.epoch().to_be_bytes());
        Some(packet.into())
    }

    /// Those whose ids begin so: one, but for chance.
    fn bearers(&self, handle: Handle) -> Vec<NodeId> {
        let end = |byte| {
            let mut id = [byte; NodeId::LEN];
            id[..HANDLE_LEN].copy_from_slice(&handle);
            NodeId::from_bytes(id)
        };
        self.pairs.between(end(0), end(0xff)).take(BEARERS_MAX).collect()
    }

    fn drop(&self, fault: &'static str) -> Outcome {
        self.tally.add(fault);
        Outcome::Dropped(None)
    }
}

/// Of what strangers can make a node do, so much is done a second.
#[derive(Default)]
struct Allowance {
    second: Option<Time>,
    taken: u32,
}

impl Allowance {
    fn take(&mut self, now: Time) -> bool {
        if self.second.is_none_or(|since| now >= since + Duration::from_secs(1)) {
            (self.second, self.taken) = (Some(now), 0);
        }
        self.taken = (self.taken + 1).min(ALLOWED_MAX + 1);
        self.taken <= ALLOWED_MAX
    }
}

/// Whether a packet is one of these, and not one of QUIC.
pub(crate) fn is_sealed(packet: &[u8]) -> bool {
    packet.first().is_some_and(|kind| *kind < QUIC)
}

/// The first bytes of a node's id.
type Handle = [u8; HANDLE_LEN];

fn handle_of(node: NodeId) -> Handle {
    *node.as_bytes().first_chunk().expect("an id is longer")
}

fn number_of(head: &[u8; SEALED_LEN]) -> u64 {
    u64::from_be_bytes(*head.last_chunk().expect("the number comes last"))
}

fn put_head(packet: &mut Vec<u8>, kind: u8, sender: NodeId, number: u64) {
    packet.push(kind);
    packet.extend(handle_of(sender));
    packet.extend(number.to_be_bytes());
}

/// The longest packet: 1,200 bytes less the headers of IPv4 and UDP.
pub(crate) const PACKET_LEN_MAX: usize = 1_200 - 28;
/// QUIC's packets begin with this or more, since no node of ours greases that bit.
const QUIC: u8 = 0x40;
/// The epoch in an introduction of somebody who was not asked.
const UNASKED: u64 = 0;
/// For so long a node introduces itself unasked: most have heard of it by then.
const YOUNG: Duration = Duration::from_secs(10);
const SEALED: u8 = 0x10;
const INTRODUCED: u8 = 0x11;
const WHO: u8 = 0x12;
const HANDLE_LEN: usize = 4;
const EPOCH_LEN: usize = 8;
const TAG_LEN: usize = 16;
/// What stands before what is sealed.
const SEALED_LEN: usize = 1 + HANDLE_LEN + 8;
const INTRODUCED_LEN: usize = SEALED_LEN + EPOCH_LEN + Incarnation::LEN + Credential::LEN;
/// What follows the number at least, if a packet is introduced.
const INTRODUCTION_LEN: usize = INTRODUCED_LEN - SEALED_LEN + TAG_LEN;
/// How many nodes with the same handle are tried.
const BEARERS_MAX: usize = 4;
/// How often a second it is asked who? of senders, and a shown credential is verified: 20 ms' work.
const ALLOWED_MAX: u32 = 256;

const _: () = assert!(SEALED_LEN + TAG_LEN == Envelope::SEAL_LEN);
const _: () = assert!(SEALED_LEN + EPOCH_LEN <= SEALED_LEN + TAG_LEN, "who? amplifies nothing");

#[cfg(test)]
mod tests;
