//! The section of terms: which there are in the sender's own zone, beside that of the receiver, or
//! just what it has of them, by which the receiver sees whether it knows.
//!
//! ```text
//!  tag 30, terms: held u32, mark (`wire/rows.rs`), count v
//!                 if there is any share: round - least stamp z, way u8, and
//!                 0 digest: u32
//!                 1 few:    of each bit that is set, how many before it are not since the last v
//!                 2 bits:   u64 × 64
//!                 3 any:    nothing
//! ```
//!
//! `held` is the digest of what the sender holds of the receiver's zone, or 0.

use std::sync::Arc;

use bytes::{Buf, BufMut, BytesMut};
use live_objects::varint::{put_varint, take_varint, varint_len};

use super::rows::{apart, difference, mark_len, put_mark, take_mark, take_zigzag, zigzag};
use super::{PacketError, SECTION_LEN, put_section};
use crate::entry::Absurd;
use crate::zones::body::Body;
use crate::zones::filter::Filter;
use crate::zones::row::{Round, Row};

/// What the sender's own zone has, and what it holds of the receiver's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct TermsSection {
    pub(crate) held: u32,
    /// Without a body, if that is told as a digest.
    pub(crate) row: Row,
    pub(crate) digest: Option<u32>,
}

impl TermsSection {
    /// A section that tells all of a row's body.
    pub(crate) fn whole(held: u32, row: Row) -> Self {
        Self { held, row, digest: None }
    }

    /// A section that tells of it as little as may be enough.
    pub(crate) fn brief(held: u32, row: Row) -> Self {
        let digest = digest(row.count, &row.body);
        let body = if digest.is_some() { Body::default() } else { row.body };
        Self { held, row: Row { body, ..row }, digest }
    }

    /// How long the section is, in a packet of this round.
    pub(crate) fn section_len(&self, round: Round) -> usize {
        SECTION_LEN + self.len(round)
    }

    fn len(&self, round: Round) -> usize {
        let Row { mark, count, least, .. } = self.row;
        let head = DIGEST_LEN + mark_len(mark, round) + varint_len(count.into());
        if count == 0 {
            return head;
        }
        let least = varint_len(zigzag(difference(round.into(), least)));
        head + least + 1 + self.digest.map_or_else(|| shortest(self.filter()).1, |_| DIGEST_LEN)
    }

    fn filter(&self) -> &Filter {
        let Body::Filter(filter) = &self.row.body else { panic!("it is of terms") };
        filter
    }

    pub(super) fn put(&self, out: &mut BytesMut, round: Round) {
        put_section(out, TAG_TERMS, self.len(round));
        let Row { mark, count, least, .. } = self.row;
        out.put_u32(self.held);
        put_mark(out, mark, round);
        put_varint(out, count.into());
        if count == 0 {
            return;
        }
        put_varint(out, zigzag(difference(round.into(), least)));
        if let Some(digest) = self.digest {
            out.put_u8(Way::Digest as u8);
            out.put_u32(digest);
            return;
        }
        let way = shortest(self.filter()).0;
        out.put_u8(way as u8);
        match (way, self.filter()) {
            (Way::Bits, Filter::Bits(bits)) => bits.iter().for_each(|word| out.put_u64(*word)),
            (_, filter) => gaps(filter).for_each(|gap| put_varint(out, gap)),
        }
    }

    /// Reads the section of a packet of this round.
    pub(super) fn take(bytes: &mut &[u8], round: Round) -> Result<Self, PacketError> {
        let held = bytes.try_get_u32()?;
        let mark = take_mark(bytes, round)?;
        let count = take_varint(bytes)?;
        if count > mark.leaves.into() {
            return Err(Absurd::Count(count).into());
        }
        let mut row = Row { mark, count: count as u32, ..Row::default() };
        if row.count == 0 {
            return Ok(Self { held, row, digest: None });
        }
        row.least = apart(round.into(), take_zigzag(bytes)?, Round::MAX.into())?;
        let filter = match bytes.try_get_u8()? {
            0 => return Ok(Self { held, row, digest: Some(bytes.try_get_u32()?) }),
            1 => take_few(bytes)?,
            2 => {
                let mut bits = [0; Filter::BITS / 64];
                for word in &mut bits {
                    *word = bytes.try_get_u64()?;
                }
                Filter::of_bits(bits)
            }
            3 => Filter::Any,
            way => return Err(Absurd::Way(way).into()),
        };
        row.body = Body::Filter(Arc::new(filter));
        Ok(Self { held, row, digest: None })
    }
}

/// The digest of the body of so many shares, if there are any.
pub(crate) fn digest(count: u32, body: &Body) -> Option<u32> {
    match body {
        Body::Filter(filter) if count > 0 => Some(filter.digest()),
        _ => None,
    }
}

/// How a filter is written. Numbered as on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Digest,
    Few,
    Bits,
    Any,
}

/// The way that takes the fewest bytes, and how many.
fn shortest(filter: &Filter) -> (Way, usize) {
    let few = (Way::Few, gaps(filter).map(varint_len).sum());
    match filter {
        Filter::Any => (Way::Any, 0),
        Filter::Bits(_) if few.1 < BITS_LEN => few,
        Filter::Bits(_) => (Way::Bits, BITS_LEN),
    }
}

/// How many bits are not set before each that is, since the last.
fn gaps(filter: &Filter) -> impl Iterator<Item = u64> {
    let mut next = 0;
    filter.places().into_iter().flatten().map(move |place| {
        let gap = place - next;
        next = place + 1;
        gap as u64
    })
}

fn take_few(bytes: &mut &[u8]) -> Result<Filter, PacketError> {
    let (mut places, mut next) = (Vec::new(), 0_u64);
    while !bytes.is_empty() {
        let place = next.saturating_add(take_varint(bytes)?);
        if place >= Filter::BITS as u64 {
            return Err(Absurd::Bit(place).into());
        }
        places.push(place as usize);
        next = place + 1;
    }
    Ok(Filter::of_places(places))
}

const BITS_LEN: usize = Filter::BITS / 8;
const DIGEST_LEN: usize = 4;

pub(super) const TAG_TERMS: u8 = 30;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::wire::{Leg, Packet, tests::hex};
    use crate::zones::filter::tests::filters;
    use crate::zones::row::Mark;
    use crate::zones::row::tests::{round, rows};
    use live_objects::Summary;
    use proptest::prelude::*;

    /// Any section at all.
    pub(crate) fn sections() -> impl Strategy<Value = TermsSection> {
        (any::<u32>(), rows(Summary::Count), filters(), any::<bool>()).prop_map(
            |(held, row, filter, is_whole)| {
                if row.count == 0 {
                    return TermsSection::whole(held, row);
                }
                let row = Row { body: Body::Filter(Arc::new(filter)), ..row };
                if is_whole {
                    TermsSection::whole(held, row)
                } else {
                    TermsSection::brief(held, row)
                }
            },
        )
    }

    fn packet(places: &[usize]) -> Packet {
        let mark = Mark { stamps: 2 * 300 - 5, leaves: 2 };
        let filter = Filter::of_places(places.iter().copied());
        let body = Body::Filter(Arc::new(filter));
        let row = Row { mark, count: 1, least: 297, body };
        let mut packet = Packet::new(Leg::Probe { number: 1 });
        packet.round = round(300);
        packet.terms = Some(TermsSection::whole(9, row));
        packet
    }

    #[test]
    fn golden_bytes() {
        let head = "01000000010000012c1e";
        let row = "00000009020901";
        assert_eq!(hex(&packet(&[1, 2, 200]).encode()), format!("{head}000d{row}06010100c501"));
        let many: Vec<usize> = (0..4_096).filter(|place| place % 4 == 3).collect();
        let bits = "8888888888888888".repeat(64);
        assert_eq!(hex(&packet(&many).encode()), format!("{head}0209{row}0602{bits}"));
        let all: Vec<usize> = (0..4_096).collect();
        assert_eq!(hex(&packet(&all).encode()), format!("{head}0009{row}0603"));
        let mut brief = packet(&all);
        let section = brief.terms.take().expect("it was just put there");
        brief.terms = Some(TermsSection::brief(9, section.row.clone()));
        let digest = format!("{:08x}", Filter::Any.digest());
        assert_eq!(hex(&brief.encode()), format!("{head}000d{row}0600{digest}"));
        let none = Row { count: 0, least: 0, body: Body::default(), ..section.row };
        brief.terms = Some(TermsSection::brief(0, none));
        assert_eq!(hex(&brief.encode()), format!("{head}0007{}", "00000000020900"));
    }

    #[test]
    fn each_way_is_taken_where_it_is_shortest() {
        let way = |step: usize| shortest(&Filter::of_places((0..Filter::BITS).step_by(step)));
        assert_eq!(way(9), (Way::Few, 456));
        assert_eq!(way(8), (Way::Bits, 512));
        assert_eq!(way(1), (Way::Any, 0));
    }

    #[test]
    fn each_fault_has_its_name() {
        let decode = |bytes: &[u8]| Packet::decode(bytes).expect_err("damaged");
        let bytes = packet(&[4_095]).encode();
        let (at, end) = (9 + SECTION_LEN, bytes.len());
        let damaged = |at: usize, byte: u8| {
            let mut bytes = bytes.to_vec();
            bytes[at] = byte;
            decode(&bytes)
        };
        assert_eq!(damaged(at + 6, 3), Absurd::Count(3).into());
        assert_eq!(damaged(at + 8, 4), Absurd::Way(4).into());
        assert_eq!(damaged(end - 1, 0x20), Absurd::Bit(0x107f).into());
        assert_eq!(damaged(at + 8, 2), PacketError::Truncated);
        assert_eq!(damaged(at + 8, 3), PacketError::Overlong);
    }
}
