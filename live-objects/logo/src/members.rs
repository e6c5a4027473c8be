//! Who is in the cluster.

use std::collections::{BTreeMap, VecDeque};
use std::marker::PhantomData;

use bytes::Bytes;
use live_objects::{
    Agreement, Answered, Command, Event, IdPrefix, Incarnation, Member, MembersEvent, Name, NodeId,
    ObjectType, Port, Testimony, Told, View,
};
use thiserror::Error;

use crate::channel::Channel;
use crate::error::{OpenError, SendError};
use crate::object::{Object, opened};

/// Who is in the cluster, with as much agreement as `A` says: [`Eventual`] or [`Agreed`]. Of a
/// cluster of more than ten thousand an eventual one tells whom this node watches: its neighbours,
/// and a few others.
pub struct Members<A = Eventual> {
    channel: Channel,
    known: Known,
    is: PhantomData<fn(A)>,
}

/// What was told so far.
#[derive(Default)]
struct Known {
    up: BTreeMap<NodeId, Incarnation>,
    view: Option<View>,
    /// Changes that came while an answer was waited for.
    unread: VecDeque<MembersEvent>,
}

/// How far those who ask agree.
pub trait Agree: Send + 'static {
    /// As a property.
    const AGREEMENT: Agreement;
}

/// Once nothing changes any more, all know the same members.
#[derive(Clone, Copy, Debug)]
pub enum Eventual {}

/// All install the same numbered views, of those nodes that have a strong object open, in one
/// partition at a time.
#[derive(Clone, Copy, Debug)]
pub enum Agreed {}

impl Agree for Eventual {
    const AGREEMENT: Agreement = Agreement::Eventual;
}

impl Agree for Agreed {
    const AGREEMENT: Agreement = Agreement::Views;
}

impl<A: Agree> Members<A> {
    /// The next change; none when there are none to come.
    pub async fn next(&mut self) -> Option<MembersEvent> {
        loop {
            let event = match self.known.unread.pop_front() {
                Some(event) => Event::Members(event),
                None => self.channel.next().await?,
            };
            if let Some(change) = self.change(event) {
                return Some(change);
            }
        }
    }

    /// The next change, if one is there.
    pub fn try_next(&mut self) -> Option<MembersEvent> {
        loop {
            let event = match self.known.unread.pop_front() {
                Some(event) => Event::Members(event),
                None => self.channel.try_next()?,
            };
            if let Some(change) = self.change(event) {
                return Some(change);
            }
        }
    }

    /// Who is up, by all changes that were told so far; those that wait are taken in.
    pub fn now(&mut self) -> Vec<Member> {
        while self.try_next().is_some() {}
        self.known.up()
    }

    /// Waits until so many members are up. False if there is nothing to wait for.
    pub async fn wait_for(&mut self, members: usize) -> bool {
        while self.now().len() < members {
            if self.next().await.is_none() {
                return false;
            }
        }
        true
    }

    /// Takes in a change, if it is one and not an answer that nobody waits for any more.
    fn change(&mut self, event: Event) -> Option<MembersEvent> {
        let Event::Members(event) = event else { return None };
        event.answers().is_none().then(|| {
            self.known.note(&event);
            event
        })
    }
}

impl Known {
    fn up(&self) -> Vec<Member> {
        let member = |(&node, &incarnation)| Member { node, incarnation };
        self.up.iter().map(member).collect()
    }

    /// Keeps a change for whoever reads changes; of too many, what they come to.
    fn keep(&mut self, event: MembersEvent) {
        self.unread.push_back(event);
        if self.unread.len() > UNREAD_MAX {
            for event in std::mem::take(&mut self.unread) {
                self.note(&event);
            }
            self.unread.push_back(MembersEvent::Roster(self.up()));
        }
    }

    fn note(&mut self, event: &MembersEvent) {
        match event {
            MembersEvent::Roster(members) => {
                self.up = members.iter().map(|member| (member.node, member.incarnation)).collect();
            }
            MembersEvent::Up(member) | MembersEvent::Cleared(member) => {
                self.up.insert(member.node, member.incarnation);
            }
            MembersEvent::Down(member, _) => {
                if self.up.get(&member.node) == Some(&member.incarnation) {
                    self.up.remove(&member.node);
                }
            }
            MembersEvent::View(view) => {
                let up = view.members.iter().map(|member| (member.node, member.incarnation));
                self.up = up.collect();
                self.view = Some(view.clone());
            }
            MembersEvent::Outside => self.view = None,
            MembersEvent::Suspect(_)
            | MembersEvent::ForeignCluster(..)
            | MembersEvent::Evidence { .. }
            | MembersEvent::Unclear { .. }
            | MembersEvent::Heard { .. }
            | MembersEvent::MetadataChanged(_)
            | MembersEvent::Metadata { .. } => {}
        }
    }
}

impl Members<Eventual> {
    /// What members saw of the node whose id begins so, up or gone: who suspected it, when, on what
    /// evidence, and what came of it. This node tells what it saw itself; three others are asked by
    /// lot, the node itself if it is up, and whoever is named as its accuser. Changes that come
    /// meanwhile are told afterwards.
    pub async fn why(&mut self, node: IdPrefix) -> Result<Why, WhyError> {
        let asked = self.channel.send(Command::Why(node)).await?;
        let mut all = Vec::new();
        loop {
            match self.answer(asked).await? {
                MembersEvent::Evidence { about, testimonies, told, .. } => {
                    all.extend(testimonies);
                    if told != Told::Part {
                        let is_whole = told == Told::All;
                        return Ok(Why { node: about, testimonies: all, is_whole });
                    }
                }
                MembersEvent::Unclear { candidates, .. } => {
                    let is_many = candidates.iter().any(|candidate| node.has(*candidate));
                    let error = if is_many { WhyError::Ambiguous } else { WhyError::Unknown };
                    return Err(error(node, candidates));
                }
                _ => {}
            }
        }
    }

    /// When members that are up last answered probes of this node, and how long that took: of the
    /// last 256 that it met. This asks nobody.
    pub async fn heard(&mut self) -> Result<BTreeMap<NodeId, Answered>, SendError> {
        let asked = self.channel.send(Command::Heard).await?;
        loop {
            if let MembersEvent::Heard { answers, .. } = self.answer(asked).await? {
                return Ok(answers.into_iter().collect());
            }
        }
    }

    /// Says this of this node, in place of what it said of itself before: nothing, if it is empty.
    /// The others are told of it as they are of members, and can [read](Self::metadata) it until
    /// this node is gone. It costs least up to 999 bytes, which go with the exchanges of gossip,
    /// and is 64 KiB long at most.
    pub async fn set_metadata(&self, metadata: impl Into<Bytes>) -> Result<(), SendError> {
        self.channel.send(Command::SetMetadata(metadata.into())).await.map(|_| ())
    }

    /// What a node says of itself, as far as this node has heard; none if it says nothing, or is
    /// not up. What is short is here already, and so is most of what is long.
    /// [`MembersEvent::MetadataChanged`] tells when to read it again.
    pub async fn metadata(&mut self, node: NodeId) -> Result<Option<Bytes>, MetadataError> {
        let asked = self.channel.send(Command::Metadata(node)).await?;
        loop {
            if let MembersEvent::Metadata { metadata, told, .. } = self.answer(asked).await? {
                let is_here = metadata.is_some() || told == Told::All;
                return if is_here { Ok(metadata) } else { Err(MetadataError::OutOfReach(node)) };
            }
        }
    }

    /// The next part of an answer. Changes that come before it are kept.
    async fn answer(&mut self, asked: u64) -> Result<MembersEvent, SendError> {
        loop {
            let event = self.channel.next().await.ok_or(SendError::Closed)?;
            let Event::Members(event) = event else { continue };
            match event.answers() {
                Some(command) if command == asked => return Ok(event),
                // The answer to a question that was given up.
                Some(_) => {}
                None => self.known.keep(event),
            }
        }
    }
}

/// What members saw of a node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Why {
    /// Which node it is.
    pub node: NodeId,
    /// What each of those tells who were asked, in the order in which they answered.
    pub testimonies: Vec<Testimony>,
    /// Whether all of them answered.
    pub is_whole: bool,
}

/// Why nobody was asked about a node, or nothing was answered.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum WhyError {
    /// The question was not asked, or not answered any more.
    #[error(transparent)]
    Send(#[from] SendError),
    /// There is no such node among those that are up, or were lately.
    #[error("no node is known whose id begins with {0}: is one of these meant? {those}",
        those = list(.1))]
    Unknown(IdPrefix, Vec<NodeId>),
    /// There are several.
    #[error("several ids begin with {0}: write one of them further. {those}", those = list(.1))]
    Ambiguous(IdPrefix, Vec<NodeId>),
}

/// Why what a node says of itself was not said, or not read.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum MetadataError {
    /// The object by which it is said cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The question was not asked, or not answered any more.
    #[error(transparent)]
    Send(#[from] SendError),
    /// It says something, and neither it nor anybody else could send it in time.
    #[error("{0} says something of itself that could not be had from anybody in time: ask again")]
    OutOfReach(NodeId),
}

fn list(nodes: &[NodeId]) -> String {
    nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join(", ")
}

/// How many changes are kept one by one while an answer is waited for.
const UNREAD_MAX: usize = 1_024;

impl Members<Agreed> {
    /// The view that is installed here; none while this node is in none.
    pub fn view(&mut self) -> Option<&View> {
        while self.try_next().is_some() {}
        self.known.view.as_ref()
    }
}

impl<A: Agree> Object for Members<A> {
    fn object_type() -> ObjectType {
        ObjectType::members(A::AGREEMENT)
    }

    async fn hold(name: &Name, port: Port) -> Result<Self, OpenError> {
        let channel = opened(name, port).await?;
        Ok(Self { channel, known: Known::default(), is: PhantomData })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(number: u16) -> Member {
        let node = NodeId::from_public_key(&number.to_be_bytes());
        Member { node, incarnation: Incarnation::from_bytes([1; Incarnation::LEN]) }
    }

    #[test]
    fn of_too_many_changes_what_they_come_to_is_kept() {
        let mut known = Known::default();
        let changes = UNREAD_MAX as u16;
        (0..changes).for_each(|number| known.keep(MembersEvent::Up(member(number))));
        assert_eq!((known.unread.len(), known.up().len()), (UNREAD_MAX, 0));
        known.keep(MembersEvent::Suspect(member(0)));
        let mut all: Vec<Member> = (0..changes).map(member).collect();
        all.sort();
        assert_eq!(known.unread, [MembersEvent::Roster(all)]);
    }
}
