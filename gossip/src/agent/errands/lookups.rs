//! Looking up what others keep, for a command: by a key in the one group that keeps it, or by a
//! prefix in each group. What comes is told as it comes.

use std::collections::VecDeque;

use live_objects::{Io, NodeId, Time, Told};

use super::About;
use crate::agent::Agent;
use crate::agent::directory::Asked;
use crate::question::{Answer, Verdict};
use crate::records::affinity::Depth;
use crate::records::{Record, Sought, place};

/// A command that is being answered.
pub(super) struct Lookup {
    sought: Sought,
    /// Groups that are still to be asked.
    rest: VecDeque<(NodeId, Depth)>,
    /// How many are asked now.
    under_way: usize,
    told: Told,
}

impl Lookup {
    pub(super) const fn sought(&self) -> &Sought {
        &self.sought
    }
}

impl Agent {
    /// Asks those who keep it for what is sought.
    pub(in crate::agent) fn ask_others(
        &mut self,
        now: Time,
        asked: Asked,
        sought: Sought,
        io: &mut Io<'_>,
    ) {
        let (own, depth) = (self.knowledge.members().me(), self.shelves.depth);
        let rest = match &sought {
            Sought::Key(key) => VecDeque::from([(place(asked.object, key), depth)]),
            // This node's own group is answered for.
            Sought::Prefix(_) => {
                let groups = depth.places().filter(|place| !depth.part(own).has(*place));
                groups.map(|place| (place, depth)).collect()
            }
        };
        let lookup = Lookup { sought, rest, under_way: 0, told: Told::All };
        self.errands.lookups.insert(asked, lookup);
        self.go_on_looking_up(now, asked, io);
    }

    /// Asks the next groups, or tells that that was all.
    fn go_on_looking_up(&mut self, now: Time, asked: Asked, io: &mut Io<'_>) {
        let Some(lookup) = self.errands.lookups.get_mut(&asked) else { return };
        let mut next = Vec::new();
        while lookup.under_way < UNDER_WAY_MAX
            && let Some(group) = lookup.rest.pop_front()
        {
            lookup.under_way += 1;
            next.push(group);
        }
        if lookup.under_way == 0 {
            let told = lookup.told;
            self.errands.lookups.remove(&asked);
            self.directories.answer(asked, Vec::new(), told, io);
            return;
        }
        for (place, depth) in next {
            let about = About::Find { asked, place, depth };
            let number = self.errands.questions.open(about, self.askable(place), now);
            self.put_question(now, number, io);
        }
    }

    /// Tells what of these is sought.
    pub(super) fn tell_found(&mut self, asked: Asked, mut records: Vec<Record>, io: &mut Io<'_>) {
        let Some(lookup) = self.errands.lookups.get(&asked) else { return };
        // This node's own were told at once. Nobody has a say in what else was asked for.
        let me = self.knowledge.members().me();
        records.retain(|Record { key, value, .. }| {
            let is_sought = match &lookup.sought {
                Sought::Key(sought) => key.key == *sought,
                Sought::Prefix(sought) => key.key.starts_with(sought),
            };
            key.object == asked.object && key.publisher != me && is_sought && value.is_some()
        });
        let listings = self.listings(records, io);
        if !listings.is_empty() {
            self.directories.answer(asked, listings, Told::Part, io);
        }
    }

    /// A group was asked, or nobody of it answers.
    pub(super) fn on_group_answered(
        &mut self,
        now: Time,
        (asked, place, depth): (Asked, NodeId, Depth),
        answer: Option<(NodeId, Answer)>,
        io: &mut Io<'_>,
    ) {
        let Some(lookup) = self.errands.lookups.get_mut(&asked) else { return };
        lookup.under_way -= 1;
        match (answer, &lookup.sought) {
            // Whoever answers may think of more groups, and keep less.
            (Some((from, Answer { depth: theirs, .. })), Sought::Prefix(_)) => {
                match depth.beside(place, Depth::from_code(theirs), from) {
                    Some(rest) => lookup.rest.extend(rest),
                    None => lookup.told = Told::Some,
                }
            }
            (Some((_, Answer { verdict: Verdict::Whole, .. })), Sought::Key(_)) => {}
            (_, Sought::Key(_)) | (None, Sought::Prefix(_)) => lookup.told = Told::Some,
        }
        self.go_on_looking_up(now, asked, io);
    }
}

/// How many groups are asked at one time for one command.
const UNDER_WAY_MAX: usize = 32;
