//! Where others may be found: the addresses that a node was started with.
//!
//! A node dials all of them while it is alone. Later it still dials, now and then, one at which no
//! living member is known: it may be a member of a part of the cluster that was cut off, or founded
//! apart, and two parts that know nothing of each other would stay apart for good.
//!
//! Who is reached at a seed's address is noted when members come and go, so that nothing is
//! searched for.

use std::net::SocketAddr;

use live_objects::{NodeId, Rng};
use rand::RngExt;
use rand::seq::IteratorRandom;

use crate::entry::Addresses;

/// The most seeds; those beyond are passed over.
pub(crate) const SEEDS_MAX: usize = 64;

/// The seeds of a node, except its own addresses.
pub(crate) struct Seeds {
    rng: Rng,
    seeds: Vec<Seed>,
}

struct Seed {
    address: SocketAddr,
    /// The living member that is reached there.
    holder: Option<NodeId>,
}

impl Seeds {
    pub(crate) fn new(seeds: &[SocketAddr], own: &[SocketAddr], rng: Rng) -> Self {
        let others = seeds.iter().filter(|seed| !own.contains(seed)).take(SEEDS_MAX);
        let seeds = others.map(|address| Seed { address: *address, holder: None }).collect();
        Self { rng, seeds }
    }

    /// Where all seeds are.
    pub(crate) fn all(&self) -> impl Iterator<Item = SocketAddr> {
        self.seeds.iter().map(|seed| seed.address)
    }

    /// Now and then, once in about `often` calls, a seed at which nobody is known.
    pub(crate) fn lost(&mut self, often: u32) -> Option<SocketAddr> {
        if !self.rng.random_ratio(1, often) {
            return None;
        }
        let lost = self.seeds.iter().filter(|seed| seed.holder.is_none());
        lost.choose(&mut self.rng).map(|seed| seed.address)
    }

    /// A member is up at these addresses.
    pub(crate) fn on_up(&mut self, node: NodeId, addresses: &Addresses) {
        for seed in &mut self.seeds {
            if addresses.iter().any(|address| address == seed.address) {
                seed.holder = Some(node);
            }
        }
    }

    /// A member is gone.
    pub(crate) fn on_down(&mut self, node: NodeId) {
        self.seeds.iter_mut().filter(|seed| seed.holder == Some(node)).for_each(|seed| {
            seed.holder = None;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::tests::entry;

    fn seeds(addresses: &[SocketAddr], own: &[SocketAddr]) -> Seeds {
        Seeds::new(addresses, own, Rng::from_seed([7; 32]))
    }

    fn address(node: u8) -> SocketAddr {
        entry(node, 1).addresses.iter().next().unwrap()
    }

    #[test]
    fn a_node_does_not_dial_itself() {
        let seeds = seeds(&[address(1), address(2)], &[address(1)]);
        assert_eq!(seeds.all().collect::<Vec<_>>(), [address(2)]);
    }

    #[test]
    fn a_seed_is_lost_while_nobody_lives_there() {
        let mut seeds = seeds(&[address(1), address(2)], &[]);
        let node = |node| entry(node, 1).member.node;
        seeds.on_up(node(1), &entry(1, 1).addresses);
        assert_eq!(seeds.lost(1), Some(address(2)));
        seeds.on_up(node(2), &entry(2, 1).addresses);
        assert_eq!(seeds.lost(1), None);
        // Another node at the same place: that the former is gone changes nothing.
        seeds.on_up(node(3), &entry(2, 1).addresses);
        seeds.on_down(node(2));
        assert_eq!(seeds.lost(1), None);
        seeds.on_down(node(3));
        assert_eq!(seeds.lost(1), Some(address(2)));
    }

    #[test]
    fn lost_seeds_are_dialled_seldom() {
        let mut seeds = seeds(&[address(1)], &[]);
        let dialled = (0..1_000).filter(|_| seeds.lost(10).is_some()).count();
        assert!((60..140).contains(&dialled), "{dialled} of 1000");
    }

    #[test]
    fn seeds_are_few() {
        let many: Vec<SocketAddr> = (0..99).map(address).collect();
        assert_eq!(seeds(&many, &[]).all().count(), SEEDS_MAX);
    }
}
