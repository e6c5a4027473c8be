//! Checks group objects, the reliable ones of kind `Topic` and `Replicated`: V1 to V7, and V9 when
//! faults stop. V8, that states are the same, is for the [`StatesChecker`](super::StatesChecker).
//!
//! What one application was told is followed in a [`Handle`]; what all who have an object open must
//! agree on, in a [`Group`]. Virtual synchrony binds those that go from a view right on to the
//! next: whoever crashes, closes, or is outside may have heard what nobody else ever hears.
//!
//! Where the checker cannot be certain, as an application may read late what its module told it
//! long ago, it is silent: what it reports did happen.

mod group;
mod session;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use live_objects::{
    Delivery, Event, Kind, Member, ObjectId, Order, ReplicatedEvent, TopicEvent, View,
};

use self::group::Group;
use self::session::{Handle, Session};
use super::Checker;
use crate::history::{Record, What};

/// Checks every open object of kind `Topic` or `Replicated` whose delivery is reliable.
///
/// A message is known again by its object, its sender and its payload. So the story sends no
/// payload twice from one life of a node to one object, and sends with
/// [`World::send`](crate::World::send), which records it.
#[derive(Default)]
pub struct GroupsChecker {
    /// Who runs at each node.
    running: BTreeMap<usize, Member>,
    groups: BTreeMap<ObjectId, Group>,
    /// What is open in the nodes' present lives and was not refused.
    handles: BTreeMap<(ObjectId, usize), Handle>,
    /// How many openings there were: their numbers.
    openings: u64,
}

/// What a topic and a replicated state tell in the same way.
enum Told<'a> {
    View(&'a View),
    Outside,
    /// Whether there is a state to apply updates to from now on.
    State(bool),
    Message(Member, Option<u64>, &'a Bytes),
    Stable(u64),
}

impl Checker for GroupsChecker {
    fn name(&self) -> &'static str {
        "groups"
    }

    fn check(&mut self, record: &Record) -> Result<(), String> {
        let node = record.node;
        match &record.what {
            What::Started(member) => {
                self.running.insert(node, *member);
            }
            What::Crashed | What::Stopped => {
                self.running.remove(&node);
                self.handles.retain(|(_, at), _| *at != node);
            }
            What::Opened(object, spec)
                if matches!(spec.ty.kind, Kind::Topic | Kind::Replicated)
                    && spec.ty.properties.delivery == Delivery::Reliable =>
            {
                let me = *self.running.get(&node).ok_or("opened at a node that does not run")?;
                let handle = Handle::new(me, self.openings, &spec.ty);
                self.openings += 1;
                self.handles.insert((*object, node), handle);
            }
            What::Closed(object) | What::Event(object, Event::Refused(_) | Event::Closed(_)) => {
                self.handles.remove(&(*object, node));
            }
            What::Command(object, command) => {
                let Some(handle) = self.handles.get_mut(&(*object, node)) else { return Ok(()) };
                let group = self.groups.entry(*object).or_default();
                return handle.accept(group, command.payload());
            }
            What::Event(object, event) => {
                let Some(told) = told(event) else { return Ok(()) };
                let result = self.on_told(node, *object, &told);
                return result.map_err(|what| format!("{what} (node {node}, {object:?})"));
            }
            _ => {}
        }
        Ok(())
    }

    /// V9: of each object all who have it open are in one last view, which holds them and nobody
    /// else; in it they delivered the same; and all they sent is stable. What must be so of a view
    /// that ends is asked here of the last one, which does not.
    fn settled(&self, _running: &[(usize, Member)]) -> Result<(), String> {
        let mut open: BTreeMap<ObjectId, Vec<(usize, &Handle)>> = BTreeMap::new();
        for ((object, node), handle) in &self.handles {
            open.entry(*object).or_default().push((*node, handle));
        }
        for (object, handles) in open {
            self.agree(object, &handles).map_err(|what| format!("{what} ({object:?})"))?;
        }
        Ok(())
    }
}

impl GroupsChecker {
    fn on_told(&mut self, node: usize, object: ObjectId, told: &Told<'_>) -> Result<(), String> {
        // What is not followed: an object of another type, or one that is not open.
        let Some(handle) = self.handles.get_mut(&(object, node)) else { return Ok(()) };
        let group = self.groups.entry(object).or_default();
        match *told {
            Told::View(view) => {
                let is_right = group.on_view(node, handle.me, view);
                let left = handle.enter(view);
                is_right.and(left.map_or(Ok(()), |left| group.on_gone_on(node, left, view.epoch)))
            }
            Told::Outside => {
                handle.step_out();
                Ok(())
            }
            Told::State(has_state) => {
                handle.on_state(has_state);
                Ok(())
            }
            Told::Message(from, own, bytes) => handle.deliver(group, from, own, bytes),
            Told::Stable(message) => handle.on_stable(group, message),
        }
    }

    /// Whether all who have an object open, of whom there is at least one, are where they must be.
    fn agree(&self, object: ObjectId, handles: &[(usize, &Handle)]) -> Result<(), String> {
        let mut sessions = Vec::with_capacity(handles.len());
        for (node, handle) in handles {
            let session = handle.session().ok_or_else(|| format!("V9: node {node} is outside"))?;
            sessions.push((*node, *handle, session));
        }
        let (first, _, last) = sessions[0];
        for (node, handle, session) in &sessions {
            let (epoch, other) = (session.view.epoch, last.view.epoch);
            if epoch != other {
                return Err(format!("V9: node {first} is in {other:?}, node {node} in {epoch:?}"));
            }
            let (stable, given) = handle.stable();
            if stable < given {
                return Err(format!(
                    "V9: node {node} gave {given} commands, {stable} of which are stable"
                ));
            }
        }
        let open: BTreeSet<Member> = handles.iter().map(|(_, handle)| handle.me).collect();
        if last.view.members.iter().copied().collect::<BTreeSet<_>>() != open {
            return Err(format!("V9: open at {open:?}, but the last view is {:?}", last.view));
        }
        let group = self.groups.get(&object).expect("whoever told of a view made it");
        for (node, handle, session) in &sessions[1..] {
            let is_total = handle.order == Order::Total;
            are_same(group, (first, last), (*node, session), is_total)?;
        }
        // The others delivered the same.
        group.is_in_place(last.messages(), last.view.epoch)
    }
}

/// Whether two who are in the same last view delivered the same in it.
fn are_same(
    group: &Group,
    (first, one): (usize, &Session),
    (node, other): (usize, &Session),
    is_total: bool,
) -> Result<(), String> {
    let (one_len, other_len) = (one.messages().len(), other.messages().len());
    let epoch = one.view.epoch;
    if is_total {
        let mut pairs = one.messages().iter().zip(other.messages());
        if let Some((a, b)) = pairs.find(|(a, b)| a != b) {
            let (a, b) = (group.describe(*a), group.describe(*b));
            return Err(format!("V6: in {epoch:?} node {first} delivered {a}, node {node} {b}"));
        }
    }
    if one.mark() == other.mark() && one_len == other_len {
        return Ok(());
    }
    Err(format!(
        "V9: in {epoch:?} node {first} delivered {one_len} messages, node {node} {other_len}, \
         which are not the same"
    ))
}

/// What an event of a group says; none if that is nothing to look at, or of no group.
fn told(event: &Event) -> Option<Told<'_>> {
    Some(match event {
        Event::Topic(TopicEvent::View(view)) | Event::Replicated(ReplicatedEvent::View(view)) => {
            Told::View(view)
        }
        Event::Topic(TopicEvent::Outside) | Event::Replicated(ReplicatedEvent::Outside) => {
            Told::Outside
        }
        Event::Topic(TopicEvent::Message { from, own, bytes })
        | Event::Replicated(ReplicatedEvent::Update { from, own, bytes }) => {
            Told::Message(*from, *own, bytes)
        }
        Event::Topic(TopicEvent::Stable { message })
        | Event::Replicated(ReplicatedEvent::Stable { message }) => Told::Stable(*message),
        Event::Replicated(ReplicatedEvent::Founded) => Told::State(true),
        Event::Replicated(ReplicatedEvent::Restore { last, .. }) => Told::State(*last),
        _ => return None,
    })
}
