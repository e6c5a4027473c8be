//! What a member has under way in one region, and what it says there as the sequencer.
//!
//! A command that was wholly cut waits here until it is *stable*: until its frame is, and the one
//! that gave it its place in the total order, if it has one. Else its order, and with it the reply
//! to it, might not outlive this member.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use live_objects::{ObjectId, Time};

use crate::wire::{Class, FrameWriter, ORDER_LEN};

/// A member's own part in a region.
#[derive(Default)]
pub(crate) struct Sending {
    /// Of the sequencer: how far each member's frames are to be ordered.
    orders: BTreeMap<u16, u64>,
    /// No order is put into a frame before that, and how long after one the next is.
    orders_at: Time,
    pause: Duration,
    /// The number of each member's last ordered frame, and the map that it was cut under.
    ordered: BTreeMap<u16, (u64, u64)>,
    /// Commands that were wholly cut and are not stable, by class.
    awaiting: [VecDeque<Awaiting>; 2],
}

/// A command on its way to being stable.
pub(crate) struct Awaiting {
    pub(crate) object: ObjectId,
    pub(crate) message: u64,
    pub(crate) frame: u64,
    /// The sequencer's frame that gave it its place, once it has one.
    pub(crate) ordered_by: Option<u64>,
    pub(crate) is_told: bool,
}

impl Sending {
    /// Of a member that, as the sequencer, waits so long from one order to the next.
    pub(crate) fn with_pause(pause: Duration) -> Self {
        Self { pause, ..Self::default() }
    }

    /// Of the sequencer: a frame came, which has to have a place in the total order for what it
    /// holds, for the map that it was cut under, or because many before it have none.
    pub(crate) fn order(&mut self, origin: u16, number: u64, map: u64, has_total: bool) {
        let ordered = self.ordered.entry(origin).or_default();
        if has_total || map > ordered.1 || number >= ordered.0 + UNORDERED_MAX {
            *ordered = (number, map);
            self.orders.insert(origin, number);
        }
    }

    pub(crate) fn has_orders(&self) -> bool {
        !self.orders.is_empty()
    }

    /// When there are orders to be put into a frame, if there are.
    pub(crate) fn orders_at(&self) -> Option<Time> {
        self.has_orders().then_some(self.orders_at)
    }

    /// Puts as many orders into a frame as there is room for, if it is time for them. Tells whether
    /// there were any.
    pub(crate) fn put_orders(&mut self, now: Time, writer: &mut FrameWriter) -> bool {
        let has_orders = self.orders_at().is_some_and(|at| at <= now);
        if !has_orders {
            return false;
        }
        self.orders_at = now + self.pause;
        while let Some((origin, until)) = self.orders.first_key_value()
            && writer.room() >= ORDER_LEN
        {
            writer.order(*origin, *until);
            self.orders.pop_first();
        }
        true
    }

    /// A command was wholly cut, its last part into this frame.
    pub(crate) fn wait(&mut self, class: Class, object: ObjectId, message: u64, frame: u64) {
        let (ordered_by, is_told) = (None, false);
        let awaiting = Awaiting { object, message, frame, ordered_by, is_told };
        self.awaiting[class as usize].push_back(awaiting);
    }

    pub(crate) fn is_waiting(&self) -> bool {
        self.awaiting.iter().any(|queue| !queue.is_empty())
    }

    /// A message of this member was delivered here, with this place in the total order.
    pub(crate) fn on_delivered(&mut self, object: ObjectId, message: u64, ordered_by: u64) {
        for awaiting in &mut self.awaiting {
            let is_it = |it: &&mut Awaiting| it.object == object && it.message == message;
            if let Some(it) = awaiting.iter_mut().find(is_it) {
                it.ordered_by = Some(ordered_by);
            }
        }
    }

    /// Commands that were delivered here and that nobody was told of.
    pub(crate) fn untold(&mut self) -> impl Iterator<Item = &mut Awaiting> {
        let all = self.awaiting.iter_mut().flatten();
        all.filter(|it| it.ordered_by.is_some() && !it.is_told)
    }

    /// Takes out the next command that is stable, given how far this member's stream and that of
    /// the sequencer are, if it is its object's turn.
    pub(crate) fn next_stable(
        &mut self,
        stable: u64,
        ordered: u64,
        is_its_turn: impl Fn(&Awaiting) -> bool,
    ) -> Option<Awaiting> {
        for (class, awaiting) in [Class::Fifo, Class::Total].into_iter().zip(&mut self.awaiting) {
            let is_stable = |it: &&Awaiting| {
                let by = it.ordered_by;
                it.frame <= stable && by.is_some_and(|by| class == Class::Fifo || by <= ordered)
            };
            if awaiting.front().filter(is_stable).is_some_and(&is_its_turn) {
                return awaiting.pop_front();
            }
        }
        None
    }

    /// Takes out all commands that wait, those of an object in the order in which they were cut.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = Awaiting> {
        std::mem::take(&mut self.awaiting).into_iter().flatten()
    }

    /// An object is closed: nothing that it said is waited for.
    pub(crate) fn forget(&mut self, object: ObjectId) {
        self.awaiting.iter_mut().for_each(|queue| queue.retain(|it| it.object != object));
    }
}

/// So many frames of a member that hold nothing for the total order are ordered together.
const UNORDERED_MAX: u64 = 64;
