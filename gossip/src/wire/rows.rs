//! The sections of aggregates: what is known of zones, and the rows themselves.
//!
//! ```text
//!  tag 8, digests: round v, then of each object:
//!                  object [16], summary u8 (+ 0x80 if it is introduced), levels u8,
//!                  of each level, the root's first: zones u16 (a bit a digit), of each zone: mark
//!  tag 9, answers: round v, then of each object:
//!                  object [16], summary u8, levels u8, of each level:
//!                  level u8, wanted zones u16, zones u16, of each zone:
//!                  mark, count v, if it is not 0: round of the packet - least stamp z, and unless
//!                  the summary is Count: number f64
//!  mark:           leaves v, sum of stamps - leaves × round of the packet z
//! ```
//!
//! v is a number of seven bits a byte, the lowest first, with the highest bit set in all bytes but
//! the last; z is a v of twice the number, or of twice its opposite less one if it is below 0. Most
//! stamps are a few rounds old, so that a mark takes 2 or 3 bytes and a row about 14.

use bytes::{Buf, BufMut, BytesMut};
use live_objects::{ObjectId, Summary};

use super::{PacketError, SECTION_LEN, put_section, take_array};
use crate::entry::Absurd;
use crate::zones::place::{DIGITS, FANOUT};
use crate::zones::row::{Mark, Round, Row, Subject};

/// What the sender knows of some aggregates.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Digests {
    /// The sender's round.
    pub(crate) round: Round,
    pub(crate) objects: Vec<Digest>,
}

/// What the sender knows of one aggregate, in the zones that it has in common with the receiver.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Digest {
    pub(crate) subject: Subject,
    /// Whether the receiver is to take part if it does not yet.
    pub(crate) introduces: bool,
    /// A mark for each zone of each level.
    pub(crate) levels: Vec<[Mark; FANOUT]>,
}

/// Rows of some aggregates that the receiver lacks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Answers {
    /// The sender's round.
    pub(crate) round: Round,
    pub(crate) objects: Vec<Answer>,
}

/// Rows of one aggregate, and which the sender lacks itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Answer {
    pub(crate) subject: Subject,
    pub(crate) shelves: Vec<Shelf>,
}

/// Rows of one level.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Shelf {
    pub(crate) level: u8,
    /// Of which zones the sender wants the rows: a bit a digit.
    pub(crate) wanted: u16,
    /// By digit, each once, in order.
    pub(crate) rows: Vec<(u8, Row)>,
}

impl Digests {
    pub(crate) fn new(round: Round) -> Self {
        Self { round, objects: Vec::new() }
    }

    /// How long the section is.
    pub(crate) fn section_len(&self) -> usize {
        let objects = self.objects.iter().map(|object| object.encoded_len(self.round));
        SECTION_LEN + varint_len(self.round.into()) + objects.sum::<usize>()
    }

    pub(super) fn put(&self, out: &mut BytesMut) {
        put_section(out, TAG_DIGESTS, self.section_len() - SECTION_LEN);
        put_varint(out, self.round.into());
        for Digest { subject, introduces, levels } in &self.objects {
            put_subject(out, *subject, if *introduces { INTRODUCES } else { 0 });
            out.put_u8(levels.len() as u8);
            for level in levels {
                let known = |zone: usize| level[zone].stamps > 0;
                out.put_u16(bits((0..FANOUT).filter(|zone| known(*zone))));
                let marks = level.iter().filter(|mark| mark.stamps > 0);
                marks.for_each(|mark| put_mark(out, *mark, self.round));
            }
        }
    }

    pub(super) fn take(bytes: &mut &[u8]) -> Result<Self, PacketError> {
        let mut digests = Self::new(Round::try_from(take_varint(bytes)?)?);
        while !bytes.is_empty() {
            let (subject, flags) = take_subject(bytes)?;
            let count = usize::from(bytes.try_get_u8()?);
            if count > DIGITS {
                return Err(Absurd::Level(count).into());
            }
            let mut levels = Vec::with_capacity(count);
            for _ in 0..count {
                let mut level = [Mark::default(); FANOUT];
                for zone in zones(bytes.try_get_u16()?) {
                    level[zone] = take_mark(bytes, digests.round)?;
                }
                levels.push(level);
            }
            let introduces = flags & INTRODUCES != 0;
            digests.objects.push(Digest { subject, introduces, levels });
        }
        Ok(digests)
    }
}

impl Digest {
    /// How long it is in a packet of this round.
    pub(crate) fn encoded_len(&self, round: Round) -> usize {
        let level_len = |level: &[Mark; FANOUT]| -> usize {
            let marks = level.iter().filter(|mark| mark.stamps > 0);
            2 + marks.map(|mark| mark_len(*mark, round)).sum::<usize>()
        };
        SUBJECT_LEN + 1 + self.levels.iter().map(level_len).sum::<usize>()
    }
}

impl Answers {
    pub(crate) fn new(round: Round) -> Self {
        Self { round, objects: Vec::new() }
    }

    /// How long the section is.
    pub(crate) fn section_len(&self) -> usize {
        let objects = self.objects.iter().map(|object| object.encoded_len(self.round));
        SECTION_LEN + varint_len(self.round.into()) + objects.sum::<usize>()
    }

    /// Adds a shelf to a section of at most `len_max` bytes, and of its rows as many as fit.
    pub(crate) fn add(&mut self, subject: Subject, mut shelf: Shelf, len_max: usize) {
        let is_first = self.objects.last().is_none_or(|last| last.subject != subject);
        let header = Shelf::LEN_MIN + if is_first { Answer::LEN_MIN } else { 0 };
        let Some(mut room) = len_max.checked_sub(self.section_len() + header) else { return };
        let fitting = shelf.rows.iter().take_while(|(_, row)| {
            let left = room.checked_sub(row_len(row, subject.summary, self.round));
            room = left.unwrap_or(0);
            left.is_some()
        });
        let fitting = fitting.count();
        shelf.rows.truncate(fitting);
        if shelf.rows.is_empty() && shelf.wanted == 0 {
            return;
        }
        if is_first {
            self.objects.push(Answer { subject, shelves: Vec::new() });
        }
        self.objects.last_mut().expect("just seen or added").shelves.push(shelf);
    }

    pub(super) fn put(&self, out: &mut BytesMut) {
        put_section(out, TAG_ANSWERS, self.section_len() - SECTION_LEN);
        put_varint(out, self.round.into());
        for Answer { subject, shelves } in &self.objects {
            put_subject(out, *subject, 0);
            out.put_u8(shelves.len() as u8);
            for Shelf { level, wanted, rows } in shelves {
                out.put_u8(*level);
                out.put_u16(*wanted);
                out.put_u16(bits(rows.iter().map(|(zone, _)| usize::from(*zone))));
                rows.iter().for_each(|(_, row)| put_row(out, row, subject.summary, self.round));
            }
        }
    }

    pub(super) fn take(bytes: &mut &[u8]) -> Result<Self, PacketError> {
        let mut answers = Self::new(Round::try_from(take_varint(bytes)?)?);
        while !bytes.is_empty() {
            let (subject, _) = take_subject(bytes)?;
            let mut shelves = Vec::new();
            for _ in 0..bytes.try_get_u8()? {
                let level = bytes.try_get_u8()?;
                if usize::from(level) >= DIGITS {
                    return Err(Absurd::Level(level.into()).into());
                }
                let wanted = bytes.try_get_u16()?;
                let mut rows = Vec::new();
                for zone in zones(bytes.try_get_u16()?) {
                    rows.push((zone as u8, take_row(bytes, subject.summary, answers.round)?));
                }
                shelves.push(Shelf { level, wanted, rows });
            }
            answers.objects.push(Answer { subject, shelves });
        }
        Ok(answers)
    }
}

impl Answer {
    /// How long one is that has no shelf yet.
    const LEN_MIN: usize = SUBJECT_LEN + 1;

    fn encoded_len(&self, round: Round) -> usize {
        let row_len = |(_, row): &(u8, Row)| row_len(row, self.subject.summary, round);
        let shelf_len =
            |shelf: &Shelf| Shelf::LEN_MIN + shelf.rows.iter().map(row_len).sum::<usize>();
        Self::LEN_MIN + self.shelves.iter().map(shelf_len).sum::<usize>()
    }
}

impl Shelf {
    /// How long one is that has no row yet.
    const LEN_MIN: usize = 1 + 2 + 2;
}

/// How long a row is in a packet of this round.
fn row_len(row: &Row, summary: Summary, round: Round) -> usize {
    let mut len = mark_len(row.mark, round) + varint_len(row.count.into());
    if row.count > 0 {
        len += varint_len(zigzag(difference(round.into(), row.least)));
        len += if summary == Summary::Count { 0 } else { 8 };
    }
    len
}

/// The digits whose bits are set.
pub(crate) fn zones(bits: u16) -> impl Iterator<Item = usize> {
    (0..FANOUT).filter(move |zone| bits & 1 << zone != 0)
}

fn bits(zones: impl Iterator<Item = usize>) -> u16 {
    zones.fold(0, |bits, zone| bits | 1 << zone)
}

fn put_subject(out: &mut BytesMut, subject: Subject, flags: u8) {
    out.put_slice(subject.object.as_bytes());
    let code = match subject.summary {
        Summary::Average => 0,
        Summary::Sum => 1,
        Summary::Count => 2,
        Summary::Min => 3,
        Summary::Max => 4,
    };
    out.put_u8(code | flags);
}

fn take_subject(bytes: &mut &[u8]) -> Result<(Subject, u8), PacketError> {
    let object = ObjectId::from_bytes(take_array(bytes)?);
    let code = bytes.try_get_u8()?;
    let summary = match code & !INTRODUCES {
        0 => Summary::Average,
        1 => Summary::Sum,
        2 => Summary::Count,
        3 => Summary::Min,
        4 => Summary::Max,
        unknown => return Err(PacketError::UnknownSummary(unknown)),
    };
    Ok((Subject { object, summary }, code & INTRODUCES))
}

fn put_row(out: &mut BytesMut, row: &Row, summary: Summary, round: Round) {
    put_mark(out, row.mark, round);
    put_varint(out, row.count.into());
    if row.count > 0 {
        put_varint(out, zigzag(difference(round.into(), row.least)));
        if summary != Summary::Count {
            out.put_f64(row.number);
        }
    }
}

fn take_row(bytes: &mut &[u8], summary: Summary, round: Round) -> Result<Row, PacketError> {
    let mark = take_mark(bytes, round)?;
    let count = take_varint(bytes)?;
    if count > mark.leaves.into() {
        return Err(Absurd::Count(count).into());
    }
    let mut row = Row { mark, count: count as u32, ..Row::default() };
    if row.count > 0 {
        row.least = apart(round.into(), take_zigzag(bytes)?, Round::MAX.into())?;
        row.number = if summary == Summary::Count { 0.0 } else { bytes.try_get_f64()? };
        if !row.number.is_finite() {
            return Err(Absurd::Number.into());
        }
    }
    Ok(row)
}

fn put_mark(out: &mut BytesMut, mark: Mark, round: Round) {
    put_varint(out, mark.leaves.into());
    put_varint(out, zigzag(difference(mark.stamps, u64::from(mark.leaves) * u64::from(round))));
}

fn mark_len(mark: Mark, round: Round) -> usize {
    let stamps = difference(mark.stamps, u64::from(mark.leaves) * u64::from(round));
    varint_len(mark.leaves.into()) + varint_len(zigzag(stamps))
}

fn take_mark(bytes: &mut &[u8], round: Round) -> Result<Mark, PacketError> {
    let leaves = take_varint(bytes)?;
    if leaves == 0 || leaves > Row::LEAVES_MAX.into() {
        return Err(Absurd::Leaves(leaves).into());
    }
    let below = -take_zigzag(bytes)?;
    let stamps = apart(leaves * u64::from(round), below, Row::STAMPS_MAX)?;
    if stamps == 0 {
        return Err(Absurd::Stamps.into());
    }
    Ok(Mark { stamps, leaves: leaves as u32 })
}

/// What is `below` under `from`, if that is from 0 to `max`.
fn apart(from: u64, below: i64, max: u64) -> Result<u64, Absurd> {
    let number = i128::from(from) - i128::from(below);
    u64::try_from(number).ok().filter(|number| *number <= max).ok_or(Absurd::Stamps)
}

/// Stamps and their sums, and leaves times rounds, are all below 2^63.
fn difference(one: u64, other: u64) -> i64 {
    one as i64 - other as i64
}

const fn zigzag(number: i64) -> u64 {
    (number << 1 ^ number >> 63) as u64
}

/// It is never the least of all numbers, which has no opposite.
fn take_zigzag(bytes: &mut &[u8]) -> Result<i64, PacketError> {
    let number = take_varint(bytes)?;
    let number = (number >> 1) as i64 ^ -((number & 1) as i64);
    if number == i64::MIN { Err(Absurd::Stamps.into()) } else { Ok(number) }
}

fn varint_len(number: u64) -> usize {
    (64 - (number | 1).leading_zeros() as usize).div_ceil(7)
}

fn put_varint(out: &mut BytesMut, mut number: u64) {
    while number > 0x7f {
        out.put_u8(number as u8 | 0x80);
        number >>= 7;
    }
    out.put_u8(number as u8);
}

fn take_varint(bytes: &mut &[u8]) -> Result<u64, PacketError> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = bytes.try_get_u8()?;
        let part = u64::from(byte & 0x7f);
        if part << shift >> shift != part {
            break;
        }
        number |= part << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(Absurd::Varint.into())
}

const SUBJECT_LEN: usize = ObjectId::LEN + 1;
const INTRODUCES: u8 = 0x80;
pub(super) const TAG_DIGESTS: u8 = 8;
pub(super) const TAG_ANSWERS: u8 = 9;

#[cfg(test)]
pub(crate) mod tests;
