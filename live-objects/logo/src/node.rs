//! A node of an application: where it opens its objects.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use gossip::Gossip;
use groupcomm::{Config, Founding, Groupcomm};
use live_objects::{
    Agreement, Command, Cost, Kind, Lack, Listing, Member, Module, Name, NameError, ObjectType,
    Pattern, Port, Schema, Spec,
};
use live_objects_net::{Entry, Folder, Identity, NodeError, Presence, RenewError};
use tokio::sync::Mutex;

use crate::dynamic::Dynamic;
use crate::error::{OpenError, StartError, UnknownName};
use crate::members::{Members, MetadataError};
use crate::names::{Holding, Names, ask};
use crate::object::{Object, opened};
use crate::query::{self, Answer, Query, QueryError, Rows};
use crate::ready::{NotReady, Readiness};

/// A running node. Dropping it ends it at once, which the others see as a crash: [`Node::stop`] it.
pub struct Node {
    net: live_objects_net::Node,
    names: Names,
    /// Held while the node says something of itself.
    saying: Mutex<()>,
    readiness: Readiness,
    _presence: Option<Presence>,
}

impl Node {
    /// Starts a node of this user's cluster of this name on this machine. The nodes find each other
    /// by themselves; the first of them founds the cluster. Needs a tokio runtime.
    pub async fn local(cluster: &str) -> Result<Self, StartError> {
        Self::local_with(cluster, Vec::new()).await
    }

    /// As [`Node::local`], with more modules than those that come with LO/GO.
    pub async fn local_with(
        cluster: &str,
        modules: Vec<Box<dyn Module>>,
    ) -> Result<Self, StartError> {
        Self::in_folder(Folder::of_user(cluster)?, modules).await
    }

    /// As [`Node::local_with`]: nodes that are to find each other share a folder at this path.
    pub async fn local_at(
        folder: &Path,
        modules: Vec<Box<dyn Module>>,
    ) -> Result<Self, StartError> {
        Self::in_folder(Folder::at(folder)?, modules).await
    }

    /// Starts a node that looks at this user's cluster of this name on this machine, and is gone
    /// soon: it founds nothing, nobody is told where it is, and it is no member of agreed views
    /// unless it opens a strong object.
    pub async fn visit(cluster: &str) -> Result<Self, StartError> {
        let folder = Folder::of_user(cluster)?;
        let entered = tokio::task::spawn_blocking(move || folder.enter()).await;
        let entry = entered.expect("entering does not panic")?;
        if entry.is_founder() {
            return Err(StartError::NoCluster(cluster.to_owned()));
        }
        let options = Options::of_entry(&entry);
        drop(entry);
        Self::start(Options { is_seated: false, founding: Founding::Wait, ..options }).await
    }

    async fn in_folder(folder: Folder, modules: Vec<Box<dyn Module>>) -> Result<Self, StartError> {
        let entered = tokio::task::spawn_blocking(move || folder.enter()).await;
        let entry = entered.expect("entering does not panic")?;
        let mut node = Self::start(Options { modules, ..Options::of_entry(&entry) }).await?;
        node._presence = Some(entry.announce(node.address())?);
        Ok(node)
    }

    /// Starts a node.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let config = live_objects_net::Config {
            listen: options.listen,
            advertise: options.advertise,
            seeds: options.seeds,
            identity: options.identity,
            disk: options.disk,
        };
        let groupcomm = Groupcomm::new(Config { founding: options.founding, ..Config::default() });
        let mut modules: Vec<Box<dyn Module>> =
            vec![Box::new(Gossip::default()), Box::new(groupcomm)];
        modules.extend(options.modules);
        let net = live_objects_net::Node::start(config, modules).await?;
        let (names, saying) = (Names::default(), Mutex::default());
        let readiness = Readiness::new(options.founding, None);
        let mut node = Self { net, names, saying, readiness, _presence: None };
        if !options.metadata.is_empty() {
            node.set_metadata(options.metadata).await?;
        }
        if options.is_seated {
            let name = SEAT.parse().expect("it is a name");
            let spec = Spec::new(name, ObjectType::members(Agreement::Views));
            let seat = node.net.open(spec).await?;
            node.readiness = Readiness::new(options.founding, Some(seat));
        }
        Ok(node)
    }

    /// Waits until this node knows as many members as it [expects](Options::founding), itself
    /// included, or is in a view of a cluster that was founded before; for so long at most. Asked
    /// again it goes on to wait, and once it was ready it stays so. What is opened before works as
    /// ever, and knows fewer.
    pub async fn ready(&self, patience: Duration) -> Result<(), NotReady> {
        self.readiness.wait(&self.net, patience).await
    }

    /// Who this node is, in this life.
    pub fn member(&self) -> Member {
        self.net.member()
    }

    /// The address that it bound.
    pub fn address(&self) -> SocketAddr {
        self.net.address()
    }

    /// Opens the object of this name, which is an absolute path such as `/shop/prices`. The handle
    /// that is asked for says what the object promises; the cheapest module that keeps the promise
    /// carries it.
    pub async fn open<O: Object>(&self, name: &str) -> Result<O, OpenError> {
        self.open_name(name.parse()?).await
    }

    /// The place of this name, in which objects are opened by the rest of theirs.
    pub fn enter(&self, name: &str) -> Result<Place<'_>, NameError> {
        let root =
            if name.starts_with('/') { name.parse()? } else { format!("/{name}").parse()? };
        Ok(Place { node: self, name: root })
    }

    /// Opens an object without a handle: commands and events are those of the type's kind.
    pub async fn open_port(&self, spec: Spec) -> Result<Port, NodeError> {
        self.net.open(spec).await
    }

    /// The objects whose names begin so, and who has them open, as far as this node has heard: of
    /// each object [`Gossip::HOLDERS_MAX`](crate::Gossip::HOLDERS_MAX) at most.
    pub async fn names(&self, prefix: &str) -> Result<Vec<Holding>, NodeError> {
        self.names.list(&self.net, prefix).await
    }

    /// The type of the object of this name: that which most of the holders that are told of have it
    /// open with.
    pub async fn type_of(&self, name: &Name) -> Result<Option<ObjectType>, NodeError> {
        let mut holders: BTreeMap<String, (usize, ObjectType)> = BTreeMap::new();
        let holdings = self.names(name.as_str()).await?;
        for holding in holdings.into_iter().filter(|holding| holding.name == *name) {
            holders.entry(holding.ty.to_string()).or_insert((0, holding.ty)).0 += 1;
        }
        let most = holders.into_values().max_by_key(|(holders, ty)| (ty.is_strong(), *holders));
        Ok(most.map(|(_, ty)| ty))
    }

    /// Opens an object that somebody has open, by its name alone: its messages are JSON.
    pub async fn open_dyn(&self, name: &str) -> Result<Dynamic, OpenError> {
        let name: Name = name.parse()?;
        let ty = self.type_of(&name).await?.ok_or_else(|| UnknownName::Nobody(name.clone()))?;
        if ty.kind == Kind::Replicated {
            return Err(UnknownName::State(name).into());
        }
        let schema = self.schema_of(&ty).await?;
        let port = self.net.open(Spec::new(name.clone(), ty.clone())).await?;
        Ok(Dynamic::new(ty, schema, opened(&name, port).await?))
    }

    /// What is published in a directory that somebody has open, under a key or under all, and what
    /// the values are made of if that is told.
    pub async fn look_up(
        &self,
        name: Name,
        ty: ObjectType,
        key: Option<&str>,
    ) -> Result<(Vec<Listing>, Option<Schema>), OpenError> {
        let schema = self.schema_of(&ty).await?;
        let port = self.net.open(Spec::new(name.clone(), ty)).await?;
        let channel = opened(&name, port).await?;
        let key_bytes = Bytes::copy_from_slice(key.unwrap_or_default().as_bytes());
        let asked = if key.is_some() { Command::Find } else { Command::List };
        Ok((ask(&channel, asked(key_bytes)).await?, schema))
    }

    /// Asks all who describe themselves in catalogs, in SQL:
    ///
    /// ```text
    /// SELECT zone, avg(load), p99(latency) FROM '/dc/*' WHERE role = 'db' GROUP BY zone
    /// ```
    ///
    /// FROM takes a pattern of the catalogs' names, in which a star is any one segment; `zone` is
    /// what the stars stand for. Nodes that ask the same share the answer, and nobody computes it
    /// any more when the last handle on it is dropped; a node asks the same once at a time.
    pub async fn query(&self, sql: &str) -> Result<Query, QueryError> {
        let sql = query::read(sql)?;
        let begin = begin_of(sql.query.pattern());
        query::find(sql.query.pattern(), &begin, async |prefix| self.names(prefix).await).await?;
        query::ask(&self.net, sql).await
    }

    /// Lists those who describe themselves in catalogs, in SQL without functions:
    ///
    /// ```text
    /// SELECT node, zone, load FROM '/dc/*' WHERE role = 'db' ORDER BY load LIMIT 10
    /// ```
    ///
    /// `node` is who says it. Rows are looked for when they are read, in one catalog after the
    /// other, none of which this node may have open itself.
    pub async fn rows(&self, sql: &str) -> Result<Rows<'_>, QueryError> {
        let listing = query::read_listing(sql)?;
        let (pattern, begin) = (&listing.pattern, begin_of(&listing.pattern));
        let names = async |prefix: &str| self.names(prefix).await;
        let catalogs = query::catalogs(pattern, &begin, names).await?;
        Ok(Rows::new(&self.net, listing, catalogs))
    }

    /// Of the attributes that a query asks for, those that nobody has whom it is asked of, if its
    /// answer has nothing of them: names that were misspelt, most likely.
    pub async fn missing(&self, query: &Query, answer: &Answer) -> Result<Vec<String>, QueryError> {
        query::missing(&self.net, query, answer).await
    }

    /// Says this of this node, in place of what it said of itself before: see
    /// [`Members::set_metadata`], and [`Members::metadata`] for how others read it.
    pub async fn set_metadata(&self, metadata: impl Into<Bytes>) -> Result<(), MetadataError> {
        let _one_at_a_time = self.saying.lock().await;
        let mut members: Members = self.open(MEMBERS).await?;
        members.set_metadata(metadata).await?;
        // With the answer it is certain that it was taken.
        members.metadata(self.member().node).await.map(|_| ())
    }

    /// What each module would carry an object of this type for, or what it lacks.
    pub async fn offers(
        &self,
        ty: ObjectType,
    ) -> Result<Vec<(&'static str, Result<Cost, Lack>)>, NodeError> {
        self.net.offers(ty).await
    }

    /// What was dropped, refused or mended so far, by name.
    pub async fn counts(&self) -> Result<BTreeMap<&'static str, u64>, NodeError> {
        self.net.counts().await
    }

    /// Takes another identity of the same node, without a restart: another certificate, other
    /// authorities, more nodes revoked. Links to peers that it does not accept are closed.
    pub async fn renew(&self, identity: Identity) -> Result<(), RenewError> {
        self.net.renew(identity).await
    }

    /// Says good-bye to the others, and ends.
    pub async fn stop(self) {
        self.net.stop().await;
    }

    /// What messages of a type are made of, if that is told.
    async fn schema_of(&self, ty: &ObjectType) -> Result<Option<Schema>, NodeError> {
        let Some(id) = &ty.schema else { return Ok(None) };
        self.names.schema(&self.net, id).await
    }

    async fn open_name<O: Object>(&self, name: Name) -> Result<O, OpenError> {
        let port = self.net.open(Spec::new(name.clone(), O::object_type())).await?;
        let object = O::hold(&name, port).await?;
        if let Some(schema) = O::schema() {
            // Who has no Rust type for the object may miss it; to this node it makes no difference.
            let _ = self.names.publish(&self.net, &schema).await;
        }
        Ok(object)
    }
}

/// How a node takes part, if not as a local one.
pub struct Options {
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
    /// What it does while there is no cluster, and how many members it expects: as many as found
    /// it together, none if it founds it alone, else one who is there. See [`Node::ready`].
    pub founding: Founding,
    /// Whether it is a member of agreed views from the start, and not only once it opens a strong
    /// object.
    pub is_seated: bool,
    /// What it says of itself from the start, 64 KiB at most: see [`Node::set_metadata`].
    pub metadata: Bytes,
    /// Modules beside those that come with LO/GO.
    pub modules: Vec<Box<dyn Module>>,
}

impl Options {
    /// A node that binds this address, and of which nothing else is said yet.
    pub fn at(listen: SocketAddr) -> Self {
        Self {
            listen,
            advertise: Vec::new(),
            seeds: Vec::new(),
            identity: None,
            disk: None,
            founding: Founding::Wait,
            is_seated: true,
            metadata: Bytes::new(),
            modules: Vec::new(),
        }
    }

    /// One of so many nodes, itself included, that start with the same seeds, in any order, and
    /// make one cluster.
    #[must_use]
    pub fn expect(self, nodes: u16) -> Self {
        Self { founding: Founding::Expect(nodes), ..self }
    }

    fn of_entry(entry: &Entry) -> Self {
        Self {
            seeds: entry.living().to_vec(),
            identity: Some(entry.identity().clone()),
            founding: if entry.is_founder() { Founding::Alone } else { Founding::Wait },
            ..Self::at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        }
    }
}

/// A place in the tree of names: `node.enter("shop")?.enter("eu")?.open("prices")`.
#[derive(Clone)]
pub struct Place<'a> {
    node: &'a Node,
    name: Name,
}

impl Place<'_> {
    /// The place one step further.
    pub fn enter(&self, segment: &str) -> Result<Self, NameError> {
        Ok(Self { node: self.node, name: self.name.enter(segment)? })
    }

    /// Opens the object of this name here.
    pub async fn open<O: Object>(&self, segment: &str) -> Result<O, OpenError> {
        self.node.open_name(self.name.enter(segment)?).await
    }
}

/// How all names begin that can fit.
fn begin_of(pattern: &Pattern) -> String {
    pattern.as_str().split('*').next().unwrap_or_default().to_owned()
}

/// The object that a local node has open as long as it lives.
const SEAT: &str = "/.logo/cluster";

/// The object by which a node says something of itself.
const MEMBERS: &str = "/.logo/members";
