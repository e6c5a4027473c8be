//! Which cluster a command joins, and how its work ends.

use std::fmt::Display;
use std::future::Future;
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::Duration;

use clap::Args;
use logo::{FolderError, Founding, Identity, MEMBERS_MAX, Node, Options, StartError};
use serde_json::Value;

use crate::interrupt::Interrupt;
use crate::renewal::Renewal;

/// Which cluster.
#[derive(Args)]
pub(crate) struct Cluster {
    /// The cluster of this user on this machine, whose nodes find each other by themselves.
    #[arg(long, default_value = "default", value_name = "NAME", conflicts_with = "listen")]
    cluster: String,
    /// A cluster across machines: where this node listens. Off loopback it needs an identity.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Where others reach this node, if that is not where it listens.
    #[arg(long, value_name = "ADDRESS", requires = "listen")]
    advertise: Vec<SocketAddr>,
    /// Where nodes of that cluster may be found; may be given more than once.
    #[arg(long = "seed", value_name = "ADDRESS", requires = "listen")]
    seeds: Vec<SocketAddr>,
    /// The folder with this node's key and certificate: see `logo cert`.
    #[arg(long, value_name = "FOLDER", requires = "listen")]
    identity: Option<PathBuf>,
}

/// What a node does that is here to stay.
#[derive(Args)]
pub(crate) struct Stay {
    /// Found the cluster: say so to one node, the first time it starts.
    #[arg(long, requires = "listen", conflicts_with = "expect")]
    found: bool,
    /// Found the cluster together with others that expect as many nodes, this one included: start
    /// them with the same seeds, in any order. Each says so when it knows them all.
    #[arg(long, value_name = "NODES", requires = "listen",
        value_parser = clap::value_parser!(u16).range(1..=MEMBERS_MAX as i64))]
    expect: Option<u16>,
}

impl Cluster {
    /// Does some work with a node that looks at the cluster, and says good-bye however that ends,
    /// also if it is interrupted: else the others would take it for crashed.
    pub(crate) fn visit(&self, work: impl AsyncFnOnce(&Node) -> Result<(), Failure>) -> ExitCode {
        run(async {
            let mut interrupt = Interrupt::listen()?;
            let node = tokio::select! {
                node = self.enter() => node?,
                code = interrupt.interrupted() => return Ok(code.into()),
            };
            let work = async {
                self.meet(&node).await?;
                work(&node).await
            };
            let done = tokio::select! {
                done = work => done.map(|()| ExitCode::SUCCESS),
                code = interrupt.interrupted() => Ok(code.into()),
            };
            interrupt.stop(node).await;
            done
        })
    }

    async fn enter(&self) -> Result<Node, Failure> {
        match self.options(Founding::Wait)? {
            Some(options) => Ok(Node::start(Options { is_seated: false, ..options }).await?),
            None => Ok(Node::visit(&self.cluster).await?),
        }
    }

    /// Waits until another node is known: there is nothing to see before.
    async fn meet(&self, node: &Node) -> Result<(), Failure> {
        let mut members: logo::Members = node.open("/.logo/visitors").await?;
        let met = tokio::time::timeout(MEETING, members.wait_for(2)).await;
        match met {
            Ok(true) => Ok(()),
            Ok(false) => Err(Failure::new("the node has stopped")),
            Err(_) => Err(Failure::new("no other node answers: is one up at the seeds?")),
        }
    }

    /// Starts a node that is here to stay.
    pub(crate) async fn stay(&self, stay: &Stay) -> Result<Node, Failure> {
        let founding = match stay.expect {
            Some(nodes) => Founding::Expect(nodes),
            None if stay.found => Founding::Alone,
            None => Founding::Wait,
        };
        match self.options(founding)? {
            Some(options) => Ok(Node::start(options).await?),
            None => Ok(Node::local(&self.cluster).await?),
        }
    }

    /// The identity that the node has, as its folder says from now on, if it has one.
    pub(crate) fn renewal(&self) -> Result<Option<Renewal>, Failure> {
        let Some(folder) = &self.identity else { return Ok(None) };
        Ok(Some(Renewal::new(folder.clone(), Identity::load(folder)?)))
    }

    fn options(&self, founding: Founding) -> Result<Option<Options>, Failure> {
        let Some(listen) = self.listen else { return Ok(None) };
        let identity = self.identity.as_deref().map(Identity::load).transpose();
        Ok(Some(Options {
            advertise: self.advertise.clone(),
            seeds: self.seeds.clone(),
            identity: identity.map_err(Failure::new)?,
            founding,
            ..Options::at(listen)
        }))
    }
}

/// Why a command did not do what it was to do.
pub(crate) struct Failure {
    why: String,
    code: ExitCode,
}

impl Failure {
    pub(crate) fn new(why: impl Display) -> Self {
        Self { why: why.to_string(), code: ExitCode::FAILURE }
    }

    /// The command was not understood.
    pub(crate) fn usage(why: impl Display) -> Self {
        Self { code: NOT_UNDERSTOOD.into(), ..Self::new(why) }
    }

    /// Says so, and with which code the command ends.
    pub(crate) fn tell(self) -> ExitCode {
        complain(&self.why);
        self.code
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let is_usage = matches!(error, StartError::Folder(FolderError::Name(_)));
        let code = if is_usage { NOT_UNDERSTOOD.into() } else { ExitCode::FAILURE };
        Self { code, ..Self::new(error) }
    }
}

macro_rules! failures {
    ($($error:ty),*) => { $(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::new(error)
            }
        }
    )* };
}

failures!(
    logo::OpenError,
    logo::WhyError,
    logo::SendError,
    logo::SetError,
    logo::NodeError,
    logo::DynamicError,
    logo::IdentityError,
    logo::AuthorityError,
    live_objects::NameError,
    logo::ReadError,
    std::io::Error
);

/// Runs a command's work to its end. It fails if something of what it said could not be written.
pub(crate) fn run(work: impl Future<Output = Result<ExitCode, Failure>>) -> ExitCode {
    ended(run_unheard(work))
}

/// Runs a command's work to its end, whether or not what it says can be written.
pub(crate) fn run_unheard(work: impl Future<Output = Result<ExitCode, Failure>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("the system lets a runtime start");
    let ended = runtime.block_on(work);
    runtime.shutdown_background();
    ended.unwrap_or_else(Failure::tell)
}

/// How a command ends that would end with this code: not well if it could not say something.
pub(crate) fn ended(code: ExitCode) -> ExitCode {
    let Some(error) = UNSAID.get() else { return code };
    let why = format!(
        "what the command has to say could not be written to the standard output ({error}): send \
         it where there is room"
    );
    Failure::new(why).tell()
}

/// One line of JSON, or what it means in words. The command goes on if that cannot be written.
pub(crate) fn print(json: bool, value: &Value, words: impl FnOnce() -> String) {
    let _ = line(&if json { value.to_string() } else { words() });
}

/// One line, whole. An error if nobody reads any more, or if it could not be written: the command
/// is to [end](ended) with that.
pub(crate) fn line(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let written = writeln!(out, "{text}").and_then(|()| out.flush());
    // Who stops reading has read enough.
    if let Err(error) = &written
        && error.kind() != ErrorKind::BrokenPipe
    {
        let _ = UNSAID.set(error.to_string());
    }
    written
}

/// One line for the user beside the result, on standard error, if anybody reads that.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// The first error of what was to be said on standard output.
static UNSAID: OnceLock<String> = OnceLock::new();

const NOT_UNDERSTOOD: u8 = 2;
const MEETING: Duration = Duration::from_secs(10);
