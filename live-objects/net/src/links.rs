//! The links of a node: which connection carries each, and what modules are told of it.
//!
//! A node has at most one link to a peer. It is *attempted* (somebody is dialled, or asked to
//! answer) and then *up*. When both ends dial at once, the node with the lower id goes on and keeps
//! the other's claim for the case that its own attempt fails; the node with the higher id gives its
//! own attempt up. Whatever waits in the lanes goes over the connection that the link gets.
//!
//! A node's identity may be renewed while links stand. Those to peers that the new one does not
//! accept are closed, and a connection whose handshake was made before is looked at when it comes.
//!
//! Invariants: a message is handed on only if it came over the connection that is the link. `Up`
//! and `Down` of a peer are told in turn, but that a failed attempt is a `Down` alone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use live_objects::{Arrival, Down, Incarnation, Link, Member, NodeId, Time};
use quinn::Endpoint;
use thiserror::Error;
use tokio::task::JoinSet;

use crate::carry::carry;
use crate::credential::Trust;
use crate::framing::Frame;
use crate::identity::Identity;
use crate::inbox::{Connection, Dial, Happening, Outlet};
use crate::lanes::{Lane, Lanes};
use crate::link::{Claim, Connected, Ready, Reason, claim, dial, is_accepted};
use crate::peer::{Peer, State};
use crate::tls::{CertificateError, PROTOCOL, Setup, Verifier};

/// The links of one node. Dropping it ends all of them.
pub(crate) struct Links {
    me: Member,
    links: BTreeMap<NodeId, Peer>,
    /// Addresses that are dialled for whoever answers.
    dialled: BTreeSet<SocketAddr>,
    attempts: u64,
    endpoint: Endpoint,
    verifier: Verifier,
    outlet: Outlet,
    /// Tasks that make links, and tasks that carry them.
    makers: JoinSet<()>,
    carriers: JoinSet<()>,
}

impl Links {
    pub(crate) fn new(me: Member, endpoint: Endpoint, verifier: Verifier, outlet: Outlet) -> Self {
        Self {
            me,
            links: BTreeMap::new(),
            dialled: BTreeSet::new(),
            attempts: 0,
            endpoint,
            verifier,
            outlet,
            makers: JoinSet::new(),
            carriers: JoinSet::new(),
        }
    }

    pub(crate) fn has(&self, peer: NodeId) -> bool {
        self.links.contains_key(&peer)
    }

    pub(crate) fn is_up(&self, peer: NodeId) -> bool {
        self.links.get(&peer).is_some_and(Peer::is_up)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// Which life a peer lives and where, if the link to it is up.
    pub(crate) fn whereabouts(&self, peer: NodeId) -> Option<(Incarnation, SocketAddr)> {
        match &self.links.get(&peer)?.state {
            State::Up(_, quic, incarnation) => Some((*incarnation, quic.remote_address())),
            State::Dialling(_) | State::Claiming(..) => None,
        }
    }

    /// The lanes of the link to a peer, if there is one.
    pub(crate) fn lanes(&self, peer: NodeId) -> Option<&Lanes> {
        self.links.get(&peer).map(|link| &*link.lanes)
    }

    /// Attempts a link to a peer who is reached at one of these addresses.
    pub(crate) fn open(&mut self, now: Time, peer: NodeId, addresses: &[SocketAddr]) {
        self.attempts += 1;
        let attempt = self.attempts;
        self.links.insert(peer, Peer::new(State::Dialling(attempt), now));
        self.spawn_dial(Dial::Node(peer, attempt), addresses.to_vec());
    }

    /// Attempts a link to whoever answers at an address.
    pub(crate) fn dial(&mut self, address: SocketAddr) {
        let is_there = self.links.values().any(|link| match &link.state {
            State::Up(_, quic, _) | State::Claiming(_, quic) => quic.remote_address() == address,
            State::Dialling(_) => false,
        });
        if !is_there && self.dialled.insert(address) {
            self.spawn_dial(Dial::Address(address), vec![address]);
        }
    }

    /// Sends over a link that is there and has room.
    pub(crate) fn send(&mut self, now: Time, to: NodeId, lane: Lane, frame: Frame) {
        if let Some(link) = self.links.get_mut(&to) {
            link.used = now;
            link.lanes.push(lane, frame);
        }
    }

    /// Sends over a link that is there, or keeps the datagram until it is up.
    pub(crate) fn send_datagram(&mut self, now: Time, to: NodeId, bytes: Bytes) {
        let Some(link) = self.links.get_mut(&to) else { return };
        link.on_datagram(now);
        if !link.send_datagram(bytes) {
            self.outlet.tally.add("net.datagram_unsent");
        }
    }

    /// Takes in what a task tells.
    pub(crate) fn on(&mut self, now: Time, happening: Happening, arrivals: &mut Vec<Arrival>) {
        match happening {
            Happening::Dialled(dial, connected) => {
                self.on_dialled(now, dial, connected, arrivals);
            }
            Happening::Claimed(claim) => self.on_claimed(now, claim, arrivals),
            Happening::Answered(id, Ok(ready)) => self.on_answered(now, id, ready, arrivals),
            Happening::Answered(id, Err(down)) => {
                if self.is_claiming(id) {
                    self.fail(now, id.peer, down, arrivals);
                }
            }
            Happening::Messages(id, messages, room) => {
                if let Some(link) = self.up(id) {
                    link.used = now;
                    let message = |bytes| Arrival::Message { from: id.peer, bytes };
                    arrivals.extend(messages.into_iter().map(message));
                }
                drop(room);
            }
            Happening::Datagram(id, bytes, room) => {
                if let Some(link) = self.up(id) {
                    link.on_datagram(now);
                    arrivals.push(Arrival::Datagram { from: id.peer, bytes });
                }
                drop(room);
            }
            Happening::Sealed(..) => unreachable!("what no connection brought is opened before"),
            Happening::Drained(id) => {
                if self.up(id).is_some() {
                    arrivals.push(Arrival::Room { to: id.peer });
                }
            }
            Happening::Lost(id, down) => {
                if self.up(id).is_some() {
                    self.fail(now, id.peer, down, arrivals);
                }
            }
        }
    }

    /// Closes links that nobody uses, and forgets tasks that ended.
    pub(crate) fn sweep(&mut self, now: Time, arrivals: &mut Vec<Arrival>) {
        while self.makers.try_join_next().is_some() {}
        while self.carriers.try_join_next().is_some() {}
        let is_idle = |link: &Peer| now >= link.used + IDLE && link.lanes.is_empty();
        let idle = self.links.iter().filter(|(_, link)| is_idle(link)).map(|(peer, _)| *peer);
        for peer in idle.collect::<Vec<_>>() {
            if let Some(State::Up(_, quic, _)) = self.links.get(&peer).map(|link| &link.state) {
                quic.close(Reason::Idle.code(), b"");
                self.fail(now, peer, Down::Idle, arrivals);
            }
        }
    }

    /// Shows another certificate of this node from now on, and accepts whom the identity accepts:
    /// tells whose credentials that are.
    pub(crate) fn renew(
        &mut self,
        now: Time,
        identity: &Identity,
        arrivals: &mut Vec<Arrival>,
    ) -> Result<Trust, RenewError> {
        let (own, given) = (self.me.node, identity.node());
        if own != given {
            return Err(RenewError::AnotherNode { own, given });
        }
        let setup = Setup::new(identity, &[PROTOCOL])?;
        self.endpoint.set_server_config(Some(setup.server));
        self.endpoint.set_default_client_config(setup.client);
        self.verifier = setup.verifier;
        let mut refused = Vec::new();
        for (peer, link) in &mut self.links {
            // A claim that is not accepted is not next either.
            link.parked.take_if(|claim| !is_accepted(&claim.connected.quic, &self.verifier));
            if let State::Up(_, quic, _) | State::Claiming(_, quic) = &link.state
                && !is_accepted(quic, &self.verifier)
            {
                refused.push(*peer);
            }
        }
        for peer in refused {
            self.outlet.tally.add("net.no_longer_accepted");
            self.fail(now, peer, Down::Closed, arrivals);
        }
        Ok(setup.trust)
    }

    /// Sees that the peers get what was said to them, for so long at most, then closes all links.
    pub(crate) async fn close(mut self, patience: Duration) {
        self.outlet.close();
        self.makers.abort_all();
        // A peer that takes nothing costs itself: the others still get what was said to them.
        let _ = tokio::time::timeout(patience / 2, async {
            for link in self.links.values() {
                link.drain().await;
            }
        })
        .await;
        self.links.values().for_each(|link| link.lanes.close());
        let _ = tokio::time::timeout(patience / 2, async {
            while self.carriers.join_next().await.is_some() {}
        })
        .await;
        self.endpoint.close(Reason::Stopped.code(), b"");
        // The peers are told at once; for stray packets of theirs nobody waits.
        let _ = tokio::time::timeout(TELL, self.endpoint.wait_idle()).await;
    }

    /// A dial ended. Nobody is told if nobody answered at an address that nobody is known to have.
    fn on_dialled(
        &mut self,
        now: Time,
        dial: Dial,
        connected: Option<Connected>,
        arrivals: &mut Vec<Arrival>,
    ) {
        let accepted = connected.filter(|it| is_accepted(&it.quic, &self.verifier));
        let Some(connected) = accepted else {
            match dial {
                Dial::Address(address) => {
                    self.dialled.remove(&address);
                }
                Dial::Node(peer, attempt) => {
                    let link = self.links.get(&peer);
                    if link.is_some_and(|link| link.is_dialling(attempt)) {
                        self.fail(now, peer, Down::Silent, arrivals);
                    }
                }
            }
            return;
        };
        let peer = connected.id.peer;
        let is_wanted = match dial {
            Dial::Address(address) => {
                self.dialled.remove(&address);
                peer != self.me.node && !self.links.contains_key(&peer)
            }
            Dial::Node(_, attempt) => {
                self.links.get(&peer).is_some_and(|link| link.is_dialling(attempt))
            }
        };
        if !is_wanted {
            connected.give_up();
            return;
        }
        let claiming = State::Claiming(connected.id, connected.quic.clone());
        match self.links.get_mut(&peer) {
            Some(link) => link.state = claiming,
            None => drop(self.links.insert(peer, Peer::new(claiming, now))),
        }
        let (own, outlet) = (self.me.incarnation, self.outlet.clone());
        self.makers.spawn(async move {
            let id = connected.id;
            outlet.tell(Happening::Answered(id, claim(connected, own).await));
        });
    }

    /// A peer wants a connection that it dialled to be the link.
    fn on_claimed(&mut self, now: Time, claim: Claim, arrivals: &mut Vec<Arrival>) {
        let peer = claim.connected.id.peer;
        if !is_accepted(&claim.connected.quic, &self.verifier) {
            return;
        }
        if peer == self.me.node {
            claim.connected.give_up();
            return;
        }
        match self.links.get_mut(&peer) {
            None => {}
            Some(link) => match &link.state {
                // The peer started again.
                State::Up(_, quic, incarnation) if *incarnation != claim.incarnation => {
                    quic.close(Reason::Spare.code(), b"");
                    self.links.remove(&peer);
                    arrivals.push(Arrival::Link { peer, link: Link::Down(Down::Closed) });
                }
                // Late, or the peer has lost the link and we are yet to hear: then it is next.
                State::Up(..) => return link.park(claim),
                // Both dial: the attempt of the lower id goes on.
                _ if self.me.node < peer => return link.park(claim),
                State::Claiming(_, quic) => quic.close(Reason::Spare.code(), b""),
                State::Dialling(_) => {}
            },
        }
        self.bring_up(now, claim.accept(), arrivals);
    }

    fn on_answered(
        &mut self,
        now: Time,
        id: Connection,
        ready: Ready,
        arrivals: &mut Vec<Arrival>,
    ) {
        if !self.is_claiming(id) {
            ready.connected.give_up();
            return;
        }
        self.bring_up(now, ready, arrivals);
        if let Some(spare) = self.links.get_mut(&id.peer).and_then(|link| link.parked.take()) {
            spare.connected.give_up();
        }
    }

    /// The link gets its connection. What waited in its lanes goes over it.
    fn bring_up(&mut self, now: Time, ready: Ready, arrivals: &mut Vec<Arrival>) {
        let peer = ready.connected.id.peer;
        let link = self.links.entry(peer).or_insert_with(|| Peer::new(State::Dialling(0), now));
        link.bring_up(now, &ready.connected, ready.incarnation);
        let carried = carry(ready, self.me.incarnation, link.lanes.clone(), self.outlet.clone());
        self.carriers.spawn(carried);
        arrivals.push(Arrival::Link { peer, link: Link::Up });
    }

    /// The link's connection, or the attempt at one, is gone. If the peer has claimed another, that
    /// is next; an attempt then goes on as if it had been made there.
    fn fail(&mut self, now: Time, peer: NodeId, down: Down, arrivals: &mut Vec<Arrival>) {
        let Some(mut link) = self.links.remove(&peer) else { return };
        let parked = link.parked.take();
        if parked.is_none() || link.is_up() {
            arrivals.push(Arrival::Link { peer, link: Link::Down(down) });
        } else {
            self.links.insert(peer, link);
        }
        if let Some(claim) = parked {
            self.bring_up(now, claim.accept(), arrivals);
        }
    }

    /// The link that this connection carries.
    fn up(&mut self, id: Connection) -> Option<&mut Peer> {
        let link = self.links.get_mut(&id.peer)?;
        matches!(link.state, State::Up(carrier, ..) if carrier == id).then_some(link)
    }

    fn is_claiming(&self, id: Connection) -> bool {
        let link = self.links.get(&id.peer);
        link.is_some_and(|link| matches!(link.state, State::Claiming(claimed, _) if claimed == id))
    }

    fn spawn_dial(&mut self, whom: Dial, addresses: Vec<SocketAddr>) {
        let (endpoint, outlet) = (self.endpoint.clone(), self.outlet.clone());
        self.makers.spawn(async move {
            let expected = match whom {
                Dial::Node(peer, _) => Some(peer),
                Dial::Address(_) => None,
            };
            let connected = dial(&endpoint, &addresses, expected, &outlet.tally).await;
            outlet.tell(Happening::Dialled(whom, connected));
        });
    }
}

/// Why a node did not take another identity. It goes on with the one that it has.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum RenewError {
    /// The identity is another node's.
    #[error(
        "this is node {own} and the identity is of node {given}: a node keeps its key; sign a \
         certificate for the key that it has"
    )]
    AnotherNode {
        /// Who the node is.
        own: NodeId,
        /// Whom the identity is of.
        given: NodeId,
    },
    /// The others would refuse this node.
    #[error("the new certificate would be refused: {0}")]
    Certificate(#[from] CertificateError),
    /// The node has stopped.
    #[error("the node has stopped")]
    Gone,
}

/// A link that nobody used for so long is closed.
const IDLE: Duration = Duration::from_secs(60);
/// How long telling peers that the node is gone takes at most.
const TELL: Duration = Duration::from_millis(100);
