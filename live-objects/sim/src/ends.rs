//! A host's ends of links, by peer, and when each has something to do by itself.
//!
//! Most links are quiet most of the time, and a host that many have dialled has thousands. So the
//! next deadline is looked up, not searched for.
//!
//! Invariant: every end stands in `timers` once, with its next timer. Whatever may change that goes
//! through [`Ends::act`].

use std::collections::{BTreeMap, BTreeSet};

use live_objects::Time;

use crate::link::LinkEnd;

/// A host's ends of links.
#[derive(Default)]
pub(crate) struct Ends {
    ends: BTreeMap<usize, (LinkEnd, Time)>,
    timers: BTreeSet<(Time, usize)>,
}

impl Ends {
    pub(crate) fn get(&self, peer: usize) -> Option<&LinkEnd> {
        self.ends.get(&peer).map(|(end, _)| end)
    }

    /// For questions that change no timer.
    pub(crate) fn ask<T>(&mut self, peer: usize, ask: impl FnOnce(&mut LinkEnd) -> T) -> Option<T> {
        let (end, timer) = self.ends.get_mut(&peer)?;
        let answer = ask(end);
        assert_eq!(end.next_timer(), *timer, "a question changed a timer");
        Some(answer)
    }

    /// Lets an end act.
    pub(crate) fn act<T>(&mut self, peer: usize, act: impl FnOnce(&mut LinkEnd) -> T) -> Option<T> {
        let (end, timer) = self.ends.get_mut(&peer)?;
        let result = act(end);
        let next = end.next_timer();
        let before = std::mem::replace(timer, next);
        if before != next {
            self.timers.remove(&(before, peer));
            self.timers.insert((next, peer));
        }
        Some(result)
    }

    /// A new end, in the place of any there was.
    pub(crate) fn insert(&mut self, peer: usize, end: LinkEnd) {
        self.remove(peer);
        let timer = end.next_timer();
        self.timers.insert((timer, peer));
        self.ends.insert(peer, (end, timer));
    }

    pub(crate) fn remove(&mut self, peer: usize) {
        if let Some((_, timer)) = self.ends.remove(&peer) {
            self.timers.remove(&(timer, peer));
        }
    }

    /// The peers whose ends have something to do by now.
    pub(crate) fn due(&self, now: Time) -> Vec<usize> {
        self.timers.range(..=(now, usize::MAX)).map(|(_, peer)| *peer).collect()
    }

    pub(crate) fn next_timer(&self) -> Option<Time> {
        self.timers.first().map(|(timer, _)| *timer)
    }

    /// All ends, by peer; none are left.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = (usize, LinkEnd)> {
        self.timers.clear();
        std::mem::take(&mut self.ends).into_iter().map(|(peer, (end, _))| (peer, end))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::link::{CONTROL, Conn, Patience};

    #[test]
    fn the_next_timer_is_that_of_the_first_end_whatever_happened_to_them() {
        let mut ends = Ends::default();
        let patience = Patience::with_slowest(Duration::from_millis(50));
        let at = |ms| Time::ZERO + Duration::from_millis(ms);
        let first =
            |ends: &Ends| (0..9).filter_map(|peer| Some(ends.get(peer)?.next_timer())).min();
        for peer in 0..9 {
            let conn = Conn { opener: peer, number: 1 };
            ends.insert(peer, LinkEnd::accept(conn, patience, at(10 * peer as u64)));
            assert_eq!(ends.next_timer(), first(&ends));
        }
        for peer in [3, 0, 1, 0] {
            let mut out = Vec::new();
            let sent = ends.act(peer, |end| end.send(at(100), CONTROL, "words".into(), &mut out));
            assert_eq!(sent, Some(Ok(())));
            assert_eq!(ends.next_timer(), first(&ends));
        }
        ends.remove(2);
        assert_eq!((ends.next_timer(), ends.ask(2, LinkEnd::room)), (first(&ends), None));
        let timer = ends.next_timer().expect("eight are left");
        assert!(ends.due(timer).iter().all(|peer| ends.get(*peer).unwrap().next_timer() == timer));
        assert_eq!((ends.take().count(), ends.next_timer()), (8, None));
    }
}
