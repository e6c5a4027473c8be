//! What all stories of gossip are told.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use gossip::Config;

use crate::join::Failure;
use crate::sim::figures::{Outcome, Run, Told, config_hash};
use crate::sim::plot::Plot;

/// The nodes, the network and the seeds.
#[derive(Args)]
pub(crate) struct Setting {
    /// How many nodes there are.
    #[arg(long, default_value_t = 1_000,
        value_parser = clap::value_parser!(u32).range(3..=100_000))]
    pub(super) nodes: u32,
    /// The chance that a packet is lost, from 0 to 0.9.
    #[arg(long, default_value_t = 0.0, value_parser = loss)]
    pub(super) loss: f64,
    /// How many seeds to run: 0, 1, 2, …
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) seeds: u64,
    /// Run this seed alone.
    #[arg(long, conflicts_with = "seeds")]
    pub(super) seed: Option<u64>,
    /// Draw how it went round by round, under the first seed, into this file: of stories that go by
    /// rounds.
    #[arg(long, value_name = "FILE.svg")]
    pub(super) plot: Option<PathBuf>,
    /// Print the result as one line of JSON.
    #[arg(long)]
    pub(super) json: bool,
}

impl Setting {
    /// Tells a story under every seed, as many worlds at a time as there are threads and
    /// `worlds_max` allows, and how it went. `is_good` has the last word of what came of it.
    pub(super) fn tell(
        &self,
        scenario: &'static str,
        worlds_max: usize,
        story: impl Fn(u64, usize) -> Told + Sync,
        is_good: impl Fn(&Outcome) -> bool,
    ) -> ExitCode {
        if self.plot.is_some() && !Plot::is_of(scenario) {
            let why = format!(
                "{scenario} does not go by rounds, and has nothing to plot: --plot is for {}",
                Plot::scenarios()
            );
            return Failure::usage(why).tell();
        }
        self.of(scenario, worlds_max).tell(story, is_good)
    }

    /// What comes of a story.
    #[cfg(test)]
    pub(super) fn outcome(
        &self,
        scenario: &'static str,
        worlds_max: usize,
        story: impl Fn(u64, usize) -> Told + Sync,
    ) -> Outcome {
        self.of(scenario, worlds_max).outcome(story)
    }

    /// Small worlds are run side by side, since in each there is little to do at once; large ones
    /// one after the other, on all threads.
    fn of(&self, scenario: &'static str, worlds_max: usize) -> Run {
        let is_small = self.nodes <= SIDE_BY_SIDE_NODES_MAX;
        Run {
            scenario,
            facts: vec![("nodes", self.nodes.into()), ("loss", self.loss.into())],
            seeds: self.seed.map_or(0..self.seeds, |seed| seed..seed + 1),
            worlds_max: if is_small { worlds_max } else { 1 },
            config_hash: config_hash(&Config::default()),
            plot: self.plot.clone(),
            is_json: self.json,
        }
    }
}

pub(super) fn loss(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(loss) if (0.0..=0.9).contains(&loss) => Ok(loss),
        _ => Err("choose 0 to 0.9".into()),
    }
}

/// Of more nodes there is enough to do at once in one world.
const SIDE_BY_SIDE_NODES_MAX: u32 = 2_000;
