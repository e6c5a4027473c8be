//! How often, how long, how many: the numbers of the protocol that may be chosen.
//!
//! All spans are counted in *periods*, as in SWIM (DSN 2002, section 4), so that one number makes
//! the whole protocol faster and dearer or slower and cheaper. Nodes of a cluster should have the
//! same configuration. They must have the same period, in which the rounds and ages of aggregates
//! are counted; nothing breaks if the rest is not the same, since no other span is ever compared
//! between nodes.

use core::time::Duration;

use thiserror::Error;

use crate::members::MEMBERS_MAX;

/// The numbers of the protocol. Change some by `Config { helpers: 5, ..Config::with_period(period)
/// }`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Config {
    /// How often a node starts an exchange with a partner, while there is something to say.
    pub period: Duration,
    /// How many periods it is from one exchange to the next where there is nothing to say: 1 to
    /// [`Config::STRETCH_MAX`]. With aggregates it is three fifths of that.
    pub stretch: u32,
    /// How long a probe waits for its answer before the partner is asked again, which goes on every
    /// half period. It should be above most round trips, and is at most
    /// [`Config::ACK_PERIODS_MAX`] periods.
    pub ack_timeout: Duration,
    /// How many others are asked to probe a partner that did not answer, each of three times: 1 to
    /// [`Config::HELPERS_MAX`].
    pub helpers: usize,
    /// For how many periods a suspected member may object, in a cluster of up to some three
    /// hundred; in larger ones, since news takes longer, it is so many times 0.4 times the decimal
    /// logarithm of their number.
    pub suspicion_periods: u32,
    /// How often a node passes a piece of news on, times the binary logarithm of the number of
    /// members: 1 to [`Config::RETRANSMIT_MULT_MAX`]. SWIM calls it λ.
    pub retransmit_mult: u32,
    /// Up to how many members a node keeps all of: 1 to [`Config::WHOLE_MAX_MAX`]. In a larger
    /// cluster it keeps its neighbourhood, about the root of their number, and a few of each other
    /// one; but of up to 128 members all keep all. Where all keep all they go on with that until
    /// there are a tenth more.
    pub whole_max: usize,
}

impl Config {
    /// The longest `ack_timeout`, in periods.
    pub const ACK_PERIODS_MAX: u32 = ACK_PERIODS_MAX;
    /// The highest `stretch`.
    pub const STRETCH_MAX: u32 = 1_000;
    /// The highest `helpers`.
    pub const HELPERS_MAX: usize = 16;
    /// The longest `suspicion_periods`.
    pub const SUSPICION_PERIODS_MAX: u32 = 10_000;
    /// The highest `retransmit_mult`.
    pub const RETRANSMIT_MULT_MAX: u32 = 6;
    /// The highest `whole_max`.
    pub const WHOLE_MAX_MAX: usize = MEMBERS_MAX;

    /// Up to how many members a node goes on keeping all where all do: in a cluster of about
    /// `whole_max` it would let go of some with each that comes before another is known to be gone.
    /// It is less than a table has room for, or none would ever be let go.
    pub(crate) fn whole_while_all(&self) -> usize {
        (self.whole_max + self.whole_max / 10).min(Self::WHOLE_MAX_MAX - 1)
    }

    /// The defaults for another period.
    pub const fn with_period(period: Duration) -> Self {
        // Half a period.
        let ack_timeout = Duration::from_micros(period.as_micros() as u64 / 2);
        let (stretch, helpers, suspicion_periods, retransmit_mult) = (5, 3, 10, 3);
        let whole_max = 10_000;
        Self {
            period,
            stretch,
            ack_timeout,
            helpers,
            suspicion_periods,
            retransmit_mult,
            whole_max,
        }
    }

    /// Whether the protocol works with these numbers.
    pub(crate) fn checked(self) -> Result<Self, ConfigError> {
        let ack_max = self.period.saturating_mul(Self::ACK_PERIODS_MAX);
        if self.period < PERIOD_MIN || self.period > PERIOD_MAX {
            Err(ConfigError::Period(self.period))
        } else if !(1..=Self::STRETCH_MAX).contains(&self.stretch) {
            Err(ConfigError::Stretch(self.stretch))
        } else if self.ack_timeout.is_zero() || self.ack_timeout > ack_max {
            Err(ConfigError::AckTimeout(self.ack_timeout))
        } else if !(1..=Self::HELPERS_MAX).contains(&self.helpers) {
            Err(ConfigError::Helpers(self.helpers))
        } else if !(1..=Self::SUSPICION_PERIODS_MAX).contains(&self.suspicion_periods) {
            Err(ConfigError::SuspicionPeriods(self.suspicion_periods))
        } else if !(1..=Self::RETRANSMIT_MULT_MAX).contains(&self.retransmit_mult) {
            Err(ConfigError::RetransmitMult(self.retransmit_mult))
        } else if !(1..=Self::WHOLE_MAX_MAX).contains(&self.whole_max) {
            Err(ConfigError::WholeMax(self.whole_max))
        } else {
            Ok(self)
        }
    }

    /// How long a suspected member has to object, in a cluster of this many.
    pub(crate) fn suspicion(&self, members: usize) -> Duration {
        let millis = self.period * self.suspicion_periods / 1_000;
        millis * (log10_thousandths(members) * 2 / 5).max(1_000)
    }

    /// How often a piece of news is passed on, in a cluster of this many: the mult times log2,
    /// rounded up, which is the log2 of the power.
    pub(crate) fn sent_max(&self, members: usize) -> u32 {
        (members as u128 + 1).pow(self.retransmit_mult).next_power_of_two().ilog2()
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::with_period(Duration::from_millis(200))
    }
}

/// Why a configuration was refused. The caller's fault; nothing was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum ConfigError {
    /// The period is out of bounds.
    #[error("a period of {0:?}: choose {PERIOD_MIN:?} to {PERIOD_MAX:?}")]
    Period(Duration),
    /// The stretch of periods is out of bounds.
    #[error("a stretch of {0}: choose 1 to {max}", max = Config::STRETCH_MAX)]
    Stretch(u32),
    /// The time for an answer is out of bounds.
    #[error("an ack_timeout of {0:?}: choose above 0, to {ACK_PERIODS_MAX} periods")]
    AckTimeout(Duration),
    /// The number of helpers is out of bounds.
    #[error("{0} helpers: choose 1 to {max}", max = Config::HELPERS_MAX)]
    Helpers(usize),
    /// The time to object is out of bounds.
    #[error("{0} suspicion_periods: choose 1 to {max}", max = Config::SUSPICION_PERIODS_MAX)]
    SuspicionPeriods(u32),
    /// The number of times that news is passed on is out of bounds.
    #[error("a retransmit_mult of {0}: choose 1 to {max}", max = Config::RETRANSMIT_MULT_MAX)]
    RetransmitMult(u32),
    /// The number of members that are all kept is out of bounds.
    #[error("a whole_max of {0}: choose 1 to {max}", max = Config::WHOLE_MAX_MAX)]
    WholeMax(usize),
}

/// A thousand times the decimal logarithm, within 45, by integers: logarithms of floating point
/// differ between machines, and a run must not. `n` is at most 2^18, so that its seventh power
/// fits.
fn log10_thousandths(n: usize) -> u32 {
    assert!(n < 1 << 18, "a cluster of {n}, larger than any table");
    // log10 n = log2(n^7) / 7 * log10 2, and log10 2 / 7 = 0.0430…
    (n.max(1) as u128).pow(7).ilog2() * 43
}

const ACK_PERIODS_MAX: u32 = 16;
const PERIOD_MIN: Duration = Duration::from_millis(1);
const PERIOD_MAX: Duration = Duration::from_secs(3_600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suspicion_grows_with_the_cluster() {
        let config = Config::default();
        assert_eq!(config.suspicion(1), Duration::from_secs(2));
        assert_eq!(config.suspicion(10), Duration::from_secs(2));
        let exact = |n: usize| Duration::from_secs_f64(2.0 * (0.4 * (n as f64).log10()).max(1.0));
        for n in [11, 57, 100, 999, 1_000, 10_000, 65_536] {
            assert!(exact(n) - config.suspicion(n) < Duration::from_millis(100), "{n}");
        }
    }

    #[test]
    fn news_is_passed_on_by_the_logarithm() {
        let config = Config::default();
        let exact = |n: usize| (3.0 * (n as f64 + 1.0).log2()).ceil() as u32;
        for n in [1, 2, 3, 9, 100, 1_000, 65_536] {
            assert_eq!(config.sent_max(n), exact(n), "{n}");
        }
        assert_eq!(config.sent_max(1_000), 30);
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let good = Config::default();
        let refused = |config: Config| config.checked().expect_err("refused");
        assert_eq!(good.checked(), Ok(good));
        let zero = Duration::ZERO;
        assert_eq!(refused(Config { period: zero, ..good }), ConfigError::Period(zero));
        assert_eq!(refused(Config { stretch: 0, ..good }), ConfigError::Stretch(0));
        let long = good.period * (Config::ACK_PERIODS_MAX + 1);
        assert_eq!(refused(Config { ack_timeout: long, ..good }), ConfigError::AckTimeout(long));
        assert_eq!(refused(Config { helpers: 0, ..good }), ConfigError::Helpers(0));
        let forever = u32::MAX;
        let config = Config { suspicion_periods: forever, ..good };
        assert_eq!(refused(config), ConfigError::SuspicionPeriods(forever));
        assert_eq!(refused(Config { retransmit_mult: 7, ..good }), ConfigError::RetransmitMult(7));
        for wrong in [0, Config::WHOLE_MAX_MAX + 1] {
            let config = Config { whole_max: wrong, ..good };
            assert_eq!(refused(config), ConfigError::WholeMax(wrong));
        }
    }

    /// However many a node may keep, its table has room for one that is too many.
    #[test]
    fn there_is_room_for_one_too_many() {
        let up_to = |whole_max| Config { whole_max, ..Config::default() }.whole_while_all();
        assert_eq!([1, 200, 10_000].map(up_to), [1, 220, 11_000]);
        assert!([60_000, Config::WHOLE_MAX_MAX].map(up_to).iter().all(|it| *it < MEMBERS_MAX));
    }
}
