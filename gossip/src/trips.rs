//! Round trips that were measured: the last few of each member that was met lately.
//!
//! Packets wait in queues, so a round trip is at least as long as the way, and now and then much
//! longer. What counts is a low one of the last few (the moving percentile filter of Ledlie,
//! Gardner and Seltzer, NSDI 2007, section 4.1: the 25th of four, here of up to eight).
//!
//! Invariant: the table has at most [`TRIPS_MAX`] members, those met last.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use live_objects::NodeId;

use crate::zones::row::Round;

/// The round trips of a few members.
#[derive(Default)]
pub(crate) struct Trips(BTreeMap<NodeId, Trip>);

struct Trip {
    /// The last heard last.
    heard: VecDeque<Duration>,
    /// In which round it was last measured, or was to be.
    last: Round,
    /// How often it was asked for the sake of this table.
    asked: u32,
}

/// What the last few come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Measured {
    pub(crate) round_trip: Duration,
    /// By how much a single one was off, on average. Of a first one, half of it (RFC 6298, section
    /// 2.2).
    pub(crate) error: Duration,
}

impl Trips {
    /// A round trip to this member took so long; gives what that comes to with those before.
    pub(crate) fn measure(&mut self, node: NodeId, round_trip: Duration, round: Round) -> Measured {
        let trip = self.trip(node, round);
        if trip.heard.len() == HEARD_MAX {
            trip.heard.pop_front();
        }
        trip.heard.push_back(round_trip);
        trip.measured().expect("one at least")
    }

    /// This member is about to be asked, to be measured.
    pub(crate) fn ask(&mut self, node: NodeId, round: Round) {
        self.trip(node, round).asked += 1;
    }

    /// How often it was asked, and when it was last met; none if that is long ago.
    pub(crate) fn asked(&self, node: NodeId) -> Option<(u32, Round)> {
        self.0.get(&node).map(|trip| (trip.asked, trip.last))
    }

    /// What is measured of a member.
    pub(crate) fn of(&self, node: NodeId) -> Option<Measured> {
        self.0.get(&node).and_then(Trip::measured)
    }

    /// A member is gone.
    pub(crate) fn forget(&mut self, node: NodeId) {
        self.0.remove(&node);
    }

    fn trip(&mut self, node: NodeId, round: Round) -> &mut Trip {
        if self.0.len() == TRIPS_MAX && !self.0.contains_key(&node) {
            let oldest = self.0.iter().min_by_key(|(_, trip)| trip.last);
            let oldest = *oldest.expect("the table is full").0;
            self.0.remove(&oldest);
        }
        let fresh = Trip { heard: VecDeque::new(), last: round, asked: 0 };
        let trip = self.0.entry(node).or_insert(fresh);
        trip.last = trip.last.max(round);
        trip
    }
}

impl Trip {
    fn measured(&self) -> Option<Measured> {
        let mut sorted: Vec<Duration> = self.heard.iter().copied().collect();
        sorted.sort_unstable();
        let round_trip = *sorted.get(sorted.len().checked_sub(1)? / 4)?;
        if sorted.len() == 1 {
            return Some(Measured { round_trip, error: round_trip / 2 });
        }
        let off: Duration = sorted.iter().map(|heard| heard.abs_diff(round_trip)).sum();
        Some(Measured { round_trip, error: off / sorted.len() as u32 })
    }
}

/// How many round trips of a member count.
const HEARD_MAX: usize = 8;

/// Of how many members round trips are kept.
pub(crate) const TRIPS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u16) -> NodeId {
        NodeId::from_public_key(&number.to_be_bytes())
    }

    fn round(by: i64) -> Round {
        Round::FIRST.shifted(by)
    }

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_slow_packet_does_not_count() {
        let mut trips = Trips::default();
        assert_eq!(trips.of(node(1)), None);
        let first = trips.measure(node(1), ms(10), round(0));
        assert_eq!(first, Measured { round_trip: ms(10), error: ms(5) });
        let second = trips.measure(node(1), ms(300), round(1));
        assert_eq!(second, Measured { round_trip: ms(10), error: ms(145) });
        assert_eq!(trips.of(node(1)), Some(second));
    }

    #[test]
    fn a_way_that_grew_longer_counts_after_some_packets() {
        let mut trips = Trips::default();
        for by in 0..8 {
            trips.measure(node(1), ms(10), round(by));
        }
        let after = (0..8).map(|by| trips.measure(node(1), ms(20), round(8 + by)).round_trip);
        let longer = after.take_while(|round_trip| *round_trip == ms(10)).count();
        assert!((4..8).contains(&longer), "{longer}");
    }

    #[test]
    fn who_was_met_long_ago_gives_way() {
        let mut trips = Trips::default();
        (0..TRIPS_MAX as u16).for_each(|number| trips.ask(node(number), round(number.into())));
        trips.ask(node(0), round(999));
        trips.measure(node(999), ms(1), round(1_000));
        assert_eq!(trips.asked(node(1)), None);
        assert_eq!(trips.asked(node(0)), Some((2, round(999))));
        assert_eq!(trips.0.len(), TRIPS_MAX);
        trips.forget(node(0));
        assert_eq!(trips.asked(node(0)), None);
    }
}
