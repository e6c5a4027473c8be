//! Who may open what, and where.

use std::time::Duration;

use live_objects::{Event, ObjectId, ObjectType, Order, Refusal, Spec, TopicEvent};
use live_objects_sim::World;

use super::{
    ORDERS, by_sender, cluster, expect_settled, expect_together, heard, open_topic, payload, say,
    seeds, told, views,
};

/// Whoever opens a name with another type than it has is told which that is. When nobody has it
/// open any more the name is free.
#[test]
fn a_name_has_one_type() {
    let mut world = cluster(1, 4);
    let object = open_topic(&mut world, [0, 1], Order::Fifo);
    expect_together(&mut world, &[0, 1], object);
    open_topic(&mut world, [2], Order::Total);
    expect_settled(&mut world);
    let refused = Event::Refused(Refusal::Held { held: ObjectType::topic(Order::Fifo) });
    assert_eq!(events(&world, 2, object, 0), std::slice::from_ref(&refused));
    world.close(2, object);
    // One that has it open is enough to hold it.
    world.close(0, object);
    expect_together(&mut world, &[1], object);
    let since = world.history().len();
    open_topic(&mut world, [3], Order::Total);
    expect_settled(&mut world);
    assert_eq!(events(&world, 3, object, since), [refused]);
    world.close(3, object);
    world.close(1, object);
    world.run(Duration::from_secs(1));
    open_topic(&mut world, [2, 3], Order::Total);
    expect_together(&mut world, &[2, 3], object);
    expect_settled(&mut world);
}

/// Two open a name at the same moment, each as something else: one of them gets it.
#[test]
fn of_two_types_at_once_a_name_gets_one() {
    for seed in seeds(10) {
        let mut world = cluster(seed, 3);
        let object = open_topic(&mut world, [1], Order::Fifo);
        open_topic(&mut world, [2], Order::Total);
        expect_settled(&mut world);
        let refused = |node, held| {
            let held = ObjectType::topic(held);
            events(&world, node, object, 0) == [Event::Refused(Refusal::Held { held })]
        };
        let refused = [refused(1, Order::Total), refused(2, Order::Fifo)];
        assert_eq!(refused.iter().filter(|is| **is).count(), 1, "{refused:?}");
    }
}

/// A node that starts cut off from the cluster reaches no primary partition.
#[test]
fn without_a_primary_partition_an_open_is_refused() {
    let mut world = cluster(2, 4);
    world.crash(3);
    world.cut(&[0, 1, 2], &[3]);
    world.start(3);
    super::enter(&mut world, 3);
    expect_no_primary(&mut world, 3);
    world.heal();
    expect_settled(&mut world);
    // It has to be opened again, and then is.
    let object = topic().name.id();
    world.close(3, object);
    open_topic(&mut world, [3], Order::Fifo);
    expect_together(&mut world, &[3], object);
    expect_settled(&mut world);
}

/// So does one that was in the views and is cut off from them.
#[test]
fn a_member_that_is_cut_off_is_refused_what_it_opens() {
    let mut world = cluster(3, 4);
    world.cut(&[0, 1, 2], &[3]);
    // It believes no more that it is in touch with the others.
    world.run(Duration::from_secs(5));
    expect_no_primary(&mut world, 3);
    world.heal();
    expect_settled(&mut world);
}

/// A topic that is open stays open while its node is cut off. Once it is back it is told that it
/// was outside, then of a view; what it said meanwhile is said then, once.
#[test]
fn an_open_topic_outlives_being_cut_off() {
    for (seed, order) in seeds(10).flat_map(|seed| ORDERS.map(|order| (seed, order))) {
        let mut world = cluster(seed, 4);
        let object = open_topic(&mut world, 0..4, order);
        expect_together(&mut world, &[0, 1, 2, 3], object);
        (0..4).for_each(|node| say(&mut world, node, object, 0));
        world.run(Duration::from_secs(1));
        let since = world.history().len();
        world.cut(&[0, 1, 2], &[3]);
        for number in 1..20 {
            (0..4).for_each(|node| say(&mut world, node, object, number));
            world.run(Duration::from_millis(500));
        }
        expect_together(&mut world, &[0, 1, 2], object);
        world.heal();
        expect_settled(&mut world);
        let outside = Event::Topic(TopicEvent::Outside);
        let events = events(&world, 3, object, since);
        let out = events.iter().position(|event| *event == outside).expect("it was outside");
        let is_back = |event: &Event| matches!(event, Event::Topic(TopicEvent::View(_)));
        assert!(events[out..].iter().any(is_back), "{order:?}");
        let last = |node| views(&world, node, object, since).pop().expect("it is in a view");
        assert!((1..4).all(|node| last(node) == last(0)), "{order:?}");
        assert_eq!(last(0).members.len(), 4);
        let all: Vec<_> = (1..20).map(|number| payload(number, 8)).collect();
        for node in 0..3 {
            let said = by_sender(&heard(&world, node, object, since));
            for from in 0..4 {
                assert_eq!(said[&from], all, "{order:?}: from {from} at {node}");
            }
        }
    }
}

/// Whoever is back from a partition took the others for dead. That is no reason for anybody to
/// leave out one who was there all the time.
#[test]
fn a_node_back_from_a_partition_gets_nobody_expelled() {
    for seed in seeds(100) {
        let mut world = cluster(seed, 4);
        let object = open_topic(&mut world, 0..4, Order::Fifo);
        expect_together(&mut world, &[0, 1, 2, 3], object);
        let since = world.history().len();
        world.cut(&[0, 1, 2], &[3]);
        world.run(Duration::from_secs(10));
        world.heal();
        expect_settled(&mut world);
        let outside = (0..3).find(|node| was_outside(&world, *node, object, since));
        assert_eq!(outside, None);
    }
}

fn was_outside(world: &World, node: usize, object: ObjectId, since: usize) -> bool {
    let outside = Event::Topic(TopicEvent::Outside);
    told(world, node, object, since).any(|(_, event)| *event == outside)
}

/// A node that is cut off opens a topic, and is told in time that it cannot.
fn expect_no_primary(world: &mut World, node: usize) {
    let object = world.open(node, topic()).expect("it is not open there");
    let refused = [Event::Refused(Refusal::NoPrimary)];
    let span = Duration::from_secs(11);
    let is_refused = |world: &World| events(world, node, object, 0) == refused;
    assert!(world.run_until(span, is_refused), "{:?}", events(world, node, object, 0));
}

fn topic() -> Spec {
    Spec::new("/topic".parse().expect("a name"), ObjectType::topic(Order::Fifo))
}

fn events(world: &World, node: usize, object: ObjectId, since: usize) -> Vec<Event> {
    told(world, node, object, since).map(|(_, event)| event.clone()).collect()
}
