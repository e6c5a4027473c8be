//! The datagrams of an exchange, laid out by hand so that their size is known before they are
//! written.
//!
//! ```text
//!  0      1         5       9                25 (of a probe request; else at 9)
//!  +------+---------+-------+----------------+-----+--------+-----------+-----+--------+------
//!  | leg  | number  | round | target         | tag | length | body      | tag | length | …
//!  +------+---------+-------+----------------+-----+--------+-----------+-----+--------+------
//!    u8     u32       u32     only of a probe  u8    u16
//!                             request
//!
//!  tag 1, entries: one after the other, see `wire/entries.rs`
//!  tag 2, digest:  u64
//!  tag 3, buckets: u32 × 16
//!  tag 4, inventory: from [16], to [16], hashes u32 …
//!  tag 8:          aggregates, see `wire/rows.rs`
//!  tag 9, wants:   u64
//!  tags 16 to 23:  see `wire/news.rs`
//!  tags 24, 25:    the nearest, see `wire/offers.rs`
//!  tags 26, 27, 32: see `wire/questions.rs`
//!  tag 28:         overlays, see `wire/stands.rs`
//!  tag 29:         partial views, see `wire/scope.rs`
//!  tag 30:         see `wire/terms.rs`
//!  tag 40:         soft states, see `wire/soft.rs`
//!  tag 41:         see `wire/evidence.rs`
//! ```
//!
//! A section of an unknown tag is passed over, so that later versions can put more into the same
//! exchange. Anything else that is not as drawn makes the whole packet void. What is decoded holds
//! nothing of the buffer it came in.

pub(crate) mod entries;
pub(crate) mod evidence;
mod news;
pub(crate) mod offers;
pub(crate) mod payloads;
pub(crate) mod questions;
pub(crate) mod rows;
pub(crate) mod scope;
pub(crate) mod soft;
pub(crate) mod stands;
pub(crate) mod terms;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use live_objects::sketch::SketchError;
use live_objects::varint::VarintError;
use live_objects::{Envelope, Evidence, NodeId};
use thiserror::Error;

use self::entries::{ENTRY_LEN_MAX, entry_len, put_entry, take_entry};
pub(crate) use self::news::{
    MESSAGE_HEAD_LEN_MAX, NewsSections, RECORD_LEN_MIN, RECORDS_DIGEST_SECTION_LEN,
};
use self::offers::{OffersSection, Standpoint};
use self::rows::Rows;
use self::scope::Scope;
use self::soft::SoftSection;
use self::stands::StandsSection;
use self::terms::TermsSection;
use crate::digest::BUCKETS;
use crate::entry::{Absurd, Entry};
use crate::question::{Answer, Clue, Question};
use crate::records::AbsurdRecord;
use crate::zones::row::Round;

/// The longest packet. A datagram is to be at most 1,200 bytes, which every path carries in one
/// piece (the least IPv6 path is 1,280, and tunnels take their share): that counts the headers of
/// IPv4 and UDP, the envelope, and the seal.
pub(crate) const PACKET_LEN_MAX: usize = 1_200 - HEAD_LEN;

/// What a datagram takes beside its packet.
pub(crate) const HEAD_LEN: usize = 28 + Envelope::LEN + Envelope::SEAL_LEN;

/// The least limit under which every packet fits with what it must carry: a digest, an entry about
/// the receiver, and one about the target of a probe request.
pub(crate) const PACKET_LEN_MIN: usize =
    LEG_LEN + NodeId::LEN + 2 * SECTION_LEN + DIGEST_LEN + 2 * ENTRY_LEN_MAX;

/// What the buckets take.
pub(crate) const BUCKETS_SECTION_LEN: usize = SECTION_LEN + BUCKETS * HASH_LEN;

/// What an inventory takes beside its hashes.
pub(crate) const INVENTORY_SECTION_LEN: usize = SECTION_LEN + 2 * NodeId::LEN;

/// The hash of an entry, or of a bucket.
pub(crate) const HASH_LEN: usize = 4;

/// What tag and length of a section take.
pub(crate) const SECTION_LEN: usize = 1 + 2;

/// A packet of an exchange.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Packet {
    pub(crate) leg: Leg,
    /// The sender's round, of a probe, an ack, and where there are rows.
    pub(crate) round: Round,
    /// The sender's digest of all.
    pub(crate) digest: Option<u64>,
    /// The sender's digests by bucket.
    pub(crate) buckets: Option<[u32; BUCKETS]>,
    pub(crate) inventory: Option<Inventory>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) news: NewsSections,
    /// Rows of aggregates.
    pub(crate) rows: Option<Rows>,
    /// Of which aggregates the sender wants rows, a bit each: those are told of who ask.
    pub(crate) wants: Option<u64>,
    /// Which terms are where.
    pub(crate) terms: Option<TermsSection>,
    pub(crate) question: Option<Question>,
    pub(crate) answer: Option<Answer>,
    /// What an answer says of a search.
    pub(crate) clue: Option<Clue>,
    /// What whoever answers saw of a node.
    pub(crate) evidence: Option<Vec<Evidence>>,
    /// Where the sender stands.
    pub(crate) standpoint: Option<Standpoint>,
    /// Who offers itself.
    pub(crate) offers: Option<OffersSection>,
    /// Who stands where in overlays.
    pub(crate) stands: Option<StandsSection>,
    /// What the sender has of soft states.
    pub(crate) soft: Option<SoftSection>,
    /// What it keeps, if that is not the whole cluster.
    pub(crate) scope: Option<Scope>,
}

/// All that the sender knows of a range of nodes, both ends included: the hashes of its entries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Inventory {
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    pub(crate) hashes: Vec<u32>,
}

/// Which part of an exchange a packet is. The number says of which exchange; who starts it draws
/// it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Leg {
    /// Are you there?
    Probe { number: u32 },
    /// I am; or, from one who was asked to probe another: it is.
    Ack { number: u32 },
    /// Probe that node for me.
    ProbeRequest { number: u32, target: NodeId },
    /// What the digests showed to be missing.
    Rest { number: u32 },
    /// What was just said, and what was wanted. Nobody answers, but with what it wants.
    Push,
    /// A question to one who keeps what this node does not.
    Ask { number: u32 },
    /// And its answer.
    Answer { number: u32 },
}

/// How something is named in a packet: a member, or an aggregate.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Naming {
    InFull,
    /// To those who know it.
    Short,
}

impl Packet {
    /// A packet with nothing in it yet.
    pub(crate) fn new(leg: Leg) -> Self {
        Self {
            leg,
            round: Round::FIRST,
            digest: None,
            buckets: None,
            inventory: None,
            entries: Vec::new(),
            news: NewsSections::NONE,
            rows: None,
            wants: None,
            terms: None,
            question: None,
            answer: None,
            clue: None,
            evidence: None,
            standpoint: None,
            offers: None,
            stands: None,
            soft: None,
            scope: None,
        }
    }

    /// How long it is when written.
    pub(crate) fn encoded_len(&self) -> usize {
        let target = if let Leg::ProbeRequest { .. } = self.leg { NodeId::LEN } else { 0 };
        let digest = self.digest.map_or(0, |_| SECTION_LEN + DIGEST_LEN);
        let buckets = self.buckets.map_or(0, |_| BUCKETS_SECTION_LEN);
        let inventory = self.inventory.as_ref();
        let inventory =
            inventory.map_or(0, |it| INVENTORY_SECTION_LEN + it.hashes.len() * HASH_LEN);
        let entries = if self.entries.is_empty() { 0 } else { SECTION_LEN + self.entries_len() };
        let rows = self.rows.as_ref().map_or(0, Rows::section_len);
        let wants = self.wants.map_or(0, |_| SECTION_LEN + WANTS_LEN);
        let terms = self.terms.as_ref().map_or(0, |terms| terms.section_len(self.round));
        let question = self.question.as_ref().map_or(0, questions::question_section_len);
        let answer = self.answer.map_or(0, |_| questions::ANSWER_SECTION_LEN);
        let clue = self.clue.as_ref().map_or(0, questions::clue_section_len);
        let evidence = self.evidence.as_deref().map_or(0, evidence::section_len);
        let standpoint = self.standpoint.map_or(0, |_| offers::PLACE_SECTION_LEN);
        let offers = self.offers.as_ref().map_or(0, OffersSection::section_len);
        let scope = self.scope.map_or(0, |_| Scope::SECTION_LEN);
        let membership = LEG_LEN + target + digest + buckets + inventory + entries + scope;
        let aggregates = rows + wants + terms;
        let asked = question + answer + clue + evidence;
        let stands = self.stands.as_ref().map_or(0, StandsSection::section_len);
        let soft = self.soft.as_ref().map_or(0, SoftSection::section_len);
        let nearest = standpoint + offers + stands + soft;
        membership + self.news.encoded_len() + aggregates + asked + nearest
    }

    /// How many bytes of entries can be added to a packet that may be `len_max` long.
    pub(crate) fn room(&self, len_max: usize) -> usize {
        let section = if self.entries.is_empty() { SECTION_LEN } else { 0 };
        len_max.saturating_sub(self.encoded_len() + section)
    }

    /// Writes it.
    pub(crate) fn encode(&self) -> Bytes {
        let len = self.encoded_len();
        let mut out = BytesMut::with_capacity(len);
        self.put_leg(&mut out);
        if let Some(digest) = self.digest {
            put_section(&mut out, TAG_DIGEST, DIGEST_LEN);
            out.put_u64(digest);
        }
        if let Some(buckets) = self.buckets {
            put_section(&mut out, TAG_BUCKETS, BUCKETS * HASH_LEN);
            buckets.into_iter().for_each(|bucket| out.put_u32(bucket));
        }
        if let Some(Inventory { from, to, hashes }) = &self.inventory {
            put_section(&mut out, TAG_INVENTORY, 2 * NodeId::LEN + hashes.len() * HASH_LEN);
            out.put_slice(from.as_bytes());
            out.put_slice(to.as_bytes());
            hashes.iter().for_each(|hash| out.put_u32(*hash));
        }
        if !self.entries.is_empty() {
            put_section(&mut out, TAG_ENTRIES, self.entries_len());
            self.entries.iter().for_each(|entry| put_entry(&mut out, entry));
        }
        self.news.put(&mut out);
        self.rows.iter().for_each(|rows| rows.put(&mut out));
        if let Some(wants) = self.wants {
            put_section(&mut out, TAG_WANTS, WANTS_LEN);
            out.put_u64(wants);
        }
        self.terms.iter().for_each(|terms| terms.put(&mut out, self.round));
        self.question.iter().for_each(|question| questions::put_question(&mut out, question));
        self.answer.iter().for_each(|answer| questions::put_answer(&mut out, *answer));
        self.clue.iter().for_each(|clue| questions::put_clue(&mut out, clue));
        self.evidence.iter().for_each(|seen| evidence::put(&mut out, seen));
        self.standpoint.iter().for_each(|standpoint| standpoint.put(&mut out));
        self.offers.iter().for_each(|offers| offers.put(&mut out));
        self.stands.iter().for_each(|stands| stands.put(&mut out));
        self.soft.iter().for_each(|soft| soft.put(&mut out));
        self.scope.iter().for_each(|scope| scope.put(&mut out));
        assert_eq!(out.len(), len, "a packet is as long as it said");
        out.freeze()
    }

    /// Reads one.
    pub(crate) fn decode(mut bytes: &[u8]) -> Result<Self, PacketError> {
        let (leg, round) = take_leg(&mut bytes)?;
        let mut packet = Self { round, ..Self::new(leg) };
        while !bytes.is_empty() {
            let tag = bytes.try_get_u8()?;
            let len = usize::from(bytes.try_get_u16()?);
            let mut body = bytes.split_off(..len).ok_or(PacketError::Truncated)?;
            match tag {
                TAG_DIGEST => packet.digest = Some(body.try_get_u64()?),
                TAG_BUCKETS => packet.buckets = Some(take_buckets(&mut body)?),
                TAG_INVENTORY => packet.inventory = Some(take_inventory(&mut body)?),
                TAG_ENTRIES => {
                    while !body.is_empty() {
                        packet.entries.push(take_entry(&mut body)?);
                    }
                }
                tag if NewsSections::has(tag) => packet.news.take(tag, &mut body)?,
                TAG_WANTS => packet.wants = Some(body.try_get_u64()?),
                questions::TAG_QUESTION => {
                    packet.question = Some(questions::take_question(&mut body)?);
                }
                questions::TAG_ANSWER => packet.answer = Some(questions::take_answer(&mut body)?),
                evidence::TAG_EVIDENCE => packet.evidence = Some(evidence::take(&mut body)?),
                questions::TAG_CLUE => packet.clue = Some(questions::take_clue(&mut body)?),
                terms::TAG_TERMS => packet.terms = Some(TermsSection::take(&mut body, round)?),
                rows::TAG_ROWS => packet.rows = Some(Rows::take(&mut body, round)?),
                offers::TAG_PLACE => packet.standpoint = Some(Standpoint::take(&mut body)?),
                offers::TAG_OFFERS => {
                    packet.offers = Some(OffersSection::take(&mut body, round)?);
                }
                stands::TAG_STANDS => {
                    packet.stands = Some(StandsSection::take(&mut body, round)?);
                }
                scope::TAG_SCOPE => packet.scope = Some(Scope::take(&mut body)?),
                soft::TAG_SOFT => packet.soft = Some(SoftSection::take(&mut body)?),
                _ => continue,
            }
            if !body.is_empty() {
                return Err(PacketError::Overlong);
            }
        }
        Ok(packet)
    }

    fn entries_len(&self) -> usize {
        self.entries.iter().map(entry_len).sum()
    }

    fn put_leg(&self, out: &mut BytesMut) {
        let (code, number) = match self.leg {
            Leg::Probe { number } => (LEG_PROBE, number),
            Leg::Ack { number } => (LEG_ACK, number),
            Leg::ProbeRequest { number, .. } => (LEG_PROBE_REQUEST, number),
            Leg::Rest { number } => (LEG_REST, number),
            Leg::Push => (LEG_PUSH, 0),
            Leg::Ask { number } => (LEG_ASK, number),
            Leg::Answer { number } => (LEG_ANSWER, number),
        };
        out.put_u8(code);
        out.put_u32(number);
        let round = u64::from(self.round);
        out.put_u32(round.try_into().expect("no round is higher"));
        if let Leg::ProbeRequest { target, .. } = self.leg {
            out.put_slice(target.as_bytes());
        }
    }
}

/// Why a packet was dropped. The peer's fault; nothing changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub(crate) enum PacketError {
    #[error("ends too early")]
    Truncated,
    #[error("a section is longer than what it holds")]
    Overlong,
    #[error("an unknown leg, {0}: of a later version, perhaps")]
    UnknownLeg(u8),
    #[error("an unknown standing, {0}")]
    UnknownStanding(u8),
    #[error("an unknown family of addresses, {0}")]
    UnknownFamily(u8),
    #[error("a message of {0} bytes, longer than any")]
    LongMessage(usize),
    #[error("an unknown summary, {0}: of a later version, perhaps")]
    UnknownSummary(u8),
    #[error("an unknown question, {0}: of a later version, perhaps")]
    UnknownQuestion(u8),
    #[error("an unknown verdict, {0}: of a later version, perhaps")]
    UnknownVerdict(u8),
    #[error(transparent)]
    Sketch(#[from] SketchError),
    #[error(transparent)]
    Absurd(#[from] Absurd),
    #[error(transparent)]
    Record(#[from] AbsurdRecord),
}

impl From<VarintError> for PacketError {
    fn from(why: VarintError) -> Self {
        match why {
            VarintError::Truncated => Self::Truncated,
            VarintError::TooLarge => Absurd::Varint.into(),
        }
    }
}

impl From<bytes::TryGetError> for PacketError {
    fn from(_: bytes::TryGetError) -> Self {
        Self::Truncated
    }
}

fn put_section(out: &mut BytesMut, tag: u8, len: usize) {
    out.put_u8(tag);
    out.put_u16(u16::try_from(len).expect("a section is no longer than a datagram"));
}

fn take_leg(bytes: &mut &[u8]) -> Result<(Leg, Round), PacketError> {
    let code = bytes.try_get_u8()?;
    let number = bytes.try_get_u32()?;
    let round = Round::try_from(u64::from(bytes.try_get_u32()?))?;
    let leg = match code {
        LEG_PROBE => Leg::Probe { number },
        LEG_ACK => Leg::Ack { number },
        LEG_PROBE_REQUEST => {
            Leg::ProbeRequest { number, target: NodeId::from_bytes(take_array(bytes)?) }
        }
        LEG_REST => Leg::Rest { number },
        LEG_PUSH => Leg::Push,
        LEG_ASK => Leg::Ask { number },
        LEG_ANSWER => Leg::Answer { number },
        unknown => return Err(PacketError::UnknownLeg(unknown)),
    };
    Ok((leg, round))
}

fn take_buckets(bytes: &mut &[u8]) -> Result<[u32; BUCKETS], PacketError> {
    let mut buckets = [0; BUCKETS];
    for bucket in &mut buckets {
        *bucket = bytes.try_get_u32()?;
    }
    Ok(buckets)
}

fn take_inventory(bytes: &mut &[u8]) -> Result<Inventory, PacketError> {
    let from = NodeId::from_bytes(take_array(bytes)?);
    let to = NodeId::from_bytes(take_array(bytes)?);
    let mut hashes = Vec::with_capacity(bytes.len() / HASH_LEN);
    while !bytes.is_empty() {
        hashes.push(bytes.try_get_u32()?);
    }
    Ok(Inventory { from, to, hashes })
}

fn take_array<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], PacketError> {
    bytes.split_off(..N).and_then(|taken| taken.try_into().ok()).ok_or(PacketError::Truncated)
}

const LEG_LEN: usize = 1 + 4 + 4;
const LEG_PROBE: u8 = 1;
const LEG_ACK: u8 = 2;
const LEG_PROBE_REQUEST: u8 = 3;
const LEG_REST: u8 = 4;
const LEG_PUSH: u8 = 16;
const LEG_ASK: u8 = 17;
const LEG_ANSWER: u8 = 18;

const TAG_ENTRIES: u8 = 1;
const TAG_DIGEST: u8 = 2;
const TAG_BUCKETS: u8 = 3;
const TAG_INVENTORY: u8 = 4;
const TAG_WANTS: u8 = 9;

const DIGEST_LEN: usize = 8;
const WANTS_LEN: usize = 8;

#[cfg(test)]
pub(crate) mod tests {
    use std::net::SocketAddr;

    use live_objects::CREDENTIAL_BYTES_MAX;

    use super::news::tests::sections;
    use super::questions::tests::{answers, clues, questions};
    use super::*;
    use crate::entry::tests::{entries, entry};
    use crate::entry::{Accuser, Standing};
    use crate::wire::rows::tests::rows;
    use proptest::prelude::*;

    fn legs() -> impl Strategy<Value = Leg> {
        (any::<u32>(), any::<[u8; 16]>(), 0..7_u8).prop_map(|(number, target, leg)| match leg {
            0 => Leg::Probe { number },
            1 => Leg::Ack { number },
            2 => Leg::ProbeRequest { number, target: NodeId::from_bytes(target) },
            3 => Leg::Push,
            4 => Leg::Ask { number },
            5 => Leg::Answer { number },
            _ => Leg::Rest { number },
        })
    }

    fn inventories() -> impl Strategy<Value = Inventory> {
        any::<([[u8; 16]; 2], Vec<u32>)>().prop_map(|([from, to], hashes)| {
            let (from, to) = (NodeId::from_bytes(from), NodeId::from_bytes(to));
            Inventory { from, to, hashes }
        })
    }

    fn packets() -> impl Strategy<Value = Packet> {
        let summaries = any::<(Option<u64>, Option<[u32; BUCKETS]>, Option<u64>)>();
        let inventory = prop::option::of(inventories());
        let entries = prop::collection::vec(entries(), 0..9);
        let rows = prop::option::of(rows());
        let asked = (
            prop::option::of(questions()),
            prop::option::of(answers()),
            prop::option::of(clues()),
            prop::option::of(evidence::tests::evidence()),
            prop::option::of(terms::tests::sections()),
            prop::option::of(scope::tests::scopes()),
        );
        let nearest = rows.prop_flat_map(|rows| {
            let round = rows.as_ref().map_or(Round::MAX, |rows| rows.round);
            let offers = prop::option::of(offers::tests::sections(round));
            let stands = prop::option::of(stands::tests::sections(round));
            (Just((round, rows)), prop::option::of(offers::tests::standpoints()), offers, stands)
        });
        (legs(), summaries, inventory, entries, sections(), nearest, asked).prop_map(
            |(leg, (digest, buckets, wants), inventory, entries, news, nearest, asked)| {
                let ((round, rows), standpoint, offers, stands) = nearest;
                Packet {
                    leg,
                    round,
                    digest,
                    buckets,
                    inventory,
                    entries,
                    news,
                    rows,
                    wants,
                    question: asked.0,
                    answer: asked.1,
                    clue: asked.2,
                    evidence: asked.3,
                    terms: asked.4,
                    standpoint,
                    offers,
                    stands,
                    soft: None,
                    scope: asked.5,
                }
            },
        )
    }

    proptest! {
        #[test]
        fn reads_what_it_wrote(packet in packets()) {
            let bytes = packet.encode();
            prop_assert_eq!(bytes.len(), packet.encoded_len());
            prop_assert_eq!(Packet::decode(&bytes), Ok(packet));
        }

        #[test]
        fn room_is_what_can_be_added(
            mut packet in packets(),
            entry in entries(),
            less in 0..2_usize,
        ) {
            let len_max = packet.encoded_len() + SECTION_LEN + entry_len(&entry) - less;
            let fits = entry_len(&entry) <= packet.room(len_max);
            packet.entries.push(entry);
            prop_assert_eq!(fits, packet.encoded_len() <= len_max);
        }

        #[test]
        fn never_panics(bytes: Vec<u8>) {
            let _ = Packet::decode(&bytes);
        }

        /// Damage beyond the first bytes, where arbitrary bytes seldom get.
        #[test]
        fn never_panics_on_damage(
            packet in packets(),
            at: prop::sample::Index,
            bits in 1..=255_u8,
        ) {
            let mut bytes = packet.encode().to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= bits;
            let _ = Packet::decode(&bytes);
            let _ = Packet::decode(&bytes[..at]);
        }

        #[test]
        fn unknown_sections_are_passed_over(
            packet in packets(),
            tag in 64..=255_u8,
            body: Vec<u8>,
        ) {
            let mut bytes = packet.encode().to_vec();
            put_section_to(&mut bytes, tag, &body);
            prop_assert_eq!(Packet::decode(&bytes), Ok(packet));
        }
    }

    fn put_section_to(bytes: &mut Vec<u8>, tag: u8, body: &[u8]) {
        bytes.push(tag);
        bytes.extend((body.len() as u16).to_be_bytes());
        bytes.extend(body);
    }

    pub(crate) fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn golden_bytes() {
        let number = 0x0102_0304;
        let mut probe = Packet::new(Leg::Probe { number });
        probe.digest = Some(0x1122_3344_5566_7788);
        assert_eq!(hex(&probe.encode()), "0101020304001000000200081122334455667788");

        probe.wants = Some(5);
        let wants = "0900080000000000000005";
        assert_eq!(
            hex(&probe.encode()),
            format!("0101020304001000000200081122334455667788{wants}")
        );

        let mut ack = Packet::new(Leg::Ack { number });
        ack.buckets = Some([7; BUCKETS]);
        assert_eq!(
            hex(&ack.encode()),
            format!("020102030400100000030040{}", "00000007".repeat(BUCKETS))
        );

        let target = NodeId::from_bytes([0xab; 16]);
        let request = Packet::new(Leg::ProbeRequest { number, target });
        assert_eq!(hex(&request.encode()), format!("030102030400100000{}", "ab".repeat(16)));

        let (from, to) = (NodeId::from_bytes([1; 16]), NodeId::from_bytes([2; 16]));
        let mut asks = Packet::new(Leg::Rest { number });
        asks.inventory = Some(Inventory { from, to, hashes: vec![8, 9] });
        let range = "01".repeat(16) + &"02".repeat(16);
        assert_eq!(hex(&asks.encode()), format!("040102030400100000040028{range}0000000800000009"));

        let mut rest = Packet::new(Leg::Rest { number });
        let addresses: Vec<SocketAddr> =
            ["10.0.0.1:7000".parse().unwrap(), "[2001:db8::1]:7001".parse().unwrap()].into();
        let addresses = addresses.try_into().unwrap();
        let credential = Bytes::from_static(b"me").try_into().unwrap();
        let suspect = entry(1, 9).as_standing(Standing::Suspect);
        let accuser = Some(Accuser::of(entry(2, 1).member.node));
        rest.entries = vec![Entry { addresses, credential, accuser, ..suspect }];
        let (node, life) = ("10".repeat(16), "01".repeat(16));
        let by = "0120202020";
        let places = "040a0000011b58 0620010db80000000000000000000000011b59".replace(' ', "");
        let golden =
            format!("04010203040010000001004b{node}{life}0000000000000009{by}02{places}026d65");
        assert_eq!(hex(&rest.encode()), golden);
    }

    #[test]
    fn each_fault_has_its_name() {
        let mut whole = Packet::new(Leg::Rest { number: 1 });
        whole.entries = vec![entry(1, 1)];
        let damaged = |at: usize, byte: u8| {
            let mut bytes = whole.encode().to_vec();
            bytes[at] = byte;
            Packet::decode(&bytes).expect_err("damaged")
        };
        let entry_at = LEG_LEN + SECTION_LEN;
        assert_eq!(damaged(0, 99), PacketError::UnknownLeg(99));
        assert_eq!(damaged(entry_at + 40, 4), PacketError::UnknownStanding(4));
        assert_eq!(damaged(entry_at + 41, 5), PacketError::Absurd(Absurd::Addresses(5)));
        assert_eq!(damaged(entry_at + 42, 5), PacketError::UnknownFamily(5));
        let generation = damaged(entry_at + 32, 0xff);
        assert!(matches!(generation, PacketError::Absurd(Absurd::Generation(_))));
        assert_eq!(damaged(entry_at + 49, 1), PacketError::Truncated);
        let credential = Bytes::from(vec![7; CREDENTIAL_BYTES_MAX]).try_into().unwrap();
        let mut long = Packet::new(Leg::Rest { number: 1 });
        long.entries = vec![Entry { credential, ..entry(1, 1) }, entry(2, 1)];
        let mut long = long.encode().to_vec();
        long[entry_at + 49] += 1;
        assert_eq!(Packet::decode(&long), Err(Absurd::Credential(129).into()));
        assert_eq!(Packet::decode(&whole.encode()[..20]), Err(PacketError::Truncated));
        let mut overlong = Packet::new(Leg::Probe { number: 1 }).encode().to_vec();
        put_section_to(&mut overlong, TAG_DIGEST, &[0; 9]);
        assert_eq!(Packet::decode(&overlong), Err(PacketError::Overlong));
    }

    #[test]
    fn a_packet_that_must_be_sent_fits_the_least_datagram() {
        let mut request =
            Packet::new(Leg::ProbeRequest { number: 1, target: entry(1, 1).member.node });
        request.digest = Some(1);
        assert_eq!(request.room(PACKET_LEN_MIN), 2 * ENTRY_LEN_MAX);
    }
}
