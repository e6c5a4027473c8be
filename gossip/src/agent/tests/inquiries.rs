//! Who asks why is told by those who saw it.

use core::time::Duration;

use live_objects::{
    Answered, Command, Evidence, Finding, IdPrefix, MembersEvent, NodeId, Silence, Testimony, Told,
};

use super::seconds;
use super::world::{World, id};
use crate::question::{Answer, Verdict};
use crate::wire::{Leg, Packet};

/// What a node is told when it asks why, and how much of it there was.
fn why(world: &mut World, node: usize, about: usize) -> (Vec<Testimony>, Told) {
    world.events(node);
    world.nodes[node].port.try_send(Command::Why(id(about).into())).unwrap();
    world.step(node, Vec::new());
    world.run(seconds(2));
    let (mut all, mut last) = (Vec::new(), Told::Part);
    for event in world.events(node) {
        let MembersEvent::Evidence { about: told_of, testimonies, told, .. } = event else {
            continue;
        };
        assert_eq!((told_of, last), (id(about), Told::Part), "nothing comes after the last");
        all.extend(testimonies);
        last = told;
    }
    let mut witnesses: Vec<NodeId> = all.iter().map(|it| it.witness).collect();
    witnesses.sort();
    witnesses.dedup();
    assert_eq!(witnesses.len(), all.len(), "each is asked once");
    (all, last)
}

/// What the accusers went by. Nobody tells what another went by.
fn silences(testimonies: &[Testimony]) -> Vec<(NodeId, &Silence)> {
    let all = testimonies.iter().flat_map(|it| it.evidence.iter().map(|seen| (it.witness, seen)));
    let own = all.filter_map(|(witness, seen)| match &seen.finding {
        Finding::Suspected { accuser, silence: Some(silence) } => {
            assert_eq!(*accuser, Some(witness));
            Some((witness, &**silence))
        }
        _ => None,
    });
    own.collect()
}

#[test]
fn who_was_taken_for_dead_was_accused_by_somebody_who_says_why() {
    let mut world = World::settled(8);
    world.run(seconds(20));
    world.crash(7);
    world.run(seconds(8));
    for node in 0..7 {
        let (testimonies, told) = why(&mut world, node, 7);
        assert_eq!(told, Told::All);
        let accusers = silences(&testimonies);
        assert!(!accusers.is_empty(), "at {node}: {testimonies:?}");
        for (accuser, silence) in &accusers {
            assert_eq!(silence.attempts as usize, crate::probe::ATTEMPTS);
            assert!(silence.since > seconds(5) && silence.since < seconds(25), "{silence:?}");
            assert!(!silence.helpers.is_empty() && !silence.helpers.contains(accuser));
            let before = silence.before.expect("it answered before it crashed");
            assert!(before.ago > silence.since && before.took.is_some(), "{before:?}");
        }
        for Testimony { witness, evidence } in &testimonies {
            let accused = |seen: &Evidence| match &seen.finding {
                Finding::Suspected { accuser: Some(accuser), .. } => {
                    accusers.iter().any(|(known, _)| known == accuser)
                }
                _ => false,
            };
            assert!(accused(&evidence[0]), "{witness:?} tells who accused: {evidence:?}");
            let last = evidence.last().expect("it saw something");
            assert_eq!(last.finding, Finding::Faulty);
            assert!(evidence.windows(2).all(|pair| pair[0].ago >= pair[1].ago));
        }
    }
}

#[test]
fn who_was_suspected_by_a_mistake_objected() {
    let mut world = World::settled(8);
    world.run(seconds(20));
    world.wire.cut.extend((0..7).map(|other| (7, other)));
    let is_suspect = |event: &MembersEvent| matches!(event, MembersEvent::Suspect(_));
    while !world.events(0).iter().any(is_suspect) {
        world.run(Duration::from_millis(100));
    }
    world.wire.cut.clear();
    world.run(seconds(5));
    let (testimonies, told) = why(&mut world, 0, 7);
    assert_eq!(told, Told::All);
    assert!(!silences(&testimonies).is_empty());
    for Testimony { witness, evidence } in &testimonies {
        let last = evidence.last().map(|last| &last.finding);
        assert_eq!(last, Some(&Finding::Refuted), "{witness:?}: {evidence:?}");
    }
    assert!(testimonies.iter().any(|it| it.witness == id(7)), "it says so itself");
}

#[test]
fn who_left_or_came_back_was_seen_to() {
    let mut world = World::settled(4);
    world.nodes[3].stack.stop();
    world.step(3, Vec::new());
    world.crash(3);
    world.run(seconds(2));
    let last = |world: &mut World| {
        let (testimonies, _) = why(world, 0, 3);
        let own = testimonies.iter().find(|it| it.witness == id(0)).expect("it saw it");
        own.evidence.last().expect("something").clone()
    };
    let left = last(&mut world);
    assert_eq!((left.member, left.finding), (world.nodes[3].member, Finding::Left));
    world.start(3, &[0], 9_000);
    world.run(seconds(5));
    let back = last(&mut world);
    assert_eq!((back.member, back.finding), (world.nodes[3].member, Finding::Back));
}

#[test]
fn a_node_must_be_named_so_that_it_is_clear() {
    let mut world = World::settled(8);
    let mut ask = |prefix: IdPrefix| {
        world.events(0);
        world.nodes[0].port.try_send(Command::Why(prefix)).unwrap();
        world.step(0, Vec::new());
        let mut events = world.events(0);
        let Some(MembersEvent::Unclear { candidates, .. }) = events.pop() else {
            panic!("{events:?}")
        };
        candidates
    };
    let mut all: Vec<NodeId> = (0..8).map(id).collect();
    all.sort();
    let shorter = std::iter::successors(Some(IdPrefix::from(id(0))), IdPrefix::shortened);
    let none = shorter.last().unwrap();
    assert_eq!(ask(none), all[..5], "all of them begin with nothing: some are told");
    let mut like = *id(2).as_bytes();
    like[15] ^= 1;
    assert_eq!(ask(NodeId::from_bytes(like).into()), [id(2)], "who is meant, perhaps");
}

#[test]
fn whoever_answered_and_is_up_is_told_of() {
    let mut world = World::settled(4);
    world.run(seconds(20));
    let heard = |world: &mut World| {
        world.events(0);
        let port = &world.nodes[0].port;
        let number = port.try_send(Command::Heard).unwrap();
        world.step(0, Vec::new());
        let events = world.events(0);
        let [MembersEvent::Heard { command, answers }] = events.as_slice() else {
            panic!("{events:?}")
        };
        assert_eq!(*command, number);
        answers.clone()
    };
    let mut others: Vec<NodeId> = (1..4).map(id).collect();
    others.sort();
    let answers = heard(&mut world);
    assert_eq!(answers.iter().map(|(node, _)| *node).collect::<Vec<_>>(), others);
    for (_, Answered { ago, took }) in answers {
        assert!(ago < seconds(10) && took == Some(Duration::from_millis(10)), "{ago:?} {took:?}");
    }
    world.crash(3);
    world.run(seconds(10));
    others.retain(|node| *node != id(3));
    let left: Vec<NodeId> = heard(&mut world).into_iter().map(|(node, _)| node).collect();
    assert_eq!(left, others);
}

/// More than a node asks about at one time, by somebody who reads nothing meanwhile.
#[test]
fn every_inquiry_ends_though_nobody_reads() {
    let mut world = World::settled(6);
    world.crash(5);
    world.run(seconds(8));
    world.events(0);
    let mut asked = 0;
    // Until neither its answers nor its commands have room.
    while world.nodes[0].port.try_send(Command::Why(id(5).into())).is_ok() {
        asked += 1;
        if asked % 64 == 0 {
            world.step(0, Vec::new());
            world.run(Duration::from_millis(200));
        }
    }
    let mut ended = 0;
    for _ in 0..asked {
        let is_end =
            |event: &MembersEvent| matches!(event, MembersEvent::Evidence { told: Told::All, .. });
        ended += world.events(0).into_iter().filter(is_end).count();
        world.step(0, Vec::new());
        world.run(Duration::from_millis(100));
        if ended == asked {
            break;
        }
    }
    assert_eq!(ended, asked);
}

#[test]
fn what_was_not_asked_for_or_is_of_another_is_not_told() {
    let mut world = World::settled(3);
    let member = world.nodes[2].member;
    let lie = |member| Evidence { member, ago: Duration::ZERO, finding: Finding::Left };
    let answer = |number| {
        let answer = Some(Answer { verdict: Verdict::Whole, depth: 0 });
        Packet { answer, ..Packet::new(Leg::Answer { number }) }
    };
    let mut unasked = answer(77);
    unasked.evidence = Some(vec![lie(member)]);
    world.inject(id(1), 0, &unasked.encode());
    assert_eq!(world.count(0, "gossip.unsolicited"), 1);
    world.events(0);
    world.nodes[0].port.try_send(Command::Why(id(2).into())).unwrap();
    world.step(0, Vec::new());
    let (_, _, number) = *world.wire.asked.iter().rfind(|(_, to, _)| *to == 1).unwrap();
    let mut of_another = answer(number);
    of_another.evidence = Some(vec![lie(world.nodes[1].member), lie(member)]);
    world.inject(id(1), 0, &of_another.encode());
    assert_eq!(world.count(0, "gossip.evidence_amiss"), 1);
    let told = world.events(0);
    let testimony = Testimony { witness: id(1), evidence: vec![lie(member)] };
    let is_it = |event: &MembersEvent| {
        matches!(event, MembersEvent::Evidence { testimonies, .. }
            if *testimonies == [testimony.clone()])
    };
    assert!(told.iter().any(is_it), "{told:?}");
}

/// However many accusers are named, only some are asked.
#[test]
fn so_many_are_asked_in_one_inquiry() {
    let mut world = World::settled(24);
    let about = world.nodes[23].member;
    world.events(0);
    world.nodes[0].port.try_send(Command::Why(id(23).into())).unwrap();
    world.wire.asked.clear();
    world.step(0, Vec::new());
    let mut accusers = (1..23).map(id);
    let mut answered = 0;
    while let Some((_, to, number)) = world.wire.asked.get(answered).copied() {
        answered += 1;
        let named = accusers.by_ref().take(8).map(|accuser| Evidence {
            member: about,
            ago: Duration::ZERO,
            finding: Finding::Suspected { accuser: Some(accuser), silence: None },
        });
        let answer = Some(Answer { verdict: Verdict::Whole, depth: 0 });
        let evidence = Some(named.collect());
        let packet = Packet { answer, evidence, ..Packet::new(Leg::Answer { number }) };
        world.inject(id(to), 0, &packet.encode());
    }
    assert_eq!(answered, 12);
    let last = world.events(0).pop();
    let is_last = matches!(last, Some(MembersEvent::Evidence { told: Told::All, .. }));
    assert!(is_last, "{last:?}");
}
