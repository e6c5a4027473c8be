//! A running node: one task that owns its stack, and the handle that the application has of it.
//!
//! Each turn of the loop takes in what has come, runs one step of the stack, and then waits for
//! whatever is first: the network, an application, a request of the handle, or the time that the
//! stack asked for. It never waits for a peer.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;

use live_objects::{
    Cost, Incarnation, Lack, LoadError, Member, Module, ObjectType, OpenError, Port, Rng, Spec,
    Stack, Start, Time,
};
use quinn::{Endpoint, Runtime, TokioRuntime};
use rand::{RngExt, TryRng, rngs::SysRng};
use thiserror::Error;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};

use crate::authority::Authority;
use crate::clock::{Clock, unix_ms};
use crate::credential::Trust;
use crate::disk::{Disk, DiskFolderError};
use crate::identity::Identity;
use crate::inbox::Outlet;
use crate::link::receive;
use crate::links::{Links, RenewError};
use crate::seal::Seals;
use crate::socket::Socket;
use crate::tls::{CertificateError, PROTOCOL, Setup, Verifier};
use crate::wire::Wire;

/// How a node takes part.
#[derive(Clone, Debug)]
pub struct Config {
    /// The address that it binds. Port 0 lets the system choose a port.
    pub listen: SocketAddr,
    /// Where others reach it, the best first. If there are none, where it is bound.
    pub advertise: Vec<SocketAddr>,
    /// Where nodes of the cluster may be found.
    pub seeds: Vec<SocketAddr>,
    /// Who it is. Without an identity it is one of a cluster of its own, and binds loopback only.
    pub identity: Option<Identity>,
    /// The folder in which modules keep files: this node's alone. Without one they keep none.
    pub disk: Option<PathBuf>,
}

/// A running node. Dropping it ends it at once: its peers see that as a crash. Only what it asked
/// of the disk is still done, and the folder is in use until then.
#[derive(Debug)]
pub struct Node {
    member: Member,
    address: SocketAddr,
    requests: mpsc::Sender<Request>,
    task: Task,
}

impl Node {
    /// Binds the address, starts the modules and takes part from now on. Needs a tokio runtime.
    pub async fn start(config: Config, modules: Vec<Box<dyn Module>>) -> Result<Self, StartError> {
        let listen = config.listen;
        let identity = match config.identity {
            Some(identity) => identity,
            None if listen.ip().is_loopback() => Authority::create().issue(),
            None => return Err(StartError::NoIdentity(listen)),
        };
        if listen.ip().is_unspecified() && config.advertise.is_empty() {
            return Err(StartError::NoAddress(listen));
        }
        let rng = seed()?;
        let incarnation = Incarnation::from_bytes(rng.fork("incarnation").random());
        let member = Member { node: identity.node(), incarnation };
        let mut stack = Stack::new(modules, &rng)?;
        let disk = Disk::open(config.disk.as_deref())?;
        let (outlet, inbox) = Outlet::new();
        let bound = Bound::at(listen, &identity, outlet.clone())?;
        let Bound { socket, endpoint, address, verifier, trust } = bound;
        let addresses = if config.advertise.is_empty() { vec![address] } else { config.advertise };
        stack.start(&Start {
            me: member,
            unix_ms: unix_ms(),
            addresses: addresses.clone(),
            seeds: config.seeds,
            credential: identity.credential.bytes().clone(),
        });
        let door = admit(endpoint.clone(), outlet.clone());
        let own = addresses.into_iter().chain([address]).collect();
        let tally = outlet.tally.clone();
        let links = Links::new(member, endpoint, verifier, outlet);
        let seals = Seals::new(member, &identity, trust, rng.fork("seal"), tally.clone());
        let wire = Wire::new(own, (links, socket, seals), disk, inbox, tally);
        let (requests, asked) = mpsc::channel(REQUESTS_MAX);
        let turns = Turns { clock: Clock::start(), stack, wire, requests: asked, stop: None };
        let task = Task(tokio::spawn(async move {
            // The door ends with the turns.
            tokio::select! {
                () = turns.run() => {}
                () = door => {}
            }
        }));
        Ok(Self { member, address, requests, task })
    }

    /// Who this node is, in this life.
    pub fn member(&self) -> Member {
        self.member
    }

    /// The address that it bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Opens an object with the cheapest module that keeps its type's promise.
    pub async fn open(&self, spec: Spec) -> Result<Port, NodeError> {
        Ok(self.ask(|answer| Request::Open(spec, answer)).await??)
    }

    /// What each module would carry an object of this type for, or what it lacks, in the order of
    /// loading.
    pub async fn offers(
        &self,
        ty: ObjectType,
    ) -> Result<Vec<(&'static str, Result<Cost, Lack>)>, NodeError> {
        self.ask(|answer| Request::Offers(ty, answer)).await
    }

    /// What was dropped, refused or mended so far, by name.
    pub async fn counts(&self) -> Result<BTreeMap<&'static str, u64>, NodeError> {
        self.ask(Request::Counts).await
    }

    /// Takes another identity of the same node, without a restart: another certificate, other
    /// authorities, more nodes revoked. Links to peers that it does not accept are closed.
    pub async fn renew(&self, identity: Identity) -> Result<(), RenewError> {
        let renewed = self.ask(|answer| Request::Renew(identity, answer)).await;
        renewed.unwrap_or(Err(RenewError::Gone))
    }

    /// Lets the modules say good-bye, for ten seconds at most, then closes all links, waits until
    /// the disk has done what it was asked, for as long as it takes, and ends.
    pub async fn stop(mut self) {
        if self.requests.send(Request::Stop).await.is_ok() {
            let ended = (&mut self.task.0).await;
            if let Err(error) = ended
                && let Ok(panic) = error.try_into_panic()
            {
                std::panic::resume_unwind(panic);
            }
        }
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Result<T, NodeError> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(request(answer)).await.map_err(|_| NodeError::Gone)?;
        answered.await.map_err(|_| NodeError::Gone)
    }
}

/// What the handle asks of the loop.
enum Request {
    Open(Spec, oneshot::Sender<Result<Port, OpenError>>),
    Offers(ObjectType, oneshot::Sender<Vec<(&'static str, Result<Cost, Lack>)>>),
    Counts(oneshot::Sender<BTreeMap<&'static str, u64>>),
    Renew(Identity, oneshot::Sender<Result<(), RenewError>>),
    Stop,
}

/// A task that ends when nobody holds it.
#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The loop.
struct Turns {
    clock: Clock,
    stack: Stack,
    wire: Wire,
    requests: mpsc::Receiver<Request>,
    /// When the modules must have said good-bye, once they were asked to.
    stop: Option<Time>,
}

impl Turns {
    async fn run(mut self) {
        loop {
            let now = self.clock.now();
            let arrivals = self.wire.arrivals(now);
            self.stack.step(now, arrivals, &mut self.wire);
            if self.stack.is_stopped() || self.stop.is_some_and(|stop| stop <= now) {
                break;
            }
            self.wait().await;
        }
        // Whoever waits for an object, or posts to a module, hears now that they are gone.
        let Self { stack, wire, .. } = self;
        drop(stack);
        wire.close().await;
    }

    async fn wait(&mut self) {
        let wakes = [self.stack.next_wake(), self.wire.next_wake(), self.stop];
        let wake = wakes.into_iter().flatten().min();
        if wake.is_some_and(|wake| wake <= self.clock.now()) {
            while let Ok(request) = self.requests.try_recv() {
                self.on_request(request);
            }
            // Others have a turn too, however busy the modules are.
            return tokio::task::yield_now().await;
        }
        let Self { clock, stack, wire, requests, .. } = self;
        let request = tokio::select! {
            () = wire.wait() => None,
            () = poll_fn(move |context| stack.poll_doorbell(context)) => None,
            () = tokio::time::sleep_until(clock.instant(wake.unwrap_or(Time::MAX))) => None,
            Some(request) = requests.recv() => Some(request),
        };
        if let Some(request) = request {
            self.on_request(request);
        }
    }

    fn on_request(&mut self, request: Request) {
        // Whoever asked may have gone meanwhile: then an object is closed again.
        match request {
            Request::Open(spec, answer) => {
                if let Err(Ok(port)) = answer.send(self.stack.open(spec)) {
                    port.close();
                }
            }
            Request::Offers(ty, answer) => {
                let _ = answer.send(self.stack.offers(&ty));
            }
            Request::Counts(answer) => {
                let _ = answer.send(self.wire.counts(self.stack.counts()));
            }
            Request::Renew(identity, answer) => {
                let _ = answer.send(self.wire.renew(&identity));
            }
            Request::Stop => {
                self.stack.stop();
                self.stop.get_or_insert(self.clock.now() + STOP);
            }
        }
    }
}

/// Takes in whoever dials, for as long as it is polled.
async fn admit(endpoint: Endpoint, outlet: Outlet) {
    let (mut tasks, rooms) = (JoinSet::new(), Arc::new(Semaphore::new(STRANGERS_MAX)));
    while let Some(incoming) = endpoint.accept().await {
        while tasks.try_join_next().is_some() {}
        let Ok(room) = rooms.clone().try_acquire_owned() else {
            outlet.tally.add("net.crowded");
            incoming.ignore();
            continue;
        };
        let received = receive(incoming, outlet.clone());
        tasks.spawn(async move {
            received.await;
            drop(room);
        });
    }
    // The endpoint was closed: its loop ends this.
    std::future::pending().await
}

/// The port of a node, and who is let in there.
struct Bound {
    socket: Arc<Socket>,
    endpoint: Endpoint,
    address: SocketAddr,
    verifier: Verifier,
    trust: Trust,
}

impl Bound {
    fn at(listen: SocketAddr, identity: &Identity, outlet: Outlet) -> Result<Self, StartError> {
        let unbound = |source| StartError::Bind { address: listen, source };
        let setup = Setup::new(identity, &[PROTOCOL])?;
        let socket = UdpSocket::bind(listen).map_err(unbound)?;
        let runtime = Arc::new(TokioRuntime);
        let socket = runtime.wrap_udp_socket(socket).map_err(unbound)?;
        let socket = Arc::new(Socket::new(socket, outlet).map_err(unbound)?);
        let endpoint = Endpoint::new_with_abstract_socket(
            setup.endpoint,
            Some(setup.server),
            socket.clone(),
            runtime,
        );
        let mut endpoint = endpoint.map_err(unbound)?;
        endpoint.set_default_client_config(setup.client);
        let address = endpoint.local_addr().map_err(unbound)?;
        Ok(Self { socket, endpoint, address, verifier: setup.verifier, trust: setup.trust })
    }
}

/// The only chance that comes from the system: all else is drawn from it.
fn seed() -> Result<Rng, StartError> {
    let mut seed = [0; 32];
    SysRng.try_fill_bytes(&mut seed).map_err(|error| StartError::NoChance(error.to_string()))?;
    Ok(Rng::from_seed(seed))
}

/// Why a node did not start. Nothing runs and nothing is bound.
#[derive(Debug, Error)]
pub enum StartError {
    /// Off loopback a node shows who it is.
    #[error(
        "{0} can be reached by others, and this node has no identity: listen on 127.0.0.1 or \
         [::1], or give it an identity that the cluster's authority issued"
    )]
    NoIdentity(SocketAddr),
    /// Nobody can be told where the node is reached.
    #[error("{0} is every address of the machine: say which others reach it at (advertise)")]
    NoAddress(SocketAddr),
    /// The address cannot be bound.
    #[error("cannot bind {address}: {source}")]
    Bind {
        /// Which address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// Files cannot be kept there.
    #[error("no disk for the node: {0}")]
    Disk(#[from] DiskFolderError),
    /// Two of the modules cannot be told apart.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The others would refuse this node.
    #[error("this node's certificate would be refused: {0}")]
    Certificate(#[from] CertificateError),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers: {0}")]
    NoChance(String),
}

/// Why a node did not do as asked. Nothing changed.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum NodeError {
    /// The object was not opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The node has stopped.
    #[error("the node has stopped")]
    Gone,
}

/// How long the modules have to say good-bye.
const STOP: std::time::Duration = std::time::Duration::from_secs(10);
/// How many requests wait for the loop.
const REQUESTS_MAX: usize = 64;
/// How many who dialled are in the handshake, or are yet to claim their connection.
const STRANGERS_MAX: usize = 256;
