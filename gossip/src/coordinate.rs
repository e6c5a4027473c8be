//! Network coordinates: where a node stands in a space in which distances are round trips.
//!
//! Vivaldi (Dabek, Cox, Kaashoek and Morris, SIGCOMM 2004, figure 4): with each round trip that is
//! measured a node moves along a spring between it and the other, the further the less it trusts
//! its own place and the more it trusts the other's. Beside its place in a few dimensions a
//! coordinate has a *height*, for the access link that every packet crosses (section 5.4), and an
//! *error*, the share by which what it foretells is off. It takes two hundred round trips a node
//! until that is any good. Here each counts many times: a node keeps the last few and moves along
//! all their springs again and again, and the better it knows its place the less it is moved by
//! long ones, which are off by more (as graphs are drawn by Zheng, Pawar and Goodman, "Graph
//! Drawing by Stochastic Gradient Descent", 2018). That takes some forty. A slight pull to the
//! origin keeps the whole space from drifting off (Ledlie, Gardner and Seltzer, NSDI 2007, section
//! 5.3).
//!
//! A coordinate is told as whole numbers, so that whatever a peer tells is finite and within
//! bounds.
//!
//! Invariant: a place is finite, within [`Coordinate::AXIS_MS_MAX`] in each dimension, and its
//! error is above 0. Only what is exact on all machines is computed: no logarithm, no power.

use core::time::Duration;
use std::collections::VecDeque;

use live_objects::{NodeId, Rng};
use rand::RngExt;

/// Where a node stands, as it tells others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Coordinate {
    /// In thirty-seconds of a millisecond.
    pub(crate) axes: [i16; DIMENSIONS],
    /// In sixty-fourths of a millisecond.
    pub(crate) height: u16,
    /// By how much distances to it are off, in 255ths; 0 is read as the least there is.
    pub(crate) error: u8,
}

impl Coordinate {
    /// How far from the origin a node can be in each dimension, in milliseconds.
    pub(crate) const AXIS_MS_MAX: f64 = i16::MAX as f64 / AXIS_UNITS;

    /// What a round trip between the two should take.
    pub(crate) fn distance(&self, other: &Self) -> Duration {
        let heights = f64::from(self.height) + f64::from(other.height);
        let axes = self.axes.iter().zip(&other.axes);
        let apart = axes.map(|(one, other)| f64::from(*one) - f64::from(*other));
        let square: f64 = apart.map(|apart| apart * apart).sum();
        duration(square.sqrt() / AXIS_UNITS + heights / HEIGHT_UNITS)
    }

    /// By how much a distance between the two may be off.
    pub(crate) fn error_of(&self, other: &Self) -> Duration {
        let share = self.share().max(other.share());
        self.distance(other).mul_f64(share)
    }

    fn share(&self) -> f64 {
        f64::from(self.error.max(1)) / ERROR_UNITS
    }
}

/// A node's own place.
pub(crate) struct Place {
    /// In milliseconds.
    axes: [f64; DIMENSIONS],
    height: f64,
    error: f64,
    /// How long a round trip takes, on average, in milliseconds; none was measured yet if it is 0.
    usual: f64,
    /// The last few that were met, the last one last.
    met: VecDeque<Spring>,
    rng: Rng,
}

/// Between this node and another.
#[derive(Clone, Copy)]
struct Spring {
    to: NodeId,
    theirs: Coordinate,
    /// How long it should be, in milliseconds.
    length: f64,
}

impl Place {
    pub(crate) fn new(rng: Rng) -> Self {
        let (axes, height) = ([0.0; DIMENSIONS], HEIGHT_MS_MIN);
        Self { axes, height, error: 1.0, usual: 0.0, met: VecDeque::new(), rng }
    }

    /// The place, as others are told of it.
    pub(crate) fn coordinate(&self) -> Coordinate {
        Coordinate {
            axes: self.axes.map(|axis| (axis * AXIS_UNITS).round() as i16),
            height: (self.height * HEIGHT_UNITS).round() as u16,
            error: (self.error * ERROR_UNITS).round().max(1.0) as u8,
        }
    }

    /// A round trip to this node, which stands there, took so long.
    pub(crate) fn update(&mut self, to: NodeId, round_trip: Duration, theirs: Coordinate) {
        let length = millis(round_trip.min(ROUND_TRIP_MAX));
        if length == 0.0 {
            return;
        }
        let spring = Spring { to, theirs, length };
        self.met.retain(|met| met.to != to);
        if self.met.len() == MET_MAX {
            self.met.pop_front();
        }
        self.met.push_back(spring);
        if self.usual == 0.0 {
            self.usual = length;
            return self.land(&spring);
        }
        self.usual += (length - self.usual) * USUAL_GAIN;
        self.learn(&spring);
        self.pull(&spring);
        for _ in 0..PULLS {
            let again = self.met[self.rng.random_range(0..self.met.len())];
            self.pull(&again);
        }
    }

    /// The first place: somewhere around whom it met first.
    fn land(&mut self, spring: &Spring) {
        let direction = self.direction();
        let theirs = spring.theirs.axes.map(|axis| f64::from(axis) / AXIS_UNITS);
        for (axis, (from, along)) in self.axes.iter_mut().zip(theirs.into_iter().zip(direction)) {
            *axis = within(from + along * spring.length / 2.0);
        }
    }

    /// How far off was what it would have foretold?
    fn learn(&mut self, spring: &Spring) {
        let (apart, heights) = self.apart(spring);
        let off = (norm(&apart) + heights - spring.length).abs() / spring.length;
        let weight = self.error / (self.error + spring.theirs.share());
        self.error += ERROR_GAIN * weight * (off.min(1.0) - self.error);
        self.error = self.error.clamp(ERROR_MIN, 1.0);
    }

    /// A spring pulls, or pushes.
    fn pull(&mut self, spring: &Spring) {
        let (apart, heights) = self.apart(spring);
        let length = norm(&apart);
        let foretold = length + heights;
        let trust = self.error / (self.error + spring.theirs.share());
        let force = trust * (self.error * self.usual / spring.length).min(1.0);
        let push = force * (spring.length - foretold);
        let direction = if length > 0.0 {
            apart.map(|axis| axis / foretold)
        } else {
            self.direction().map(|axis| axis / 2.0)
        };
        for (axis, along) in self.axes.iter_mut().zip(direction) {
            let moved = *axis + push * along;
            *axis = within(moved - moved * HOMESICKNESS);
        }
        // It stays above 0, and with it whatever is foretold.
        let height = self.height + push * heights / foretold;
        self.height = height.clamp(HEIGHT_MS_MIN, HEIGHT_MS_MAX);
    }

    /// From them to this node, and both heights.
    fn apart(&self, spring: &Spring) -> ([f64; DIMENSIONS], f64) {
        let theirs = spring.theirs.axes.map(|axis| f64::from(axis) / AXIS_UNITS);
        let apart = core::array::from_fn(|at| self.axes[at] - theirs[at]);
        (apart, self.height + f64::from(spring.theirs.height) / HEIGHT_UNITS)
    }

    /// Any.
    fn direction(&mut self) -> [f64; DIMENSIONS] {
        let any: [f64; DIMENSIONS] = core::array::from_fn(|_| self.rng.random_range(-1.0..1.0));
        let length = norm(&any);
        any.map(|axis| if length > 0.0 { axis / length } else { 0.0 })
    }
}

fn norm(axes: &[f64; DIMENSIONS]) -> f64 {
    axes.iter().map(|axis| axis * axis).sum::<f64>().sqrt()
}

fn within(axis: f64) -> f64 {
    axis.clamp(-Coordinate::AXIS_MS_MAX, Coordinate::AXIS_MS_MAX)
}

fn millis(span: Duration) -> f64 {
    span.as_nanos() as f64 / 1e6
}

fn duration(millis: f64) -> Duration {
    Duration::from_nanos((millis * 1e6) as u64)
}

/// In how many dimensions places are. Of a world that was cut from a plane, with the detours of
/// real routes, two foretell less soon, and eight no better.
pub(crate) const DIMENSIONS: usize = 4;

/// How many of those who were met last count, and how often one of them does with each round trip.
const MET_MAX: usize = 16;
const PULLS: u32 = 32;

/// No round trip counts for more.
const ROUND_TRIP_MAX: Duration = Duration::from_secs(2);

const AXIS_UNITS: f64 = 32.0;
const HEIGHT_UNITS: f64 = 64.0;
const ERROR_UNITS: f64 = 255.0;
const HEIGHT_MS_MIN: f64 = 1.0 / HEIGHT_UNITS;
const HEIGHT_MS_MAX: f64 = u16::MAX as f64 / HEIGHT_UNITS;
const ERROR_MIN: f64 = 1.0 / ERROR_UNITS;

/// How much of what one round trip shows of the error is believed at once: Vivaldi's `ce`.
const ERROR_GAIN: f64 = 0.25;
const USUAL_GAIN: f64 = 1.0 / 32.0;

/// By which share of the way to the origin each step is shorter.
const HOMESICKNESS: f64 = 1.0 / 65_536.0;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::{Strategy, any, prop, prop_assert, prop_assert_eq, proptest};

    /// Any that can be told.
    pub(crate) fn coordinates() -> impl Strategy<Value = Coordinate> {
        (any::<[i16; DIMENSIONS]>(), any::<u16>(), any::<u8>())
            .prop_map(|(axes, height, error)| Coordinate { axes, height, error })
    }

    fn place(number: u8) -> Place {
        Place::new(Rng::from_seed([number; 32]))
    }

    fn id(number: u8) -> NodeId {
        NodeId::from_bytes([number; NodeId::LEN])
    }

    fn ms(millis: f64) -> Duration {
        duration(millis)
    }

    /// Nodes on a plane behind links of their own: forty round trips each, to anybody, and
    /// most distances are foretold within a tenth.
    #[test]
    fn nodes_of_a_world_with_links_find_their_places() {
        let mut rng = Rng::from_seed([9; 32]);
        let homes: Vec<[f64; 3]> = (0..48)
            .map(|_| {
                let (x, y) = (rng.random_range(0.0..60.0), rng.random_range(0.0..40.0));
                [x, y, rng.random_range(0.5..8.0)]
            })
            .collect();
        let truth = |one: usize, other: usize| {
            let (one, other) = (homes[one], homes[other]);
            let (x, y) = (one[0] - other[0], one[1] - other[1]);
            (x * x + y * y).sqrt() + one[2] + other[2]
        };
        let mut places: Vec<Place> = (0..48).map(place).collect();
        for _ in 0..40 {
            for node in 0..48 {
                let other = (node + rng.random_range(1..48)) % 48;
                let theirs = places[other].coordinate();
                places[node].update(id(other as u8), ms(truth(node, other)), theirs);
            }
        }
        let pairs = (0..48).flat_map(|one| (0..one).map(move |other| (one, other)));
        let mut off: Vec<f64> = pairs
            .map(|(one, other)| {
                let (ours, theirs) = (places[one].coordinate(), places[other].coordinate());
                let foretold = millis(ours.distance(&theirs));
                (foretold - truth(one, other)).abs() / truth(one, other)
            })
            .collect();
        off.sort_by(f64::total_cmp);
        let (median, most) = (off[off.len() / 2], off[off.len() * 9 / 10]);
        assert!(median < 0.06 && most < 0.2, "{median} {most}");
        assert!(places.iter().all(|place| place.error < 0.2));
    }

    #[test]
    fn who_knows_its_place_is_moved_less_by_who_does_not() {
        let moved = |theirs: u8| {
            let mut place = place(1);
            place.error = 0.1;
            let other = Coordinate { axes: [0; DIMENSIONS], height: 64, error: theirs };
            (place.usual, place.height) = (100.0, 10.0);
            place.pull(&Spring { to: id(2), theirs: other, length: 100.0 });
            norm(&place.axes)
        };
        assert!(moved(255) < moved(25) / 3.0);
    }

    #[test]
    fn a_round_trip_of_nothing_says_nothing() {
        let mut place = place(1);
        let (before, other) = (place.coordinate(), self::place(2).coordinate());
        place.update(id(2), Duration::ZERO, other);
        assert_eq!(place.coordinate(), before);
    }

    proptest! {
        /// Whatever others say, a place stays one.
        #[test]
        fn nothing_that_is_told_takes_a_place_out_of_its_bounds(
            told in prop::collection::vec((any::<u8>(), coordinates(), any::<u64>()), 0..60),
            last in coordinates(),
        ) {
            let mut place = place(7);
            for (to, theirs, nanos) in told {
                place.update(id(to), Duration::from_nanos(nanos), theirs);
                let is_within = |axis: &f64| axis.abs() <= Coordinate::AXIS_MS_MAX;
                prop_assert!(place.axes.iter().all(is_within), "{:?}", place.axes);
                prop_assert!((HEIGHT_MS_MIN..=HEIGHT_MS_MAX).contains(&place.height));
                prop_assert!((ERROR_MIN..=1.0).contains(&place.error));
            }
            prop_assert!(place.met.len() <= MET_MAX);
            let ours = place.coordinate();
            prop_assert_eq!(ours.distance(&last), last.distance(&ours));
            prop_assert!(ours.error_of(&last) <= ours.distance(&last) + Duration::from_nanos(1));
        }
    }
}
