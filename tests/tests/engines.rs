//! A module whose engine is a task: it is told by a channel, does what it does by awaiting, and
//! posts what came of it. Who reads slowly slows the module, which slows the engine.

use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use live_objects::{
    Agreement, Command, Cost, Event, Input, Io, Kind, Lack, Module, ObjectId, ObjectType, Port,
    PostError, Poster, Spec, Time,
};
use live_objects_net::Node;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::start_alone;

/// The adapter. Commands go to the engine as fast as it takes them; its posts become events as fast
/// as they are read.
#[derive(Default)]
struct Adapter {
    engine: Option<Sender<Bytes>>,
    object: Option<ObjectId>,
    /// What was posted last, if nobody had room for it.
    untold: Option<Bytes>,
    /// Tells the test how its engine ended.
    ended: Option<Sender<PostError>>,
}

impl Adapter {
    /// Gives the engine what waits. What it has no room for stays in the feed.
    fn feed(&self, object: ObjectId, io: &mut Io<'_>) {
        let Some(engine) = &self.engine else { return };
        while let Ok(place) = engine.try_reserve() {
            let Some(taken) = io.take(object, usize::MAX) else { break };
            io.release(object, taken.message);
            place.send(taken.command.payload().clone());
        }
    }

    /// Tells what was posted. What the reader has no room for stays with the engine.
    fn tell(&mut self, object: ObjectId, io: &mut Io<'_>) {
        while let Some(post) = self.untold.take().or_else(|| io.next_post()) {
            if io.emit(object, Event::Custom(post.clone())).is_err() {
                self.untold = Some(post);
                break;
            }
        }
    }
}

/// Answers each question with the question, three times. Awaits between.
async fn echo(mut asked: Receiver<Bytes>, poster: Poster) -> Result<(), PostError> {
    while let Some(question) = asked.recv().await {
        for _ in 0..3 {
            tokio::task::yield_now().await;
            poster.post(question.clone()).await?;
        }
    }
    Ok(())
}

/// Posts until nobody hears it.
async fn chatter(poster: Poster) -> PostError {
    loop {
        if let Err(gone) = poster.post(Bytes::from(vec![0; 10_000])).await {
            return gone;
        }
    }
}

impl Module for Adapter {
    fn name(&self) -> &'static str {
        "adapter"
    }

    fn offers(&self, ty: &ObjectType) -> Result<Cost, Lack> {
        match &ty.kind {
            Kind::Custom(name) if name == "echo" => Ok(Cost { copies: 1, overhead_bytes: 0 }),
            kind => Err(Lack::Kind(kind.clone())),
        }
    }

    fn handle(&mut self, _now: Time, input: Input, io: &mut Io<'_>) {
        match input {
            Input::Start(_) => {
                let (engine, asked) = channel(ROOM);
                tokio::spawn(echo(asked, io.poster()));
                self.engine = Some(engine);
                if let Some(ended) = self.ended.take() {
                    let poster = io.poster();
                    tokio::spawn(async move { ended.send(chatter(poster).await).await });
                }
            }
            Input::Open { object, .. } => self.object = Some(object),
            Input::Stop => io.stopped(),
            _ => {}
        }
    }

    fn finish(&mut self, _now: Time, io: &mut Io<'_>) {
        if let Some(object) = self.object {
            self.tell(object, io);
            self.feed(object, io);
        }
    }

    fn next_wake(&self) -> Option<Time> {
        None
    }
}

const ROOM: usize = 4;

async fn start(adapter: Adapter) -> Node {
    start_alone(adapter, None).await.expect("it starts")
}

async fn open(node: &Node) -> Port {
    let ty = ObjectType::custom("echo", Agreement::Eventual);
    let spec = Spec::new("/echo".parse().expect("a name"), ty);
    node.open(spec).await.expect("a module carries it")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_engine_posts_comes_once_and_in_order() {
    let node = start(Adapter::default()).await;
    let port = open(&node).await;
    let asking = port.clone();
    let asks = async move {
        for number in 0..COUNT {
            let mut question = Some(Command::Custom(number.to_string().into()));
            let sent = poll_fn(|context| asking.poll_send(context, &mut question)).await;
            sent.expect("the object is open");
        }
    };
    let hears = async {
        for number in 0..COUNT * 3 {
            let event = poll_fn(|context| port.poll_next(context)).await;
            assert_eq!(event, Some(Event::Custom((number / 3).to_string().into())));
        }
    };
    let both = async { tokio::join!(asks, hears) };
    tokio::time::timeout(PATIENCE, both).await.expect("all is answered");
    node.stop().await;
}

/// It posts as fast as its module takes, and its module takes as fast as nobody reads: not at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_never_rests_waits_and_ends_with_its_module() {
    let (ended, mut end) = channel(1);
    let node = start(Adapter { ended: Some(ended), ..Adapter::default() }).await;
    let port = open(&node).await;
    for _ in 0..1_000 {
        let counts = tokio::time::timeout(PATIENCE, node.counts()).await;
        counts.expect("the loop goes on").expect("the node runs");
    }
    node.stop().await;
    let ended = tokio::time::timeout(PATIENCE, end.recv()).await;
    assert!(matches!(ended, Ok(Some(PostError::Gone(_)))), "{ended:?}");
    let held = std::iter::from_fn(|| port.try_next()).count() * 10_000;
    assert!(held <= Port::EVENTS_BYTES_MAX, "{held} bytes of events");
}

const COUNT: u64 = 2_000;
const PATIENCE: Duration = Duration::from_secs(60);
