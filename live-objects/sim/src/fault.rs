//! What can be done to a world, as values: a story can be written down, drawn from a seed, printed.

use std::time::Duration;

use live_objects::Rng;
use rand::RngExt;
use rand::seq::SliceRandom;

/// Something done to a world. Nodes go by number.
#[derive(Clone, PartialEq, Debug)]
pub enum Fault {
    /// A node's process is killed: it forgets all, and says nothing. What it wrote to disk stays.
    Crash(usize),
    /// A node's machine loses its power: as `Crash`, and the disk forgets what was not synced.
    PowerLoss(usize),
    /// A node starts, in a new incarnation if it ran before.
    Start(usize),
    /// A node is asked to stop: it says good-bye first.
    Stop(usize),
    /// A node does nothing for a while; what arrives meanwhile waits at its socket.
    Pause(usize, Duration),
    /// From now on each step of a node takes so long.
    Slow(usize, Duration),
    /// From now on a node's clock gains so many parts per million (loses, if negative).
    Skew(usize, i32),
    /// From now on a node's disk is full: what is appended fails.
    DiskFull(usize),
    /// A node's disk has room again.
    DiskRoom(usize),
    /// Nothing gets from any of the first to any of the second any more, but still the other way.
    CutOneWay(Vec<usize>, Vec<usize>),
    /// Nothing gets from any of the first to any of the second any more, nor back.
    Cut(Vec<usize>, Vec<usize>),
    /// Each of these, in a ring, hears from now on only those that are nearest to it: a majority of
    /// all, but not the same one as its neighbours.
    CutRing(Vec<usize>),
    /// All cuts are undone.
    Heal,
    /// From now on this share of packets is lost.
    Loss(f64),
}

/// Draws faults from a seed: which, when, and to whom. What it does it undoes, so that a *quiet
/// phase* can follow in which protocols must get back to normal.
#[derive(Clone, PartialEq, Debug)]
pub struct Nemesis {
    /// For how long it acts. At the end everything is undone.
    pub lasts: Duration,
    /// The mean time between two of its acts.
    pub pause: Duration,
    /// How many nodes may be down at once.
    pub down_max: usize,
    /// The highest share of packets that it lets the network lose.
    pub loss_max: f64,
}

impl Nemesis {
    /// What it does to `nodes` nodes that all run, and how long after the beginning: in order of
    /// time. The last act of all leaves every node running, nobody cut off, slow or skewed, and the
    /// loss at `loss`.
    pub fn plan(&self, nodes: usize, loss: f64, rng: &mut Rng) -> Vec<(Duration, Fault)> {
        assert!(nodes >= 2, "it takes two to be cut off from each other");
        let mut plan = Vec::new();
        let mut plot = Plot { nodes, down: Vec::new(), slow: Vec::new(), skewed: Vec::new() };
        let mut at = Duration::ZERO;
        loop {
            at += self.pause.mul_f64(rng.random_range(0.1..1.9));
            if at >= self.lasts {
                break;
            }
            plan.extend(plot.act(self, rng).map(|fault| (at, fault)));
        }
        let slow = plot.slow.iter().map(|&node| Fault::Slow(node, Duration::ZERO));
        let skewed = plot.skewed.iter().map(|&node| Fault::Skew(node, 0));
        let down = plot.down.iter().map(|&node| Fault::Start(node));
        let undo =
            [Fault::Heal, Fault::Loss(loss)].into_iter().chain(slow).chain(skewed).chain(down);
        plan.extend(undo.map(|fault| (self.lasts, fault)));
        plan
    }
}

/// What the nemesis has done and not undone.
struct Plot {
    nodes: usize,
    down: Vec<usize>,
    slow: Vec<usize>,
    skewed: Vec<usize>,
}

impl Plot {
    /// One act, unless it drew one that it may not do now.
    fn act(&mut self, nemesis: &Nemesis, rng: &mut Rng) -> Option<Fault> {
        let node = rng.random_range(0..self.nodes);
        let is_up = !self.down.contains(&node);
        let may_fall = is_up && self.down.len() < nemesis.down_max;
        match rng.random_range(0..100) {
            0..20 if may_fall => {
                self.down.push(node);
                Some(Fault::Crash(node))
            }
            20..25 if may_fall => {
                self.down.push(node);
                Some(Fault::Stop(node))
            }
            25..45 if !self.down.is_empty() => {
                let back = rng.random_range(0..self.down.len());
                Some(Fault::Start(self.down.swap_remove(back)))
            }
            45..55 if is_up => Some(Fault::Pause(node, draw_millis(10..3_000, rng))),
            55..60 if is_up => {
                self.slow.push(node);
                Some(Fault::Slow(node, draw_millis(1..20, rng)))
            }
            60..65 if is_up => {
                self.skewed.push(node);
                Some(Fault::Skew(node, rng.random_range(-100_000..=100_000)))
            }
            65..80 => Some(self.draw_cut(rng)),
            80..90 => Some(Fault::Heal),
            90.. => Some(Fault::Loss(rng.random_range(0.0..=nemesis.loss_max))),
            _ => None,
        }
    }

    /// Halves, one node alone, one way only, halves with a bridge of one node that hears both, a
    /// ring, or two nodes that cannot hear each other while all others hear both.
    fn draw_cut(&self, rng: &mut Rng) -> Fault {
        let mut nodes: Vec<usize> = (0..self.nodes).collect();
        nodes.shuffle(rng);
        let side = rng.random_range(1..self.nodes);
        let mut rest = nodes.split_off(side);
        match rng.random_range(0..6) {
            0 | 1 => Fault::Cut(nodes, rest),
            2 => Fault::CutOneWay(nodes, rest),
            3 if rest.len() > 1 => {
                rest.pop();
                Fault::Cut(nodes, rest)
            }
            4 => {
                nodes.append(&mut rest);
                Fault::CutRing(nodes)
            }
            _ => Fault::Cut(vec![nodes[0]], vec![rest[0]]),
        }
    }
}

fn draw_millis(range: std::ops::Range<u64>, rng: &mut Rng) -> Duration {
    Duration::from_millis(rng.random_range(range))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEMESIS: Nemesis = Nemesis {
        lasts: Duration::from_secs(60),
        pause: Duration::from_millis(500),
        down_max: 2,
        loss_max: 0.3,
    };

    fn plan(seed: u8) -> Vec<(Duration, Fault)> {
        NEMESIS.plan(7, 0.01, &mut Rng::from_seed([seed; 32]))
    }

    #[test]
    fn a_plan_starts_only_who_is_down_and_ends_with_all_up() {
        for seed in 0..100 {
            let mut down: Vec<usize> = Vec::new();
            for (_, fault) in plan(seed) {
                match fault {
                    Fault::Crash(node) | Fault::Stop(node) => {
                        assert!(!down.contains(&node));
                        down.push(node);
                        assert!(down.len() <= NEMESIS.down_max);
                    }
                    Fault::Start(node) => {
                        let back = down.iter().position(|down| *down == node);
                        down.swap_remove(back.expect("it was down"));
                    }
                    _ => {}
                }
            }
            assert!(down.is_empty());
        }
    }

    #[test]
    fn a_plan_is_in_order_and_uses_every_kind() {
        let plans: Vec<_> = (0..20).map(plan).collect();
        assert!(plans.iter().all(|plan| plan.is_sorted_by_key(|(at, _)| *at)));
        let has = |kind: fn(&Fault) -> bool| plans.iter().flatten().any(|(_, f)| kind(f));
        assert!(has(|f| matches!(f, Fault::Crash(_))) && has(|f| matches!(f, Fault::Stop(_))));
        assert!(has(|f| matches!(f, Fault::Pause(..))) && has(|f| matches!(f, Fault::Slow(..))));
        assert!(has(|f| matches!(f, Fault::Skew(..))) && has(|f| matches!(f, Fault::Cut(..))));
        assert!(has(|f| matches!(f, Fault::CutOneWay(..))));
    }
}
