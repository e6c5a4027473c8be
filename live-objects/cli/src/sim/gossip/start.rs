//! How long a cluster takes to know itself after all its nodes started at once with one seed, and
//! at what cost.
//!
//! The floor is what it takes to tell every node the entry of every other one once.

use std::process::ExitCode;

use clap::Args;
use gossip::Config;
use live_objects::Time;
use live_objects_sim::World;

use super::cluster::{FULL_WITHIN, GLANCE, Known, Sent, started};
use super::setting::Setting;
use crate::join;
use crate::sim::figures::{Figure, Told};
use crate::sim::plot::{Curve, Panel, Plot, Scale};

/// What the story of the start is told.
#[derive(Args)]
pub(crate) struct Start {
    #[command(flatten)]
    setting: Setting,
}

impl Start {
    pub(crate) fn run(&self) -> ExitCode {
        self.setting.tell("start", usize::MAX, |seed, threads| self.story(seed, threads), |_| true)
    }

    fn story(&self, seed: u64, threads: usize) -> Told {
        let nodes = self.setting.nodes;
        let mut world = started(seed, nodes, threads, &[0], self.setting.loss);
        let mut known = Known::new(nodes as usize);
        let mut told_s = 0;
        let mut track = Track::new(&world);
        while known.full_at.is_none() && world.now() < Time::ZERO + FULL_WITHIN {
            world.run(GLANCE);
            world.take_history().for_each(|record| known.read(&record));
            if track.is_due(world.now()) || known.full_at.is_some() {
                track.round(&known, Sent::by(&world));
            }
            let second = world.now().as_nanos() / 1_000_000_000;
            if second > told_s {
                told_s = second;
                let percent = known.share() * 100.0;
                join::complain(&format!("seed {seed}: {percent:.2} % known after {second} s"));
            }
        }
        let sent = Sent::by(&world);
        let pairs = f64::from(nodes) * f64::from(nodes - 1);
        let if_full = |value: f64| known.full_at.map(|_| value);
        let seconds = |at: Option<Time>| Some(at?.since(Time::ZERO).as_secs_f64());
        let sample = vec![
            Figure::new("full_s", seconds(known.full_at)),
            Figure::new("full_99_s", seconds(known.nearly_full_at)),
            Figure::new(
                "bytes_over_floor",
                if_full(sent.bytes() as f64 / pairs / ENTRY_BYTES as f64),
            ),
            Figure::new("link_bytes_share", if_full(sent.links as f64 / sent.bytes() as f64)),
        ];
        Told::new(vec![sample], world.trace_hash()).plotted(track.plot())
    }
}

/// What was seen round by round. The last one ends when all are known.
struct Track {
    ends_at: Time,
    sent: Sent,
    nodes: f64,
    pairs: Curve,
    tables: Curve,
    datagrams: Curve,
    links: Curve,
}

impl Track {
    fn new(world: &World) -> Self {
        Self {
            ends_at: world.now() + Config::default().period,
            sent: Sent::by(world),
            nodes: world.nodes() as f64,
            pairs: Curve::new("pairs that are known"),
            tables: Curve::new("complete tables"),
            datagrams: Curve::new("datagrams"),
            links: Curve::new("links"),
        }
    }

    fn is_due(&self, now: Time) -> bool {
        now >= self.ends_at
    }

    fn round(&mut self, known: &Known, sent: Sent) {
        self.ends_at = self.ends_at + Config::default().period;
        let since = sent.since(self.sent);
        self.sent = sent;
        self.pairs.values.push(100.0 * known.share());
        self.tables.values.push(100.0 * known.complete() as f64 / self.nodes);
        self.datagrams.values.push(since.datagrams as f64 / self.nodes);
        self.links.values.push(since.links as f64 / self.nodes);
    }

    fn plot(self) -> Plot {
        let Self { pairs, tables, datagrams, links, .. } = self;
        let panel = |title, scale, curves| Panel { title, scale, curves };
        Plot {
            panels: vec![
                panel("who knows whom, %", Scale::Percent, vec![pairs, tables]),
                panel("bytes sent, of a node in the round", Scale::Linear, vec![datagrams, links]),
            ],
        }
    }
}

/// What one entry takes on the wire, with an address and a credential.
const ENTRY_BYTES: u64 = 155;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::gossip::setting;

    #[test]
    fn a_small_cluster_knows_itself() {
        let start = Start { setting: setting(24, 0.05) };
        let outcome = start.setting.outcome("start", 2, |seed, threads| start.story(seed, threads));
        let full_s = outcome.figure("full_s").expect("it knows itself");
        assert!(
            outcome.figure("full_99_s").is_some_and(|nearly| nearly <= full_s && full_s < 30.0)
        );
        assert!(outcome.figure("bytes_over_floor").is_some_and(|times| times > 1.0));
        let plot = outcome.plot().expect("it went by rounds");
        assert!(plot.is_whole((full_s * 5.0).ceil() as usize));
        let shares = ["pairs that are known", "complete tables"].map(|name| plot.last(name));
        assert_eq!(shares, [Some(100.0); 2]);
    }
}
