//! Metadata: what a node says of itself, and what applications ask of what others say.
//!
//! Objects of kind `Members` carry both. What is short is answered from the records, at once; so is
//! what is long and was pulled already. For the rest the answer waits until it has been pulled.

use std::collections::BTreeSet;

use bytes::Bytes;
use live_objects::{Io, Member, MembersEvent, NodeId, ObjectId, Told};

use super::Agent;
use crate::metadata::{self, METADATA_LEN_MAX, Notice, id_of, is_of_metadata, key_of};
use crate::news::{Announcement, MessageId, Topic};

impl Agent {
    /// This node says this of itself from now on; nothing, if it is empty.
    pub(super) fn set_metadata(&mut self, bytes: Bytes, io: &mut Io<'_>) {
        if bytes.len() > METADATA_LEN_MAX {
            return io.count("gossip.metadata_too_long");
        }
        let me = self.knowledge.members().me();
        let notice = (!bytes.is_empty()).then(|| Notice::of(bytes.clone()));
        let records = &mut self.shelves.claims.records;
        let key = key_of(me);
        match &notice {
            Some(notice) => {
                if !records.write(key.object, key.key, Some(notice.encode()), self.rounds) {
                    return io.count("gossip.records_full");
                }
            }
            None => drop(records.withdraw(key.object, key.key, self.rounds)),
        }
        self.metadata.on_notice(me, notice.as_ref(), me);
        if let Some(Notice::Long(announcement)) = notice {
            self.metadata.keep(me, announcement, bytes);
        }
        self.restated.push(self.knowledge.members().own().member);
    }

    /// A record of metadata changed, or is shown or hidden.
    pub(super) fn on_metadata(&mut self, owner: NodeId, teller: NodeId) {
        let me = self.knowledge.members().me();
        if owner == me {
            return;
        }
        let notice = self.notice(owner).map(|(_, notice)| notice);
        self.metadata.on_notice(owner, notice.as_ref(), teller);
        let owner = self.knowledge.members().of(owner).filter(|held| held.standing.is_up());
        self.restated.extend(owner.map(|held| held.member));
    }

    /// What a member that is up says in its record.
    fn notice(&self, owner: NodeId) -> Option<(Member, Notice)> {
        let record = self.shelves.claims.records.record(&key_of(owner))?;
        let held = self.knowledge.members().of(owner)?;
        let is_shown = held.standing.is_up() && held.member == record.member();
        let value = record.value.filter(|_| is_shown)?;
        Some((held.member, Notice::decode(&value)?))
    }

    /// Answers an application that asks for what a member says of itself, or waits for that.
    pub(super) fn ask_metadata(
        &mut self,
        (object, command): (ObjectId, u64),
        owner: NodeId,
        io: &mut Io<'_>,
    ) {
        let metadata = match self.notice(owner) {
            None => None,
            Some((_, Notice::Short(metadata))) => Some(metadata),
            Some((_, Notice::Long(_))) => match self.metadata.kept(owner) {
                Some((_, metadata)) => Some(metadata),
                None => {
                    self.metadata.ask(owner);
                    self.questions.put(owner, object, command, self.rounds);
                    return self.pull_metadata(io);
                }
            },
        };
        self.answer_metadata((object, command), (owner, metadata), Told::All, io);
    }

    fn answer_metadata(
        &mut self,
        (object, command): (ObjectId, u64),
        (about, metadata): (NodeId, Option<Bytes>),
        told: Told,
        io: &mut Io<'_>,
    ) {
        let event = MembersEvent::Metadata { command, about, metadata, told };
        self.inquiries.answer(object, event, io);
    }

    pub(super) fn on_round_of_metadata(&mut self, io: &mut Io<'_>) {
        for (about, object, command) in self.questions.due(self.rounds) {
            self.answer_metadata((object, command), (about, None), Told::Some, io);
        }
        self.pull_metadata(io);
    }

    /// Pulls what is lacking, a few at a time.
    fn pull_metadata(&mut self, io: &mut Io<'_>) {
        for (owner, announcement, teller) in self.metadata.pulls(self.rounds) {
            let Some((member, _)) = self.notice(owner) else { continue };
            let id = id_of(member, announcement);
            // It said so before, and something else meanwhile, or somebody did in its name.
            if let Some(bytes) = self.payloads.whole(id) {
                self.hear_metadata(id, &bytes, io);
            } else if self.payloads.announce(id, (Topic::METADATA, announcement), teller) {
                self.payloads.want(id);
            }
        }
    }

    /// Whoever needs metadata of which this node has all can have it.
    pub(super) fn offer_metadata(&mut self, id: MessageId) {
        if !is_of_metadata(id) || self.payloads.has(id) {
            return;
        }
        let owner = id.origin;
        if let Some((announcement, bytes)) = self.metadata.kept(owner.node)
            && id_of(owner, announcement) == id
        {
            self.payloads.offer(id, (Topic::METADATA, announcement), bytes);
        }
    }

    /// It was pulled.
    pub(super) fn hear_metadata(&mut self, id: MessageId, bytes: &Bytes, io: &mut Io<'_>) {
        let owner = id.origin.node;
        let announcement = Announcement::of(bytes);
        let Some((member, Notice::Long(current))) = self.notice(owner) else { return };
        if current != announcement || member != id.origin {
            return;
        }
        self.metadata.keep(owner, announcement, bytes.clone());
        for asked in self.questions.take(owner) {
            self.answer_metadata(asked, (owner, Some(bytes.clone())), Told::All, io);
        }
        self.metadata.make_room(self.knowledge.members().me());
    }

    /// The step ends: tells who says something else of itself than before.
    pub(super) fn take_restated(&mut self) -> Vec<MembersEvent> {
        let restated: BTreeSet<Member> = std::mem::take(&mut self.restated).into_iter().collect();
        restated.into_iter().map(MembersEvent::MetadataChanged).collect()
    }

    /// Whether a record is of metadata.
    pub(super) fn is_metadata(object: ObjectId) -> bool {
        object == metadata::OBJECT
    }
}
