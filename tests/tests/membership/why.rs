//! Who suspected whom, when, on what evidence: the survivors of a crash can tell, and those who
//! were wrong about somebody.

use std::time::Duration;

use live_objects::{Command, Finding, MembersEvent, Name, NodeId, Silence, Testimony, Told};
use live_objects_sim::{Fault, Network, World};

use super::{cluster, expect_settled, member, told};

/// What `node` is told when it asks about another.
fn why(world: &mut World, node: usize, about: NodeId) -> Vec<Testimony> {
    let since = world.history().len();
    let object = "/members".parse::<Name>().expect("a name").id();
    world.send(node, object, Command::Why(about.into())).expect("there is room");
    world.run(Duration::from_secs(3));
    let (mut all, mut last) = (Vec::new(), Told::Part);
    for event in told(world, node, since) {
        if let MembersEvent::Evidence { about: of, testimonies, told, .. } = event {
            assert_eq!(of, about);
            all.extend(testimonies);
            last = told;
        }
    }
    assert_eq!(last, Told::All, "at node {node}: {all:?}");
    all
}

/// What accusers went by, and who they are.
fn silences(testimonies: &[Testimony]) -> Vec<(NodeId, Silence)> {
    let seen = testimonies.iter().flat_map(|it| &it.evidence);
    let silence = seen.filter_map(|seen| match &seen.finding {
        Finding::Suspected { accuser: Some(accuser), silence: Some(silence) } => {
            Some((*accuser, (**silence).clone()))
        }
        _ => None,
    });
    silence.collect()
}

#[test]
fn the_survivors_of_a_crash_name_the_accuser_and_what_it_went_by() {
    let mut world = cluster(14, 8);
    world.set_network(Network::LAN.with_loss(0.05));
    expect_settled(&mut world);
    let gone = member(&world, 5);
    world.run(Duration::from_secs(20));
    let crashed_at = world.now();
    world.crash(5);
    expect_settled(&mut world);
    for node in [0, 1, 2, 3, 4, 6, 7] {
        let testimonies = why(&mut world, node, gone.node);
        let passed = world.now().since(crashed_at);
        let accusers = silences(&testimonies);
        assert!(!accusers.is_empty(), "at node {node}: {testimonies:?}");
        for (accuser, silence) in &accusers {
            assert_ne!(*accuser, gone.node);
            assert_eq!(silence.attempts, 7);
            assert!(silence.since < passed && !silence.helpers.is_empty(), "{silence:?}");
            // The last attempt before may have been lost.
            let before = silence.before.expect("it was probed before");
            assert!(before.ago > silence.since, "{before:?}");
        }
        for Testimony { witness, evidence } in &testimonies {
            let last = evidence.last().expect("all saw it go");
            assert_eq!((last.member, &last.finding), (gone, &Finding::Faulty), "{witness:?}");
            let is_named = evidence.iter().any(|seen| match seen.finding {
                Finding::Suspected { accuser, .. } => {
                    accusers.iter().any(|(known, _)| accuser == Some(*known))
                }
                _ => false,
            });
            assert!(is_named, "{witness:?} knows who accused: {evidence:?}");
        }
    }
}

#[test]
fn who_was_suspected_because_nobody_heard_it_objected() {
    let mut world = cluster(15, 8);
    expect_settled(&mut world);
    world.run(Duration::from_secs(20));
    let (mute, since) = (member(&world, 3), world.history().len());
    let others = [0, 1, 2, 4, 5, 6, 7];
    world.apply(&Fault::CutOneWay(vec![3], others.to_vec()));
    let is_suspected = |world: &World| told(world, 0, since).contains(&MembersEvent::Suspect(mute));
    assert!(world.run_until(Duration::from_secs(10), is_suspected));
    world.heal();
    expect_settled(&mut world);
    let testimonies = why(&mut world, 0, mute.node);
    assert!(!silences(&testimonies).is_empty(), "{testimonies:?}");
    assert!(testimonies.iter().any(|it| it.witness == mute.node), "it is asked too");
    for Testimony { witness, evidence } in &testimonies {
        let last = evidence.last().map(|last| &last.finding);
        assert_eq!(last, Some(&Finding::Refuted), "{witness:?}: {evidence:?}");
    }
}
