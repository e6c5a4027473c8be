//! Everything at once, in a cluster of which no node knows all.
//!
//! All nodes start from one roster, each with its part of it: they know whom they would know if
//! they had found each other some time ago. When they agree on what round it is all open four
//! averages and set their shares at once. That is round 0, as in `aggregate`, of which this is the
//! large sister; what it costs to simulate is a figure here too.

use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use gossip::Config;
use live_objects_sim::Fault;

use super::aggregate::{Truth, Watch};
use super::cluster::{Sent, acquainted};
use super::setting::Setting;
use crate::join;
use crate::sim::figures::{Figure, Outcome, Sample, Told, keep};
use crate::sim::memory_bytes;

/// What the story of the whole is told.
#[derive(Args)]
pub(crate) struct Whole {
    #[command(flatten)]
    setting: Setting,
    /// For how many rounds to watch.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: u32,
    /// Up to how many nodes each would know all.
    #[arg(long, default_value_t = Config::default().whole_max,
        value_parser = whole_max)]
    whole_max: usize,
}

impl Whole {
    pub(crate) fn run(&self) -> ExitCode {
        let story = |seed, threads| self.story(seed, threads);
        self.setting.tell("whole", 1, story, |outcome| self.is_good(outcome))
    }

    fn story(&self, seed: u64, threads: usize) -> Told {
        let begin = Instant::now();
        let nodes = self.setting.nodes;
        let config = Config { whole_max: self.whole_max, ..Config::default() };
        let mut world = acquainted(seed, (nodes, nodes), config, threads);
        world.run(Config::default().period * CLOCK_ROUNDS);
        world.take_history();
        world.apply(&Fault::Loss(self.setting.loss));
        let mut averages: Vec<Watch> =
            (0..AVERAGES).map(|number| Watch::open(&mut world, number)).collect();
        let before = Sent::by(&world);
        let mut round_exact = None;
        for round in 1..=self.rounds {
            for _ in 0..GLANCES {
                world.run(Config::default().period / GLANCES);
                for record in world.take_history() {
                    averages.iter_mut().for_each(|average| average.read(&record));
                }
            }
            let exact = averages.iter().map(|average| average.count(Truth::is_exact));
            let exact = exact.min().expect("there are some");
            keep(&mut round_exact, round, exact == world.nodes());
            let seconds = begin.elapsed().as_secs();
            join::complain(&format!(
                "seed {seed}: round {round}: exact at {exact} nodes, after {seconds} s"
            ));
        }
        let sent = Sent::by(&world).since(before);
        let seconds = begin.elapsed().as_secs_f64();
        Told::new(vec![self.sample(seconds, round_exact, sent)], world.trace_hash())
    }

    fn sample(&self, seconds: f64, round_exact: Option<u32>, sent: Sent) -> Sample {
        let node_rounds = f64::from(self.setting.nodes) * f64::from(self.rounds);
        vec![
            Figure::new("seconds", Some(seconds)),
            Figure::new("rss_gib", rss_gib()),
            Figure::new(ROUND_EXACT, round_exact.map(f64::from)),
            Figure::new(DATAGRAM_BYTES, Some(sent.datagram_max as f64)),
            Figure::new("bytes_per_node_round_mean", Some(sent.datagrams as f64 / node_rounds)),
            Figure::new("datagrams_per_node_round", Some(sent.datagram_count as f64 / node_rounds)),
        ]
    }

    /// How long it takes is the machine's affair, so that only the goals of gossip are looked at.
    fn is_good(&self, outcome: &Outcome) -> bool {
        let worst = |key: &str| outcome.figure(&format!("{key}_worst"));
        worst(ROUND_EXACT).is_some_and(|round| round <= ROUND_EXACT_MAX)
            && worst(DATAGRAM_BYTES).is_some_and(|bytes| bytes <= DATAGRAM_MAX)
    }
}

/// The most memory that this process had at once, where the system tells.
fn rss_gib() -> Option<f64> {
    Some(memory_bytes("VmHWM:")? / (1 << 30) as f64)
}

fn whole_max(text: &str) -> Result<usize, String> {
    let why = || format!("choose 1 to {}", Config::WHOLE_MAX_MAX);
    let number = text.parse().map_err(|_| why())?;
    if (1..=Config::WHOLE_MAX_MAX).contains(&number) { Ok(number) } else { Err(why()) }
}

const AVERAGES: u32 = 4;

/// How often the history is read in a round: that of a whole one takes gigabytes.
const GLANCES: u32 = 20;

/// As many as it takes until all know the round.
const CLOCK_ROUNDS: u32 = 10;

const ROUND_EXACT: &str = "round_exact";
const ROUND_EXACT_MAX: f64 = 50.0;
const DATAGRAM_BYTES: &str = "datagram_bytes_max";
const DATAGRAM_MAX: f64 = 1_200.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::gossip::setting;

    /// They know the census as they know each other: nothing is lacking, and nobody hurries.
    #[test]
    fn who_starts_from_a_roster_begins_at_rest() {
        let config = Config { whole_max: 200, ..Config::default() };
        let mut world = acquainted(7, (300, 300), config, 1);
        world.run(Config::default().period * CLOCK_ROUNDS);
        let datagrams = Sent::by(&world).datagram_count;
        let a_round = datagrams as f64 / f64::from(300 * CLOCK_ROUNDS);
        assert!(a_round <= 2.5, "{a_round} datagrams a node and round");
    }

    /// With 300 nodes in eight neighbourhoods.
    #[test]
    fn a_cluster_that_nobody_knows_is_exact_soon() {
        let story = Whole { setting: setting(300, 0.05), rounds: 40, whole_max: 200 };
        let outcome = story.setting.outcome("whole", 1, |seed, threads| story.story(seed, threads));
        assert!(story.is_good(&outcome), "{:?}", outcome.figure(ROUND_EXACT));
        assert!(outcome.figure("seconds").is_some_and(|seconds| seconds > 0.0));
        assert!(outcome.figure("bytes_per_node_round_mean").is_some_and(|bytes| bytes <= 2_400.0));
    }
}
