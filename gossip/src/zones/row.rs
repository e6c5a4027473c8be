//! Rows: what a node knows of one zone, and which of two rows about a zone knows more.
//!
//! A member stamps its share with the number of the *round* in which it said so. Of two rows that
//! is better whose leaves are younger, in the sum over all members that are known to be in the
//! zone. One that a row lacks counts as older than hardly any leaf of the two is, so that a row
//! made from more knowledge is better; and one that is gone costs little in a row made after it
//! went, so that this wins soon. While members come and go rows lack some and have too many of
//! others: if a member that is lacking counted as much older, a row that has those who left in
//! place of those who came would be held for long. But if more than one in 32 is lacking, each of
//! them counts more: a row that somebody told who had just lost a tenth of them is no better for
//! being younger than what was told while all were at rest. Where nobody comes or goes, a row of
//! just as many members as there are is better by some rounds: in a zone of many one that is
//! missing weighs less than a round of all, and would be missed until all have spoken again.
//!
//! (Astrolabe, TOCS 2003, section 4.2, goes by the time at which a row was made. By that, or by the
//! mean of the stamps, somebody who knows of nobody but himself would win. By the bare sum of the
//! stamps a zone that shrank would lose to what it was for ever.)
//!
//! Invariants: a row without a share has no stamp of one and no body; sums saturate, and what is
//! heard beyond the limits is refused.

use core::cmp::Ordering;

use live_objects::{ObjectId, Summary};
use sha2::{Digest, Sha256};

use super::Headcount;
use super::body::Body;
use crate::digest::{halves, mix};
use crate::entry::Absurd;

/// Which aggregate, and which part of it: an object's name with what it sums up, since a name that
/// two nodes opened differently must not mix their shares.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Subject {
    pub(crate) object: ObjectId,
    pub(crate) summary: Summary,
    /// Counted from 0. Each part has rows of its own, since all of a sketch would not fit into a
    /// packet.
    pub(crate) part: u8,
}

impl Subject {
    /// The first part, which stands for the whole where that is meant.
    pub(crate) const fn new(object: ObjectId, summary: Summary) -> Self {
        Self { object, summary, part: 0 }
    }

    /// What this is a part of.
    pub(crate) const fn whole(self) -> Self {
        Self { part: 0, ..self }
    }

    /// All parts of what this is a part of.
    pub(crate) fn parts(self) -> impl Iterator<Item = Self> {
        (0..self.summary.parts()).map(move |part| Self { part, ..self })
    }

    /// What it is called for short, among those who know it. Anybody can make up another with the
    /// same handle.
    pub(crate) fn handle(self) -> u32 {
        let [high, low] = halves(self.object.as_bytes());
        mix(high ^ mix(low ^ self.summary as u64 ^ u64::from(self.part) << 8)) as u32
    }

    /// A hash of it, to which nobody can make up another subject.
    pub(crate) fn hash(self) -> u64 {
        let of = [self.summary as u8, self.part];
        let hash: [u8; 32] =
            Sha256::new().chain_update(self.object.as_bytes()).chain_update(of).finalize().into();
        halves(hash.first_chunk().expect("it is longer"))[0]
    }
}

/// The number of a round: all nodes have about the same. A node's grows by one a period, and to
/// what it hears.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Round(u64);

impl Round {
    /// What is said by whoever does not know.
    pub(crate) const UNKNOWN: Self = Self(0);
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

    /// So many rounds after this; the first comes after the last.
    pub(crate) fn after(self, rounds: u64) -> Self {
        let number = u128::from(self.0) + u128::from(rounds);
        let turn = u128::from(Self::MAX.0 - Self::FIRST.0) + 1;
        let beyond = number.checked_sub(Self::FIRST.0.into());
        Self(beyond.map_or(number as u64, |beyond| Self::FIRST.0 + (beyond % turn) as u64))
    }

    /// Whether it is further ahead of this round than anybody's can be.
    pub(crate) fn is_ahead_of(self, round: Self) -> bool {
        self.0 > round.0 + Self::AHEAD_MAX
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

impl Mark {
    /// Of two zones as one.
    pub(crate) fn merged(self, other: Self) -> Self {
        Self {
            stamps: (self.stamps + other.stamps).min(Row::STAMPS_MAX),
            leaves: (self.leaves + other.leaves).min(Row::LEAVES_MAX),
        }
    }

    /// How old the leaves are in this round, on average, in sixteenths of a round. What is not
    /// known is as old as can be.
    pub(crate) fn age(self, round: Round) -> i64 {
        self.age_among(self.leaves, round)
    }

    /// The same, where so many members are known to be in the zone.
    pub(crate) fn age_among(self, known: u32, round: Round) -> i64 {
        let leaves = i128::from(self.leaves);
        let missing = i128::from(known.saturating_sub(self.leaves));
        if leaves == 0 {
            return 16 * WINDOW as i64;
        }
        let age = leaves * i128::from(round.0) - i128::from(self.stamps);
        (16 * (age + missing * i128::from(WINDOW)) / (leaves + missing)) as i64
    }

    /// Whether some stamp of the zone's, of which this is the least, is of a later round than can
    /// be.
    pub(crate) fn is_ahead(self, least: u64, round: Round) -> bool {
        let latest = round.0 + Round::AHEAD_MAX;
        least > latest || self.stamps > u64::from(self.leaves) * latest
    }

    /// Whether a row with this mark is better than one with another in this round, where so many
    /// members are known to be in the zone. With less trust, one that knows of most of these is
    /// better than this one.
    pub(crate) fn is_better(
        self,
        other: Self,
        round: Round,
        known: Headcount,
        trust: Trust,
    ) -> bool {
        let ages = [self, other].map(|mark| mark.age(round).max(0));
        let many = KNOWING_MIN.max(known.count / KNOWING_PART);
        let knows_many = |mark: Self| mark.leaves >= many;
        // By the younger, or what is known of many who are gone would never be old enough; but who
        // knows hardly anybody must not win for being young.
        let beside = match trust {
            Trust::Full if knows_many(self) && knows_many(other) => ages[0].min(ages[1]),
            Trust::Full | Trust::Less => ages[0].max(ages[1]),
        };
        let lacking = Lacking {
            known: known.count.into(),
            each: LACKING_ROUNDS + LACKING_AGES * i128::from(beside) / 16,
        };
        let age = self.age_with(round, known, lacking);
        let age = match trust {
            Trust::Full => age,
            Trust::Less => age.max(0) + lacking.age(lacking.few()),
        };
        age < other.age_with(round, known, lacking)
    }

    /// How old it is as the sum over all known members, if those that it lacks count as so old.
    /// Leaves beyond those count for nothing; if nobody came or went lately a row of just as many
    /// counts as some rounds younger.
    fn age_with(self, round: Round, known: Headcount, lacking: Lacking) -> i128 {
        let (leaves, stamps) = (i128::from(self.leaves), i128::from(self.stamps));
        let age = leaves * i128::from(round.0) - stamps;
        match leaves.cmp(&lacking.known) {
            Ordering::Less => age + lacking.age(lacking.known - leaves),
            Ordering::Equal if known.is_settled => age - leaves * COMPLETE_ROUNDS,
            Ordering::Equal => age,
            Ordering::Greater => age * lacking.known / leaves,
        }
    }
}

/// How old those members are that a row lacks.
#[derive(Clone, Copy)]
struct Lacking {
    /// So many are known to be in the zone.
    known: i128,
    /// Each is so many rounds old where few are lacking.
    each: i128,
}

impl Lacking {
    /// The sum of the ages of so many: the more are lacking, the more each counts, to a limit.
    fn age(self, count: i128) -> i128 {
        let parts = (LACKING_PART * count).clamp(self.known, LACKING_MAX * self.known);
        self.each * count * parts / self.known.max(1)
    }

    /// So many that the others are most of the zone: a sixth. What is lacking is often a zone below
    /// as a whole, and one three levels below is few, but not one two levels below.
    const fn few(self) -> i128 {
        (self.known + 4) / 6
    }
}

/// How much a row is trusted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Trust {
    Full,
    Less,
}

/// What is known of a zone.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Row {
    pub(crate) mark: Mark,
    /// How many shares are in it.
    pub(crate) count: u32,
    /// The stamp of the oldest of them.
    pub(crate) least: u64,
    /// What they come to.
    pub(crate) body: Body,
}

impl Row {
    /// The highest sum of stamps that is accepted.
    pub(crate) const STAMPS_MAX: u64 = 1 << 62;
    /// The most leaves that are accepted.
    pub(crate) const LEAVES_MAX: u32 = 1 << 20;

    /// The row of one member, as of this round. Without a share it only relays.
    pub(crate) fn leaf(share: Option<Body>, round: Round) -> Self {
        let mark = Mark { stamps: round.0, leaves: 1 };
        match share {
            Some(body) => Self { mark, count: 1, least: round.0, body },
            None => Self { mark, ..Self::default() },
        }
    }

    /// The row of so many members that all have a share of no body, as of this round.
    pub(crate) fn of_leaves(count: u32, round: Round) -> Self {
        let mark = Mark { stamps: u64::from(count) * round.0, leaves: count };
        Self { mark, count, least: round.0, body: Body::default() }
    }

    /// What it says, but for how much it knows.
    pub(crate) fn total(&self) -> Total {
        Total { count: self.count, body: self.body.clone() }
    }

    /// Whether some stamp in it is of a later round than can be.
    pub(crate) fn is_ahead(&self, round: Round) -> bool {
        self.mark.is_ahead(self.least, round)
    }

    /// The aggregate's value, if this is the row of all.
    pub(crate) fn value(&self, summary: Summary) -> Option<f64> {
        self.body.value(summary, self.count)
    }
}

/// What the shares in a zone come to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Total {
    /// How many they are.
    pub(crate) count: u32,
    pub(crate) body: Body,
}

impl Total {
    /// Those of two zones as one. Where their bodies cannot be in one, those shares count that
    /// prevail.
    pub(crate) fn merged(self, other: Self, summary: Summary) -> Self {
        if self.count > 0 && other.count > 0 && self.body.mixes_with(&other.body) {
            let (one, two) = ((&self.body, self.count), (&other.body, other.count));
            return Self {
                count: self.count.saturating_add(other.count).min(Row::LEAVES_MAX),
                body: Body::merged(one, two, summary),
            };
        }
        let is_one = other.count == 0 || self.count > 0 && self.body.prevails_over(&other.body);
        if is_one { self } else { other }
    }

    /// Whether it is so far from another that it is news.
    pub(crate) fn has_moved(&self, other: &Self) -> bool {
        let count = u64::from(self.count.max(other.count));
        u64::from(self.count.abs_diff(other.count)) * NEWS_SHARE > count
            || self.body.has_moved(&other.body)
    }
}

/// What is older than so many rounds is not known any more.
pub(crate) const WINDOW: u64 = 1_024;

/// By how many rounds a row of all members may be older than one that lacks some.
const COMPLETE_ROUNDS: i128 = 16;

/// A member that one of two rows lacks counts as so many rounds old, and so many times the mean age
/// of what one of them knows.
const LACKING_ROUNDS: i128 = 32;
const LACKING_AGES: i128 = 4;

/// If more than one member in so many is lacking each of them counts more: of twice as many twice
/// as much, and so on, but so often at most.
const LACKING_PART: i128 = 32;
const LACKING_MAX: i128 = 3;

/// Who knows of so many, and of one in so many, knows of many.
const KNOWING_MIN: u32 = 16;
const KNOWING_PART: u32 = 4;

/// A change is news if it is more than one part in so many.
const NEWS_SHARE: u64 = 1_000;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use live_objects::sketch::{Distinct, Histogram, Sketch, TopK};
    use live_objects::{Attributes, Column, Function, GroupKey, NodeId, Predicate, Query, Share};
    use proptest::prelude::*;

    /// In the order of their codes.
    pub(crate) const ALL: [Summary; 14] = [
        Summary::Average,
        Summary::Sum,
        Summary::Count,
        Summary::Min,
        Summary::Max,
        Summary::Variance,
        Summary::Quantiles,
        Summary::Distinct,
        Summary::TopK,
        Summary::Highest,
        Summary::Histogram,
        Summary::Rate,
        Summary::Groups,
        Summary::WeightedAverage,
    ];

    pub(crate) fn round(number: u64) -> Round {
        Round::try_from(number).unwrap()
    }

    impl Row {
        /// The row of two zones as one.
        pub(crate) fn merged(self, other: Self, summary: Summary) -> Self {
            let leasts = [&self, &other].into_iter().filter(|row| row.count > 0);
            let least = leasts.map(|row| row.least).min().unwrap_or(0);
            let Total { count, body } = self.total().merged(other.total(), summary);
            Self { mark: self.mark.merged(other.mark), count, least, body }
        }
    }

    pub(crate) fn summaries() -> impl Strategy<Value = Summary> {
        prop::sample::select(ALL.to_vec())
    }

    /// Any row that can be said of an aggregate of this summary.
    pub(crate) fn rows(summary: Summary) -> impl Strategy<Value = Row> {
        let mark = (1..=Row::STAMPS_MAX, 1..=Row::LEAVES_MAX);
        (mark, any::<u32>(), 0..=Round::MAX.0, bodies(summary)).prop_map(
            move |((stamps, leaves), count, least, body)| {
                let (mark, count) = (Mark { stamps, leaves }, count % (leaves + 1));
                if count == 0 {
                    return Row { mark, ..Row::default() };
                }
                Row { mark, count, least, body }
            },
        )
    }

    /// Any share of this summary, or part of one, and others like it as one.
    pub(crate) fn bodies(summary: Summary) -> impl Strategy<Value = Body> {
        let number = prop::num::f64::NORMAL | prop::num::f64::NEGATIVE | prop::num::f64::ZERO;
        let numbers = prop::collection::vec((number, any::<u8>()), 1..20);
        (numbers, any::<prop::sample::Index>(), any::<bool>()).prop_map(move |(numbers, at, is)| {
            let parts: Vec<Vec<Body>> = numbers
                .into_iter()
                .map(|(number, node)| {
                    let me = NodeId::from_bytes([node; NodeId::LEN]);
                    Body::of(&share(summary, number, is), summary, me).expect("it fits")
                })
                .collect();
            let part = at.index(usize::from(summary.parts()));
            let parts = parts.into_iter().map(|mut parts| parts.swap_remove(part));
            let merge = |one: Body, other: Body| Body::merged((&one, 1), (&other, 1), summary);
            parts.reduce(merge).expect("there is one at least")
        })
    }

    /// A share that has to do with this number.
    fn share(summary: Summary, number: f64, is_other: bool) -> Share {
        let bytes = number.to_be_bytes();
        match summary {
            Summary::Distinct => {
                let mut sketch = Distinct::new();
                sketch.insert(&bytes);
                Sketch::Distinct(sketch).into()
            }
            Summary::TopK => {
                let mut sketch = TopK::new();
                sketch.add(&bytes[..usize::from(bytes[1] % 8)], bytes[2].into()).unwrap();
                Sketch::TopK(sketch).into()
            }
            Summary::Histogram => {
                let bounds: &[f64] = if is_other { &[0.0] } else { &[-1.0, 7.5] };
                let mut sketch = Histogram::new(bounds).unwrap();
                sketch.record(number).unwrap();
                Sketch::Histogram(sketch).into()
            }
            Summary::Groups => {
                let load = Column::Of(Function::Percentile(50), "load".to_owned());
                let from = if is_other { "/dc/x" } else { "/dc/*" }.parse().unwrap();
                let key = GroupKey::Attribute("role".to_owned());
                let keys = if is_other { Vec::new() } else { vec![key] };
                let query = Query::new(from, Predicate::all(), keys, vec![load]).unwrap();
                let own = Attributes::default().with("load", number).unwrap();
                let own = own.with("role", f64::from(bytes[1])).unwrap();
                query.share([(&"/dc/x".parse().unwrap(), &own)].into_iter()).unwrap().into()
            }
            _ => Share::new(number).unwrap(),
        }
    }

    #[test]
    fn each_summary_sums_up() {
        let of = |summary, shares: &[f64]| {
            let leaf = |share: &f64| match summary {
                Summary::Count => Row::leaf(Some(Body::Number(0.0)), Round::FIRST),
                _ => Row::leaf(Some(Body::Number(*share)), Round::FIRST),
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
    fn knowledge_makes_a_row_better_and_so_does_freshness() {
        let at = |number: u64| round(u64::from(Round::FIRST) + number);
        let row = |stamps: &[u64]| {
            let leaf = |stamp: &u64| Row::leaf(Some(Body::Number(1.0)), at(*stamp));
            stamps
                .iter()
                .map(leaf)
                .fold(Row::default(), |one, other| one.merged(other, Summary::Sum))
        };
        let now = at(10);
        let is_better = |one: &[u64], other: &[u64], now: Round, known| {
            let (one, other, known) = (row(one), row(other), Headcount::all(known));
            let is_better = one.mark.is_better(other.mark, now, known, Trust::Full);
            assert!(!(is_better && other.mark.is_better(one.mark, now, known, Trust::Full)));
            is_better
        };
        assert!(is_better(&[9, 9], &[9, 8], now, 9));
        assert!(is_better(&[9, 1], &[10], now, 9), "to know one more is more than the last news");
        assert!(is_better(&[1], &[], now, 9) && !is_better(&[], &[1], now, 9));
        assert!(is_better(&[9], &[9, 6], now, 1), "only one of them can be there");
        // Who knows hardly anybody is not better for being young.
        assert!(is_better(&[1; 300], &[200], at(200), 400));
        // While few are lacking freshness is more, but not where more are than one in 32.
        assert!(is_better(&[24; 390], &[12; 400], at(48), 400));
        assert!(is_better(&[12; 400], &[24; 375], at(48), 400));
        // One of many is gone: a round later the row that does without it is better.
        assert!(is_better(&[3; 399], &[2; 400], at(3), 400));
        assert!(is_better(&[2; 400], &[2; 399], at(3), 400));
        // Half of them are: that takes longer.
        assert!(is_better(&[150; 200], &[0; 400], at(160), 400));
        assert!(is_better(&[0; 400], &[90; 200], at(100), 400));
        assert!(is_better(&[0; 400], &[10; 200], at(10), 400));
        assert_eq!([row(&[9, 8]).mark.age(now), row(&[10]).mark.age(now)], [16 + 8, 0]);
        assert!(Mark::default().age(now) > row(&[0]).mark.age(now));
    }

    #[test]
    fn nobody_can_be_far_ahead() {
        let at = |number: u64| round(u64::from(Round::FIRST) + number);
        let leaf = |number: u64| Row::leaf(None, at(number));
        assert!(!leaf(2).is_ahead(at(0)) && leaf(3).is_ahead(at(0)));
        let one = |number| Row::leaf(Some(Body::Number(1.0)), at(number));
        let mut old = one(0).merged(one(9), Summary::Sum);
        assert!(old.is_ahead(at(0)) && !old.is_ahead(at(3)), "together they could be real");
        old.least = at(9).into();
        assert!(old.is_ahead(at(3)));
    }

    #[test]
    fn a_thousandth_is_no_news() {
        let total = |count, number| Total { count, body: Body::Number(number) };
        assert!(!total(2_000, 5.0).has_moved(&total(2_001, 5.004)));
        assert!(total(900, 5.0).has_moved(&total(901, 5.0)));
        assert!(total(1, 5.0).has_moved(&total(1, 5.01)));
        assert!(total(1, 5.0).has_moved(&total(1, -5.0)));
        assert!(!total(0, 0.0).has_moved(&total(0, 0.0)));
    }

    #[test]
    fn rounds_end() {
        assert_eq!(Round::MAX.next(), Round::MAX);
        assert_eq!(Round::try_from(u64::MAX), Err(Absurd::Round(u64::MAX)));
        assert_eq!(Round::MAX.shifted(9), Round::MAX);
        assert_eq!(Round::FIRST.shifted(i64::MIN).since(0), 0);
        assert_eq!([0, 1].map(|it| Round::MAX.after(it)), [Round::MAX, Round::FIRST]);
        assert_eq!(round(5).after(2), round(7));
        assert!(Round::FIRST.after(u64::MAX) <= Round::MAX);
        assert!(round(9).is_ahead_of(round(6)) && !round(9).is_ahead_of(round(7)));
        let mark = Mark { stamps: Row::STAMPS_MAX, leaves: Row::LEAVES_MAX };
        let most = Row { mark, ..Row::default() };
        assert_eq!(most.clone().merged(most, Summary::Sum).mark, mark);
    }

    proptest! {
        #[test]
        fn what_is_merged_keeps_to_the_limits(
            (summary, one, other) in summaries().prop_flat_map(|summary| {
                (Just(summary), rows(summary), rows(summary))
            }),
        ) {
            let merged = one.clone().merged(other.clone(), summary);
            // To the last bit, whoever merges them.
            prop_assert_eq!(&merged, &other.clone().merged(one.clone(), summary));
            prop_assert!(merged.mark.stamps <= Row::STAMPS_MAX);
            prop_assert!(merged.mark.leaves <= Row::LEAVES_MAX);
            prop_assert!(merged.count <= merged.mark.leaves);
            prop_assert!(merged.value(summary).is_none_or(f64::is_finite));
            // None of it overflows.
            let _ = (one.mark.age(Round::MAX), one.mark.age(round(0)));
            let _ = one.total().has_moved(&other.total());
            for (now, known) in [(Round::MAX, 0), (round(0), u32::MAX)] {
                let known = Headcount { is_settled: true, ..Headcount::all(known) };
                for trust in [Trust::Full, Trust::Less] {
                    let _ = one.mark.is_better(other.mark, now, known, trust);
                }
            }
            let _ = one.is_ahead(Round::MAX);
        }
    }
}
