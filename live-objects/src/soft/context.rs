//! Dots and contexts: what was written, each time by a name of its own, and what is known of that.
//!
//! Whoever holds a state open is an *author*; each of its writes is a *dot*, the author and a
//! number that counts its writes. A *context* is a set of dots: all that somebody has seen, whether
//! it still stands or was replaced since. (Almeida, Shoker and Baquero, "Delta state replicated
//! data types", JPDC 2018, section 7.2: there a version vector and a cloud of dots; here spans of
//! numbers by author, which are both in one, and which shrink by themselves when a gap closes.)
//!
//! Invariant: the spans of an author are in order, and between two there is a gap.

use core::fmt;
use core::ops::Range;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::store::READ_BYTES_MAX;

/// Who writes: one opening of the state by one node, by a number drawn at random, and another one
/// after somebody spoke in its name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Author([u8; 8]);

impl Author {
    /// The author of this number.
    pub const fn new(number: u64) -> Self {
        Self(number.to_be_bytes())
    }
}

impl fmt::Debug for Author {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

/// One write.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Dot {
    /// Whose.
    pub author: Author,
    /// Which of its writes, counted from 1.
    pub number: u64,
}

impl Dot {
    /// What it counts for in a sum of dots.
    pub(super) const fn hash(self) -> u64 {
        mix(u64::from_be_bytes(self.author.0) ^ mix(self.number))
    }
}

/// A set of dots.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "FlatContext", into = "FlatContext")]
pub struct Context {
    /// Of each author, from which number to which.
    spans: BTreeMap<Author, Vec<Span>>,
}

/// The first number and the last.
type Span = (u64, u64);

/// As it travels.
#[derive(Serialize, Deserialize)]
pub(super) struct FlatContext(Vec<(Author, Vec<Span>)>);

impl Context {
    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Whether it holds this dot.
    pub fn has(&self, dot: Dot) -> bool {
        let Some(spans) = self.spans.get(&dot.author) else { return false };
        let at = spans.partition_point(|(_, last)| *last < dot.number);
        spans.get(at).is_some_and(|(first, _)| *first <= dot.number)
    }

    /// Whether it holds all that another does.
    pub fn covers(&self, other: &Self) -> bool {
        other.without(self).is_empty()
    }

    /// The last number of an author in it; 0 if there is none.
    pub fn last(&self, author: Author) -> u64 {
        self.spans.get(&author).and_then(|spans| spans.last()).map_or(0, |(_, last)| *last)
    }

    /// Those of its dots whose authors another knows too.
    pub(super) fn of_authors(&self, other: &Self) -> Self {
        let both = self.spans.iter().filter(|(author, _)| other.spans.contains_key(author));
        Self { spans: both.map(|(author, spans)| (*author, spans.clone())).collect() }
    }

    /// The authors of its dots, in order.
    pub(super) fn authors(&self) -> impl Iterator<Item = Author> {
        self.spans.keys().copied()
    }

    /// Its dots as spans: the author, the first number, the last.
    pub(super) fn spans(&self) -> impl Iterator<Item = (Author, u64, u64)> {
        self.spans.iter().flat_map(|(author, spans)| {
            spans.iter().map(move |(first, last)| (*author, *first, *last))
        })
    }

    pub(super) fn add(&mut self, dot: Dot) {
        self.add_span(dot.author, dot.number, dot.number);
    }

    /// Adds all dots of another. Of each author that takes one pass, however many spans there are:
    /// if they were added one by one, each would move all behind it.
    pub(super) fn merge(&mut self, other: &Self) {
        for (author, theirs) in &other.spans {
            if let [(first, last)] = theirs[..] {
                self.add_span(*author, first, last);
            } else {
                let spans = self.spans.entry(*author).or_default();
                *spans = union(spans, theirs);
            }
        }
    }

    /// Adds these. To add many so, other than in their order, takes long.
    pub(super) fn add_span(&mut self, author: Author, first: u64, last: u64) {
        let spans = self.spans.entry(author).or_default();
        let at = met(spans, first, last);
        let met = &spans[at.clone()];
        let first = met.first().map_or(first, |(its_first, _)| first.min(*its_first));
        let last = met.last().map_or(last, |(_, its_last)| last.max(*its_last));
        spans.splice(at, [(first, last)]);
    }

    /// The dots that another does not hold.
    pub(super) fn without(&self, other: &Self) -> Self {
        let mut rest = Self::default();
        for (author, mut first, last) in self.spans() {
            let theirs = other.spans.get(&author).map_or(&[][..], Vec::as_slice);
            let from = theirs.partition_point(|(_, its_last)| *its_last < first);
            for (its_first, its_last) in theirs[from..].iter().take_while(|span| span.0 <= last) {
                if first < *its_first {
                    rest.add_span(author, first, its_first - 1);
                }
                first = its_last + 1;
            }
            if first <= last {
                rest.add_span(author, first, last);
            }
        }
        rest
    }

    /// What it counts for: the most bytes that it takes when written, but for how many authors
    /// there are.
    pub fn size(&self) -> usize {
        self.spans.values().map(|spans| size_of_spans(spans.len())).sum()
    }

    /// What it would count for with all dots of another.
    pub fn size_with(&self, other: &Self) -> usize {
        other.spans.iter().fold(self.size(), |size, (author, theirs)| {
            let Some(ours) = self.spans.get(author) else {
                return size + size_of_spans(theirs.len());
            };
            let both = match theirs[..] {
                [(first, last)] => 1 + ours.len() - met(ours, first, last).len(),
                _ => union(ours, theirs).len(),
            };
            size - size_of_spans(ours.len()) + size_of_spans(both)
        })
    }

    /// A number that is the same for equal contexts.
    pub(super) fn hash(&self) -> u64 {
        let fold = |hash, (author, first, last): (Author, u64, u64)| {
            let begin = Dot { author, number: first }.hash();
            mix(hash ^ begin) ^ Dot { author, number: last }.hash()
        };
        self.spans().fold(0, fold)
    }
}

impl FromIterator<Dot> for Context {
    fn from_iter<I: IntoIterator<Item = Dot>>(dots: I) -> Self {
        let mut dots: Vec<Dot> = dots.into_iter().collect();
        dots.sort_unstable();
        let mut context = Self::default();
        dots.into_iter().for_each(|dot| context.add(dot));
        context
    }
}

/// Where those are that a span meets or touches, which become one with it.
fn met(spans: &[Span], first: u64, last: u64) -> Range<usize> {
    let begin = spans.partition_point(|(_, its_last)| its_last + 1 < first);
    let end = spans.partition_point(|(its_first, _)| *its_first <= last + 1);
    begin..end
}

/// What so many spans of one author count for, with the author.
const fn size_of_spans(spans: usize) -> usize {
    AUTHOR_BYTES + spans * SPAN_BYTES
}

/// The spans of both, in order, where those that meet or touch are one.
fn union(some: &[Span], others: &[Span]) -> Vec<Span> {
    let (mut some, mut others) = (some.iter().peekable(), others.iter().peekable());
    let in_order = std::iter::from_fn(|| {
        let first = some.next_if(|span| others.peek().is_none_or(|other| span < other));
        first.or_else(|| others.next())
    });
    let mut both: Vec<Span> = Vec::new();
    for (first, last) in in_order {
        match both.last_mut() {
            Some((_, its_last)) if *first <= *its_last + 1 => *its_last = *last.max(its_last),
            _ => both.push((*first, *last)),
        }
    }
    both
}

/// What was to be a context is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("the spans of a context are not in order, or too many")]
pub(super) struct Disorder;

impl TryFrom<FlatContext> for Context {
    type Error = Disorder;

    fn try_from(FlatContext(flat): FlatContext) -> Result<Self, Disorder> {
        let is_right = |spans: &[(u64, u64)]| {
            let is_span = |(first, last): &(u64, u64)| 0 < *first && first <= last;
            let is_apart = |pair: &[(u64, u64)]| pair[0].1 < pair[1].0 - 1;
            let ends = spans.last().is_some_and(|(_, last)| *last < NUMBER_MAX);
            ends && spans.iter().all(is_span) && spans.windows(2).all(is_apart)
        };
        let are_sorted = flat.windows(2).all(|pair| pair[0].0 < pair[1].0);
        if !are_sorted || !flat.iter().all(|(_, spans)| is_right(spans)) {
            return Err(Disorder);
        }
        let context = Self { spans: flat.into_iter().collect() };
        if context.size() > READ_BYTES_MAX {
            return Err(Disorder);
        }
        Ok(context)
    }
}

impl From<Context> for FlatContext {
    fn from(context: Context) -> Self {
        Self(context.spans.into_iter().collect())
    }
}

/// The finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): each bit of the result depends
/// on all bits of what went in.
pub(super) const fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

/// The most that an author takes when written, and how many spans it has.
const AUTHOR_BYTES: usize = 8 + 3;

/// The most that a span takes when written: two numbers below [`NUMBER_MAX`].
const SPAN_BYTES: usize = 9 + 9;

/// No write has so high a number.
const NUMBER_MAX: u64 = 1 << 62;

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    pub(in crate::soft) fn dot(author: u64, number: u64) -> Dot {
        Dot { author: Author::new(author), number }
    }

    fn dots() -> impl Strategy<Value = BTreeSet<(u64, u64)>> {
        prop::collection::btree_set((0..3_u64, 1..20_u64), 0..30)
    }

    /// Of one author each second number, so many of them.
    fn gapped(first: u64, count: u64) -> Context {
        let spans = (0..count).map(|at| first + 2 * at).map(|number| (number, number));
        Context { spans: [(Author::new(1), spans.collect())].into() }
    }

    fn context(dots: &BTreeSet<(u64, u64)>) -> Context {
        let mut context = Context::default();
        dots.iter().rev().for_each(|(author, number)| context.add(dot(*author, *number)));
        context
    }

    proptest! {
        #[test]
        fn it_is_a_set(some in dots(), others in dots()) {
            let (one, other) = (context(&some), context(&others));
            for author in 0..3 {
                for number in 0..22 {
                    let is_in = some.contains(&(author, number));
                    prop_assert_eq!(one.has(dot(author, number)), is_in);
                }
            }
            let mut both = one.clone();
            both.merge(&other);
            prop_assert_eq!(&both, &context(&some.union(&others).copied().collect()));
            let all = some.iter().chain(&others).rev().map(|it| dot(it.0, it.1));
            prop_assert_eq!(&both, &all.collect());
            let rest = some.difference(&others).copied().collect();
            prop_assert_eq!(&one.without(&other), &context(&rest));
            prop_assert_eq!(one.covers(&other), others.is_subset(&some));
            prop_assert_eq!(one.size_with(&other), both.size());
            prop_assert_eq!(one.hash() == other.hash(), one == other);
        }

        #[test]
        fn it_is_read_as_written(some in dots()) {
            let one = context(&some);
            let bytes = postcard::to_allocvec(&one).unwrap();
            prop_assert_eq!(postcard::from_bytes::<Context>(&bytes), Ok(one));
        }
    }

    /// Span by span this would move terabytes.
    #[test]
    fn contexts_of_many_gaps_merge_in_one_pass() {
        let (mut odd, even) = (gapped(1, 500_000), gapped(2, 500_000));
        odd.merge(&even);
        assert_eq!(odd.spans[&Author::new(1)], [(1, 1_000_000)]);
        let (mut some, others) = (gapped(1, 500_000), gapped(1_000_001, 500_000));
        some.merge(&others);
        assert_eq!(some, gapped(1, 1_000_000));
    }

    #[test]
    fn it_takes_no_more_than_it_counts_for() {
        let far = |author: u64| {
            let count = if author == 0 { 20_000 } else { 1 };
            let numbers = (0..count).map(|at| NUMBER_MAX - 2 * (count - at));
            (Author::new(author), numbers.map(|number| (number, number)).collect())
        };
        let context = Context { spans: (0..20_000).map(far).collect() };
        let len = postcard::to_allocvec(&context).unwrap().len();
        assert!((context.size() / 10 * 9..=context.size() + 3).contains(&len), "{len}");
    }

    #[test]
    fn what_is_longer_than_any_is_refused() {
        let most = (READ_BYTES_MAX - gapped(1, 1).size()) / SPAN_BYTES + 1;
        let read = |count| Context::try_from(FlatContext::from(gapped(1, count)));
        assert!(read(most as u64).is_ok());
        assert_eq!(read(most as u64 + 1), Err(Disorder));
    }

    #[test]
    fn what_is_not_in_order_is_refused() {
        let author = Author::new(1);
        let refused = |spans: &[(u64, u64)]| {
            let flat = FlatContext(vec![(author, spans.to_vec())]);
            assert_eq!(Context::try_from(flat), Err(Disorder), "{spans:?}");
        };
        refused(&[]);
        refused(&[(0, 3)]);
        refused(&[(3, 2)]);
        refused(&[(1, 2), (3, 4)]);
        refused(&[(3, 4), (1, 1)]);
        refused(&[(1, u64::MAX)]);
        let twice = vec![(author, vec![(1, 1)]), (author, vec![(3, 3)])];
        assert_eq!(Context::try_from(FlatContext(twice)), Err(Disorder));
    }
}
