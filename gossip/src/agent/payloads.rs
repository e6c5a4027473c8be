//! Long messages: what is announced here, asked for, and given.
//!
//! Which payload is asked of whom, and what is kept, is for `payloads` to say; here it is asked and
//! given, over links. A payload is given in pieces as the link has room for them, so that a slow
//! peer slows nobody but itself; and who says long messages faster than the others take them waits
//! with its own feed (`topics`).

use bytes::Bytes;
use live_objects::{Io, NodeId, ObjectId, Target, Via};
use tracing::trace;

use super::Agent;
use crate::metadata::is_of_metadata;
use crate::news::{Announcement, Content, MessageId, Topic};
use crate::payloads::{Ask, Came, PIECE_LEN_MAX, Reply};
use crate::wire::payloads::Supply;

impl Agent {
    /// Whether this node may say another long message in this period.
    pub(super) fn can_announce(&self) -> bool {
        let given = self.payloads.own_given_len();
        self.topics.owed < SAID_LEN_MAX && given < OWN_GIVEN_LEN_MAX
    }

    /// Says a long message: the application hears it at once, and the others pull it.
    pub(super) fn say_long(
        &mut self,
        object: ObjectId,
        (command, bytes): (u64, Bytes),
        io: &mut Io<'_>,
    ) {
        let topic = self.topics.topic(object);
        let announcement = Announcement::of(&bytes);
        let message = self.message(topic, Content::Announced(announcement));
        self.topics.owed += bytes.len();
        self.topics.deliver((message.id, topic), bytes.clone(), Some(command), io);
        if self.knowledge.members().up_count() > 1 {
            let waiting = self.payloads.keep_own(message.id, (topic, announcement), bytes);
            self.let_down(&waiting, io);
        }
        self.tell_all(message, io);
    }

    /// Somebody announces a message that was not heard of.
    pub(super) fn hear_announcement(
        &mut self,
        from: NodeId,
        id: MessageId,
        (topic, announcement): (Topic, Announcement),
        io: &mut Io<'_>,
    ) {
        if is_of_metadata(id) {
            return io.count("gossip.announcement_amiss");
        }
        if !self.payloads.announce(id, (topic, announcement), from) {
            return io.count("gossip.payloads_full");
        }
        if self.topics.is_open(topic) {
            self.payloads.want(id);
        }
    }

    /// Somebody has messages, some of which may be what this node pulls.
    pub(super) fn note_haves(&mut self, from: NodeId, haves: &[u32]) {
        if self.payloads.is_moving() {
            for id in self.topics.news.announced(haves) {
                self.payloads.also_has(id, from);
            }
        }
    }

    pub(super) fn on_round_of_payloads(&mut self, io: &mut Io<'_>) {
        self.topics.owed = self.topics.owed.saturating_sub(SAID_LEN_MAX);
        for _ in 0..self.payloads.end_stalled() {
            io.count("gossip.payload_stalled");
        }
        let (asks, waiting) = self.payloads.on_round();
        for (id, ask) in asks {
            self.need(id, ask, io);
        }
        self.let_down(&waiting, io);
        for to in self.payloads.receivers() {
            self.supply(to, io);
        }
    }

    /// The step ends: asks for what is to be pulled, and from nobody just now.
    pub(super) fn need_payloads(&mut self, io: &mut Io<'_>) {
        let members = self.knowledge.members();
        for (id, ask) in self.payloads.asks(|node| members.is_up(node)) {
            self.need(id, ask, io);
        }
    }

    fn need(&mut self, id: MessageId, Ask { to, offset, accepts }: Ask, io: &mut Io<'_>) {
        let need = Supply::Need { id, offset, accepts }.encode();
        if io.send(Target::Node(to), Via::Control, need).is_err() {
            self.payloads.on_unsent(id, to);
        }
    }

    /// Tells those who wait that nothing is to come.
    fn let_down(&self, waiting: &[(NodeId, MessageId)], io: &mut Io<'_>) {
        waiting.iter().for_each(|(node, id)| say(*node, &Supply::Lacking { id: *id }, io));
    }

    pub(super) fn on_supply(&mut self, from: NodeId, bytes: &[u8], io: &mut Io<'_>) {
        match Supply::decode(bytes) {
            Ok(Supply::Need { id, offset, accepts }) => {
                self.offer_metadata(id);
                match self.payloads.on_need(from, (id, offset), accepts) {
                    Some(Reply::Pieces) => self.supply(from, io),
                    Some(Reply::Later) => say(from, &Supply::Later { id }, io),
                    Some(Reply::Lacking) => {
                        io.count("gossip.payload_lacking");
                        say(from, &Supply::Lacking { id }, io);
                    }
                    None => {}
                }
            }
            Ok(Supply::Piece { id, offset, bytes }) => {
                self.on_payload_piece(from, (id, offset), &bytes, io);
            }
            Ok(Supply::Later { id }) => self.payloads.on_later(from, id),
            Ok(Supply::Lacking { id }) => self.payloads.on_lacking(from, id),
            Err(error) => {
                trace!(?from, %error, "message dropped");
                io.count("gossip.malformed");
            }
        }
    }

    fn on_payload_piece(
        &mut self,
        from: NodeId,
        (id, offset): (MessageId, usize),
        bytes: &[u8],
        io: &mut Io<'_>,
    ) {
        match self.payloads.on_piece(from, id, offset, bytes) {
            Came::Part => {}
            Came::Unasked => io.count("gossip.payload_unasked"),
            Came::Amiss => io.count("gossip.payload_amiss"),
            Came::Wrong => {
                trace!(?from, ?id, "not what was announced");
                io.count("gossip.payload_wrong");
                if let Some(waiting) = self.payloads.give_up(id) {
                    self.let_down(&waiting, io);
                }
            }
            Came::Whole(topic, whole) => {
                io.count("gossip.payload_pulled");
                if topic == Topic::METADATA {
                    self.hear_metadata(id, &whole, io);
                } else {
                    self.topics.deliver((id, topic), whole, None, io);
                }
                let waiting = self.payloads.make_room(id);
                self.let_down(&waiting, io);
                for to in self.payloads.receivers() {
                    self.supply(to, io);
                }
            }
        }
    }

    /// Gives a peer as much as there is room for. [`Input::Room`] goes on.
    ///
    /// [`Input::Room`]: live_objects::Input::Room
    pub(super) fn supply(&mut self, to: NodeId, io: &mut Io<'_>) {
        loop {
            let room = io.room(to);
            if room == 0 {
                return;
            }
            // What is shorter than this is asked for in vain, so that there is more room next time.
            let room = room.saturating_sub(Supply::PIECE_HEAD_LEN + ENVELOPE_LEN);
            let len_max = room.clamp(PIECE_LEN_MIN, PIECE_LEN_MAX);
            let Some((id, offset, bytes)) = self.payloads.next_piece(to, len_max) else { return };
            let len = bytes.len();
            let piece = Supply::Piece { id, offset, bytes }.encode();
            if io.send(Target::Node(to), Via::Bulk, piece).is_err() {
                return;
            }
            io.count_many("gossip.payload_bytes", len);
            self.payloads.on_given(to, id, len);
        }
    }
}

/// Says a word to a peer. If the link has no room for it, whoever waits for it asks again.
fn say(to: NodeId, word: &Supply, io: &mut Io<'_>) {
    if io.send(Target::Node(to), Via::Control, word.encode()).is_err() {
        io.count("gossip.payload_word_unsent");
    }
}

const ENVELOPE_LEN: usize = live_objects::Envelope::LEN;

/// How many bytes of long messages a node says in a period. One that is longer counts for several.
const SAID_LEN_MAX: usize = 256 << 10;

/// It says no more while so much of what it said is being given.
const OWN_GIVEN_LEN_MAX: usize = 4 << 20;

/// The shortest piece but a last one, in bytes.
const PIECE_LEN_MIN: usize = 512;
