//! How far an average and a count are off while members come and go all the time.
//!
//! In each round some members stop, and as many others start whose shares are a fifth higher than
//! what those had whose place they take: so the truth moves, and whoever counts those who are gone,
//! or not yet those who came, is off in the one direction. What every node says is compared with
//! the truth at the end of each round, but for those that started less than four rounds ago.

use std::process::ExitCode;

use clap::Args;
use gossip::Config;
use live_objects::{
    Command, Estimate, Event, Name, ObjectId, ObjectType, Rng, Share, Spec, Summary,
};
use live_objects_sim::{Fault, What, World};
use rand::RngExt;

use super::cluster::{Sent, settled_among};
use super::setting::Setting;
use crate::join;
use crate::sim::figures::{Figure, Sample, Told};
use crate::sim::plot::{Curve, Panel, Plot, Scale};

/// What the story of the churn is told.
#[derive(Args)]
pub(crate) struct Churn {
    #[command(flatten)]
    setting: Setting,
    /// For how many rounds a thousandth of the members is replaced in each.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(10..=10_000))]
    rounds: u32,
    /// For how many rounds, after that, a hundredth is.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(10..=10_000))]
    rounds_at_1pct: u32,
    /// Members crash instead of saying good-bye.
    #[arg(long)]
    crash: bool,
}

/// How far the worst node was off in a round, and all on average, relative to the truth.
#[derive(Clone, Copy, Default)]
struct Error {
    average_worst: f64,
    count_worst: f64,
    average_mean: f64,
    count_mean: f64,
    /// How many of all were off by no more than a hundredth in both.
    near_share: f64,
    /// What a node sent in the round.
    bytes: f64,
}

impl Churn {
    pub(crate) fn run(&self) -> ExitCode {
        self.setting.tell("churn", usize::MAX, |seed, threads| self.story(seed, threads), |_| true)
    }

    fn story(&self, seed: u64, threads: usize) -> Told {
        let nodes = self.setting.nodes;
        let of = |share: u32| (nodes / share).max(1);
        let spare = of(1_000) * self.rounds + of(100) * self.rounds_at_1pct;
        let mut world = settled_among(seed, (nodes, nodes + spare), threads);
        world.apply(&Fault::Loss(self.setting.loss));
        let mut crowd = Crowd::new(&mut world, nodes as usize, self.crash);
        for _ in 0..WARM_UP_ROUNDS {
            crowd.round(&mut world, 0);
        }
        let before = Sent::by(&world);
        let slow: Vec<Error> = (0..self.rounds)
            .map(|round| tell(seed, round, crowd.round(&mut world, of(1_000))))
            .collect();
        let between = Sent::by(&world);
        let fast: Vec<Error> = (0..self.rounds_at_1pct)
            .map(|round| tell(seed, round, crowd.round(&mut world, of(100))))
            .collect();
        let after = Sent::by(&world);
        let bytes = |sent: Sent, rounds: u32| {
            Some(sent.bytes() as f64 / f64::from(nodes) / f64::from(rounds))
        };
        let mut told = sample(&slow, &fast);
        told.extend([
            Figure::new("bytes_per_node_round", bytes(between.since(before), self.rounds)),
            Figure::new(
                "bytes_per_node_round_at_1pct",
                bytes(after.since(between), self.rounds_at_1pct),
            ),
        ]);
        let all = [slow, fast].concat();
        Told::new(vec![told], world.trace_hash()).plotted(plot(&all))
    }
}

fn tell(seed: u64, round: u32, error: Error) -> Error {
    let Error { average_worst, count_worst, .. } = error;
    join::complain(&format!(
        "seed {seed}: round {round}: average off by {average_worst:.5}, count by {count_worst:.5}"
    ));
    error
}

/// Who takes part, with which shares, and what each last said.
struct Crowd {
    object: ObjectId,
    name: Name,
    rng: Rng,
    is_crash: bool,
    /// What all had sent when the last round ended.
    sent: Sent,
    /// How many members stay, of which each newcomer is told a few.
    seeds: usize,
    /// By node: its share while it runs, and for how many rounds it has.
    shares: Vec<Option<(f64, u32)>>,
    /// The next node that never ran.
    next: usize,
    last: Vec<Option<Estimate>>,
}

impl Crowd {
    fn new(world: &mut World, nodes: usize, is_crash: bool) -> Self {
        let name: Name = "/load".parse().expect("a name");
        let mut crowd = Self {
            object: name.id(),
            name,
            rng: world.rng("churn"),
            is_crash,
            sent: Sent::by(world),
            seeds: nodes.div_ceil(SEED_EVERY),
            shares: vec![None; world.nodes()],
            next: nodes,
            last: vec![None; world.nodes()],
        };
        for node in 0..nodes {
            let share = crowd.rng.random_range(0.0..1_000.0);
            crowd.take_part(world, node, share);
        }
        crowd
    }

    fn take_part(&mut self, world: &mut World, node: usize, share: f64) {
        let spec = Spec::new(self.name.clone(), ObjectType::aggregate(Summary::Average));
        world.open(node, spec).expect("gossip carries it");
        let number = Share::new(share).expect("it is finite");
        world.send(node, self.object, Command::Set(number)).expect("the feed is empty");
        self.shares[node] = Some((share, 0));
    }

    /// So many are replaced, and a round passes.
    fn round(&mut self, world: &mut World, replaced: u32) -> Error {
        for _ in 0..replaced {
            let running: Vec<usize> =
                (0..self.shares.len()).filter(|node| self.shares[*node].is_some()).collect();
            // Seeds stay, that newcomers find somebody.
            let leaver = loop {
                let node = running[self.rng.random_range(0..running.len())];
                if !node.is_multiple_of(SEED_EVERY) {
                    break node;
                }
            };
            let (share, _) = self.shares[leaver].take().expect("it takes part");
            self.last[leaver] = None;
            if self.is_crash {
                world.crash(leaver);
            } else {
                world.stop(leaver);
            }
            let comer = self.next;
            self.next += 1;
            let seeds = [(); SEEDS].map(|()| SEED_EVERY * self.rng.random_range(0..self.seeds));
            world.set_seeds(&seeds);
            world.start(comer);
            self.take_part(world, comer, 1.2 * share);
        }
        world.run(Config::default().period);
        for record in world.take_history() {
            if let What::Event(of, Event::Aggregate(estimate)) = record.what
                && of == self.object
            {
                self.last[record.node] = Some(estimate);
            }
        }
        self.shares.iter_mut().flatten().for_each(|(_, rounds)| *rounds += 1);
        let before = std::mem::replace(&mut self.sent, Sent::by(world));
        let running = self.shares.iter().flatten().count();
        let bytes = self.sent.since(before).bytes() as f64 / running as f64;
        Error { bytes, ..self.error() }
    }

    fn error(&self) -> Error {
        let shares = self.shares.iter().flatten().map(|(share, _)| share);
        let count = shares.clone().count() as f64;
        let average = shares.sum::<f64>() / count;
        let old = self
            .shares
            .iter()
            .zip(&self.last)
            .filter(|(share, _)| share.is_some_and(|(_, rounds)| rounds > YOUNG_ROUNDS));
        let mut error = Error::default();
        let mut nodes = 0;
        for (_, told) in old {
            let off = |value: Option<f64>, truth: f64| {
                value.map_or(-1.0, |value| (value - truth) / truth)
            };
            let by_average = off(told.as_ref().and_then(|told| told.value), average);
            let by_count = off(told.as_ref().map(|told| told.members as f64), count);
            error.average_worst = error.average_worst.max(by_average.abs());
            error.count_worst = error.count_worst.max(by_count.abs());
            let is_near = by_average.abs() <= 0.01 && by_count.abs() <= 0.01;
            error.near_share += f64::from(u8::from(is_near));
            error.average_mean += by_average;
            error.count_mean += by_count;
            nodes += 1;
        }
        error.average_mean /= f64::from(nodes.max(1));
        error.count_mean /= f64::from(nodes.max(1));
        error.near_share /= f64::from(nodes.max(1));
        error
    }
}

fn sample(slow: &[Error], fast: &[Error]) -> Sample {
    let worst =
        |errors: &[Error], of: fn(&Error) -> f64| Some(errors.iter().map(of).fold(0.0, f64::max));
    // In the second half of all rounds: what is off in one direction all the time.
    let bias = |of: fn(&Error) -> f64| {
        let half = &slow[slow.len() / 2..];
        Some((half.iter().map(of).sum::<f64>() / half.len() as f64).abs())
    };
    vec![
        Figure::new("worst_error", worst(slow, |error| error.average_worst)),
        Figure::new("worst_count_error", worst(slow, |error| error.count_worst)),
        Figure::new("lasting_bias", bias(|error| error.average_mean)),
        Figure::new("lasting_count_bias", bias(|error| error.count_mean)),
        Figure::new("worst_error_at_1pct", worst(fast, |error| error.average_worst)),
        Figure::new("worst_count_error_at_1pct", worst(fast, |error| error.count_worst)),
    ]
}

/// Round by round, the faster ones last.
fn plot(all: &[Error]) -> Plot {
    let curve = |name, of: fn(&Error) -> f64| Curve { name, values: all.iter().map(of).collect() };
    let panel = |title, scale, curves| Panel { title, scale, curves };
    let near = curve("within 1 %", |error| 100.0 * error.near_share);
    let average = curve("average, worst node", |error| 100.0 * error.average_worst);
    let count = curve("count, worst node", |error| 100.0 * error.count_worst);
    let bytes = curve("datagrams and links", |error| error.bytes);
    Plot {
        panels: vec![
            panel("nodes that know the average and the count, %", Scale::Percent, vec![near]),
            panel("error, % of the truth", Scale::Linear, vec![average, count]),
            panel("bytes sent, of a node in the round", Scale::Linear, vec![bytes]),
        ],
    }
}

/// How long nothing changes at first.
const WARM_UP_ROUNDS: u32 = 40;
/// One node of so many stays, and how many of these a newcomer is told.
const SEED_EVERY: usize = 50;
const SEEDS: usize = 3;
/// Nodes are not asked in their first rounds.
const YOUNG_ROUNDS: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::gossip::setting;

    #[test]
    fn a_small_cluster_keeps_up() {
        let setting = setting(60, 0.0);
        let story = Churn { setting, rounds: 20, rounds_at_1pct: 10, crash: false };
        let outcome = story.setting.outcome("churn", 1, |seed, threads| story.story(seed, threads));
        let of = |key| outcome.figure(key).expect("everything was measured");
        assert!(of("worst_error") < 0.5 && of("worst_count_error") < 0.5);
        assert!(of("lasting_bias") < 0.05);
        let plot = outcome.plot().expect("it went by rounds");
        assert!(plot.is_whole(30) && plot.last("datagrams and links") > Some(100.0));
    }
}
