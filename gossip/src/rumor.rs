//! News: which entries still travel, and in which order.
//!
//! SWIM (DSN 2002, section 4.1) spreads changes by writing them onto the packets of the failure
//! detector. Each is passed on λ log n times by each node that learns of it, by when all but
//! n^(2-2λ) of the members know; when there are more than fit into a packet, those sent least often
//! go first.
//!
//! Unlike SWIM, a node loses interest sooner in what others turn out to know (the *feedback* of
//! Demers et al., PODC 1987, section 1.4): that one does counts as λ times sent. One node's news
//! reaches all as fast as ever, but of a thousand that arrive together nobody says everything
//! thirty times.
//!
//! The queue holds nodes, not entries: what is sent is what the table says by then, so that of
//! several changes to one member only the last travels. News sent equally often goes in an order
//! drawn by chance, so that nodes that learned the same things together do not all repeat them in
//! one order; but news of members that are known goes before newcomers. It takes a third of the
//! room, and who is not known to have gone is counted, asked and waited for, while a newcomer makes
//! itself known where it counts. (Of 2,500 members a hundredth was replaced in each round, which is
//! more than there is room to tell: with all news alike they counted 3.5 % too many, and so 1.5 %.)

use std::collections::{BTreeMap, BTreeSet};

use live_objects::{NodeId, Rng};
use rand::RngExt;

use crate::entry::{Entry, Telling};
use crate::members::Members;
use crate::wire;

/// The most nodes of which news travels. Beyond it the news sent most often is no longer passed on:
/// who missed it finds out by the digests.
pub(crate) const RUMORS_MAX: usize = 4_096;

/// The queue of news.
pub(crate) struct Rumors {
    rng: Rng,
    queue: BTreeSet<Rumor>,
    of: BTreeMap<NodeId, Rumor>,
    /// What it counts for, in times sent, that another knows.
    feedback: i64,
    /// What all that stand in the queue gained together, so that one number raises them all.
    gained: i64,
}

/// The order of its fields is that of the queue.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rumor {
    /// How often it was sent, less what all had gained when it came.
    sent: i64,
    turn: u32,
    node: NodeId,
    telling: Telling,
}

impl Rumors {
    pub(crate) fn new(feedback: u32, rng: Rng) -> Self {
        let (queue, of) = (BTreeSet::new(), BTreeMap::new());
        Self { rng, queue, of, feedback: feedback.into(), gained: 0 }
    }

    /// There is news of this node. Says whether older news had to give way.
    #[must_use]
    pub(crate) fn add(&mut self, node: NodeId, telling: Telling) -> bool {
        // What was not told whole to everybody yet is still to be.
        let before = self.of.get(&node).map(|before| before.telling);
        let telling = before.map_or(telling, |before| before.min(telling));
        let turn = self.rng.random_range(match telling {
            Telling::Brief => 1..=u32::MAX / 2,
            Telling::Whole => u32::MAX / 2 + 1..=u32::MAX,
        });
        self.put(Rumor { sent: -self.gained, turn, node, telling })
    }

    /// As `add`, but nothing that was sent as seldom goes before it.
    #[must_use]
    pub(crate) fn add_first(&mut self, node: NodeId) -> bool {
        let before = self.of.get(&node).map(|before| before.telling);
        let telling = before.unwrap_or(Telling::Whole);
        self.put(Rumor { sent: -self.gained, turn: 0, node, telling })
    }

    /// Somebody knew the news of this node.
    pub(crate) fn known(&mut self, node: NodeId) {
        if let Some(rumor) = self.of.get(&node).copied() {
            self.put_back(Rumor { sent: rumor.sent + self.feedback, ..rumor });
        }
    }

    /// Somebody knew all the news.
    pub(crate) fn all_known(&mut self) {
        self.gained += self.feedback;
    }

    /// There is no news any more.
    pub(crate) fn clear(&mut self) {
        self.queue.clear();
        self.of.clear();
    }

    /// Adds as much news to `entries` as fits into `room` bytes, each piece at most `sent_max`
    /// times over all calls; what stands in `told` is news to nobody there. Says whether all news
    /// fitted that was never sent before.
    pub(crate) fn pick(
        &mut self,
        members: &Members,
        told: &[Entry],
        Limits { mut room, sent_max, credential_len }: Limits,
        entries: &mut Vec<Entry>,
    ) -> bool {
        let (sent_max, unsaid) = (i64::from(sent_max) - self.gained, -self.gained);
        let mut done: Vec<Rumor> = Vec::new();
        let mut is_all = true;
        for rumor in &self.queue {
            let Some(entry) = members.of(rumor.node).filter(|_| rumor.sent < sent_max) else {
                done.push(Rumor { sent: sent_max, ..*rumor });
                continue;
            };
            if told.iter().chain(entries.iter()).any(|said| said.says(&entry)) {
                continue;
            }
            let entry = rumor.telling.of(entry);
            let Some(rest) =
                room.checked_sub(wire::entries::entry_len_with(&entry, credential_len))
            else {
                is_all = rumor.sent > unsaid;
                break;
            };
            room = rest;
            entries.push(entry);
            done.push(Rumor { sent: rumor.sent + 1, ..*rumor });
        }
        for rumor in done {
            self.remove(rumor.node);
            if rumor.sent < sent_max {
                self.put_back(rumor);
            }
        }
        is_all
    }

    fn put_back(&mut self, rumor: Rumor) {
        let gave_way = self.put(rumor);
        assert!(!gave_way, "it was in the queue before");
    }

    fn put(&mut self, rumor: Rumor) -> bool {
        self.remove(rumor.node);
        self.queue.insert(rumor);
        self.of.insert(rumor.node, rumor);
        if self.queue.len() <= RUMORS_MAX {
            return false;
        }
        let last = self.queue.pop_last().expect("just seen to hold more than none");
        self.of.remove(&last.node);
        true
    }

    fn remove(&mut self, node: NodeId) {
        if let Some(rumor) = self.of.remove(&node) {
            self.queue.remove(&rumor);
        }
    }
}

/// What a call of [`Rumors::pick`] keeps to.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// In bytes.
    pub(crate) room: usize,
    /// How often a piece of news may be sent.
    pub(crate) sent_max: u32,
    /// About how long what a member shows is.
    pub(crate) credential_len: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::tests::entry;
    use crate::wire::entries::entry_len;

    fn knowing(nodes: std::ops::Range<u8>) -> (Members, Rumors) {
        let mut members = Members::new(entry(0, 1));
        let mut rumors = Rumors::new(3, Rng::from_seed([7; 32]));
        for node in nodes {
            members.merge(entry(node, 1));
            assert!(!rumors.add(entry(node, 1).member.node, Telling::Whole));
        }
        (members, rumors)
    }

    fn pick(members: &Members, rumors: &mut Rumors, told: &[Entry], room: usize) -> Vec<Entry> {
        let mut picked = Vec::new();
        rumors.pick(members, told, Limits { room, sent_max: 3, credential_len: 0 }, &mut picked);
        picked
    }

    #[test]
    fn what_was_sent_least_goes_first_and_nothing_too_often() {
        let (members, mut rumors) = knowing(1..10);
        let room = 3 * entry_len(&entry(1, 1)) + 1;
        let mut sent: BTreeMap<NodeId, u32> = BTreeMap::new();
        for round in 0..9 {
            let picked = pick(&members, &mut rumors, &[], room);
            assert_eq!(picked.len(), 3);
            for entry in picked {
                *sent.entry(entry.member.node).or_default() += 1;
            }
            let most = sent.values().max().unwrap();
            assert_eq!(*most, round / 3 + 1, "none a second time before each once");
        }
        assert!(sent.len() == 9 && sent.values().all(|times| *times == 3));
        assert_eq!(pick(&members, &mut rumors, &[], room), []);
    }

    #[test]
    fn what_is_sent_is_what_the_table_says_by_then() {
        let (mut members, mut rumors) = knowing(1..2);
        members.merge(entry(1, 2));
        assert_eq!(pick(&members, &mut rumors, &[], 999), [entry(1, 2)]);
    }

    #[test]
    fn nobody_is_told_what_he_just_said() {
        let (members, mut rumors) = knowing(1..3);
        assert_eq!(pick(&members, &mut rumors, &[entry(1, 1)], 999), [entry(2, 1)]);
        let mut half_told = vec![entry(2, 1)];
        let budget = Limits { room: 999, sent_max: 3, credential_len: 0 };
        assert!(rumors.pick(&members, &[], budget, &mut half_told));
        assert_eq!(half_told, [entry(2, 1), entry(1, 1)]);
    }

    #[test]
    fn it_says_whether_all_that_was_unsaid_fitted() {
        let (members, mut rumors) = knowing(1..4);
        let small = Limits { room: entry_len(&entry(1, 1)) + 1, sent_max: 3, credential_len: 0 };
        assert!(!rumors.pick(&members, &[], small, &mut Vec::new()));
        assert!(!rumors.pick(&members, &[], small, &mut Vec::new()));
        assert!(rumors.pick(&members, &[], small, &mut Vec::new()));
    }

    #[test]
    fn what_others_know_is_passed_on_less() {
        let (members, mut rumors) = knowing(1..4);
        let room = entry_len(&entry(1, 1));
        for known in [1, 2, 9] {
            rumors.known(entry(known, 1).member.node);
        }
        for _ in 0..3 {
            assert_eq!(pick(&members, &mut rumors, &[], room), [entry(3, 1)]);
        }
        assert_eq!(pick(&members, &mut rumors, &[], room), [], "the others count as sent thrice");
    }

    #[test]
    fn who_knows_all_ends_all_but_what_comes_after() {
        let (mut members, mut rumors) = knowing(1..4);
        rumors.all_known();
        members.merge(entry(4, 1));
        assert!(!rumors.add(entry(4, 1).member.node, Telling::Whole));
        assert_eq!(pick(&members, &mut rumors, &[], 999), [entry(4, 1)]);
        assert_eq!(rumors.queue.len(), 1);
    }

    #[test]
    fn news_of_known_members_goes_before_newcomers() {
        let (members, mut rumors) = knowing(1..7);
        rumors.clear();
        for node in 1..7 {
            let telling = if node % 2 == 0 { Telling::Brief } else { Telling::Whole };
            assert!(!rumors.add(entry(node, 1).member.node, telling));
        }
        let room = 3 * entry_len(&entry(1, 1).brief());
        let first = pick(&members, &mut rumors, &[], room);
        assert_eq!(first.len(), 3);
        assert!(first.iter().all(Entry::is_brief));
        let then = pick(&members, &mut rumors, &[], 3 * entry_len(&entry(1, 1)));
        assert!(then.len() == 3 && !then.iter().any(Entry::is_brief));
    }

    #[test]
    fn urgent_news_goes_first() {
        let (members, mut rumors) = knowing(1..10);
        assert!(!rumors.add_first(entry(5, 1).member.node));
        assert_eq!(pick(&members, &mut rumors, &[], entry_len(&entry(5, 1))), [entry(5, 1)]);
    }

    #[test]
    fn a_full_queue_lets_go_of_what_was_sent_most() {
        let (members, mut rumors) = knowing(1..2);
        pick(&members, &mut rumors, &[], 999);
        let node = |number: usize| {
            let mut node = [9; NodeId::LEN];
            node[..8].copy_from_slice(&number.to_be_bytes());
            NodeId::from_bytes(node)
        };
        assert!(!(1..RUMORS_MAX).any(|number| rumors.add(node(number), Telling::Whole)));
        assert!(rumors.add(node(0), Telling::Whole));
        assert_eq!(rumors.queue.len(), RUMORS_MAX);
        assert!(!rumors.of.contains_key(&entry(1, 1).member.node));
    }
}
