//! Tables that hand each other rows, through joins, crashes, verdicts that were wrong, restarts and
//! partitions.

use std::collections::BTreeMap;

use live_objects::Rng;
use proptest::prelude::*;
use rand::RngExt;

use super::place::{common, sibling};
use super::row::Mark;
use super::row::tests::round;
use super::*;

/// A node whose id begins with these two bytes.
fn id(first: u8, second: u8) -> NodeId {
    let mut bytes = [7; NodeId::LEN];
    (bytes[0], bytes[1]) = (first, second);
    NodeId::from_bytes(bytes)
}

/// A table after it heard the rows of all leaves of which the stamps are given, each with a share
/// of 1.
fn knowing(me: NodeId, leaves: &BTreeMap<NodeId, u64>, now: Round) -> Table {
    let mut table = Table::new(me, Summary::Sum, 3, now);
    table.set(Some(1.0));
    let mut rows: BTreeMap<(usize, usize), Row> = BTreeMap::new();
    for (node, stamp) in leaves.iter().filter(|(node, _)| **node != me) {
        let at = common(me, *node);
        let row = rows.entry((at, digit(*node, at))).or_default();
        *row = row.merged(Row::leaf(Some(1.0), round(*stamp), 0), Summary::Sum);
    }
    for ((at, zone), row) in rows {
        assert!(table.hear(at, zone, row, Living::Some));
    }
    table.compute();
    table
}

proptest! {
    /// What the whole rests on: if one table knows all that another does and more, its row wins.
    #[test]
    fn who_knows_more_wins(
        known in prop::collection::btree_map(any::<u8>(), (100..110_u64, 0..3_u64), 1..40),
        more in prop::collection::btree_map(any::<u8>(), 100..110_u64, 0..9),
        later in 0..3_u64,
    ) {
        // Both are in zone 1, one in 11 and one in 12; so are all whom they know.
        let (one, other) = (id(0x11, 0), id(0x12, 0));
        let leaf = |place: u8| id(0x10 | place >> 4, place << 4 | 1);
        let (mine, theirs) = (u64::from(Round::FIRST), 105);
        let mut less: BTreeMap<NodeId, u64> =
            known.iter().map(|(place, (stamp, _))| (leaf(*place), *stamp)).collect();
        less.insert(one, mine - 1);
        let other_table = knowing(other, &less, round(theirs));
        let mut all: BTreeMap<NodeId, u64> =
            more.iter().map(|(place, stamp)| (leaf(*place), *stamp)).collect();
        all.extend(known.iter().map(|(place, (stamp, later))| (leaf(*place), stamp + later)));
        all.insert(other, theirs + later);
        let one_table = knowing(one, &all, round(mine));
        let row = |table: &Table| table.levels().next().unwrap()[1];
        prop_assert!(row(&one_table).mark.stamps > row(&other_table).mark.stamps);
        prop_assert!(row(&one_table).precedence(&row(&other_table)).is_gt());
    }
}

/// Nodes that see at once who is up, unless they are mistaken.
struct Cluster {
    ids: Vec<NodeId>,
    tables: Vec<Option<Table>>,
    rounds: Vec<Round>,
    rng: Rng,
}

impl Cluster {
    fn new(seed: [u8; 32], nodes: usize) -> Self {
        let mut rng = Rng::from_seed(seed);
        let mut ids: Vec<NodeId> = (0..nodes)
            .map(|node| {
                id([0x11, 0x12, 0x15, 0x21, 0x2f, 0x31][rng.random_range(0..6)], node as u8)
            })
            .collect();
        ids.sort();
        let mut cluster = Self { ids, tables: Vec::new(), rounds: vec![Round::FIRST; nodes], rng };
        cluster.tables.resize_with(nodes, || None);
        (0..nodes).for_each(|node| cluster.start(node));
        cluster
    }

    fn share(node: usize) -> f64 {
        node as f64 + 0.5
    }

    /// A node starts, or starts again and knows nothing.
    fn start(&mut self, node: usize) {
        let me = self.ids[node];
        let others = self.ids.iter().filter(|other| **other != me);
        let depth = others.map(|other| common(me, *other)).max().unwrap_or(0);
        self.rounds[node] = Round::FIRST;
        let mut table = Table::new(me, Summary::Sum, depth, Round::FIRST);
        table.set(Some(Self::share(node)));
        self.tables[node] = Some(table);
    }

    fn up(&self) -> Vec<usize> {
        (0..self.ids.len()).filter(|node| self.tables[*node].is_some()).collect()
    }

    fn living(&self, me: NodeId, at: usize, zone: usize) -> Living {
        let (first, last) = sibling(me, at, zone);
        let within = |node: &usize| (first..=last).contains(&self.ids[*node]);
        let is_up = self.up().iter().any(within);
        let is_known = (0..self.ids.len()).any(|node| within(&node));
        match (is_up, is_known) {
            (true, _) => Living::Some,
            (false, true) => Living::None,
            (false, false) => Living::Unknown,
        }
    }

    /// A verdict, at all who are up, right or wrong.
    fn bury(&mut self, gone: NodeId) {
        for node in self.up() {
            let me = self.ids[node];
            let at = common(me, gone);
            if me != gone && self.living(me, at, digit(gone, at)) != Living::Some {
                self.tables[node].as_mut().unwrap().bury(at, digit(gone, at));
            }
        }
    }

    fn crash(&mut self, node: usize) {
        self.tables[node] = None;
        self.bury(self.ids[node]);
    }

    /// One hears all that the other knows of the zones that both are in.
    fn tell(&mut self, from: usize, to: usize) {
        let later = self.rounds[from].max(self.rounds[to]);
        self.stamp(to, later);
        let (me, shared) = (self.ids[to], common(self.ids[from], self.ids[to]) + 1);
        let told: Vec<_> =
            self.tables[from].as_ref().unwrap().levels().take(shared).copied().collect();
        for (at, rows) in told.into_iter().enumerate() {
            for (zone, row) in rows.into_iter().enumerate() {
                let living = self.living(me, at, zone);
                self.tables[to].as_mut().unwrap().hear(at, zone, row, living);
            }
        }
        self.tables[to].as_mut().unwrap().compute();
    }

    fn stamp(&mut self, node: usize, now: Round) {
        let me = self.ids[node];
        let others = self.up().into_iter().filter(|other| *other != node);
        let alone = others.map(|other| common(me, self.ids[other])).max().unwrap_or(0);
        self.rounds[node] = now;
        self.tables[node].as_mut().unwrap().stamp(now, alone);
    }

    /// A round of everybody who is up, among those of its side; where one shares a zone with
    /// others it meets them half of the time.
    fn round(&mut self, side: impl Fn(usize) -> bool) {
        for node in self.up() {
            self.stamp(node, self.rounds[node].next());
            let near = self.rng.random_bool(0.5);
            let is_partner = |other: &usize| *other != node && side(*other) == side(node);
            let mut others: Vec<usize> = self.up().into_iter().filter(is_partner).collect();
            if near {
                let shared = |other: usize| common(self.ids[node], self.ids[other]);
                let most = others.iter().map(|other| shared(*other)).max().unwrap_or(0);
                let at_least = self.rng.random_range(0..=most);
                others.retain(|other| shared(*other) >= at_least);
            }
            if !others.is_empty() {
                let other = others[self.rng.random_range(0..others.len())];
                self.tell(node, other);
                self.tell(other, node);
            }
        }
    }

    fn inexact(&self) -> Vec<(usize, Row)> {
        let up = self.up();
        let sum: f64 = up.iter().map(|node| Self::share(*node)).sum();
        let roots = up.iter().map(|node| (*node, self.tables[*node].as_ref().unwrap().root()));
        let is_exact = |row: &Row| row.count as usize == up.len() && row.number == sum;
        roots.filter(|(_, row)| !is_exact(row)).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whatever happened, once nothing happens any more all are exact within 40 rounds.
    #[test]
    fn all_becomes_exact(
        seed: [u8; 32],
        nodes in 2..24_usize,
        story in prop::collection::vec((0..5_u8, any::<prop::sample::Index>()), 0..40),
    ) {
        let mut cluster = Cluster::new(seed, nodes);
        let mut is_parted = false;
        for (what, which) in story {
            let node = which.index(nodes);
            match what {
                0 if cluster.tables[node].is_some() => cluster.crash(node),
                0 | 1 => cluster.start(node),
                2 => cluster.bury(cluster.ids[node]),
                3 => is_parted = !is_parted,
                _ => (0..=node).for_each(|_| cluster.round(|node| !is_parted || node % 3 == 0)),
            }
        }
        (0..40).for_each(|_| cluster.round(|_| true));
        prop_assert_eq!(cluster.inexact(), []);
    }
}

#[test]
fn own_zones_are_made_of_the_levels_below() {
    let mut table = Table::new(id(0x12, 0x30), Summary::Average, 2, Round::FIRST);
    assert_eq!(table.root().count, 0);
    table.set(Some(5.0));
    let sibling = Row::leaf(Some(7.0), Round::FIRST, 0);
    assert!(table.hear(1, 9, sibling, Living::Some));
    assert!(!table.hear(1, 9, sibling, Living::Some), "it is known");
    assert!(!table.hear(3, 9, sibling, Living::Some), "the table is not so deep");
    assert!(!table.hear(1, 8, Row::default(), Living::Some), "nothing is known");
    table.compute();
    assert_eq!(table.levels().next().unwrap()[1].value(Summary::Average), Some(6.0));
    assert_eq!(table.root().count, 2);
    table.set(None);
    assert_eq!(table.root().value(Summary::Average), Some(7.0));
    table.deepen(4);
    assert_eq!(table.root().mark.leaves, 2);
}

#[test]
fn who_is_not_known_to_live_does_not_count() {
    let mut table = Table::new(id(0x12, 0), Summary::Sum, 1, Round::FIRST);
    let row = Row::leaf(Some(7.0), Round::FIRST, 0);
    assert!(!table.hear(0, 5, row, Living::Unknown), "who should that be?");
    assert!(table.hear(0, 5, Row { mark: row.mark, ..Row::default() }, Living::Unknown));
    assert!(table.hear(0, 6, row, Living::None));
    assert_eq!(table.root(), Row { mark: table.root().mark, ..Row::default() });
    assert_eq!(table.root().mark.leaves, 3);
    let later = Row::leaf(Some(7.0), Round::FIRST.next(), 0);
    assert!(table.hear(0, 6, later, Living::Some), "it was a mistake");
    assert_eq!(table.root().number, 7.0);
    let now = Round::FIRST.next().next();
    table.stamp(now, 1);
    table.bury(0, 6);
    let stamps = u64::from(now);
    assert_eq!(table.levels().next().unwrap()[6].mark, Mark { stamps, leaves: 1 });
    assert!(!table.hear(0, 6, later, Living::Some), "that is from before the verdict");
}

/// The row of a zone whose members are all gone has stamps that newcomers do not know of.
#[test]
fn newcomers_outbid_the_row_of_the_forgotten() {
    let old =
        Row { mark: Mark { stamps: 9 * (1 << 20), leaves: 9 }, count: 9, least: 5, number: 9.0 };
    for (alone, patience) in [(0, ALONE_PATIENCE), (1, PATIENCE)] {
        let mut newcomer = Table::new(id(0x12, 0), Summary::Sum, 1, Round::FIRST);
        newcomer.set(Some(3.0));
        assert!(newcomer.hear(0, 1, old, Living::Some));
        newcomer.compute();
        let mut now = Round::FIRST;
        for _ in 1..patience {
            now = now.next();
            newcomer.stamp(now, alone);
            assert_eq!(newcomer.root().number, 9.0, "others may know better");
        }
        newcomer.stamp(now.next(), alone);
        let row = newcomer.levels().next().unwrap()[1];
        assert_eq!((row.count, row.number), (1, 3.0));
        let mut other = Table::new(id(0x21, 0), Summary::Sum, 1, Round::FIRST);
        assert!(other.hear(0, 1, old, Living::None));
        assert!(other.hear(0, 1, row, Living::Some));
        assert_eq!(other.root().number, 3.0);
    }
}

#[test]
fn what_cannot_be_outbid_is_no_panic() {
    let most = Row {
        mark: Mark { stamps: Row::STAMPS_MAX, leaves: Row::LEAVES_MAX },
        count: Row::LEAVES_MAX,
        least: 1,
        number: f64::MAX,
    };
    let mut table = Table::new(id(0x12, 0), Summary::Sum, 1, Round::FIRST);
    for zone in 0..FANOUT {
        table.hear(0, zone, most, Living::Some);
        table.hear(1, zone, most, Living::Some);
    }
    table.compute();
    let mut now = Round::FIRST;
    for _ in 0..3 * PATIENCE {
        now = now.next();
        table.stamp(now, 0);
    }
    assert_eq!(table.root().mark.stamps, Row::STAMPS_MAX);
}
