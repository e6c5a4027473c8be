//! What a story measures, over its seeds: one middle value and the worst of each figure.
//!
//! A story is told under each seed and gives *samples*: one a seed, or several if what it looks at
//! happens several times in one world. A figure that a sample has no value for did not come to be
//! (a cluster that was never complete): it counts as worse than any value, and the command fails.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde::ser::{Serialize, Serializer};
use serde_json::{Number, Value};

use super::plot::Plot;
use crate::join::{self, Failure};
use crate::sim::threads_of_machine;

/// What is to be told, and how what came of it is printed.
pub(super) struct Run {
    pub(super) scenario: &'static str,
    /// What the story was told, beside its seed.
    pub(super) facts: Vec<(&'static str, Value)>,
    pub(super) seeds: Range<u64>,
    /// How many worlds may be told of at a time.
    pub(super) worlds_max: usize,
    /// What was configured: figures of different configurations differ.
    pub(super) config_hash: u64,
    /// Where to draw how it went under the first seed.
    pub(super) plot: Option<PathBuf>,
    pub(super) is_json: bool,
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
    /// Of what number, if there are several of the same key.
    of: Option<u32>,
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
        Self { key, of: None, over: Over::Median, value }
    }

    /// The same, by a number.
    pub(super) fn of(key: &'static str, of: u32, value: Option<f64>) -> Self {
        Self { of: Some(of), ..Self::new(key, value) }
    }

    pub(super) fn over(self, over: Over) -> Self {
        Self { over, ..self }
    }
}

impl Run {
    /// Tells a story under every seed, given it and how many threads its world may use, and how it
    /// went. `is_good` has the last word of what came of it.
    pub(super) fn tell(
        self,
        story: impl Fn(u64, usize) -> Told + Sync,
        is_good: impl Fn(&Outcome) -> bool,
    ) -> ExitCode {
        let (plot, is_json) = (self.plot.clone(), self.is_json);
        let outcome = self.outcome(story);
        outcome.print(is_json);
        if let Some(file) = &plot
            && let Err(failure) = outcome.write_plot(file)
        {
            return failure.tell();
        }
        let is_good = outcome.is_complete() && is_good(&outcome);
        join::ended(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// What comes of it. That does not depend on how many worlds there are at a time.
    pub(super) fn outcome(self, story: impl Fn(u64, usize) -> Told + Sync) -> Outcome {
        let begin = Instant::now();
        let threads = threads_of_machine();
        let seeds = self.seeds;
        let count = seeds.end - seeds.start;
        let worlds = self.worlds_max.min(threads);
        let worlds = worlds.min(usize::try_from(count).unwrap_or(usize::MAX));
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
            scenario: self.scenario,
            facts: self.facts,
            seeds,
            plotted,
            figures: summed_up(&samples),
            config_hash: self.config_hash,
            trace_hash,
            seconds: begin.elapsed().as_secs_f64(),
        }
    }
}

/// What came of a story under all its seeds.
pub(super) struct Outcome {
    scenario: &'static str,
    facts: Vec<(&'static str, Value)>,
    seeds: Range<u64>,
    plotted: Option<Plotted>,
    /// In the order of the samples: each figure, and its worst value.
    figures: Vec<Summed>,
    config_hash: u64,
    trace_hash: u64,
    seconds: f64,
}

/// A figure over all samples, or the worst of it.
struct Summed {
    key: String,
    of: Option<u32>,
    value: Option<f64>,
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
        let mut headings = vec![format!("{}, seed {seed}", self.heading())];
        headings.extend(told.chunks(FIGURES_A_LINE).map(|figures| figures.join(", ")));
        let written = plot.write(file, &headings);
        written.map_err(|error| Failure::new(format!("{}: {error}", file.display())))
    }

    /// Whether every figure has a value.
    pub(super) fn is_complete(&self) -> bool {
        self.figures.iter().all(|figure| figure.value.is_some())
    }

    /// A figure, if it has a value.
    pub(super) fn figure(&self, key: &str) -> Option<f64> {
        self.figures.iter().find(|figure| figure.key == key)?.value
    }

    /// The scenario and what it was told.
    fn heading(&self) -> String {
        let facts = self.facts.iter().map(|(key, value)| format!("{key} {value}"));
        format!("{}: {}", self.scenario, facts.collect::<Vec<_>>().join(", "))
    }

    /// The figures of each key, in the order in which that comes first.
    fn by_key(&self) -> Vec<(&str, Vec<&Summed>)> {
        let mut keys: Vec<(&str, Vec<&Summed>)> = Vec::new();
        for figure in &self.figures {
            match keys.iter_mut().find(|(key, _)| *key == figure.key) {
                Some((_, figures)) => figures.push(figure),
                None => keys.push((&figure.key, vec![figure])),
            }
        }
        keys
    }

    fn print(&self, is_json: bool) {
        if is_json {
            let _ = join::line(&serde_json::to_string(self).expect("an outcome is plain data"));
            return;
        }
        let Range { start, end } = self.seeds;
        let count = end - start;
        let seeds = if count == 1 { format!("seed {start}") } else { format!("{count} seeds") };
        let _ = join::line(&format!("{}, {seeds}", self.heading()));
        let names: Vec<String> = self.figures.iter().map(Summed::name).collect();
        let width = names.iter().map(String::len).max().unwrap_or(0);
        for (name, figure) in names.iter().zip(&self.figures) {
            let value = figure.value.map_or("never".to_owned(), |value| number(value).to_string());
            let _ = join::line(&format!("  {name:width$}  {value}"));
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
        let Range { start, end } = self.seeds;
        let scenario = [("scenario", Value::from(self.scenario))];
        let facts = self.facts.iter().map(|(key, value)| (*key, value.clone()));
        let before = scenario.into_iter().chain(facts).chain([("seeds", (end - start).into())]);
        let seed = (end - start == 1).then(|| ("seed", start.into()));
        let figures = self.by_key().into_iter().map(|(key, figures)| match figures[..] {
            [Summed { of: None, value, .. }] => (key, json(*value)),
            _ => {
                let name = |of: Option<u32>| of.map_or(String::new(), |of| of.to_string());
                let values = figures.into_iter().map(|it| (name(it.of), json(it.value)));
                (key, values.collect::<serde_json::Map<_, _>>().into())
            }
        });
        let after = [
            ("config_hash", format!("{:016x}", self.config_hash).into()),
            ("trace_hash", format!("{:016x}", self.trace_hash).into()),
            ("all_seconds", number(self.seconds)),
        ];
        serializer.collect_map(before.chain(seed).chain(figures).chain(after))
    }
}

impl Summed {
    fn name(&self) -> String {
        let name = self.key.replace('_', " ");
        self.of.map_or(name.clone(), |of| format!("{name}, {of}"))
    }
}

fn json(value: Option<f64>) -> Value {
    value.map_or(Value::Null, number)
}

/// Each figure of the samples, and the worst of it.
fn summed_up(samples: &[Sample]) -> Vec<Summed> {
    let Some(first) = samples.first() else { return Vec::new() };
    let keys: BTreeSet<_> = first.iter().map(|figure| (figure.key, figure.of)).collect();
    assert_eq!(keys.len(), first.len(), "each figure stands in a sample once");
    let mut figures = Vec::new();
    for (position, Figure { key, of, over, .. }) in first.iter().enumerate() {
        let mut values: Vec<Option<f64>> = Vec::with_capacity(samples.len());
        for sample in samples {
            let it = &sample[position];
            assert_eq!((it.key, it.of), (*key, *of), "samples of one story are alike");
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
        figures.push(Summed { key: (*key).to_owned(), of: *of, value: middle });
        let worst = values[values.len() - 1];
        figures.push(Summed { key: format!("{key}_worst"), of: *of, value: worst });
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

/// A hash of a configuration, the same on every machine.
pub(super) fn config_hash(config: &impl Debug) -> u64 {
    format!("{config:?}").bytes().fold(0, |hash, byte| mixed(hash, byte.into()))
}

fn mixed(hash: u64, number: u64) -> u64 {
    (hash ^ number).wrapping_mul(0xff51_afd7_ed55_8ccd).rotate_left(31)
}

/// How many figures stand in one heading of a plot.
const FIGURES_A_LINE: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn summed(values: &[Option<f64>], over: Over) -> [Option<f64>; 2] {
        let samples: Vec<Sample> =
            values.iter().map(|value| vec![Figure::new("it", *value).over(over)]).collect();
        let [middle, worst] = &summed_up(&samples)[..] else { panic!("one figure") };
        assert_eq!(worst.key, "it_worst");
        [middle.value, worst.value]
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
