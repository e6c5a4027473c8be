//! What goes over streams: the messages of the configuration, few and small, over the control
//! stream; questions for state, and state in chunks over the bulk stream. Written by serde and
//! postcard. The variants are numbered by position on the wire: new ones go
//! last.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use live_objects::{Epoch, Member, NodeId, View};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::holdings::{End, Ends, Held, Holdings};

/// The longest message, which bounds what reading one can allocate.
pub(crate) const MESSAGE_LEN_MAX: usize = 128 << 10;

/// The number of an attempt to change a view: the higher one prevails. No two leaders share one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub(crate) struct Ballot {
    pub(crate) round: u32,
    pub(crate) leader: NodeId,
}

/// What follows a view.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Proposal {
    pub(crate) members: Vec<Member>,
    pub(crate) cut: Cut,
}

/// Where a view ends.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Cut {
    /// How far the streams go of each region that may lose a member, and whose each is, by place in
    /// the view.
    pub(crate) trim: BTreeMap<u32, Vec<(u16, u64)>>,
    /// Nobody who knew the group map is left: the next view begins with an empty one.
    pub(crate) is_reset: bool,
}

/// What can be asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum What {
    /// The group map as it was at the beginning of the view of this number.
    Map(u64),
    /// The state of a group at a cut.
    State { group: u32, cut: u64 },
}

/// A piece of something that was asked for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Chunk {
    pub(crate) what: What,
    /// At which byte it begins.
    pub(crate) offset: u64,
    pub(crate) bytes: Bytes,
    /// Whether another follows without being asked for.
    pub(crate) more: bool,
    /// Whether it is the end.
    pub(crate) last: bool,
}

/// What goes over a stream.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Control {
    /// This member wants to be in the next view. Passed on to the leader.
    Join(Member),
    /// This member wants not to be in the next view. Passed on to the leader.
    Leave(Member),
    /// Paxos 1a: promise to follow no lower ballot in changing this view, which these may be left
    /// out of.
    Prepare(Epoch, Ballot, Vec<Member>),
    /// Paxos 1b, with what was accepted before and what the member holds.
    Promise(Epoch, Ballot, Option<(Ballot, Proposal)>, Holdings),
    /// Paxos 2a: accept that this is the next view.
    Accept(Epoch, Ballot, Proposal),
    /// Paxos 2b.
    Accepted(Epoch, Ballot),
    /// A higher ballot was promised: this one.
    Outbid(Epoch, Ballot),
    /// The view that the sender knows to be decided, and where the one before it ends.
    Told(View, Cut),
    /// Send this from this byte on.
    Pull(What, u64),
    /// Some of what was asked for.
    Chunk(Chunk),
    /// The sender does not have this, or not yet.
    Lacking(What),
    /// Vote for this member: it is to found the cluster.
    Stand(Member),
    /// The first votes for the second.
    Vote(Member, Member),
    /// This member does not stand any more: who voted for it is free.
    GiveUp(Member),
    /// Regions are to end so: get what is missing.
    Gather(Epoch, Ballot, Ends),
    /// Nothing is missing.
    Gathered(Epoch, Ballot),
}

impl Control {
    /// Writes it.
    pub(crate) fn encode(&self) -> Bytes {
        postcard::to_allocvec(self).expect("memory takes every message").into()
    }

    /// Reads one. What no member could have meant is refused here, so that nothing behind it need
    /// think of numbers that run over or of views with a node twice.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > MESSAGE_LEN_MAX {
            return Err(DecodeError::TooLong(bytes.len()));
        }
        let message: Self = postcard::from_bytes(bytes)?;
        if message.is_sane() { Ok(message) } else { Err(DecodeError::Absurd) }
    }

    fn is_sane(&self) -> bool {
        let epoch = |epoch: &Epoch| (1..=NUMBER_MAX).contains(&epoch.number);
        let ballot = |ballot: &Ballot| ballot.round <= ROUND_MAX;
        match self {
            Self::Join(_) | Self::Leave(_) => true,
            Self::Accepted(of, by) | Self::Outbid(of, by) | Self::Gathered(of, by) => {
                epoch(of) && ballot(by)
            }
            Self::Prepare(of, by, going) => epoch(of) && ballot(by) && is_sane(going),
            Self::Gather(of, by, ends) => {
                let is_sane = |ends: &Vec<End>| {
                    ends.len() <= MEMBERS_MAX && ends.iter().all(|end| end.last <= FRAMES_MAX)
                };
                epoch(of) && ballot(by) && ends.values().all(is_sane)
            }
            Self::Promise(of, by, accepted, holdings) => {
                let accepted_is_sane =
                    accepted.as_ref().is_none_or(|(by, value)| ballot(by) && value.is_sane());
                epoch(of) && ballot(by) && accepted_is_sane && holdings.is_sane()
            }
            Self::Accept(of, by, value) => epoch(of) && ballot(by) && value.is_sane(),
            Self::Told(view, cut) => epoch(&view.epoch) && is_sane(&view.members) && cut.is_sane(),
            Self::Pull(_, offset) | Self::Chunk(Chunk { offset, .. }) => *offset <= OFFSET_MAX,
            Self::Lacking(_) | Self::Stand(_) | Self::Vote(..) | Self::GiveUp(_) => true,
        }
    }
}

impl Proposal {
    fn is_sane(&self) -> bool {
        is_sane(&self.members) && self.cut.is_sane()
    }
}

impl Cut {
    fn is_sane(&self) -> bool {
        let is_sane = |trim: &Vec<(u16, u64)>| {
            trim.len() <= MEMBERS_MAX && trim.iter().all(|(_, last)| *last <= FRAMES_MAX)
        };
        self.trim.values().all(is_sane)
    }
}

impl Holdings {
    fn is_sane(&self) -> bool {
        let is_sane = |streams: &Vec<Held>| {
            let numbers = streams
                .iter()
                .flat_map(|held| held.beyond.iter().map(|(_, last)| *last).chain([held.prefix]));
            streams.len() <= MEMBERS_MAX && numbers.max().is_none_or(|max| max <= FRAMES_MAX)
        };
        self.regions.values().all(is_sane)
    }
}

/// Whether these can be the members of a view.
fn is_sane(members: &[Member]) -> bool {
    let nodes: BTreeSet<NodeId> = members.iter().map(|member| member.node).collect();
    members.len() <= MEMBERS_MAX && nodes.len() == members.len()
}

/// Why a message was dropped. The peer's fault.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub(crate) enum DecodeError {
    #[error("{0} bytes, {MESSAGE_LEN_MAX} at most")]
    TooLong(usize),
    #[error("not a message: {0}")]
    Malformed(#[from] postcard::Error),
    #[error("a number or a list of members that no view can have")]
    Absurd,
}

/// The most members of a view.
pub const MEMBERS_MAX: usize = 1_024;
/// Higher than any number of a view, of an attempt to change one, of a frame and of a byte of state
/// can honestly become; far enough below what the types hold that counting on is safe. The number
/// of a view is also the high half of that of a group map.
const NUMBER_MAX: u64 = 1 << 31;
const ROUND_MAX: u32 = 1 << 30;
const FRAMES_MAX: u64 = 1 << 62;
const OFFSET_MAX: u64 = 1 << 62;

#[cfg(test)]
mod tests {
    use super::*;
    use live_objects::{ClusterId, Incarnation};
    use proptest::prelude::*;

    fn member(byte: u8) -> Member {
        Member {
            node: NodeId::from_bytes([byte; NodeId::LEN]),
            incarnation: Incarnation::from_bytes([byte; Incarnation::LEN]),
        }
    }

    const END: End = End { of: 0, last: 0, holder: 0 };

    #[test]
    fn golden_bytes() {
        let epoch = Epoch { cluster: ClusterId::from_bytes([9; 16]), number: 300 };
        let ballot = Ballot { round: 1, leader: member(2).node };
        let (nine, two, three) = ([9; 16], [2; 16], [3; 32]);
        let cut = Cut { trim: [(0, vec![(0, 7)])].into(), is_reset: false };
        let value = Proposal { members: vec![member(3)], cut };
        let bytes = Control::Accept(epoch, ballot, value).encode();
        let parts: [&[u8]; 7] =
            [&[4], &nine, &[172, 2, 1], &two, &[1], &three, &[1, 0, 1, 0, 7, 0]];
        assert_eq!(bytes, parts.concat());
        assert_eq!(Control::Join(member(3)).encode(), [&[0_u8][..], &three].concat());
    }

    #[test]
    fn what_is_too_long_or_absurd_is_refused() {
        let long = MESSAGE_LEN_MAX + 1;
        assert_eq!(Control::decode(&vec![0; long]), Err(DecodeError::TooLong(long)));
        let absurd = |message: Control| {
            assert_eq!(Control::decode(&message.encode()), Err(DecodeError::Absurd), "{message:?}");
        };
        let epoch = |number| Epoch { cluster: ClusterId::from_bytes([9; 16]), number };
        let ballot = |round| Ballot { round, leader: member(2).node };
        let told =
            |number, members| Control::Told(View { epoch: epoch(number), members }, Cut::default());
        absurd(told(u64::MAX, vec![member(1)]));
        absurd(told(0, vec![member(1)]));
        absurd(told(1, vec![member(1), member(1)]));
        let cut = Cut { trim: [(0, vec![(0, u64::MAX)])].into(), is_reset: false };
        absurd(Control::Accept(epoch(1), ballot(1), Proposal { members: vec![], cut }));
        absurd(Control::Pull(What::Map(1), u64::MAX));
        absurd(Control::Prepare(epoch(1), ballot(u32::MAX), vec![]));
        absurd(Control::Prepare(epoch(1), ballot(1), vec![member(1), member(1)]));
        absurd(Control::Outbid(epoch(1), ballot(u32::MAX)));
        let value = |members| Proposal { members, cut: Cut::default() };
        let accepted = Some((ballot(u32::MAX), value(vec![])));
        absurd(Control::Promise(epoch(1), ballot(1), accepted, Holdings::default()));
        let streams = vec![Held { of: 0, prefix: 0, beyond: vec![(1, u64::MAX)] }];
        let holdings = Holdings { has_map: true, regions: [(0, streams)].into() };
        absurd(Control::Promise(epoch(1), ballot(1), None, holdings));
        for ends in [vec![End { last: u64::MAX, ..END }], vec![END; MEMBERS_MAX + 1]] {
            absurd(Control::Gather(epoch(1), ballot(1), [(0, ends)].into()));
        }
        let node = |n: usize| {
            let mut id = [0; NodeId::LEN];
            id[..8].copy_from_slice(&n.to_be_bytes());
            Member { node: NodeId::from_bytes(id), ..member(1) }
        };
        let many = |count| value((0..count).map(node).collect());
        absurd(Control::Accept(epoch(1), ballot(1), many(MEMBERS_MAX + 1)));
        let held = Held { of: u16::MAX, prefix: FRAMES_MAX, beyond: vec![] };
        let mut full = many(MEMBERS_MAX);
        full.cut.trim = [(0, vec![(u16::MAX, FRAMES_MAX); MEMBERS_MAX])].into();
        let regions = [(0, vec![held; MEMBERS_MAX])].into();
        let holdings = Holdings { has_map: true, regions };
        let promise = Control::Promise(epoch(1), ballot(1), Some((ballot(1), full)), holdings);
        assert!(Control::decode(&promise.encode()).is_ok(), "that of a full view fits");
    }

    proptest! {
        #[test]
        fn what_can_be_read_is_written_the_same_and_nothing_panics(bytes: Vec<u8>) {
            if let Ok(message) = Control::decode(&bytes) {
                prop_assert_eq!(Control::decode(&message.encode()).unwrap(), message);
            }
        }
    }
}
