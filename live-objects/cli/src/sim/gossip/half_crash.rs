//! Half of all nodes crash at once: who still hears a broadcast.
//!
//! In a settled cluster all nodes hold a topic; half of them, drawn by chance, crash in the same
//! moment, and from then on a survivor says something once a second. Every packet takes 10 ms. A
//! *component* is what is left together of the survivors if those who believe each other up are
//! joined.

use std::collections::BTreeSet;
use std::process::ExitCode;

use clap::Args;
use live_objects::{Event, Member, MembersEvent};
use live_objects_sim::{Record, What, World};
use rand::seq::SliceRandom;

use super::broadcast::Topic;
use super::cluster::{listen, settled};
use super::setting::Setting;
use crate::join;
use crate::sim::figures::{Figure, Over, Sample, Told};

/// What the story of the halves is told.
#[derive(Args)]
pub(crate) struct HalfCrash {
    #[command(flatten)]
    setting: Setting,
}

impl HalfCrash {
    pub(crate) fn run(&self) -> ExitCode {
        let story = |seed, threads| self.story(seed, threads);
        self.setting.tell("half-crash", usize::MAX, story, |_| true)
    }

    fn story(&self, seed: u64, threads: usize) -> Told {
        let mut world = settled(seed, self.setting.nodes, threads);
        listen(&mut world);
        let mut topic = Topic::open(&mut world, self.setting.loss);
        let before = topic.said.len();
        let mut all: Vec<usize> = (0..world.nodes()).collect();
        all.shuffle(&mut world.rng("halves"));
        let half = all.len() / 2;
        all[..half].iter().for_each(|node| world.crash(*node));
        let mut beliefs = Beliefs::new(&world);
        for _ in 0..BROADCASTS {
            topic.broadcast(&mut world, |record| beliefs.read(record));
        }
        let others = world.running().len() - 1;
        let shares: Vec<f64> =
            topic.said[before..].iter().map(|said| said.in_time as f64 / others as f64).collect();
        let components = beliefs.components();
        join::complain(&format!("seed {seed}: {components} components, reached {shares:?}"));
        let samples = vec![sample(&shares, components)];
        Told::new(samples, world.trace_hash())
    }
}

/// What came of it, by which share of the survivors each broadcast reached within its second.
fn sample(shares: &[f64], components: usize) -> Sample {
    let full = shares.iter().position(|share| *share == 1.0);
    let reached =
        |key, at: usize| Figure::new(key, shares.get(at).copied()).over(Over::MedianOfGood);
    vec![
        Figure::new("broadcasts_to_full", full.map(|full| (full + 1) as f64)),
        reached("reached_share_first", 0),
        reached("reached_share_second", 1),
        reached("reached_share_third", 2),
        Figure::new("components", Some(components as f64)),
    ]
}

/// Whom each survivor believes down of the others.
struct Beliefs {
    /// By node: its life, if it runs.
    running: Vec<Option<Member>>,
    down: Vec<BTreeSet<Member>>,
}

impl Beliefs {
    /// All who run are believed up.
    fn new(world: &World) -> Self {
        let running = (0..world.nodes()).map(|node| world.member(node)).collect();
        Self { running, down: vec![BTreeSet::new(); world.nodes()] }
    }

    fn read(&mut self, record: &Record) {
        let What::Event(_, Event::Members(event)) = &record.what else { return };
        let down = &mut self.down[record.node];
        match event {
            MembersEvent::Roster(all) => {
                let all: BTreeSet<Member> = all.iter().copied().collect();
                let missing = self.running.iter().flatten().filter(|one| !all.contains(*one));
                *down = missing.copied().collect();
            }
            MembersEvent::Up(member) => drop(down.remove(member)),
            MembersEvent::Down(member, _) => drop(down.insert(*member)),
            // A suspect still counts as up, and gossip has no views.
            _ => {}
        }
    }

    /// In how many parts those fall who run, if those who believe each other up are joined.
    fn components(&self) -> usize {
        let survivors = self.running.iter().enumerate();
        let mut apart: Vec<(usize, Member)> =
            survivors.filter_map(|(node, member)| Some((node, (*member)?))).collect();
        let mut components = 0;
        while let Some(first) = apart.pop() {
            components += 1;
            let mut joined = vec![first];
            while let Some((one, member)) = joined.pop() {
                let are_up = |(other, theirs): &(usize, Member)| {
                    !self.down[one].contains(theirs) && !self.down[*other].contains(&member)
                };
                joined.extend(apart.extract_if(.., |other| are_up(other)));
            }
        }
        components
    }
}

/// How many broadcasts there are, one a second.
const BROADCASTS: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::gossip::setting;

    #[test]
    fn the_survivors_of_a_small_cluster_stay_together() {
        let story = HalfCrash { setting: setting(60, 0.0) };
        let outcome =
            story.setting.outcome("half-crash", 1, |seed, threads| story.story(seed, threads));
        let of = |key| outcome.figure(key).expect("some broadcast reached all");
        assert_eq!(of("components"), 1.0);
        assert!(of("broadcasts_to_full") <= 3.0);
    }
}
