//! Directories: values by key, each its publisher's own.

use std::marker::PhantomData;

use bytes::Bytes;
use live_objects::{
    Command, DirectoryEvent, Event, Listing as Raw, Live, Member, Name, ObjectType, Port, Schema,
    Told,
};
use thiserror::Error;
use tokio::sync::Mutex;

use crate::channel::{Channel, decode, encode};
use crate::error::{OpenError, SendError};
use crate::object::{Object, opened};

/// Values of type `V` by key. What a node published is found for as long as the node lives and has
/// the directory open. In a small cluster every node knows all of it; in a large one each key is
/// kept by a group of about √n nodes, and found in one round trip.
pub struct Directory<V> {
    channel: Channel,
    /// One asks at a time.
    asking: Mutex<()>,
    is: PhantomData<fn(V) -> V>,
}

/// What a member published.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listing<V> {
    /// Under which key.
    pub key: String,
    /// Who.
    pub publisher: Member,
    /// What.
    pub value: V,
}

impl<V: Live> Directory<V> {
    /// Publishes a value, in place of what this node published under the key before.
    pub async fn publish(&self, key: &str, value: &V) -> Result<(), SendError> {
        let (key, value) = (Bytes::copy_from_slice(key.as_bytes()), encode(value)?);
        self.channel.send(Command::Publish { key, value }).await.map(drop)
    }

    /// Takes back what this node published under the key.
    pub async fn withdraw(&self, key: &str) -> Result<(), SendError> {
        let key = Bytes::copy_from_slice(key.as_bytes());
        self.channel.send(Command::Withdraw(key)).await.map(drop)
    }

    /// What is published under the key, as this node knows, or those who keep the key.
    pub async fn find(&self, key: &str) -> Result<Vec<Listing<V>>, FindError<V>> {
        self.ask(Command::Find(Bytes::copy_from_slice(key.as_bytes()))).await
    }

    /// What is published under keys that begin so, by key. In a large cluster this asks one member
    /// of each group: √n questions.
    pub async fn list(&self, prefix: &str) -> Result<Vec<Listing<V>>, FindError<V>> {
        self.ask(Command::List(Bytes::copy_from_slice(prefix.as_bytes()))).await
    }

    async fn ask(&self, command: Command) -> Result<Vec<Listing<V>>, FindError<V>> {
        let _turn = self.asking.lock().await;
        let asked = self.channel.send(command).await?;
        let mut found = Vec::new();
        loop {
            match self.channel.next().await {
                Some(Event::Directory(DirectoryEvent::Found { command, listings, told }))
                    if command == asked =>
                {
                    found.extend(listings);
                    if told != Told::Part {
                        let found = sorted(found).into_iter().filter_map(read).collect();
                        let is_all = told == Told::All;
                        return if is_all { Ok(found) } else { Err(FindError::Incomplete(found)) };
                    }
                }
                // The answer to a question that was given up.
                Some(_) => {}
                None => return Err(SendError::Closed.into()),
            }
        }
    }
}

/// What was told in parts, as one: by key and publisher, each once.
pub(crate) fn sorted(mut found: Vec<Raw>) -> Vec<Raw> {
    found.sort_by(|one, other| (&one.key, one.publisher).cmp(&(&other.key, other.publisher)));
    found.dedup_by(|one, other| (&one.key, one.publisher) == (&other.key, other.publisher));
    found
}

/// Why what was looked for was not found, or not all of it.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum FindError<V> {
    /// It was not asked for.
    #[error(transparent)]
    Send(#[from] SendError),
    /// This is what was found; but of some who keep such keys nobody answered.
    #[error("some members who keep such keys did not answer, so more may be published: ask again")]
    Incomplete(Vec<Listing<V>>),
}

impl<V: Live> Object for Directory<V> {
    fn object_type() -> ObjectType {
        ObjectType::directory().of(V::schema().id())
    }

    fn schema() -> Option<Schema> {
        Some(V::schema())
    }

    async fn hold(name: &Name, port: Port) -> Result<Self, OpenError> {
        let channel = opened(name, port).await?;
        Ok(Self { channel, asking: Mutex::new(()), is: PhantomData })
    }
}

/// What cannot be read is of no use to whoever asked: its publisher is broken, or lies.
fn read<V: Live>(told: Raw) -> Option<Listing<V>> {
    let key = String::from_utf8(told.key.to_vec()).ok()?;
    Some(Listing { key, publisher: told.publisher, value: decode(&told.value)? })
}
