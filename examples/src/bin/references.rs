//! Objects that hold objects: a lobby lists rooms, and each room is a chat and a count of guests.
//! Whoever knows the lobby alone finds its way to everything else.

use std::error::Error;

use logo::prelude::*;
use serde::{Deserialize, Serialize};

/// What the lobby announces.
#[derive(Clone, Debug, Live, Serialize, Deserialize)]
struct Room {
    title: String,
    chat: Ref<Topic<String, Total>>,
    guests: Ref<Aggregate<Count>>,
}

type Lobby = Replicated<Rooms>;

/// The rooms there are, in the order in which they were made.
#[derive(Default)]
struct Rooms(List<Room>);

impl State for Rooms {
    type Update = Room;
    type Reply = usize;

    fn apply(&mut self, _by: Member, room: Room) -> usize {
        self.0.push(room);
        self.0.len()
    }

    fn freeze(&self) -> Box<dyn Frozen> {
        Box::new(self.0.clone())
    }

    fn restore(&mut self, record: &[u8]) -> Result<(), RestoreError> {
        self.0.restore(record)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path().join("place");
    let host = Node::local_at(&folder, Vec::new()).await?;
    let guest = Node::local_at(&folder, Vec::new()).await?;

    let lobby: Lobby = host.open("/game-x/lobby").await?;
    let room = Room {
        title: "the cellar".to_owned(),
        chat: Ref::new("/game-x/cellar/chat")?,
        guests: Ref::new("/game-x/cellar/guests")?,
    };
    let chat = room.chat.open(&host).await?;
    let guests = room.guests.open(&host).await?;
    guests.set(1.0)?;
    lobby.update(&room).await?;

    // The guest knows the lobby's name, and nothing else.
    let lobby: Lobby = guest.open("/game-x/lobby").await?;
    let found = lobby.read(|rooms| rooms.0.iter().next().cloned())?.value;
    let found = found.ok_or("the lobby lists a room")?;
    let there = found.guests.open(&guest).await?;
    there.set(1.0)?;
    let voice = found.chat.open(&guest).await?;
    voice.send(&format!("who is in {}?", found.title)).await?;

    let heard = chat.next_message().await.ok_or("the chat is open")?;
    let mut present = 0;
    while present < 2 {
        present = guests.next().await.ok_or("the count is open")?.members;
    }
    println!("in {} {present} guests heard: {heard}", found.title);
    guest.stop().await;
    host.stop().await;
    Ok(())
}
