//! Replicas in a world, carried by a toy module that does to its own node what members do to each
//! other.

use std::time::Duration;

use bytes::Bytes;
use live_objects::{
    ClusterId, Command, Cost, Frozen, Input, Io, Kind, Lack, List, Member, Module, Name, ObjectId,
    ObjectType, Replica, RestoreError, Spec, State, View,
};

use super::*;
use crate::checker::StatesChecker;
use crate::history::{Record, What};
use crate::world::World;

/// Carries replicated objects for its own node alone, and after so many updates does what a
/// joiner does: it is outside, then in the next view, and restored from its own snapshot. After as
/// many again it does what a member does that stays: it is in the next view.
#[derive(Default)]
struct Echo {
    me: Option<Member>,
    updates: u64,
}

const CUT_AFTER: u64 = 20;

impl Echo {
    fn tell(event: ReplicatedEvent, object: ObjectId, io: &mut Io<'_>) {
        io.emit(object, Event::Replicated(event)).unwrap();
    }

    fn view(&self, number: u64) -> ReplicatedEvent {
        let epoch = Epoch { cluster: ClusterId::from_bytes([1; 16]), number };
        ReplicatedEvent::View(View { epoch, members: self.me.into_iter().collect() })
    }
}

impl Module for Echo {
    fn name(&self) -> &'static str {
        "echo"
    }

    fn offers(&self, ty: &ObjectType) -> Result<Cost, Lack> {
        match &ty.kind {
            Kind::Replicated => Ok(Cost { copies: 0, overhead_bytes: 0 }),
            kind => Err(Lack::Kind(kind.clone())),
        }
    }

    fn handle(&mut self, _: Time, input: Input, io: &mut Io<'_>) {
        match input {
            Input::Start(start) => self.me = Some(start.me),
            Input::Open { object, .. } => {
                io.emit(object, Event::Opened).unwrap();
                Self::tell(ReplicatedEvent::Founded, object, io);
                Self::tell(self.view(1), object, io);
            }
            Input::Commands { object } => {
                while let Some(taken) = io.take(object, usize::MAX) {
                    let bytes = taken.command.payload().clone();
                    let (from, own) = (self.me.unwrap(), Some(taken.message));
                    Self::tell(ReplicatedEvent::Update { from, own, bytes }, object, io);
                    let stable = ReplicatedEvent::Stable { message: taken.message };
                    Self::tell(stable, object, io);
                    io.release(object, taken.message);
                    self.updates += 1;
                    if self.updates == CUT_AFTER {
                        Self::tell(ReplicatedEvent::Freeze { cut: 7 }, object, io);
                    }
                    if self.updates == 2 * CUT_AFTER {
                        Self::tell(self.view(3), object, io);
                    }
                }
            }
            Input::Frozen { object } => {
                Self::tell(ReplicatedEvent::Outside, object, io);
                Self::tell(self.view(2), object, io);
                let (mut offset, mut is_last) = (0, false);
                while !is_last {
                    let chunk = io.read_frozen(object, 7, offset, 10).unwrap();
                    is_last = chunk.last;
                    let (bytes, last) = (chunk.bytes, chunk.last);
                    let length = bytes.len() as u64;
                    Self::tell(ReplicatedEvent::Restore { offset, bytes, last }, object, io);
                    offset += length;
                }
                io.thaw(object, 7);
                assert_eq!(io.read_frozen(object, 7, 0, 10), None);
            }
            _ => {}
        }
    }

    fn finish(&mut self, _: Time, _: &mut Io<'_>) {}

    fn next_wake(&self) -> Option<Time> {
        None
    }
}

/// All numbers that were given.
#[derive(Default)]
struct Numbers(List<u8>);

impl State for Numbers {
    type Update = u8;
    type Reply = ();

    fn apply(&mut self, _by: Member, number: u8) {
        self.0.push(number);
    }

    fn freeze(&self) -> Box<dyn Frozen> {
        Box::new(self.0.clone())
    }

    fn restore(&mut self, record: &[u8]) -> Result<(), RestoreError> {
        self.0.restore(record)
    }
}

/// Two nodes that know nothing of each other, but are given the same numbers.
fn world(seed: u64) -> (World, ObjectId) {
    let mut world = World::new(seed, 2, |_| vec![Box::new(Echo::default())]);
    world.add_checker(StatesChecker::default());
    world.start_all();
    let name: Name = "/numbers".parse().unwrap();
    let object = name.id();
    for node in 0..2 {
        let spec = Spec::new(name.clone(), ObjectType::replicated());
        let replica = |port| Box::new(Replica::new(port, Numbers::default)) as Box<_>;
        assert_eq!(world.open_replica(node, spec, replica), Ok(object));
    }
    (world, object)
}

fn give(world: &mut World, node: usize, object: ObjectId, numbers: std::ops::Range<u8>) {
    for number in numbers {
        let update = Command::Update(Bytes::copy_from_slice(&[number]));
        world.send(node, object, update).unwrap();
        world.run(Duration::from_millis(3));
    }
}

/// The places in which a node's states were recorded: view and updates.
fn places(world: &World, at: usize) -> Vec<(u64, u64)> {
    let place = |record: &Record| match record.what {
        What::State { epoch, updates, .. } if record.node == at => Some((epoch.number, updates)),
        _ => None,
    };
    world.history().iter().filter_map(place).collect()
}

#[test]
fn states_are_recorded_where_members_can_compare_them() {
    let (mut world, object) = world(1);
    for numbers in [0..20, 20..40] {
        (0..2).for_each(|node| give(&mut world, node, object, numbers.clone()));
        world.run(Duration::from_secs(1));
    }
    assert_eq!(world.violations(), []);
    for node in 0..2 {
        // In view 2 it is stale at first, and has a state once it is restored.
        assert_eq!(places(&world, node), [(1, 0), (1, 16), (2, 0), (2, 16), (3, 0)]);
    }
    assert!(world.replica_hash(0, object).is_some());
    assert_eq!(world.replica_hash(0, object), world.replica_hash(1, object));
    assert!(world.settle(Duration::from_secs(60)), "{:?}", world.stuck());
    world.close(0, object);
    world.crash(1);
    assert_eq!([0, 1].map(|node| world.replica_hash(node, object)), [None, None]);
}

#[test]
fn states_that_differ_are_found() {
    let (mut world, object) = world(1);
    give(&mut world, 0, object, 0..16);
    give(&mut world, 1, object, 1..17);
    world.run(Duration::from_secs(1));
    let found = world.unsettled();
    assert!(found[0].what.starts_with("V8"), "{found:?}");
}

#[test]
fn a_replica_reads_late_at_random_and_the_same_on_every_run() {
    let run = |seed| {
        let (mut world, object) = world(seed);
        give(&mut world, 0, object, 0..50);
        world.run(Duration::from_secs(1));
        let times = |is: fn(&What) -> bool| {
            let such = world.history().iter().filter(move |record| is(&record.what));
            such.map(|record| record.at)
        };
        let sent = times(|what| matches!(what, What::Command(..)));
        let heard = times(|what| {
            let What::Event(_, Event::Replicated(event)) = what else { return false };
            matches!(event, ReplicatedEvent::Update { .. })
        });
        let late = sent.zip(heard).map(|(sent, heard)| heard.since(sent));
        (late.collect::<Vec<_>>(), world.trace_hash())
    };
    let (late, hash) = run(3);
    assert_eq!((late.clone(), hash), run(3));
    assert_ne!(hash, run(4).1);
    assert_eq!(late.len(), 50);
    assert!(late.iter().any(Duration::is_zero));
    assert!(late.iter().any(|late| *late > Duration::from_millis(5)));
    assert!(late.iter().all(|late| *late <= Duration::from_millis(20)));
}

#[test]
fn a_replica_that_nobody_reads_for_stands_still() {
    let (mut world, object) = world(1);
    world.run(Duration::from_secs(1));
    let before = world.replica_hash(0, object);
    world.set_reading(0, object, false);
    give(&mut world, 0, object, 0..9);
    world.run(Duration::from_secs(1));
    assert_eq!(world.replica_hash(0, object), before);
    world.set_reading(0, object, true);
    assert_ne!(world.replica_hash(0, object), before);
}
