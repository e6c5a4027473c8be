//! What a module may do within a step. Everything else is out of its reach.

use std::net::SocketAddr;

use bytes::Bytes;

use super::{Desk, Driver, Object, Own, Phase};
use crate::disk::Disk;
use crate::envelope::Envelope;
use crate::event::Event;
use crate::feed::Taken;
use crate::module::{Full, Input, Target, Via};
use crate::name::ObjectId;
use crate::node::{Member, NodeId};
use crate::port::EventsFull;
use crate::poster::Poster;
use crate::replica::Chunk;
use crate::rng::Rng;
use crate::signal::Signal;

/// A module's hands during one call of a step.
pub struct Io<'a> {
    pub(super) slot: usize,
    pub(super) slots: usize,
    pub(super) own: &'a mut Own,
    pub(super) desk: &'a mut Desk,
    pub(super) driver: &'a mut dyn Driver,
}

impl Io<'_> {
    /// An object with commands to take, round robin; each at most once a step. An object whose
    /// commands are left in its feed is yielded again in the next step that this module has.
    pub fn waiting(&mut self) -> Option<ObjectId> {
        while let Some(object) = self.own.round.next() {
            let open = self.desk.objects.get_mut(&object).expect("a closed object is not ready");
            if open.port.has_commands() {
                self.own.round.rejoin(object);
                return Some(object);
            }
            open.is_ready = false;
        }
        None
    }

    /// Takes the next command of an object, or the next slice of it of at most `bytes_max` bytes
    /// (at least 1). The feed keeps the command until it is released.
    pub fn take(&mut self, object: ObjectId, bytes_max: usize) -> Option<Taken> {
        self.open(object)?.port.take(bytes_max)
    }

    /// The commands up to and with `message`, all of which were wholly taken, are done with:
    /// nothing can make it necessary to say them again.
    pub fn release(&mut self, object: ObjectId, message: u64) {
        if let Some(open) = self.open(object) {
            open.port.release(message);
        }
    }

    /// The command `message` and all after it, none of which was released, are to be taken again.
    /// The object is yielded by [`Io::waiting`] in this same step, unless it was before.
    pub fn rewind(&mut self, object: ObjectId, message: u64) {
        let Some(open) = self.open(object) else { return };
        open.port.rewind(message);
        if open.port.has_commands() && !std::mem::replace(&mut open.is_ready, true) {
            self.own.round.join(object);
        }
    }

    /// Sends one message to each target, or to none of them if one has no room. Datagrams always
    /// have room: what the network does not take is lost, as datagrams are.
    ///
    /// # Panics
    /// If a datagram is longer than [`Io::datagram_max`].
    pub fn send(&mut self, to: Target<'_>, via: Via, body: Bytes) -> Result<(), Full> {
        let me = self.desk.me;
        let others: Vec<NodeId>;
        let mut to = to;
        if to.nodes().iter().any(|node| Some(*node) == me) {
            others = to.nodes().iter().copied().filter(|node| Some(*node) != me).collect();
            to = Target::Nodes(&others);
        }
        if via == Via::Datagram {
            for &node in to.nodes() {
                let max = self.datagram_max(node);
                assert!(body.len() <= max, "a datagram of {} bytes, {max} at most", body.len());
            }
        }
        self.driver.send(to, via, Envelope { module: self.own.tag }, body)
    }

    /// How many bytes of bulk messages to a node are taken now. After a 0, [`Input::Room`] follows.
    pub fn room(&mut self, to: NodeId) -> usize {
        self.driver.room(to)
    }

    /// The longest body of a datagram to this node, in bytes.
    pub fn datagram_max(&self, to: NodeId) -> usize {
        self.driver.datagram_max(to).saturating_sub(Envelope::LEN)
    }

    /// From now on this node is reached at these addresses, the best first; if there are none, it
    /// is forgotten. With its incarnation and what it shows of itself ([`Start::credential`])
    /// datagrams to it need no link; of a node whose credential is not known it is empty.
    ///
    /// [`Start::credential`]: crate::Start::credential
    pub fn introduce(&mut self, member: Member, addresses: &[SocketAddr], credential: &Bytes) {
        self.driver.introduce(member, addresses, credential);
    }

    /// What a node shows of itself, as it was introduced last; of this node, what it shows. Empty
    /// if that is not known. The driver keeps it, so that a module need not.
    pub fn credential(&self, node: NodeId) -> Bytes {
        self.driver.credential(node)
    }

    /// Makes a link to whoever answers at this address; `Link::Up` tells who did. If nobody
    /// answers, nothing is said.
    pub fn dial(&mut self, address: SocketAddr) {
        self.driver.dial(address);
    }

    /// Tells the application. If its queue is full the event is not queued, and [`Input::Drained`]
    /// follows when the application has read on. Events of an object that was closed go nowhere.
    pub fn emit(&mut self, object: ObjectId, event: Event) -> Result<(), EventsFull> {
        let Some(open) = self.open(object) else { return Ok(()) };
        open.port.emit(event)?;
        if self.desk.emitted.last() != Some(&object) {
            self.desk.emitted.push(object);
        }
        Ok(())
    }

    /// Reads from the snapshot that an object's replica keeps for a cut: from `offset` on, at least
    /// one byte and `bytes_max` at most. None if there is no such snapshot: the replica has not
    /// come to the cut yet ([`Input::Frozen`] follows), had no state to freeze, or dropped the
    /// snapshot for later ones. Reading on from where a read ended is cheap, another offset is not.
    pub fn read_frozen(
        &mut self,
        object: ObjectId,
        cut: u64,
        offset: u64,
        bytes_max: usize,
    ) -> Option<Chunk> {
        self.open(object)?.port.read_frozen(cut, offset, bytes_max)
    }

    /// The snapshots of an object for this cut and those before are done with.
    pub fn thaw(&mut self, object: ObjectId, cut: u64) {
        if let Some(open) = self.open(object) {
            open.port.thaw(cut);
        }
    }

    /// Tells the other modules of this node; they hear it in the next step.
    pub fn signal(&mut self, signal: Signal) {
        let others = (0..self.slots).filter(|slot| *slot != self.slot);
        self.desk.inbox.extend(others.map(|slot| (slot, Input::Signal(signal.clone()))));
    }

    /// What this module keeps on disk.
    pub fn disk(&mut self) -> Disk<'_> {
        Disk {
            module: self.own.name,
            works: &mut self.own.works,
            budget: &self.desk.budget,
            driver: self.driver,
        }
    }

    /// By which tasks and threads of this module's own, its *engine*, tell it what they did.
    pub fn poster(&self) -> Poster {
        self.own.poster.clone()
    }

    /// The next of what was posted. What is left waits, and its engine with it once there is no
    /// more room; nothing tells of it again.
    pub fn next_post(&mut self) -> Option<Bytes> {
        self.own.poster.next()
    }

    /// This module's chance.
    pub fn rng(&mut self) -> &mut Rng {
        &mut self.own.rng
    }

    /// Counts something that was dropped, refused or mended.
    pub fn count(&mut self, name: &'static str) {
        self.desk.counts.add(name);
    }

    /// Adds so many to a counter, as [`Io::count`] adds one.
    pub fn count_many(&mut self, name: &'static str, count: usize) {
        self.desk.counts.add_many(name, count as u64);
    }

    /// Says how much of something this module keeps now.
    pub fn gauge(&mut self, name: &'static str, count: usize) {
        self.desk.counts.set(name, count as u64);
    }

    /// This module has said good-bye: [`Input::Stop`] is answered. It hears of nothing more, its
    /// engines are told so, and what it asked of the disk is done or not.
    ///
    /// # Panics
    /// If it was not asked to stop.
    pub fn stopped(&mut self) {
        assert_ne!(self.own.phase, Phase::Running, "a module stops when it is told to");
        self.own.phase = Phase::Stopped;
        self.own.poster.close();
    }

    /// The object, unless it was closed, or closed and opened again, and the module is yet to hear.
    fn open(&mut self, object: ObjectId) -> Option<&mut Object> {
        let open = self.desk.objects.get_mut(&object).filter(|open| open.is_known)?;
        assert_eq!(open.slot, self.slot, "a module has no business with another's objects");
        Some(open)
    }
}
