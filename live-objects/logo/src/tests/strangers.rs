//! Handles on objects of a module that does not keep to what its objects' kinds can say, and that
//! closes them when it is given anything.

use bytes::Bytes;
use live_objects::{Closure, Cost, Event, Input, Io, Lack, Module, ObjectType, Time};

use super::{Words, soon};
use crate::prelude::{
    Aggregate, BestEffort, Count, Directory, Node, Replicated, Topic, TopicEvent,
};
use crate::{OpenError, SendError, SetError};

/// Carries everything for nothing.
struct Stranger;

impl Module for Stranger {
    fn name(&self) -> &'static str {
        "stranger"
    }

    fn offers(&self, _: &ObjectType) -> Result<Cost, Lack> {
        Ok(Cost { copies: 0, overhead_bytes: 0 })
    }

    fn handle(&mut self, _: Time, input: Input, io: &mut Io<'_>) {
        let stray = || Event::Custom(Bytes::from_static(b"stray"));
        match input {
            Input::Open { object, .. } => {
                for event in [stray(), Event::Opened, stray()] {
                    io.emit(object, event).expect("there is room");
                }
            }
            Input::Commands { object } => {
                while let Some(taken) = io.take(object, usize::MAX) {
                    io.release(object, taken.message);
                }
                let theirs = ObjectType::directory();
                let closed = Event::Closed(Closure::TypeConflict { theirs });
                io.emit(object, closed).expect("there is room");
            }
            Input::Stop => io.stopped(),
            _ => {}
        }
    }

    fn finish(&mut self, _: Time, _: &mut Io<'_>) {}

    fn next_wake(&self) -> Option<Time> {
        None
    }
}

async fn node(folder: &std::path::Path) -> Node {
    Node::local_at(&folder.join("cluster"), vec![Box::new(Stranger)]).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_an_object_that_is_closed_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let node = node(folder.path()).await;
    let topic: Topic<String, BestEffort> = soon(node.open("/topic")).await.unwrap();
    soon(topic.send(&"hello".to_owned())).await.unwrap();
    let TopicEvent::Closed(_) = soon(topic.next()).await.unwrap() else { panic!("it is closed") };
    assert_eq!(soon(topic.next()).await, None);
    assert_eq!(soon(topic.send(&"again".to_owned())).await, Err(SendError::Closed));

    let count: Aggregate<Count> = soon(node.open("/count")).await.unwrap();
    count.set(1.0).unwrap();
    assert_eq!(soon(count.next()).await, None);
    assert_eq!(count.set(2.0), Err(SetError::Send(SendError::Closed)));

    let directory: Directory<u32> = soon(node.open("/directory")).await.unwrap();
    assert_eq!(soon(directory.find("key")).await, Err(SendError::Closed.into()));
    assert_eq!(soon(directory.find("key")).await, Err(SendError::Closed.into()));
}

/// It never tells a state: opening one waits, and may be given up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_that_is_given_up_leaves_the_name_free() {
    let folder = tempfile::tempdir().unwrap();
    let node = node(folder.path()).await;
    let waits = node.open::<Replicated<Words>>("/words");
    let given_up = tokio::time::timeout(std::time::Duration::from_millis(200), waits).await;
    assert!(given_up.is_err(), "there is no state to wait for");
    let again: Result<Topic<String, BestEffort>, OpenError> = soon(node.open("/words")).await;
    assert!(again.is_ok());
}
