//! In how many rounds all nodes know an average exactly, or several, and at what cost.
//!
//! When all nodes know each other the network begins to lose packets, and all open the aggregates
//! and set their shares at once: that is round 0, when all members are known and all tables are
//! empty. After each round every node's last estimates are compared with the truth.

use std::process::ExitCode;

use clap::Args;
use gossip::Config;
use live_objects::{Command, Estimate, Event, Name, ObjectId, ObjectType, Share, Spec, Summary};
use live_objects_sim::{Fault, Record, What, World};
use rand::RngExt;

use super::cluster::{Sent, settled};
use super::setting::Setting;
use crate::join;
use crate::sim::figures::{Figure, Outcome, Sample, Told, keep};
use crate::sim::plot::{Curve, Panel, Plot, Scale};

/// What the story of the aggregate is told.
#[derive(Args)]
pub(crate) struct Aggregate {
    #[command(flatten)]
    setting: Setting,
    /// For how many rounds to watch.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: u32,
    /// How many averages there are.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    aggregates: u32,
}

impl Aggregate {
    pub(crate) fn run(&self) -> ExitCode {
        let story = |seed, threads| self.story(seed, threads);
        self.setting.tell("aggregate", usize::MAX, story, is_short)
    }

    fn story(&self, seed: u64, threads: usize) -> Told {
        let mut world = settled(seed, self.setting.nodes, threads);
        world.apply(&Fault::Loss(self.setting.loss));
        let mut watches: Vec<Watch> =
            (0..self.aggregates).map(|number| Watch::open(&mut world, number)).collect();
        let before = Sent::by(&world);
        let (mut round_exact, mut round_near) = (None, None);
        let mut track = Track::new(before);
        for round in 1..=self.rounds {
            world.run(Config::default().period);
            for record in world.take_history() {
                watches.iter_mut().for_each(|watch| watch.read(&record));
            }
            let all = |is_so| watches.iter().all(|watch| watch.count(is_so) == world.nodes());
            keep(&mut round_exact, round, all(Truth::is_exact));
            keep(&mut round_near, round, all(Truth::is_near));
            track.round(&watches, Sent::by(&world));
            let exact = watches.iter().map(|watch| watch.count(Truth::is_exact)).min();
            let oldest = watches.iter().flat_map(Watch::told).map(|told| told.age).max();
            join::complain(&format!(
                "seed {seed}: round {round}: exact at {} nodes, age {oldest:?}",
                exact.unwrap_or(0)
            ));
        }
        let sent = Sent::by(&world).since(before);
        let bias = watches.iter().map(Watch::bias).fold(0.0, f64::max);
        let samples = vec![self.sample(round_exact, round_near, bias, sent)];
        Told::new(samples, world.trace_hash()).plotted(track.plot())
    }

    fn sample(
        &self,
        round_exact: Option<u32>,
        round_near: Option<u32>,
        bias: f64,
        sent: Sent,
    ) -> Sample {
        let node_rounds = f64::from(self.setting.nodes) * f64::from(self.rounds);
        let mean = |sum: u64| Some(sum as f64 / node_rounds);
        vec![
            Figure::new("round_exact", round_exact.map(f64::from)),
            Figure::new("round_within_1pct", round_near.map(f64::from)),
            Figure::new("lasting_bias", Some(bias)),
            Figure::new(DATAGRAM_BYTES, Some(sent.datagram_max as f64)),
            Figure::new("bytes_per_node_round_mean", mean(sent.datagrams)),
            Figure::new("datagrams_per_node_round", mean(sent.datagram_count)),
        ]
    }
}

/// Whether no datagram was too long.
fn is_short(outcome: &Outcome) -> bool {
    let worst = format!("{DATAGRAM_BYTES}_worst");
    outcome.figure(&worst).is_some_and(|bytes| bytes <= DATAGRAM_MAX)
}

/// What all know who know all.
pub(super) struct Truth {
    members: u64,
    average: f64,
    largest: f64,
}

impl Truth {
    pub(super) fn is_exact(&self, told: &Estimate) -> bool {
        let error = told.value.map(|value| (value - self.average).abs());
        told.members == self.members && error.is_some_and(|error| error <= 1e-9 * self.largest)
    }

    fn is_near(&self, told: &Estimate) -> bool {
        let is_near = |value: f64, truth: f64| (value - truth).abs() <= 0.01 * truth.abs();
        let is_counted = is_near(told.members as f64, self.members as f64);
        is_counted && told.value.is_some_and(|value| is_near(value, self.average))
    }
}

/// What was seen round by round.
struct Track {
    sent: Sent,
    exact: Curve,
    near: Curve,
    error: Curve,
    bytes: Curve,
}

impl Track {
    fn new(sent: Sent) -> Self {
        Self {
            sent,
            exact: Curve::new("exact"),
            near: Curve::new("within 1 %"),
            error: Curve::new("average, worst node"),
            bytes: Curve::new("datagrams"),
        }
    }

    fn round(&mut self, watches: &[Watch], sent: Sent) {
        let nodes = watches[0].last.len() as f64;
        let share = |is_so| {
            let those: usize = watches.iter().map(|watch| watch.count(is_so)).sum();
            100.0 * those as f64 / nodes / watches.len() as f64
        };
        self.exact.values.push(share(Truth::is_exact));
        self.near.values.push(share(Truth::is_near));
        let worst = |watch: &Watch| watch.errors().map(f64::abs).fold(0.0, f64::max);
        let worst = watches.iter().map(worst).fold(0.0, f64::max);
        self.error.values.push(100.0 * worst);
        self.bytes.values.push(sent.since(self.sent).datagrams as f64 / nodes);
        self.sent = sent;
    }

    fn plot(self) -> Plot {
        let panel = |title, scale, curves| Panel { title, scale, curves };
        let Self { exact, near, error, bytes, .. } = self;
        Plot {
            panels: vec![
                panel(
                    "nodes that know the average and the count, %",
                    Scale::Percent,
                    vec![exact, near],
                ),
                panel("error, % of the average", Scale::Logarithmic, vec![error]),
                panel("bytes sent, of a node in the round", Scale::Linear, vec![bytes]),
            ],
        }
    }
}

/// One of the averages: every node's last estimate of it.
pub(super) struct Watch {
    object: ObjectId,
    truth: Truth,
    last: Vec<Option<Estimate>>,
}

impl Watch {
    /// Every node opens it and sets a share.
    pub(super) fn open(world: &mut World, number: u32) -> Self {
        let mut rng = world.rng(&format!("shares {number}"));
        let nodes = world.nodes();
        let shares: Vec<f64> = (0..nodes).map(|_| rng.random_range(0.0..1_000.0)).collect();
        let name: Name = format!("/load/{number}").parse().expect("a name");
        let object = name.id();
        for (node, share) in shares.iter().enumerate() {
            let spec = Spec::new(name.clone(), ObjectType::aggregate(Summary::Average));
            world.open(node, spec).expect("gossip carries it");
            let share = Share::new(*share).expect("it is finite");
            world.send(node, object, Command::Set(share)).expect("the feed is empty");
        }
        let largest = shares.iter().copied().fold(0.0, f64::max);
        let average = shares.iter().sum::<f64>() / nodes as f64;
        let truth = Truth { members: nodes as u64, average, largest };
        Self { object, truth, last: vec![None; nodes] }
    }

    pub(super) fn read(&mut self, record: &Record) {
        if let What::Event(of, Event::Aggregate(estimate)) = &record.what
            && *of == self.object
        {
            self.last[record.node] = Some(estimate.clone());
        }
    }

    fn told(&self) -> impl Iterator<Item = &Estimate> {
        self.last.iter().flatten()
    }

    /// At how many nodes it is so.
    pub(super) fn count(&self, is_so: IsSo) -> usize {
        self.told().filter(|told| is_so(&self.truth, told)).count()
    }

    /// By which part of it each node's average is off. Who knows nothing is off by all of it.
    fn errors(&self) -> impl Iterator<Item = f64> {
        let value = |told: &Option<Estimate>| told.as_ref().and_then(|told| told.value);
        let values = self.last.iter().map(move |told| value(told).unwrap_or(0.0));
        values.map(|value| value / self.truth.average - 1.0)
    }

    /// By which part of it the average, or the count, is off in the mean of all nodes, whichever
    /// is more.
    fn bias(&self) -> f64 {
        let nodes = self.last.len() as f64;
        let counted: u64 = self.told().map(|told| told.members).sum();
        let count = counted as f64 / nodes / self.truth.members as f64 - 1.0;
        (self.errors().sum::<f64>() / nodes).abs().max(count.abs())
    }
}

/// Whether an estimate is as it is asked for.
pub(super) type IsSo = fn(&Truth, &Estimate) -> bool;

const DATAGRAM_BYTES: &str = "datagram_bytes_max";
const DATAGRAM_MAX: f64 = 1_200.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::gossip::setting;

    #[test]
    fn a_small_cluster_is_exact_soon_and_stays_so() {
        let story = Aggregate { setting: setting(24, 0.05), rounds: 30, aggregates: 2 };
        let outcome =
            story.setting.outcome("aggregate", 1, |seed, threads| story.story(seed, threads));
        assert!(outcome.figure("round_exact").is_some_and(|round| round <= 24.0));
        assert!(outcome.figure("lasting_bias").is_some_and(|bias| bias < 1e-9));
        assert!(is_short(&outcome));
        let plot = outcome.plot().expect("it went by rounds");
        assert!(plot.is_whole(30));
        assert_eq!((plot.last("exact"), plot.last("within 1 %")), (Some(100.0), Some(100.0)));
        assert!(plot.last("average, worst node").is_some_and(|error| error < 1e-6));
    }
}
