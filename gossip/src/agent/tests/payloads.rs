//! Long messages: they come whole and once, whoever is slow, gone, or lies.

use bytes::Bytes;
use live_objects::{Command, Event, Member, ObjectType, Port, TopicEvent, TrySendError};
use proptest::prelude::{ProptestConfig, any, prop, proptest};

use super::seconds;
use super::world::{World, id};
use crate::Config;
use crate::agent::claims;
use crate::news::{Announcement, Content, Message, MessageId, PAYLOAD_LEN_MAX};
use crate::news::{Pushed, Reach, Topic};
use crate::wire::payloads::Supply;
use crate::wire::{Leg, Naming, Packet};

/// Bytes that are nowhere alike.
fn long(len: usize, salt: usize) -> Bytes {
    (0..len).map(|at| (at * 31 + at / 251 + salt) as u8).collect()
}

fn topic() -> ObjectType {
    ObjectType::best_effort_topic()
}

/// All of these hold the topic, and all know that.
fn holding(nodes: usize, holders: &[usize]) -> (World, Vec<Port>) {
    let mut world = World::settled(nodes);
    let ports = holders.iter().map(|node| world.open(*node, "/t", topic())).collect();
    world.run(seconds(3));
    (world, ports)
}

fn events(port: &Port) -> Vec<TopicEvent> {
    let topic = |event| if let Event::Topic(event) = event { Some(event) } else { None };
    std::iter::from_fn(|| port.try_next()).filter_map(topic).collect()
}

fn heard(port: &Port) -> Vec<Bytes> {
    let bytes =
        |event| if let TopicEvent::Message { bytes, .. } = event { Some(bytes) } else { None };
    events(port).into_iter().filter_map(bytes).collect()
}

fn said(origin: Member, payload: &[u8]) -> (MessageId, Message) {
    let id = MessageId { origin, number: 0 };
    let object = "/t".parse::<live_objects::Name>().unwrap().id();
    let topic = Topic::new(object, claims::hash(&topic()));
    let content = Content::Announced(Announcement::of(payload));
    (id, Message { id, topic, content })
}

/// What announces this payload, to one alone.
fn announced(origin: Member, payload: &[u8]) -> (MessageId, Bytes) {
    let (id, message) = said(origin, payload);
    let mut packet = Packet::new(Leg::Push);
    packet.news.messages.push(Pushed::new(&message, Reach::NONE, Naming::InFull));
    (id, packet.encode())
}

fn piece(id: MessageId, offset: usize, bytes: &[u8]) -> Bytes {
    Supply::Piece { id, offset, bytes: Bytes::copy_from_slice(bytes) }.encode()
}

#[test]
fn a_long_message_is_heard_once_and_crosses_each_branch_once() {
    for len in [1_001, 65_536, PAYLOAD_LEN_MAX] {
        let (mut world, ports) = holding(9, &[0, 1, 2, 3, 4, 5, 6, 7, 8]);
        let payload = long(len, 1);
        let before = world.wire.bulk_bytes;
        world.say(0, &ports[0], Command::Send(payload.clone()));
        world.run(seconds(5));
        for (node, port) in ports.iter().enumerate() {
            let events = events(port);
            let own = (node == 0).then_some(0);
            let from = world.nodes[0].member;
            assert_eq!(events, [TopicEvent::Message { from, own, bytes: payload.clone() }]);
        }
        let sent = (world.wire.bulk_bytes - before) as usize;
        assert!(sent >= 8 * len && sent <= 8 * (len + len / 200 + 100), "{sent} for {len}");
        assert!((0..9).all(|node| world.count(node, "gossip.payload_unasked") == 0));
    }
}

#[test]
fn what_is_longer_than_any_message_is_refused() {
    let (world, ports) = holding(2, &[0]);
    let refused = ports[0].try_send(Command::Send(long(PAYLOAD_LEN_MAX + 1, 1)));
    let bytes_max = PAYLOAD_LEN_MAX;
    assert!(
        matches!(refused, Err(TrySendError::TooLong { bytes_max: max, .. }) if max == bytes_max)
    );
    assert_eq!(world.nodes.len(), 2);
}

/// With every kind of loss but that of links.
#[test]
fn a_lost_announcement_is_mended() {
    let (mut world, ports) = holding(20, &(0..20).collect::<Vec<_>>());
    world.wire.loss_percent = 20;
    let payload = long(20_000, 1);
    world.say(0, &ports[0], Command::Send(payload.clone()));
    world.run(seconds(6));
    assert!(ports.iter().all(|port| heard(port) == std::slice::from_ref(&payload)));
}

/// Who does not hold the topic pulls it when somebody below needs it, and only then.
#[test]
fn who_is_in_between_pulls_what_is_asked_for() {
    let (mut world, ports) = holding(3, &[0, 2]);
    world.part(&[0], &[2]);
    let payload = long(100_000, 1);
    world.say(0, &ports[0], Command::Send(payload.clone()));
    world.run(seconds(2));
    assert_eq!([heard(&ports[0]), heard(&ports[1])], [[payload.clone()], [payload]]);
    assert_eq!(world.count(1, "gossip.payload_pulled"), 1);
    let (mut world, ports) = holding(3, &[0, 2]);
    world.say(0, &ports[0], Command::Send(long(100_000, 1)));
    world.run(seconds(2));
    assert_eq!(heard(&ports[1]).len(), 1);
    assert_eq!(world.count(1, "gossip.payload_pulled"), 0);
}

#[test]
fn who_loses_a_supplier_goes_on_with_another_where_it_was() {
    let (mut world, ports) = holding(4, &[0, 1, 2, 3]);
    world.part(&[0], &[2]);
    // Some 200 pieces, each five milliseconds after the other.
    world.wire.room = 5_000;
    let payload = long(PAYLOAD_LEN_MAX, 1);
    world.say(0, &ports[0], Command::Send(payload.clone()));
    let to_it = |world: &World, from: usize| world.wire.bulk.get(&(from, 2)).copied().unwrap_or(0);
    let before = [1, 3].map(|from| to_it(&world, from));
    let mut supplier = None;
    for _ in 0..1_000 {
        world.run(Config::default().period / 20);
        supplier = [1, 3].into_iter().zip(before).find(|(from, it)| to_it(&world, *from) > it + 50);
        if supplier.is_some() {
            break;
        }
    }
    let (supplier, _) = supplier.expect("one of them supplies it");
    world.crash(supplier);
    world.run(seconds(8));
    assert_eq!(heard(&ports[2]), [payload]);
    let pieces: u32 = [1, 3].iter().zip(before).map(|(from, it)| to_it(&world, *from) - it).sum();
    let needed = (PAYLOAD_LEN_MAX / (5_000 - 48)) as u32;
    assert!(pieces < needed + needed / 20, "{pieces} pieces, {needed} needed");
}

/// Whoever has a link of little room gets it in small pieces, and holds up nobody.
#[test]
fn a_slow_link_is_given_what_it_takes() {
    let (mut world, ports) = holding(3, &[0, 1, 2]);
    world.wire.room = 1_000;
    let payload = long(40_000, 1);
    world.say(0, &ports[0], Command::Send(payload.clone()));
    world.run(seconds(3));
    assert!(ports.iter().all(|port| heard(port) == std::slice::from_ref(&payload)));
}

#[test]
fn a_slow_reader_misses_messages_and_is_told_how_many() {
    let (mut world, ports) = holding(2, &[0, 1]);
    for salt in 0..3 {
        world.say(0, &ports[0], Command::Send(long(PAYLOAD_LEN_MAX, salt)));
        world.run(seconds(3));
        assert_eq!(heard(&ports[0]).len(), 1, "who reads hears all");
    }
    let is_first = |event: &TopicEvent| match event {
        TopicEvent::Message { bytes, .. } => *bytes == long(PAYLOAD_LEN_MAX, 0),
        _ => false,
    };
    let first = events(&ports[1]);
    assert!(first.len() == 1 && is_first(&first[0]));
    world.step(1, Vec::new());
    assert_eq!(events(&ports[1]), [TopicEvent::Lagged { missed: 2 }]);
}

/// The next one of its feed waits; short ones of other feeds do not.
#[test]
fn who_says_long_messages_fast_waits_with_its_own_feed() {
    let (mut world, ports) = holding(2, &[0, 1]);
    let other = world.open(0, "/other", topic());
    world.run(Config::default().period * 3);
    for salt in 0..8 {
        ports[0].try_send(Command::Send(long(100_000, salt))).unwrap();
    }
    world.step(0, Vec::new());
    assert_eq!(heard(&ports[0]).len(), 3, "three are more than a period allows");
    world.say(0, &other, Command::Send("short".into()));
    assert_eq!(heard(&other).len(), 1);
    world.run(seconds(3));
    assert_eq!((heard(&ports[0]).len(), heard(&ports[1]).len()), (5, 8));
}

/// It says what it likes: it is asked for it, has not got it, and that is all.
#[test]
fn an_announcement_of_nothing_is_asked_for_and_forgotten() {
    let (mut world, ports) = holding(3, &[0]);
    let stranger = crate::entry::tests::entry(9, 1).member;
    let (_, announcement) = announced(stranger, &long(9_000, 1));
    world.inject(id(1), 0, &announcement);
    world.run(seconds(40));
    assert!(heard(&ports[0]).is_empty());
    assert!(world.count(1, "gossip.payload_lacking") > 0);
    // What comes of it now, nobody waits for.
    let (message, _) = said(stranger, &long(9_000, 1));
    world.inject_message(id(1), 0, &piece(message, 0, &long(9_000, 1)));
    assert_eq!(world.count(0, "gossip.payload_unasked"), 1);
    assert!(heard(&ports[0]).is_empty());
}

/// What is announced as a message is not taken for metadata.
#[test]
fn an_announcement_that_is_called_as_metadata_is_counted() {
    let (mut world, ports) = holding(2, &[0]);
    let stranger = crate::entry::tests::entry(9, 1).member;
    let (id_of, message) = said(stranger, &long(9_000, 1));
    let message = Message { id: MessageId { number: 1 << 63, ..id_of }, ..message };
    let mut packet = Packet::new(Leg::Push);
    packet.news.messages.push(Pushed::new(&message, Reach::NONE, Naming::InFull));
    world.inject(id(1), 0, &packet.encode());
    world.run(seconds(1));
    assert_eq!(world.count(0, "gossip.announcement_amiss"), 1);
    assert_eq!(world.count(1, "gossip.payload_lacking"), 0);
    assert!(heard(&ports[0]).is_empty());
}

/// Node 1 passes on the announcement of another's message, and another payload than that.
#[test]
fn a_wrong_payload_is_dropped_and_pulled_elsewhere() {
    for is_endless in [false, true] {
        let (mut world, ports) = holding(3, &[0, 2]);
        let payload = long(9_000, 1);
        let origin = world.nodes[0].member;
        // Before it is told by the origin: its datagrams do not come through.
        world.wire.cut.extend([(0, 2), (0, 1)]);
        world.say(0, &ports[0], Command::Send(payload.clone()));
        let (message, announcement) = announced(origin, &payload);
        world.inject(id(1), 2, &announcement);
        let lie = if is_endless { long(9_001, 2) } else { long(9_000, 2) };
        world.inject_message(id(1), 2, &piece(message, 0, &lie));
        let counted = if is_endless { "gossip.payload_amiss" } else { "gossip.payload_wrong" };
        assert_eq!(world.count(2, counted), 1);
        assert!(heard(&ports[1]).is_empty());
        world.wire.cut.clear();
        world.run(seconds(3));
        assert_eq!(heard(&ports[1]), [payload]);
    }
}

/// As long as it gets none it may hear of it again: from then on it is forgotten.
#[test]
fn who_asks_for_ever_gets_it_so_often() {
    let (mut world, ports) = holding(2, &[0]);
    let payload = long(100_000, 1);
    world.say(0, &ports[0], Command::Send(payload));
    let id_of = MessageId { origin: world.nodes[0].member, number: 0 };
    let accepts = crate::payloads::Accepts::Pieces;
    let need = Supply::Need { id: id_of, offset: 0, accepts }.encode();
    let before = world.wire.bulk_bytes;
    (0..50).for_each(|_| world.inject_message(id(1), 0, &need));
    let sent = world.wire.bulk_bytes - before;
    assert!((300_000..310_000).contains(&sent), "{sent}");
    assert_eq!(world.count(0, "gossip.payload_lacking"), 47);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_message_makes_it_panic(bodies in prop::collection::vec(any::<(u8, Vec<u8>)>(), 1..20)) {
        let (mut world, ports) = holding(2, &[0, 1]);
        world.say(0, &ports[0], Command::Send(long(9_000, 1)));
        let origin = world.nodes[0].member;
        let (message, _) = said(origin, &[]);
        for (tag, body) in bodies {
            let head = Supply::Later { id: message }.encode();
            let whole = [&[44 + tag % 4][..], &head[1..], &body].concat();
            world.inject_message(id(1), 0, &whole);
            world.inject_message(id(0), 1, &whole);
        }
        world.run(seconds(1));
    }
}
