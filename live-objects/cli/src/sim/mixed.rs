//! The story of `logo sim mixed`: everything that the modules carry, at once, through faults.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use clap::ValueEnum;
use gossip::Gossip;
use groupcomm::{Config, Founding, Groupcomm, Mutation};
use live_objects::{
    Agreement, Command, Event, Frozen, Kind, Map, Member, ObjectType, Order, Refusal, Replica,
    RestoreError, Rng, Spec, State,
};
use live_objects_sim::{
    Fault, GroupsChecker, MembersChecker, Nemesis, SeedReport, StatesChecker, ViewsChecker, What,
    World,
};
use rand::RngExt;
use rand::seq::IndexedRandom;

use super::set_network;

/// Bugs that can be planted.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Mutate {
    /// One member alone decides on the next view.
    MinorityView,
    /// A member goes on to the next view without the frames that it misses.
    SkipRepair,
    /// A frame that comes twice is delivered twice.
    DeliverTwice,
    /// An update is called stable as soon as it is applied at its sender.
    AckBeforeStable,
}

impl Mutate {
    /// The option that plants it, as it follows others.
    pub(crate) fn option(self) -> &'static str {
        match self {
            Self::MinorityView => " --mutate minority-view",
            Self::SkipRepair => " --mutate skip-repair",
            Self::DeliverTwice => " --mutate deliver-twice",
            Self::AckBeforeStable => " --mutate ack-before-stable",
        }
    }

    fn mutation(self) -> Mutation {
        match self {
            Self::MinorityView => Mutation::MinorityView,
            Self::SkipRepair => Mutation::SkipRepair,
            Self::DeliverTwice => Mutation::DeliverTwice,
            Self::AckBeforeStable => Mutation::AckBeforeStable,
        }
    }
}

/// A cluster is founded, works through a minute of faults, and has a minute to settle.
pub(crate) fn story(seed: u64, nodes: usize, mutate: Option<Mutate>) -> World {
    told(seed, nodes, 0.2, mutate.map(Mutate::mutation))
}

/// The same, with losses of up to so much, and whatever bug.
pub(crate) fn told(seed: u64, nodes: usize, loss_max: f64, mutation: Option<Mutation>) -> World {
    let is_founded = AtomicBool::new(false);
    let mut world = World::new(seed, nodes, move |node| {
        let founds = node == 0 && !is_founded.swap(true, Ordering::Relaxed);
        let founding = if founds { Founding::Alone } else { Founding::Wait };
        let config = Config { founding, mutation };
        vec![Box::new(Gossip::default()), Box::new(Groupcomm::new(config))]
    });
    let mut rng = world.rng("mixed");
    let loss = set_network(&mut world, &mut rng);
    world.set_seeds(&[0, nodes / 2]);
    world.add_checker(MembersChecker::default());
    world.add_checker(ViewsChecker::default());
    world.add_checker(GroupsChecker::default());
    world.add_checker(StatesChecker::default());
    for node in 0..nodes {
        world.start(node);
        open_all(&mut world, node);
    }
    world.run(Duration::from_secs(5));
    let plan = plan(nodes, (loss, loss_max), &mut rng);
    let mut load = Load { rng: rng.fork("load"), said: 0, read: 0 };
    let begin = world.now();
    for (at, fault) in plan {
        let at = begin + at;
        while world.now() < at {
            load.act(&mut world);
            let pause = Duration::from_millis(load.rng.random_range(20..300));
            world.run(pause.min(at.since(world.now())));
        }
        world.play(&[(Duration::ZERO, fault)], open_all);
    }
    world.settle(QUIET);
    world
}

/// Whether a seed had enough of everything for its peace to mean something.
pub(crate) fn is_rich(report: &SeedReport) -> bool {
    report.crashes >= 2
        && report.partitions >= 1
        && report.deliveries >= 500
        && report.views >= 3
        && report.lasted >= Duration::from_secs(60)
}

/// Faults, with at least two crashes and a partition among them.
fn plan(nodes: usize, (loss, loss_max): (f64, f64), rng: &mut Rng) -> Vec<(Duration, Fault)> {
    let nemesis = Nemesis {
        lasts: Duration::from_secs(60),
        pause: Duration::from_secs(2),
        down_max: nodes.saturating_sub(1) / 4 + 1,
        loss_max,
    };
    loop {
        let plan = nemesis.plan(nodes, loss, rng);
        let count = |is: fn(&Fault) -> bool| plan.iter().filter(|(_, fault)| is(fault)).count();
        let crashes = count(|fault| matches!(fault, Fault::Crash(_)));
        let is_cut = |fault: &Fault| {
            matches!(fault, Fault::Cut(..) | Fault::CutOneWay(..) | Fault::CutRing(_))
        };
        let cuts = plan.iter().filter(|(_, fault)| is_cut(fault)).count();
        if crashes >= 2 && cuts >= 1 {
            return plan;
        }
    }
}

/// The objects of the story, and which nodes open them from the beginning.
const OBJECTS: [(&str, Order, Kind, usize); 5] = [
    ("/shop/stock", Order::Total, Kind::Replicated, 2),
    ("/shop/takings", Order::Total, Kind::Replicated, 3),
    ("/shop/prices", Order::Total, Kind::Topic, 2),
    ("/room/shots", Order::Fifo, Kind::Topic, 1),
    ("/room/chat", Order::Fifo, Kind::Topic, 3),
];

/// Opens what a node has open from its start on.
fn open_all(world: &mut World, node: usize) {
    for agreement in [Agreement::Eventual, Agreement::Views] {
        let name = if agreement == Agreement::Views { "/views" } else { "/members" };
        let spec = Spec::new(name.parse().expect("a name"), ObjectType::members(agreement));
        world.open(node, spec).expect("a module carries it");
    }
    for (index, (.., every)) in OBJECTS.iter().enumerate() {
        if (node + index).is_multiple_of(*every) {
            open(world, node, index);
        }
    }
}

fn spec(index: usize) -> Spec {
    let (name, order, ref kind, _) = OBJECTS[index];
    let ty = match kind {
        Kind::Replicated => ObjectType::replicated(),
        _ => ObjectType::topic(order),
    };
    Spec::new(name.parse().expect("a name"), ty)
}

fn open(world: &mut World, node: usize, index: usize) {
    let spec = spec(index);
    let opened = if spec.ty.kind == Kind::Replicated {
        world.open_replica(node, spec, |port| Box::new(Replica::new(port, Ledger::default)))
    } else {
        world.open(node, spec)
    };
    opened.expect("it is not open at this node");
}

/// What the applications do.
struct Load {
    rng: Rng,
    said: u64,
    /// How much of the history it has read.
    read: usize,
}

impl Load {
    /// One thing, at one node that runs.
    fn act(&mut self, world: &mut World) {
        self.open_refused(world);
        let running = world.running();
        let Some(&(node, _)) = running.choose(&mut self.rng) else { return };
        let index = self.rng.random_range(0..OBJECTS.len());
        let spec = spec(index);
        let object = spec.name.id();
        if !world.is_open(node, object) {
            if self.rng.random_ratio(1, 8) {
                self.open_some(world, node, index);
            }
            return;
        }
        if self.rng.random_ratio(1, 60) {
            world.close(node, object);
            return;
        }
        for _ in 0..self.rng.random_range(1..4) {
            self.said += 1;
            let bytes = self.payload();
            let command = match spec.ty.kind {
                Kind::Replicated => Command::Update(update(self.said, &bytes)),
                _ => Command::Send(bytes),
            };
            // A full feed is a reason to wait, which this application does by doing without.
            let _ = world.send(node, object, command);
        }
    }

    /// Opens again what was refused while there was no primary partition.
    fn open_refused(&mut self, world: &mut World) {
        let news = world.history()[self.read..].iter();
        let refused = news.filter_map(|record| match record.what {
            What::Event(object, Event::Refused(Refusal::NoPrimary)) => Some((record.node, object)),
            _ => None,
        });
        let refused: Vec<_> = refused.collect();
        self.read = world.history().len();
        for (node, object) in refused {
            let index = (0..OBJECTS.len()).find(|index| spec(*index).name.id() == object);
            if let Some(index) = index.filter(|_| world.is_open(node, object)) {
                world.close(node, object);
                open(world, node, index);
            }
        }
    }

    /// Opens an object that this node has not open: now and then, by mistake, as what it is not.
    fn open_some(&mut self, world: &mut World, node: usize, index: usize) {
        if spec(index).ty.kind != Kind::Replicated && self.rng.random_ratio(1, 4) {
            let ty = ObjectType::topic(if OBJECTS[index].1 == Order::Total {
                Order::Fifo
            } else {
                Order::Total
            });
            let spec = Spec { ty, ..spec(index) };
            world.open(node, spec).expect("it is not open at this node");
        } else {
            open(world, node, index);
        }
    }

    /// Bytes that nobody said before: mostly a few, sometimes more than a frame, seldom many.
    fn payload(&mut self) -> Bytes {
        let len = match self.rng.random_range(0..100) {
            0..80 => self.rng.random_range(0..200),
            80..97 => self.rng.random_range(200..5_000),
            _ => self.rng.random_range(5_000..60_000),
        };
        let mut bytes = self.said.to_be_bytes().to_vec();
        bytes.resize(8 + len, b'.');
        bytes.into()
    }
}

/// An update of the ledger: its number and what it notes.
fn update(number: u64, note: &[u8]) -> Bytes {
    postcard::to_allocvec(&(number, note)).expect("memory takes an update").into()
}

/// A state that grows: what was noted under each number, and by whom.
#[derive(Default)]
struct Ledger {
    notes: Map<u64, (Member, Vec<u8>)>,
}

impl State for Ledger {
    type Update = (u64, Vec<u8>);
    type Reply = usize;

    fn apply(&mut self, by: Member, (number, note): Self::Update) -> usize {
        self.notes.insert(number, (by, note));
        self.notes.len()
    }

    fn freeze(&self) -> Box<dyn Frozen> {
        Box::new(self.notes.clone())
    }

    fn restore(&mut self, record: &[u8]) -> Result<(), RestoreError> {
        self.notes.restore(record)
    }
}

/// How long a cluster has to settle.
const QUIET: Duration = Duration::from_secs(60);
