//! Replicas: an application's replicated state, and what its object's events do to it.
//!
//! A replica is a stepped machine without I/O, as a module is: a driver owns it and feeds it the
//! events of its object, on whatever task it likes. The state is apart from the module on purpose.
//! A module orders updates and must never wait; applying them is the application's code, and takes
//! its time. All that the two share is the [`Port`].
//!
//! All members apply the same updates in the same order to the same beginning (Schneider, "The
//! state machine approach", 1990), so their states are the same. A joiner gets the beginning from
//! the others: at the cut where it joins, each freezes its state, and the joiner restores any of
//! these snapshots, which are the same to the byte.

mod collections;
mod restore;
mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::collections::{List, Map};
pub use self::restore::RestoreError;
use self::restore::Restoring;
pub use self::snapshot::{Chunk, Frozen, Records, Snapshot};
use crate::event::{Command, Event, ReplicatedEvent};
use crate::node::Member;
use crate::port::{Port, TrySendError};

/// An application's replicated state. It is deterministic: the same updates in the same order give
/// the same state, the same replies, and the same records when frozen, at every member. So it reads
/// no clock, draws no chance, and iterates over nothing whose order is random.
///
/// ```
/// use live_objects::{Frozen, Map, Member, RestoreError, State};
///
/// /// How many of each item are there.
/// #[derive(Default)]
/// struct Stock(Map<String, u32>);
///
/// impl State for Stock {
///     type Update = (String, u32);
///     type Reply = u32;
///
///     fn apply(&mut self, _by: Member, (item, more): (String, u32)) -> u32 {
///         let count = self.0.get(&item).map_or(0, |count| *count).saturating_add(more);
///         self.0.insert(item, count);
///         count
///     }
///
///     fn freeze(&self) -> Box<dyn Frozen> {
///         Box::new(self.0.clone())
///     }
///
///     fn restore(&mut self, record: &[u8]) -> Result<(), RestoreError> {
///         self.0.restore(record)
///     }
/// }
/// ```
pub trait State: Send + 'static {
    /// What can be done to it.
    type Update: Serialize + DeserializeOwned + Send;
    /// What whoever did it is told.
    type Reply: Send;

    /// Does an update that this member made.
    fn apply(&mut self, by: Member, update: Self::Update) -> Self::Reply;

    /// The state as it is now, for members that join. It must cost little, however large the state
    /// is: clone a [`Map`] or a [`List`].
    fn freeze(&self) -> Box<dyn Frozen>;

    /// Takes in one record of a frozen state. Called on an initial state, with each record in
    /// order. The record comes from a peer, so it may hold anything.
    fn restore(&mut self, record: &[u8]) -> Result<(), RestoreError>;
}

/// A replica of a state that whoever drives it knows nothing of.
pub trait Replicate: Send {
    /// Takes in the next event of its object.
    fn on_event(&mut self, event: &Event);

    /// What all members in the same place have the same of; none if it is in no such place. See
    /// [`Replica::hash`].
    fn hash(&self) -> Option<u64>;

    /// The port of its object.
    fn port(&self) -> &Port;
}

/// A member's copy of a replicated state.
pub struct Replica<S: State> {
    port: Port,
    initial: Box<dyn Fn() -> S + Send>,
    held: Held<S>,
    /// The newest state of before, while there is none that is current.
    stale: Option<S>,
    /// Of own updates that were applied and are not stable, by the command's number. The feed keeps
    /// those commands, and bounds how many there are.
    replies: BTreeMap<u64, S::Reply>,
    skipped: u64,
    /// Most of the others are out of reach.
    is_cut_off: bool,
}

/// What a replica has of the others' state.
enum Held<S> {
    None,
    Restoring(Restoring<S>),
    Broken(RestoreError),
    Current(S),
}

impl<S: State> Replica<S> {
    /// The replica of an object of kind [`Replicated`](crate::Kind::Replicated), which starts from
    /// what `initial` makes: the same at every member.
    pub fn new(port: Port, initial: impl Fn() -> S + Send + 'static) -> Self {
        let (held, stale, replies) = (Held::None, None, BTreeMap::new());
        Self {
            port,
            initial: Box::new(initial),
            held,
            stale,
            replies,
            skipped: 0,
            is_cut_off: false,
        }
    }

    /// Asks for an update, and returns its number. It is applied when [`Replica::on_event`] hears
    /// of it in the order that all agreed on.
    ///
    /// # Panics
    /// If the update is of a type that cannot be encoded with `postcard`.
    pub fn update(&self, update: &S::Update) -> Result<u64, TrySendError> {
        let bytes = postcard::to_allocvec(update).expect("updates can be encoded with postcard");
        self.port.try_send(Command::Update(bytes.into()))
    }

    /// Takes in the next event of its object. Returns the replies of own updates that are stable
    /// now, by their numbers.
    ///
    /// An own update that came as part of a state which was restored, and one that cannot be
    /// decoded, becomes stable without a reply.
    pub fn on_event(&mut self, event: &Event) -> Vec<(u64, S::Reply)> {
        let Event::Replicated(event) = event else { return Vec::new() };
        match event {
            ReplicatedEvent::View(_) | ReplicatedEvent::Reached => self.is_cut_off = false,
            ReplicatedEvent::CutOff => self.is_cut_off = true,
            ReplicatedEvent::Outside => {
                self.is_cut_off = false;
                self.on_outside();
            }
            ReplicatedEvent::Founded => {
                self.replies.clear();
                self.become_current((self.initial)());
            }
            ReplicatedEvent::Restore { offset, bytes, last } => {
                self.on_restore(*offset, bytes, *last);
            }
            ReplicatedEvent::Freeze { cut } => {
                if let Held::Current(state) = &self.held {
                    self.port.freeze(*cut, Snapshot::new(state.freeze()));
                }
            }
            ReplicatedEvent::Update { from, own, bytes } => self.on_update(*from, *own, bytes),
            ReplicatedEvent::Stable { message } => return self.on_stable(*message),
            // Of states without an order.
            ReplicatedEvent::Joined { .. } | ReplicatedEvent::Merge { .. } => {}
        }
        Vec::new()
    }

    /// The state: that of this very view or, while it [is stale](Replica::is_stale), the last one
    /// that this node had. None until it is founded or wholly restored.
    pub fn state(&self) -> Option<&S> {
        if let Held::Current(state) = &self.held { Some(state) } else { self.stale.as_ref() }
    }

    /// Whether the state, if there is one, may not be up to date: the node is outside or cut off,
    /// or is back and the state that the others have is not wholly restored.
    pub fn is_stale(&self) -> bool {
        self.is_cut_off || !matches!(self.held, Held::Current(_))
    }

    /// Why there is no state, if that is because restoring one failed.
    pub fn broken(&self) -> Option<&RestoreError> {
        if let Held::Broken(error) = &self.held { Some(error) } else { None }
    }

    /// How many updates were passed over, here as at every member, because they cannot be decoded.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// The first eight bytes of the SHA-256 over the records of the state, as a snapshot ends with:
    /// the same at all members that applied the same updates. None while there is no state or it is
    /// stale. It takes as long as making a whole snapshot does.
    pub fn hash(&self) -> Option<u64> {
        let Held::Current(state) = &self.held else { return None };
        Some(snapshot::hash(state.freeze().as_ref()))
    }

    /// The node will be back, and be given a state in which the updates that are not stable now
    /// were made, or are made after all: what they were answered here is void.
    fn on_outside(&mut self) {
        self.replies.clear();
        if let Held::Current(state) = std::mem::replace(&mut self.held, Held::None) {
            self.stale = Some(state);
        }
    }

    fn on_restore(&mut self, offset: u64, piece: &[u8], last: bool) {
        if offset == 0 {
            self.on_outside();
            self.held = Held::Restoring(Restoring::new((self.initial)()));
        }
        let mut restoring = match std::mem::replace(&mut self.held, Held::None) {
            Held::Restoring(restoring) => restoring,
            // The rest of what failed.
            broken @ Held::Broken(_) => {
                self.held = broken;
                return;
            }
            Held::None | Held::Current(_) => {
                return self.break_down(RestoreError::Gap { offset, expected: 0 });
            }
        };
        match restoring.take(offset, piece) {
            Err(error) => self.break_down(error),
            Ok(()) if !last => self.held = Held::Restoring(restoring),
            Ok(()) => match restoring.finish() {
                Ok(state) => self.become_current(state),
                Err(error) => self.break_down(error),
            },
        }
    }

    fn on_update(&mut self, from: Member, own: Option<u64>, bytes: &[u8]) {
        let Held::Current(state) = &mut self.held else { return };
        let Ok(update) = postcard::from_bytes(bytes) else {
            self.skipped += 1;
            return;
        };
        let reply = state.apply(from, update);
        if let Some(number) = own {
            self.replies.insert(number, reply);
        }
    }

    fn on_stable(&mut self, message: u64) -> Vec<(u64, S::Reply)> {
        let mut stable = Vec::new();
        while let Some(reply) = self.replies.first_entry().filter(|reply| *reply.key() <= message) {
            stable.push(reply.remove_entry());
        }
        stable
    }

    fn become_current(&mut self, state: S) {
        self.held = Held::Current(state);
        self.stale = None;
    }

    fn break_down(&mut self, error: RestoreError) {
        self.held = Held::Broken(error);
        self.stale = None;
    }
}

impl<S: State> Replicate for Replica<S> {
    fn on_event(&mut self, event: &Event) {
        Self::on_event(self, event);
    }

    fn hash(&self) -> Option<u64> {
        Self::hash(self)
    }

    fn port(&self) -> &Port {
        &self.port
    }
}
