//! Where nodes are: cities of a plane, the ways between them, and a link for each node.
//!
//! A synthetic world with what makes real round trips hard to foretell: most nodes are in few
//! cities (Zipf), routes make detours of their own between any two of them, so that the direct way
//! may be longer than one through a third, access links differ a lot, most being fast and some very
//! slow, and every packet is held up on its way by another span.
//!
//! Invariant: ways are the same there and back, and none is negative; on what was drawn for one
//! node no other depends. Only what is exact on all machines is computed.

use std::time::Duration;

use live_objects::Rng;
use rand::RngExt;

/// Where the nodes of a world are. What a packet takes on the network itself is added.
#[derive(Clone, Debug)]
pub struct Cities {
    nodes: Vec<Site>,
    /// From each city to each.
    ways: Vec<Vec<Duration>>,
}

#[derive(Clone, Copy, Debug)]
struct Site {
    city: usize,
    /// What a packet takes on the node's own link.
    access: Duration,
}

impl Cities {
    /// So many nodes in so many cities.
    ///
    /// # Panics
    /// If there is no city.
    pub fn drawn(nodes: usize, cities: usize, rng: &Rng) -> Self {
        assert!(cities > 0, "nodes are in cities");
        let mut draws = rng.fork("cities");
        let places: Vec<[f64; 2]> =
            (0..cities).map(|_| PLANE_KM.map(|side| draws.random_range(0.0..side))).collect();
        let mut ways = vec![vec![WITHIN_CITY; cities]; cities];
        for (one, place) in places.iter().enumerate() {
            for (other, [x, y]) in places[..one].iter().enumerate() {
                let (x, y) = (place[0] - x, place[1] - y);
                let detour = draws.random_range(DETOUR_MIN..DETOUR_MAX);
                let way = (x * x + y * y).sqrt() * MICROS_PER_KM * detour;
                let way = WITHIN_CITY + Duration::from_nanos((way * 1e3) as u64);
                (ways[one][other], ways[other][one]) = (way, way);
            }
        }
        let node = |node: usize| Site::draw(cities, &mut rng.fork(&format!("site {node}")));
        Self { nodes: (0..nodes).map(node).collect(), ways }
    }

    /// How many nodes are in them.
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// What a round trip between two nodes takes if nothing holds it up.
    pub fn round_trip(&self, one: usize, other: usize) -> Duration {
        2 * self.way(one, other)
    }

    /// How long a packet takes from one node to another.
    pub(crate) fn draw(&self, from: usize, to: usize, rng: &mut Rng) -> Duration {
        let way = self.way(from, to);
        way + jitter(way, rng)
    }

    /// No packet takes longer.
    pub(crate) fn slowest(&self) -> Duration {
        let longest = self.ways.iter().flatten().max().copied().unwrap_or_default();
        let way = longest + 2 * ACCESS_MAX;
        way + (JITTER + way / JITTER_PART) * JITTER_MAX
    }

    fn way(&self, one: usize, other: usize) -> Duration {
        let (one, other) = (self.nodes[one], self.nodes[other]);
        one.access + self.ways[one.city][other.city] + other.access
    }
}

impl Site {
    fn draw(cities: usize, rng: &mut Rng) -> Self {
        let size = |city: usize| 1.0 / (city + 1) as f64;
        let mut left = rng.random_range(0.0..(0..cities).map(size).sum::<f64>());
        let mut city = 0;
        while city + 1 < cities && left >= size(city) {
            left -= size(city);
            city += 1;
        }
        // Pareto: half of all are at most twice the least, one in forty the most.
        let access = ACCESS_MIN.div_f64(1.0 - rng.random_range(0.0..1.0));
        Self { city, access: access.min(ACCESS_MAX) }
    }
}

/// How long a packet is held up: as the toss of a coin would have it, the longer the less often.
fn jitter(way: Duration, rng: &mut Rng) -> Duration {
    let tosses = rng.random::<u64>().leading_zeros().min(JITTER_MAX - 1);
    let unit = (JITTER + way / JITTER_PART).as_nanos() as u64;
    Duration::from_nanos(unit * u64::from(tosses) + rng.random_range(0..=unit))
}

/// The sides of the world.
const PLANE_KM: [f64; 2] = [8_000.0, 4_000.0];
/// Light in a fibre.
const MICROS_PER_KM: f64 = 5.0;
/// How much longer routes are.
const DETOUR_MIN: f64 = 0.9;
const DETOUR_MAX: f64 = 1.6;
const WITHIN_CITY: Duration = Duration::from_micros(100);
const ACCESS_MIN: Duration = Duration::from_micros(500);
const ACCESS_MAX: Duration = Duration::from_millis(20);
/// Jitter goes by units of so much, and of one part in so many of the way.
const JITTER: Duration = Duration::from_micros(150);
const JITTER_PART: u32 = 40;
/// It is at most so many of them, and one and a half on average.
const JITTER_MAX: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn() -> Cities {
        Cities::drawn(1_000, 30, &Rng::from_seed([1; 32]))
    }

    #[test]
    fn ways_are_the_same_there_and_back_and_within_bounds() {
        let world = drawn();
        let mut rng = Rng::from_seed([2; 32]);
        for (one, other) in (0..1_000).map(|node| (node, (node * 7 + 1) % 1_000)) {
            let round_trip = world.round_trip(one, other);
            assert_eq!(round_trip, world.round_trip(other, one));
            let drawn = world.draw(one, other, &mut rng);
            assert!(round_trip / 2 <= drawn && drawn <= world.slowest());
        }
        let slow = world.nodes.iter().filter(|site| site.access > 4 * ACCESS_MIN).count();
        assert!(
            (200..300).contains(&slow),
            "a quarter is slower than four times the least: {slow}"
        );
    }

    #[test]
    fn cities_differ_and_some_ways_are_shorter_by_way_of_another() {
        let world = drawn();
        let mut sizes = [0; 30];
        world.nodes.iter().for_each(|site| sizes[site.city] += 1);
        assert!((200..300).contains(&sizes[0]) && (1..30).contains(&sizes[29]), "{sizes:?}");
        let ways = &world.ways;
        let is_detour = |one: usize, other: usize| {
            (0..30).any(|third| ways[one][third] + ways[third][other] < ways[one][other])
        };
        let pairs = (0..30).flat_map(|one| (0..one).map(move |other| (one, other)));
        let detours = pairs.filter(|(one, other)| is_detour(*one, *other)).count();
        assert!((40..300).contains(&detours), "{detours} of 435");
    }

    #[test]
    fn packets_are_held_up_a_unit_and_a_half() {
        let mut rng = Rng::from_seed([3; 32]);
        let total: Duration = (0..10_000).map(|_| jitter(Duration::ZERO, &mut rng)).sum();
        let mean = total / 10_000;
        assert!(mean.abs_diff(JITTER * 3 / 2) < JITTER / 20, "{mean:?}");
    }

    #[test]
    fn a_node_is_where_it_is_however_many_there_are() {
        let (few, many) = (Cities::drawn(3, 30, &Rng::from_seed([1; 32])), drawn());
        assert_eq!(few.round_trip(0, 2), many.round_trip(0, 2));
    }
}
