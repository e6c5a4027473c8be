//! Checks soft states: whatever a holder is told was written by somebody, as it was written; no two
//! holders write as the same author; and when faults stop all holders have the same state.
//!
//! What a holder has is what it wrote and what it was told, merged: so the checker needs nobody who
//! knows the state's type, nor any holder's word for it.

use std::collections::BTreeMap;

use bytes::Bytes;
use live_objects::soft::{Author, Dot, Store};
use live_objects::{Command, Delivery, Event, Kind, Member, ObjectId, ReplicatedEvent};

use super::Checker;
use crate::history::{Record, What};

/// Checks every open object of kind `Replicated` that spreads as an epidemic.
#[derive(Default)]
pub struct SoftChecker {
    /// What each node that has it open has of an object.
    held: BTreeMap<(ObjectId, usize), Held>,
    /// What was ever written, under which key.
    written: BTreeMap<(ObjectId, Dot), (Bytes, Bytes)>,
    /// All who ever wrote.
    authors: BTreeMap<(ObjectId, Author), usize>,
}

#[derive(Default)]
struct Held {
    store: Store,
    author: Option<Author>,
}

impl Checker for SoftChecker {
    fn name(&self) -> &'static str {
        "soft"
    }

    fn check(&mut self, record: &Record) -> Result<(), String> {
        let node = record.node;
        match &record.what {
            What::Crashed | What::Stopped => self.held.retain(|(_, at), _| *at != node),
            What::Opened(object, spec)
                if spec.ty.kind == Kind::Replicated
                    && spec.ty.properties.delivery == Delivery::Epidemic =>
            {
                self.held.insert((*object, node), Held::default());
            }
            What::Closed(object) | What::Event(object, Event::Refused(_) | Event::Closed(_)) => {
                self.held.remove(&(*object, node));
            }
            What::Command(object, Command::Update(delta)) => {
                return self.on_written(*object, node, delta);
            }
            What::Event(object, Event::Replicated(ReplicatedEvent::Joined { author })) => {
                let held = self.held.get_mut(&(*object, node)).ok_or("told of nothing open")?;
                held.author = Some(*author);
                if let Some(other) = self.authors.insert((*object, *author), node) {
                    return Err(format!("nodes {other} and {node} both write as {author:?}"));
                }
            }
            What::Event(object, Event::Replicated(ReplicatedEvent::Merge { delta })) => {
                return self.on_told(*object, node, delta);
            }
            _ => {}
        }
        Ok(())
    }

    fn settled(&self, _running: &[(usize, Member)]) -> Result<(), String> {
        let mut before: Option<(ObjectId, usize, &Store)> = None;
        for ((object, node), held) in &self.held {
            if let Some((its, other, store)) = before
                && its == *object
                && *store != held.store
            {
                let (one, two) = (store.dots().count(), held.store.dots().count());
                return Err(format!(
                    "the states of {object:?} differ at nodes {other} and {node}: {one} and {two} \
                     values"
                ));
            }
            before = Some((*object, *node, &held.store));
        }
        Ok(())
    }
}

impl SoftChecker {
    fn on_written(&mut self, object: ObjectId, node: usize, delta: &Bytes) -> Result<(), String> {
        let Some(held) = self.held.get_mut(&(object, node)) else { return Ok(()) };
        let delta = Store::decode(delta).map_err(|error| format!("node {node} wrote: {error}"))?;
        for (dot, key, value) in delta.dots() {
            if Some(dot.author) != held.author {
                return Err(format!("node {node} writes as {:?}", dot.author));
            }
            self.written.insert((object, dot), (key.clone(), value.clone()));
        }
        held.store.merge(&delta);
        Ok(())
    }

    fn on_told(&mut self, object: ObjectId, node: usize, delta: &Bytes) -> Result<(), String> {
        let held = self.held.get_mut(&(object, node)).ok_or("told of nothing open")?;
        let delta = Store::decode(delta).map_err(|error| format!("node {node} heard: {error}"))?;
        for (dot, key, value) in delta.dots() {
            let is_right = self
                .written
                .get(&(object, dot))
                .is_some_and(|it| *it == (key.clone(), value.clone()));
            if !is_right {
                return Err(format!("node {node} was told of {dot:?}, which nobody wrote so"));
            }
        }
        held.store.merge(&delta);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use live_objects::soft::{Holder, Set};
    use live_objects::{Name, Spec, Time};

    type Items = Set<u32>;

    fn name() -> Name {
        "/cart".parse().unwrap()
    }

    fn told(event: ReplicatedEvent) -> What {
        What::Event(name().id(), Event::Replicated(event))
    }

    fn wrote(delta: &Store) -> What {
        What::Command(name().id(), Command::Update(delta.encode()))
    }

    fn merge(delta: &Store) -> What {
        told(ReplicatedEvent::Merge { delta: delta.encode() })
    }

    fn author(node: usize) -> Author {
        Author::new(node as u64)
    }

    /// What node `node` writes first.
    fn first_of(node: usize, item: u32) -> Store {
        let holder = Holder::<Items>::new(author(node));
        holder.write(|items, writer| items.insert(writer, &item)).unwrap().1
    }

    /// A checker that saw nodes 0 and 1 open the object, and then this.
    fn seen(records: impl IntoIterator<Item = (usize, What)>) -> (SoftChecker, Result<(), String>) {
        let mut checker = SoftChecker::default();
        let spec = Spec::new(name(), Holder::<Items>::object_type());
        let opened = [0, 1].into_iter().flat_map(|node| {
            let joined = ReplicatedEvent::Joined { author: author(node) };
            [(node, What::Opened(name().id(), spec.clone())), (node, told(joined))]
        });
        let mut records = opened.chain(records);
        let result = records
            .try_for_each(|(node, what)| checker.check(&Record { at: Time::ZERO, node, what }));
        (checker, result)
    }

    #[test]
    fn who_has_merged_the_same_has_settled() {
        let (one, other) = (first_of(0, 7), first_of(1, 8));
        let all = [(0, wrote(&one)), (1, wrote(&other)), (1, merge(&one)), (0, merge(&other))];
        let (checker, result) = seen(all.clone());
        assert_eq!((result, checker.settled(&[])), (Ok(()), Ok(())));
        let (checker, result) = seen(all.into_iter().take(3));
        assert_eq!(result, Ok(()));
        assert!(checker.settled(&[]).unwrap_err().contains("differ at nodes 0 and 1: 1 and 2"));
        // Whoever is gone, or has closed it, has nothing that others need.
        let (checker, _) = seen([(0, wrote(&one)), (0, What::Crashed)]);
        assert_eq!(checker.settled(&[]), Ok(()));
        let (checker, _) = seen([(0, wrote(&one)), (1, What::Closed(name().id()))]);
        assert_eq!(checker.settled(&[]), Ok(()));
    }

    #[test]
    fn what_nobody_wrote_is_a_violation() {
        let (_, result) = seen([(1, merge(&first_of(0, 7)))]);
        assert!(result.unwrap_err().contains("nobody wrote so"));
        // By the same dot, but another item.
        let (_, result) = seen([(0, wrote(&first_of(0, 7))), (1, merge(&first_of(0, 8)))]);
        assert!(result.unwrap_err().contains("nobody wrote so"));
        let junk = told(ReplicatedEvent::Merge { delta: Bytes::from_static(b"\xff") });
        assert!(seen([(1, junk)]).1.is_err());
    }

    #[test]
    fn each_writes_as_an_author_of_its_own() {
        let (_, result) = seen([(1, wrote(&first_of(0, 7)))]);
        assert!(result.unwrap_err().contains("node 1 writes as"));
        let joined = told(ReplicatedEvent::Joined { author: author(0) });
        assert!(seen([(1, joined)]).1.unwrap_err().contains("nodes 0 and 1 both write"));
    }
}
