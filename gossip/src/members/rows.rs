//! The rows of the table, in the order of their ids, and by rank.
//!
//! A table of ten thousand is asked three things many times a second: what is known of one node,
//! who comes behind one, and who of those that are up has a given rank; and a simulated world, or a
//! machine with many nodes, keeps many such tables. So the rows stand side by side in *blocks* of
//! some dozens, each of which knows how many of its rows are up: what a tree with ranks comes to if
//! it has two storeys. A row takes its own size and hardly more, about half of what it would in a
//! map.
//!
//! A copy shares all blocks with the original, until either writes to one: nodes that know the same
//! from their start (`roster`) keep it once.
//!
//! Invariants: ids go up within a block and from block to block; no block is empty, nor longer than
//! [`BLOCK_MAX`]; a block's `first` is the id of its first row, and its `up` counts its rows that
//! are up.

use std::sync::Arc;

use live_objects::{Incarnation, NodeId};

use crate::digest::halves;
use crate::entry::{Accuser, Addresses, Generation, Standing};

/// An entry without what it shows, which the driver keeps: a table of thousands should be small.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Row {
    pub(super) node: NodeId,
    pub(super) incarnation: Incarnation,
    pub(super) generation: Generation,
    pub(super) addresses: Addresses,
    pub(super) standing: Standing,
    pub(super) accuser: Option<Accuser>,
}

/// All rows.
#[derive(Clone, Default)]
pub(super) struct Rows {
    blocks: Arc<Vec<Block>>,
    len: usize,
}

#[derive(Clone)]
struct Block {
    first: NodeId,
    up: u32,
    rows: Arc<Vec<Row>>,
}

impl Rows {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, node: NodeId) -> Option<&Row> {
        let (at, place) = self.place(node)?;
        Some(&self.blocks[at].rows[place.ok()?])
    }

    /// Puts a row in its place, or in that of the one of the same node.
    pub(super) fn put(&mut self, row: Row) {
        let place = self.place(row.node);
        let blocks = Arc::make_mut(&mut self.blocks);
        match place {
            None => {
                blocks.push(Block::new(vec![row]));
                self.len = 1;
            }
            Some((at, Ok(place))) => blocks[at].replace(place, row),
            Some((at, Err(place))) => {
                let upper = blocks[at].insert(place, row);
                blocks.splice(at + 1..at + 1, upper);
                self.len += 1;
            }
        }
    }

    pub(super) fn remove(&mut self, node: NodeId) {
        let Some((at, Ok(place))) = self.place(node) else { return };
        let blocks = Arc::make_mut(&mut self.blocks);
        self.len -= 1;
        if blocks[at].rows.len() == 1 {
            blocks.remove(at);
        } else {
            blocks[at].remove(place);
        }
    }

    /// All rows from a node's on, or all.
    pub(super) fn from(&self, node: Option<NodeId>) -> impl Iterator<Item = &Row> {
        let place = node.and_then(|node| self.place(node));
        let (at, Ok(begin) | Err(begin)) = place.unwrap_or((0, Ok(0)));
        let (first, rest) = match &self.blocks[at..] {
            [first, rest @ ..] => (first.rows.as_slice(), rest),
            [] => (&[][..], &[][..]),
        };
        first[begin..].iter().chain(rest.iter().flat_map(|block| block.rows.iter()))
    }

    /// How many are up whose ids are below a node's.
    pub(super) fn up_below(&self, node: NodeId) -> usize {
        let Some((at, Ok(place) | Err(place))) = self.place(node) else { return 0 };
        let whole: u32 = self.blocks[..at].iter().map(|block| block.up).sum();
        whole as usize + self.blocks[at].up_before(place)
    }

    /// Who is up and has so many of these below.
    pub(super) fn up_at(&self, mut rank: usize) -> Option<&Row> {
        for block in self.blocks.iter() {
            let up = block.up as usize;
            if rank < up {
                return block.up_at(rank);
            }
            rank -= up;
        }
        None
    }

    /// The block that a node's row is in, or would be in, and where in that. None if there are no
    /// rows.
    fn place(&self, node: NodeId) -> Option<(usize, Result<usize, usize>)> {
        let at = self.block_of(node);
        let next = self.blocks.get(at + 1).map_or(u64::MAX, |next| head(next.first));
        Some((at, self.blocks.get(at)?.place(node, next)))
    }

    /// The block that a node's row is in, if it has one, and would be in, if not.
    fn block_of(&self, node: NodeId) -> usize {
        self.blocks.partition_point(|block| block.first <= node).saturating_sub(1)
    }
}

impl Block {
    fn new(rows: Vec<Row>) -> Self {
        let mut block = Self { first: rows[0].node, up: 0, rows: Arc::new(rows) };
        block.count();
        block
    }

    /// Where a node's row is, or would be, in this block and before the next, which begins so.
    fn place(&self, node: NodeId, next: u64) -> Result<usize, usize> {
        // Ids are hashes and lie evenly: its neighbours are found at once, where a binary search
        // would wait for memory at each of its steps.
        let (begin, rows) = (head(self.first), &self.rows[..]);
        let part = head(node).saturating_sub(begin) as f64 / (next - begin).max(1) as f64;
        let mut at = ((part * rows.len() as f64) as usize).min(rows.len());
        while at > 0 && rows[at - 1].node >= node {
            at -= 1;
        }
        while at < rows.len() && rows[at].node < node {
            at += 1;
        }
        let is_there = rows.get(at).is_some_and(|row| row.node == node);
        if is_there { Ok(at) } else { Err(at) }
    }

    /// How many are up before a place.
    fn up_before(&self, place: usize) -> usize {
        if self.are_all_up() { place } else { ups(&self.rows[..place]).count() }
    }

    /// Who is up and has so many of these below.
    fn up_at(&self, rank: usize) -> Option<&Row> {
        if self.are_all_up() { self.rows.get(rank) } else { ups(&self.rows).nth(rank) }
    }

    /// As in most blocks. Then nobody need be looked at to know how many are.
    fn are_all_up(&self) -> bool {
        self.up as usize == self.rows.len()
    }

    fn replace(&mut self, place: usize, row: Row) {
        self.up += u32::from(row.standing.is_up());
        let before = std::mem::replace(&mut Arc::make_mut(&mut self.rows)[place], row);
        self.up -= u32::from(before.standing.is_up());
    }

    /// Puts a row in, and gives away the upper half if it is one too many.
    fn insert(&mut self, place: usize, row: Row) -> Option<Self> {
        let rows = Arc::make_mut(&mut self.rows);
        if rows.len() == rows.capacity() {
            rows.reserve_exact(SLACK);
        }
        rows.insert(place, row);
        let upper = (rows.len() > BLOCK_MAX).then(|| {
            let half = rows.len() / 2;
            let mut upper = Vec::with_capacity(rows.len() - half + SLACK);
            upper.extend(rows.drain(half..));
            rows.shrink_to(half + SLACK);
            Self::new(upper)
        });
        self.count();
        upper
    }

    fn remove(&mut self, place: usize) {
        Arc::make_mut(&mut self.rows).remove(place);
        self.count();
    }

    fn count(&mut self) {
        self.first = self.rows[0].node;
        self.up = ups(&self.rows).count() as u32;
    }
}

/// The first half of an id, as a number.
fn head(node: NodeId) -> u64 {
    let [head, _] = halves(node.as_bytes());
    head
}

/// Those that are up.
fn ups(rows: &[Row]) -> impl Iterator<Item = &Row> {
    rows.iter().filter(|row| row.standing.is_up())
}

/// The most rows of a block.
const BLOCK_MAX: usize = 64;

/// For how many more rows room is made when there is none left.
const SLACK: usize = 4;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::entry::tests::{entry, standings};

    fn row(number: u16, standing: Standing) -> Row {
        let like = entry(1, 1);
        let mut id = [0; NodeId::LEN];
        id[..2].copy_from_slice(&number.to_be_bytes());
        Row {
            node: NodeId::from_bytes(id),
            incarnation: like.member.incarnation,
            generation: like.generation,
            addresses: like.addresses,
            standing,
            accuser: None,
        }
    }

    proptest! {
        /// Whatever is put and removed, it is what a map would be.
        #[test]
        fn rows_are_a_map_with_ranks(
            story in prop::collection::vec((0..400_u16, standings(), 0..5_u8), 0..900),
            asked in 0..450_u16,
        ) {
            let (mut rows, mut map) = (Rows::default(), BTreeMap::new());
            let (mut copy, mut copied) = (rows.clone(), map.clone());
            let half = story.len() / 2;
            for (at, (number, standing, what)) in story.into_iter().enumerate() {
                if at == half {
                    (copy, copied) = (rows.clone(), map.clone());
                }
                let row = row(number, standing);
                if what == 0 {
                    rows.remove(row.node);
                    map.remove(&row.node);
                } else {
                    map.insert(row.node, row.clone());
                    rows.put(row);
                }
            }
            prop_assert!(copy.from(None).eq(copied.values()), "the original is written to alone");
            prop_assert_eq!(rows.len(), map.len());
            prop_assert!(rows.from(None).eq(map.values()));
            let asked = row(asked, Standing::Alive).node;
            prop_assert_eq!(rows.get(asked), map.get(&asked));
            prop_assert!(rows.from(Some(asked)).eq(map.range(asked..).map(|(_, row)| row)));
            let up: Vec<&Row> = map.values().filter(|row| row.standing.is_up()).collect();
            let below = up.iter().filter(|row| row.node < asked).count();
            prop_assert_eq!(rows.up_below(asked), below);
            for rank in 0..=up.len() {
                prop_assert_eq!(rows.up_at(rank), up.get(rank).copied());
            }
            let is_well = |block: &Block| {
                let up = block.rows.iter().filter(|row| row.standing.is_up()).count();
                let is_well = (1..=BLOCK_MAX).contains(&block.rows.len());
                is_well && block.up as usize == up && block.first == block.rows[0].node
            };
            prop_assert!(map.is_empty() || rows.blocks.iter().all(is_well));
        }
    }

    #[test]
    fn a_copy_shares_what_neither_writes_to() {
        let mut rows = Rows::default();
        (0..1_000).for_each(|number| rows.put(row(number, Standing::Alive)));
        let mut copy = rows.clone();
        copy.put(row(500, Standing::Suspect));
        copy.remove(row(0, Standing::Alive).node);
        let both = rows.blocks.iter().zip(copy.blocks.iter());
        let apart = both.filter(|(one, other)| !Arc::ptr_eq(&one.rows, &other.rows));
        assert_eq!(apart.count(), 2);
    }

    #[test]
    fn a_row_is_small_and_takes_little_more() {
        assert_eq!(size_of::<Row>(), 64);
        let mut rows = Rows::default();
        // In an order that is not that of the ids.
        (0..10_000_u16).for_each(|i| rows.put(row(i.wrapping_mul(40_503), Standing::Alive)));
        let room: usize = rows.blocks.iter().map(|block| block.rows.capacity()).sum();
        assert!(room < 11_000, "room for {room} rows");
    }
}
