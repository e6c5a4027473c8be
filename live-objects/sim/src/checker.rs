//! Checkers: what must hold of everything that happened, whoever carried the objects.
//!
//! A checker reads the history of a world record by record, as it grows, and at the end is asked
//! whether things have *settled*: what must never happen is a violation, what has not happened in
//! time after the faults stopped is being stuck.

mod groups;
mod members;
mod soft;
mod states;
mod views;

use std::fmt;

use live_objects::{Member, Time};

pub use self::groups::GroupsChecker;
pub use self::members::MembersChecker;
pub use self::soft::SoftChecker;
pub use self::states::StatesChecker;
pub use self::views::ViewsChecker;
use crate::history::Record;

/// Something that must hold of every history.
pub trait Checker: Send {
    /// Its name, for whoever reads that it was violated.
    fn name(&self) -> &'static str;

    /// Takes the next record. An error says what must not have happened.
    fn check(&mut self, record: &Record) -> Result<(), String>;

    /// Whether things are as they must be a while after the last fault. An error says what is not.
    fn settled(&self, running: &[(usize, Member)]) -> Result<(), String>;

    /// Whether so much was lost at once that the cluster can never settle: a quorum of its last
    /// view is gone for good. Such an end is no fault of the protocol; it is counted, not hidden.
    fn is_lost(&self) -> bool {
        false
    }
}

/// What a checker found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The checker's name.
    pub checker: &'static str,
    /// When it was seen, on the world's clock.
    pub at: Time,
    /// What was wrong.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:?}: {}", self.checker, self.at, self.what)
    }
}
