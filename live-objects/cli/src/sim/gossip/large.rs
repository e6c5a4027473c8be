//! What a long message costs, and how long it takes, from one source after another.
//!
//! A message that is too long for a packet is announced along the broadcast tree, and pulled by
//! each from whoever announced it: so it should cross each branch of the tree once. Of the nodes
//! that crash while it is under way some are in between, and those below them have to find others
//! who have it.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use live_objects::{Command, Event, Name, ObjectId, ObjectType, Rng, Spec, Time, TopicEvent};
use live_objects_sim::{Latency, Network, What, World};
use rand::RngExt;
use rand::seq::SliceRandom;

use super::cluster::{Sent, settled};
use super::setting::Setting;
use crate::join;
use crate::sim::figures::{Figure, Outcome, Over, Sample, Told};

/// What the story of the long messages is told.
#[derive(Args)]
pub(crate) struct Large {
    #[command(flatten)]
    setting: Setting,
    /// How long a message is.
    #[arg(long, default_value_t = 256 << 10,
        value_parser = clap::value_parser!(u32).range(8..=1 << 20))]
    bytes: u32,
    /// How many are said.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    messages: u32,
    /// Which share of the others crashes under way, each time: from 0 to 0.5.
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    crash: f64,
}

fn share(text: &str) -> Result<f64, String> {
    let wrong = || format!("{text:?} is no share from 0 to 0.5");
    text.parse().ok().filter(|share| (0.0..=0.5).contains(share)).ok_or_else(wrong)
}

impl Large {
    pub(crate) fn run(&self) -> ExitCode {
        let story = |seed, threads| self.story(seed, threads);
        self.setting.tell("large", 1, story, |outcome| self.is_good(outcome))
    }

    fn is_good(&self, outcome: &Outcome) -> bool {
        let redundancy = outcome.figure("redundancy_worst");
        let is_lean = redundancy.is_some_and(|redundancy| redundancy <= REDUNDANCY_MAX);
        outcome.figure("reached_share_worst") == Some(1.0) && (self.crash > 0.0 || is_lean)
    }

    fn story(&self, seed: u64, threads: usize) -> Told {
        let mut world = settled(seed, self.setting.nodes, threads);
        let mut topic = Topic::open(&mut world, self.setting.loss);
        let said = (0..self.messages).map(|number| {
            let said = topic.say(&mut world, (number, self.bytes), self.crash);
            let Said { heard, survivors, last, .. } = said;
            join::complain(&format!("seed {seed}: {heard} of {survivors} heard it, last {last:?}"));
            self.sample(&said)
        });
        let samples = said.collect();
        Told::new(samples, world.trace_hash())
    }

    fn sample(&self, said: &Said) -> Sample {
        let each = |bytes: u64| bytes as f64 / said.heard.max(1) as f64;
        let over = |bytes| each(bytes) / f64::from(self.bytes);
        let mean = |key, value| Figure::new(key, Some(value)).over(Over::Mean);
        let is_all = said.heard == said.survivors;
        let reached = said.heard as f64 / said.survivors as f64;
        vec![
            mean("redundancy", over(said.given)),
            mean("link_bytes_over_length", over(said.sent.links)),
            mean("announcing_bytes_per_delivery", each(said.sent.datagrams)),
            Figure::new("last_delivery_ms", is_all.then_some(said.last.as_secs_f64() * 1e3)),
            Figure::new("reached_share", Some(reached)).over(Over::MedianOfGood),
        ]
    }
}

/// What became of a message.
struct Said {
    /// Who was to hear it, how many did, and when the last of them.
    survivors: usize,
    heard: usize,
    last: Duration,
    sent: Sent,
    /// Bytes of it that nodes gave each other.
    given: u64,
}

/// A topic that all nodes hold, in a world where packets take a known time.
struct Topic {
    object: ObjectId,
    rng: Rng,
    /// What those gave who have crashed.
    given_by_dead: u64,
}

impl Topic {
    /// All open it, and the claims of its name are settled.
    fn open(world: &mut World, loss: f64) -> Self {
        let network = Network { latency: Latency::fixed(LINK), ..Network::LAN };
        world.set_network(network.with_loss(loss));
        let name: Name = "/large".parse().expect("a name");
        for node in 0..world.nodes() {
            let spec = Spec::new(name.clone(), ObjectType::best_effort_topic());
            world.open(node, spec).expect("gossip carries it");
        }
        world.run(REST);
        world.take_history();
        Self { object: name.id(), rng: world.rng("sources"), given_by_dead: 0 }
    }

    /// Somebody says a message of such a number and length, some crash, and all others hear it or
    /// have had time enough.
    fn say(&mut self, world: &mut World, (number, len): (u32, u32), crash: f64) -> Said {
        let mut others: Vec<usize> = world.running().into_iter().map(|(node, _)| node).collect();
        let source = others.swap_remove(self.rng.random_range(0..others.len()));
        others.shuffle(&mut self.rng);
        let (sent, given, at) = (Sent::by(world), self.given(world), world.now());
        let mut bytes = number.to_be_bytes().to_vec();
        bytes.extend((4..len).map(|at| (at * 31 + at / 251) as u8));
        world.send(source, self.object, Command::Send(bytes.into())).expect("its feed is empty");
        world.run(CRASH_AFTER);
        let crashing = others.split_off(others.len() - (others.len() as f64 * crash) as usize);
        let mut heard = BTreeMap::new();
        self.read(world, number, at, &mut heard);
        for node in crashing {
            heard.remove(&node);
            self.given_by_dead += given_by(world, node);
            world.crash(node);
        }
        while heard.len() < others.len() && world.now() < at + HEARD_WITHIN {
            world.run(STEP);
            self.read(world, number, at, &mut heard);
        }
        // What is still under way then is for nothing.
        world.run(STEP);
        let (sent, given) = (Sent::by(world).since(sent), self.given(world) - given);
        world.run(REST);
        world.take_history();
        let last = heard.values().max().copied().unwrap_or_default();
        Said { survivors: others.len(), heard: heard.len(), last, sent, given }
    }

    /// Adds who has heard this message since this was last asked, and after how long.
    fn read(
        &self,
        world: &mut World,
        number: u32,
        at: Time,
        heard: &mut BTreeMap<usize, Duration>,
    ) {
        for record in world.take_history() {
            let What::Event(of, Event::Topic(event)) = &record.what else { continue };
            let TopicEvent::Message { own: None, bytes, .. } = event else { continue };
            if *of == self.object && bytes.starts_with(&number.to_be_bytes()) {
                heard.insert(record.node, record.at.since(at));
            }
        }
    }

    /// Bytes of messages that all nodes have given each other.
    fn given(&self, world: &World) -> u64 {
        let living: u64 = (0..world.nodes()).map(|node| given_by(world, node)).sum();
        living + self.given_by_dead
    }
}

fn given_by(world: &World, node: usize) -> u64 {
    world.counts(node).map_or(0, |counts| counts.get("gossip.payload_bytes"))
}

/// What every packet takes from one node to another.
const LINK: Duration = Duration::from_millis(10);
/// When some crash: the first have the message by then, and give it to others.
const CRASH_AFTER: Duration = Duration::from_millis(80);
const STEP: Duration = Duration::from_millis(10);
const HEARD_WITHIN: Duration = Duration::from_secs(30);
/// Between two messages the cluster finds out who crashed.
const REST: Duration = Duration::from_secs(10);
/// The goal where nobody crashes.
const REDUNDANCY_MAX: f64 = 1.05;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::gossip::setting;

    fn told(crash: f64) -> Outcome {
        let story = Large { setting: setting(100, 0.0), bytes: 50_000, messages: 2, crash };
        let outcome = story.setting.outcome("large", 1, |seed, threads| story.story(seed, threads));
        assert!(story.is_good(&outcome));
        outcome
    }

    #[test]
    fn a_long_message_crosses_each_branch_once() {
        let outcome = told(0.0);
        assert_eq!(outcome.figure("redundancy_worst"), Some(1.0));
    }

    #[test]
    fn who_survives_hears_it_though_others_crash_under_way() {
        let outcome = told(0.1);
        assert_eq!(outcome.figure("reached_share_worst"), Some(1.0));
        assert!(outcome.figure("redundancy_worst").is_some_and(|redundancy| redundancy < 1.5));
    }
}
