//! `logo node` and `logo members`: a node that stays, and who is there.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use live_objects::{Departure, Member, MembersEvent};
use logo::{Agreed, Identity, Members, Node, Replicated, Table};
use serde_json::{Value, json};

use crate::join::{self, Cluster, Failure, Stay, print};
use crate::renewal;

/// A node that stays.
#[derive(Args)]
pub(crate) struct NodeArgs {
    #[command(flatten)]
    cluster: Cluster,
    #[command(flatten)]
    stay: Stay,
    /// Hold a replicated table of texts, which `logo get` and `logo set` use; may be given more
    /// than once.
    #[arg(long = "table", value_name = "NAME")]
    tables: Vec<String>,
    /// Tell what happens as lines of JSON.
    #[arg(long)]
    json: bool,
}

/// Who is there.
#[derive(Args)]
pub(crate) struct MembersArgs {
    #[command(flatten)]
    cluster: Cluster,
    /// Those who agree on who they are, with the number of their view.
    #[arg(long)]
    agreed: bool,
    /// Go on and tell of changes.
    #[arg(long)]
    watch: bool,
    /// Tell it as JSON.
    #[arg(long)]
    json: bool,
}

impl NodeArgs {
    pub(crate) fn run(self) -> ExitCode {
        join::run(self.work())
    }

    async fn work(self) -> Result<ExitCode, Failure> {
        let mut renewal = self.cluster.renewal()?;
        let node = self.cluster.stay(&self.stay).await?;
        let (id, address) = (node.member().node.to_string(), node.address());
        let started = json!({ "node": id, "address": address.to_string() });
        print(self.json, &started, || format!("node {id} listens at {address}"));
        let mut members: Members = node.open("/.logo/members").await?;
        let mut tables: Vec<Replicated<Table>> = Vec::new();
        for name in &self.tables {
            tables.push(node.open(name).await?);
            print(self.json, &json!({ "table": name }), || format!("holds {name}"));
        }
        loop {
            tokio::select! {
                event = members.next() => match event {
                    Some(event) => tell(self.json, &event),
                    None => return Err(Failure::new("the node has stopped")),
                },
                seen = renewal::next(&mut renewal) => self.renew(&node, seen).await,
                asked = tokio::signal::ctrl_c() => {
                    asked?;
                    break;
                }
            }
        }
        print(self.json, &json!({ "stops": id }), || "says good-bye".to_owned());
        drop(tables);
        node.stop().await;
        Ok(ExitCode::SUCCESS)
    }

    /// Goes on with the identity that is now in the files, if it can be used.
    async fn renew(&self, node: &Node, seen: Result<Identity, String>) {
        let renewed = match seen {
            Ok(identity) => node.renew(identity).await.map_err(|error| error.to_string()),
            Err(why) => Err(why),
        };
        let id = node.member().node.to_string();
        match renewed {
            Ok(()) => print(self.json, &json!({ "renewed": id }), || {
                "goes on with the identity that its files hold now".to_owned()
            }),
            Err(why) => print(self.json, &json!({ "not_renewed": id, "why": why }), || {
                format!("keeps the identity that it has: {why}")
            }),
        }
    }
}

impl MembersArgs {
    pub(crate) fn run(self) -> ExitCode {
        self.cluster.visit(async |node| self.work(node).await)
    }

    async fn work(&self, node: &Node) -> Result<(), Failure> {
        if self.agreed {
            let mut members: Members<Agreed> = node.open("/.logo/agreed").await?;
            self.tell_views(&mut members).await?;
        } else {
            let mut members: Members = node.open("/.logo/members").await?;
            // The table of a newcomer comes in pieces.
            tokio::time::sleep(SETTLING).await;
            let others: Vec<_> =
                members.now().into_iter().filter(|it| *it != node.member()).collect();
            print(self.json, &roster(&others), || words(&others));
            while self.watch
                && let Some(event) = members.next().await
            {
                tell(self.json, &event);
            }
        }
        Ok(())
    }

    async fn tell_views(&self, members: &mut Members<Agreed>) -> Result<(), Failure> {
        loop {
            let event = tokio::time::timeout(VIEW, members.next()).await;
            match event {
                Ok(Some(event @ MembersEvent::View(_))) => {
                    tell(self.json, &event);
                    if !self.watch {
                        return Ok(());
                    }
                }
                Ok(Some(event)) => tell(self.json, &event),
                Ok(None) => return Err(Failure::new("the node has stopped")),
                Err(_) if self.watch => {}
                Err(_) => return Err(Failure::new("no primary partition is in reach")),
            }
        }
    }
}

fn roster(members: &[Member]) -> Value {
    let nodes: Vec<_> = members.iter().map(|member| member.node.to_string()).collect();
    json!({ "members": nodes })
}

fn words(members: &[Member]) -> String {
    let nodes: Vec<_> = members.iter().map(|member| member.node.to_string()).collect();
    format!("{} members\n{}", nodes.len(), nodes.join("\n"))
}

fn tell(json: bool, event: &MembersEvent) {
    let of = |what: &str, member: &Member| {
        let node = member.node.to_string();
        (json!({ what: node }), format!("{what} {node}"))
    };
    let (value, text) = match event {
        MembersEvent::Roster(members) => (roster(members), words(members)),
        MembersEvent::Up(member) => of("up", member),
        MembersEvent::Suspect(member) => of("suspect", member),
        MembersEvent::Cleared(member) => of("cleared", member),
        MembersEvent::Down(member, Departure::Left) => of("left", member),
        MembersEvent::Down(member, Departure::Failed) => of("failed", member),
        MembersEvent::View(view) => {
            let mut value = roster(&view.members);
            value["view"] = json!(view.epoch.number);
            (value, format!("view {}: {}", view.epoch.number, words(&view.members)))
        }
        MembersEvent::Outside => (json!({ "outside": true }), "in no view for now".to_owned()),
        MembersEvent::ForeignCluster(cluster, node) => {
            let node = node.to_string();
            let text = format!("{node} is in another cluster, {cluster:?}, founded apart");
            (json!({ "foreign": node }), text)
        }
    };
    print(json, &value, || text);
}

const SETTLING: Duration = Duration::from_secs(1);
const VIEW: Duration = Duration::from_secs(15);
