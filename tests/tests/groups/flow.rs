//! What holds senders up, and what they are told of their messages.

use std::time::Duration;

use live_objects::{Closure, Event, ObjectId, Order, Time, TopicEvent};
use live_objects_sim::World;

use super::{
    ORDERS, by_sender, cluster, expect_settled, expect_together, heard, open_topic, payload, say,
    seeds, told, try_say, view_of, views,
};

/// One reader stops reading while others send more than all queues on the way hold: their feeds
/// stay full, though everybody else reads. When it reads again, nothing is missing.
#[test]
fn a_slow_reader_holds_up_senders_and_loses_nothing() {
    slow_reader(Order::Total);
}

/// The same of messages that need no place in the total order.
#[test]
fn a_slow_reader_of_a_fifo_topic_holds_up_senders_and_loses_nothing() {
    slow_reader(Order::Fifo);
}

fn slow_reader(order: Order) {
    let mut world = cluster(1, 4);
    let object = open_topic(&mut world, 0..4, order);
    expect_together(&mut world, &[0, 1, 2, 3], object);
    world.set_reading(3, object, false);
    let mut pour = Pour { object, said: [0; 2] };
    let mut last = [u64::MAX; 2];
    // As long as anything gets through.
    while pour.run(&mut world, Duration::from_secs(2)) != last {
        last = pour.said;
    }
    assert!(pour.said.iter().all(|said| *said < MESSAGES), "nobody was held up: {:?}", pour.said);
    assert!(heard(&world, 3, object, 0).is_empty());
    world.set_reading(3, object, true);
    pour.run_out(&mut world);
    expect_all_heard(&mut world, object);
}

/// Messages go on and on, and everybody reads.
#[test]
fn a_fifo_topic_carries_any_amount() {
    any_amount(Order::Fifo);
}

/// The same of messages that have a place in the total order.
#[test]
fn a_total_topic_carries_any_amount() {
    any_amount(Order::Total);
}

fn any_amount(order: Order) {
    let mut world = cluster(1, 4);
    let object = open_topic(&mut world, 0..4, order);
    expect_together(&mut world, &[0, 1, 2, 3], object);
    let mut pour = Pour { object, said: [0; 2] };
    pour.run_out(&mut world);
    expect_all_heard(&mut world, object);
}

/// One message is longer than all that may wait at a node.
#[test]
fn a_message_longer_than_every_queue_arrives() {
    let mut world = cluster(1, 3);
    let object = open_topic(&mut world, 0..3, Order::Total);
    expect_together(&mut world, &[0, 1, 2], object);
    let long = payload(0, 10 << 20);
    assert!(try_say(&mut world, 1, object, long.clone()), "an empty feed takes any message");
    expect_settled(&mut world);
    for node in 0..3 {
        assert!(heard(&world, node, object, 0).iter().any(|message| message.bytes == long));
    }
}

/// Nothing gets through, since one reader does not read, and the sequencer crashes. The view
/// changes all the same, and nothing that survivors sent is missing in the end.
#[test]
fn a_slow_reader_holds_up_no_change_of_view() {
    for seed in seeds(3) {
        let mut world = cluster(seed, 4);
        let object = open_topic(&mut world, 0..4, Order::Total);
        expect_together(&mut world, &[0, 1, 2, 3], object);
        world.set_reading(3, object, false);
        let mut pour = Pour { object, said: [0; 2] };
        pour.run(&mut world, Duration::from_secs(5));
        let full = pour.said;
        assert_eq!(pour.run(&mut world, Duration::from_secs(1)), full, "nothing gets through");
        world.crash(0);
        let are_three = |world: &World| {
            let last = views(world, 1, object, 0).pop();
            last.is_some_and(|view| view.members.len() == 3)
        };
        assert!(world.run_until(Duration::from_secs(10), are_three), "{:?}", pour.said);
        pour.run(&mut world, Duration::from_secs(2));
        world.set_reading(3, object, true);
        pour.run_out(&mut world);
        expect_settled(&mut world);
        let all: Vec<_> = (0..MESSAGES).map(|number| payload(number, MESSAGE_BYTES)).collect();
        for node in 1..4 {
            let senders = by_sender(&heard(&world, node, object, 0));
            assert!([1, 2].iter().all(|from| senders[from] == all), "at node {node}");
        }
    }
}

/// One who reads nothing for longer than may be is closed, and says so when it reads; the others go
/// on without it.
#[test]
fn a_reader_that_stalls_past_its_limit_is_closed_and_holds_up_nobody() {
    let mut world = cluster(1, 4);
    let object = open_topic(&mut world, 0..4, Order::Total);
    expect_together(&mut world, &[0, 1, 2, 3], object);
    world.set_reading(3, object, false);
    let mut pour = Pour { object, said: [0; 2] };
    pour.run(&mut world, Duration::from_secs(5));
    assert!(pour.said[0] < MESSAGES, "it holds the others up");
    pour.run(&mut world, Duration::from_secs(40));
    assert_eq!(pour.said, [MESSAGES; 2], "not for ever");
    world.set_reading(3, object, true);
    expect_settled(&mut world);
    let last = told(&world, 3, object, 0).last().map(|(_, event)| event.clone());
    assert_eq!(last, Some(Event::Closed(Closure::TooSlow)));
    assert_eq!(views(&world, 1, object, 0).pop().unwrap().members.len(), 3);
}

fn expect_all_heard(world: &mut World, object: ObjectId) {
    expect_settled(world);
    let all: Vec<_> = (0..MESSAGES).map(|number| payload(number, MESSAGE_BYTES)).collect();
    for node in 0..4 {
        let senders = by_sender(&heard(world, node, object, 0));
        assert!([1, 2].iter().all(|from| senders[from] == all), "at node {node}");
    }
}

/// Nodes 1 and 2 send, as fast as they may.
struct Pour {
    object: ObjectId,
    /// How many messages each has said.
    said: [u64; 2],
}

impl Pour {
    /// Lets them send for so long; how many messages each has said since the beginning.
    fn run(&mut self, world: &mut World, span: Duration) -> [u64; 2] {
        let end = world.now() + span;
        while world.now() < end {
            for (said, node) in self.said.iter_mut().zip([1, 2]) {
                while *said < MESSAGES
                    && try_say(world, node, self.object, payload(*said, MESSAGE_BYTES))
                {
                    *said += 1;
                }
            }
            world.run(Duration::from_millis(5));
        }
        self.said
    }

    /// Lets them send all that they have to say.
    fn run_out(&mut self, world: &mut World) {
        let begin = world.now();
        while self.run(world, Duration::from_millis(100)) != [MESSAGES; 2] {
            let took = world.now().since(begin);
            assert!(took < Duration::from_secs(60), "after {took:?}: {:?}", self.said);
        }
    }
}

/// A member is cut off and nobody knows yet: what is sent now reaches the others, but as long as
/// that member is in the view and lacks it, it is not stable.
#[test]
fn a_message_is_stable_only_when_all_hold_it() {
    for (seed, order) in seeds(10).flat_map(|seed| ORDERS.map(|order| (seed, order))) {
        for heals in [true, false] {
            let mut world = cluster(seed, 4);
            let object = open_topic(&mut world, 0..4, order);
            expect_together(&mut world, &[0, 1, 2, 3], object);
            world.run(Duration::from_secs(1));
            let since = world.history().len();
            world.cut(&[0, 1, 2], &[3]);
            say(&mut world, 1, object, 7);
            world.run(Duration::from_millis(500));
            assert_eq!(heard(&world, 2, object, since).len(), 1, "{order:?}");
            assert_eq!(stable_at(&world, 1, object, since), None, "{order:?}");
            let mut healed = None;
            if heals {
                world.heal();
                healed = Some(world.now());
            } else {
                world.run(Duration::from_secs(10));
                world.heal();
            }
            expect_settled(&mut world);
            let stable = stable_at(&world, 1, object, since).expect("all is stable in the end");
            let mut events = told(&world, 1, object, since);
            let viewed = events.find(|(_, event)| view_of(event).is_some()).map(|(at, _)| at);
            let first = [healed, viewed].into_iter().flatten().min().expect("one of them was");
            assert!(stable >= first, "{order:?}: {stable:?} before {first:?}");
        }
    }
}

/// When a node was first told that something of its own is stable.
fn stable_at(world: &World, node: usize, object: ObjectId, since: usize) -> Option<Time> {
    let mut events = told(world, node, object, since);
    let is_stable = |event: &Event| matches!(event, Event::Topic(TopicEvent::Stable { .. }));
    events.find(|(_, event)| is_stable(event)).map(|(at, _)| at)
}

/// Two senders send 20 MB.
const MESSAGES: u64 = 1_000;
const MESSAGE_BYTES: usize = 10_000;
