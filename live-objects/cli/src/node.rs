//! `logo node` and `logo members`: a node that stays, and who is there.

use std::future::pending;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use live_objects::{Departure, Member, MembersEvent, Name};
use logo::{Agreed, Identity, Members, Node, NotReady, Replicated, Table};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::interrupt::Interrupt;
use crate::join::{self, Cluster, Failure, Stay, line, print};
use crate::renewal::{self, Renewal};
use crate::standing::{Place, Standing};

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
    tables: Vec<Name>,
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
        // A node goes on, and ends well, when nobody reads what it says.
        join::run_unheard(self.work())
    }

    async fn work(self) -> Result<ExitCode, Failure> {
        let mut interrupt = Interrupt::listen()?;
        let mut renewal = self.cluster.renewal()?;
        let node = tokio::select! {
            node = self.cluster.stay(&self.stay) => node?,
            _ = interrupt.interrupted() => return Ok(ExitCode::SUCCESS),
        };
        let (id, address) = (node.member().node.to_string(), node.address());
        let started = json!({ "node": id, "address": address.to_string() });
        print(self.json, &started, || format!("node {id} listens at {address}"));
        let done = tokio::select! {
            done = self.serve(&node, &mut renewal) => done,
            done = self.tell_ready(&node) => done,
            _ = interrupt.interrupted() => {
                print(self.json, &json!({ "stops": id }), || "says good-bye".to_owned());
                Ok(())
            }
        };
        interrupt.stop(node).await;
        done.map(|()| ExitCode::SUCCESS)
    }

    /// Tells when the node knows those whom it expects, and how many are missing until then. Ends
    /// only if that can never be.
    async fn tell_ready(&self, node: &Node) -> Result<(), Failure> {
        while let Err(not_ready) = node.ready(READY_EVERY).await {
            if !matches!(not_ready, NotReady::Fewer { .. }) {
                return Err(Failure::new(not_ready));
            }
            join::complain(&format!("not ready: {not_ready}"));
        }
        let id = node.member().node.to_string();
        print(self.json, &json!({ "ready": id }), || "ready: knows those it expects".to_owned());
        pending().await
    }

    /// Holds the tables and tells what happens, for as long as the node runs.
    async fn serve(&self, node: &Node, renewal: &mut Option<Renewal>) -> Result<(), Failure> {
        let mut members: Members = node.open("/.logo/members").await?;
        let mut agreed: Members<Agreed> = node.open("/.logo/agreed").await?;
        let mut tables: Vec<Replicated<Table>> = Vec::new();
        for name in &self.tables {
            tables.push(node.open(name.as_str()).await?);
            print(self.json, &json!({ "table": name.as_str() }), || format!("holds {name}"));
        }
        let mut standing = Standing::default();
        loop {
            if let Some(place) = standing.news(Instant::now()) {
                self.tell_place(place, standing.view());
            }
            let event = tokio::select! {
                event = members.next() => event,
                event = agreed.next() => event,
                () = standing.lasts() => continue,
                seen = renewal::next(renewal) => {
                    self.renew(node, seen).await;
                    continue;
                }
            };
            let event = event.ok_or_else(|| Failure::new("the node has stopped"))?;
            standing.note(&event);
            // Of views only those are told of that the node is not in any more, and is in again.
            if !matches!(event, MembersEvent::View(_) | MembersEvent::Outside) {
                let _ = tell(self.json, &event);
            }
        }
    }

    fn tell_place(&self, place: Place, view: Option<u64>) {
        match place {
            Place::In => print(self.json, &json!({ "back": true, "view": view }), || {
                let number = view.map_or_else(String::new, |number| format!(" {number}"));
                format!("back in view{number}, with most of its members in reach")
            }),
            Place::CutOff => print(self.json, &json!({ "cut_off": true, "view": view }), || {
                "cut off from most of the others: nothing is agreed on until they are back"
                    .to_owned()
            }),
            Place::Outside => {
                let _ = tell(self.json, &MembersEvent::Outside);
            }
        }
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
            let mut told = say(self.json, &roster(&others), &words(&others));
            while self.watch
                && told.is_ok()
                && let Some(event) = members.next().await
            {
                told = tell(self.json, &event);
            }
        }
        Ok(())
    }

    async fn tell_views(&self, members: &mut Members<Agreed>) -> Result<(), Failure> {
        loop {
            let event = match tokio::time::timeout(VIEW, members.next()).await {
                Ok(Some(event)) => event,
                Ok(None) => return Err(Failure::new("the node has stopped")),
                Err(_) if self.watch => continue,
                Err(_) => return Err(Failure::new("no primary partition is in reach")),
            };
            let is_told = tell(self.json, &event).is_ok();
            let is_last = !self.watch && matches!(event, MembersEvent::View(_));
            if is_last || !is_told {
                return Ok(());
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

fn tell(json: bool, event: &MembersEvent) -> io::Result<()> {
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
        MembersEvent::Down(member, Departure::Unwatched) => of("unwatched", member),
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
        // Answers to what nobody asks here, and what this shows nothing of.
        MembersEvent::Evidence { .. }
        | MembersEvent::Unclear { .. }
        | MembersEvent::Heard { .. }
        | MembersEvent::MetadataChanged(_)
        | MembersEvent::Metadata { .. } => return Ok(()),
    };
    say(json, &value, &text)
}

fn say(json: bool, value: &Value, text: &str) -> io::Result<()> {
    if json { line(&value.to_string()) } else { line(text) }
}

/// How often it is told that a node is not ready.
const READY_EVERY: Duration = Duration::from_secs(10);
const SETTLING: Duration = Duration::from_secs(1);
const VIEW: Duration = Duration::from_secs(15);
