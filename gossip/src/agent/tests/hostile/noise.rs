//! Noise: bytes of any kind, and real packets that were damaged, cut short or put together anew.
//!
//! Whatever is heard, nobody panics, what nodes say is understood by the others (the world's driver
//! sees to that), tables stay within their bounds, and when it is over all answers are right again.

use live_objects::overlay::{KNearest, Ranking};
use live_objects::{Attributes, Column, Function, Load, Predicate, Query, Rng};
use proptest::prelude::{ProptestConfig, any, proptest};
use rand::RngExt;

use super::*;
use crate::agent::aggregates::RELAYED_MAX;
use crate::agent::nearest::OBJECTS_MAX;
use crate::agent::queries::RUN_MAX;
use crate::members::MEMBERS_MAX;
use crate::records::Records;

/// All that there is, in use at all who are honest.
fn busy(world: &mut World, liar: usize) -> Vec<Port> {
    let mut ports = Vec::new();
    let columns = vec![Column::Members, Column::Of(Function::Percentile(50), "load".into())];
    let query = Query::new("/dc/*".parse().unwrap(), Predicate::all(), vec![], columns).unwrap();
    for node in 0..liar {
        for summary in [Summary::Quantiles, Summary::Highest, Summary::Variance] {
            let port = open(world, node, &format!("/{summary}").to_lowercase(), summary);
            set(world, node, &port, node as f64);
            ports.push(port);
        }
        let topic = world.open(node, "/t", ObjectType::best_effort_topic());
        world.say(node, &topic, Command::Send(Bytes::from(vec![7; 99])));
        let directory = world.open(node, "/d", ObjectType::directory());
        let key = Bytes::from(format!("key-{node}"));
        world.say(node, &directory, Command::Publish { key, value: "value".into() });
        let nearest = world.open(node, "/mirrors", ObjectType::nearest());
        world.say(node, &nearest, Command::Offer(Load::IDLE));
        let catalog = world.open(node, "/dc/ams", ObjectType::catalog());
        let own = Attributes::default().with("role", "db").unwrap().with("load", 0.5).unwrap();
        world.say(node, &catalog, Command::Describe(own));
        let ranking = Ranking::new(KNearest::<2>);
        let overlay = world.open(node, "/shape", ObjectType::overlay(&ranking.name()));
        world.say(node, &overlay, Command::Stand { profile: None, ranking });
        let asked = world.open(node, query.name().as_str(), ObjectType::query(query.clone()));
        ports.extend([topic, directory, nearest, catalog, overlay, asked]);
    }
    world.run(seconds(3));
    ports
}

/// Where the sections of a packet begin, and its end.
fn sections(packet: &[u8]) -> Vec<usize> {
    let mut begins = vec![packet.len().min(9)];
    while let Some(len) = packet.get(begins[begins.len() - 1] + 1..).and_then(|it| it.get(..2)) {
        let next = begins[begins.len() - 1] + 3 + usize::from(u16::from_be_bytes([len[0], len[1]]));
        begins.push(next.min(packet.len()));
        if next >= packet.len() {
            break;
        }
    }
    begins
}

/// Something that begins as a packet does, mostly.
fn noise(rng: &mut Rng, tape: &[Bytes]) -> Vec<u8> {
    let any = |rng: &mut Rng| &tape[rng.random_range(0..tape.len())];
    let mut packet = any(rng).to_vec();
    match rng.random_range(0..8) {
        0 => {
            let len = rng.random_range(0..200);
            packet = (0..len).map(|_| rng.random()).collect();
        }
        1 => packet.truncate(rng.random_range(0..=packet.len())),
        2..=4 => {
            // A leg of its own, with sections of others.
            for _ in 0..rng.random_range(1..4) {
                let other = any(rng);
                let begins = sections(other);
                let at = rng.random_range(0..begins.len());
                let end = begins.get(at + 1).copied().unwrap_or(other.len());
                packet.extend_from_slice(&other[begins[at].min(end)..end]);
            }
            packet.truncate(1_500);
        }
        _ => {}
    }
    if !packet.is_empty() && rng.random_ratio(3, 4) {
        for _ in 0..rng.random_range(1..5) {
            let at = rng.random_range(0..packet.len());
            packet[at] = [rng.random(), 0, 0xff, packet[at] ^ 1][rng.random_range(0..4)];
        }
    }
    packet
}

fn expect_bounded(world: &World, liar: usize) {
    let bounds = [
        ("gossip.members", MEMBERS_MAX),
        ("gossip.claims", Records::MAX),
        ("gossip.entries", Records::MAX),
        ("gossip.aggregates", RELAYED_MAX),
        ("gossip.nearest", OBJECTS_MAX),
        ("gossip.queries", RUN_MAX),
    ];
    for node in 0..liar {
        for (name, max) in bounds {
            let count = world.count(node, name);
            assert!(count <= max as u64, "{count} of {name} at node {node}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn no_noise_does_any_lasting_harm(seed: [u8; 32], is_over_links in any::<bool>()) {
        let (mut world, liar) = (World::settled(5), 4);
        let ports = shares(&mut world, liar);
        let busy = busy(&mut world, liar);
        world.wire.is_lied_to = true;
        let mut rng = Rng::from_seed(seed);
        for _ in 0..25 {
            let tapes = world.wire.tapes.each_ref().map(|tape| {
                tape.iter().cloned().collect::<Vec<Bytes>>()
            });
            for _ in 0..20 {
                let to = rng.random_range(0..liar);
                if is_over_links && !tapes[1].is_empty() && rng.random_ratio(1, 4) {
                    world.inject_message(id(liar), to, &noise(&mut rng, &tapes[1]));
                } else {
                    world.inject(id(liar), to, &noise(&mut rng, &tapes[0]));
                }
            }
            world.run(PERIOD / 2);
            busy.iter().for_each(|port| std::iter::from_fn(|| port.try_next()).for_each(drop));
            expect_bounded(&world, liar);
        }
        assert!(all_counted(&world, liar, "gossip.malformed"));
        world.crash(liar);
        world.run(seconds(60));
        expect_bounded(&world, liar);
        let those = world.those(&[0, 1, 2, 3]);
        (0..liar).for_each(|node| assert_eq!(world.members(node), those));
        expect_exact(&ports);
    }
}
