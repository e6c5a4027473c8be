//! Objects for callers that have no Rust type for them: messages are JSON.
//!
//! What an object's messages are made of is learned by name: its holders tell the type of the name,
//! and the schema that the type has. JSON is then transcoded to the very bytes that a Rust program
//! would have sent, and back.

use live_objects::sketch::{Heavy, High};
use live_objects::{
    CatalogEvent, Command, Delivery, Described, Estimate, Event, Kind, Near, ObjectType, Scalar,
    Schema, Summary, TopicEvent,
};
use serde_json::{Map, Value, json};
use thiserror::Error;

use crate::channel::Channel;
use crate::error::SendError;

/// A handle on an object that was opened by its name alone.
pub struct Dynamic {
    ty: ObjectType,
    schema: Option<Schema>,
    channel: Channel,
}

impl Dynamic {
    pub(crate) fn new(ty: ObjectType, schema: Option<Schema>, channel: Channel) -> Self {
        Self { ty, schema, channel }
    }

    /// Its type.
    pub fn object_type(&self) -> &ObjectType {
        &self.ty
    }

    /// Sends a message to all members of a topic, when there is room.
    pub async fn send(&self, message: &Value) -> Result<u64, DynamicError> {
        let (Kind::Topic, Some(schema)) = (&self.ty.kind, &self.schema) else {
            return Err(DynamicError::NoMessages(self.ty.clone()));
        };
        let bytes = schema.encode_json(message);
        let bytes = bytes.map_err(|error| DynamicError::Message(error.to_string()))?;
        Ok(self.channel.send(Command::Send(bytes.into())).await?)
    }

    /// Sends a message, and waits until every member of the view holds it; of a best-effort topic,
    /// until this node has passed it on. Events that come meanwhile are passed over.
    pub async fn send_and_wait(&self, message: &Value) -> Result<(), DynamicError> {
        let number = self.send(message).await?;
        let is_best_effort = self.ty.properties.delivery == Delivery::BestEffort;
        loop {
            match self.channel.next().await.ok_or(SendError::Closed)? {
                Event::Topic(TopicEvent::Stable { message }) if message >= number => break,
                Event::Topic(TopicEvent::Message { own, .. })
                    if is_best_effort && own == Some(number) =>
                {
                    break;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The next event, as JSON with one key that says what it is; none when there are none to come.
    pub async fn next(&self) -> Option<Value> {
        Some(match self.channel.next().await? {
            Event::Topic(event) => self.told(event),
            Event::Aggregate(estimate) => json!({ "estimate": known(&self.ty.kind, &estimate) }),
            Event::Nearest(best) => json!({ "nearest": best.iter().map(near).collect::<Vec<_>>() }),
            Event::Catalog(CatalogEvent::Found { holders, told, .. }) => {
                let found: Vec<Value> = holders.iter().map(described).collect();
                json!({ "found": found, "told": format!("{told:?}").to_lowercase() })
            }
            Event::Closed(closure) => json!({ "closed": closure.to_string() }),
            other => json!({ "event": format!("{other:?}") }),
        })
    }

    fn told(&self, event: TopicEvent) -> Value {
        match event {
            TopicEvent::Message { from, bytes, .. } => {
                let message = self.schema.as_ref().map(|schema| schema.decode_json(&bytes));
                match message {
                    Some(Ok(message)) => {
                        json!({ "message": message, "from": from.node.to_string() })
                    }
                    Some(Err(error)) => json!({ "unreadable": error.to_string() }),
                    None => json!({ "bytes": bytes.len(), "from": from.node.to_string() }),
                }
            }
            TopicEvent::View(view) => {
                json!({ "view": { "number": view.epoch.number, "members": view.members.len() } })
            }
            TopicEvent::Outside => json!({ "outside": true }),
            TopicEvent::CutOff => json!({ "cut_off": true }),
            TopicEvent::Reached => json!({ "cut_off": false }),
            TopicEvent::Stable { message } => json!({ "stable": message }),
            TopicEvent::Lagged { missed } => json!({ "lagged": missed }),
        }
    }
}

/// What is known of an aggregate: its value, and of a sketch what else it says.
fn known(kind: &Kind, estimate: &Estimate) -> Value {
    let mut known = json!({
        "value": estimate.value,
        "members": estimate.members,
        "age_ms": u64::try_from(estimate.age.as_millis()).unwrap_or(u64::MAX),
    });
    if estimate.spread > 0.0 {
        known["spread"] = estimate.spread.into();
    }
    match kind {
        Kind::Aggregate(Summary::Variance) => known["deviation"] = json!(estimate.deviation()),
        Kind::Aggregate(Summary::Quantiles) => {
            for (name, q) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0)] {
                known[name] = json!(estimate.quantile(q));
            }
        }
        Kind::Aggregate(Summary::TopK) => {
            let heavy = |heavy: &Heavy| {
                let key = String::from_utf8_lossy(&heavy.key);
                json!({ "key": key, "weight": heavy.weight, "bound": heavy.bound })
            };
            known["top"] = estimate.top().iter().take(TOP).map(heavy).collect();
        }
        Kind::Aggregate(Summary::Highest) => {
            let high = |high: &High| json!({ "node": high.node.to_string(), "value": high.value });
            known["highest"] = estimate.highest().iter().map(high).collect();
        }
        Kind::Aggregate(Summary::Histogram) => {
            if let Some(of) = estimate.histogram() {
                known["bounds"] = json!(of.bounds());
                known["counts"] = json!(of.counts());
            }
        }
        _ => {}
    }
    known
}

/// How many of the heaviest keys are told.
const TOP: usize = 10;

/// Round trips in milliseconds.
fn near(near: &Near) -> Value {
    json!({
        "node": near.member.node.to_string(),
        "round_trip_ms": near.round_trip.as_secs_f64() * 1e3,
        "error_ms": near.error.as_secs_f64() * 1e3,
        "measured": near.is_measured,
        "load": near.load.number(),
    })
}

/// What a holder of a catalog says of itself.
fn described(one: &Described) -> Value {
    let value = |(name, value): (&str, &Scalar)| {
        let value = match value {
            Scalar::Text(text) => json!(text),
            Scalar::Number(number) => json!(number),
        };
        (name.to_owned(), value)
    };
    let attributes: Map<String, Value> = one.attributes.iter().map(value).collect();
    json!({ "node": one.member.node.to_string(), "attributes": attributes })
}

/// Why an object cannot be used without its Rust type. Nothing was sent.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum DynamicError {
    /// The message does not fit the schema.
    #[error("the message does not fit: {0}")]
    Message(String),
    /// Messages cannot be sent to it, or nobody tells what they are made of.
    #[error("no messages can be sent to an object of type {0}, or nobody tells their schema")]
    NoMessages(ObjectType),
    /// The object does not take it.
    #[error(transparent)]
    Send(#[from] SendError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use live_objects::sketch::{Highest, Histogram, Quantiles, Sketch, TopK};
    use live_objects::{Attributes, Incarnation, Member, NodeId};
    use std::sync::Arc;
    use std::time::Duration;

    #[test]
    fn a_sketch_tells_what_it_says_beside_its_value() {
        let told = |sketch: Sketch| {
            let kind = Kind::Aggregate(sketch.summary());
            let parts = sketch.parts().into_iter().map(Arc::new).collect();
            known(&kind, &Estimate::of_sketches(parts, 3, Duration::from_millis(7)))
        };
        let mut quantiles = Quantiles::new();
        quantiles.record(0.0).unwrap();
        let all = json!({
            "value": 0.0, "members": 3, "age_ms": 7, "p50": 0.0, "p90": 0.0, "p99": 0.0, "max": 0.0
        });
        assert_eq!(told(Sketch::Quantiles(quantiles)), all);
        let mut top = TopK::new();
        top.add(b"key", 5).unwrap();
        let key = json!([{ "key": "key", "weight": 5, "bound": 0 }]);
        assert_eq!(told(Sketch::TopK(top))["top"], key);
        let node = NodeId::from_bytes([7; 16]);
        let highest = told(Sketch::Highest(Highest::of(node, 1.5).unwrap()));
        assert_eq!(highest["highest"], json!([{ "node": node.to_string(), "value": 1.5 }]));
        let histogram = told(Sketch::Histogram(Histogram::new(&[1.0]).unwrap()));
        assert_eq!((&histogram["bounds"], &histogram["counts"]), (&json!([1.0]), &json!([0, 0])));
        let nine = Estimate::of_number(Some(9.0), 1, Duration::ZERO);
        assert_eq!(known(&Kind::Aggregate(Summary::Variance), &nine)["deviation"], json!(3.0));
        let sum = json!({ "value": 9.0, "members": 1, "age_ms": 0 });
        assert_eq!(known(&Kind::Aggregate(Summary::Sum), &nine), sum);
    }
    #[test]
    fn whoever_is_found_tells_what_it_is() {
        let node = NodeId::from_bytes([7; 16]);
        let member = Member { node, incarnation: Incarnation::from_bytes([1; 16]) };
        let own = Attributes::default().with("role", "db").unwrap().with("load", 0.5).unwrap();
        let told = described(&Described { member, attributes: own });
        let attributes = json!({ "role": "db", "load": 0.5 });
        assert_eq!(told, json!({ "node": node.to_string(), "attributes": attributes }));
    }
}
