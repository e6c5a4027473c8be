//! `logo send`, `watch`, `get` and `set`: objects used from the shell, by their names alone.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use live_objects::{Command, Kind, Listing, Name, ObjectType, Share, Spec, Summary};
use logo::{Node, Object, Reading, Replicated, Table, TableUpdate};
use serde_json::{Value, json};

use crate::join::{Cluster, Failure, complain, line, print};
use crate::names::{found, heard};

/// What to send.
#[derive(Args)]
pub(crate) struct SendArgs {
    /// The topic's name.
    name: Name,
    /// The message, as JSON: "text", 3, {"item": "cd", "cents": 1177}.
    message: String,
    #[command(flatten)]
    cluster: Cluster,
    /// Tell how it went as one line of JSON.
    #[arg(long)]
    json: bool,
}

/// What to watch.
#[derive(Args)]
pub(crate) struct WatchArgs {
    /// The name of a topic, an aggregate, or an object of kind Nearest.
    name: Name,
    /// End after so many messages, estimates, or lists of the nearest.
    #[arg(long, value_name = "NUMBER")]
    count: Option<u64>,
    #[command(flatten)]
    cluster: Cluster,
    /// Accepted for likeness: what is watched is always told as lines of JSON.
    #[arg(long)]
    json: bool,
}

/// What to get.
#[derive(Args)]
pub(crate) struct GetArgs {
    /// The name of an aggregate, a directory or a table.
    name: Name,
    /// A key of the directory or table; all of it without.
    key: Option<String>,
    #[command(flatten)]
    cluster: Cluster,
    /// Tell it as JSON. If it is a table's state of before, because no majority is in reach, it is
    /// told as {"stale": true, "value": …}.
    #[arg(long)]
    json: bool,
}

/// What to set.
#[derive(Args)]
pub(crate) struct SetArgs {
    /// The name of an aggregate or a table.
    name: Name,
    /// The key and the text, of a table; the number, of an aggregate.
    #[arg(num_args = 1..=2, required = true, allow_negative_numbers = true)]
    values: Vec<String>,
    /// For how many seconds an aggregate keeps the number: a share lasts as long as its node.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    #[command(flatten)]
    cluster: Cluster,
    /// Tell how it went as one line of JSON.
    #[arg(long)]
    json: bool,
}

impl SendArgs {
    pub(crate) fn run(self) -> ExitCode {
        match serde_json::from_str(&self.message) {
            Ok(message) => self.cluster.visit(async |node| self.work(node, &message).await),
            Err(error) => {
                let why = format!("the message is not JSON ({error}): a text stands in quotes");
                Failure::new(why).tell()
            }
        }
    }

    async fn work(&self, node: &Node, message: &Value) -> Result<(), Failure> {
        heard(node, self.name.as_str()).await?;
        let topic = node.open_dyn(self.name.as_str()).await?;
        match tokio::time::timeout(SENDING, topic.send_and_wait(message)).await {
            Ok(sent) => sent?,
            Err(_) => {
                let seconds = SENDING.as_secs();
                let why = format!("after {seconds} s not all members of {} have it", self.name);
                return Err(Failure::new(why));
            }
        }
        let sent = json!({ "sent": self.name.as_str() });
        print(self.json, &sent, || format!("sent to {}", self.name));
        Ok(())
    }
}

impl WatchArgs {
    pub(crate) fn run(self) -> ExitCode {
        self.cluster.visit(async |node| self.work(node).await)
    }

    async fn work(&self, node: &Node) -> Result<(), Failure> {
        let name = &self.name;
        let ty = found(node, name).await?;
        if let Kind::Overlay(_) = ty.kind {
            let why = format!(
                "{name} is an overlay, in which a node has neighbours only where it stands: open it \
                 in a program that knows its rank"
            );
            return Err(Failure::new(why));
        }
        if ty.kind == Kind::Directory {
            let why = format!(
                "{name} is a directory: a topic or an aggregate can be watched, and what a \
                 directory lists can be had with `logo get {name}`"
            );
            return Err(Failure::new(why));
        }
        let object = node.open_dyn(name.as_str()).await?;
        let mut left = self.count;
        while left != Some(0)
            && let Some(event) = object.next().await
        {
            if line(&event.to_string()).is_err() {
                break;
            }
            if ["message", "estimate", "nearest"].iter().any(|key| event.get(key).is_some()) {
                left = left.map(|left| left - 1);
            }
        }
        Ok(())
    }
}

impl GetArgs {
    pub(crate) fn run(self) -> ExitCode {
        self.cluster.visit(async |node| self.work(node).await)
    }

    async fn work(&self, node: &Node) -> Result<(), Failure> {
        let (name, key) = (&self.name, self.key.as_deref());
        let ty = found(node, name).await?;
        let mut is_stale = false;
        let value = match &ty.kind {
            Kind::Aggregate(_) => estimate(node, name.as_str()).await?,
            Kind::Directory => listings(node, name.clone(), ty, key).await?,
            Kind::Replicated if ty == Replicated::<Table>::object_type() => {
                let read = table(node, name.as_str(), key).await?;
                is_stale = read.is_stale;
                read.value
            }
            Kind::Replicated => {
                let why = format!("{name} is a {ty}: only a program with its code can read it");
                return Err(Failure::new(why));
            }
            _ => return Err(Failure::new(format!("{name} is a {ty}: watch it, do not get it"))),
        };
        if is_stale && (!self.json || value.is_null()) {
            complain(&format!("{name} is read as it was before: no majority is in reach now"));
        }
        if value.is_null() {
            return Err(Failure::new(format!("{} holds nothing of that", self.name)));
        }
        let told = answer(&value, is_stale);
        print(self.json, &told, || match &value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        });
        Ok(())
    }
}

impl SetArgs {
    pub(crate) fn run(self) -> ExitCode {
        self.cluster.visit(async |node| self.work(node).await)
    }

    async fn work(&self, node: &Node) -> Result<(), Failure> {
        let name = &self.name;
        let ty = found(node, name).await?;
        match (&ty.kind, &self.values[..]) {
            (Kind::Aggregate(summary), [number]) => {
                if matches!(summary, Summary::Distinct | Summary::TopK | Summary::Histogram) {
                    let why = format!("{name} is a {ty}: a program can add to it, no number can");
                    return Err(Failure::new(why));
                }
                let number: f64 = number.parse().map_err(Failure::new)?;
                let share = Share::new(number).map_err(Failure::new)?;
                let port = node.open_port(Spec::new(name.clone(), ty)).await?;
                port.try_send(Command::Set(share)).map_err(Failure::new)?;
                let told = json!({ "set": number, "seconds": self.seconds });
                print(self.json, &told, || format!("set for {} seconds", self.seconds));
                tokio::time::sleep(Duration::from_secs(self.seconds)).await;
            }
            (Kind::Replicated, [key, text]) if ty == Replicated::<Table>::object_type() => {
                let table: Replicated<Table> = node.open(name.as_str()).await?;
                let update = TableUpdate::Set { key: key.clone(), text: text.clone() };
                let before = table.update(&update).await?;
                print(self.json, &json!({ "set": key, "before": before }), || {
                    before.clone().map_or("set".to_owned(), |before| format!("set, was {before}"))
                });
            }
            _ => {
                let usage = "give a table a key and a text, or an aggregate a number";
                return Err(Failure::new(format!("{name} is a {ty}: {usage}")));
            }
        }
        Ok(())
    }
}

/// What was got, as JSON.
fn answer(value: &Value, is_stale: bool) -> Value {
    if is_stale { json!({ "stale": true, "value": value }) } else { value.clone() }
}

/// What is known of an aggregate, once it had time to be known here.
async fn estimate(node: &Node, name: &str) -> Result<Value, Failure> {
    let aggregate = node.open_dyn(name).await?;
    let mut known = Value::Null;
    let listens = async {
        while let Some(mut event) = aggregate.next().await {
            known = event["estimate"].take();
        }
    };
    let _ = tokio::time::timeout(ESTIMATING, listens).await;
    Ok(known)
}

async fn listings(
    node: &Node,
    name: Name,
    ty: ObjectType,
    key: Option<&str>,
) -> Result<Value, Failure> {
    let (listings, schema) = node.look_up(name, ty, key).await?;
    let told = |Listing { key, publisher, value }: Listing| {
        let value = schema.as_ref().and_then(|schema| schema.decode_json(&value).ok());
        json!({
            "key": String::from_utf8_lossy(&key),
            "publisher": publisher.node.to_string(),
            "value": value,
        })
    };
    let told: Vec<_> = listings.into_iter().map(told).collect();
    Ok(if told.is_empty() { Value::Null } else { told.into() })
}

async fn table(node: &Node, name: &str, key: Option<&str>) -> Result<Reading<Value>, Failure> {
    let table: Replicated<Table> = node.open(name).await?;
    Ok(table.read(|table| match key {
        Some(key) => table.get(key).map_or(Value::Null, Value::from),
        None => table.iter().map(|(key, text)| (key.to_owned(), Value::from(text))).collect(),
    })?)
}

/// How long a message may take to all members.
const SENDING: Duration = Duration::from_secs(10);
const ESTIMATING: Duration = Duration::from_secs(4);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stale_is_told_apart() {
        let blue = Value::from("blue");
        assert_eq!(answer(&blue, false), blue);
        assert_eq!(answer(&blue, true), json!({ "stale": true, "value": "blue" }));
    }
}
