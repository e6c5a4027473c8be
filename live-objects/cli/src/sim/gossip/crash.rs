//! How soon a crash is suspected, and how soon everybody knows.
//!
//! In a settled cluster one node after another crashes, each when all survivors know of the one
//! before. Each crash is a sample.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use live_objects::{Event, Member, MembersEvent, Time};
use live_objects_sim::{Fault, Record, What};
use rand::RngExt;

use super::cluster::{GLANCE, listen, probe_periods, settled};
use super::setting::Setting;
use crate::join;
use crate::sim::figures::{Figure, Over, Sample, Told};

/// What the story of the crashes is told.
#[derive(Args)]
pub(crate) struct Crash {
    #[command(flatten)]
    setting: Setting,
    /// How many nodes crash, one after the other.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    crashes: u32,
}

impl Crash {
    pub(crate) fn run(&self) -> ExitCode {
        self.setting.tell("crash", usize::MAX, |seed, threads| self.story(seed, threads), |_| true)
    }

    fn story(&self, seed: u64, threads: usize) -> Told {
        let mut world = settled(seed, self.setting.nodes, threads);
        listen(&mut world);
        world.apply(&Fault::Loss(self.setting.loss));
        world.run(CALM);
        world.take_history();
        let mut rng = world.rng("crashes");
        let mut samples = Vec::new();
        // Node 0 stays, and another to tell of the last crash.
        for crash in 1..=self.crashes.min(self.setting.nodes - 2) {
            let running = world.running();
            let (victim, member) = running[rng.random_range(1..running.len())];
            let mut mourning = Mourning::new(member, world.nodes(), running.len() - 1);
            let crashed = world.now();
            world.crash(victim);
            while mourning.all_know_at.is_none() && world.now() < crashed + KNOWN_WITHIN {
                world.run(GLANCE);
                world.take_history().for_each(|record| mourning.read(&record));
            }
            let after = |at: Option<Time>| Some(at?.since(crashed));
            let (suspected, known) = (after(mourning.suspected_at), after(mourning.all_know_at));
            join::complain(&format!(
                "seed {seed}: crash {crash} suspected after {suspected:?}, known after {known:?}"
            ));
            samples.push(sample(suspected, known));
            world.run(CALM);
            world.take_history();
        }
        Told::new(samples, world.trace_hash())
    }
}

fn sample(suspected: Option<Duration>, known: Option<Duration>) -> Sample {
    let seconds = |span: Option<Duration>| Some(span?.as_secs_f64());
    vec![
        Figure::new("first_suspicion_s", seconds(suspected)).over(Over::Mean),
        Figure::new("first_suspicion_periods", suspected.map(probe_periods)).over(Over::Mean),
        Figure::new("all_know_s", seconds(known)),
    ]
}

/// Who has heard of a death.
struct Mourning {
    of: Member,
    has_heard: Vec<bool>,
    missing: usize,
    suspected_at: Option<Time>,
    all_know_at: Option<Time>,
}

impl Mourning {
    fn new(of: Member, nodes: usize, survivors: usize) -> Self {
        let has_heard = vec![false; nodes];
        Self { of, has_heard, missing: survivors, suspected_at: None, all_know_at: None }
    }

    fn read(&mut self, record: &Record) {
        let What::Event(_, Event::Members(event)) = &record.what else { return };
        let is_down = match event {
            MembersEvent::Suspect(member) if *member == self.of => false,
            MembersEvent::Down(member, _) if *member == self.of => true,
            MembersEvent::Roster(all) if !all.contains(&self.of) => true,
            _ => return,
        };
        self.suspected_at.get_or_insert(record.at);
        if is_down && !std::mem::replace(&mut self.has_heard[record.node], true) {
            self.missing -= 1;
            if self.missing == 0 {
                self.all_know_at = Some(record.at);
            }
        }
    }
}

/// For how long nothing happens before a crash.
const CALM: Duration = Duration::from_secs(2);
/// How long survivors have to know of a crash.
const KNOWN_WITHIN: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::gossip::setting;

    #[test]
    fn crashes_are_suspected_and_then_known() {
        let crash = Crash { setting: setting(24, 0.0), crashes: 3 };
        let outcome = crash.setting.outcome("crash", 1, |seed, threads| crash.story(seed, threads));
        let of = |key| outcome.figure(key).expect("every crash is known");
        assert!(of("first_suspicion_s_worst") < of("all_know_s"));
        let periods = of("first_suspicion_s");
        assert!((of("first_suspicion_periods") - periods).abs() < 1e-6, "of a second each");
    }
}
