//! Tables that tell each other rows, through joins, crashes, verdicts that were wrong, restarts and
//! partitions.

use std::collections::BTreeMap;

use live_objects::{Rng, Share};
use proptest::prelude::*;
use rand::RngExt;

use super::place::level;
use super::row::tests::round;
use super::*;

/// A node whose id begins with these two bytes.
fn id(first: u8, second: u8) -> NodeId {
    let mut bytes = [7; NodeId::LEN];
    (bytes[0], bytes[1]) = (first, second);
    NodeId::from_bytes(bytes)
}

fn at(number: u64) -> Round {
    round(u64::from(Round::FIRST) + number)
}

fn leaf(number: f64, stamp: u64) -> Row {
    Row::leaf(Some(Body::Number(number)), at(stamp))
}

fn told(level: usize, teller: u8, row: Row) -> Told {
    Told { row, teller: id(teller, 0), level, known: Headcount::all(9) }
}

/// A table after it took the rows of all leaves of which the stamps are given, each with a share of
/// 1.
fn knowing(me: NodeId, leaves: &BTreeMap<NodeId, u64>, now: Round) -> Table {
    let mut table = Table::new(Summary::Sum, at(0));
    table.set(Some(Body::Number(1.0)), at(0));
    let mut rows: BTreeMap<usize, Row> = BTreeMap::new();
    for (node, stamp) in leaves.iter().filter(|(node, _)| **node != me) {
        let row = rows.entry(level(me, *node)).or_default();
        *row = std::mem::take(row).merged(leaf(1.0, *stamp), Summary::Sum);
    }
    for (level, row) in rows {
        let told = Told { row, teller: me, level, known: Headcount::all(u32::MAX) };
        assert_eq!(table.take(told, now), Taken::News);
    }
    table
}

proptest! {
    /// What the whole rests on: if one table knows all that another does and more, its row is
    /// better, to whomever it is told, whenever that is.
    #[test]
    fn who_knows_more_is_better(
        known in prop::collection::btree_map(any::<u8>(), (100..110_u64, 0..3_u64), 1..40),
        more in prop::collection::btree_map(any::<u8>(), 100..110_u64, 0..9),
        later in 0..3_u64,
        told_at in 120..300_u64,
    ) {
        // All are in the zone of the first four bits, one in each half of it.
        let (one, other) = (id(0x11, 0), id(0x19, 0));
        let leaf = |place: u8| id(0x10 | place >> 4, place << 4 | 1);
        let theirs = 105;
        let mut less: BTreeMap<NodeId, u64> =
            known.iter().map(|(place, (stamp, _))| (leaf(*place), *stamp)).collect();
        less.insert(one, 104);
        let mut all: BTreeMap<NodeId, u64> =
            more.iter().map(|(place, stamp)| (leaf(*place), *stamp)).collect();
        all.extend(known.iter().map(|(place, (stamp, later))| (leaf(*place), stamp + later)));
        all.insert(other, theirs + later);
        let less = knowing(other, &less, at(110)).own(3, at(theirs));
        let all = knowing(one, &all, at(110)).own(3, at(110));
        for known in [u32::MAX, all.mark.leaves] {
            for is_settled in [false, true] {
                let known = Headcount { is_settled, ..Headcount::all(known) };
                prop_assert!(all.mark.is_better(less.mark, at(told_at), known, Trust::Full));
                prop_assert!(!less.mark.is_better(all.mark, at(told_at), known, Trust::Full));
            }
        }
    }
}

/// Nodes that see at once who is up, unless they are mistaken.
struct Cluster {
    summary: Summary,
    ids: Vec<NodeId>,
    tables: Vec<Option<Table>>,
    now: u64,
    rng: Rng,
}

impl Cluster {
    fn new(seed: [u8; 32], nodes: usize, summary: Summary) -> Self {
        let mut rng = Rng::from_seed(seed);
        let mut ids: Vec<NodeId> = (0..nodes)
            .map(|node| {
                id([0x11, 0x12, 0x15, 0x21, 0x2f, 0x91][rng.random_range(0..6)], node as u8)
            })
            .collect();
        ids.sort();
        let mut cluster = Self { summary, ids, tables: Vec::new(), now: 0, rng };
        cluster.tables.resize_with(nodes, || None);
        (0..nodes).for_each(|node| cluster.start(node));
        cluster
    }

    fn share(node: usize) -> f64 {
        node as f64 + 0.5
    }

    /// A node starts, or starts again and knows nothing.
    fn start(&mut self, node: usize) {
        let mut table = Table::new(self.summary, at(self.now));
        let share = Share::new(Self::share(node)).unwrap();
        let parts = Body::of(&share, self.summary, self.ids[node]).unwrap();
        table.set(parts.into_iter().next_back(), at(self.now));
        self.tables[node] = Some(table);
    }

    fn up(&self) -> Vec<usize> {
        (0..self.ids.len()).filter(|node| self.tables[*node].is_some()).collect()
    }

    /// Who is up in a node's sibling zone, as all know.
    fn siblings(&self, node: usize, of: usize) -> Vec<usize> {
        let is_there = |other: &usize| level(self.ids[node], self.ids[*other]) == of;
        self.up().into_iter().filter(is_there).collect()
    }

    /// A verdict, at all who are up, right or wrong.
    fn bury(&mut self, gone: usize) {
        for node in self.up().into_iter().filter(|node| *node != gone) {
            let level = level(self.ids[node], self.ids[gone]);
            let others = self.siblings(node, level).into_iter().filter(|other| *other != gone);
            let known = others.count() as u32;
            self.tables[node].as_mut().unwrap().on_down(level, self.ids[gone], known);
        }
    }

    fn crash(&mut self, node: usize) {
        self.tables[node] = None;
        self.bury(node);
    }

    fn tell(&mut self, from: usize, to: usize) {
        let level = level(self.ids[from], self.ids[to]);
        let row = self.tables[from].as_mut().unwrap().own(level, at(self.now));
        let known = self.siblings(to, level).len() as u32;
        let known = Headcount::all(known);
        let told = Told { row, teller: self.ids[from], level, known };
        self.tables[to].as_mut().unwrap().take(told, at(self.now));
    }

    /// A round of everybody who is up, at some level each, with those of its side.
    fn round(&mut self, side: impl Fn(usize) -> bool) {
        self.now += 1;
        for node in self.up() {
            let is_partner = |other: &usize| *other != node && side(*other) == side(node);
            let others: Vec<usize> = self.up().into_iter().filter(is_partner).collect();
            let mut levels: Vec<usize> =
                others.iter().map(|other| level(self.ids[node], self.ids[*other])).collect();
            levels.sort();
            levels.dedup();
            if levels.is_empty() {
                continue;
            }
            let of = levels[self.rng.random_range(0..levels.len())];
            let mut there = self.siblings(node, of);
            there.retain(|other| others.contains(other));
            let other = there[self.rng.random_range(0..there.len())];
            self.tell(node, other);
            self.tell(other, node);
        }
        for node in self.up() {
            self.tables[node].as_mut().unwrap().forget(at(self.now));
        }
    }

    fn inexact(&mut self) -> Vec<(usize, Row)> {
        let up = self.up();
        let sum: f64 = up.iter().map(|node| Self::share(*node)).sum();
        let mut root = |node: usize| self.tables[node].as_mut().unwrap().root(at(self.now));
        let exact = (up.len(), Body::Number(sum));
        let is_exact = |row: &Row| (row.count as usize, row.body.clone()) == exact;
        up.iter().map(|node| (*node, root(*node))).filter(|(_, row)| !is_exact(row)).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whatever happened, once nothing happens any more all are exact within some rounds.
    #[test]
    fn all_becomes_exact(
        seed: [u8; 32],
        nodes in 2..24_usize,
        story in prop::collection::vec((0..5_u8, any::<prop::sample::Index>()), 0..40),
    ) {
        let mut cluster = Cluster::new(seed, nodes, Summary::Sum);
        let mut is_parted = false;
        for (what, which) in story {
            let node = which.index(nodes);
            match what {
                0 if cluster.tables[node].is_some() => cluster.crash(node),
                0 | 1 => cluster.start(node),
                2 => cluster.bury(node),
                3 => is_parted = !is_parted,
                _ => (0..=node).for_each(|_| cluster.round(|node| !is_parted || node % 3 == 0)),
            }
        }
        (0..80).for_each(|_| cluster.round(|_| true));
        prop_assert_eq!(cluster.inexact(), []);
    }

    /// All merge the same halves in the same order, but for which of two comes first: that must not
    /// show.
    #[test]
    fn all_come_to_the_same_to_the_last_bit(
        seed: [u8; 32],
        nodes in 2..24_usize,
        summary in prop::sample::select(vec![
            Summary::Average, Summary::Variance, Summary::Quantiles, Summary::Highest,
        ]),
    ) {
        let mut cluster = Cluster::new(seed, nodes, summary);
        (0..120).for_each(|_| cluster.round(|_| true));
        let now = at(cluster.now);
        let mut roots = cluster.tables.iter_mut().map(|table| table.as_mut().unwrap().root(now));
        let first = roots.next().unwrap();
        prop_assert_eq!(first.count as usize, nodes);
        for root in roots {
            prop_assert_eq!((root.count, root.body), (first.count, first.body.clone()));
        }
    }
}

/// What is merged once is kept until something deeper changes.
#[test]
fn what_a_level_comes_to_follows_every_change() {
    let mut table = Table::new(Summary::Sum, at(0));
    table.set(Some(Body::Number(1.0)), at(0));
    let sums = |table: &mut Table| [0, 1, 2].map(|level| table.from(level, at(9)).body);
    let numbers = |numbers: [f64; 3]| numbers.map(Body::Number);
    assert_eq!(sums(&mut table), numbers([1.0, 1.0, 1.0]));
    table.take(told(2, 1, leaf(10.0, 1)), at(1));
    table.take(told(0, 2, leaf(100.0, 1)), at(1));
    assert_eq!(sums(&mut table), numbers([111.0, 11.0, 11.0]));
    table.take(told(1, 3, leaf(1_000.0, 1)), at(1));
    assert_eq!(sums(&mut table), numbers([1_111.0, 1_011.0, 11.0]));
    table.take(told(0, 2, leaf(200.0, 2)), at(2));
    assert_eq!(table.root(at(9)).body, Body::Number(1_211.0));
    table.set(Some(Body::Number(2.0)), at(2));
    assert_eq!(sums(&mut table), numbers([1_212.0, 1_012.0, 12.0]));
    table.on_down(2, id(1, 0), 0);
    assert_eq!(sums(&mut table), numbers([1_202.0, 1_002.0, 2.0]));
    assert_eq!(table.root(at(9)).least, u64::from(at(1)));
    table.forget(at(3 * WINDOW));
    assert_eq!(sums(&mut table), numbers([2.0, 2.0, 2.0]));
}

#[test]
fn own_zones_are_made_of_the_levels_below() {
    let mut table = Table::new(Summary::Average, at(0));
    assert_eq!(table.root(at(0)).count, 0);
    table.set(Some(Body::Number(5.0)), at(0));
    assert_eq!(table.take(told(3, 1, leaf(7.0, 0)), at(0)), Taken::News);
    assert_eq!(table.take(told(1, 2, leaf(9.0, 0)), at(0)), Taken::News);
    let own = |level| table.own(level, at(0)).value(Summary::Average);
    assert_eq!([9, 3, 2, 1, 0].map(own), [5.0, 5.0, 6.0, 6.0, 7.0].map(Some));
    assert_eq!(table.root(at(0)).count, 3);
    let beside: Vec<_> = table.beside([3, 2, 1].into_iter(), at(0)).collect();
    assert_eq!(beside.iter().map(|(level, ..)| *level).collect::<Vec<_>>(), [3, 2, 1]);
    assert_eq!(beside.iter().map(|(_, held, _)| held.leaves).collect::<Vec<_>>(), [1, 0, 1]);
    assert_eq!(beside.iter().map(|(.., own)| own.leaves).collect::<Vec<_>>(), [1, 2, 2]);
    table.set(None, at(0));
    assert_eq!(table.root(at(0)).value(Summary::Average), Some(8.0));
}

#[test]
fn of_two_rows_the_better_is_held() {
    let mut table = Table::new(Summary::Sum, at(0));
    let two = leaf(1.0, 5).merged(leaf(1.0, 5), Summary::Sum);
    assert_eq!(table.take(told(0, 1, two), at(5)), Taken::News);
    assert_eq!(table.take(told(0, 2, leaf(1.0, 6)), at(6)), Taken::Worse);
    let later = leaf(1.0, 6).merged(leaf(1.0, 6), Summary::Sum);
    assert_eq!(table.take(told(0, 2, later.clone()), at(6)), Taken::Same);
    let almost = Row { body: Body::Number(2.000_1), ..later };
    assert_eq!(table.take(told(0, 2, almost), at(6)), Taken::Moved);
    let other = leaf(2.0, 6).merged(leaf(1.0, 6), Summary::Sum);
    assert_eq!(table.take(told(0, 2, other), at(6)), Taken::News, "of two as good the last");
    assert_eq!(table.root(at(6)).body, Body::Number(3.0));
}

/// Else of a zone of many, of which nobody has to say anything new, the last few who came late
/// would not be known for long: what was said while all were in a hurry is fresher by some rounds.
#[test]
fn a_row_of_all_members_is_better_by_some_rounds() {
    let many = |leaves: u32, stamp| {
        (0..leaves).fold(Row::default(), |all, _| all.merged(leaf(1.0, stamp), Summary::Sum))
    };
    let known = Headcount { is_settled: true, ..Headcount::all(2_000) };
    let told = |teller, row| Told { known, ..told(0, teller, row) };
    let mut table = Table::new(Summary::Sum, at(0));
    assert_eq!(table.take(told(1, many(1_999, 30)), at(30)), Taken::News);
    assert_eq!(table.take(told(2, many(2_000, 13)), at(30)), Taken::Worse);
    assert_eq!(table.take(told(3, many(2_001, 20)), at(30)), Taken::Worse);
    assert_eq!(table.take(told(2, many(2_000, 14)), at(30)), Taken::Moved);
    assert_eq!(table.take(told(1, many(1_999, 30)), at(30)), Taken::Worse);
    let known = Headcount { is_settled: false, ..known };
    let unsettled = Told { known, ..told(1, many(1_999, 30)) };
    assert_eq!(table.take(unsettled, at(30)), Taken::Moved);
}

/// Who told lies is believed no longer than it stays: the next who knows most of the zone is
/// believed. Who has just come, and knows itself alone, is not.
#[test]
fn the_word_of_who_is_gone_gives_way() {
    let mut table = Table::new(Summary::Sum, at(0));
    let many = |leaves: u32, share: f64, stamp| {
        (0..leaves).fold(Row::default(), |all, _| all.merged(leaf(share, stamp), Summary::Sum))
    };
    let told = |teller, row| Told { known: Headcount::all(8), ..told(0, teller, row) };
    assert_eq!(table.take(told(1, many(9, 1e9, 7)), at(5)), Taken::News);
    assert_eq!(table.take(told(2, many(8, 1.0, 5)), at(5)), Taken::Worse);
    table.on_down(0, id(3, 0), 8);
    assert_eq!(table.take(told(2, many(8, 1.0, 5)), at(6)), Taken::Worse);
    table.on_down(0, id(1, 0), 8);
    assert_eq!(table.root(at(6)).count, 9, "something is better than nothing");
    assert_eq!(table.take(told(4, many(1, 1.0, 6)), at(6)), Taken::Worse);
    assert_eq!(table.take(told(2, many(7, 1.0, 5)), at(6)), Taken::News);
    assert_eq!(table.root(at(6)).body, Body::Number(7.0));
    table.on_down(0, id(2, 0), 0);
    table.on_down(4, id(2, 0), 0);
    assert_eq!(table.root(at(6)).count, 0);
}

/// Else whoever has heard of half of it yet would be believed, each time that a member goes.
#[test]
fn who_knows_less_than_most_is_not_believed_in_place_of_who_is_gone() {
    let many = |leaves: u32, stamp| {
        (0..leaves).fold(Row::default(), |all, _| all.merged(leaf(1.0, stamp), Summary::Sum))
    };
    let told = |teller, row| Told { known: Headcount::all(64), ..told(0, teller, row) };
    let mut table = Table::new(Summary::Sum, at(0));
    assert_eq!(table.take(told(1, many(64, 0)), at(1)), Taken::News);
    table.on_down(0, id(1, 0), 63);
    for fewer in [32, 48] {
        assert_eq!(table.take(told(2, many(fewer, 1)), at(2)), Taken::Worse);
    }
    assert_eq!(table.take(told(3, many(56, 0)), at(2)), Taken::News);
}

/// He does not know how many there should be, and goes by the two rows: else that of the most,
/// which counts those who are gone, would be held for as long as he gets to know the others.
#[test]
fn who_has_no_table_yet_takes_what_is_fresh_of_about_as_many() {
    let many = |leaves: u32, stamp| {
        (0..leaves).fold(Row::default(), |all, _| all.merged(leaf(1.0, stamp), Summary::Sum))
    };
    let told = |teller, row| Told { known: Headcount::open(3), ..told(0, teller, row) };
    let mut table = Table::new(Summary::Sum, at(0));
    assert_eq!(table.take(told(1, many(199, 0)), at(14)), Taken::News);
    assert_eq!(table.take(told(2, many(1, 14)), at(14)), Taken::Worse, "he has just come himself");
    assert_eq!(table.take(told(3, many(182, 12)), at(14)), Taken::News);
    assert_eq!(table.take(told(4, many(90, 14)), at(14)), Taken::Worse);
    assert_eq!(table.root(at(14)).count, 182);
}

#[test]
fn what_is_added_up_each_time_takes_two_words() {
    assert_eq!(size_of::<Stamps>(), 16);
}

#[test]
fn what_cannot_be_is_not_taken() {
    let mut table = Table::new(Summary::Sum, at(0));
    let ahead = Round::AHEAD_MAX;
    assert_eq!(table.take(told(0, 1, leaf(1.0, ahead + 1)), at(0)), Taken::Ahead);
    assert_eq!(table.take(told(0, 1, leaf(1.0, ahead)), at(0)), Taken::News);
    let row = |leaves: u32| {
        let stamps = u64::from(leaves) * u64::from(at(0));
        Row { mark: Mark { stamps, leaves }, ..Row::default() }
    };
    assert_eq!(
        table.take(told(0, 1, row(Headcount::all(9).leaves_max + 1)), at(0)),
        Taken::Crowded
    );
    assert_eq!(table.take(told(0, 1, row(Headcount::all(9).leaves_max)), at(0)), Taken::News);
}

#[test]
fn what_is_too_old_is_forgotten() {
    let mut table = Table::new(Summary::Sum, at(0));
    assert_eq!(table.take(told(0, 1, leaf(1.0, 0)), at(0)), Taken::News);
    table.forget(at(WINDOW - 1));
    assert_eq!(table.root(at(WINDOW - 1)).count, 1);
    table.forget(at(WINDOW));
    assert_eq!(table.root(at(WINDOW)).count, 0);
}
