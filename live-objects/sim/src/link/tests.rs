//! Two ends, a wire that loses and delays what a test says, and a clock that jumps to what is next.

use live_objects::Rng;
use rand::RngExt;

use super::*;

const PATIENCE: Duration = Duration::from_millis(10);

/// Both ends of a link and the segments between them.
struct Pair {
    now: Time,
    ends: [LinkEnd; 2],
    /// When, to which end.
    flying: VecDeque<(Time, usize, Segment)>,
    loss: f64,
    rng: Rng,
    heard: [Vec<Happening>; 2],
    /// All that was sent of messages.
    data_bytes: usize,
}

impl Pair {
    fn new(loss: f64) -> Self {
        let patience = Patience::with_slowest(PATIENCE);
        let conn = Conn { opener: 0, number: 1 };
        let mut out = Vec::new();
        let opener = LinkEnd::open(conn, patience, Time::ZERO, &mut out);
        let ends = [opener, LinkEnd::accept(conn, patience, Time::ZERO)];
        let (flying, heard) = (VecDeque::new(), Default::default());
        let rng = Rng::from_seed([3; 32]);
        let mut pair = Self { now: Time::ZERO, ends, flying, loss, rng, heard, data_bytes: 0 };
        pair.fly(1, vec![Segment::Opened { floor: 0 }]);
        pair
    }

    fn fly(&mut self, from: usize, segments: Vec<Segment>) {
        for segment in segments {
            if let Segment::Data { piece, .. } = &segment {
                self.data_bytes += piece.bytes.len();
            }
            if !self.rng.random_bool(self.loss) {
                self.flying.push_back((self.now + Duration::from_millis(5), 1 - from, segment));
            }
        }
    }

    fn send(&mut self, from: usize, lane: usize, bytes: &[u8]) -> Result<(), Full> {
        let mut out = Vec::new();
        let sent = self.ends[from].send(self.now, lane, Bytes::copy_from_slice(bytes), &mut out);
        self.fly(from, out);
        sent
    }

    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let arrival = self.flying.front().map(|(at, ..)| *at);
            let timer = self.ends.iter().map(LinkEnd::next_timer).min();
            let next = arrival.into_iter().chain(timer).min().expect("timers are always set");
            if next > end {
                self.now = end;
                return;
            }
            self.now = next;
            if arrival == Some(next) {
                let (_, to, segment) = self.flying.pop_front().expect("it arrived");
                let mut out = Vec::new();
                self.ends[to].on_segment(next, segment, &mut out, &mut self.heard[to]);
                self.fly(to, out);
            } else {
                for end in 0..2 {
                    let mut out = Vec::new();
                    self.ends[end].on_timer(next, &mut out, &mut self.heard[end]);
                    self.fly(end, out);
                }
            }
            if self.heard.iter().flatten().any(|h| matches!(h, Happening::Down(_))) {
                return;
            }
        }
    }

    fn messages(&self, end: usize) -> Vec<&[u8]> {
        fn message(happening: &Happening) -> Option<&[u8]> {
            match happening {
                Happening::Message(bytes) => Some(bytes),
                Happening::Up | Happening::Room | Happening::Down(_) => None,
            }
        }
        self.heard[end].iter().filter_map(message).collect()
    }
}

#[test]
fn lanes_are_in_order_and_whole_however_much_is_lost() {
    for loss in [0.0, 0.1, 0.3, 0.5] {
        let mut pair = Pair::new(loss);
        let sent: Vec<Vec<u8>> = (0..100_u8).map(|n| vec![n; 10]).collect();
        for bytes in &sent {
            pair.send(0, CONTROL, bytes).unwrap();
            pair.send(1, BULK, bytes).unwrap();
        }
        pair.run(Duration::from_secs(5));
        assert_eq!(pair.messages(1), sent, "loss {loss}");
        assert_eq!(pair.messages(0), sent, "loss {loss}");
    }
}

/// A message of many pieces costs little more than itself, though pieces are lost.
#[test]
fn long_messages_are_cut_and_what_is_lost_is_sent_again() {
    for loss in [0.0, 0.05, 0.3] {
        let mut pair = Pair::new(loss);
        let long: Vec<u8> = (0..200_000_u32).map(|n| (n / 7) as u8).collect();
        pair.send(0, BULK, &long).unwrap();
        pair.send(0, BULK, b"").unwrap();
        pair.send(0, BULK, b"short").unwrap();
        pair.run(Duration::from_secs(5));
        assert_eq!(pair.messages(1), [long.as_slice(), b"", b"short"], "loss {loss}");
        assert_eq!(pair.ends[0].lanes[BULK].bytes, 0);
        let worth = pair.data_bytes as f64 / long.len() as f64;
        assert!(
            worth < (1.0 + 3.0 * loss) * 1.05,
            "{worth} times as much as there is, loss {loss}"
        );
    }
}

#[test]
fn a_full_lane_refuses_and_tells_when_there_is_room() {
    let mut pair = Pair::new(0.0);
    let chunk = vec![0; LinkEnd::BUFFER_BYTES_MAX / 2];
    assert_eq!(pair.send(0, BULK, &chunk), Ok(()));
    assert_eq!(pair.ends[0].room(), LinkEnd::BUFFER_BYTES_MAX / 2);
    assert_eq!(pair.send(0, BULK, &chunk), Ok(()));
    assert_eq!(pair.ends[0].room(), 0);
    assert_eq!(pair.send(0, BULK, &chunk), Err(Full));
    assert_eq!(pair.send(0, CONTROL, b"past it"), Ok(()), "control is not in the way of bulk");
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.heard[0].iter().filter(|h| **h == Happening::Room).count(), 1);
    assert_eq!(pair.ends[0].room(), LinkEnd::BUFFER_BYTES_MAX);
}

#[test]
fn a_silent_link_goes_down_at_both_ends() {
    let mut pair = Pair::new(0.0);
    pair.run(Duration::from_secs(1));
    pair.loss = 1.0;
    pair.run(Duration::from_secs(9));
    let down = Happening::Down(Down::Silent);
    assert!(pair.heard.iter().flatten().any(|h| *h == down), "{:?}", pair.heard);
}

#[test]
fn a_link_that_nobody_uses_is_closed_as_idle() {
    let mut pair = Pair::new(0.0);
    pair.run(IDLE + Duration::from_secs(1));
    assert!(pair.heard.iter().flatten().any(|h| *h == Happening::Down(Down::Idle)));
    assert_eq!(pair.now, Time::ZERO + IDLE);
}
