//! A simulated node: a clock, a stack of modules, its ends of links, and what is on its way to it.
//!
//! A host looks at nothing but itself and the (frozen) network while it runs, so that many hosts
//! can run at once: what it sends lands in `flights`, which the world hands out when the window is
//! over.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use bytes::Bytes;
use live_objects::{
    Arrival, Counts, Incarnation, Member, Module, ObjectId, OpenError, Port, Replicate, Rng, Spec,
    Stack, Start, Time,
};
use rand::RngExt;

use crate::cities::Cities;
use crate::clock::Clock;
use crate::disk::Disk;
use crate::history::{Record, What};
use crate::network::{Cuts, Network};
use crate::replica::Hosted;
use crate::site::Site;
use crate::trace::Trace;
use crate::wire::{Packet, Wire};

/// Makes the modules of a node, each time it starts. The argument is the node's number.
pub(crate) type Factory = dyn Fn(usize) -> Vec<Box<dyn Module>> + Send + Sync;

/// What all hosts see of the world while they run.
pub(crate) struct Scene<'a> {
    pub(crate) network: &'a Network,
    pub(crate) cities: Option<&'a Cities>,
    pub(crate) cuts: &'a Cuts,
    pub(crate) site: &'a Site,
}

/// A packet under way. Ordered by arrival, then sender, then the sender's count.
#[derive(PartialEq, Eq)]
pub(crate) struct Flight {
    pub(crate) at: Time,
    pub(crate) from: usize,
    number: u64,
    pub(crate) to: usize,
    packet: Packet,
}

impl Flight {
    fn key(&self) -> (Time, usize, u64) {
        (self.at, self.from, self.number)
    }

    fn trace(&self, read_at: Time, trace: &mut Trace) {
        trace.time(read_at);
        trace.number(self.from as u64);
        self.packet.trace(trace);
    }
}

impl PartialOrd for Flight {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Flight {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

/// A node of the simulated world, running or not.
pub(crate) struct Host {
    index: usize,
    pub(crate) clock: Clock,
    rng: Rng,
    lives: u64,
    life: Option<Life>,
    /// While the host does not run.
    disk: Option<Disk>,
    queue: BinaryHeap<Reverse<Flight>>,
    /// Pings of links. All that a ping says is that the peer was heard, so that the host does not
    /// wake for it: it is read when something else wakes the host, as the timers of links do.
    pings: Vec<Flight>,
    /// Until then the host does nothing: it is paused, or busy with its last step.
    busy_until: Time,
    pub(crate) step_cost: Duration,
    sent: u64,
    pub(crate) flights: Vec<Flight>,
    pub(crate) records: Vec<Record>,
    pub(crate) traffic: Traffic,
    pub(crate) trace: Trace,
}

/// What a host sent so far, 28 bytes of headers a datagram included.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Traffic {
    /// Datagrams.
    pub datagrams: u64,
    /// Bytes of datagrams.
    pub datagram_bytes: u64,
    /// The longest datagram, without its 28 bytes of headers.
    pub datagram_bytes_max: u64,
    /// Bytes on links, whatever is sent again and acknowledgements included.
    pub link_bytes: u64,
}

/// From a start of a node to its crash or stop.
struct Life {
    member: Member,
    stack: Stack,
    wire: Wire,
    ports: BTreeMap<ObjectId, Port>,
    replicas: BTreeMap<ObjectId, Hosted>,
    /// How late the application reads what its replicas are told.
    lateness: Rng,
    /// Objects whose events nobody reads at the moment.
    unread: Vec<ObjectId>,
}

impl Host {
    pub(crate) fn new(index: usize, world: &Rng) -> Self {
        let rng = world.fork(&format!("host {index}"));
        let start = rng.fork("clock").random_range(0..1_000_000_000_000);
        let disk = Some(Disk::new(rng.fork("disk")));
        Self {
            index,
            clock: Clock::new(Time::from_nanos(start)),
            rng,
            lives: 0,
            life: None,
            disk,
            queue: BinaryHeap::new(),
            pings: Vec::new(),
            busy_until: Time::ZERO,
            step_cost: Duration::ZERO,
            sent: 0,
            flights: Vec::new(),
            records: Vec::new(),
            traffic: Traffic::default(),
            trace: Trace::new(),
        }
    }

    /// The host's chance, of which others may be forked.
    pub(crate) fn rng(&self) -> &Rng {
        &self.rng
    }

    /// The node in its present life, if it runs.
    pub(crate) fn member(&self) -> Option<Member> {
        self.life.as_ref().map(|life| life.member)
    }

    /// Who the node will be when it starts next.
    pub(crate) fn next_member(&self, site: &Site) -> Member {
        let rng = self.rng.fork(&format!("life {}", self.lives + 1));
        let incarnation = Incarnation::from_bytes(rng.fork("incarnation").random());
        Member { node: site.id(self.index), incarnation }
    }

    pub(crate) fn start(
        &mut self,
        now: Time,
        modules: Vec<Box<dyn Module>>,
        seeds: &[usize],
        scene: &Scene<'_>,
    ) {
        assert!(self.life.is_none(), "node {} runs already", self.index);
        let member = self.next_member(scene.site);
        self.lives += 1;
        let rng = self.rng.fork(&format!("life {}", self.lives));
        let mut stack = Stack::new(modules, &rng).expect("modules that can be told apart");
        stack.start(&Start {
            me: member,
            unix_ms: UNIX_MS + self.clock.local(now).as_nanos() / 1_000_000,
            addresses: vec![Site::address(self.index)],
            seeds: seeds.iter().map(|&seed| Site::address(seed)).collect(),
            credential: scene.site.credential(self.index),
        });
        let disk = self.disk.take().expect("the node does not run");
        let slowest =
            scene.network.latency.slow + scene.cities.map_or(Duration::ZERO, Cities::slowest);
        let wire = Wire::new(self.index, scene.site.clone(), slowest, disk);
        self.life = Some(Life {
            member,
            stack,
            wire,
            ports: BTreeMap::new(),
            replicas: BTreeMap::new(),
            lateness: rng.fork("applies"),
            unread: Vec::new(),
        });
        self.busy_until = now;
        self.lose(now);
        self.record(now, What::Started(member));
    }

    /// The process is gone, with all it knew.
    pub(crate) fn crash(&mut self, now: Time) {
        let life = self.life.take();
        let life = life.unwrap_or_else(|| panic!("node {} does not run", self.index));
        let mut disk = life.wire.disk;
        disk.end(now);
        self.disk = Some(disk);
        self.record(now, What::Crashed);
    }

    /// As a crash, and the disk forgets what it may.
    pub(crate) fn lose_power(&mut self, now: Time) {
        self.crash(now);
        self.disk.as_mut().expect("the node does not run any more").lose_power();
    }

    /// The modules say good-bye, then the process ends.
    pub(crate) fn stop(&mut self) {
        self.life_mut().stack.stop();
    }

    pub(crate) fn set_disk_full(&mut self, is_full: bool) {
        let running = self.life.as_mut().map(|life| &mut life.wire.disk);
        let disk = running.or(self.disk.as_mut()).expect("a node has a disk, running or not");
        disk.is_full = is_full;
    }

    pub(crate) fn pause(&mut self, until: Time) {
        self.busy_until = self.busy_until.max(until);
    }

    pub(crate) fn open(&mut self, now: Time, spec: Spec) -> Result<ObjectId, OpenError> {
        let life = self.life_mut();
        let port = life.stack.open(spec.clone())?;
        let object = port.object();
        life.ports.insert(object, port);
        self.record(now, What::Opened(object, spec));
        Ok(object)
    }

    /// Opens an object and feeds its events to a replica.
    pub(crate) fn open_replica(
        &mut self,
        now: Time,
        spec: Spec,
        make: impl FnOnce(Port) -> Box<dyn Replicate>,
    ) -> Result<ObjectId, OpenError> {
        let object = self.open(now, spec)?;
        let replica = make(self.port(object).clone());
        self.life_mut().replicas.insert(object, Hosted::new(replica));
        Ok(object)
    }

    pub(crate) fn close(&mut self, now: Time, object: ObjectId) {
        let life = self.life_mut();
        life.replicas.remove(&object);
        if let Some(port) = life.ports.remove(&object) {
            port.close();
            self.record(now, What::Closed(object));
        }
    }

    /// Whether the node runs and has an object open.
    pub(crate) fn has_open(&self, object: ObjectId) -> bool {
        self.life.as_ref().is_some_and(|life| life.ports.contains_key(&object))
    }

    /// The port of an open object.
    pub(crate) fn port(&self, object: ObjectId) -> &Port {
        let life = self.life.as_ref().expect("the node runs");
        life.ports.get(&object).expect("the object is open")
    }

    /// The hash of a replica's state, if the node runs and has such a replica and it has a state.
    pub(crate) fn replica_hash(&self, object: ObjectId) -> Option<u64> {
        self.life.as_ref()?.replicas.get(&object)?.hash()
    }

    /// Whether the application reads this object's events as they come.
    pub(crate) fn set_reading(&mut self, now: Time, object: ObjectId, reads: bool) {
        let life = self.life_mut();
        life.unread.retain(|unread| *unread != object);
        if let Some(replica) = life.replicas.get_mut(&object) {
            replica.reads_at = None;
        }
        if reads {
            self.hear(now, object);
        } else {
            life.unread.push(object);
        }
    }

    pub(crate) fn counts(&self) -> Option<&Counts> {
        self.life.as_ref().map(|life| life.stack.counts())
    }

    pub(crate) fn record(&mut self, at: Time, what: What) {
        keep(Record { at, node: self.index, what }, &mut self.trace, &mut self.records);
    }

    /// Sends bytes that no module made.
    pub(crate) fn forge(&mut self, now: Time, to: usize, bytes: Bytes, scene: &Scene<'_>) {
        self.send(now, to, Packet::Datagram(bytes), scene);
    }

    /// A packet is under way to the host. Gives when it has something to do with that, if ever.
    pub(crate) fn deliver(&mut self, now: Time, flight: Flight) -> Time {
        if self.life.is_none() {
            // It may never start again.
            self.lose(now);
        }
        if flight.packet.is_ping() {
            self.pings.push(flight);
            return Time::MAX;
        }
        let due = if self.life.is_some() { flight.at.max(self.busy_until) } else { Time::MAX };
        self.queue.push(Reverse(flight));
        due
    }

    /// What has arrived by now came while the host did not run.
    fn lose(&mut self, now: Time) {
        while self.queue.peek().is_some_and(|flight| flight.0.at <= now) {
            self.queue.pop();
        }
        self.pings.retain(|ping| ping.at > now);
    }

    /// When the host has something to do, if nothing arrives before. [`Time::MAX`] is never.
    pub(crate) fn next(&self) -> Time {
        let Some(life) = &self.life else { return Time::MAX };
        let wake = life.stack.next_wake().map(|local| self.clock.world(local));
        let arrival = self.queue.peek().map(|flight| flight.0.at);
        let reads = life.replicas.values().filter_map(|replica| replica.reads_at).min();
        let next = [wake, arrival, life.wire.next_timer(), reads].into_iter().flatten().min();
        next.map_or(Time::MAX, |next| next.max(self.busy_until))
    }

    /// Does all that is to be done before `end`. Gives when there is more to do.
    pub(crate) fn run(&mut self, end: Time, scene: &Scene<'_>) -> Time {
        let mut last = (Time::ZERO, 0);
        loop {
            let now = self.next();
            if now >= end {
                return now;
            }
            last = if last.0 == now { (now, last.1 + 1) } else { (now, 0) };
            assert!(last.1 < STEPS_MAX, "node {} never rests at {now:?}", self.index);
            self.step(now, scene);
        }
    }

    fn step(&mut self, now: Time, scene: &Scene<'_>) {
        self.read_late(now);
        let arrivals = self.arrivals(now);
        let local = self.clock.local(now);
        let life = self.life.as_mut().expect("only a running host has something to do");
        life.wire.now = now;
        // Often it is but links that had something to do, and no module has.
        let is_due = || life.stack.next_wake().is_some_and(|wake| wake <= local);
        if !arrivals.is_empty() || is_due() {
            life.stack.step(local, arrivals, &mut life.wire);
            for object in life.stack.emitted().to_vec() {
                self.notice(now, object);
            }
            self.busy_until = self.busy_until.max(now + self.step_cost);
        }
        let life = self.life_mut();
        let is_stopped = life.stack.is_stopped();
        for (to, packet) in std::mem::take(&mut life.wire.packets) {
            self.send(now, to, packet, scene);
        }
        if is_stopped {
            self.end(now, scene);
        }
    }

    /// What has arrived by now: datagrams, and what the links make of their segments, in order but
    /// for pings, which come first.
    fn arrivals(&mut self, now: Time) -> Vec<Arrival> {
        let life = self.life.as_mut().expect("only a running host has something to do");
        let mut arrivals = Vec::new();
        self.pings.sort_unstable();
        let later = self.pings.partition_point(|ping| ping.at <= now);
        for ping in self.pings.drain(..later) {
            ping.trace(ping.at, &mut self.trace);
            life.wire.on_packet(ping.at, ping.from, ping.packet, &mut arrivals);
        }
        let mut waiting_bytes = 0;
        while self.queue.peek().is_some_and(|flight| flight.0.at <= now) {
            let Reverse(flight) = self.queue.pop().expect("it was just seen");
            waiting_bytes += flight.packet.len();
            if waiting_bytes > SOCKET_BYTES_MAX {
                continue;
            }
            flight.trace(now, &mut self.trace);
            life.wire.on_packet(now, flight.from, flight.packet, &mut arrivals);
        }
        life.wire.on_timer(now, &mut arrivals);
        life.wire.disk.on_timer(now, &mut self.trace, &mut arrivals);
        arrivals
    }

    /// An object has something to tell. The application reads it at once, or is late if it is for a
    /// replica.
    fn notice(&mut self, now: Time, object: ObjectId) {
        let life = self.life.as_mut().expect("the node runs");
        if let Some(replica) = life.replicas.get_mut(&object)
            && !life.unread.contains(&object)
        {
            let reads_at =
                *replica.reads_at.get_or_insert_with(|| now + lateness(&mut life.lateness));
            if reads_at > now {
                return;
            }
        }
        self.hear(now, object);
    }

    /// The application reads what it is late to read.
    fn read_late(&mut self, now: Time) {
        let life = self.life.as_ref().expect("only a running host has something to do");
        let is_due = |replica: &Hosted| replica.reads_at.is_some_and(|at| at <= now);
        let due = life.replicas.iter().filter(|(_, replica)| is_due(replica));
        for object in due.map(|(object, _)| *object).collect::<Vec<_>>() {
            self.hear(now, object);
        }
    }

    /// The application reads what an object has to tell.
    fn hear(&mut self, now: Time, object: ObjectId) {
        let life = self.life.as_mut().expect("the node runs");
        if life.unread.contains(&object) {
            return;
        }
        let Some(port) = life.ports.get(&object) else { return };
        let mut replica = life.replicas.get_mut(&object);
        if let Some(replica) = &mut replica {
            replica.reads_at = None;
        }
        let mut record = |what| {
            let record = Record { at: now, node: self.index, what };
            keep(record, &mut self.trace, &mut self.records);
        };
        while let Some(event) = port.try_next() {
            let state = replica.as_mut().and_then(|replica| replica.on_event(&event));
            record(What::Event(object, event));
            if let Some((epoch, updates, hash)) = state {
                record(What::State { object, epoch, updates, hash });
            }
        }
    }

    fn send(&mut self, now: Time, to: usize, packet: Packet, scene: &Scene<'_>) {
        self.traffic.add(&packet);
        if scene.cuts.part(self.index, to) {
            return;
        }
        for latency in scene.network.arrivals(packet.len(), &mut self.rng) {
            self.sent += 1;
            let (from, number) = (self.index, self.sent);
            let way = scene.cities.map(|cities| cities.draw(from, to, &mut self.rng));
            self.flights.push(Flight {
                at: now + latency + way.unwrap_or_default(),
                from,
                number,
                to,
                packet: packet.clone(),
            });
        }
    }

    /// The last good-byes are said: the links are closed and the process ends.
    fn end(&mut self, now: Time, scene: &Scene<'_>) {
        let mut life = self.life.take().expect("the node runs");
        life.wire.close_all();
        for (to, packet) in life.wire.packets {
            self.send(now, to, packet, scene);
        }
        life.wire.disk.end(now);
        self.disk = Some(life.wire.disk);
        self.record(now, What::Stopped);
    }

    fn life_mut(&mut self) -> &mut Life {
        self.life.as_mut().unwrap_or_else(|| panic!("node {} does not run", self.index))
    }
}

/// Adds a record to what the world reads, and to what is hashed.
fn keep(record: Record, trace: &mut Trace, records: &mut Vec<Record>) {
    record.trace(trace);
    records.push(record);
}

/// Most often an application keeps up.
fn lateness(rng: &mut Rng) -> Duration {
    let is_late = rng.random_ratio(1, 4);
    if is_late { rng.random_range(Duration::ZERO..=LATENESS_MAX) } else { Duration::ZERO }
}

impl Traffic {
    fn add(&mut self, packet: &Packet) {
        let bytes = packet.len() as u64;
        match packet {
            Packet::Datagram(_) => {
                self.datagrams += 1;
                self.datagram_bytes += bytes + HEADER_BYTES;
                self.datagram_bytes_max = self.datagram_bytes_max.max(bytes);
            }
            Packet::Segment(..) => self.link_bytes += bytes,
        }
    }
}

/// What the world's clocks call its beginning: a day in 2023, in milliseconds since 1970.
const UNIX_MS: u64 = 1_700_000_000_000;
/// What a host's socket holds while the host is paused or busy; what comes on top is lost.
const SOCKET_BYTES_MAX: usize = 4 << 20;
/// More steps than this without the clock moving are a module that never rests.
const STEPS_MAX: usize = 1_000;
/// How late an application reads at most.
const LATENESS_MAX: Duration = Duration::from_millis(20);
/// IPv4 and UDP headers.
const HEADER_BYTES: u64 = 28;

#[cfg(test)]
mod tests;
