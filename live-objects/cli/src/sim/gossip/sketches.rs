//! How near sketches come to the truth at all nodes, how soon, and at what cost.
//!
//! When all nodes know each other the network begins to lose packets, and all open four aggregates
//! and give their shares at once: a value of a heavy tail each (Pareto's, of index 1.2), which goes
//! into quantiles and into the highest; a hundred draws of ten thousand keys, of which the n-th is
//! n times as rare as the first (Zipf's law); and their part of a million items, half of which
//! another has too. After the last round what each node was told is compared with the truth.

use std::process::ExitCode;

use clap::Args;
use gossip::Config;
use live_objects::sketch::{Distinct, Quantiles, Sketch, TopK};
use live_objects::{
    Command, Estimate, Event, Name, NodeId, ObjectId, ObjectType, Share, Spec, Summary,
};
use live_objects_sim::{Fault, What, World};
use rand::RngExt;

use super::cluster::{Sent, settled};
use super::setting::Setting;
use crate::join;
use crate::sim::figures::{Figure, Outcome, Over, Sample, Told, keep};

/// What the story of sketches is told.
#[derive(Args)]
pub(crate) struct Sketches {
    #[command(flatten)]
    setting: Setting,
    /// For how many rounds to watch.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: u32,
}

impl Sketches {
    pub(crate) fn run(&self) -> ExitCode {
        let story = |seed, threads| self.story(seed, threads);
        self.setting.tell("sketches", usize::MAX, story, is_near)
    }

    fn story(&self, seed: u64, threads: usize) -> Told {
        let mut world = settled(seed, self.setting.nodes, threads);
        world.apply(&Fault::Loss(self.setting.loss));
        let (objects, truth) = give_shares(&mut world);
        let mut last = vec![[const { None }; OBJECTS]; world.nodes()];
        let before = Sent::by(&world);
        let mut round_complete = None;
        for round in 1..=self.rounds {
            world.run(Config::default().period);
            read(&mut world, objects, &mut last);
            let counts = |told: &Option<Estimate>| told.as_ref().map_or(0, |told| told.members);
            let members: Vec<u64> = (0..OBJECTS)
                .map(|object| last.iter().map(|told| counts(&told[object])).min().unwrap_or(0))
                .collect();
            let is_complete = members.iter().all(|least| *least == truth.members);
            keep(&mut round_complete, round, is_complete);
            join::complain(&format!("seed {seed}: round {round}: all know of {members:?} members"));
        }
        let sent = Sent::by(&world).since(before);
        let errors = Errors::of(&truth, &last);
        join::complain(&format!("seed {seed}: {errors:?}"));
        let samples = vec![self.sample(round_complete, errors.as_ref(), sent)];
        Told::new(samples, world.trace_hash())
    }

    fn sample(&self, round_complete: Option<u32>, errors: Option<&Errors>, sent: Sent) -> Sample {
        let node_rounds = f64::from(self.setting.nodes) * f64::from(self.rounds);
        let error = |of: fn(&Errors) -> f64| errors.map(of);
        vec![
            Figure::new(QUANTILE_ERROR, error(|it| it.quantile)),
            Figure::new(TOP_K_RIGHT, error(|it| it.top_k_right)).over(Over::MedianOfGood),
            Figure::new("top_k_bound", error(|it| it.top_k_bound)),
            Figure::new(HIGHEST_RIGHT, error(|it| it.highest_right)).over(Over::MedianOfGood),
            Figure::new(DISTINCT_ERROR, error(|it| it.distinct)).over(Over::RootMeanSquare),
            Figure::new("round_complete", round_complete.map(f64::from)),
            Figure::new("datagram_bytes_max", Some(sent.datagram_max as f64)),
            Figure::new(BYTES, Some(sent.datagrams as f64 / node_rounds)),
        ]
    }
}

/// Whether the goals are met. Of how many distinct items there are the r.m.s. of the errors counts.
fn is_near(outcome: &Outcome) -> bool {
    let worst = |key: &str| outcome.figure(&format!("{key}_worst"));
    worst(QUANTILE_ERROR).is_some_and(|error| error <= 0.02)
        && worst(TOP_K_RIGHT).is_some_and(|right| right >= 9.0)
        && worst(HIGHEST_RIGHT).is_some_and(|right| right >= 10.0)
        && outcome.figure(DISTINCT_ERROR).is_some_and(|error| error <= 0.03)
        && worst(BYTES).is_some_and(|bytes| bytes <= 2_400.0)
}

/// What all know who know all.
struct Truth {
    members: u64,
    /// Of all values, ascending.
    values: Vec<f64>,
    /// The highest first, as many as are told.
    highest: Vec<(f64, NodeId)>,
    /// What each key has.
    weights: Vec<u64>,
    items: u64,
}

/// How far the worst node is from it.
#[derive(Debug)]
struct Errors {
    /// Of p50 and p99, as a part of the value.
    quantile: f64,
    /// How many of the ten heaviest keys were told.
    top_k_right: f64,
    /// By how much the weight of one of them may be off, as a part of all weights.
    top_k_bound: f64,
    highest_right: f64,
    distinct: f64,
}

impl Errors {
    /// None if some node was told nothing.
    fn of(truth: &Truth, last: &[[Option<Estimate>; OBJECTS]]) -> Option<Self> {
        let mut worst = Self {
            quantile: 0.0,
            top_k_right: 10.0,
            top_k_bound: 0.0,
            highest_right: 10.0,
            distinct: 0.0,
        };
        for told in last {
            let [quantiles, highest, top, distinct] = told;
            for q in [0.5, 0.99] {
                let rank = (q * (truth.values.len() - 1) as f64) as usize;
                let error = quantiles.as_ref()?.quantile(q)? / truth.values[rank] - 1.0;
                worst.quantile = worst.quantile.max(error.abs());
            }
            let highest = highest.as_ref()?.highest().iter().map(|high| (high.value, high.node));
            let right = highest.zip(&truth.highest).take_while(|(told, truth)| told == *truth);
            // A cluster of fewer than ten knows of no more.
            let missing = truth.highest.len() - right.count();
            worst.highest_right = worst.highest_right.min(10.0 - missing as f64);
            let (right, bound) = truth.heaviest(top.as_ref()?);
            worst.top_k_right = worst.top_k_right.min(right as f64);
            worst.top_k_bound = worst.top_k_bound.max(bound);
            let error = distinct.as_ref()?.value? / truth.items as f64 - 1.0;
            worst.distinct = worst.distinct.max(error.abs());
        }
        Some(worst)
    }
}

impl Truth {
    /// How many of the ten that are told as heaviest are, and weigh what is told within its bound;
    /// and that bound.
    fn heaviest(&self, told: &Estimate) -> (usize, f64) {
        let mut weights = self.weights.clone();
        weights.sort_unstable();
        let (least, total) = (weights[weights.len() - 10], weights.iter().sum::<u64>());
        let (mut right, mut bound) = (0, 0);
        for heavy in told.top().iter().take(10) {
            let key =
                str::from_utf8(&heavy.key).ok().and_then(|key| key[4..].parse::<usize>().ok());
            let weight = self.weights[key.expect("nothing is made up")];
            let is_within = (heavy.weight..=heavy.weight + heavy.bound).contains(&weight);
            right += usize::from(is_within && weight >= least);
            bound = bound.max(heavy.bound);
        }
        (right, bound as f64 / total as f64)
    }
}

/// Takes in what nodes were told since.
fn read(world: &mut World, objects: [ObjectId; OBJECTS], last: &mut [[Option<Estimate>; OBJECTS]]) {
    for record in world.take_history() {
        let What::Event(of, Event::Aggregate(estimate)) = record.what else { continue };
        if let Some(object) = objects.iter().position(|object| *object == of) {
            last[record.node][object] = Some(estimate);
        }
    }
}

/// Every node opens the aggregates and gives its shares.
fn give_shares(world: &mut World) -> ([ObjectId; OBJECTS], Truth) {
    let mut rng = world.rng("shares");
    let nodes = world.nodes();
    let zipf: Vec<f64> = (1..=KEYS)
        .scan(0.0, |sum, key| {
            *sum += 1.0 / key as f64;
            Some(*sum)
        })
        .collect();
    let names = [
        ("/latency", Summary::Quantiles),
        ("/slowest", Summary::Highest),
        ("/keys", Summary::TopK),
        ("/visitors", Summary::Distinct),
    ];
    let names = names.map(|(name, summary)| (name.parse::<Name>().expect("a name"), summary));
    let (mut values, mut highest) = (Vec::new(), Vec::new());
    let any_item: u64 = rng.random();
    let mut weights = vec![0; KEYS];
    for node in 0..nodes {
        let value = (1.0 - rng.random_range(0.0..1.0_f64)).powf(-1.0 / PARETO_INDEX);
        let (mut quantiles, mut top, mut distinct) =
            (Quantiles::new(), TopK::new(), Distinct::new());
        quantiles.record(value).expect("it is finite");
        for _ in 0..DRAWS {
            let drawn = rng.random_range(0.0..zipf[KEYS - 1]);
            let key = zipf.partition_point(|sum| *sum <= drawn);
            weights[key] += 1;
            top.add(format!("key-{key}").as_bytes(), 1).expect("it is short");
        }
        let (first, some) = (node * ITEMS / nodes, ITEMS * 3 / 2 / nodes + 1);
        (first..first + some).for_each(|item| {
            distinct.insert(&any_item.wrapping_add((item % ITEMS) as u64).to_be_bytes())
        });
        values.push(value);
        highest.push((value, world.member(node).expect("it runs").node));
        let shares = [
            Sketch::Quantiles(quantiles).into(),
            Share::new(value).expect("it is finite"),
            Sketch::TopK(top).into(),
            Sketch::Distinct(distinct).into(),
        ];
        for ((name, summary), share) in names.iter().zip(shares) {
            let spec = Spec::new(name.clone(), ObjectType::aggregate(*summary));
            world.open(node, spec).expect("gossip carries it");
            world.send(node, name.id(), Command::Set(share)).expect("the feed is empty");
        }
    }
    values.sort_by(f64::total_cmp);
    highest.sort_by(|one, other| other.0.total_cmp(&one.0));
    highest.truncate(10);
    let truth = Truth { members: nodes as u64, values, highest, weights, items: ITEMS as u64 };
    (names.map(|(name, _)| name.id()), truth)
}

const OBJECTS: usize = 4;
const PARETO_INDEX: f64 = 1.2;
const KEYS: usize = 10_000;
const DRAWS: usize = 100;
const ITEMS: usize = 1_000_000;

const QUANTILE_ERROR: &str = "quantile_error";
const TOP_K_RIGHT: &str = "top_k_right";
const HIGHEST_RIGHT: &str = "highest_right";
const DISTINCT_ERROR: &str = "distinct_error";
const BYTES: &str = "bytes_per_node_round_mean";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::gossip::setting;

    #[test]
    fn a_small_cluster_is_near_the_truth() {
        let story = Sketches { setting: setting(16, 0.05), rounds: 30 };
        let outcome =
            story.setting.outcome("sketches", 1, |seed, threads| story.story(seed, threads));
        assert!(outcome.is_complete());
        let of = |key| outcome.figure(key).expect("it is complete");
        assert!(of(QUANTILE_ERROR) <= 0.0101 && of(DISTINCT_ERROR) <= 0.05);
        assert_eq!(of(HIGHEST_RIGHT), 10.0);
        assert!(of(TOP_K_RIGHT) >= 9.0 && of("round_complete") <= 25.0);
        assert!(of("datagram_bytes_max") <= 1_200.0);
    }
}
