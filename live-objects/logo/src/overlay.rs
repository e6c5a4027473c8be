//! Overlay: whom this node has for neighbours, by a rank function.

use std::marker::PhantomData;
use std::sync::{Mutex, MutexGuard};

use live_objects::overlay::{Descriptor, NoProfile, Profile, Rank, Ranking, Ring, Tree};
use live_objects::{Command, Event, Name, ObjectType, Port};
use thiserror::Error;

use crate::channel::Channel;
use crate::error::{OpenError, SendError};
use crate::object::{Object, opened};

/// The nodes that stand under a name, each with those for neighbours that are right for it by the
/// rank `R`: [`Ring`], [`Tree`], [`KNearest`](crate::KNearest), [`Random`](crate::Random), or one
/// of the application's own. What a right neighbour is says the rank; from when nothing changes any
/// more, all are right some rounds later. Neighbours are up as far as this node knows, and asking
/// for them sends nothing.
///
/// A node takes part from when it says where it stands, as long as it has the object open.
///
/// ```no_run
/// use std::borrow::Cow;
///
/// use logo::prelude::*;
/// use logo::{Descriptor, Rank};
///
/// /// Whoever stands highest is everybody's only neighbour.
/// #[derive(Default, Debug)]
/// struct Summit;
///
/// impl Rank for Summit {
///     fn name(&self) -> Cow<'static, str> {
///         "shop.summit".into()
///     }
///
///     fn choose(&self, me: &Descriptor, others: &[Descriptor]) -> Vec<usize> {
///         let height = |it: &Descriptor| it.profile.number(0);
///         let higher = (0..others.len()).filter(|it| height(&others[*it]) > height(me));
///         let lower = |a: &usize, b: &usize| height(&others[*a]).total_cmp(&height(&others[*b]));
///         higher.max_by(lower).into_iter().collect()
///     }
/// }
///
/// # async fn story(node: &Node) -> Result<(), Box<dyn std::error::Error>> {
/// let ring: Overlay<Ring> = node.open("/shop/ring").await?;
/// ring.stand_by_id()?;
/// let summit: Overlay<Summit> = node.open("/shop/summit").await?;
/// summit.stand(&[1_913.0])?;
/// while ring.next().await.is_some() {
///     println!("{:?} comes after this node", ring.successor());
/// }
/// # Ok(())
/// # }
/// ```
pub struct Overlay<R> {
    channel: Channel,
    /// This node and its neighbours as they were told last.
    last: Mutex<Option<(Descriptor, Vec<Descriptor>)>>,
    is: PhantomData<fn(R)>,
}

impl<R: Rank + Default> Overlay<R> {
    /// Takes part at this place, in place of where this node stood before: at a point of one to
    /// four numbers, whose meaning is up to the rank.
    pub fn stand(&self, numbers: &[f64]) -> Result<(), StandError> {
        Ok(self.say(Some(Profile::new(numbers)?))?)
    }

    /// As [`Overlay::stand`], at the place that the node's id gives it, from 0 to 1: all nodes
    /// together are spread evenly so.
    pub fn stand_by_id(&self) -> Result<(), SendError> {
        self.say(None)
    }

    /// This node's neighbours now, the first the most, as far as it knows.
    pub fn neighbours(&self) -> Vec<Descriptor> {
        self.read();
        self.lock().as_ref().map(|(_, neighbours)| neighbours.clone()).unwrap_or_default()
    }

    /// The neighbours, when they are others, or stand elsewhere, than was told last; an application
    /// that reads late gets the last alone. None when there is nothing to come.
    pub async fn next(&self) -> Option<Vec<Descriptor>> {
        loop {
            let event = self.channel.next().await?;
            if self.note(event) {
                return Some(self.neighbours());
            }
        }
    }

    fn say(&self, profile: Option<Profile>) -> Result<(), SendError> {
        // If the object was closed meanwhile, that is among what waits.
        self.read();
        let ranking = Ranking::new(R::default());
        self.channel.try_send(Command::Stand { profile, ranking }).map(drop)
    }

    fn read(&self) {
        while let Some(event) = self.channel.try_next() {
            self.note(event);
        }
    }

    fn note(&self, event: Event) -> bool {
        let Event::Neighbours { me, neighbours } = event else { return false };
        *self.lock() = Some((me, neighbours));
        true
    }

    fn with<T>(&self, of: impl FnOnce(&Descriptor, &[Descriptor]) -> T) -> Option<T> {
        self.read();
        self.lock().as_ref().map(|(me, neighbours)| of(me, neighbours))
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Descriptor, Vec<Descriptor>)>> {
        self.last.lock().expect("no code that holds the lock panics")
    }
}

impl Overlay<Ring> {
    /// Who comes next after this node; none if it is alone.
    pub fn successor(&self) -> Option<Descriptor> {
        self.with(|me, all| Ring::successor(me, all).copied()).flatten()
    }

    /// After whom this node comes next; none if it is alone.
    pub fn predecessor(&self) -> Option<Descriptor> {
        self.with(|me, all| Ring::predecessor(me, all).copied()).flatten()
    }
}

impl Overlay<Tree> {
    /// Whom this node is a child of; none if it is the root.
    pub fn parent(&self) -> Option<Descriptor> {
        self.with(|me, all| Tree::parent(me, all).copied()).flatten()
    }

    /// This node's children, two at the most.
    pub fn children(&self) -> Vec<Descriptor> {
        self.with(Tree::children).unwrap_or_default()
    }
}

impl<R: Rank + Default> Object for Overlay<R> {
    fn object_type() -> ObjectType {
        ObjectType::overlay(&R::default().name())
    }

    async fn hold(name: &Name, port: Port) -> Result<Self, OpenError> {
        let channel = opened(name, port).await?;
        Ok(Self { channel, last: Mutex::new(None), is: PhantomData })
    }
}

/// Why a node does not stand where it should. It stands where it did before.
#[derive(Clone, PartialEq, Debug, Error)]
pub enum StandError {
    /// The numbers cannot be a profile.
    #[error(transparent)]
    Profile(#[from] NoProfile),
    /// The object does not take it.
    #[error(transparent)]
    Send(#[from] SendError),
}
