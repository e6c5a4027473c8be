//! A node's link to one peer: how far it is, and what waits for it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use live_objects::{Incarnation, Time};

use crate::inbox::Connection;
use crate::lanes::Lanes;
use crate::link::{Claim, Connected};

/// A link to one peer, attempted or up.
pub(crate) struct Peer {
    pub(crate) state: State,
    pub(crate) lanes: Arc<Lanes>,
    /// Datagrams that wait for the link to come up.
    early: VecDeque<Bytes>,
    /// What QUIC takes of datagrams when none waits, in bytes.
    room: usize,
    /// The peer's claim, for when this end's own connection fails.
    pub(crate) parked: Option<Claim>,
    /// When something was last sent or came.
    pub(crate) used: Time,
}

/// How far a link is.
pub(crate) enum State {
    /// Its addresses are tried, in the attempt of this number.
    Dialling(u64),
    /// The peer is asked to answer.
    Claiming(Connection, quinn::Connection),
    Up(Connection, quinn::Connection, Incarnation),
}

impl Peer {
    pub(crate) fn new(state: State, now: Time) -> Self {
        let (lanes, early) = (Arc::default(), VecDeque::new());
        Self { state, lanes, early, room: 0, parked: None, used: now }
    }

    pub(crate) fn is_up(&self) -> bool {
        matches!(self.state, State::Up(..))
    }

    pub(crate) fn is_dialling(&self, attempt: u64) -> bool {
        matches!(self.state, State::Dialling(number) if number == attempt)
    }

    /// The link gets a connection, over which nothing was sent yet.
    pub(crate) fn bring_up(&mut self, now: Time, by: &Connected, incarnation: Incarnation) {
        self.room = by.quic.datagram_send_buffer_space();
        self.state = State::Up(by.id, by.quic.clone(), incarnation);
        self.used = now;
        for bytes in std::mem::take(&mut self.early) {
            self.send_datagram(bytes);
        }
    }

    /// Keeps the peer's latest claim.
    pub(crate) fn park(&mut self, claim: Claim) {
        if let Some(before) = self.parked.replace(claim) {
            before.connected.give_up();
        }
    }

    /// Sends a datagram, or keeps it until the link is up. False if it was dropped.
    pub(crate) fn send_datagram(&mut self, bytes: Bytes) -> bool {
        if let State::Up(_, quic, _) = &self.state {
            // Without room QUIC would drop an older one unseen.
            let has_room = quic.datagram_send_buffer_space() >= bytes.len();
            return has_room && quic.send_datagram(bytes).is_ok();
        }
        // Of at most 1,200 bytes each.
        let has_room = self.early.len() < EARLY_MAX;
        if has_room {
            self.early.push_back(bytes);
        }
        has_room
    }

    /// Waits until QUIC has taken all datagrams.
    pub(crate) async fn drain(&self) {
        let State::Up(_, quic, _) = &self.state else { return };
        while quic.datagram_send_buffer_space() < self.room && quic.close_reason().is_none() {
            tokio::time::sleep(DRAIN).await;
        }
    }
}

/// How many datagrams wait for a link.
const EARLY_MAX: usize = 56;
const DRAIN: Duration = Duration::from_millis(1);
