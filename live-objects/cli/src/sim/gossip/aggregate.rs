//! In how many rounds all nodes know an average exactly, and at what cost.
//!
//! When all nodes know each other the network begins to lose packets, and all open the aggregate
//! and set their shares at once: that is round 0, when all members are known and all tables are
//! empty. After each round every node's last estimate is compared with the truth.

use std::process::ExitCode;

use clap::Args;
use gossip::Config;
use live_objects::{Command, Estimate, Event, Name, ObjectId, ObjectType, Share, Spec, Summary};
use live_objects_sim::{Fault, What, World};
use rand::RngExt;

use super::cluster::{Sent, settled};
use super::figures::{Figure, Outcome, Sample, Setting, Told};
use super::plot::{Curve, Panel, Plot, Scale};
use crate::join;

/// What the story of the aggregate is told.
#[derive(Args)]
pub(crate) struct Aggregate {
    #[command(flatten)]
    setting: Setting,
    /// For how many rounds to watch.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: u32,
}

impl Aggregate {
    pub(crate) fn run(&self) -> ExitCode {
        let story = |seed, threads| self.story(seed, threads);
        self.setting.tell("aggregate", usize::MAX, story, is_short)
    }

    fn story(&self, seed: u64, threads: usize) -> Told {
        let Some(mut world) = settled(seed, self.setting.nodes, threads) else {
            return Told::new(vec![self.sample(None, None, None)], 0);
        };
        world.apply(&Fault::Loss(self.setting.loss));
        let (object, truth) = set_shares(&mut world);
        let mut watch = Watch { object, truth, last: vec![None; world.nodes()] };
        let before = Sent::by(&world);
        let (mut round_exact, mut round_near) = (None, None);
        let mut track = Track::new(before);
        for round in 1..=self.rounds {
            world.run(Config::default().period);
            watch.read(&mut world);
            keep(&mut round_exact, round, watch.all(|truth, told| truth.is_exact(told)));
            keep(&mut round_near, round, watch.all(|truth, told| truth.is_near(told)));
            track.round(&watch, Sent::by(&world));
            let exact = watch.last.iter().flatten().filter(|told| watch.truth.is_exact(told));
            let oldest = watch.last.iter().flatten().map(|told| told.age).max();
            join::complain(&format!(
                "seed {seed}: round {round}: exact at {} nodes, age {oldest:?}",
                exact.count()
            ));
        }
        let sent = Sent::by(&world).since(before);
        let samples = vec![self.sample(round_exact, round_near, Some(sent))];
        Told::new(samples, world.trace_hash()).plotted(track.plot())
    }

    fn sample(
        &self,
        round_exact: Option<u32>,
        round_near: Option<u32>,
        sent: Option<Sent>,
    ) -> Sample {
        let node_rounds = f64::from(self.setting.nodes) * f64::from(self.rounds);
        let mean = |of: fn(Sent) -> u64| sent.map(|sent| of(sent) as f64 / node_rounds);
        vec![
            Figure::new("round_exact", round_exact.map(f64::from)),
            Figure::new("round_within_1pct", round_near.map(f64::from)),
            Figure::new(DATAGRAM_BYTES, sent.map(|sent| sent.datagram_max as f64)),
            Figure::new("bytes_per_node_round_mean", mean(|sent| sent.datagrams)),
            Figure::new("datagrams_per_node_round", mean(|sent| sent.datagram_count)),
        ]
    }
}

/// Whether no datagram was too long.
fn is_short(outcome: &Outcome) -> bool {
    let worst = format!("{DATAGRAM_BYTES}_worst");
    outcome.figure(&worst).is_some_and(|bytes| bytes <= DATAGRAM_MAX)
}

/// What all know who know all.
struct Truth {
    members: u64,
    average: f64,
    largest: f64,
}

impl Truth {
    fn is_exact(&self, told: &Estimate) -> bool {
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

    fn round(&mut self, watch: &Watch, sent: Sent) {
        let nodes = watch.last.len() as f64;
        let share = |is_so: fn(&Truth, &Estimate) -> bool| {
            let those = watch.last.iter().flatten().filter(|told| is_so(&watch.truth, told));
            100.0 * those.count() as f64 / nodes
        };
        self.exact.values.push(share(Truth::is_exact));
        self.near.values.push(share(Truth::is_near));
        let truth = watch.truth.average;
        let off = watch.last.iter().map(|told| {
            // Who knows nothing is off by all of it.
            let value = told.as_ref().and_then(|told| told.value).unwrap_or(0.0);
            100.0 * (value - truth).abs() / truth
        });
        self.error.values.push(off.fold(0.0, f64::max));
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

/// Every node's last estimate.
struct Watch {
    object: ObjectId,
    truth: Truth,
    last: Vec<Option<Estimate>>,
}

impl Watch {
    fn read(&mut self, world: &mut World) {
        for record in world.take_history() {
            match record.what {
                What::Event(of, Event::Aggregate(estimate)) if of == self.object => {
                    self.last[record.node] = Some(estimate);
                }
                _ => {}
            }
        }
    }

    fn all(&self, is_so: impl Fn(&Truth, &Estimate) -> bool) -> bool {
        self.last.iter().all(|told| told.as_ref().is_some_and(|told| is_so(&self.truth, told)))
    }
}

/// Every node opens the aggregate and sets a share.
fn set_shares(world: &mut World) -> (ObjectId, Truth) {
    let mut rng = world.rng("shares");
    let nodes = world.nodes();
    let shares: Vec<f64> = (0..nodes).map(|_| rng.random_range(0.0..1_000.0)).collect();
    let name: Name = "/load".parse().expect("a name");
    let object = name.id();
    for (node, share) in shares.iter().enumerate() {
        let spec = Spec::new(name.clone(), ObjectType::aggregate(Summary::Average));
        world.open(node, spec).expect("gossip carries it");
        let share = Share::new(*share).expect("it is finite");
        world.send(node, object, Command::Set(share)).expect("the feed is empty");
    }
    let largest = shares.iter().copied().fold(0.0, f64::max);
    let average = shares.iter().sum::<f64>() / nodes as f64;
    (object, Truth { members: nodes as u64, average, largest })
}

/// The first round since which something has always been so.
fn keep(since: &mut Option<u32>, round: u32, is_so: bool) {
    *since = if is_so { since.or(Some(round)) } else { None };
}

const DATAGRAM_BYTES: &str = "datagram_bytes_max";
const DATAGRAM_MAX: f64 = 1_200.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::gossip::setting;

    #[test]
    fn a_small_cluster_is_exact_soon_and_stays_so() {
        let story = Aggregate { setting: setting(24, 0.05), rounds: 30 };
        let outcome =
            story.setting.outcome("aggregate", 1, |seed, threads| story.story(seed, threads));
        assert!(outcome.figure("round_exact").is_some_and(|round| round <= 24.0));
        assert!(is_short(&outcome));
        let plot = outcome.plot().expect("it went by rounds");
        assert!(plot.is_whole(30));
        assert_eq!((plot.last("exact"), plot.last("within 1 %")), (Some(100.0), Some(100.0)));
        assert!(plot.last("average, worst node").is_some_and(|error| error < 1e-6));
    }
}
