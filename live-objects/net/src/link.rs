//! One connection of a link, from the dial to its end.
//!
//! A connection is not yet a link. Whoever dialled it *claims* it, by a greeting on its control
//! stream, once it knows who answered; the other end *answers* the claim with a greeting of its own
//! if it has no better connection. Only then is the link up and anything sent. So of two
//! connections made at once one carries all, and a connection that is not needed is closed before
//! anybody believes in it.
//!
//! The greeting is the lane's byte and the incarnation, which tells a peer that started again from
//! one that claims twice. Each end has one stream a lane; it begins with the lane's byte.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use live_objects::{Down, Incarnation, NodeId};
use quinn::{
    ConnectionError, Endpoint, Incoming, RecvStream, SendStream, TransportErrorCode, VarInt,
};
use rustls::pki_types::CertificateDer;
use tokio::time::timeout;
use tracing::trace;

use crate::authority::SERVER_NAME;
use crate::identity::node_of;
use crate::inbox::{Connection, Happening, Outlet};
use crate::lanes::Lane;
use crate::tally::Tally;
use crate::tls::Verifier;

/// A connection to a peer that the handshake made known.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) id: Connection,
    pub(crate) quic: quinn::Connection,
}

impl Connected {
    fn new(quic: quinn::Connection) -> Option<Self> {
        let Some(peer) = peer_of(&quic) else {
            quic.close(Reason::Misbehaved.code(), b"no id");
            return None;
        };
        let number = CONNECTIONS.fetch_add(1, Ordering::Relaxed);
        Some(Self { id: Connection { peer, number }, quic })
    }

    /// Another connection is the link, or none is wanted.
    pub(crate) fn give_up(&self) {
        self.quic.close(Reason::Spare.code(), b"");
    }
}

/// A connection that the peer dialled and wants to be the link.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) connected: Connected,
    pub(crate) incarnation: Incarnation,
    pub(crate) control: RecvStream,
}

/// A connection that both ends want to be the link.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) connected: Connected,
    pub(crate) incarnation: Incarnation,
    pub(crate) control: RecvStream,
    /// The control stream of this end, if it has greeted.
    pub(crate) greeted: Option<SendStream>,
}

impl Claim {
    /// The claim is answered as soon as the connection is carried.
    pub(crate) fn accept(self) -> Ready {
        let Self { connected, incarnation, control } = self;
        Ready { connected, incarnation, control, greeted: None }
    }
}

/// Why this end closes a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reason {
    /// The node stops. Also what QUIC says when a process lets go of a connection.
    Stopped = 0,
    Spare = 1,
    Idle = 2,
    Misbehaved = 3,
    /// The peer's certificate is accepted no longer.
    Refused = 4,
}

impl Reason {
    pub(crate) fn code(self) -> VarInt {
        VarInt::from_u32(self as u32)
    }
}

/// Connects to the first of these addresses that the expected node, or any if none is expected,
/// answers at.
pub(crate) async fn dial(
    endpoint: &Endpoint,
    addresses: &[SocketAddr],
    expected: Option<NodeId>,
    tally: &Tally,
) -> Option<Connected> {
    let patience = DIAL / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    for &address in addresses {
        let Ok(connecting) = endpoint.connect(address, SERVER_NAME) else {
            tally.add("net.address_unusable");
            continue;
        };
        match timeout(patience, connecting).await {
            Ok(Ok(quic)) => match Connected::new(quic) {
                Some(it) if expected.is_none_or(|expected| expected == it.id.peer) => {
                    tally.add("net.dialled");
                    return Some(it);
                }
                other => {
                    tally.add("net.another_answered");
                    other.iter().for_each(Connected::give_up);
                }
            },
            Ok(Err(error)) => note_failure(&error, address, tally),
            Err(_) => tally.add("net.dial_unanswered"),
        }
    }
    None
}

/// Asks the peer that a connection dialled here be the link.
pub(crate) async fn claim(connected: Connected, own: Incarnation) -> Result<Ready, Down> {
    let quic = connected.quic.clone();
    let greet = async {
        let greeted = greet(&quic, own).await?;
        let (incarnation, control) = hear_greeting(&quic).await?;
        Some(Ready { connected, incarnation, control, greeted: Some(greeted) })
    };
    match timeout(ANSWER, greet).await {
        Ok(Some(ready)) => Ok(ready),
        Ok(None) => {
            let down = quic.close_reason().as_ref().map_or(Down::Closed, down);
            quic.close(Reason::Misbehaved.code(), b"no greeting");
            Err(down)
        }
        Err(_) => {
            quic.close(Reason::Spare.code(), b"no answer");
            Err(Down::Silent)
        }
    }
}

/// Takes in whoever dials, until the peer claims the connection.
pub(crate) async fn receive(incoming: Incoming, outlet: Outlet) {
    let address = incoming.remote_address();
    let heard = timeout(ANSWER, async {
        let quic = incoming.await.map_err(|error| note_failure(&error, address, &outlet.tally));
        let connected = Connected::new(quic.ok()?)?;
        let (incarnation, control) = hear_greeting(&connected.quic).await?;
        Some(Claim { connected, incarnation, control })
    });
    if let Ok(Some(claim)) = heard.await {
        outlet.tell(Happening::Claimed(claim));
    }
}

/// Opens this end's control stream with a greeting.
pub(crate) async fn greet(quic: &quinn::Connection, own: Incarnation) -> Option<SendStream> {
    let mut stream = quic.open_uni().await.ok()?;
    let mut greeting = [0; GREETING_BYTES];
    greeting[0] = Lane::Control.to_byte();
    greeting[1..].copy_from_slice(own.as_bytes());
    stream.write_all(&greeting).await.ok()?;
    Some(stream)
}

/// Takes in the peer's control stream up to the end of its greeting.
async fn hear_greeting(quic: &quinn::Connection) -> Option<(Incarnation, RecvStream)> {
    let mut stream = quic.accept_uni().await.ok()?;
    let mut greeting = [0; GREETING_BYTES];
    stream.read_exact(&mut greeting).await.ok()?;
    let (lane, incarnation) = greeting.split_first_chunk::<1>()?;
    let is_control = Lane::from_byte(lane[0]) == Some(Lane::Control);
    let incarnation = Incarnation::from_bytes(incarnation.try_into().ok()?);
    is_control.then_some((incarnation, stream))
}

/// What modules are told of the end of a connection.
pub(crate) fn down(error: &ConnectionError) -> Down {
    match error {
        ConnectionError::TimedOut => Down::Silent,
        ConnectionError::ApplicationClosed(close) if close.error_code == Reason::Idle.code() => {
            Down::Idle
        }
        ConnectionError::ApplicationClosed(_)
        | ConnectionError::ConnectionClosed(_)
        | ConnectionError::TransportError(_)
        | ConnectionError::VersionMismatch
        | ConnectionError::Reset
        | ConnectionError::LocallyClosed
        | ConnectionError::CidsExhausted => Down::Closed,
    }
}

/// Whom the handshake showed at the other end.
fn peer_of(quic: &quinn::Connection) -> Option<NodeId> {
    node_of(shown(quic)?.first()?).ok()
}

/// Whether the peer would pass a handshake now. If not, the connection is closed.
pub(crate) fn is_accepted(quic: &quinn::Connection, verifier: &Verifier) -> bool {
    let is_accepted = shown(quic).is_some_and(|shown| verifier.verify(&shown).is_ok());
    if !is_accepted {
        quic.close(Reason::Refused.code(), b"");
    }
    is_accepted
}

/// The certificates that the peer showed, its own first.
fn shown(quic: &quinn::Connection) -> Option<Vec<CertificateDer<'static>>> {
    Some(*quic.peer_identity()?.downcast().ok()?)
}

fn note_failure(error: &ConnectionError, address: SocketAddr, tally: &Tally) {
    trace!(%address, %error, "no connection");
    let alert = match error {
        ConnectionError::TransportError(error) => Some(error.code),
        ConnectionError::ConnectionClosed(close) => Some(close.error_code),
        _ => None,
    };
    tally.add(match alert {
        Some(code) if code == TransportErrorCode::crypto(NO_APPLICATION_PROTOCOL) => {
            "net.version_refused"
        }
        Some(_) => "net.handshake_refused",
        None => "net.handshake_broken",
    });
}

/// Numbers the connections of this process.
static CONNECTIONS: AtomicU64 = AtomicU64::new(0);

const GREETING_BYTES: usize = 1 + Incarnation::LEN;
/// TLS's alert that both ends speak no common version.
const NO_APPLICATION_PROTOCOL: u8 = 120;
/// How long a dial takes at most, over all addresses.
const DIAL: Duration = Duration::from_secs(5);
/// How long a connection waits for a greeting: longer than a dial of the peer's own takes.
const ANSWER: Duration = Duration::from_secs(10);
