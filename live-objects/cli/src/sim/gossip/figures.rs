//! What a story measures, over its seeds: one middle value and the worst of each figure.
//!
//! A story is told under each seed and gives *samples*: one a seed, or several if what it looks at
//! happens several times in one world. A figure that a sample has no value for did not come to be
//! (a cluster that was never complete): it counts as worse than any value, and the command fails.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use clap::Args;
use gossip::Config;
use serde::ser::{Serialize, Serializer};
use serde_json::{Number, Value};

use super::plot::Plot;
use crate::join::{self, Failure};
use crate::sim::threads_of_machine;

/// What all stories of gossip are told.
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

/// What came of a story under one seed.
pub(super) struct Told {
    samples: Vec<Sample>,
    trace_hash: u64,
    /// Of a story that goes by rounds.
    plot: Option<Plot>,
}

impl Told {
    pub(super) fn new(samples: Vec<Sample>, trace_hash: u64) -> Self {
        Self { samples, trace_hash, plot: None }
    }

    /// With what was seen round by round.
    pub(super) fn plotted(self, plot: Plot) -> Self {
        Self { plot: Some(plot), ..self }
    }
}

/// The first round since which something has always been so.
pub(super) fn keep(since: &mut Option<u32>, round: u32, is_so: bool) {
    *since = if is_so { since.or(Some(round)) } else { None };
}

/// The figures of something that happened once, each time the same ones in the same order.
pub(super) type Sample = Vec<Figure>;

/// One number.
#[derive(Clone)]
pub(super) struct Figure {
    key: &'static str,
    over: Over,
    value: Option<f64>,
}

/// How a figure is summed up, and which value of it is the worst.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Over {
    /// By the median; the highest is the worst.
    Median,
    /// By the median; the lowest is the worst.
    MedianOfGood,
    /// By the mean; the highest is the worst.
    Mean,
    /// By the root of the mean square, as errors are; the highest is the worst.
    RootMeanSquare,
}

impl Figure {
    /// Something of which little is good.
    pub(super) fn new(key: &'static str, value: Option<f64>) -> Self {
        Self { key, over: Over::Median, value }
    }

    pub(super) fn over(self, over: Over) -> Self {
        Self { over, ..self }
    }
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
        let outcome = self.outcome(scenario, worlds_max, story);
        outcome.print(self.json);
        if let Some(file) = &self.plot
            && let Err(failure) = outcome.write_plot(file)
        {
            return failure.tell();
        }
        let is_good = outcome.is_complete() && is_good(&outcome);
        join::ended(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Small worlds are run side by side, since in each there is little to do at once; large ones
    /// one after the other, on all threads. What comes out does not depend on it.
    pub(super) fn outcome(
        &self,
        scenario: &'static str,
        worlds_max: usize,
        story: impl Fn(u64, usize) -> Told + Sync,
    ) -> Outcome {
        let begin = Instant::now();
        let seeds = self.seed.map_or(0..self.seeds, |seed| seed..seed + 1);
        let threads = threads_of_machine();
        let is_small = self.nodes <= SIDE_BY_SIDE_NODES_MAX;
        let worlds = if is_small { worlds_max.min(threads) } else { 1 };
        let worlds = worlds.min(usize::try_from(seeds.end - seeds.start).unwrap_or(usize::MAX));
        let (next, told) = (AtomicU64::new(seeds.start), Mutex::new(Vec::new()));
        std::thread::scope(|scope| {
            for _ in 0..worlds {
                scope.spawn(|| {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= seeds.end {
                            break;
                        }
                        let one = story(seed, threads / worlds);
                        told.lock().expect("no story panics while it is held").push((seed, one));
                    }
                });
            }
        });
        let mut told = told.into_inner().expect("no story panics while it is held");
        told.sort_by_key(|(seed, _)| *seed);
        let trace_hash = told.iter().fold(0, |hash, (_, one)| mixed(hash, one.trace_hash));
        let plotted = told.first_mut().and_then(|(seed, one)| {
            let figures = one.samples.first().cloned().unwrap_or_default();
            one.plot.take().map(|plot| Plotted { seed: *seed, plot, figures })
        });
        let samples: Vec<Sample> = told.into_iter().flat_map(|(_, one)| one.samples).collect();
        Outcome {
            scenario,
            nodes: self.nodes,
            loss: self.loss,
            seeds: seeds.end - seeds.start,
            seed: self.seed,
            plotted,
            figures: summed_up(&samples),
            config_hash: config_hash(&Config::default()),
            trace_hash,
            seconds: begin.elapsed().as_secs_f64(),
        }
    }
}

/// What came of a story under all its seeds.
pub(super) struct Outcome {
    scenario: &'static str,
    nodes: u32,
    loss: f64,
    seeds: u64,
    seed: Option<u64>,
    plotted: Option<Plotted>,
    /// By key, in the order of the samples: each figure, and its worst value.
    figures: Vec<(String, Option<f64>)>,
    config_hash: u64,
    trace_hash: u64,
    seconds: f64,
}

/// What is to be plotted: what came of the first seed.
struct Plotted {
    seed: u64,
    plot: Plot,
    figures: Sample,
}

impl Outcome {
    /// The plot of the first seed, if it came so far.
    #[cfg(test)]
    pub(super) fn plot(&self) -> Option<&Plot> {
        self.plotted.as_ref().map(|plotted| &plotted.plot)
    }

    fn write_plot(&self, file: &Path) -> Result<(), Failure> {
        let Some(Plotted { seed, plot, figures }) = &self.plotted else {
            return Err(Failure::new("there is nothing to plot: no seed came so far"));
        };
        let told = |figure: &Figure| {
            let value = figure.value.map_or("never".to_owned(), |value| number(value).to_string());
            format!("{} {value}", figure.key.replace('_', " "))
        };
        let told: Vec<String> = figures.iter().map(told).collect();
        let (scenario, nodes, loss) = (self.scenario, self.nodes, self.loss);
        let mut headings = vec![format!("{scenario}: {nodes} nodes, loss {loss}, seed {seed}")];
        headings.extend(told.chunks(FIGURES_A_LINE).map(|figures| figures.join(", ")));
        let written = plot.write(file, &headings);
        written.map_err(|error| Failure::new(format!("{}: {error}", file.display())))
    }

    /// Whether every figure has a value.
    pub(super) fn is_complete(&self) -> bool {
        self.figures.iter().all(|(_, value)| value.is_some())
    }

    /// A figure, if it has a value.
    pub(super) fn figure(&self, key: &str) -> Option<f64> {
        self.figures.iter().find(|(name, _)| name == key)?.1
    }

    fn print(&self, json: bool) {
        if json {
            let _ = join::line(&serde_json::to_string(self).expect("an outcome is plain data"));
            return;
        }
        let seeds =
            self.seed.map_or(format!("{} seeds", self.seeds), |seed| format!("seed {seed}"));
        let _ = join::line(&format!(
            "{}: {} nodes, loss {}, {seeds}",
            self.scenario, self.nodes, self.loss
        ));
        let width = self.figures.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
        for (key, value) in &self.figures {
            let value = value.map_or("never".to_owned(), |value| number(value).to_string());
            let _ = join::line(&format!("  {:width$}  {value}", key.replace('_', " ")));
        }
        let _ = join::line(&format!(
            "  trace hash {:016x}, {} s",
            self.trace_hash,
            number(self.seconds)
        ));
    }
}

impl Serialize for Outcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let before = [
            ("scenario", Value::from(self.scenario)),
            ("nodes", self.nodes.into()),
            ("loss", self.loss.into()),
            ("seeds", self.seeds.into()),
        ];
        let seed = self.seed.map(|seed| ("seed", seed.into()));
        let figures = self
            .figures
            .iter()
            .map(|(key, value)| (key.as_str(), value.map_or(Value::Null, number)));
        let after = [
            ("config_hash", format!("{:016x}", self.config_hash).into()),
            ("trace_hash", format!("{:016x}", self.trace_hash).into()),
            ("all_seconds", number(self.seconds)),
        ];
        serializer.collect_map(before.into_iter().chain(seed).chain(figures).chain(after))
    }
}

/// Each figure of the samples, and the worst of it.
fn summed_up(samples: &[Sample]) -> Vec<(String, Option<f64>)> {
    let Some(first) = samples.first() else { return Vec::new() };
    let keys: BTreeSet<&str> = first.iter().map(|figure| figure.key).collect();
    assert_eq!(keys.len(), first.len(), "each figure stands in a sample once");
    let mut figures = Vec::new();
    for (position, Figure { key, over, .. }) in first.iter().enumerate() {
        let mut values: Vec<Option<f64>> = Vec::with_capacity(samples.len());
        for sample in samples {
            assert_eq!(sample[position].key, *key, "samples of one story are alike");
            values.push(sample[position].value);
        }
        // From the best to the worst; no value is the worst.
        let sign = if *over == Over::MedianOfGood { -1.0 } else { 1.0 };
        values.sort_by(|a, b| {
            let badness = |value: &Option<f64>| value.map_or(f64::INFINITY, |value| sign * value);
            badness(a).total_cmp(&badness(b))
        });
        let middle = match over {
            Over::Mean => {
                let sum = values.iter().copied().sum::<Option<f64>>();
                sum.map(|sum| sum / values.len() as f64)
            }
            Over::RootMeanSquare => {
                let squares = values.iter().map(|value| value.map(|value| value * value));
                squares.sum::<Option<f64>>().map(|sum| (sum / values.len() as f64).sqrt())
            }
            Over::Median | Over::MedianOfGood => {
                let (low, high) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
                low.zip(high).map(|(low, high)| f64::midpoint(low, high))
            }
        };
        figures.push(((*key).to_owned(), middle));
        figures.push((format!("{key}_worst"), values[values.len() - 1]));
    }
    figures
}

/// To four digits behind the point, and without a point where there are none.
fn number(value: f64) -> Value {
    let rounded = (value * 1e4).round() / 1e4;
    let is_whole = rounded.fract() == 0.0 && rounded.abs() < 1e15;
    if is_whole {
        return Value::from(rounded as i64);
    }
    Number::from_f64(rounded).map_or(Value::Null, Value::from)
}

/// A hash of the configuration, the same on every machine: figures of different ones differ.
fn config_hash(config: &Config) -> u64 {
    format!("{config:?}").bytes().fold(0, |hash, byte| mixed(hash, byte.into()))
}

fn mixed(hash: u64, number: u64) -> u64 {
    (hash ^ number).wrapping_mul(0xff51_afd7_ed55_8ccd).rotate_left(31)
}

pub(super) fn loss(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(loss) if (0.0..=0.9).contains(&loss) => Ok(loss),
        _ => Err("choose 0 to 0.9".into()),
    }
}

/// How many figures stand in one heading of a plot.
const FIGURES_A_LINE: usize = 3;

/// Of more nodes there is enough to do at once in one world.
const SIDE_BY_SIDE_NODES_MAX: u32 = 2_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn summed(values: &[Option<f64>], over: Over) -> [Option<f64>; 2] {
        let samples: Vec<Sample> =
            values.iter().map(|value| vec![Figure::new("it", *value).over(over)]).collect();
        let [(_, middle), (key, worst)] = &summed_up(&samples)[..] else { panic!("one figure") };
        assert_eq!(key, "it_worst");
        [*middle, *worst]
    }

    #[test]
    fn the_worst_is_what_is_least_wanted_and_nothing_is_worse_than_all() {
        let values = [Some(4.0), Some(1.0), Some(2.0)];
        assert_eq!(summed(&values, Over::Median), [Some(2.0), Some(4.0)]);
        assert_eq!(summed(&values, Over::MedianOfGood), [Some(2.0), Some(1.0)]);
        assert_eq!(summed(&[Some(3.0), Some(1.0)], Over::Mean), [Some(2.0), Some(3.0)]);
        let squares = summed(&[Some(3.0), Some(-1.0), Some(1.0)], Over::RootMeanSquare);
        assert_eq!(squares, [Some((11.0_f64 / 3.0).sqrt()), Some(3.0)]);
        for over in [Over::Median, Over::MedianOfGood] {
            assert_eq!(summed(&[None, Some(1.0), Some(1.0)], over), [Some(1.0), None]);
            assert_eq!(summed(&[None, Some(1.0)], over), [None, None]);
        }
        assert_eq!(summed(&[None, Some(1.0)], Over::Mean), [None, None]);
    }

    #[test]
    fn numbers_are_written_as_people_write_them() {
        let written = |value| number(value).to_string();
        assert_eq!([3.0, 0.123_456, -2.5].map(written), ["3", "0.1235", "-2.5"]);
        assert_eq!(written(f64::INFINITY), "null");
    }
}
