//! What all handles do with a port: say, hear, close.

use std::future::poll_fn;

use bytes::Bytes;
use live_objects::{Command, Event, Port};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::SendError;

/// A port that is closed when it is dropped.
pub(crate) struct Channel(Port);

impl Drop for Channel {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Channel {
    pub(crate) fn new(port: Port) -> Self {
        Self(port)
    }

    pub(crate) fn port(&self) -> &Port {
        &self.0
    }

    /// Says it now, or not at all. Returns its number.
    pub(crate) fn try_send(&self, command: Command) -> Result<u64, SendError> {
        Ok(self.0.try_send(command)?)
    }

    /// Says it when there is room.
    pub(crate) async fn send(&self, command: Command) -> Result<u64, SendError> {
        let mut command = Some(command);
        Ok(poll_fn(|context| self.0.poll_send(context, &mut command)).await?)
    }

    /// The next event; none when there are none to come.
    pub(crate) async fn next(&self) -> Option<Event> {
        let event = poll_fn(|context| self.0.poll_next(context)).await;
        event.inspect(|event| self.note(event))
    }

    /// The next event, if one is there.
    pub(crate) fn try_next(&self) -> Option<Event> {
        self.0.try_next().inspect(|event| self.note(event))
    }

    /// Nothing comes after a closure, and nothing that is said is taken: nobody is to wait for it.
    fn note(&self, event: &Event) {
        if let Event::Closed(_) = event {
            self.0.close();
        }
    }
}

/// Something written as bytes, as it goes over the wire.
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Bytes, SendError> {
    let bytes = postcard::to_allocvec(value);
    bytes.map(Bytes::from).map_err(|error| SendError::Unwritable(error.to_string()))
}

/// What the bytes say, if they say all of it and nothing else.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let (value, rest) = postcard::take_from_bytes(bytes).ok()?;
    rest.is_empty().then_some(value)
}
