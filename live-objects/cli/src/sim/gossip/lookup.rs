//! How soon a directory finds what was published, what for that is kept where, and how much of it
//! is found just after many nodes have crashed.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use live_objects::{
    Command, DirectoryEvent, Event, Name, ObjectId, ObjectType, Rng, Spec, Time, Told as Answered,
};
use live_objects_sim::{Fault, What, World};
use rand::RngExt;
use rand::seq::SliceRandom;

use super::cluster::{Sent, settled};
use super::setting::Setting;
use crate::sim::figures::{Figure, Over, Sample, Told};

/// What the story of the lookups is told.
#[derive(Args)]
pub(crate) struct Lookup {
    #[command(flatten)]
    setting: Setting,
    /// How many entries each node publishes.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    entries: u32,
    /// How many lookups there are, before the crash and after it.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..))]
    lookups: u32,
    /// Which share of all nodes crashes, from 0 to 0.9.
    #[arg(long, default_value_t = 0.3, value_parser = super::setting::loss)]
    crash: f64,
}

/// What came of some lookups.
#[derive(Default)]
struct Tally {
    asked: u32,
    found: u32,
    /// By how many nodes were asked after the first.
    again: BTreeMap<u64, u32>,
    spans: Vec<Duration>,
}

impl Lookup {
    pub(crate) fn run(&self) -> ExitCode {
        self.setting.tell("lookup", usize::MAX, |seed, threads| self.story(seed, threads), |_| true)
    }

    fn story(&self, seed: u64, threads: usize) -> Told {
        let nodes = self.setting.nodes;
        let mut world = settled(seed, nodes, threads);
        world.apply(&Fault::Loss(self.setting.loss));
        let directory = self.publish(&mut world);
        world.run(SPREAD);
        world.take_history();
        let before = Sent::by(&world);
        world.run(MINUTE);
        world.take_history();
        let rate = Sent::by(&world).since(before).rate(self.setting.nodes, MINUTE);
        let entries = (0..world.nodes()).filter_map(|node| world.counts(node));
        let entries_max = entries.map(|counts| counts.get("gossip.entries")).max();
        let mut rng = world.rng("lookups");
        let calm = self.look_up(&mut world, directory, &mut rng);
        let mut nodes: Vec<usize> = (0..world.nodes()).collect();
        nodes.shuffle(&mut rng);
        nodes.truncate((f64::from(self.setting.nodes) * self.crash) as usize);
        nodes.iter().for_each(|node| world.crash(*node));
        let crashed = self.look_up(&mut world, directory, &mut rng);
        let trace_hash = world.trace_hash();
        let sample = sample(&calm, &crashed, entries_max.unwrap_or(0), rate);
        Told::new(vec![sample], trace_hash)
    }

    /// Every node opens the directory, and publishes its entries.
    fn publish(&self, world: &mut World) -> ObjectId {
        let name: Name = "/directory".parse().expect("a name");
        for node in 0..world.nodes() {
            let spec = Spec::new(name.clone(), ObjectType::directory());
            let object = world.open(node, spec).expect("gossip carries it");
            for number in 0..self.entries {
                let publish = Command::Publish { key: key(node, number), value: value(node) };
                world.send(node, object, publish).expect("a feed takes what is published here");
            }
        }
        name.id()
    }

    fn look_up(&self, world: &mut World, directory: ObjectId, rng: &mut Rng) -> Tally {
        let mut tally = Tally::default();
        let mut askers: Vec<usize> = world.running().into_iter().map(|(node, _)| node).collect();
        while tally.asked < self.lookups {
            askers.shuffle(rng);
            // Each node one lookup at a time, so that what it counts is of that.
            let count = askers.len().min((self.lookups - tally.asked) as usize).min(BATCH);
            let batch: Vec<(usize, usize, u32)> = (0..count)
                .map(|i| {
                    let publisher = askers[rng.random_range(0..askers.len())];
                    (askers[i], publisher, rng.random_range(0..self.entries))
                })
                .collect();
            tally.add(world, directory, &batch);
        }
        tally
    }
}

impl Tally {
    fn add(&mut self, world: &mut World, directory: ObjectId, batch: &[(usize, usize, u32)]) {
        let again = |world: &World, node: usize| {
            world.counts(node).map_or(0, |counts| counts.get("gossip.question_again"))
        };
        let mut open = BTreeMap::new();
        for (asker, publisher, number) in batch {
            let find = Command::Find(key(*publisher, *number));
            world.send(*asker, directory, find).expect("a feed takes one command");
            open.insert(*asker, (*publisher, *number, again(world, *asker), false));
        }
        self.asked += batch.len() as u32;
        let begin = world.now();
        while !open.is_empty() && world.now() < begin + ANSWERED_WITHIN {
            world.run(GLANCE);
            for record in world.take_history().collect::<Vec<_>>() {
                let What::Event(_, Event::Directory(DirectoryEvent::Found { listings, told, .. })) =
                    record.what
                else {
                    continue;
                };
                let Some((publisher, _, asked, is_found)) = open.get_mut(&record.node) else {
                    continue;
                };
                let owner = world.member(*publisher);
                *is_found |= listings.len() == 1
                    && Some(listings[0].publisher) == owner
                    && listings[0].value == value(*publisher);
                if told != Answered::Part {
                    *self.again.entry(again(world, record.node) - *asked).or_default() += 1;
                    self.found += u32::from(*is_found);
                    self.spans.push(since(begin, record.at));
                    open.remove(&record.node);
                }
            }
        }
    }

    fn share(&self, count: u32) -> f64 {
        f64::from(count) / f64::from(self.asked)
    }

    fn median_ms(&self) -> Option<f64> {
        let mut spans = self.spans.clone();
        spans.sort_unstable();
        spans.get(spans.len() / 2).map(|span| span.as_secs_f64() * 1_000.0)
    }
}

fn since(begin: Time, at: Time) -> Duration {
    at.since(begin)
}

fn sample(calm: &Tally, crashed: &Tally, entries_max: u64, rate: f64) -> Sample {
    let good = |key, value| Figure::new(key, Some(value)).over(Over::MedianOfGood);
    let one_hop = calm.share(calm.again.get(&0).copied().unwrap_or(0));
    let hops_max = calm.again.keys().last().map(|again| 1.0 + *again as f64);
    vec![
        good("one_hop_share", one_hop),
        Figure::new("hops_max", hops_max),
        Figure::new("entries_max", Some(entries_max as f64)),
        good("found_share", calm.share(calm.found)),
        good("found_share_after_crash", crashed.share(crashed.found)),
        Figure::new("answer_ms", calm.median_ms()),
        Figure::new("answer_ms_after_crash", crashed.median_ms()),
        Figure::new("bytes_per_node_s", Some(rate)),
    ]
}

fn key(node: usize, number: u32) -> Bytes {
    format!("{node}/{number}").into()
}

fn value(node: usize) -> Bytes {
    format!("{node:032}").into()
}

/// How long entries have to come to those who keep them, and these to have nothing left to say.
const SPREAD: Duration = Duration::from_secs(60);
const MINUTE: Duration = Duration::from_secs(60);
/// How many look something up at the same time.
const BATCH: usize = 500;
/// How long a lookup may take.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);
const GLANCE: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::gossip::setting;

    #[test]
    fn what_is_published_is_found_in_one_hop() {
        let story = Lookup { setting: setting(200, 0.0), entries: 2, lookups: 100, crash: 0.3 };
        let outcome =
            story.setting.outcome("lookup", 1, |seed, threads| story.story(seed, threads));
        let of = |key| outcome.figure(key).expect("everything was measured");
        assert_eq!([of("one_hop_share"), of("hops_max"), of("found_share")], [1.0; 3]);
        assert!(of("found_share_after_crash") > 0.98);
        assert!(of("entries_max") < 200.0, "not all of 400");
    }
}
