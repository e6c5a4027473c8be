//! Stories of aggregates in a few nodes.

use core::time::Duration;

use bytes::Bytes;
use live_objects::{
    Agreement, Command, Estimate, Event, Lack, Module, Name, ObjectId, ObjectType, Port,
    Properties, Share, Spec, Summary,
};
use proptest::prelude::{ProptestConfig, prop, proptest};

use super::seconds;
use super::world::{World, id};
use crate::Gossip;
use crate::agent::aggregates::{EMPTY_ROUNDS_MAX, STRAYS_MAX};
use crate::wire::rows::tests::rows as rows_of;
use crate::wire::rows::{Rows, Subjects, Title};
use crate::wire::{Leg, PACKET_LEN_MAX, Packet};
use crate::zones::body::Body;
use crate::zones::row::{Mark, Round, Row, Subject};

pub(super) fn open(world: &mut World, node: usize, name: &str, summary: Summary) -> Port {
    world.open(node, name, ObjectType::aggregate(summary))
}

pub(super) fn set(world: &mut World, node: usize, port: &Port, number: f64) {
    port.try_send(Command::Set(Share::new(number).unwrap())).unwrap();
    world.step(node, Vec::new());
}

/// The last estimate that was told since it was asked last.
pub(super) fn last(port: &Port) -> Option<Estimate> {
    let told = std::iter::from_fn(|| port.try_next()).last()?;
    let Event::Aggregate(estimate) = told else { panic!("{told:?}") };
    Some(estimate)
}

/// What it said last, within the time that is needed to hear of it at rest.
fn value(port: &Port) -> (Option<f64>, u64) {
    let estimate = last(port).expect("told once a round");
    assert!(estimate.age <= seconds(8), "{estimate:?}");
    (estimate.value, estimate.members)
}

#[test]
fn it_offers_aggregates() {
    let gossip = Gossip::default();
    let ty = ObjectType::aggregate(Summary::Max);
    assert!(gossip.offers(&ty).is_ok());
    let keeps = Properties::of_agreement(Agreement::Eventual);
    let strong = ObjectType { properties: Properties::of_agreement(Agreement::Views), ..ty };
    assert_eq!(gossip.offers(&strong), Err(Lack::Properties(keeps)));
}

#[test]
fn an_aggregate_opens_empty_and_hears_its_own_share_at_once() {
    let mut world = World::settled(1);
    let port = open(&mut world, 0, "/load", Summary::Average);
    let empty = Estimate::default();
    assert_eq!(last(&port), Some(empty));
    world.run(seconds(2));
    assert_eq!(last(&port), None, "nothing changes where there is no share");
    set(&mut world, 0, &port, 4.0);
    assert_eq!(last(&port), Some(Estimate::of_number(Some(4.0), 1, Duration::ZERO)));
    port.try_send(Command::Custom(Bytes::new())).unwrap();
    world.step(0, Vec::new());
    assert_eq!(world.count(0, "gossip.unknown_command"), 1);
}

/// Two hold it; the others pass it on, and forget it when it is no more.
#[test]
fn those_who_do_not_hold_it_relay_and_forget() {
    let mut world = World::settled(8);
    let ports = [0, 7].map(|node| open(&mut world, node, "/load", Summary::Sum));
    set(&mut world, 0, &ports[0], 1.5);
    set(&mut world, 7, &ports[1], 2.0);
    world.run(seconds(5));
    ports.iter().for_each(|port| assert_eq!(value(port), (Some(3.5), 2)));
    // One who opens it later knows it already.
    let late = open(&mut world, 3, "/load", Summary::Sum);
    assert_eq!(value(&late), (Some(3.5), 2));
    ports[0].close();
    world.step(0, Vec::new());
    world.run(seconds(5));
    assert_eq!(value(&late), (Some(2.0), 1));
    ports[1].close();
    world.step(7, Vec::new());
    world.run(seconds(5));
    assert_eq!(last(&late).map(|last| (last.value, last.members)), Some((Some(0.0), 0)));
    late.close();
    world.step(3, Vec::new());
    world.run(Duration::from_millis(200) * (EMPTY_ROUNDS_MAX as u32 + 10));
    let before = world.wire.datagram_bytes;
    world.run(seconds(20));
    let a_round = (world.wire.datagram_bytes - before) / (8 * 20 * 5);
    // A probe, an ack, and in each the digest of the names that were claimed.
    assert!(a_round <= 98 + 2 * 11, "{a_round} bytes a node and round: somebody remembers");
}

/// Of a few each in every packet that has room, of more in turns.
#[test]
fn each_of_many_is_told() {
    each_is_told(4);
    each_is_told(20);
}

fn each_is_told(of_each: usize) {
    let mut world = World::settled(4);
    let summaries =
        [Summary::Average, Summary::Sum, Summary::Count, Summary::Min, Summary::Max].into_iter();
    let names =
        (0..of_each).flat_map(|at| summaries.clone().map(move |it| (format!("/{at}/{it}"), it)));
    let mut ports = Vec::new();
    for (name, summary) in names {
        for node in 0..4 {
            let port = open(&mut world, node, &name.to_lowercase(), summary);
            set(&mut world, node, &port, node as f64);
            ports.push((port, summary));
        }
    }
    world.run(seconds(15));
    for (port, summary) in ports {
        let expected = match summary {
            Summary::Average => 1.5,
            Summary::Sum => 6.0,
            Summary::Count => 4.0,
            Summary::Min => 0.0,
            _ => 3.0,
        };
        let estimate = last(&port).expect("told once a round");
        assert_eq!((estimate.value, estimate.members), (Some(expected), 4));
    }
    assert!(world.wire.datagram_longest <= PACKET_LEN_MAX + 4);
}

pub(super) fn subject(number: usize) -> Subject {
    let object: ObjectId = format!("/{number}").parse::<Name>().unwrap().id();
    Subject::new(object, Summary::Sum)
}

pub(super) fn named(number: usize, row: Row) -> (Title, Row) {
    (Title::Full(subject(number)), row)
}

pub(super) fn rows(round: Round, told: impl IntoIterator<Item = (Title, Row)>) -> Packet {
    let mut rows = Rows::new(round, Subjects::NONE, Row::leaf(None, round).mark);
    told.into_iter().for_each(|(title, row)| assert!(rows.add(title, row, PACKET_LEN_MAX)));
    let mut packet = Packet::new(Leg::Rest { number: 1 });
    packet.round = round;
    packet.rows = Some(rows);
    packet
}

#[test]
fn a_node_relays_only_so_many_that_nobody_claims() {
    let mut world = World::settled(2);
    let row = Row::leaf(Some(Body::Number(1.0)), Round::FIRST);
    for number in 0..=STRAYS_MAX {
        world.inject(id(1), 0, &rows(Round::FIRST, [named(number, row.clone())]).encode());
    }
    assert_eq!(world.count(0, "gossip.aggregates_full"), 1);
    world.run(seconds(1));
}

#[test]
fn a_row_from_the_future_is_refused() {
    let mut world = World::settled(2);
    let port = open(&mut world, 0, "/1", Summary::Sum);
    set(&mut world, 0, &port, 1.0);
    let now = Round::FIRST.shifted(25);
    for (ahead, refused) in [(2, 0), (3, 1)] {
        let row = Row::leaf(Some(Body::Number(1.0)), now.shifted(ahead));
        world.inject(id(1), 0, &rows(now, [named(1, row)]).encode());
        assert_eq!(world.count(0, "gossip.row_ahead"), refused);
    }
}

/// A row speaks of its teller's own zone, whoever that is; and of no more members than there can
/// be.
#[test]
fn a_row_of_too_many_is_refused() {
    let mut world = World::settled(2);
    let port = open(&mut world, 0, "/1", Summary::Sum);
    set(&mut world, 0, &port, 1.0);
    let now = Round::FIRST.shifted(25);
    let mut million = Row::leaf(Some(Body::Number(1e300)), now);
    million.mark = Mark { stamps: u64::from(now) * 1_000_000, leaves: 1_000_000 };
    million.count = 1_000_000;
    world.inject(id(1), 0, &rows(now, [named(1, million)]).encode());
    assert_eq!(world.count(0, "gossip.row_crowded"), 1);
    assert_eq!(value(&port), (Some(1.0), 1));
}

/// What strangers say of aggregates is not heard.
#[test]
fn only_members_introduce() {
    let mut world = World::settled(2);
    let row = Row::leaf(Some(Body::Number(1.0)), Round::FIRST);
    world.inject(id(77), 0, &rows(Round::MAX, [named(1, row)]).encode());
    let before = world.wire.datagram_bytes;
    world.run(seconds(4));
    let a_round = (world.wire.datagram_bytes - before) / (2 * 4 * 5);
    assert!(a_round <= 98, "{a_round} bytes a node and round");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_that_is_said_of_aggregates_makes_it_panic(
        said in prop::collection::vec(rows_of(), 1..6),
    ) {
        let mut world = World::settled(3);
        let port = open(&mut world, 0, "/1", Summary::Sum);
        set(&mut world, 0, &port, 1.0);
        for said in said {
            let told = said.told.iter().map(|(title, row)| match title {
                Title::Full(of) if of.summary == Summary::Sum => named(1, row.clone()),
                _ => (*title, row.clone()),
            });
            // As its own, and once more as of an object that is held.
            let held = rows(said.round, told.filter(|(_, row)| row.count < 9).collect::<Vec<_>>());
            let mut packet = Packet::new(Leg::Probe { number: 1 });
            packet.round = said.round;
            packet.rows = Some(said);
            world.inject(id(1), 0, &packet.encode());
            world.inject(id(2), 0, &held.encode());
        }
        world.run(seconds(3));
    }
}

/// News that never ends, from all, does not keep an average from being exact in a few rounds.
#[test]
fn news_leaves_room_for_rows() {
    let mut world = World::settled(6);
    let news = Spec::new("/news".parse().unwrap(), ObjectType::best_effort_topic());
    let mut ports = Vec::new();
    for node in 0..6 {
        let topic = world.nodes[node].stack.open(news.clone()).unwrap();
        let load = open(&mut world, node, "/load", Summary::Sum);
        set(&mut world, node, &load, 1.0);
        ports.push((topic, load));
    }
    for _ in 0..50 {
        for (node, (topic, _)) in ports.iter().enumerate() {
            let _ = topic.try_send(Command::Send(Bytes::from(vec![0; 400])));
            world.step(node, Vec::new());
            while topic.try_next().is_some() {}
        }
        world.run(Duration::from_millis(50));
    }
    let exact = Some((Some(6.0), 6));
    for (_, load) in &ports {
        assert_eq!(last(load).map(|last| (last.value, last.members)), exact);
    }
}

/// And beside messages, although there is little room; and when they become few again.
#[test]
fn many_go_on_beside_messages_and_become_few() {
    let mut world = World::settled(4);
    let news = Spec::new("/news".parse().unwrap(), ObjectType::best_effort_topic());
    let topics: Vec<Port> =
        (0..4).map(|node| world.nodes[node].stack.open(news.clone()).unwrap()).collect();
    let mut loads: Vec<(usize, Port)> = Vec::new();
    for number in 0..60 {
        for node in 0..4 {
            let load = open(&mut world, node, &format!("/load/{number}"), Summary::Sum);
            set(&mut world, node, &load, 1.0);
            loads.push((node, load));
        }
    }
    for _ in 0..600 {
        for (node, topic) in topics.iter().enumerate() {
            let _ = topic.try_send(Command::Send(Bytes::from(vec![0; 200])));
            world.step(node, Vec::new());
            while topic.try_next().is_some() {}
        }
        world.run(Duration::from_millis(50));
    }
    let of = |port: &Port| last(port).map(|last| (last.value, last.members));
    assert!(loads.iter().all(|(_, load)| of(load) == Some((Some(4.0), 4))));
    let few = loads.split_off(loads.len() - 8);
    for (node, load) in loads {
        drop(load);
        world.step(node, Vec::new());
    }
    world.run(seconds(20));
    for (node, load) in &few {
        set(&mut world, *node, load, 2.0);
    }
    world.run(seconds(5));
    assert!(few.iter().all(|(_, load)| of(load) == Some((Some(8.0), 4))));
}

/// Whoever comes to a large cluster knows what all come to before it knows all: a few of each zone
/// come first.
#[test]
fn a_newcomer_knows_the_sum_before_it_knows_the_members() {
    let (n, comer) = (420, 420);
    let mut world = World::settled(n);
    for node in 0..n {
        let port = open(&mut world, node, "/1", Summary::Sum);
        set(&mut world, node, &port, 1.0);
    }
    world.run(seconds(5));
    world.wire.room = 5_000;
    world.start(comer, &[0], 1_000);
    let port = open(&mut world, comer, "/1", Summary::Sum);
    set(&mut world, comer, &port, 1.0);
    let mut told = last(&port);
    for _ in 0..100 {
        world.run(Duration::from_millis(5));
        told = last(&port).or(told);
        if told.as_ref().is_some_and(|told| told.members >= 400) {
            break;
        }
    }
    let told = told.expect("it set its own");
    let known = world.members(comer).len();
    assert!(told.members >= 400 && known < 300, "{told:?}, {known} known");
    world.run(seconds(5));
    assert_eq!(last(&port).map(|told| told.value), Some(Some(421.0)));
}
