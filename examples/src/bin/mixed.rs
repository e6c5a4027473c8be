//! A game room: shots are a topic, the score is a replicated state, and how fast each player's
//! machine is a gossip aggregate. One node, two modules, one style of handle.

use std::error::Error;

use logo::prelude::*;
use serde::{Deserialize, Serialize};

/// Somebody shot at a place on the board, and hit or not.
#[derive(Clone, Debug, Live, Serialize, Deserialize)]
struct Shot {
    at: (u8, u8),
    has_hit: bool,
}

/// How often each player hit.
#[derive(Default)]
struct Score(Map<String, u64>);

impl State for Score {
    type Update = String;
    type Reply = u64;

    fn apply(&mut self, _by: Member, player: String) -> u64 {
        let hits = self.0.get(&player).copied().unwrap_or(0) + 1;
        self.0.insert(player, hits);
        hits
    }

    fn freeze(&self) -> Box<dyn Frozen> {
        Box::new(self.0.clone())
    }

    fn restore(&mut self, record: &[u8]) -> Result<(), RestoreError> {
        self.0.restore(record)
    }
}

/// What a player has open.
struct Room {
    node: Node,
    shots: Topic<Shot, Fifo>,
    score: Replicated<Score>,
    speed: Aggregate<Average>,
}

impl Room {
    async fn enter(node: Node) -> Result<Self, Box<dyn Error>> {
        let room = node.enter("game-x")?.enter("room-y")?;
        let shots = room.open("shots").await?;
        let score = room.open("score").await?;
        let speed = room.open("speed").await?;
        Ok(Self { shots, score, speed, node })
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path().join("game");
    let ann = Room::enter(Node::local_at(&folder, Vec::new()).await?).await?;
    let bob = Room::enter(Node::local_at(&folder, Vec::new()).await?).await?;
    ann.speed.set(60.0)?;
    bob.speed.set(30.0)?;

    // What is sent before bob is in is not for bob.
    while !matches!(ann.shots.next().await, Some(TopicEvent::View(view)) if view.members.len() > 1)
    {
    }
    for place in 0..10 {
        let shot = Shot { at: (place, place), has_hit: place % 3 == 0 };
        ann.shots.send(&shot).await?;
        if shot.has_hit {
            ann.score.update(&"ann".to_owned()).await?;
        }
    }
    let mut seen = Vec::new();
    while seen.len() < 10 {
        seen.extend(bob.shots.next_message().await);
    }
    let in_order = seen.iter().zip(0..).all(|(shot, place)| shot.at == (place, place));
    let hits = bob.score.update(&"bob".to_owned()).await?;
    let ann_hits = bob.score.read(|score| score.0.get("ann").copied())?.value;
    let mut mean = None;
    while mean != Some(45.0) {
        mean = bob.speed.next().await.ok_or("the average is open")?.value;
    }
    println!("bob saw 10 shots, in order: {in_order}; ann hit {ann_hits:?}, bob {hits}; 45 frames");
    ann.node.stop().await;
    bob.node.stop().await;
    if in_order && ann_hits == Some(4) { Ok(()) } else { Err("the score is wrong".into()) }
}
