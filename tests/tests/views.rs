//! Stories of groupcomm's views in simulated worlds, and proof that its checker sees what is wrong.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gossip::Gossip;
use groupcomm::{Config, Founding, Groupcomm, Mutation};
use live_objects::{Agreement, Event, MembersEvent, View};
use live_objects_sim::{Nemesis, Network, SwarmReport, ViewsChecker, What, World, swarm};

/// A cluster that node 0 founds, the first time it starts.
fn cluster(seed: u64, nodes: usize, mutation: Option<Mutation>) -> World {
    let is_founded = AtomicBool::new(false);
    let mut world = World::new(seed, nodes, move |node| {
        let founds = node == 0 && !is_founded.swap(true, Ordering::Relaxed);
        let founding = if founds { Founding::Alone } else { Founding::Wait };
        let config = Config { founding, mutation };
        vec![Box::new(Gossip::default()), Box::new(Groupcomm::new(config))]
    });
    world.set_seeds(&[0, nodes - 1]);
    world.add_checker(ViewsChecker::default());
    for node in 0..nodes {
        world.start(node);
        open(&mut world, node);
    }
    world
}

fn open(world: &mut World, node: usize) {
    crate::open_members(world, node, Agreement::Views);
}

fn expect_settled(world: &mut World) {
    assert!(world.settle(Duration::from_secs(60)), "{world:?}: {:?}", world.stuck());
    assert_eq!(world.violations(), []);
}

/// The views that `node` was told of.
fn views(world: &World, node: usize) -> Vec<View> {
    let records = world.history().iter().filter(|record| record.node == node);
    let view = |what: &What| match what {
        What::Event(_, Event::Members(MembersEvent::View(view))) => Some(view.clone()),
        _ => None,
    };
    records.filter_map(|record| view(&record.what)).collect()
}

fn last(world: &World, node: usize) -> View {
    views(world, node).pop().expect("it was told of a view")
}

#[test]
fn one_founds_and_the_others_join_in_few_views() {
    let mut world = cluster(1, 20, None);
    expect_settled(&mut world);
    let last = last(&world, 19);
    assert_eq!(last.members.len(), 20);
    assert!(last.epoch.number <= 10, "{:?}: joins go together", last.epoch);
}

#[test]
fn nobody_is_in_a_view_unless_somebody_founds() {
    let mut world =
        World::new(2, 3, |_| vec![Box::new(Gossip::default()), Box::new(Groupcomm::default())]);
    for node in 0..3 {
        world.start(node);
        open(&mut world, node);
    }
    world.run(Duration::from_secs(30));
    assert!((0..3).all(|node| views(&world, node).is_empty()));
}

#[test]
fn a_crashed_member_is_out_of_the_next_view() {
    let mut world = cluster(3, 5, None);
    expect_settled(&mut world);
    let (gone, before) = (world.member(4).unwrap(), last(&world, 0));
    world.crash(4);
    expect_settled(&mut world);
    let after = last(&world, 0);
    assert!(before.has(gone) && !after.has(gone));
    assert_eq!(after.epoch.number, before.epoch.number + 1);
}

#[test]
fn whoever_leaves_is_out_before_it_stops() {
    let mut world = cluster(4, 5, None);
    expect_settled(&mut world);
    let before = last(&world, 1);
    // The leader itself.
    world.stop(0);
    assert!(world.run_until(Duration::from_secs(3), |world| world.member(0).is_none()));
    expect_settled(&mut world);
    assert_eq!(last(&world, 1).epoch.number, before.epoch.number + 1);
}

#[test]
fn a_minority_installs_nothing_and_comes_back() {
    let mut world = cluster(5, 5, None);
    expect_settled(&mut world);
    let before = last(&world, 3);
    world.cut(&[0, 1, 2], &[3, 4]);
    world.run(Duration::from_secs(20));
    assert_eq!(last(&world, 3), before);
    assert_eq!(last(&world, 0).members.len(), 3);
    world.heal();
    expect_settled(&mut world);
    assert_eq!(last(&world, 3).members.len(), 5);
}

/// Of two halves, the one with the most senior member goes on.
#[test]
fn of_two_halves_one_goes_on() {
    let mut world = cluster(6, 4, None);
    expect_settled(&mut world);
    world.cut(&[0, 1], &[2, 3]);
    world.run(Duration::from_secs(20));
    let sizes = [0, 1, 2, 3].map(|node| last(&world, node).members.len());
    assert!(sizes == [2, 2, 4, 4] || sizes == [4, 4, 2, 2], "{sizes:?}");
    world.heal();
    expect_settled(&mut world);
}

/// The leader dies in the middle of a change: the next one ends it.
#[test]
fn a_crash_in_mid_change_restarts_it_with_the_next_leader() {
    for offset_ms in (0..400).step_by(20) {
        let mut world = cluster(7, 7, None);
        expect_settled(&mut world);
        world.crash(6);
        world.run(Duration::from_millis(2_600 + offset_ms));
        world.crash(0);
        expect_settled(&mut world);
        assert_eq!(last(&world, 1).members.len(), 5);
    }
}

/// A leader that leaves would decide, and be gone before its last word arrives: who decides stays.
#[test]
fn a_leader_that_leaves_lets_another_decide() {
    for seed in 0..30 {
        let mut world = cluster(seed, 3, None);
        expect_settled(&mut world);
        world.set_network(Network::WAN.with_loss(0.2));
        world.pause(1, Duration::from_millis(2_300));
        world.run(Duration::from_secs(1));
        world.stop(0);
        world.run(Duration::from_secs(10));
        expect_settled(&mut world);
    }
}

/// Everybody is cut off from everybody, and one is asked to leave. When the cuts heal it still
/// believes the others gone: what they promise it now must not make it leave them out.
#[test]
fn a_member_back_from_a_partition_leads_nobody_by_old_suspicions() {
    for seed in 0..10 {
        let mut world = cluster(seed, 3, None);
        expect_settled(&mut world);
        world.cut(&[1, 2], &[0]);
        world.cut(&[0, 1], &[2]);
        world.run(Duration::from_secs(3));
        world.stop(1);
        world.run(Duration::from_secs(3));
        world.heal();
        world.run(Duration::from_secs(10));
        expect_settled(&mut world);
    }
}

/// Of a view of two, one decides that a third joins, and dies before the other hears of it. The
/// third takes the other for its leader, which knows nothing of the view that it leads.
#[test]
fn a_leader_that_did_not_hear_of_its_view_is_told() {
    for offset_ms in (0..2_000).step_by(10) {
        let mut world = cluster(8, 3, None);
        world.crash(2);
        expect_settled(&mut world);
        world.set_network(Network::WAN.with_loss(0.2));
        world.start(2);
        open(&mut world, 2);
        world.run(Duration::from_millis(offset_ms));
        world.cut(&[1], &[0, 2]);
        world.run(Duration::from_millis(200));
        world.crash(0);
        world.heal();
        world.run(Duration::from_secs(5));
        expect_settled(&mut world);
    }
}

fn fault_swarm(mutation: Option<Mutation>) -> SwarmReport {
    let story = move |seed| {
        let mut world = cluster(seed, 7, mutation);
        world.run(Duration::from_secs(5));
        let (lasts, pause) = (Duration::from_secs(40), Duration::from_millis(1_500));
        let nemesis = Nemesis { lasts, pause, down_max: 2, loss_max: 0.3 };
        let plan = nemesis.plan(7, 0.0, &mut world.rng("nemesis"));
        world.play(&plan, open);
        world.settle(Duration::from_secs(60));
        world
    };
    swarm(crate::seeds(60), 2, story, |_| {})
}

#[test]
fn a_swarm_of_faults_finds_nothing_wrong_with_views() {
    let report = fault_swarm(None);
    if let Some(bad) = report.first_bad {
        let replay = "cargo test -p tests a_swarm_of_faults_finds_nothing_wrong_with_views";
        panic!("{bad:?}\nreplay it: SEED={} {replay}", bad.seed);
    }
}

#[test]
fn views_by_a_minority_are_caught() {
    let report = fault_swarm(Some(Mutation::MinorityView));
    assert!(report.violations > 0);
    let bad = report.first_bad.expect("one is the first");
    assert!(bad.violations.iter().any(|found| found.what.starts_with("V2")), "{bad:?}");
}
