//! In which order the frames of a view are delivered.
//!
//! Each frame is gone through twice: once in the order of its own stream (class `Fifo`), and once
//! in the *total order* (class `Total`). The total order is the stream of one of the members, the
//! *sequencer*: there an *order* says "next come the frames of that member up to that number",
//! and the sequencer's own frames come where they stand. Ordering costs per frame and not per
//! message (as in Amoeba and Spread, and unlike Isis' abcast).
//!
//! What no order reached when the streams end is delivered by place and number, the same at
//! everyone who holds the same frames.
//!
//! Changes of the group map come a batch at a time: all that one frame of the sequencer brings. So
//! many members that join at once make one change of it.
//!
//! A frame that was cut under a later group map than this member knows waits for the changes that
//! lead there, which come in other streams.

use std::collections::VecDeque;

use crate::map::Change;
use crate::wire::{Class, Frame, Item, Part};

/// Where something stands in the streams of a view. It is stable when its frame is, and the
/// sequencer's frame that gave it its place in the total order, if it has one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    pub(crate) origin: usize,
    pub(crate) number: u64,
    pub(crate) ordered_by: u64,
}

/// What is delivered next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Next {
    /// What follows from this member in this class was sent under this group map.
    Mark { class: Class, place: Place, map: u64 },
    /// A message, or a part of one.
    Part { place: Place, map: u64, part: Part },
    /// What one frame of the sequencer brings of changes of the group map.
    Changes(Batch),
}

/// Changes of the group map that come at once: of one member after the other, in order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Batch {
    pub(crate) changes: Vec<(usize, Vec<Change>)>,
    /// Where they stand.
    pub(crate) places: Vec<Place>,
}

/// The frames of a region that are still to be gone through.
pub(crate) struct Delivery {
    inboxes: Vec<Inbox>,
    sequencer: usize,
    /// Whose frames come next in the total order, up to which number, and by which frame of the
    /// sequencer.
    order: VecDeque<(usize, u64, u64)>,
    /// What the last frame holds and was not handed out yet.
    ready: VecDeque<Next>,
    /// Changes that a frame of the sequencer has brought so far: more of it may follow.
    batch: Batch,
    /// No more frames come.
    is_closed: bool,
}

/// The frames of one member that were not gone through twice.
#[derive(Default)]
struct Inbox {
    frames: VecDeque<Frame>,
    /// How many frames of the stream lie before `frames`.
    before: u64,
    /// How many were gone through in each class.
    fifo: u64,
    total: u64,
}

impl Delivery {
    /// For so many members, of which that one is the sequencer.
    pub(crate) fn new(members: usize, sequencer: usize) -> Self {
        Self {
            inboxes: (0..members).map(|_| Inbox::default()).collect(),
            sequencer,
            order: VecDeque::new(),
            ready: VecDeque::new(),
            batch: Batch::default(),
            is_closed: false,
        }
    }

    /// Takes in the next frame of a stream. One whose number is not the next stands for all that
    /// are missing before it.
    pub(crate) fn push(&mut self, frame: Frame) {
        let origin = usize::from(frame.origin);
        if origin == self.sequencer {
            for item in &frame.items {
                if let Item::Order(of, until) = item
                    && usize::from(*of) < self.inboxes.len()
                {
                    self.order.push_back((usize::from(*of), *until, frame.number));
                }
            }
            self.order.push_back((origin, frame.number, frame.number));
        }
        let inbox = &mut self.inboxes[origin];
        while inbox.end() + 1 < frame.number {
            let (number, items) = (inbox.end() + 1, Vec::new());
            inbox.frames.push_back(Frame { number, items, ..frame });
        }
        inbox.frames.push_back(frame);
    }

    /// No more frames come: what has no place in the total order yet gets one.
    pub(crate) fn close(&mut self) {
        self.is_closed = true;
        for (place, inbox) in self.inboxes.iter().enumerate() {
            self.order.push_back((place, inbox.end(), 0));
        }
    }

    /// Whether all that came was gone through.
    pub(crate) fn is_empty(&self) -> bool {
        self.ready.is_empty()
            && self.batch.changes.is_empty()
            && self.inboxes.iter().all(|inbox| inbox.frames.is_empty())
    }

    /// The next to be delivered, given the number of the group map as it is now.
    pub(crate) fn next(&mut self, map: u64) -> Option<Next> {
        while self.ready.is_empty() {
            // First what each stream brings: a change that comes in the total order may end what
            // was sent before it.
            if !self.prepare_fifo(map) && !self.prepare_total(map) {
                return None;
            }
        }
        self.ready.pop_front()
    }

    fn prepare_fifo(&mut self, map: u64) -> bool {
        for origin in 0..self.inboxes.len() {
            let inbox = &mut self.inboxes[origin];
            let Some(frame) = inbox.get(inbox.fifo).filter(|frame| frame.map <= map) else {
                continue;
            };
            let class = Class::Fifo;
            let place = Place { origin, number: frame.number, ordered_by: 0 };
            self.ready.push_back(Next::Mark { class, place, map: frame.map });
            self.ready.extend(parts(frame, class, place));
            inbox.pass_fifo();
            inbox.trim();
            return true;
        }
        false
    }

    fn prepare_total(&mut self, map: u64) -> bool {
        while let Some(&(origin, until, ordered_by)) = self.order.front() {
            let inbox = &mut self.inboxes[origin];
            if inbox.total >= until {
                self.order.pop_front();
                continue;
            }
            let Some(frame) = inbox.get(inbox.total) else {
                if !self.is_closed {
                    return false;
                }
                // What was ordered did not outlive the view.
                self.order.pop_front();
                continue;
            };
            if frame.map > map {
                return false;
            }
            let class = Class::Total;
            let place = Place { origin, number: frame.number, ordered_by };
            self.ready.push_back(Next::Mark { class, place, map: frame.map });
            self.ready.extend(parts(frame, class, place));
            let changes: Vec<Change> = frame.items.iter().filter_map(change).collect();
            if !changes.is_empty() {
                self.batch.changes.push((origin, changes));
                self.batch.places.push(place);
            }
            inbox.total += 1;
            inbox.trim();
            // What it orders stands before the sequencer's frame itself.
            if origin == self.sequencer {
                self.end_batch();
            }
            return true;
        }
        self.is_closed && self.end_batch()
    }

    /// All came that a frame of the sequencer brings. Tells whether there were changes in it.
    fn end_batch(&mut self) -> bool {
        let batch = std::mem::take(&mut self.batch);
        let has_any = !batch.changes.is_empty();
        self.ready.extend(has_any.then_some(Next::Changes(batch)));
        has_any
    }
}

impl Inbox {
    /// The number of the last frame that came.
    fn end(&self) -> u64 {
        self.before + self.frames.len() as u64
    }

    /// The frame that comes after so many of its stream.
    fn get(&self, after: u64) -> Option<&Frame> {
        let index = after.checked_sub(self.before).expect("a frame is kept until it is done with");
        self.frames.get(usize::try_from(index).expect("fewer frames than usize"))
    }

    /// The next frame was gone through in the order of its stream: what it held for that is let go
    /// of, since its place in the total order may be long in coming.
    fn pass_fifo(&mut self) {
        let index = usize::try_from(self.fifo - self.before).expect("fewer frames than usize");
        let frame = &mut self.frames[index];
        frame.items.retain(|item| !matches!(item, Item::Part(part) if part.class == Class::Fifo));
        self.fifo += 1;
    }

    /// Lets go of what was gone through twice.
    fn trim(&mut self) {
        while self.before < self.fifo.min(self.total) {
            self.frames.pop_front().expect("it was gone through");
            self.before += 1;
        }
    }
}

fn parts(frame: &Frame, class: Class, place: Place) -> impl Iterator<Item = Next> + '_ {
    let map = frame.map;
    frame.items.iter().filter_map(move |item| match item {
        Item::Part(part) if part.class == class => {
            Some(Next::Part { place, map, part: part.clone() })
        }
        _ => None,
    })
}

fn change(item: &Item) -> Option<Change> {
    let Item::Change(change) = item else { return None };
    Some(change.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn part(class: Class, text: &'static str) -> Item {
        let bytes = Bytes::from_static(text.as_bytes());
        Item::Part(Part { class, group: 0, message: 0, offset: 0, last: true, bytes })
    }

    fn frame(origin: u16, number: u64, map: u64, items: Vec<Item>) -> Frame {
        Frame { origin, number, stable: 0, map, items }
    }

    /// What comes out, as text: messages by their bytes, marks by class, origin and map.
    fn drain(delivery: &mut Delivery, map: u64) -> Vec<String> {
        let mut out = Vec::new();
        while let Some(next) = delivery.next(map) {
            match next {
                Next::Part { part, .. } => {
                    out.push(String::from_utf8(part.bytes.to_vec()).unwrap())
                }
                Next::Changes(batch) => {
                    let origins: Vec<usize> = batch.changes.iter().map(|(by, _)| *by).collect();
                    out.push(format!("changes of {origins:?}"));
                }
                Next::Mark { .. } => {}
            }
        }
        out
    }

    #[test]
    fn fifo_waits_for_nobody_and_total_for_its_order() {
        let mut delivery = Delivery::new(3, 0);
        let items = vec![part(Class::Total, "t1"), part(Class::Fifo, "fifo")];
        delivery.push(frame(1, 1, 0, items));
        delivery.push(frame(2, 1, 0, vec![part(Class::Total, "t2")]));
        assert_eq!(drain(&mut delivery, 0), ["fifo"]);
        assert_eq!(delivery.inboxes[1].frames[0].items.len(), 1, "what was delivered is let go of");
        let items = vec![Item::Order(2, 1), part(Class::Total, "t0"), Item::Order(1, 2)];
        delivery.push(frame(0, 1, 0, items));
        assert_eq!(drain(&mut delivery, 0), ["t2", "t1"], "1's second frame has not come");
        delivery.push(frame(1, 2, 0, vec![part(Class::Total, "t1b")]));
        assert_eq!(drain(&mut delivery, 0), ["t1b", "t0"]);
        assert!(delivery.is_empty());
    }

    #[test]
    fn what_was_sent_under_a_later_map_waits_for_it() {
        let mut delivery = Delivery::new(2, 1);
        delivery.push(frame(1, 1, 5, vec![part(Class::Fifo, "later"), part(Class::Total, "too")]));
        assert_eq!(drain(&mut delivery, 4), [""; 0]);
        assert!(!delivery.is_empty());
        assert_eq!(drain(&mut delivery, 5), ["later", "too"]);
        assert!(delivery.is_empty());
    }

    #[test]
    fn what_was_sent_before_a_change_is_delivered_before_it() {
        let mut delivery = Delivery::new(2, 0);
        delivery.push(frame(0, 1, 0, vec![Item::Order(1, 2)]));
        delivery.push(frame(1, 1, 0, vec![part(Class::Fifo, "before")]));
        delivery.push(frame(1, 2, 0, vec![Item::Change(Change::Restored { group: 0 })]));
        assert_eq!(drain(&mut delivery, 0), ["before", "changes of [1]"]);
    }

    #[test]
    fn changes_that_were_ordered_at_once_come_at_once() {
        let change = |group| Item::Change(Change::Restored { group });
        let mut delivery = Delivery::new(3, 0);
        delivery.push(frame(0, 1, 0, vec![Item::Order(1, 1), Item::Order(2, 1), change(0)]));
        delivery.push(frame(1, 1, 0, vec![change(1)]));
        assert_eq!(drain(&mut delivery, 0), [""; 0], "2's has not come");
        delivery.push(frame(2, 1, 0, vec![change(2)]));
        delivery.push(frame(0, 2, 0, vec![change(3)]));
        assert_eq!(drain(&mut delivery, 0), ["changes of [1, 2, 0]", "changes of [0]"]);
        delivery.push(frame(0, 3, 0, vec![Item::Order(1, 2), Item::Order(2, 2)]));
        delivery.push(frame(1, 2, 0, vec![change(4)]));
        assert_eq!(drain(&mut delivery, 0), [""; 0]);
        assert!(!delivery.is_empty());
        delivery.close();
        assert_eq!(drain(&mut delivery, 0), ["changes of [1]"], "2's never comes");
        assert!(delivery.is_empty());
    }

    #[test]
    fn what_no_order_reached_comes_last_by_place() {
        let mut delivery = Delivery::new(3, 0);
        delivery.push(frame(2, 1, 0, vec![part(Class::Total, "c")]));
        delivery.push(frame(1, 1, 0, vec![part(Class::Total, "a")]));
        delivery.push(frame(1, 2, 0, vec![part(Class::Total, "b")]));
        delivery.push(frame(0, 1, 0, vec![Item::Order(1, 1), Item::Order(2, 9)]));
        delivery.push(frame(0, 2, 0, vec![part(Class::Total, "0")]));
        assert_eq!(drain(&mut delivery, 0), ["a", "c"], "eight more of 2 were ordered");
        delivery.close();
        assert_eq!(drain(&mut delivery, 0), ["0", "b"]);
    }
}
