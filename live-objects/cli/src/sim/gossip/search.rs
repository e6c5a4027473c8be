//! How many nodes are asked to find the few of a large cluster that have some attribute, and what
//! it costs that they can be found.
//!
//! When all nodes know each other and are at rest they describe themselves, as the hosts of a fleet
//! are: by a role, a rack, a version, a name that no other has, a load, and some few by what is
//! looked for. After some rounds, and a rest, nodes drawn by chance search for these, one after the
//! other. Then some of those who match crash, and others search at once: nobody knows of the crash.
//! Each search is a sample, before the crash and after it.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use gossip::Config;
use live_objects::{
    Attributes, CatalogEvent, Command, Event, Name, ObjectId, ObjectType, Predicate, Rng, Spec,
    Told as Answered,
};
use live_objects_sim::{Fault, What, World};
use rand::RngExt;
use rand::seq::SliceRandom;

use super::cluster::{Sent, settled};
use super::setting::Setting;
use crate::join;
use crate::sim::figures::{Figure, Outcome, Sample, Told};

/// What the story of the searches is told.
#[derive(Args)]
pub(crate) struct Search {
    #[command(flatten)]
    setting: Setting,
    /// How many nodes match.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    matching: u32,
    /// How many of these crash before the second half of the searches.
    #[arg(long, default_value_t = 2)]
    crash: u32,
    /// How many searches there are, before the crash and after it.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    searches: u32,
    /// In how many rounds what nodes say of themselves spreads.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: u32,
}

/// What came of one search.
struct Searched {
    asked: u64,
    missed: u64,
    span: Duration,
}

/// What all nodes sent: bytes of one.
struct Rates {
    /// In a second, before anybody described itself.
    rest: f64,
    /// In a round, while that spread.
    spread: f64,
    /// In a second, when it had.
    still: f64,
    datagram_max: u64,
}

impl Search {
    pub(crate) fn run(&self) -> ExitCode {
        let story = |seed, threads| self.story(seed, threads);
        self.setting.tell("search", usize::MAX, story, is_good)
    }

    fn story(&self, seed: u64, threads: usize) -> Told {
        let nodes = self.setting.nodes;
        let mut world = settled(seed, nodes, threads);
        world.apply(&Fault::Loss(self.setting.loss));
        let rest = self.rate(&mut world, REST);
        let mut rng = world.rng("fleet");
        let mut matching: Vec<usize> = (0..world.nodes()).collect();
        matching.shuffle(&mut rng);
        matching.truncate(self.matching.min(nodes) as usize);
        let before = Sent::by(&world);
        let fleet = describe(&mut world, &matching, &mut rng);
        let begin = world.now();
        while rounds(world.now().since(begin)) < f64::from(self.rounds) {
            world.run(REPORTED_ROUNDS * Config::default().period);
            world.take_history();
            let round = rounds(world.now().since(begin));
            let Searched { asked, missed, span } =
                search_once(&mut world, fleet, &matching, &mut rng);
            join::complain(&format!(
                "seed {seed}: round {round:.0}: {asked} asked, {missed} missed, in {span:?}"
            ));
        }
        let sent = Sent::by(&world).since(before);
        let spread = sent.bytes() as f64 / f64::from(nodes) / rounds(world.now().since(begin));
        let still = self.rate(&mut world, REST);
        let calm = self.search(&mut world, fleet, &matching, &mut rng);
        let gone = matching.len().saturating_sub(1).min(self.crash as usize);
        matching.drain(..gone).for_each(|node| world.crash(node));
        let crashed = self.search(&mut world, fleet, &matching, &mut rng);
        let datagram_max = Sent::by(&world).datagram_max;
        let rates = Rates { rest, spread, still, datagram_max };
        let both = calm.iter().zip(&crashed);
        let samples = both.map(|(calm, crashed)| sample(calm, crashed, &rates)).collect();
        Told::new(samples, world.trace_hash())
    }

    /// Bytes of one node in a second, when some time has passed.
    fn rate(&self, world: &mut World, span: Duration) -> f64 {
        world.run(span);
        world.take_history();
        let before = Sent::by(world);
        world.run(span);
        world.take_history();
        Sent::by(world).since(before).rate(self.setting.nodes, span)
    }

    fn search(
        &self,
        world: &mut World,
        fleet: ObjectId,
        matching: &[usize],
        rng: &mut Rng,
    ) -> Vec<Searched> {
        (0..self.searches).map(|_| search_once(world, fleet, matching, rng)).collect()
    }
}

/// Every node opens the catalog and says what it is.
fn describe(world: &mut World, matching: &[usize], rng: &mut Rng) -> ObjectId {
    let name: Name = "/fleet".parse().expect("a name");
    for node in 0..world.nodes() {
        let spec = Spec::new(name.clone(), ObjectType::catalog());
        let object = world.open(node, spec).expect("gossip carries it");
        let own = attributes(node, matching.contains(&node), rng);
        world.send(node, object, Command::Describe(own)).expect("the feed is empty");
    }
    name.id()
}

fn attributes(node: usize, is_matching: bool, rng: &mut Rng) -> Attributes {
    let mut own = Attributes::default();
    let mut set = |name: &str, value: String| own.set(name, value).expect("it is short");
    set("role", format!("role-{}", rng.random_range(0..10)));
    set("rack", format!("rack-{}", rng.random_range(0..20)));
    set("version", format!("1.{}", rng.random_range(0..5)));
    set("host", format!("host-{node:05}"));
    if is_matching {
        set("gpu", "h100".into());
    }
    own.set("load", rng.random::<f64>()).expect("it is finite");
    own
}

/// One node searches, whoever that is.
fn search_once(world: &mut World, fleet: ObjectId, matching: &[usize], rng: &mut Rng) -> Searched {
    let running = world.running();
    let asker = running[rng.random_range(0..running.len())].0;
    let asked =
        |world: &World| world.counts(asker).map_or(0, |counts| counts.get("gossip.search_asked"));
    let before = asked(world);
    let predicate = Predicate::equal("gpu", "h100").expect("it is short");
    let search = Command::Search { matching: predicate, limit: u32::MAX };
    world.send(asker, fleet, search).expect("a feed takes one command");
    let (begin, mut found) = (world.now(), Vec::new());
    let mut ended_at = None;
    while ended_at.is_none() && world.now() < begin + ANSWERED_WITHIN {
        world.run(GLANCE);
        for record in world.take_history() {
            let What::Event(_, Event::Catalog(CatalogEvent::Found { holders, told, .. })) =
                record.what
            else {
                continue;
            };
            found.extend(holders.iter().map(|holder| holder.member));
            if told != Answered::Part {
                ended_at = Some(record.at);
            }
        }
    }
    let is_missed = |node: &&usize| world.member(**node).is_none_or(|it| !found.contains(&it));
    Searched {
        asked: asked(world) - before,
        missed: matching.iter().filter(is_missed).count() as u64,
        span: ended_at.map_or(ANSWERED_WITHIN, |at| at.since(begin)),
    }
}

fn sample(calm: &Searched, crashed: &Searched, rates: &Rates) -> Sample {
    let figure = |key, value| Figure::new(key, Some(value));
    vec![
        figure("asked", calm.asked as f64),
        figure("missed", calm.missed as f64),
        figure("answer_ms", milliseconds(calm.span)),
        figure("asked_after_crash", crashed.asked as f64),
        figure("missed_after_crash", crashed.missed as f64),
        figure("answer_ms_after_crash", milliseconds(crashed.span)),
        figure("rest_bytes_per_node_s", rates.rest),
        figure("spread_bytes_per_node_round", rates.spread),
        figure("still_bytes_per_node_s", rates.still),
        figure(DATAGRAM_BYTES, rates.datagram_max as f64),
    ]
}

fn rounds(span: Duration) -> f64 {
    span.as_secs_f64() / Config::default().period.as_secs_f64()
}

fn milliseconds(span: Duration) -> f64 {
    span.as_secs_f64() * 1_000.0
}

/// Whether all were found by asking few, by datagrams of which none was too long.
fn is_good(outcome: &Outcome) -> bool {
    let is_within = |key: &str, most: f64| {
        outcome.figure(&format!("{key}_worst")).is_some_and(|worst| worst <= most)
    };
    outcome.figure("asked").is_some_and(|asked| asked <= ASKED_GOAL)
        && is_within("missed", 0.0)
        && is_within("missed_after_crash", 0.0)
        && is_within(DATAGRAM_BYTES, DATAGRAM_MAX)
}

const ASKED_GOAL: f64 = 60.0;
const DATAGRAM_BYTES: &str = "datagram_bytes_max";
const DATAGRAM_MAX: f64 = 1_200.0;

/// For how long nodes rest before it is counted what they send, and while it is.
const REST: Duration = Duration::from_secs(30);
/// After how many rounds it is told how far it is, each time.
const REPORTED_ROUNDS: u32 = 5;
/// How long a search may take.
const ANSWERED_WITHIN: Duration = Duration::from_secs(20);
const GLANCE: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::gossip::setting;

    #[test]
    fn in_a_small_world_few_are_asked_and_none_missed() {
        let setting = setting(100, 0.05);
        let story = Search { setting, matching: 3, crash: 1, searches: 5, rounds: 60 };
        let outcome =
            story.setting.outcome("search", 1, |seed, threads| story.story(seed, threads));
        assert!(is_good(&outcome));
        let asked = outcome.figure("asked").expect("some were");
        assert!((1.0..=20.0).contains(&asked), "{asked} of 100");
    }
}
