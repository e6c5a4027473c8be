//! Who holds aggregates: the shares that this node's applications set, and what they are told.
//!
//! An object is told when it opens, whenever what is known of it changes, and once a round while
//! anybody has a share in it. An application that does not read gets the last estimate alone: the
//! port replaces one that is unread. If even that finds no room, the object gets the newest when
//! its application has caught up. An object nobody set a share of costs nothing.

use std::collections::{BTreeMap, BTreeSet};

use live_objects::{Command, Estimate, Event, Io, ObjectId, Summary};

use super::aggregates::{Aggregates, Hold};
use crate::zones::row::{Round, Subject};

/// The open objects.
#[derive(Default)]
pub(super) struct Holders {
    objects: BTreeMap<ObjectId, Holder>,
    /// Those whose part in the aggregate is another since the last step ended.
    changed: BTreeSet<Subject>,
    /// Those to whom something is to be told at the end of the step.
    due: BTreeSet<Subject>,
}

struct Holder {
    subject: Subject,
    share: Option<f64>,
    told: Option<Estimate>,
}

impl Holders {
    pub(super) fn open(&mut self, object: ObjectId, summary: Summary) {
        let subject = Subject { object, summary };
        self.objects.insert(object, Holder { subject, share: None, told: None });
        self.changed.insert(subject);
    }

    pub(super) fn close(&mut self, object: ObjectId) {
        self.changed.extend(self.objects.remove(&object).map(|holder| holder.subject));
    }

    /// The object's application has caught up.
    pub(super) fn drained(&mut self, object: ObjectId) {
        self.due.extend(self.objects.get(&object).map(|holder| holder.subject));
    }

    /// Takes an object's commands; tells whether it is an aggregate.
    pub(super) fn on_commands(&mut self, object: ObjectId, io: &mut Io<'_>) -> bool {
        let Some(holder) = self.objects.get_mut(&object) else { return false };
        while let Some(taken) = io.take(object, usize::MAX) {
            match taken.command {
                Command::Set(share) => {
                    holder.share = Some(share.number());
                    self.changed.insert(holder.subject);
                }
                _ => io.count("gossip.unknown_command"),
            }
            io.release(object, taken.message);
        }
        true
    }

    /// Gives what was set to the tables, and what they say to the applications.
    pub(super) fn finish(&mut self, round: Round, aggregates: &mut Aggregates, io: &mut Io<'_>) {
        for subject in std::mem::take(&mut self.changed) {
            aggregates.hold(round, subject, self.hold(subject));
        }
        let mut due = std::mem::take(&mut self.due);
        due.append(&mut aggregates.take_changed());
        for subject in due {
            let Some(holder) = self.objects.get_mut(&subject.object) else { continue };
            if holder.subject != subject {
                continue;
            }
            let estimate = aggregates.estimate(round, subject);
            if holder.told == Some(estimate) {
                continue;
            }
            let is_taken = io.emit(subject.object, Event::Aggregate(estimate)).is_ok();
            holder.told = is_taken.then_some(estimate);
        }
    }

    fn hold(&self, subject: Subject) -> Hold {
        match self.objects.get(&subject.object).filter(|holder| holder.subject == subject) {
            Some(Holder { share: Some(share), .. }) => Hold::Share(*share),
            Some(Holder { share: None, .. }) => Hold::Open,
            None => Hold::Not,
        }
    }
}
