//! Who holds a name, where nobody agrees on anything for certain.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gossip::Gossip;
use groupcomm::{Config, Founding, Groupcomm};
use live_objects::{
    Agreement, Closure, Command, Event, ObjectId, ObjectType, Order, Refusal, Time,
};
use live_objects_sim::{MembersChecker, Network, World};

use super::{
    PERIOD, ask, cluster, events, expect_settled, give, heard, open, plain, say, spec, told,
};

fn closed(theirs: &ObjectType) -> Event {
    Event::Closed(Closure::TypeConflict { theirs: theirs.clone() })
}

fn refused(held: &ObjectType) -> Event {
    Event::Refused(Refusal::Held { held: held.clone() })
}

#[test]
fn a_name_that_is_held_is_refused_until_it_is_free() {
    let mut world = cluster(1, 4);
    let (topic, directory) = (ObjectType::best_effort_topic(), ObjectType::directory());
    let object = open(&mut world, [0], "/name", &topic);
    world.run(10 * PERIOD);
    open(&mut world, [1], "/name", &directory);
    open(&mut world, [2], "/name", &topic);
    world.run(10 * PERIOD);
    assert_eq!(events(&world, 1, object, 0), [refused(&topic)]);
    assert_eq!(events(&world, 2, object, 0), [Event::Opened]);
    world.close(1, object);
    [0, 2].iter().for_each(|node| world.close(*node, object));
    world.run(10 * PERIOD);
    let since = world.history().len();
    open(&mut world, [1], "/name", &directory);
    world.run(10 * PERIOD);
    assert_eq!(events(&world, 1, object, since), [Event::Opened]);
}

/// When a holder rejoins the same name after having crashed, its former life holds nothing up.
#[test]
fn the_dead_hold_no_names() {
    let mut world = cluster(2, 4);
    let (topic, directory) = (ObjectType::best_effort_topic(), ObjectType::directory());
    let object = open(&mut world, [0], "/name", &topic);
    world.run(10 * PERIOD);
    world.crash(0);
    expect_settled(&mut world);
    open(&mut world, [1], "/name", &directory);
    world.run(20 * PERIOD);
    assert_eq!(events(&world, 1, object, 0), [Event::Opened]);
}

/// Opens a name in both halves of a partition, at these nodes of six, and heals it. Those who hold
/// `loses` are closed within ten periods of seeing the other claim, and nobody else is.
fn part_and_meet(seed: u64, winners: (&[usize], &ObjectType), losers: (&[usize], &ObjectType)) {
    let mut world = cluster(seed, 6);
    let listed = open(&mut world, 0..6, Gossip::CLAIMS, &ObjectType::directory());
    world.cut(&[0, 1, 2], &[3, 4, 5]);
    world.run(Duration::from_secs(15));
    let object = open(&mut world, winners.0.iter().copied(), "/name", winners.1);
    open(&mut world, losers.0.iter().copied(), "/name", losers.1);
    world.run(10 * PERIOD);
    let since = world.history().len();
    world.heal();
    let mut met: Vec<Option<Time>> = vec![None; 6];
    for _ in 0..300 {
        for (node, met) in met.iter_mut().enumerate() {
            let claims = ask(&mut world, node, listed, Command::Find("/name".into()));
            let is_met = claims.iter().any(|claim| claim.value != claims[0].value);
            if is_met {
                met.get_or_insert(world.now());
            }
        }
        world.run(PERIOD / 4);
    }
    expect_settled(&mut world);
    let closed = closed(winners.1);
    for node in losers.0 {
        let (at, event) = told(&world, *node, object, since).next().expect("it is told");
        assert_eq!(*event, closed);
        let met = met[*node].expect("it was told for that");
        assert!(at.since(met) <= 10 * PERIOD, "SEED={seed}: {:?}", at.since(met));
        assert_eq!(events(&world, *node, object, since).len(), 1, "nothing after");
    }
    for node in winners.0 {
        assert_eq!(events(&world, *node, object, since), [], "SEED={seed}: at {node}");
    }
    let claims = ask(&mut world, 5, listed, Command::Find("/name".into()));
    let mut holders: Vec<usize> =
        plain(&world, &claims).into_iter().map(|(_, from, _)| from).collect();
    holders.sort_unstable();
    assert_eq!(holders, winners.0);
    if *winners.1 == ObjectType::best_effort_topic() {
        let since = world.history().len();
        say(&mut world, winners.0[0], object, "still here");
        world.run(10 * PERIOD);
        for node in winners.0 {
            assert_eq!(heard(&world, *node, object, since).len(), 1);
        }
        losers.0.iter().for_each(|node| assert_eq!(events(&world, *node, object, since), []));
    }
}

#[test]
fn of_two_types_that_meet_the_one_of_more_holders_stays() {
    let (topic, directory) = (ObjectType::best_effort_topic(), ObjectType::directory());
    for seed in crate::seeds(10) {
        part_and_meet(seed, (&[0, 1, 2], &topic), (&[3, 4], &directory));
        part_and_meet(seed, (&[3, 4], &directory), (&[1], &topic));
    }
}

/// Opened at the same moment, where a tenth of the packets is lost: whoever hears of the others
/// before it hears of its own kind does not give up for that.
#[test]
fn of_two_types_opened_at_once_the_one_of_more_holders_stays() {
    let (topic, directory) = (ObjectType::best_effort_topic(), ObjectType::directory());
    for seed in crate::seeds(20) {
        let mut world = cluster(seed, 8);
        world.set_network(Network::LAN.with_loss(0.1));
        let object = open(&mut world, [3, 4], "/name", &topic);
        open(&mut world, [0, 1, 2], "/name", &directory);
        world.run(20 * PERIOD);
        for node in 0..3 {
            assert_eq!(events(&world, node, object, 0), [Event::Opened], "SEED={seed}: at {node}");
        }
        for node in 3..5 {
            let expected = [Event::Opened, closed(&directory)];
            assert_eq!(events(&world, node, object, 0), expected, "SEED={seed}: at {node}");
        }
    }
}

#[test]
fn of_two_types_of_as_many_holders_the_same_one_stays_everywhere() {
    let (topic, directory) = (ObjectType::best_effort_topic(), ObjectType::directory());
    // The topic's hash is 0x395c…, the directory's 0x49e8….
    for seed in crate::seeds(5) {
        part_and_meet(seed, (&[0, 1], &topic), (&[3, 4], &directory));
        part_and_meet(seed, (&[5], &topic), (&[2], &directory));
    }
}

/// A cluster that node 0 founds, of which all nodes are in one view.
fn agreeing(seed: u64, nodes: usize) -> World {
    let is_founded = AtomicBool::new(false);
    let mut world = World::new(seed, nodes, move |node| {
        let founds = node == 0 && !is_founded.swap(true, Ordering::Relaxed);
        let founding = if founds { Founding::Alone } else { Founding::Wait };
        let config = Config { founding, mutation: None };
        vec![Box::new(Gossip::default()), Box::new(Groupcomm::new(config))]
    });
    world.add_checker(MembersChecker::default());
    (0..nodes).for_each(|node| super::enter(&mut world, node));
    for node in 0..nodes {
        let spec = spec("/views", ObjectType::members(Agreement::Views));
        world.open(node, spec).expect("a module carries it");
    }
    expect_settled(&mut world);
    world
}

#[test]
fn strong_beats_weak() {
    let mut world = agreeing(3, 5);
    let (weak, strong) = (ObjectType::best_effort_topic(), ObjectType::topic(Order::Fifo));
    let object = open(&mut world, [1, 2, 3], "/name", &weak);
    world.run(10 * PERIOD);
    let since = world.history().len();
    open(&mut world, [0], "/name", &strong);
    world.run(20 * PERIOD);
    for node in [1, 2, 3] {
        assert_eq!(events(&world, node, object, since), [closed(&strong)], "at {node}");
    }
    assert!(events(&world, 0, object, since).contains(&Event::Opened));
    open(&mut world, [4], "/name", &weak);
    world.run(PERIOD);
    assert_eq!(events(&world, 4, object, since), [refused(&strong)]);
    // When the strong one is closed the name is free.
    world.close(4, object);
    world.close(0, object);
    world.run(10 * PERIOD);
    let since = world.history().len();
    open(&mut world, [4], "/name", &weak);
    world.run(10 * PERIOD);
    assert_eq!(events(&world, 4, object, since), [Event::Opened]);
}

/// A weak object opened in the moment in which a strong one of its name is closed keeps the name.
#[test]
fn a_name_goes_from_strong_to_weak_in_one_moment() {
    let mut world = agreeing(6, 3);
    let (weak, strong) = (ObjectType::best_effort_topic(), ObjectType::topic(Order::Fifo));
    let object = open(&mut world, [0], "/name", &strong);
    world.run(10 * PERIOD);
    world.close(0, object);
    let since = world.history().len();
    open(&mut world, [0], "/name", &weak);
    world.run(20 * PERIOD);
    assert_eq!(events(&world, 0, object, since), [Event::Opened]);
    open(&mut world, [1], "/name", &ObjectType::directory());
    world.run(PERIOD);
    assert_eq!(events(&world, 1, object, 0), [refused(&weak)]);
}

/// Names, types and holders can be listed; nobody can publish there, or take the name.
#[test]
fn claims_can_be_listed() {
    let mut world = agreeing(4, 3);
    let (weak, strong) = (ObjectType::best_effort_topic(), ObjectType::topic(Order::Fifo));
    open(&mut world, [0, 1], "/weak", &weak);
    open(&mut world, [2], "/strong", &strong);
    world.run(10 * PERIOD);
    let object: ObjectId = open(&mut world, [1], Gossip::CLAIMS, &ObjectType::directory());
    world.run(PERIOD);
    give(&mut world, 1, object, Command::Publish { key: "/fake".into(), value: "v".into() });
    let listings = ask(&mut world, 1, object, Command::List("/".into()));
    let mut holders = Vec::new();
    for (name, node, ty) in plain(&world, &listings) {
        let ty: ObjectType = postcard::from_bytes(&ty).expect("it is a type");
        holders.push((String::from_utf8(name.to_vec()).expect("it is a name"), node, ty));
    }
    holders.sort_by_key(|(name, node, _)| (name.clone(), *node));
    let name = |name: &str| name.to_owned();
    let expected = [
        (name("/strong"), 2, strong),
        (name("/weak"), 0, weak.clone()),
        (name("/weak"), 1, weak.clone()),
    ];
    assert_eq!(holders, expected);
    assert_eq!(world.counts(1).expect("it runs").get("gossip.unknown_command"), 1);
    open(&mut world, [0], Gossip::CLAIMS, &weak);
    world.run(PERIOD);
    assert_eq!(events(&world, 0, object, 0), [refused(&ObjectType::directory())]);
}

/// An application that does not read hears all the same that its object was closed, and last.
#[test]
fn who_does_not_read_is_told_later_that_it_is_closed() {
    let mut world = cluster(5, 5);
    let (topic, directory) = (ObjectType::best_effort_topic(), ObjectType::directory());
    world.cut(&[0, 1], &[2, 3, 4]);
    world.run(Duration::from_secs(15));
    let object = open(&mut world, [0], "/name", &topic);
    open(&mut world, [2, 3], "/name", &directory);
    world.run(PERIOD);
    world.set_reading(0, object, false);
    for _ in 0..1_200 {
        give(&mut world, 0, object, Command::Send(vec![7; 1_000].into()));
        world.run(Duration::from_millis(10));
    }
    world.heal();
    expect_settled(&mut world);
    assert!(world.counts(0).expect("it runs").get("gossip.type_conflict") == 1);
    world.set_reading(0, object, true);
    world.run(PERIOD);
    assert_eq!(events(&world, 0, object, 0).last(), Some(&closed(&directory)));
}

/// How many claim the name, as far as a node knows.
fn witnesses(world: &mut World, node: usize, listed: ObjectId) -> usize {
    ask(world, node, listed, Command::Find("/name".into())).len()
}

/// In a large cluster not all who hold a name say so, but some do, also if it is one alone.
#[test]
fn a_name_of_many_has_some_witnesses_and_a_name_of_one_has_it() {
    for (seed, holders) in [(1, 0..100), (2, 50..51)] {
        let mut world = cluster(seed, 100);
        let listed = open(&mut world, [0, 99], Gossip::CLAIMS, &ObjectType::directory());
        open(&mut world, holders.clone(), "/name", &ObjectType::best_effort_topic());
        world.run(40 * PERIOD);
        let known = [0, 99].map(|node| witnesses(&mut world, node, listed));
        assert_eq!(known[0], known[1], "SEED={seed}");
        assert_eq!(known[0], if holders.len() == 1 { 1 } else { 8 }, "SEED={seed}");
    }
}

/// Nobody with a claim that was kept back stays behind with a type that lost, however close it was.
#[test]
fn of_two_types_in_a_large_cluster_one_is_left() {
    for seed in crate::seeds(20) {
        let mut world = cluster(seed, 100);
        let (topic, directory) = (ObjectType::best_effort_topic(), ObjectType::directory());
        let object = open(&mut world, 0..50, "/name", &topic);
        open(&mut world, 50..100, "/name", &directory);
        world.run(80 * PERIOD);
        let left =
            [0..50, 50..100].map(|mut nodes| nodes.any(|node| !is_closed(&world, node, object)));
        assert_ne!(left[0], left[1], "SEED={seed}");
    }
}

fn is_closed(world: &World, node: usize, object: ObjectId) -> bool {
    let is_end = |event: &Event| matches!(event, Event::Closed(_) | Event::Refused(_));
    told(world, node, object, 0).any(|(_, event)| is_end(event))
}
