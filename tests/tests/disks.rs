//! A diary: a module that keeps what it is told on disk, and tells of an entry when it is safe.
//! First on simulated disks, which tear and forget, then on a real one.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::hash::{DefaultHasher, Hasher};
use std::path::Path;
use std::time::Duration;

use bytes::{Buf, Bytes};
use live_objects::{
    Agreement, Command, Cost, Disk, Event, Input, Io, Kind, Lack, Module, ObjectId, ObjectType,
    Port, Spec, Tag, Time,
};
use live_objects_net::{Node, StartError};
use live_objects_sim::{Fault, What, World};
use rand::RngExt;

use crate::{seeds, start_alone};

/// The module, for one object. It tells of all entries that it has kept, those of earlier lives
/// first. Each life writes a file of its own.
struct Diary {
    careless: Option<Careless>,
    object: Option<ObjectId>,
    /// The file that is read, and what was read of it; once one is empty, the file that is written.
    file: u64,
    read: Vec<u8>,
    is_writing: bool,
    /// What is read or written, and not known to be safe: of what is written, with its number.
    unsafe_entries: VecDeque<(Option<u64>, Bytes)>,
    /// How many of them are to be made safe, and how many are on the way to be.
    unsynced: u64,
    /// What is safe, and was not told.
    untold: VecDeque<Bytes>,
    has_failed: bool,
}

/// What a diary may be careless about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Careless {
    /// It tells of entries when they are written, not when they are synced.
    Writing,
    /// It takes what it reads for safe.
    Reading,
    /// It reads entries without a look at their checksums.
    Checking,
}

/// What the disk is asked. The tag of a sync says how many entries it makes safe.
const READ: Tag = Tag(u64::MAX);
const APPEND: Tag = Tag(u64::MAX - 1);

impl Diary {
    fn new(careless: Option<Careless>) -> Self {
        Self {
            careless,
            object: None,
            file: 0,
            read: Vec::new(),
            is_writing: false,
            unsafe_entries: VecDeque::new(),
            unsynced: 0,
            untold: VecDeque::new(),
            has_failed: false,
        }
    }

    fn read_on(&self, io: &mut Io<'_>) {
        let offset = self.read.len() as u64;
        io.disk().read(self.file, offset, PIECE_BYTES, READ).expect("an idle disk");
    }

    fn on_read(&mut self, bytes: &Bytes, io: &mut Io<'_>) {
        self.read.extend(bytes);
        if self.read.is_empty() {
            self.is_writing = true;
            return;
        }
        if bytes.len() == PIECE_BYTES {
            return self.read_on(io);
        }
        let read = Bytes::from(std::mem::take(&mut self.read));
        let entries = entries(read, self.careless != Some(Careless::Checking));
        let count = entries.len() as u64;
        self.unsafe_entries.extend(entries.into_iter().map(|entry| (None, entry)));
        if self.careless == Some(Careless::Reading) {
            self.are_safe(count, io);
        } else {
            io.disk().sync(self.file, Tag(count)).expect("an idle disk");
        }
        self.file += 1;
        self.read_on(io);
    }

    /// Writes what waits, and makes it safe together. What the disk has no room for stays in the
    /// feed until something is done.
    fn write(&mut self, object: ObjectId, io: &mut Io<'_>) {
        while let Some(taken) = io.take(object, usize::MAX) {
            let entry = taken.command.payload().clone();
            if io.disk().append(self.file, record(&entry), APPEND).is_err() {
                io.rewind(object, taken.message);
                break;
            }
            self.unsafe_entries.push_back((Some(taken.message), entry));
            self.unsynced += 1;
        }
        let is_careless = self.careless == Some(Careless::Writing);
        if self.unsynced > 0 && !is_careless {
            let asked = io.disk().sync(self.file, Tag(self.unsynced));
            self.unsynced = if asked.is_ok() { 0 } else { self.unsynced };
        }
    }

    /// The first of those that were not are safe: they are done with.
    fn are_safe(&mut self, count: u64, io: &mut Io<'_>) {
        for (message, entry) in self.unsafe_entries.drain(..count as usize) {
            if let (Some(message), Some(object)) = (message, self.object) {
                io.release(object, message);
            }
            self.untold.push_back(entry);
        }
    }
}

impl Module for Diary {
    fn name(&self) -> &'static str {
        "diary"
    }

    fn offers(&self, ty: &ObjectType) -> Result<Cost, Lack> {
        match &ty.kind {
            Kind::Custom(name) if name == "diary" => Ok(Cost { copies: 0, overhead_bytes: 0 }),
            kind => Err(Lack::Kind(kind.clone())),
        }
    }

    fn handle(&mut self, _now: Time, input: Input, io: &mut Io<'_>) {
        match input {
            Input::Start(_) => self.read_on(io),
            Input::Open { object, .. } => self.object = Some(object),
            Input::Done { result: Err(error), .. } if !self.has_failed => {
                self.has_failed = true;
                self.untold.push_back(error.to_string().into());
            }
            Input::Done { tag: READ, result: Ok(bytes) } => self.on_read(&bytes, io),
            Input::Done { tag: APPEND, result: Ok(_) }
                if self.careless == Some(Careless::Writing) =>
            {
                self.are_safe(1, io);
            }
            Input::Done { tag: Tag(count), result: Ok(_) } if count < APPEND.0 => {
                self.are_safe(count, io);
            }
            Input::Stop => io.stopped(),
            _ => {}
        }
    }

    fn finish(&mut self, _now: Time, io: &mut Io<'_>) {
        let Some(object) = self.object else { return };
        if self.is_writing {
            self.write(object, io);
        }
        while let Some(entry) = self.untold.pop_front() {
            io.emit(object, Event::Custom(entry)).expect("the test reads");
        }
    }

    fn next_wake(&self) -> Option<Time> {
        None
    }
}

fn record(entry: &[u8]) -> Bytes {
    let len = u32::try_from(entry.len()).expect("entries are small");
    [&len.to_be_bytes()[..], &checksum(entry).to_be_bytes(), entry].concat().into()
}

/// The entries of a file, up to the first that was not written wholly.
fn entries(mut file: Bytes, looks: bool) -> Vec<Bytes> {
    let mut entries = Vec::new();
    while file.len() >= HEADER_BYTES {
        let (len, sum) = (file.get_u32() as usize, file.get_u64());
        if file.len() < len || (looks && checksum(&file[..len]) != sum) {
            break;
        }
        entries.push(file.split_to(len));
    }
    entries
}

fn checksum(bytes: &[u8]) -> u64 {
    let mut hash = DefaultHasher::new();
    hash.write(bytes);
    hash.finish()
}

const HEADER_BYTES: usize = 12;
/// So that a file takes several reads.
const PIECE_BYTES: usize = 100;

fn spec() -> Spec {
    let name = "/diary".parse().expect("a name");
    Spec::new(name, ObjectType::custom("diary", Agreement::Eventual))
}

/// What the node was told since the record `since`: entries, in order.
fn told(world: &World, since: usize) -> Vec<Bytes> {
    let entry = |what: &What| match what {
        What::Event(_, Event::Custom(entry)) => Some(entry.clone()),
        _ => None,
    };
    world.history()[since..].iter().filter_map(|record| entry(&record.what)).collect()
}

/// Ten lives of a diary, each cut short, some with all the machine. What one life was told, all
/// later ones must be told too, in the same order, and nothing that was never written; the last,
/// which is not cut short, is told all of it. Returns what is wrong, if anything.
fn lives(seed: u64, careless: Option<Careless>) -> Result<(), String> {
    let mut world = World::new(seed, 1, move |_| vec![Box::new(Diary::new(careless))]);
    let mut rng = world.rng("diary");
    let (mut written, mut safe) = (Vec::<Bytes>::new(), Vec::<Bytes>::new());
    for life in 0..10 {
        let since = world.history().len();
        world.start(0);
        let object = world.open(0, spec()).expect("a module carries it");
        for _ in 0..rng.random_range(0..30) {
            let entry = Bytes::from(format!("entry {}", written.len()));
            world.send(0, object, Command::Custom(entry.clone())).expect("there is room");
            written.push(entry);
            world.run(Duration::from_micros(rng.random_range(0..5_000)));
        }
        world.run(Duration::from_micros(rng.random_range(0..20_000)));
        let told = told(&world, since);
        if let Some(entry) = told.iter().find(|entry| !written.contains(entry)) {
            return Err(format!("life {life}: {entry:?} was never written"));
        }
        // A life may end before it has read all.
        let read = told.len().min(safe.len());
        if told[..read] != safe[..read] {
            return Err(format!("life {life}: told {told:?}, was safe {safe:?}"));
        }
        safe = if told.len() > safe.len() { told } else { safe };
        let is_process = rng.random_ratio(1, 3);
        world.apply(&if is_process { Fault::Crash(0) } else { Fault::PowerLoss(0) });
    }
    let since = world.history().len();
    world.start(0);
    world.open(0, spec()).expect("a module carries it");
    world.run(Duration::from_secs(10));
    let told = told(&world, since);
    if told.starts_with(&safe) { Ok(()) } else { Err(format!("told {told:?}, was safe {safe:?}")) }
}

#[test]
fn what_a_diary_told_survives_every_crash() {
    for seed in seeds(100) {
        assert_eq!(lives(seed, None), Ok(()), "SEED={seed}");
    }
}

#[test]
fn a_careless_diary_is_found_out() {
    for careless in [Careless::Writing, Careless::Reading, Careless::Checking] {
        assert!((0..100).any(|seed| lives(seed, Some(careless)).is_err()));
    }
}

#[test]
fn a_diary_of_the_same_seed_lives_the_same_lives() {
    let hash = |seed| {
        let mut world = World::new(seed, 1, |_| vec![Box::new(Diary::new(None))]);
        world.start(0);
        let object = world.open(0, spec()).expect("a module carries it");
        world.send(0, object, Command::Custom("entry".into())).expect("there is room");
        world.run(Duration::from_secs(1));
        assert_eq!(told(&world, 0), ["entry"]);
        world.trace_hash()
    };
    assert_eq!(hash(1), hash(1));
    assert_ne!(hash(1), hash(2));
}

/// Entries after which the disk takes not even a sync: that waits, and nothing is lost.
#[test]
fn a_busy_disk_makes_its_diary_wait() {
    let mut world = World::new(7, 1, |_| vec![Box::new(Diary::new(None))]);
    world.start(0);
    let object = world.open(0, spec()).expect("a module carries it");
    world.run(Duration::from_secs(1));
    let entries: Vec<_> = (1..4).map(|byte| Bytes::from(vec![byte; Disk::BYTES_MAX])).collect();
    for entry in &entries {
        world.send(0, object, Command::Custom(entry.clone())).expect("an empty feed takes any");
        world.run(Duration::from_secs(1));
    }
    assert!(told(&world, 0) == entries, "all, in order");
}

#[test]
fn a_full_disk_is_told_and_takes_nothing_that_was_safe() {
    let mut world = World::new(7, 1, |_| vec![Box::new(Diary::new(None))]);
    world.start(0);
    let object = world.open(0, spec()).expect("a module carries it");
    let say = |world: &mut World, entry: &'static str| {
        world.send(0, object, Command::Custom(entry.into())).expect("there is room");
        world.run(Duration::from_secs(1));
    };
    say(&mut world, "first");
    world.apply(&Fault::DiskFull(0));
    say(&mut world, "second");
    let failed = "the disk is full: make room, then start the node anew: no space left on the \
                  simulated device";
    assert_eq!(told(&world, 0), ["first", failed]);
    world.apply(&Fault::DiskRoom(0));
    world.crash(0);
    let since = world.history().len();
    world.start(0);
    world.open(0, spec()).expect("a module carries it");
    say(&mut world, "third");
    assert_eq!(told(&world, since), ["first", "third"]);
}

async fn node(disk: Option<&Path>) -> Result<Node, StartError> {
    start_alone(Diary::new(None), disk).await
}

async fn hear(port: &Port) -> Bytes {
    let event = poll_fn(|context| port.poll_next(context));
    match tokio::time::timeout(Duration::from_secs(30), event).await {
        Ok(Some(Event::Custom(entry))) => entry,
        other => panic!("{other:?}"),
    }
}

fn say(port: &Port, entry: String) {
    port.try_send(Command::Custom(entry.into())).expect("there is room");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_disk_keeps_a_diary_from_life_to_life() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = folder.path().join("disk");
    for life in 0..3 {
        let node = node(Some(&disk)).await.expect("the folder is free");
        let port = node.open(spec()).await.expect("a module carries it");
        for entry in 0..life * 20 {
            assert_eq!(hear(&port).await, format!("entry {entry}"));
        }
        for entry in life * 20..life * 20 + 20 {
            say(&port, format!("entry {entry}"));
        }
        for entry in life * 20..life * 20 + 20 {
            assert_eq!(hear(&port).await, format!("entry {entry}"));
        }
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_do_not_share_a_disk() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = node(Some(folder.path())).await.expect("the folder is free");
    let refused = node(Some(folder.path())).await.expect_err("it is taken");
    assert!(refused.to_string().contains("in use by another node"), "{refused}");
    first.stop().await;
    node(Some(folder.path())).await.expect("the folder is free again").stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_cannot_be_used_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("diary"), "no folder").expect("it can be written");
    let no_folder = folder.path().join("diary");
    let refused = node(Some(&no_folder)).await.expect_err("it is a file");
    assert!(refused.to_string().contains(&*no_folder.to_string_lossy()), "{refused}");
    // Nothing to write to, and a file where the module's folder should be.
    for (disk, told) in [(None, "keeps nothing on disk"), (Some(folder.path()), "diary")] {
        let node = node(disk).await.expect("it starts");
        let port = node.open(spec()).await.expect("a module carries it");
        say(&port, "entry".to_owned());
        let failed = hear(&port).await;
        assert!(String::from_utf8_lossy(&failed).contains(told), "{failed:?}");
        node.stop().await;
    }
}
