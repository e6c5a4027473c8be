//! Aggregates: shares summed up over all nodes.
//!
//! Which shares a handle takes is up to what it sums up: a number, values as they come, items, keys
//! with weights. What is *added* goes to the node one by one, which sums it up, since it knows the
//! time; of items the handle keeps the sketch, since most say nothing new.

use std::marker::PhantomData;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use live_objects::sketch::{self, LongKey, Sketch, WeightError};
use live_objects::{
    Command, Estimate, Event, Name, NotFinite, ObjectId, ObjectType, Port, Share, Summary,
};
use thiserror::Error;

use crate::channel::Channel;
use crate::error::{OpenError, SendError};
use crate::object::{Object, opened};

/// What sums up the shares of all who have it open and have given theirs. `A` is [`Average`],
/// [`Sum`], [`Count`], [`Min`], [`Max`] or [`Variance`] of numbers; [`WeightedAverage`], to which
/// some count for more; [`Highest`], which members have the greatest; [`Quantiles`] or
/// [`Histogram`], where values lie; [`Distinct`], how many different items there are; [`TopK`],
/// which keys are heaviest; [`Rate`], how often something happens. Answers are local: asking sends
/// nothing.
///
/// A share is *set*, or is made of what is *added* to it. What is added for a span is a window that
/// slides, in tenths of the span: it counts for so long, to a tenth, and from then on so does all
/// that was added before. What is set takes the place of all that was added, and what is added that
/// of what was set.
///
/// ```no_run
/// use logo::prelude::*;
/// use logo::{Distinct, Quantiles, TopK};
///
/// # async fn story(node: &Node) -> Result<(), Box<dyn std::error::Error>> {
/// let latency: Aggregate<Quantiles> = node.open("/shop/latency").await?;
/// latency.record(0.012)?;
/// let customers: Aggregate<TopK> = node.open("/shop/customers").await?;
/// customers.add("c-00172", 3)?;
/// let visitors: Aggregate<Distinct> = node.open("/shop/visitors").await?;
/// visitors.insert("192.0.2.7")?;
///
/// if let Some(known) = latency.next().await {
///     println!("p99 of {} members: {:?} s", known.members, known.quantile(0.99));
/// }
/// if let Some(known) = visitors.get() {
///     println!("{:?} visitors, give or take {}", known.value, known.spread);
/// }
/// for heavy in customers.get().unwrap_or_default().top().iter().take(10) {
///     println!("{:?}: {} to {}", heavy.key, heavy.weight, heavy.weight + heavy.bound);
/// }
/// # Ok(())
/// # }
/// ```
pub struct Aggregate<A> {
    channel: Channel,
    last: Mutex<Option<Estimate>>,
    /// Of distinct items: those that were inserted here.
    seen: Mutex<Option<sketch::Distinct>>,
    is: PhantomData<fn(A)>,
}

/// How shares are summed up.
pub trait Summarize: Send + 'static {
    /// As a value.
    const SUMMARY: Summary;
}

/// Whose shares are numbers.
pub trait Numeric: Summarize {}

macro_rules! summaries {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub enum $name {}

        impl Summarize for $name {
            const SUMMARY: Summary = Summary::$name;
        }
    )*};
}

summaries! {
    /// The mean of all shares.
    Average
    /// The sum of all shares.
    Sum
    /// How many shares there are.
    Count
    /// The least share.
    Min
    /// The greatest share.
    Max
    /// The mean square of how far shares are from their mean. [`Estimate::deviation`] is its root.
    Variance
    /// Which members have the ten greatest shares: [`Estimate::highest`].
    Highest
    /// Where values lie, to one percent of them: [`Estimate::quantile`].
    Quantiles
    /// How many values lie in each of some ranges: [`Estimate::histogram`].
    Histogram
    /// How many different items there are, to 1.9 % (the standard error).
    Distinct
    /// Which keys are heaviest: [`Estimate::top`].
    TopK
    /// How many events there are in a second, at all members together.
    Rate
    /// The mean of all shares, to which each counts for its weight. None where none has any.
    WeightedAverage
}

macro_rules! numeric {
    ($($name:ident)*) => {$(impl Numeric for $name {})*};
}

numeric! { Average Sum Count Min Max Variance Highest }

impl<A: Numeric> Aggregate<A> {
    /// Sets this node's share, in place of what it was.
    pub fn set(&self, share: f64) -> Result<(), SetError> {
        self.give(Command::Set(Share::new(share)?))
    }
}

impl Aggregate<WeightedAverage> {
    /// Sets this node's share, in place of what it was: a value that counts for so much.
    pub fn set(&self, value: f64, weight: f64) -> Result<(), SetError> {
        self.give(Command::Set(Share::weighted(value, weight)?))
    }

    /// Adds a value that counts for so much to this node's share.
    pub fn record(&self, value: f64, weight: f64) -> Result<(), SetError> {
        self.give(Command::Add { share: Share::weighted(value, weight)?, span: None })
    }

    /// Adds a value that counts for so much, and for this long.
    pub fn record_for(&self, value: f64, weight: f64, span: Duration) -> Result<(), SetError> {
        self.give(Command::Add { share: Share::weighted(value, weight)?, span: Some(span) })
    }
}

impl Aggregate<Sum> {
    /// Adds to this node's share.
    pub fn add(&self, number: f64) -> Result<(), SetError> {
        self.give(Command::Add { share: Share::new(number)?, span: None })
    }

    /// Adds to this node's share what counts for this long.
    pub fn add_for(&self, number: f64, span: Duration) -> Result<(), SetError> {
        self.give(Command::Add { share: Share::new(number)?, span: Some(span) })
    }
}

macro_rules! extremes {
    ($($name:ident)*) => {$(impl Aggregate<$name> {
        /// Makes this node's share of this value too, beside those that were recorded before.
        pub fn record(&self, value: f64) -> Result<(), SetError> {
            self.give(Command::Add { share: Share::new(value)?, span: None })
        }

        /// Makes this node's share of this value too, for this long.
        pub fn record_for(&self, value: f64, span: Duration) -> Result<(), SetError> {
            self.give(Command::Add { share: Share::new(value)?, span: Some(span) })
        }
    })*};
}

extremes! { Min Max }

impl Aggregate<Quantiles> {
    /// Adds a value to this node's share.
    pub fn record(&self, value: f64) -> Result<(), SetError> {
        self.give(Command::Add { share: Share::new(value)?, span: None })
    }

    /// Adds a value, which counts for this long: how things have been lately.
    pub fn record_for(&self, value: f64, span: Duration) -> Result<(), SetError> {
        self.give(Command::Add { share: Share::new(value)?, span: Some(span) })
    }

    /// Sets this node's share, of many values at once, in place of what it was.
    pub fn set(&self, values: sketch::Quantiles) -> Result<(), SetError> {
        self.give(Command::Set(Sketch::Quantiles(values).into()))
    }
}

impl Aggregate<Histogram> {
    /// Sets this node's share, in place of what it was. Those whose ranges are others than most
    /// members' are not counted.
    pub fn set(&self, values: sketch::Histogram) -> Result<(), SetError> {
        self.give(Command::Set(Sketch::Histogram(values).into()))
    }

    /// Adds to this node's share values that lie in the same ranges.
    pub fn add(&self, values: sketch::Histogram) -> Result<(), SetError> {
        self.give(Command::Add { share: Sketch::Histogram(values).into(), span: None })
    }

    /// Adds values that count for this long.
    pub fn add_for(&self, values: sketch::Histogram, span: Duration) -> Result<(), SetError> {
        self.give(Command::Add { share: Sketch::Histogram(values).into(), span: Some(span) })
    }
}

impl Aggregate<Distinct> {
    /// Adds an item to this node's share, unless it is there.
    pub fn insert(&self, item: impl AsRef<[u8]>) -> Result<(), SetError> {
        let mut seen = self.seen.lock().expect("no code that holds the lock panics");
        let mut with = seen.clone().unwrap_or_default();
        with.insert(item.as_ref());
        if seen.as_ref() != Some(&with) {
            let share = Sketch::Distinct(with.clone()).into();
            self.give(Command::Add { share, span: None })?;
            *seen = Some(with);
        }
        Ok(())
    }

    /// Adds an item, which counts for this long: how many there have been lately. Each call hands
    /// over a sketch of 3 KB.
    pub fn insert_for(&self, item: impl AsRef<[u8]>, span: Duration) -> Result<(), SetError> {
        let mut seen = self.seen.lock().expect("no code that holds the lock panics");
        let mut one = sketch::Distinct::new();
        one.insert(item.as_ref());
        self.give(Command::Add { share: Sketch::Distinct(one).into(), span: Some(span) })?;
        // Those that were inserted for good count no longer than this one.
        *seen = None;
        Ok(())
    }
}

impl Aggregate<TopK> {
    /// Adds to what a key has, of this node's share. A key is of [`sketch::TopK::KEY_LEN_MAX`]
    /// bytes at most.
    pub fn add(&self, key: impl AsRef<[u8]>, weight: u64) -> Result<(), SetError> {
        self.add_within(key.as_ref(), weight, None)
    }

    /// Adds to what a key has, for this long.
    pub fn add_for(
        &self,
        key: impl AsRef<[u8]>,
        weight: u64,
        span: Duration,
    ) -> Result<(), SetError> {
        self.add_within(key.as_ref(), weight, Some(span))
    }

    fn add_within(&self, key: &[u8], weight: u64, span: Option<Duration>) -> Result<(), SetError> {
        let mut one = sketch::TopK::new();
        one.add(key, weight)?;
        self.give(Command::Add { share: Sketch::TopK(one).into(), span })
    }
}

impl Aggregate<Rate> {
    /// So many events happened here.
    pub fn add(&self, events: u32) -> Result<(), SetError> {
        let share = Share::new(events.into())?;
        self.give(Command::Add { share, span: Some(RATE_SPAN) })
    }
}

impl<A: Summarize> Aggregate<A> {
    /// Which object it is.
    pub(crate) fn object(&self) -> ObjectId {
        self.channel.port().object()
    }

    fn give(&self, command: Command) -> Result<(), SetError> {
        // If the object was closed meanwhile, that is among what waits.
        self.get();
        self.channel.try_send(command)?;
        Ok(())
    }

    /// What this node knows now; none before anything is known.
    pub fn get(&self) -> Option<Estimate> {
        while let Some(event) = self.channel.try_next() {
            self.note(&event);
        }
        self.lock().clone()
    }

    /// The next estimate; an application that reads late gets the last alone. None when there are
    /// none to come.
    pub async fn next(&self) -> Option<Estimate> {
        loop {
            let event = self.channel.next().await?;
            if self.note(&event) {
                return self.lock().clone();
            }
        }
    }

    fn note(&self, event: &Event) -> bool {
        let Event::Aggregate(estimate) = event else { return false };
        *self.lock() = Some(estimate.clone());
        true
    }

    fn lock(&self) -> MutexGuard<'_, Option<Estimate>> {
        self.last.lock().expect("no code that holds the lock panics")
    }
}

impl<A: Summarize> Object for Aggregate<A> {
    fn object_type() -> ObjectType {
        ObjectType::aggregate(A::SUMMARY)
    }

    async fn hold(name: &Name, port: Port) -> Result<Self, OpenError> {
        let channel = opened(name, port).await?;
        Ok(Self { channel, last: Mutex::new(None), seen: Mutex::new(None), is: PhantomData })
    }
}

/// Why a share was not set. It is what it was.
#[derive(Clone, PartialEq, Debug, Error)]
pub enum SetError {
    /// The number cannot be summed up.
    #[error(transparent)]
    Number(#[from] NotFinite),
    /// The value has no weight that it could be summed up by.
    #[error(transparent)]
    Weight(#[from] WeightError),
    /// The key is too long.
    #[error(transparent)]
    Key(#[from] LongKey),
    /// The object does not take it.
    #[error(transparent)]
    Send(#[from] SendError),
}

/// Over how long events are counted, to tell how many there are in a second.
const RATE_SPAN: Duration = Duration::from_secs(10);
