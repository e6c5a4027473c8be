//! What a node sends in a second, and how stale what it is told then is.
//!
//! One settled cluster is measured three times: at rest, with one average whose shares do not move,
//! and busy. Busy, every node holds all averages and topics and the directory. A tenth of the nodes
//! set their shares anew in each tenth of a second, and every topic has one sender, that says
//! something once a second. The first minute, in which names and entries spread, is measured apart.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use live_objects::{
    Command, DirectoryEvent, Estimate, Event, Name, ObjectId, ObjectType, Rng, Share, Spec,
    Summary, Time, TopicEvent,
};
use live_objects_sim::{Fault, What, World};
use rand::RngExt;

use super::cluster::{Sent, settled};
use super::setting::Setting;
use crate::join;
use crate::sim::figures::{Figure, Over, Sample, Told};

/// What the story of the traffic is told.
#[derive(Args)]
pub(crate) struct Traffic {
    #[command(flatten)]
    setting: Setting,
    #[command(flatten)]
    load: Load,
}

/// How much there is of everything when the cluster is busy.
#[derive(Args, Clone, Copy)]
struct Load {
    /// Averages, at every node, when the cluster is busy.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    averages: u16,
    /// Directory entries in the cluster when it is busy.
    #[arg(long, default_value_t = 16_384,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    entries: u32,
    /// Topics, at every node, when the cluster is busy.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    topics: u16,
}

/// What the story measures.
struct Measured {
    rest: f64,
    still: f64,
    opening: f64,
    busy: f64,
    staleness: Staleness,
}

/// How far what the nodes of a busy cluster are told lags behind.
#[derive(Clone, Copy)]
struct Staleness {
    /// None where a node was never told anything. Of an average at a node, by the median.
    age_typical: Option<Duration>,
    /// And of the oldest average at a node, by the median and at most.
    age_median: Option<Duration>,
    age_oldest: Option<Duration>,
    /// Between averages.
    age_fairness: f64,
    counted_share: f64,
    found_share: f64,
    delivered_share: f64,
    /// Of the topic of which least was delivered.
    delivered_share_least: f64,
}

impl Traffic {
    pub(crate) fn run(&self) -> ExitCode {
        // A busy world takes a lot of memory.
        self.setting.tell("traffic", 1, |seed, threads| self.story(seed, threads), |_| true)
    }

    fn story(&self, seed: u64, threads: usize) -> Told {
        let mut world = settled(seed, self.setting.nodes, threads);
        world.apply(&Fault::Loss(self.setting.loss));
        let rest = self.measure(&mut world, REST_FOR);
        join::complain(&format!("seed {seed}: {rest:.0} B a node and second at rest"));
        let still = self.still(&mut world);
        join::complain(&format!("seed {seed}: {still:.0} B with an average"));
        let mut busy = Busy::begin(&mut world, self.load);
        let before = Sent::by(&world);
        busy.go_on(&mut world, OPENING_FOR);
        let opening = Sent::by(&world).since(before).rate(self.setting.nodes, OPENING_FOR);
        join::complain(&format!("seed {seed}: warmed up"));
        let before = Sent::by(&world);
        busy.is_counting = true;
        busy.go_on(&mut world, BUSY_FOR);
        let rate = Sent::by(&world).since(before).rate(self.setting.nodes, BUSY_FOR);
        busy.is_counting = false;
        let staleness = busy.end(&mut world);
        join::complain(&format!("seed {seed}: {rate:.0} B when busy"));
        let measured = Measured { rest, still, opening, busy: rate, staleness };
        Told::new(vec![measured.sample()], world.trace_hash())
    }

    /// Bytes a node and second while nothing is done.
    fn measure(&self, world: &mut World, span: Duration) -> f64 {
        let before = Sent::by(world);
        for _ in 0..span.as_secs() {
            world.run(Duration::from_secs(1));
            world.take_history();
        }
        Sent::by(world).since(before).rate(self.setting.nodes, span)
    }

    fn still(&self, world: &mut World) -> f64 {
        let object = open(world, "/still", &ObjectType::aggregate(Summary::Average));
        for node in 0..world.nodes() {
            set(world, node, object, node as f64);
        }
        self.measure(world, WARM_UP);
        let rate = self.measure(world, REST_FOR);
        (0..world.nodes()).for_each(|node| world.close(node, object));
        rate
    }
}

impl Measured {
    fn sample(&self) -> Sample {
        let share = |key, of: fn(&Staleness) -> f64| {
            Figure::new(key, Some(of(&self.staleness))).over(Over::MedianOfGood)
        };
        let age = |key, of: fn(&Staleness) -> Option<Duration>| {
            Figure::new(key, of(&self.staleness).map(|age| age.as_secs_f64()))
        };
        vec![
            Figure::new("rest_bytes_per_node_s", Some(self.rest)),
            Figure::new("still_bytes_per_node_s", Some(self.still)),
            Figure::new("opening_bytes_per_node_s", Some(self.opening)),
            Figure::new("busy_bytes_per_node_s", Some(self.busy)),
            age("age_s_typical", |it| it.age_typical),
            age("age_s_median", |it| it.age_median),
            age("age_s_oldest", |it| it.age_oldest),
            share("age_fairness", |it| it.age_fairness),
            share("counted_share", |it| it.counted_share),
            share("found_share", |it| it.found_share),
            share("delivered_share", |it| it.delivered_share),
            share("delivered_share_least", |it| it.delivered_share_least),
        ]
    }
}

/// A busy cluster.
struct Busy {
    averages: Vec<ObjectId>,
    topics: Vec<ObjectId>,
    directory: ObjectId,
    entries: u32,
    rng: Rng,
    /// By node and average: the last estimate, and when it was told.
    estimates: Vec<Option<(Time, Estimate)>>,
    /// Whether messages that are sent now count.
    is_counting: bool,
    /// How many messages that count were sent in each topic, and delivered at others than their
    /// senders.
    sent: BTreeMap<ObjectId, u64>,
    delivered: BTreeMap<ObjectId, u64>,
}

impl Busy {
    fn begin(world: &mut World, load: Load) -> Self {
        let (average, topic) =
            (ObjectType::aggregate(Summary::Average), ObjectType::best_effort_topic());
        let averages: Vec<ObjectId> = (0..load.averages)
            .map(|number| open(world, &format!("/average/{number}"), &average))
            .collect();
        let topics = (0..load.topics)
            .map(|number| open(world, &format!("/topic/{number}"), &topic))
            .collect();
        let directory = open(world, "/directory", &ObjectType::directory());
        for entry in 0..load.entries {
            let node = publisher(entry, world.nodes());
            let publish = Command::Publish { key: key(entry), value: value(entry) };
            world.send(node, directory, publish).expect("a feed takes what is published here");
        }
        Self {
            estimates: vec![None; world.nodes() * averages.len()],
            averages,
            topics,
            directory,
            entries: load.entries,
            rng: world.rng("busy"),
            is_counting: false,
            sent: BTreeMap::new(),
            delivered: BTreeMap::new(),
        }
    }

    fn go_on(&mut self, world: &mut World, span: Duration) {
        for _ in 0..span.as_secs() {
            for tenth in 0..10 {
                for node in (tenth..world.nodes()).step_by(10) {
                    for average in &self.averages {
                        set(world, node, *average, self.rng.random_range(0.0..1_000.0));
                    }
                }
                for topic in (tenth..self.topics.len()).step_by(10) {
                    self.say(world, topic);
                }
                world.run(Duration::from_millis(100));
                self.read(world);
            }
        }
    }

    fn say(&mut self, world: &mut World, topic: usize) {
        let sender = topic * world.nodes() / self.topics.len();
        let mut message = [0; MESSAGE_BYTES];
        message[0] = u8::from(self.is_counting);
        *self.sent.entry(self.topics[topic]).or_default() += u64::from(self.is_counting);
        let send = Command::Send(Bytes::copy_from_slice(&message));
        // If even the feed is full, the message is as good as lost.
        let _ = world.send(sender, self.topics[topic], send);
    }

    fn read(&mut self, world: &mut World) {
        let position: BTreeMap<ObjectId, usize> = self
            .averages
            .iter()
            .enumerate()
            .map(|(position, object)| (*object, position))
            .collect();
        for record in world.take_history() {
            match record.what {
                What::Event(object, Event::Aggregate(estimate)) => {
                    let Some(position) = position.get(&object) else { continue };
                    let place = record.node * self.averages.len() + position;
                    self.estimates[place] = Some((record.at, estimate));
                }
                what => self.count(&what),
            }
        }
    }

    /// Counts a message that was delivered, if it counts.
    fn count(&mut self, what: &What) {
        if let What::Event(topic, Event::Topic(TopicEvent::Message { own: None, bytes, .. })) = what
        {
            *self.delivered.entry(*topic).or_default() += u64::from(bytes[0]);
        }
    }

    /// What the nodes have been told by now, and what is still under way to them.
    fn end(mut self, world: &mut World) -> Staleness {
        let nodes = world.nodes();
        let (ages, counted) = self.ages(world);
        let (age_typical, age_fairness) = (self.age_typical(world), self.age_fairness(world));
        let found_share = self.look_up(world);
        for _ in 0..STRAGGLERS_FOR.as_secs() {
            world.run(Duration::from_secs(1));
            self.read(world);
        }
        let others = (nodes - 1) as f64;
        let of = |(topic, sent): (&ObjectId, &u64)| {
            self.delivered.get(topic).copied().unwrap_or(0) as f64 / *sent as f64 / others
        };
        let (sent, delivered) =
            (self.sent.values().sum::<u64>(), self.delivered.values().sum::<u64>());
        Staleness {
            age_typical,
            age_median: ages[nodes / 2],
            age_oldest: ages[nodes - 1],
            age_fairness,
            counted_share: counted as f64 / nodes as f64,
            found_share,
            delivered_share: delivered as f64 / sent as f64 / others,
            delivered_share_least: self.sent.iter().map(of).fold(1.0, f64::min),
        }
    }

    /// Of each node, the age of the oldest share in any average, sorted; and the fewest members
    /// that any average counts anywhere.
    fn ages(&self, world: &World) -> (Vec<Option<Duration>>, u64) {
        let all = self.estimates.iter().map(|told| age(told.as_ref(), world)).collect::<Vec<_>>();
        let of_node = |ages: &[Option<Duration>]| {
            ages.iter().try_fold(Duration::ZERO, |most, age| Some(most.max((*age)?)))
        };
        let ages = sorted(all.chunks(self.averages.len()).map(of_node));
        let counted =
            |told: &Option<(Time, Estimate)>| told.as_ref().map_or(0, |(_, told)| told.members);
        (ages, self.estimates.iter().map(counted).min().unwrap_or(0))
    }

    /// The age of the oldest share in an average at a node, by the median over all.
    fn age_typical(&self, world: &World) -> Option<Duration> {
        let ages = sorted(self.estimates.iter().map(|told| age(told.as_ref(), world)));
        ages[ages.len() / 2]
    }

    /// How evenly averages are kept fresh: Jain's index of their ages, each by the median over all
    /// nodes. It is 1 where all are alike, and one in so many where one alone is old.
    fn age_fairness(&self, world: &World) -> f64 {
        let averages = self.averages.len();
        let of = |average: usize| {
            let told = self.estimates.iter().skip(average).step_by(averages);
            let ages = sorted(told.map(|told| age(told.as_ref(), world)));
            ages[ages.len() / 2].map_or(f64::INFINITY, |age| age.as_secs_f64())
        };
        jain(&(0..averages).map(of).collect::<Vec<_>>())
    }

    /// The share of lookups, by nodes at random for entries at random, that find just the entry.
    fn look_up(&mut self, world: &mut World) -> f64 {
        let mut asked: BTreeMap<(usize, u64), u32> = BTreeMap::new();
        // Answers go by the number of the command; what was published came before.
        let mut asked_by = vec![0_u64; world.nodes()];
        (0..self.entries).for_each(|entry| asked_by[publisher(entry, world.nodes())] += 1);
        for _ in 0..LOOKUPS {
            let node = self.rng.random_range(0..world.nodes());
            let entry = self.rng.random_range(0..self.entries);
            world.send(node, self.directory, Command::Find(key(entry))).expect("a feed has room");
            asked.insert((node, asked_by[node]), entry);
            asked_by[node] += 1;
        }
        world.run(Duration::from_secs(1));
        let mut right = 0_u32;
        for record in world.take_history().collect::<Vec<_>>() {
            self.count(&record.what);
            let What::Event(_, Event::Directory(DirectoryEvent::Found { command, listings, .. })) =
                record.what
            else {
                continue;
            };
            let Some(entry) = asked.get(&(record.node, command)) else { continue };
            let owner = world.member(publisher(*entry, world.nodes()));
            let is_right = listings.len() == 1
                && Some(listings[0].publisher) == owner
                && listings[0].value == value(*entry);
            right += u32::from(is_right);
        }
        f64::from(right) / f64::from(LOOKUPS)
    }
}

/// Jain's index of fairness (DEC TR-301, 1984). It is 0 where somebody has no bound.
fn jain(all: &[f64]) -> f64 {
    let squares: f64 = all.iter().map(|one| one * one).sum();
    let sum: f64 = all.iter().sum();
    if squares.is_finite() { sum * sum / (all.len() as f64 * squares) } else { 0.0 }
}

/// How old the oldest share is in what a node was told then, if it was told anything.
fn age(told: Option<&(Time, Estimate)>, world: &World) -> Option<Duration> {
    told.map(|(at, told)| told.age + world.now().since(*at))
}

/// None is older than all.
fn sorted(ages: impl Iterator<Item = Option<Duration>>) -> Vec<Option<Duration>> {
    let mut ages: Vec<Option<Duration>> = ages.collect();
    ages.sort_by_key(|age| age.unwrap_or(Duration::MAX));
    ages
}

/// Opens an object at every node.
fn open(world: &mut World, name: &str, ty: &ObjectType) -> ObjectId {
    let name: Name = name.parse().expect("a name");
    for node in 0..world.nodes() {
        world.open(node, Spec::new(name.clone(), ty.clone())).expect("gossip carries it");
    }
    name.id()
}

fn set(world: &mut World, node: usize, object: ObjectId, share: f64) {
    let share = Share::new(share).expect("it is finite");
    world.send(node, object, Command::Set(share)).expect("shares are taken at once");
}

fn publisher(entry: u32, nodes: usize) -> usize {
    entry as usize % nodes
}

fn key(entry: u32) -> Bytes {
    Bytes::copy_from_slice(&entry.to_be_bytes())
}

fn value(entry: u32) -> Bytes {
    format!("{entry:032}").into()
}

const REST_FOR: Duration = Duration::from_secs(60);
/// How long things have to spread before they are measured.
const WARM_UP: Duration = Duration::from_secs(30);
/// How long names and entries take to be known where they have to be, when all are opened at once.
const OPENING_FOR: Duration = Duration::from_secs(60);
const BUSY_FOR: Duration = Duration::from_secs(30);
/// How long the last messages have to arrive.
const STRAGGLERS_FOR: Duration = Duration::from_secs(10);
const MESSAGE_BYTES: usize = 32;
const LOOKUPS: u32 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::gossip::setting;

    #[test]
    fn fairness_is_one_of_equals() {
        assert_eq!([jain(&[3.0; 4]), jain(&[3.0, 0.0, 0.0, 0.0])], [1.0, 0.25]);
        assert_eq!(jain(&[1.0, f64::INFINITY]), 0.0);
    }

    #[test]
    fn a_small_cluster_is_dearer_the_more_it_does_and_is_told_what_is_so() {
        let load = Load { averages: 3, entries: 50, topics: 5 };
        let story = Traffic { setting: setting(12, 0.0), load };
        let outcome =
            story.setting.outcome("traffic", 1, |seed, threads| story.story(seed, threads));
        let of = |key| outcome.figure(key).expect("everything was measured");
        assert!(of("rest_bytes_per_node_s") < of("still_bytes_per_node_s"));
        assert!(of("still_bytes_per_node_s") < of("busy_bytes_per_node_s"));
        assert!(of("age_s_oldest") < 5.0);
        assert_eq!([of("counted_share"), of("found_share")], [1.0; 2]);
        assert!(of("delivered_share") > 0.99);
        assert!(of("delivered_share_least") <= of("delivered_share"));
        assert!((0.5..=1.0).contains(&of("age_fairness")));
    }
}
