//! What still travels, and in which order: what was sent least often goes first.
//!
//! Rumors are passed on so many times by each node that hears them (Demers et al., PODC 1987,
//! section 1.4), and sooner lose interest if others turn out to know them: hearing one again counts
//! as sent once or several times, and so may meeting somebody who knows all that this node knows.
//! Things
//! sent equally often go in an order drawn by chance, so that nodes that learned the same together
//! do not all repeat it in one order.
//!
//! Invariant: each key stands in the queue once. It holds no more than its owner keeps.

use std::collections::{BTreeMap, BTreeSet};

use live_objects::Rng;
use rand::RngExt;

/// The keys of what travels.
pub(crate) struct Queue<K> {
    rng: Rng,
    order: BTreeSet<(Place, K)>,
    places: BTreeMap<K, Place>,
    /// What all that stand in the queue gained together, so that one number raises them all.
    gained: i64,
}

/// The order of its fields is that of the queue.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    /// How often it was sent, less what all had gained when it came.
    sent: i64,
    turn: u32,
}

impl<K: Ord + Clone> Queue<K> {
    pub(crate) fn new(rng: Rng) -> Self {
        Self { rng, order: BTreeSet::new(), places: BTreeMap::new(), gained: 0 }
    }

    /// This is news, whether or not it was before.
    pub(crate) fn add(&mut self, key: K) {
        let place = Place { sent: -self.gained, turn: self.rng.random() };
        if let Some(before) = self.places.insert(key.clone(), place) {
            self.order.remove(&(before, key.clone()));
        }
        self.order.insert((place, key));
        assert_eq!(self.order.len(), self.places.len(), "each stands in the queue once");
    }

    /// It was sent so often, or counts as if it had been.
    pub(crate) fn raise(&mut self, key: &K, by: u32) {
        if let Some(place) = self.places.get_mut(key) {
            self.order.remove(&(*place, key.clone()));
            place.sent += i64::from(by);
            self.order.insert((*place, key.clone()));
        }
    }

    /// Everything that travels now counts as sent so often.
    pub(crate) fn raise_all(&mut self, by: u32) {
        self.gained += i64::from(by);
    }

    /// It travels no more. Tells whether it did.
    pub(crate) fn remove(&mut self, key: &K) -> bool {
        let place = self.places.remove(key);
        place.is_some_and(|place| self.order.remove(&(place, key.clone())))
    }

    /// Whether nothing travels that was sent less often than `sent_max`.
    pub(crate) fn is_quiet(&self, sent_max: u32) -> bool {
        let sent_max = i64::from(sent_max) - self.gained;
        self.order.first().is_none_or(|(first, _)| first.sent >= sent_max)
    }

    /// How many things travel.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Offers what was sent less often than `sent_max` in its order. What is taken counts as sent
    /// once more.
    pub(crate) fn offer(&mut self, sent_max: u32, takes: impl FnMut(&K) -> bool) {
        let taken = self.offer_uncounted(sent_max, takes);
        taken.iter().for_each(|key| self.raise(key, 1));
    }

    /// The same, but what is taken counts as sent when it is raised. Gives it.
    pub(crate) fn offer_uncounted(
        &self,
        sent_max: u32,
        mut takes: impl FnMut(&K) -> bool,
    ) -> Vec<K> {
        let sent_max = i64::from(sent_max) - self.gained;
        let wanted = self.order.iter().take_while(|(place, _)| place.sent < sent_max);
        let wanted = wanted.take(OFFERS_MAX).map(|(_, key)| key);
        wanted.filter(|key| takes(key)).cloned().collect()
    }

    /// Takes out what was sent `sent_max` times.
    pub(crate) fn done(&mut self, sent_max: u32) -> Vec<K> {
        let sent_max = i64::from(sent_max) - self.gained;
        let mut done = Vec::new();
        while self.order.last().is_some_and(|(last, _)| last.sent >= sent_max) {
            let (_, key) = self.order.pop_last().expect("just seen to hold more than none");
            self.places.remove(&key);
            done.push(key);
        }
        done
    }
}

/// How many are looked at for one packet: those that do not fit are passed over, but not for ever.
const OFFERS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(keys: u32) -> Queue<u32> {
        let mut queue = Queue::new(Rng::from_seed([7; 32]));
        (0..keys).for_each(|key| queue.add(key));
        queue
    }

    fn taken(queue: &mut Queue<u32>, count: usize, sent_max: u32) -> Vec<u32> {
        let mut taken = Vec::new();
        queue.offer(sent_max, |key| {
            let takes = taken.len() < count;
            takes.then(|| taken.push(*key));
            takes
        });
        taken.sort_unstable();
        taken
    }

    #[test]
    fn what_was_sent_least_goes_first_and_nothing_too_often() {
        let mut queue = queue(4);
        let first = taken(&mut queue, 2, 2);
        let second = taken(&mut queue, 2, 2);
        assert!(second.iter().all(|key| !first.contains(key)));
        taken(&mut queue, 4, 2);
        assert!(queue.is_quiet(2) && !queue.is_quiet(3));
        assert!(taken(&mut queue, 4, 2).is_empty());
        assert_eq!(queue.done(2).len(), 4);
        assert!(queue.order.is_empty());
    }

    #[test]
    fn what_others_know_is_sent_less() {
        let mut queue = queue(3);
        queue.raise(&1, 3);
        queue.raise(&9, 3);
        assert_eq!(taken(&mut queue, 3, 3), [0, 2]);
        queue.raise_all(2);
        queue.add(5);
        assert_eq!(taken(&mut queue, 9, 3), [5]);
        queue.remove(&5);
        assert_eq!(queue.done(3).len(), 3);
    }

    #[test]
    fn no_packet_takes_for_ever_to_fill() {
        let mut queue = queue(2 * OFFERS_MAX as u32);
        let mut offers = 0;
        queue.offer(1, |_| {
            offers += 1;
            false
        });
        assert_eq!(offers, OFFERS_MAX);
    }
}
