//! Who holds aggregates: the shares that this node's applications set, and what they are told.
//!
//! An object is told when it opens, whenever what is known of it changes, and once a round while
//! anybody has a share in it. An application that does not read gets the last estimate alone: the
//! port replaces one that is unread. If even that finds no room, the object gets the newest when
//! its application has caught up. An object nobody set a share of costs nothing.

use std::collections::{BTreeMap, BTreeSet};

use live_objects::{Command, Estimate, Event, Io, NodeId, ObjectId, Summary, Time};
use tracing::trace;

use super::aggregates::{Aggregates, Hold};
use super::recent::Recent;
use crate::zones::body::Body;
use crate::zones::row::{Round, Subject};

/// The open objects.
pub(super) struct Holders {
    me: NodeId,
    objects: BTreeMap<ObjectId, Holder>,
    /// Those whose part in the aggregate is another since the last step ended.
    changed: BTreeSet<Subject>,
    /// Those to whom something is to be told at the end of the step.
    due: BTreeSet<Subject>,
}

struct Holder {
    subject: Subject,
    /// In parts.
    share: Option<Vec<Body>>,
    /// What the share is made of, if it was added up and not set.
    recent: Recent,
    /// Something was added, or does not count any more.
    is_added_to: bool,
    told: Option<Estimate>,
}

impl Holders {
    pub(super) fn new(me: NodeId) -> Self {
        Self { me, objects: BTreeMap::new(), changed: BTreeSet::new(), due: BTreeSet::new() }
    }

    pub(super) fn open(&mut self, object: ObjectId, summary: Summary) {
        let subject = Subject::new(object, summary);
        let (share, told, recent) = (None, None, Recent::default());
        self.objects.insert(object, Holder { subject, share, recent, is_added_to: false, told });
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
    pub(super) fn on_commands(&mut self, now: Time, object: ObjectId, io: &mut Io<'_>) -> bool {
        let Some(holder) = self.objects.get_mut(&object) else { return false };
        let summary = holder.subject.summary;
        while let Some(taken) = io.take(object, usize::MAX) {
            match taken.command {
                Command::Set(share) => match Body::of(&share, summary, self.me) {
                    Some(parts) => {
                        holder.share = Some(parts);
                        (holder.recent, holder.is_added_to) = (Recent::default(), false);
                        self.changed.insert(holder.subject);
                    }
                    None => unfit(object, io),
                },
                Command::Add { share, span } => {
                    if holder.recent.add(now, summary, &share, span) {
                        holder.is_added_to = true;
                    } else {
                        unfit(object, io);
                    }
                }
                _ => io.count("gossip.unknown_command"),
            }
            io.release(object, taken.message);
        }
        true
    }

    /// Gives what was set and added to the tables.
    pub(super) fn give(
        &mut self,
        now: Time,
        round: Round,
        aggregates: &mut Aggregates,
        io: &mut Io<'_>,
    ) {
        self.add_up(now, io);
        for subject in std::mem::take(&mut self.changed) {
            aggregates.hold(round, subject, &self.hold(subject));
        }
    }

    /// Tells the applications what the tables say, those included of which that may be another.
    pub(super) fn tell(
        &mut self,
        round: Round,
        changed: &BTreeSet<Subject>,
        aggregates: &mut Aggregates,
        io: &mut Io<'_>,
    ) {
        let mut due = std::mem::take(&mut self.due);
        due.extend(changed);
        for subject in due {
            let Some(holder) = self.objects.get_mut(&subject.object) else { continue };
            if holder.subject != subject {
                continue;
            }
            let estimate = aggregates.estimate(round, subject);
            if holder.told.as_ref() == Some(&estimate) {
                continue;
            }
            let is_taken = io.emit(subject.object, Event::Aggregate(estimate.clone())).is_ok();
            holder.told = is_taken.then_some(estimate);
        }
    }

    /// Makes shares of what was added to them.
    fn add_up(&mut self, now: Time, io: &mut Io<'_>) {
        for (object, holder) in &mut self.objects {
            let has_less = holder.recent.forget(now);
            if !std::mem::take(&mut holder.is_added_to) && !has_less {
                continue;
            }
            let summary = holder.subject.summary;
            let share = holder.recent.share(now, summary);
            let parts = share.as_ref().map(|share| Body::of(share, summary, self.me));
            if parts == Some(None) {
                unfit(*object, io);
            }
            // Who counted events and has seen none lately counts still, for nothing.
            let none = (summary == Summary::Rate).then(|| vec![Body::default()]);
            holder.share = parts.flatten().or(none);
            self.changed.insert(holder.subject);
        }
    }

    fn hold(&self, subject: Subject) -> Hold<'_> {
        match self.objects.get(&subject.object).filter(|holder| holder.subject == subject) {
            Some(Holder { share: Some(share), .. }) => Hold::Share(share),
            Some(Holder { share: None, .. }) => Hold::Open,
            None => Hold::Not,
        }
    }
}

/// Its application gave a share that the object's summary is not of.
fn unfit(object: ObjectId, io: &mut Io<'_>) {
    trace!(?object, "a share that its summary is not of");
    io.count("gossip.unfit_share");
}
