//! What modules of one node tell each other. A signal is given to every other module in the next
//! step, never within the one that raised it: no module ever runs inside another.

use std::sync::Arc;

use crate::name::ObjectId;
use crate::node::Member;
use crate::object::Spec;

/// What one module lets the others of its node know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Signal {
    /// The member is up: it is new, or it answered a suspicion.
    Alive(Member),
    /// The member does not answer; it has time to object.
    Suspect(Member),
    /// The failure detector's verdict: the member did not object in time. It may still be alive.
    Faulty(Member),
    /// The member said good-bye.
    Left(Member),
    /// This node has the object open for certain, as far as the module that carries it goes.
    Open(ObjectId, Arc<Spec>),
    /// This node no longer has the object open.
    Closed(ObjectId),
}
