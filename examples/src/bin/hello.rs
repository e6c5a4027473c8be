//! Hello: a topic, an average, the members. Start it in two terminals, then in a third.
use std::time::Duration;

use logo::prelude::*;
use serde_json::json;
use tokio::time::{Instant, timeout_at};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let node = Node::local("hello").await?;
    let words: Topic<String, Total> = node.open("/hello/words").await?;
    let average: Aggregate<Average> = node.open("/hello/average").await?;
    let mut members: Members = node.open("/hello/members").await?;
    average.set(f64::from(std::process::id()))?;
    let (mut until, mut met, mut received) = (Instant::now() + Duration::from_secs(60), 1, 0);
    while let Ok(Some(event)) = timeout_at(until, words.next()).await {
        match event {
            TopicEvent::View(view) if view.members.len() > 1 => {
                // Whoever was here first leaves first, so that somebody is here for the next.
                let stay = if view.members[0] == node.member() { 3 } else { 15 };
                until = Instant::now() + Duration::from_secs(stay);
                met = met.max(members.now().len());
                words.send(&"hello".to_owned()).await?;
            }
            TopicEvent::Message { own: None, .. } => received += 1,
            _ => {}
        }
    }
    let average = average.get().and_then(|estimate| estimate.value);
    println!("{}", json!({ "members": met, "received": received, "average": average }));
    node.stop().await;
    std::process::exit(i32::from(received == 0));
}
