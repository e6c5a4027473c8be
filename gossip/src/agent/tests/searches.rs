//! Stories of catalogs in a few nodes: who is found, whom that takes, and who lies about it.

use live_objects::{
    Attributes, CatalogEvent, Command, Described, Event, Kind, Lack, Module, NodeId, ObjectType,
    Port, Predicate, Relation, Share, Told,
};
use proptest::prelude::{ProptestConfig, prop, proptest};

use super::seconds;
use super::world::{World, id};
use crate::Gossip;
use crate::agent::searches::SEARCHES_MAX;
use crate::question::{Answer, Clue, Question, Verdict};
use crate::wire::terms::TermsSection;
use crate::wire::terms::tests::sections;
use crate::wire::{Leg, PACKET_LEN_MAX, Packet};
use crate::zones::row::{Round, Row};

pub(super) fn open(world: &mut World, node: usize) -> Port {
    world.open(node, "/fleet", ObjectType::catalog())
}

/// Every node says its own name, and one of three roles.
pub(super) fn own(node: usize) -> Attributes {
    let own = Attributes::default().with("role", ["db", "web", "cache"][node % 3]).unwrap();
    own.with("host", format!("host-{node}")).unwrap().with("load", node as f64 / 10.0).unwrap()
}

fn described(nodes: usize) -> (World, Vec<Port>) {
    let mut world = World::settled(nodes);
    let describe = |node| {
        let port = open(&mut world, node);
        world.say(node, &port, Command::Describe(own(node)));
        port
    };
    let ports = (0..nodes).map(describe).collect();
    world.run(seconds(10));
    (world, ports)
}

pub(super) fn search(matching: Predicate) -> Command {
    Command::Search { matching, limit: u32::MAX }
}

pub(super) fn is(name: &str, value: &str) -> Predicate {
    Predicate::equal(name, value).unwrap()
}

/// What an application was told since it last looked: whom, and how much that is.
pub(super) fn told(port: &Port) -> (Vec<Described>, Option<Told>) {
    let (mut found, mut last) = (Vec::new(), None);
    while let Some(event) = port.try_next() {
        let Event::Catalog(CatalogEvent::Found { holders, told, .. }) = event else {
            panic!("{event:?}")
        };
        found.extend(holders);
        last = Some(told);
    }
    found.sort_by_key(|one| one.member);
    (found, last)
}

/// The nodes that a search finds, how much that is, and how many were asked.
fn found(
    world: &mut World,
    ports: &[Port],
    asker: usize,
    command: Command,
) -> (Vec<usize>, Option<Told>, usize) {
    world.wire.asked.clear();
    world.say(asker, &ports[asker], command);
    world.run(seconds(2));
    let (found, last) = told(&ports[asker]);
    let node_of = |one: &Described| {
        let mut nodes = world.nodes.iter();
        nodes.position(|node| node.member == one.member).expect("one of the world's")
    };
    let mut nodes: Vec<usize> = found.iter().map(node_of).collect();
    nodes.sort_unstable();
    (nodes, last, world.wire.asked.len())
}

#[test]
fn it_offers_catalogs() {
    let gossip = Gossip::default();
    assert!(gossip.offers(&ObjectType::catalog()).is_ok());
    assert!(matches!(
        gossip.offers(&ObjectType::custom("thing", live_objects::Agreement::Eventual)),
        Err(Lack::Kind(Kind::Custom(_)))
    ));
}

#[test]
fn who_matches_is_found_by_asking_few() {
    let (mut world, ports) = described(30);
    for asker in [0, 7, 29] {
        let one = found(&mut world, &ports, asker, search(is("host", "host-17")));
        assert_eq!((&one.0[..], one.1), (&[17][..], Some(Told::All)));
        assert!((1..=8).contains(&one.2), "{} were asked", one.2);
        let dbs = found(&mut world, &ports, asker, search(is("role", "db")));
        assert_eq!((dbs.0, dbs.1), ((0..30).step_by(3).collect(), Some(Told::All)));
        assert!(dbs.2 < 29, "{} were asked", dbs.2);
    }
    let busy = Predicate::compare("load", Relation::GreaterOrEqual, 2.0).unwrap();
    let busy = busy.and(is("role", "db").negated().unwrap()).unwrap();
    let (found_busy, last, asked) = found(&mut world, &ports, 3, search(busy));
    assert_eq!((found_busy, last), (vec![20, 22, 23, 25, 26, 28, 29], Some(Told::All)));
    assert_eq!(asked, 29, "nothing in it guides, so all are asked");
    assert!(world.wire.datagram_longest <= PACKET_LEN_MAX + 4);
}

#[test]
fn nobody_is_asked_for_what_nobody_has() {
    let (mut world, ports) = described(20);
    let none = found(&mut world, &ports, 0, search(is("host", "host-99")));
    assert_eq!(none, (vec![], Some(Told::All), 0));
    let mine = found(&mut world, &ports, 4, search(is("host", "host-4")));
    assert_eq!(mine, (vec![4], Some(Told::All), 0));
    let limited = Command::Search { matching: is("role", "db"), limit: 0 };
    assert_eq!(found(&mut world, &ports, 0, limited), (vec![], Some(Told::All), 0));
}

#[test]
fn what_is_described_anew_or_not_any_more_is_not_found() {
    let (mut world, ports) = described(12);
    let anew = own(5).with("role", "gone").unwrap();
    world.say(5, &ports[5], Command::Describe(anew));
    world.say(8, &ports[8], Command::Describe(Attributes::default()));
    let before = found(&mut world, &ports, 0, search(is("host", "host-8")));
    assert_eq!((&before.0[..], before.1), (&[][..], Some(Told::All)), "who is asked decides");
    ports[11].close();
    world.step(11, Vec::new());
    world.run(seconds(10));
    let after = found(&mut world, &ports, 0, search(is("host", "host-8")));
    assert_eq!(after, (vec![], Some(Told::All), 0));
    assert_eq!(found(&mut world, &ports, 0, search(is("role", "cache"))).0, [2]);
    assert_eq!(found(&mut world, &ports, 0, search(is("role", "gone"))).0, [5]);
    assert_eq!(found(&mut world, &ports, 0, search(Predicate::all())).0.len(), 10);
}

/// Nobody describes itself any more: what was there of it is forgotten, and costs nothing.
#[test]
fn a_cluster_without_catalogs_says_nothing_of_them() {
    let (mut world, ports) = described(6);
    let rate = |world: &mut World| {
        let before = world.wire.datagram_bytes;
        world.run(seconds(20));
        world.wire.datagram_bytes - before
    };
    let with = rate(&mut world);
    ports.iter().for_each(Port::close);
    (0..6).for_each(|node| world.step(node, Vec::new()));
    world.run(seconds(60));
    let without = rate(&mut world);
    assert!(without < with, "{without} for {with}");
    let mut never = World::settled(6);
    never.run(seconds(60));
    let bare = rate(&mut never);
    assert!(without.abs_diff(bare) < bare / 20, "{without} for {bare}");
}

#[test]
fn no_more_are_found_than_were_to_be() {
    let (mut world, ports) = described(30);
    let two = Command::Search { matching: is("role", "web"), limit: 2 };
    let (found, last, asked) = found(&mut world, &ports, 0, two);
    assert_eq!((found.len(), last), (2, Some(Told::All)));
    assert!(asked < 29);
}

/// Before anybody knows that some are gone, others of their zones are asked.
#[test]
fn the_dead_do_not_keep_the_living_from_being_found() {
    let (mut world, ports) = described(30);
    (1..30).step_by(3).for_each(|node| world.crash(node));
    let (nodes, last, _) = found(&mut world, &ports, 0, search(is("role", "db")));
    assert_eq!((nodes, last), ((0..30).step_by(3).collect(), Some(Told::All)));
    let gone = found(&mut world, &ports, 0, search(is("role", "web")));
    assert_eq!((gone.0.len(), gone.1), (0, Some(Told::Some)));
    world.run(seconds(20));
    let gone = found(&mut world, &ports, 0, search(is("role", "web")));
    assert_eq!((gone.0.len(), gone.1), (0, Some(Told::All)));
}

#[test]
fn more_searches_than_there_may_be_wait_their_turn() {
    let (mut world, ports) = described(4);
    world.part(&[0], &[1, 2, 3]);
    for _ in 0..SEARCHES_MAX + 5 {
        ports[0].try_send(search(is("role", "web"))).unwrap();
    }
    world.wire.asked.clear();
    world.step(0, Vec::new());
    assert_eq!(world.wire.asked.len(), SEARCHES_MAX, "there is one other of that role");
    world.run(seconds(10));
    let mut ended = 0;
    while let Some(event) = ports[0].try_next() {
        let Event::Catalog(CatalogEvent::Found { holders, told, .. }) = event else {
            panic!("{event:?}")
        };
        assert_eq!(holders, []);
        ended += usize::from(told != Told::Part);
    }
    assert_eq!(ended, SEARCHES_MAX + 5);
}

/// What was looked for in one life is not told in the next, which counts from 0 again.
#[test]
fn a_closed_catalog_looks_for_nobody() {
    let (mut world, ports) = described(6);
    world.say(0, &ports[0], search(is("role", "web")));
    ports[0].close();
    world.step(0, Vec::new());
    let port = open(&mut world, 0);
    world.say(0, &port, search(is("host", "host-5")));
    world.run(seconds(2));
    let (found, last) = told(&port);
    assert_eq!((found.len(), last), (1, Some(Told::All)));
    assert_eq!(found[0].member, world.nodes[5].member);
    assert!(world.count(0, "gossip.unsolicited") > 0);
}

#[test]
fn other_commands_are_not_taken() {
    let (mut world, ports) = described(1);
    world.say(0, &ports[0], Command::Set(Share::new(1.0).unwrap()));
    assert_eq!(world.count(0, "gossip.unknown_command"), 1);
}

/// Answers that keep to no rule are dropped, and counted, and whoever was asked is asked again.
#[test]
fn liars_lead_nobody_astray() {
    let (mut world, ports) = described(12);
    world.wire.asked.clear();
    world.say(0, &ports[0], search(is("host", "host-7")));
    let (_, to, number) = world.wire.asked[0];
    let answered = |clue: Option<Clue>| {
        let answer = Some(Answer { verdict: Verdict::Whole, depth: 0 });
        Packet { answer, clue, ..Packet::new(Leg::Answer { number }) }.encode()
    };
    let beyond = Clue { levels: vec![0], attributes: None };
    world.inject(id(to), 0, &answered(Some(beyond)));
    world.inject(id(to), 0, &answered(None));
    assert_eq!(world.count(0, "gossip.clue_amiss"), 2);
    let other = (1..12).find(|other| *other != to).unwrap();
    world.inject(id(other), 0, &answered(Some(Clue::default())));
    assert_eq!(world.count(0, "gossip.unsolicited"), 1, "who was not asked");
    world.run(seconds(2));
    let (found, last) = told(&ports[0]);
    assert_eq!((found.len(), last), (1, Some(Told::All)));
    assert_eq!(found[0].member, world.nodes[7].member);

    world.say(0, &ports[0], search(is("host", "host-8")));
    let (_, to, number) = *world.wire.asked.last().unwrap();
    let answer = Some(Answer { verdict: Verdict::Whole, depth: 0 });
    let clue = Some(Clue { levels: vec![127], attributes: Some(own(3)) });
    let lie = Packet { answer, clue, ..Packet::new(Leg::Answer { number }) };
    world.inject(id(to), 0, &lie.encode());
    assert_eq!(world.count(0, "gossip.found_amiss"), 1);
    world.run(seconds(2));
    let (found, _) = told(&ports[0]);
    assert!(found.iter().all(|one| one.attributes == own(8)), "{found:?}");
}

#[test]
fn who_is_asked_for_more_than_its_zone_has_keeps_to_it() {
    let (mut world, _ports) = described(12);
    let ask = |bits| {
        let object = "/fleet".parse::<live_objects::Name>().unwrap().id();
        let matching = is("role", "nothing");
        let question = Some(Question::Search { object, bits, matching });
        Packet { question, ..Packet::new(Leg::Ask { number: 1 }) }.encode()
    };
    let before = world.wire.datagram_bytes;
    for bits in [0, 64, 128] {
        world.inject(id(1), 0, &ask(bits));
    }
    assert!(world.wire.datagram_bytes - before < 3 * 150, "it says little");
    world.inject(id(1), 0, &ask(129));
    assert_eq!(world.count(0, "gossip.malformed"), 1);
}

/// Filters at rest are told as digests.
#[test]
fn at_rest_filters_cost_little() {
    let (mut world, _ports) = described(6);
    world.run(seconds(20));
    let before = world.wire.datagram_bytes;
    world.run(seconds(20));
    let a_round = (world.wire.datagram_bytes - before) / (6 * 20 * 5);
    assert!(a_round <= 120, "{a_round} bytes a node and round");
}

#[test]
fn a_row_of_terms_of_more_than_can_be_is_refused() {
    let (mut world, _ports) = described(3);
    let round = Round::FIRST;
    let row = Row::leaf(None, round);
    let mark = crate::zones::row::Mark { stamps: 1_000 * u64::from(round), leaves: 1_000 };
    let mut packet = Packet::new(Leg::Push);
    packet.round = round;
    packet.terms = Some(TermsSection::whole(0, Row { mark, ..row }));
    world.inject(id(1), 0, &packet.encode());
    assert_eq!(world.count(0, "gossip.row_crowded"), 1);
    world.inject(NodeId::from_bytes([9; 16]), 0, &packet.encode());
    assert_eq!(world.count(0, "gossip.row_crowded"), 1, "from nobody nothing is taken");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn no_section_breaks_a_search(
        told in prop::collection::vec((sections(), 0..4_u8, 1..3_usize), 1..20),
    ) {
        let (mut world, ports) = described(3);
        for (section, leg, from) in told {
            let leg = match leg {
                0 => Leg::Probe { number: 7 },
                1 => Leg::Ack { number: 7 },
                2 => Leg::Rest { number: 7 },
                _ => Leg::Push,
            };
            let mut packet = Packet::new(leg);
            packet.round = Round::FIRST.shifted(20);
            packet.terms = Some(section);
            world.inject(id(from), 0, &packet.encode());
        }
        let (nodes, last, _) = found(&mut world, &ports, 0, search(is("host", "host-0")));
        assert_eq!((nodes, last), (vec![0], Some(Told::All)));
    }
}
