//! `logo send`, `watch`, `get` and `set`: objects used from the shell, by their names alone.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use live_objects::{Command, Event, Kind, Listing, Name, ObjectType, Share, Spec};
use logo::{Node, Object, Replicated, Table, TableUpdate};
use serde_json::{Value, json};

use crate::join::{self, Cluster, Failure, line, print};
use crate::names::heard;

/// What to send.
#[derive(Args)]
pub(crate) struct SendArgs {
    /// The topic's name.
    name: String,
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
    /// The name of a topic or an aggregate.
    name: String,
    /// End after so many messages or estimates.
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
    name: String,
    /// A key of the directory or table; all of it without.
    key: Option<String>,
    #[command(flatten)]
    cluster: Cluster,
    /// Tell it as JSON.
    #[arg(long)]
    json: bool,
}

/// What to set.
#[derive(Args)]
pub(crate) struct SetArgs {
    /// The name of an aggregate or a table.
    name: String,
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
        join::run(self.work())
    }

    async fn work(self) -> Result<ExitCode, Failure> {
        let message: Value = serde_json::from_str(&self.message).map_err(|error| {
            Failure::new(format!("the message is not JSON ({error}): a text stands in quotes"))
        })?;
        let node = self.cluster.visit().await?;
        heard(&node, &self.name).await?;
        let topic = node.open_dyn(&self.name).await?;
        topic.send(&message).await?;
        print(self.json, &json!({ "sent": self.name }), || format!("sent to {}", self.name));
        node.stop().await;
        Ok(ExitCode::SUCCESS)
    }
}

impl WatchArgs {
    pub(crate) fn run(self) -> ExitCode {
        join::run(self.work())
    }

    async fn work(self) -> Result<ExitCode, Failure> {
        let node = self.cluster.visit().await?;
        heard(&node, &self.name).await?;
        let object = node.open_dyn(&self.name).await?;
        let mut left = self.count;
        while left != Some(0)
            && let Some(event) = object.next().await
        {
            if line(&event.to_string()).is_err() {
                break;
            }
            if event.get("message").or(event.get("estimate")).is_some() {
                left = left.map(|left| left - 1);
            }
        }
        node.stop().await;
        Ok(ExitCode::SUCCESS)
    }
}

impl GetArgs {
    pub(crate) fn run(self) -> ExitCode {
        join::run(self.work())
    }

    async fn work(self) -> Result<ExitCode, Failure> {
        let node = self.cluster.visit().await?;
        let (name, ty) = found(&node, &self.name).await?;
        let value = match &ty.kind {
            Kind::Aggregate(_) => estimate(&node, name, ty).await?,
            Kind::Directory => listings(&node, name, ty, self.key.as_deref()).await?,
            Kind::Replicated if ty == Replicated::<Table>::object_type() => {
                table(&node, &self.name, self.key.as_deref()).await?
            }
            _ => return Err(Failure::new(format!("{name} is a {ty}: watch it, do not get it"))),
        };
        print(self.json, &value, || match &value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        });
        node.stop().await;
        Ok(if value.is_null() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

impl SetArgs {
    pub(crate) fn run(self) -> ExitCode {
        join::run(self.work())
    }

    async fn work(self) -> Result<ExitCode, Failure> {
        let node = self.cluster.visit().await?;
        let (name, ty) = found(&node, &self.name).await?;
        match (&ty.kind, &self.values[..]) {
            (Kind::Aggregate(_), [number]) => {
                let number: f64 = number.parse().map_err(Failure::new)?;
                let share = Share::new(number).map_err(Failure::new)?;
                let port = node.open_port(Spec::new(name, ty)).await?;
                port.try_send(Command::Set(share)).map_err(Failure::new)?;
                let told = json!({ "set": number, "seconds": self.seconds });
                print(self.json, &told, || format!("set for {} seconds", self.seconds));
                tokio::time::sleep(Duration::from_secs(self.seconds)).await;
            }
            (Kind::Replicated, [key, text]) if ty == Replicated::<Table>::object_type() => {
                let table: Replicated<Table> = node.open(&self.name).await?;
                let update = TableUpdate::Set { key: key.clone(), text: text.clone() };
                let before = table.update(&update).await?;
                print(self.json, &json!({ "set": key, "before": before }), || {
                    before.clone().map_or("set".to_owned(), |before| format!("set, was {before}"))
                });
            }
            _ => {
                let why = format!(
                    "{name} is a {ty}: give a table a key and a text, or an \
                                   aggregate a number"
                );
                return Err(Failure::new(why));
            }
        }
        node.stop().await;
        Ok(ExitCode::SUCCESS)
    }
}

/// The name, and the type that its holders tell.
async fn found(node: &Node, name: &str) -> Result<(Name, ObjectType), Failure> {
    let parsed: Name = name.parse()?;
    heard(node, name).await?;
    match node.type_of(&parsed).await? {
        Some(ty) => Ok((parsed, ty)),
        None => Err(Failure::new(format!("nobody has {name} open: see what there is: logo ls"))),
    }
}

/// What is known of an aggregate once it no longer changes with every word.
async fn estimate(node: &Node, name: Name, ty: ObjectType) -> Result<Value, Failure> {
    let port = node.open_port(Spec::new(name, ty)).await?;
    tokio::time::sleep(ESTIMATING).await;
    let mut known = Value::Null;
    while let Some(event) = port.try_next() {
        if let Event::Aggregate(estimate) = event {
            known = json!({
                "value": estimate.value,
                "members": estimate.members,
                "age_ms": u64::try_from(estimate.age.as_millis()).unwrap_or(u64::MAX),
            });
        }
    }
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

async fn table(node: &Node, name: &str, key: Option<&str>) -> Result<Value, Failure> {
    let table: Replicated<Table> = node.open(name).await?;
    let read = table.read(|table| match key {
        Some(key) => table.get(key).map_or(Value::Null, Value::from),
        None => table.iter().map(|(key, text)| (key.to_owned(), Value::from(text))).collect(),
    })?;
    Ok(read.value)
}

const ESTIMATING: Duration = Duration::from_secs(4);
