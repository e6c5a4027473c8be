//! Directories of clusters so large that each key is kept by a group of the members.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use live_objects::{Command, DirectoryEvent, Event, Name, ObjectId, ObjectType, Told};
use live_objects_sim::{Fault, World};

use super::{PERIOD, enter, events, expect_settled, give, open};

/// Few enough that all keep all, and enough that there are four groups.
const FEW: usize = 120;
const MANY: usize = 180;

fn directory() -> ObjectId {
    "/phones".parse::<Name>().expect("a name").id()
}

fn key(node: usize) -> Bytes {
    format!("key {node}").into()
}

/// A cluster of so many of [`MANY`] nodes, each of which has published its key.
fn cluster(seed: u64, nodes: usize) -> World {
    let mut world = World::new(seed, MANY, |_| vec![Box::new(gossip::Gossip::default())]);
    world.set_seeds(&[0, 1]);
    enter_all(&mut world, 0..nodes);
    world
}

fn enter_all(world: &mut World, nodes: Range<usize>) {
    nodes.clone().for_each(|node| enter(world, node));
    world.run(Duration::from_secs(10));
    open(world, nodes.clone(), "/phones", &ObjectType::directory());
    for node in nodes {
        give(world, node, directory(), Command::Publish { key: key(node), value: key(node) });
    }
    world.run(50 * PERIOD);
}

/// What a node finds: the publishing nodes, and whether that is all.
fn found(world: &mut World, node: usize, command: Command) -> (BTreeSet<usize>, Told) {
    let since = world.history().len();
    give(world, node, directory(), command);
    let is_answered = |world: &World| {
        events(world, node, directory(), since).iter().any(|event| {
            matches!(event, Event::Directory(DirectoryEvent::Found { told, .. })
                if *told != Told::Part)
        })
    };
    assert!(world.run_until(Duration::from_secs(10), is_answered), "no answer");
    let (mut nodes, mut whole) = (BTreeSet::new(), Told::Part);
    for event in events(world, node, directory(), since) {
        let (listings, told) = match event {
            Event::Directory(DirectoryEvent::Found { listings, told, .. }) => (listings, told),
            Event::Opened => continue,
            other => panic!("{other:?}"),
        };
        whole = told;
        for listing in listings {
            let publisher = world.node_of(listing.publisher).expect("it is a node's");
            assert_eq!([&listing.key, &listing.value], [&key(publisher); 2]);
            nodes.insert(publisher);
        }
    }
    (nodes, whole)
}

fn expect_found(world: &mut World, askers: [usize; 3], publishers: Range<usize>) {
    for asker in askers {
        for node in publishers.clone().step_by(7) {
            let expected = (BTreeSet::from([node]), Told::All);
            assert_eq!(found(world, asker, Command::Find(key(node))), expected, "at {asker}");
        }
        let all = (publishers.clone().collect(), Told::All);
        assert_eq!(found(world, asker, Command::List("key".into())), all, "at {asker}");
    }
}

/// Keys move as the cluster grows past one group, and as it shrinks to one again.
#[test]
fn whatever_the_number_of_groups_all_is_found() {
    let mut world = cluster(1, FEW);
    expect_found(&mut world, [0, 60, 119], 0..FEW);
    enter_all(&mut world, FEW..MANY);
    world.run(50 * PERIOD);
    expect_found(&mut world, [0, 60, 179], 0..MANY);
    (90..MANY).for_each(|node| world.stop(node));
    world.run(Duration::from_secs(30));
    expect_found(&mut world, [0, 60, 89], 0..90);
}

#[test]
fn what_is_withdrawn_is_gone_and_so_is_what_the_dead_published() {
    let mut world = cluster(2, MANY);
    give(&mut world, 7, directory(), Command::Withdraw(key(7)));
    world.close(8, directory());
    world.run(50 * PERIOD);
    for gone in [7, 8] {
        let none = (BTreeSet::new(), Told::All);
        assert_eq!(found(&mut world, 100, Command::Find(key(gone))), none);
    }
    world.crash(9);
    world.run(Duration::from_secs(10));
    assert_eq!(found(&mut world, 100, Command::Find(key(9))).0, BTreeSet::new());
    let rest = ((0..7).chain(10..MANY).collect(), Told::All);
    assert_eq!(found(&mut world, 100, Command::List("key".into())), rest);
}

/// Half of all crash at once, with them half of whoever is asked, before anybody knows.
#[test]
fn what_the_living_published_is_found_just_after_half_have_crashed() {
    let mut world = cluster(3, MANY);
    world.apply(&Fault::Loss(0.05));
    (0..MANY).step_by(2).for_each(|node| world.crash(node));
    for node in (1..MANY).step_by(8) {
        let (found, _) = found(&mut world, 179, Command::Find(key(node)));
        assert_eq!(found, BTreeSet::from([node]));
    }
}

/// A whole group crashes at once, and with it all copies of what it kept.
#[test]
fn publishers_bring_again_what_a_group_has_lost() {
    let mut world = cluster(4, MANY);
    let group = |node: usize, world: &World| {
        world.member(node).map(|member| member.node.as_bytes()[0] >> 6)
    };
    let kept = (0..MANY).filter(|node| group(*node, &world) == Some(1)).collect::<Vec<_>>();
    assert!(kept.len() > 20);
    kept.iter().for_each(|node| world.crash(*node));
    world.run(Duration::from_secs(20));
    kept.iter().for_each(|node| enter(&mut world, *node));
    world.run(Duration::from_secs(90));
    expect_settled(&mut world);
    let asker = (0..MANY).find(|node| !kept.contains(node)).expect("most are in other groups");
    let published = (0..MANY).filter(|node| !kept.contains(node)).collect();
    let list = found(&mut world, asker, Command::List("key".into()));
    assert_eq!(list, (published, Told::All));
}

/// A directory that is closed while it waits for an answer, and opened again, counts its commands
/// anew: the first of them is not given the answer to the first of before.
#[test]
fn who_opens_it_again_is_not_told_what_was_asked_before() {
    let mut world = cluster(5, MANY);
    for node in 0..20 {
        give(&mut world, node, directory(), Command::List("key".into()));
        // It is asked by then, and not answered.
        world.run(Duration::from_micros(200));
        world.close(node, directory());
        open(&mut world, [node], "/phones", &ObjectType::directory());
        let one = (BTreeSet::from([150]), Told::All);
        assert_eq!(found(&mut world, node, Command::Find(key(150))), one, "at {node}");
    }
}
