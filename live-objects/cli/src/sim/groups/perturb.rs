//! What the others notice of a member that sleeps, freezes or loses packets, and how soon it is
//! back.
//!
//! All nodes are in one group, in which one says so many messages a second, as long as they are
//! taken: what cannot be said within a tenth of a second is not said at all, as when an application
//! waits for room. That is done in quiet first, and then with one perturbation after the other,
//! each in a world of its own with the same seed.

use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use live_objects::{Command, Event, ObjectId, Order, Time, TopicEvent};
use live_objects_sim::{Fault, What, World};

use super::cluster::{GLANCE, Views, founded, spec};
use super::setting::Setting;
use crate::join;
use crate::sim::figures::{Figure, Outcome, Over, Told};

/// What the story of the perturbed is told.
#[derive(Args)]
pub(crate) struct Perturb {
    #[command(flatten)]
    setting: Setting,
    /// How many nodes there are.
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(3..=200))]
    nodes: u32,
    /// How many messages of 1,024 bytes are said in a second.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    rate: u32,
    /// For how many seconds.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(15..=600))]
    seconds: u32,
}

/// What befalls one member.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Perturbation {
    Nothing,
    /// It sleeps for half a second of every five.
    Sleeps,
    /// It does nothing for ten seconds.
    Freezes,
    /// Whatever comes to it within a hundredth of each second is lost.
    Loses,
}

/// What came of it.
struct Suffered {
    /// Messages that the others heard, of all of them together.
    heard: u64,
    /// How long after the last perturbation the victim had all that the others had.
    back: Option<Duration>,
    /// The most bytes of frames that a node kept at once.
    kept_bytes: u64,
}

impl Perturb {
    pub(crate) fn run(&self) -> ExitCode {
        let facts = vec![
            ("nodes", self.nodes.into()),
            ("rate", self.rate.into()),
            ("seconds", self.seconds.into()),
        ];
        let story = |seed, threads| self.story(seed, threads);
        let run = self.setting.of("perturb", facts, usize::MAX);
        run.tell(story, |outcome| self.is_good(outcome))
    }

    fn story(&self, seed: u64, threads: usize) -> Told {
        let (quiet, _) = self.suffer(seed, threads, Perturbation::Nothing);
        let mut sample = vec![Figure::new("quiet_per_s", Some(self.per_second(&quiet)))];
        let (mut share_min, mut kept_max, mut hash) = (f64::MAX, quiet.kept_bytes, 0);
        let mut back_max = Some(Duration::ZERO);
        for (perturbation, name, [share_key, back_key]) in [
            (Perturbation::Sleeps, "sleeps", ["goodput_share_sleeps", "back_s_sleeps"]),
            (Perturbation::Freezes, "freezes", ["goodput_share_freezes", "back_s_freezes"]),
            (Perturbation::Loses, "loses", ["goodput_share_loses", "back_s_loses"]),
        ] {
            let (suffered, trace_hash) = self.suffer(seed, threads, perturbation);
            let share = suffered.heard as f64 / quiet.heard as f64;
            let back_s = suffered.back.map(|back| back.as_secs_f64());
            join::complain(&format!("seed {seed}: one {name}: {share:.3}, back {back_s:?} s"));
            sample.push(Figure::new(share_key, Some(share)).over(Over::MedianOfGood));
            sample.push(Figure::new(back_key, back_s));
            share_min = share_min.min(share);
            kept_max = kept_max.max(suffered.kept_bytes);
            back_max = back_max.zip(suffered.back).map(|(max, back)| max.max(back));
            hash ^= trace_hash;
        }
        let periods = back_max.map(|back| back.as_secs_f64() / TOKEN_PERIOD.as_secs_f64());
        sample.push(Figure::new(SHARE, Some(share_min)).over(Over::MedianOfGood));
        sample.push(Figure::new(BACK, periods));
        sample.push(Figure::new(MEMORY, Some(kept_max as f64)));
        Told::new(vec![sample], hash)
    }

    /// What every one of the others hears in a second.
    fn per_second(&self, suffered: &Suffered) -> f64 {
        suffered.heard as f64 / f64::from(self.nodes - 2) / f64::from(self.seconds)
    }

    /// The load, and what befalls the last of all nodes meanwhile.
    fn suffer(&self, seed: u64, threads: usize, perturbation: Perturbation) -> (Suffered, u64) {
        let mut world = founded(seed, self.nodes, threads);
        let victim = world.nodes() - 1;
        let group = open(&mut world);
        let mut load = Load::new(group, &world, self.rate);
        let begin = world.now();
        let end = begin + Duration::from_secs(self.seconds.into());
        let mut acts_at = begin + Duration::from_secs(5);
        while world.now() < end {
            if world.now() >= acts_at
                && let Some((lasts, every)) = perturbation.span()
            {
                perturbation.act(&mut world, victim, lasts);
                load.until = Some(world.now() + lasts);
                acts_at = acts_at + every;
            }
            load.step(&mut world, victim);
        }
        let heard = (1..victim).map(|node| load.heard[node]).sum();
        // What was said is heard to the end, and some more, for whoever is to come back.
        let last = world.now() + BACK_WITHIN;
        while !load.is_back() && world.now() < last {
            load.step(&mut world, victim);
        }
        let back = load.is_back().then_some(load.back);
        (Suffered { heard, back, kept_bytes: load.kept_bytes }, world.trace_hash())
    }

    fn is_good(&self, outcome: &Outcome) -> bool {
        outcome.figure(SHARE).is_some_and(|share| share >= SHARE_MIN)
            && outcome.figure(BACK).is_some_and(|periods| periods <= BACK_MAX)
            && outcome.figure(MEMORY).is_some_and(|bytes| bytes <= MEMORY_MAX)
    }
}

impl Perturbation {
    /// For how long it lasts, and how often it comes.
    fn span(self) -> Option<(Duration, Duration)> {
        let millis = Duration::from_millis;
        match self {
            Self::Nothing => None,
            Self::Sleeps => Some((millis(500), millis(5_000))),
            Self::Freezes => Some((millis(10_000), Duration::from_secs(86_400))),
            Self::Loses => Some((millis(10), millis(1_000))),
        }
    }

    fn act(self, world: &mut World, victim: usize, lasts: Duration) {
        match self {
            Self::Nothing => {}
            Self::Sleeps | Self::Freezes => world.pause(victim, lasts),
            Self::Loses => {
                let others: Vec<usize> = (0..victim).collect();
                world.apply(&Fault::CutOneWay(others, vec![victim]));
            }
        }
    }
}

/// What is said, and who heard it.
struct Load {
    group: ObjectId,
    rate: f64,
    /// How many messages are to be said by now, and how many were.
    due: f64,
    said: u64,
    heard: Vec<u64>,
    kept_bytes: u64,
    /// Until when the victim is perturbed.
    until: Option<Time>,
    /// Since when it is not, and which message it is to hear to be back.
    behind: Option<(Time, u64)>,
    /// The longest that it took until it was.
    back: Duration,
}

impl Load {
    fn new(group: ObjectId, world: &World, rate: u32) -> Self {
        Self {
            group,
            rate: rate.into(),
            due: 0.0,
            said: 0,
            heard: vec![0; world.nodes()],
            kept_bytes: 0,
            until: None,
            behind: None,
            back: Duration::ZERO,
        }
    }

    fn is_back(&self) -> bool {
        self.until.is_none() && self.behind.is_none()
    }

    /// Says what is due, and reads what came of it a little later.
    fn step(&mut self, world: &mut World, victim: usize) {
        self.due = (self.due + self.rate * GLANCE.as_secs_f64()).min(self.rate * WAITS_S);
        while self.due >= 1.0 {
            let mut bytes = self.said.to_be_bytes().to_vec();
            bytes.resize(MESSAGE_BYTES, b'.');
            if world.send(0, self.group, Command::Send(Bytes::from(bytes))).is_err() {
                break;
            }
            self.said += 1;
            self.due -= 1.0;
        }
        world.run(GLANCE);
        let now = world.now();
        if self.until.is_some_and(|until| now >= until) {
            self.until = None;
            self.behind.get_or_insert((now, self.said));
            world.heal();
        }
        for record in world.take_history() {
            let What::Event(_, Event::Topic(TopicEvent::Message { bytes, .. })) = &record.what
            else {
                continue;
            };
            self.heard[record.node] += 1;
            let number = bytes.first_chunk().map(|number| u64::from_be_bytes(*number));
            if record.node == victim
                && let Some((since, until)) = self.behind
                && number.is_some_and(|number| number + 1 >= until)
            {
                self.behind = None;
                self.back = self.back.max(record.at.since(since.min(record.at)));
            }
        }
        let kept = (0..world.nodes()).filter_map(|node| world.counts(node));
        let kept = kept.map(|counts| counts.get("groupcomm.kept_bytes")).max().unwrap_or(0);
        self.kept_bytes = self.kept_bytes.max(kept);
    }
}

/// All nodes open a group, and are in it.
fn open(world: &mut World) -> ObjectId {
    let spec = spec(0, Order::Fifo);
    let id = spec.name.id();
    for node in 0..world.nodes() {
        world.open(node, spec.clone()).expect("a module carries it");
    }
    let (nodes, mut views) = (world.nodes(), Views::default());
    while !(0..nodes).all(|node| views.of(node, id) == Some(nodes)) {
        world.run(GLANCE);
        world.take_history().for_each(|record| views.read(&record));
    }
    id
}

const SHARE: &str = "goodput_share";
const SHARE_MIN: f64 = 0.95;
const BACK: &str = "victim_back_token_periods";
const BACK_MAX: f64 = 2.0;
const MEMORY: &str = "memory_peak_bytes";
const MEMORY_MAX: f64 = 33_554_432.0;
/// How often a token goes round in QSM.
const TOKEN_PERIOD: Duration = Duration::from_secs(1);
const MESSAGE_BYTES: usize = 1_024;
/// For how many seconds a message may wait until it is taken.
const WAITS_S: f64 = 0.1;
const BACK_WITHIN: Duration = Duration::from_secs(30);
