//! The network between nodes: how long packets take, which of them are lost or doubled, and who is
//! cut off from whom.
//!
//! A packet's fate is drawn when it is sent, from a generator of its sender's own. So the fate of
//! one node's packets does not depend on what others send, and nodes can be run on any number of
//! threads. Packets overtake each other whenever their latencies differ by more than the time
//! between them.

use std::time::Duration;

use live_objects::Rng;
use rand::RngExt;

/// How a network treats packets. Chances are shares between 0 and 1.
#[derive(Clone, PartialEq, Debug)]
pub struct Network {
    /// How long a packet takes.
    pub latency: Latency,
    /// The chance that a packet is lost.
    pub loss: f64,
    /// The chance that a packet arrives twice, each time with a latency of its own.
    pub duplication: f64,
}

/// How long packets take: most of them between `min` and `typical`, a share of them between
/// `typical` and `slow`.
#[derive(Clone, PartialEq, Debug)]
pub struct Latency {
    /// No packet is faster. Above zero: it is also how far nodes can be run without looking at each
    /// other, so a large one makes a fast simulation.
    pub min: Duration,
    /// Most packets are not slower.
    pub typical: Duration,
    /// No packet is slower.
    pub slow: Duration,
    /// The share of packets that take more than `typical`.
    pub slow_share: f64,
}

impl Network {
    /// Nodes in one room: 0.2 to 1 ms, one packet in a hundred up to 10 ms, nothing lost.
    pub const LAN: Self = Self {
        latency: Latency {
            min: Duration::from_micros(200),
            typical: Duration::from_millis(1),
            slow: Duration::from_millis(10),
            slow_share: 0.01,
        },
        loss: 0.0,
        duplication: 0.0,
    };

    /// Nodes far apart on a bad day: 20 to 60 ms, one packet in twenty up to 300 ms, 1 % lost, 0.1
    /// % doubled.
    pub const WAN: Self = Self {
        latency: Latency {
            min: Duration::from_millis(20),
            typical: Duration::from_millis(60),
            slow: Duration::from_millis(300),
            slow_share: 0.05,
        },
        loss: 0.01,
        duplication: 0.001,
    };

    /// The same network with this chance of loss.
    #[must_use]
    pub fn with_loss(self, loss: f64) -> Self {
        Self { loss, ..self }
    }

    /// When a packet of `bytes` arrives, as latencies: not at all, once or twice.
    pub(crate) fn arrivals(
        &self,
        bytes: usize,
        rng: &mut Rng,
    ) -> impl Iterator<Item = Duration> + use<> {
        let copies = if self.is_lost(bytes, rng) {
            0
        } else if self.duplication > 0.0 && rng.random_bool(self.duplication) {
            2
        } else {
            1
        };
        let latencies = [self.latency.draw(rng), self.latency.draw(rng)];
        latencies.into_iter().take(copies)
    }

    /// A message longer than a packet is lost if any of the packets that carry it is.
    fn is_lost(&self, bytes: usize, rng: &mut Rng) -> bool {
        let packets = bytes.div_ceil(PACKET_BYTES).max(1);
        self.loss > 0.0 && (0..packets).any(|_| rng.random_bool(self.loss))
    }
}

impl Latency {
    /// Every packet takes exactly as long.
    pub const fn fixed(latency: Duration) -> Self {
        Self { min: latency, typical: latency, slow: latency, slow_share: 0.0 }
    }

    fn draw(&self, rng: &mut Rng) -> Duration {
        let slow = self.slow_share > 0.0 && rng.random_bool(self.slow_share);
        let (from, to) = if slow { (self.typical, self.slow) } else { (self.min, self.typical) };
        let nanos = rng.random_range(from.as_nanos() as u64..=to.as_nanos() as u64);
        Duration::from_nanos(nanos)
    }
}

/// What a packet of a network carries, in bytes.
const PACKET_BYTES: usize = 1_200;

/// Who is cut off from whom: a packet is lost if any cut has its sender on the one side and its
/// receiver on the other.
#[derive(Clone, Default, Debug)]
pub(crate) struct Cuts(Vec<Cut>);

#[derive(Clone, Debug)]
struct Cut {
    from: Vec<bool>,
    to: Vec<bool>,
}

impl Cuts {
    /// Cuts the way from each of `from` to each of `to`, among `nodes` nodes. Not the way back.
    pub(crate) fn add(&mut self, nodes: usize, from: &[usize], to: &[usize]) {
        let side = |members: &[usize]| {
            let mut side = vec![false; nodes];
            members.iter().for_each(|&node| side[node] = true);
            side
        };
        self.0.push(Cut { from: side(from), to: side(to) });
    }

    pub(crate) fn heal(&mut self) {
        self.0.clear();
    }

    pub(crate) fn part(&self, from: usize, to: usize) -> bool {
        self.0.iter().any(|cut| cut.from[from] && cut.to[to])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rng() -> Rng {
        Rng::from_seed([1; 32])
    }

    #[test]
    fn a_cut_is_one_way() {
        let mut cuts = Cuts::default();
        cuts.add(3, &[0], &[1, 2]);
        assert!(cuts.part(0, 1) && cuts.part(0, 2));
        assert!(!cuts.part(1, 0) && !cuts.part(1, 2));
        cuts.heal();
        assert!(!cuts.part(0, 1));
    }

    #[test]
    fn losses_and_doubles_are_as_frequent_as_asked() {
        let network = Network { duplication: 0.2, ..Network::LAN.with_loss(0.1) };
        let mut rng = rng();
        let mut copies = [0; 3];
        for _ in 0..10_000 {
            copies[network.arrivals(100, &mut rng).count()] += 1;
        }
        assert!((900..1_100).contains(&copies[0]), "lost: {}", copies[0]);
        assert!((1_650..1_950).contains(&copies[2]), "doubled: {}", copies[2]);
    }

    #[test]
    fn latencies_stay_within_bounds_and_some_are_slow() {
        let latency = Network::LAN.latency;
        let mut rng = rng();
        let drawn: Vec<_> = (0..10_000).map(|_| latency.draw(&mut rng)).collect();
        assert!(drawn.iter().all(|d| (latency.min..=latency.slow).contains(d)));
        let slow = drawn.iter().filter(|d| **d > latency.typical).count();
        assert!((60..140).contains(&slow), "slow: {slow}");
    }
}
