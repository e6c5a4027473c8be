//! The section of aggregates: what the sender's own zone comes to, beside that of the receiver.
//!
//! ```text
//!  tag 8, rows: subjects [6], mark, then of each object:
//!               flags u8:  summary (the lower four bits), 0x10 if it is named in full,
//!                          0x20 if it has a mark of its own, 0x40 if all leaves have shares,
//!                          0x80 if it is the first of a run, named by their places
//!               handle u32, or if it is named in full: object [16], and if the summary has parts:
//!               part u8, or of a run: how many v, place of the first v
//!               mark, if it has one of its own
//!               count v, unless all leaves have shares
//!               if there is any share: round - least stamp z, and unless the summary is Count:
//!               number f64; or of a variance: mean f64, sum of squares f64; or of a
//!               weighted average: sum f64, weights f64; or of a sketch: length v, sketch;
//!               of a run, of which no summary has a sketch: so many of these
//!  mark:        leaves v, sum of stamps - leaves × round z
//! ```
//!
//! v is a number as in `live_objects::varint`; z is a v of twice the number, or of twice its
//! opposite less one if it is below 0. Which zone a row is about is not said: it is the sender's,
//! where the two ids part.
//!
//! `subjects` is a digest of all that the sender takes part in; where numbers are many, of those
//! whose turn it is in this round, and of sketches. Who has the same knows all handles;
//! to others subjects are named in full. Mostly all rows have the same mark, so that one takes
//! about 15 bytes. Who is taken to have the same may be told by *place*, among those numbers in
//! which there are shares: of a run, whose places follow each other and which are alike in all but
//! their bodies, each takes 8 bytes.

use std::sync::Arc;

use bytes::{Buf, BufMut, BytesMut};
use live_objects::sketch::{Moments, Sketch, Weighted};
use live_objects::varint::{put_varint, take_varint, varint_len};
use live_objects::{ObjectId, Summary};

use super::{PacketError, SECTION_LEN, put_section, take_array};
use crate::digest::mix;
use crate::entry::Absurd;
use crate::zones::body::Body;
use crate::zones::row::{Mark, Round, Row, Subject};

/// What the sender's own zone comes to in some aggregates.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Rows {
    /// The sender's round, which is the packet's.
    pub(crate) round: Round,
    pub(crate) subjects: Subjects,
    /// The mark of most rows.
    mark: Mark,
    pub(crate) told: Vec<(Title, Row)>,
    len: usize,
    /// Where in `told` each run begins: a row that is none is one of one.
    begins: Vec<usize>,
}

/// A digest of what the sender takes part in: of subjects in their order, so that nobody can make
/// up one with which others have the same digest as without.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Subjects([u8; Self::LEN]);

impl Subjects {
    const LEN: usize = 6;
    pub(crate) const NONE: Self = Self([0; Self::LEN]);
}

/// Of their hashes.
impl FromIterator<u64> for Subjects {
    fn from_iter<I: IntoIterator<Item = u64>>(hashes: I) -> Self {
        let digest = hashes.into_iter().fold(0, |digest, hash| mix(digest ^ hash));
        Self(*digest.to_be_bytes().first_chunk().expect("a word is longer"))
    }
}

/// What a subject is called in a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Title {
    Full(Subject),
    Handle(u32, Summary),
    /// Among those that all who have the same digest have in the same order.
    Place(u16, Summary),
}

impl Title {
    const fn summary(self) -> Summary {
        match self {
            Self::Full(subject) => subject.summary,
            Self::Handle(_, summary) | Self::Place(_, summary) => summary,
        }
    }
}

impl Rows {
    /// A section without a row, in which most will have this mark.
    pub(crate) fn new(round: Round, subjects: Subjects, mark: Mark) -> Self {
        let len = SECTION_LEN + Subjects::LEN + mark_len(mark, round);
        Self { round, subjects, mark, told: Vec::new(), len, begins: Vec::new() }
    }

    /// How long the section is.
    pub(crate) const fn section_len(&self) -> usize {
        self.len
    }

    /// Adds a row, unless the section would be longer than this. Tells whether it did.
    pub(crate) fn add(&mut self, title: Title, row: Row, len_max: usize) -> bool {
        let len = self.len + self.row_len(title, &row);
        let has_room = len <= len_max && self.told.len() < ROWS_MAX;
        if has_room {
            self.push(title, row);
        }
        has_room
    }

    fn push(&mut self, title: Title, row: Row) {
        self.len += self.row_len(title, &row);
        if !self.goes_on(title, &row) {
            self.begins.push(self.told.len());
        }
        self.told.push((title, row));
    }

    /// Whether a row is one more of the run that was told last.
    fn goes_on(&self, title: Title, row: &Row) -> bool {
        match (self.told.last(), title) {
            (Some((Title::Place(last, of), told)), Title::Place(place, summary)) => {
                let begin = self.begins.last().copied().unwrap_or(0);
                self.told.len() - begin < RUN_MAX
                    && last.checked_add(1) == Some(place)
                    && *of == summary
                    && (told.mark, told.count, told.least) == (row.mark, row.count, row.least)
            }
            _ => false,
        }
    }

    fn row_len(&self, title: Title, row: &Row) -> usize {
        let summary = title.summary();
        let body = if row.count > 0 { body_len(&row.body, summary) } else { 0 };
        if self.goes_on(title, row) {
            return body;
        }
        let name = match title {
            Title::Full(_) => ObjectId::LEN + usize::from(summary.parts() > 1),
            Title::Handle(..) => HANDLE_LEN,
            Title::Place(place, _) => varint_len(RUN_MAX as u64) + varint_len(place.into()),
        };
        let mark = if row.mark == self.mark { 0 } else { mark_len(row.mark, self.round) };
        let count = if row.count == row.mark.leaves { 0 } else { varint_len(row.count.into()) };
        let least = zigzag(difference(self.round.into(), row.least));
        let least = if row.count > 0 { varint_len(least) } else { 0 };
        1 + name + mark + count + least + body
    }

    pub(super) fn put(&self, out: &mut BytesMut) {
        put_section(out, TAG_ROWS, self.len - SECTION_LEN);
        out.put_slice(&self.subjects.0);
        put_mark(out, self.mark, self.round);
        let ends = self.begins.iter().skip(1).copied().chain([self.told.len()]);
        for (begin, end) in self.begins.iter().zip(ends) {
            self.put_run(out, &self.told[*begin..end]);
        }
    }

    /// Writes rows that are alike in all but their bodies: if they are named by their places, as
    /// many as there are.
    fn put_run(&self, out: &mut BytesMut, run: &[(Title, Row)]) {
        let (title, row) = &run[0];
        let (is_full, has_mark) = (matches!(title, Title::Full(_)), row.mark != self.mark);
        let is_run = matches!(title, Title::Place(..));
        let do_all_share = row.count == row.mark.leaves;
        let flags =
            [(is_full, IN_FULL), (has_mark, OWN_MARK), (do_all_share, ALL_SHARE), (is_run, RUN)];
        let flags = flags.into_iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| flag);
        out.put_u8(code(title.summary()) + flags.sum::<u8>());
        match *title {
            Title::Place(place, _) => {
                put_varint(out, run.len() as u64);
                put_varint(out, place.into());
            }
            Title::Full(subject) => {
                out.put_slice(subject.object.as_bytes());
                if subject.summary.parts() > 1 {
                    out.put_u8(subject.part);
                }
            }
            Title::Handle(handle, _) => out.put_u32(handle),
        }
        if has_mark {
            put_mark(out, row.mark, self.round);
        }
        if !do_all_share {
            put_varint(out, row.count.into());
        }
        if row.count > 0 {
            put_varint(out, zigzag(difference(self.round.into(), row.least)));
            run.iter().for_each(|(_, row)| put_body(out, &row.body, title.summary()));
        }
    }

    /// Reads the section of a packet of this round.
    pub(super) fn take(bytes: &mut &[u8], round: Round) -> Result<Self, PacketError> {
        let subjects = Subjects(take_array(bytes)?);
        let mut rows = Self::new(round, subjects, take_mark(bytes, round)?);
        while !bytes.is_empty() {
            rows.take_run(bytes)?;
        }
        Ok(rows)
    }

    /// Reads one row, or a run of them.
    fn take_run(&mut self, bytes: &mut &[u8]) -> Result<(), PacketError> {
        let flags = bytes.try_get_u8()?;
        let summary = summary(flags & SUMMARY)?;
        let mut more = 0;
        let title = if flags & RUN != 0 {
            let (count, place) = (take_varint(bytes)?, take_varint(bytes)?);
            let last = count.checked_sub(1).filter(|more| *more < RUN_MAX as u64);
            more = last.ok_or(Absurd::Run(count))? as u16;
            let place = u16::try_from(place).ok().filter(|place| place.checked_add(more).is_some());
            if flags & IN_FULL != 0 || summary.has_sketches() {
                return Err(Absurd::Run(count).into());
            }
            Title::Place(place.ok_or(Absurd::Run(count))?, summary)
        } else if flags & IN_FULL == 0 {
            Title::Handle(bytes.try_get_u32()?, summary)
        } else {
            let object = ObjectId::from_bytes(take_array(bytes)?);
            let part = if summary.parts() > 1 { bytes.try_get_u8()? } else { 0 };
            if part >= summary.parts() {
                return Err(Absurd::Part(part).into());
            }
            Title::Full(Subject { part, ..Subject::new(object, summary) })
        };
        let mark = if flags & OWN_MARK == 0 { self.mark } else { take_mark(bytes, self.round)? };
        let count = if flags & ALL_SHARE == 0 { take_varint(bytes)? } else { mark.leaves.into() };
        if count > mark.leaves.into() {
            return Err(Absurd::Count(count).into());
        }
        let mut row = Row { mark, count: count as u32, ..Row::default() };
        if row.count > 0 {
            row.least = apart(self.round.into(), take_zigzag(bytes)?, Round::MAX.into())?;
            row.body = take_body(bytes, summary)?;
        }
        if self.told.len() + usize::from(more) >= ROWS_MAX {
            return Err(Absurd::Run(u64::from(more) + 1).into());
        }
        self.push(title, row.clone());
        if let Title::Place(first, _) = title {
            for place in (first..=first + more).skip(1) {
                let body = if row.count > 0 { take_body(bytes, summary)? } else { Body::default() };
                self.push(Title::Place(place, summary), Row { body, ..row.clone() });
            }
        }
        Ok(())
    }
}

fn body_len(body: &Body, summary: Summary) -> usize {
    match body {
        Body::Number(_) if summary == Summary::Count => 0,
        Body::Number(_) => 8,
        Body::Moments(_) | Body::Weighted(_) => 2 * 8,
        Body::Sketch(sketch) => {
            let len = sketch.encoded_len();
            varint_len(len as u64) + len
        }
        Body::Filter(_) => unreachable!("filters have a section of their own"),
    }
}

fn put_body(out: &mut BytesMut, body: &Body, summary: Summary) {
    match body {
        Body::Number(_) if summary == Summary::Count => {}
        Body::Number(number) => out.put_f64(*number),
        Body::Moments(Moments { mean, squares }) => {
            out.put_f64(*mean);
            out.put_f64(*squares);
        }
        Body::Weighted(Weighted { sum, weight }) => {
            out.put_f64(*sum);
            out.put_f64(*weight);
        }
        Body::Sketch(sketch) => {
            put_varint(out, sketch.encoded_len() as u64);
            sketch.put(out);
        }
        Body::Filter(_) => unreachable!("filters have a section of their own"),
    }
}

fn take_body(bytes: &mut &[u8], summary: Summary) -> Result<Body, PacketError> {
    Ok(match summary {
        Summary::Count => Body::default(),
        Summary::Average | Summary::Sum | Summary::Min | Summary::Max | Summary::Rate => {
            Body::Number(take_number(bytes)?)
        }
        Summary::Variance => {
            let (mean, squares) = (take_number(bytes)?, take_number(bytes)?);
            if squares < 0.0 {
                return Err(Absurd::Number.into());
            }
            Body::Moments(Moments { mean, squares })
        }
        Summary::WeightedAverage => {
            let (sum, weight) = (take_number(bytes)?, take_number(bytes)?);
            if weight < 0.0 {
                return Err(Absurd::Number.into());
            }
            Body::Weighted(Weighted { sum, weight })
        }
        Summary::Quantiles
        | Summary::Distinct
        | Summary::TopK
        | Summary::Highest
        | Summary::Histogram
        | Summary::Groups => {
            let len = usize::try_from(take_varint(bytes)?).unwrap_or(usize::MAX);
            let body = bytes.split_off(..len).ok_or(PacketError::Truncated)?;
            let sketch = Sketch::take(summary, body).expect("these have sketches");
            Body::Sketch(Arc::new(sketch?))
        }
    })
}

fn take_number(bytes: &mut &[u8]) -> Result<f64, PacketError> {
    let number = bytes.try_get_f64()?;
    if number.is_finite() { Ok(number) } else { Err(Absurd::Number.into()) }
}

const fn code(summary: Summary) -> u8 {
    match summary {
        Summary::Average => 0,
        Summary::Sum => 1,
        Summary::Count => 2,
        Summary::Min => 3,
        Summary::Max => 4,
        Summary::Variance => 5,
        Summary::Quantiles => 6,
        Summary::Distinct => 7,
        Summary::TopK => 8,
        Summary::Highest => 9,
        Summary::Histogram => 10,
        Summary::Rate => 11,
        Summary::Groups => 12,
        Summary::WeightedAverage => 13,
    }
}

fn summary(code: u8) -> Result<Summary, PacketError> {
    Ok(match code {
        0 => Summary::Average,
        1 => Summary::Sum,
        2 => Summary::Count,
        3 => Summary::Min,
        4 => Summary::Max,
        5 => Summary::Variance,
        6 => Summary::Quantiles,
        7 => Summary::Distinct,
        8 => Summary::TopK,
        9 => Summary::Highest,
        10 => Summary::Histogram,
        11 => Summary::Rate,
        12 => Summary::Groups,
        13 => Summary::WeightedAverage,
        unknown => return Err(PacketError::UnknownSummary(unknown)),
    })
}

pub(super) fn put_mark(out: &mut BytesMut, mark: Mark, round: Round) {
    put_varint(out, mark.leaves.into());
    put_varint(out, zigzag(difference(mark.stamps, u64::from(mark.leaves) * u64::from(round))));
}

pub(super) fn mark_len(mark: Mark, round: Round) -> usize {
    let stamps = difference(mark.stamps, u64::from(mark.leaves) * u64::from(round));
    varint_len(mark.leaves.into()) + varint_len(zigzag(stamps))
}

pub(super) fn take_mark(bytes: &mut &[u8], round: Round) -> Result<Mark, PacketError> {
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
pub(super) fn apart(from: u64, below: i64, max: u64) -> Result<u64, Absurd> {
    let number = i128::from(from) - i128::from(below);
    u64::try_from(number).ok().filter(|number| *number <= max).ok_or(Absurd::Stamps)
}

/// Stamps and their sums, and leaves times rounds, are all below 2^63.
pub(super) fn difference(one: u64, other: u64) -> i64 {
    one as i64 - other as i64
}

pub(super) const fn zigzag(number: i64) -> u64 {
    (number << 1 ^ number >> 63) as u64
}

/// It is never the least of all numbers, which has no opposite.
pub(super) fn take_zigzag(bytes: &mut &[u8]) -> Result<i64, PacketError> {
    let number = take_varint(bytes)?;
    let number = (number >> 1) as i64 ^ -((number & 1) as i64);
    if number == i64::MIN { Err(Absurd::Stamps.into()) } else { Ok(number) }
}

const SUMMARY: u8 = 0x0f;
const IN_FULL: u8 = 0x10;
const OWN_MARK: u8 = 0x20;
const ALL_SHARE: u8 = 0x40;
const RUN: u8 = 0x80;
/// The most rows of a run: their number takes one byte.
const RUN_MAX: usize = 127;
/// The most rows of a section: those of a run may take nothing.
pub(crate) const ROWS_MAX: usize = 512;
const HANDLE_LEN: usize = 4;
pub(super) const TAG_ROWS: u8 = 8;

#[cfg(test)]
pub(crate) mod tests;
