//! The simulated [`Driver`]: what a host's stack sends by, its links, its address book, its disk.
//!
//! As the real driver does, it dials whom it has an address for, knows who a peer is before it
//! hands on a byte of theirs, and never waits.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use live_objects::{
    Arrival, DiskWork, Down, Driver, Envelope, Full, Link, Member, NodeId, Target, Time, Via,
};

use crate::disk::Disk;
use crate::ends::Ends;
use crate::link::{BULK, CONTROL, Conn, Happening, LinkEnd, Patience, Segment};
use crate::site::Site;
use crate::trace::Trace;

/// What goes from host to host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Packet {
    Datagram(Bytes),
    Segment(Conn, Segment),
}

impl Packet {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Datagram(bytes) => bytes.len(),
            Self::Segment(_, segment) => segment.len(),
        }
    }

    pub(crate) fn is_ping(&self) -> bool {
        matches!(self, Self::Segment(_, Segment::Ping))
    }

    pub(crate) fn trace(&self, trace: &mut Trace) {
        match self {
            Self::Datagram(bytes) => trace.bytes(bytes),
            Self::Segment(_, Segment::Data { piece, .. }) => trace.bytes(&piece.bytes),
            Self::Segment(conn, segment) => {
                trace.number(conn.number);
                trace.number(segment.len() as u64);
            }
        }
    }
}

/// A host's side of the network, and its disk while it runs.
pub(crate) struct Wire {
    me: usize,
    site: Site,
    patience: Patience,
    pub(crate) now: Time,
    /// Whom it has an address of.
    reach: Reach,
    ends: Ends,
    /// The last connection that each peer opened, or that it gave up for one of ours: older ones
    /// are late copies.
    floors: BTreeMap<usize, u64>,
    /// What the step sent, and what it is to hear in the next.
    pub(crate) packets: Vec<(usize, Packet)>,
    refused: Vec<NodeId>,
    pub(crate) disk: Disk,
}

impl Wire {
    pub(crate) fn new(me: usize, site: Site, slowest: Duration, disk: Disk) -> Self {
        Self {
            me,
            site,
            patience: Patience::with_slowest(slowest),
            now: Time::ZERO,
            reach: Reach::default(),
            ends: Ends::default(),
            floors: BTreeMap::new(),
            packets: Vec::new(),
            refused: Vec::new(),
            disk,
        }
    }

    pub(crate) fn on_packet(
        &mut self,
        now: Time,
        from: usize,
        packet: Packet,
        arrivals: &mut Vec<Arrival>,
    ) {
        self.now = now;
        self.reach.insert(from);
        match packet {
            Packet::Datagram(bytes) => {
                arrivals.push(Arrival::Datagram { from: self.site.id(from), bytes });
            }
            Packet::Segment(conn, Segment::Open) => self.on_open(from, conn, arrivals),
            Packet::Segment(conn, segment) => self.on_segment(from, conn, segment, arrivals),
        }
    }

    pub(crate) fn on_timer(&mut self, now: Time, arrivals: &mut Vec<Arrival>) {
        self.now = now;
        for peer in std::mem::take(&mut self.refused) {
            arrivals.push(Arrival::Link { peer, link: Link::Down(Down::NoAddress) });
        }
        for peer in self.ends.due(now) {
            self.with_end(peer, arrivals, |end, out, happened| end.on_timer(now, out, happened));
        }
    }

    pub(crate) fn next_timer(&self) -> Option<Time> {
        if !self.refused.is_empty() {
            return Some(self.now);
        }
        self.ends.next_timer().into_iter().chain(self.disk.next_timer()).min()
    }

    pub(crate) fn close_all(&mut self) {
        for (peer, end) in self.ends.take() {
            self.packets.push((peer, Packet::Segment(end.conn, Segment::Close(Down::Closed))));
        }
    }

    fn on_open(&mut self, from: usize, conn: Conn, arrivals: &mut Vec<Arrival>) {
        let floor = self.floors.get(&from).copied().unwrap_or(0);
        let known = self.ends.get(from).map(|end| (end.conn, end.is_up()));
        let ours = known.map(|(conn, _)| conn).filter(|ours| ours.opener == self.me);
        let mut out = vec![Segment::Opened { floor: ours.map_or(0, |ours| ours.number) }];
        match known {
            Some((known, _)) if known == conn => {}
            _ if conn.number <= floor => return,
            // Both asked at once: the lower number's attempt stands.
            Some((_, false)) if self.me < from => return,
            Some((_, false)) => {
                let now = self.now;
                self.ends.act(from, |end| end.yield_to(conn, now, &mut out));
                self.told(from, vec![Happening::Up], arrivals);
            }
            // The peer started again, or lost a link that seemed well from here.
            Some((_, true)) => {
                self.told(from, vec![Happening::Down(Down::Closed)], arrivals);
                self.accept(from, conn, arrivals);
            }
            None => self.accept(from, conn, arrivals),
        }
        self.floors.insert(from, conn.number);
        self.say(from, conn, out);
    }

    fn accept(&mut self, from: usize, conn: Conn, arrivals: &mut Vec<Arrival>) {
        self.ends.insert(from, LinkEnd::accept(conn, self.patience, self.now));
        self.told(from, vec![Happening::Up], arrivals);
    }

    fn on_segment(
        &mut self,
        from: usize,
        conn: Conn,
        segment: Segment,
        arrivals: &mut Vec<Arrival>,
    ) {
        let now = self.now;
        if self.ends.get(from).is_none_or(|end| end.conn != conn) {
            if !matches!(segment, Segment::Close(_)) {
                self.packets.push((from, Packet::Segment(conn, Segment::Close(Down::Closed))));
            }
            return;
        }
        if let Segment::Opened { floor } = segment {
            let known = self.floors.entry(from).or_default();
            *known = floor.max(*known);
        }
        self.with_end(from, arrivals, |end, out, happened| {
            end.on_segment(now, segment, out, happened);
        });
    }

    /// Lets an end act, sends what it says and tells what happened.
    fn with_end(
        &mut self,
        peer: usize,
        arrivals: &mut Vec<Arrival>,
        act: impl FnOnce(&mut LinkEnd, &mut Vec<Segment>, &mut Vec<Happening>),
    ) {
        let (mut out, mut happened) = (Vec::new(), Vec::new());
        let acted = self.ends.act(peer, |end| {
            act(end, &mut out, &mut happened);
            end.conn
        });
        let Some(conn) = acted else { return };
        self.say(peer, conn, out);
        self.told(peer, happened, arrivals);
    }

    fn say(&mut self, peer: usize, conn: Conn, segments: Vec<Segment>) {
        let packet = |segment| (peer, Packet::Segment(conn, segment));
        self.packets.extend(segments.into_iter().map(packet));
    }

    fn told(&mut self, peer: usize, happened: Vec<Happening>, arrivals: &mut Vec<Arrival>) {
        let from = self.site.id(peer);
        arrivals.extend(happened.into_iter().map(|happening| match happening {
            Happening::Up => Arrival::Link { peer: from, link: Link::Up },
            Happening::Message(bytes) => Arrival::Message { from, bytes },
            Happening::Room => Arrival::Room { to: from },
            Happening::Down(down) => {
                self.ends.remove(peer);
                Arrival::Link { peer: from, link: Link::Down(down) }
            }
        }));
    }

    /// The number of a node that it has an address of.
    fn peer(&self, node: NodeId) -> Option<usize> {
        self.site.index(node).filter(|peer| self.reach.contains(*peer))
    }

    /// Asks the link to a node, if there is one.
    fn ask<T>(&mut self, to: NodeId, ask: impl FnOnce(&mut LinkEnd) -> T) -> Option<T> {
        self.ends.ask(self.peer(to)?, ask)
    }

    fn open(&mut self, peer: usize) {
        // Time numbers upwards through all lives of a node; nothing was opened before 1.
        let conn = Conn { opener: self.me, number: self.now.as_nanos() + 1 };
        let mut out = Vec::new();
        self.ends.insert(peer, LinkEnd::open(conn, self.patience, self.now, &mut out));
        self.say(peer, conn, out);
    }

    fn send_message(&mut self, to: NodeId, lane: usize, bytes: Bytes) {
        let now = self.now;
        let Some(peer) = self.peer(to) else {
            self.refused.push(to);
            return;
        };
        if self.ends.get(peer).is_none() {
            self.open(peer);
        }
        let mut out = Vec::new();
        let conn = self.ends.act(peer, |end| {
            end.send(now, lane, bytes, &mut out).expect("room was asked for before");
            end.conn
        });
        self.say(peer, conn.expect("it was opened if it was not there"), out);
    }
}

impl Driver for Wire {
    fn send(
        &mut self,
        to: Target<'_>,
        via: Via,
        envelope: Envelope,
        body: Bytes,
    ) -> Result<(), Full> {
        let bytes = Bytes::from([&envelope.to_bytes()[..], &body].concat());
        let lane = match via {
            Via::Datagram => {
                for node in to.nodes() {
                    match self.peer(*node) {
                        Some(peer) => self.packets.push((peer, Packet::Datagram(bytes.clone()))),
                        None => self.refused.push(*node),
                    }
                }
                return Ok(());
            }
            Via::Control => CONTROL,
            Via::Bulk => BULK,
        };
        // All are asked, so that each that has no room tells when it has.
        let mut is_full = false;
        for node in to.nodes() {
            let takes = self.ask(*node, |end| end.takes(lane, bytes.len()));
            is_full |= takes == Some(false);
        }
        if is_full {
            return Err(Full);
        }
        for node in to.nodes() {
            self.send_message(*node, lane, bytes.clone());
        }
        Ok(())
    }

    fn room(&mut self, to: NodeId) -> usize {
        self.ask(to, LinkEnd::room).unwrap_or(LinkEnd::BUFFER_BYTES_MAX)
    }

    fn datagram_max(&self, _: NodeId) -> usize {
        DATAGRAM_BYTES_MAX
    }

    fn introduce(&mut self, Member { node, .. }: Member, addresses: &[SocketAddr], _: &Bytes) {
        let Some(peer) = self.site.index(node) else { return };
        // Whoever answers elsewhere has another key: that is nobody we know.
        if addresses.iter().find_map(|address| self.site.at(*address)) == Some(peer) {
            self.reach.insert(peer);
        } else {
            self.reach.remove(peer);
        }
    }

    fn credential(&self, node: NodeId) -> Bytes {
        self.site.index(node).map_or(Bytes::new(), |index| self.site.credential(index))
    }

    fn dial(&mut self, address: SocketAddr) {
        let peer = self.site.at(address).filter(|peer| *peer != self.me);
        if let Some(peer) = peer.filter(|peer| self.ends.get(*peer).is_none()) {
            self.open(peer);
        }
    }

    fn disk(&mut self, module: &'static str, work: DiskWork) {
        self.disk.ask(self.now, module, work);
    }
}

/// A set of nodes by number, a bit each: a node of a large world knows all of thousands.
#[derive(Default)]
struct Reach(Vec<u64>);

impl Reach {
    fn contains(&self, node: usize) -> bool {
        self.0.get(node / 64).is_some_and(|word| word >> (node % 64) & 1 == 1)
    }

    fn insert(&mut self, node: usize) {
        if self.0.len() <= node / 64 {
            self.0.resize(node / 64 + 1, 0);
        }
        self.0[node / 64] |= 1 << (node % 64);
    }

    fn remove(&mut self, node: usize) {
        if let Some(word) = self.0.get_mut(node / 64) {
            *word &= !(1 << (node % 64));
        }
    }
}

/// What every path carries: the least that QUIC asks of one.
const DATAGRAM_BYTES_MAX: usize = 1_200;
