//! The objects that a node has open, each with the part that keeps its kind.

use std::sync::Arc;

use live_objects::{Io, Kind, ObjectId, Spec, Time};

use super::{Agent, claims};

impl Agent {
    /// A weak object of this node, but for those of kind `Members`.
    pub(super) fn carry(&mut self, object: ObjectId, spec: Arc<Spec>, io: &mut Io<'_>) {
        match &spec.ty.kind {
            Kind::Topic => self.topics.open(object, claims::hash(&spec.ty)),
            Kind::Directory => self.directories.open(object),
            Kind::Aggregate(summary) => self.holders.open(object, *summary),
            Kind::Nearest => self.nearest.open(object),
            Kind::Catalog => self.catalogs.open(object, Arc::clone(&spec)),
            Kind::Overlay(_) => self.overlays.open(object, Arc::clone(&spec)),
            Kind::Query(_) => self.queries.open(object, Arc::clone(&spec)),
            Kind::Replicated => self.soft.open(object, Arc::clone(&spec)),
            _ => return,
        }
        self.claim(object, spec, io);
    }

    pub(super) fn stop_carrying(&mut self, now: Time, object: ObjectId, io: &mut Io<'_>) {
        self.topics.close(object);
        self.close_directory(object, io);
        self.holders.close(object);
        self.nearest.close(object);
        self.close_catalog(now, object);
        self.overlays.close(object);
        self.queries.close(object);
        self.soft.close(object);
        self.close_inquiries(object);
        self.unclaim(object);
    }

    pub(super) fn on_commands(&mut self, now: Time, object: ObjectId, io: &mut Io<'_>) {
        if self.topics.has(object) {
            self.on_sends(object, io);
        } else if self.directories.has(object) {
            self.on_asks(now, object, io);
        } else if self.nearest.has(object) {
            self.nearest.on_commands(object, io);
        } else if self.catalogs.has(object) {
            self.on_catalog_commands(now, object, io);
        } else if self.overlays.has(object) {
            self.overlays.on_commands(object, io);
        } else if self.soft.has(object) {
            self.on_updates(object, io);
        } else if !self.holders.on_commands(now, object, io) {
            refuse_commands(object, io);
        }
    }

    pub(super) fn on_drained(&mut self, now: Time, object: ObjectId, io: &mut Io<'_>) {
        self.topics.on_drained(object, io);
        self.on_directory_drained(now, object, io);
        self.on_catalog_drained(now, object, io);
        self.holders.drained(object);
        self.nearest.drained(object);
        self.overlays.drained(object);
        self.queries.drained(object);
        self.soft.drained(object, io);
        self.on_inquiries_drained(now, object, io);
        self.on_closed_drained(object, io);
    }
}

/// Nobody is there to do what an object is told.
pub(super) fn refuse_commands(object: ObjectId, io: &mut Io<'_>) {
    while let Some(taken) = io.take(object, usize::MAX) {
        io.count("gossip.unknown_command");
        io.release(object, taken.message);
    }
}
