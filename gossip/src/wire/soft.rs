//! The section of soft states: what the sender has of them, in few bytes. And the messages that go
//! along the tree for them.
//!
//! ```text
//!  tag 40, soft states: fold u64, and of some objects: first half of the id u64, digest u64 …
//!
//!  a message: 0 u8, a delta; or 1 u8, of some writes the author [8] and the number, by postcard
//! ```
//!
//! The fold is of all that the sender has, so that two who have the same need say no more.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use live_objects::soft::{Author, Dot, Store};

use super::{PacketError, SECTION_LEN, put_section};
use crate::news::MESSAGE_BYTES_MAX;

/// What the sender has of soft states.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SoftSection {
    /// Of all that it has open.
    pub(crate) fold: u64,
    /// Of some of them: the first half of the object's id, and the state's digest.
    pub(crate) listed: Vec<(u64, u64)>,
}

impl SoftSection {
    /// How many objects a section that may be so long can list.
    pub(crate) const fn room(len_max: usize) -> usize {
        len_max.saturating_sub(SECTION_LEN + FOLD_LEN) / LISTED_LEN
    }

    pub(crate) const fn section_len(&self) -> usize {
        SECTION_LEN + self.len()
    }

    const fn len(&self) -> usize {
        FOLD_LEN + self.listed.len() * LISTED_LEN
    }

    pub(super) fn put(&self, out: &mut BytesMut) {
        put_section(out, TAG_SOFT, self.len());
        out.put_u64(self.fold);
        for (object, digest) in &self.listed {
            out.put_u64(*object);
            out.put_u64(*digest);
        }
    }

    pub(super) fn take(body: &mut &[u8]) -> Result<Self, PacketError> {
        let fold = body.try_get_u64()?;
        let mut listed = Vec::new();
        while !body.is_empty() {
            listed.push((body.try_get_u64()?, body.try_get_u64()?));
        }
        Ok(Self { fold, listed })
    }
}

/// What is said of a soft state along the tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Said {
    /// This is new.
    Delta(Store),
    /// These writes are new, and too long to be told so: who wants them asks.
    Beyond(Vec<Dot>),
}

impl Said {
    /// The most writes that are told of without what was written.
    pub(crate) const BEYOND_MAX: usize = 50;

    /// A delta in pieces of which each makes a message.
    pub(crate) fn pieces(delta: &Store) -> impl Iterator<Item = Bytes> {
        let pieces = delta.pieces(MESSAGE_BYTES_MAX - 1).into_iter();
        pieces.map(|piece| tagged(SAID_DELTA, &piece))
    }

    /// A message that tells of these, [`Said::BEYOND_MAX`] at most.
    pub(crate) fn beyond(dots: &[Dot]) -> Bytes {
        let flat: Vec<(Author, u64)> = dots.iter().map(|dot| (dot.author, dot.number)).collect();
        let bytes = postcard::to_allocvec(&flat).expect("memory takes every message");
        let message = tagged(SAID_BEYOND, &bytes);
        assert!(message.len() <= MESSAGE_BYTES_MAX, "{} writes are too many", dots.len());
        message
    }

    /// Reads a message, if it is one.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (tag, body) = bytes.split_first()?;
        match *tag {
            SAID_DELTA => Some(Self::Delta(Store::decode(body).ok()?)),
            SAID_BEYOND => {
                let (flat, rest): (Vec<(Author, u64)>, _) = postcard::take_from_bytes(body).ok()?;
                let dots = flat.into_iter().map(|(author, number)| Dot { author, number });
                rest.is_empty().then(|| Self::Beyond(dots.take(Self::BEYOND_MAX).collect()))
            }
            _ => None,
        }
    }
}

fn tagged(tag: u8, body: &[u8]) -> Bytes {
    [&[tag], body].concat().into()
}

const SAID_DELTA: u8 = 0;
const SAID_BEYOND: u8 = 1;

pub(super) const TAG_SOFT: u8 = 40;

/// The shortest section.
pub(crate) const SOFT_SECTION_LEN_MIN: usize = SECTION_LEN + FOLD_LEN;

const FOLD_LEN: usize = 8;

/// What an object takes in the list.
const LISTED_LEN: usize = 8 + 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tests::hex;
    use crate::wire::{Leg, Packet};
    use live_objects::soft::{Holder, Set};
    use proptest::prelude::*;

    fn packet(fold: u64, listed: Vec<(u64, u64)>) -> Packet {
        Packet { soft: Some(SoftSection { fold, listed }), ..Packet::new(Leg::Push) }
    }

    #[test]
    fn golden_bytes() {
        let golden = "10000000000010000028001800000000000000070000000000000001ff00000000000002";
        let bytes = packet(7, vec![(1, 0xff00_0000_0000_0002)]).encode();
        assert_eq!(hex(&bytes), golden);
        for cut in [1, 8, 17, 23] {
            let mut cut_off = bytes[..bytes.len() - cut].to_vec();
            cut_off[11] -= cut as u8;
            assert_eq!(Packet::decode(&cut_off).err(), Some(PacketError::Truncated), "{cut}");
        }
    }

    #[test]
    fn what_is_said_is_read_and_nothing_else() {
        let dots: Vec<Dot> = (0..Said::BEYOND_MAX as u64)
            .map(|number| Dot { author: Author::new(!number), number: u64::MAX - number })
            .collect();
        assert_eq!(Said::decode(&Said::beyond(&dots)), Some(Said::Beyond(dots)));
        let one = Said::beyond(&[Dot { author: Author::new(7), number: 3 }]);
        assert_eq!(hex(&one), "0101000000000000000703");
        for junk in [&one[..0], &one[..9], &[0, 1], &[2, 0, 0], &[&one[..], &[0]].concat()] {
            assert_eq!(Said::decode(junk), None, "{junk:?}");
        }
        let mut holder = Holder::<Set<u32>>::new(Author::new(1));
        for item in 0..200 {
            let ((), delta) = holder.write(|items, writer| items.insert(writer, &item)).unwrap();
            holder.merge(&delta);
        }
        let mut all = Store::default();
        for message in Said::pieces(holder.store()) {
            assert!(message.len() <= MESSAGE_BYTES_MAX);
            let Some(Said::Delta(delta)) = Said::decode(&message) else { panic!("{message:?}") };
            all.merge(&delta);
        }
        assert_eq!(all, *holder.store());
    }

    proptest! {
        #[test]
        fn it_is_read_as_written(
            fold: u64,
            listed in prop::collection::vec(any::<(u64, u64)>(), 0..40),
        ) {
            let said = packet(fold, listed.clone());
            let bytes = said.encode();
            prop_assert_eq!(bytes.len(), said.encoded_len());
            prop_assert_eq!(Packet::decode(&bytes), Ok(said.clone()));
            let len = said.soft.map_or(0, |soft| soft.section_len());
            prop_assert_eq!(SoftSection::room(len), listed.len());
        }
    }
}
