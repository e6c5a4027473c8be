//! A few nodes in one address space, with a clock that only moves when nothing else does. Just
//! enough to try the agent; networks that behave badly are the business of `live-objects-sim`.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use bytes::Bytes;
use live_objects::{
    Agreement, Arrival, Command, DiskWork, Down, Driver, Envelope, Event, Full, Incarnation, Link,
    Member, MembersEvent, ModuleTag, NodeId, ObjectType, Port, Rng, Spec, Stack, Start, Target,
    Time, Via,
};
use rand::RngExt;

use crate::entry::Standing;
use crate::entry::tests::entry;
use crate::members::TOMBSTONES_MAX;
use crate::wire::{Leg, Packet};
use crate::{Config, Gossip};

/// Every node, and what is under way between them.
pub(super) struct World {
    pub(super) now: Time,
    pub(super) nodes: Vec<Node>,
    pub(super) config: Config,
    wakes: BTreeSet<(Time, usize)>,
    pub(super) wire: Wire,
}

pub(super) struct Node {
    pub(super) member: Member,
    pub(super) stack: Stack,
    pub(super) port: Port,
    wake: Time,
}

/// What the drivers of all nodes share.
pub(super) struct Wire {
    under_way: BTreeMap<(Time, u64), (usize, Arrival)>,
    sent: u64,
    links: BTreeSet<(usize, usize)>,
    nodes: BTreeMap<NodeId, usize>,
    up: Vec<bool>,
    rng: Rng,
    /// Of a hundred datagrams so many are lost.
    pub(super) loss_percent: u32,
    /// Between these nothing passes.
    pub(super) cut: BTreeSet<(usize, usize)>,
    /// So many bytes of bulk are taken at a time.
    pub(super) room: usize,
    /// Of that so many are left from one to the other.
    pub(super) rooms: BTreeMap<(usize, usize), usize>,
    /// How many bulk messages went from one to the other.
    pub(super) bulk: BTreeMap<(usize, usize), u32>,
    /// How long all of them were together.
    pub(super) bulk_bytes: u64,
    /// Bytes of datagrams sent, with 28 for headers.
    pub(super) datagram_bytes: u64,
    pub(super) datagram_longest: usize,
    /// Who asked whom, by datagram, and under which number.
    pub(super) asked: Vec<(usize, usize, u32)>,
    /// Whether some are told of members what is not so.
    pub(super) is_lied_to: bool,
    /// What was said, over datagrams and links, the last of it.
    pub(super) tapes: [VecDeque<Bytes>; 2],
}

struct Hands<'a> {
    now: Time,
    from: usize,
    wire: &'a mut Wire,
}

/// So much of what was said is kept.
const TAPE_MAX: usize = 1_024;

const LATENCY: Duration = Duration::from_millis(5);

pub(super) fn id(node: usize) -> NodeId {
    NodeId::from_public_key(&node.to_be_bytes())
}

/// What a node shows of itself: of no meaning here, but its own.
pub(super) fn credential(node: usize) -> Bytes {
    node.to_be_bytes().to_vec().into()
}

fn address(node: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 7_000 + node as u16))
}

impl World {
    pub(super) fn new() -> Self {
        let wire = Wire {
            under_way: BTreeMap::new(),
            sent: 0,
            links: BTreeSet::new(),
            nodes: BTreeMap::new(),
            up: Vec::new(),
            rng: Rng::from_seed([3; 32]),
            loss_percent: 0,
            cut: BTreeSet::new(),
            room: usize::MAX,
            rooms: BTreeMap::new(),
            bulk: BTreeMap::new(),
            bulk_bytes: 0,
            datagram_bytes: 0,
            datagram_longest: 0,
            asked: Vec::new(),
            is_lied_to: false,
            tapes: Default::default(),
        };
        let (nodes, wakes, config) = (Vec::new(), BTreeSet::new(), Config::default());
        Self { now: Time::ZERO, nodes, config, wakes, wire }
    }

    /// A cluster of `n`, all of whom have node 0 for a seed, that was given time to settle.
    pub(super) fn settled(n: usize) -> Self {
        let mut world = Self::new();
        (0..n).for_each(|node| world.start(node, &[0], 1_000));
        world.run(Duration::from_secs(5));
        (0..n).for_each(|node| assert_eq!(world.members(node).len(), n));
        world
    }

    /// Starts a node, or starts it again, with a clock that says `unix_ms`.
    pub(super) fn start(&mut self, node: usize, seeds: &[usize], unix_ms: u64) {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&node.to_be_bytes());
        seed[8..16].copy_from_slice(&self.now.as_nanos().to_be_bytes());
        let mut rng = Rng::from_seed(seed);
        let member = Member { node: id(node), incarnation: Incarnation::from_bytes(rng.random()) };
        let mut stack =
            Stack::new(vec![Box::new(Gossip::new(self.config).unwrap())], &rng).unwrap();
        let seeds = seeds.iter().map(|seed| address(*seed)).collect();
        let (addresses, credential) = (vec![address(node)], credential(node));
        stack.start(&Start { me: member, unix_ms, addresses, seeds, credential });
        let spec = Spec::new("/members".parse().unwrap(), ObjectType::members(Agreement::Eventual));
        let port = stack.open(spec).unwrap();
        let fresh = Node { member, stack, port, wake: Time::MAX };
        if node == self.nodes.len() {
            self.nodes.push(fresh);
            self.wire.nodes.insert(id(node), node);
            self.wire.up.push(true);
        } else {
            self.wakes.remove(&(self.nodes[node].wake, node));
            self.nodes[node] = fresh;
            self.wire.up[node] = true;
        }
        self.step(node, Vec::new());
    }

    /// Opens an object at a node, which carries it.
    pub(super) fn open(&mut self, node: usize, name: &str, ty: ObjectType) -> Port {
        let port = self.nodes[node].stack.open(Spec::new(name.parse().unwrap(), ty)).unwrap();
        self.step(node, Vec::new());
        assert_eq!(port.try_next(), Some(Event::Opened));
        port
    }

    /// Gives an object of a node a command, which is taken.
    pub(super) fn say(&mut self, node: usize, port: &Port, command: Command) {
        port.try_send(command).unwrap();
        self.step(node, Vec::new());
    }

    /// A node is gone without a word.
    pub(super) fn crash(&mut self, node: usize) {
        self.wire.up[node] = false;
        for other in 0..self.nodes.len() {
            if self.wire.links.remove(&(node.min(other), node.max(other))) {
                self.wire.arrive(self.now, other, down(node));
            }
        }
    }

    /// The nodes of one side and those of the other no longer reach each other.
    pub(super) fn part(&mut self, side: &[usize], other: &[usize]) {
        for (one, two) in side.iter().flat_map(|one| other.iter().map(move |two| (*one, *two))) {
            self.wire.cut.extend([(one, two), (two, one)]);
            if self.wire.links.remove(&(one.min(two), one.max(two))) {
                self.wire.arrive(self.now, one, down(two));
                self.wire.arrive(self.now, two, down(one));
            }
        }
    }

    /// A datagram, as if `from` had sent it.
    pub(super) fn inject(&mut self, from: NodeId, to: usize, body: &[u8]) {
        self.step(to, vec![Arrival::Datagram { from, bytes: enveloped(body) }]);
    }

    /// A message, as if `from` had sent it.
    pub(super) fn inject_message(&mut self, from: NodeId, to: usize, body: &[u8]) {
        self.step(to, vec![Arrival::Message { from, bytes: enveloped(body) }]);
    }

    /// Gives these nodes all the tombstones that a table holds, each 51 bytes long in a message: of
    /// members that came and went.
    pub(super) fn bury_many(&mut self, nodes: &[usize]) {
        // Written the other way round than the number of a node, these are others.
        for number in 1..=TOMBSTONES_MAX as u64 {
            let mut packet = Packet::new(Leg::Rest { number: 1 });
            for standing in [Standing::Alive, Standing::Left] {
                let mut buried = entry(1, 1).as_standing(standing);
                buried.member.node = NodeId::from_public_key(&number.to_le_bytes());
                packet.entries.push(buried);
            }
            nodes.iter().for_each(|node| self.inject(id(9_999), *node, &packet.encode()));
        }
    }

    pub(super) fn run(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let arrival = self.wire.under_way.keys().next().map(|(at, _)| *at);
            let wake = self.wakes.first().map(|(at, _)| *at);
            let Some(next) = arrival.into_iter().chain(wake).min().filter(|next| *next <= end)
            else {
                break;
            };
            self.now = self.now.max(next);
            if arrival.is_some_and(|at| at <= self.now) {
                let (_, (to, arrival)) = self.wire.under_way.pop_first().unwrap();
                self.step(to, vec![arrival]);
            } else {
                let node = self.wakes.first().unwrap().1;
                self.step(node, Vec::new());
            }
        }
        self.now = end;
    }

    pub(super) fn step(&mut self, node: usize, arrivals: Vec<Arrival>) {
        let Node { stack, wake, .. } = &mut self.nodes[node];
        self.wakes.remove(&(*wake, node));
        if self.wire.up[node] {
            let mut hands = Hands { now: self.now, from: node, wire: &mut self.wire };
            stack.step(self.now, arrivals, &mut hands);
            if let Some(next) = stack.next_wake() {
                *wake = next;
                self.wakes.insert((next, node));
            }
        }
    }

    /// What a node's application has heard since it last looked.
    pub(super) fn events(&self, node: usize) -> Vec<MembersEvent> {
        let port = &self.nodes[node].port;
        std::iter::from_fn(|| port.try_next())
            .filter_map(|event| if let Event::Members(event) = event { Some(event) } else { None })
            .collect()
    }

    /// Whom a node believes up, by asking it anew.
    pub(super) fn members(&mut self, node: usize) -> Vec<Member> {
        let name = format!("/asked/{}", self.wire.sent).parse().unwrap();
        let spec = Spec::new(name, ObjectType::members(Agreement::Eventual));
        let port = self.nodes[node].stack.open(spec).unwrap();
        self.step(node, Vec::new());
        let (opened, roster) = (port.try_next(), port.try_next());
        assert_eq!(opened, Some(Event::Opened));
        port.close();
        self.step(node, Vec::new());
        let Some(Event::Members(MembersEvent::Roster(roster))) = roster else {
            panic!("{roster:?}")
        };
        roster
    }

    /// The members of these nodes, by id: what each should believe.
    pub(super) fn those(&self, nodes: &[usize]) -> Vec<Member> {
        let mut those: Vec<Member> = nodes.iter().map(|node| self.nodes[*node].member).collect();
        those.sort();
        those
    }

    pub(super) fn count(&self, node: usize, name: &str) -> u64 {
        self.nodes[node].stack.counts().get(name)
    }
}

impl Wire {
    fn arrive(&mut self, now: Time, to: usize, arrival: Arrival) {
        self.sent += 1;
        self.under_way.insert((now + LATENCY, self.sent), (to, arrival));
    }

    fn link(&mut self, now: Time, from: usize, to: usize) {
        let can = self.up.get(to) == Some(&true) && !self.cut.contains(&(from, to));
        if can && self.links.insert((from.min(to), from.max(to))) {
            self.arrive(now, to, Arrival::Link { peer: id(from), link: Link::Up });
            self.arrive(now, from, Arrival::Link { peer: id(to), link: Link::Up });
        }
    }
}

impl Hands<'_> {
    fn bulk(&mut self, to: usize, len: usize) -> Result<(), Full> {
        let pair = (self.from, to);
        let room = self.wire.rooms.entry(pair).or_insert(self.wire.room);
        let Some(left) = room.checked_sub(len) else {
            // It has all its room again by the time that it is told.
            *room = self.wire.room;
            self.wire.arrive(self.now, self.from, Arrival::Room { to: id(to) });
            return Err(Full);
        };
        *room = left;
        *self.wire.bulk.entry(pair).or_default() += 1;
        self.wire.bulk_bytes += len as u64;
        Ok(())
    }
}

impl Driver for Hands<'_> {
    fn send(
        &mut self,
        to: Target<'_>,
        via: Via,
        envelope: Envelope,
        body: Bytes,
    ) -> Result<(), Full> {
        let bytes = Bytes::from([&envelope.to_bytes()[..], &body].concat());
        let tape = &mut self.wire.tapes[usize::from(via != Via::Datagram)];
        tape.push_back(body.clone());
        if tape.len() > TAPE_MAX {
            tape.pop_front();
        }
        let from = id(self.from);
        for node in to.nodes() {
            // Those who were only ever heard of are nowhere.
            let Some(to) = self.wire.nodes.get(node).copied() else { continue };
            let bytes = bytes.clone();
            if via == Via::Datagram {
                self.wire.datagram_bytes += bytes.len() as u64 + 28;
                self.wire.datagram_longest = self.wire.datagram_longest.max(bytes.len());
                let packet = Packet::decode(&body).expect("others can read what a node says");
                if let Leg::Ask { number } = packet.leg {
                    self.wire.asked.push((self.from, to, number));
                }
                let is_lost = self.wire.rng.random_range(0..100) < self.wire.loss_percent;
                if !is_lost && !self.wire.cut.contains(&(self.from, to)) {
                    self.wire.arrive(self.now, to, Arrival::Datagram { from, bytes });
                }
                continue;
            }
            if via == Via::Bulk {
                self.bulk(to, bytes.len())?;
            }
            self.wire.link(self.now, self.from, to);
            if self.wire.links.contains(&(self.from.min(to), self.from.max(to))) {
                self.wire.arrive(self.now, to, Arrival::Message { from, bytes });
            } else {
                self.wire.arrive(self.now, self.from, down(to));
            }
        }
        Ok(())
    }

    fn room(&mut self, to: NodeId) -> usize {
        let Some(other) = self.wire.nodes.get(&to) else { return 0 };
        let pair = (self.from, *other);
        let room = *self.wire.rooms.entry(pair).or_insert(self.wire.room);
        if room == 0 {
            self.bulk(pair.1, 1).expect_err("there is no room");
        }
        room
    }

    fn datagram_max(&self, _to: NodeId) -> usize {
        1_200
    }

    fn introduce(&mut self, member: Member, addresses: &[SocketAddr], shown: &Bytes) {
        if self.wire.is_lied_to {
            return;
        }
        if let Some(&known) = self.wire.nodes.get(&member.node) {
            assert_eq!(addresses, [address(known)]);
            assert_eq!(*shown, credential(known));
        }
    }

    fn credential(&self, node: NodeId) -> Bytes {
        self.wire.nodes.get(&node).map_or(Bytes::new(), |known| credential(*known))
    }

    fn dial(&mut self, seed: SocketAddr) {
        let to = usize::from(seed.port() - 7_000);
        self.wire.link(self.now, self.from, to);
    }

    fn disk(&mut self, module: &'static str, _: DiskWork) {
        panic!("{module} keeps nothing on disk");
    }
}

fn enveloped(body: &[u8]) -> Bytes {
    let envelope = Envelope { module: ModuleTag::of("gossip") };
    [&envelope.to_bytes()[..], body].concat().into()
}

fn down(node: usize) -> Arrival {
    Arrival::Link { peer: id(node), link: Link::Down(Down::Silent) }
}
