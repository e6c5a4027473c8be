//! Messages on a stream: each is its length, four bytes with the highest first, and then its bytes.
//!
//! The reader takes the stream in whatever pieces it comes. A message that lies within one piece is
//! a slice of it; one that does not is put together. Memory grows with what has come, never with
//! what a length promises.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use live_objects::{Envelope, Port};
use thiserror::Error;

/// A message on its way out: its head (length and envelope) and its body.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    head: Bytes,
    body: Bytes,
}

impl Frame {
    /// # Panics
    /// If the message is longer than any may be.
    pub(crate) fn new(envelope: Envelope, body: Bytes) -> Self {
        let len = Envelope::LEN + body.len();
        assert!(len <= MESSAGE_BYTES_MAX, "a message of {len} bytes, {MESSAGE_BYTES_MAX} at most");
        let mut head = BytesMut::with_capacity(LENGTH_BYTES + Envelope::LEN);
        head.put_u32(u32::try_from(len).expect("the longest message has a length of four bytes"));
        head.put_slice(&envelope.to_bytes());
        Self { head: head.freeze(), body }
    }

    /// Its length on the stream, in bytes.
    pub(crate) fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }
}

/// The frames as pieces to write: small ones are packed together, large ones are not copied.
pub(crate) fn pieces(frames: &[Frame]) -> Vec<Bytes> {
    let mut pieces = Vec::new();
    let mut packed = BytesMut::new();
    for Frame { head, body } in frames {
        packed.put_slice(head);
        if body.len() <= PACKED_BYTES_MAX {
            packed.put_slice(body);
        } else {
            pieces.push(packed.split().freeze());
            pieces.push(body.clone());
        }
    }
    if !packed.is_empty() {
        pieces.push(packed.freeze());
    }
    pieces
}

/// Puts messages together from the pieces of a stream.
#[derive(Default, Debug)]
pub(crate) struct Reader {
    /// The beginning of a message, length included, that has not wholly come.
    begun: BytesMut,
}

impl Reader {
    /// Takes the next message out of `piece`. Without one, all of the piece was taken.
    pub(crate) fn next(&mut self, piece: &mut Bytes) -> Result<Option<Bytes>, TooLong> {
        if self.begun.is_empty()
            && let Some(len) = length(piece)?
            && piece.len() >= LENGTH_BYTES + len
        {
            piece.advance(LENGTH_BYTES);
            return Ok(Some(piece.split_to(len)));
        }
        self.take(piece, LENGTH_BYTES);
        let Some(len) = length(&self.begun)? else { return Ok(None) };
        self.take(piece, LENGTH_BYTES + len);
        if self.begun.len() < LENGTH_BYTES + len {
            return Ok(None);
        }
        let mut message = std::mem::take(&mut self.begun).freeze();
        message.advance(LENGTH_BYTES);
        Ok(Some(message))
    }

    /// Takes from the piece until `len` bytes are there, or there are no more.
    fn take(&mut self, piece: &mut Bytes, len: usize) {
        let missing = len.saturating_sub(self.begun.len()).min(piece.len());
        self.begun.put(piece.split_to(missing));
    }
}

/// A message is longer than any may be. The peer's fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("a message of {0} bytes, {MESSAGE_BYTES_MAX} at most")]
pub(crate) struct TooLong(u32);

/// The length that stands at the beginning of these bytes, if it has wholly come.
fn length(bytes: &[u8]) -> Result<Option<usize>, TooLong> {
    let Some(length) = bytes.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let length = u32::from_be_bytes(*length);
    match usize::try_from(length) {
        Ok(len) if len <= MESSAGE_BYTES_MAX => Ok(Some(len)),
        _ => Err(TooLong(length)),
    }
}

/// The longest message, envelope included: the longest command, and what a module adds to it.
pub(crate) const MESSAGE_BYTES_MAX: usize = Port::COMMAND_BYTES_MAX + (64 << 10);
const LENGTH_BYTES: usize = 4;
/// Bodies up to this length are packed with others.
const PACKED_BYTES_MAX: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use live_objects::ModuleTag;

    fn read(pieces: impl IntoIterator<Item = Bytes>) -> Vec<Bytes> {
        let (mut reader, mut messages) = (Reader::default(), Vec::new());
        for mut piece in pieces {
            while let Some(message) = reader.next(&mut piece).unwrap() {
                messages.push(message);
            }
            assert!(piece.is_empty(), "all of a piece is taken");
        }
        messages
    }

    #[test]
    fn reads_what_was_written_however_it_is_cut() {
        let envelope = Envelope { module: ModuleTag::of("framing") };
        let bodies = [0, 1, 300, PACKED_BYTES_MAX + 1, 2].map(|len| Bytes::from(vec![7; len]));
        let frames = bodies.clone().map(|body| Frame::new(envelope, body));
        let stream = pieces(&frames).concat();
        assert_eq!(stream.len(), frames.iter().map(Frame::len).sum::<usize>());
        let expected = bodies.map(|body| [&envelope.to_bytes()[..], &body].concat());
        for cut in [1, 2, 3, 5, 64, 1_000, stream.len()] {
            let pieces = stream.chunks(cut).map(Bytes::copy_from_slice);
            assert_eq!(read(pieces), expected, "in pieces of {cut} bytes");
        }
    }

    #[test]
    fn the_longest_message_is_read_and_a_longer_one_refused() {
        let promise = |len: usize| Bytes::from(u32::try_from(len).unwrap().to_be_bytes().to_vec());
        let mut reader = Reader::default();
        assert_eq!(reader.next(&mut promise(MESSAGE_BYTES_MAX)), Ok(None));
        assert!(reader.begun.capacity() < 1_000, "a promise takes no memory");
        let mut reader = Reader::default();
        let longer = u32::try_from(MESSAGE_BYTES_MAX + 1).unwrap();
        assert_eq!(reader.next(&mut promise(MESSAGE_BYTES_MAX + 1)), Err(TooLong(longer)));
        assert_eq!(Reader::default().next(&mut promise(u32::MAX as usize)), Err(TooLong(u32::MAX)));
    }
}
