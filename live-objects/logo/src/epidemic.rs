//! Soft states: every holder has a copy, updates it at once, and all copies become the same.
//!
//! A task of the runtime takes in what the object tells; handles read and write the copy under a
//! lock. An update is a delta that is given to the object, and merged into the copy if the object
//! takes it, so that code which panics while it reads or writes has changed nothing.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use live_objects::soft::{Holder, Reader, Soft, Writer};
use live_objects::{Closure, Command, Event, Name, ObjectType, Port, ReplicatedEvent};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::channel::Channel;
use crate::error::{OpenError, UpdateError};
use crate::object::{Object, opened};
use crate::replicated::{Progress, Replicated, Strength, Watch};

/// Updates spread as an epidemic does, and need nobody's consent. Whoever has the state open reads
/// and writes its own copy, also while it is cut off from others; what any holder has that stays
/// reaches all that stay, once they can reach each other, and whoever has taken in the same updates
/// has the same state, in whatever order they came (strong eventual consistency, Shapiro and
/// others, 2011).
///
/// Not promised: any order; that an update is read elsewhere by some time; that it outlives a crash
/// before somebody else has it, or a handle that is dropped right after it. Who has just opened the
/// state may read an empty one for a moment. The state is soft: when the last handle on it is
/// dropped, or the last node that has one is gone, so is the state.
///
/// ```no_run
/// # async fn story() -> Result<(), Box<dyn std::error::Error>> {
/// use logo::prelude::*;
/// use logo::soft::{Counter, Map, Place, Register, Soft};
///
/// struct Cart {
///     items: Map<String, Counter>,
///     note: Register<String>,
/// }
///
/// impl Soft for Cart {
///     const NAME: &'static str = "Cart";
///
///     fn at(place: &mut Place) -> Self {
///         Self { items: place.field("items"), note: place.field("note") }
///     }
/// }
///
/// let node = Node::local("shop").await?;
/// let cart: Replicated<Cart, Epidemic> = node.open("/shop/cart").await?;
/// cart.update(|cart, writer| {
///     cart.items.at(&"cd".to_owned()).add(writer, 2);
///     cart.note.set(writer, &"a present".to_owned());
/// })?;
/// let mut changes = cart.watch();
/// while changes.changed().await.is_ok() {
///     let cds = cart.read(|cart, reader| cart.items.at(&"cd".to_owned()).value(reader));
///     println!("{cds} CDs");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub enum Epidemic {}

impl<S: Soft> Strength<S> for Epidemic {
    type Held = Kept<S>;
}

/// What a handle on a soft state has.
#[expect(unnameable_types, reason = "it is of no use to anybody but its handle")]
pub struct Kept<S> {
    channel: Channel,
    copy: Arc<Copy<S>>,
    applier: JoinHandle<()>,
}

impl<S> Drop for Kept<S> {
    fn drop(&mut self) {
        self.applier.abort();
    }
}

struct Copy<S> {
    holder: Mutex<Holder<S>>,
    progress: watch::Sender<Progress>,
}

impl<S: Soft> Replicated<S, Epidemic> {
    /// Makes an update here and now, and lets it spread. An error says what would have been wrong
    /// with it; then nothing changed.
    pub fn update<R>(
        &self,
        write: impl FnOnce(&S, &mut Writer<'_>) -> R,
    ) -> Result<R, UpdateError> {
        let copy = &self.held.copy;
        let mut holder = copy.lock();
        let (result, delta) = holder.write(write)?;
        if !delta.is_empty() {
            self.held.channel.try_send(Command::Update(delta.encode()))?;
            holder.merge(&delta);
            copy.change();
        }
        Ok(result)
    }

    /// Reads the state as it is here and now.
    pub fn read<R>(&self, read: impl FnOnce(&S, Reader<'_>) -> R) -> R {
        self.held.copy.lock().read(read)
    }

    /// What all that took in the same updates have the same of: a hash of the state, and of all
    /// that is known of what was ever written.
    pub fn hash(&self) -> u64 {
        self.held.copy.lock().store().digest()
    }

    /// A watch on the state's changes from now on, those of this handle among them.
    pub fn watch(&self) -> Watch {
        Watch::new(&self.held.copy.progress)
    }
}

impl<S: Soft> Copy<S> {
    /// Takes in what the object tells, until there is nothing to come.
    async fn apply(&self, port: Port) {
        let mut why: Option<Closure> = None;
        while let Some(event) = poll_fn(|context| port.poll_next(context)).await {
            if let Event::Closed(closure) = event {
                why = Some(closure);
                break;
            }
            if self.lock().on_event(&event) {
                self.change();
            }
        }
        port.close();
        self.progress.send_replace(Progress::Closed(why));
    }

    fn change(&self) {
        self.progress.send_modify(|progress| {
            if let Progress::Changed(changes) = progress {
                *changes += 1;
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, Holder<S>> {
        // Code that panicked had changed nothing.
        self.holder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Soft> Object for Replicated<S, Epidemic> {
    fn object_type() -> ObjectType {
        Holder::<S>::object_type()
    }

    /// Waits until it is told as whom it writes, which is at once.
    async fn hold(name: &Name, port: Port) -> Result<Self, OpenError> {
        let channel = opened(name, port.clone()).await?;
        let author = loop {
            match channel.next().await {
                Some(Event::Replicated(ReplicatedEvent::Joined { author })) => break author,
                Some(Event::Closed(closure)) => {
                    return Err(OpenError::Closed { name: name.to_string(), closure });
                }
                // Nothing is told before that.
                Some(_) => {}
                None => return Err(OpenError::Gone(name.to_string())),
            }
        };
        let progress = watch::Sender::new(Progress::Changed(0));
        let copy = Arc::new(Copy { holder: Mutex::new(Holder::new(author)), progress });
        let applier = copy.clone();
        let applier = tokio::spawn(async move { applier.apply(port).await });
        Ok(Self { held: Kept { channel, copy, applier } })
    }
}
