//! The real [`Driver`]: what a node's stack sends by, its address book, its inbox and its disk.
//!
//! None of the calls of a step waits: a message goes into a lane or is refused, a datagram goes out
//! or is dropped and counted. What came meanwhile is handed on, as a batch, in the next step.
//!
//! A datagram goes over the link if there is one. If not it is sealed and sent as it is, so that a
//! node that speaks with any number of peers, as gossip does, needs no link to each. Only if the
//! peer cannot be sealed for is a link made for a datagram.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use live_objects::{
    Arrival, Counts, DiskWork, Down, Driver, Envelope, Full, Link, Member, NodeId, Target, Time,
    Via,
};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::clock::unix_ms;
use crate::disk::Disk;
use crate::framing::Frame;
use crate::identity::Identity;
use crate::inbox::Happening;
use crate::lanes::Lane;
use crate::links::{Links, RenewError};
use crate::seal::{Moment, Outcome, PACKET_LEN_MAX, Seals};
use crate::socket::Socket;
use crate::tally::Tally;

/// A node's side of the network.
pub(crate) struct Wire {
    pub(crate) now: Time,
    /// Where this node is reached: it does not dial itself.
    own: Vec<SocketAddr>,
    places: BTreeMap<NodeId, Place>,
    links: Links,
    socket: Arc<Socket>,
    seals: Seals,
    disk: Disk,
    inbox: UnboundedReceiver<Happening>,
    waiting: Vec<Happening>,
    /// Peers without an address, to whom something was to be sent.
    unknown: BTreeSet<NodeId>,
    /// What is to be told in the next step.
    untold: Vec<Arrival>,
    sweep_at: Time,
    tally: Tally,
}

impl Wire {
    pub(crate) fn new(
        own: Vec<SocketAddr>,
        (links, socket, seals): (Links, Arc<Socket>, Seals),
        disk: Disk,
        inbox: UnboundedReceiver<Happening>,
        tally: Tally,
    ) -> Self {
        Self {
            now: Time::ZERO,
            own,
            places: BTreeMap::new(),
            links,
            socket,
            seals,
            disk,
            inbox,
            waiting: Vec::new(),
            unknown: BTreeSet::new(),
            untold: Vec::new(),
            sweep_at: Time::ZERO,
            tally,
        }
    }

    /// Waits until something has come for the next step.
    pub(crate) async fn wait(&mut self) {
        if self.waiting.is_empty() {
            tokio::select! {
                _ = self.inbox.recv_many(&mut self.waiting, BATCH_MAX) => {}
                () = self.disk.wait() => {}
            }
        }
    }

    /// What has come by now.
    pub(crate) fn arrivals(&mut self, now: Time) -> Vec<Arrival> {
        self.now = now;
        let no_address = |peer| Arrival::Link { peer, link: Link::Down(Down::NoAddress) };
        let mut arrivals = std::mem::take(&mut self.untold);
        arrivals.extend(std::mem::take(&mut self.unknown).into_iter().map(no_address));
        self.disk.tell(&mut arrivals);
        while self.waiting.len() < BATCH_MAX
            && let Ok(happening) = self.inbox.try_recv()
        {
            self.waiting.push(happening);
        }
        for happening in std::mem::take(&mut self.waiting) {
            match happening {
                Happening::Sealed(from, packet, room) => {
                    arrivals.extend(self.on_sealed(from, &packet));
                    drop(room);
                }
                happening => self.links.on(now, happening, &mut arrivals),
            }
        }
        for arrival in &arrivals {
            if let Arrival::Link { peer, link: Link::Up } = arrival
                && let Some((incarnation, address)) = self.links.whereabouts(*peer)
            {
                // A module may know better, but who answers there is known for certain.
                self.places.entry(*peer).or_insert_with(|| Place::at(&[address]));
                self.seals.meet(Member { node: *peer, incarnation });
            }
        }
        if now >= self.sweep_at {
            self.sweep_at = now + SWEEP;
            self.links.sweep(now, &mut arrivals);
        }
        arrivals
    }

    /// When it has something to tell, if nothing comes before.
    pub(crate) fn next_wake(&self) -> Option<Time> {
        let is_news = !self.unknown.is_empty() || !self.untold.is_empty();
        if is_news || !self.inbox.is_empty() || self.disk.is_waiting() {
            return Some(Time::ZERO);
        }
        (!self.links.is_empty()).then_some(self.sweep_at)
    }

    /// These counters and those of the driver.
    pub(crate) fn counts(&self, others: &Counts) -> BTreeMap<&'static str, u64> {
        self.tally.with(others)
    }

    /// Takes another identity of this node. Links that it does not accept are told as closed.
    pub(crate) fn renew(&mut self, identity: &Identity) -> Result<(), RenewError> {
        let trust = self.links.renew(self.now, identity, &mut self.untold)?;
        self.seals.renew(identity, trust);
        Ok(())
    }

    /// Sees that peers get what was said to them and the disk what it was asked, then closes all.
    pub(crate) async fn close(self) {
        tokio::join!(self.links.close(CLOSE), self.disk.close());
    }

    /// Whether there is a link to this peer, or an attempt at one, made now if need be.
    fn reach(&mut self, peer: NodeId) -> bool {
        if self.links.has(peer) {
            return true;
        }
        match self.places.get(&peer) {
            Some(place) => self.links.open(self.now, peer, &place.addresses),
            None => drop(self.unknown.insert(peer)),
        }
        self.links.has(peer)
    }

    fn send_datagram(&mut self, to: Target<'_>, envelope: Envelope, body: &[u8]) {
        let bytes = Bytes::from([&envelope.to_bytes()[..], body].concat());
        assert!(bytes.len() <= DATAGRAM_BYTES_MAX, "a stack sends no longer datagrams");
        for peer in to.nodes() {
            let is_sent = !self.links.is_up(*peer) && self.send_sealed(*peer, &bytes);
            if !is_sent && self.reach(*peer) {
                self.links.send_datagram(self.now, *peer, bytes.clone());
            }
        }
    }

    /// Sends a datagram without a link, if the peer and its place are known.
    fn send_sealed(&mut self, peer: NodeId, bytes: &[u8]) -> bool {
        let Some(place) = self.places.get_mut(&peer) else { return false };
        let moment = moment(self.now);
        let Some(packet) = self.seals.seal(moment, peer, bytes) else { return false };
        self.socket.send(place.next(), &packet);
        self.tally.add("net.datagram_sealed");
        true
    }

    /// Takes in a packet that no connection brought.
    fn on_sealed(&mut self, at: SocketAddr, packet: &[u8]) -> Option<Arrival> {
        match self.seals.open(moment(self.now), packet) {
            Outcome::Opened { from, body } => {
                self.places.entry(from).or_insert_with(|| Place::at(&[at])).heard(at);
                Some(Arrival::Datagram { from, bytes: body })
            }
            Outcome::Dropped(answer) => {
                answer.iter().for_each(|answer| self.socket.send(at, answer));
                None
            }
            Outcome::Noted => None,
        }
    }
}

/// Where a peer is.
struct Place {
    /// The best first.
    addresses: Vec<SocketAddr>,
    /// The one from which it was heard without a link.
    heard: Option<usize>,
    /// The one that is tried next, until it is heard.
    turn: usize,
}

impl Place {
    fn at(addresses: &[SocketAddr]) -> Self {
        let addresses = addresses.iter().take(ADDRESSES_MAX).copied().collect();
        Self { addresses, heard: None, turn: 0 }
    }

    /// Where the next packet goes. No link says which address is right: each has its turn, until
    /// the peer answers from one.
    fn next(&mut self) -> SocketAddr {
        let turn = self.heard.unwrap_or(self.turn);
        self.turn = (self.turn + 1) % self.addresses.len();
        self.addresses[turn]
    }

    /// The peer was heard from there, which need not be where it says that it is reached.
    fn heard(&mut self, at: SocketAddr) {
        self.heard = self.addresses.iter().position(|address| *address == at).or(self.heard);
    }
}

fn moment(now: Time) -> Moment {
    Moment { now, unix_s: unix_ms() / 1_000 }
}

impl Driver for Wire {
    fn send(
        &mut self,
        to: Target<'_>,
        via: Via,
        envelope: Envelope,
        body: Bytes,
    ) -> Result<(), Full> {
        let lane = match via {
            Via::Datagram => {
                self.send_datagram(to, envelope, &body);
                return Ok(());
            }
            Via::Control => Lane::Control,
            Via::Bulk => Lane::Bulk,
        };
        let frame = Frame::new(envelope, body);
        let is_full = |peer: &&NodeId| {
            self.links.lanes(**peer).is_some_and(|lanes| !lanes.takes(lane, frame.len()))
        };
        // All are asked, so that each that has no room tells when it has.
        if to.nodes().iter().filter(is_full).count() > 0 {
            return Err(Full);
        }
        for peer in to.nodes() {
            if self.reach(*peer) {
                self.links.send(self.now, *peer, lane, frame.clone());
            }
        }
        Ok(())
    }

    fn room(&mut self, to: NodeId) -> usize {
        self.links.lanes(to).map_or(Lane::Bulk.bytes_max(), |lanes| lanes.room())
    }

    fn datagram_max(&self, _: NodeId) -> usize {
        DATAGRAM_BYTES_MAX
    }

    fn introduce(&mut self, member: Member, addresses: &[SocketAddr], credential: &Bytes) {
        if addresses.is_empty() {
            self.places.remove(&member.node);
            self.seals.forget(member.node);
        } else {
            self.places.insert(member.node, Place::at(addresses));
            self.seals.introduce(member, credential);
        }
    }

    fn credential(&self, node: NodeId) -> Bytes {
        self.seals.credential(node)
    }

    fn dial(&mut self, address: SocketAddr) {
        if !self.own.contains(&address) {
            self.links.dial(address);
        }
    }

    fn disk(&mut self, module: &'static str, work: DiskWork) {
        self.disk.ask(module, work);
    }
}

/// What every path carries, sealed: the least packet that QUIC asks of a path, less IP's and UDP's
/// headers, less the seal. What QUIC itself adds is a little less.
pub(crate) const DATAGRAM_BYTES_MAX: usize = PACKET_LEN_MAX - Envelope::SEAL_LEN;
/// How many addresses of a node are tried.
const ADDRESSES_MAX: usize = 4;
/// How many happenings a step takes in.
const BATCH_MAX: usize = 256;
/// How often idle links are looked for.
const SWEEP: Duration = Duration::from_secs(5);
/// How long a node that stops waits for its peers to take what it said.
const CLOSE: Duration = Duration::from_secs(2);
