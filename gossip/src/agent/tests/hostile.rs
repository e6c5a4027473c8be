//! A member that lies. It has a key like all others, so that what it says is heard; a real agent
//! answers for it, and what it says beside that is put into its mouth.
//!
//! What must hold: nobody panics; what it says is refused, or bounded, and counted; and once it is
//! gone the others' answers are right again some rounds later.

mod floods;
mod noise;

use core::time::Duration;

use bytes::Bytes;
use live_objects::sketch::{High, Highest, Quantiles, Sketch};
use live_objects::{
    Attributes, Command, DirectoryEvent, Event, Incarnation, Name, NodeId, ObjectType, Port, Share,
    Summary, TopicEvent,
};

use super::aggregates::{last, named, open, rows, set};
use super::nearest::round_of;
use super::seconds;
use super::world::{World, credential, id};
use crate::agent::{Gossip, claims};
use crate::control::{Control, HASHES_MAX, Known};
use crate::entry::tests::entry;
use crate::entry::{Entry, Generation, Standing};
use crate::news::{Content, Message, MessageId, Pushed, Reach, Topic};
use crate::records::{Record, RecordKey, Version, place};
use crate::wire::rows::Title;
use crate::wire::{Leg, Naming, Packet};
use crate::zones::body::Body;
use crate::zones::place::level;
use crate::zones::row::{Mark, Round, Row, Subject};

const PERIOD: Duration = Duration::from_millis(200);

/// In so many seconds the liar is declared faulty, and what it said is overtaken.
const AFTER: u64 = 20;

/// The others each have an aggregate open, and gave their number and one.
fn shares(world: &mut World, liar: usize) -> Vec<Port> {
    let ports = (0..liar).map(|node| {
        let port = open(world, node, "/1", Summary::Sum);
        set(world, node, &port, node as f64 + 1.0);
        port
    });
    let ports = ports.collect();
    world.run(seconds(5));
    ports
}

/// What all of them were told last is the sum, of so many.
fn expect_exact(ports: &[Port]) {
    let sum = (1..=ports.len()).sum::<usize>() as f64;
    for (node, port) in ports.iter().enumerate() {
        let estimate = last(port).expect("told once a round");
        let told = (estimate.value, estimate.members);
        assert_eq!(told, (Some(sum), ports.len() as u64), "node {node}");
    }
}

/// The liar says this to all others.
fn say(world: &mut World, liar: usize, packet: &Packet) {
    let bytes = packet.encode();
    (0..liar).for_each(|to| world.inject(id(liar), to, &bytes));
}

fn all_counted(world: &World, liar: usize, name: &str) -> bool {
    (0..liar).all(|node| world.count(node, name) > 0)
}

/// A row of its own zone, of so many members that were all heard in this round.
fn row(round: Round, leaves: u32, body: Body) -> Row {
    let mark = Mark { stamps: u64::from(leaves) * u64::from(round), leaves };
    Row { mark, count: leaves, least: round.into(), body }
}

/// A node in the other half of all.
fn beyond(node: NodeId) -> NodeId {
    let mut bytes = *node.as_bytes();
    bytes[0] ^= 0x80;
    NodeId::from_bytes(bytes)
}

const DAY: i64 = 24 * 3_600 * 5;

#[test]
fn a_clock_a_day_ahead_moves_nobody_elses() {
    let (mut world, liar) = (World::settled(6), 5);
    let ports = shares(&mut world, liar);
    for number in 0..50 {
        let round = round_of(&world).shifted(DAY);
        let row = Row::leaf(Some(Body::Number(1e9)), round);
        let probe = Packet { leg: Leg::Probe { number }, ..rows(round, [named(1, row)]) };
        say(&mut world, liar, &probe);
        world.run(PERIOD);
        let told = ports.iter().filter_map(last);
        told.for_each(|told| assert_eq!((told.value, told.members), (Some(15.0), 5)));
    }
    assert!(all_counted(&world, liar, "gossip.row_ahead"));
    world.crash(liar);
    world.run(seconds(AFTER));
    expect_exact(&ports);
}

/// Who hears nobody else believes it. What it says and holds by then does not outlast that.
#[test]
fn who_was_led_a_day_ahead_comes_back_with_its_share() {
    let (mut world, liar) = (World::settled(4), 3);
    let ports = shares(&mut world, liar);
    world.part(&[0, liar], &[1, 2]);
    world.run(seconds(20));
    for number in 0..20 {
        let round = round_of(&world).shifted(DAY);
        let row = Row::leaf(Some(Body::Number(1e9)), round);
        let probe = Packet { leg: Leg::Probe { number }, ..rows(round, [named(1, row)]) };
        world.inject(id(liar), 0, &probe.encode());
        world.run(PERIOD);
    }
    let is_ahead = |bytes: &Bytes| {
        Packet::decode(bytes).is_ok_and(|packet| packet.round > round_of(&world).shifted(DAY / 2))
    };
    assert!(world.wire.tapes[0].iter().any(is_ahead), "it was led astray");
    set(&mut world, 0, &ports[0], 5.0);
    set(&mut world, 0, &ports[0], 1.0);
    world.crash(liar);
    world.wire.cut.clear();
    world.run(seconds(60));
    expect_exact(&ports);
    // It rests again, as all do.
    let before = world.wire.datagram_bytes;
    world.run(seconds(20));
    let a_round = (world.wire.datagram_bytes - before) / (3 * 20 * 5);
    assert!(a_round <= 200, "{a_round} bytes a node and round");
}

/// Nobody keeps, sorts or looks for more hashes than are asked by in one go.
#[test]
fn who_asks_by_too_many_hashes_is_not_answered() {
    let mut world = World::settled(2);
    let own = world.nodes[1].member;
    let up_to = NodeId::from_bytes([0xff; NodeId::LEN]);
    let known = |hashes| Known { behind: None, up_to, hashes: vec![7; hashes] };
    let entry = Entry { member: own, ..entry(1, 1) };
    let pull = |hashes| Control::Pull { entry: entry.clone(), known: known(hashes) }.encode();
    world.inject_message(id(1), 0, &pull(HASHES_MAX));
    world.inject_message(id(1), 0, &Control::Fetch(known(HASHES_MAX).hashes).encode());
    assert_eq!(world.count(0, "gossip.malformed"), 0);
    world.inject_message(id(1), 0, &pull(HASHES_MAX + 1));
    world.inject_message(id(1), 0, &Control::Fetch(known(HASHES_MAX + 1).hashes).encode());
    assert_eq!(world.count(0, "gossip.malformed"), 2);
}

/// Old packets of its own, and of others: they speak of its own zone then.
#[test]
fn what_is_said_again_is_not_believed_again() {
    let (mut world, liar) = (World::settled(6), 5);
    let ports = shares(&mut world, liar);
    ports.iter().enumerate().for_each(|(node, port)| set(&mut world, node, port, 1_000.0));
    world.run(seconds(5));
    let old: Vec<Bytes> = world.wire.tapes[0].iter().cloned().collect();
    for (node, port) in ports.iter().enumerate() {
        set(&mut world, node, port, node as f64 + 1.0);
    }
    world.run(seconds(5));
    expect_exact(&ports);
    for (at, packet) in old.iter().enumerate() {
        (0..liar).for_each(|to| world.inject(id(liar), to, packet));
        if at % 16 == 0 {
            world.run(PERIOD);
        }
    }
    world.run(PERIOD);
    assert!(all_counted(&world, liar, "gossip.unsolicited"));
    // While it goes on it speaks of its own zone alone: nobody else's share is another.
    for port in &ports {
        let estimate = last(port).expect("told once a round");
        assert!(estimate.members >= 5, "{estimate:?}");
    }
    world.crash(liar);
    world.run(seconds(AFTER));
    expect_exact(&ports);
}

/// What it may say of its zone is bounded by who is known to be there.
#[test]
fn a_million_members_are_refused_and_a_few_are_gone_with_it() {
    let (mut world, liar) = (World::settled(6), 5);
    let ports = shares(&mut world, liar);
    for _ in 0..25 {
        let round = round_of(&world);
        let many = row(round, 1_000_000, Body::Number(1e300));
        // Of five in half of all who are known, no more than so.
        let few = row(round, 5 + 5 / 4 + 16, Body::Number(1e300));
        say(&mut world, liar, &rows(round, [named(1, many)]));
        say(&mut world, liar, &rows(round, [named(1, few)]));
        world.run(PERIOD);
    }
    assert!(all_counted(&world, liar, "gossip.row_crowded"));
    for port in &ports {
        let estimate = last(port).expect("told once a round");
        assert!(estimate.members <= 5 + 5 + 5 / 4 + 16, "{estimate:?}");
    }
    world.crash(liar);
    world.run(seconds(AFTER));
    expect_exact(&ports);
}

/// What a sketch says of others, or what does not belong into it, nobody else passes on: a node
/// that did would not be understood, and be declared faulty.
#[test]
fn sketches_that_cannot_be_are_refused() {
    let (mut world, liar) = (World::settled(5), 4);
    let mut numbers = Quantiles::new();
    (1..400).for_each(|number| numbers.record(f64::from(number)).unwrap());
    let parts = Sketch::Quantiles(numbers.clone()).parts();
    let kinds = [Summary::Quantiles, Summary::Highest];
    let mut ports = Vec::new();
    for node in 0..liar {
        for summary in kinds {
            let port = open(&mut world, node, &format!("/{summary}").to_lowercase(), summary);
            let share = match summary {
                Summary::Quantiles => Sketch::Quantiles(numbers.clone()).into(),
                _ => Share::new(node as f64).unwrap(),
            };
            world.say(node, &port, Command::Set(share));
            ports.push(port);
        }
    }
    world.run(seconds(5));
    let subject = |summary: Summary, part: u8| {
        let object = format!("/{summary}").to_lowercase().parse::<Name>().unwrap().id();
        Title::Full(Subject { part, ..Subject::new(object, summary) })
    };
    for _ in 0..20 {
        let round = round_of(&world);
        for part in 0..4_u8 {
            let of_another = parts[usize::from(part + 1) % 4].clone();
            let row = row(round, 1, Body::Sketch(of_another.into()));
            let title = subject(Summary::Quantiles, part);
            say(&mut world, liar, &rows(round, [(title, row)]));
        }
        let highest = Highest::of(beyond(id(liar)), 1e9).unwrap();
        let row = row(round, 1, Body::Sketch(Sketch::Highest(highest).into()));
        say(&mut world, liar, &rows(round, [(subject(Summary::Highest, 0), row)]));
        world.run(PERIOD);
    }
    assert!(all_counted(&world, liar, "gossip.row_unfit"));
    assert!(all_counted(&world, liar, "gossip.row_of_others"));
    assert!((0..liar).all(|node| world.count(node, "gossip.malformed") == 0));
    for port in ports.chunks(2) {
        assert_eq!(last(&port[0]).map(|told| told.quantiles().count()), Some(399 * 4));
        let highest = last(&port[1]).map(|told| told.highest()[0]);
        assert_eq!(highest, Some(High { value: 3.0, node: id(3) }));
    }
}

/// From the wire they void the packet; callers are told what to do.
#[test]
fn what_is_no_number_is_refused() {
    let (mut world, liar) = (World::settled(3), 2);
    let ports = shares(&mut world, liar);
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let before = world.count(0, "gossip.malformed");
        let round = round_of(&world);
        say(&mut world, liar, &rows(round, [named(1, row(round, 1, Body::Number(number)))]));
        assert_eq!(world.count(0, "gossip.malformed"), before + 1);
        let told = Share::new(number).unwrap_err().to_string();
        assert!(told.ends_with("set a finite number"), "{told}");
        let told = Attributes::default().with("load", number).unwrap_err().to_string();
        assert!(told.ends_with("set a finite number"), "{told}");
    }
    world.run(seconds(1));
    expect_exact(&ports);
}

/// What others say of a member it can always override, and it does.
#[test]
fn nobody_is_kept_out_by_what_another_says_of_him() {
    let (mut world, liar) = (World::settled(6), 5);
    let victim = Entry {
        member: world.nodes[1].member,
        addresses: vec!["10.0.0.1:7001".parse().unwrap()].try_into().unwrap(),
        credential: credential(1).try_into().unwrap(),
        ..entry(1, 1)
    };
    let now = Generation::at_start(1_000);
    for generation in [now, now.raised(), Generation::HEARSAY_MAX, Generation::MAX] {
        for standing in [Standing::Suspect, Standing::Faulty, Standing::Left] {
            let mut packet = Packet::new(Leg::Rest { number: 1 });
            packet.entries.push(Entry { generation, standing, ..victim.clone() });
            say(&mut world, liar, &packet);
            // Another life of it, which nobody lives.
            packet.entries[0].member.incarnation = Incarnation::from_bytes([0xff; 16]);
            say(&mut world, liar, &packet);
            world.run(seconds(5));
        }
    }
    assert!(all_counted(&world, liar, "gossip.entry_forged"));
    assert!(world.count(1, "gossip.refuted") > 0);
    world.crash(liar);
    world.run(seconds(AFTER));
    for node in 0..liar {
        assert_eq!(world.members(node), world.those(&[0, 1, 2, 3, 4]));
    }
    // Nor is its next life.
    world.crash(1);
    world.start(1, &[0], 1_000);
    world.run(seconds(AFTER));
    for node in 0..liar {
        assert_eq!(world.members(node), world.those(&[0, 1, 2, 3, 4]));
    }
}

/// What is published in another's name he withdraws, or writes again.
#[test]
fn nobody_publishes_in_anothers_name() {
    let (mut world, liar) = (World::settled(5), 4);
    let directory = ObjectType::directory();
    let ports: Vec<Port> =
        (0..liar).map(|node| world.open(node, "/d", directory.clone())).collect();
    let publish = Command::Publish { key: "mine".into(), value: "true".into() };
    world.say(1, &ports[1], publish);
    world.run(seconds(2));
    let object = "/d".parse::<Name>().unwrap().id();
    for version in [2_000, u64::from(Version::HEARSAY_MAX), u64::from(Version::MAX)] {
        let mut packet = Packet::new(Leg::Push);
        for key in ["mine", "none"] {
            let key = RecordKey { object, key: key.into(), publisher: id(1) };
            let version = Version::try_from(version).unwrap();
            let incarnation = world.nodes[1].member.incarnation;
            packet.news.records.push(Record {
                key,
                incarnation,
                version,
                value: Some("zzz".into()),
            });
        }
        say(&mut world, liar, &packet);
        world.run(seconds(2));
    }
    assert!(all_counted(&world, liar, "gossip.record_forged"));
    assert!(world.count(1, "gossip.record_overruled") > 0);
    for (node, port) in ports.iter().enumerate() {
        std::iter::from_fn(|| port.try_next()).for_each(drop);
        world.say(node, port, Command::List(Bytes::new()));
        let found = std::iter::from_fn(|| port.try_next()).last();
        let Some(Event::Directory(DirectoryEvent::Found { listings, .. })) = found else {
            panic!("{found:?}")
        };
        let listed: Vec<_> = listings.into_iter().map(|it| (it.key, it.value)).collect();
        assert_eq!(listed, [(Bytes::from("mine"), Bytes::from("true"))], "node {node}");
    }
}

/// Nobody's object is closed for what its name is claimed for in another's name, however often that
/// is said: who is said to claim it is asked.
#[test]
fn nobody_claims_in_anothers_name() {
    let (mut world, liar) = (World::settled(5), 4);
    let ports = shares(&mut world, liar);
    let strong = ObjectType::topic(live_objects::Order::Fifo);
    let weak = ObjectType::directory();
    let object = Gossip::CLAIMS.parse::<Name>().unwrap().id();
    for version in 5_000..5_060_u64 {
        let mut packet = Packet::new(Leg::Push);
        for (node, ty) in [(1, &strong), (2, &weak), (3, &weak)] {
            let member = world.nodes[node].member;
            let key = RecordKey { object, key: "/1".into(), publisher: member.node };
            let value = Some(postcard::to_allocvec(ty).unwrap().into());
            let version = Version::try_from(version).unwrap();
            let incarnation = member.incarnation;
            packet.news.records.push(Record { key, incarnation, version, value });
        }
        // One hears it first, and again as soon as it was overruled.
        world.inject(id(liar), 0, &packet.encode());
        world.run(PERIOD);
    }
    assert!(world.count(1, "gossip.record_overruled") > 0);
    assert_eq!((0..liar).map(|node| world.count(node, "gossip.type_conflict")).sum::<u64>(), 0);
    world.crash(liar);
    world.run(seconds(AFTER));
    expect_exact(&ports);
}

/// Where others keep what he publishes, he hardly hears what is made up there. He finds it when he
/// asks whether all is kept, and withdraws it.
#[test]
fn what_is_kept_elsewhere_in_anothers_name_is_found() {
    what_is_kept_elsewhere_is_found(Version::try_from(2_000_000).unwrap());
}

/// Nor can it be of a version that he cannot go above in what others pass on.
#[test]
fn what_is_kept_elsewhere_of_the_highest_version_is_found() {
    what_is_kept_elsewhere_is_found(Version::HEARSAY_MAX);
}

fn what_is_kept_elsewhere_is_found(version: Version) {
    let (mut world, liar) = (World::settled(160), 159);
    world.run(seconds(2));
    let asks = world.open(0, "/d", ObjectType::directory());
    let port = world.open(1, "/d", ObjectType::directory());
    let object = "/d".parse::<Name>().unwrap().id();
    // There are four groups, and three are not his.
    let far = |key: &String| level(place(object, key.as_bytes()), id(1)) == 0;
    let mut keys = (0..).map(|number| format!("key-{number}")).filter(far);
    let his = keys.next().unwrap();
    let home = |key: &String| place(object, key.as_bytes());
    let is_beside = |key: &String| level(home(key), home(&his)) > 1;
    let (beside, apart): (Vec<String>, Vec<String>) = keys.take(40).partition(is_beside);
    let publish = Command::Publish { key: his.clone().into(), value: "true".into() };
    world.say(1, &port, publish);
    world.run(seconds(5));
    let mut packet = Packet::new(Leg::Push);
    for key in [&his, &beside[0], &apart[0]] {
        let key = RecordKey { object, key: key.clone().into(), publisher: id(1) };
        let incarnation = world.nodes[1].member.incarnation;
        packet.news.records.push(Record { key, incarnation, version, value: Some("lie".into()) });
    }
    let keepers = (2..liar).filter(|node| level(id(*node), id(1)) == 0).collect::<Vec<_>>();
    let bytes = packet.encode();
    keepers.iter().for_each(|to| world.inject(id(liar), *to, &bytes));
    let found = |world: &mut World, key: &str| {
        std::iter::from_fn(|| asks.try_next()).for_each(drop);
        world.say(0, &asks, Command::Find(key.to_owned().into()));
        world.run(seconds(2));
        let events = std::iter::from_fn(|| asks.try_next());
        let of = |event| match event {
            Event::Directory(DirectoryEvent::Found { listings, .. }) => listings,
            _ => Vec::new(),
        };
        events.flat_map(of).map(|listing| listing.value).collect::<Vec<_>>()
    };
    assert_eq!(found(&mut world, &beside[0]), ["lie"]);
    assert_eq!(found(&mut world, &apart[0]), ["lie"]);
    world.run(seconds(70));
    // Whoever is asked.
    for _ in 0..9 {
        assert_eq!(found(&mut world, &beside[0]), [""; 0]);
        assert_eq!(found(&mut world, &his), ["true"]);
    }
    // Where he publishes nothing he looks more seldom.
    world.run(seconds(600));
    for _ in 0..9 {
        assert_eq!(found(&mut world, &apart[0]), [""; 0]);
        assert_eq!(found(&mut world, &his), ["true"]);
    }
    // That it was never said is not forgotten either.
    keepers.iter().for_each(|to| world.inject(id(liar), *to, &bytes));
    world.run(seconds(70));
    for _ in 0..9 {
        assert_eq!(found(&mut world, &beside[0]), [""; 0]);
        assert_eq!(found(&mut world, &his), ["true"]);
    }
}

/// Nor can he be kept from publishing by what withdraws it in his name.
#[test]
fn what_is_kept_elsewhere_is_not_withdrawn_by_others() {
    let (mut world, liar) = (World::settled(160), 159);
    let asks = world.open(0, "/d", ObjectType::directory());
    let port = world.open(1, "/d", ObjectType::directory());
    world.run(seconds(2));
    let object = "/d".parse::<Name>().unwrap().id();
    let is_far = |key: &String| level(place(object, key.as_bytes()), id(1)) == 0;
    let his = (0..).map(|number| format!("key-{number}")).find(is_far).unwrap();
    let mut packet = Packet::new(Leg::Push);
    let key = RecordKey { object, key: his.clone().into(), publisher: id(1) };
    let incarnation = world.nodes[1].member.incarnation;
    let version = Version::HEARSAY_MAX;
    packet.news.records.push(Record { key, incarnation, version, value: None });
    say(&mut world, liar, &packet);
    world.run(seconds(2));
    let publish = Command::Publish { key: his.clone().into(), value: "true".into() };
    world.say(1, &port, publish);
    world.run(seconds(40));
    for _ in 0..9 {
        std::iter::from_fn(|| asks.try_next()).for_each(drop);
        world.say(0, &asks, Command::Find(his.clone().into()));
        world.run(seconds(2));
        let values = std::iter::from_fn(|| asks.try_next()).flat_map(|event| match event {
            Event::Directory(DirectoryEvent::Found { listings, .. }) => listings,
            _ => Vec::new(),
        });
        let values: Vec<_> = values.map(|listing| listing.value).collect();
        assert_eq!(values, ["true"]);
    }
}

/// Whoever says much in another's name, of numbers that the other will never come to, cannot keep
/// him from being heard.
#[test]
fn nobody_is_silenced_by_who_speaks_in_his_name() {
    let (mut world, liar) = (World::settled(4), 3);
    let topic = ObjectType::best_effort_topic();
    let ports: Vec<Port> = (0..liar).map(|node| world.open(node, "/t", topic.clone())).collect();
    world.run(seconds(2));
    let in_his_name = |world: &World, number: u64| {
        let id = MessageId { origin: world.nodes[1].member, number };
        let (ty, bytes) = (claims::hash(&topic), Bytes::from("a lie"));
        let object = "/t".parse::<Name>().unwrap().id();
        let message = Message { id, topic: Topic::new(object, ty), content: Content::Whole(bytes) };
        let mut packet = Packet::new(Leg::Push);
        packet.news.messages.push(Pushed::new(&message, Reach::NONE, Naming::InFull));
        packet.encode()
    };
    let heard = |port: &Port, text: &str| {
        let is_it = |event: Event| match event {
            Event::Topic(TopicEvent::Message { bytes, .. }) => bytes == *text,
            _ => false,
        };
        std::iter::from_fn(|| port.try_next()).any(is_it)
    };
    // It hears of one: what it says next has a higher number.
    for to in 0..liar {
        let lie = in_his_name(&world, 70_000);
        world.inject(id(liar), to, &lie);
    }
    assert_eq!(world.count(1, "gossip.message_forged"), 1);
    world.say(1, &ports[1], Command::Send("first".into()));
    world.run(seconds(1));
    assert!(heard(&ports[0], "first") && heard(&ports[2], "first"));
    // It hears of none: it is silent to whoever was lied to, until that is forgotten.
    for number in 0..=2_048 {
        let lie = in_his_name(&world, (1 << 60) + number);
        world.inject(id(liar), 0, &lie);
    }
    world.crash(liar);
    world.run(PERIOD * 260);
    std::iter::from_fn(|| ports[0].try_next()).for_each(drop);
    world.say(1, &ports[1], Command::Send("second".into()));
    world.run(seconds(1));
    assert!(heard(&ports[0], "second") && heard(&ports[2], "second"));
}
