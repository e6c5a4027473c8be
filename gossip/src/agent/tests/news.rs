//! What is carried beside the membership, where a story of the simulator would not look: limits a
//! period, what is counted, and what a hostile or a foreign packet does.

use bytes::Bytes;
use live_objects::{Command, Event, Name, ObjectType, Port, Rng, TopicEvent};
use proptest::prelude::{ProptestConfig, any, prop, proptest};
use rand::RngExt;

use super::seconds;
use super::world::{World, id};
use crate::agent::claims;
use crate::control::Control;
use crate::entry::tests::entry;
use crate::news::{Content, HAVES_MAX, Message, MessageId, Pushed, Reach, Topic};
use crate::records::{Collection, Hashes, Record, RecordKey, Version};
use crate::wire::{Leg, Naming, Packet};
use crate::{Config, Gossip};

fn messages(port: &Port) -> usize {
    let is_message = |event: &Event| matches!(event, Event::Topic(TopicEvent::Message { .. }));
    std::iter::from_fn(|| port.try_next()).filter(is_message).count()
}

/// A packet with a message of node 9, who is no member, to be passed on to all.
fn pushed(name: &str, ty: &ObjectType, number: u64, len: usize) -> Bytes {
    pushed_to(Reach::ALL, name, ty, number, len)
}

fn pushed_to(reach: Reach, name: &str, ty: &ObjectType, number: u64, len: usize) -> Bytes {
    pushed_as((Naming::InFull, reach), name, ty, number, len)
}

fn pushed_as(
    (naming, reach): (Naming, Reach),
    name: &str,
    ty: &ObjectType,
    number: u64,
    len: usize,
) -> Bytes {
    let id = MessageId { origin: entry(9, 1).member, number };
    let topic = Topic::new(name.parse::<Name>().unwrap().id(), claims::hash(ty));
    let mut packet = Packet::new(Leg::Push);
    let bytes = vec![7; len].into();
    let message = Message { id, topic, content: Content::Whole(bytes) };
    packet.news.messages.push(Pushed::new(&message, reach, naming));
    packet.encode()
}

#[test]
fn where_no_object_is_open_nothing_is_said_of_any() {
    let mut world = World::settled(2);
    let before = world.wire.datagram_bytes;
    world.run(seconds(10));
    // Ten seconds are 10 rounds of a node at rest: a probe and an ack, of a leg and a digest.
    let packet = 28 + 3 + 9 + 11;
    assert_eq!(world.wire.datagram_bytes - before, 2 * 10 * 2 * packet);
}

#[test]
fn messages_of_another_type_are_not_heard_but_passed_on() {
    let mut world = World::settled(3);
    let topic = ObjectType::best_effort_topic();
    let ports: Vec<Port> = (0..2).map(|node| world.open(node, "/t", topic.clone())).collect();
    world.inject(id(2), 0, &pushed("/t", &ObjectType::directory(), 0, 5));
    world.run(seconds(2));
    assert!(ports.iter().all(|port| messages(port) == 0));
    assert!((0..2).all(|node| world.count(node, "gossip.message_known") == 0));
    world.inject(id(2), 0, &pushed("/t", &topic, 1, 5));
    world.run(seconds(2));
    assert!(ports.iter().all(|port| messages(port) == 1));
}

#[test]
fn a_fast_sender_waits_with_its_own_feed() {
    let mut world = World::settled(2);
    let ports = ["/one", "/two"].map(|name| world.open(0, name, ObjectType::best_effort_topic()));
    // It rests no more.
    world.run(Config::default().period * 2);
    for port in &ports {
        while port.try_send(Command::Send(vec![7; 982].into())).is_ok() {}
    }
    // Each counts for 1,024 bytes of 32 KiB, in turns of four.
    world.step(0, Vec::new());
    assert_eq!(ports.each_ref().map(messages), [32, 0], "the first feed rang first");
    for _ in 0..4 {
        world.run(Config::default().period);
        assert_eq!(ports.each_ref().map(messages), [16, 16]);
    }
}

#[test]
fn what_is_pushed_in_a_period_is_bounded_and_so_is_every_packet() {
    let mut world = World::settled(5);
    // It rests no more.
    world.inject(id(1), 0, &pushed("/t", &ObjectType::best_effort_topic(), 300, 1));
    world.run(Config::default().period);
    for number in 0..300 {
        world.inject(id(1), 0, &pushed("/t", &ObjectType::best_effort_topic(), number, 1_000));
    }
    // 1 MiB are 994 packets of 1,055 bytes, some a byte less, to four members each.
    assert_eq!(world.count(0, "gossip.push_full"), 4 * 300 - 994);
    world.run(seconds(20));
    assert!(world.wire.datagram_longest <= 1_200 - 28 - 29);
    world.inject(id(1), 0, &pushed("/t", &ObjectType::best_effort_topic(), 7, 1_000));
    assert!(world.count(0, "gossip.message_known") > 0);
}

/// It goes at once, alone; the next one waits for others, until they fill a packet.
#[test]
fn a_message_waits_only_behind_another() {
    let mut world = World::settled(3);
    let ports = [0, 1].map(|node| world.open(node, "/t", ObjectType::best_effort_topic()));
    world.run(seconds(2));
    let period = Config::default().period;
    let mut heard_at_once = |lens: &[usize]| {
        for len in lens {
            world.say(0, &ports[0], Command::Send(vec![7; *len].into()));
        }
        world.run(period / 10);
        let at_once = messages(&ports[1]);
        world.run(period);
        (at_once, messages(&ports[1]))
    };
    assert_eq!(heard_at_once(&[5]), (1, 0));
    assert_eq!(heard_at_once(&[5, 5]), (1, 1));
    assert_eq!(heard_at_once(&[5, 1_000, 5]), (2, 1));
    assert_eq!((1..2).map(|node| world.count(node, "gossip.message_known")).sum::<u64>(), 0);
}

/// Who is called for short and is not known says nothing, until it is said in full.
#[test]
fn a_message_of_one_who_is_not_known_is_counted() {
    let mut world = World::settled(2);
    let port = world.open(0, "/t", ObjectType::best_effort_topic());
    let topic = ObjectType::best_effort_topic();
    world.inject(id(1), 0, &pushed_as((Naming::Short, Reach::ALL), "/t", &topic, 0, 5));
    assert_eq!((messages(&port), world.count(0, "gossip.origin_unknown")), (0, 1));
    world.inject(id(1), 0, &pushed("/t", &topic, 0, 5));
    assert_eq!((messages(&port), world.count(0, "gossip.origin_unknown")), (1, 1));
}

/// Only one node is told, but all are in the end, and nobody is twice.
#[test]
fn who_misses_a_message_wants_it() {
    let mut world = World::settled(30);
    let topic = ObjectType::best_effort_topic();
    let ports: Vec<Port> = (0..30).map(|node| world.open(node, "/t", topic.clone())).collect();
    world.run(seconds(2));
    world.inject(id(1), 0, &pushed_to(Reach::NONE, "/t", &topic, 0, 5));
    world.run(Config::default().period * 10);
    assert!(ports.iter().all(|port| messages(port) == 1));
    let counted = |name| (0..30).map(|node| world.count(node, name)).sum::<u64>();
    assert_eq!(counted("gossip.message_repaired"), 29);
    assert_eq!(counted("gossip.message_known"), 0, "one is asked at a time");
}

/// Half of a large cluster may crash, and all packets be full of that.
#[test]
fn haves_and_wants_find_room_beside_any_news_of_members() {
    let mut world = World::settled(2);
    let topic = ObjectType::best_effort_topic();
    // From then on there are records, whose digest takes room too.
    let port = world.open(1, "/t", topic.clone());
    world.run(seconds(2));
    world.bury_many(&[0]);
    world.run(Config::default().period);
    world.inject(id(1), 0, &pushed_to(Reach::NONE, "/t", &topic, 0, 5));
    world.run(Config::default().period * 2);
    assert_eq!(messages(&port), 1);
    assert!(world.wire.datagram_longest > 1_100, "packets are full");
}

/// Who wants many at once gets them as the budget of a period allows.
#[test]
fn wants_are_answered_within_the_budget_of_a_period() {
    let mut world = World::settled(2);
    let topic = ObjectType::best_effort_topic();
    let ids = |number| MessageId { origin: entry(9, 1).member, number };
    for number in 0..HAVES_MAX as u64 {
        world.inject(id(1), 0, &pushed_to(Reach::NONE, "/t", &topic, number, 1_000));
    }
    let mut wants = Packet::new(Leg::Push);
    wants.news.wants = (0..HAVES_MAX as u64).map(|number| ids(number).short()).collect();
    let wants = wants.encode();
    (0..20).for_each(|_| world.inject(id(1), 0, &wants));
    // Eight times 64 packets of 1,054 bytes are half of 1 MiB, and the rest is for what is new.
    assert_eq!(world.count(0, "gossip.push_full"), 12 * HAVES_MAX as u64);
    assert_eq!(world.count(0, "gossip.message_pushed"), 8 * HAVES_MAX as u64);
}

#[test]
fn so_many_pieces_are_answered_in_a_round() {
    let mut world = World::settled(2);
    let wants = Control::Want(Collection::Entries, Hashes(vec![7])).encode();
    (0..13).for_each(|_| world.inject_message(id(1), 0, &wants));
    assert_eq!(world.count(0, "gossip.mending_full"), 1, "one has not all of it");
    (0..5).for_each(|_| world.inject_message(id(2), 0, &wants));
    assert_eq!(world.count(0, "gossip.mending_full"), 2);
    world.run(seconds(1));
    world.inject_message(id(1), 0, &wants);
    assert_eq!(world.count(0, "gossip.mending_full"), 2);
}

#[test]
fn what_is_too_long_to_be_claimed_is_opened_and_counted() {
    let mut world = World::settled(1);
    let schema = live_objects::SchemaId { name: "s".repeat(1_000), version: 1, hash: 2 };
    world.open(0, "/t", ObjectType::best_effort_topic().of(schema));
    assert_eq!(world.count(0, "gossip.claim_too_long"), 1);
}

/// However often the claims of a name change, it is settled in eight rounds after they met, and one
/// in which a claimant is asked.
#[test]
fn claims_that_never_settle_are_settled() {
    let mut world = World::settled(3);
    world.part(&[0], &[1, 2]);
    let port = world.open(0, "/name", ObjectType::directory());
    let _topics = [1, 2].map(|node| world.open(node, "/name", ObjectType::best_effort_topic()));
    // It rests no more.
    world.run(Config::default().period * 2);
    world.wire.cut.clear();
    let directory = Gossip::CLAIMS.parse::<Name>().unwrap().id();
    let ty = postcard::to_allocvec(&ObjectType::best_effort_topic()).unwrap();
    let mut closed_after = None;
    for round in 0..12_u64 {
        let mut packet = Packet::new(Leg::Push);
        for node in 1..3 {
            let member = world.nodes[node].member;
            let key = RecordKey { object: directory, key: "/name".into(), publisher: member.node };
            let version = Version::try_from(5_000 + round).unwrap();
            let value = Some(ty.clone().into());
            let incarnation = member.incarnation;
            packet.news.records.push(Record { key, incarnation, version, value });
        }
        world.inject(id(1), 0, &packet.encode());
        if let Some(event) = port.try_next() {
            assert!(matches!(event, Event::Closed(_)));
            closed_after = Some(round);
            break;
        }
        world.run(Config::default().period);
    }
    assert_eq!(closed_after, Some(9));
    // What is said to it now is counted.
    port.try_send(Command::Find("key".into())).unwrap();
    world.step(0, Vec::new());
    assert_eq!(world.count(0, "gossip.unknown_command"), 1);
    assert_eq!(port.try_next(), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_sections_make_it_panic(
        seed: [u8; 32],
        bodies in prop::collection::vec(any::<Vec<u8>>(), 1..9),
    ) {
        let mut world = World::settled(2);
        world.open(0, "/t", ObjectType::best_effort_topic());
        world.open(0, "/d", ObjectType::directory());
        let mut rng = Rng::from_seed(seed);
        for body in bodies {
            let tag = rng.random_range(16..24);
            let head = [&[16, 0, 0, 0, 0, tag][..], &(body.len() as u16).to_be_bytes()].concat();
            world.inject(id(1), 0, &[&head[..], &body].concat());
            let variant = rng.random_range(2..5);
            world.inject_message(id(1), 0, &[&[variant][..], &body].concat());
        }
        world.run(seconds(1));
    }
}
