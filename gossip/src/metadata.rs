//! Metadata: a few bytes, or some tens of thousands, that a node says of itself.
//!
//! What memberlist calls Meta, and Serf tags, rides there in a member's own entry, and is 512 bytes
//! at most for that. Here it is a *record* (`records`) of an object that nobody can open, in the
//! collection that all nodes keep: so it travels, is mended, and vanishes with its member as all
//! records do, the later version counts, and a member that says nothing costs nothing. What is too
//! long for a record is announced in it, by length and hash (`news::announcement`), and pulled over
//! links as long messages are (`payloads`), from whoever told of it; the same bytes are pulled
//! once, however often they are said again.
//!
//! Invariants: what is kept of others is what their records announce, and no more than
//! [`KEPT_LEN_MAX`] bytes; what there is no room for is pulled when somebody asks for it. Of one
//! member at most [`METADATA_LEN_MAX`] bytes are known.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use live_objects::{Member, NodeId, ObjectId};

use crate::news::{Announcement, MessageId};
use crate::records::RecordKey;

/// The longest metadata of a node.
pub(crate) const METADATA_LEN_MAX: usize = 64 << 10;

/// What a record says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Notice {
    Short(Bytes),
    Long(Announcement),
}

/// The long metadata that this node keeps, or is to pull.
#[derive(Default)]
pub(crate) struct Metadata {
    kept: BTreeMap<NodeId, (Announcement, Bytes)>,
    kept_len: usize,
    /// Whose is lacking, and who told of it.
    lacking: BTreeMap<NodeId, Lack>,
}

struct Lack {
    announcement: Announcement,
    /// Who told of it; if it did not come from there the owner is asked.
    teller: NodeId,
    /// Since which round it has been pulled, if it is.
    pulled: Option<u64>,
    /// How often it was pulled in vain, and whether somebody here asks for it.
    tries: u32,
    is_asked: bool,
}

impl Lack {
    fn new(announcement: Announcement, teller: NodeId) -> Self {
        Self { announcement, teller, pulled: None, tries: 0, is_asked: false }
    }

    /// Whether it is to be pulled, if there is room for so much.
    fn is_wanted(&self, room: usize) -> bool {
        let fits = self.announcement.len() <= room && self.tries < TRIES_MAX;
        self.pulled.is_none() && (self.is_asked || fits)
    }
}

/// The object that metadata are records of: no name means it.
pub(crate) const OBJECT: ObjectId = ObjectId::from_bytes([0; ObjectId::LEN]);

/// The key of a node's record.
pub(crate) const fn key_of(node: NodeId) -> RecordKey {
    RecordKey { object: OBJECT, key: Bytes::new(), publisher: node }
}

/// What the payload is called among those that are pulled: beyond all messages that a node says.
pub(crate) fn id_of(owner: Member, announcement: Announcement) -> MessageId {
    let hash = announcement.hash().as_slice().get_u64();
    MessageId { origin: owner, number: NUMBERS_FROM | hash >> 1 }
}

/// Whether a number is of metadata.
pub(crate) const fn is_of_metadata(id: MessageId) -> bool {
    id.number >= NUMBERS_FROM
}

impl Notice {
    pub(crate) fn of(metadata: Bytes) -> Self {
        if metadata.len() <= SHORT_LEN_MAX {
            Self::Short(metadata)
        } else {
            Self::Long(Announcement::of(&metadata))
        }
    }

    /// As the value of a record.
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        match self {
            Self::Short(metadata) => {
                out.put_u8(SHORT);
                out.put_slice(metadata);
            }
            Self::Long(announcement) => {
                out.put_u8(LONG);
                let len = u32::try_from(announcement.len()).expect("nothing longer is announced");
                out.put_u32(len);
                out.put_slice(announcement.hash());
            }
        }
        out.freeze()
    }

    /// None if no version of this could have written it.
    pub(crate) fn decode(mut value: &[u8]) -> Option<Self> {
        match value.try_get_u8().ok()? {
            SHORT => Some(Self::Short(Bytes::copy_from_slice(value))),
            LONG => {
                let len = usize::try_from(value.try_get_u32().ok()?).ok()?;
                let announcement = Announcement::new(len, value.try_into().ok()?)?;
                (len <= METADATA_LEN_MAX).then_some(Self::Long(announcement))
            }
            _ => None,
        }
    }
}

impl Metadata {
    /// A member says this from now on, or nothing.
    pub(crate) fn on_notice(&mut self, owner: NodeId, notice: Option<&Notice>, teller: NodeId) {
        let announced = match notice {
            Some(Notice::Long(announcement)) => Some(*announcement),
            Some(Notice::Short(_)) | None => None,
        };
        if self.kept.get(&owner).is_some_and(|(kept, _)| Some(*kept) != announced) {
            self.drop_kept(owner);
        }
        let is_known = |lack: &Lack| Some(lack.announcement) == announced;
        if self.kept.contains_key(&owner) || self.lacking.get(&owner).is_some_and(is_known) {
            return;
        }
        self.lacking.remove(&owner);
        if let Some(announcement) = announced {
            self.lacking.insert(owner, Lack::new(announcement, teller));
        }
    }

    /// What is kept of a member's, whose record announces it.
    pub(crate) fn kept(&self, owner: NodeId) -> Option<(Announcement, Bytes)> {
        self.kept.get(&owner).cloned()
    }

    /// It is here, if it is still announced: it came, or it is this node's own.
    pub(crate) fn keep(&mut self, owner: NodeId, announcement: Announcement, bytes: Bytes) {
        let lack = self.lacking.remove(&owner);
        if lack.is_some_and(|lack| lack.announcement == announcement) {
            self.kept_len += bytes.len();
            self.kept.insert(owner, (announcement, bytes));
        }
    }

    /// Somebody here asks for it: it is pulled though there may be no room to keep it for long.
    pub(crate) fn ask(&mut self, owner: NodeId) {
        if let Some(lack) = self.lacking.get_mut(&owner) {
            lack.is_asked = true;
        }
    }

    /// What is to be pulled from now on, and from whom: so many at a time.
    pub(crate) fn pulls(&mut self, round: u64) -> Vec<(NodeId, Announcement, NodeId)> {
        let is_over = |since: u64| round >= since + PULL_ROUNDS;
        for (owner, lack) in &mut self.lacking {
            if lack.pulled.is_some_and(is_over) {
                (lack.pulled, lack.teller, lack.tries) = (None, *owner, lack.tries + 1);
            }
        }
        let under_way = self.lacking.values().filter(|lack| lack.pulled.is_some());
        let mut count = under_way.clone().count();
        let mut len = self.kept_len + under_way.map(|lack| lack.announcement.len()).sum::<usize>();
        let mut pulls = Vec::new();
        for (owner, lack) in &mut self.lacking {
            let room = if count < PULLS_MAX { KEPT_LEN_MAX.saturating_sub(len) } else { 0 };
            if lack.is_wanted(room) {
                count += 1;
                len += lack.announcement.len();
                (lack.pulled, lack.is_asked) = (Some(round), false);
                pulls.push((*owner, lack.announcement, lack.teller));
            }
        }
        pulls
    }

    /// Whether some are pulled, or to be pulled, for which there is room.
    pub(crate) fn is_moving(&self) -> bool {
        let room = KEPT_LEN_MAX.saturating_sub(self.kept_len);
        self.lacking.values().any(|lack| lack.pulled.is_some() || lack.is_wanted(room))
    }

    /// What was kept beyond the bound, because somebody asked for it, is dropped; it is lacking
    /// again. This node's own stays.
    pub(crate) fn make_room(&mut self, me: NodeId) {
        while self.kept_len > KEPT_LEN_MAX {
            let others = self.kept.keys().rev().filter(|owner| **owner != me);
            let Some(owner) = others.copied().next() else { return };
            let announcement = self.kept[&owner].0;
            self.drop_kept(owner);
            self.lacking.insert(owner, Lack::new(announcement, owner));
        }
    }

    fn drop_kept(&mut self, owner: NodeId) {
        if let Some((_, bytes)) = self.kept.remove(&owner) {
            self.kept_len -= bytes.len();
        }
    }
}

/// Who asks for somebody's metadata, until when.
#[derive(Default)]
pub(crate) struct Questions(BTreeMap<NodeId, BTreeSet<(ObjectId, u64, u64)>>);

impl Questions {
    /// Whether there is room for one more.
    pub(crate) fn has_room(&self) -> bool {
        self.0.values().map(BTreeSet::len).sum::<usize>() < QUESTIONS_MAX
    }

    /// The command of this number of an object asks for it, in this round.
    pub(crate) fn put(&mut self, about: NodeId, object: ObjectId, command: u64, round: u64) {
        self.0.entry(about).or_default().insert((object, command, round));
    }

    /// Those about a member are answered.
    pub(crate) fn take(&mut self, about: NodeId) -> Vec<(ObjectId, u64)> {
        let asked = self.0.remove(&about).unwrap_or_default();
        asked.into_iter().map(|(object, command, _)| (object, command)).collect()
    }

    /// Those that were asked too long ago, about whom each.
    pub(crate) fn due(&mut self, round: u64) -> Vec<(NodeId, ObjectId, u64)> {
        let mut due = Vec::new();
        for (about, asked) in &mut self.0 {
            let is_over = |since: u64| round >= since + ANSWER_ROUNDS;
            let over = asked.iter().filter(|(.., since)| is_over(*since));
            due.extend(over.map(|(object, command, _)| (*about, *object, *command)));
            asked.retain(|(.., since)| !is_over(*since));
        }
        self.0.retain(|_, asked| !asked.is_empty());
        due
    }

    pub(crate) fn forget(&mut self, object: ObjectId) {
        self.0.values_mut().for_each(|asked| asked.retain(|(of, ..)| *of != object));
        self.0.retain(|_, asked| !asked.is_empty());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

const SHORT: u8 = 0;
const LONG: u8 = 1;

/// What is longer than this goes into no record: a byte for its form is beside it.
const SHORT_LEN_MAX: usize = crate::records::RECORD_BYTES_MAX - 1;

/// Numbers of messages are lower.
const NUMBERS_FROM: u64 = 1 << 63;

/// How long all that is kept of members is together, in bytes.
const KEPT_LEN_MAX: usize = 16 << 20;

/// How many are pulled at a time that nobody asked for.
const PULLS_MAX: usize = 16;

/// After how many rounds it is pulled from its owner if it did not come from another, and how often
/// it is pulled that nobody asks for.
const PULL_ROUNDS: u64 = 50;
const TRIES_MAX: u32 = 4;

/// For how many rounds an application waits for an answer.
const ANSWER_ROUNDS: u64 = 50;

/// How many questions wait for an answer.
const QUESTIONS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::tests::entry;
    use proptest::prelude::*;

    fn node(number: u8) -> NodeId {
        entry(number, 1).member.node
    }

    fn announced(len: usize) -> (Announcement, Bytes) {
        let bytes = Bytes::from(vec![7; len]);
        (Announcement::of(&bytes), bytes)
    }

    proptest! {
        #[test]
        fn notices_are_read_as_written(len in 0..3_000_usize) {
            let notice = Notice::of(vec![7; len].into());
            let value = notice.encode();
            prop_assert!(value.len() <= crate::records::RECORD_BYTES_MAX);
            prop_assert_eq!(Notice::decode(&value), Some(notice));
        }

        #[test]
        fn never_panics(value: Vec<u8>) {
            let _ = Notice::decode(&value);
        }
    }

    #[test]
    fn golden_notices() {
        let hex = |notice: &Notice| crate::wire::tests::hex(&notice.encode());
        assert_eq!(hex(&Notice::Short("hi".into())), "006869");
        let announcement = Announcement::new(1_000, [9; 16]).unwrap();
        assert_eq!(hex(&Notice::Long(announcement)), format!("01000003e8{}", "09".repeat(16)));
    }

    #[test]
    fn what_cannot_be_says_nothing() {
        let (longest, _) = announced(METADATA_LEN_MAX);
        let value = Notice::Long(longest).encode();
        assert_eq!(Notice::decode(&value), Some(Notice::Long(longest)));
        let (longer, _) = announced(METADATA_LEN_MAX + 1);
        let longer = Notice::Long(longer).encode();
        let cut = value.slice(..value.len() - 1);
        for value in [&longer[..], &cut, &[], &[2, 7]] {
            assert_eq!(Notice::decode(value), None);
        }
    }

    /// Among messages no member comes to such a number.
    #[test]
    fn payloads_of_metadata_are_called_as_no_message_is() {
        let (announcement, _) = announced(2_000);
        let id = id_of(entry(1, 1).member, announcement);
        assert!(is_of_metadata(id) && !is_of_metadata(MessageId { number: 1 << 62, ..id }));
        assert_ne!(id, id_of(entry(1, 1).member, announced(2_001).0));
    }

    #[test]
    fn so_many_are_pulled_at_a_time_and_so_often() {
        let mut metadata = Metadata::default();
        let (announcement, bytes) = announced(2_000);
        for owner in 0..20 {
            metadata.on_notice(node(owner), Some(&Notice::Long(announcement)), node(99));
        }
        assert_eq!(metadata.pulls(0).len(), PULLS_MAX);
        assert!(metadata.pulls(PULL_ROUNDS - 1).is_empty());
        metadata.keep(node(0), announcement, bytes.clone());
        metadata.keep(node(0), announcement, bytes.clone());
        assert_eq!(metadata.kept(node(0)), Some((announcement, bytes)));
        let next = metadata.pulls(PULL_ROUNDS - 1);
        assert!(next.len() == 1 && next[0].2 == node(99));
        for round in 1..10 {
            let pulls = metadata.pulls(round * PULL_ROUNDS);
            let again = pulls.iter().filter(|(owner, _, from)| owner == from).count();
            assert!(pulls.len() <= PULLS_MAX && (round > 3 || again > 10));
        }
        (10..20).for_each(|round| drop(metadata.pulls(round * PULL_ROUNDS)));
        assert!(!metadata.is_moving(), "they are given up");
        metadata.ask(node(1));
        assert!(metadata.is_moving() && metadata.pulls(99 * PULL_ROUNDS).len() == 1);
    }

    #[test]
    fn so_many_questions_wait_for_so_long() {
        let mut questions = Questions::default();
        let object = |number| ObjectId::from_bytes([number; ObjectId::LEN]);
        for command in 0..QUESTIONS_MAX as u64 {
            assert!(questions.has_room());
            questions.put(node((command % 2) as u8), object((command % 4) as u8), command, command);
        }
        assert!(!questions.has_room());
        assert_eq!(questions.take(node(1)).len(), QUESTIONS_MAX / 2);
        assert!(questions.has_room() && questions.take(node(1)).is_empty());
        questions.forget(object(0));
        assert_eq!(questions.due(ANSWER_ROUNDS + 5), [(node(0), object(2), 2)]);
        assert_eq!(questions.due(u64::MAX).len(), QUESTIONS_MAX / 4 - 1);
        assert!(questions.is_empty());
    }

    #[test]
    fn what_there_is_no_room_for_is_pulled_when_it_is_asked_for() {
        let mut metadata = Metadata::default();
        let (announcement, bytes) = announced(METADATA_LEN_MAX);
        let owners: Vec<NodeId> = (0..=(KEPT_LEN_MAX / METADATA_LEN_MAX) as u64)
            .map(|number| NodeId::from_public_key(&number.to_be_bytes()))
            .collect();
        for owner in &owners {
            metadata.on_notice(*owner, Some(&Notice::Long(announcement)), node(1));
            for (owner, ..) in metadata.pulls(0) {
                metadata.keep(owner, announcement, bytes.clone());
            }
        }
        let last = owners[owners.len() - 1];
        assert_eq!((metadata.kept_len, metadata.kept(last)), (KEPT_LEN_MAX, None));
        assert!(!metadata.is_moving());
        metadata.ask(last);
        assert_eq!(metadata.pulls(1), [(last, announcement, node(1))]);
        metadata.keep(last, announcement, bytes);
        assert!(metadata.kept(last).is_some());
        metadata.make_room(owners[0]);
        assert_eq!(metadata.kept_len, KEPT_LEN_MAX);
        // Who says something short, or nothing, leaves room.
        metadata.on_notice(owners[0], Some(&Notice::Short("short".into())), node(1));
        assert!(metadata.kept_len < KEPT_LEN_MAX && metadata.kept(owners[0]).is_none());
    }
}
