//! Rows: what a node knows of one zone, and which of two rows about a zone knows more.
//!
//! A member stamps its share with the number of the *round* in which it said so. A row is worth the
//! sum over its leaves of how fresh each is: [`WINDOW`] rounds less its age. A member that a row
//! does not know of is worth nothing in it, so that a row made from more knowledge is worth more;
//! and one that is gone costs little in a row made after it went, so that this wins soon.
//! (Astrolabe, TOCS 2003, section 4.2, goes by the time at which a row was made. By that, or by the
//! mean of the stamps, somebody who knows of nobody but himself would win. By the bare sum of the
//! stamps a zone that shrank would lose to what it was for ever.)
//!
//! Invariants: a row without a share has no stamp of one and no number; a number is finite; sums
//! saturate, and what is heard beyond the limits is refused.

use live_objects::{ObjectId, Summary};

use crate::digest::{halves, mix};
use crate::entry::Absurd;

/// Which aggregate: an object's name with what it sums up, since a name that two nodes opened
/// differently must not mix their shares.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Subject {
    pub(crate) object: ObjectId,
    pub(crate) summary: Summary,
}

impl Subject {
    /// What it is called for short, among those who know it.
    pub(crate) fn handle(self) -> u32 {
        let [high, low] = halves(self.object.as_bytes());
        mix(high ^ mix(low ^ self.summary as u64)) as u32
    }
}

/// The number of a round: all nodes have about the same. A node's grows by one a period, and to
/// what it hears.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Round(u64);

impl Round {
    /// Where a node begins.
    pub(crate) const FIRST: Self = Self(1 << 20);
    /// The highest there is: 27 years of rounds, at 200 ms.
    pub(crate) const MAX: Self = Self(u32::MAX as u64);
    /// How far stamps may be ahead of this node's round.
    pub(crate) const AHEAD_MAX: u64 = 2;

    /// The one after this, unless this is the highest.
    pub(crate) fn next(self) -> Self {
        Self(self.0 + 1).min(Self::MAX)
    }

    /// So many rounds after this, or before it, but none that cannot be.
    pub(crate) fn shifted(self, by: i64) -> Self {
        Self(self.0.saturating_add_signed(by)).min(Self::MAX)
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
    pub(crate) fn leaf(share: Option<f64>, round: Round) -> Self {
        let mark = Mark { stamps: round.0, leaves: 1 };
        share.map_or(Self { mark, ..Self::default() }, |number| Self {
            mark,
            count: 1,
            least: round.0,
            number,
        })
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

    /// What it is worth in this round, where so many members are known to be in the zone: leaves
    /// beyond those count for nothing.
    pub(crate) fn worth(&self, round: Round, known: u32) -> i128 {
        let (leaves, stamps) = (i128::from(self.mark.leaves), i128::from(self.mark.stamps));
        let worth = stamps - leaves * i128::from(round.0.saturating_sub(WINDOW));
        if self.mark.leaves > known { worth * i128::from(known) / leaves } else { worth }
    }

    /// How old its leaves are in this round, on average, in sixteenths of a round. What is not
    /// known is as old as can be.
    pub(crate) fn age(&self, round: Round) -> i64 {
        let leaves = u64::from(self.mark.leaves);
        if leaves == 0 {
            return 16 * WINDOW as i64;
        }
        let age = i128::from(leaves) * i128::from(round.0) - i128::from(self.mark.stamps);
        (16 * age / i128::from(leaves)) as i64
    }

    /// Whether some stamp in it is of a later round than can be.
    pub(crate) fn is_ahead(&self, round: Round) -> bool {
        let latest = round.0 + Round::AHEAD_MAX;
        self.least > latest || self.mark.stamps > u64::from(self.mark.leaves) * latest
    }

    /// Whether what it says is so far from what another says that it is news.
    pub(crate) fn has_moved(&self, other: &Self) -> bool {
        let count = u64::from(self.count.max(other.count));
        let least = self.number.abs().max(other.number.abs()) / NEWS_SHARE as f64;
        u64::from(self.count.abs_diff(other.count)) * NEWS_SHARE > count
            || (self.number - other.number).abs() > least
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

/// What is older than so many rounds is not known any more.
pub(crate) const WINDOW: u64 = 1_024;

/// A change is news if it is more than one part in so many.
const NEWS_SHARE: u64 = 1_000;

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
                Summary::Count => Row::leaf(Some(0.0), Round::FIRST),
                _ => Row::leaf(Some(*share), Round::FIRST),
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
    fn knowledge_is_worth_something_and_so_is_freshness() {
        let at = |number: u64| round(u64::from(Round::FIRST) + number);
        let row = |stamps: &[u64]| {
            let leaf = |stamp: &u64| Row::leaf(Some(1.0), at(*stamp));
            stamps
                .iter()
                .map(leaf)
                .fold(Row::default(), |one, other| one.merged(other, Summary::Sum))
        };
        let now = at(10);
        let worth = |stamps: &[u64]| row(stamps).worth(now, 9);
        assert!(worth(&[9, 9]) > worth(&[9, 8]));
        assert!(worth(&[9, 1]) > worth(&[10]), "to know one more is worth more than the last news");
        assert_eq!(row(&[9, 9]).worth(now, 1), worth(&[9]), "only one of them can be there");
        assert_eq!(Row::default().worth(now, 9), 0);
        // One of many is gone: some rounds later the row that does without it is worth more.
        let (before, after) = (row(&[2; 400]), row(&[10; 399]));
        assert!(after.worth(now, u32::MAX) > before.worth(now, u32::MAX));
        assert!(row(&[3; 399]).worth(at(3), u32::MAX) < before.worth(at(3), u32::MAX));
        assert_eq!([row(&[9, 8]).age(now), row(&[10]).age(now)], [16 + 8, 0]);
        assert!(Row::default().age(now) > row(&[0]).age(now));
    }

    #[test]
    fn nobody_can_be_far_ahead() {
        let at = |number: u64| round(u64::from(Round::FIRST) + number);
        let leaf = |number: u64| Row::leaf(None, at(number));
        assert!(!leaf(2).is_ahead(at(0)) && leaf(3).is_ahead(at(0)));
        let mut old = Row::leaf(Some(1.0), at(0)).merged(Row::leaf(Some(1.0), at(9)), Summary::Sum);
        assert!(old.is_ahead(at(0)) && !old.is_ahead(at(3)), "together they could be real");
        old.least = at(9).into();
        assert!(old.is_ahead(at(3)));
    }

    #[test]
    fn a_thousandth_is_no_news() {
        let row = |count, number| Row { count, number, ..Row::default() };
        assert!(!row(2_000, 5.0).has_moved(&row(2_001, 5.004)));
        assert!(row(900, 5.0).has_moved(&row(901, 5.0)));
        assert!(row(1, 5.0).has_moved(&row(1, 5.01)));
        assert!(row(1, 5.0).has_moved(&row(1, -5.0)));
        assert!(!row(0, 0.0).has_moved(&row(0, 0.0)));
    }

    #[test]
    fn rounds_end() {
        assert_eq!(Round::MAX.next(), Round::MAX);
        assert_eq!(Round::try_from(u64::MAX), Err(Absurd::Round(u64::MAX)));
        assert_eq!(Round::MAX.shifted(9), Round::MAX);
        assert_eq!(Round::FIRST.shifted(i64::MIN).since(0), 0);
        let mark = Mark { stamps: Row::STAMPS_MAX, leaves: Row::LEAVES_MAX };
        let most = Row { mark, ..Row::default() };
        assert_eq!(most.merged(most, Summary::Sum).mark, mark);
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
            // None of it overflows.
            let _ = (one.worth(Round::MAX, 0), one.age(Round::MAX), one.has_moved(&other));
            let _ = (one.worth(round(0), u32::MAX), one.age(round(0)), one.is_ahead(Round::MAX));
        }
    }
}
