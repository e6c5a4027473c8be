//! Stories of gossip's membership in simulated worlds, and proof that its checker sees what is
//! wrong.

mod broken;
mod starts;
mod why;

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use gossip::Gossip;
use live_objects::{
    Agreement, Command, Departure, Event, Member, MembersEvent, Module, Time, TrySendError,
};
use live_objects_sim::{Fault, MembersChecker, Nemesis, Network, SwarmReport, What, World, swarm};
use rand::RngExt;

use self::broken::{Deaf, Inventor};

/// A cluster whose nodes all run and tell who is up.
fn cluster(seed: u64, nodes: usize) -> World {
    cluster_of(seed, nodes, |_| Box::new(Gossip::default()))
}

fn cluster_of(
    seed: u64,
    nodes: usize,
    module: impl Fn(usize) -> Box<dyn Module> + Send + Sync + 'static,
) -> World {
    let mut world = World::new(seed, nodes, move |node| vec![module(node)]);
    world.add_checker(MembersChecker::default());
    for node in 0..nodes {
        world.start(node);
        open(&mut world, node);
    }
    world
}

fn open(world: &mut World, node: usize) {
    crate::open_members(world, node, Agreement::Eventual);
}

/// Everybody knows exactly who is up, within a time that no healthy cluster needs.
fn expect_settled(world: &mut World) {
    assert!(world.settle(Duration::from_secs(60)), "{world:?}: {:?}", world.stuck());
    assert_eq!(world.violations(), []);
}

/// What `node` was told, since the record `since`.
fn told(world: &World, node: usize, since: usize) -> Vec<MembersEvent> {
    let records = world.history()[since..].iter().filter(|record| record.node == node);
    let event = |what: &What| match what {
        What::Event(_, Event::Members(event)) => Some(event.clone()),
        _ => None,
    };
    records.filter_map(|record| event(&record.what)).collect()
}

fn member(world: &World, node: usize) -> Member {
    world.member(node).expect("it runs")
}

#[test]
fn five_nodes_find_each_other_through_one() {
    let mut world = cluster(1, 5);
    expect_settled(&mut world);
}

#[test]
fn a_crashed_node_is_suspected_and_buried_and_comes_back_as_another() {
    let mut world = cluster(2, 5);
    expect_settled(&mut world);
    let (before, since) = (member(&world, 3), world.history().len());
    world.crash(3);
    expect_settled(&mut world);
    let down = MembersEvent::Down(before, Departure::Failed);
    assert_eq!(told(&world, 0, since), [MembersEvent::Suspect(before), down]);
    let since = world.history().len();
    world.start(3);
    open(&mut world, 3);
    expect_settled(&mut world);
    let after = member(&world, 3);
    assert_ne!(after.incarnation, before.incarnation);
    assert_eq!(told(&world, 0, since), [MembersEvent::Up(after)]);
}

#[test]
fn a_node_that_says_good_bye_is_not_suspected() {
    let mut world = cluster(3, 5);
    expect_settled(&mut world);
    let (gone, since) = (member(&world, 4), world.history().len());
    world.stop(4);
    expect_settled(&mut world);
    assert_eq!(world.member(4), None);
    for node in 0..4 {
        let left = MembersEvent::Down(gone, Departure::Left);
        assert_eq!(told(&world, node, since), [left], "at node {node}");
    }
}

#[test]
fn a_short_pause_is_answered_and_nobody_is_buried() {
    let mut world = cluster(4, 8);
    expect_settled(&mut world);
    let since = world.history().len();
    world.pause(5, Duration::from_millis(1_500));
    world.run(Duration::from_secs(10));
    expect_settled(&mut world);
    for node in 0..8 {
        let buried = |event: &MembersEvent| matches!(event, MembersEvent::Down(..));
        assert!(!told(&world, node, since).iter().any(buried), "at node {node}");
    }
}

/// It sleeps while some that it knows leave, and so many after them that nobody has a tombstone of
/// those any more. Nobody takes its word for it that they are back.
#[test]
fn who_slept_through_a_thousand_departures_brings_nobody_back() {
    let (stay, leave, batch, batches) = (6, 10, 103, 10);
    let (sleeper, first) = (stay - 1, stay + leave);
    let all = first + batch * batches;
    let mut world = World::new(17, all, |_| vec![Box::new(Gossip::default())]);
    world.add_checker(MembersChecker::default());
    let start = |world: &mut World, nodes: Range<usize>| {
        for node in nodes {
            world.start(node);
            open(world, node);
        }
    };
    start(&mut world, 0..first);
    expect_settled(&mut world);
    world.pause(sleeper, Duration::from_secs(200));
    // Nor does what was said to it meanwhile wait for it.
    let others: Vec<usize> = (0..all).filter(|node| *node != sleeper).collect();
    world.cut(&[sleeper], &others);
    (stay..first).for_each(|node| world.stop(node));
    for number in 0..batches {
        let batch = first + number * batch..first + (number + 1) * batch;
        start(&mut world, batch.clone());
        world.run(Duration::from_secs(6));
        batch.for_each(|node| world.stop(node));
        world.run(Duration::from_secs(6));
    }
    assert!(world.now() < Time::ZERO + Duration::from_secs(200), "it sleeps still");
    world.heal();
    let since = world.history().len();
    world.run(Duration::from_secs(120));
    expect_settled(&mut world);
    let is_up = |event: &MembersEvent| matches!(event, MembersEvent::Up(_));
    for node in 0..sleeper {
        let told = told(&world, node, since);
        let ups: Vec<_> = told.iter().filter(|event| is_up(event)).collect();
        assert!(ups.len() <= 1, "at node {node}, beside the sleeper: {ups:?}");
    }
    let buried = |node| world.counts(node).map_or(0, |counts| counts.get("gossip.buried"));
    assert!((0..sleeper).any(|node| buried(node) > 0), "it said so");
}

#[test]
fn parted_halves_bury_each_other_and_come_together_again() {
    let mut world = cluster(5, 6);
    expect_settled(&mut world);
    world.cut(&[0, 1, 2], &[3, 4, 5]);
    world.run(Duration::from_secs(30));
    assert!(!world.unsettled().is_empty(), "each half believes the other is gone");
    world.heal();
    expect_settled(&mut world);
}

/// Half of a cluster is cut off and starts anew before the others bury it. They find it and know
/// all of it, but nobody told it of them, and an exchange mends only the table of the one who began
/// it.
#[test]
fn a_member_that_nobody_told_of_is_asked_who_it_is() {
    let mut world = cluster(13, 4);
    world.set_seeds(&[0, 3]);
    expect_settled(&mut world);
    world.cut(&[0, 3], &[1, 2]);
    for node in [0, 3] {
        world.crash(node);
        world.start(node);
        open(&mut world, node);
    }
    world.run(Duration::from_secs(1));
    world.heal();
    expect_settled(&mut world);
}

#[test]
fn two_nodes_that_cannot_hear_each_other_are_vouched_for_by_the_others() {
    let mut world = cluster(6, 8);
    expect_settled(&mut world);
    let since = world.history().len();
    world.cut(&[2], &[6]);
    world.run(Duration::from_secs(30));
    for node in 0..8 {
        let buried = |event: &MembersEvent| matches!(event, MembersEvent::Down(..));
        assert!(!told(&world, node, since).iter().any(buried), "at node {node}");
    }
}

/// A node back with a clock years behind its former life's still gets in.
#[test]
fn a_clock_set_back_does_not_lock_a_node_out() {
    let mut world = cluster(7, 4);
    world.apply(&Fault::Skew(2, 400_000));
    world.run(Duration::from_secs(60));
    world.crash(2);
    world.apply(&Fault::Skew(2, -400_000));
    world.start(2);
    open(&mut world, 2);
    expect_settled(&mut world);
}

/// The application stops reading while hundreds of changes come: it gets a roster when it is back.
#[test]
fn a_reader_that_fell_behind_gets_the_whole_again() {
    let mut world = cluster(8, 3);
    expect_settled(&mut world);
    let object = "/members".parse::<live_objects::Name>().unwrap().id();
    world.set_reading(0, object, false);
    let since = world.history().len();
    // Each change counts for 64 bytes of a queue of one MiB.
    for _ in 0..9_000 {
        world.crash(2);
        world.start(2);
        world.run(Duration::from_millis(450));
    }
    open(&mut world, 2);
    world.run(Duration::from_secs(5));
    world.set_reading(0, object, true);
    expect_settled(&mut world);
    let rosters = told(&world, 0, since);
    assert!(rosters.iter().any(|event| matches!(event, MembersEvent::Roster(_))));
}

#[test]
fn random_bytes_are_counted_and_change_nothing() {
    let mut world = cluster(9, 4);
    expect_settled(&mut world);
    let since = world.history().len();
    let mut rng = world.rng("noise");
    for _ in 0..2_000 {
        let len = rng.random_range(0..200);
        let mut bytes = vec![0; len];
        rng.fill(&mut bytes[..]);
        // Most get past the envelope.
        if len > 3 {
            bytes[..3].copy_from_slice(&[1, 221, 115]);
        }
        world.forge(1, 0, bytes);
        world.run(Duration::from_millis(1));
    }
    expect_settled(&mut world);
    let counts = world.counts(0).expect("it runs");
    let dropped = counts.get("gossip.malformed") + counts.get("gossip.unknown_leg");
    assert!(dropped > 1_500, "{counts:?}");
    assert_eq!(told(&world, 0, since), []);
}

/// A frame from a build that is newer than this one is counted, and not tried.
#[test]
fn a_future_version_is_counted() {
    let mut world = cluster(10, 2);
    world.forge(1, 0, vec![2, 221, 115, 0]);
    world.run(Duration::from_secs(1));
    assert_eq!(world.counts(0).expect("it runs").get("stack.future_version"), 1);
}

/// Objects of kind `Members` take no such commands; who sends one loses nothing but the command.
#[test]
fn a_command_that_a_kind_does_not_have_is_counted() {
    let mut world = cluster(11, 2);
    let object = "/members".parse::<live_objects::Name>().unwrap().id();
    let command = Command::Custom(Bytes::from_static(b"what?"));
    let sent: Result<(), TrySendError> = world.send(0, object, command);
    assert_eq!(sent, Ok(()));
    world.run(Duration::from_secs(1));
    assert_eq!(world.counts(0).expect("it runs").get("gossip.unknown_command"), 1);
}

/// The same seed is the same run, on one thread or many, in a world large enough to be shared out.
#[test]
fn the_history_does_not_depend_on_threads() {
    let run = |network: Network, threads| {
        let mut world = World::new(12, 100, |_| vec![Box::new(Gossip::default())]);
        world.set_threads(threads);
        world.set_network(network.with_loss(0.1));
        world.start_all();
        world.run(Duration::from_secs(20));
        (world.trace_hash(), world.history().len())
    };
    // In a window of the one nearly all have something to do, and in one of the other some few.
    for network in [Network::WAN, Network::LAN] {
        let alone = run(network.clone(), 1);
        assert_eq!(alone, run(network.clone(), 2));
        assert_eq!(alone, run(network, 3));
    }
}

fn fault_swarm(module: fn(usize) -> Box<dyn Module>) -> SwarmReport {
    let story = move |seed| {
        let mut world = cluster_of(seed, 7, module);
        let (lasts, pause) = (Duration::from_secs(30), Duration::from_millis(700));
        let nemesis = Nemesis { lasts, pause, down_max: 3, loss_max: 0.3 };
        let plan = nemesis.plan(7, 0.0, &mut world.rng("nemesis"));
        world.play(&plan, open);
        world.settle(Duration::from_secs(60));
        world
    };
    swarm(crate::seeds(50), 2, story, |_| {})
}

#[test]
fn a_swarm_of_faults_finds_nothing() {
    let report = fault_swarm(|_| Box::new(Gossip::default()));
    if let Some(bad) = report.first_bad {
        let replay = "cargo test -p tests a_swarm_of_faults_finds_nothing";
        panic!("{bad:?}\nreplay it: SEED={} {replay}", bad.seed);
    }
    let does_enough = report.crashes > 100 && report.partitions > 100;
    assert!(does_enough || report.seeds == 1, "{report:?}");
}

/// The checker is not asleep: a node that hears no datagrams never settles.
#[test]
fn a_deaf_node_is_found_stuck() {
    let report = fault_swarm(|node| match node {
        3 => Box::new(Deaf(Gossip::default())),
        _ => Box::new(Gossip::default()),
    });
    assert_eq!(report.stuck, report.seeds);
}

/// Nor does it believe in members that nobody ever was.
#[test]
fn an_invented_member_is_a_violation() {
    let report = fault_swarm(|node| match node {
        3 => Box::new(Inventor::default()),
        _ => Box::new(Gossip::default()),
    });
    assert_eq!(report.violations, report.seeds);
    let bad = report.first_bad.expect("all are bad");
    assert!(bad.violations[0].what.contains("never started"), "{:?}", bad.violations[0]);
}
