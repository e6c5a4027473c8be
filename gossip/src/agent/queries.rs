//! Queries: which are asked by anybody, what this node gives to each, and what its own applications
//! are told.
//!
//! Claims say which queries there are, since a query's type carries it; so all nodes hear of each,
//! and of its end when its last holder closes it or is gone. Every node gives its own rows to the
//! zone tree, as a share of an aggregate that no application has open, and gives others when what
//! it says of itself changes. Who asks reads the root. With the claim all of it goes at once,
//! wherever that is heard: rows that are told by turns would be passed on after their time. (In
//! Astrolabe, TOCS 2003, the functions that are computed travel as certificates, and whoever
//! installed one has to take it away again.)
//!
//! Who can make a claim can make all nodes work, so only some queries are *run*, the same ones at
//! all nodes: those first in the order of their names, which are hashes, but no more of one who
//! claims them than [`RUN_OF_ONE_MAX`], so that nobody takes the place of all others'. A claim is
//! only taken for what its own hash says, so that nobody gives another query to those who ask.
//!
//! Invariant: no more than [`RUN_MAX`] are run, and rows are held of these alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use live_objects::{
    Event, Io, Kind, NodeId, ObjectId, ObjectType, Query, Share, Spec, Summary, Tally,
};
use tracing::trace;

use super::Agent;
use super::aggregates::Hold;
use crate::records::{Records, Sought};
use crate::zones::body::Body;
use crate::zones::row::{Round, Subject};

/// The queries that this node runs, and those that its applications ask.
#[derive(Default)]
pub(super) struct Queries {
    asked: BTreeMap<ObjectId, Asked>,
    run: BTreeMap<ObjectId, Run>,
    /// Claims of queries changed since it was last looked which there are.
    are_claims_new: bool,
    /// What this node says of itself changed since it last gave that.
    is_own_new: bool,
    /// Those to whom something is to be told at the end of the step.
    due: BTreeSet<ObjectId>,
}

/// One that an application has open.
struct Asked {
    spec: Arc<Spec>,
    told: Option<Tally>,
}

/// One that somebody asks.
struct Run {
    query: Query,
    /// What this node gives to it, if it has a row.
    share: Option<Vec<Body>>,
}

impl Queries {
    pub(super) fn open(&mut self, object: ObjectId, spec: Arc<Spec>) {
        self.asked.insert(object, Asked { spec, told: None });
        self.due.insert(object);
    }

    pub(super) fn close(&mut self, object: ObjectId) {
        self.asked.remove(&object);
    }

    /// The object's application has caught up.
    pub(super) fn drained(&mut self, object: ObjectId) {
        self.due.extend(self.asked.contains_key(&object).then_some(object));
    }

    /// A claim of this name is new, or is no more.
    pub(super) fn on_claim(&mut self, name: &[u8]) {
        self.are_claims_new |= name.starts_with(Query::PREFIX.as_bytes());
    }

    /// This node says something else of itself.
    pub(super) const fn on_own_change(&mut self) {
        self.is_own_new = true;
    }

    /// Whether there may be rows of it: of groups, if somebody asks for them. A node that has not
    /// heard of that yet will, and one that has heard of the end is told of it no more, by nobody.
    pub(super) fn is_asked(&self, subject: Subject) -> bool {
        subject.summary != Summary::Groups || self.run.contains_key(&subject.object)
    }

    /// Whether a row can be of its query.
    pub(super) fn fits(&self, subject: Subject, body: &Body) -> bool {
        match (self.run.get(&subject.object), body) {
            (Some(run), Body::Sketch(sketch)) if subject.summary == Summary::Groups => {
                run.query.fits(sketch)
            }
            // Rows without a share have no sketch, and other rows may say what they like.
            _ => true,
        }
    }
}

impl Agent {
    /// Finds which queries are asked, if that may have changed, and gives to each what this node
    /// says of itself, if that has.
    pub(super) fn run_queries(&mut self, round: Round, io: &mut Io<'_>) {
        let mut are_stale = std::mem::take(&mut self.queries.is_own_new);
        if std::mem::take(&mut self.queries.are_claims_new) {
            let records = &self.shelves.claims.records;
            let asked = asked(records, self.claims.directory(), io);
            are_stale |= self.renew_run(asked);
            io.gauge("gossip.queries", self.queries.run.len());
        }
        if !are_stale {
            return;
        }
        let me = self.knowledge.members().me();
        for (object, run) in &mut self.queries.run {
            let share = run.query.share(self.catalogs.own()).map(|sketch| {
                let parts = Body::of(&Share::from(sketch), Summary::Groups, me);
                parts.expect("a query's share is one of groups")
            });
            if share != run.share {
                let hold = share.as_deref().map_or(Hold::Open, Hold::Share);
                self.aggregates.hold(round, subject(*object), &hold);
                run.share = share;
            }
        }
    }

    /// Runs these from now on. Says whether there are any that it has not run before.
    fn renew_run(&mut self, asked: BTreeMap<ObjectId, Query>) -> bool {
        let Queries { run, .. } = &mut self.queries;
        let over: Vec<ObjectId> =
            run.keys().filter(|object| !asked.contains_key(object)).copied().collect();
        for object in over {
            run.remove(&object);
            self.aggregates.end(subject(object));
        }
        let before = run.len();
        for (object, query) in asked {
            run.entry(object).or_insert(Run { query, share: None });
        }
        run.len() > before
    }

    /// Tells the applications what is known, those of whose queries that may be another.
    pub(super) fn tell_queries(
        &mut self,
        round: Round,
        changed: &BTreeSet<Subject>,
        io: &mut Io<'_>,
    ) {
        let nodes = self.cluster_size();
        let Queries { asked, due, .. } = &mut self.queries;
        let mut due = std::mem::take(due);
        due.extend(changed.iter().map(|subject| subject.object));
        for object in due {
            let Some(Asked { spec, told }) = asked.get_mut(&object) else { continue };
            let Kind::Query(query) = &spec.ty.kind else { unreachable!("it was opened as one") };
            let parts = self.aggregates.parts(round, subject(object));
            let heard = parts.heard.map_or(1, u64::from);
            let known = query.tally(&parts.sketches);
            let tally = Tally { age: parts.age, heard, nodes: nodes as u64, ..known };
            if told.as_ref() == Some(&tally) {
                continue;
            }
            let is_taken = io.emit(object, Event::Query(tally.clone())).is_ok();
            *told = is_taken.then_some(tally);
        }
    }
}

/// Which queries are asked, as far as they are run.
fn asked(records: &Records, claims: ObjectId, io: &mut Io<'_>) -> BTreeMap<ObjectId, Query> {
    let mut asked = BTreeMap::new();
    let mut before = Bytes::new();
    let mut run_of: BTreeMap<NodeId, usize> = BTreeMap::new();
    let prefix = Sought::Prefix(Bytes::from_static(Query::PREFIX.as_bytes()));
    for claim in records.sought(claims, &prefix) {
        // Of one that many ask there are many claims, one after the other.
        let Some(value) = claim.value.filter(|value| *value != before) else { continue };
        let run_of_one = run_of.entry(claim.key.publisher).or_default();
        if *run_of_one == RUN_OF_ONE_MAX {
            io.count("gossip.queries_full");
            continue;
        }
        before = value;
        // A later version may claim types that this one cannot read.
        let ty = postcard::from_bytes::<ObjectType>(&before);
        let query = ty.ok().and_then(|ty| match ty.kind {
            Kind::Query(query) if query.name().as_str().as_bytes() == claim.key.key => Some(query),
            _ => None,
        });
        let Some(query) = query else {
            trace!(publisher = ?claim.key.publisher, "a claim of a query that is none");
            io.count("gossip.query_unreadable");
            continue;
        };
        if asked.len() >= RUN_MAX {
            io.count("gossip.queries_full");
            break;
        }
        *run_of_one += 1;
        asked.insert(query.name().id(), query);
    }
    asked
}

/// What the rows of a query are of.
fn subject(object: ObjectId) -> Subject {
    Subject::new(object, Summary::Groups)
}

/// How many queries a node runs.
pub(super) const RUN_MAX: usize = 64;

/// And how many for the sake of one who claims them.
pub(super) const RUN_OF_ONE_MAX: usize = 16;
