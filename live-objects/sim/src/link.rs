//! One end of a link: a miniature reliable transport over the simulated network.
//!
//! On sockets links are QUIC connections. Here they are what modules see of one: two lanes, control
//! and bulk, each in order and whole while the link is up; a bounded send buffer; a link that falls
//! silent, is closed, or idles goes down, and then nothing is known of what was in flight. Segments
//! cross the same network as datagrams, with its losses, delays and cuts, and each end knows only
//! what reached it, so the two ends may disagree as they do on sockets.
//!
//! Messages are cut into *pieces* that fit a packet, so that a lost packet costs a piece and not a
//! message. Each piece is acknowledged, with all before the first that is missing; one timer a lane
//! sends those again that were not.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use live_objects::{Down, Full, Time};

/// Which connection: nodes number those that they open, upwards.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Conn {
    pub(crate) opener: usize,
    pub(crate) number: u64,
}

/// What one end sends the other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Segment {
    Open,
    /// The answer to `Open`. What the answering node opened itself, up to and with `floor`, is
    /// void.
    Opened {
        floor: u64,
    },
    Data {
        lane: usize,
        number: u64,
        piece: Piece,
    },
    Ack {
        /// The next number expected on each lane.
        next: [u64; LANES],
        /// The lane and the number of what is answered.
        got: (usize, u64),
    },
    Ping,
    Close(Down),
}

impl Segment {
    /// About as long as it is on a wire, in bytes.
    pub(crate) fn len(&self) -> usize {
        let body = if let Self::Data { piece, .. } = self { piece.bytes.len() } else { 0 };
        SEGMENT_BYTES + body
    }
}

/// A part of a message that fits a packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Piece {
    pub(crate) bytes: Bytes,
    is_last: bool,
}

/// What an end tells its node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Happening {
    Up,
    Message(Bytes),
    Room,
    Down(Down),
}

/// How patient an end is; it follows from how slow the network is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    resend: Duration,
    silent: Duration,
}

impl Patience {
    pub(crate) fn with_slowest(latency: Duration) -> Self {
        let resend = latency * 2 + Duration::from_millis(20);
        Self { resend, silent: Duration::from_secs(2).max(resend * 8) }
    }
}

/// One end of a link.
#[derive(Debug)]
pub(crate) struct LinkEnd {
    pub(crate) conn: Conn,
    patience: Patience,
    is_up: bool,
    /// A module waits to hear of room.
    is_thirsty: bool,
    lanes: [Lane; LANES],
    /// When something last came from the peer, went to the peer, and when a message last did
    /// either.
    heard: Time,
    spoke: Time,
    used: Time,
}

#[derive(Default, Debug)]
struct Lane {
    /// Pieces from the number `first` on, of which `sent` went out once, and whether the peer has
    /// them. The first has not been acknowledged.
    queue: VecDeque<(Piece, bool)>,
    first: u64,
    sent: usize,
    bytes: usize,
    resend_at: Option<Time>,
    /// The next number to be received, what came before its turn, and the beginning of a message
    /// whose end is yet to come.
    expected: u64,
    early: BTreeMap<u64, Piece>,
    begun: Vec<Bytes>,
}

impl LinkEnd {
    /// What a lane holds of messages not yet acknowledged, in bytes.
    pub(crate) const BUFFER_BYTES_MAX: usize = 256 << 10;

    /// The end that asks for the link.
    pub(crate) fn open(conn: Conn, patience: Patience, now: Time, out: &mut Vec<Segment>) -> Self {
        out.push(Segment::Open);
        Self::new(conn, patience, false, now)
    }

    /// The end that was asked. It is up at once.
    pub(crate) fn accept(conn: Conn, patience: Patience, now: Time) -> Self {
        Self::new(conn, patience, true, now)
    }

    fn new(conn: Conn, patience: Patience, is_up: bool, now: Time) -> Self {
        let (lanes, is_thirsty) = (Default::default(), false);
        Self { conn, patience, is_up, is_thirsty, lanes, heard: now, spoke: now, used: now }
    }

    /// This end gives way to the peer's own attempt at a link: what was to be sent goes over that.
    pub(crate) fn yield_to(&mut self, conn: Conn, now: Time, out: &mut Vec<Segment>) {
        assert!(!self.is_up, "only an attempt gives way");
        self.conn = conn;
        self.is_up = true;
        self.heard = now;
        self.transmit(now, out);
    }

    pub(crate) fn is_up(&self) -> bool {
        self.is_up
    }

    /// How many bytes of bulk messages are taken now.
    pub(crate) fn room(&mut self) -> usize {
        let room = Self::BUFFER_BYTES_MAX.saturating_sub(self.lanes[BULK].bytes);
        self.is_thirsty |= room == 0;
        room
    }

    /// Whether a message would be taken. An empty lane takes one of any size.
    pub(crate) fn takes(&mut self, lane: usize, bytes: usize) -> bool {
        let held = self.lanes[lane].bytes;
        let takes = held == 0 || held + bytes <= Self::BUFFER_BYTES_MAX;
        self.is_thirsty |= !takes;
        takes
    }

    pub(crate) fn send(
        &mut self,
        now: Time,
        lane: usize,
        bytes: Bytes,
        out: &mut Vec<Segment>,
    ) -> Result<(), Full> {
        if !self.takes(lane, bytes.len()) {
            return Err(Full);
        }
        self.used = now;
        let lane_state = &mut self.lanes[lane];
        lane_state.push(bytes);
        if self.is_up {
            self.transmit(now, out);
        }
        Ok(())
    }

    pub(crate) fn on_segment(
        &mut self,
        now: Time,
        segment: Segment,
        out: &mut Vec<Segment>,
        happened: &mut Vec<Happening>,
    ) {
        // A ping is read late, as of when it came.
        self.heard = self.heard.max(now);
        if !std::mem::replace(&mut self.is_up, true) {
            happened.push(Happening::Up);
            self.transmit(now, out);
        }
        match segment {
            Segment::Data { lane, number, piece } => {
                self.used = now;
                let messages = self.lanes[lane].on_data(number, piece);
                happened.extend(messages.into_iter().map(Happening::Message));
                let next = self.lanes.each_ref().map(|lane| lane.expected);
                self.say(now, Segment::Ack { next, got: (lane, number) }, out);
            }
            Segment::Ack { next, got } => {
                self.lanes[got.0].on_got(got.1);
                for (lane, next) in self.lanes.iter_mut().zip(next) {
                    lane.on_ack(now + self.patience.resend, next);
                }
                let most = self.lanes.iter().map(|lane| lane.bytes).max();
                if self.is_thirsty && most.is_some_and(|most| most <= Self::BUFFER_BYTES_MAX / 2) {
                    self.is_thirsty = false;
                    happened.push(Happening::Room);
                }
            }
            Segment::Close(down) => happened.push(Happening::Down(down)),
            Segment::Open | Segment::Opened { .. } | Segment::Ping => {}
        }
    }

    /// Does what is due. The link is gone if this says `Down`.
    pub(crate) fn on_timer(
        &mut self,
        now: Time,
        out: &mut Vec<Segment>,
        happened: &mut Vec<Happening>,
    ) {
        if now >= self.heard + self.patience.silent {
            happened.push(Happening::Down(Down::Silent));
            return;
        }
        if now >= self.used + IDLE && self.is_empty() {
            out.push(Segment::Close(Down::Idle));
            happened.push(Happening::Down(Down::Idle));
            return;
        }
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            if lane.resend_at.is_some_and(|at| at <= now) {
                lane.resend_at = Some(now + self.patience.resend);
                out.extend(lane.missing().map(|(number, piece)| Segment::Data {
                    lane: index,
                    number,
                    piece,
                }));
                self.spoke = now;
            }
        }
        if self.is_up {
            self.transmit(now, out);
        }
        if now >= self.ping_at() {
            self.say(now, if self.is_up { Segment::Ping } else { Segment::Open }, out);
        }
    }

    pub(crate) fn next_timer(&self) -> Time {
        let resends = self.lanes.iter().filter_map(|lane| lane.resend_at);
        let silent = self.heard + self.patience.silent;
        let idle = self.is_empty().then(|| self.used + IDLE);
        let rest = [silent, self.ping_at()];
        resends.chain(idle).chain(rest).min().expect("two at least")
    }

    /// Whether everything that was sent has been acknowledged.
    fn is_empty(&self) -> bool {
        self.lanes.iter().all(|lane| lane.queue.is_empty())
    }

    /// Until when this end may stay silent. A host's ends that are up keep to the same beats: it
    /// wakes for many at once.
    fn ping_at(&self) -> Time {
        if !self.is_up {
            return self.spoke + self.patience.resend;
        }
        let at = (self.spoke + KEEP_ALIVE).as_nanos();
        Time::from_nanos(at - at % BEAT.as_nanos() as u64)
    }

    fn transmit(&mut self, now: Time, out: &mut Vec<Segment>) {
        let resend_at = now + self.patience.resend;
        let before = out.len();
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            let window = lane.queue.len().min(WINDOW_PIECES_MAX);
            for position in lane.sent..window {
                let number = lane.first + position as u64;
                let piece = lane.queue[position].0.clone();
                out.push(Segment::Data { lane: index, number, piece });
            }
            if window > lane.sent {
                lane.sent = window;
                lane.resend_at.get_or_insert(resend_at);
            }
        }
        if out.len() > before {
            self.spoke = now;
        }
    }

    fn say(&mut self, now: Time, segment: Segment, out: &mut Vec<Segment>) {
        self.spoke = now;
        out.push(segment);
    }
}

impl Lane {
    fn push(&mut self, mut message: Bytes) {
        self.bytes += message.len();
        loop {
            let bytes = message.split_to(message.len().min(PIECE_BYTES));
            let is_last = message.is_empty();
            self.queue.push_back((Piece { bytes, is_last }, false));
            if is_last {
                return;
            }
        }
    }

    /// What was sent and is not known to have come.
    fn missing(&self) -> impl Iterator<Item = (u64, Piece)> {
        let sent = self.queue.iter().take(self.sent).zip(self.first..);
        sent.filter(|((_, has), _)| !has).map(|((piece, _), number)| (number, piece.clone()))
    }

    /// The messages that are whole, in their turn.
    fn on_data(&mut self, number: u64, piece: Piece) -> Vec<Bytes> {
        if number >= self.expected && number < self.expected + WINDOW_PIECES_MAX as u64 {
            self.early.insert(number, piece);
        }
        let mut messages = Vec::new();
        while let Some(Piece { bytes, is_last }) = self.early.remove(&self.expected) {
            self.expected += 1;
            if is_last && self.begun.is_empty() {
                messages.push(bytes);
                continue;
            }
            self.begun.push(bytes);
            if is_last {
                messages.push(std::mem::take(&mut self.begun).concat().into());
            }
        }
        messages
    }

    /// The peer has this piece.
    fn on_got(&mut self, number: u64) {
        let place = number.checked_sub(self.first).and_then(|place| usize::try_from(place).ok());
        if let Some((_, has)) = place.and_then(|place| self.queue.get_mut(place)) {
            *has = true;
        }
    }

    fn on_ack(&mut self, resend_at: Time, next: u64) {
        let acknowledged = next.saturating_sub(self.first);
        for _ in 0..acknowledged {
            let (piece, _) = self.queue.pop_front().expect("only what was sent is acknowledged");
            self.bytes -= piece.bytes.len();
            self.first += 1;
            self.sent = self.sent.saturating_sub(1);
        }
        if acknowledged > 0 {
            self.resend_at = (self.sent > 0).then_some(resend_at);
        }
    }
}

/// Control and bulk.
pub(crate) const LANES: usize = 2;
pub(crate) const CONTROL: usize = 0;
pub(crate) const BULK: usize = 1;

/// How many pieces of a lane are under way at once.
const WINDOW_PIECES_MAX: usize = 256;
/// A packet of 1,200 bytes without the headers of a segment.
const PIECE_BYTES: usize = 1_200 - SEGMENT_BYTES;
/// Headers of a segment, in bytes.
const SEGMENT_BYTES: usize = 40;
const KEEP_ALIVE: Duration = Duration::from_millis(500);
const BEAT: Duration = Duration::from_millis(250);
const IDLE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
