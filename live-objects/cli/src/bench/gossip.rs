//! `logo bench gossip`: nodes that rest, each a process of its own, and what they cost.
//!
//! All are asked over and over until each knows all and has every aggregate exactly; then nobody
//! asks them anything but at the two ends of the span that is measured.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use logo::Folder;
use serde::Serialize;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{sleep, timeout};

use super::node::{self, Ask, Standing};
use super::usage::{Usage, load_average};
use crate::interrupt::Interrupt;
use crate::join::{self, Failure};
use crate::process::{Heard, Process};

/// How many nodes, and for how long.
#[derive(Args)]
pub(crate) struct Gossip {
    /// How many nodes, each a process of its own.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(2..=500))]
    nodes: u16,
    /// How many aggregates each has open, of which it sets its share once.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(0..=256))]
    aggregates: u16,
    /// For how many seconds they are measured.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// For how many seconds they are left alone before: links that nobody uses take sixty to be
    /// closed.
    #[arg(long, default_value_t = 75, value_parser = clap::value_parser!(u64).range(..=3_600))]
    rest: u64,
    /// Print the result as one line of JSON.
    #[arg(long)]
    json: bool,
    /// Run as this node of a measurement that was started before.
    #[arg(long, hide = true, requires = "folder")]
    node: Option<usize>,
    #[arg(long, hide = true)]
    folder: Option<PathBuf>,
}

/// What was measured, in the order in which it is printed.
#[derive(Serialize)]
struct Outcome {
    nodes: usize,
    aggregates: usize,
    /// Until all knew each other and had all aggregates exactly.
    settled_s: f64,
    seconds: f64,
    load_average: Option<f64>,
    cpu_percent_median: f64,
    cpu_percent_worst: f64,
    rss_mib_median: f64,
    rss_mib_worst: f64,
    own_mib_median: f64,
    own_mib_worst: f64,
    threads_worst: f64,
    wakes_s_median: f64,
    wakes_s_worst: f64,
    packets_out_s_median: f64,
    bytes_out_s_median: f64,
    bytes_out_s_worst: f64,
}

impl Gossip {
    pub(crate) fn run(self) -> ExitCode {
        if let (Some(number), Some(folder)) = (self.node, &self.folder) {
            let run = async {
                let (nodes, aggregates) = (self.nodes.into(), self.aggregates.into());
                match node::run(folder, number, nodes, aggregates).await {
                    Ok(()) => Ok(ExitCode::SUCCESS),
                    Err(error) => Err(Failure::new(format!("node {number}: {error}"))),
                }
            };
            return join::run_unheard(run);
        }
        join::run(async {
            let mut interrupt = Interrupt::listen()?;
            // A cluster of this user's like others, so that it can be looked at while it rests.
            let cluster = format!("bench-{}", std::process::id());
            let folder = Folder::of_user(&cluster).map_err(Failure::new)?;
            let mut ended = ExitCode::SUCCESS;
            let measured = tokio::select! {
                measured = self.measure(folder.path()) => measured.map(Some),
                code = interrupt.interrupted() => {
                    ended = code.into();
                    Ok(None)
                }
            };
            // Whatever it was, the folder was of these nodes alone.
            let _ = fs::remove_dir_all(folder.path());
            if let Some(outcome) = measured? {
                self.tell(&outcome);
            }
            Ok(ended)
        })
    }

    async fn measure(&self, folder: &Path) -> Result<Outcome, Failure> {
        Usage::of(std::process::id()).map_err(Failure::new)?;
        let begun = Instant::now();
        let mut nodes = self.start(folder)?;
        let settled = nodes.settle(self.aggregates.into()).await?;
        let settled_s = begun.elapsed().as_secs_f64();
        join::complain(&format!("{settled} nodes know each other after {settled_s:.1} s"));
        sleep(Duration::from_secs(self.rest)).await;
        let load_average = load_average();
        let before = nodes.sample().await?;
        sleep(Duration::from_secs(self.seconds)).await;
        let after = nodes.sample().await?;
        if !after.iter().all(|sample| nodes.is_settled(&sample.standing, self.aggregates.into())) {
            return Err(Failure::new(
                "a node did not know all others any more, or an aggregate was not exact, at the \
                 end of the measurement: is the machine too busy for so many nodes?",
            ));
        }
        Ok(self.outcome(settled_s, load_average, &before, &after))
    }

    fn start(&self, folder: &Path) -> Result<Nodes, Failure> {
        let (said, hearing) = unbounded_channel();
        let [nodes, aggregates] = [self.nodes, self.aggregates].map(|it| it.to_string());
        let start = |number: usize| {
            let node = number.to_string();
            let words = ["bench", "gossip", "--node", &node, "--nodes", &nodes];
            let more = ["--aggregates", &aggregates, "--folder"];
            let words = words.into_iter().chain(more).map(OsStr::new);
            let arguments: Vec<&OsStr> = words.chain([folder.as_os_str()]).collect();
            Process::start(&arguments, number, said.clone())
        };
        let processes: Result<Vec<_>, _> = (0..self.nodes.into()).map(start).collect();
        let processes =
            processes.map_err(|error| Failure::new(format!("a node was not started: {error}")))?;
        Ok(Nodes { processes, hearing })
    }

    fn outcome(
        &self,
        settled_s: f64,
        load_average: Option<f64>,
        before: &[Sample],
        after: &[Sample],
    ) -> Outcome {
        let spans: Vec<(&Sample, &Sample)> = before.iter().zip(after).collect();
        let each = |figure: &dyn Fn(&Sample, &Sample) -> f64| {
            Figure::of(spans.iter().map(|(before, after)| figure(before, after)).collect())
        };
        let seconds = |before: &Sample, after: &Sample| (after.at - before.at).as_secs_f64();
        let cpu = each(&|before, after| {
            (after.usage.cpu.saturating_sub(before.usage.cpu)).as_secs_f64() * 100.0
                / seconds(before, after)
        });
        let a_second = |count: &dyn Fn(&Sample) -> u64| {
            each(&|before, after| {
                count(after).saturating_sub(count(before)) as f64 / seconds(before, after)
            })
        };
        let packets = |sample: &Sample| sample.counted("net.packets_sent");
        let bytes = |sample: &Sample| sample.counted("net.bytes_sent") + packets(sample) * HEADS;
        let [packets_s, bytes_s] = [a_second(&packets), a_second(&bytes)];
        let wakes = a_second(&|sample| sample.usage.wakes);
        let rss = each(&|_, after| after.usage.resident as f64 / MIB);
        let own = each(&|_, after| after.usage.own as f64 / MIB);
        Outcome {
            nodes: self.nodes.into(),
            aggregates: self.aggregates.into(),
            settled_s: rounded(settled_s),
            seconds: each(&seconds).median,
            load_average: load_average.map(rounded),
            cpu_percent_median: cpu.median,
            cpu_percent_worst: cpu.worst,
            rss_mib_median: rss.median,
            rss_mib_worst: rss.worst,
            own_mib_median: own.median,
            own_mib_worst: own.worst,
            threads_worst: each(&|_, after| after.usage.threads as f64).worst,
            wakes_s_median: wakes.median,
            wakes_s_worst: wakes.worst,
            packets_out_s_median: packets_s.median,
            bytes_out_s_median: bytes_s.median,
            bytes_out_s_worst: bytes_s.worst,
        }
    }

    fn tell(&self, outcome: &Outcome) {
        if self.json {
            let told = serde_json::to_string(outcome).expect("an outcome is plain data");
            let _ = join::line(&told);
            return;
        }
        let _ = join::line(&format!(
            "{} nodes with {} aggregates, settled after {} s, at rest for {} s\n\
             processor       {:8.2} % of a core a node, {:.2} at worst\n\
             memory          {:8.2} MiB a node, {:.2} at worst, of which {:.2} its own\n\
             threads, wakes  {:8} and {:.1} a second\n\
             sent            {:8.0} bytes a second in {:.1} packets, {:.0} at worst",
            outcome.nodes,
            outcome.aggregates,
            outcome.settled_s,
            outcome.seconds,
            outcome.cpu_percent_median,
            outcome.cpu_percent_worst,
            outcome.rss_mib_median,
            outcome.rss_mib_worst,
            outcome.own_mib_median,
            outcome.threads_worst,
            outcome.wakes_s_median,
            outcome.bytes_out_s_median,
            outcome.packets_out_s_median,
            outcome.bytes_out_s_worst,
        ));
    }
}

/// The nodes that run.
struct Nodes {
    processes: Vec<Process<Ask>>,
    hearing: UnboundedReceiver<(usize, Heard<Standing>)>,
}

/// What a node was like at a moment.
struct Sample {
    at: Instant,
    usage: Usage,
    standing: Standing,
}

impl Sample {
    fn counted(&self, name: &str) -> u64 {
        self.standing.counts.get(name).copied().unwrap_or_default()
    }
}

impl Nodes {
    /// Waits until all are settled, and tells how many that are.
    async fn settle(&mut self, aggregates: usize) -> Result<usize, Failure> {
        let (begun, all) = (Instant::now(), self.processes.len());
        loop {
            let standings = self.standings().await?;
            let is_settled = |standing: &&Standing| self.is_settled(standing, aggregates);
            let settled = standings.iter().filter(is_settled).count();
            if settled == all {
                return Ok(settled);
            }
            if begun.elapsed() > SETTLING_MAX {
                let least = standings.iter().min_by_key(|it| (it.members, it.exact));
                let least = least.expect("there are nodes");
                return Err(Failure::new(format!(
                    "after {} s only {settled} of {all} nodes know all others and have \
                     {aggregates} aggregates exactly; the last of them knows {} members and has \
                     {}: try with fewer nodes, or when the machine is less busy",
                    SETTLING_MAX.as_secs(),
                    least.members,
                    least.exact,
                )));
            }
            sleep(ASKING).await;
        }
    }

    fn is_settled(&self, standing: &Standing, aggregates: usize) -> bool {
        standing.members == self.processes.len() && standing.exact == aggregates
    }

    /// What all are like now. The system is asked after them: so one round of answers is in the
    /// span, and counts for what is asked.
    async fn sample(&mut self) -> Result<Vec<Sample>, Failure> {
        let standings = self.standings().await?;
        let sample = |(process, standing): (&Process<Ask>, Standing)| {
            let id = process.id().expect("nobody waited for it");
            let usage = Usage::of(id).map_err(Failure::new)?;
            Ok(Sample { at: Instant::now(), usage, standing })
        };
        self.processes.iter().zip(standings).map(sample).collect()
    }

    /// How each of them stands, in their order.
    async fn standings(&mut self) -> Result<Vec<Standing>, Failure> {
        for process in &self.processes {
            process.tell(Ask::Standing);
        }
        let mut standings: Vec<Option<Standing>> = vec![None; self.processes.len()];
        while standings.iter().any(Option::is_none) {
            let heard = timeout(ANSWERING_MAX, self.hearing.recv()).await;
            let heard = heard.map_err(|_| {
                let missing = standings.iter().filter(|it| it.is_none()).count();
                let seconds = ANSWERING_MAX.as_secs();
                Failure::new(format!("{missing} nodes say nothing for {seconds} s"))
            })?;
            match heard.expect("whoever starts nodes can be told") {
                (number, Heard::Say(standing)) => standings[number] = Some(standing),
                (number, Heard::End) => {
                    return Err(Failure::new(format!("node {number} ended by itself")));
                }
            }
        }
        Ok(standings.into_iter().flatten().collect())
    }
}

/// One figure of all nodes.
struct Figure {
    median: f64,
    worst: f64,
}

impl Figure {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let median = f64::midpoint(values[(values.len() - 1) / 2], values[values.len() / 2]);
        let worst = values.last().copied().expect("there are nodes");
        Self { median: rounded(median), worst: rounded(worst) }
    }
}

/// To hundredths: more would be told than is known.
fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

const MIB: f64 = 1_048_576.0;
/// What UDP and IP put before a packet.
const HEADS: u64 = 28;
/// How long it may take until all are settled.
const SETTLING_MAX: Duration = Duration::from_secs(180);
/// How long nodes may take to say how they stand, from when they start: they enter the folder one
/// at a time.
const ANSWERING_MAX: Duration = Duration::from_secs(60);
/// How often nodes are asked until they are settled.
const ASKING: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_even_number_the_median_is_between_two() {
        let figure = Figure::of(vec![4.0, 1.0, 2.0, 30.126]);
        assert_eq!((figure.median, figure.worst), (3.0, 30.13));
        assert_eq!(Figure::of(vec![7.0]).median, 7.0);
    }
}
