//! What is published is found everywhere, while its publisher is up.

use std::time::Duration;

use live_objects::{Command, ObjectType};
use live_objects_sim::{Fault, World};

use super::{PERIOD, ask, cluster, enter, events, expect_settled, give, knows_gone, open, plain};

fn publish(key: &str, value: &str) -> Command {
    Command::Publish { key: key.to_owned().into(), value: value.to_owned().into() }
}

/// What a node finds under a key: publishing nodes and values.
fn found(world: &mut World, node: usize, key: &str) -> Vec<(usize, String)> {
    let object = directory();
    let listings = ask(world, node, object, Command::Find(key.to_owned().into()));
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("it is text");
    let plain = plain(world, &listings).into_iter();
    plain.map(|(_, from, value)| (from, text(&value))).collect()
}

fn directory() -> live_objects::ObjectId {
    "/phones".parse::<live_objects::Name>().expect("a name").id()
}

fn open_all(world: &mut World) {
    let nodes = world.nodes();
    open(world, 0..nodes, "/phones", &ObjectType::directory());
    world.run(PERIOD);
}

#[test]
fn what_is_published_is_found_everywhere_replaced_and_withdrawn() {
    let mut world = cluster(1, 10);
    open_all(&mut world);
    let object = directory();
    give(&mut world, 3, object, publish("ann", "1"));
    give(&mut world, 4, object, publish("ann", "2"));
    give(&mut world, 4, object, publish("anna", "3"));
    world.run(10 * PERIOD);
    let one = |value: &str| (3, value.to_owned());
    for node in 0..10 {
        assert_eq!(found(&mut world, node, "ann").len(), 2, "at {node}");
        let listings = ask(&mut world, node, object, Command::List("ann".into()));
        let keys: Vec<_> = listings.iter().map(|listing| &listing.key[..]).collect();
        assert_eq!(keys, [&b"ann"[..], b"ann", b"anna"]);
        assert!(listings[0].publisher < listings[1].publisher);
    }
    give(&mut world, 3, object, publish("ann", "7"));
    give(&mut world, 4, object, Command::Withdraw("ann".into()));
    world.run(10 * PERIOD);
    for node in 0..10 {
        assert_eq!(found(&mut world, node, "ann"), [one("7")], "at {node}");
    }
    world.close(4, object);
    world.run(10 * PERIOD);
    for node in [0, 3, 9] {
        assert_eq!(found(&mut world, node, "anna"), [], "at {node}");
        assert_eq!(found(&mut world, node, "ann"), [one("7")], "at {node}");
    }
}

#[test]
fn what_a_crashed_node_published_is_gone_with_it_and_its_next_life_publishes_anew() {
    let mut world = cluster(2, 6);
    open_all(&mut world);
    give(&mut world, 5, directory(), publish("ann", "1"));
    world.run(10 * PERIOD);
    assert_eq!(found(&mut world, 0, "ann"), [(5, "1".to_owned())]);
    world.crash(5);
    let span = Duration::from_secs(20);
    assert!(world.run_until(span, |world| knows_gone(world, 0, 5)));
    assert_eq!(found(&mut world, 0, "ann"), []);
    // Its clock is behind: what it publishes now is newer all the same.
    world.apply(&Fault::Skew(5, -400_000));
    enter(&mut world, 5);
    open(&mut world, [5], "/phones", &ObjectType::directory());
    give(&mut world, 5, directory(), publish("ann", "2"));
    world.run(25 * PERIOD);
    for node in 0..6 {
        assert_eq!(found(&mut world, node, "ann"), [(5, "2".to_owned())], "at {node}");
    }
}

/// A newcomer finds what was published long before, though nobody says it any more.
#[test]
fn a_newcomer_finds_all() {
    let mut world = cluster(3, 8);
    world.stop(7);
    expect_settled(&mut world);
    let object = open(&mut world, 0..7, "/phones", &ObjectType::directory());
    for number in 0..500_usize {
        give(&mut world, number % 7, object, publish(&format!("key {number}"), "value"));
    }
    world.run(Duration::from_secs(60));
    enter(&mut world, 7);
    open(&mut world, [7], "/phones", &ObjectType::directory());
    world.run(15 * PERIOD);
    for node in 0..8 {
        let all = ask(&mut world, node, object, Command::List("key".into()));
        assert_eq!(all.len(), 500, "at {node}");
    }
    expect_settled(&mut world);
}

/// What news missed is mended: both halves publish and withdraw while they are parted.
#[test]
fn halves_that_were_parted_come_to_know_the_same() {
    let mut world = cluster(4, 6);
    open_all(&mut world);
    let object = directory();
    for node in 0..6 {
        give(&mut world, node, object, publish("before", "1"));
    }
    world.run(10 * PERIOD);
    world.cut(&[0, 1, 2], &[3, 4, 5]);
    // Long enough for what was withdrawn to be forgotten.
    give(&mut world, 0, object, Command::Withdraw("before".into()));
    world.run(Duration::from_secs(30));
    assert_eq!(found(&mut world, 4, "before").len(), 3, "only those of its half");
    for node in 0..6 {
        give(&mut world, node, object, publish("during", &format!("{node}")));
    }
    world.run(Duration::from_secs(60));
    world.heal();
    expect_settled(&mut world);
    for node in 0..6 {
        assert_eq!(found(&mut world, node, "during").len(), 6, "at {node}");
        assert_eq!(found(&mut world, node, "before").len(), 5, "at {node}");
    }
}

/// Of a large table only what differs is listed: together all send less than one inventory.
#[test]
fn a_small_difference_of_large_tables_is_mended_cheaply() {
    let mut world = cluster(6, 4);
    open_all(&mut world);
    let object = directory();
    for number in 0..4_000 {
        give(&mut world, number % 4, object, publish(&format!("key {number}"), "value"));
        world.run(Duration::from_millis(2));
    }
    world.run(Duration::from_secs(120));
    let bytes = |world: &World| (0..4).map(|node| world.traffic(node).link_bytes).sum::<u64>();
    world.cut(&[0, 1], &[2, 3]);
    world.run(Duration::from_secs(30));
    (0..4).for_each(|node| give(&mut world, node, object, publish("during", "1")));
    // Long enough for each half to have nothing more to say.
    world.run(Duration::from_secs(60));
    let before = bytes(&world);
    world.heal();
    expect_settled(&mut world);
    for node in 0..4 {
        assert_eq!(found(&mut world, node, "during").len(), 4, "at {node}");
        let all = ask(&mut world, node, object, Command::List("key".into()));
        assert_eq!(all.len(), 4_000, "at {node}");
    }
    let mended = bytes(&world) - before;
    assert!(mended < 4_000 * 8, "{mended} bytes on links");
}

/// An application that does not read its answers gets them when it does, in order.
#[test]
fn answers_wait_for_a_slow_reader() {
    let mut world = cluster(5, 2);
    let object = open(&mut world, [0], "/phones", &ObjectType::directory());
    for number in 0..400 {
        give(&mut world, 0, object, publish(&format!("key {number}"), &"v".repeat(900)));
        world.run(Duration::from_millis(1));
    }
    world.set_reading(0, object, false);
    let since = world.history().len();
    for _ in 0..10 {
        give(&mut world, 0, object, Command::List("key".into()));
    }
    give(&mut world, 0, object, publish("key last", "v"));
    world.run(PERIOD);
    world.set_reading(0, object, true);
    world.run(PERIOD);
    let commands: Vec<u64> = events(&world, 0, object, since)
        .into_iter()
        .map(|event| match event {
            live_objects::Event::Directory(live_objects::DirectoryEvent::Found {
                command,
                listings,
                ..
            }) => {
                assert_eq!(listings.len(), 400);
                command
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(commands, (400..410).collect::<Vec<u64>>());
}
