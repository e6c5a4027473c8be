//! Who hears what is said in a best-effort topic.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use live_objects::{Event, ObjectType, TopicEvent, TrySendError};
use live_objects_sim::Network;

use super::{PERIOD, cluster, events, give, heard, open, say, spec};

/// Where a tenth of the packets is lost, in a cluster of which some nodes have the topic open and
/// all pass it on, a message is heard by all holders but for one in a thousand within ten periods,
/// and by none twice.
#[test]
fn a_message_reaches_nearly_all_and_nobody_twice() {
    let mut all = 0;
    let mut reached = 0;
    for seed in crate::seeds(5) {
        let mut world = cluster(seed, 40);
        world.set_network(Network::LAN.with_loss(0.1));
        let holders = 0..30;
        let object = open(&mut world, holders.clone(), "/news", &ObjectType::best_effort_topic());
        world.run(PERIOD);
        let since = world.history().len();
        for number in 0..30_usize {
            say(&mut world, number, object, format!("message {number}"));
            world.run(PERIOD / 4);
        }
        world.run(10 * PERIOD);
        for node in holders {
            let mut times: BTreeMap<(usize, Bytes), u32> = BTreeMap::new();
            for message in heard(&world, node, object, since) {
                *times.entry(message).or_default() += 1;
            }
            all += 30;
            reached += times.len();
            assert!(times.values().all(|times| *times == 1), "SEED={seed}: at {node}: {times:?}");
        }
    }
    assert!(reached * 1_000 >= all * 999, "{reached} of {all}");
}

/// Half of all nodes crash at once, and before anybody knows a survivor says something: whoever was
/// to be told by the dead finds out by himself.
#[test]
fn half_of_all_crash_and_the_others_hear_everything() {
    for seed in crate::seeds(2) {
        let mut world = cluster(seed, 120);
        let object = open(&mut world, 0..120, "/news", &ObjectType::best_effort_topic());
        world.run(Duration::from_secs(5));
        (0..120).filter(|node| node % 2 == 1).for_each(|node| world.crash(node));
        let since = world.history().len();
        let sources = [0, 50, 118];
        for source in sources {
            say(&mut world, source, object, format!("from {source}"));
            world.run(Duration::from_secs(1));
        }
        world.run(10 * PERIOD);
        for node in (0..120).step_by(2) {
            let mut from: Vec<usize> =
                heard(&world, node, object, since).iter().map(|(from, _)| *from).collect();
            from.sort_unstable();
            let expected: Vec<usize> = sources.into_iter().collect();
            assert_eq!(from, expected, "SEED={seed}: at {node}");
        }
    }
}

/// A node that does not hold the topic is the only way between two that do.
#[test]
fn who_does_not_hold_a_topic_passes_it_on() {
    let mut world = cluster(6, 3);
    let object = open(&mut world, [0, 2], "/news", &ObjectType::best_effort_topic());
    world.cut(&[0], &[2]);
    let since = world.history().len();
    say(&mut world, 0, object, "hello");
    world.run(5 * PERIOD);
    assert_eq!(heard(&world, 2, object, since), [(0, "hello".into())]);
}

/// A sender hears what it said, and which of its commands that was.
#[test]
fn a_sender_hears_itself() {
    let mut world = cluster(7, 2);
    let object = open(&mut world, [0], "/news", &ObjectType::best_effort_topic());
    say(&mut world, 0, object, "one");
    say(&mut world, 0, object, "two");
    world.run(PERIOD);
    let from = world.member(0).expect("it runs");
    let message = |own, bytes: &'static str| {
        Event::Topic(TopicEvent::Message { from, own: Some(own), bytes: bytes.into() })
    };
    let expected = [Event::Opened, message(0, "one"), message(1, "two")];
    assert_eq!(events(&world, 0, object, 0), expected);
}

/// A reader that stops reading misses messages, and is told how many before it hears the next.
#[test]
fn a_slow_reader_is_told_what_it_missed() {
    let mut world = cluster(8, 3);
    let object = open(&mut world, [0, 1], "/news", &ObjectType::best_effort_topic());
    world.run(PERIOD);
    world.set_reading(0, object, false);
    let since = world.history().len();
    let mut said = 0;
    for _ in 0..500 {
        for _ in 0..5 {
            let bytes = Bytes::from(vec![7; 1_000]);
            match world.send(1, object, live_objects::Command::Send(bytes)) {
                Ok(()) => said += 1,
                Err(TrySendError::Full(_)) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        world.run(PERIOD / 4);
    }
    world.run(Duration::from_secs(30));
    world.set_reading(0, object, true);
    world.run(PERIOD);
    say(&mut world, 1, object, "next");
    world.run(5 * PERIOD);
    let events = events(&world, 0, object, since);
    let lagged = |event: &Event| match event {
        Event::Topic(TopicEvent::Lagged { missed }) => Some(*missed),
        _ => None,
    };
    let missed: Vec<u64> = events.iter().filter_map(lagged).collect();
    let heard = heard(&world, 0, object, since);
    assert_eq!(missed.len(), 1, "{missed:?}");
    assert_eq!(heard.len() as u64 + missed[0], said + 1);
    assert!(missed[0] > 500, "{missed:?} of {said}");
    let at = events.iter().position(|event| lagged(event).is_some()).expect("just seen");
    assert_eq!(at, events.len() - 2);
    assert_eq!(heard.last(), Some(&(1, "next".into())));
}

/// One that fits into a packet, the shortest that does not, and the longest of all. What is longer
/// is refused, and not cut.
#[test]
fn a_message_is_heard_whole_or_refused() {
    let mut world = cluster(9, 2);
    let object = open(&mut world, [0, 1], "/news", &ObjectType::best_effort_topic());
    for len in [1_000, 1_001, 1 << 20] {
        let since = world.history().len();
        let long = Bytes::from(vec![7; len]);
        say(&mut world, 0, object, long.clone());
        world.run(10 * PERIOD);
        assert_eq!(heard(&world, 1, object, since), [(0, long)]);
    }
    let longer = live_objects::Command::Send(vec![7; (1 << 20) + 1].into());
    let refused = world.send(0, object, longer);
    assert!(matches!(refused, Err(TrySendError::TooLong { bytes_max: 1_048_576, .. })));
}

/// What was said while nobody was there is not told to those who come.
#[test]
fn who_comes_later_does_not_hear_what_was_said_before() {
    let mut world = cluster(10, 2);
    let object = open(&mut world, [0], "/news", &ObjectType::best_effort_topic());
    say(&mut world, 0, object, "before");
    world.run(Duration::from_secs(10));
    open(&mut world, [1], "/news", &ObjectType::best_effort_topic());
    world.run(Duration::from_secs(10));
    assert_eq!(events(&world, 1, object, 0), [Event::Opened]);
    // A command of another kind is counted.
    give(&mut world, 0, object, live_objects::Command::Find("key".into()));
    world.run(PERIOD);
    assert_eq!(world.counts(0).expect("it runs").get("gossip.unknown_command"), 1);
    // The object is known by its type, not by its name alone.
    let other = spec("/news", ObjectType::directory());
    world.open(1, other).expect_err("it is open there");
}
