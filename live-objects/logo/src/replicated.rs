//! Replicated states: every holder has a copy, and all copies go through the same updates. (Those
//! whose updates have no order are in `epidemic`.)
//!
//! A task of the runtime takes in the object's events and applies updates to the copy; handles read
//! it under a lock. What an update is answered is told when the update is stable. A state whose own
//! code panics while it takes something in may be half of one thing and half of another: it is read
//! no more, and its object is closed. Code that panics while it reads has changed nothing.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use live_objects::{
    Closure, Command, Event, Live, Name, ObjectType, Port, Replica, ReplicatedEvent, Schema, State,
    View,
};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::channel::{Channel, encode};
use crate::error::{OpenError, ReadError, SendError};
use crate::object::{Object, opened};
use crate::topic::Total;

/// A state of type `S` that all who have it open share, with what `G` promises of updates:
/// [`Total`], if `S` is a [`State`], or [`Epidemic`](crate::Epidemic), if it is
/// [`Soft`](crate::soft::Soft).
pub struct Replicated<S, G: Strength<S> = Total> {
    pub(crate) held: G::Held,
}

/// What a replicated state promises, and of which states.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be promised of a state of type `{S}`",
    note = "`Total` is for types that are `State`, `Epidemic` for those that are `Soft`"
)]
pub trait Strength<S>: Send + 'static {
    /// What a handle on such a state has.
    #[doc(hidden)]
    type Held: Send + Sync;
}

impl<S: State> Strength<S> for Total {
    type Held = Member<S>;
}

/// What a handle on a state with an order has.
#[expect(unnameable_types, reason = "it is of no use to anybody but its handle")]
pub struct Member<S: State> {
    channel: Channel,
    copy: Arc<Copy<S>>,
    applier: JoinHandle<()>,
}

/// This node's copy of the state, and who waits for it.
struct Copy<S: State> {
    held: Mutex<Held<S>>,
    progress: watch::Sender<Progress>,
}

struct Held<S: State> {
    replica: Replica<S>,
    /// Who waits for the answer to which command.
    waiting: BTreeMap<u64, oneshot::Sender<Answer<S>>>,
    view: Option<View>,
    /// Most of the others are out of reach.
    is_cut_off: bool,
    /// Something is being taken in. Whoever sees it comes after a panic in the midst of that.
    is_torn: bool,
}

/// What an update is answered: none if that was lost, though the update was made.
type Answer<S> = Option<<S as State>::Reply>;

/// What a task that waits for a change is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Progress {
    Changed(u64),
    Closed(Option<Closure>),
}

/// What was read of a state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reading<R> {
    /// What was read.
    pub value: R,
    /// Whether the state is that of before: this node is cut off from the others, or is back and
    /// does not have their state yet.
    pub is_stale: bool,
}

impl<S> Replicated<S, Total>
where
    S: State<Update: Live> + Default,
{
    /// Makes an update, when there is room, and waits until it is stable: held, with its place in
    /// the order, by every member of the view. Whoever survives has applied it or will.
    ///
    /// If this node is cut off while it waits, it waits until the node is back; the update is then
    /// made, once. If it was made without this node, whose state came from the others then, the
    /// answer is [`SendError::Unanswered`]. If it is cut off already, the answer is
    /// [`SendError::NoPrimary`] and nothing was done.
    pub async fn update(&self, update: &S::Update) -> Result<S::Reply, SendError> {
        let answer = self.send(encode(update)?).await?;
        answer.await.map_err(|_| SendError::Closed)?.ok_or(SendError::Unanswered)
    }

    /// Makes an update when there is room, and returns without waiting for the answer.
    pub async fn cast(&self, update: &S::Update) -> Result<(), SendError> {
        self.send(encode(update)?).await.map(drop)
    }

    /// Reads the state as it is here and now.
    pub fn read<R>(&self, read: impl FnOnce(&S) -> R) -> Result<Reading<R>, ReadError> {
        self.held.copy.read(read)
    }

    /// The view in which updates are made; none while this node is in none.
    pub fn view(&self) -> Option<View> {
        self.held.copy.lock().view.clone()
    }

    /// What all members that applied the same updates have the same of: a hash of the state. None
    /// while the state is stale. It takes as long as writing the whole state does.
    pub fn hash(&self) -> Option<u64> {
        let held = self.held.copy.lock();
        if held.is_torn { None } else { held.replica.hash() }
    }

    /// A watch on the state's changes from now on.
    pub fn watch(&self) -> Watch {
        Watch::new(&self.held.copy.progress)
    }

    async fn send(&self, bytes: Bytes) -> Result<oneshot::Receiver<Answer<S>>, SendError> {
        let mut command = Some(Command::Update(bytes));
        poll_fn(|context| {
            // The answer cannot come before it is known who waits for it.
            let mut held = self.held.copy.lock();
            if !held.reaches_others() && !self.held.channel.port().is_closed() {
                return std::task::Poll::Ready(Err(SendError::NoPrimary));
            }
            self.held.channel.port().poll_send(context, &mut command).map(|sent| {
                let (answer, answered) = oneshot::channel();
                held.waiting.insert(sent?, answer);
                Ok(answered)
            })
        })
        .await
    }
}

impl<S: State> Drop for Member<S> {
    fn drop(&mut self) {
        self.applier.abort();
    }
}

impl<S: State> Copy<S> {
    fn read<R>(&self, read: impl FnOnce(&S) -> R) -> Result<Reading<R>, ReadError> {
        let held = self.lock();
        if held.is_torn {
            return Err(ReadError::Panicked);
        }
        match (held.replica.state(), held.replica.broken()) {
            (Some(state), _) => {
                Ok(Reading { value: read(state), is_stale: held.replica.is_stale() })
            }
            (None, Some(error)) => Err(ReadError::Broken(error.clone())),
            (None, None) => Err(ReadError::Restoring),
        }
    }

    /// Takes in the object's events, in order, until there are none to come.
    async fn apply(&self, port: Port) {
        let mut changes = 0;
        let mut end = End { copy: self, port: &port, closure: None };
        while let Some(event) = poll_fn(|context| port.poll_next(context)).await {
            if let Event::Closed(why) = &event {
                end.closure = Some(why.clone());
                break;
            }
            let answered = self.lock().take_in(&event);
            for (waits, reply) in answered {
                // Whoever asked may have gone.
                let _ = waits.send(reply);
            }
            changes += 1;
            self.progress.send_replace(Progress::Changed(changes));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Held<S>> {
        // Whether a panic left it torn it says itself.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end of what is taken in, however it comes: by a panic of the state's own code too. Nobody is
/// to wait for an answer that does not come.
struct End<'a, S: State> {
    copy: &'a Copy<S>,
    port: &'a Port,
    closure: Option<Closure>,
}

impl<S: State> Drop for End<'_, S> {
    fn drop(&mut self) {
        self.port.close();
        self.copy.lock().waiting.clear();
        self.copy.progress.send_replace(Progress::Closed(self.closure.take()));
    }
}

impl<S: State> Held<S> {
    /// Whether updates can be agreed on now.
    fn reaches_others(&self) -> bool {
        self.view.is_some() && !self.is_cut_off
    }

    fn take_in(&mut self, event: &Event) -> Vec<(oneshot::Sender<Answer<S>>, Answer<S>)> {
        self.is_torn = true;
        let answered = self.on_event(event);
        self.is_torn = false;
        answered
    }

    fn on_event(&mut self, event: &Event) -> Vec<(oneshot::Sender<Answer<S>>, Answer<S>)> {
        match event {
            Event::Replicated(ReplicatedEvent::View(view)) => {
                self.view = Some(view.clone());
                self.is_cut_off = false;
            }
            Event::Replicated(ReplicatedEvent::Outside) => self.view = None,
            Event::Replicated(ReplicatedEvent::CutOff) => self.is_cut_off = true,
            Event::Replicated(ReplicatedEvent::Reached) => self.is_cut_off = false,
            _ => {}
        }
        let mut answered = Vec::new();
        for (number, reply) in self.replica.on_event(event) {
            answered.extend(self.waiting.remove(&number).map(|waits| (waits, Some(reply))));
        }
        if let Event::Replicated(ReplicatedEvent::Stable { message }) = event {
            let later = self.waiting.split_off(&(message + 1));
            let unanswered = std::mem::replace(&mut self.waiting, later);
            answered.extend(unanswered.into_values().map(|waits| (waits, None)));
        }
        answered
    }
}

impl<S> Object for Replicated<S, Total>
where
    S: State<Update: Live> + Default,
{
    fn object_type() -> ObjectType {
        ObjectType::replicated().of(<S::Update as Live>::schema().id())
    }

    fn schema() -> Option<Schema> {
        Some(<S::Update as Live>::schema())
    }

    /// Waits until the state is there.
    async fn hold(name: &Name, port: Port) -> Result<Self, OpenError> {
        let channel = opened(name, port.clone()).await?;
        let held = Held {
            replica: Replica::new(port.clone(), S::default),
            waiting: BTreeMap::new(),
            view: None,
            is_cut_off: false,
            is_torn: false,
        };
        let progress = watch::Sender::new(Progress::Changed(0));
        let copy = Arc::new(Copy { held: Mutex::new(held), progress });
        let applier = copy.clone();
        let applier = tokio::spawn(async move { applier.apply(port).await });
        let it = Self { held: Member { channel, copy, applier } };
        let mut watch = it.watch();
        loop {
            {
                let held = it.held.copy.lock();
                if let Some(error) = held.replica.broken() {
                    let error = error.clone();
                    return Err(OpenError::Broken { name: name.to_string(), error });
                }
                if held.view.is_some() && !held.replica.is_stale() {
                    break;
                }
            }
            if let Err(closure) = watch.changed().await {
                let name = name.to_string();
                return Err(match closure {
                    Some(closure) => OpenError::Closed { name, closure },
                    None if it.held.copy.lock().is_torn => OpenError::Panicked(name),
                    None => OpenError::Gone(name),
                });
            }
        }
        Ok(it)
    }
}

/// Waits for changes of a replicated state.
pub struct Watch {
    progress: watch::Receiver<Progress>,
}

impl Watch {
    pub(crate) fn new(progress: &watch::Sender<Progress>) -> Self {
        Self { progress: progress.subscribe() }
    }

    /// Waits until the state, its view or its staleness may have changed since the last call. An
    /// error, and why if that is known, when there are no changes to come.
    pub async fn changed(&mut self) -> Result<(), Option<Closure>> {
        if self.progress.changed().await.is_err() {
            return Err(None);
        }
        match &*self.progress.borrow_and_update() {
            Progress::Changed(_) => Ok(()),
            Progress::Closed(closure) => Err(closure.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Node, Table};
    use live_objects::Spec;

    /// A node that is back gets the state of the others, in which its update was made: it cannot
    /// know what it was answered, and nobody is to wait for that.
    #[tokio::test]
    async fn an_update_that_was_made_elsewhere_has_no_answer() {
        let folder = tempfile::tempdir().unwrap();
        let node = Node::local_at(&folder.path().join("cluster"), Vec::new()).await.unwrap();
        let spec = Spec::new("/config".parse().unwrap(), ObjectType::replicated());
        let port = node.open_port(spec).await.unwrap();
        let mut held = Held {
            replica: Replica::new(port, Table::default),
            waiting: BTreeMap::new(),
            view: None,
            is_cut_off: false,
            is_torn: false,
        };
        let mut answers = Vec::new();
        for number in 0..3 {
            let (answer, answered) = oneshot::channel();
            held.waiting.insert(number, answer);
            answers.push(answered);
        }
        let stable = ReplicatedEvent::Stable { message: 1 };
        for event in [ReplicatedEvent::Founded, ReplicatedEvent::Outside, stable] {
            for (waits, answer) in held.take_in(&Event::Replicated(event)) {
                assert!(waits.send(answer).is_ok());
            }
        }
        let told = answers.iter_mut().map(|answer| answer.try_recv().map(|it| it.is_none()));
        let told: Vec<_> = told.map(Result::ok).collect();
        assert_eq!(told, [Some(true), Some(true), None], "the third is not stable");
        node.stop().await;
    }
}
