//! What goes over a link that is up: messages of two lanes and datagrams, both ways.
//!
//! A lane is one stream. Reading waits for room in the inbox, writing for the peer's flow control;
//! neither lane waits for the other. When the connection is gone, what had come is read to its end
//! before the loss is told.

use std::sync::Arc;

use live_objects::{Down, Incarnation};
use quinn::{ReadError, RecvStream, SendStream};
use tracing::trace;

use crate::framing::{Reader, pieces};
use crate::inbox::{Connection, Happening, Outlet};
use crate::lanes::{Lane, Lanes};
use crate::link::{Connected, Ready, Reason, down, greet};

/// Carries a link: until its connection is lost, or its lanes are closed and all is delivered.
pub(crate) async fn carry(ready: Ready, own: Incarnation, lanes: Arc<Lanes>, outlet: Outlet) {
    let Ready { connected: Connected { id, quic }, control, greeted, .. } = ready;
    let end = End { id, quic, outlet };
    let reads = async {
        tokio::join!(end.read(control), end.read_bulk(), end.read_datagrams());
    };
    let writes = async {
        tokio::select! {
            _ = end.quic.closed() => {}
            _ = end.write_all(greeted, own, &lanes) => {
                end.quic.close(Reason::Stopped.code(), b"");
            }
        }
    };
    tokio::join!(reads, writes);
    let down = end.quic.close_reason().as_ref().map_or(Down::Closed, down);
    end.outlet.tell(Happening::Lost(id, down));
}

/// This end of the connection.
struct End {
    id: Connection,
    quic: quinn::Connection,
    outlet: Outlet,
}

impl End {
    async fn read_bulk(&self) {
        let Ok(mut stream) = self.quic.accept_uni().await else { return };
        let mut lane = [0];
        if stream.read_exact(&mut lane).await.is_err() {
            return;
        }
        match Lane::from_byte(lane[0]) {
            Some(Lane::Bulk) => self.read(stream).await,
            _ => self.refuse("another stream than the bulk lane"),
        }
    }

    async fn read(&self, mut stream: RecvStream) {
        let mut reader = Reader::default();
        loop {
            let mut piece = match stream.read_chunk(PIECE_BYTES_MAX, true).await {
                Ok(Some(chunk)) => chunk.bytes,
                Ok(None) | Err(ReadError::ConnectionLost(_)) => return,
                Err(error) => return self.refuse(&error.to_string()),
            };
            let mut messages = Vec::new();
            loop {
                match reader.next(&mut piece) {
                    Ok(Some(message)) => messages.push(message),
                    Ok(None) => break,
                    Err(error) => return self.refuse(&error.to_string()),
                }
            }
            if !messages.is_empty() {
                self.outlet.messages(self.id, messages).await;
            }
        }
    }

    async fn read_datagrams(&self) {
        while let Ok(bytes) = self.quic.read_datagram().await {
            self.outlet.datagram(self.id, bytes);
        }
    }

    /// Writes both lanes until they are closed and the peer has all.
    async fn write_all(
        &self,
        greeted: Option<SendStream>,
        own: Incarnation,
        lanes: &Lanes,
    ) -> Result<(), Broken> {
        // The greeting goes first: the peer knows the control stream by its being the first.
        let control = match greeted {
            Some(stream) => stream,
            None => greet(&self.quic, own).await.ok_or(Broken)?,
        };
        let _ = control.set_priority(1);
        let bulk = async {
            let mut stream = self.quic.open_uni().await.map_err(|_| Broken)?;
            stream.write_all(&[Lane::Bulk.to_byte()]).await.map_err(|_| Broken)?;
            self.write(stream, Lane::Bulk, lanes).await
        };
        tokio::try_join!(self.write(control, Lane::Control, lanes), bulk).map(|_| ())
    }

    async fn write(&self, mut stream: SendStream, lane: Lane, lanes: &Lanes) -> Result<(), Broken> {
        while let Some(batch) = lanes.next(lane).await {
            stream.write_all_chunks(&mut pieces(&batch)).await.map_err(|_| Broken)?;
            if lanes.wrote(lane, &batch) {
                self.outlet.tell(Happening::Drained(self.id));
            }
        }
        stream.finish().map_err(|_| Broken)?;
        stream.stopped().await.map(|_| ()).map_err(|_| Broken)
    }

    fn refuse(&self, why: &str) {
        trace!(peer = ?self.id.peer, why, "the peer misbehaves");
        self.outlet.tally.add("net.misbehaved");
        self.quic.close(Reason::Misbehaved.code(), why.as_bytes());
    }
}

/// The connection is gone, or the peer wants no more of a stream.
struct Broken;

/// How much is read of a stream at once.
const PIECE_BYTES_MAX: usize = 64 << 10;
