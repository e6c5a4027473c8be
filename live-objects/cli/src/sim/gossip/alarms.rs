//! How often the living are declared dead.
//!
//! A settled cluster is watched for some minutes in which nobody crashes. With `--starved` one
//! member in ten does nothing for 5 of every 10 s, all of these at the same time: half of the time
//! a tenth of the cluster is as good as gone, and then it is back with what it believed before.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use live_objects::{Event, Member, MembersEvent};
use live_objects_sim::{Fault, Record, What};

use super::cluster::{Sent, listen, settled};
use super::setting::Setting;
use crate::join;
use crate::sim::figures::{Figure, Sample, Told};

/// What the story of the false alarms is told.
#[derive(Args)]
pub(crate) struct FalseAlarms {
    #[command(flatten)]
    setting: Setting,
    /// For how many minutes to watch.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    minutes: u32,
    /// One member in ten does nothing for 5 of every 10 s.
    #[arg(long)]
    starved: bool,
}

impl FalseAlarms {
    pub(crate) fn run(&self) -> ExitCode {
        let story = |seed, threads| self.story(seed, threads);
        self.setting.tell("false-alarms", usize::MAX, story, |_| true)
    }

    fn story(&self, seed: u64, threads: usize) -> Told {
        let mut world = settled(seed, self.setting.nodes, threads);
        listen(&mut world);
        world.apply(&Fault::Loss(self.setting.loss));
        let is_starved = |node: &usize| self.starved && node % STARVED_EVERY == STARVED_EVERY - 1;
        let starved: Vec<usize> = (0..world.nodes()).filter(is_starved).collect();
        let (mut alarms, before) = (Alarms::default(), Sent::by(&world));
        let span = Duration::from_secs(60) * self.minutes;
        for turn in 0..span.as_secs() / TURN.as_secs() {
            starved.iter().for_each(|node| world.pause(*node, STARVED_FOR));
            for _ in 0..TURN.as_secs() {
                world.run(Duration::from_secs(1));
                world.take_history().for_each(|record| alarms.read(&record));
            }
            let (dead, seconds) = (alarms.dead.len(), (turn + 1) * TURN.as_secs());
            join::complain(&format!("seed {seed}: {dead} declared dead within {seconds} s"));
        }
        let rate = Sent::by(&world).since(before).rate(self.setting.nodes, span);
        let starved: Vec<Member> = starved.iter().filter_map(|node| world.member(*node)).collect();
        let sample = alarms.sample(&starved, rate);
        Told::new(vec![sample], world.trace_hash())
    }
}

/// Living members of whom somebody was told something that is not so.
#[derive(Default)]
struct Alarms {
    suspected: BTreeSet<Member>,
    dead: BTreeSet<Member>,
    /// Those of the dead who came back.
    rejoined: BTreeSet<Member>,
}

impl Alarms {
    fn read(&mut self, record: &Record) {
        match &record.what {
            What::Event(_, Event::Members(MembersEvent::Suspect(member))) => {
                self.suspected.insert(*member);
            }
            What::Event(_, Event::Members(MembersEvent::Down(member, _))) => {
                self.dead.insert(*member);
            }
            What::Event(_, Event::Members(MembersEvent::Up(member))) => {
                self.rejoined.insert(*member);
            }
            _ => {}
        }
    }

    fn sample(&self, starved: &[Member], rate: f64) -> Sample {
        let count = |of: &BTreeSet<Member>, is_starved: bool| {
            let count = of.iter().filter(|member| starved.contains(member) == is_starved).count();
            Some(count as f64)
        };
        vec![
            Figure::new("declared_dead", count(&self.dead, false)),
            Figure::new("made_to_rejoin", count(&self.rejoined, false)),
            Figure::new("suspected", count(&self.suspected, false)),
            Figure::new("starved_declared_dead", count(&self.dead, true)),
            Figure::new("starved_suspected", count(&self.suspected, true)),
            Figure::new("bytes_per_node_s", Some(rate)),
        ]
    }
}

const STARVED_EVERY: usize = 10;
const STARVED_FOR: Duration = Duration::from_secs(5);
const TURN: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::gossip::setting;

    #[test]
    fn the_healthy_and_the_starved_are_told_apart() {
        let story = FalseAlarms { setting: setting(24, 0.0), minutes: 1, starved: true };
        let outcome =
            story.setting.outcome("false-alarms", 1, |seed, threads| story.story(seed, threads));
        assert_eq!(outcome.figure("declared_dead"), Some(0.0));
        assert_eq!(outcome.figure("starved_suspected"), Some(2.0));
    }
}
