//! Stories of aggregates that are more than numbers, in a few nodes.

use core::time::Duration;

use bytes::Bytes;
use live_objects::sketch::{Distinct, Histogram, Quantiles, Sketch, TopK};
use live_objects::{Command, Estimate, NodeId, ObjectType, Port, Share, Spec, Summary};

use super::aggregates::{last, open, set};
use super::seconds;
use super::world::{World, id};
use crate::wire::PACKET_LEN_MAX;

/// What a node gives to each, which is as large as sketches are.
fn share(node: usize, summary: Summary) -> Share {
    let numbers = (node * 500..node * 500 + 1_000).map(|number| number as f64);
    match summary {
        Summary::Quantiles => {
            let mut sketch = Quantiles::new();
            numbers.for_each(|number| sketch.record(number).unwrap());
            Sketch::Quantiles(sketch).into()
        }
        Summary::Distinct => {
            let mut sketch = Distinct::new();
            numbers.for_each(|number| sketch.insert(&number.to_be_bytes()));
            Sketch::Distinct(sketch).into()
        }
        Summary::TopK => {
            let mut sketch = TopK::new();
            for key in 1..200_u64 {
                sketch.add(format!("key-{key}").as_bytes(), 10_000 / key).unwrap();
            }
            Sketch::TopK(sketch).into()
        }
        Summary::Histogram => {
            let mut sketch = Histogram::new(&[10.0, 1_000.0]).unwrap();
            numbers.for_each(|number| sketch.record(number).unwrap());
            Sketch::Histogram(sketch).into()
        }
        _ => Share::new(node as f64).unwrap(),
    }
}

const KINDS: [Summary; 7] = [
    Summary::Variance,
    Summary::Quantiles,
    Summary::Distinct,
    Summary::TopK,
    Summary::Highest,
    Summary::Histogram,
    Summary::Rate,
];

/// Opened at all nodes, and shares given to all: by kind, and by node.
fn opened(world: &mut World, nodes: usize) -> Vec<Vec<Port>> {
    let mut open_all = |summary: Summary| {
        let name = format!("/{summary}").to_lowercase();
        let of = |node| {
            let port = open(world, node, &name, summary);
            world.say(node, &port, Command::Set(share(node, summary)));
            port
        };
        (0..nodes).map(of).collect()
    };
    KINDS.map(&mut open_all).into()
}

#[test]
fn all_nodes_come_to_the_same_sketches_and_they_are_right() {
    let mut world = World::settled(6);
    let ports = opened(&mut world, 6);
    world.run(seconds(10));
    let told: Vec<Vec<Estimate>> =
        ports.iter().map(|ports| ports.iter().map(|port| last(port).unwrap()).collect()).collect();
    for (kind, told) in KINDS.iter().zip(&told) {
        for one in told {
            assert_eq!((one.members, one.value), (6, told[0].value), "{kind}");
            assert_eq!((one.top(), one.quantiles()), (told[0].top(), told[0].quantiles()));
        }
    }
    let [variance, quantiles, distinct, top, highest, histogram, rate] =
        [0, 1, 2, 3, 4, 5, 6].map(|kind: usize| &told[kind][0]);
    assert!((variance.value.unwrap() - 35.0 / 12.0).abs() < 1e-12);
    let p99 = quantiles.quantile(0.99).unwrap();
    assert!((p99 / 3_440.0 - 1.0).abs() < 0.02, "{p99}");
    let error = distinct.value.unwrap() / 3_500.0 - 1.0;
    assert!(error.abs() < 3.0 * Distinct::ERROR, "{error}");
    for (heavy, key) in top.top().iter().zip(1..=10_u64) {
        assert_eq!(heavy.key, format!("key-{key}"));
        let truth = 6 * (10_000 / key);
        assert!((heavy.weight..=heavy.weight + heavy.bound).contains(&truth));
    }
    let nodes: Vec<NodeId> = highest.highest().iter().map(|high| high.node).collect();
    assert_eq!(nodes, [5, 4, 3, 2, 1, 0].map(id));
    assert_eq!(histogram.histogram().unwrap().counts(), [11, 1_491, 4_498]);
    assert_eq!(rate.value, Some(15.0));
    assert!(world.wire.datagram_longest <= PACKET_LEN_MAX + 4);
}

/// Sketches that are all there are repeated seldom: each exchange asks for some of the oldest.
#[test]
fn sketches_at_rest_cost_little() {
    let mut world = World::settled(6);
    let _ports = opened(&mut world, 6);
    world.run(seconds(20));
    let before = world.wire.datagram_bytes;
    world.run(seconds(20));
    let a_round = (world.wire.datagram_bytes - before) / (6 * 20 * 5);
    assert!(a_round <= 1_000, "{a_round} bytes a node and round");
}

/// Those whose shares are gone say so, or what others hold of them would stay for minutes.
#[test]
fn a_sketch_of_which_all_let_go_is_forgotten() {
    let mut world = World::settled(12);
    let ports: Vec<Port> = (0..12)
        .map(|node| {
            let port = open(&mut world, node, "/visitors", Summary::Distinct);
            world.say(node, &port, Command::Set(share(node, Summary::Distinct)));
            port
        })
        .collect();
    world.run(seconds(10));
    assert_eq!(last(&ports[0]).map(|told| told.members), Some(12));
    for (node, port) in ports.iter().enumerate() {
        port.close();
        world.step(node, Vec::new());
    }
    world.run(seconds(15));
    for node in 0..12 {
        let late = open(&mut world, node, "/visitors", Summary::Distinct);
        assert_eq!(last(&late).map(|told| told.members), Some(0), "node {node}");
    }
}

#[test]
fn a_share_of_another_kind_is_not_taken() {
    let mut world = World::settled(1);
    let port = open(&mut world, 0, "/visitors", Summary::Distinct);
    set(&mut world, 0, &port, 1.0);
    world.say(0, &port, Command::Set(share(0, Summary::TopK)));
    let span = Some(Duration::ZERO);
    let rate = open(&mut world, 0, "/rate", Summary::Rate);
    world.say(0, &rate, Command::Add { share: share(1, Summary::Rate), span });
    assert_eq!(world.count(0, "gossip.unfit_share"), 3);
    assert_eq!(last(&port).map(|told| told.members), Some(0));
}

/// What was added for a span counts for that span, at all nodes.
#[test]
fn what_is_added_for_a_span_falls_out() {
    let mut world = World::settled(3);
    let ports = [0, 1, 2].map(|node| open(&mut world, node, "/latency", Summary::Quantiles));
    let rates = [0, 1, 2].map(|node| open(&mut world, node, "/rate", Summary::Rate));
    let span = Some(seconds(10));
    for node in 0..3 {
        let add = |value: f64| Command::Add { share: Share::new(value).unwrap(), span };
        world.say(node, &ports[node], add(node as f64));
        world.say(node, &ports[node], add(100.0));
        world.say(node, &rates[node], add(50.0));
    }
    world.run(seconds(5));
    for node in 0..3 {
        let told = last(&ports[node]).unwrap();
        assert_eq!((told.members, told.quantiles().count()), (3, 6));
        let rate = last(&rates[node]).unwrap().value.unwrap();
        assert!((13.0..=15.0).contains(&rate), "{rate} a second");
    }
    world.run(seconds(15));
    for node in 0..3 {
        assert_eq!(last(&ports[node]).unwrap().members, 0);
        let rate = last(&rates[node]).unwrap();
        assert_eq!((rate.value, rate.members), (Some(0.0), 3), "who counts nothing counts");
    }
}

/// Who counted nothing lately has no part in the mean, and who weighs nothing counts for nothing.
#[test]
fn a_mean_goes_by_what_was_weighed_lately() {
    let mut world = World::settled(3);
    let mean = Summary::WeightedAverage;
    let ports = [0, 1, 2].map(|node| open(&mut world, node, "/latency", mean));
    let share = |value, weight| Share::weighted(value, weight).unwrap();
    world.say(0, &ports[0], Command::Set(share(10.0, 3.0)));
    world.say(1, &ports[1], Command::Add { share: share(50.0, 1.0), span: Some(seconds(10)) });
    world.say(2, &ports[2], Command::Set(share(7.0, 0.0)));
    world.run(seconds(5));
    let told = |port: &Port| last(port).map(|told| (told.value, told.members));
    for port in &ports {
        assert_eq!(told(port), Some((Some(20.0), 3)));
    }
    world.run(seconds(15));
    for port in &ports {
        assert_eq!(told(port), Some((Some(10.0), 2)));
    }
    world.say(0, &ports[0], Command::Set(share(10.0, 0.0)));
    world.run(seconds(5));
    for port in &ports {
        assert_eq!(told(port), Some((None, 2)), "nothing has a weight");
    }
    let sum = open(&mut world, 0, "/sum", Summary::Sum);
    world.say(0, &sum, Command::Set(share(1.0, 1.0)));
    assert_eq!(world.count(0, "gossip.unfit_share"), 1);
}

/// Those whose ranges are others than most are not counted, and nothing comes of it but that.
#[test]
fn histograms_of_other_ranges_do_not_mix() {
    let mut world = World::settled(4);
    let ports = [0, 1, 2, 3].map(|node| open(&mut world, node, "/sizes", Summary::Histogram));
    for (node, port) in ports.iter().enumerate() {
        let mut sketch = Histogram::new(if node == 2 { &[1.0] } else { &[2.0] }).unwrap();
        (0..=node).for_each(|_| sketch.record(1.5).unwrap());
        world.say(node, port, Command::Set(Sketch::Histogram(sketch).into()));
    }
    world.run(seconds(5));
    let told = ports.map(|port| last(&port).unwrap());
    for one in &told {
        assert_eq!(one.histogram(), told[0].histogram());
        assert_eq!(one.members, told[0].members);
        assert!(one.members < 4);
    }
}

/// News that never ends, from all, does not keep sketches from coming round.
#[test]
fn news_leaves_room_for_sketches() {
    let mut world = World::settled(4);
    let news = Spec::new("/news".parse().unwrap(), ObjectType::best_effort_topic());
    let mut ports = Vec::new();
    for node in 0..4 {
        let topic = world.nodes[node].stack.open(news.clone()).unwrap();
        let visitors = open(&mut world, node, "/visitors", Summary::Distinct);
        world.say(node, &visitors, Command::Set(share(node, Summary::Distinct)));
        ports.push((topic, visitors));
    }
    for _ in 0..100 {
        for (node, (topic, _)) in ports.iter().enumerate() {
            let _ = topic.try_send(Command::Send(Bytes::from(vec![0; 400])));
            world.step(node, Vec::new());
            while topic.try_next().is_some() {}
        }
        world.run(Duration::from_millis(50));
    }
    for (_, visitors) in &ports {
        assert_eq!(last(visitors).map(|last| last.members), Some(4));
    }
}
