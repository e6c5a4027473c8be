//! What waits to be sent over a link: two bounded queues, one a lane.
//!
//! The node's loop puts messages in and never waits; the link's writers take them out in batches
//! and give their bytes back once they are written. The lanes belong to the link, not to a
//! connection, so that what was said while a link is made goes over whichever connection it gets.
//! The lock is held for a push or a pop and never across an `await`.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use tokio::sync::Notify;

use crate::framing::Frame;

/// Which of a link's two streams.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lane {
    Control,
    Bulk,
}

impl Lane {
    pub(crate) const ALL: [Self; 2] = [Self::Control, Self::Bulk];

    /// The first byte of its stream.
    pub(crate) const fn to_byte(self) -> u8 {
        self as u8
    }

    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|lane| lane.to_byte() == byte)
    }

    /// What its queue holds, in bytes.
    pub(crate) const fn bytes_max(self) -> usize {
        match self {
            Self::Control => 256 << 10,
            Self::Bulk => 1 << 20,
        }
    }
}

/// Both lanes of one link.
#[derive(Default, Debug)]
pub(crate) struct Lanes {
    shared: Mutex<Shared>,
    filled: [Notify; 2],
}

#[derive(Default, Debug)]
struct Shared {
    queues: [Queue; 2],
    /// A module waits to hear of room.
    is_thirsty: bool,
    is_closed: bool,
}

#[derive(Default, Debug)]
struct Queue {
    frames: VecDeque<Frame>,
    /// What is queued or being written.
    bytes: usize,
}

impl Lanes {
    /// How many bytes of bulk messages are taken now.
    pub(crate) fn room(&self) -> usize {
        let mut shared = self.lock();
        let room = Lane::Bulk.bytes_max().saturating_sub(shared.queues[Lane::Bulk as usize].bytes);
        shared.is_thirsty |= room == 0;
        room
    }

    /// Whether a message would be taken. An empty lane takes one of any size.
    pub(crate) fn takes(&self, lane: Lane, bytes: usize) -> bool {
        let mut shared = self.lock();
        let held = shared.queues[lane as usize].bytes;
        let takes = held == 0 || held + bytes <= lane.bytes_max();
        shared.is_thirsty |= !takes;
        takes
    }

    pub(crate) fn push(&self, lane: Lane, frame: Frame) {
        let mut shared = self.lock();
        let queue = &mut shared.queues[lane as usize];
        queue.bytes += frame.len();
        queue.frames.push_back(frame);
        drop(shared);
        self.filled[lane as usize].notify_one();
    }

    /// Whether everything was written.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().queues.iter().all(|queue| queue.bytes == 0)
    }

    /// Nothing more is put in.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
        self.filled.iter().for_each(Notify::notify_one);
    }

    /// Waits for messages of a lane and takes a batch; none if there are none to come. There is one
    /// who takes at a time.
    pub(crate) async fn next(&self, lane: Lane) -> Option<Vec<Frame>> {
        loop {
            {
                let mut shared = self.lock();
                let batch = shared.queues[lane as usize].batch();
                if !batch.is_empty() {
                    return Some(batch);
                }
                if shared.is_closed {
                    return None;
                }
            }
            self.filled[lane as usize].notified().await;
        }
    }

    /// A batch is written. True if whoever waited for room should hear of it now.
    pub(crate) fn wrote(&self, lane: Lane, batch: &[Frame]) -> bool {
        let mut shared = self.lock();
        let bytes = batch.iter().map(Frame::len).sum::<usize>();
        let queue = &mut shared.queues[lane as usize];
        queue.bytes = queue.bytes.checked_sub(bytes).expect("it was put in before");
        let is_roomy = |lane: Lane| shared.queues[lane as usize].bytes <= lane.bytes_max() / 2;
        let has_room = shared.is_thirsty && Lane::ALL.into_iter().all(is_roomy);
        shared.is_thirsty &= !has_room;
        has_room
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().expect("no code that holds the lock panics")
    }
}

impl Queue {
    /// Takes out what is written at once.
    fn batch(&mut self) -> Vec<Frame> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while bytes < BATCH_BYTES
            && let Some(frame) = self.frames.pop_front()
        {
            bytes += frame.len();
            batch.push(frame);
        }
        batch
    }
}

/// A batch is cut when it holds as much.
const BATCH_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use live_objects::{Envelope, ModuleTag};

    fn frame(bytes: usize) -> Frame {
        Frame::new(Envelope { module: ModuleTag::of("lanes") }, Bytes::from(vec![0; bytes]))
    }

    #[tokio::test]
    async fn a_full_lane_refuses_and_tells_of_room_at_half() {
        let lanes = Lanes::default();
        let max = Lane::Bulk.bytes_max();
        assert!(lanes.takes(Lane::Bulk, max * 2), "an empty lane takes any size");
        let mut pushed = 0;
        while lanes.takes(Lane::Bulk, frame(max / 8).len()) {
            lanes.push(Lane::Bulk, frame(max / 8));
            pushed += 1;
        }
        assert_eq!(pushed, 7);
        assert!(lanes.takes(Lane::Control, 100), "the other lane has room of its own");
        let mut told = Vec::new();
        while !lanes.is_empty() {
            let batch = lanes.next(Lane::Bulk).await.unwrap();
            told.push(lanes.wrote(Lane::Bulk, &batch));
        }
        assert_eq!(told, [false, false, false, true, false, false, false]);
        assert_eq!(lanes.room(), max);
        lanes.close();
        assert!(lanes.next(Lane::Bulk).await.is_none());
    }
}
