//! A world: nodes, a network between them, virtual time, and all that happened.
//!
//! A world is told what to do in the words of a story (`crash`, `cut`, `heal`, `run`, …), and then
//! shows what came of it: the history of what applications heard, the counters of each node, what
//! its checkers found. One seed decides everything; the same seed and story give the same history,
//! on whatever number of threads.
//!
//! **How it stays the same.** No packet is faster than the network's least latency, so what one
//! node does within a *window* of that length cannot reach another in the same window. Nodes are
//! therefore run window by window, each for itself, and what they sent and recorded is merged after
//! each window in the order of (time, sender, the sender's count). This is conservative parallel
//! simulation with the latency as lookahead (Chandy and Misra, 1979). What is done to the world
//! happens between windows.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;
use std::vec::Drain;

use bytes::Bytes;
use live_objects::{
    Command, Counts, Member, Module, ObjectId, OpenError, Port, Replicate, Rng, Spec, Time,
    TrySendError,
};
use rayon::ThreadPool;
use rayon::prelude::*;

use crate::checker::{Checker, Violation};
use crate::cities::Cities;
use crate::fault::Fault;
use crate::history::{Record, What};
use crate::host::{Factory, Flight, Host, Scene, Traffic};
use crate::network::{Cuts, Network};
use crate::site::Site;
use crate::trace::Trace;

/// A simulated world.
pub struct World {
    now: Time,
    network: Network,
    cities: Option<Cities>,
    cuts: Cuts,
    site: Site,
    seeds: Vec<usize>,
    factory: Box<Factory>,
    hosts: Vec<Host>,
    /// When each host has something to do next; [`Time::MAX`] is never. There is no queue of them:
    /// in most windows a good part of all hosts have something to do.
    due: Vec<Time>,
    history: Vec<Record>,
    checkers: Vec<Box<dyn Checker>>,
    violations: Vec<Violation>,
    stuck: Vec<Violation>,
    /// For running nodes side by side; alone without it.
    pool: Option<ThreadPool>,
}

impl World {
    /// A world of `nodes` nodes, none of which runs yet, on a network like [`Network::LAN`].
    /// `modules` makes the modules of a node, by its number, each time it starts.
    ///
    /// Nodes find each other by way of node 0, unless [`World::set_seeds`] says otherwise.
    pub fn new(
        seed: u64,
        nodes: usize,
        modules: impl Fn(usize) -> Vec<Box<dyn Module>> + Send + Sync + 'static,
    ) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        let rng = Rng::from_seed(bytes);
        Self {
            now: Time::ZERO,
            network: Network::LAN,
            cities: None,
            cuts: Cuts::default(),
            site: Site::new(nodes),
            seeds: vec![0],
            factory: Box::new(modules),
            hosts: (0..nodes).map(|index| Host::new(index, &rng)).collect(),
            due: vec![Time::MAX; nodes],
            history: Vec::new(),
            checkers: Vec::new(),
            violations: Vec::new(),
            stuck: Vec::new(),
            pool: None,
        }
    }

    /// The network from now on.
    ///
    /// # Panics
    /// If its least latency is zero, or its latencies are not in order.
    pub fn set_network(&mut self, network: Network) {
        let latency = &network.latency;
        assert!(!latency.min.is_zero(), "a network's least latency is above zero");
        assert!(latency.min <= latency.typical && latency.typical <= latency.slow);
        self.network = network;
    }

    /// Where the nodes are from now on: packets take the ways between them on top of what the
    /// network has them take. Links of nodes that run already are as patient as they were.
    ///
    /// # Panics
    /// If there is a node that is in none of them.
    pub fn set_cities(&mut self, cities: Cities) {
        assert!(cities.nodes() >= self.nodes(), "every node is somewhere");
        self.cities = Some(cities);
    }

    /// Which nodes those that start from now on are told of.
    pub fn set_seeds(&mut self, seeds: &[usize]) {
        self.seeds = seeds.to_vec();
    }

    /// On how many threads nodes are run: 1 unless said otherwise. The history does not depend on
    /// it. For large worlds: a swarm of small ones does better with a world a thread.
    pub fn set_threads(&mut self, threads: usize) {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        self.pool = (threads > 1).then(|| pool.expect("threads can be started"));
    }

    /// From now on this checker reads all that happens.
    pub fn add_checker(&mut self, checker: impl Checker + 'static) {
        self.checkers.push(Box::new(checker));
    }

    /// How many nodes there are, running or not.
    pub fn nodes(&self) -> usize {
        self.hosts.len()
    }

    /// The world's clock, which no node sees.
    pub fn now(&self) -> Time {
        self.now
    }

    /// A generator for the story itself, by a label of its own.
    pub fn rng(&self, label: &str) -> Rng {
        self.host(0).rng().fork(&format!("story {label}"))
    }

    /// Does something to the world.
    ///
    /// # Panics
    /// If the story makes no sense: a node is crashed that does not run, or started that does.
    pub fn apply(&mut self, fault: &Fault) {
        let now = self.now;
        let mut node = 0;
        match fault {
            Fault::Crash(index) => {
                node = *index;
                self.touch(node, |host, _| host.crash(now));
            }
            Fault::PowerLoss(index) => {
                node = *index;
                self.touch(node, |host, _| host.lose_power(now));
            }
            Fault::Start(index) => {
                node = *index;
                let (modules, seeds) = ((self.factory)(node), self.seeds.clone());
                self.touch(node, |host, scene| host.start(now, modules, &seeds, scene));
            }
            Fault::Stop(index) => {
                node = *index;
                self.touch(node, |host, _| host.stop());
            }
            Fault::Pause(index, span) => {
                node = *index;
                self.touch(node, |host, _| host.pause(now + *span));
            }
            Fault::Slow(index, span) => {
                node = *index;
                self.touch(node, |host, _| host.step_cost = *span);
            }
            Fault::Skew(index, ppm) => {
                node = *index;
                self.touch(node, |host, _| host.clock.skew(now, *ppm));
            }
            Fault::DiskFull(index) | Fault::DiskRoom(index) => {
                node = *index;
                let is_full = matches!(fault, Fault::DiskFull(_));
                self.touch(node, |host, _| host.set_disk_full(is_full));
            }
            Fault::CutOneWay(from, to) => self.cuts.add(self.hosts.len(), from, to),
            Fault::Cut(from, to) => {
                self.cuts.add(self.hosts.len(), from, to);
                self.cuts.add(self.hosts.len(), to, from);
            }
            Fault::CutRing(ring) => {
                // As many on both sides, a majority with itself.
                let near = (ring.len() / 2).div_ceil(2);
                for (place, node) in ring.iter().enumerate() {
                    let far = near + 1..ring.len().saturating_sub(near);
                    let far = far.map(|step| ring[(place + step) % ring.len()]);
                    self.cuts.add(self.hosts.len(), &[*node], &far.collect::<Vec<_>>());
                }
            }
            Fault::Heal => self.cuts.heal(),
            Fault::Loss(loss) => self.network.loss = *loss,
        }
        let before = self.history.len();
        self.history.push(Record { at: now, node, what: What::Fault(fault.clone()) });
        self.check(before);
    }

    /// Plays a plan, such as [`Nemesis::plan`](crate::Nemesis::plan) draws, from now on and to its
    /// end. `started` is told of each node right after it started, to open its objects again. A
    /// node that was asked to stop and has not done so when it is to start again is killed.
    pub fn play(&mut self, plan: &[(Duration, Fault)], mut started: impl FnMut(&mut Self, usize)) {
        let begin = self.now;
        for (at, fault) in plan {
            self.run((begin + *at).since(self.now));
            let Fault::Start(node) = *fault else {
                self.apply(fault);
                continue;
            };
            if self.member(node).is_some() {
                self.crash(node);
            }
            self.apply(fault);
            started(self, node);
        }
    }

    /// Who a node will be when it starts next, where it will be reached, and what it will show of
    /// itself.
    pub fn next_member(&self, node: usize) -> (Member, SocketAddr, Bytes) {
        let member = self.hosts[node].next_member(&self.site);
        (member, Site::address(node), self.site.credential(node))
    }

    /// Starts every node that does not run.
    pub fn start_all(&mut self) {
        for node in 0..self.nodes() {
            if self.member(node).is_none() {
                self.start(node);
            }
        }
    }

    /// Starts a node, in a new incarnation if it ran before.
    pub fn start(&mut self, node: usize) {
        self.apply(&Fault::Start(node));
    }

    /// Kills a node's process.
    pub fn crash(&mut self, node: usize) {
        self.apply(&Fault::Crash(node));
    }

    /// Asks a node to stop; it says good-bye first.
    pub fn stop(&mut self, node: usize) {
        self.apply(&Fault::Stop(node));
    }

    /// A node does nothing for so long.
    pub fn pause(&mut self, node: usize, span: Duration) {
        self.apply(&Fault::Pause(node, span));
    }

    /// Cuts two groups of nodes off from each other, both ways.
    pub fn cut(&mut self, some: &[usize], others: &[usize]) {
        self.apply(&Fault::Cut(some.to_vec(), others.to_vec()));
    }

    /// Undoes all cuts.
    pub fn heal(&mut self) {
        self.apply(&Fault::Heal);
    }

    /// Opens an object at a node.
    pub fn open(&mut self, node: usize, spec: Spec) -> Result<ObjectId, OpenError> {
        let now = self.now;
        self.touch(node, |host, _| host.open(now, spec))
    }

    /// Opens an object of kind [`Replicated`](live_objects::Kind::Replicated) at a node, with the
    /// replica that `make` makes of its port. The replica takes in what the object tells, now and
    /// then a little late, as applications do; what state it came to is recorded as
    /// [`What::State`]. It goes with the object, or with the node's life.
    pub fn open_replica(
        &mut self,
        node: usize,
        spec: Spec,
        make: impl FnOnce(Port) -> Box<dyn Replicate>,
    ) -> Result<ObjectId, OpenError> {
        let now = self.now;
        self.touch(node, |host, _| host.open_replica(now, spec, make))
    }

    /// The hash of the state of a node's replica. None if the node does not run or has no such
    /// replica, or if that has no state now.
    pub fn replica_hash(&self, node: usize, object: ObjectId) -> Option<u64> {
        self.host(node).replica_hash(object)
    }

    /// Whether a node runs and has an object open.
    pub fn is_open(&self, node: usize, object: ObjectId) -> bool {
        self.host(node).has_open(object)
    }

    /// Closes an object at a node.
    pub fn close(&mut self, node: usize, object: ObjectId) {
        let now = self.now;
        self.touch(node, |host, _| host.close(now, object));
    }

    /// Gives an open object of a node a command.
    pub fn send(
        &mut self,
        node: usize,
        object: ObjectId,
        command: Command,
    ) -> Result<(), TrySendError> {
        let now = self.now;
        self.touch(node, |host, _| {
            host.port(object).try_send(command.clone())?;
            host.record(now, What::Command(object, command));
            Ok(())
        })
    }

    /// Whether a node's application reads an object's events as they come. It does, unless told not
    /// to.
    pub fn set_reading(&mut self, node: usize, object: ObjectId, reads: bool) {
        let now = self.now;
        self.touch(node, |host, _| host.set_reading(now, object, reads));
    }

    /// A datagram that no module made goes from one node to another.
    pub fn forge(&mut self, from: usize, to: usize, bytes: impl Into<Bytes>) {
        let (now, bytes) = (self.now, bytes.into());
        self.touch(from, |host, scene| host.forge(now, to, bytes, scene));
    }

    /// Lets so much time pass.
    pub fn run(&mut self, span: Duration) {
        let end = self.now + span;
        match self.pool.take() {
            // From within the pool: to hand a window to it from outside would take longer than many
            // a window does.
            Some(pool) => {
                let threads = Threads(pool.current_num_threads());
                pool.install(|| self.run_to(end, threads));
                self.pool = Some(pool);
            }
            None => self.run_to(end, Threads(1)),
        }
        self.now = end;
    }

    /// Lets time pass until something is so, `span` at most, and tells whether it is.
    pub fn run_until(&mut self, span: Duration, mut is_so: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now + span;
        while !is_so(self) {
            if self.now >= end {
                return false;
            }
            self.run(GLANCE.min(end.since(self.now)));
        }
        true
    }

    /// Lets time pass until things are as the checkers want them, and have been for ten seconds;
    /// `span` at most. Tells whether that came to be; if not, [`World::stuck`] says what was last
    /// seen amiss. For the quiet phase after the last fault.
    pub fn settle(&mut self, span: Duration) -> bool {
        let end = self.now + span;
        let mut since = self.now;
        while self.now < end {
            let unsettled = self.unsettled();
            if !unsettled.is_empty() {
                self.stuck = unsettled;
                since = self.now;
            } else if self.now.since(since) >= SETTLED_FOR {
                self.stuck.clear();
                return true;
            }
            self.run(SETTLE_GLANCE);
        }
        false
    }

    /// The node's present life, if it runs.
    pub fn member(&self, node: usize) -> Option<Member> {
        self.host(node).member()
    }

    /// All nodes that run.
    pub fn running(&self) -> Vec<(usize, Member)> {
        (0..self.nodes()).filter_map(|node| Some((node, self.member(node)?))).collect()
    }

    /// The number of the node that this member is a life of.
    pub fn node_of(&self, member: Member) -> Option<usize> {
        self.site.index(member.node)
    }

    /// All that happened, in order of time, but for what was [taken](World::take_history).
    pub fn history(&self) -> &[Record] {
        &self.history
    }

    /// Takes what happened since this was last asked out of the history, so that a story of a large
    /// world that reads as it goes need not keep it all. Checkers and the hash have seen it. What
    /// is not read is gone too; the room is there for what happens next.
    pub fn take_history(&mut self) -> Drain<'_, Record> {
        self.history.drain(..)
    }

    /// What a node counted in its present life.
    pub fn counts(&self, node: usize) -> Option<&Counts> {
        self.host(node).counts()
    }

    /// What a node sent, in all its lives.
    pub fn traffic(&self, node: usize) -> Traffic {
        self.host(node).traffic
    }

    /// What the checkers saw that must not have happened.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// What was amiss when [`World::settle`] gave up.
    pub fn stuck(&self) -> &[Violation] {
        &self.stuck
    }

    /// Whether a checker finds that too much was lost for things ever to settle.
    pub fn is_lost(&self) -> bool {
        self.checkers.iter().any(|checker| checker.is_lost())
    }

    /// What the checkers find not to be as it must be in quiet times. Nothing, if all [is
    /// lost](World::is_lost).
    pub fn unsettled(&self) -> Vec<Violation> {
        if self.is_lost() {
            return Vec::new();
        }
        let running = self.running();
        let mut unsettled = Vec::new();
        for checker in &self.checkers {
            if let Err(what) = checker.settled(&running) {
                unsettled.push(Violation { checker: checker.name(), at: self.now, what });
            }
        }
        unsettled
    }

    /// A hash of all that happened: two runs with the same hash were the same run.
    pub fn trace_hash(&self) -> u64 {
        let mut trace = Trace::new();
        (0..self.nodes()).for_each(|node| trace.number(self.host(node).trace.hash()));
        trace.hash()
    }

    fn run_to(&mut self, end: Time, threads: Threads) {
        while let Some(next) = self.due.iter().copied().min().filter(|next| *next <= end) {
            let window = (next + self.network.latency.min).min(end + Duration::from_nanos(1));
            self.run_window(window, threads);
        }
    }

    /// Runs every node that has something to do before `end` up to there.
    fn run_window(&mut self, end: Time, threads: Threads) {
        let (network, cities) = (&self.network, self.cities.as_ref());
        let scene = Scene { network, cities, cuts: &self.cuts, site: &self.site };
        let district = self.hosts.len().div_ceil(threads.0);
        let all = self.hosts.iter_mut().zip(&mut self.due);
        let mut active: Vec<_> = all.filter(|(_, due)| **due < end).collect();
        let outcomes = threads.map(&mut active, |some| {
            let mut outcome = Outcome::new(threads);
            for (host, due) in some {
                **due = host.run(end, &scene);
                outcome.take(host, district);
            }
            outcome
        });
        let is_few = outcomes.len() == 1;
        self.now = end;
        let before = self.history.len();
        let mut flights: Vec<Vec<Vec<Flight>>> = (0..threads.0).map(|_| Vec::new()).collect();
        for outcome in outcomes {
            self.history.extend(outcome.records);
            flights.iter_mut().zip(outcome.flights).for_each(|(all, some)| all.push(some));
        }
        // Each host's records are in order; the sort is stable and keeps that of equal times.
        let threads = if is_few { Threads(1) } else { threads };
        threads.sort(&mut self.history[before..]);
        let hosts = self.hosts.chunks_mut(district).zip(self.due.chunks_mut(district));
        let districts = hosts.zip(flights).enumerate();
        let mut districts: Vec<_> =
            districts.map(|(at, (hosts, flights))| (at * district, hosts, flights)).collect();
        threads.each(&mut districts, |(first, (hosts, due), flights)| {
            for flight in flights.drain(..).flatten() {
                assert!(flight.at >= end, "no packet is faster than the network");
                let to = flight.to - *first;
                due[to] = hosts[to].deliver(end, flight).min(due[to]);
            }
        });
        self.check(before);
    }

    /// Does something to a host between windows.
    fn touch<T>(&mut self, node: usize, act: impl FnOnce(&mut Host, &Scene<'_>) -> T) -> T {
        let (network, cities) = (&self.network, self.cities.as_ref());
        let scene = Scene { network, cities, cuts: &self.cuts, site: &self.site };
        let host = &mut self.hosts[node];
        // Whatever this gives the host to do, it does not do in the past.
        host.pause(self.now);
        let result = act(host, &scene);
        let before = self.history.len();
        self.history.extend(std::mem::take(&mut host.records));
        let flights = std::mem::take(&mut host.flights);
        self.due[node] = host.next().max(self.now);
        self.check(before);
        flights.into_iter().for_each(|flight| self.deliver(flight));
        result
    }

    fn deliver(&mut self, flight: Flight) {
        let due = &mut self.due[flight.to];
        *due = self.hosts[flight.to].deliver(self.now, flight).min(*due);
    }

    /// Checks what happened after the first so many records.
    fn check(&mut self, before: usize) {
        for record in &self.history[before..] {
            for checker in &mut self.checkers {
                if let Err(what) = checker.check(record) {
                    let (checker, at) = (checker.name(), record.at);
                    self.violations.push(Violation { checker, at, what });
                }
            }
        }
    }

    fn host(&self, node: usize) -> &Host {
        &self.hosts[node]
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let running = self.running().len();
        write!(f, "World {{ now: {:?}, running: {running} of {} }}", self.now, self.nodes())
    }
}

/// What some hosts did in a window.
struct Outcome {
    records: Vec<Record>,
    /// By the district that they go to.
    flights: Vec<Vec<Flight>>,
}

impl Outcome {
    fn new(threads: Threads) -> Self {
        Self { records: Vec::new(), flights: (0..threads.0).map(|_| Vec::new()).collect() }
    }

    /// Adds what a host did, in districts of so many hosts.
    fn take(&mut self, host: &mut Host, district: usize) {
        host.flights.drain(..).for_each(|flight| self.flights[flight.to / district].push(flight));
        // Not `append`: a host that once had much to tell would hold that much memory for ever.
        self.records.extend(std::mem::take(&mut host.records));
    }
}

/// On how many threads hosts are run. If on several, from within their pool.
#[derive(Clone, Copy)]
struct Threads(usize);

impl Threads {
    /// Does something to some of these at a time. Gives what came of it in their order.
    fn map<T: Send, U: Send>(
        self,
        all: &mut [T],
        act: impl Fn(&mut [T]) -> U + Sync + Send,
    ) -> Vec<U> {
        if self.0 == 1 || all.len() < 2 * HOSTS_MIN {
            vec![act(all)]
        } else {
            all.par_chunks_mut(HOSTS_MIN).map(act).collect()
        }
    }

    fn sort(self, records: &mut [Record]) {
        let key = |record: &Record| (record.at, record.node);
        if self.0 == 1 { records.sort_by_key(key) } else { records.par_sort_by_key(key) }
    }

    /// Does something to each of these.
    fn each<T: Send>(self, all: &mut [T], act: impl Fn(&mut T) + Sync + Send) {
        if self.0 == 1 {
            all.iter_mut().for_each(act);
        } else {
            all.par_iter_mut().for_each(act);
        }
    }
}

/// How often `run_until` looks.
const GLANCE: Duration = Duration::from_millis(10);
/// How often `settle` looks, and for how long things must stay as they are to be.
const SETTLE_GLANCE: Duration = Duration::from_millis(100);
const SETTLED_FOR: Duration = Duration::from_secs(10);
/// On one thread so many hosts are run at least: to hand out fewer would take longer.
const HOSTS_MIN: usize = 16;
