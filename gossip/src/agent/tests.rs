//! Stories of a few nodes that hand each other bytes. Large clusters and bad networks are told in
//! the simulator's scenarios.

mod aggregates;
mod graves;
mod hostile;
mod inquiries;
mod metadata;
mod nearest;
mod news;
mod overlays;
mod payloads;
mod queries;
mod searches;
mod sketches;
mod soft;
mod view;
mod world;

use core::time::Duration;

use live_objects::{
    Agreement, Command, Departure, Kind, Lack, MembersEvent, Module, NodeId, ObjectType, Port,
    Properties, Rng,
};
use proptest::prelude::{ProptestConfig, any, prop, proptest};
use rand::RngExt;

use self::world::{World, credential, id};
use crate::control::{Control, Known};
use crate::entry::tests::entry;
use crate::entry::{Entry, Generation, Standing};
use crate::members::TOMBSTONES_MAX;
use crate::wire::{Leg, Packet};
use crate::{Config, Gossip};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn it_offers_what_it_keeps() {
    let gossip = Gossip::default();
    assert!(gossip.offers(&ObjectType::members(Agreement::Eventual)).is_ok());
    let weaker = Lack::Properties(Properties::of_agreement(Agreement::Eventual));
    assert_eq!(gossip.offers(&ObjectType::members(Agreement::Views)), Err(weaker));
    assert!(gossip.offers(&ObjectType::soft_state()).is_ok());
    let epidemic = Lack::Properties(Properties::epidemic());
    assert_eq!(gossip.offers(&ObjectType::replicated()), Err(epidemic));
    let custom = ObjectType::custom("thing", Agreement::Eventual);
    assert!(matches!(custom.kind, Kind::Custom(_)) && gossip.offers(&custom).is_err());
}

#[test]
fn newcomers_join_through_a_seed() {
    let mut world = World::new();
    (0..3).for_each(|node| world.start(node, &[0], 1_000));
    world.run(seconds(1));
    let all = world.those(&[0, 1, 2]);
    for node in 0..3 {
        assert_eq!(world.members(node), all);
        let events = world.events(node);
        assert_eq!(events[0], MembersEvent::Roster(world.those(&[node])));
        assert_eq!(events.len(), 3, "a roster and two arrivals: {events:?}");
    }
}

/// A node counts those in its own small zone itself: it must hear of them however much there is to
/// say of others.
#[test]
fn news_of_others_leaves_room_for_those_beside() {
    let mut world = World::settled(2);
    let of = |number: u8, node: [u8; NodeId::LEN]| {
        let mut entry = entry(number, 1);
        entry.member.node = NodeId::from_bytes(node);
        entry
    };
    let own = *id(0).as_bytes();
    let far = |number: u8| {
        let mut node = [number; NodeId::LEN];
        node[0] = !own[0] & 0x80 | number;
        of(number, node)
    };
    let beside = |number: u8| {
        let mut node = own;
        node[NodeId::LEN - 1] ^= number + 1;
        of(number, node)
    };
    let hear = |world: &mut World, entry: Entry| {
        let mut packet = Packet::new(Leg::Push);
        packet.entries.push(entry);
        world.wire.tapes[0].clear();
        world.inject(id(1), 0, &packet.encode());
        world.wire.tapes[0].len()
    };
    for number in 0..100 {
        hear(&mut world, beside(number));
        hear(&mut world, far(number));
    }
    world.run(3 * Config::default().period);
    let pushed: Vec<usize> = (100..120).map(|number| hear(&mut world, far(number))).collect();
    assert!(pushed[0] > 0 && pushed[19] == 0, "{pushed:?}");
    assert!(hear(&mut world, beside(100)) > 0);
}

#[test]
fn a_seed_that_starts_later_is_found() {
    let mut world = World::new();
    world.start(0, &[1], 1_000);
    world.run(seconds(7));
    world.start(1, &[], 1_000);
    world.run(seconds(2));
    assert_eq!(world.members(1), world.those(&[0, 1]));
}

#[test]
fn a_crash_is_suspected_first_and_then_certain() {
    let mut world = World::settled(5);
    (0..5).for_each(|node| drop(world.events(node)));
    let gone = world.nodes[4].member;
    world.crash(4);
    world.run(seconds(10));
    for node in 0..4 {
        let expected = [MembersEvent::Suspect(gone), MembersEvent::Down(gone, Departure::Failed)];
        assert_eq!(world.events(node), expected);
        assert_eq!(world.members(node), world.those(&[0, 1, 2, 3]));
    }
}

#[test]
fn a_member_behind_a_broken_path_is_probed_through_others() {
    let mut world = World::settled(5);
    (0..5).for_each(|node| drop(world.events(node)));
    world.wire.cut.extend([(0, 1), (1, 0)]);
    world.run(seconds(60));
    (0..5).for_each(|node| assert_eq!(world.events(node), []));
}

#[test]
fn where_a_quarter_is_lost_nobody_is_buried() {
    let mut world = World::settled(20);
    (0..20).for_each(|node| drop(world.events(node)));
    world.wire.loss_percent = 25;
    world.run(seconds(120));
    let is_down = |event: &MembersEvent| matches!(event, MembersEvent::Down(..));
    (0..20).for_each(|node| assert!(!world.events(node).iter().any(is_down)));
}

#[test]
fn a_false_suspicion_is_refuted() {
    let mut world = World::settled(3);
    (0..3).for_each(|node| drop(world.events(node)));
    let wronged = world.nodes[1].member;
    let mut rumor = Packet::new(Leg::Rest { number: 1 });
    rumor.entries.push(Entry {
        member: wronged,
        generation: Generation::at_start(1_000),
        standing: Standing::Suspect,
        ..entry(1, 1)
    });
    rumor.entries[0].addresses = vec!["10.0.0.1:7001".parse().unwrap()].try_into().unwrap();
    rumor.entries[0].credential = credential(1).try_into().unwrap();
    world.inject(id(2), 0, &rumor.encode());
    world.run(seconds(5));
    for node in [0, 2] {
        let events = world.events(node);
        assert_eq!(events.last(), Some(&MembersEvent::Cleared(wronged)), "{events:?}");
    }
    assert_eq!(world.count(1, "gossip.refuted"), 1);
    assert_eq!(world.events(1), []);
}

#[test]
fn who_leaves_is_not_suspected() {
    let mut world = World::settled(4);
    (0..4).for_each(|node| drop(world.events(node)));
    let gone = world.nodes[3].member;
    world.nodes[3].stack.stop();
    world.step(3, Vec::new());
    assert!(world.nodes[3].stack.is_stopped());
    world.run(seconds(10));
    for node in 0..3 {
        assert_eq!(world.events(node), [MembersEvent::Down(gone, Departure::Left)]);
    }
    assert_eq!(world.nodes[3].stack.next_wake(), None);
}

/// The clock may have been set back: what the others remember is overridden all the same.
#[test]
fn a_node_that_starts_again_is_a_new_member() {
    for unix_ms in [2_000, 10] {
        let mut world = World::settled(3);
        (0..3).for_each(|node| drop(world.events(node)));
        let former = world.nodes[2].member;
        world.crash(2);
        world.start(2, &[0], unix_ms);
        world.run(seconds(3));
        let now = world.nodes[2].member;
        for node in 0..2 {
            let events = world.events(node);
            let replaced = [MembersEvent::Down(former, Departure::Failed), MembersEvent::Up(now)];
            assert!(events.ends_with(&replaced), "{events:?}");
        }
        (0..3).for_each(|node| assert_eq!(world.members(node), world.those(&[0, 1, 2])));
    }
}

#[test]
fn both_halves_of_a_partition_come_back_without_burying_their_own() {
    let mut world = World::settled(6);
    (0..6).for_each(|node| drop(world.events(node)));
    world.part(&[0, 1, 2], &[3, 4, 5]);
    world.run(seconds(60));
    (0..3).for_each(|node| assert_eq!(world.members(node), world.those(&[0, 1, 2])));
    (3..6).for_each(|node| assert_eq!(world.members(node), world.those(&[3, 4, 5])));
    (0..6).for_each(|node| drop(world.events(node)));
    world.wire.cut.clear();
    world.run(seconds(30));
    for node in 0..6 {
        assert_eq!(world.members(node), world.those(&[0, 1, 2, 3, 4, 5]));
        let is_down = |event: &MembersEvent| matches!(event, MembersEvent::Down(..));
        let events = world.events(node);
        assert!(!events.iter().any(is_down), "{events:?}");
    }
}

#[test]
fn clusters_that_share_a_seed_become_one() {
    let mut world = World::new();
    world.part(&[0, 1, 2], &[3, 4, 5]);
    (0..3).for_each(|node| world.start(node, &[0, 3], 1_000));
    (3..6).for_each(|node| world.start(node, &[3], 1_000));
    world.run(seconds(5));
    assert_eq!(world.members(1), world.those(&[0, 1, 2]));
    world.wire.cut.clear();
    world.run(seconds(20));
    (0..6).for_each(|node| assert_eq!(world.members(node), world.those(&[0, 1, 2, 3, 4, 5])));
}

#[test]
fn a_table_comes_in_pieces_as_there_is_room() {
    let mut world = World::new();
    world.start(0, &[], 1_000);
    world.bury_many(&[0]);
    world.wire.room = 1_000;
    world.start(1, &[0], 1_000);
    world.run(seconds(1));
    assert_eq!(world.members(1), world.those(&[0, 1]));
    let pieces = world.wire.bulk[&(0, 1)];
    assert!(pieces as usize > TOMBSTONES_MAX * 50 / 1_000, "{pieces} pieces");
    world.run(seconds(4));
    assert_eq!(world.wire.bulk[&(0, 1)], pieces, "a table is pulled once");
}

#[test]
fn what_a_newcomer_pulled_is_not_passed_on() {
    let mut world = World::settled(3);
    world.bury_many(&[0]);
    // The tombstones are news of node 0 until it has passed them on often enough.
    world.run(seconds(60));
    world.start(3, &[0], 1_000);
    world.run(seconds(1));
    let before = world.wire.datagram_bytes;
    world.run(seconds(5));
    let a_round = (world.wire.datagram_bytes - before) / (4 * 25);
    assert!(a_round < 200, "{a_round} bytes a node and round");
}

#[test]
fn a_pull_that_breaks_off_goes_on_elsewhere() {
    let mut world = World::settled(3);
    world.bury_many(&[1, 2]);
    world.wire.room = 1_000;
    world.start(3, &[1, 2], 1_000);
    world.run(Duration::from_millis(40));
    world.crash(1);
    world.run(seconds(10));
    assert_eq!(world.members(3), world.those(&[0, 2, 3]));
    let (broken, whole) = (world.wire.bulk[&(1, 3)], world.wire.bulk[&(2, 3)]);
    assert!(0 < broken && broken < whole, "{broken} pieces, then {whole}");
}

#[test]
fn a_slow_reader_gets_a_roster_when_it_has_caught_up() {
    let mut world = World::settled(2);
    let flood = Port::EVENTS_BYTES_MAX / 64;
    for generation in 0..flood as u64 {
        let mut rumor = Packet::new(Leg::Rest { number: 1 });
        let standing = if generation % 2 == 0 { Standing::Alive } else { Standing::Left };
        let mut flapping = entry(9, 2_000 + generation).as_standing(standing);
        flapping.member.node = id(1_000);
        rumor.entries.push(flapping);
        world.inject(id(1), 0, &rumor.encode());
    }
    let events = world.events(0);
    assert!(!events[1..].iter().any(|event| matches!(event, MembersEvent::Roster(_))));
    world.step(0, Vec::new());
    let events = world.events(0);
    assert_eq!(events, [MembersEvent::Roster(world.those(&[0, 1]))]);
}

#[test]
fn an_absurd_generation_locks_nobody_out() {
    let mut world = World::settled(2);
    let mut absurd = Packet::new(Leg::Rest { number: 1 });
    absurd.entries.push(entry(1, 1).as_standing(Standing::Faulty));
    absurd.entries[0].member = world.nodes[0].member;
    let mut bytes = absurd.encode().to_vec();
    let at = 12 + 32;
    bytes[at..at + 8].copy_from_slice(&u64::MAX.to_be_bytes());
    world.inject(id(0), 1, &bytes);
    world.inject(id(1), 0, &bytes);
    assert_eq!(world.count(0, "gossip.malformed"), 1);
    assert_eq!(world.count(1, "gossip.malformed"), 1);
    // A clock gone mad is no different from any other.
    world.crash(0);
    world.start(0, &[1], u64::MAX);
    world.run(seconds(3));
    assert_eq!(world.members(1), world.those(&[0, 1]));
    world.crash(0);
    world.start(0, &[1], 1_000);
    world.run(seconds(3));
    assert_eq!(world.members(1), world.those(&[0, 1]));
}

#[test]
fn what_is_asked_wrongly_is_counted() {
    let mut world = World::settled(2);
    world.inject(id(1), 0, &Packet::new(Leg::Ack { number: 77 }).encode());
    assert_eq!(world.count(0, "gossip.unsolicited"), 1);
    for target in [id(0), id(55)] {
        world.inject(id(1), 0, &Packet::new(Leg::ProbeRequest { number: 1, target }).encode());
    }
    assert_eq!(world.count(0, "gossip.request_for_nobody"), 2);
    world.inject(id(1), 0, &[99, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(world.count(0, "gossip.unknown_leg"), 1);
    let known = Known { behind: None, up_to: id(1), hashes: Vec::new() };
    world.inject_message(id(1), 0, &Control::Pull { entry: entry(7, 1), known }.encode());
    assert_eq!(world.count(0, "gossip.malformed"), 1);
}

#[test]
fn commands_to_an_object_without_commands_do_not_pile_up() {
    let mut world = World::settled(1);
    world.nodes[0].port.try_send(Command::Custom("hello".into())).unwrap();
    world.step(0, Vec::new());
    assert_eq!(world.count(0, "gossip.unknown_command"), 1);
}

#[test]
fn at_rest_a_round_costs_little() {
    let mut world = World::settled(10);
    world.run(seconds(20));
    let before = world.wire.datagram_bytes;
    world.run(seconds(20));
    let seals = 16 * 2;
    let a_round = (world.wire.datagram_bytes - before) / (10 * 20 * 5) + seals;
    assert!(a_round <= 130, "{a_round} bytes a node and round");
}

#[test]
fn before_its_start_and_after_its_stop_it_is_idle() {
    let gossip = Gossip::default();
    assert_eq!(gossip.next_wake(), None);
    let mut world = World::settled(2);
    world.nodes[0].stack.stop();
    world.step(0, Vec::new());
    assert!(world.nodes[0].stack.is_stopped());
    let counts = world.nodes[0].stack.counts().clone();
    world.inject(id(1), 0, &[1, 2, 3]);
    assert_eq!(world.nodes[0].stack.counts(), &counts);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_make_it_panic(
        seed: [u8; 32],
        bodies in prop::collection::vec(any::<Vec<u8>>(), 1..9),
    ) {
        let mut world = World::settled(2);
        let mut rng = Rng::from_seed(seed);
        for mut body in bodies {
            // Often with a beginning that is right.
            if let Some(first) = body.first_mut() {
                *first = rng.random_range(0..6);
            }
            world.inject(id(1), 0, &body);
            world.inject_message(id(1), 0, &body);
        }
        world.run(seconds(1));
    }
}
