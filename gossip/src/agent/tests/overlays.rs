//! Stories of overlays in a few nodes.

use live_objects::overlay::{Descriptor, KNearest, Profile, Ranking, Ring, Tree};
use live_objects::{
    Command, Event, Incarnation, Load, Member, Module, ObjectId, ObjectType, Port, Refusal, Spec,
};
use proptest::prelude::{ProptestConfig, any, prop, proptest};

use super::seconds;
use super::world::{World, id};
use crate::Gossip;
use crate::agent::nearest::life;
use crate::agent::overlays::PARTS_MAX;
use crate::digest::halves;
use crate::stands::{STANDS_MAX, Stand};
use crate::wire::stands::tests::sections;
use crate::wire::stands::{StandsSection, ToldStands};
use crate::wire::{Leg, Packet};
use crate::zones::row::Round;

fn open(world: &mut World, node: usize, name: &str, ranking: &Ranking) -> Port {
    world.open(node, name, ObjectType::overlay(&ranking.name()))
}

fn stand(world: &mut World, node: usize, port: &Port, profile: Option<f64>, ranking: &Ranking) {
    let profile = profile.map(|at| Profile::new(&[at]).unwrap());
    world.say(node, port, Command::Stand { profile, ranking: ranking.clone() });
}

/// These nodes open it, and each stands at its number.
fn stood(world: &mut World, nodes: &[usize], ranking: &Ranking) -> Vec<Port> {
    let each = |node: &usize| {
        let port = open(world, *node, "/overlay", ranking);
        stand(world, *node, &port, Some(*node as f64 / 100.0), ranking);
        port
    };
    nodes.iter().map(each).collect()
}

/// Where this node stands, and its neighbours, by what is told last since it was looked at.
fn last(port: &Port) -> Option<(Descriptor, Vec<Descriptor>)> {
    let told = std::iter::from_fn(|| port.try_next()).last()?;
    let Event::Neighbours { me, neighbours } = told else { panic!("{told:?}") };
    Some((me, neighbours))
}

fn neighbours(port: &Port) -> Vec<Member> {
    let (_, neighbours) = last(port).expect("something was told");
    neighbours.iter().map(|it| it.member).collect()
}

fn members(world: &World, nodes: &[usize]) -> Vec<Member> {
    nodes.iter().map(|node| world.nodes[*node].member).collect()
}

#[test]
fn it_carries_overlays_of_any_rank() {
    assert!(Gossip::default().offers(&ObjectType::overlay("example.row")).is_ok());
}

#[test]
fn who_stands_alone_is_told_so_and_where_it_stands() {
    let mut world = World::settled(2);
    let ring = Ranking::new(Ring);
    let port = open(&mut world, 0, "/overlay", &ring);
    assert_eq!(last(&port), None, "it stands nowhere");
    stand(&mut world, 0, &port, None, &ring);
    let member = world.nodes[0].member;
    let me = Descriptor { member, profile: Profile::of_node(member.node) };
    assert_eq!(last(&port), Some((me, Vec::new())));
    stand(&mut world, 0, &port, Some(0.25), &ring);
    let me = Descriptor { profile: Profile::new(&[0.25]).unwrap(), ..me };
    assert_eq!(last(&port), Some((me, Vec::new())));
    stand(&mut world, 0, &port, Some(0.5), &Ranking::new(Tree));
    assert_eq!((last(&port), world.count(0, "gossip.other_rank")), (None, 1));
    port.try_send(Command::Offer(Load::IDLE)).unwrap();
    world.step(0, Vec::new());
    assert_eq!(world.count(0, "gossip.unknown_command"), 1);
}

#[test]
fn a_name_that_has_another_rank_is_refused() {
    let mut world = World::settled(2);
    let _port = open(&mut world, 0, "/overlay", &Ranking::new(KNearest::<8>));
    world.run(seconds(2));
    let spec = Spec::new("/overlay".parse().unwrap(), ObjectType::overlay("7 nearest"));
    let port = world.nodes[1].stack.open(spec).unwrap();
    world.step(1, Vec::new());
    let refused = port.try_next();
    assert!(matches!(refused, Some(Event::Refused(Refusal::Held { .. }))), "{refused:?}");
}

/// A few of many have it open. The others say nothing of it.
#[test]
fn a_ring_closes_over_who_crashes_leaves_or_comes() {
    let mut world = World::settled(20);
    let ring = Ranking::new(Ring);
    let ports = stood(&mut world, &[3, 5, 8, 9, 13, 17], &ring);
    world.run(seconds(15));
    assert_eq!(neighbours(&ports[0]), members(&world, &[5, 17]));
    assert_eq!(neighbours(&ports[2]), members(&world, &[9, 5]));
    world.crash(9);
    world.run(seconds(15));
    assert_eq!(neighbours(&ports[2]), members(&world, &[13, 5]));
    assert_eq!(neighbours(&ports[4]), members(&world, &[17, 8]));
    ports[0].close();
    world.step(3, Vec::new());
    world.run(seconds(5));
    assert_eq!(neighbours(&ports[1]), members(&world, &[8, 17]));
    let newcomer = stood(&mut world, &[6], &ring).remove(0);
    world.run(seconds(15));
    assert_eq!(neighbours(&newcomer), members(&world, &[8, 5]));
    assert_eq!(neighbours(&ports[1]), members(&world, &[6, 17]));
    // Back, and elsewhere: in a former life it stood at 0.09.
    world.start(9, &[0], 9_000);
    world.run(seconds(10));
    let back = open(&mut world, 9, "/overlay", &ring);
    stand(&mut world, 9, &back, Some(0.07), &ring);
    world.run(seconds(15));
    assert_eq!(neighbours(&back), members(&world, &[8, 6]));
    stand(&mut world, 9, &back, Some(0.15), &ring);
    world.run(seconds(5));
    assert_eq!(neighbours(&back), members(&world, &[17, 13]));
    assert_eq!(neighbours(&ports[2]), members(&world, &[13, 6]));
}

#[test]
fn when_all_have_closed_it_costs_nothing_and_at_rest_little() {
    let mut world = World::settled(8);
    let ports = stood(&mut world, &[0, 1, 2, 3, 4, 5, 6, 7], &Ranking::new(Tree));
    let rate = |world: &mut World| {
        let before = world.wire.datagram_bytes;
        world.run(seconds(20));
        (world.wire.datagram_bytes - before) / (8 * 20)
    };
    world.run(seconds(20));
    let with = rate(&mut world);
    for (node, port) in ports.iter().enumerate() {
        port.close();
        world.step(node, Vec::new());
    }
    world.run(seconds(130));
    let without = rate(&mut world);
    // A probe, an ack, and in each the digest of the names that were claimed.
    assert!(without <= 98 + 2 * 11, "{without} bytes a node and second: somebody remembers");
    assert!(with <= 3 * without, "{with} bytes a node and second at rest");
    assert!(world.wire.datagram_longest <= 1_200 - 28);
}

fn half(member: Member) -> u64 {
    halves(member.node.as_bytes())[0]
}

fn packet(round: Round, told: Vec<ToldStands>) -> Packet {
    let mut section = StandsSection::new(round);
    section.told = told;
    let mut packet = Packet::new(Leg::Push);
    (packet.round, packet.stands) = (round, Some(section));
    packet
}

/// About the round that it is.
fn round_of(world: &World) -> Round {
    let periods = world.now.as_nanos() / seconds(1).as_nanos() as u64 * 5;
    Round::FIRST.shifted(periods as i64)
}

fn object() -> ObjectId {
    "/overlay".parse::<live_objects::Name>().unwrap().id()
}

fn told(stands: Vec<Stand>) -> Vec<ToldStands> {
    vec![ToldStands { object: object(), hurries: true, stands }]
}

#[test]
fn what_cannot_be_is_counted_and_what_does_not_concern_it_passed_over() {
    let mut world = World::settled(4);
    let ring = Ranking::new(Ring);
    let port = stood(&mut world, &[0], &ring).remove(0);
    let (owner, round) = (world.nodes[2].member, round_of(&world));
    let profile = Profile::new(&[0.5]).unwrap();
    let stand =
        Stand { owner: half(owner), life: life(owner), stamp: round, profile, is_withdrawn: false };
    let ahead = packet(round.shifted(99), told(vec![stand]));
    world.inject(id(1), 0, &ahead.encode());
    assert_eq!(world.count(0, "gossip.stands_ahead"), 1);
    let former = Member { incarnation: Incarnation::from_bytes([7; 16]), ..owner };
    let odd = [Stand { owner: 7, ..stand }, Stand { life: life(former), ..stand }];
    world.inject(id(1), 0, &packet(round, told(odd.to_vec())).encode());
    assert_eq!(world.count(0, "gossip.stand_of_nobody"), 2);
    let own = Stand { owner: half(world.nodes[0].member), ..stand };
    let old = Stand { stamp: round.shifted(-9_999), ..stand };
    let mut passed = told(vec![own, old]);
    passed
        .push(ToldStands { object: ObjectId::from_bytes([9; 16]), ..told(vec![stand]).remove(0) });
    world.inject(id(1), 0, &packet(round, passed).encode());
    assert!(neighbours(&port).is_empty());
    world.inject(id(1), 0, &packet(round, told(vec![stand])).encode());
    assert_eq!(neighbours(&port), members(&world, &[2]));
}

/// More take part than a node keeps, and than a packet has room for, at places of four numbers.
#[test]
fn of_many_the_best_are_kept() {
    let nodes = STANDS_MAX + 16;
    let mut world = World::settled(nodes);
    let ranking = Ranking::new(KNearest::<4>);
    let ports: Vec<Port> = (0..nodes)
        .map(|node| {
            let port = open(&mut world, node, "/overlay", &ranking);
            let profile = Some(Profile::new(&[node as f64, 1e-9, -1e9, 7.0]).unwrap());
            port.try_send(Command::Stand { profile, ranking: ranking.clone() }).unwrap();
            world.step(node, Vec::new());
            port
        })
        .collect();
    world.run(seconds(20));
    for (node, port) in ports.iter().enumerate().skip(2).take(nodes - 4) {
        let mut told = neighbours(port);
        told.sort();
        let mut right = members(&world, &[node - 2, node - 1, node + 1, node + 2]);
        right.sort();
        assert_eq!(told, right, "node {node}");
    }
    assert!(world.wire.datagram_longest <= 1_200 - 28);
}

/// Many are left one after the other: no more of them are remembered than there may be.
#[test]
fn overlays_that_were_left_are_few() {
    let mut world = World::settled(2);
    let ring = Ranking::new(Ring);
    for number in 0..PARTS_MAX + 9 {
        let port = open(&mut world, 0, &format!("/overlay/{number}"), &ring);
        stand(&mut world, 0, &port, None, &ring);
        port.close();
        world.step(0, Vec::new());
    }
    world.run(seconds(2));
    let ports = stood(&mut world, &[0, 1], &ring);
    world.run(seconds(60));
    assert_eq!(neighbours(&ports[0]), members(&world, &[1]));
    assert!(world.wire.datagram_longest <= 1_200 - 28);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever is said of who stands where, nodes go on.
    #[test]
    fn nothing_that_is_said_makes_it_panic(
        said in prop::collection::vec((sections(Round::FIRST), any::<bool>(), 0..3_u8), 1..9),
        number: u32,
        seed in any::<u8>(),
    ) {
        let mut world = World::settled(3);
        let port = stood(&mut world, &[0], &Ranking::new(Tree)).remove(0);
        let owner = world.nodes[2].member;
        for (mut section, concerns, leg) in said {
            for told in section.told.iter_mut().filter(|_| concerns) {
                told.object = object();
                for stand in told.stands.iter_mut().skip(1) {
                    (stand.owner, stand.life) = (half(owner), life(owner));
                }
            }
            let leg = match leg {
                0 => Leg::Probe { number },
                1 => Leg::Ack { number },
                _ => Leg::Push,
            };
            let mut packet = Packet::new(leg);
            packet.stands = Some(section);
            world.inject(id(1 + usize::from(seed % 2)), 0, &packet.encode());
        }
        world.run(seconds(5));
        last(&port).expect("it was told that it stands");
    }
}
