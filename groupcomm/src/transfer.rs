//! State on its way to a member that joined: in chunks, asked for from one holder after another,
//! and from wherever the last one stopped.
//!
//! The one who needs it asks for what comes from a byte on; a holder answers with as many chunks as
//! there is room for, and forgets that it was asked. So a holder that dies costs the time to ask
//! another, and nothing that was received. The bytes of a cut are the same at every holder.

use std::time::Duration;

use bytes::Bytes;
use live_objects::{NodeId, Rng, Time};
use rand::seq::IndexedRandom;

use crate::control::{Chunk, Control, What};

/// Something that this member needs.
pub(crate) struct Pull {
    pub(crate) what: What,
    offset: u64,
    /// Whom it asks, and when it does so again.
    holder: Option<NodeId>,
    asks_at: Time,
    /// How often in a row it heard that somebody lacks it.
    lacking: u32,
}

impl Pull {
    pub(crate) fn new(what: What, now: Time) -> Self {
        Self { what, offset: 0, holder: None, asks_at: now, lacking: 0 }
    }

    /// When it is to ask.
    pub(crate) fn next_wake(&self) -> Time {
        self.asks_at
    }

    /// Asks a holder, if it is time to.
    pub(crate) fn ask(
        &mut self,
        now: Time,
        holders: &[NodeId],
        rng: &mut Rng,
    ) -> Option<(NodeId, Control)> {
        if now < self.asks_at {
            return None;
        }
        self.asks_at = now + PATIENCE;
        let holder = self.holder.filter(|holder| holders.contains(holder));
        let holder = holder.or_else(|| holders.choose(rng).copied())?;
        // If it does not answer, another is asked next time.
        self.holder = None;
        Some((holder, Control::Pull(self.what, self.offset)))
    }

    /// A chunk came from there. Tells whether it is the next one.
    pub(crate) fn on_chunk(&mut self, now: Time, from: NodeId, chunk: &Chunk) -> bool {
        if self.what != chunk.what || self.offset != chunk.offset {
            return false;
        }
        self.offset += chunk.bytes.len() as u64;
        self.holder = Some(from);
        self.lacking = 0;
        self.asks_at = if chunk.more { now + PATIENCE } else { now };
        true
    }

    /// Somebody lacks it. Tells whether so many did that it is likely to be lost.
    pub(crate) fn on_lacking(&mut self, now: Time) -> bool {
        self.holder = None;
        self.lacking += 1;
        self.asks_at = now + LACKING;
        self.lacking.is_multiple_of(LACKING_MAX)
    }
}

/// Answers a question with chunks, as far as there is room. `read` gives the bytes from an offset
/// on and whether they are the last.
pub(crate) fn answer(
    what: What,
    mut offset: u64,
    mut has_room: impl FnMut() -> bool,
    mut read: impl FnMut(u64) -> Option<(Bytes, bool)>,
) -> Vec<Control> {
    let mut answers = Vec::new();
    while answers.len() < CHUNKS_MAX && has_room() {
        let Some((bytes, last)) = read(offset) else {
            answers.push(Control::Lacking(what));
            break;
        };
        let len = bytes.len() as u64;
        answers.push(Control::Chunk(Chunk { what, offset, bytes, more: !last, last }));
        offset += len;
        if last {
            break;
        }
    }
    if let Some(Control::Chunk(chunk)) = answers.last_mut() {
        chunk.more = false;
    }
    answers
}

/// The bytes of a chunk.
pub(crate) const CHUNK_BYTES: usize = 16 << 10;
/// How many chunks answer one question.
const CHUNKS_MAX: usize = 8;
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long after somebody lacked it another is asked.
const LACKING: Duration = Duration::from_millis(100);
/// So many that lack it in a row are taken for all.
const LACKING_MAX: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    const WHAT: What = What::Map(3);

    fn node(byte: u8) -> NodeId {
        NodeId::from_bytes([byte; NodeId::LEN])
    }

    fn chunk(offset: u64, bytes: &'static [u8], more: bool, last: bool) -> Control {
        Control::Chunk(Chunk { what: WHAT, offset, bytes: Bytes::from_static(bytes), more, last })
    }

    #[test]
    fn an_answer_is_as_long_as_there_is_room() {
        let read = |offset| match offset {
            0 => Some((Bytes::from_static(b"ab"), false)),
            2 => Some((Bytes::from_static(b"c"), true)),
            _ => None,
        };
        let all = [chunk(0, b"ab", true, false), chunk(2, b"c", false, true)];
        assert_eq!(answer(WHAT, 0, || true, read), all);
        let mut room = 1;
        let has_room = || std::mem::replace(&mut room, 0) == 1;
        assert_eq!(answer(WHAT, 0, has_room, read), [chunk(0, b"ab", false, false)]);
        assert_eq!(answer(WHAT, 9, || true, read), [Control::Lacking(WHAT)]);
        let endless = |_| Some((Bytes::from_static(b"x"), false));
        assert_eq!(answer(WHAT, 0, || true, endless).len(), CHUNKS_MAX);
    }

    #[test]
    fn another_goes_on_where_one_stopped() {
        let mut rng = Rng::from_seed([1; 32]);
        let mut pull = Pull::new(WHAT, Time::ZERO);
        let asked = pull.ask(Time::ZERO, &[node(1)], &mut rng);
        assert_eq!(asked, Some((node(1), Control::Pull(WHAT, 0))));
        assert_eq!(pull.ask(Time::ZERO, &[node(1)], &mut rng), None, "it waits for the answer");
        let mut comes = |offset, bytes| {
            let Control::Chunk(chunk) = chunk(offset, bytes, false, false) else { unreachable!() };
            pull.on_chunk(Time::ZERO, node(1), &chunk)
        };
        assert_eq!([comes(1, b"x"), comes(0, b"abcde"), comes(0, b"x")], [false, true, false]);
        let asked = pull.ask(Time::ZERO, &[node(1), node(2)], &mut rng);
        assert_eq!(asked, Some((node(1), Control::Pull(WHAT, 5))), "whoever answered is asked");
        let later = pull.next_wake();
        let asked = pull.ask(later, &[node(2)], &mut rng);
        assert_eq!(asked, Some((node(2), Control::Pull(WHAT, 5))));
        let lost: Vec<bool> = (0..LACKING_MAX).map(|_| pull.on_lacking(later)).collect();
        assert_eq!(lost.iter().filter(|lost| **lost).count(), 1);
    }
}
