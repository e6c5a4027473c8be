//! The sections of the nearest: where the sender stands, and who offers itself.
//!
//! ```text
//!  tag 24, place:  attempt u8, coordinate
//!  tag 25, offers: object [16], count u8, then of each offer:
//!                  owner [16], life u16, age u16, coordinate, load f32, unless it is withdrawn;
//!                  and so on
//!  coordinate:     axes i16 × 4, height u16, error u8
//! ```
//!
//! A probe is repeated while it is not answered, so its answer repeats which *attempt* it was that
//! is answered: else nobody could tell how long that took (as TCP's timestamps do: RFC 7323,
//! section 4). 0 is no attempt whose answer is timed. An age is the packet's round less the offer's
//! stamp, 32,767 at most; its highest bit says that the offer is withdrawn.

use bytes::{Buf, BufMut, BytesMut};
use live_objects::{Load, NodeId, ObjectId};

use super::{PacketError, SECTION_LEN, put_section, take_array};
use crate::coordinate::{Coordinate, DIMENSIONS};
use crate::entry::Absurd;
use crate::offers::Offer;
use crate::zones::row::Round;

/// Where the sender of a packet stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Standpoint {
    /// Which attempt a probe is, or an ack answers.
    pub(crate) attempt: u8,
    pub(crate) coordinate: Coordinate,
}

impl Standpoint {
    pub(super) fn put(&self, out: &mut BytesMut) {
        put_section(out, TAG_PLACE, PLACE_SECTION_LEN - SECTION_LEN);
        out.put_u8(self.attempt);
        put_coordinate(out, &self.coordinate);
    }

    pub(super) fn take(bytes: &mut &[u8]) -> Result<Self, PacketError> {
        Ok(Self { attempt: bytes.try_get_u8()?, coordinate: take_coordinate(bytes)? })
    }
}

/// Offers, by object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct OffersSection {
    /// The sender's round, which is the packet's.
    round: Round,
    pub(crate) told: Vec<(ObjectId, Vec<Offer>)>,
}

impl OffersSection {
    pub(crate) const fn new(round: Round) -> Self {
        Self { round, told: Vec::new() }
    }

    /// Of which round the packet is.
    pub(crate) const fn round(&self) -> Round {
        self.round
    }

    /// How many offers of one more object there is room for.
    pub(crate) fn room(&self, len_max: usize) -> usize {
        let room = len_max.saturating_sub(self.section_len() + OBJECT_LEN) / OFFER_LEN_MAX;
        room.min(usize::from(u8::MAX))
    }

    pub(crate) fn section_len(&self) -> usize {
        let len = |offers: &Vec<Offer>| OBJECT_LEN + offers.iter().map(offer_len).sum::<usize>();
        SECTION_LEN + self.told.iter().map(|(_, offers)| len(offers)).sum::<usize>()
    }

    pub(super) fn put(&self, out: &mut BytesMut) {
        put_section(out, TAG_OFFERS, self.section_len() - SECTION_LEN);
        for (object, offers) in &self.told {
            out.put_slice(object.as_bytes());
            out.put_u8(u8::try_from(offers.len()).expect("a packet has room for fewer"));
            offers.iter().for_each(|offer| self.put_offer(out, offer));
        }
    }

    fn put_offer(&self, out: &mut BytesMut, offer: &Offer) {
        out.put_slice(offer.owner.as_bytes());
        out.put_u16(offer.life);
        let age = self.round.since(offer.stamp.into()).min(AGE_MAX.into()) as u16;
        out.put_u16(if offer.load.is_some() { age } else { age | WITHDRAWN });
        put_coordinate(out, &offer.coordinate);
        if let Some(load) = offer.load {
            out.put_f32(load.number());
        }
    }

    /// Reads the section of a packet of this round.
    pub(super) fn take(bytes: &mut &[u8], round: Round) -> Result<Self, PacketError> {
        let mut section = Self::new(round);
        while !bytes.is_empty() {
            let object = ObjectId::from_bytes(take_array(bytes)?);
            let count = bytes.try_get_u8()?;
            let offers = (0..count).map(|_| take_offer(bytes, round)).collect::<Result<_, _>>()?;
            section.told.push((object, offers));
        }
        Ok(section)
    }
}

fn take_offer(bytes: &mut &[u8], round: Round) -> Result<Offer, PacketError> {
    let owner = NodeId::from_bytes(take_array(bytes)?);
    let life = bytes.try_get_u16()?;
    let age = bytes.try_get_u16()?;
    let coordinate = take_coordinate(bytes)?;
    let stamp = round.shifted(-i64::from(age & AGE_MAX));
    let load = if age & WITHDRAWN == 0 {
        Some(Load::new(bytes.try_get_f32()?).map_err(|_| Absurd::Load)?)
    } else {
        None
    };
    Ok(Offer { owner, life, stamp, coordinate, load })
}

const fn offer_len(offer: &Offer) -> usize {
    if offer.load.is_some() { OFFER_LEN_MAX } else { OFFER_LEN_MAX - LOAD_LEN }
}

fn put_coordinate(out: &mut BytesMut, coordinate: &Coordinate) {
    coordinate.axes.iter().for_each(|axis| out.put_i16(*axis));
    out.put_u16(coordinate.height);
    out.put_u8(coordinate.error);
}

fn take_coordinate(bytes: &mut &[u8]) -> Result<Coordinate, PacketError> {
    let mut axes = [0; DIMENSIONS];
    for axis in &mut axes {
        *axis = bytes.try_get_i16()?;
    }
    Ok(Coordinate { axes, height: bytes.try_get_u16()?, error: bytes.try_get_u8()? })
}

pub(super) const TAG_PLACE: u8 = 24;
pub(super) const TAG_OFFERS: u8 = 25;

const COORDINATE_LEN: usize = 2 * DIMENSIONS + 2 + 1;

/// What the sender's place takes.
pub(crate) const PLACE_SECTION_LEN: usize = SECTION_LEN + 1 + COORDINATE_LEN;

/// What an object takes beside its offers.
const OBJECT_LEN: usize = ObjectId::LEN + 1;
const LOAD_LEN: usize = 4;

/// The longest offer.
pub(crate) const OFFER_LEN_MAX: usize = NodeId::LEN + 2 + 2 + COORDINATE_LEN + LOAD_LEN;

/// The highest age that can be told.
pub(crate) const AGE_MAX: u16 = 0x7fff;
const WITHDRAWN: u16 = 0x8000;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::coordinate::tests::coordinates;
    use crate::offers::tests::offers;
    use crate::wire::{Leg, Packet};
    use crate::zones::row::tests::round;
    use proptest::prelude::*;

    pub(crate) fn standpoints() -> impl Strategy<Value = Standpoint> {
        (any::<u8>(), coordinates())
            .prop_map(|(attempt, coordinate)| Standpoint { attempt, coordinate })
    }

    /// A section of a packet of this round.
    pub(crate) fn sections(of: Round) -> impl Strategy<Value = OffersSection> {
        let offers = prop::collection::vec(offers(of), 0..5);
        let told = (any::<[u8; 16]>().prop_map(ObjectId::from_bytes), offers);
        prop::collection::vec(told, 0..4).prop_map(move |told| OffersSection { round: of, told })
    }

    fn offer() -> Offer {
        Offer {
            owner: NodeId::from_bytes([0xcd; 16]),
            life: 0x0102,
            stamp: round(300 - 4),
            coordinate: Coordinate { axes: [1, -1, 32, 0], height: 64, error: 25 },
            load: Load::new(1.5).ok(),
        }
    }

    fn packet() -> Packet {
        let mut packet = Packet::new(Leg::Ack { number: 1 });
        packet.round = round(300);
        packet
    }

    #[test]
    fn golden_bytes() {
        let mut ack = packet();
        let coordinate = offer().coordinate;
        ack.standpoint = Some(Standpoint { attempt: 2, coordinate });
        let withdrawn = Offer { load: None, ..offer() };
        let mut section = OffersSection::new(round(300));
        section.told.push((ObjectId::from_bytes([0xab; 16]), vec![offer(), withdrawn]));
        ack.offers = Some(section);
        let bytes: String = ack.encode().iter().map(|byte| format!("{byte:02x}")).collect();
        let (object, owner) = ("ab".repeat(16), "cd".repeat(16));
        let place = "0001ffff00200000 0040 19";
        let golden = format!(
            "02000000010000012c 18 000c 02 {place} 19 0053 {object} 02 \
             {owner} 0102 0004 {place} 3fc00000 {owner} 0102 8004 {place}"
        );
        assert_eq!(bytes, golden.replace(' ', ""));
    }

    #[test]
    fn room_is_for_so_many() {
        let mut section = OffersSection::new(round(300));
        let object = ObjectId::from_bytes([1; 16]);
        section.told.push((object, vec![offer(); 2]));
        let room = |more: usize| section.room(section.section_len() + OBJECT_LEN + more);
        assert_eq!([0, OFFER_LEN_MAX - 1, OFFER_LEN_MAX].map(room), [0, 0, 1]);
        assert_eq!((section.room(0), section.room(usize::MAX)), (0, 255));
    }

    #[test]
    fn each_fault_has_its_name() {
        let mut section = OffersSection::new(round(300));
        section.told.push((ObjectId::from_bytes([1; 16]), vec![offer()]));
        let mut ack = packet();
        ack.offers = Some(section);
        let bytes = ack.encode();
        let load_at = bytes.len() - LOAD_LEN;
        for load in [f32::NAN, f32::INFINITY, -1.0] {
            let damaged = [&bytes[..load_at], &load.to_be_bytes()].concat();
            assert_eq!(Packet::decode(&damaged), Err(Absurd::Load.into()));
        }
        let count_at = bytes.len() - OFFER_LEN_MAX - 1;
        let mut more = bytes.to_vec();
        more[count_at] = 2;
        assert_eq!(Packet::decode(&more), Err(PacketError::Truncated));
    }

    proptest! {
        #[test]
        fn reads_what_it_wrote(
            standpoint in prop::option::of(standpoints()),
            section in (0..=u64::from(Round::MAX)).prop_flat_map(|of| sections(round(of))),
        ) {
            let mut packet = Packet { round: section.round, standpoint, ..packet() };
            packet.offers = Some(section);
            let bytes = packet.encode();
            prop_assert_eq!(bytes.len(), packet.encoded_len());
            prop_assert_eq!(Packet::decode(&bytes), Ok(packet));
        }

        #[test]
        fn never_panics(body: Vec<u8>, at: u64) {
            let _ = OffersSection::take(&mut &body[..], round(at % (1 << 32)));
            let _ = Standpoint::take(&mut &body[..]);
        }
    }
}
