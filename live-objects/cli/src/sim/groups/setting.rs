//! What all stories of groups are told beside their sizes.

use clap::Args;
use groupcomm::Config;
use serde_json::Value;

use crate::sim::figures::{Run, config_hash};

/// The seeds.
#[derive(Args)]
pub(crate) struct Setting {
    /// How many seeds to run: 0, 1, 2, …
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) seeds: u64,
    /// Run this seed alone.
    #[arg(long, conflicts_with = "seeds")]
    pub(super) seed: Option<u64>,
    /// Print the result as one line of JSON.
    #[arg(long)]
    pub(super) json: bool,
}

impl Setting {
    /// A story that is to be told of as many worlds at a time as `worlds_max` allows. `facts` are
    /// what it is told beside its seeds.
    pub(super) fn of(
        &self,
        scenario: &'static str,
        facts: Vec<(&'static str, Value)>,
        worlds_max: usize,
    ) -> Run {
        Run {
            scenario,
            facts,
            seeds: self.seed.map_or(0..self.seeds, |seed| seed..seed + 1),
            worlds_max,
            config_hash: config_hash(&Config::default()),
            plot: None,
            is_json: self.json,
        }
    }
}
