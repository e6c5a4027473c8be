//! Stories of queries in a few nodes.

use core::time::Duration;

use bytes::Bytes;
use live_objects::{
    Attributes, Column, Command, Event, Function, GroupKey, Lack, Module, ObjectType, Port,
    Predicate, Query, Summary, Tally,
};

use super::seconds;
use super::world::{World, id};
use crate::Gossip;
use crate::agent::aggregates::EMPTY_ROUNDS_MAX;
use crate::agent::queries::{RUN_MAX, RUN_OF_ONE_MAX};
use crate::records::{Record, RecordKey, Version};
use crate::wire::rows::{Rows, Subjects, Title};
use crate::wire::{Leg, PACKET_LEN_MAX, Packet};
use crate::zones::body::Body;
use crate::zones::row::{Mark, Round, Row, Subject};

/// A node describes itself in a catalog.
fn describe(world: &mut World, node: usize, name: &str, role: &str, load: f64) -> Port {
    let port = world.open(node, name, ObjectType::catalog());
    say(world, node, &port, role, load);
    port
}

fn say(world: &mut World, node: usize, port: &Port, role: &str, load: f64) {
    let of = Attributes::default().with("role", role).unwrap().with("load", load).unwrap();
    world.say(node, port, Command::Describe(of));
}

/// SELECT zone, count(*), avg(load), p50(load) FROM '/dc/*' WHERE role = … GROUP BY zone
fn query(role: &str) -> Query {
    let columns = [Function::Average, Function::Percentile(50)];
    let columns = columns.map(|function| Column::Of(function, "load".to_owned()));
    let columns = [&[Column::Members][..], &columns].concat();
    let is_role = Predicate::equal("role", role).unwrap();
    Query::new("/dc/*".parse().unwrap(), is_role, vec![GroupKey::Zone], columns).unwrap()
}

fn ask(world: &mut World, node: usize, query: &Query) -> Port {
    let name = query.name();
    world.open(node, name.as_str(), ObjectType::query(query.clone()))
}

/// What was told last, since it was asked last.
fn last(port: &Port) -> Tally {
    let told = std::iter::from_fn(|| port.try_next()).last().expect("told once a round");
    let Event::Query(tally) = told else { panic!("{told:?}") };
    tally
}

/// Each group: its key, its rows, and its average.
fn groups(tally: &Tally) -> Vec<(String, u64, f64)> {
    let text =
        |key: &Option<live_objects::Scalar>| key.as_ref().unwrap().text().unwrap().to_owned();
    let of = |group: &live_objects::Group| {
        assert_eq!(group.values[0], Some(group.members as f64));
        (text(&group.key[0]), group.members, group.values[1].unwrap())
    };
    tally.groups.iter().map(of).collect()
}

fn group(zone: &str, members: u64, average: f64) -> (String, u64, f64) {
    (zone.to_owned(), members, average)
}

#[test]
fn it_offers_queries_and_no_aggregates_of_groups() {
    let gossip = Gossip::default();
    assert!(gossip.offers(&ObjectType::query(query("db"))).is_ok());
    let groups = ObjectType::aggregate(Summary::Groups);
    assert_eq!(gossip.offers(&groups), Err(Lack::Kind(groups.kind.clone())));
}

#[test]
fn all_who_match_are_counted_and_what_they_say_anew() {
    let mut world = World::settled(6);
    let mut said = Vec::new();
    for node in 0..6 {
        let name = if node % 2 == 0 { "/dc/ams" } else { "/dc/fra" };
        let role = if node == 5 { "web" } else { "db" };
        said.push(describe(&mut world, node, name, role, node as f64));
    }
    // One does not match the pattern, and one says nothing.
    let _other = describe(&mut world, 0, "/dc", "db", 9.0);
    let _silent = world.open(5, "/dc/lon", ObjectType::catalog());
    let asked = ask(&mut world, 1, &query("db"));
    assert_eq!(groups(&last(&asked)), [group("fra", 1, 1.0)], "its own is there at once");
    world.run(seconds(5));
    let tally = last(&asked);
    assert_eq!(groups(&tally), [group("ams", 3, 2.0), group("fra", 2, 2.0)]);
    assert_eq!((tally.members, tally.heard, tally.nodes), (5, 6, 6));
    assert!((0.019..0.0201).contains(&tally.error) && tally.age <= seconds(4), "{tally:?}");
    say(&mut world, 2, &said[2], "db", 8.0);
    say(&mut world, 5, &said[5], "db", 2.0);
    said[3].close();
    world.step(3, Vec::new());
    world.run(seconds(5));
    assert_eq!(groups(&last(&asked)), [group("ams", 3, 4.0), group("fra", 2, 1.5)]);
    world.crash(0);
    world.run(seconds(15));
    assert_eq!(groups(&last(&asked)), [group("ams", 2, 6.0), group("fra", 2, 1.5)]);
    assert!(world.wire.datagram_longest <= PACKET_LEN_MAX + 4);
}

/// Two ask the same, and a third something else; when all are gone nobody computes any more.
#[test]
fn it_ends_with_the_last_who_asks() {
    let mut world = World::settled(5);
    let _said: Vec<Port> =
        (0..5).map(|node| describe(&mut world, node, "/dc/ams", "db", node as f64)).collect();
    world.run(Duration::from_millis(200) * (EMPTY_ROUNDS_MAX as u32 + 10));
    let span = seconds(20);
    let at_rest = |world: &mut World| {
        let before = world.wire.datagram_bytes;
        world.run(span);
        (world.wire.datagram_bytes - before) / (5 * 20 * 5)
    };
    let before = at_rest(&mut world);
    let asked = [0, 3].map(|node| ask(&mut world, node, &query("db")));
    let other = ask(&mut world, 4, &query("web"));
    world.run(seconds(5));
    asked.iter().for_each(|port| assert_eq!(groups(&last(port)), [group("ams", 5, 2.0)]));
    let nobody = last(&other);
    assert_eq!((nobody.members, nobody.groups), (0, vec![]));
    asked[0].close();
    world.step(0, Vec::new());
    world.run(seconds(5));
    assert_eq!(groups(&last(&asked[1])), [group("ams", 5, 2.0)]);
    asked[1].close();
    other.close();
    world.step(3, Vec::new());
    world.step(4, Vec::new());
    world.run(Duration::from_millis(200) * (EMPTY_ROUNDS_MAX as u32 + 50));
    let after = at_rest(&mut world);
    assert!(after <= before + 1, "{after} bytes a node and round, {before} before");
}

/// What a member claims.
fn claim(name: &str, value: &[u8]) -> Packet {
    let object = Gossip::CLAIMS.parse::<live_objects::Name>().unwrap().id();
    let key = RecordKey { object, key: Bytes::copy_from_slice(name.as_bytes()), publisher: id(1) };
    let mut packet = Packet::new(Leg::Push);
    let value = Some(Bytes::copy_from_slice(value));
    let incarnation = live_objects::Incarnation::from_bytes([0; 16]);
    packet.news.records = vec![Record { key, incarnation, version: Version::at_start(9), value }];
    packet
}

fn inject_claim(world: &mut World, name: &str, value: &[u8]) {
    let mut packet = claim(name, value);
    packet.news.records[0].incarnation = world.nodes[1].member.incarnation;
    world.inject(id(1), 0, &packet.encode());
}

#[test]
fn a_claim_of_what_is_no_query_does_nothing() {
    let mut world = World::settled(2);
    let _said = describe(&mut world, 0, "/dc/ams", "db", 1.0);
    let query = query("db");
    let ty = postcard::to_allocvec(&ObjectType::query(query.clone())).unwrap();
    // Garbage; a query under another's name; another kind.
    inject_claim(&mut world, "/queries/00", &[8, 0xff, 0xff]);
    inject_claim(&mut world, "/queries/ff", &ty);
    let catalog = postcard::to_allocvec(&ObjectType::catalog()).unwrap();
    inject_claim(&mut world, query.name().as_str(), &catalog);
    assert!(world.count(0, "gossip.query_unreadable") >= 3);
    let before = world.count(0, "gossip.query_unreadable");
    // A fit one does.
    let other =
        Query::new(query.pattern().clone(), Predicate::all(), vec![], vec![Column::Members]);
    let other = other.unwrap();
    let ty = postcard::to_allocvec(&ObjectType::query(other.clone())).unwrap();
    inject_claim(&mut world, other.name().as_str(), &ty);
    assert!(world.count(0, "gossip.query_unreadable") > before, "all are looked at again");
    world.run(seconds(2));
}

#[test]
fn only_so_many_are_run() {
    let nodes = RUN_MAX / RUN_OF_ONE_MAX + 2;
    let mut world = World::settled(nodes);
    let _said = describe(&mut world, 1, "/dc/ams", "db", 1.0);
    let mut asked = Vec::new();
    for node in 0..nodes {
        let roles = (0..=RUN_OF_ONE_MAX).map(|at| format!("role-{node}-{at}"));
        asked.extend(roles.map(|role| ask(&mut world, node, &query(&role))).collect::<Vec<_>>());
        let of_one = [RUN_OF_ONE_MAX as u64, RUN_MAX as u64][usize::from(node > 0)];
        assert!(world.count(node, "gossip.queries") <= of_one);
        assert!(world.count(node, "gossip.queries_full") > 0);
    }
    world.run(seconds(3));
    for node in 0..nodes {
        assert_eq!(world.count(node, "gossip.queries"), RUN_MAX as u64);
    }
    drop(asked);
}

/// A row of another layout is not taken by who runs the query, so that nobody displaces others'.
#[test]
fn a_row_of_another_query_is_refused() {
    let mut world = World::settled(2);
    let _said = describe(&mut world, 0, "/dc/ams", "db", 1.0);
    let query = query("db");
    let asked = ask(&mut world, 0, &query);
    let other =
        Query::new(query.pattern().clone(), Predicate::all(), vec![], vec![Column::Members]);
    let own = Attributes::default().with("load", 1.0).unwrap();
    let share = other.unwrap().share([(&"/dc/ams".parse().unwrap(), &own)].into_iter()).unwrap();
    let round = Round::FIRST.shifted(25);
    let mark = Mark { stamps: round.into(), leaves: 1 };
    let parts = share.parts();
    let (part, sketch) =
        parts.into_iter().enumerate().find(|(_, it)| it.value() > Some(0.0)).unwrap();
    let row = Row { mark, count: 1, least: round.into(), body: Body::Sketch(sketch.into()) };
    let subject = Subject::new(query.name().id(), Summary::Groups);
    let mut rows = Rows::new(round, Subjects::NONE, mark);
    let title = Title::Full(Subject { part: part as u8, ..subject });
    assert!(rows.add(title, row, PACKET_LEN_MAX));
    let mut packet = Packet::new(Leg::Rest { number: 1 });
    packet.round = round;
    packet.rows = Some(rows);
    world.inject(id(1), 0, &packet.encode());
    assert_eq!(world.count(0, "gossip.row_unfit"), 1);
    assert_eq!(groups(&last(&asked)), [group("ams", 1, 1.0)]);
}
