//! What nodes say of themselves: all know it in the end, however it was lost, and for as long as
//! they are up.

use bytes::Bytes;
use live_objects::{Agreement, Command, Event, MembersEvent, NodeId, ObjectType, Port, Told};

use super::seconds;
use super::world::{World, id};
use crate::Config;
use crate::metadata::{METADATA_LEN_MAX, Notice, OBJECT, key_of};
use crate::news::Announcement;
use crate::records::{Record, RecordKey, Version};
use crate::wire::{Leg, Packet};

fn members(world: &mut World, node: usize) -> Port {
    world.open(node, "/who", ObjectType::members(Agreement::Eventual))
}

fn long(len: usize, salt: usize) -> Bytes {
    (0..len).map(|at| (at * 31 + at / 251 + salt) as u8).collect()
}

fn all(world: &mut World, nodes: usize) -> Vec<Port> {
    (0..nodes).map(|node| members(world, node)).collect()
}

/// What a node is told if it asks, and how much of it; none if it is to wait.
fn asked(world: &mut World, port: (usize, &Port), about: usize) -> Option<(Option<Bytes>, Told)> {
    world.say(port.0, port.1, Command::Metadata(id(about)));
    answer(port.1)
}

fn answer(port: &Port) -> Option<(Option<Bytes>, Told)> {
    std::iter::from_fn(|| port.try_next()).find_map(|event| match event {
        Event::Members(MembersEvent::Metadata { metadata, told, .. }) => Some((metadata, told)),
        _ => None,
    })
}

fn says(bytes: &Bytes) -> Option<(Option<Bytes>, Told)> {
    Some((Some(bytes.clone()), Told::All))
}

const NOTHING: Option<(Option<Bytes>, Told)> = Some((None, Told::All));

fn changed(port: &Port) -> Vec<NodeId> {
    let changed = std::iter::from_fn(|| port.try_next()).filter_map(|event| match event {
        Event::Members(MembersEvent::MetadataChanged(member)) => Some(member.node),
        _ => None,
    });
    changed.collect()
}

/// Short, too long for a record, and the longest; each in place of the one before.
#[test]
fn all_know_what_a_member_says_of_itself_and_the_last_of_it() {
    let mut world = World::settled(20);
    let ports = all(&mut world, 20);
    assert_eq!(asked(&mut world, (1, &ports[1]), 0), NOTHING);
    for len in [1, 999, 1_000, METADATA_LEN_MAX, 10] {
        ports.iter().for_each(|port| drop(changed(port)));
        let metadata = long(len, 3);
        world.say(0, &ports[0], Command::SetMetadata(metadata.clone()));
        assert_eq!(asked(&mut world, (0, &ports[0]), 0), says(&metadata), "it knows at once");
        world.run(seconds(6));
        for (node, port) in ports.iter().enumerate() {
            if node > 0 {
                assert_eq!(changed(port), [id(0)]);
            }
            assert_eq!(asked(&mut world, (node, port), 0), says(&metadata), "{len} at {node}");
            assert_eq!(asked(&mut world, (node, port), 1), NOTHING);
        }
    }
    world.say(0, &ports[0], Command::SetMetadata(Bytes::new()));
    world.run(seconds(6));
    assert_eq!(changed(&ports[1]), [id(0)]);
    assert!((0..20).all(|node| asked(&mut world, (node, &ports[node]), 0) == NOTHING));
}

/// Each gets it once, and not all of them from its owner.
#[test]
fn long_metadata_is_pulled_once_by_each() {
    let mut world = World::settled(20);
    let ports = all(&mut world, 20);
    let (before, bulk) = (world.wire.bulk_bytes, world.wire.bulk.clone());
    world.say(0, &ports[0], Command::SetMetadata(long(60_000, 1)));
    world.run(seconds(6));
    let sent = world.wire.bulk_bytes - before;
    assert!((19 * 60_000..19 * 61_000).contains(&sent), "{sent}");
    let more = world.wire.bulk.iter().filter(|(pair, count)| bulk.get(pair) != Some(count));
    let by_owner = more.filter(|((from, _), _)| *from == 0).count();
    assert!(by_owner < 15, "{by_owner} of 19 asked the owner");
    // To say the same again costs no pull.
    world.say(0, &ports[0], Command::SetMetadata(long(60_000, 1)));
    world.run(seconds(6));
    assert_eq!(world.wire.bulk_bytes - before, sent);
}

#[test]
fn with_loss_all_know_it_too() {
    let mut world = World::settled(12);
    let ports = all(&mut world, 12);
    world.wire.loss_percent = 25;
    for (node, port) in ports.iter().enumerate() {
        world.say(node, port, Command::SetMetadata(long(500 * node + 1, node)));
    }
    world.run(seconds(20));
    for (node, port) in ports.iter().enumerate() {
        for about in 0..12 {
            let expected = says(&long(500 * about + 1, about));
            assert_eq!(asked(&mut world, (node, port), about), expected, "{about} at {node}");
        }
    }
}

/// It is gone with its member, and comes back only if that says it again.
#[test]
fn metadata_goes_with_its_member() {
    let mut world = World::settled(5);
    let ports = all(&mut world, 5);
    world.say(0, &ports[0], Command::SetMetadata(long(30_000, 1)));
    world.say(1, &ports[1], Command::SetMetadata("short".into()));
    world.run(seconds(5));
    world.crash(0);
    world.crash(1);
    world.run(seconds(20));
    assert!([0, 1].iter().all(|gone| asked(&mut world, (2, &ports[2]), *gone) == NOTHING));
    world.start(0, &[2], 500_000);
    world.run(seconds(10));
    assert_eq!(asked(&mut world, (2, &ports[2]), 0), NOTHING, "another life says nothing yet");
    let port = members(&mut world, 0);
    world.say(0, &port, Command::SetMetadata(long(30_000, 2)));
    world.run(seconds(5));
    assert_eq!(asked(&mut world, (2, &ports[2]), 0), says(&long(30_000, 2)));
}

/// Who comes later hears of all, from whomever it gets its tables.
#[test]
fn a_newcomer_knows_it_soon() {
    let mut world = World::settled(6);
    let ports = all(&mut world, 6);
    for (node, port) in ports.iter().enumerate() {
        world.say(node, port, Command::SetMetadata(long(2_000 * node + 1, node)));
    }
    world.run(seconds(10));
    world.start(6, &[3], 1_000);
    world.run(seconds(10));
    let port = members(&mut world, 6);
    for about in 0..6 {
        assert_eq!(asked(&mut world, (6, &port), about), says(&long(2_000 * about + 1, about)));
    }
}

#[test]
fn what_was_said_on_one_side_is_known_on_the_other_when_they_meet() {
    let mut world = World::settled(6);
    let ports = all(&mut world, 6);
    world.part(&[0, 1, 2], &[3, 4, 5]);
    world.run(seconds(2));
    world.say(0, &ports[0], Command::SetMetadata(long(20_000, 1)));
    world.run(seconds(20));
    assert_eq!(asked(&mut world, (2, &ports[2]), 0), says(&long(20_000, 1)));
    assert_eq!(asked(&mut world, (4, &ports[4]), 0), NOTHING);
    world.wire.cut.clear();
    world.run(seconds(40));
    assert_eq!(asked(&mut world, (4, &ports[4]), 0), says(&long(20_000, 1)));
}

fn record(world: &World, owner: usize, key: &'static [u8], value: Bytes) -> Bytes {
    let member = world.nodes[owner].member;
    let mut packet = Packet::new(Leg::Push);
    let key = RecordKey { object: OBJECT, key: Bytes::from_static(key), publisher: member.node };
    let (incarnation, version) = (member.incarnation, Version::try_from(5_000).unwrap());
    packet.news.records.push(Record { key, incarnation, version, value: Some(value) });
    packet.encode()
}

/// It announces in its own name what there is not: who asks waits for a while, the others rest.
#[test]
fn who_announces_nothing_is_asked_a_few_times() {
    let mut world = World::settled(3);
    let port = members(&mut world, 0);
    let notice = Notice::Long(Announcement::of(&long(5_000, 1))).encode();
    let lie = record(&world, 2, b"", notice);
    world.part(&[2], &[1]);
    world.inject(id(2), 0, &lie);
    assert_eq!(asked(&mut world, (0, &port), 2), None);
    world.run(Config::default().period * 55);
    assert_eq!(answer(&port), Some((None, Told::Some)));
    // What is longer than any, what nobody can read, and what has another key says nothing.
    let longer = Notice::Long(Announcement::of(&long(METADATA_LEN_MAX + 1, 1))).encode();
    for (node, key, value) in [(1, &b""[..], longer), (1, b"", "\x09".into())] {
        let lie = record(&world, node, key, value);
        world.inject(id(1), 0, &lie);
        assert_eq!(asked(&mut world, (0, &port), 1), NOTHING);
    }
    assert_eq!(key_of(id(1)).key, Bytes::new());
}

/// The others are asked when there is room again.
#[test]
fn of_many_questions_some_wait_and_all_are_answered() {
    let mut world = World::settled(2);
    let port = members(&mut world, 0);
    let notice = Notice::Long(Announcement::of(&long(5_000, 1))).encode();
    let lie = record(&world, 1, b"", notice);
    world.inject(id(1), 0, &lie);
    (0..300).for_each(|_| drop(port.try_send(Command::Metadata(id(1)))));
    let answers = |port: &Port| {
        let events = std::iter::from_fn(|| port.try_next());
        let is_one = |event: &Event| matches!(event, Event::Members(MembersEvent::Metadata { .. }));
        events.filter(is_one).count()
    };
    world.run(Config::default().period * 45);
    assert_eq!(answers(&port), 0);
    world.run(Config::default().period * 60);
    assert_eq!(answers(&port), 300);
}

/// Whoever hears first that somebody speaks in its name says again what it says.
#[test]
fn nobody_says_for_long_what_another_is() {
    let mut world = World::settled(4);
    let ports = all(&mut world, 4);
    for (owner, truth) in [(1, "the truth".into()), (2, long(20_000, 1))] {
        world.say(owner, &ports[owner], Command::SetMetadata(truth.clone()));
        world.run(seconds(5));
        let lie = Notice::of("a lie".into()).encode();
        let lie = record(&world, owner, b"", lie);
        world.inject(id(3), 0, &lie);
        assert_eq!(asked(&mut world, (0, &ports[0]), owner), says(&"a lie".into()));
        world.run(seconds(5));
        for (node, port) in ports.iter().enumerate() {
            assert_eq!(asked(&mut world, (node, port), owner), says(&truth), "{owner} at {node}");
        }
    }
}
