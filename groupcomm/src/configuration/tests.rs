//! Tests of the parts that no story of a whole cluster reaches.

use super::*;
use crate::control::{MEMBERS_MAX, Proposal};
use crate::regions::ROOT;
use live_objects::Incarnation;

fn member(number: usize) -> Member {
    let node = NodeId::from_public_key(&number.to_be_bytes());
    Member { node, incarnation: Incarnation::from_bytes([1; Incarnation::LEN]) }
}

/// Member 0, who founded a cluster.
fn founder() -> Configuration {
    let config = Config { founding: config::Founding::Alone, mutation: None };
    let mut founder = Configuration::new(member(0), config, Rng::from_seed([7; 32]));
    founder.enter(Time::ZERO);
    founder
}

/// The regions of the founder in its view.
fn regions() -> Regions {
    let epoch = Epoch { cluster: ClusterId::from_bytes([0; 16]), number: 1 };
    let mut regions = Regions::new(member(0), Rng::from_seed([8; 32]));
    regions.begin_view(&View { epoch, members: vec![member(0)] });
    regions
}

/// Where a view of so many ends in which nothing was sent.
fn cut(members: usize) -> Cut {
    let trim = (0..).take(members).map(|place| (place, 0)).collect();
    Cut { trim: [(ROOT, trim)].into(), ..Cut::default() }
}

#[test]
fn a_stranger_wedges_nobody() {
    let mut founder = founder();
    let epoch = founder.view().expect("it founded").epoch;
    let stranger = member(1).node;
    let ballot = Ballot { round: 9, leader: stranger };
    let mut regions = regions();
    founder.on_message(Time::ZERO, stranger, Control::Prepare(epoch, ballot, vec![]), &mut regions);
    let value = Proposal { members: vec![], cut: cut(1) };
    let accept = Control::Accept(epoch, ballot, value);
    founder.on_message(Time::ZERO, stranger, accept, &mut regions);
    let is_wedged = regions.get(ROOT).expect("of its view").streams.is_wedged();
    assert!(!founder.acceptor.is_wedged() && !is_wedged);
    assert_eq!(founder.out, []);
}

#[test]
fn a_view_of_another_cluster_is_not_taken_in() {
    let mut founder = founder();
    let epoch = Epoch { cluster: ClusterId::from_bytes([0; 16]), number: 99 };
    let view = View { epoch, members: vec![member(0), member(1)] };
    founder.on_message(Time::ZERO, member(1).node, Control::Told(view, cut(1)), &mut regions());
    assert_eq!(founder.view().expect("its own").members, [member(0)]);
}

#[test]
fn those_who_wait_to_be_let_in_are_bounded() {
    let mut founder = founder();
    for number in 1..=JOINING_MAX + 1 {
        let joiner = member(number);
        founder.on_message(Time::ZERO, joiner.node, Control::Join(joiner), &mut regions());
    }
    assert_eq!(founder.joining.len(), JOINING_MAX);
}

/// The failure detector may be faster than a view: who is gone before it is let in is let out.
#[test]
fn a_member_that_was_gone_before_its_view_came_is_not_trusted() {
    let mut founder = founder();
    let epoch = founder.view().expect("it founded").epoch;
    founder.on_gone(Time::ZERO, member(1));
    let view = View { epoch: Epoch { number: 2, ..epoch }, members: vec![member(0), member(1)] };
    founder.on_message(
        Time::ZERO,
        member(1).node,
        Control::Told(view.clone(), cut(1)),
        &mut regions(),
    );
    assert_eq!(founder.view(), Some(&view));
    assert!(founder.needs_change(&view, &regions()));
}

#[test]
fn a_view_holds_no_more_than_it_may() {
    let mut founder = founder();
    for number in 1..=MEMBERS_MAX {
        let joiner = member(number);
        founder.on_alive(Time::ZERO, joiner);
        founder.on_message(Time::ZERO, joiner.node, Control::Join(joiner), &mut regions());
    }
    founder.on_wake(Time::ZERO, &mut regions());
    assert_eq!(founder.view().expect("it leads").members.len(), MEMBERS_MAX);
}
