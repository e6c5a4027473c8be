//! What modules of one node tell each other. A signal is given to every other module in the next
//! step, never within the one that raised it: no module ever runs inside another.

use crate::node::Member;

/// What one module lets the others of its node know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signal {
    /// The member is up: it is new, or it answered a suspicion.
    Alive(Member),
    /// The member does not answer; it has time to object.
    Suspect(Member),
    /// The failure detector's verdict: the member did not object in time. It may still be alive.
    Faulty(Member),
    /// The member said good-bye.
    Left(Member),
}
