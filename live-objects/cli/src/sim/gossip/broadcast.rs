//! What a broadcast costs and how long it takes, from one source after another.
//!
//! In a settled cluster all nodes open a topic, and from then on every packet takes 10 ms. After a
//! warm-up a node drawn by chance says something once a second. Each broadcast is a sample; what
//! was sent and received in its second counts for it.
//!
//! Who tells whom is not seen from outside, so the *shortest path* is a bound: if no node told more
//! than so many others, no tree of fewer hops has as many nodes as the cluster.

use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use live_objects::{Command, Event, Name, ObjectId, ObjectType, Rng, Spec, Time, TopicEvent};
use live_objects_sim::{Latency, Network, Record, What, World};
use rand::RngExt;

use super::cluster::{Sent, settled};
use super::setting::Setting;
use crate::join;
use crate::sim::figures::{Figure, Over, Sample, Told};

/// What the story of the broadcasts is told.
#[derive(Args)]
pub(crate) struct Broadcast {
    #[command(flatten)]
    setting: Setting,
    /// How many broadcasts are measured.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    broadcasts: u32,
}

impl Broadcast {
    pub(crate) fn run(&self) -> ExitCode {
        let story = |seed, threads| self.story(seed, threads);
        self.setting.tell("broadcast", usize::MAX, story, |_| true)
    }

    fn story(&self, seed: u64, threads: usize) -> Told {
        let mut world = settled(seed, self.setting.nodes, threads);
        let mut topic = Topic::open(&mut world, self.setting.loss);
        let seconds: Vec<Second> =
            (0..self.broadcasts).map(|_| Second::pass(&mut topic, &mut world)).collect();
        topic.run(&mut world, STRAGGLERS_FOR, |_| {});
        let said = topic.said.iter().rev().take(seconds.len()).rev();
        let samples = said.zip(&seconds).map(|(said, second)| {
            let last = said.last_after(world.nodes() - 1);
            join::complain(&format!("seed {seed}: reached {}, last {last:?}", said.in_time));
            self.sample(said, second)
        });
        Told::new(samples.collect(), world.trace_hash())
    }

    fn sample(&self, said: &Said, second: &Second) -> Sample {
        let others = self.setting.nodes as usize - 1;
        let mean = |key, value| Figure::new(key, Some(value)).over(Over::Mean);
        let last = said.last_after(others).map(|last| last.as_secs_f64());
        let each = |count: u64| count as f64 / said.heard.max(1) as f64;
        let hops = hops_min(second.told_max, self.setting.nodes) as f64;
        let in_time = said.in_time as f64 / others as f64;
        vec![
            mean("redundancy", each(second.copies)),
            Figure::new("last_delivery_ms", last.map(|last| last * 1e3)),
            Figure::new("hops", last.map(|last| (last / LINK.as_secs_f64()).ceil())),
            Figure::new("stretch", last.map(|last| last / hops / LINK.as_secs_f64())),
            Figure::new("reached_in_a_second_share", Some(in_time)).over(Over::MedianOfGood),
            Figure::new("told_by_one", Some(second.told_max as f64)),
            mean("datagrams_per_delivery", each(second.sent.datagram_count)),
            mean("bytes_per_delivery", each(second.sent.bytes())),
        ]
    }
}

/// What was sent and received in the second after a broadcast.
struct Second {
    sent: Sent,
    /// Messages that were received again.
    copies: u64,
    /// How often at most one node passed something on.
    told_max: u64,
}

impl Second {
    /// A broadcast, and the second after it.
    fn pass(topic: &mut Topic, world: &mut World) -> Self {
        let counted = |world: &World, name: &str| -> Vec<u64> {
            let count = |node| world.counts(node).map_or(0, |counts| counts.get(name));
            (0..world.nodes()).map(count).collect()
        };
        let (known, pushed) = ("gossip.message_known", "gossip.message_pushed");
        let before = (Sent::by(world), counted(world, known), counted(world, pushed));
        topic.broadcast(world, |_| {});
        let since = |name: &str, before: &[u64]| -> Vec<u64> {
            counted(world, name).iter().zip(before).map(|(after, before)| after - before).collect()
        };
        Self {
            sent: Sent::by(world).since(before.0),
            copies: since(known, &before.1).iter().sum(),
            told_max: since(pushed, &before.2).into_iter().max().unwrap_or(0),
        }
    }
}

/// No tree has as many nodes with fewer hops, where none tells more than so many others.
fn hops_min(told_max: u64, nodes: u32) -> u32 {
    let (mut hops, mut level, mut reached) = (0, 1_u64, 1_u64);
    while reached < u64::from(nodes) {
        level *= told_max.max(1);
        reached += level;
        hops += 1;
    }
    hops
}

/// A topic that all nodes hold, in a world where packets take a known time.
pub(super) struct Topic {
    object: ObjectId,
    rng: Rng,
    pub(super) said: Vec<Said>,
}

/// What became of a broadcast.
pub(super) struct Said {
    at: Time,
    /// How many others heard it, how many of them within a second, and when the last did.
    heard: usize,
    pub(super) in_time: usize,
    last_at: Time,
}

impl Said {
    /// When the last of so many others heard it, after it was said.
    fn last_after(&self, others: usize) -> Option<Duration> {
        (self.heard == others).then(|| self.last_at.since(self.at))
    }
}

impl Topic {
    /// All open it, and some say something.
    pub(super) fn open(world: &mut World, loss: f64) -> Self {
        world
            .set_network(Network { latency: Latency::fixed(LINK), ..Network::LAN }.with_loss(loss));
        let name: Name = "/broadcast".parse().expect("a name");
        for node in 0..world.nodes() {
            let spec = Spec::new(name.clone(), ObjectType::best_effort_topic());
            world.open(node, spec).expect("gossip carries it");
        }
        let mut topic = Self { object: name.id(), rng: world.rng("sources"), said: Vec::new() };
        (0..WARM_UPS).for_each(|_| topic.broadcast(world, |_| {}));
        topic
    }

    /// A node that runs, drawn by chance, says something, and a second passes.
    pub(super) fn broadcast(&mut self, world: &mut World, see: impl FnMut(&Record)) {
        let running = world.running();
        let (source, _) = running[self.rng.random_range(0..running.len())];
        let number = self.said.len() as u64;
        let at = world.now();
        self.said.push(Said { at, heard: 0, in_time: 0, last_at: at });
        let mut bytes = number.to_be_bytes().to_vec();
        bytes.resize(MESSAGE_BYTES, 0);
        world.send(source, self.object, Command::Send(bytes.into())).expect("its feed is empty");
        self.run(world, SECOND, see);
    }

    /// Takes in what happens in such a time, and shows it.
    fn run(&mut self, world: &mut World, span: Duration, mut see: impl FnMut(&Record)) {
        world.run(span);
        for record in world.take_history() {
            self.read(&record);
            see(&record);
        }
    }

    fn read(&mut self, record: &Record) {
        let What::Event(of, Event::Topic(event)) = &record.what else { return };
        let TopicEvent::Message { own: None, bytes, .. } = event else { return };
        if *of == self.object {
            let said = &mut self.said[number(bytes)];
            said.heard += 1;
            said.in_time += usize::from(record.at.since(said.at) <= SECOND);
            said.last_at = said.last_at.max(record.at);
        }
    }
}

fn number(bytes: &Bytes) -> usize {
    let number = bytes[..8].try_into().expect("it begins with a number");
    u64::from_be_bytes(number) as usize
}

/// What every packet takes from one node to another.
const LINK: Duration = Duration::from_millis(10);
const SECOND: Duration = Duration::from_secs(1);
const MESSAGE_BYTES: usize = 100;
/// How many broadcasts are not measured. By then the claims of the topic's name are settled too.
const WARM_UPS: usize = 20;
/// How long the last messages have to arrive.
const STRAGGLERS_FOR: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::gossip::setting;

    #[test]
    fn a_small_cluster_hears_everything_once() {
        let story = Broadcast { setting: setting(100, 0.0), broadcasts: 5 };
        let outcome =
            story.setting.outcome("broadcast", 1, |seed, threads| story.story(seed, threads));
        let of = |key| outcome.figure(key).expect("everything was heard");
        assert_eq!([of("redundancy"), of("redundancy_worst")], [0.0; 2]);
        assert_eq!([of("hops_worst"), of("stretch_worst")], [2.0, 1.0]);
        assert_eq!([of("last_delivery_ms"), of("reached_in_a_second_share_worst")], [20.0, 1.0]);
    }

    #[test]
    fn a_tree_of_few_branches_is_high() {
        assert_eq!([hops_min(2, 3), hops_min(2, 4), hops_min(1, 4)], [1, 2, 3]);
        assert_eq!([hops_min(62, 1_000), hops_min(31, 1_000), hops_min(999, 1_000)], [2, 3, 1]);
    }
}
