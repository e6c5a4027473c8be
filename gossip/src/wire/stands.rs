//! The section of overlays: who stands where.
//!
//! ```text
//!  tag 28, stands: object [16], count u8, then of each stand:
//!                  owner u64, life u16, age u16, how many u8, numbers f64 …;
//!                  and so on
//! ```
//!
//! An owner is the first half of his id: his whole id is among the members. The highest bit of a
//! count says that the sender *hurries*: he asks for as much as an answer has room for. An age is
//! the packet's round less the stand's stamp, 32,767 at most; its highest bit says that the owner
//! left. Numbers are finite; there are none if they are those of the owner's id, as they are where
//! a place of one's own means nothing.

use bytes::{Buf, BufMut, BytesMut};
use live_objects::overlay::Profile;
use live_objects::{NodeId, ObjectId};

use super::{PacketError, SECTION_LEN, put_section, take_array};
use crate::entry::Absurd;
use crate::stands::Stand;
use crate::zones::row::Round;

/// Stands, by overlay.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct StandsSection {
    /// The sender's round, which is the packet's.
    round: Round,
    pub(crate) told: Vec<ToldStands>,
}

/// What is told of one overlay.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ToldStands {
    pub(crate) object: ObjectId,
    /// Whether the sender wants to be told much.
    pub(crate) hurries: bool,
    pub(crate) stands: Vec<Stand>,
}

impl StandsSection {
    pub(crate) const fn new(round: Round) -> Self {
        Self { round, told: Vec::new() }
    }

    /// Of which round the packet is.
    pub(crate) const fn round(&self) -> Round {
        self.round
    }

    /// How many stands like this one of one more overlay there is room for.
    pub(crate) fn room(&self, len_max: usize, stand: &Stand) -> usize {
        let left = len_max.saturating_sub(self.section_len() + OBJECT_LEN);
        (left / stand_len(stand)).min(usize::from(COUNT_MAX))
    }

    pub(crate) fn section_len(&self) -> usize {
        let len = |told: &ToldStands| OBJECT_LEN + told.stands.iter().map(stand_len).sum::<usize>();
        SECTION_LEN + self.told.iter().map(len).sum::<usize>()
    }

    pub(super) fn put(&self, out: &mut BytesMut) {
        put_section(out, TAG_STANDS, self.section_len() - SECTION_LEN);
        for ToldStands { object, hurries, stands } in &self.told {
            out.put_slice(object.as_bytes());
            let count = u8::try_from(stands.len()).expect("a packet has room for fewer");
            assert!(count <= COUNT_MAX, "a packet has room for fewer");
            out.put_u8(if *hurries { count | HURRIES } else { count });
            stands.iter().for_each(|stand| self.put_stand(out, stand));
        }
    }

    fn put_stand(&self, out: &mut BytesMut, stand: &Stand) {
        out.put_u64(stand.owner);
        out.put_u16(stand.life);
        let age = self.round.since(stand.stamp.into()).min(AGE_MAX.into()) as u16;
        out.put_u16(if stand.is_withdrawn { age | WITHDRAWN } else { age });
        let numbers = numbers(stand);
        out.put_u8(numbers.len() as u8);
        numbers.iter().for_each(|number| out.put_f64(*number));
    }

    /// Reads the section of a packet of this round.
    pub(super) fn take(bytes: &mut &[u8], round: Round) -> Result<Self, PacketError> {
        let mut section = Self::new(round);
        while !bytes.is_empty() {
            let object = ObjectId::from_bytes(take_array(bytes)?);
            let count = bytes.try_get_u8()?;
            let hurries = count & HURRIES != 0;
            let stands = (0..count & COUNT_MAX)
                .map(|_| take_stand(bytes, round))
                .collect::<Result<_, _>>()?;
            section.told.push(ToldStands { object, hurries, stands });
        }
        Ok(section)
    }
}

fn take_stand(bytes: &mut &[u8], round: Round) -> Result<Stand, PacketError> {
    let owner = bytes.try_get_u64()?;
    let life = bytes.try_get_u16()?;
    let age = bytes.try_get_u16()?;
    let count = usize::from(bytes.try_get_u8()?);
    let mut numbers = [0.0; Profile::NUMBERS_MAX];
    let numbers = numbers.get_mut(..count).ok_or(Absurd::Profile)?;
    for number in &mut *numbers {
        *number = bytes.try_get_f64()?;
    }
    let profile = match Profile::new(numbers) {
        Ok(profile) => profile,
        Err(_) if count == 0 => of_id(owner),
        Err(_) => return Err(Absurd::Profile.into()),
    };
    let stamp = round.shifted(-i64::from(age & AGE_MAX));
    Ok(Stand { owner, life, stamp, profile, is_withdrawn: age & WITHDRAWN != 0 })
}

fn stand_len(stand: &Stand) -> usize {
    STAND_LEN_MIN + numbers(stand).len() * NUMBER_LEN
}

/// Those of its numbers that are told.
fn numbers(stand: &Stand) -> &[f64] {
    if stand.profile == of_id(stand.owner) { &[] } else { stand.profile.numbers() }
}

/// Where a member stands by its id, whose first half is enough for that.
fn of_id(owner: u64) -> Profile {
    let id = u128::from(owner) << 64;
    Profile::of_node(NodeId::from_bytes(id.to_be_bytes()))
}

pub(super) const TAG_STANDS: u8 = 28;

/// What an overlay takes beside its stands.
const OBJECT_LEN: usize = ObjectId::LEN + 1;

/// What a stand takes beside its numbers.
const STAND_LEN_MIN: usize = 8 + 2 + 2 + 1;
const NUMBER_LEN: usize = 8;

/// The longest stand.
pub(crate) const STAND_LEN_MAX: usize = STAND_LEN_MIN + Profile::NUMBERS_MAX * NUMBER_LEN;

const HURRIES: u8 = 0x80;
const COUNT_MAX: u8 = 0x7f;

/// The highest age that can be told.
pub(crate) const AGE_MAX: u16 = 0x7fff;
const WITHDRAWN: u16 = 0x8000;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::stands::tests::stands;
    use crate::wire::{Leg, Packet};
    use crate::zones::row::tests::round;
    use proptest::prelude::*;

    /// A section of a packet of this round.
    pub(crate) fn sections(of: Round) -> impl Strategy<Value = StandsSection> {
        let stands = prop::collection::vec(stands(of), 0..5);
        let told = (any::<[u8; 16]>().prop_map(ObjectId::from_bytes), any::<bool>(), stands)
            .prop_map(|(object, hurries, stands)| ToldStands { object, hurries, stands });
        prop::collection::vec(told, 0..4).prop_map(move |told| StandsSection { round: of, told })
    }

    fn stand() -> Stand {
        Stand {
            owner: 0xcdcd_cdcd_cdcd_cdcd,
            life: 0x0102,
            stamp: round(300 - 4),
            profile: Profile::new(&[1.0]).unwrap(),
            is_withdrawn: false,
        }
    }

    fn packet(hurries: bool, stands: Vec<Stand>) -> Packet {
        let object = ObjectId::from_bytes([0xab; 16]);
        let told = vec![ToldStands { object, hurries, stands }];
        let mut packet = Packet::new(Leg::Ack { number: 1 });
        packet.round = round(300);
        packet.stands = Some(StandsSection { round: round(300), told });
        packet
    }

    #[test]
    fn golden_bytes() {
        let left =
            Stand { profile: Profile::new(&[0.5, -2.0]).unwrap(), is_withdrawn: true, ..stand() };
        let by_id = Stand { profile: of_id(stand().owner), ..stand() };
        let bytes = packet(true, vec![stand(), left, by_id]).encode();
        let bytes: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let (object, owner) = ("ab".repeat(16), "cd".repeat(8));
        let golden = format!(
            "02000000010000012c 1c 0050 {object} 83 \
             {owner} 0102 0004 01 3ff0000000000000 \
             {owner} 0102 8004 02 3fe0000000000000 c000000000000000 \
             {owner} 0102 0004 00"
        );
        assert_eq!(bytes, golden.replace(' ', ""));
    }

    #[test]
    fn room_is_for_so_many() {
        let section = packet(false, vec![stand(); 2]).stands.unwrap();
        let room = |more: usize| section.room(section.section_len() + OBJECT_LEN + more, &stand());
        assert_eq!([0, 20, 21, 42].map(room), [0, 0, 1, 2]);
        assert_eq!((section.room(0, &stand()), section.room(usize::MAX, &stand())), (0, 127));
    }

    #[test]
    fn each_fault_has_its_name() {
        let bytes = packet(false, vec![stand()]).encode();
        let damaged = |at: usize, with: &[u8]| {
            let mut damaged = bytes.to_vec();
            damaged[at..at + with.len()].copy_from_slice(with);
            Packet::decode(&damaged).expect_err("damaged")
        };
        let numbers_at = bytes.len() - NUMBER_LEN;
        for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(damaged(numbers_at, &number.to_be_bytes()), Absurd::Profile.into());
        }
        assert_eq!(damaged(numbers_at - 1, &[0]), PacketError::Truncated);
        assert_eq!(damaged(numbers_at - 1, &[5]), Absurd::Profile.into());
        assert_eq!(damaged(numbers_at - 1, &[2]), PacketError::Truncated);
        assert_eq!(damaged(numbers_at - STAND_LEN_MIN - 1, &[2]), PacketError::Truncated);
    }

    proptest! {
        #[test]
        fn reads_what_it_wrote(
            section in (0..=u64::from(Round::MAX)).prop_flat_map(|of| sections(round(of))),
        ) {
            let mut packet = Packet { round: section.round, ..packet(false, Vec::new()) };
            packet.stands = Some(section);
            let bytes = packet.encode();
            prop_assert_eq!(bytes.len(), packet.encoded_len());
            prop_assert_eq!(Packet::decode(&bytes), Ok(packet));
        }

        #[test]
        fn never_panics(body: Vec<u8>, at: u64) {
            let _ = StandsSection::take(&mut &body[..], round(at % (1 << 32)));
        }
    }
}
