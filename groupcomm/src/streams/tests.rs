//! Streams between members of one view, with every packet in the test's hands.

use super::*;
use crate::wire::{FrameWriter, HEADER_LEN, Header, PACKET_LEN_MAX};
use live_objects::{ClusterId, Incarnation};

fn member(node: u8) -> Member {
    let incarnation = Incarnation::from_bytes([node; Incarnation::LEN]);
    Member { node: NodeId::from_bytes([node; NodeId::LEN]), incarnation }
}

/// The streams of three members, as each has them.
fn three() -> [Streams; 3] {
    let tag = Tag::of_region(ClusterId::from_bytes([1; 16]), 1, 1);
    let members = [0, 1, 2].map(member).to_vec();
    let of = |node| Streams::new(tag, members.clone(), member(node), 0, Rng::from_seed([node; 32]));
    [0, 1, 2].map(of)
}

/// The member cuts a frame, which the caller delivers or not.
fn cast(streams: &mut Streams) -> Bytes {
    let (origin, number, stable) = (streams.me as u16, streams.next_number(), streams.own_stable());
    let header = Header { origin, number, stable, map: 0 };
    let bytes = FrameWriter::new(PACKET_LEN_MAX).seal(streams.tag(), header);
    let (_, Packet::Data(frame)) = Packet::decode(bytes.clone()).unwrap() else { unreachable!() };
    streams.cast(Time::ZERO, frame, bytes.clone());
    assert!(streams.next_fresh().is_some(), "a member hears itself");
    bytes
}

fn give(streams: &mut Streams, from: u8, bytes: &Bytes) -> bool {
    let (tag, packet) = Packet::decode(bytes.clone()).unwrap();
    assert_eq!(tag, streams.tag());
    streams.on_packet(Time::ZERO, member(from).node, packet, bytes.clone())
}

fn say(streams: &mut Streams, from: u8, packet: &Packet) -> bool {
    let bytes = packet.encode(streams.tag());
    give(streams, from, &bytes)
}

/// What a member has to send at a time, by the number of the receiver.
fn sent(streams: &mut Streams, now: Time) -> Vec<(u8, Packet)> {
    let sent = streams.finish(now).into_iter();
    sent.map(|(to, bytes)| (to.as_bytes()[0], Packet::decode(bytes).unwrap().1)).collect()
}

fn numbers(streams: &mut Streams) -> Vec<u64> {
    std::iter::from_fn(|| streams.next_fresh()).map(|frame| frame.number).collect()
}

/// Later than any timer.
const LATER: Time = Time::from_nanos(60_000_000_000);

#[test]
fn frames_come_out_in_order_once_and_are_acknowledged_to_their_sender() {
    let [mut a, mut b, _] = three();
    let frames = [0, 1, 2].map(|_| cast(&mut a));
    for index in [1, 0, 0] {
        assert!(give(&mut b, 0, &frames[index]));
    }
    assert_eq!(numbers(&mut b), [1, 2]);
    assert_eq!(sent(&mut b, Time::ZERO), [(0, Packet::Ack(2))]);
    assert_eq!(sent(&mut b, Time::ZERO), [], "nothing new");
    give(&mut b, 0, &frames[1]);
    assert_eq!(sent(&mut b, Time::ZERO), [(0, Packet::Ack(2))], "it may have been lost");
}

#[test]
fn what_is_missing_is_had_from_any_holder() {
    let [mut a, mut b, mut c] = three();
    let frames = [0, 1, 2, 3].map(|_| cast(&mut a));
    frames.iter().for_each(|frame| assert!(give(&mut c, 0, frame)));
    give(&mut b, 0, &frames[3]);
    let nak = (2, Packet::Nak { origin: 0, ranges: vec![(1, 3)] });
    assert_eq!(sent(&mut b, Time::ZERO), [], "they may be under way");
    assert!(sent(&mut b, LATER).contains(&nak), "somebody else is asked first");
    say(&mut c, 1, &nak.1);
    let repairs = c.finish(LATER);
    let repairs = repairs.iter().filter(|(to, _)| *to == member(1).node);
    repairs.for_each(|(_, bytes)| assert!(give(&mut b, 2, bytes)));
    assert_eq!(numbers(&mut b), [1, 2, 3, 4]);
}

#[test]
fn what_all_hold_is_let_go_of() {
    let [mut a, mut b, mut c] = three();
    let frame = cast(&mut a);
    give(&mut b, 0, &frame);
    give(&mut c, 0, &frame);
    say(&mut a, 1, &Packet::Ack(1));
    assert_eq!(a.own_stable(), 0);
    say(&mut a, 2, &Packet::Ack(1));
    assert_eq!((a.own_stable(), a.streams[0].kept.len()), (1, 0));
    let tail = Packet::Tail { last: 1, stable: 1 };
    assert_eq!(sent(&mut a, LATER), [(1, tail.clone()), (2, tail.clone())]);
    say(&mut b, 0, &tail);
    assert_eq!((b.stable(0), b.streams[0].kept.len()), (1, 0));
    assert_eq!(a.next_wake(), None, "who has nothing to say has no timer");
    sent(&mut b, Time::ZERO);
    assert_eq!(b.next_wake(), None);
}

#[test]
fn a_tail_that_was_lost_is_asked_for() {
    let [mut a, mut b, _] = three();
    let frame = cast(&mut a);
    give(&mut b, 0, &frame);
    sent(&mut b, Time::ZERO);
    assert_eq!(sent(&mut b, LATER), [(0, Packet::Query)]);
    say(&mut a, 1, &Packet::Query);
    let tail = Packet::Tail { last: 1, stable: 0 };
    assert!(sent(&mut a, Time::ZERO).contains(&(1, tail)));
}

#[test]
fn a_wedged_member_delivers_and_acknowledges_nothing_that_it_did_not_promise() {
    let [mut a, mut b, mut c] = three();
    let frames = [0, 1, 2].map(|_| cast(&mut a));
    give(&mut b, 0, &frames[0]);
    assert_eq!(numbers(&mut b), [1]);
    assert_eq!(b.wedge()[0], (1, vec![]));
    give(&mut b, 0, &frames[1]);
    assert_eq!(numbers(&mut b), [0; 0]);
    assert_eq!(sent(&mut b, LATER), [], "not even what it promised, unless it is asked");
    // The others hold all three between them: that much belongs to the view.
    frames.iter().for_each(|frame| assert!(give(&mut c, 0, frame)));
    assert!(!b.admits(&[0, 0, 0]) && b.admits(&[3, 0, 0]));
    let ends = [3, 0, 0].map(|last| (last, member(2).node));
    assert!(!b.gather(&ends));
    assert_eq!(sent(&mut b, LATER), [(2, Packet::Nak { origin: 0, ranges: vec![(3, 3)] })]);
    give(&mut b, 2, &frames[2]);
    assert!(b.gather(&ends) && b.holds([3, 0, 0].into_iter()));
    b.finish_at(&[3, 0, 0]);
    assert_eq!(numbers(&mut b), [2, 3]);
}

#[test]
fn what_lies_beyond_the_trim_is_dropped() {
    let [mut a, mut b, _] = three();
    let frames = [0, 1, 2].map(|_| cast(&mut a));
    give(&mut b, 0, &frames[0]);
    give(&mut b, 0, &frames[2]);
    assert_eq!(b.wedge()[0], (1, vec![(3, 3)]));
    numbers(&mut b);
    assert!(b.gather(&[1, 0, 0].map(|last| (last, member(0).node))));
    b.finish_at(&[1, 0, 0]);
    assert_eq!(numbers(&mut b), [0; 0]);
}

#[test]
fn who_was_wedged_for_nothing_goes_on() {
    let [mut a, mut b, _] = three();
    let frames = [0, 1].map(|_| cast(&mut a));
    give(&mut b, 0, &frames[0]);
    numbers(&mut b);
    b.wedge();
    give(&mut b, 0, &frames[1]);
    assert_eq!(numbers(&mut b), [0; 0]);
    b.unwedge();
    assert_eq!(numbers(&mut b), [2]);
    assert_eq!(sent(&mut b, Time::ZERO), [(0, Packet::Ack(2))]);
}

#[test]
fn nobody_waits_for_one_who_has_let_go_of_the_streams() {
    let [mut a, mut b, _] = three();
    let frame = cast(&mut a);
    give(&mut b, 0, &frame);
    numbers(&mut b);
    assert!(!b.is_stable());
    say(&mut a, 1, &Packet::Ack(1));
    say(&mut a, 2, &Packet::Done);
    assert_eq!(a.own_stable(), 1);
    cast(&mut a);
    say(&mut a, 1, &Packet::Ack(2));
    assert_eq!(a.own_stable(), 2);
    say(&mut b, 0, &Packet::Done);
    assert!(b.is_stable(), "everybody holds what it sent");
    let others: Vec<u8> = sent(&mut a, LATER).iter().map(|(to, _)| *to).collect();
    assert_eq!(others, [1], "it is told nothing");
}

#[test]
fn credit_ends_with_the_window_and_comes_back_with_stability() {
    let [mut a, ..] = three();
    let mut frames = 0;
    while a.has_credit() {
        cast(&mut a);
        frames += 1;
    }
    assert!(frames * HEADER_LEN >= pace::WINDOW_BYTES);
    for from in [1, 2] {
        say(&mut a, from, &Packet::Ack(frames as u64));
    }
    assert!(a.has_credit());
}

/// Casts as much as the window takes, and tells the last number.
fn fill(streams: &mut Streams) -> u64 {
    while streams.has_credit() {
        cast(streams);
    }
    streams.next_number() - 1
}

#[test]
fn nobody_waits_long_for_one_who_does_not_keep_up() {
    let [mut a, ..] = three();
    let first = fill(&mut a);
    say(&mut a, 1, &Packet::Ack(first));
    sent(&mut a, Time::ZERO);
    assert!(!a.has_credit(), "it may be late");
    assert_eq!(a.own.pace_at, Some(Time::ZERO + pace::BEHIND));
    sent(&mut a, Time::ZERO + pace::BEHIND);
    assert!(a.has_credit());
    let second = fill(&mut a);
    say(&mut a, 1, &Packet::Ack(second));
    assert!(a.has_credit(), "it is behind still");
    assert_eq!(a.own_stable(), 0, "and what it lacks is kept");
    assert_eq!(a.kept_bytes(), second as usize * HEADER_LEN);
    say(&mut a, 2, &Packet::Ack(second));
    assert_eq!((a.own_stable(), a.kept_bytes()), (second, 0));
    let third = fill(&mut a);
    say(&mut a, 1, &Packet::Ack(third));
    assert!(!a.has_credit(), "it keeps up again");
}

#[test]
fn nobody_is_waited_for_who_wants_no_more() {
    let [mut a, ..] = three();
    for from in [1, 2] {
        say(&mut a, from, &Packet::Done);
    }
    for _ in 0..2 * pace::WINDOW_BYTES / HEADER_LEN {
        cast(&mut a);
    }
    assert!(a.has_credit());
}

#[test]
fn all_wait_if_nobody_keeps_up_or_too_much_is_kept() {
    let [mut a, ..] = three();
    fill(&mut a);
    sent(&mut a, LATER);
    assert!(!a.has_credit());
    let mut rounds = 0;
    while a.own.unstable_bytes < UNSTABLE_BYTES_MAX {
        let last = fill(&mut a);
        say(&mut a, 1, &Packet::Ack(last));
        sent(&mut a, LATER);
        rounds += 1;
    }
    assert!(rounds > 10 && !a.has_credit());
}

#[test]
fn who_is_choked_acknowledges_nothing_new() {
    let [mut a, mut b, _] = three();
    b.set_choked(true);
    give(&mut b, 0, &cast(&mut a));
    assert_eq!(sent(&mut b, Time::ZERO), []);
    b.set_choked(false);
    assert_eq!(sent(&mut b, Time::ZERO), [(0, Packet::Ack(1))]);
}

#[test]
fn strangers_and_places_that_are_not_are_refused() {
    let [mut a, mut b, _] = three();
    let frame = cast(&mut a);
    assert!(!give(&mut b, 9, &frame), "not of the view");
    assert!(!say(&mut b, 0, &Packet::Nak { origin: 7, ranges: vec![(1, 1)] }));
    assert!(say(&mut b, 0, &Packet::Ack(u64::MAX >> 2)), "and passed over");
    assert_eq!(b.own_stable(), 0);
}

#[test]
fn frames_far_ahead_are_not_kept() {
    let [mut a, mut b, _] = three();
    (0..=AHEAD_MAX).for_each(|_| drop(cast(&mut a)));
    let far = a.streams[0].kept[&(AHEAD_MAX + 1)].clone();
    let near = a.streams[0].kept[&AHEAD_MAX].clone();
    give(&mut b, 0, &far);
    give(&mut b, 0, &near);
    assert_eq!(b.streams[0].early.len(), 1);
    let Some((_, Packet::Nak { ranges, .. })) = sent(&mut b, LATER).pop() else { panic!("no NAK") };
    assert_eq!(ranges, [(1, AHEAD_MAX - 1), (AHEAD_MAX + 1, AHEAD_MAX + 1)]);
}
