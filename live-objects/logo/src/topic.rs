//! Topics: messages that any holder sends to all.

use std::marker::PhantomData;

use live_objects::{
    Closure, Command, Event, Live, Member, Name, ObjectType, Order, Port, Schema,
    TopicEvent as Told, View,
};

use crate::channel::{Channel, decode, encode};
use crate::error::{OpenError, SendError};
use crate::object::{Object, opened};

/// A topic of messages of type `T`, with what `G` promises: [`BestEffort`], [`Fifo`] or [`Total`].
///
/// Whoever has it open hears what anybody sends, also what it sends itself.
pub struct Topic<T, G> {
    channel: Channel,
    is: PhantomData<fn(T, G) -> T>,
}

/// What a topic promises.
pub trait Promise: Send + 'static {
    /// The type of a topic that promises so much.
    fn object_type() -> ObjectType;
}

/// Messages reach most holders, most of the time, in any order: news. They are 1 MiB long at most,
/// and cost least up to 1,000 bytes, which fit into a packet.
#[derive(Clone, Copy, Debug)]
pub enum BestEffort {}

/// Holders agree on who they are, in numbered views; those who stay hear the same messages, each
/// once, and those of one sender in the order in which they were sent.
#[derive(Clone, Copy, Debug)]
pub enum Fifo {}

/// As [`Fifo`], and all hear all messages in the same order.
#[derive(Clone, Copy, Debug)]
pub enum Total {}

impl Promise for BestEffort {
    fn object_type() -> ObjectType {
        ObjectType::best_effort_topic()
    }
}

impl Promise for Fifo {
    fn object_type() -> ObjectType {
        ObjectType::topic(Order::Fifo)
    }
}

impl Promise for Total {
    fn object_type() -> ObjectType {
        ObjectType::topic(Order::Total)
    }
}

/// What a topic tells.
#[derive(Clone, PartialEq, Debug)]
pub enum TopicEvent<T> {
    /// A message.
    Message {
        /// Who sent it.
        from: Member,
        /// If it was sent by this very handle: the number that sending it returned.
        own: Option<u64>,
        /// What was sent.
        message: T,
    },
    /// From now on messages are delivered in this view. Not of best-effort topics.
    View(View),
    /// This node is in no view for now, and misses what is sent. Not of best-effort topics.
    Outside,
    /// Most others are out of reach: until they are back nothing is agreed on, and what is sent
    /// waits. Not of best-effort topics.
    CutOff,
    /// After `CutOff`: most others are in reach again.
    Reached,
    /// All that this handle sent, up to this number, is held by every member of the view: whoever
    /// survives hears it. Not of best-effort topics.
    Stable(u64),
    /// So many messages were dropped because this handle did not read them in time. Of best-effort
    /// topics alone.
    Lagged(u64),
    /// A message that is not of type `T`: its sender is broken, or lies.
    Unreadable(Member),
    /// The object was closed, not by this handle. The last event.
    Closed(Closure),
}

impl<T: Live, G: Promise> Topic<T, G> {
    /// Sends a message, when there is room. Returns its number among those sent: 0, 1, 2, … Until
    /// [`TopicEvent::Stable`] tells that all hold it, it goes with this handle and with its node.
    /// One that is too long for the topic is refused: [`SendError::TooLong`] says how long it may
    /// be.
    pub async fn send(&self, message: &T) -> Result<u64, SendError> {
        self.channel.send(Command::Send(encode(message)?)).await
    }

    /// Sends a message now, or not at all.
    pub fn try_send(&self, message: &T) -> Result<u64, SendError> {
        self.channel.try_send(Command::Send(encode(message)?))
    }

    /// The next event; none when there are none to come.
    pub async fn next(&self) -> Option<TopicEvent<T>> {
        loop {
            if let Some(event) = read(self.channel.next().await?) {
                return Some(event);
            }
        }
    }

    /// The next event, if one is there.
    pub fn try_next(&self) -> Option<TopicEvent<T>> {
        std::iter::from_fn(|| self.channel.try_next()).find_map(read)
    }

    /// Waits for an event, and takes up to `max` that are there. Empty when there are none to come.
    pub async fn next_batch(&self, max: usize) -> Vec<TopicEvent<T>> {
        let mut batch: Vec<_> = self.next().await.into_iter().collect();
        while !batch.is_empty()
            && batch.len() < max
            && let Some(event) = self.try_next()
        {
            batch.push(event);
        }
        batch
    }

    /// The next message; other events are passed over. None when there are none to come.
    pub async fn next_message(&self) -> Option<T> {
        loop {
            if let TopicEvent::Message { message, .. } = self.next().await? {
                return Some(message);
            }
        }
    }
}

impl<T: Live, G: Promise> Object for Topic<T, G> {
    fn object_type() -> ObjectType {
        G::object_type().of(T::schema().id())
    }

    fn schema() -> Option<Schema> {
        Some(T::schema())
    }

    async fn hold(name: &Name, port: Port) -> Result<Self, OpenError> {
        Ok(Self { channel: opened(name, port).await?, is: PhantomData })
    }
}

/// None if a module tells what a topic cannot.
fn read<T: Live>(event: Event) -> Option<TopicEvent<T>> {
    Some(match event {
        Event::Topic(Told::Message { from, own, bytes }) => match decode(&bytes) {
            Some(message) => TopicEvent::Message { from, own, message },
            None => TopicEvent::Unreadable(from),
        },
        Event::Topic(Told::View(view)) => TopicEvent::View(view),
        Event::Topic(Told::Outside) => TopicEvent::Outside,
        Event::Topic(Told::CutOff) => TopicEvent::CutOff,
        Event::Topic(Told::Reached) => TopicEvent::Reached,
        Event::Topic(Told::Stable { message }) => TopicEvent::Stable(message),
        Event::Topic(Told::Lagged { missed }) => TopicEvent::Lagged(missed),
        Event::Closed(closure) => TopicEvent::Closed(closure),
        _ => return None,
    })
}
