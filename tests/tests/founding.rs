//! Stories of how clusters come to be: founded by one, founded by as many as expect each other,
//! founded apart, founded again.

use std::collections::BTreeSet;
use std::time::Duration;

use gossip::Gossip;
use groupcomm::{Config, Founding, Groupcomm};
use live_objects::{Agreement, ClusterId, Event, MembersEvent, View};
use live_objects_sim::{Network, ViewsChecker, What, World};

/// A world whose nodes found as they are told to, by their number.
fn world(
    seed: u64,
    nodes: usize,
    founding: impl Fn(usize) -> Founding + Send + Sync + 'static,
) -> World {
    let mut world = World::new(seed, nodes, move |node| {
        let config = Config { founding: founding(node), mutation: None };
        vec![Box::new(Gossip::default()), Box::new(Groupcomm::new(config))]
    });
    world.add_checker(ViewsChecker::default());
    world
}

fn start(world: &mut World, nodes: impl IntoIterator<Item = usize>) {
    for node in nodes {
        world.start(node);
        crate::open_members(world, node, Agreement::Views);
    }
}

/// The views that anybody was told of, with the node that was.
fn views(world: &World) -> impl Iterator<Item = (usize, &View)> {
    world.history().iter().filter_map(|record| match &record.what {
        What::Event(_, Event::Members(MembersEvent::View(view))) => Some((record.node, view)),
        _ => None,
    })
}

fn clusters(world: &World) -> BTreeSet<ClusterId> {
    views(world).map(|(_, view)| view.epoch.cluster).collect()
}

fn settle(world: &mut World) {
    let settled = world.settle(Duration::from_secs(60));
    assert!(settled, "{:?}", world.stuck());
    assert_eq!(world.violations(), []);
}

/// Nodes that expect each other found one cluster, whoever starts first and whatever is lost. Its
/// first view holds as many as were expected.
#[test]
fn those_who_expect_each_other_found_one_cluster() {
    for seed in 0..30 {
        let mut world = world(seed, 5, |_| Founding::Expect(5));
        world.set_network(Network::WAN.with_loss(0.2));
        for node in [3, 1, 4, 0, 2] {
            start(&mut world, [node]);
            world.run(Duration::from_millis(seed * 37));
        }
        settle(&mut world);
        assert_eq!(clusters(&world).len(), 1, "seed {seed}");
        let (_, first) = views(&world).next().unwrap();
        assert_eq!((first.epoch.number, first.members.len()), (1, 5));
    }
}

/// So do many who all start at the same moment, each of whom is told of most of the others' votes
/// too late.
#[test]
fn many_who_start_at_once_found_one_cluster() {
    for seed in 0..20 {
        let mut world = world(seed, 20, |_| Founding::Expect(20));
        start(&mut world, 0..20);
        settle(&mut world);
        assert_eq!(clusters(&world).len(), 1, "seed {seed}");
    }
}

/// Fewer than are expected found nothing; when the last comes they do.
#[test]
fn fewer_than_are_expected_wait_for_the_others() {
    let mut world = world(1, 3, |_| Founding::Expect(3));
    start(&mut world, [0, 1]);
    world.run(Duration::from_secs(20));
    assert_eq!(clusters(&world).len(), 0);
    start(&mut world, [2]);
    settle(&mut world);
    assert_eq!(clusters(&world).len(), 1);
}

/// Nodes die and are cut off in the middle of the election: still one cluster at most.
#[test]
fn an_election_through_crashes_and_cuts_founds_one_cluster() {
    for seed in 0..30 {
        let mut world = world(seed, 4, |_| Founding::Expect(4));
        world.set_network(Network::WAN.with_loss(0.1));
        start(&mut world, 0..4);
        world.run(Duration::from_millis(300 + seed * 61));
        let victim = (seed % 4) as usize;
        world.crash(victim);
        world.cut(&[(victim + 1) % 4], &[(victim + 2) % 4, (victim + 3) % 4]);
        world.run(Duration::from_secs(8));
        start(&mut world, [victim]);
        world.heal();
        settle(&mut world);
        assert!(clusters(&world).len() == 1, "seed {seed}");
    }
}

/// Whoever comes later joins, though it was told to expect as many as the founders.
#[test]
fn who_comes_later_joins_what_was_founded() {
    let mut world = world(1, 5, |_| Founding::Expect(3));
    start(&mut world, 0..3);
    settle(&mut world);
    start(&mut world, 3..5);
    settle(&mut world);
    assert_eq!(clusters(&world).len(), 1);
}

/// Two clusters that were founded apart never merge; members of both are told of the other.
#[test]
fn clusters_founded_apart_stay_apart_and_say_so() {
    let founds = |node| if node == 0 || node == 2 { Founding::Alone } else { Founding::Wait };
    let mut world = world(1, 4, founds);
    world.set_seeds(&[0, 2]);
    world.cut(&[0, 1], &[2, 3]);
    start(&mut world, 0..4);
    world.run(Duration::from_secs(10));
    world.heal();
    world.run(Duration::from_secs(60));
    assert_eq!(world.violations(), []);
    assert_eq!(clusters(&world).len(), 2);
    let side = |node| usize::from(node >= 2);
    for (node, view) in views(&world) {
        let mut members = view.members.iter().map(|member| world.node_of(*member).unwrap());
        assert!(members.all(|member| side(member) == side(node)), "they merged");
    }
    let told = world.history().iter().filter(|record| {
        matches!(record.what, What::Event(_, Event::Members(MembersEvent::ForeignCluster(..))))
    });
    let told: BTreeSet<usize> = told.map(|record| record.node).collect();
    assert_eq!(told.len(), 4, "each is told once at least: {told:?}");
}

/// A cluster that was stopped whole and founded again is another: no epoch comes twice.
#[test]
fn a_cluster_that_is_founded_again_is_another() {
    let mut world = world(1, 3, |_| Founding::Expect(3));
    start(&mut world, 0..3);
    settle(&mut world);
    (0..3).for_each(|node| world.crash(node));
    world.run(Duration::from_secs(5));
    start(&mut world, 0..3);
    assert!(world.run_until(Duration::from_secs(60), |world| clusters(world).len() == 2));
    world.run(Duration::from_secs(10));
    assert_eq!(world.violations(), []);
    assert_eq!(clusters(&world).len(), 2);
}

/// The half of the last view with its most senior member goes on; the other half waits.
#[test]
fn the_half_with_the_senior_goes_on() {
    let mut world = world(1, 4, |_| Founding::Expect(4));
    start(&mut world, 0..4);
    settle(&mut world);
    let members = views(&world).last().unwrap().1.members.clone();
    let nodes: Vec<usize> =
        members.into_iter().map(|member| world.node_of(member).unwrap()).collect();
    world.cut(&nodes[..2], &nodes[2..]);
    world.run(Duration::from_secs(30));
    let last = |node| views(&world).filter(|(at, _)| *at == node).last().unwrap().1.members.len();
    assert_eq!([0, 1, 2, 3].map(|place| last(nodes[place])), [2, 2, 4, 4]);
    world.heal();
    settle(&mut world);
}
