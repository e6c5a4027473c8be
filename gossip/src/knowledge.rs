//! What this node knows, what of it is news, and what of it goes into a packet.
//!
//! The packets of one exchange: a *probe* with digest and news; an *ack* with digest and news and,
//! if the digests differ although all was said that was never said before, the digests by bucket;
//! if these differ, a *rest* with the hashes of what its sender knows there; a last rest with what
//! it lacks. News alone spreads fast but misses some (SWIM 4.1: all but n^(2-2λ) hear); the digests
//! find what was missed, whatever was lost, and are eleven bytes when there is nothing to find
//! (anti-entropy: Demers et al., PODC 1987, sections 1.3 and 1.4 on why both). Who asks, learns:
//! each asks in its own exchanges.
//!
//! Another's verdict is heard as a *suspicion*, if the member is up here. Two parts of a cluster
//! that were cut off from each other have each buried the other; when they meet, nobody dies of it,
//! everyone just has to object. (memberlist does so when it merges states. A packet can bring the
//! same: what a node concluded while it was cut off is news that it had nobody to tell.) A death is
//! known hardly later, since the suspicion before it spread as fast as the verdict would, and since
//! no span begins anew: a verdict on a suspect changes nothing.

mod contacts;

use live_objects::{NodeId, Rng};
use rand::RngExt;
use rand::seq::IteratorRandom;

use crate::config::Config;
use crate::digest::{BUCKETS, short_hash};
use crate::entry::{Entry, Generation, Standing, Telling};
use crate::members::{Members, Merged};
use crate::records::affinity::Depth;
use crate::roster::Roster;
use crate::rumor::{Limits, Rumors};
use crate::wire::{self, Inventory, Leg, Packet};

/// The table and the news.
pub(crate) struct Knowledge {
    config: Config,
    members: Members,
    rumors: Rumors,
    rng: Rng,
    /// About how long what a member shows is.
    credential_len: usize,
}

/// How something was heard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Source {
    /// As news.
    News,
    /// From the table of a node that knew otherwise. That is news to those around this node.
    Table,
    /// From the table of those among whom this node arrives. It is news to itself alone: a thousand
    /// newcomers must not all tell the cluster what the cluster just told them.
    Newcomer,
}

/// What became of what was heard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Heard {
    pub(crate) merged: Merged,
    /// Whether older news is no longer passed on because of it.
    pub(crate) gave_way: bool,
}

/// What a packet is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draft<'a> {
    pub(crate) leg: Leg,
    pub(crate) to: NodeId,
    /// A node of whom the receiver must be told, news or not.
    pub(crate) about: Option<NodeId>,
    /// The packet that this one answers, if that came from the same node.
    pub(crate) answers: Option<&'a Packet>,
    /// Whether it is for rows alone: neither it nor its answer carries news.
    pub(crate) is_lean: bool,
}

impl Draft<'_> {
    pub(crate) const fn new(leg: Leg, to: NodeId) -> Self {
        Self { leg, to, about: None, answers: None, is_lean: false }
    }
}

impl Knowledge {
    pub(crate) fn new(config: Config, own: Entry, rng: &Rng) -> Self {
        let mut rumors = Rumors::new(config.retransmit_mult, rng.fork("rumor"));
        let gave_way = rumors.add_first(own.member.node);
        assert!(!gave_way, "the queue was empty");
        let credential_len = own.credential.bytes().len();
        let (members, rng) = (Members::new(own), rng.fork("ask"));
        Self { config, members, rumors, rng, credential_len }
    }

    /// The table.
    pub(crate) fn members(&self) -> &Members {
        &self.members
    }

    /// How often a piece of news is passed on now.
    pub(crate) fn sent_max(&self) -> u32 {
        self.config.sent_max(self.members.up_count())
    }

    /// Whether an entry says of another node what only that node itself is believed, or of this
    /// node what it cannot have said by this time.
    pub(crate) fn is_forged(&self, from: NodeId, entry: &Entry, unix_ms: u64) -> bool {
        let node = entry.member.node;
        let max = match node {
            node if node == self.members.me() => Generation::of_former_life_max(unix_ms),
            node if node == from => return false,
            _ => Generation::HEARSAY_MAX,
        };
        // Hardly any is above that: only those are worth a look at the table.
        entry.generation > max
            && self.members.of(node).is_none_or(|held| held.generation < entry.generation)
    }

    /// Takes in what was heard; what changed is news, but see [`Source::Newcomer`].
    pub(crate) fn hear(&mut self, mut entry: Entry, source: Source) -> Heard {
        let member = entry.member;
        let is_up_here = |held: Entry| held.standing.is_up() && held.member == member;
        if entry.standing == Standing::Faulty
            && self.members.of(member.node).is_some_and(is_up_here)
        {
            entry.standing = Standing::Suspect;
        }
        self.take_in(entry, source)
    }

    /// Takes in what this node saw for itself: that somebody did not answer, or did not object.
    pub(crate) fn conclude(&mut self, entry: Entry) -> Heard {
        self.take_in(entry, Source::News)
    }

    fn take_in(&mut self, entry: Entry, source: Source) -> Heard {
        let node = entry.member.node;
        let merged = self.members.merge(entry);
        let gave_way = match merged {
            Merged::Changed(_) if source == Source::Newcomer => false,
            // Those who knew him pass it on, or somebody made him up.
            Merged::Changed(ref change) if change.is_of_stranger() => false,
            Merged::Changed(ref change) => self.rumors.add(node, change.telling()),
            Merged::Refuted | Merged::Outbid => self.rumors.add_first(node),
            Merged::Known => {
                self.rumors.known(node);
                false
            }
            Merged::Stale
            | Merged::Refused
            | Merged::Elsewhere
            | Merged::Unplaced
            | Merged::Buried(_) => false,
        };
        Heard { merged, gave_way }
    }

    /// A member says this of itself, or objected: it is not gone, whatever was known here.
    pub(crate) fn on_objection(&mut self, entry: &Entry) {
        self.members.on_objection(entry);
    }

    /// Another has buried members with these hashes.
    pub(crate) fn on_buried(&mut self, hashes: &[u32]) {
        self.members.on_buried(hashes);
    }

    /// Says good-bye in this node's name.
    pub(crate) fn leave(&mut self) {
        self.members.leave();
    }

    /// A probe, an ack or a probe request of at most `len_max` bytes.
    pub(crate) fn packet(&mut self, draft: Draft<'_>, len_max: usize) -> Packet {
        let Draft { leg, to, about, answers, is_lean } = draft;
        let digest = self.members.digest().total();
        let mut packet = Packet::new(leg);
        if answers.is_some() || matches!(leg, Leg::Probe { .. }) {
            packet.digest = Some(digest);
        }
        // Whoever is doubted is told so, to object at once (Lifeguard's buddy system, DSN-W 2018).
        let is_doubted =
            self.members.standing(to).is_some_and(|standing| standing != Standing::Alive);
        let receiver = Some(to).filter(|_| is_doubted && about != Some(to));
        for node in about.into_iter().chain(receiver) {
            packet.entries.extend(self.members.of(node).map(|entry| entry.brief()));
        }
        if is_lean {
            packet.digest = None;
            return packet;
        }
        packet.scope = packet.digest.and_then(|_| self.scope(to));
        if !self.members.view().is_near(to) {
            let named = answers.map_or(Vec::new(), |answered| self.contacts_for(to, answered));
            self.add(named, &mut packet, len_max);
            return packet;
        }
        let told = answers.map_or(&[][..], |answered| &answered.entries);
        let theirs = answers.filter(|answered| self.is_like(to, answered));
        let theirs = theirs.and_then(|answered| answered.digest);
        if theirs == Some(digest) {
            // Whoever knows the same has heard this node's news.
            self.rumors.all_known();
            return packet;
        }
        let for_buckets = theirs.map_or(0, |_| wire::BUCKETS_SECTION_LEN);
        let room = packet.room(len_max).saturating_sub(for_buckets);
        let limits =
            Limits { room, sent_max: self.sent_max(), credential_len: self.credential_len };
        let is_all_said = self.rumors.pick(&self.members, told, limits, &mut packet.entries);
        if for_buckets > 0 && is_all_said && packet.encoded_len() + for_buckets <= len_max {
            packet.buckets = Some(self.members.digest().buckets());
        }
        packet
    }

    /// This node knows the members of a roster, who know it.
    pub(crate) fn know(&mut self, roster: &Roster) {
        self.members.know(roster);
        self.rumors.clear();
    }

    /// Keeps another part of the cluster from now on. Gives who is let go.
    pub(crate) fn turn_to(&mut self, depth: Depth) -> Vec<Entry> {
        self.members.turn_to(depth)
    }

    /// Lets go of a contact that is one too many beside this node.
    pub(crate) fn let_go_beside(&mut self, node: NodeId) -> Option<Entry> {
        self.members.let_go_beside(node)
    }

    /// An exchange was answered with this digest, after what came with it was taken in.
    pub(crate) fn compare(&mut self, digest: u64) {
        if digest == self.members.digest().total() {
            self.rumors.all_known();
        }
    }

    /// Asks for what this node lacks, if the buckets of an ack show that it knows other things.
    pub(crate) fn ask(
        &mut self,
        number: u32,
        buckets: &[u32; BUCKETS],
        len_max: usize,
    ) -> Option<Packet> {
        let mine = self.members.digest().buckets();
        let differs = |bucket: &usize| mine[*bucket] != buckets[*bucket];
        let first = (0..BUCKETS).filter(differs).choose(&mut self.rng)?;
        // As far as the buckets differ one after the other.
        let last = (first..BUCKETS).take_while(differs).last().unwrap_or(first);
        let end = |bucket: usize, fill: u8| {
            let mut end = [fill; NodeId::LEN];
            end[0] = (bucket as u8) << 4 | fill & 0x0f;
            NodeId::from_bytes(end)
        };
        Some(self.ask_between(number, (end(first, 0), end(last, 0xff)), u128::MAX >> 4, len_max))
    }

    /// Asks for what this node lacks from the one node to the other; if that is too much, from one
    /// that differs from the first in some of these bits.
    fn ask_between(
        &mut self,
        number: u32,
        (mut from, mut to): (NodeId, NodeId),
        bits: u128,
        len_max: usize,
    ) -> Packet {
        let mut packet = Packet::new(Leg::Rest { number });
        let room = len_max.saturating_sub(packet.encoded_len() + wire::INVENTORY_SECTION_LEN);
        let hashes_max = room / wire::HASH_LEN;
        if self.members.between(from, to).nth(hashes_max).is_some() {
            // Too many: some of them, from where chance has it, so that all have their turn.
            let start = u128::from_be_bytes(self.rng.random()) & bits;
            let start = u128::from_be_bytes(*from.as_bytes()) | start;
            from = NodeId::from_bytes(start.to_be_bytes());
            let last = self.members.between(from, to).take(hashes_max).last();
            to = last.map_or(to, |last| last.member.node);
        }
        let hashes = self.members.between(from, to).map(|entry| short_hash(&entry)).collect();
        packet.inventory = Some(Inventory { from, to, hashes });
        packet
    }

    /// What whoever has this inventory lacks, if anything: as much as fits, members before
    /// tombstones.
    pub(crate) fn supply(
        &self,
        number: u32,
        inventory: &Inventory,
        len_max: usize,
    ) -> Option<Packet> {
        let mut known = inventory.hashes.clone();
        known.sort_unstable();
        let range = || self.members.between(inventory.from, inventory.to);
        let members = range().filter(|entry| entry.standing.is_up());
        let tombstones = range().filter(|entry| !entry.standing.is_up());
        let mut packet = Packet::new(Leg::Rest { number });
        let mut room = packet.room(len_max);
        for entry in members.chain(tombstones) {
            if known.binary_search(&short_hash(&entry)).is_ok() {
                continue;
            }
            let entry = Telling::Whole.of(entry);
            let len = self.entry_len(&entry);
            let Some(left) = room.checked_sub(len) else { break };
            room = left;
            packet.entries.push(entry);
        }
        (!packet.entries.is_empty()).then_some(packet)
    }

    /// How long an entry is in a packet with what its member shows.
    pub(crate) fn entry_len(&self, entry: &Entry) -> usize {
        wire::entries::entry_len_with(entry, self.credential_len)
    }

    /// This node's own word, and nothing else.
    pub(crate) fn own_word(&self, number: u32) -> Packet {
        let mut packet = Packet::new(Leg::Rest { number });
        packet.entries.push(self.members.own().brief());
        packet
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::tests::entry;
    use crate::members::Change;
    use crate::wire::{PACKET_LEN_MAX, PACKET_LEN_MIN};
    use Source::{Newcomer, News, Table};
    use live_objects::Incarnation;

    fn knowledge(node: u8) -> Knowledge {
        let mut knowledge =
            Knowledge::new(Config::default(), entry(node, 5), &Rng::from_seed([node; 32]));
        // Its own arrival is no longer news.
        while !knowledge.whole(probe(99)).entries.is_empty() {}
        knowledge
    }

    fn probe(to: u8) -> Draft<'static> {
        Draft::new(Leg::Probe { number: 1 }, entry(to, 1).member.node)
    }

    fn ack(to: u8, answers: &Packet) -> Draft<'_> {
        Draft { leg: Leg::Ack { number: 1 }, answers: Some(answers), ..probe(to) }
    }

    impl Knowledge {
        fn whole(&mut self, draft: Draft<'_>) -> Packet {
            self.packet(draft, PACKET_LEN_MAX)
        }
    }

    /// Each packet of an exchange that `a` begins with `b`, until nothing is left to say.
    fn exchange(a: &mut Knowledge, b: &mut Knowledge, source: Source) -> Vec<Packet> {
        let hear = |knowledge: &mut Knowledge, packet: &Packet| {
            assert!(packet.encoded_len() <= PACKET_LEN_MAX);
            packet.entries.iter().for_each(|entry| drop(knowledge.hear(entry.clone(), source)));
        };
        let probe = a.whole(probe(2));
        hear(b, &probe);
        let ack = b.whole(ack(1, &probe));
        hear(a, &ack);
        let asks = ack.buckets.and_then(|buckets| a.ask(1, &buckets, PACKET_LEN_MAX));
        let inventory = asks.as_ref().and_then(|asks| asks.inventory.as_ref());
        let rest = inventory.and_then(|inventory| b.supply(1, inventory, PACKET_LEN_MAX));
        rest.iter().for_each(|rest| hear(a, rest));
        [Some(probe), Some(ack), asks, rest].into_iter().flatten().collect()
    }

    #[test]
    fn those_who_know_the_same_say_little() {
        let (mut a, mut b) = (knowledge(1), knowledge(2));
        a.hear(entry(2, 5), Newcomer);
        b.hear(entry(1, 5), Newcomer);
        let packets = exchange(&mut a, &mut b, Table);
        assert_eq!(packets.iter().map(Packet::encoded_len).collect::<Vec<_>>(), [20, 20]);
    }

    #[test]
    fn those_who_know_the_same_stop_telling() {
        let (mut a, mut b) = (knowledge(1), knowledge(2));
        a.hear(entry(2, 5), News);
        b.hear(entry(1, 5), News);
        let probe = a.whole(probe(2));
        b.hear(probe.entries[0].clone(), News);
        let ack = b.whole(ack(1, &probe));
        assert_eq!((ack.digest, ack.entries), (probe.digest, Vec::new()));
    }

    #[test]
    fn tables_without_news_converge() {
        let (mut a, mut b) = (knowledge(1), knowledge(2));
        (3..120).for_each(|node| drop(a.hear(entry(node, 1), Newcomer)));
        (80..200).for_each(|node| drop(b.hear(entry(node, 2), Newcomer)));
        let rounds = (1..200).find(|_| {
            exchange(&mut a, &mut b, Newcomer);
            exchange(&mut b, &mut a, Newcomer);
            a.members.digest() == b.members.digest()
        });
        assert!(rounds.is_some_and(|rounds| rounds < 12), "{rounds:?}");
        assert_eq!(a.members.up_count(), 199);
    }

    #[test]
    fn what_was_missed_takes_a_rest_and_becomes_news() {
        let (mut a, mut b) = (knowledge(1), knowledge(2));
        a.hear(entry(2, 5), Newcomer);
        b.hear(entry(1, 5), Newcomer);
        b.hear(entry(3, 1), Newcomer);
        let packets = exchange(&mut a, &mut b, Table);
        assert_eq!(packets.len(), 4);
        assert!(a.members.is_up(entry(3, 1).member.node));
        assert_eq!(a.whole(probe(9)).entries, [entry(3, 1)]);
    }

    #[test]
    fn what_is_for_rows_alone_carries_no_news() {
        let mut a = knowledge(1);
        a.hear(entry(3, 1), News);
        let lean = a.whole(Draft { is_lean: true, ..probe(2) });
        assert_eq!((lean.digest, lean.entries), (None, Vec::new()));
        a.hear(entry(2, 1).as_standing(Standing::Suspect), Newcomer);
        let lean = a.whole(Draft { is_lean: true, ..probe(2) });
        assert_eq!(lean.entries.len(), 1, "but who is doubted is told");
        let news = a.whole(probe(9)).entries;
        assert!(news.contains(&entry(3, 1)), "and the news goes by other packets");
    }

    #[test]
    fn buckets_wait_until_all_news_was_said() {
        let (mut a, mut b) = (knowledge(1), knowledge(2));
        let asked = a.whole(probe(2));
        (3..60).for_each(|node| drop(b.hear(entry(node, 1), News)));
        let full = b.whole(ack(1, &asked));
        assert_eq!(full.buckets, None);
        assert!(full.encoded_len() <= PACKET_LEN_MAX && full.entries.len() > 20);
        let mut c = knowledge(3);
        assert!(c.whole(ack(1, &asked)).buckets.is_some());
    }

    #[test]
    fn who_is_doubted_is_told() {
        let mut a = knowledge(1);
        let doubted = entry(2, 1).as_standing(Standing::Suspect);
        a.hear(doubted.clone(), Newcomer);
        assert_eq!(a.whole(probe(2)).entries, [doubted.brief()]);
        let asked = Packet::new(Leg::Probe { number: 1 });
        assert_eq!(a.whole(ack(2, &asked)).entries, [doubted.brief()]);
    }

    #[test]
    fn an_objection_goes_first() {
        let mut a = knowledge(1);
        (3..60).for_each(|node| drop(a.hear(entry(node, 1), News)));
        let doubt = entry(1, 5).as_standing(Standing::Suspect);
        assert_eq!(a.hear(doubt, News).merged, Merged::Refuted);
        assert_eq!(a.whole(probe(2)).entries[0], entry(1, 6));
    }

    #[test]
    fn a_verdict_of_another_is_a_suspicion_and_begins_none_anew() {
        let faulty = entry(2, 1).as_standing(Standing::Faulty);
        for source in [News, Table, Newcomer] {
            let mut a = knowledge(1);
            a.hear(entry(2, 1), News);
            let first = a.hear(faulty.clone(), source).merged;
            assert!(matches!(first, Merged::Changed(Change { after, .. })
                if after.standing == Standing::Suspect));
            assert_eq!(a.hear(faulty.clone(), source).merged, Merged::Known);
            a.conclude(faulty.clone());
            assert_eq!(a.members.standing(faulty.member.node), Some(Standing::Faulty));
        }
    }

    #[test]
    fn a_verdict_on_a_stranger_or_a_former_life_is_believed() {
        let mut a = knowledge(1);
        let faulty = entry(2, 1).as_standing(Standing::Faulty);
        a.hear(faulty.clone(), News);
        assert_eq!(a.members.of(faulty.member.node), Some(faulty));
        a.hear(entry(3, 1), News);
        let mut later = entry(3, 2).as_standing(Standing::Faulty);
        later.member.incarnation = Incarnation::from_bytes([9; Incarnation::LEN]);
        a.hear(later.clone(), News);
        assert_eq!(a.members.of(later.member.node), Some(later));
    }

    #[test]
    fn what_a_newcomer_pulls_is_not_news() {
        let mut a = knowledge(1);
        a.hear(entry(2, 1), Newcomer);
        assert_eq!(a.whole(probe(3)).entries, []);
        a.hear(entry(2, 2), Table);
        assert_eq!(a.whole(probe(3)).entries, [entry(2, 2).brief()]);
    }

    #[test]
    fn packets_keep_to_the_least_datagram() {
        let (mut a, b) = (knowledge(1), knowledge(2));
        (3..60).for_each(|node| drop(a.hear(entry(node, 1), News)));
        let target = entry(7, 1).member.node;
        let leg = Leg::ProbeRequest { number: 1, target };
        let draft = Draft { leg, about: Some(target), ..probe(2) };
        let packet = a.packet(draft, PACKET_LEN_MIN);
        assert!(packet.encoded_len() <= PACKET_LEN_MIN);
        assert_eq!(packet.entries[0], entry(7, 1).brief());
        let asks = a.ask(1, &b.members.digest().buckets(), PACKET_LEN_MIN).expect("they differ");
        assert!(asks.encoded_len() <= PACKET_LEN_MIN);
        let all = Inventory { from: FIRST, to: LAST, hashes: Vec::new() };
        let rest = a.supply(1, &all, PACKET_LEN_MIN).expect("nothing is known");
        assert!(rest.encoded_len() <= PACKET_LEN_MIN && rest.entries.len() > 4);
    }

    const FIRST: NodeId = NodeId::from_bytes([0; NodeId::LEN]);
    const LAST: NodeId = NodeId::from_bytes([0xff; NodeId::LEN]);

    #[test]
    fn only_what_is_lacking_is_supplied_and_members_first() {
        let mut a = knowledge(1);
        a.hear(entry(3, 1).as_standing(Standing::Left), News);
        (4..6).for_each(|node| drop(a.hear(entry(node, 1), News)));
        let hashes = vec![short_hash(&entry(5, 1)), short_hash(&entry(1, 5)), 77];
        let all = Inventory { from: FIRST, to: LAST, hashes };
        let supplied = a.supply(1, &all, PACKET_LEN_MAX).expect("two are lacking").entries;
        assert_eq!(supplied, [entry(4, 1), entry(3, 1).as_standing(Standing::Left).brief()]);
        let hashes = a.members.after(None).map(|entry| short_hash(&entry)).collect();
        let all = Inventory { from: FIRST, to: LAST, hashes };
        assert_eq!(a.supply(1, &all, PACKET_LEN_MAX), None);
    }
}
