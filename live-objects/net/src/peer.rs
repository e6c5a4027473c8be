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
    /// When a message was last sent or came, or the last of many datagrams.
    pub(crate) used: Time,
    /// Since when datagrams are counted, and how many were sent or came since.
    datagrams: (Time, u32),
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
        Self { state, lanes, early, room: 0, parked: None, used: now, datagrams: (now, 0) }
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

    /// A datagram is sent, or came. Few of them are no use of a link: they go sealed as well, and
    /// cost less so than what keeps the link alive.
    pub(crate) fn on_datagram(&mut self, now: Time) {
        let (since, count) = &mut self.datagrams;
        if now >= *since + DATAGRAMS_SPAN {
            (*since, *count) = (now, 0);
        }
        *count += 1;
        if *count >= DATAGRAMS_MANY {
            self.used = now;
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

/// In such a span a link costs about so many packets to keep alive: see `KEEP_ALIVE`.
const DATAGRAMS_SPAN: Duration = Duration::from_secs(30);
const DATAGRAMS_MANY: u32 = 30;
/// How many datagrams wait for a link.
const EARLY_MAX: usize = 56;
const DRAIN: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_datagrams_are_no_use_of_a_link_and_many_are() {
        let at = |millis| Time::ZERO + Duration::from_millis(millis);
        let mut peer = Peer::new(State::Dialling(1), at(0));
        // Gossip between two of fifty, and then a stream.
        for round in 1..=100 {
            peer.on_datagram(at(2_000 * round));
        }
        assert_eq!(peer.used, at(0));
        for frame in 1..=100 {
            peer.on_datagram(at(300_000 + 20 * frame));
        }
        assert_eq!(peer.used, at(302_000));
    }
}
