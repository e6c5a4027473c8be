//! What members hear, and in which order.

use std::time::Duration;

use live_objects::Order;
use live_objects_sim::Network;

use super::{
    by_sender, cluster, expect_settled, expect_together, heard, open_topic, payload, say, seeds,
};

/// Messages of all sizes, down to nothing and up to hundreds of frames, reach everybody whole and
/// in the order of their sender, though a fifth of all packets is lost.
#[test]
fn a_fifo_topic_reaches_all_its_members_in_order() {
    let message = |number: u64| {
        let sizes = [1, 1_000, 5_000];
        let len = match number {
            0 => 0,
            25 => 300_000,
            _ => sizes[number as usize % sizes.len()],
        };
        payload(number, len)
    };
    let said: Vec<_> = (0..50).map(message).collect();
    for seed in seeds(10) {
        let mut world = cluster(seed, 5);
        let object = open_topic(&mut world, 0..5, Order::Fifo);
        expect_together(&mut world, &[0, 1, 2, 3, 4], object);
        world.set_network(Network::LAN.with_loss(0.2));
        for bytes in &said {
            for node in 0..5 {
                assert!(super::try_say(&mut world, node, object, bytes.clone()), "it has room");
            }
            world.run(Duration::from_millis(2));
        }
        expect_settled(&mut world);
        for node in 0..5 {
            let senders = by_sender(&heard(&world, node, object, 0));
            assert_eq!(senders.len(), 5, "at node {node}");
            assert!(senders.values().all(|bytes| *bytes == said), "at node {node}");
        }
    }
}

/// The most senior member, which gives the messages of all others their places, crashes, and then
/// another does: those who are left hear one sequence, with everything in it that they sent.
#[test]
fn those_who_survive_the_sequencer_hear_one_sequence() {
    for seed in seeds(10) {
        let mut world = cluster(seed, 6);
        world.set_network(Network::LAN.with_loss(0.05));
        let object = open_topic(&mut world, 0..6, Order::Total);
        expect_together(&mut world, &[0, 1, 2, 3, 4, 5], object);
        for number in 0..200 {
            match number {
                50 => world.crash(0),
                120 => world.crash(3),
                _ => {}
            }
            for (node, _) in world.running() {
                say(&mut world, node, object, number);
            }
            world.run(Duration::from_millis(40));
        }
        expect_settled(&mut world);
        let sequence = |node| -> Vec<_> {
            heard(&world, node, object, 0).iter().map(super::Heard::said).collect()
        };
        let first = sequence(1);
        for node in [2, 4, 5] {
            assert_eq!(sequence(node), first, "node {node}");
        }
        let senders = by_sender(&heard(&world, 1, object, 0));
        for node in [1, 2, 4, 5] {
            assert_eq!(senders[&node].len(), 200, "from node {node}");
        }
        // What was heard of those who crashed has no gaps.
        for node in [0, 3] {
            let expected = (0..senders[&node].len() as u64).map(|number| payload(number, 8));
            assert!(senders[&node].iter().cloned().eq(expected), "from node {node}");
        }
    }
}
