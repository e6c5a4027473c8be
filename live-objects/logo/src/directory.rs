//! Directories: values by key, each its publisher's own.

use std::marker::PhantomData;

use bytes::Bytes;
use live_objects::{
    Command, DirectoryEvent, Event, Listing as Told, Live, Member, Name, ObjectType, Port, Schema,
};
use tokio::sync::Mutex;

use crate::channel::{Channel, decode, encode};
use crate::error::{OpenError, SendError};
use crate::object::{Object, opened};

/// Values of type `V` by key. What a node published is found for as long as the node lives and has
/// the directory open.
pub struct Directory<V> {
    channel: Channel,
    /// One asks at a time.
    asking: Mutex<()>,
    is: PhantomData<fn(V) -> V>,
}

/// What a member published.
#[derive(Clone, PartialEq, Debug)]
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

    /// What is published under the key, as this node knows.
    pub async fn find(&self, key: &str) -> Result<Vec<Listing<V>>, SendError> {
        self.ask(Command::Find(Bytes::copy_from_slice(key.as_bytes()))).await
    }

    /// What is published under keys that begin so, by key.
    pub async fn list(&self, prefix: &str) -> Result<Vec<Listing<V>>, SendError> {
        self.ask(Command::List(Bytes::copy_from_slice(prefix.as_bytes()))).await
    }

    async fn ask(&self, command: Command) -> Result<Vec<Listing<V>>, SendError> {
        let _turn = self.asking.lock().await;
        let asked = self.channel.send(command).await?;
        loop {
            match self.channel.next().await {
                Some(Event::Directory(DirectoryEvent::Found { command, listings }))
                    if command == asked =>
                {
                    return Ok(listings.into_iter().filter_map(read).collect());
                }
                // The answer to a question that was given up.
                Some(_) => {}
                None => return Err(SendError::Closed),
            }
        }
    }
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
fn read<V: Live>(told: Told) -> Option<Listing<V>> {
    let key = String::from_utf8(told.key.to_vec()).ok()?;
    Some(Listing { key, publisher: told.publisher, value: decode(&told.value)? })
}
