//! The stack of a node: its modules, its objects, and the routes between them.
//!
//! A driver owns a `Stack` and feeds it *arrivals*, in batches; the stack opens envelopes, hands
//! each arrival to the module it is for, answers the doorbell of the ports, delivers signals, and
//! calls `finish` once for each module that had an input. What modules send goes out by the
//! [`Driver`] that the step was given. Both drivers run this same code.
//!
//! Invariants: an object has one module for as long as it is open. Nothing that a module does
//! within a step reaches another module before the next step.

mod io;
mod round;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use thiserror::Error;
use tracing::trace;

pub use self::io::Io;
use self::round::Round;
use crate::budget::Budget;
use crate::count::Counts;
use crate::disk::{DiskError, DiskWork, Tag, Works};
use crate::doorbell::{Doorbell, Ring};
use crate::envelope::{Envelope, EnvelopeError, ModuleTag};
use crate::module::{Cost, Full, Input, Lack, Link, Module, Start, Target, Via};
use crate::name::{Name, ObjectId};
use crate::node::{Member, NodeId};
use crate::object::{ObjectType, Spec};
use crate::port::Port;
use crate::poster::Poster;
use crate::rng::Rng;
use crate::time::Time;

/// What carries a stack's bytes: the real network, or the simulated one. None of these calls waits.
pub trait Driver {
    /// Sends `envelope` and `body` as one message to each target, or to none of them. The targets
    /// do not include this node.
    fn send(
        &mut self,
        to: Target<'_>,
        via: Via,
        envelope: Envelope,
        body: Bytes,
    ) -> Result<(), Full>;

    /// How many bytes of bulk messages to this node are taken now.
    fn room(&mut self, to: NodeId) -> usize;

    /// The longest datagram to this node, in bytes, envelope included.
    fn datagram_max(&self, to: NodeId) -> usize;

    /// From now on this node is reached at these addresses, the best first; if there are none, it
    /// is forgotten. The credential is what a driver of this kind gave it to [show](Start), or so
    /// somebody says: it may be empty, and it may be forged.
    fn introduce(&mut self, member: Member, addresses: &[SocketAddr], credential: &Bytes);

    /// What a node shows, as far as that was said here; of this node, what it has to show. Empty if
    /// it is not known.
    fn credential(&self, node: NodeId) -> Bytes;

    /// Makes a link to whoever answers at this address; [`Link::Up`] tells who did.
    fn dial(&mut self, address: SocketAddr);

    /// Begins something on the disk, in the place of this module. What one module asks is done, and
    /// told once each by [`Arrival::Disk`], in the order asked.
    fn disk(&mut self, module: &'static str, work: DiskWork);
}

/// What comes to a stack from its driver.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Arrival {
    /// A datagram, envelope included.
    Datagram {
        /// Who sent it.
        from: NodeId,
        /// What it holds.
        bytes: Bytes,
    },
    /// A message of a stream, envelope included.
    Message {
        /// Who sent it.
        from: NodeId,
        /// What it holds.
        bytes: Bytes,
    },
    /// A link came up or went down: all modules are told.
    Link {
        /// Which peer.
        peer: NodeId,
        /// What became of it.
        link: Link,
    },
    /// There is room for bulk messages again: all modules are told.
    Room {
        /// To which peer.
        to: NodeId,
    },
    /// What the disk did, or failed to do.
    Disk {
        /// The module that asked.
        module: &'static str,
        /// The tag of its work.
        tag: Tag,
        /// What was read; nothing, of works that read nothing.
        result: Result<Bytes, DiskError>,
    },
}

/// The modules of a node and the objects that they carry.
pub struct Stack {
    slots: Vec<Slot>,
    desk: Desk,
    is_stopping: bool,
}

/// A module and what is its own.
struct Slot {
    module: Box<dyn Module>,
    has_input: bool,
    own: Own,
}

/// What a module has to itself.
struct Own {
    name: &'static str,
    tag: ModuleTag,
    rng: Rng,
    /// Objects whose feed holds something to take.
    round: Round,
    phase: Phase,
    works: Works,
    poster: Poster,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Running,
    Stopping,
    Stopped,
}

/// What all modules share.
struct Desk {
    objects: BTreeMap<ObjectId, Object>,
    /// Inputs for the next step, by the index of the slot they are for.
    inbox: VecDeque<(usize, Input)>,
    doorbell: Doorbell,
    budget: Budget,
    counts: Counts,
    /// Objects that were told something in this step.
    emitted: Vec<ObjectId>,
    me: Option<NodeId>,
}

struct Object {
    spec: Arc<Spec>,
    slot: usize,
    port: Port,
    /// Whether its module was told of it. Until then the module may still speak of the object that
    /// had this name before and was closed, which must not touch this one.
    is_known: bool,
    /// Whether it stands in its slot's round.
    is_ready: bool,
}

impl Stack {
    /// A stack of these modules. All draw their chance from `rng`, each from a fork of its own.
    pub fn new(modules: Vec<Box<dyn Module>>, rng: &Rng) -> Result<Self, LoadError> {
        let desk = Desk {
            objects: BTreeMap::new(),
            inbox: VecDeque::new(),
            doorbell: Doorbell::default(),
            budget: Budget::new(Budget::DEFAULT_BYTES),
            counts: Counts::default(),
            emitted: Vec::new(),
            me: None,
        };
        let mut slots: Vec<Slot> = Vec::with_capacity(modules.len());
        for module in modules {
            let name = module.name();
            let is_plain = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
            if name.is_empty() || !name.bytes().all(is_plain) {
                return Err(LoadError::Name(name));
            }
            let tag = ModuleTag::of(name);
            if let Some(other) = slots.iter().find(|slot| slot.own.tag == tag) {
                return Err(LoadError::SameTag { first: other.own.name, second: name });
            }
            let own = Own {
                name,
                tag,
                rng: rng.fork(name),
                round: Round::default(),
                phase: Phase::Running,
                works: Works::default(),
                poster: Poster::new(slots.len(), desk.budget.clone(), desk.doorbell.clone()),
            };
            slots.push(Slot { module, has_input: false, own });
        }
        Ok(Self { slots, desk, is_stopping: false })
    }

    /// Starts every module, in the order of loading, at the next step. No step may come before;
    /// objects may be opened before, and their modules hear of them once started.
    pub fn start(&mut self, start: &Start) {
        assert!(self.desk.me.is_none(), "a stack starts once");
        self.desk.me = Some(start.me.node);
        for slot in (0..self.slots.len()).rev() {
            self.desk.inbox.push_front((slot, Input::Start(start.clone())));
        }
    }

    /// Opens an object with the cheapest module that keeps its type's promise.
    pub fn open(&mut self, spec: Spec) -> Result<Port, OpenError> {
        // An object that was closed a moment ago can be opened again.
        self.answer_doorbell();
        let object = spec.name.id();
        if let Some(held) = self.desk.objects.get(&object) {
            return Err(OpenError::AlreadyOpen { name: spec.name, held: held.spec.ty.clone() });
        }
        let bytes = spec.message_bytes;
        let offers = self.offers(&spec.ty);
        let cheapest = offers
            .iter()
            .enumerate()
            .filter_map(|(slot, (name, cost))| Some((cost.as_ref().ok()?.at(bytes), name, slot)))
            .min();
        let Some((_, _, slot)) = cheapest else {
            let lacking = |(name, cost): (_, Result<Cost, _>)| Some((name, cost.err()?));
            let loaded = offers.into_iter().filter_map(lacking).collect();
            return Err(OpenError::NoModule { ty: spec.ty, loaded });
        };
        let spec = Arc::new(spec);
        let bytes_max = self.slots[slot].module.command_bytes_max(&spec.ty);
        let port =
            Port::new(object, bytes_max, self.desk.budget.clone(), self.desk.doorbell.clone());
        let open = Object {
            spec: Arc::clone(&spec),
            slot,
            port: port.clone(),
            is_known: false,
            is_ready: false,
        };
        self.desk.objects.insert(object, open);
        self.desk.inbox.push_back((slot, Input::Open { object, spec }));
        Ok(port)
    }

    /// What each module, in the order of loading, would carry an object of this type for, or what
    /// it lacks.
    pub fn offers(&self, ty: &ObjectType) -> Vec<(&'static str, Result<Cost, Lack>)> {
        self.slots.iter().map(|slot| (slot.own.name, slot.module.offers(ty))).collect()
    }

    /// Runs one step: what waited from before, then the arrivals, then the wakes that are due.
    pub fn step(
        &mut self,
        now: Time,
        arrivals: impl IntoIterator<Item = Arrival>,
        driver: &mut dyn Driver,
    ) {
        assert!(self.desk.me.is_some(), "a stack is started before it steps");
        self.desk.emitted.clear();
        for slot in &mut self.slots {
            slot.own.round.begin();
        }
        self.answer_doorbell();
        for (slot, input) in std::mem::take(&mut self.desk.inbox) {
            self.handle(slot, now, input, driver);
        }
        for arrival in arrivals {
            self.route(now, arrival, driver);
        }
        for slot in 0..self.slots.len() {
            if self.slots[slot].module.next_wake().is_some_and(|wake| wake <= now) {
                self.handle(slot, now, Input::Wake, driver);
            }
        }
        for slot in 0..self.slots.len() {
            if std::mem::take(&mut self.slots[slot].has_input) {
                self.with_io(slot, driver, |module, io| module.finish(now, io));
            }
        }
        self.stop_next();
    }

    /// When the next step is due if nothing arrives before: at once while inputs wait.
    pub fn next_wake(&self) -> Option<Time> {
        if !self.desk.inbox.is_empty() || self.desk.doorbell.has_rung() {
            return Some(Time::ZERO);
        }
        let awake = self.slots.iter().filter(|slot| slot.own.phase != Phase::Stopped);
        awake.filter_map(|slot| slot.module.next_wake()).min()
    }

    /// Whether an application or an engine wants something of a module, so that a step is due; if
    /// not, the task is woken when one does. For a driver that waits.
    pub fn poll_doorbell(&self, context: &Context<'_>) -> Poll<()> {
        self.desk.doorbell.poll_rung(context)
    }

    /// Begins to stop the modules, the last loaded first. They hear of all commands given so far
    /// before they hear of it.
    pub fn stop(&mut self) {
        self.answer_doorbell();
        self.is_stopping = true;
        self.stop_next();
    }

    /// Whether every module has said good-bye. One that has gets no more inputs.
    pub fn is_stopped(&self) -> bool {
        self.is_stopping && self.slots.iter().all(|slot| slot.own.phase == Phase::Stopped)
    }

    /// The objects that the last step told something, in order; one may stand there twice. For a
    /// driver that reads on behalf of its applications.
    pub fn emitted(&self) -> &[ObjectId] {
        &self.desk.emitted
    }

    /// What was dropped, refused or mended so far.
    pub fn counts(&self) -> &Counts {
        &self.desk.counts
    }

    fn answer_doorbell(&mut self) {
        let posted = self.desk.doorbell.posted();
        self.desk.inbox.extend(posted.into_iter().map(|slot| (slot, Input::Posted)));
        for (object, ring) in self.desk.doorbell.rings() {
            let Some(open) = self.desk.objects.get(&object) else { continue };
            let slot = open.slot;
            let input = match ring {
                Ring::Drained => Input::Drained { object },
                Ring::Commands => Input::Commands { object },
                Ring::Frozen => Input::Frozen { object },
                Ring::Closed => {
                    self.slots[slot].own.round.leave(object);
                    self.desk.objects.remove(&object);
                    Input::Close { object }
                }
            };
            self.desk.inbox.push_back((slot, input));
        }
    }

    fn route(&mut self, now: Time, arrival: Arrival, driver: &mut dyn Driver) {
        match arrival {
            Arrival::Datagram { from, mut bytes } => {
                if let Some(slot) = self.addressee(from, &mut bytes) {
                    self.handle(slot, now, Input::Datagram { from, bytes }, driver);
                }
            }
            Arrival::Message { from, mut bytes } => {
                if let Some(slot) = self.addressee(from, &mut bytes) {
                    self.handle(slot, now, Input::Message { from, bytes }, driver);
                }
            }
            Arrival::Link { peer, link } => {
                for slot in 0..self.slots.len() {
                    self.handle(slot, now, Input::Link { peer, link }, driver);
                }
            }
            Arrival::Room { to } => {
                for slot in 0..self.slots.len() {
                    self.handle(slot, now, Input::Room { to }, driver);
                }
            }
            Arrival::Disk { module, tag, result } => {
                let slot = self.slots.iter().position(|slot| slot.own.name == module);
                let slot = slot.expect("a driver answers a module that asked");
                self.slots[slot].own.works.end(&self.desk.budget);
                self.handle(slot, now, Input::Done { tag, result }, driver);
            }
        }
    }

    /// Which module a message is for; if it is for none, it is counted and dropped.
    fn addressee(&mut self, from: NodeId, bytes: &mut Bytes) -> Option<usize> {
        let count = match Envelope::open(bytes) {
            Ok(envelope) => {
                let slot = self.slots.iter().position(|slot| slot.own.tag == envelope.module);
                if slot.is_some() {
                    return slot;
                }
                "stack.unknown_module"
            }
            Err(EnvelopeError::FutureVersion(_)) => "stack.future_version",
            Err(EnvelopeError::Truncated | EnvelopeError::Malformed) => "stack.malformed",
        };
        trace!(?from, count, "dropped");
        self.desk.counts.add(count);
        None
    }

    fn handle(&mut self, slot: usize, now: Time, input: Input, driver: &mut dyn Driver) {
        self.note(slot, &input);
        if self.slots[slot].own.phase == Phase::Stopped {
            return;
        }
        self.slots[slot].has_input = true;
        self.with_io(slot, driver, |module, io| module.handle(now, input, io));
    }

    /// An object comes into its module's reach with the input that tells of it, not before.
    fn note(&mut self, slot: usize, input: &Input) {
        let (Input::Open { object, .. } | Input::Commands { object }) = input else { return };
        let Some(open) = self.desk.objects.get_mut(object) else { return };
        if let Input::Open { spec, .. } = input {
            // The same name may have been closed and opened again since: then this is not it.
            open.is_known |= Arc::ptr_eq(&open.spec, spec);
        } else if open.is_known && !std::mem::replace(&mut open.is_ready, true) {
            self.slots[slot].own.round.join(*object);
        }
    }

    fn with_io(
        &mut self,
        slot: usize,
        driver: &mut dyn Driver,
        step: impl FnOnce(&mut dyn Module, &mut Io<'_>),
    ) {
        let slots = self.slots.len();
        let Slot { module, own, .. } = &mut self.slots[slot];
        let desk = &mut self.desk;
        step(module.as_mut(), &mut Io { slot, slots, own, desk, driver });
    }

    /// Tells the next module to stop, once all that were loaded after it have stopped.
    fn stop_next(&mut self) {
        let last = self.slots.iter().rposition(|slot| slot.own.phase != Phase::Stopped);
        if let Some(last) = last.filter(|last| self.slots[*last].own.phase == Phase::Running)
            && self.is_stopping
        {
            self.slots[last].own.phase = Phase::Stopping;
            self.desk.inbox.push_back((last, Input::Stop));
        }
    }
}

/// Applications hear that their objects are gone, and engines that their modules are.
impl Drop for Stack {
    fn drop(&mut self) {
        self.slots.iter().for_each(|slot| slot.own.poster.close());
        self.desk.objects.values().for_each(|open| open.port.close());
    }
}

/// Why modules make no stack. The fault is theirs, not of what they are loaded into.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum LoadError {
    /// What a module is called is no name.
    #[error("{0:?} does not name a module: take letters a to z, digits and hyphens")]
    Name(&'static str),
    /// Two modules cannot be told apart on the wire.
    #[error(
        "the modules {first:?} and {second:?} have the same tag on the wire: rename one of them"
    )]
    SameTag {
        /// The one that was loaded first.
        first: &'static str,
        /// The other.
        second: &'static str,
    },
}

/// Why an object was not opened. Nothing changed.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum OpenError {
    /// This node has the object open already.
    #[error("{name} is open at this node already, as {held}: use the handle that opened it")]
    AlreadyOpen {
        /// The object's name.
        name: Name,
        /// The type it was opened with.
        held: ObjectType,
    },
    /// No module that is loaded keeps what the type promises.
    #[error("no module here keeps the promise of {ty}; {}", told(loaded))]
    NoModule {
        /// What was asked for.
        ty: ObjectType,
        /// The modules that were asked, in the order of loading, and what they lack.
        loaded: Vec<(&'static str, Lack)>,
    },
}

fn told(loaded: &[(&'static str, Lack)]) -> String {
    if loaded.is_empty() {
        return "none is loaded".to_owned();
    }
    let told: Vec<_> = loaded.iter().map(|(name, lack)| format!("{name}: {lack}")).collect();
    told.join("; ")
}
