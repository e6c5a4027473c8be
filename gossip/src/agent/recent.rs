//! What a holder added to its share of an aggregate, of which each piece may count for a while
//! only.
//!
//! The span is cut into tenths. What is added within one is kept as one, so that a stream of any
//! rate takes the room of eleven shares; it counts until the span is over since the end of its
//! tenth. (That is how a sliding window is mostly made where it need not be exact.)
//!
//! Invariant: there are no more than [`SLICES_MAX`] slices, the newest last, all of one kind.

use core::time::Duration;
use std::collections::VecDeque;

use live_objects::sketch::{Quantiles, Sketch};
use live_objects::{Share, Summary, Time};

/// What was added and counts still.
#[derive(Default)]
pub(super) struct Recent {
    span: Option<Duration>,
    /// By the number of their tenths.
    slices: VecDeque<(u128, Share)>,
}

impl Recent {
    /// Adds to it. From now on all count for this span. Says whether it could be added.
    pub(super) fn add(
        &mut self,
        now: Time,
        summary: Summary,
        share: &Share,
        span: Option<Duration>,
    ) -> bool {
        let share = match share.number() {
            Some(number) if summary == Summary::Quantiles => {
                let mut one = Quantiles::new();
                one.record(number).expect("a share's number is finite");
                &Sketch::Quantiles(one).into()
            }
            Some(number) if summary == Summary::WeightedAverage => {
                &Share::weighted(number, 1.0).expect("a share's number is finite")
            }
            _ => share,
        };
        // A rate is of a time.
        if summary == Summary::Rate && span.is_none_or(|span| span.is_zero()) {
            return false;
        }
        self.forget(now);
        let is_like = |(_, last): &(u128, Share)| together(summary, last, share).is_some();
        if !self.slices.back().is_none_or(is_like) {
            return false;
        }
        let slice = slice(now, span);
        if span != self.span {
            self.slices = self.all(summary).map(|all| (slice, all)).into_iter().collect();
            self.span = span;
        }
        match self.slices.back_mut() {
            Some((of, sum)) if *of == slice => {
                *sum = together(summary, sum, share).expect("all are alike");
            }
            _ => self.slices.push_back((slice, share.clone())),
        }
        true
    }

    /// Forgets what does not count any more. Says whether there was something.
    pub(super) fn forget(&mut self, now: Time) -> bool {
        let (now, before) = (slice(now, self.span), self.slices.len());
        self.slices.retain(|(of, _)| now.saturating_sub(*of) <= SLICES.into());
        assert!(self.slices.len() <= SLICES_MAX, "a slice for each tenth");
        self.slices.len() != before
    }

    /// What all of it comes to; of a rate, in a second. None if it is nothing.
    pub(super) fn share(&self, now: Time, summary: Summary) -> Option<Share> {
        let sum = self.all(summary)?;
        match self.span {
            Some(span) if summary == Summary::Rate => {
                // All tenths, and what is over of this one.
                let nanos = now.since(Time::ZERO).as_nanos() % tenth(span) + span.as_nanos();
                sum.scaled(1e9 / nanos as f64)
            }
            _ => Some(sum),
        }
    }

    fn all(&self, summary: Summary) -> Option<Share> {
        let shares = self.slices.iter().map(|(_, share)| share.clone());
        shares.reduce(|sum, share| together(summary, &sum, &share).expect("all are alike"))
    }
}

/// What two shares of one node are together. None if they are not of one kind.
fn together(summary: Summary, one: &Share, other: &Share) -> Option<Share> {
    let (first, second) = (one.number(), other.number());
    match (summary, first.zip(second)) {
        (Summary::Min, Some((first, second))) => Share::new(first.min(second)).ok(),
        (Summary::Max, Some((first, second))) => Share::new(first.max(second)).ok(),
        _ => one.joined(other),
    }
}

/// The number of the tenth that it is now.
fn slice(now: Time, span: Option<Duration>) -> u128 {
    span.map_or(0, |span| now.since(Time::ZERO).as_nanos() / tenth(span))
}

/// In nanoseconds.
fn tenth(span: Duration) -> u128 {
    (span.as_nanos() / u128::from(SLICES)).max(1)
}

const SLICES: u8 = 10;

/// All tenths of a span, and the one that is not over.
const SLICES_MAX: usize = SLICES as usize + 1;

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Option<Duration> = Some(Duration::from_secs(10));

    fn at(tenths: u64) -> Time {
        Time::ZERO + Duration::from_millis(100 * tenths)
    }

    fn number(number: f64) -> Share {
        Share::new(number).unwrap()
    }

    #[test]
    fn a_rate_is_what_was_added_within_the_span() {
        let mut recent = Recent::default();
        let told = |recent: &Recent, tenths: u64| {
            recent.share(at(tenths), Summary::Rate).and_then(|it| it.number())
        };
        assert_eq!(told(&recent, 0), None);
        for tenth in 0..308 {
            assert!(recent.add(at(tenth), Summary::Rate, &number(2.0), SPAN));
            assert!(recent.slices.len() <= SLICES_MAX);
        }
        let rate = told(&recent, 308).unwrap();
        assert!((19.9..=20.1).contains(&rate), "{rate} a second");
        assert!(!recent.forget(at(309)));
        assert!(recent.forget(at(350)) && told(&recent, 350).unwrap() < 12.5);
        recent.forget(at(420));
        assert_eq!(told(&recent, 420), None);
        assert!(!recent.add(at(1), Summary::Rate, &number(2.0), None), "a rate has a span");
    }

    #[test]
    fn without_a_span_all_counts_for_good() {
        let mut recent = Recent::default();
        for value in 1..=3 {
            assert!(recent.add(at(9_999 * value), Summary::Quantiles, &number(1.0), None));
        }
        let all = recent.share(at(0), Summary::Quantiles).unwrap();
        let Some(Sketch::Quantiles(all)) = all.sketch() else { panic!("{all:?}") };
        assert_eq!((all.count(), recent.slices.len()), (3, 1));
    }

    #[test]
    fn another_span_holds_for_all() {
        let mut recent = Recent::default();
        let sum = |recent: &Recent| recent.share(at(0), Summary::Sum).and_then(|it| it.number());
        assert!(recent.add(at(0), Summary::Sum, &number(1.0), None));
        assert!(recent.add(at(100), Summary::Sum, &number(2.0), SPAN));
        assert_eq!(sum(&recent), Some(3.0));
        assert!(recent.forget(at(300)));
        assert_eq!(sum(&recent), None);
    }

    /// However often it is another, there are as many slices as there are tenths.
    #[test]
    fn spans_that_change_leave_no_slices_behind() {
        let mut recent = Recent::default();
        let spans = [SPAN, Some(Duration::from_secs(100)), None, SPAN.map(|span| span / 2)];
        for tenth in 0..400 {
            let span = spans[tenth as usize / 15 % spans.len()];
            assert!(recent.add(at(10 * tenth), Summary::Sum, &number(1.0), span));
            assert!(recent.slices.len() <= SLICES_MAX);
        }
        let share = recent.share(at(4_000), Summary::Sum).and_then(|it| it.number());
        assert!(share.is_some_and(|share| share >= 10.0), "{share:?}");
    }

    #[test]
    fn the_least_and_the_greatest_are_of_the_span() {
        for (summary, of_both, of_last) in [(Summary::Min, 3.0, 5.0), (Summary::Max, 9.0, 7.0)] {
            let mut recent = Recent::default();
            let told = |recent: &Recent| recent.share(at(0), summary).and_then(|it| it.number());
            for value in [9.0, 3.0] {
                assert!(recent.add(at(0), summary, &number(value), SPAN));
            }
            for value in [5.0, 7.0] {
                assert!(recent.add(at(60), summary, &number(value), SPAN));
            }
            assert_eq!(told(&recent), Some(of_both));
            assert!(recent.forget(at(120)));
            assert_eq!(told(&recent), Some(of_last));
        }
    }

    #[test]
    fn a_number_without_a_weight_weighs_one() {
        let (mut recent, summary) = (Recent::default(), Summary::WeightedAverage);
        assert!(recent.add(at(0), summary, &number(1.0), SPAN));
        assert!(recent.add(at(60), summary, &Share::weighted(4.0, 2.0).unwrap(), SPAN));
        let mean = |recent: &Recent| {
            let share = recent.share(at(60), summary);
            share.and_then(|share| share.as_weighted()?.mean())
        };
        assert_eq!(mean(&recent), Some(3.0));
        assert!(recent.forget(at(120)));
        assert_eq!(mean(&recent), Some(4.0));
    }

    #[test]
    fn what_is_of_another_kind_is_not_added() {
        let mut recent = Recent::default();
        assert!(recent.add(at(0), Summary::Sum, &number(1.0), SPAN));
        let sketch = Share::from(Sketch::Quantiles(Quantiles::new()));
        assert!(!recent.add(at(0), Summary::Sum, &sketch, SPAN));
    }
}
