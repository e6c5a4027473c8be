//! Stories of the nearest in a few nodes, which are all ten milliseconds from each other.

use core::time::Duration;

use live_objects::{
    Command, Event, Incarnation, Load, Member, Module, Near, ObjectId, ObjectType, Port,
};
use proptest::prelude::{ProptestConfig, any, prop, proptest};

use super::seconds;
use super::world::{World, id};
use crate::Gossip;
use crate::agent::nearest::{RANKED_MAX, STRAYS_MAX};
use crate::coordinate::{Coordinate, DIMENSIONS};
use crate::digest::{halves, mix};
use crate::offers::{OFFERS_MAX, Offer};
use crate::wire::offers::OffersSection;
use crate::wire::offers::tests::{sections, standpoints};
use crate::wire::{Leg, Packet};
use crate::zones::row::Round;

fn open(world: &mut World, node: usize) -> Port {
    world.open(node, "/mirrors", ObjectType::nearest())
}

fn offer(world: &mut World, node: usize, load: f32) -> Port {
    let port = open(world, node);
    world.say(node, &port, Command::Offer(Load::new(load).unwrap()));
    port
}

/// What is told last since it was looked at.
fn last(port: &Port) -> Option<Vec<Near>> {
    let told = std::iter::from_fn(|| port.try_next()).last()?;
    let Event::Nearest(ranking) = told else { panic!("{told:?}") };
    Some(ranking)
}

/// Whom a node is told of when it asks.
fn asked(world: &mut World, node: usize, port: &Port) -> Vec<Near> {
    world.say(node, port, Command::Rank);
    last(port).expect("whoever asks is answered at once")
}

fn members(ranking: &[Near]) -> Vec<Member> {
    ranking.iter().map(|near| near.member).collect()
}

#[test]
fn it_offers_the_nearest() {
    assert!(Gossip::default().offers(&ObjectType::nearest()).is_ok());
}

#[test]
fn whoever_asks_is_answered_at_once_and_not_told_of_itself() {
    let mut world = World::settled(2);
    let port = open(&mut world, 0);
    assert_eq!(last(&port), Some(Vec::new()));
    assert_eq!(asked(&mut world, 0, &port), []);
    world.say(0, &port, Command::Offer(Load::IDLE));
    world.run(seconds(5));
    assert_eq!(asked(&mut world, 0, &port), []);
    world.say(0, &port, Command::Set(live_objects::Share::new(1.0).unwrap()));
    assert_eq!(world.count(0, "gossip.unknown_command"), 1);
}

/// Nobody but the two has it open: the others pass it on.
#[test]
fn an_offer_is_found_and_measured_and_ranked_by_its_load() {
    let mut world = World::settled(12);
    let ports = [(3, 0.5), (5, 0.0)].map(|(node, load)| offer(&mut world, node, load));
    let port = open(&mut world, 0);
    world.run(seconds(10));
    let ranking = last(&port).expect("they were found");
    assert_eq!(members(&ranking), [5, 3].map(|node| world.nodes[node].member));
    let (trip, least) = (Duration::from_millis(10), Duration::from_millis(1));
    for near in ranking {
        assert!(near.is_measured && near.round_trip == trip && near.error < least, "{near:?}");
        assert!(near.foretold.abs_diff(trip) < trip / 2, "{near:?}");
    }
    world.say(3, &ports[0], Command::Offer(Load::IDLE));
    world.say(5, &ports[1], Command::Offer(Load::new(2.0).unwrap()));
    world.run(seconds(20));
    let ranking = last(&port).expect("it is notable");
    assert_eq!(members(&ranking), [3, 5].map(|node| world.nodes[node].member));
}

#[test]
fn what_is_withdrawn_or_closed_is_told_no_more() {
    let mut world = World::settled(6);
    let ports = [1, 2].map(|node| offer(&mut world, node, 0.0));
    let port = open(&mut world, 0);
    world.run(seconds(10));
    assert_eq!(asked(&mut world, 0, &port).len(), 2);
    world.say(1, &ports[0], Command::Retract);
    ports[1].close();
    world.step(2, Vec::new());
    world.run(seconds(10));
    assert_eq!(last(&port), Some(Vec::new()));
    world.say(1, &ports[0], Command::Offer(Load::IDLE));
    world.run(seconds(10));
    assert_eq!(members(&last(&port).unwrap()), [world.nodes[1].member]);
}

#[test]
fn who_is_gone_is_told_no_more_and_comes_back_with_an_offer_of_its_own() {
    let mut world = World::settled(6);
    let _port = offer(&mut world, 1, 0.0);
    let port = open(&mut world, 0);
    world.run(seconds(10));
    assert_eq!(members(&last(&port).unwrap()), [world.nodes[1].member]);
    world.crash(1);
    world.run(seconds(10));
    assert_eq!(last(&port), Some(Vec::new()));
    world.start(1, &[0], 9_000);
    world.run(seconds(20));
    assert_eq!(asked(&mut world, 0, &port), [], "what it offered in its former life");
    let _port = offer(&mut world, 1, 0.0);
    world.run(seconds(10));
    assert_eq!(members(&last(&port).unwrap()), [world.nodes[1].member]);
}

#[test]
fn where_nobody_offers_any_more_it_costs_nothing() {
    let mut world = World::settled(8);
    let (one, other) = (offer(&mut world, 1, 0.0), open(&mut world, 0));
    world.run(seconds(20));
    let rate = |world: &mut World| {
        let before = world.wire.datagram_bytes;
        world.run(seconds(20));
        (world.wire.datagram_bytes - before) / (8 * 20)
    };
    let with = rate(&mut world);
    for (node, port) in [(1, one), (0, other)] {
        port.close();
        world.step(node, Vec::new());
    }
    world.run(seconds(130));
    let without = rate(&mut world);
    // A probe, an ack, and in each the digest of the names that were claimed.
    assert!(without <= 98 + 2 * 11, "{without} bytes a node and second: somebody remembers");
    assert!(with <= 4 * without, "{with} bytes a node and second at rest");
    assert!(world.wire.datagram_longest <= 1_200 - 28);
}

pub(super) fn section(round: Round, objects: usize, owner: Member) -> Packet {
    let [high, low] = halves(owner.incarnation.as_bytes());
    let coordinate = Coordinate { axes: [0; DIMENSIONS], height: 9, error: 9 };
    let life = mix(high ^ mix(low)) as u16;
    let load = Some(Load::IDLE);
    let offer = Offer { owner: owner.node, life, stamp: round, coordinate, load };
    let mut section = OffersSection::new(round);
    for object in 0..objects {
        let object = ObjectId::from_bytes((object as u128).to_be_bytes());
        section.told.push((object, vec![offer]));
    }
    let mut packet = Packet::new(Leg::Push);
    (packet.round, packet.offers) = (round, Some(section));
    packet
}

/// About the round that it is.
pub(super) fn round_of(world: &World) -> Round {
    let periods = world.now.as_nanos() / Duration::from_millis(200).as_nanos() as u64;
    Round::FIRST.shifted(periods as i64)
}

#[test]
fn what_cannot_be_is_counted_and_tables_are_bounded() {
    let mut world = World::settled(4);
    let owner = world.nodes[2].member;
    let round = round_of(&world);
    let ahead = section(round.shifted(99), 1, owner);
    world.inject(id(1), 0, &ahead.encode());
    assert_eq!(world.count(0, "gossip.offers_ahead"), 1);
    let unknown = Member { node: id(99), ..owner };
    let former = Member { incarnation: Incarnation::from_bytes([7; 16]), ..owner };
    for nobody in [unknown, former] {
        world.inject(id(1), 0, &section(round, 1, nobody).encode());
    }
    assert_eq!(world.count(0, "gossip.offer_of_nobody"), 2);
    world.inject(id(1), 0, &section(round, STRAYS_MAX + 3, owner).encode());
    assert_eq!(world.count(0, "gossip.nearest_full"), 3);
    // What an application opens has its place all the same.
    let port = open(&mut world, 0);
    assert_eq!(last(&port), Some(Vec::new()));
}

/// Of more than a table holds a node is told the best, and no more than an answer has room for.
#[test]
fn of_many_the_best_are_told() {
    let nodes = OFFERS_MAX + 8;
    let mut world = World::settled(nodes);
    let _ports: Vec<Port> = (1..nodes).map(|node| offer(&mut world, node, 0.0)).collect();
    let port = open(&mut world, 0);
    world.run(seconds(20));
    let ranking = asked(&mut world, 0, &port);
    assert_eq!(ranking.len(), RANKED_MAX);
    assert!(ranking.iter().all(|near| near.is_measured));
    assert!(world.wire.datagram_longest <= 1_200 - 28);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever is said of places and offers, nodes go on.
    #[test]
    fn nothing_that_is_said_makes_it_panic(
        told in prop::collection::vec((sections(Round::FIRST), standpoints(), 0..3_u8), 1..9),
        number: u32,
        seed in any::<u8>(),
    ) {
        let mut world = World::settled(3);
        let port = open(&mut world, 0);
        for (offers, standpoint, leg) in told {
            let leg = match leg {
                0 => Leg::Probe { number },
                1 => Leg::Ack { number },
                _ => Leg::Push,
            };
            let mut packet = Packet::new(leg);
            (packet.offers, packet.standpoint) = (Some(offers), Some(standpoint));
            world.inject(id(1 + usize::from(seed % 2)), 0, &packet.encode());
        }
        world.run(seconds(5));
        asked(&mut world, 0, &port);
    }
}
