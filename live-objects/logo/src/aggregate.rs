//! Aggregates: numbers summed up over all nodes.

use std::marker::PhantomData;
use std::sync::{Mutex, MutexGuard};

use live_objects::{Command, Estimate, Event, Name, NotFinite, ObjectType, Port, Share, Summary};
use thiserror::Error;

use crate::channel::Channel;
use crate::error::{OpenError, SendError};
use crate::object::{Object, opened};

/// A number that sums up the shares of all who have it open and have set theirs: `A` is
/// [`Average`], [`Sum`], [`Count`], [`Min`] or [`Max`]. Answers are local: asking sends nothing.
pub struct Aggregate<A> {
    channel: Channel,
    last: Mutex<Option<Estimate>>,
    is: PhantomData<fn(A)>,
}

/// How shares are summed up.
pub trait Summarize: Send + 'static {
    /// As a value.
    const SUMMARY: Summary;
}

macro_rules! summaries {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub enum $name {}

        impl Summarize for $name {
            const SUMMARY: Summary = Summary::$name;
        }
    )*};
}

summaries! {
    /// The mean of all shares.
    Average
    /// The sum of all shares.
    Sum
    /// How many shares there are.
    Count
    /// The least share.
    Min
    /// The greatest share.
    Max
}

impl<A: Summarize> Aggregate<A> {
    /// Sets this node's share, in place of what it was.
    pub fn set(&self, share: f64) -> Result<(), SetError> {
        // If the object was closed meanwhile, that is among what waits.
        self.get();
        self.channel.try_send(Command::Set(Share::new(share)?))?;
        Ok(())
    }

    /// What this node knows now; none before anything is known.
    pub fn get(&self) -> Option<Estimate> {
        while let Some(event) = self.channel.try_next() {
            self.note(&event);
        }
        *self.lock()
    }

    /// The next estimate; an application that reads late gets the last alone. None when there are
    /// none to come.
    pub async fn next(&self) -> Option<Estimate> {
        loop {
            let event = self.channel.next().await?;
            if self.note(&event) {
                return *self.lock();
            }
        }
    }

    fn note(&self, event: &Event) -> bool {
        let Event::Aggregate(estimate) = event else { return false };
        *self.lock() = Some(*estimate);
        true
    }

    fn lock(&self) -> MutexGuard<'_, Option<Estimate>> {
        self.last.lock().expect("no code that holds the lock panics")
    }
}

impl<A: Summarize> Object for Aggregate<A> {
    fn object_type() -> ObjectType {
        ObjectType::aggregate(A::SUMMARY)
    }

    async fn hold(name: &Name, port: Port) -> Result<Self, OpenError> {
        let channel = opened(name, port).await?;
        Ok(Self { channel, last: Mutex::new(None), is: PhantomData })
    }
}

/// Why a share was not set. It is what it was.
#[derive(Clone, PartialEq, Debug, Error)]
pub enum SetError {
    /// The number cannot be summed up.
    #[error(transparent)]
    Number(#[from] NotFinite),
    /// The object does not take it.
    #[error(transparent)]
    Send(#[from] SendError),
}
