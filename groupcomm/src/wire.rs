//! The datagrams between members of a view, laid out by hand so that their size is known before
//! they are written. All numbers are big-endian.
//!
//! ```text
//!  data:  0 | tag u64 | origin u16 | number u64 | stable u64 | map u64 | items …
//!  ack:   1 | tag u64 | number u64
//!  nak:   2 | tag u64 | origin u16 | (first u64, last u64) …
//!  tail:  3 | tag u64 | last u64 | stable u64
//!  query: 4 | tag u64
//!  done:  5 | tag u64
//!
//!  items: 0-3 | group u32 | message u64 | offset u32 | length u16 | bytes   (1: last, 2: total)
//!         4   | origin u16 | until u64                                      an order
//!         5   | length u16 | postcard                                       a change of the map
//! ```
//!
//! The *tag* names the streams of a region. A data frame names its *origin*, by place in the view,
//! and not its sender: whoever holds a frame may send it again as it was. `stable` is the highest
//! number of the origin's frames that all members hold, `map` the number of the group map that the
//! frame was cut under.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use live_objects::{ClusterId, Envelope, Epoch};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::map::Change;

/// The longest packet: see the like constant of gossip. What is left of 1,200 bytes after the
/// headers of IPv4 and UDP, the envelope, and a seal.
pub(crate) const PACKET_LEN_MAX: usize = 1_200 - 28 - Envelope::LEN - Envelope::SEAL_LEN;
/// What a data frame takes beside its items.
pub(crate) const HEADER_LEN: usize = 1 + 8 + 2 + 8 + 8 + 8;
/// What a part of a message takes beside its bytes.
pub(crate) const PART_LEN: usize = 1 + 4 + 8 + 4 + 2;
/// What an order takes.
pub(crate) const ORDER_LEN: usize = 1 + 2 + 8;
/// The most ranges of a NAK.
pub(crate) const RANGES_MAX: usize = 32;

/// The name of a region's streams on the wire: a hash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub(crate) struct Tag(u64);

impl Tag {
    /// That of the streams that carry changes of the group map in a view.
    pub(crate) fn of_view(epoch: &Epoch) -> Self {
        Self::of(&(epoch.cluster, epoch.number))
    }

    /// That of a region of a cluster, which began with this map.
    pub(crate) fn of_region(cluster: ClusterId, region: u32, since: u64) -> Self {
        Self::of(&(cluster, region, since))
    }

    fn of(what: &impl Serialize) -> Self {
        let bytes = postcard::to_allocvec(what).expect("memory takes a name");
        let hash = Sha256::digest(&bytes);
        Self(u64::from_be_bytes(hash[..8].try_into().expect("a hash is longer than that")))
    }
}

/// A datagram.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Packet {
    Data(Frame),
    /// All frames of the receiver up to this number have come.
    Ack(u64),
    /// These frames are missing: send them again.
    Nak {
        origin: u16,
        ranges: Vec<(u64, u64)>,
    },
    /// So far the sender's frames go, and so far all members hold them.
    Tail {
        last: u64,
        stable: u64,
    },
    /// Send your tail: it may have been lost.
    Query,
    /// The sender has let go of these streams: all that was sent is held by everybody.
    Done,
}

/// A data frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Frame {
    pub(crate) origin: u16,
    pub(crate) number: u64,
    pub(crate) stable: u64,
    pub(crate) map: u64,
    pub(crate) items: Vec<Item>,
}

/// What stands before the items of a frame.
#[derive(Clone, Copy)]
pub(crate) struct Header {
    pub(crate) origin: u16,
    pub(crate) number: u64,
    pub(crate) stable: u64,
    pub(crate) map: u64,
}

/// What a frame holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Item {
    Part(Part),
    /// All frames of an origin up to a number come next in the total order.
    Order(u16, u64),
    Change(Change),
}

/// A message of a group, or a part of one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Part {
    pub(crate) class: Class,
    pub(crate) group: u32,
    pub(crate) message: u64,
    pub(crate) offset: u32,
    pub(crate) last: bool,
    pub(crate) bytes: Bytes,
}

/// In which order messages are delivered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Class {
    Fifo,
    Total,
}

impl Packet {
    /// Writes one that is not data.
    pub(crate) fn encode(&self, tag: Tag) -> Bytes {
        let mut out = BytesMut::new();
        match self {
            Self::Data(frame) => {
                let mut writer = FrameWriter::new(PACKET_LEN_MAX);
                for item in &frame.items {
                    match item {
                        Item::Part(part) => writer.part(part),
                        Item::Order(origin, until) => writer.order(*origin, *until),
                        Item::Change(change) => assert!(writer.change(change), "it fits"),
                    }
                }
                let Frame { origin, number, stable, map, .. } = *frame;
                return writer.seal(tag, Header { origin, number, stable, map });
            }
            Self::Ack(number) => {
                out.put_u8(ACK);
                out.put_u64(tag.0);
                out.put_u64(*number);
            }
            Self::Nak { origin, ranges } => {
                assert!(ranges.len() <= RANGES_MAX, "a NAK is bounded");
                out.put_u8(NAK);
                out.put_u64(tag.0);
                out.put_u16(*origin);
                for (first, last) in ranges {
                    out.put_u64(*first);
                    out.put_u64(*last);
                }
            }
            Self::Query => {
                out.put_u8(QUERY);
                out.put_u64(tag.0);
            }
            Self::Done => {
                out.put_u8(DONE);
                out.put_u64(tag.0);
            }
            Self::Tail { last, stable } => {
                out.put_u8(TAIL);
                out.put_u64(tag.0);
                out.put_u64(*last);
                out.put_u64(*stable);
            }
        }
        out.freeze()
    }

    /// How packets like this one, that was written, are counted.
    pub(crate) fn counter(written: &[u8]) -> &'static str {
        match written.first() {
            Some(&DATA) => "groupcomm.data",
            Some(&ACK) => "groupcomm.acks",
            Some(&NAK) => "groupcomm.naks",
            Some(&TAIL) => "groupcomm.tails",
            Some(&QUERY) => "groupcomm.queries",
            Some(&DONE) => "groupcomm.dones",
            _ => unreachable!("no packet is written otherwise"),
        }
    }

    /// Reads one.
    pub(crate) fn decode(mut bytes: Bytes) -> Result<(Tag, Self), DecodeError> {
        let kind = bytes.try_get_u8()?;
        let tag = Tag(bytes.try_get_u64()?);
        let packet = match kind {
            DATA => Self::Data(Frame::decode(&mut bytes)?),
            ACK => Self::Ack(number(&mut bytes)?),
            NAK => {
                let origin = bytes.try_get_u16()?;
                let mut ranges = Vec::new();
                while bytes.has_remaining() {
                    let range = (number(&mut bytes)?, number(&mut bytes)?);
                    if range.0 > range.1 || ranges.len() == RANGES_MAX {
                        return Err(DecodeError::Malformed);
                    }
                    ranges.push(range);
                }
                Self::Nak { origin, ranges }
            }
            TAIL => {
                let (last, stable) = (number(&mut bytes)?, number(&mut bytes)?);
                if stable > last {
                    return Err(DecodeError::Malformed);
                }
                Self::Tail { last, stable }
            }
            QUERY => Self::Query,
            DONE => Self::Done,
            _ => return Err(DecodeError::Malformed),
        };
        if bytes.has_remaining() { Err(DecodeError::Malformed) } else { Ok((tag, packet)) }
    }
}

impl Frame {
    fn decode(bytes: &mut Bytes) -> Result<Self, DecodeError> {
        let origin = bytes.try_get_u16()?;
        let (number, stable, map) = (number(bytes)?, number(bytes)?, bytes.try_get_u64()?);
        if number == 0 || stable >= number {
            return Err(DecodeError::Malformed);
        }
        let mut items = Vec::new();
        while bytes.has_remaining() {
            items.push(Item::decode(bytes)?);
        }
        Ok(Self { origin, number, stable, map, items })
    }

    /// Whether it holds a message or a change for the total order.
    pub(crate) fn has_total(&self) -> bool {
        self.items.iter().any(|item| match item {
            Item::Part(part) => part.class == Class::Total,
            Item::Change(_) => true,
            Item::Order(..) => false,
        })
    }
}

impl Item {
    fn decode(bytes: &mut Bytes) -> Result<Self, DecodeError> {
        Ok(match bytes.try_get_u8()? {
            kind @ 0..4 => {
                let group = bytes.try_get_u32()?;
                let message = number(bytes)?;
                let offset = bytes.try_get_u32()?;
                let bytes = slice(bytes)?;
                let class = if kind & TOTAL == 0 { Class::Fifo } else { Class::Total };
                let last = kind & LAST != 0;
                Self::Part(Part { class, group, message, offset, last, bytes })
            }
            ORDER => Self::Order(bytes.try_get_u16()?, number(bytes)?),
            CHANGE => {
                let slice = slice(bytes)?;
                Self::Change(postcard::from_bytes(&slice).map_err(|_| DecodeError::Malformed)?)
            }
            _ => return Err(DecodeError::Malformed),
        })
    }
}

/// Fills a data frame as far as it goes.
pub(crate) struct FrameWriter {
    bytes: BytesMut,
    len_max: usize,
}

impl FrameWriter {
    /// An empty frame of at most so many bytes.
    pub(crate) fn new(len_max: usize) -> Self {
        let mut bytes = BytesMut::with_capacity(len_max);
        bytes.put_bytes(0, HEADER_LEN);
        Self { bytes, len_max }
    }

    /// How many bytes it still takes.
    pub(crate) fn room(&self) -> usize {
        self.len_max - self.bytes.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.len() == HEADER_LEN
    }

    /// Puts a part that there is room for.
    pub(crate) fn part(&mut self, part: &Part) {
        assert!(PART_LEN + part.bytes.len() <= self.room(), "it was cut to the room");
        let class = if part.class == Class::Total { TOTAL } else { 0 };
        self.bytes.put_u8(class | if part.last { LAST } else { 0 });
        self.bytes.put_u32(part.group);
        self.bytes.put_u64(part.message);
        self.bytes.put_u32(part.offset);
        put_slice(&mut self.bytes, &part.bytes);
    }

    /// Puts an order that there is room for.
    pub(crate) fn order(&mut self, origin: u16, until: u64) {
        assert!(self.room() >= ORDER_LEN, "there is room for an order");
        self.bytes.put_u8(ORDER);
        self.bytes.put_u16(origin);
        self.bytes.put_u64(until);
    }

    /// Puts a change, unless there is no room for it.
    pub(crate) fn change(&mut self, change: &Change) -> bool {
        let bytes = postcard::to_allocvec(change).expect("memory takes a change");
        let fits = 1 + 2 + bytes.len() <= self.room();
        if fits {
            self.bytes.put_u8(CHANGE);
            put_slice(&mut self.bytes, &bytes);
        }
        fits
    }

    /// The frame as it is sent.
    pub(crate) fn seal(mut self, tag: Tag, header: Header) -> Bytes {
        let mut out = &mut self.bytes[..HEADER_LEN];
        out.put_u8(DATA);
        out.put_u64(tag.0);
        out.put_u16(header.origin);
        out.put_u64(header.number);
        out.put_u64(header.stable);
        out.put_u64(header.map);
        self.bytes.freeze()
    }
}

/// Why a datagram was dropped. The peer's fault, or chance.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub(crate) enum DecodeError {
    #[error("it ends too soon")]
    Truncated,
    #[error("it is not laid out as a packet")]
    Malformed,
}

impl From<bytes::TryGetError> for DecodeError {
    fn from(_: bytes::TryGetError) -> Self {
        Self::Truncated
    }
}

/// Reads the number of a frame or of a message, which no honest member lets grow beyond all
/// bounds: counting on from one never runs over.
fn number(bytes: &mut Bytes) -> Result<u64, DecodeError> {
    let number = bytes.try_get_u64()?;
    if number <= NUMBER_MAX { Ok(number) } else { Err(DecodeError::Malformed) }
}

fn slice(bytes: &mut Bytes) -> Result<Bytes, DecodeError> {
    let len = usize::from(bytes.try_get_u16()?);
    if len > bytes.remaining() {
        return Err(DecodeError::Truncated);
    }
    Ok(bytes.split_to(len))
}

fn put_slice(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u16(u16::try_from(bytes.len()).expect("a frame is shorter than 64 KiB"));
    out.put_slice(bytes);
}

const NUMBER_MAX: u64 = 1 << 62;

const DATA: u8 = 0;
const ACK: u8 = 1;
const NAK: u8 = 2;
const TAIL: u8 = 3;
const QUERY: u8 = 4;
const DONE: u8 = 5;

const LAST: u8 = 1;
const TOTAL: u8 = 2;
const ORDER: u8 = 4;
const CHANGE: u8 = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TAG: Tag = Tag(0x0102_0304_0506_0708);

    fn part(class: Class, last: bool, bytes: &'static [u8]) -> Item {
        let bytes = Bytes::from_static(bytes);
        Item::Part(Part { class, group: 7, message: 9, offset: 3, last, bytes })
    }

    fn frame() -> Packet {
        let items = vec![
            part(Class::Fifo, false, b"ab"),
            part(Class::Total, true, b""),
            Item::Order(1, 4),
            Item::Change(Change::Restored { group: 5 }),
        ];
        Packet::Data(Frame { origin: 2, number: 6, stable: 5, map: 8, items })
    }

    #[test]
    fn golden_bytes() {
        let tag = [1, 2, 3, 4, 5, 6, 7, 8];
        let ack = [&[1][..], &tag, &[0, 0, 0, 0, 0, 0, 0, 9]].concat();
        assert_eq!(Packet::Ack(9).encode(TAG), ack);
        let number = |n: u8| [0, 0, 0, 0, 0, 0, 0, n];
        let part = |kind: u8, len: u8| {
            [&[kind, 0, 0, 0, 7][..], &number(9), &[0, 0, 0, 3, 0, len]].concat()
        };
        let data = [
            &[0][..],
            &tag,
            &[0, 2],
            &number(6),
            &number(5),
            &number(8),
            &part(0, 2),
            b"ab",
            &part(3, 0),
            &[4, 0, 1],
            &number(4),
            &[5, 0, 2, 2, 5],
        ];
        assert_eq!(frame().encode(TAG), data.concat());
    }

    #[test]
    fn what_is_written_can_be_read() {
        let nak = Packet::Nak { origin: 3, ranges: vec![(1, 1), (4, 9)] };
        for packet in [
            frame(),
            Packet::Ack(1),
            nak,
            Packet::Tail { last: 8, stable: 7 },
            Packet::Query,
            Packet::Done,
        ] {
            assert_eq!(Packet::decode(packet.encode(TAG)), Ok((TAG, packet)));
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let refused = |packet: Packet| {
            assert_eq!(Packet::decode(packet.encode(TAG)), Err(DecodeError::Malformed));
        };
        refused(Packet::Tail { last: 1, stable: 2 });
        refused(Packet::Ack(u64::MAX));
        refused(Packet::Nak { origin: 0, ranges: vec![(2, 1)] });
        let data = |number, stable| Frame { origin: 0, number, stable, map: 0, items: vec![] };
        refused(Packet::Data(data(3, 3)));
        refused(Packet::Data(data(0, 0)));
        let cut = frame().encode(TAG);
        assert_eq!(Packet::decode(cut.slice(..cut.len() - 1)), Err(DecodeError::Truncated));
    }

    #[test]
    fn a_frame_knows_its_room() {
        let mut writer = FrameWriter::new(PACKET_LEN_MAX);
        assert!(writer.is_empty());
        let bytes = Bytes::from(vec![1; writer.room() - PART_LEN]);
        writer.part(&Part {
            class: Class::Fifo,
            group: 0,
            message: 0,
            offset: 0,
            last: true,
            bytes,
        });
        assert_eq!(writer.room(), 0);
        assert!(!writer.change(&Change::Restored { group: 5 }));
        let header = Header { origin: 0, number: 1, stable: 0, map: 0 };
        assert_eq!(writer.seal(TAG, header).len(), PACKET_LEN_MAX);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = Packet::decode(bytes.into());
        }

        #[test]
        fn a_frame_with_a_broken_byte_is_read_or_refused(at in 0_usize..100, byte: u8) {
            let mut bytes = frame().encode(TAG).to_vec();
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = Packet::decode(bytes.into());
        }
    }
}
