//! A member that says too much: of objects, queries, records and members that there are not. Tables
//! are bounded, and what is in use is not what gives way.

use live_objects::{Agreement, Attributes, Column, GroupKey, Predicate, Query, TopicEvent};

use super::*;
use crate::Gossip;
use crate::agent::aggregates::{RELAYED_MAX, STRAYS_MAX};
use crate::agent::nearest::OBJECTS_MAX;
use crate::agent::tests::nearest::section;
use crate::question::Question;
use crate::records::Sought;

/// The liar claims to have an object of this type open.
fn claim(world: &World, by: usize, name: &str, ty: &ObjectType) -> Record {
    let object = Gossip::CLAIMS.parse::<Name>().unwrap().id();
    let key = RecordKey { object, key: name.to_owned().into(), publisher: id(by) };
    let incarnation = world.nodes[by].member.incarnation;
    let value = Some(postcard::to_allocvec(ty).unwrap().into());
    Record { key, incarnation, version: Version::at_start(1_000), value }
}

/// Many things that a packet takes a few of.
fn say_many<T: Clone>(
    world: &mut World,
    liar: usize,
    things: &[T],
    put: impl Fn(&mut Packet, &[T]),
) {
    for some in things.chunks(8) {
        let mut packet = Packet::new(Leg::Push);
        put(&mut packet, some);
        say(world, liar, &packet);
    }
}

/// Aggregates and offers that it makes up are few to others, even while it claims to have them
/// open; and none is left of them soon after it is gone.
#[test]
fn objects_that_it_makes_up_leave_room_for_others() {
    let (mut world, liar) = (World::settled(5), 4);
    let ports = shares(&mut world, liar);
    let round = round_of(&world);
    let made_up = row(round, 1, Body::Number(1.0));
    for number in 0..500 {
        say(&mut world, liar, &rows(round, [named(1_000 + number, made_up.clone())]));
    }
    let owner = world.nodes[liar].member;
    let offers = section(round_of(&world), 500, owner);
    say(&mut world, liar, &offers);
    for node in 0..liar {
        assert_eq!(world.count(node, "gossip.aggregates_full"), 500 - STRAYS_MAX as u64);
        assert!(world.count(node, "gossip.nearest_full") > 400);
    }
    // What it opens itself gets further, though not to the end.
    for number in 0..600 {
        let port = open(&mut world, liar, &format!("/{}", 1_000 + number), Summary::Sum);
        set(&mut world, liar, &port, 1.0);
    }
    world.run(seconds(2));
    // Others open what they like, and hear of it.
    let late: Vec<Port> = (0..liar)
        .map(|node| {
            let port = open(&mut world, node, "/late", Summary::Sum);
            set(&mut world, node, &port, node as f64 + 1.0);
            port
        })
        .collect();
    world.run(seconds(10));
    for node in 0..liar {
        let relayed = world.count(node, "gossip.aggregates");
        let of_more = 4 * STRAYS_MAX as u64..RELAYED_MAX as u64;
        assert!(of_more.contains(&relayed), "{relayed} aggregates");
        assert!(world.count(node, "gossip.nearest") <= OBJECTS_MAX as u64);
    }
    expect_exact(&ports);
    // All that it opened has its turns too, so that what comes late takes its time.
    for port in &late {
        assert!(last(port).is_some_and(|estimate| estimate.members > 1));
    }
    world.crash(liar);
    world.run(seconds(AFTER));
    expect_exact(&ports);
    expect_exact(&late);
    for node in 0..liar {
        let left = world.count(node, "gossip.aggregates");
        assert!(left <= 2 + STRAYS_MAX as u64, "{left} aggregates");
        assert!(world.count(node, "gossip.nearest") <= STRAYS_MAX as u64);
    }
}

/// What has no share, or none that can be, makes nobody take part in it for long.
#[test]
fn aggregates_without_shares_that_it_makes_up_are_few() {
    let (mut world, liar) = (World::settled(3), 2);
    let ports = shares(&mut world, liar);
    let round = round_of(&world);
    let ahead = Row::leaf(Some(Body::Number(1.0)), round.shifted(9));
    say(&mut world, liar, &rows(round, [named(1_000, ahead)]));
    assert!(all_counted(&world, liar, "gossip.row_ahead"));
    assert_eq!(world.count(0, "gossip.aggregates"), world.count(1, "gossip.aggregates"));
    for number in 0..40 * STRAYS_MAX {
        if number.is_multiple_of(STRAYS_MAX) {
            world.run(PERIOD);
        }
        let round = round_of(&world);
        let empty = Row { mark: Row::leaf(None, round).mark, ..Row::default() };
        say(&mut world, liar, &rows(round, [named(1_000 + number, empty)]));
    }
    world.run(PERIOD);
    for node in 0..liar {
        assert!(world.count(node, "gossip.aggregates_full") > 0);
        let relayed = world.count(node, "gossip.aggregates");
        assert!(relayed <= 2 + STRAYS_MAX as u64, "{relayed} aggregates");
    }
    expect_exact(&ports);
}

/// It asks for more than are run, whose names come first.
#[test]
fn queries_that_it_asks_leave_room_for_others() {
    let (mut world, liar) = (World::settled(4), 3);
    let of = |from: &str| {
        let key = vec![GroupKey::Zone];
        Query::new(from.parse().unwrap(), Predicate::all(), key, vec![Column::Members]).unwrap()
    };
    let mut said = Vec::new();
    for node in 0..liar {
        let port = world.open(node, "/dc/ams", ObjectType::catalog());
        let own = Attributes::default().with("role", "db").unwrap();
        world.say(node, &port, Command::Describe(own));
        said.push(port);
    }
    let queries: Vec<Query> = (0..300).map(|number| of(&format!("/liar/{number}/*"))).collect();
    let claims = queries
        .iter()
        .map(|query| claim(&world, liar, query.name().as_str(), &ObjectType::query(query.clone())));
    let claims: Vec<Record> = claims.collect();
    say_many(&mut world, liar, &claims, |packet, some| packet.news.records = some.to_vec());
    world.run(seconds(2));
    // The one that comes behind most of those.
    let patterns = ["/dc/*", "/*/ams", "/*/*", "/dc/ams"];
    let honest = patterns.map(of).into_iter().max_by_key(Query::name).unwrap();
    let behind = queries.iter().filter(|query| query.name() < honest.name()).count();
    assert!(behind > 64, "{behind} come first");
    let port = world.open(0, honest.name().as_str(), ObjectType::query(honest.clone()));
    world.run(seconds(10));
    let told = std::iter::from_fn(|| port.try_next()).last();
    let Some(Event::Query(tally)) = told else { panic!("{told:?}") };
    assert_eq!(tally.members, 3);
    assert!(all_counted(&world, liar, "gossip.queries_full"));
}

/// Members that there are not are declared faulty, one after the other, and take nobody with them.
#[test]
fn members_that_it_makes_up_are_buried() {
    let (mut world, liar) = (World::settled(6), 5);
    let ports = shares(&mut world, liar);
    let made_up: Vec<Entry> = (0..200_u32)
        .map(|number| {
            let mut made_up = entry(1, 2_000);
            made_up.member.node = NodeId::from_public_key(&number.to_le_bytes());
            made_up
        })
        .collect();
    say_many(&mut world, liar, &made_up, |packet, some| packet.entries = some.to_vec());
    world.run(seconds(2));
    (0..liar).for_each(|node| assert!(world.count(node, "gossip.members") > 200));
    expect_exact(&ports);
    world.crash(liar);
    // Some forty rounds of five nodes, and the time that a suspect has.
    world.run(seconds(30));
    let those = world.those(&[0, 1, 2, 3, 4]);
    (0..liar).for_each(|node| assert_eq!(world.members(node), those));
    expect_exact(&ports);
}

/// Departures of those whom nobody knew are not passed on, and take nobody's place.
#[test]
fn departures_that_it_makes_up_are_no_news() {
    let (mut world, liar) = (World::settled(3), 2);
    world.run(seconds(20));
    let gone: Vec<Entry> = (0..100_u32)
        .map(|number| {
            let mut gone = entry(1, 2_000).as_standing(Standing::Faulty);
            gone.member.node = NodeId::from_public_key(&number.to_le_bytes());
            gone
        })
        .collect();
    let mut packet = Packet::new(Leg::Rest { number: 1 });
    packet.entries = gone;
    world.inject(id(liar), 0, &packet.encode());
    let before = world.wire.datagram_bytes;
    world.run(seconds(10));
    let a_round = (world.wire.datagram_bytes - before) / (3 * 10 * 5);
    assert!(a_round <= 120, "{a_round} bytes a node and round");
}

/// Who asks for all that there is, again and again, is not answered always, and others are.
#[test]
fn questions_without_end_are_not_answered() {
    let (mut world, liar) = (World::settled(3), 2);
    let port = world.open(0, "/d", ObjectType::directory());
    for number in 0..100 {
        let key = format!("key {number}").into();
        world.say(0, &port, Command::Publish { key, value: vec![7; 40].into() });
    }
    world.run(seconds(10));
    let object = "/d".parse::<Name>().unwrap().id();
    let ask = |key: &'static str| {
        let sought = Sought::Prefix(Bytes::from_static(key.as_bytes()));
        let question = Some(Question::Find { object, sought });
        Packet { question, ..Packet::new(Leg::Ask { number: 1 }) }
    };
    let answered = |world: &mut World, from: usize, packet: &Packet| {
        let before = world.wire.datagram_bytes;
        world.inject(id(from), 0, &packet.encode());
        world.wire.datagram_bytes > before
    };
    assert!(answered(&mut world, liar, &ask("key")));
    for _ in 0..5_000 {
        world.inject(id(liar), 0, &ask("").encode());
    }
    assert!(world.count(0, "gossip.questions_full") > 0);
    assert!(!answered(&mut world, liar, &ask("key")) && answered(&mut world, 1, &ask("key")));
    world.run(seconds(1));
    assert!(answered(&mut world, liar, &ask("key")), "another round");
}

/// Origins that there are not give way to members.
#[test]
fn origins_that_it_makes_up_silence_nobody() {
    let (mut world, liar) = (World::settled(3), 2);
    let topic = ObjectType::best_effort_topic();
    let ports: Vec<Port> = (0..2).map(|node| world.open(node, "/t", topic.clone())).collect();
    world.run(seconds(2));
    for number in 0..2_100_u32 {
        let mut origin = world.nodes[liar].member;
        origin.node = NodeId::from_public_key(&number.to_le_bytes());
        let object = "/none".parse::<Name>().unwrap().id();
        let id = MessageId { origin, number: 0 };
        let message =
            Message { id, topic: Topic::new(object, 0), content: Content::Whole(Bytes::new()) };
        let mut packet = Packet::new(Leg::Push);
        packet.news.messages.push(Pushed::new(&message, Reach::NONE, Naming::InFull));
        say(&mut world, liar, &packet);
    }
    assert!(all_counted(&world, liar, "gossip.origins_full"), "they give way to each other");
    world.say(1, &ports[1], Command::Send("heard".into()));
    world.run(seconds(1));
    let is_it = |event: &Event| matches!(event, Event::Topic(TopicEvent::Message { .. }));
    assert_eq!(std::iter::from_fn(|| ports[0].try_next()).filter(is_it).count(), 1);
}

/// Whatever it says of all members, again and again, they know each other when it is gone.
#[test]
fn suspicions_that_never_end_end_with_it() {
    let (mut world, liar) = (World::settled(5), 4);
    let _who = world.open(0, "/who", ObjectType::members(Agreement::Eventual));
    for turn in 0..50_u64 {
        let mut packet = Packet::new(Leg::Rest { number: 1 });
        for node in 0..liar {
            let standing = [Standing::Suspect, Standing::Faulty, Standing::Left][turn as usize % 3];
            let generation = Generation::try_from(1_000 + turn).unwrap();
            let member = world.nodes[node].member;
            packet.entries.push(Entry { member, generation, standing, ..entry(1, 1) }.brief());
        }
        say(&mut world, liar, &packet);
        world.run(PERIOD);
    }
    assert!((0..liar).all(|node| world.count(node, "gossip.refuted") > 5));
    world.crash(liar);
    world.run(seconds(AFTER));
    let those = world.those(&[0, 1, 2, 3]);
    (0..liar).for_each(|node| assert_eq!(world.members(node), those));
}
