//! Handles on real sockets of this machine.

mod queries;
mod ready;
mod strangers;
mod weak;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use live_objects::{Frozen, Map, Member, RestoreError, State};
use tokio::time::timeout;

use crate::prelude::{Agreed, Fifo, Members, Node, Replicated, Topic, TopicEvent, Total};
use crate::{OpenError, ReadError, SendError};

/// How often each word was counted.
#[derive(Default)]
struct Words(Map<String, u64>);

impl State for Words {
    type Update = String;
    type Reply = u64;

    fn apply(&mut self, _by: Member, word: String) -> u64 {
        assert!(!word.is_empty(), "by a test: there is no such word");
        let count = self.0.get(&word).map_or(0, |count| *count) + 1;
        self.0.insert(word, count);
        count
    }

    fn freeze(&self) -> Box<dyn Frozen> {
        Box::new(self.0.clone())
    }

    fn restore(&mut self, record: &[u8]) -> Result<(), RestoreError> {
        self.0.restore(record)
    }
}

async fn node(folder: &Path) -> Node {
    Node::local_at(folder, Vec::new()).await.unwrap()
}

async fn nodes(folder: &Path) -> [Node; 2] {
    let folder = folder.join("cluster");
    [node(&folder).await, node(&folder).await]
}

/// Waits for it, but not for ever.
async fn soon<T>(it: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(30), it).await.expect("it comes in time")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_is_heard_by_all_in_one_order() {
    let folder = tempfile::tempdir().unwrap();
    let nodes = nodes(folder.path()).await;
    let mut topics = Vec::new();
    for node in &nodes {
        let topic: Topic<String, Total> = soon(node.open("/shop/prices")).await.unwrap();
        topics.push(topic);
    }
    let both = |event| matches!(event, TopicEvent::View(view) if view.members.len() == 2);
    for topic in &topics {
        while !both(soon(topic.next()).await.unwrap()) {}
    }
    for (topic, text) in topics.iter().zip(["a", "b"]) {
        assert_eq!(soon(topic.send(&text.to_owned())).await, Ok(0));
        assert_eq!(topic.try_send(&text.to_owned()), Ok(1));
    }
    let mut heard = [Vec::new(), Vec::new()];
    for (topic, heard) in topics.iter().zip(&mut heard) {
        while heard.len() < 4 {
            for event in soon(topic.next_batch(3)).await {
                if let TopicEvent::Message { from, own, message } = event {
                    heard.push((from, message, own.is_some()));
                }
            }
        }
    }
    let said = |heard: &[(Member, String, bool)]| -> Vec<String> {
        heard.iter().map(|(_, text, _)| text.clone()).collect()
    };
    assert_eq!(said(&heard[0]), said(&heard[1]));
    for (node, heard) in nodes.iter().zip(&heard) {
        assert!(heard.iter().all(|(from, _, own)| *own == (*from == node.member())));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_is_the_same_for_those_who_come_later() {
    let folder = tempfile::tempdir().unwrap();
    let [one, other] = nodes(folder.path()).await;
    let place = one.enter("books").unwrap();
    let words: Replicated<Words> = soon(place.open("words")).await.unwrap();
    assert_eq!(soon(words.update(&"whale".to_owned())).await, Ok(1));
    let later: Replicated<Words> = soon(other.open("/books/words")).await.unwrap();
    assert_eq!(soon(later.update(&"whale".to_owned())).await, Ok(2));
    let whales = |words: &Words| *words.0.get("whale").unwrap();
    let mut watch = words.watch();
    while words.read(whales).unwrap().value < 2 {
        soon(watch.changed()).await.unwrap();
    }
    assert!(!words.read(whales).unwrap().is_stale);
    assert_eq!(words.hash(), later.hash());
    assert!(words.hash().is_some());
    other.stop().await;
    while words.view().is_some_and(|view| view.members.len() > 1) {
        soon(watch.changed()).await.unwrap();
    }
    assert_eq!(soon(words.update(&"whale".to_owned())).await, Ok(3));
    assert_eq!(soon(later.update(&"whale".to_owned())).await, Err(SendError::Closed));
}

/// A state whose own code panics is closed at every holder, and nobody waits for its answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_that_panics_is_read_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let [one, _other] = nodes(folder.path()).await;
    let words: Replicated<Words> = soon(one.open("/words")).await.unwrap();
    assert_eq!(soon(words.update(&"whale".to_owned())).await, Ok(1));
    let words = Arc::new(words);
    let reads = words.clone();
    let panicked = tokio::spawn(async move { reads.read(|_| panic!("by the reader")).map(drop) });
    assert!(panicked.await.is_err());
    assert_eq!(soon(words.update(&"whale".to_owned())).await, Ok(2), "a reader tears nothing");
    let (first, second) = ("".to_owned(), "whale".to_owned());
    let both = async { tokio::join!(words.update(&first), words.update(&second)) };
    assert_eq!(soon(both).await, (Err(SendError::Closed), Err(SendError::Closed)));
    assert_eq!(words.read(|_| ()), Err(ReadError::Panicked));
    assert_eq!(words.hash(), None);
    assert_eq!(soon(words.update(&second)).await, Err(SendError::Closed));
}

/// Of two, the senior goes on alone; the other cannot know that it may.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_cut_off_reads_what_is_stale_and_updates_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut nodes = Vec::from(nodes(folder.path()).await);
    let mut states: Vec<Replicated<Words>> = Vec::new();
    for node in &nodes {
        states.push(soon(node.open("/words")).await.unwrap());
    }
    assert_eq!(soon(states[0].update(&"whale".to_owned())).await, Ok(1));
    assert_eq!(soon(states[1].update(&"whale".to_owned())).await, Ok(2));
    drop(nodes.remove(0));
    let left = &states[1];
    let read = || left.read(|words| words.0.get("whale").copied()).unwrap();
    let mut watch = left.watch();
    while !read().is_stale {
        soon(watch.changed()).await.unwrap();
    }
    assert_eq!(read().value, Some(2));
    assert_eq!(soon(left.update(&"whale".to_owned())).await, Err(SendError::NoPrimary));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_has_one_type_and_who_asks_for_another_is_told_both() {
    let folder = tempfile::tempdir().unwrap();
    let [one, other] = nodes(folder.path()).await;
    let _held: Topic<String, Total> = soon(one.open("/shop/prices")).await.unwrap();
    let refused = soon(other.open::<Topic<String, Fifo>>("/shop/prices")).await;
    let Err(error @ OpenError::Refused { .. }) = refused else { panic!("it is refused") };
    let text = error.to_string();
    assert!(text.contains("/shop/prices") && text.contains("order: total"), "{text}");
    let refused = soon(other.open::<Topic<u64, Total>>("/shop/prices")).await;
    let Err(error @ OpenError::Refused { .. }) = refused else { panic!("of another schema") };
    assert!(error.to_string().contains("string version 1"), "{error}");
    let Err(error) = one.open::<Topic<String, Total>>("/shop/prices").await else {
        panic!("it is open here")
    };
    assert!(error.to_string().contains("open at this node already"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_of_a_view_are_the_nodes_that_started() {
    let folder = tempfile::tempdir().unwrap();
    let nodes = nodes(folder.path()).await;
    let mut members: Members<Agreed> = soon(nodes[0].open("/members")).await.unwrap();
    assert!(soon(members.wait_for(2)).await);
    let mut expected = nodes.each_ref().map(Node::member);
    expected.sort_unstable();
    assert_eq!(members.now(), expected);
    assert_eq!(members.view().map(|view| view.members.len()), Some(2));
}

#[tokio::test]
async fn a_bad_name_is_refused_before_anything_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let node = node(&folder.path().join("cluster")).await;
    let Err(error) = node.open::<Members>("shop").await else { panic!("no name") };
    assert!(error.to_string().contains("does not begin with a slash"), "{error}");
    assert!(node.enter("a b").is_err());
}
