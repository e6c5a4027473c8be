//! The open objects that tell their applications of the configuration itself: kind `Members`.

use std::collections::BTreeMap;

use live_objects::{ClusterId, Event, Io, MembersEvent, NodeId, ObjectId, View};

/// What each has not been told for want of room.
#[derive(Default)]
pub(super) struct Observers {
    untold: BTreeMap<ObjectId, Vec<Event>>,
}

impl Observers {
    pub(super) fn open(&mut self, object: ObjectId, view: Option<&View>) {
        let view = view.cloned().map(MembersEvent::View).map(Event::Members);
        self.untold.insert(object, [Event::Opened].into_iter().chain(view).collect());
    }

    pub(super) fn close(&mut self, object: ObjectId) {
        self.untold.remove(&object);
    }

    /// Such an object takes no commands.
    pub(super) fn on_commands(&self, object: ObjectId, io: &mut Io<'_>) {
        if !self.untold.contains_key(&object) {
            return;
        }
        while let Some(taken) = io.take(object, usize::MAX) {
            io.count("groupcomm.unknown_command");
            io.release(object, taken.message);
        }
    }

    pub(super) fn on_view(&mut self, view: &View) {
        self.tell(&MembersEvent::View(view.clone()));
    }

    pub(super) fn on_outside(&mut self) {
        self.tell(&MembersEvent::Outside);
    }

    pub(super) fn on_foreign(&mut self, cluster: ClusterId, node: NodeId) {
        self.tell(&MembersEvent::ForeignCluster(cluster, node));
    }

    fn tell(&mut self, event: &MembersEvent) {
        let untold = self.untold.values_mut();
        untold.for_each(|events| events.push(Event::Members(event.clone())));
    }

    /// Tells each what it was not told yet, as far as there is room. A reader that is far behind is
    /// told the last things only, in order.
    pub(super) fn flush(&mut self, io: &mut Io<'_>) {
        for (object, events) in &mut self.untold {
            let has_room = |event: &&Event| io.emit(*object, (*event).clone()).is_ok();
            let told = events.iter().take_while(has_room).count();
            events.drain(..told);
            let excess = events.len().saturating_sub(UNTOLD_MAX);
            events.drain(..excess);
        }
    }
}

/// How many events are kept for an object that does not read.
const UNTOLD_MAX: usize = 16;
