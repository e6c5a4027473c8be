//! Checks replicas: V8, a joiner's state equals the others' at its first view, as all are equal
//! whenever a view begins; members that go on to the next view were also equal after the same
//! number of updates in the old one; and when faults stop, all who are in a view have a state in
//! it.
//!
//! Whoever does not go on, since it is killed or cut off, may have applied updates that nobody else
//! did: nothing was promised of those.
//!
//! States are compared by the records of [`What::State`], whenever each member came there: hosts
//! make them for objects opened with [`World::open_replica`](crate::World::open_replica).

use std::collections::BTreeMap;

use live_objects::{ClusterId, Epoch, Event, Kind, Member, ObjectId, ReplicatedEvent, View};

use super::Checker;
use crate::history::{Record, What};

/// Checks every open object of kind `Replicated`, each of which is to have a replica.
#[derive(Default)]
pub struct StatesChecker {
    /// The hash of the state that any member came to, and the first node that did: by the object,
    /// the view, and the updates since.
    states: BTreeMap<(ObjectId, ClusterId, u64, u64), (u64, usize)>,
    /// The open replicas of each node in its present life.
    replicas: BTreeMap<(usize, ObjectId), Told>,
}

#[derive(Default)]
struct Told {
    /// The last view, unless it was told since that its node is outside.
    view: Option<View>,
    /// Whether it had a state in that view.
    has_state: bool,
    /// The hashes of its states in that view, by the updates since it began.
    since: Vec<(u64, u64)>,
}

impl Checker for StatesChecker {
    fn name(&self) -> &'static str {
        "states"
    }

    fn check(&mut self, record: &Record) -> Result<(), String> {
        match &record.what {
            What::Crashed | What::Stopped => {
                self.replicas.retain(|(node, _), _| *node != record.node);
            }
            What::Opened(object, spec) if spec.ty.kind == Kind::Replicated => {
                self.replicas.insert((record.node, *object), Told::default());
            }
            What::Closed(object) | What::Event(object, Event::Refused(_) | Event::Closed(_)) => {
                self.replicas.remove(&(record.node, *object));
            }
            What::Event(object, Event::Replicated(event)) => {
                let view = match event {
                    ReplicatedEvent::View(view) => Some(view.clone()),
                    ReplicatedEvent::Outside => None,
                    _ => return Ok(()),
                };
                let told = self.replicas.get_mut(&(record.node, *object)).ok_or("not open")?;
                let goes_on = view.is_some();
                let left = std::mem::replace(told, Told { view, ..Told::default() });
                if let Some(view) = left.view.filter(|_| goes_on) {
                    for (updates, hash) in left.since {
                        self.compare(record.node, *object, (view.epoch, updates), hash)?;
                    }
                }
            }
            What::State { object, epoch, updates, hash } => {
                return self.on_state(record.node, *object, (*epoch, *updates), *hash);
            }
            _ => {}
        }
        Ok(())
    }

    /// Who is in a view has a state in it. A view of which somebody is gone may be waited in: there
    /// is another to come or, if too many are gone, none.
    fn settled(&self, running: &[(usize, Member)]) -> Result<(), String> {
        let mut firsts: BTreeMap<(ObjectId, u64), (u64, usize)> = BTreeMap::new();
        for ((node, object), told) in &self.replicas {
            for (updates, hash) in &told.since {
                let (first, at) = *firsts.entry((*object, *updates)).or_insert((*hash, *node));
                if first != *hash {
                    return Err(format!(
                        "V8: after {updates} updates in {:?} the states of {object:?} differ at \
                         nodes {at} and {node}",
                        told.view
                    ));
                }
            }
        }
        for ((node, object), told) in &self.replicas {
            let Some(view) = &told.view else { continue };
            let runs = |member: &Member| running.iter().any(|(_, running)| running == member);
            if !told.has_state && view.members.iter().all(runs) {
                let epoch = view.epoch;
                return Err(format!("node {node} has no state of {object:?} in {epoch:?}"));
            }
        }
        Ok(())
    }
}

impl StatesChecker {
    fn on_state(
        &mut self,
        node: usize,
        object: ObjectId,
        (epoch, updates): (Epoch, u64),
        hash: u64,
    ) -> Result<(), String> {
        let told = self.replicas.get_mut(&(node, object)).ok_or("a state of nothing open")?;
        if told.view.as_ref().map(|view| view.epoch) != Some(epoch) {
            return Err(format!(
                "node {node} has a state in {epoch:?}, but was told of no such view"
            ));
        }
        told.has_state = true;
        if updates > 0 {
            told.since.push((updates, hash));
            return Ok(());
        }
        self.compare(node, object, (epoch, updates), hash)
    }

    fn compare(
        &mut self,
        node: usize,
        object: ObjectId,
        (epoch, updates): (Epoch, u64),
        hash: u64,
    ) -> Result<(), String> {
        let key = (object, epoch.cluster, epoch.number, updates);
        let (first, at) = *self.states.entry(key).or_insert((hash, node));
        if first != hash {
            return Err(format!(
                "V8: after {updates} updates in {epoch:?} the state of {object:?} is {hash:016x} at \
                 node {node}, but {first:016x} at node {at}"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::Site;
    use live_objects::{Incarnation, Name, ObjectType, Refusal, Spec, Time};

    fn member(node: usize) -> Member {
        let incarnation = Incarnation::from_bytes([1; Incarnation::LEN]);
        Member { node: Site::new(9).id(node), incarnation }
    }

    fn name() -> Name {
        "/shop".parse().unwrap()
    }

    fn view(number: u64) -> View {
        let epoch = Epoch { cluster: ClusterId::from_bytes([1; 16]), number };
        View { epoch, members: vec![member(0), member(1)] }
    }

    fn told(event: ReplicatedEvent) -> What {
        What::Event(name().id(), Event::Replicated(event))
    }

    fn told_view(number: u64) -> What {
        told(ReplicatedEvent::View(view(number)))
    }

    fn state(number: u64, updates: u64, hash: u64) -> What {
        What::State { object: name().id(), epoch: view(number).epoch, updates, hash }
    }

    /// A checker that saw nodes 0 and 1 open the object, and then this.
    fn seen(
        records: impl IntoIterator<Item = (usize, What)>,
    ) -> (StatesChecker, Result<(), String>) {
        let mut checker = StatesChecker::default();
        let spec = Spec::new(name(), ObjectType::replicated());
        let opened = [0, 1].map(|node| (node, What::Opened(name().id(), spec.clone())));
        let mut records = opened.into_iter().chain(records);
        let result = records
            .try_for_each(|(node, what)| checker.check(&Record { at: Time::ZERO, node, what }));
        (checker, result)
    }

    const BOTH: [usize; 2] = [0, 1];

    fn running() -> [(usize, Member); 2] {
        BOTH.map(|node| (node, member(node)))
    }

    #[test]
    fn states_are_compared_in_the_same_place_only() {
        let views = BOTH.map(|node| (node, told_view(1)));
        let states = [
            (0, state(1, 0, 7)),
            (0, state(1, 16, 8)),
            (0, told_view(2)),
            (0, state(2, 0, 9)),
            (1, state(1, 0, 7)),
            (1, state(1, 16, 8)),
        ];
        let (checker, result) = seen(views.into_iter().chain(states));
        assert_eq!(result, Ok(()));
        assert_eq!(checker.settled(&running()), Ok(()));
    }

    #[test]
    fn another_state_in_the_same_place_is_a_violation() {
        let views = || BOTH.map(|node| (node, told_view(1)));
        let (_, result) =
            seen(views().into_iter().chain([(0, state(1, 0, 6)), (1, state(1, 0, 7))]));
        assert!(result.unwrap_err().starts_with("V8: after 0 updates"));
        let states = || [(0, state(1, 16, 7)), (1, state(1, 0, 6)), (1, state(1, 16, 8))];
        let (checker, result) = seen(views().into_iter().chain(states()));
        assert_eq!(result, Ok(()), "one of them may not go on");
        assert!(checker.settled(&running()).unwrap_err().starts_with("V8: after 16 updates"));
        let next = BOTH.map(|node| (node, told_view(2)));
        let (_, result) = seen(views().into_iter().chain(states()).chain(next));
        assert!(result.unwrap_err().starts_with("V8: after 16 updates"));
        let outside = [(0, told(ReplicatedEvent::Outside)), (1, told_view(2))];
        let (_, result) = seen(views().into_iter().chain(states()).chain(outside));
        assert_eq!(result, Ok(()));
    }

    #[test]
    fn a_state_in_no_view_that_it_was_told_of_is_a_violation() {
        let (_, result) = seen([(0, told_view(1)), (0, state(2, 0, 7))]);
        assert!(result.unwrap_err().contains("told of no such view"));
        let closed = [(0, What::Closed(name().id())), (0, state(1, 0, 7))];
        assert!(seen(closed).1.is_err());
    }

    #[test]
    fn who_is_in_a_view_needs_a_state_in_it_unless_some_of_it_are_gone() {
        let (checker, _) = seen([(0, told_view(1)), (0, state(1, 0, 7)), (0, told_view(2))]);
        assert!(checker.settled(&running()).unwrap_err().contains("node 0 has no state"));
        assert_eq!(checker.settled(&running()[..1]), Ok(()));
    }

    #[test]
    fn who_is_outside_refused_or_gone_needs_none() {
        let viewed = || (0, told_view(1));
        let settled = |what: What| seen([viewed(), (0, what)]).0.settled(&running());
        assert_eq!(settled(told(ReplicatedEvent::Outside)), Ok(()));
        assert_eq!(settled(What::Crashed), Ok(()));
        assert_eq!(settled(What::Closed(name().id())), Ok(()));
        let refused = Event::Refused(Refusal::NoPrimary);
        assert_eq!(settled(What::Event(name().id(), refused)), Ok(()));
        assert!(seen([viewed()]).0.settled(&running()).is_err());
    }
}
