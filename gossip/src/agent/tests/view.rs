//! Stories of a cluster of which every node keeps a part: 300 nodes, in eight neighbourhoods.

use core::time::Duration;
use std::collections::BTreeSet;

use live_objects::{
    Command, Departure, DirectoryEvent, Event, Member, MembersEvent, NodeId, ObjectType, Share,
    Summary, Told, TopicEvent,
};

use super::seconds;
use super::world::{World, id};
use super::{aggregates, searches};
use crate::Config;
use crate::control::Control;
use crate::records::affinity::Depth;
use crate::view::{CONTACTS, View, rank};
use crate::wire::Packet;

const NODES: usize = 300;

/// Of so many members nobody keeps all.
const WHOLE_MAX: usize = 200;

/// What is best for that many.
fn depth() -> Depth {
    Depth::default().among(NODES)
}

/// A cluster of which each node keeps a part; a node of ten is a seed.
fn begun() -> World {
    let mut world = World::new();
    world.config = Config { whole_max: WHOLE_MAX, ..Config::default() };
    (0..NODES).for_each(|node| world.start(node, &[node / 10], 1_000));
    world
}

fn settled() -> World {
    let mut world = begun();
    world.run(seconds(30));
    let all: Vec<usize> = (0..NODES).collect();
    all_keep_their_part(&mut world, &all);
    world
}

/// Whom a node keeps of these, if everybody knows what there is to know: its neighbourhood, and of
/// each other one those who rank first.
fn part_of(me: NodeId, living: &[Member], depth: Depth) -> Vec<Member> {
    let view = View::new(me, depth);
    let mut kept: BTreeSet<Member> = BTreeSet::new();
    for place in depth.places() {
        let part = depth.part(place);
        let mut there: Vec<Member> =
            living.iter().copied().filter(|member| part.has(member.node)).collect();
        if !part.has(me) {
            there.sort_by_key(|member| rank(view.near(), member.node));
            there.truncate(CONTACTS);
        }
        kept.extend(there);
    }
    kept.into_iter().collect()
}

/// Each of these nodes keeps just what it should if these are all there are.
fn all_keep_their_part(world: &mut World, living: &[usize]) {
    let members = world.those(living);
    let keeps = |world: &mut World, node: &usize| {
        world.members(*node) == part_of(id(*node), &members, depth())
    };
    let wrong: Vec<usize> = living.iter().copied().filter(|node| !keeps(world, node)).collect();
    for node in wrong.iter().take(3) {
        let (have, want) = (world.members(*node), part_of(id(*node), &members, depth()));
        let surplus = have.iter().filter(|it| !want.contains(it)).count();
        let lacking = want.iter().filter(|it| !have.contains(it)).count();
        println!("{node}: {} kept, {surplus} too many, {lacking} lacking", have.len());
    }
    assert!(wrong.is_empty(), "{} of {} nodes keep something else", wrong.len(), living.len());
}

#[test]
fn all_start_at_once_and_keep_their_part() {
    let mut world = settled();
    assert_eq!(depth().groups(), 8);
    let longest = (0..NODES).map(|node| world.members(node).len()).max().unwrap();
    assert!(longest < NODES / 3, "{longest} are kept");
    // What an application was told comes to the same.
    for node in [0, 7, 299] {
        let mut told: BTreeSet<Member> = BTreeSet::new();
        for event in world.events(node) {
            match event {
                MembersEvent::Roster(all) => told = all.into_iter().collect(),
                MembersEvent::Up(member) => assert!(told.insert(member), "it came twice"),
                MembersEvent::Down(member, how) => {
                    assert_eq!(how, Departure::Unwatched, "nobody died");
                    assert!(told.remove(&member), "it was not there");
                }
                _ => {}
            }
        }
        let kept = world.members(node);
        assert_eq!(told.into_iter().collect::<Vec<_>>(), kept);
    }
}

/// In a cluster as large as the limit some come before others are known to be gone.
#[test]
fn a_few_more_make_nobody_let_go_and_a_fifth_does() {
    let mut world = World::new();
    world.config = Config { whole_max: WHOLE_MAX, ..Config::default() };
    let begin = |world: &mut World, nodes: std::ops::Range<usize>| {
        nodes.for_each(|node| world.start(node, &[node / 10], 1_000));
        world.run(seconds(15));
    };
    begin(&mut world, 0..WHOLE_MAX);
    begin(&mut world, WHOLE_MAX..WHOLE_MAX + 10);
    let all: Vec<usize> = (0..WHOLE_MAX + 10).collect();
    let members = world.those(&all);
    for node in &all {
        assert_eq!(world.count(*node, "gossip.view_changed"), 0);
        assert_eq!(world.members(*node), members);
    }
    begin(&mut world, WHOLE_MAX + 10..WHOLE_MAX * 6 / 5);
    let least = all.iter().map(|node| world.count(*node, "gossip.view_changed")).min();
    assert_eq!(least, Some(1));
}

/// The neighbours see it, and so do those of whom it was a contact; these find another.
#[test]
fn a_crash_is_known_to_all_whom_it_concerns() {
    let mut world = settled();
    (0..NODES).for_each(|node| drop(world.events(node)));
    let gone = world.nodes[100].member;
    let concerned: Vec<usize> =
        (0..NODES).filter(|node| *node != 100 && world.members(*node).contains(&gone)).collect();
    world.crash(100);
    world.run(seconds(40));
    let living: Vec<usize> = (0..NODES).filter(|node| *node != 100).collect();
    all_keep_their_part(&mut world, &living);
    for node in living {
        let events = world.events(node);
        let down = MembersEvent::Down(gone, Departure::Failed);
        assert_eq!(events.contains(&down), concerned.contains(&node), "{node}: {events:?}");
    }
}

/// One neighbourhood in sixteen has no contact left in a given other one. In the end so few are
/// there that all are known to all again; but rows of the census from before hold for minutes.
#[test]
fn half_of_all_crash_and_contacts_are_found_again() {
    let mut world = settled();
    let (gone, living): (Vec<usize>, Vec<usize>) = (0..NODES).partition(|node| node % 2 == 0);
    gone.iter().for_each(|node| world.crash(*node));
    world.run(seconds(240));
    let members = world.those(&living);
    for node in &living {
        let kept = world.members(*node);
        assert!(kept.iter().all(|member| members.contains(member)), "{node} keeps the dead");
    }
    let whole: Vec<usize> =
        living.iter().copied().filter(|node| world.members(*node) == members).collect();
    assert_eq!(whole.len(), living.len());
}

/// Neighbours exchange rows often; that is no reason to compare whom they know.
#[test]
fn who_says_nothing_of_members_is_asked_for_none() {
    let mut world = settled();
    for node in 0..NODES {
        let port = aggregates::open(&mut world, node, "/load", Summary::Average);
        aggregates::set(&mut world, node, &port, 1.0);
    }
    let (mut lean, mut asked) = (0, 0);
    for _ in 0..10 {
        world.run(Duration::from_millis(90));
        for bytes in &world.wire.tapes[0] {
            let packet = Packet::decode(bytes).unwrap();
            lean += usize::from(packet.rows.is_some() && packet.digest.is_none());
            asked += usize::from(packet.inventory.is_some());
        }
    }
    assert!(lean > 1_000, "{lean} packets of rows alone");
    assert_eq!(asked, 0);
}

#[test]
fn newcomers_are_led_to_their_neighbourhood() {
    let mut world = settled();
    for newcomer in NODES..NODES + 5 {
        world.start(newcomer, &[newcomer % 7], 1_000);
    }
    world.run(seconds(20));
    let all: Vec<usize> = (0..NODES + 5).collect();
    all_keep_their_part(&mut world, &all);
    // Nobody had to give a table but of their own neighbourhood.
    let longest = (NODES..NODES + 5).map(|node| world.members(node).len()).max();
    assert!(longest.is_some_and(|longest| longest < WHOLE_MAX / 2));
}

#[test]
fn both_sides_of_a_partition_become_one_again() {
    let mut world = settled();
    let (some, others): (Vec<usize>, Vec<usize>) = (0..NODES).partition(|node| *node < 70);
    world.part(&some, &others);
    world.run(seconds(60));
    let (here, there) = (world.those(&some), world.those(&others));
    assert!(some.iter().all(|node| world.members(*node).iter().all(|it| here.contains(it))));
    assert!(others.iter().all(|node| world.members(*node).iter().all(|it| there.contains(it))));
    world.wire.cut.clear();
    world.run(seconds(120));
    let all: Vec<usize> = (0..NODES).collect();
    all_keep_their_part(&mut world, &all);
}

/// Nobody keeps all, and everybody counts all.
#[test]
fn an_aggregate_is_exact_and_a_message_reaches_all() {
    let mut world = settled();
    world.wire.loss_percent = 5;
    let sum = ObjectType::aggregate(Summary::Sum);
    let ports: Vec<_> = (0..NODES).map(|node| world.open(node, "/sum", sum.clone())).collect();
    for (node, port) in ports.iter().enumerate() {
        world.say(node, port, Command::Set(Share::new(node as f64).unwrap()));
    }
    world.run(seconds(10));
    let total = (0..NODES).map(|node| node as f64).sum::<f64>();
    for (node, port) in ports.iter().enumerate() {
        let told = std::iter::from_fn(|| port.try_next()).filter_map(|event| match event {
            Event::Aggregate(estimate) => Some((estimate.value, estimate.members)),
            _ => None,
        });
        assert_eq!(told.last(), Some((Some(total), NODES as u64)), "{node}");
    }
    let topic = ObjectType::best_effort_topic();
    let topics: Vec<_> = (0..NODES).map(|node| world.open(node, "/topic", topic.clone())).collect();
    world.run(seconds(5));
    for (source, text) in [(17, "one"), (250, "two")] {
        world.say(source, &topics[source], Command::Send(text.into()));
    }
    world.run(seconds(10));
    for (node, port) in topics.iter().enumerate() {
        let heard = std::iter::from_fn(|| port.try_next());
        let is_message = |event: &Event| matches!(event, Event::Topic(TopicEvent::Message { .. }));
        assert_eq!(heard.filter(is_message).count(), 2, "{node}");
    }
}

/// Who asks knows neither the publisher nor, mostly, who keeps the key.
#[test]
fn what_is_published_is_found() {
    let mut world = settled();
    let publishers = [3, 77, 150, 222];
    let ports: Vec<_> =
        (0..NODES).map(|node| world.open(node, "/directory", ObjectType::directory())).collect();
    for node in publishers {
        let key = format!("key of {node}").into();
        world.say(node, &ports[node], Command::Publish { key, value: "value".into() });
    }
    world.run(seconds(10));
    let found = |world: &mut World, asker: usize, publisher: usize| {
        while ports[asker].try_next().is_some() {}
        world.say(asker, &ports[asker], Command::Find(format!("key of {publisher}").into()));
        world.run(seconds(2));
        let mut found = Vec::new();
        while let Some(event) = ports[asker].try_next() {
            if let Event::Directory(DirectoryEvent::Found { listings, .. }) = event {
                found.extend(listings.into_iter().map(|listing| listing.publisher));
            }
        }
        found
    };
    for asker in (0..NODES).step_by(37) {
        for publisher in publishers {
            let member = world.nodes[publisher].member;
            assert_eq!(found(&mut world, asker, publisher), [member], "{asker}, {publisher}");
        }
    }
}

/// Whoever is kept is found, and of whom else there may be it is said that there may.
#[test]
fn a_search_says_whether_it_may_have_missed_somebody() {
    let mut world = settled();
    let mut ports = Vec::new();
    for node in 0..NODES {
        let port = searches::open(&mut world, node);
        world.say(node, &port, Command::Describe(searches::own(node)));
        ports.push(port);
    }
    world.run(seconds(20));
    let living: Vec<Member> = world.nodes.iter().map(|node| node.member).collect();
    for asker in [0, 111, 222] {
        let kept: BTreeSet<Member> =
            part_of(world.nodes[asker].member.node, &living, depth()).into_iter().collect();
        let (mut missed, mut at_all) = (0, 0);
        for node in (0..NODES).step_by(7) {
            let matching = searches::is("host", &format!("host-{node}"));
            world.say(asker, &ports[asker], searches::search(matching));
            world.run(seconds(2));
            let (found, last) = searches::told(&ports[asker]);
            let is_found = found.iter().any(|one| one.member == living[node]);
            if kept.contains(&living[node]) {
                assert!(is_found, "{asker} keeps {node}");
            } else if !is_found {
                missed += 1;
                assert_eq!(last, Some(Told::Some), "{asker} does not keep {node}");
            }
            at_all += 1;
        }
        assert!((1..at_all).contains(&missed), "{missed} of {at_all}");
    }
}

/// A peer that was not asked cannot make a node keep less.
#[test]
fn nobody_is_told_unasked_what_to_keep() {
    let mut world = World::settled(3);
    let view = Control::View { depth: 8, entries: Vec::new() };
    world.inject_message(id(1), 0, &view.encode());
    assert_eq!(world.count(0, "gossip.unsolicited"), 1);
    assert_eq!(world.members(0).len(), 3);
}
