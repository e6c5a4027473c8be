//! Which records a node has, by their hashes, and what one node has that another lacks.
//!
//! When digests differ the two nodes send each other what they lack: first hashes, of eight bytes
//! each, then records; of a large table, first sums of hashes, then the hashes where these differ.
//! A piece of an inventory says all that its sender has between two hashes, so pieces may come in
//! any order, and one that is lost costs its records another turn. Where there is more to send than
//! one turn takes, the next finds the rest.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Record, Records};

/// A piece: all hashes from the one to the other, both included, in order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Inventory {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) hashes: Hashes,
}

/// Hashes are written as eight bytes each: as numbers of variable length most would take ten.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(from = "Vec<[u8; 8]>", into = "Vec<[u8; 8]>")]
pub(crate) struct Hashes(pub(crate) Vec<u64>);

impl From<Vec<[u8; 8]>> for Hashes {
    fn from(hashes: Vec<[u8; 8]>) -> Self {
        Self(hashes.into_iter().map(u64::from_be_bytes).collect())
    }
}

impl From<Hashes> for Vec<[u8; 8]> {
    fn from(hashes: Hashes) -> Self {
        hashes.0.into_iter().map(u64::to_be_bytes).collect()
    }
}

impl Records {
    /// All that counts, in pieces.
    pub(crate) fn inventory(&self) -> Vec<Inventory> {
        self.pieces(0, u64::MAX)
    }

    /// For each first byte of a hash the exclusive or of all that begin so: of a table so large
    /// that this is shorter than its inventory.
    pub(crate) fn sums(&self) -> Option<Hashes> {
        (self.rows.len() > 2 * SUMS).then(|| self.all_sums())
    }

    /// What counts, in pieces, where another's sums differ from those here.
    pub(crate) fn inventory_beside(&self, theirs: &Hashes) -> Vec<Inventory> {
        let own = self.all_sums();
        let differs = |sum: &usize| theirs.0.get(*sum) != Some(&own.0[*sum]);
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for sum in (0..SUMS).filter(differs) {
            match runs.last_mut() {
                Some((_, last)) if *last + 1 == sum => *last = sum,
                _ => runs.push((sum, sum)),
            }
        }
        // Where all differ, one inventory is shorter than many.
        if runs.len() > RUNS_MAX {
            return self.inventory();
        }
        let ends = |(first, last)| ((first as u64) << 56, (last as u64) << 56 | u64::MAX >> 8);
        runs.into_iter().map(ends).flat_map(|(from, to)| self.pieces(from, to)).collect()
    }

    /// What whoever has this inventory lacks.
    pub(crate) fn beyond(&self, inventory: &Inventory) -> Vec<Record> {
        let known: BTreeSet<u64> = inventory.hashes.0.iter().copied().collect();
        let counted = self.counted(inventory.from, inventory.to);
        self.supply(counted.filter(|hash| !known.contains(hash)))
    }

    /// The hashes of an inventory that nothing here has, shown or not.
    pub(crate) fn lacking(&self, inventory: &Inventory) -> Hashes {
        let hashes = inventory.hashes.0.iter().copied();
        let lacking = hashes.filter(|hash| !self.hashes.contains_key(hash));
        Hashes(lacking.take(HASHES_MAX).collect())
    }

    /// The records that were asked for.
    pub(crate) fn of_hashes(&self, hashes: &Hashes) -> Vec<Record> {
        let wanted: BTreeSet<u64> = hashes.0.iter().copied().collect();
        self.supply(wanted.into_iter().filter(|hash| self.is_counted(*hash)))
    }

    /// All that counts between two hashes, in pieces of at most [`HASHES_MAX`].
    fn pieces(&self, from: u64, to: u64) -> Vec<Inventory> {
        let hashes: Vec<u64> = self.counted(from, to).collect();
        let mut start = from;
        let mut pieces: Vec<Inventory> = hashes
            .chunks(HASHES_MAX)
            .map(|chunk| {
                let end = *chunk.last().expect("chunks are not empty");
                let piece = Inventory { from: start, to: end, hashes: Hashes(chunk.to_vec()) };
                start = end.saturating_add(1);
                piece
            })
            .collect();
        match pieces.last_mut() {
            Some(last) => last.to = to,
            None => pieces.push(Inventory { from, to, hashes: Hashes(Vec::new()) }),
        }
        pieces
    }

    fn all_sums(&self) -> Hashes {
        Hashes(self.sums.to_vec())
    }

    /// The hashes from the one to the other, both included, of all that counts.
    fn counted(&self, from: u64, to: u64) -> impl Iterator<Item = u64> {
        let range = (from <= to).then(|| self.hashes.range(from..=to));
        let hashes = range.into_iter().flatten();
        hashes.filter(|(_, key)| self.rows[*key].counts()).map(|(hash, _)| *hash)
    }

    fn is_counted(&self, hash: u64) -> bool {
        self.hashes.get(&hash).is_some_and(|key| self.rows[key].counts())
    }

    /// The records of these hashes, as many as are sent at one time.
    fn supply(&self, hashes: impl Iterator<Item = u64>) -> Vec<Record> {
        let records = hashes.map(|hash| &self.hashes[&hash]).filter_map(|key| self.record(key));
        let mut bytes = 0;
        let fits = |record: &Record| {
            bytes += record.encoded_len();
            bytes <= SUPPLY_BYTES_MAX
        };
        records.take_while(fits).collect()
    }
}

/// How many sums there are: one for each byte that a hash may begin with.
pub(super) const SUMS: usize = 256;

/// The most runs of sums that differ for each of which a piece is sent.
const RUNS_MAX: usize = 8;

/// The most hashes of a piece.
const HASHES_MAX: usize = 4_096;

/// The most that is sent at one time, in bytes.
const SUPPLY_BYTES_MAX: usize = 512 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::tests::{news, record, table};

    #[test]
    fn an_inventory_comes_in_pieces_that_cover_all() {
        let mut records = table(0);
        let empty = Inventory { from: 0, to: u64::MAX, hashes: Hashes(Vec::new()) };
        assert_eq!(records.inventory(), [empty]);
        for version in 0..=HASHES_MAX as u64 {
            let mut record = record(1 + (version / 4_000) as u8, b"", 1);
            record.key.key = version.to_be_bytes().to_vec().into();
            records.hear(record, news());
        }
        let pieces = records.inventory();
        assert_eq!(pieces.iter().map(|it| it.hashes.0.len()).collect::<Vec<_>>(), [HASHES_MAX, 1]);
        assert_eq!((pieces[0].from, pieces[1].to), (0, u64::MAX));
        assert_eq!(pieces[1].from, pieces[0].to + 1);
        assert!(pieces.iter().all(|piece| table(0).lacking(piece).0.len() <= HASHES_MAX));
        assert!(pieces.iter().all(|piece| records.beyond(piece).is_empty()));
    }

    #[test]
    fn each_gets_what_it_lacks() {
        let (mut a, mut b) = (table(8), table(9));
        for key in [b"1", b"2"] {
            a.hear(record(1, key, 5), news());
        }
        b.hear(record(1, b"2", 6), news());
        b.hear(record(1, b"3", 5), news());
        let piece = &a.inventory()[0];
        let by_key = |mut records: Vec<Record>| {
            records.sort_by_key(|record| record.key.clone());
            records
        };
        assert_eq!(by_key(b.beyond(piece)), [record(1, b"2", 6), record(1, b"3", 5)]);
        let wanted = a.of_hashes(&b.lacking(piece));
        assert_eq!(by_key(wanted.clone()), [record(1, b"1", 5), record(1, b"2", 5)]);
        for record in b.beyond(piece) {
            a.hear(record, news());
        }
        for record in wanted {
            b.hear(record, news());
        }
        assert_eq!(a.digest(9), b.digest(9));
        assert!(a.digest(9).is_some());
    }

    #[test]
    fn of_a_large_table_only_what_differs_is_listed() {
        let (mut a, mut b) = (table(8), table(9));
        for number in 0..4_000_u64 {
            assert_eq!(a.sums().is_some(), number > 2 * SUMS as u64);
            let mut record = record(1, b"", 1);
            record.key.key = number.to_be_bytes().to_vec().into();
            a.hear(record.clone(), news());
            if number != 7 {
                b.hear(record, news());
            }
        }
        let pieces = b.inventory_beside(&a.sums().unwrap());
        assert_eq!(pieces.len(), 1);
        assert!(pieces[0].hashes.0.len() < 40, "{} hashes", pieces[0].hashes.0.len());
        assert_eq!(a.beyond(&pieces[0]).len(), 1);
        assert_eq!(a.inventory_beside(&a.sums().unwrap()), []);
        let all_differ = table(0).inventory_beside(&a.sums().unwrap());
        assert_eq!(all_differ, table(0).inventory(), "one run of all");
        b.hear(record(1, b"another", 1), news());
        assert_eq!(b.inventory_beside(&a.sums().unwrap()).len(), 2);
        for number in 0..40_u64 {
            let mut record = record(2, b"", 1);
            record.key.key = number.to_be_bytes().to_vec().into();
            b.hear(record, news());
        }
        assert_eq!(b.inventory_beside(&a.sums().unwrap()), b.inventory());
        assert_eq!(b.inventory_beside(&Hashes(vec![1])), b.inventory(), "sums that make no sense");
    }

    #[test]
    fn so_much_is_sent_at_one_time() {
        let mut records = table(0);
        for number in 0..600_u64 {
            let mut record = record(1, b"", 1);
            record.key.key = number.to_be_bytes().to_vec().into();
            record.value = Some(vec![0; 950].into());
            records.hear(record, news());
        }
        let sent = records.beyond(&table(9).inventory()[0]);
        let bytes: usize = sent.iter().map(Record::encoded_len).sum();
        assert!(bytes <= SUPPLY_BYTES_MAX && bytes + 2_000 > SUPPLY_BYTES_MAX, "{bytes}");
    }
}
