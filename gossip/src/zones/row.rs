//! Rows: what a node knows of one zone, and which of two rows about a zone knows more.
//!
//! A member stamps its share with the number of the *round* in which it said so. Of two rows about
//! one zone the one with the higher *sum* of stamps wins: a member that a row does not know of
//! counts 0 in it, so that a row made from more knowledge has the higher sum. (Astrolabe, TOCS
//! 2003, section 4.2, goes by the time at which a row was made. By that, or by the mean of the
//! stamps, somebody who knows of nobody but himself would win.) Rounds begin at a high number, so
//! that to know one member more counts for more than to know all the others better.
//!
//! Invariants: a row without a share has no stamp of one and no number; a number is finite; sums
//! saturate, and what is heard beyond the limits is refused.

use core::cmp::{Ordering, Reverse};

use live_objects::{ObjectId, Summary};

use crate::entry::Absurd;

/// Which aggregate: an object's name with what it sums up, since a name that two nodes opened
/// differently must not mix their shares.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Subject {
    pub(crate) object: ObjectId,
    pub(crate) summary: Summary,
}

/// The number of a round: all nodes have about the same. A node's grows by one a period, and to
/// what it hears.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Round(u64);

impl Round {
    /// Where a node begins.
    pub(crate) const FIRST: Self = Self(1 << 20);
    /// The highest that is accepted: 7,000 years of rounds, at 200 ms.
    pub(crate) const MAX: Self = Self(1 << 40);
    /// How far a row's stamp may be ahead of the packet that it came in.
    pub(crate) const AHEAD_MAX: u64 = 2;

    /// The one after this, unless this is the highest.
    pub(crate) fn next(self) -> Self {
        Self(self.0 + 1).min(Self::MAX)
    }

    /// How many rounds after that stamp it is.
    pub(crate) const fn since(self, stamp: u64) -> u64 {
        self.0.saturating_sub(stamp)
    }
}

impl TryFrom<u64> for Round {
    type Error = Absurd;

    fn try_from(number: u64) -> Result<Self, Absurd> {
        if number > Self::MAX.0 { Err(Absurd::Round(number)) } else { Ok(Self(number)) }
    }
}

impl From<Round> for u64 {
    fn from(round: Round) -> Self {
        round.0
    }
}

/// How much a row knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Mark {
    /// The sum of the stamps of the zone's leaves; 0 if nothing is known of it.
    pub(crate) stamps: u64,
    /// How many leaves are in that sum.
    pub(crate) leaves: u32,
}

/// What is known of a zone.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct Row {
    pub(crate) mark: Mark,
    /// How many shares are in it.
    pub(crate) count: u32,
    /// The stamp of the oldest of them.
    pub(crate) least: u64,
    /// Their sum, least or greatest.
    pub(crate) number: f64,
}

/// Its number is never NaN.
impl Eq for Row {}

impl Row {
    /// The highest sum of stamps that is accepted.
    pub(crate) const STAMPS_MAX: u64 = 1 << 62;
    /// The most leaves that are accepted.
    pub(crate) const LEAVES_MAX: u32 = 1 << 20;

    /// The row of one member, as of this round. Without a share it only relays.
    pub(crate) fn leaf(share: Option<f64>, round: Round, base: u64) -> Self {
        let mark = Mark { stamps: (round.0 + base).min(Self::STAMPS_MAX), leaves: 1 };
        share.map_or(Self { mark, ..Self::default() }, |number| Self {
            mark,
            count: 1,
            least: round.0,
            number,
        })
    }

    /// Whether anything is known.
    pub(crate) const fn is_known(&self) -> bool {
        self.mark.stamps > 0
    }

    /// The two zones as one.
    pub(crate) fn merged(self, other: Self, summary: Summary) -> Self {
        let mark = Mark {
            stamps: (self.mark.stamps + other.mark.stamps).min(Self::STAMPS_MAX),
            leaves: (self.mark.leaves + other.mark.leaves).min(Self::LEAVES_MAX),
        };
        let (least, number) = match (self.count, other.count) {
            (_, 0) => (self.least, self.number),
            (0, _) => (other.least, other.number),
            _ => (self.least.min(other.least), fold(summary, self.number, other.number)),
        };
        let count = self.count.saturating_add(other.count).min(mark.leaves);
        Self { mark, count, least, number }
    }

    /// The zone when all its members are gone: nobody's share counts, but their stamps do, as of
    /// the round of the verdict, so that rows from before lose.
    pub(crate) fn buried(self, round: Round) -> Self {
        let stamps = self.mark.stamps.max(u64::from(self.mark.leaves) * round.0);
        Self { mark: Mark { stamps, ..self.mark }, ..Self::default() }
    }

    /// The greater of two rows about a zone holds. Where the sums are the same any order will do
    /// that is the same everywhere; fewer shares win, as there may have been a verdict.
    pub(crate) fn precedence(&self, other: &Self) -> Ordering {
        let key = |row: &Self| (row.mark.stamps, Reverse(row.count), row.mark.leaves, row.least);
        key(self).cmp(&key(other)).then(self.number.total_cmp(&other.number))
    }

    /// The aggregate's value, if this is the row of all.
    pub(crate) fn value(&self, summary: Summary) -> Option<f64> {
        let is_any = self.count > 0;
        match summary {
            Summary::Average => is_any.then(|| self.number / f64::from(self.count)),
            Summary::Sum => Some(self.number),
            Summary::Count => Some(f64::from(self.count)),
            Summary::Min | Summary::Max => is_any.then_some(self.number),
        }
    }
}

/// Stays finite.
fn fold(summary: Summary, one: f64, other: f64) -> f64 {
    match summary {
        Summary::Average | Summary::Sum => (one + other).clamp(f64::MIN, f64::MAX),
        Summary::Count => 0.0,
        Summary::Min => one.min(other),
        Summary::Max => one.max(other),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn round(number: u64) -> Round {
        Round::try_from(number).unwrap()
    }

    pub(crate) fn summaries() -> impl Strategy<Value = Summary> {
        use Summary::{Average, Count, Max, Min, Sum};
        prop::sample::select(vec![Average, Sum, Count, Min, Max])
    }

    /// Any row that can be said of an aggregate of this summary.
    pub(crate) fn rows(summary: Summary) -> impl Strategy<Value = Row> {
        let mark = (1..=Row::STAMPS_MAX, 1..=Row::LEAVES_MAX);
        let number = prop::num::f64::NORMAL | prop::num::f64::NEGATIVE | prop::num::f64::ZERO;
        (mark, any::<u32>(), 0..=Round::MAX.0, number).prop_map(
            move |((stamps, leaves), count, least, number)| {
                let (mark, count) = (Mark { stamps, leaves }, count % (leaves + 1));
                let number = if summary == Summary::Count { 0.0 } else { number };
                if count == 0 {
                    return Row { mark, ..Row::default() };
                }
                Row { mark, count, least, number }
            },
        )
    }

    #[test]
    fn each_summary_sums_up() {
        let of = |summary, shares: &[f64]| {
            let leaf = |share: &f64| match summary {
                Summary::Count => Row::leaf(Some(0.0), Round::FIRST, 0),
                _ => Row::leaf(Some(*share), Round::FIRST, 0),
            };
            let merge = |one: Row, other: Row| one.merged(other, summary);
            shares.iter().map(leaf).fold(Row::default(), merge).value(summary)
        };
        let shares = [3.0, -1.0, 4.0];
        assert_eq!(of(Summary::Average, &shares), Some(2.0));
        assert_eq!(of(Summary::Sum, &shares), Some(6.0));
        assert_eq!(of(Summary::Count, &shares), Some(3.0));
        assert_eq!(of(Summary::Min, &shares), Some(-1.0));
        assert_eq!(of(Summary::Max, &shares), Some(4.0));
        let none = [Summary::Average, Summary::Sum, Summary::Count, Summary::Min, Summary::Max];
        let none = none.map(|summary| of(summary, &[]));
        assert_eq!(none, [None, Some(0.0), Some(0.0), None, None]);
        assert_eq!(of(Summary::Sum, &[f64::MAX, f64::MAX]), Some(f64::MAX));
    }

    #[test]
    fn the_gone_do_not_count_and_their_stamps_do() {
        let two = Row { mark: Mark { stamps: 7, leaves: 2 }, count: 2, least: 3, number: 5.0 };
        assert_eq!(
            two.buried(round(5)),
            Row { mark: Mark { stamps: 10, leaves: 2 }, ..Row::default() }
        );
        assert_eq!(two.buried(round(2)), Row { mark: two.mark, ..Row::default() });
        assert_eq!(two.buried(round(2)).precedence(&two), Ordering::Greater);
    }

    #[test]
    fn rounds_end() {
        assert_eq!(Round::MAX.next(), Round::MAX);
        assert_eq!(Round::try_from(u64::MAX), Err(Absurd::Round(u64::MAX)));
        let most = Row::leaf(None, Round::MAX, Row::STAMPS_MAX);
        let merged = most.merged(most, Summary::Sum);
        assert_eq!(merged.mark, Mark { stamps: Row::STAMPS_MAX, leaves: 2 });
    }

    proptest! {
        #[test]
        fn what_is_merged_keeps_to_the_limits(
            (one, other) in summaries().prop_flat_map(|summary| (rows(summary), rows(summary))),
            summary in summaries(),
        ) {
            let merged = one.merged(other, summary);
            prop_assert!(merged.mark.stamps <= Row::STAMPS_MAX);
            prop_assert!(merged.mark.leaves <= Row::LEAVES_MAX);
            prop_assert!(merged.count <= merged.mark.leaves);
            prop_assert!(merged.number.is_finite());
            prop_assert_eq!(one.precedence(&other), other.precedence(&one).reverse());
        }
    }
}
