//! Regions: what is said in a group is between its members, and so is what goes wrong with them.

use std::time::Duration;

use live_objects::{ObjectId, ObjectType, Order, Spec};
use live_objects_sim::World;

use super::joins::{GAP_MAX, longest_gap};
use super::{
    cluster, expect_settled, expect_together, heard, open_topic, payload, say, seeds, try_say,
    views,
};

/// Opens a FIFO topic at some nodes.
fn open(world: &mut World, name: &str, nodes: impl IntoIterator<Item = usize>) -> ObjectId {
    let spec = Spec::new(name.parse().expect("a name"), ObjectType::topic(Order::Fifo));
    for node in nodes {
        world.open(node, spec.clone()).expect("it is not open there");
    }
    spec.name.id()
}

/// Nine nodes are in the configuration, and three in a group: whoever says something there sends it
/// to two.
#[test]
fn what_is_said_in_a_group_is_sent_to_its_members_alone() {
    for seed in seeds(5) {
        let mut world = cluster(seed, 9);
        let object = open_topic(&mut world, [3, 4, 5], Order::Fifo);
        expect_together(&mut world, &[3, 4, 5], object);
        expect_settled(&mut world);
        let sent = |world: &World, node| world.traffic(node).datagram_bytes;
        let before: Vec<u64> = (0..9).map(|node| sent(&world, node)).collect();
        for number in 0..200 {
            assert!(try_say(&mut world, 3, object, payload(number, 900)), "there is room for it");
            world.run(Duration::from_millis(5));
        }
        let said: Vec<u64> = (0..9).map(|node| sent(&world, node) - before[node]).collect();
        let floor = 200 * 900 * 2;
        assert!((floor..floor * 12 / 10).contains(&said[3]), "{said:?}");
        let most = said.iter().enumerate().filter(|(node, _)| *node != 3).map(|(_, bytes)| bytes);
        assert!(*most.max().expect("there are others") < floor / 10, "{said:?}");
        expect_settled(&mut world);
    }
}

/// Two groups have no member in common. One of the first dies: a view of all is agreed on, and
/// meanwhile the second goes on as if nothing were.
#[test]
fn a_death_is_not_noticed_in_other_regions() {
    for seed in seeds(10) {
        let mut world = cluster(seed, 8);
        let struck = open(&mut world, "/struck", 4..7);
        let spared = open(&mut world, "/spared", 0..3);
        expect_together(&mut world, &[4, 5, 6], struck);
        expect_together(&mut world, &[0, 1, 2], spared);
        expect_settled(&mut world);
        let (begin, since) = (world.now(), world.history().len());
        for number in 0..800 {
            if number == 50 {
                world.crash(5);
            }
            (0..3).for_each(|node| say(&mut world, node, spared, number));
            (4..7).step_by(2).for_each(|node| say(&mut world, node, struck, number));
            world.run(Duration::from_millis(10));
        }
        let end = world.now();
        expect_together(&mut world, &[4, 6], struck);
        expect_settled(&mut world);
        for (node, from) in (0..3).flat_map(|node| (0..3).map(move |from| (node, from))) {
            let messages = heard(&world, node, spared, since);
            let times = messages.iter().filter(|it| it.from == from && it.at <= end);
            let gap = longest_gap(begin, times.map(|message| message.at), end);
            assert!(gap < GAP_MAX, "{gap:?} at node {node} without node {from}");
        }
        assert_eq!(views(&world, 0, spared, since), [], "its members are the same");
        assert_eq!(views(&world, 4, struck, since).len(), 1);
    }
}

/// The topics of a node move together from region to region as others join and leave them, in
/// mid-traffic and with a tenth of all packets lost: each is heard whole and in order.
#[test]
fn topics_that_move_lose_nothing() {
    for seed in seeds(10) {
        let mut world = cluster(seed, 6);
        let names: Vec<String> = (0..8).map(|number| format!("/topic-{number}")).collect();
        let topics: Vec<ObjectId> = names.iter().map(|name| open(&mut world, name, 0..3)).collect();
        topics.iter().for_each(|topic| expect_together(&mut world, &[0, 1, 2], *topic));
        world.set_network(live_objects_sim::Network::LAN.with_loss(0.1));
        for number in 0..200 {
            for (index, name) in names.iter().enumerate() {
                let (joins, leaves) = (20 + index as u64 * 5, 100 + index as u64 * 5);
                if number == joins {
                    open(&mut world, name, 3..6);
                } else if number == leaves {
                    (3..6).for_each(|node| world.close(node, topics[index]));
                }
                (0..3).for_each(|node| say(&mut world, node, topics[index], number));
            }
            world.run(Duration::from_millis(10));
        }
        for topic in &topics {
            expect_together(&mut world, &[0, 1, 2], *topic);
        }
        expect_settled(&mut world);
        for topic in topics {
            for (node, from) in (0..3).flat_map(|node| (0..3).map(move |from| (node, from))) {
                let messages = heard(&world, node, topic, 0);
                let of_one = messages.iter().filter(|message| message.from == from);
                let of_one: Vec<_> = of_one.map(|message| message.bytes.clone()).collect();
                let said: Vec<_> = (0..200).map(|number| payload(number, 8)).collect();
                assert!(of_one == said, "node {node} of {from}: {} messages", of_one.len());
            }
        }
    }
}
