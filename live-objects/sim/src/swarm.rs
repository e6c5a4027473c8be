//! A swarm: the same story under many seeds, and what came of all of them together.
//!
//! Stories that were thought up find the bugs that were thought of; the others fall to numbers. A
//! swarm runs each seed in a world of its own, many at a time, and sums them up in the order of
//! seeds, so that its report is the same on any number of threads.

use std::collections::BTreeSet;
use std::time::Duration;

use live_objects::{Event, MembersEvent, ReplicatedEvent, Time, TopicEvent};
use rayon::prelude::*;

use crate::checker::Violation;
use crate::fault::Fault;
use crate::history::{Record, What};
use crate::trace::Trace;
use crate::world::World;

/// What came of one seed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SeedReport {
    /// The seed.
    pub seed: u64,
    /// What must not have happened.
    pub violations: Vec<Violation>,
    /// What had not happened when it should have.
    pub stuck: Vec<Violation>,
    /// Whether it ended with so much lost that nothing can settle: see [`World::is_lost`].
    pub lost: bool,
    /// Events that applications heard.
    pub events: u64,
    /// Messages and updates among them.
    pub deliveries: u64,
    /// Views that applications were told of, each counted once however many were told.
    pub views: u64,
    /// How long it lasted on the world's clock.
    pub lasted: Duration,
    /// Processes killed.
    pub crashes: u64,
    /// Times that the network was cut.
    pub partitions: u64,
    /// The world's hash.
    pub trace_hash: u64,
}

impl SeedReport {
    /// What came of a world whose story is over, [`World::settle`] being its end.
    pub fn of(seed: u64, world: &World) -> Self {
        let count = |is: fn(&What) -> bool| {
            world.history().iter().filter(|record| is(&record.what)).count() as u64
        };
        Self {
            seed,
            violations: world.violations().to_vec(),
            stuck: world.stuck().to_vec(),
            lost: world.is_lost(),
            events: count(|what| matches!(what, What::Event(..))),
            deliveries: count(is_delivery),
            views: views(world.history()),
            lasted: world.now().since(Time::ZERO),
            crashes: count(|what| matches!(what, What::Crashed)),
            partitions: count(|what| {
                let What::Fault(fault) = what else { return false };
                matches!(fault, Fault::Cut(..) | Fault::CutOneWay(..) | Fault::CutRing(_))
            }),
            trace_hash: world.trace_hash(),
        }
    }

    /// Whether nothing was wrong.
    pub fn is_good(&self) -> bool {
        self.violations.is_empty() && self.stuck.is_empty()
    }
}

/// What came of a swarm, summed up over its seeds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SwarmReport {
    /// How many seeds were run.
    pub seeds: u64,
    /// How many of them had a violation.
    pub violations: u64,
    /// How many of them were stuck at the end.
    pub stuck: u64,
    /// How many of them ended with so much lost that nothing can settle.
    pub lost: u64,
    /// Events that applications heard.
    pub events: u64,
    /// Messages and updates among them.
    pub deliveries: u64,
    /// Views that applications were told of, each counted once however many were told.
    pub views: u64,
    /// Processes killed.
    pub crashes: u64,
    /// Times that a network was cut.
    pub partitions: u64,
    /// A hash of all that happened.
    pub trace_hash: u64,
    /// The first seed that went wrong, if any did.
    pub first_bad: Option<SeedReport>,
}

/// Runs a story under each of `seeds` seeds from `first` on, on `threads` threads. `done` hears of
/// each seed as it ends, in no order.
pub fn swarm(
    seeds: std::ops::Range<u64>,
    threads: usize,
    story: impl Fn(u64) -> World + Sync,
    done: impl Fn(&SeedReport) + Sync,
) -> SwarmReport {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.max(1)).build();
    let pool = pool.expect("threads can be started");
    let run = |seed| {
        let report = SeedReport::of(seed, &story(seed));
        done(&report);
        report
    };
    let reports: Vec<SeedReport> = pool.install(|| seeds.into_par_iter().map(run).collect());
    let sum = |of: fn(&SeedReport) -> u64| reports.iter().map(of).sum();
    let mut trace = Trace::new();
    reports.iter().for_each(|report| trace.number(report.trace_hash));
    SwarmReport {
        seeds: reports.len() as u64,
        violations: sum(|report| u64::from(!report.violations.is_empty())),
        stuck: sum(|report| u64::from(!report.stuck.is_empty())),
        lost: sum(|report| u64::from(report.lost)),
        events: sum(|report| report.events),
        deliveries: sum(|report| report.deliveries),
        views: sum(|report| report.views),
        crashes: sum(|report| report.crashes),
        partitions: sum(|report| report.partitions),
        trace_hash: trace.hash(),
        first_bad: reports.into_iter().find(|report| !report.is_good()),
    }
}

fn is_delivery(what: &What) -> bool {
    matches!(
        what,
        What::Event(
            _,
            Event::Topic(TopicEvent::Message { .. })
                | Event::Replicated(ReplicatedEvent::Update { .. })
        )
    )
}

/// How many views of how many objects somebody was told of.
fn views(history: &[Record]) -> u64 {
    let view = |record: &Record| match &record.what {
        What::Event(
            object,
            Event::Members(MembersEvent::View(view))
            | Event::Topic(TopicEvent::View(view))
            | Event::Replicated(ReplicatedEvent::View(view)),
        ) => Some((*object, view.epoch.cluster, view.epoch.number)),
        _ => None,
    };
    history.iter().filter_map(view).collect::<BTreeSet<_>>().len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use live_objects::{ClusterId, Epoch, Incarnation, Member, Name, ObjectId, Time, View};

    use crate::site::Site;

    fn object(name: &str) -> ObjectId {
        name.parse::<Name>().unwrap().id()
    }

    #[test]
    fn a_view_counts_once_an_object() {
        let view = |number| {
            let epoch = Epoch { cluster: ClusterId::from_bytes([1; 16]), number };
            View { epoch, members: Vec::new() }
        };
        let members = |number| Event::Members(MembersEvent::View(view(number)));
        let topic = |number| Event::Topic(TopicEvent::View(view(number)));
        let told = [
            (0, object("/members"), members(1)),
            (1, object("/members"), members(1)),
            (1, object("/members"), members(2)),
            (0, object("/topic"), topic(1)),
            (0, object("/topic"), Event::Topic(TopicEvent::Outside)),
        ];
        let record = |(node, object, event)| {
            let what = What::Event(object, event);
            Record { at: Time::ZERO, node, what }
        };
        assert_eq!(views(&told.map(record)), 3);
    }

    #[test]
    fn messages_and_updates_are_deliveries_and_restored_states_are_not() {
        let incarnation = Incarnation::from_bytes([1; Incarnation::LEN]);
        let from = Member { node: Site::new(1).id(0), incarnation };
        let (own, bytes) = (None, Bytes::from_static(b"hello"));
        let message = TopicEvent::Message { from, own, bytes: bytes.clone() };
        let update = ReplicatedEvent::Update { from, own, bytes: bytes.clone() };
        let restore = ReplicatedEvent::Restore { offset: 0, bytes, last: true };
        let is = |event| is_delivery(&What::Event(object("/topic"), event));
        assert!(is(Event::Topic(message)) && is(Event::Replicated(update)));
        assert!(!is(Event::Replicated(restore)) && !is(Event::Opened));
    }
}
