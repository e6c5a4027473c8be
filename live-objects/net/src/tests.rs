//! Nodes with a toy module, on real sockets of this machine.

mod datagrams;
mod renewal;

use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use live_objects::{
    Agreement, Command, Cost, Down, Incarnation, Input, Io, Kind, Lack, Link, Member, Module,
    NodeId, ObjectType, Port, Spec, Target, Time, Via,
};
use quinn::{Endpoint, TokioRuntime};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

use crate::authority::SERVER_NAME;
use crate::framing::MESSAGE_BYTES_MAX;
use crate::link::{self, Reason, dial};
use crate::peer::{Peer, State};
use crate::tally::Tally;
use crate::tls::{PROTOCOL, Setup};
use crate::{Authority, Config, Identity, Node, StartError};

/// What the toy does in a step.
type Order = Box<dyn FnOnce(&mut Io<'_>) + Send>;

/// A module that does what the test says, and tells the test what it hears.
struct Toy {
    orders: mpsc::Receiver<Order>,
    heard: UnboundedSender<Input>,
    /// Bulk that is still to be sent, in bytes, and to whom.
    bulk: Option<(NodeId, usize)>,
}

impl Module for Toy {
    fn name(&self) -> &'static str {
        "toy"
    }

    fn offers(&self, ty: &ObjectType) -> Result<Cost, Lack> {
        match &ty.kind {
            Kind::Custom(_) => Ok(Cost { copies: 1, overhead_bytes: 0 }),
            kind => Err(Lack::Kind(kind.clone())),
        }
    }

    fn handle(&mut self, _: Time, input: Input, io: &mut Io<'_>) {
        match &input {
            Input::Commands { object } => {
                while let Some(taken) = io.take(*object, usize::MAX) {
                    let payload = taken.command.payload().clone();
                    io.release(*object, taken.message);
                    match payload.first_chunk::<{ NodeId::LEN }>() {
                        Some(to) => self.bulk = Some((NodeId::from_bytes(*to), BULK_BYTES)),
                        None => self.orders.recv().expect("an order for each command")(io),
                    }
                }
            }
            Input::Stop => io.stopped(),
            _ => {}
        }
        let _ = self.heard.send(input);
    }

    fn finish(&mut self, _: Time, io: &mut Io<'_>) {
        let Some((to, left)) = &mut self.bulk else { return };
        while *left > 0 {
            let room = io.room(*to);
            let piece = room.min(*left).min(64 << 10);
            if piece == 0 || io.send(Target::Node(*to), Via::Bulk, vec![9; piece].into()).is_err() {
                break;
            }
            *left -= piece;
        }
    }

    fn next_wake(&self) -> Option<Time> {
        None
    }
}

/// A node with a toy.
struct Player {
    node: Node,
    credential: Bytes,
    port: Port,
    orders: mpsc::Sender<Order>,
    heard: UnboundedReceiver<Input>,
}

impl Player {
    async fn start(listen: SocketAddr, identity: Identity) -> Self {
        let (orders, ordered) = mpsc::channel();
        let (told, heard) = unbounded_channel();
        let credential = identity.credential.bytes().clone();
        let toy = Toy { orders: ordered, heard: told, bulk: None };
        let config = Config {
            listen,
            advertise: vec![],
            seeds: vec![],
            identity: Some(identity),
            disk: None,
        };
        let node = Node::start(config, vec![Box::new(toy)]).await.unwrap();
        let ty = ObjectType::custom("toy", Agreement::Eventual);
        let port = node.open(Spec::new("/toy".parse().unwrap(), ty)).await.unwrap();
        Self { node, credential, port, orders, heard }
    }

    fn id(&self) -> NodeId {
        self.node.member().node
    }

    fn act(&self, order: impl FnOnce(&mut Io<'_>) + Send + 'static) {
        self.orders.send(Box::new(order)).unwrap();
        self.port.try_send(Command::Custom(Bytes::new())).unwrap();
    }

    fn send(&self, to: NodeId, via: Via, body: impl Into<Bytes>) {
        let body = body.into();
        self.act(move |io| io.send(Target::Node(to), via, body).expect("there is room"));
    }

    fn know(&self, other: &Self) {
        let (member, address) = (other.node.member(), other.node.address());
        let credential = other.credential.clone();
        self.act(move |io| io.introduce(member, &[address], &credential));
    }

    /// Waits for an input that the test looks for; others are passed over.
    async fn hear<T>(&mut self, mut pick: impl FnMut(Input) -> Option<T>) -> T {
        let heard = async {
            loop {
                let input = self.heard.recv().await.expect("the node runs");
                if let Some(picked) = pick(input) {
                    return picked;
                }
            }
        };
        timeout(PATIENCE, heard).await.expect("it is heard in time")
    }

    async fn hear_link(&mut self) -> (NodeId, Link) {
        self.hear(|input| match input {
            Input::Link { peer, link } => Some((peer, link)),
            _ => None,
        })
        .await
    }

    async fn hear_bytes(&mut self) -> Bytes {
        self.hear(|input| match input {
            Input::Datagram { bytes, .. } | Input::Message { bytes, .. } => Some(bytes),
            _ => None,
        })
        .await
    }

    async fn count(&self, name: &str) -> u64 {
        self.node.counts().await.unwrap().get(name).copied().unwrap_or(0)
    }
}

fn localhost() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// Two nodes of one cluster, each of which knows where the other is.
async fn pair(listen: SocketAddr) -> (Player, Player) {
    let authority = Authority::create();
    let one = Player::start(listen, authority.issue()).await;
    let other = Player::start(listen, authority.issue()).await;
    one.know(&other);
    other.know(&one);
    (one, other)
}

async fn converse(listen: SocketAddr) {
    let (mut one, mut other) = pair(listen).await;
    for (via, text) in [(Via::Datagram, "a"), (Via::Control, "b"), (Via::Bulk, "c")] {
        one.send(other.id(), via, text);
        assert_eq!(other.hear_bytes().await, text);
    }
    assert_eq!(one.hear_link().await, (other.id(), Link::Up));
    other.send(one.id(), Via::Control, "d");
    assert_eq!(one.hear_bytes().await, "d");
    let id = one.id();
    one.send(other.id(), Via::Control, "the last word");
    one.node.stop().await;
    assert_eq!(other.hear_bytes().await, "the last word");
    assert_eq!(other.hear_link().await, (id, Link::Down(Down::Closed)));
}

#[tokio::test]
async fn two_nodes_converse() {
    converse(localhost()).await;
}

#[tokio::test]
async fn two_nodes_converse_over_ipv6() {
    let listen = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
    match UdpSocket::bind(listen) {
        Ok(_) => converse(listen).await,
        Err(error) => eprintln!("skipped: no IPv6 loopback here: {error}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bulk_flows_by_room() {
    let (mut one, mut other) = pair(localhost()).await;
    one.port.try_send(Command::Custom(Bytes::copy_from_slice(other.id().as_bytes()))).unwrap();
    let mut bytes = 0;
    while bytes < BULK_BYTES {
        bytes += other.hear_bytes().await.len();
    }
    assert_eq!(bytes, BULK_BYTES);
    let to = other.id();
    one.hear(|input| (input == Input::Room { to }).then_some(())).await;
}

#[tokio::test]
async fn a_full_lane_refuses_and_nothing_is_lost() {
    let (one, mut other) = pair(localhost()).await;
    let (to, (told, said)) = (other.id(), mpsc::channel());
    one.act(move |io| {
        let mut taken = 0;
        while io.send(Target::Node(to), Via::Control, vec![0; 1_000].into()).is_ok() {
            taken += 1;
        }
        told.send(taken).unwrap();
    });
    for _ in 0..tokio::task::spawn_blocking(move || said.recv().unwrap()).await.unwrap() {
        assert_eq!(other.hear_bytes().await.len(), 1_000);
    }
}

/// However the two dials meet, one link stands and all that was said is heard.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_dial_at_once_get_one_link() {
    for round in 0..20 {
        let (mut one, mut other) = pair(localhost()).await;
        one.send(other.id(), Via::Control, "to other");
        other.send(one.id(), Via::Control, "to one");
        let heard = [other.hear_bytes().await, one.hear_bytes().await];
        assert_eq!(heard, ["to other", "to one"], "round {round}");
        one.send(other.id(), Via::Datagram, "again");
        let mut links = 0;
        other
            .hear(|input| {
                links += usize::from(matches!(input, Input::Link { .. }));
                matches!(input, Input::Datagram { .. }).then_some(())
            })
            .await;
        assert_eq!(links, 0, "round {round}: the link stays as it was");
    }
}

#[tokio::test]
async fn a_seed_is_dialled_by_its_address_alone() {
    let authority = Authority::create();
    let mut one = Player::start(localhost(), authority.issue()).await;
    let mut other = Player::start(localhost(), authority.issue()).await;
    let (address, own) = (other.node.address(), one.node.address());
    one.act(move |io| [own, address, address].into_iter().for_each(|address| io.dial(address)));
    assert_eq!(one.hear_link().await, (other.id(), Link::Up));
    assert_eq!(other.hear_link().await, (one.id(), Link::Up));
    other.send(one.id(), Via::Datagram, "found you");
    assert_eq!(one.hear_bytes().await, "found you");
}

#[tokio::test]
async fn a_node_that_starts_again_takes_its_link_over() {
    let authority = Authority::create();
    let (mut one, identity) =
        (Player::start(localhost(), authority.issue()).await, authority.issue());
    for _ in 0..3 {
        let other = Player::start(localhost(), identity.clone()).await;
        other.know(&one);
        other.send(one.id(), Via::Control, "here");
        assert_eq!(one.hear_link().await, (other.id(), Link::Up));
        assert_eq!(one.hear_bytes().await, "here");
        drop(other.node);
        assert_eq!(one.hear_link().await.1, Link::Down(Down::Closed));
    }
}

#[tokio::test]
async fn a_peer_of_unknown_address_and_one_of_a_wrong_address() {
    let authority = Authority::create();
    let mut one = Player::start(localhost(), authority.issue()).await;
    let other = Player::start(localhost(), authority.issue()).await;
    let nobody = NodeId::from_public_key(b"nobody");
    one.send(nobody, Via::Control, "hello");
    assert_eq!(one.hear_link().await, (nobody, Link::Down(Down::NoAddress)));
    let address = other.node.address();
    let incarnation = Incarnation::from_bytes([1; Incarnation::LEN]);
    let nobody_at = Member { node: nobody, incarnation };
    one.act(move |io| io.introduce(nobody_at, &[address], &Bytes::new()));
    one.send(nobody, Via::Control, "hello");
    assert_eq!(one.hear_link().await, (nobody, Link::Down(Down::Silent)));
    assert_eq!(one.count("net.another_answered").await, 1);
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    let mut one = Player::start(localhost(), Authority::create().issue()).await;
    let other = Player::start(localhost(), Authority::create().issue()).await;
    one.know(&other);
    one.send(other.id(), Via::Control, "hello");
    assert_eq!(one.hear_link().await, (other.id(), Link::Down(Down::Silent)));
    assert_eq!(one.count("net.handshake_refused").await, 1);
}

#[tokio::test]
async fn noise_does_no_harm() {
    let (one, mut other) = pair(localhost()).await;
    let (socket, rng) =
        (UdpSocket::bind(localhost()).unwrap(), live_objects::Rng::from_seed([1; 32]));
    for number in 0..500_usize {
        let mut noise = vec![0; number % 1_400];
        rand::Rng::fill_bytes(&mut rng.fork(&number.to_string()), &mut noise);
        let _ = socket.send_to(&noise, other.node.address());
    }
    one.send(other.id(), Via::Control, "still there?");
    assert_eq!(other.hear_bytes().await, "still there?");
}

/// A peer of the cluster that does not keep to the protocol.
fn rogue(identity: &Identity, protocol: &[u8]) -> Endpoint {
    let setup = Setup::new(identity, &[protocol]).unwrap();
    let socket = UdpSocket::bind(localhost()).unwrap();
    let runtime = std::sync::Arc::new(TokioRuntime);
    let mut endpoint = Endpoint::new(setup.endpoint, None, socket, runtime).unwrap();
    endpoint.set_default_client_config(setup.client);
    endpoint
}

/// A node that stops waits for the last datagrams, and for nothing once they are out.
#[tokio::test]
async fn a_link_is_drained_when_its_datagrams_are_out() {
    let authority = Authority::create();
    let one = Player::start(localhost(), authority.issue()).await;
    let rogue = rogue(&authority.issue(), PROTOCOL);
    let connected = dial(&rogue, &[one.node.address()], None, &Tally::default()).await.unwrap();
    let mut link = Peer::new(State::Dialling(0), Time::ZERO);
    assert!(link.send_datagram(Bytes::from_static(b"early")));
    link.bring_up(Time::ZERO, &connected, Incarnation::from_bytes([1; 16]));
    for _ in 0..50 {
        assert!(link.send_datagram(vec![7; 1_000].into()));
    }
    timeout(PATIENCE, link.drain()).await.expect("it is drained");
    assert_eq!(connected.quic.stats().frame_tx.datagram, 51);
}

#[tokio::test]
async fn a_message_that_is_too_long_ends_the_link() {
    let authority = Authority::create();
    let mut one = Player::start(localhost(), authority.issue()).await;
    let rogue = rogue(&authority.issue(), PROTOCOL);
    let connected = dial(&rogue, &[one.node.address()], None, &Tally::default()).await.unwrap();
    assert_eq!(connected.id.peer, one.id());
    let quic = connected.quic.clone();
    assert!(quic.max_datagram_size().unwrap() >= crate::wire::DATAGRAM_BYTES_MAX);
    let ready = link::claim(connected, Incarnation::from_bytes([1; 16])).await.unwrap();
    assert_eq!(one.hear_link().await.1, Link::Up);
    let length = u32::try_from(MESSAGE_BYTES_MAX + 1).unwrap();
    ready.greeted.unwrap().write_all(&length.to_be_bytes()).await.unwrap();
    assert_eq!(one.hear_link().await.1, Link::Down(Down::Closed));
    assert_eq!(one.count("net.misbehaved").await, 1);
    let quinn::ConnectionError::ApplicationClosed(close) = quic.closed().await else {
        panic!("closed by the peer")
    };
    assert_eq!(close.error_code, Reason::Misbehaved.code());
}

#[tokio::test]
async fn another_version_is_refused() {
    let authority = Authority::create();
    let one = Player::start(localhost(), authority.issue()).await;
    let rogue = rogue(&authority.issue(), b"logo/0");
    let connecting = rogue.connect(one.node.address(), SERVER_NAME).unwrap();
    assert!(timeout(PATIENCE, connecting).await.unwrap().is_err());
    assert_eq!(one.count("net.version_refused").await, 1);
}

fn alone(listen: SocketAddr) -> Config {
    Config { listen, advertise: vec![], seeds: vec![], identity: None, disk: None }
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let one = Node::start(alone(localhost()), Vec::new()).await.unwrap();
    let error = Node::start(alone(one.address()), Vec::new()).await.unwrap_err();
    assert!(matches!(error, StartError::Bind { .. }));
    assert!(error.to_string().contains(&one.address().to_string()), "{error}");
}

#[tokio::test]
async fn nobody_is_let_in_from_afar_without_an_identity() {
    let listen = SocketAddr::from(([0, 0, 0, 0], 0));
    let error = Node::start(alone(listen), Vec::new()).await.unwrap_err();
    assert!(matches!(error, StartError::NoIdentity(at) if at == listen));
    let config = Config { identity: Some(Authority::create().issue()), ..alone(listen) };
    let error = Node::start(config, Vec::new()).await.unwrap_err();
    assert!(matches!(error, StartError::NoAddress(_)), "{error}");
}

const BULK_BYTES: usize = 10 << 20;
const PATIENCE: Duration = Duration::from_secs(30);
