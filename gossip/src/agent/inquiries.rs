//! Inquiries: what people ask about a node that was doubted, and who is asked for them.
//!
//! A node that has just come saw nothing, and one that was there saw its own part alone. So whoever
//! asks why has some others asked, by lot, and the node itself, if it is up; and as soon as one of
//! them names an *accuser*, that one too, who alone can say what it had to go by. Each is asked in
//! a question of its own (`question`), and what it tells is told as it comes.
//!
//! What is noted at this node for others to ask stands here too: what it sees of changes is in
//! their entries, and what it found for itself comes from the failure detector (`exchange`).
//!
//! Invariant: in one inquiry nobody is asked twice, and no more than [`WITNESSES_MAX`] are. An
//! answer that finds no room waits, and with it all commands behind it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use live_objects::{
    Command, Event, Evidence, Finding, IdPrefix, Io, MembersEvent, NodeId, ObjectId, Silence,
    Testimony, Time, Told,
};

use super::directory::Asked;
use super::{Agent, len_max, send};
use crate::entry::{Accusation, Accuser, Entry, Standing};
use crate::evidence::rounded;
use crate::members::{Change, Merged};
use crate::probe::{Probe, Stage};
use crate::question::{Answer, Verdict};
use crate::records::affinity::Part;
use crate::wire::{HEAD_LEN, Leg, Packet, evidence};

/// The inquiries that are under way.
#[derive(Default)]
pub(super) struct Inquiries {
    open: BTreeMap<Asked, Inquiry>,
    /// Answers that wait for room.
    waits: BTreeMap<ObjectId, VecDeque<MembersEvent>>,
    /// Objects whose commands wait until inquiries have ended.
    waiting: BTreeSet<ObjectId>,
}

struct Inquiry {
    about: NodeId,
    asked: BTreeSet<NodeId>,
    /// How many of them have neither answered nor been given up.
    under_way: usize,
    told: Told,
}

impl Inquiries {
    fn is_free(&self, object: ObjectId) -> bool {
        self.waits.get(&object).is_none_or(VecDeque::is_empty)
    }

    /// Answers an application, now or when it has read on.
    pub(super) fn answer(&mut self, object: ObjectId, event: MembersEvent, io: &mut Io<'_>) {
        let waits = self.waits.entry(object).or_default();
        if !waits.is_empty() || io.emit(object, Event::Members(event.clone())).is_err() {
            waits.push_back(event);
        }
    }

    /// The application has read on.
    fn go_on(&mut self, object: ObjectId, io: &mut Io<'_>) {
        let Some(waits) = self.waits.get_mut(&object) else { return };
        while let Some(event) = waits.front() {
            if io.emit(object, Event::Members(event.clone())).is_err() {
                return;
            }
            waits.pop_front();
        }
        self.waits.remove(&object);
    }

    /// Tells what one says, or that there is no more to come.
    fn tell(&mut self, asked: Asked, testimonies: Vec<Testimony>, told: Told, io: &mut Io<'_>) {
        let Some(inquiry) = self.open.get(&asked) else { return };
        let Asked { object, command } = asked;
        let event = MembersEvent::Evidence { command, about: inquiry.about, testimonies, told };
        self.answer(object, event, io);
    }

    /// One that was asked has answered, or never will.
    fn end_one(&mut self, asked: Asked, io: &mut Io<'_>) {
        let Some(inquiry) = self.open.get_mut(&asked) else { return };
        inquiry.under_way -= 1;
        if inquiry.under_way == 0 {
            let told = inquiry.told;
            self.tell(asked, Vec::new(), told, io);
            self.open.remove(&asked);
        }
    }
}

impl Agent {
    /// The feed of an object of kind `Members` holds something.
    pub(super) fn on_inquiries(&mut self, now: Time, object: ObjectId, io: &mut Io<'_>) {
        while self.inquiries.is_free(object) {
            let is_full = self.errands.is_full() || !self.questions.has_room();
            if self.inquiries.open.len() >= INQUIRIES_MAX || is_full {
                self.inquiries.waiting.insert(object);
                return;
            }
            let Some(taken) = io.take(object, usize::MAX) else { return };
            match taken.command {
                Command::Why(prefix) => {
                    let asked = Asked { object, command: taken.message };
                    self.inquire(now, asked, prefix, io);
                }
                Command::Heard => {
                    let members = self.knowledge.members();
                    let answers = self.seen.answers(now).filter(|(node, _)| members.is_up(*node));
                    let (command, answers) = (taken.message, answers.collect());
                    let heard = MembersEvent::Heard { command, answers };
                    self.inquiries.answer(object, heard, io);
                }
                Command::SetMetadata(bytes) => self.set_metadata(bytes, io),
                Command::Metadata(node) => {
                    self.ask_metadata((object, taken.message), node, io);
                }
                _ => io.count("gossip.unknown_command"),
            }
            io.release(object, taken.message);
        }
    }

    /// The application has read on.
    pub(super) fn on_inquiries_drained(&mut self, now: Time, object: ObjectId, io: &mut Io<'_>) {
        if self.inquiries.waits.contains_key(&object) {
            self.inquiries.go_on(object, io);
            self.on_inquiries(now, object, io);
        }
    }

    /// Some inquiries have ended: commands that waited for that are taken.
    pub(super) fn on_inquiries_ended(&mut self, now: Time, io: &mut Io<'_>) {
        if self.inquiries.open.len() < INQUIRIES_MAX && !self.errands.is_full() {
            for object in std::mem::take(&mut self.inquiries.waiting) {
                self.on_inquiries(now, object, io);
            }
        }
    }

    pub(super) fn close_inquiries(&mut self, object: ObjectId) {
        self.inquiries.open.retain(|asked, _| asked.object != object);
        self.inquiries.waits.remove(&object);
        self.inquiries.waiting.remove(&object);
        self.questions.forget(object);
        self.errands.forget(object);
    }

    /// Begins an inquiry about the node whose id begins so.
    fn inquire(&mut self, now: Time, asked: Asked, prefix: IdPrefix, io: &mut Io<'_>) {
        let Asked { object, command } = asked;
        let candidates = self.candidates(prefix);
        let about = match *candidates.as_slice() {
            [about] if prefix.has(about) => about,
            _ => {
                let event = MembersEvent::Unclear { command, candidates };
                return self.inquiries.answer(object, event, io);
            }
        };
        let members = self.knowledge.members();
        let me = members.me();
        let mut witnesses = self.partners.some_of(Part::ALL, BY_LOT, members, &[about]);
        // It may have been told, and have objected.
        witnesses.extend(Some(about).filter(|about| *about != me && members.is_up(*about)));
        let evidence = self.seen.of(now, about);
        witnesses.extend(accusers(&evidence));
        let inquiry = Inquiry { about, asked: [me].into(), under_way: 1, told: Told::All };
        self.inquiries.open.insert(asked, inquiry);
        if !evidence.is_empty() {
            let own = vec![Testimony { witness: me, evidence }];
            self.inquiries.tell(asked, own, Told::Part, io);
        }
        self.ask_witnesses(now, asked, &witnesses, io);
        self.inquiries.end_one(asked, io);
    }

    /// Who may be meant: those whose ids begin so, or else those whose ids begin most like that.
    fn candidates(&self, prefix: IdPrefix) -> Vec<NodeId> {
        let members = self.knowledge.members();
        let those = |prefix: IdPrefix| -> Vec<NodeId> {
            let entries = members.between(prefix.first(), prefix.last());
            entries.map(|entry| entry.member.node).take(CANDIDATES_MAX).collect()
        };
        let shorter = std::iter::successors(Some(prefix), IdPrefix::shortened);
        shorter.map(those).find(|those| !those.is_empty()).expect("this node has a row")
    }

    /// Asks those who were not asked yet.
    fn ask_witnesses(&mut self, now: Time, asked: Asked, witnesses: &[NodeId], io: &mut Io<'_>) {
        for witness in witnesses {
            let Some(inquiry) = self.inquiries.open.get_mut(&asked) else { return };
            if inquiry.asked.len() > WITNESSES_MAX || !inquiry.asked.insert(*witness) {
                continue;
            }
            inquiry.under_way += 1;
            let about = inquiry.about;
            self.put_why(now, (asked, about), *witness, io);
        }
    }

    /// A witness tells what it saw.
    pub(super) fn on_testimony(
        &mut self,
        now: Time,
        asked: Asked,
        (witness, evidence): (NodeId, &[Evidence]),
        io: &mut Io<'_>,
    ) {
        let Some(inquiry) = self.inquiries.open.get(&asked) else { return };
        let about = inquiry.about;
        let (evidence, amiss): (Vec<Evidence>, Vec<Evidence>) =
            evidence.iter().cloned().partition(|piece| piece.member.node == about);
        amiss.iter().for_each(|_| io.count("gossip.evidence_amiss"));
        let more: Vec<NodeId> = accusers(&evidence).collect();
        let testimony = Testimony { witness, evidence };
        self.inquiries.tell(asked, vec![testimony], Told::Part, io);
        self.ask_witnesses(now, asked, &more, io);
        self.inquiries.end_one(asked, io);
    }

    /// A witness does not answer, or is gone.
    pub(super) fn on_no_testimony(&mut self, asked: Asked, io: &mut Io<'_>) {
        if let Some(inquiry) = self.inquiries.open.get_mut(&asked) {
            inquiry.told = Told::Some;
        }
        self.inquiries.end_one(asked, io);
    }

    /// Somebody asks what this node saw of another: it is told as much as fits, the last above all.
    pub(super) fn on_why(
        &mut self,
        now: Time,
        from: NodeId,
        (number, node): (u32, NodeId),
        io: &mut Io<'_>,
    ) {
        let Some(len_max) = len_max(from, io) else { return };
        let mut packet = Packet::new(Leg::Answer { number });
        let depth = self.shelves.depth.code();
        packet.answer = Some(Answer { verdict: Verdict::Whole, depth });
        let mut seen = self.seen.of(now, node);
        let room = len_max.saturating_sub(packet.encoded_len());
        while evidence::section_len(&seen) > room && !seen.is_empty() {
            seen.remove(0);
        }
        packet.evidence = Some(seen);
        self.said_bytes += packet.encoded_len() + HEAD_LEN;
        send(&packet, from, io);
    }

    /// This node found for itself that a member does not answer.
    pub(super) fn on_silent(
        &mut self,
        now: Time,
        silent: &Entry,
        sent: &[Time],
        mut helpers: Vec<NodeId>,
    ) {
        // Some were asked twice.
        helpers.sort();
        helpers.dedup();
        let Entry { member, generation, .. } = *silent;
        let since = sent.first().map(|first| rounded(now.since(*first))).unwrap_or_default();
        let attempts = u8::try_from(sent.len()).unwrap_or(u8::MAX);
        let before = self.seen.answer_of(now, member.node);
        let silence = Some(Box::new(Silence { since, attempts, helpers, before }));
        let accuser = Some(self.knowledge.members().me());
        self.seen.note(now, (member, generation), Finding::Suspected { accuser, silence });
    }

    /// A probe of this node's own was answered.
    pub(super) fn on_answered_probe(&mut self, now: Time, from: NodeId, probe: &Probe) {
        if let Stage::Own { sent, .. } = &probe.stage
            && from == probe.target
        {
            let took = if let [once] = sent.as_slice() { Some(now.since(*once)) } else { None };
            self.seen.answered(now, from, took);
        }
    }

    /// Somebody says something against a member, and that came to this.
    pub(super) fn on_accusation(&mut self, now: Time, accusation: Accusation, merged: &Merged) {
        let Accusation { member, generation, accuser } = accusation;
        let accuser = accuser.and_then(|accuser| self.accuser(accuser));
        let suspected = Finding::Suspected { accuser, silence: None };
        let said = (member, generation);
        let is_doubted = self.knowledge.members().standing(member.node) == Some(Standing::Suspect);
        match merged {
            // Another accuser, who found it for itself.
            Merged::Known if is_doubted && accuser.is_some() => {
                self.seen.note(now, said, suspected);
            }
            Merged::Refuted => {
                self.seen.note(now, said, suspected);
                self.seen.note(now, said, Finding::Refuted);
            }
            _ => {}
        }
    }

    /// What this node believes of a member changed. Of whom it hears for the first time it saw
    /// nothing.
    pub(super) fn note_change(&mut self, now: Time, Change { before, after }: &Change) {
        let Some(before) = before else { return };
        let said = (after.member, after.generation);
        let is_same_life = before.member == after.member;
        let finding = match (before.standing, after.standing) {
            (_, Standing::Suspect) => {
                let accuser = after.accuser.and_then(|accuser| self.accuser(accuser));
                Finding::Suspected { accuser, silence: None }
            }
            (_, Standing::Faulty) => Finding::Faulty,
            (_, Standing::Left) => Finding::Left,
            (Standing::Suspect, Standing::Alive) if is_same_life => Finding::Refuted,
            (Standing::Alive, Standing::Alive) if is_same_life => return,
            (_, Standing::Alive) => Finding::Back,
        };
        self.seen.note(now, said, finding);
    }

    /// Who an accuser is, if it is known.
    fn accuser(&self, accuser: Accuser) -> Option<NodeId> {
        let [first, last] = accuser.ids();
        self.knowledge.members().between(first, last).next().map(|entry| entry.member.node)
    }
}

/// Whom this evidence names.
fn accusers(evidence: &[Evidence]) -> impl Iterator<Item = NodeId> {
    evidence.iter().filter_map(|piece| match piece.finding {
        Finding::Suspected { accuser, .. } => accuser,
        _ => None,
    })
}

/// How many are asked by lot.
const BY_LOT: usize = 3;

/// How many are asked in all: those, the node itself, and accusers.
const WITNESSES_MAX: usize = 12;

/// How many inquiries a node has under way; more wait.
const INQUIRIES_MAX: usize = 32;

/// How many nodes are named where it is not clear which is meant.
const CANDIDATES_MAX: usize = 5;
