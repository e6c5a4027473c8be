//! The sections of a packet that carry what applications say, beside what is said of members.
//!
//! ```text
//!  tag 16, messages: reach u8, origin [16], incarnation [16], number v, topic [6], length v,
//!                    bytes …
//!  tag 17, records:  object [16], publisher [16], incarnation [16], version u64, state u8
//!                    (0 withdrawn, 1 published), length of the key u16, of the value u16, key,
//!                    value …
//!  tag 18, digest of claims:  u64, whether no news of them is under way u8
//!  tag 19, haves:    short hash of a message u32 …
//!  tag 20, wants:    short hash of a message u32 …
//!  tag 21, announcements:  as of tag 16, but for the bytes a hash of them, [16]
//!  tag 22, digest of entries: depth u8, and as of claims
//!  tag 23, messages in short: as of tag 16, of the origin 5 bytes and of the incarnation 2
//! ```
//!
//! v is a number as in `live_objects::varint`.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use live_objects::varint::{put_varint, take_varint, varint_len};
use live_objects::{Incarnation, Member, NodeId, ObjectId};

use super::{HASH_LEN, Naming, PacketError, SECTION_LEN, put_section, take_array};
use crate::news::{
    Announcement, Content, MESSAGE_BYTES_MAX, Origin, Pushed, Reach, SHORT_INCARNATION_LEN,
    SHORT_NODE_LEN, Topic,
};
use crate::records::{Record, RecordKey, RecordsDigest, Version};

/// What a message takes beside its bytes, at most.
pub(crate) const MESSAGE_HEAD_LEN_MAX: usize =
    1 + NodeId::LEN + Incarnation::LEN + 10 + Topic::LEN + 2;

/// The shortest record.
pub(crate) const RECORD_LEN_MIN: usize =
    ObjectId::LEN + NodeId::LEN + Incarnation::LEN + 8 + 1 + 2 + 2;

/// What the longest digest of records takes.
pub(crate) const RECORDS_DIGEST_SECTION_LEN: usize = SECTION_LEN + 1 + RECORDS_DIGEST_LEN;

/// What a packet says for applications.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct NewsSections {
    /// Those in full, then those in short, then those that are announced.
    pub(crate) messages: Vec<Pushed>,
    pub(crate) records: Vec<Record>,
    /// Of the claims of names.
    pub(crate) claims: Option<RecordsDigest>,
    /// Of what the sender's group keeps, and by how many bits it names that.
    pub(crate) entries: Option<(u8, RecordsDigest)>,
    /// Which messages the sender has that the receiver may lack.
    pub(crate) haves: Vec<u32>,
    /// Which messages the sender lacks that the receiver said that it has.
    pub(crate) wants: Vec<u32>,
}

impl NewsSections {
    pub(super) const NONE: Self = Self {
        messages: Vec::new(),
        records: Vec::new(),
        claims: None,
        entries: None,
        haves: Vec::new(),
        wants: Vec::new(),
    };

    /// Whether a section of this tag is one of these.
    pub(super) const fn has(tag: u8) -> bool {
        matches!(tag, TAG_MESSAGES..=TAG_SHORT_MESSAGES)
    }

    pub(super) fn encoded_len(&self) -> usize {
        let section = |len: usize| if len == 0 { 0 } else { SECTION_LEN + len };
        let claims = self.claims.map_or(0, |_| RECORDS_DIGEST_LEN);
        let entries = self.entries.map_or(0, |_| 1 + RECORDS_DIGEST_LEN);
        let digests = section(claims) + section(entries);
        let hashes = section(self.haves.len() * HASH_LEN) + section(self.wants.len() * HASH_LEN);
        let messages: usize = FORMS.iter().map(|form| section(self.messages_len(*form))).sum();
        messages + section(self.records_len()) + digests + hashes
    }

    pub(super) fn put(&self, out: &mut BytesMut) {
        for form in FORMS {
            let len = self.messages_len(form);
            if len > 0 {
                put_section(out, form, len);
                self.messages_of(form).for_each(|pushed| put_message(out, pushed));
            }
        }
        if !self.records.is_empty() {
            put_section(out, TAG_RECORDS, self.records_len());
            self.records.iter().for_each(|record| put_record(out, record));
        }
        if let Some(digest) = self.claims {
            put_section(out, TAG_CLAIMS_DIGEST, RECORDS_DIGEST_LEN);
            put_digest(out, digest);
        }
        if let Some((depth, digest)) = self.entries {
            put_section(out, TAG_ENTRIES_DIGEST, 1 + RECORDS_DIGEST_LEN);
            out.put_u8(depth);
            put_digest(out, digest);
        }
        for (tag, hashes) in [(TAG_HAVES, &self.haves), (TAG_WANTS, &self.wants)] {
            if !hashes.is_empty() {
                put_section(out, tag, hashes.len() * HASH_LEN);
                hashes.iter().for_each(|hash| out.put_u32(*hash));
            }
        }
    }

    /// Reads the section of a tag that is one of these.
    pub(super) fn take(&mut self, tag: u8, body: &mut &[u8]) -> Result<(), PacketError> {
        if tag == TAG_CLAIMS_DIGEST {
            self.claims = Some(take_digest(body)?);
            return Ok(());
        }
        if tag == TAG_ENTRIES_DIGEST {
            self.entries = Some((body.try_get_u8()?, take_digest(body)?));
            return Ok(());
        }
        while !body.is_empty() {
            match tag {
                TAG_MESSAGES | TAG_SHORT_MESSAGES | TAG_ANNOUNCEMENTS => {
                    self.messages.push(take_message(body, tag)?);
                }
                TAG_RECORDS => self.records.push(take_record(body)?),
                TAG_HAVES => self.haves.push(body.try_get_u32()?),
                _ => self.wants.push(body.try_get_u32()?),
            }
        }
        Ok(())
    }

    fn messages_of(&self, form: u8) -> impl Iterator<Item = &Pushed> {
        self.messages.iter().filter(move |pushed| form_of(pushed) == form)
    }

    fn messages_len(&self, form: u8) -> usize {
        self.messages_of(form).map(Pushed::encoded_len).sum()
    }

    fn records_len(&self) -> usize {
        self.records.iter().map(Record::encoded_len).sum()
    }
}

impl Pushed {
    /// How long it is when written.
    pub(crate) fn encoded_len(&self) -> usize {
        let origin = match self.origin {
            Origin::InFull(_) => NodeId::LEN + Incarnation::LEN,
            Origin::Short { .. } => SHORT_NODE_LEN + SHORT_INCARNATION_LEN,
        };
        let len = varint_len(self.content.len() as u64) + self.content.told_len();
        1 + origin + varint_len(self.number) + Topic::LEN + len
    }
}

/// The tag of the section that a message is in.
const fn form_of(pushed: &Pushed) -> u8 {
    match (&pushed.content, pushed.origin.naming()) {
        (Content::Announced(_), _) => TAG_ANNOUNCEMENTS,
        (Content::Whole(_), Naming::InFull) => TAG_MESSAGES,
        (Content::Whole(_), Naming::Short) => TAG_SHORT_MESSAGES,
    }
}

impl Record {
    /// How long it is when written.
    pub(crate) fn encoded_len(&self) -> usize {
        RECORD_LEN_MIN + self.len()
    }
}

fn put_message(out: &mut BytesMut, pushed: &Pushed) {
    out.put_u8(pushed.reach.into());
    match &pushed.origin {
        Origin::InFull(member) => put_member(out, *member),
        Origin::Short { node, incarnation } => {
            out.put_slice(node);
            out.put_slice(incarnation);
        }
    }
    put_varint(out, pushed.number);
    out.put_uint(pushed.topic.into(), Topic::LEN);
    put_varint(out, pushed.content.len() as u64);
    match &pushed.content {
        Content::Whole(bytes) => out.put_slice(bytes),
        Content::Announced(announcement) => out.put_slice(announcement.hash()),
    }
}

fn put_record(out: &mut BytesMut, record: &Record) {
    let RecordKey { object, key, .. } = &record.key;
    out.put_slice(object.as_bytes());
    put_member(out, record.member());
    out.put_u64(record.version.into());
    out.put_u8(record.value.is_some().into());
    let value = record.value.as_deref().unwrap_or_default();
    put_len(out, key.len());
    put_len(out, value.len());
    out.put_slice(key);
    out.put_slice(value);
}

fn put_digest(out: &mut BytesMut, RecordsDigest { total, is_quiet }: RecordsDigest) {
    out.put_u64(total);
    out.put_u8(is_quiet.into());
}

fn take_digest(body: &mut &[u8]) -> Result<RecordsDigest, PacketError> {
    Ok(RecordsDigest { total: body.try_get_u64()?, is_quiet: body.try_get_u8()? != 0 })
}

fn put_member(out: &mut BytesMut, member: Member) {
    out.put_slice(member.node.as_bytes());
    out.put_slice(member.incarnation.as_bytes());
}

fn put_len(out: &mut BytesMut, len: usize) {
    out.put_u16(u16::try_from(len).expect("what goes into a packet is shorter"));
}

fn take_message(bytes: &mut &[u8], form: u8) -> Result<Pushed, PacketError> {
    let reach = Reach::try_from(bytes.try_get_u8()?)?;
    let origin = if form == TAG_SHORT_MESSAGES {
        Origin::Short { node: take_array(bytes)?, incarnation: take_array(bytes)? }
    } else {
        Origin::InFull(take_member(bytes)?)
    };
    let number = take_varint(bytes)?;
    let topic = Topic::from(bytes.try_get_uint(Topic::LEN)?);
    let len = usize::try_from(take_varint(bytes)?).unwrap_or(usize::MAX);
    let content = if form == TAG_ANNOUNCEMENTS {
        let announcement = Announcement::new(len, take_array(bytes)?);
        Content::Announced(announcement.ok_or(PacketError::LongMessage(len))?)
    } else if len > MESSAGE_BYTES_MAX {
        return Err(PacketError::LongMessage(len));
    } else {
        Content::Whole(take_bytes(bytes, len)?)
    };
    Ok(Pushed { origin, number, topic, content, reach })
}

fn take_record(bytes: &mut &[u8]) -> Result<Record, PacketError> {
    let object = ObjectId::from_bytes(take_array(bytes)?);
    let Member { node: publisher, incarnation } = take_member(bytes)?;
    let version = Version::try_from(bytes.try_get_u64()?)?;
    let is_published = bytes.try_get_u8()? != 0;
    let key_len = usize::from(bytes.try_get_u16()?);
    let value_len = usize::from(bytes.try_get_u16()?);
    let key = RecordKey { object, key: take_bytes(bytes, key_len)?, publisher };
    let value = take_bytes(bytes, value_len)?;
    if !is_published && !value.is_empty() {
        return Err(PacketError::Overlong);
    }
    let value = is_published.then_some(value);
    Ok(Record { key, incarnation, version, value }.checked()?)
}

fn take_member(bytes: &mut &[u8]) -> Result<Member, PacketError> {
    let node = NodeId::from_bytes(take_array(bytes)?);
    Ok(Member { node, incarnation: Incarnation::from_bytes(take_array(bytes)?) })
}

fn take_bytes(bytes: &mut &[u8], len: usize) -> Result<Bytes, PacketError> {
    bytes.split_off(..len).map(Bytes::copy_from_slice).ok_or(PacketError::Truncated)
}

const TAG_MESSAGES: u8 = 16;
const TAG_RECORDS: u8 = 17;
const TAG_CLAIMS_DIGEST: u8 = 18;
const TAG_HAVES: u8 = 19;
const TAG_WANTS: u8 = 20;
const TAG_ANNOUNCEMENTS: u8 = 21;
const TAG_ENTRIES_DIGEST: u8 = 22;
const TAG_SHORT_MESSAGES: u8 = 23;

/// The sections of messages, in the order in which they are written.
const FORMS: [u8; 3] = [TAG_MESSAGES, TAG_SHORT_MESSAGES, TAG_ANNOUNCEMENTS];

const RECORDS_DIGEST_LEN: usize = 8 + 1;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::entry::Absurd;
    use crate::news::tests::{message, pushes};
    use crate::records::RECORD_BYTES_MAX;
    use crate::records::tests::{record, records};
    use crate::wire::{Leg, PACKET_LEN_MAX, Packet, tests::hex};
    use proptest::prelude::*;

    /// Any sections at all.
    pub(crate) fn sections() -> impl Strategy<Value = NewsSections> {
        let messages = prop::collection::vec(pushes(), 0..4);
        let digest =
            || any::<(u64, bool)>().prop_map(|(total, is_quiet)| RecordsDigest { total, is_quiet });
        let digests = (prop::option::of(digest()), prop::option::of((any::<u8>(), digest())));
        let hashes = any::<[Vec<u32>; 2]>();
        (messages, prop::collection::vec(records(), 0..4), digests, hashes).prop_map(
            |(mut messages, records, (claims, entries), [haves, wants])| {
                // They are read as they are written.
                let place = |form| FORMS.iter().position(|other| *other == form);
                messages.sort_by_key(|pushed: &Pushed| place(form_of(pushed)));
                NewsSections { messages, records, claims, entries, haves, wants }
            },
        )
    }

    fn packet(sections: NewsSections) -> Packet {
        Packet { news: sections, ..Packet::new(Leg::Push) }
    }

    /// A message that goes no further than its receiver.
    fn said() -> NewsSections {
        let pushed = Pushed::new(&message(1, 7, b"hi"), Reach::NONE, Naming::InFull);
        NewsSections { messages: vec![pushed], ..NewsSections::default() }
    }

    #[test]
    fn golden_bytes() {
        let mut said = said();
        said.messages.push(Pushed::new(&message(1, 300, b"hi"), Reach::ALL, Naming::Short));
        let [ten, one, three] = ["10", "01", "03"].map(|byte| byte.repeat(16));
        let number = |number: u64| format!("{number:016x}");
        let digest = RecordsDigest { total: 9, is_quiet: true };
        let (claims, entries) = (Some(digest), Some((4, digest)));
        let (haves, wants) = (vec![5, 6], vec![7]);
        let said = packet(NewsSections { claims, entries, haves, wants, ..said });
        let (seven, topic, nine) = (number(7), "000000000004", number(9));
        let message = format!("10000000000010000010002b80{ten}{one}07{topic}026869");
        let short = format!("1700130010101010100101ac02{topic}026869");
        let message = message + &short;
        let hashes = "130008000000050000000614000400000007";
        let golden = format!("{message}120009{nine}0116000a04{nine}01{hashes}");
        assert_eq!(hex(&said.encode()), golden);
        let mut withdrawn = record(1, b"k", 7);
        withdrawn.value = None;
        let records = vec![record(1, b"k", 7), withdrawn];
        let told = packet(NewsSections { records, ..NewsSections::default() });
        let head = format!("{three}{ten}{one}{seven}");
        let golden = format!("10000000000010000011{:04x}{head}01000100056b76616c7565", 61 * 2 + 7);
        assert_eq!(hex(&told.encode()), format!("{golden}{head}00000100006b"));
    }

    fn announced() -> NewsSections {
        let mut announced = message(1, 7, b"");
        announced.content = Content::Announced(Announcement::of(&[7; 1_001]));
        // However it is called otherwise, its origin is named in full.
        let pushed = Pushed::new(&announced, Reach::NONE, Naming::Short);
        NewsSections { messages: vec![pushed], ..NewsSections::default() }
    }

    #[test]
    fn golden_announcement() {
        let [ten, one] = ["10", "01"].map(|byte| byte.repeat(16));
        let hash = "721b3a7d83749ac6df7d7203a9f8fc73";
        let golden = format!("10000000000010000015003a80{ten}{one}07000000000004e907{hash}");
        assert_eq!(hex(&packet(announced()).encode()), golden);
    }

    #[test]
    fn each_fault_has_its_name() {
        let announced = packet(announced()).encode().to_vec();
        for len in [[0xe7, 0x07], [0xff, 0xff]] {
            let mut of_length = announced.clone();
            let len_at = of_length.len() - 16 - len.len();
            of_length[len_at..][..len.len()].copy_from_slice(&len);
            let decoded = Packet::decode(&of_length);
            assert!(decoded.is_err(), "what is short is told whole");
        }
        let short = announced.len() - 1;
        assert!(Packet::decode(&announced[..short]).is_err());
        let decode = |sections: NewsSections, at: usize, byte: u8| {
            let mut bytes = packet(sections).encode().to_vec();
            bytes[at] = byte;
            Packet::decode(&bytes).expect_err("damaged")
        };
        let body = 9 + SECTION_LEN;
        let len_at = body + 1 + NodeId::LEN + Incarnation::LEN + 1 + Topic::LEN;
        assert_eq!(decode(said(), body, 129), Absurd::Reach(129).into());
        assert!(matches!(decode(said(), len_at, 0xff), PacketError::LongMessage(_)));
        assert_eq!(decode(said(), len_at, 3), PacketError::Truncated);
        let told = NewsSections { records: vec![record(1, b"k", 7)], ..NewsSections::default() };
        let version = decode(told.clone(), body + 48, 0xff);
        assert!(matches!(version, PacketError::Record(_)));
        assert_eq!(decode(told.clone(), body + 56, 0), PacketError::Overlong);
        assert_eq!(decode(told, body + 58, 9), PacketError::Truncated);
    }

    #[test]
    fn the_longest_of_each_fits_into_a_packet_of_an_exchange() {
        let mut ack = Packet::new(Leg::Ack { number: 1 });
        ack.digest = Some(1);
        let digest = RecordsDigest { total: 1, is_quiet: false };
        (ack.news.claims, ack.news.entries) = (Some(digest), Some((4, digest)));
        let room = PACKET_LEN_MAX - ack.encoded_len() - SECTION_LEN;
        assert!(room >= MESSAGE_HEAD_LEN_MAX + MESSAGE_BYTES_MAX);
        assert!(room >= RECORD_LEN_MIN + RECORD_BYTES_MAX);
    }
}
