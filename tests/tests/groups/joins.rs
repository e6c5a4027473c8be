//! How members come and go while others go on.

use std::time::Duration;

use live_objects::{Event, ObjectId, Order, Time, TopicEvent};
use live_objects_sim::{Network, World};

use super::{
    Heard, ORDERS, by_sender, cluster, expect_settled, expect_together, heard, open_topic, payload,
    say, seeds, told, view_of,
};

/// A topic is opened late, in mid-traffic. The newcomer hears what the others hear from the first
/// view on that it is in, and nothing that they heard before.
#[test]
fn a_joiner_hears_nothing_from_before_and_everything_after() {
    for (seed, order) in seeds(10).flat_map(|seed| ORDERS.map(|order| (seed, order))) {
        let mut world = cluster(seed, 4);
        world.set_network(Network::LAN.with_loss(0.1));
        let object = open_topic(&mut world, 0..3, order);
        expect_together(&mut world, &[0, 1, 2], object);
        for number in 0..100 {
            if number == 50 {
                open_topic(&mut world, [3], order);
            }
            (0..3).for_each(|node| say(&mut world, node, object, number));
            if number == 70 {
                say(&mut world, 3, object, number);
            }
            world.run(Duration::from_millis(10));
        }
        expect_settled(&mut world);
        let joiner = heard(&world, 3, object, 0);
        for node in 0..3 {
            let since = heard_with(&world, node, 3, object);
            let is_same = match order {
                Order::Total => since.iter().map(Heard::said).eq(joiner.iter().map(Heard::said)),
                _ => by_sender(&since) == by_sender(&joiner),
            };
            assert!(is_same, "{order:?}, node {node}");
        }
        let of_0 = &by_sender(&joiner)[&0];
        assert!((20..=50).contains(&of_0.len()), "{order:?}: {}", of_0.len());
        assert_eq!(of_0.last(), Some(&payload(99, 8)));
    }
}

/// What `node` heard in views that `other` is in.
fn heard_with(world: &World, node: usize, other: usize, object: ObjectId) -> Vec<Heard> {
    let other = world.member(other).expect("it runs");
    let alone = told(world, node, object, 0)
        .filter_map(|(_, event)| view_of(event))
        .take_while(|view| !view.has(other))
        .count();
    let all = heard(world, node, object, 0);
    all.into_iter().filter(|message| message.view > alone).collect()
}

/// A join is a message among others: while ten nodes come, those who are in send and hear as if
/// nothing were.
#[test]
fn ten_joins_at_once_stop_nobody() {
    for seed in seeds(10) {
        let mut world = cluster(seed, 13);
        let object = open_topic(&mut world, 0..3, Order::Fifo);
        expect_together(&mut world, &[0, 1, 2], object);
        let begin = world.now();
        for number in 0..300 {
            if number == 100 {
                open_topic(&mut world, 3..13, Order::Fifo);
            }
            (0..3).for_each(|node| say(&mut world, node, object, number));
            world.run(Duration::from_millis(10));
        }
        let end = world.now();
        let all: Vec<usize> = (0..13).collect();
        expect_together(&mut world, &all, object);
        expect_settled(&mut world);
        for (node, from) in (0..3).flat_map(|node| (0..3).map(move |from| (node, from))) {
            let messages = heard(&world, node, object, 0);
            let of_one = messages.iter().filter(|message| message.from == from);
            let gap = longest_gap(begin, of_one.map(|message| message.at), end);
            assert!(gap < GAP_MAX, "{gap:?} at node {node} without node {from}");
        }
    }
}

/// The longest time in which nothing was.
pub(super) fn longest_gap(begin: Time, times: impl Iterator<Item = Time>, end: Time) -> Duration {
    let times: Vec<Time> = [begin].into_iter().chain(times).chain([end]).collect();
    let gaps = times.windows(2).map(|pair| pair[1].since(pair[0]));
    gaps.max().expect("there are two times at least")
}

/// A topic that is closed and opened again is a new one to its application, though the node is the
/// same: nothing of before is heard, and its own messages are counted from 0.
#[test]
fn a_topic_opened_again_in_the_same_life_begins_anew() {
    for (seed, order) in seeds(10).flat_map(|seed| ORDERS.map(|order| (seed, order))) {
        let mut world = cluster(seed, 3);
        world.set_network(Network::LAN.with_loss(0.1));
        let object = open_topic(&mut world, 0..3, order);
        expect_together(&mut world, &[0, 1, 2], object);
        for number in 0..20 {
            (0..3).for_each(|node| say(&mut world, node, object, number));
            world.run(Duration::from_millis(5));
        }
        world.close(2, object);
        // Of some seeds before anybody else knows that it is closed.
        world.run(Duration::from_millis(seed * 3));
        let again = world.history().len();
        open_topic(&mut world, [2], order);
        for number in 20..40 {
            (0..3).for_each(|node| say(&mut world, node, object, number));
            world.run(Duration::from_millis(5));
        }
        expect_settled(&mut world);
        let messages = heard(&world, 2, object, again);
        let old: Vec<_> = (0..20).map(|number| payload(number, 8)).collect();
        assert!(messages.iter().all(|it| !old.contains(&it.bytes)), "{order:?}");
        let own: Vec<u64> = messages.iter().filter_map(|message| message.own).collect();
        assert!(own.iter().copied().eq(0..20), "{order:?}: {own:?}");
        let opened = told(&world, 2, object, again).next().map(|(_, event)| event);
        assert_eq!(opened, Some(&Event::Opened), "{order:?}");
        let stable = told(&world, 2, object, again).filter_map(|(_, event)| match event {
            Event::Topic(TopicEvent::Stable { message }) => Some(*message),
            _ => None,
        });
        assert_eq!(stable.max(), Some(19), "{order:?}");
    }
}

/// An object is closed and opened again in one breath, so that one frame says both. The new opening
/// is told that it is open, and of a view, though the members are the same as before.
#[test]
fn who_leaves_and_joins_in_one_frame_is_in_again() {
    for order in ORDERS {
        for node in 0..3 {
            let mut world = cluster(1, 3);
            let object = open_topic(&mut world, 0..3, order);
            expect_together(&mut world, &[0, 1, 2], object);
            let again = world.history().len();
            world.close(node, object);
            open_topic(&mut world, [node], order);
            expect_settled(&mut world);
            let opened = told(&world, node, object, again).next().map(|(_, event)| event);
            assert_eq!(opened, Some(&Event::Opened), "{order:?}, node {node}");
        }
    }
}

/// Members that send every ten milliseconds are not silent for longer than this.
pub(super) const GAP_MAX: Duration = Duration::from_millis(100);
