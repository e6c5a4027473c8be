//! Histories that were made up: one that makes sense, and for each invariant one that breaks it.

use live_objects::{
    ClusterId, Command, Epoch, Incarnation, Name, ObjectType, Refusal, Spec, Time, View,
};

use super::*;
use crate::site::Site;

/// The history of three nodes that all open one object, and of what comes then.
struct Story {
    checker: GroupsChecker,
    ty: ObjectType,
    result: Result<(), String>,
}

fn member(node: usize) -> Member {
    let incarnation = Incarnation::from_bytes([1; Incarnation::LEN]);
    Member { node: Site::new(9).id(node), incarnation }
}

fn name() -> Name {
    "/group".parse().unwrap()
}

fn epoch(number: u64) -> Epoch {
    Epoch { cluster: ClusterId::from_bytes([1; 16]), number }
}

impl Story {
    fn of(ty: ObjectType) -> Self {
        let mut story = Self { checker: GroupsChecker::default(), ty, result: Ok(()) };
        for node in ALL {
            story.saw(node, What::Started(member(node)));
            story.opens(node);
        }
        story
    }

    fn fifo() -> Self {
        Self::of(ObjectType::topic(Order::Fifo))
    }

    fn total() -> Self {
        Self::of(ObjectType::topic(Order::Total))
    }

    /// The first violation counts.
    fn saw(&mut self, node: usize, what: What) {
        let result = self.checker.check(&Record { at: Time::ZERO, node, what });
        self.result = std::mem::replace(&mut self.result, Ok(())).and(result);
    }

    fn told(&mut self, node: usize, event: TopicEvent) {
        let event = if self.ty.kind == Kind::Topic {
            Event::Topic(event)
        } else {
            Event::Replicated(match event {
                TopicEvent::View(view) => ReplicatedEvent::View(view),
                TopicEvent::Outside => ReplicatedEvent::Outside,
                TopicEvent::Message { from, own, bytes } => {
                    ReplicatedEvent::Update { from, own, bytes }
                }
                TopicEvent::Stable { message } => ReplicatedEvent::Stable { message },
                TopicEvent::CutOff => ReplicatedEvent::CutOff,
                TopicEvent::Reached => ReplicatedEvent::Reached,
                TopicEvent::Lagged { .. } => panic!("of best-effort topics alone"),
            })
        };
        self.saw(node, What::Event(name().id(), event));
    }

    fn opens(&mut self, node: usize) {
        self.saw(node, What::Opened(name().id(), Spec::new(name(), self.ty.clone())));
    }

    fn closes(&mut self, node: usize) {
        self.saw(node, What::Closed(name().id()));
    }

    /// A view of these members is told to these nodes.
    fn view(&mut self, number: u64, members: &[usize], nodes: &[usize]) {
        let members: Vec<Member> = members.iter().map(|node| member(*node)).collect();
        for node in nodes {
            let view = View { epoch: epoch(number), members: members.clone() };
            self.told(*node, TopicEvent::View(view));
        }
    }

    fn outside(&mut self, node: usize) {
        self.told(node, TopicEvent::Outside);
    }

    fn sends(&mut self, node: usize, what: &'static str) {
        self.saw(node, What::Command(name().id(), Command::Send(what.into())));
    }

    /// A message is delivered at these nodes, as command `number` at its sender.
    fn heard(&mut self, from: usize, number: u64, what: &'static str, nodes: &[usize]) {
        for node in nodes {
            let own = (*node == from).then_some(number);
            self.heard_as(from, own, what, *node);
        }
    }

    fn heard_as(&mut self, from: usize, own: Option<u64>, what: &'static str, node: usize) {
        self.told(node, TopicEvent::Message { from: member(from), own, bytes: what.into() });
    }

    fn stable(&mut self, node: usize, message: u64) {
        self.told(node, TopicEvent::Stable { message });
    }

    fn restored(&mut self, node: usize) {
        let event = ReplicatedEvent::Restore { offset: 0, bytes: Bytes::new(), last: true };
        self.saw(node, What::Event(name().id(), Event::Replicated(event)));
    }

    fn settled(&self) -> Result<(), String> {
        assert_eq!(self.result, Ok(()));
        self.checker.settled(&ALL.map(|node| (node, member(node))))
    }

    #[track_caller]
    fn breaks(&self, invariant: &str) {
        let what = self.result.as_ref().unwrap_err();
        assert!(what.starts_with(&format!("{invariant}: ")), "{what}");
    }

    #[track_caller]
    fn is_unsettled(&self, why: &str) {
        let what = self.settled().unwrap_err();
        assert!(what.starts_with(why), "{what}");
    }
}

const ALL: [usize; 3] = [0, 1, 2];

/// Joins, a message before the first view, messages in views, a crash that leaves more than others
/// have, a stay outside, and messages that are sent again.
#[test]
fn a_sensible_history_passes() {
    for mut story in [Story::fifo(), Story::total()] {
        story.sends(0, "a");
        story.view(1, &[0, 1], &[0, 1]);
        story.heard(0, 0, "a", &[1, 0]);
        story.stable(0, 0);
        story.sends(0, "b");
        story.view(4, &[0, 1, 2], &ALL);
        story.sends(2, "c");
        story.heard(0, 1, "b", &ALL);
        story.heard(2, 0, "c", &ALL);
        // Node 0 hears what nobody else does, and is cut off.
        story.sends(0, "d");
        story.sends(0, "e");
        story.heard(0, 2, "d", &[0]);
        story.heard(0, 3, "e", &[0]);
        story.stable(2, 0);
        story.view(5, &[1, 2], &[1, 2]);
        story.outside(0);
        story.view(7, &[1, 2, 0], &ALL);
        story.stable(0, 1);
        story.heard(0, 2, "d", &ALL);
        story.heard(0, 3, "e", &ALL);
        story.stable(0, 3);
        assert_eq!(story.settled(), Ok(()));
        story.saw(1, What::Crashed);
        story.is_unsettled("V9");
        story.view(9, &[2, 0], &[0, 2]);
        assert_eq!(story.settled(), Ok(()));
        story.closes(2);
        story.opens(2);
        story.sends(2, "f");
        story.view(11, &[0, 2], &[2, 0]);
        story.heard(2, 0, "f", &[0, 2]);
        story.is_unsettled("V9");
        story.stable(2, 0);
        assert_eq!(story.settled(), Ok(()));
    }
}

#[test]
fn what_was_delivered_while_its_sender_was_outside_may_be_stable_unheard() {
    let mut story = Story::fifo();
    story.view(1, &ALL, &ALL);
    story.sends(0, "a");
    story.heard(0, 0, "a", &[1, 2]);
    story.view(2, &[1, 2], &[1, 2]);
    story.outside(0);
    story.view(3, &ALL, &ALL);
    story.is_unsettled("V9");
    story.stable(0, 0);
    assert_eq!(story.settled(), Ok(()));
}

#[test]
fn a_replica_without_a_state_starts_anew_with_the_next_view() {
    let mut story = Story::of(ObjectType::replicated());
    let founded = Event::Replicated(ReplicatedEvent::Founded);
    story.view(1, &[0, 1], &[0, 1]);
    ALL[..2].iter().for_each(|node| story.saw(*node, What::Event(name().id(), founded.clone())));
    story.sends(2, "a");
    story.view(2, &ALL, &ALL);
    story.heard(2, 0, "a", &[0, 1]);
    story.saw(1, What::Crashed);
    story.view(3, &[0, 2], &[0, 2]);
    story.stable(2, 0);
    story.restored(2);
    story.sends(0, "b");
    story.heard(0, 0, "b", &[0, 2]);
    story.stable(0, 0);
    assert_eq!(story.settled(), Ok(()));
    // From now on it is bound as the other is.
    story.view(4, &[0, 2], &[0, 2]);
    story.sends(0, "c");
    story.heard(0, 1, "c", &[0]);
    story.view(5, &[0, 2], &[0, 2]);
    story.breaks("V3");
}

#[test]
fn v1_a_view_without_the_member_that_is_told_of_it() {
    let mut story = Story::fifo();
    story.view(1, &[0, 1], &[2]);
    story.breaks("V1");
}

#[test]
fn v2_views_that_differ_go_back_or_part() {
    let mut story = Story::fifo();
    story.view(1, &[0, 1], &[0]);
    story.view(1, &[1, 0], &[1]);
    story.breaks("V2");

    let mut story = Story::fifo();
    story.view(3, &ALL, &[0]);
    story.outside(0);
    story.view(3, &ALL, &[0]);
    story.breaks("V2");

    let mut story = Story::fifo();
    story.view(1, &ALL, &ALL);
    story.view(2, &[0, 1], &[0]);
    story.view(3, &[1, 2], &[1]);
    story.breaks("V2");
}

#[test]
fn v2_a_life_stays_in_its_cluster_and_the_next_need_not() {
    let elsewhere = |node: usize, life: Member| {
        let cluster = ClusterId::from_bytes([2; 16]);
        let view = View { epoch: Epoch { cluster, number: 1 }, members: vec![life] };
        (node, TopicEvent::View(view))
    };
    let mut story = Story::fifo();
    story.view(4, &ALL, &ALL);
    story.outside(0);
    let (node, event) = elsewhere(0, member(0));
    story.told(node, event);
    story.breaks("V2");

    let mut story = Story::fifo();
    story.view(4, &ALL, &ALL);
    story.saw(0, What::Crashed);
    let incarnation = Incarnation::from_bytes([2; Incarnation::LEN]);
    let reborn = Member { incarnation, ..member(0) };
    story.saw(0, What::Started(reborn));
    story.opens(0);
    let (node, event) = elsewhere(0, reborn);
    story.told(node, event);
    assert_eq!(story.result, Ok(()));
}

#[test]
fn v3_members_of_two_views_that_delivered_other_messages() {
    for [first, second] in [[0, 1], [1, 0]] {
        let mut story = Story::fifo();
        story.view(1, &[0, 1], &[0, 1]);
        story.sends(0, "a");
        story.heard(0, 0, "a", &[0]);
        story.view(2, &[0, 1], &[first, second]);
        story.breaks("V3");
        let text = story.result.unwrap_err();
        assert!(text.contains("only node 0 delivered command 0"), "{text}");
    }
}

#[test]
fn v4_a_message_in_two_views() {
    let mut story = Story::fifo();
    story.view(1, &[0, 1], &[0, 1]);
    story.sends(0, "a");
    story.heard(0, 0, "a", &[0, 1]);
    story.view(2, &ALL, &ALL);
    story.heard(0, 0, "a", &[2]);
    assert_eq!(story.result, Ok(()), "node 2 may not go on from here");
    story.view(3, &ALL, &[2]);
    story.breaks("V4");
}

#[test]
fn v4_is_asked_of_the_last_view_too() {
    let mut story = Story::fifo();
    story.view(1, &[0, 1], &[0, 1]);
    story.sends(1, "a");
    story.heard(1, 0, "a", &[0]);
    story.view(2, &[0, 2], &[0, 2]);
    story.outside(1);
    story.closes(0);
    story.view(3, &[2, 1], &[2, 1]);
    story.heard(1, 0, "a", &[1, 2]);
    story.stable(1, 0);
    story.is_unsettled("V4");
}

#[test]
fn v4_does_not_bind_a_group_that_was_left_by_all() {
    let mut story = Story::fifo();
    story.view(1, &[0, 1], &[0, 1]);
    story.sends(0, "a");
    story.heard(0, 0, "a", &[0, 1]);
    story.outside(0);
    story.view(2, &[1], &[1]);
    story.closes(1);
    story.closes(2);
    story.view(4, &[0], &[0]);
    story.heard(0, 0, "a", &[0]);
    story.stable(0, 0);
    assert_eq!(story.settled(), Ok(()));
}

#[test]
fn v5_what_was_not_sent_or_not_by_that_member() {
    let mut story = Story::fifo();
    story.view(1, &ALL, &ALL);
    story.sends(0, "a");
    story.heard(1, 0, "a", &[2]);
    story.breaks("V5");
}

#[test]
fn v5_what_is_delivered_twice() {
    let mut story = Story::fifo();
    story.view(1, &ALL, &ALL);
    story.sends(0, "a");
    story.heard(0, 0, "a", &[1]);
    story.view(2, &ALL, &[1]);
    story.heard(0, 0, "a", &[1]);
    story.breaks("V5");
}

#[test]
fn v5_what_is_delivered_in_no_view_or_from_outside_it() {
    let mut story = Story::fifo();
    story.sends(0, "a");
    story.heard(0, 0, "a", &[1]);
    story.breaks("V5");

    let mut story = Story::fifo();
    story.sends(0, "a");
    story.view(1, &[1, 2], &[1, 2]);
    story.heard(0, 0, "a", &[1]);
    story.breaks("V5");
}

#[test]
fn v5_what_is_told_as_another_own_command() {
    let told_as = |node: usize, own: Option<u64>| {
        let mut story = Story::fifo();
        story.view(1, &ALL, &ALL);
        story.sends(0, "a");
        story.heard_as(0, own, "a", node);
        story
    };
    assert_eq!(told_as(0, Some(0)).result, Ok(()));
    told_as(0, Some(1)).breaks("V5");
    told_as(0, None).breaks("V5");
    told_as(1, Some(0)).breaks("V5");

    // What an earlier opening sent is not this one's.
    let mut story = Story::fifo();
    story.view(1, &ALL, &ALL);
    story.sends(0, "a");
    story.closes(0);
    story.opens(0);
    story.view(2, &ALL, &ALL);
    story.heard(0, 0, "a", &[0]);
    story.breaks("V5");
}

#[test]
fn v6_what_one_sender_sent_out_of_order_or_with_a_gap() {
    let sent = || {
        let mut story = Story::fifo();
        story.view(1, &ALL, &ALL);
        ["a", "b", "c"].into_iter().for_each(|what| story.sends(0, what));
        story
    };
    let mut story = sent();
    story.heard(0, 1, "b", &[1]);
    story.heard(0, 0, "a", &[1]);
    story.breaks("V6");

    let mut story = sent();
    story.heard(0, 0, "a", &[1]);
    story.heard(0, 2, "c", &[1]);
    story.breaks("V6");

    let mut story = sent();
    story.heard(0, 0, "a", &[0]);
    story.view(2, &ALL, &[0]);
    story.heard(0, 2, "c", &[0]);
    story.breaks("V6");

    // The sender closed: what it had not sent, it never will.
    let mut story = sent();
    story.heard(0, 0, "a", &[1, 2]);
    story.closes(0);
    story.opens(0);
    story.sends(0, "d");
    story.view(2, &ALL, &ALL);
    story.heard(0, 0, "d", &ALL);
    assert_eq!(story.result, Ok(()));
}

#[test]
fn v6_a_total_order_that_differs() {
    let crossed = |mut story: Story| {
        story.view(1, &[0, 1], &[0, 1]);
        story.closes(2);
        story.sends(0, "a");
        story.sends(1, "b");
        story.heard(0, 0, "a", &[0]);
        story.heard(1, 0, "b", &[0, 1]);
        story.heard(0, 0, "a", &[1]);
        story.stable(0, 0);
        story.stable(1, 0);
        story
    };
    assert_eq!(crossed(Story::fifo()).settled(), Ok(()));
    crossed(Story::total()).is_unsettled("V6");
    let gone_on = |mut story: Story| {
        story.view(2, &[0, 1], &[0, 1]);
        story
    };
    assert_eq!(gone_on(crossed(Story::fifo())).settled(), Ok(()));
    gone_on(crossed(Story::total())).breaks("V6");
}

#[test]
fn v7_stable_before_it_is_delivered_at_its_sender() {
    let mut story = Story::fifo();
    story.view(1, &ALL, &ALL);
    story.sends(0, "a");
    story.stable(0, 1);
    story.breaks("V7");

    let mut story = Story::fifo();
    story.view(1, &ALL, &ALL);
    story.outside(0);
    story.sends(0, "a");
    story.view(2, &ALL, &ALL);
    story.stable(0, 0);
    story.breaks("V7");
}

#[test]
fn v7_members_that_go_on_without_what_is_stable() {
    let sent = || {
        let mut story = Story::fifo();
        story.view(1, &ALL, &ALL);
        story.sends(0, "a");
        story.heard(0, 0, "a", &[0]);
        story
    };
    let mut story = sent();
    story.stable(0, 0);
    story.view(2, &[1, 2], &[1]);
    story.breaks("V7");

    let mut story = sent();
    story.view(2, &[1, 2], &[1]);
    assert_eq!(story.result, Ok(()));
    story.stable(0, 0);
    story.breaks("V7");
}

#[test]
fn v9_who_is_outside_or_elsewhere_or_lacks_something_is_not_settled() {
    let mut story = Story::fifo();
    story.view(1, &ALL, &[0, 1]);
    story.is_unsettled("V9: node 2 is outside");
    story.view(2, &ALL, &[2]);
    story.is_unsettled("V9: node 0 is in");
    story.view(2, &ALL, &[0, 1]);
    assert_eq!(story.settled(), Ok(()));
    story.sends(0, "a");
    story.is_unsettled("V9: node 0 gave 1 commands, 0 of which are stable");
    story.heard(0, 0, "a", &[0, 1]);
    story.stable(0, 0);
    story.is_unsettled("V9: in");
    story.heard(0, 0, "a", &[2]);
    assert_eq!(story.settled(), Ok(()));
    let refused = Event::Refused(Refusal::NoPrimary);
    story.saw(1, What::Event(name().id(), refused));
    story.is_unsettled("V9: open at");
}

#[test]
fn a_payload_that_comes_again_is_no_ground_to_stand_on() {
    let mut story = Story::fifo();
    story.sends(0, "a");
    story.sends(1, "a");
    assert_eq!(story.result, Ok(()), "of another sender it is another message");
    story.sends(0, "a");
    assert!(story.result.unwrap_err().contains("the story sends what it sent before"));
}
