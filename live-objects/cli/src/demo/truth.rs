//! The mean load as it is, against what the tills know of it.
//!
//! All tills set a share every two seconds. Between a set and the next, what each till knows is
//! compared with the mean of what was set; but not while a change has had no time to get around:
//! for five periods after a set, from the kill until every till has heard of it, and for ten
//! periods after a join, or the coming and going of a node that just looks on.

/// The judge of what tills say of the load.
#[derive(Default)]
pub(super) struct Truth {
    mean: f64,
    /// From when, and until when, tills are to know it, in milliseconds since 1970.
    from_ms: Option<u64>,
    /// Whether some till is yet to hear who is in.
    is_shaken: bool,
    settled_ms: u64,
    pub(super) samples: u64,
    pub(super) error_max: f64,
}

impl Truth {
    /// New shares are being set.
    pub(super) fn set(&mut self) {
        self.from_ms = None;
    }

    /// The shares are set, the last of them then.
    pub(super) fn is_set(&mut self, shares: &[f64], at_ms: u64) {
        self.change(shares);
        self.from_ms = Some(at_ms + 5 * PERIOD_MS);
    }

    pub(super) fn is_being_set(&self) -> bool {
        self.from_ms.is_none()
    }

    /// A till was killed: what is known of it is wrong until all have heard.
    pub(super) fn shake(&mut self) {
        self.is_shaken = true;
    }

    /// All have heard. What they know is right so many periods after that moment.
    pub(super) fn settle(&mut self, at_ms: u64, periods: u64) {
        self.is_shaken = false;
        self.settled_ms = self.settled_ms.max(at_ms + periods * PERIOD_MS);
    }

    /// A till has heard that somebody who looks on came or went.
    pub(super) fn jostle(&mut self, at_ms: u64) {
        self.settled_ms = self.settled_ms.max(at_ms + JOIN_PERIODS * PERIOD_MS);
    }

    /// What a till knew then. The mean of those who live may have changed since the last set.
    pub(super) fn compare(&mut self, at_ms: u64, average: f64) {
        let is_due = self.from_ms.is_some_and(|from| at_ms >= from);
        if is_due && !self.is_shaken && at_ms >= self.settled_ms {
            self.samples += 1;
            self.error_max = self.error_max.max((average - self.mean).abs());
        }
    }

    /// These are the shares of those who live.
    pub(super) fn change(&mut self, shares: &[f64]) {
        self.mean = shares.iter().sum::<f64>() / shares.len() as f64;
    }

    pub(super) fn mean(&self) -> f64 {
        self.mean
    }
}

const PERIOD_MS: u64 = 200;

/// In how many periods all know again what they knew before somebody came.
pub(super) const JOIN_PERIODS: u64 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_too_early_does_not_count() {
        let mut truth = Truth::default();
        truth.compare(10_000, 99.0);
        truth.is_set(&[10.0, 20.0], 10_000);
        truth.compare(10_999, 99.0);
        assert_eq!(truth.samples, 0);
        truth.compare(11_000, 15.5);
        assert_eq!((truth.samples, truth.error_max), (1, 0.5));
        truth.shake();
        truth.change(&[10.0]);
        truth.compare(11_500, 99.0);
        truth.settle(12_000, 0);
        truth.compare(11_999, 99.0);
        truth.compare(12_000, 10.0);
        assert_eq!((truth.samples, truth.error_max), (2, 0.5));
        truth.shake();
        truth.jostle(10_000);
        truth.compare(12_000, 99.0);
        truth.settle(13_000, 0);
        truth.jostle(13_000);
        truth.compare(14_999, 99.0);
        truth.set();
        truth.compare(15_000, 99.0);
        assert_eq!(truth.samples, 2);
    }
}
