//! Which objects there are, who has them open, and what their messages are made of.
//!
//! Nodes tell each other what they have open in a directory that gossip keeps
//! ([`Gossip::CLAIMS`]), and the schemas of it in one of this crate's own, by their hashes.

use bytes::Bytes;
use live_objects::{
    Command, DirectoryEvent, Event, Listing, Member, Name, ObjectType, Schema, SchemaId, Spec, Told,
};
use live_objects_net::NodeError;
use tokio::sync::Mutex;

use crate::Gossip;
use crate::channel::{Channel, decode, encode};
use crate::directory::sorted;

/// An object that somebody has open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Holding {
    /// What it is called.
    pub name: Name,
    /// Its type.
    pub ty: ObjectType,
    /// Who has it open.
    pub holder: Member,
}

/// A node's ends of both directories, each opened when it is first needed.
#[derive(Default)]
pub(crate) struct Names {
    claims: Mutex<Option<Channel>>,
    schemas: Mutex<Option<Channel>>,
}

impl Names {
    /// The objects whose names begin so, by name and holder, as far as this node has heard.
    pub(crate) async fn list(
        &self,
        net: &live_objects_net::Node,
        prefix: &str,
    ) -> Result<Vec<Holding>, NodeError> {
        let asked = Command::List(Bytes::copy_from_slice(prefix.as_bytes()));
        let mut channel = self.claims.lock().await;
        let listings = ask(open(&mut channel, net, Gossip::CLAIMS).await?, asked).await?;
        let read = |Listing { key, publisher, value }| {
            let name = String::from_utf8(key.to_vec()).ok()?.parse().ok()?;
            Some(Holding { name, ty: decode(&value)?, holder: publisher })
        };
        Ok(listings.into_iter().filter_map(read).collect())
    }

    /// Tells the others what messages of this schema are made of.
    pub(crate) async fn publish(
        &self,
        net: &live_objects_net::Node,
        schema: &Schema,
    ) -> Result<(), NodeError> {
        let (key, Ok(value)) = (key_of(&schema.id()), encode(schema)) else { return Ok(()) };
        let mut channel = self.schemas.lock().await;
        let channel = open(&mut channel, net, SCHEMAS).await?;
        // One that is too large is not told: objects of it cannot be used without its Rust type.
        let _ = channel.try_send(Command::Publish { key, value });
        Ok(())
    }

    /// The schema of this id, if somebody told of it.
    pub(crate) async fn schema(
        &self,
        net: &live_objects_net::Node,
        id: &SchemaId,
    ) -> Result<Option<Schema>, NodeError> {
        let mut channel = self.schemas.lock().await;
        let channel = open(&mut channel, net, SCHEMAS).await?;
        let listings = ask(channel, Command::Find(key_of(id))).await?;
        let mut schemas = listings.iter().filter_map(|listing| decode(&listing.value));
        Ok(schemas.find(|schema: &Schema| schema.id() == *id))
    }
}

async fn open<'a>(
    channel: &'a mut Option<Channel>,
    net: &live_objects_net::Node,
    name: &str,
) -> Result<&'a Channel, NodeError> {
    if channel.is_none() {
        let name = name.parse().expect("it is a name");
        let port = net.open(Spec::new(name, ObjectType::directory())).await?;
        *channel = Some(Channel::new(port));
    }
    Ok(channel.as_ref().expect("it was just opened"))
}

/// Asks a directory, and waits for its answer.
pub(crate) async fn ask(channel: &Channel, command: Command) -> Result<Vec<Listing>, NodeError> {
    let Ok(asked) = channel.send(command).await else { return Err(NodeError::Gone) };
    let mut found = Vec::new();
    loop {
        match channel.next().await {
            Some(Event::Directory(DirectoryEvent::Found { command, listings, told }))
                if command == asked =>
            {
                found.extend(listings);
                if told != Told::Part {
                    return Ok(sorted(found));
                }
            }
            Some(_) => {}
            None => return Err(NodeError::Gone),
        }
    }
}

fn key_of(id: &SchemaId) -> Bytes {
    format!("{:016x}", id.hash).into()
}

/// The directory of schemas.
const SCHEMAS: &str = "/.logo/schemas";
