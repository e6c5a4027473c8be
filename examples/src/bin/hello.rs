//! Hello: a topic, an average, the members. Start it in two terminals, then in a third.
use logo::prelude::*;
use tokio::time::{Duration, Instant, timeout_at};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let node = Node::local("hello").await?;
    let words: Topic<String, Total> = node.open("/hello/words").await?;
    let average: Aggregate<Average> = node.open("/hello/average").await?;
    let mut members: Members = node.open("/hello/members").await?;
    average.set(f64::from(std::process::id()))?;
    let (mut until, mut met, mut received) = (in_seconds(60), 1, 0);
    while let Ok(Some(event)) = timeout_at(until, words.next()).await {
        if let TopicEvent::View(view) = &event
            && view.members.len() > 1
        {
            // Whoever was here first leaves first, so that somebody is here for the next.
            until = in_seconds(if view.members[0] == node.member() { 3 } else { 10 });
            words.send(&"hello".to_owned()).await?;
        }
        received += usize::from(matches!(event, TopicEvent::Message { own: None, .. }));
        met = met.max(members.now().len());
    }
    let average = average.get().and_then(|estimate| estimate.value);
    println!("{}", serde_json::json!({"members": met, "received": received, "average": average}));
    node.stop().await;
    if received > 0 { Ok(()) } else { Err("nobody came".into()) }
}

fn in_seconds(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}
