//! Objects that gossip carries, and objects by their names alone.

use serde_json::json;

use super::{Words, nodes, soon};
use crate::prelude::{
    Aggregate, Average, BestEffort, Count, Directory, Fifo, Ref, Replicated, Topic, TopicEvent,
    Total,
};
use crate::{Node, OpenError, SendError, UnknownName};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn news_reaches_the_others_and_its_sender() {
    let folder = tempfile::tempdir().unwrap();
    let [one, other] = nodes(folder.path()).await;
    let says: Topic<String, BestEffort> = soon(one.open("/news")).await.unwrap();
    let hears: Topic<String, BestEffort> = soon(other.open("/news")).await.unwrap();
    // Whoever was not known when it was said may miss it.
    let heard = async {
        loop {
            says.try_send(&"rain".to_owned()).unwrap();
            let next = tokio::time::timeout(std::time::Duration::from_millis(500), hears.next());
            if let Ok(Some(TopicEvent::Message { from, own: None, message })) = next.await {
                return (from, message);
            }
        }
    };
    assert_eq!(soon(heard).await, (one.member(), "rain".to_owned()));
    let TopicEvent::Message { own: Some(0), .. } = soon(says.next()).await.unwrap() else {
        panic!("its sender hears it too")
    };
    let long = "x".repeat(2_000);
    let Err(SendError::TooLong { bytes_max, .. }) = says.try_send(&long) else {
        panic!("news are short")
    };
    assert!((500..2_000).contains(&bytes_max), "{bytes_max}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_average_is_that_of_all() {
    let folder = tempfile::tempdir().unwrap();
    let [one, other] = nodes(folder.path()).await;
    let mut loads: Vec<Aggregate<Average>> = Vec::new();
    for (node, share) in [(&one, 1.0), (&other, 4.0)] {
        let load: Aggregate<Average> = soon(node.open("/load")).await.unwrap();
        load.set(share).unwrap();
        loads.push(load);
    }
    for load in &loads {
        while soon(load.next()).await.unwrap().value != Some(2.5) {}
        assert_eq!(load.get().map(|estimate| estimate.members), Some(2));
    }
    let refused = loads[0].set(f64::NAN).unwrap_err().to_string();
    assert!(refused.contains("set a finite number"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_is_found_while_its_publisher_lives() {
    let folder = tempfile::tempdir().unwrap();
    let [one, other] = nodes(folder.path()).await;
    let here: Directory<u32> = soon(one.open("/tills")).await.unwrap();
    let there: Directory<u32> = soon(other.open("/tills")).await.unwrap();
    soon(here.publish("till-1", &7)).await.unwrap();
    let found = async {
        loop {
            let found = there.find("till-1").await.unwrap();
            if !found.is_empty() {
                return found;
            }
        }
    };
    let found = soon(found).await;
    assert_eq!((found[0].publisher, found[0].value), (one.member(), 7));
    assert_eq!(soon(there.list("till-")).await.unwrap(), found);
    one.stop().await;
    soon(async { while !there.find("till-1").await.unwrap().is_empty() {} }).await;
}

async fn dynamic(node: &Node, name: &str) -> crate::Dynamic {
    loop {
        match node.open_dyn(name).await {
            Ok(dynamic) => return dynamic,
            // It takes a moment until a node hears what others have open.
            Err(OpenError::Unknown(UnknownName::Nobody(_))) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_is_used_by_its_name_alone() {
    let folder = tempfile::tempdir().unwrap();
    let [one, other] = nodes(folder.path()).await;
    let typed: Topic<(String, u32), Fifo> = soon(one.open("/prices")).await.unwrap();
    let _state: Replicated<Words> = soon(one.open("/words")).await.unwrap();
    // The name may be known before the schema is.
    let told = async {
        loop {
            let dynamic = dynamic(&other, "/prices").await;
            if dynamic.send(&json!(["cd", 1_177])).await.is_ok() {
                return dynamic;
            }
        }
    };
    let dynamic = soon(told).await;
    assert_eq!(soon(typed.next_message()).await, Some(("cd".to_owned(), 1_177)));
    let refused = dynamic.send(&json!(["cd", "dear"])).await.unwrap_err().to_string();
    assert!(refused.contains("[1]"), "{refused}");
    let Err(refused) = other.open_dyn("/words").await else { panic!("it has no code for it") };
    assert!(refused.to_string().contains("replicated state"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reference_leads_to_its_object_and_to_no_other() {
    type Guests = Aggregate<Count>;
    let reference: Ref<Guests> = Ref::new("/room/guests").unwrap();
    let bytes = postcard::to_allocvec(&reference).unwrap();
    assert_eq!(postcard::from_bytes::<Ref<Guests>>(&bytes), Ok(reference.clone()));
    let wrong = postcard::from_bytes::<Ref<Topic<String, Total>>>(&bytes);
    assert!(wrong.is_err(), "it is of another type");
    let text = serde_json::to_value(&reference).unwrap();
    assert_eq!(text["name"], "/room/guests");
    assert!(text["type"].as_str().unwrap().starts_with("Count"), "{text}");
    let folder = tempfile::tempdir().unwrap();
    let [one, _other] = nodes(folder.path()).await;
    let guests = soon(reference.open(&one)).await.unwrap();
    guests.set(1.0).unwrap();
    while soon(guests.next()).await.unwrap().value != Some(1.0) {}
}
