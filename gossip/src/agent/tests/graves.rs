//! Of some members no tombstone is left. Who still believes in them is told, and nobody else takes
//! them for newcomers.

use live_objects::{Departure, MembersEvent};

use super::seconds;
use super::world::{World, id};
use crate::Config;
use crate::control::Control;
use crate::digest::grave_hash;
use crate::entry::tests::entry;
use crate::entry::{Entry, Standing};
use crate::members::GRAVES_MAX;
use crate::wire::{Leg, Packet};

/// A member that came and went before a thousand others did.
fn gone() -> Entry {
    entry(9, 1)
}

fn said(entries: &[Entry]) -> bytes::Bytes {
    let mut packet = Packet::new(Leg::Push);
    packet.entries.extend_from_slice(entries);
    packet.encode()
}

/// A node lets go of the tombstone of one that is gone, and none of the others heard of that one.
fn forget(world: &mut World, node: usize) {
    let others = (0..world.nodes.len()).filter(|other| *other != node);
    world.wire.cut.extend(others.map(|other| (node, other)));
    let left = gone().as_standing(Standing::Left);
    world.inject(id(9_999), node, &said(&[gone(), left]));
    world.bury_many(&[node]);
    world.wire.cut.clear();
    world.events(node);
}

#[test]
fn who_believes_in_one_long_gone_is_told_and_lets_go() {
    let mut world = World::settled(3);
    forget(&mut world, 0);
    world.run(seconds(5));
    (0..3).for_each(|node| drop(world.events(node)));
    world.inject(id(2), 1, &said(&[gone()]));
    // Three more to tell, and it would take seven attempts to doubt it without being told.
    world.run(Config::default().period);
    let member = gone().member;
    let told = [MembersEvent::Up(member), MembersEvent::Suspect(member)];
    assert_eq!(world.events(1), told);
    assert!(world.count(0, "gossip.buried") > 0);
    world.run(seconds(10));
    assert_eq!(world.events(1), [MembersEvent::Down(member, Departure::Failed)]);
    assert_eq!(world.events(0), [], "it never believed it");
    (0..3).for_each(|node| assert_eq!(world.members(node), world.those(&[0, 1, 2])));
}

#[test]
fn a_member_says_itself_that_it_is_there() {
    let mut world = World::settled(2);
    forget(&mut world, 0);
    world.inject(id(1), 0, &said(&[gone()]));
    assert_eq!((world.count(0, "gossip.buried"), world.events(0)), (1, vec![]));
    let member = gone().member;
    world.inject(member.node, 0, &said(&[gone()]));
    assert_eq!(world.events(0), [MembersEvent::Up(member)]);
}

#[test]
fn what_it_says_in_parting_opens_no_grave() {
    let mut world = World::settled(2);
    forget(&mut world, 0);
    let left = gone().as_standing(Standing::Left);
    world.inject(gone().member.node, 0, &said(&[left]));
    world.inject(id(1), 0, &said(&[gone()]));
    assert_eq!((world.count(0, "gossip.buried"), world.events(0)), (1, vec![]));
}

#[test]
fn a_newcomer_is_told_who_is_gone() {
    let mut world = World::settled(2);
    forget(&mut world, 0);
    world.start(2, &[0], 1_000);
    world.run(seconds(1));
    let before = world.those(&[0, 1, 2]);
    assert_eq!(world.members(2), before);
    world.inject(id(1), 2, &said(&[gone()]));
    assert_eq!(world.count(2, "gossip.buried"), 1);
    assert_eq!(world.members(2), before);
}

/// A liar may have said so of more generations than one. Who objects is not in doubt for that.
#[test]
fn who_objects_is_there() {
    let mut world = World::settled(2);
    world.bury_many(&[0]);
    let at = |generation| entry(9, generation);
    for generation in 1..=8 {
        world.inject(id(9_999), 0, &said(&[at(generation).as_standing(Standing::Left)]));
    }
    world.events(0);
    world.run(Config::default().period);
    world.inject(id(1), 0, &said(&[at(1)]));
    assert_eq!((world.count(0, "gossip.buried"), world.events(0)), (1, vec![]));
    world.inject(id(1), 0, &said(&[at(2)]));
    assert_eq!(world.events(0), [MembersEvent::Up(gone().member)]);
}

/// Who names many that are gone is told of some of them, and what is news is pushed all the same.
#[test]
fn what_is_told_of_those_gone_leaves_room_for_news() {
    let mut world = World::settled(3);
    world.bury_many(&[0]);
    let strangers: Vec<Entry> = (100..140).map(|node| entry(node, 1)).collect();
    for stranger in &strangers {
        world.inject(id(9_999), 0, &said(&[stranger.as_standing(Standing::Left)]));
    }
    world.run(seconds(5));
    (0..3).for_each(|node| drop(world.events(node)));
    for some in strangers.chunks(10) {
        world.inject(id(1), 0, &said(some));
    }
    assert_eq!(world.count(0, "gossip.buried"), 40);
    let before = world.wire.datagram_bytes;
    let newcomer = entry(9, 1).member;
    world.inject(id(1), 0, &said(&[entry(9, 1)]));
    assert!(world.wire.datagram_bytes > before, "it is pushed at once");
    world.run(Config::default().period / 10);
    assert_eq!(world.events(2), [MembersEvent::Up(newcomer)]);
}

/// Who could bury others by a message would keep them out.
#[test]
fn only_a_newcomer_is_told_and_only_by_whom_it_asked() {
    let buried = |hashes| Control::Buried { hashes }.encode();
    let hashes = vec![grave_hash(&gone())];
    let mut world = World::settled(2);
    world.inject_message(id(1), 0, &buried(hashes.clone()));
    assert_eq!(world.count(0, "gossip.unsolicited"), 1, "it is no newcomer");
    world.start(2, &[0], 1_000);
    world.inject_message(id(1), 2, &buried(hashes));
    assert_eq!(world.count(2, "gossip.unsolicited"), 1, "it asked nobody yet");
    world.inject_message(id(1), 2, &buried(vec![7; GRAVES_MAX + 1]));
    assert_eq!(world.count(2, "gossip.malformed"), 1, "nobody keeps so many");
    world.run(seconds(1));
    for node in [0, 2] {
        world.inject(id(1), node, &said(&[gone()]));
        assert_eq!(world.count(node, "gossip.buried"), 0);
        assert!(world.members(node).contains(&gone().member));
    }
}
