//! Open catalogs: what this node says of itself in each, and what its applications look for there.
//!
//! What a node says stays with it, and vanishes with it: others ask (`agent/searches`). All that is
//! told of it to others are terms (`zones/filter`), so that they know whom to ask.
//!
//! An answer that finds no room waits, and with it all commands behind it, until its application
//! has read on.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use live_objects::{
    Attributes, CatalogEvent, Command, Described, Event, Io, Name, ObjectId, Spec, Time, Told,
};

use super::Agent;
use super::directory::Asked;
use crate::zones::filter::{Filter, Term};

/// The open catalogs.
#[derive(Default)]
pub(super) struct Catalogs {
    open: BTreeMap<ObjectId, Catalog>,
    /// Those whose commands wait until searches have ended.
    waiting: Vec<ObjectId>,
}

/// One of them.
pub(super) struct Catalog {
    pub(super) spec: Arc<Spec>,
    /// What this node says of itself; empty if it says nothing.
    pub(super) own: Attributes,
    /// Answers that wait for room.
    waits: VecDeque<CatalogEvent>,
}

impl Catalogs {
    pub(super) fn has(&self, object: ObjectId) -> bool {
        self.open.contains_key(&object)
    }

    pub(super) fn open(&mut self, object: ObjectId, spec: Arc<Spec>) {
        let (own, waits) = (Attributes::default(), VecDeque::new());
        self.open.insert(object, Catalog { spec, own, waits });
    }

    /// Tells whether it was open.
    fn close(&mut self, object: ObjectId) -> bool {
        self.waiting.retain(|waiting| *waiting != object);
        self.open.remove(&object).is_some()
    }

    /// What this node says of itself, and where.
    pub(super) fn own(&self) -> impl Iterator<Item = (&Name, &Attributes)> {
        let all = self.open.values().map(|catalog| (&catalog.spec.name, &catalog.own));
        all.filter(|(_, own)| !own.is_empty())
    }

    /// What it says in one, if anything.
    pub(super) fn own_in(&self, object: ObjectId) -> Option<&Attributes> {
        self.open.get(&object).map(|catalog| &catalog.own).filter(|own| !own.is_empty())
    }

    /// Whether no answer waits for room, and it is open.
    pub(super) fn is_free(&self, object: ObjectId) -> bool {
        self.open.get(&object).is_some_and(|catalog| catalog.waits.is_empty())
    }

    /// Answers an application, now or when it has read on, if it has the catalog open still.
    pub(super) fn answer(
        &mut self,
        Asked { object, command }: Asked,
        holders: Vec<Described>,
        told: Told,
        io: &mut Io<'_>,
    ) {
        let Some(Catalog { waits, .. }) = self.open.get_mut(&object) else { return };
        let found = CatalogEvent::Found { command, holders, told };
        if !waits.is_empty() || io.emit(object, Event::Catalog(found.clone())).is_err() {
            waits.push_back(found);
        }
    }

    /// The application has read on.
    fn go_on(&mut self, object: ObjectId, io: &mut Io<'_>) {
        let Some(Catalog { waits, .. }) = self.open.get_mut(&object) else { return };
        while let Some(found) = waits.front() {
            if io.emit(object, Event::Catalog(found.clone())).is_err() {
                return;
            }
            waits.pop_front();
        }
    }

    /// The terms of all that this node says of itself.
    fn terms(&self) -> Option<Filter> {
        let terms = |(name, own): (&Name, &Attributes)| {
            let object = name.id();
            let terms = own.iter().filter_map(|(name, value)| Term::of(object, name, value));
            terms.chain([Term::presence(object)]).collect::<Vec<_>>()
        };
        let mut all = self.own().flat_map(terms).peekable();
        all.peek().is_some().then(|| Filter::of_terms(all))
    }
}

impl Agent {
    /// A catalog's feed holds something.
    pub(super) fn on_catalog_commands(&mut self, now: Time, object: ObjectId, io: &mut Io<'_>) {
        while self.catalogs.is_free(object) {
            if self.searches.is_full() || self.errands.is_full() {
                self.catalogs.waiting.push(object);
                return;
            }
            let Some(taken) = io.take(object, usize::MAX) else { return };
            match taken.command {
                Command::Describe(attributes) => self.describe(now, object, attributes),
                Command::Search { matching, limit } => {
                    let asked = Asked { object, command: taken.message };
                    self.search(now, asked, (matching, limit), io);
                }
                _ => io.count("gossip.unknown_command"),
            }
            io.release(object, taken.message);
        }
    }

    /// The application has read on.
    pub(super) fn on_catalog_drained(&mut self, now: Time, object: ObjectId, io: &mut Io<'_>) {
        if self.catalogs.has(object) {
            self.catalogs.go_on(object, io);
            self.go_on_with_searches(now, object, io);
            self.on_catalog_commands(now, object, io);
        }
    }

    /// Some searches have ended: commands that waited for that are taken.
    pub(super) fn on_searches_ended(&mut self, now: Time, io: &mut Io<'_>) {
        self.go_on_with_due_searches(now, io);
        if !self.searches.is_full() && !self.errands.is_full() {
            for object in std::mem::take(&mut self.catalogs.waiting) {
                self.on_catalog_commands(now, object, io);
            }
        }
    }

    /// A catalog is not carried any more: this node says nothing there.
    pub(super) fn close_catalog(&mut self, now: Time, object: ObjectId) {
        if self.catalogs.close(object) {
            self.forget_searches(object);
            self.tell_own_terms(now);
        }
    }

    fn describe(&mut self, now: Time, object: ObjectId, attributes: Attributes) {
        let catalog = self.catalogs.open.get_mut(&object).expect("its commands were taken");
        if std::mem::replace(&mut catalog.own, attributes) != catalog.own {
            self.tell_own_terms(now);
        }
    }

    fn tell_own_terms(&mut self, now: Time) {
        self.queries.on_own_change();
        self.aggregates.describe(self.catalogs.terms(), self.clock.at(now));
    }
}
