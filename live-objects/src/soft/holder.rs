//! One holder of a soft state: its copy, what it writes and what it hears.
//!
//! A machine without I/O, as a [`Replica`](crate::Replica) is for states with an order. The module
//! that carries the object has a copy of its own, and the two tell each other deltas: so reading
//! waits for nobody, and what an application writes it reads at once.

use super::access::{Reader, WriteError, Writer};
use super::context::Author;
use super::place::Place;
use super::store::Store;
use super::{Soft, schema_of};
use crate::event::{Event, ReplicatedEvent};
use crate::object::ObjectType;

/// A copy of a soft state.
pub struct Holder<S> {
    is: S,
    store: Store,
    author: Author,
}

impl<S: Soft> Holder<S> {
    /// The copy of the author that [`ReplicatedEvent::Joined`] tells of.
    pub fn new(author: Author) -> Self {
        Self { is: S::at(&mut Place::root()), store: Store::default(), author }
    }

    /// The type of objects that have such a state.
    pub fn object_type() -> ObjectType {
        ObjectType::soft_state().of(schema_of::<S>())
    }

    /// Takes in the next event of its object. Tells whether that changed the state.
    pub fn on_event(&mut self, event: &Event) -> bool {
        match event {
            // A module tells nothing that it has not read itself.
            Event::Replicated(ReplicatedEvent::Merge { delta }) => {
                Store::decode(delta).is_ok_and(|delta| self.store.merge(&delta))
            }
            Event::Replicated(ReplicatedEvent::Joined { author }) => {
                self.author = *author;
                false
            }
            _ => false,
        }
    }

    /// Reads the state.
    pub fn read<R>(&self, read: impl FnOnce(&S, Reader<'_>) -> R) -> R {
        read(&self.is, Reader::new(&self.store))
    }

    /// What an update would change: a delta, which the application may give to its object
    /// ([`Command::Update`](crate::Command::Update)) and then [merge](Holder::merge).
    pub fn write<R>(
        &self,
        write: impl FnOnce(&S, &mut Writer<'_>) -> R,
    ) -> Result<(R, Store), WriteError> {
        let mut writer = Writer::new(&self.store, self.author);
        let result = write(&self.is, &mut writer);
        Ok((result, writer.finish()?))
    }

    /// Takes in a delta of its own.
    pub fn merge(&mut self, delta: &Store) {
        self.store.merge(delta);
    }

    /// The state as whoever does not know its type sees it.
    pub const fn store(&self) -> &Store {
        &self.store
    }
}
