//! When a node is ready: it knows as many members as it was told to expect.
//!
//! Nodes that start at once with the same seeds find each other one by one, and what one does
//! before it has heard of the others it does alone. Consul's servers wait so for `bootstrap_expect`
//! of them, and Serf's agents retry to join until somebody answers. Here one number says both:
//! those who found a cluster together expect each other ([`Founding::Expect`]), who founds it alone
//! expects nobody, and all others expect one who is there already. A node that comes back to a
//! cluster of fewer than were once expected is ready when it is in a view: what founds a cluster
//! is behind it.

use std::future::pending;
use std::time::Duration;

use groupcomm::Founding;
use live_objects::{Event, MembersEvent, Name, Port, Spec};
use live_objects_net::Node;
use thiserror::Error;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::channel::Channel;
use crate::error::OpenError;
use crate::members::{Eventual, Members};
use crate::object::Object;

/// What a node waits for, and how far that is.
pub(crate) struct Readiness {
    expected: usize,
    /// Keeps the node in its cluster's configuration, if it is to be in it.
    seat: Option<Channel>,
    state: Mutex<State>,
}

enum State {
    /// Nobody has asked yet.
    Unasked,
    Waits(Members<Eventual>),
    Ready,
}

/// Why a node is not ready. It goes on and may be soon.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum NotReady {
    /// Fewer members are known than are expected.
    #[error(
        "{known} of the {expected} nodes that are expected are known after {} s: are the others \
         up, and do the seeds lead to one of them?",
        patience.as_secs()
    )]
    Fewer {
        /// How many are, with this one.
        known: usize,
        /// How many are expected, with this one.
        expected: usize,
        /// How long it was waited for them.
        patience: Duration,
    },
    /// It cannot be told who is known.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It never will be.
    #[error("the node has stopped")]
    Gone,
}

impl Readiness {
    pub(crate) fn new(founding: Founding, seat: Option<Port>) -> Self {
        let expected = match founding {
            Founding::Alone => 1,
            Founding::Wait => 2,
            Founding::Expect(nodes) => nodes.into(),
        };
        Self { expected, seat: seat.map(Channel::new), state: Mutex::new(State::Unasked) }
    }

    pub(crate) async fn wait(&self, node: &Node, patience: Duration) -> Result<(), NotReady> {
        let mut known = 0;
        match timeout(patience, self.until_ready(node, &mut known)).await {
            Ok(ended) => ended,
            Err(_) => Err(NotReady::Fewer { known, expected: self.expected, patience }),
        }
    }

    async fn until_ready(&self, node: &Node, known: &mut usize) -> Result<(), NotReady> {
        let mut state = self.state.lock().await;
        if let State::Unasked = *state {
            let name: Name = NAME.parse().expect("it is a name");
            let spec = Spec::new(name.clone(), Members::<Eventual>::object_type());
            let port = node.open(spec).await.map_err(OpenError::from)?;
            *state = State::Waits(Members::hold(&name, port).await?);
        }
        while let State::Waits(members) = &mut *state {
            *known = members.now().len();
            if *known >= self.expected {
                *state = State::Ready;
                break;
            }
            tokio::select! {
                event = members.next() => drop(event.ok_or(NotReady::Gone)?),
                event = self.seat_tells() => {
                    if let Event::Members(MembersEvent::View(_)) = event.ok_or(NotReady::Gone)? {
                        *state = State::Ready;
                    }
                }
            }
        }
        Ok(())
    }

    async fn seat_tells(&self) -> Option<Event> {
        match &self.seat {
            Some(seat) => seat.next().await,
            None => pending().await,
        }
    }
}

/// The object by which a node knows of members while it waits for them.
const NAME: &str = "/.logo/ready";
