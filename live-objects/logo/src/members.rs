//! Who is in the cluster.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use live_objects::{
    Agreement, Event, Incarnation, Member, MembersEvent, Name, NodeId, ObjectType, Port, View,
};

use crate::channel::Channel;
use crate::error::OpenError;
use crate::object::{Object, opened};

/// Who is in the cluster, with as much agreement as `A` says: [`Eventual`] or [`Agreed`].
pub struct Members<A = Eventual> {
    channel: Channel,
    up: BTreeMap<NodeId, Incarnation>,
    view: Option<View>,
    is: PhantomData<fn(A)>,
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
            if let Event::Members(event) = self.channel.next().await? {
                self.note(&event);
                return Some(event);
            }
        }
    }

    /// The next change, if one is there.
    pub fn try_next(&mut self) -> Option<MembersEvent> {
        loop {
            if let Event::Members(event) = self.channel.try_next()? {
                self.note(&event);
                return Some(event);
            }
        }
    }

    /// Who is up, by all changes that were told so far; those that wait are taken in.
    pub fn now(&mut self) -> Vec<Member> {
        while self.try_next().is_some() {}
        let member = |(&node, &incarnation)| Member { node, incarnation };
        self.up.iter().map(member).collect()
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
            MembersEvent::Suspect(_) | MembersEvent::ForeignCluster(..) => {}
        }
    }
}

impl Members<Agreed> {
    /// The view that is installed here; none while this node is in none.
    pub fn view(&mut self) -> Option<&View> {
        while self.try_next().is_some() {}
        self.view.as_ref()
    }
}

impl<A: Agree> Object for Members<A> {
    fn object_type() -> ObjectType {
        ObjectType::members(A::AGREEMENT)
    }

    async fn hold(name: &Name, port: Port) -> Result<Self, OpenError> {
        let channel = opened(name, port).await?;
        Ok(Self { channel, up: BTreeMap::new(), view: None, is: PhantomData })
    }
}
