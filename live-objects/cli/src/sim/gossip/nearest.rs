//! How near whom the nodes of a world find is, of those who offer themselves.
//!
//! When all nodes know each other they move into cities, the network begins to lose packets, some
//! of them offer themselves and all others look for the nearest: that is round 0, in which nobody
//! knows where anybody is. After some rounds each of the others asks, and goes to the one that it
//! is told first. The truth is the round trip when nothing holds packets up.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use gossip::Config;
use live_objects::{Command, Event, Load, Name, Near, ObjectId, ObjectType, Spec};
use live_objects_sim::{Cities, Fault, Latency, Network, What, World};
use rand::seq::index::sample;

use super::cluster::{Sent, settled};
use super::setting::Setting;
use crate::join;
use crate::sim::figures::{Figure, Outcome, Over, Sample, Told};

/// What the story of the nearest is told.
#[derive(Args)]
pub(crate) struct Nearest {
    #[command(flatten)]
    setting: Setting,
    /// After how many rounds nodes ask.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: u32,
    /// The share of nodes that offer themselves, from 0 to 1: one at least, and not all.
    #[arg(long, value_name = "SHARE", default_value_t = 0.1, value_parser = share)]
    offers: f64,
}

/// What came of one world.
struct Measured {
    within: f64,
    exact: f64,
    /// None if nobody was told of anybody.
    error: Option<f64>,
    sent: Sent,
}

impl Nearest {
    pub(crate) fn run(&self) -> ExitCode {
        let story = |seed, threads| self.story(seed, threads);
        self.setting.tell("nearest", usize::MAX, story, is_good)
    }

    fn story(&self, seed: u64, threads: usize) -> Told {
        let mut world = settled(seed, self.setting.nodes, threads);
        let cities = Cities::drawn(world.nodes(), CITIES, &world.rng("cities"));
        world.set_network(Network { latency: Latency::fixed(LEAST), ..Network::LAN });
        world.set_cities(cities.clone());
        world.apply(&Fault::Loss(self.setting.loss));
        let (object, offerers) = self.open(&mut world);
        let before = Sent::by(&world);
        for round in 1..=self.rounds {
            world.run(Config::default().period);
            world.take_history();
            if round % REPORTED_ROUNDS == 0 {
                let sent = Sent::by(&world).since(before);
                let mut watch = world_of(&cities, &offerers, sent);
                watch.ask(&mut world, object);
                join::complain(&format!(
                    "seed {seed}: round {round}: {:.3} within a tenth, {:.3} exact",
                    watch.within(),
                    watch.exact(),
                ));
            }
        }
        let sent = Sent::by(&world).since(before);
        let mut watch = world_of(&cities, &offerers, sent);
        watch.ask(&mut world, object);
        let samples = vec![self.sample(&watch.measured())];
        Told::new(samples, world.trace_hash())
    }

    /// All open the object, and some offer themselves.
    fn open(&self, world: &mut World) -> (ObjectId, Vec<usize>) {
        let nodes = world.nodes();
        let count = ((nodes as f64 * self.offers).round() as usize).clamp(1, nodes - 1);
        let mut offerers = sample(&mut world.rng("offerers"), nodes, count).into_vec();
        offerers.sort_unstable();
        let name: Name = "/mirrors".parse().expect("a name");
        let object = name.id();
        for node in 0..nodes {
            let spec = Spec::new(name.clone(), ObjectType::nearest());
            world.open(node, spec).expect("gossip carries it");
        }
        for node in &offerers {
            let offer = Command::Offer(Load::IDLE);
            world.send(*node, object, offer).expect("the feed is empty");
        }
        (object, offerers)
    }

    fn sample(&self, measured: &Measured) -> Sample {
        let node_rounds = f64::from(self.setting.nodes) * f64::from(self.rounds);
        let figure = |key, value| Figure::new(key, Some(value));
        let sent = measured.sent;
        vec![
            figure(WITHIN, measured.within).over(Over::MedianOfGood),
            figure("exact_share", measured.exact).over(Over::MedianOfGood),
            Figure::new("coordinate_error_median", measured.error),
            figure(DATAGRAM_BYTES, sent.datagram_max as f64),
            figure("bytes_per_node_round_mean", sent.datagrams as f64 / node_rounds),
        ]
    }
}

/// What those who asked were told.
struct Watch<'a> {
    cities: &'a Cities,
    offerers: &'a [usize],
    sent: Sent,
    /// Who asked; whom it was told first, if anybody; and the truth of the best.
    chosen: Vec<(Option<Duration>, Duration)>,
    /// By which part what coordinates foretold was off.
    errors: Vec<f64>,
}

fn world_of<'a>(cities: &'a Cities, offerers: &'a [usize], sent: Sent) -> Watch<'a> {
    Watch { cities, offerers, sent, chosen: Vec::new(), errors: Vec::new() }
}

impl Watch<'_> {
    /// All who do not offer themselves ask.
    fn ask(&mut self, world: &mut World, object: ObjectId) {
        world.take_history();
        let askers: Vec<usize> =
            (0..world.nodes()).filter(|node| self.offerers.binary_search(node).is_err()).collect();
        for asker in &askers {
            world.send(*asker, object, Command::Rank).expect("the feed is empty");
        }
        // To be asked is a step, and answers are local.
        world.run(Duration::from_nanos(1));
        let mut answers: Vec<Option<Vec<Near>>> = vec![None; world.nodes()];
        for record in world.take_history() {
            if let What::Event(of, Event::Nearest(ranking)) = record.what
                && of == object
            {
                answers[record.node] = Some(ranking);
            }
        }
        for asker in askers {
            self.read(world, asker, answers[asker].as_deref().unwrap_or(&[]));
        }
    }

    fn read(&mut self, world: &World, asker: usize, ranking: &[Near]) {
        let truth = |other: usize| self.cities.round_trip(asker, other) + 2 * LEAST;
        let node_of = |near: &Near| world.node_of(near.member).expect("it is one of the world's");
        let best = self.offerers.iter().map(|offerer| truth(*offerer)).min();
        let chosen = ranking.first().map(|near| truth(node_of(near)));
        for near in ranking {
            let (foretold, truth) = (near.foretold.as_secs_f64(), truth(node_of(near)));
            self.errors.push((foretold / truth.as_secs_f64() - 1.0).abs());
        }
        self.chosen.push((chosen, best.expect("somebody offers himself")));
    }

    fn share(&self, is_so: impl Fn(Duration, Duration) -> bool) -> f64 {
        let are = |(chosen, best): &&(Option<Duration>, Duration)| {
            chosen.is_some_and(|chosen| is_so(chosen, *best))
        };
        self.chosen.iter().filter(are).count() as f64 / self.chosen.len() as f64
    }

    fn within(&self) -> f64 {
        self.share(|chosen, best| chosen.as_nanos() * 10 <= best.as_nanos() * 11)
    }

    fn exact(&self) -> f64 {
        self.share(|chosen, best| chosen == best)
    }

    fn measured(mut self) -> Measured {
        self.errors.sort_by(f64::total_cmp);
        let error = self.errors.get(self.errors.len() / 2).copied();
        Measured { within: self.within(), exact: self.exact(), error, sent: self.sent }
    }
}

/// Whether most found somebody near, by datagrams of which none was too long.
fn is_good(outcome: &Outcome) -> bool {
    let is_short = |bytes: f64| bytes <= DATAGRAM_MAX;
    outcome.figure(WITHIN).is_some_and(|share| share >= WITHIN_GOAL)
        && outcome.figure(&format!("{DATAGRAM_BYTES}_worst")).is_some_and(is_short)
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("choose 0 to 1".into()),
    }
}

const WITHIN: &str = "within_10pct_share";
const WITHIN_GOAL: f64 = 0.95;
const DATAGRAM_BYTES: &str = "datagram_bytes_max";
const DATAGRAM_MAX: f64 = 1_200.0;

/// How many cities the world has.
const CITIES: usize = 30;

/// What a packet takes beside its way.
const LEAST: Duration = Duration::from_micros(500);

/// After how many rounds it is told how far it is, each time.
const REPORTED_ROUNDS: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::gossip::setting;

    #[test]
    fn in_a_small_world_most_find_the_nearest() {
        let story = Nearest { setting: setting(60, 0.05), rounds: 60, offers: 0.15 };
        let outcome =
            story.setting.outcome("nearest", 1, |seed, threads| story.story(seed, threads));
        assert!(is_good(&outcome), "{:?}", outcome.figure(WITHIN));
    }
}
