//! Nearest: who of those that offer themselves is the fewest milliseconds away.

use std::sync::{Mutex, MutexGuard};

use live_objects::{Command, Event, Load, Name, Near, NoLoad, ObjectType, Port};
use thiserror::Error;

use crate::aggregate::{Aggregate, Average};
use crate::channel::Channel;
use crate::error::{OpenError, SendError};
use crate::object::{Object, opened};

/// The nearest of the nodes that offer themselves under a name: mirrors, caches, gateways. Answers
/// are local: asking sends nothing, since the few best are measured before anybody asks.
///
/// Whoever offers tells its load, and counts as further away for it: by its round trip again for
/// each 1. Where many look for the same, an aggregate keeps them from all going to one: those
/// whose load is above its mean are passed over ([`Nearest::balance`]). What a node offers holds
/// for as long as it lives and has the object open, and a node is not told of itself.
///
/// ```no_run
/// # async fn story() -> Result<(), Box<dyn std::error::Error>> {
/// use logo::prelude::*;
///
/// let node = Node::local("shop").await?;
/// let mirrors: Nearest = node.open("/shop/mirrors").await?;
/// let load: Aggregate<Average> = node.open("/shop/mirrors/load").await?;
/// if std::env::args().any(|argument| argument == "--mirror") {
///     mirrors.offer(0.5)?;
///     load.set(0.5)?;
/// }
/// mirrors.balance(&load)?;
/// while let Some(best) = mirrors.next().await {
///     let Some(near) = best.first() else { continue };
///     println!("{} is {:?} away, within {:?}", near.member.node, near.round_trip, near.error);
/// }
/// # Ok(())
/// # }
/// ```
pub struct Nearest {
    channel: Channel,
    last: Mutex<Vec<Near>>,
}

impl Nearest {
    /// Offers this node, with this load: 0 if it is idle. In place of what it offered before.
    pub fn offer(&self, load: f32) -> Result<(), OfferError> {
        self.say(Command::Offer(Load::new(load)?))?;
        Ok(())
    }

    /// Takes the offer back.
    pub fn withdraw(&self) -> Result<(), SendError> {
        self.say(Command::Retract)
    }

    /// From here on passes over those whose load is above 1.25 times the mean that the aggregate
    /// has, unless they are much nearer than all who are left: see [`Near::balance`]. Whoever
    /// offers itself is to set the load there that it tells here. It holds for as long as this
    /// node has the aggregate open.
    pub fn balance(&self, load: &Aggregate<Average>) -> Result<(), SendError> {
        self.say(Command::Balance(Some(load.object())))
    }

    /// Passes over nobody any more.
    pub fn unbalance(&self) -> Result<(), SendError> {
        self.say(Command::Balance(None))
    }

    /// The best that this node knows of now, the best first.
    pub fn best(&self) -> Vec<Near> {
        while let Some(event) = self.channel.try_next() {
            self.note(event);
        }
        self.lock().clone()
    }

    /// The best, when they are others, or otherwise near, than was told last; an application that
    /// reads late gets the last alone. None when there is nothing to come.
    pub async fn next(&self) -> Option<Vec<Near>> {
        loop {
            let event = self.channel.next().await?;
            if self.note(event) {
                return Some(self.lock().clone());
            }
        }
    }

    fn say(&self, command: Command) -> Result<(), SendError> {
        // If the object was closed meanwhile, that is among what waits.
        self.best();
        self.channel.try_send(command).map(drop)
    }

    fn note(&self, event: Event) -> bool {
        let Event::Nearest(best) = event else { return false };
        *self.lock() = best;
        true
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Near>> {
        self.last.lock().expect("no code that holds the lock panics")
    }
}

impl Object for Nearest {
    fn object_type() -> ObjectType {
        ObjectType::nearest()
    }

    async fn hold(name: &Name, port: Port) -> Result<Self, OpenError> {
        let channel = opened(name, port).await?;
        Ok(Self { channel, last: Mutex::new(Vec::new()) })
    }
}

/// Why a node was not offered. It offers what it did before.
#[derive(Clone, PartialEq, Debug, Error)]
pub enum OfferError {
    /// The number cannot be a load.
    #[error(transparent)]
    Load(#[from] NoLoad),
    /// The object does not take it.
    #[error(transparent)]
    Send(#[from] SendError),
}
