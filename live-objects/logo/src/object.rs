//! What every handle is: a type of object, and a way to get hold of one.

use std::future::Future;

use live_objects::{Event, Name, ObjectType, Port, Schema};

use crate::channel::Channel;
use crate::error::OpenError;

/// A typed handle on a live object. Dropping it closes the object.
pub trait Object: Sized + Send {
    /// The type of the objects that this is a handle on.
    fn object_type() -> ObjectType;

    /// What its messages, updates or values are made of, for those who have no Rust type for them.
    fn schema() -> Option<Schema> {
        None
    }

    /// Takes hold of an object of that type that was just opened.
    fn hold(name: &Name, port: Port) -> impl Future<Output = Result<Self, OpenError>> + Send;
}

/// Waits until the object is open.
pub(crate) async fn opened(name: &Name, port: Port) -> Result<Channel, OpenError> {
    let channel = Channel::new(port);
    let name = || name.to_string();
    loop {
        match channel.next().await {
            Some(Event::Opened) => return Ok(channel),
            Some(Event::Refused(refusal)) => {
                return Err(OpenError::Refused { name: name(), refusal });
            }
            Some(Event::Closed(closure)) => {
                return Err(OpenError::Closed { name: name(), closure });
            }
            // A module has nothing to tell of an object that is not open: its fault, not ours.
            Some(_) => {}
            None => return Err(OpenError::Gone(name())),
        }
    }
}
