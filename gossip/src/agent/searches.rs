//! Searches: who of a catalog matches, found down the tree of zones as filters guide.
//!
//! Each node knows of each of its sibling zones which terms there are in it (`aggregates/terms`),
//! or that they are too many to tell. So whoever looks for members leaves out the zones that have
//! not what it looks for, and asks in each of the others *one* member, anybody who is up. That one
//! says whether it matches itself, and which of its own sibling zones may have more, down to single
//! members; and so on, until no zone is left. (Astrolabe, TOCS 2003, has whoever looks for
//! something go down its tree by what the aggregates of zones say, read at their few
//! representatives.)
//!
//! ```text
//!  zone 0…  ── ask one ──▶ 0110…: "not I; maybe in 00…, in 010…"
//!           zone 00…  ── ask one ──▶ 0010…: "I am; nobody else"
//!           zone 010… ── ask one ──▶ 0101…: "not I; nobody"     (what it was found by is gone)
//! ```
//!
//! Who is asked decides by what it says of itself then, so nobody is found who does not match. Each
//! question halves a zone twice on average: of n members, of which zones of m have filters that say
//! something, about n / 2m + f · log2(m) / 2 are asked to find f. No zone is left out of which some
//! members are up that are not in what is known of its terms. A question that is not answered goes
//! to another member of the same zone (`question`).
//!
//! Nobody's answer can lead out of the zone that it was asked for: it names levels, and the zones
//! there are those beside its own id.
//!
//! Invariant: the zones that are still to be asked have no member in common, and none that has
//! answered. What an application has not read holds up its searches.

use std::collections::{BTreeMap, BTreeSet};

use live_objects::{Attributes, Described, Io, NodeId, ObjectId, Predicate, Time, Told};

use super::Agent;
use super::aggregates::terms::Sought;
use super::directory::Asked;
use crate::question::Clue;
use crate::records::affinity::Part;
use crate::zones::place::sibling;

/// The searches that are under way.
#[derive(Default)]
pub(super) struct Searches {
    open: BTreeMap<Asked, Search>,
    /// Those that are to go on at the end of the step.
    due: BTreeSet<Asked>,
}

struct Search {
    matching: Predicate,
    /// How many are to be found yet.
    left: usize,
    /// Zones that are still to be asked, the last first: most often the smallest, where somebody is
    /// found soonest.
    rest: Vec<Zone>,
    /// How many are asked now, and how many were in all.
    under_way: usize,
    asked: usize,
    told: Told,
}

/// Where to ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Zone {
    pub(super) part: Part,
    /// How many bits its members' ids have in common.
    pub(super) bits: u8,
}

impl Zone {
    /// The sibling zone of a node at this level.
    fn beside(node: NodeId, level: u8) -> Self {
        let (first, last) = sibling(node, level.into());
        Self { part: Part { first, last }, bits: level + 1 }
    }
}

impl Search {
    /// The zones to ask next.
    fn next(&mut self) -> Vec<Zone> {
        let room = (UNDER_WAY_MAX - self.under_way).min(ASKED_MAX - self.asked);
        let next = self.rest.split_off(self.rest.len().saturating_sub(room));
        self.under_way += next.len();
        self.asked += next.len();
        if self.asked == ASKED_MAX && !self.rest.is_empty() {
            self.rest.clear();
            self.told = Told::Some;
        }
        next
    }

    /// As many are found as were to be: nobody more is asked.
    fn end(&mut self) {
        self.rest.clear();
        self.under_way = 0;
        self.told = Told::All;
    }

    fn is_over(&self) -> bool {
        self.under_way == 0 && self.rest.is_empty()
    }
}

impl Searches {
    /// Whether no more can begin.
    pub(super) fn is_full(&self) -> bool {
        self.open.len() >= SEARCHES_MAX
    }

    /// What one looks for.
    pub(super) fn matching(&self, asked: Asked) -> &Predicate {
        &self.open[&asked].matching
    }
}

impl Agent {
    /// Begins a search for so many, with this node.
    pub(super) fn search(
        &mut self,
        now: Time,
        asked: Asked,
        (matching, limit): (Predicate, u32),
        io: &mut Io<'_>,
    ) {
        let me = self.knowledge.members().me();
        let Clue { levels, attributes } = self.clue(asked.object, 0, &matching);
        let rest = levels.into_iter().map(|level| Zone::beside(me, level)).collect();
        let left = limit as usize;
        let search = Search { matching, left, rest, under_way: 0, asked: 0, told: Told::All };
        self.searches.open.insert(asked, search);
        self.on_found(asked, me, attributes, io);
        self.go_on_with_search(now, asked, io);
    }

    /// What this node knows of those whose ids begin with so many bits as its own.
    pub(super) fn clue(&self, object: ObjectId, bits: u8, matching: &Predicate) -> Clue {
        let sought = Sought::new(object, matching, self.rounds < YOUNG_ROUNDS);
        let deeper = self.partners.counts().filter(|(level, _)| *level >= bits.into());
        let may_match =
            deeper.filter(|(level, count)| self.aggregates.may_match(*level, *count, &sought));
        let levels = may_match.map(|(level, _)| level as u8).collect();
        let own = self.catalogs.own_in(object).filter(|own| matching.matches(own));
        Clue { levels, attributes: own.cloned() }
    }

    /// Whether an answer keeps to the zone that was asked.
    pub(super) fn is_clue_to(bits: u8, clue: &Clue) -> bool {
        clue.levels.first().is_none_or(|level| *level >= bits)
    }

    /// Somebody answered for its zone.
    pub(super) fn on_clue(
        &mut self,
        now: Time,
        asked: Asked,
        (from, clue): (NodeId, Clue),
        io: &mut Io<'_>,
    ) {
        let members = self.knowledge.members();
        let zones = clue.levels.into_iter().map(|level| Zone::beside(from, level));
        // Whoever answers may not know yet who is gone.
        let is_inhabited =
            |zone: &Zone| members.up_between(zone.part.first, zone.part.last).next().is_some();
        let (inhabited, others): (Vec<Zone>, Vec<Zone>) = zones.partition(is_inhabited);
        // Nor may this node know who is there, far from its neighbourhood.
        let is_far = |zone: &Zone| !members.view().is_near(zone.part.first);
        let is_missing = others.iter().any(is_far);
        let Some(search) = self.searches.open.get_mut(&asked) else { return };
        search.under_way -= 1;
        search.rest.extend(inhabited);
        if is_missing {
            search.told = Told::Some;
        }
        self.on_found(asked, from, clue.attributes, io);
        self.go_on_with_search(now, asked, io);
    }

    /// Nobody answered for a zone.
    pub(super) fn on_no_clue(&mut self, asked: Asked) {
        if let Some(search) = self.searches.open.get_mut(&asked) {
            search.under_way -= 1;
            search.told = Told::Some;
            // There may be many such zones, one after the other.
            self.searches.due.insert(asked);
        }
    }

    /// Searches go on for which nobody answered.
    pub(super) fn go_on_with_due_searches(&mut self, now: Time, io: &mut Io<'_>) {
        while let Some(asked) = self.searches.due.pop_first() {
            self.go_on_with_search(now, asked, io);
        }
    }

    /// Somebody says this of itself, if it is one of those who are sought.
    fn on_found(
        &mut self,
        asked: Asked,
        node: NodeId,
        attributes: Option<Attributes>,
        io: &mut Io<'_>,
    ) {
        let search = self.searches.open.get_mut(&asked).expect("it is open");
        let Some(attributes) = attributes.filter(|_| search.left > 0) else { return };
        let members = self.knowledge.members();
        let Some(held) = members.of(node).filter(|held| held.standing.is_up()) else {
            if members.may_be_up(node) {
                search.told = Told::Some;
            }
            return;
        };
        // Nobody has a say in what else was looked for.
        if !search.matching.matches(&attributes) {
            return io.count("gossip.found_amiss");
        }
        search.left -= 1;
        let holders = vec![Described { member: held.member, attributes }];
        self.catalogs.answer(asked, holders, Told::Part, io);
    }

    /// Asks in the next zones, or tells that that was all.
    fn go_on_with_search(&mut self, now: Time, asked: Asked, io: &mut Io<'_>) {
        let is_read = self.catalogs.is_free(asked.object);
        let Some(search) = self.searches.open.get_mut(&asked) else { return };
        if search.left == 0 {
            search.end();
            self.errands.forget_search(asked);
        }
        // What waits to be read is bounded by what is under way.
        let next = if is_read { search.next() } else { Vec::new() };
        if search.is_over() {
            let told = search.told;
            self.searches.open.remove(&asked);
            self.catalogs.answer(asked, Vec::new(), told, io);
            return;
        }
        for zone in next {
            self.put_search(now, asked, zone, io);
        }
    }

    /// The application has read on: its searches do too.
    pub(super) fn go_on_with_searches(&mut self, now: Time, object: ObjectId, io: &mut Io<'_>) {
        let of = |asked: &&Asked| asked.object == object;
        let all: Vec<Asked> = self.searches.open.keys().filter(of).copied().collect();
        for asked in all {
            self.go_on_with_search(now, asked, io);
        }
    }

    /// A catalog is closed: what was looked for there is looked for for nobody.
    pub(super) fn forget_searches(&mut self, object: ObjectId) {
        self.searches.open.retain(|asked, _| asked.object != object);
        self.searches.due.retain(|asked| asked.object != object);
        self.errands.forget(object);
    }
}

/// How many searches a node has under way; more wait.
pub(super) const SEARCHES_MAX: usize = 32;

/// How many zones are asked at one time in one search.
const UNDER_WAY_MAX: usize = 32;

/// And how many in all. Who finds no end is told what was found.
const ASKED_MAX: usize = 4_096;

/// A node that lived for fewer rounds may not have heard yet that anybody describes itself.
const YOUNG_ROUNDS: u64 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_finds_no_end_is_told_so() {
        let mut search = Search {
            matching: Predicate::all(),
            left: usize::MAX,
            rest: vec![Zone { part: Part::ALL, bits: 0 }; ASKED_MAX + 1],
            under_way: 0,
            asked: 0,
            told: Told::All,
        };
        let mut asked = 0;
        while !search.is_over() {
            asked += search.next().len();
            assert!(search.next().is_empty() && search.under_way == UNDER_WAY_MAX);
            search.under_way = 0;
        }
        assert_eq!((asked, search.told), (ASKED_MAX, Told::Some));
    }

    #[test]
    fn the_smallest_zones_are_asked_first() {
        let node = NodeId::from_bytes([0; NodeId::LEN]);
        let zones: Vec<Zone> = (0..100).map(|level| Zone::beside(node, level)).collect();
        let told = Told::All;
        let matching = Predicate::all();
        let rest = zones.clone();
        let mut search = Search { matching, left: 1, rest, under_way: 0, asked: 0, told };
        assert_eq!(search.next(), zones[100 - UNDER_WAY_MAX..]);
        assert_eq!((zones[7].bits, zones[127 - 28].bits), (8, 100));
    }
}
