//! How many members there are where a node keeps but some of them (`view`).
//!
//! In a partial view a node counts its neighbourhood itself. For the sibling zones above it has two
//! sources. Ids are hashes, so a zone twice the size has about twice as many members: that is what
//! it *expects*. And all who have such a view take part in one aggregate more, the *census*, whose
//! rows say how many leaves they are made of. The latter is exact some rounds after the last member
//! came or went, but starts from nothing, outlasts those who are gone, and whoever tells it may
//! lie: so a count is believed only near what is expected. If half of all crash at once half of
//! each neighbourhood does, and what was counted before is not believed any more. Of the counts
//! that were heard lately the highest holds: one that is lower does not know of all yet, mostly.
//!
//! Invariant: no count is told that is further from what is expected than [`is_sound`] says.

/// The sibling zones above a node's neighbourhood, by level.
#[derive(Default)]
pub(crate) struct Population {
    /// The highest counts of this span, and of the one before.
    heard: [Vec<u32>; 2],
    /// How many rounds the span has lasted.
    rounds: u64,
}

impl Population {
    /// So many rounds have passed. `near` are in the neighbourhood, and the census says so of each
    /// level above. Gives how many there are at each.
    pub(crate) fn on_rounds(&mut self, rounds: u64, near: u32, census: &[u32]) -> Vec<u32> {
        self.rounds += rounds;
        if self.rounds >= SPAN_ROUNDS {
            self.rounds = 0;
            self.heard = [vec![0; census.len()], std::mem::take(&mut self.heard[0])];
        }
        self.heard.iter_mut().for_each(|counts| counts.resize(census.len(), 0));
        let [now, before] = &mut self.heard;
        let mut counts = Vec::with_capacity(census.len());
        for (level, told) in census.iter().enumerate() {
            let expected = expected(near, census.len() - level - 1);
            let sound = |count: u32| if is_sound(count, expected, near) { count } else { 0 };
            now[level] = sound(now[level]).max(sound(*told));
            before[level] = sound(before[level]);
            let highest = now[level].max(before[level]);
            counts.push(if highest > 0 { highest } else { expected });
        }
        counts
    }

    /// These counts are known otherwise.
    pub(crate) fn set(&mut self, counts: Vec<u32>) {
        self.heard = [counts, Vec::new()];
        self.rounds = 0;
    }
}

/// How many are to be expected in a zone so many times twice as large as one of these.
pub(crate) fn expected(near: u32, doublings: usize) -> u32 {
    let doubled = u64::from(near) << doublings.min(u32::BITS as usize);
    u32::try_from(doubled).unwrap_or(u32::MAX)
}

/// How many leaves a row may have, at most, of a zone where so many members are to be expected. A
/// neighbourhood is seldom less than half of what it should be.
pub(crate) const fn crowd(expected: u32) -> u32 {
    expected.saturating_mul(2).saturating_add(CROWD)
}

/// Whether there may be so many: of a neighbourhood of n members n is off by five times its root
/// once in a million times, and what is expected by as large a part of itself.
const fn is_sound(count: u32, expected: u32, near: u32) -> bool {
    let root = if near == 0 { 1 } else { near.isqrt() };
    let off = (expected / root).saturating_mul(OFF_ROOTS).saturating_add(OFF);
    count > 0 && count.abs_diff(expected) <= off
}

const CROWD: u32 = 64;

const OFF_ROOTS: u32 = 5;
const OFF: u32 = 16;

/// For so long, and at most twice as long, a count holds that nobody tells any more.
const SPAN_ROUNDS: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_expected_holds_until_somebody_counts() {
        let mut population = Population::default();
        assert_eq!(population.on_rounds(1, 100, &[0, 0, 0]), [400, 200, 100]);
        assert_eq!(population.on_rounds(1, 100, &[410, 0, 95]), [410, 200, 95]);
    }

    #[test]
    fn the_highest_count_holds_for_a_while() {
        let mut population = Population::default();
        population.on_rounds(1, 200, &[220]);
        assert_eq!(population.on_rounds(SPAN_ROUNDS - 2, 190, &[210]), [220]);
        assert_eq!(population.on_rounds(1, 190, &[210]), [220], "the span before counts too");
        assert_eq!(population.on_rounds(SPAN_ROUNDS, 190, &[210]), [210]);
    }

    #[test]
    fn nobody_is_believed_who_counts_far_too_many_or_too_few() {
        let mut population = Population::default();
        assert_eq!(population.on_rounds(1, 1_000, &[1_177]), [1_000]);
        assert_eq!(population.on_rounds(1, 1_000, &[823]), [1_000]);
        assert_eq!(population.on_rounds(1, 1_000, &[824]), [824]);
        assert_eq!(population.on_rounds(1, 1_000, &[1_176]), [1_176]);
        assert_eq!(population.on_rounds(1, 500, &[1_176]), [500], "half of those near are gone");
        population.set(vec![120]);
        assert_eq!(population.on_rounds(1, 100, &[0]), [120]);
        assert_eq!(expected(u32::MAX, 99), u32::MAX);
    }
}
