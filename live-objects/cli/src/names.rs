//! `logo ls` and `logo explain`: which objects there are, and which module carries one and why.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use live_objects::{Name, ObjectType};
use logo::{Gossip, Holding, Node, UnknownName};
use serde_json::json;

use crate::join::{Cluster, Failure, line, print};

/// Which objects to list.
#[derive(Args)]
pub(crate) struct LsArgs {
    /// Only those whose names begin so.
    #[arg(default_value = "/")]
    prefix: String,
    #[command(flatten)]
    cluster: Cluster,
    /// A line of JSON an object.
    #[arg(long)]
    json: bool,
}

/// Which object to explain.
#[derive(Args)]
pub(crate) struct ExplainArgs {
    /// Its name, such as /shop/prices.
    name: Name,
    #[command(flatten)]
    cluster: Cluster,
    /// Tell it as one line of JSON.
    #[arg(long)]
    json: bool,
}

impl LsArgs {
    pub(crate) fn run(self) -> ExitCode {
        self.cluster.visit(async |node| self.work(node).await)
    }

    async fn work(&self, node: &Node) -> Result<(), Failure> {
        let mut objects: BTreeMap<(String, String), usize> = BTreeMap::new();
        for holding in heard(node, &self.prefix).await? {
            *objects.entry((holding.name.to_string(), holding.ty.to_string())).or_default() += 1;
        }
        for ((name, ty), holders) in &objects {
            let or_more = *holders >= Gossip::HOLDERS_MAX;
            let value = json!({ "name": name, "type": ty, "holders": holders, "or_more": or_more });
            let more = if or_more { " or more" } else { "" };
            print(self.json, &value, || format!("{name}  {holders} holders{more}  {ty}"));
        }
        if objects.is_empty() && !self.json {
            let told = format!("nobody has an object open whose name begins with {}", self.prefix);
            let _ = line(&told);
        }
        Ok(())
    }
}

impl ExplainArgs {
    pub(crate) fn run(self) -> ExitCode {
        self.cluster.visit(async |node| self.work(node).await)
    }

    async fn work(&self, node: &Node) -> Result<(), Failure> {
        let name = &self.name;
        let ty = found(node, name).await?;
        let (carrier, reasons) = reasons(node, &ty).await?;
        let value = json!({
            "name": name.as_str(),
            "type": ty.to_string(),
            "carrier": carrier,
            "modules": reasons,
        });
        print(self.json, &value, || {
            let told: Vec<_> =
                reasons.iter().map(|(module, why)| format!("  {module}: {why}")).collect();
            let carrier = carrier.as_deref().unwrap_or("no module");
            format!("{name} is a {ty}\ncarried by {carrier}\n{}", told.join("\n"))
        });
        Ok(())
    }
}

/// Which module carries objects of a type, and what each has to say about it.
async fn reasons(
    node: &Node,
    ty: &ObjectType,
) -> Result<(Option<String>, BTreeMap<String, String>), Failure> {
    let mut cheapest: Option<(u64, &str)> = None;
    let mut reasons = BTreeMap::new();
    for (module, offer) in node.offers(ty.clone()).await? {
        let why = match offer {
            Ok(cost) => {
                let bytes = cost.at(MESSAGE_BYTES);
                if cheapest.is_none_or(|cheapest| (bytes, module) < cheapest) {
                    cheapest = Some((bytes, module));
                }
                format!("keeps it, at {bytes} bytes for a message of {MESSAGE_BYTES} to each")
            }
            Err(lack) => lack.to_string(),
        };
        reasons.insert(module.to_owned(), why);
    }
    Ok((cheapest.map(|(_, module)| module.to_owned()), reasons))
}

/// The type that the holders of a name tell.
pub(crate) async fn found(node: &Node, name: &Name) -> Result<ObjectType, Failure> {
    heard(node, name.as_str()).await?;
    let ty = node.type_of(name).await?;
    ty.ok_or_else(|| Failure::new(UnknownName::Nobody(name.clone())))
}

/// The objects whose names begin so, once a newcomer has heard of some, or of none for a while.
pub(crate) async fn heard(node: &Node, prefix: &str) -> Result<Vec<Holding>, Failure> {
    let mut before = Vec::new();
    for _ in 0..HEARING_MAX {
        tokio::time::sleep(HEARING).await;
        let holdings = node.names(prefix).await?;
        if !holdings.is_empty() && holdings == before {
            return Ok(holdings);
        }
        before = holdings;
    }
    Ok(before)
}

/// What modules are compared at.
const MESSAGE_BYTES: usize = 100;
const HEARING: Duration = Duration::from_millis(500);
const HEARING_MAX: u32 = 8;
