//! Views: the agreed answers to "who is in?", numbered.
//!
//! The members of a cluster install the same views in the same order (Birman and Joseph, SOSP
//! 1987), in one partition at a time. An [`Epoch`] names a view for good: an application may hand
//! it to a store as a fencing token, and let the store refuse whoever comes with a lower one.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::node::{Member, NodeId};

/// A cluster, from its founding on: 128 random bits. A cluster that is founded anew is another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClusterId([u8; 16]);

impl ClusterId {
    /// An id as it was drawn at a founding.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..2].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The name of a view: no two views of any two clusters share one. Epochs of one cluster are
/// ordered.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Epoch {
    /// Of which cluster.
    pub cluster: ClusterId,
    /// The view's number: 1 at the founding.
    pub number: u64,
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}/{}", self.cluster, self.number)
    }
}

/// Who is in, from one change to the next.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct View {
    /// Its name.
    pub epoch: Epoch,
    /// Who is in it, by seniority. No node is in it twice.
    pub members: Vec<Member>,
}

impl View {
    /// Whether this member, in this very life, is in.
    pub fn has(&self, member: Member) -> bool {
        self.members.contains(&member)
    }

    /// Whether these nodes can decide for the view: more than half of its members, or exactly half
    /// and among them the most senior. Any two such sets share a member. (Whoever is here for a
    /// moment is a junior: its crash takes the quorum from no member that was alone before it.)
    pub fn is_quorum(&self, nodes: impl Fn(NodeId) -> bool) -> bool {
        let with = self.members.iter().filter(|member| nodes(member.node)).count() * 2;
        let senior = self.members.first().map(|member| member.node);
        with > self.members.len() || with == self.members.len() && senior.is_some_and(nodes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Incarnation;

    fn view(nodes: usize) -> View {
        let member = |node: usize| Member {
            node: NodeId::from_bytes([node as u8; NodeId::LEN]),
            incarnation: Incarnation::from_bytes([0; Incarnation::LEN]),
        };
        let epoch = Epoch { cluster: ClusterId::from_bytes([1; 16]), number: 1 };
        // The senior does not have the lowest id.
        View { epoch, members: (0..nodes).rev().map(member).collect() }
    }

    #[test]
    fn the_senior_goes_on_without_its_junior() {
        let view = view(2);
        let [senior, junior] = [0, 1].map(|place| view.members[place].node);
        assert!(view.is_quorum(|node| node == senior));
        assert!(!view.is_quorum(|node| node == junior));
    }

    /// Every two sets that can decide share a member, and either a set or its rest can.
    #[test]
    fn of_two_halves_exactly_one_decides() {
        for size in 1..10 {
            let view = view(size);
            for set in 0..1_u32 << size {
                let is_in = |node: NodeId| set >> node.as_bytes()[0] & 1 == 1;
                let decides = view.is_quorum(is_in);
                assert_ne!(decides, view.is_quorum(|node| !is_in(node)), "{set:b} of {size}");
            }
        }
    }
}
