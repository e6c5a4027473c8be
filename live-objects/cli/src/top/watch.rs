//! What `logo top` has heard of the cluster, put together into snapshots.
//!
//! The command looks at a cluster as any member does: it is told of members, hears who has which
//! objects open, and opens the aggregates among them itself, without a share of its own. Nothing is
//! asked of anybody, so it costs the others no more than a node that is idle.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use live_objects::{
    Departure, Estimate, Event, Kind, MembersEvent, Name, NodeId, ObjectType, Port, Spec, Summary,
};
use logo::{Gossip, Holding, Members, Node};
use tokio::time::Instant;

use super::snapshot::{AggregateRow, KindRow, MemberRow, Since, Snapshot, State, Traffic, zones};
use crate::join::Failure;

/// All that was heard.
pub(super) struct Watch<'a> {
    node: &'a Node,
    begun: Instant,
    members: Members,
    known: BTreeMap<NodeId, Known>,
    aggregates: BTreeMap<Name, Aggregate>,
    kinds: Vec<KindRow>,
    /// What the counters of traffic stood at when they were last looked at.
    counted: Option<(Instant, [u64; 4])>,
    traffic: Option<Traffic>,
}

/// What is known of a member.
struct Known {
    state: State,
    at: Instant,
    /// Whether it was seen to become so, and not only found so.
    is_seen: bool,
}

/// An aggregate that others have open, and so this node.
struct Aggregate {
    summary: Summary,
    port: Port,
    last: Option<(Instant, Estimate)>,
}

impl Drop for Aggregate {
    fn drop(&mut self) {
        self.port.close();
    }
}

impl<'a> Watch<'a> {
    pub(super) async fn begin(node: &'a Node) -> Result<Self, Failure> {
        let begun = Instant::now();
        let members = node.open("/.logo/members").await?;
        let mut known = BTreeMap::new();
        let here = Known { state: State::Here, at: begun, is_seen: true };
        known.insert(node.member().node, here);
        Ok(Self {
            node,
            begun,
            members,
            known,
            aggregates: BTreeMap::new(),
            kinds: Vec::new(),
            counted: None,
            traffic: None,
        })
    }

    /// Takes in what has been heard since it last looked, and tells all.
    pub(super) async fn look(&mut self) -> Result<Snapshot, Failure> {
        let now = Instant::now();
        while let Some(event) = self.members.try_next() {
            self.on_members(now, &event);
        }
        self.known.retain(|_, known| {
            let is_gone = matches!(known.state, State::Failed | State::Left);
            !is_gone || now < known.at + GONE
        });
        let holdings = self.node.names("/").await?;
        self.on_holdings(&holdings).await?;
        for aggregate in self.aggregates.values_mut() {
            while let Some(event) = aggregate.port.try_next() {
                if let Event::Aggregate(estimate) = event {
                    aggregate.last = Some((now, estimate));
                }
            }
        }
        self.count(now).await?;
        self.snapshot(now).await
    }

    fn on_members(&mut self, now: Instant, event: &MembersEvent) {
        let me = self.node.member().node;
        // Who is told of at first was there before.
        let is_seen = now > self.begun + SETTLING;
        let mut become_so = |node: NodeId, state: State, is_seen: bool| {
            let is_so = self.known.get(&node).is_some_and(|known| known.state == state);
            if node != me && !is_so {
                self.known.insert(node, Known { state, at: now, is_seen });
            }
        };
        match event {
            MembersEvent::Roster(members) => {
                for member in members {
                    become_so(member.node, State::Up, false);
                }
                let up: BTreeSet<NodeId> = members.iter().map(|member| member.node).collect();
                // How those went who are missing was not told.
                self.known.retain(|node, known| {
                    up.contains(node) || !matches!(known.state, State::Up | State::Suspect)
                });
            }
            MembersEvent::Up(member) => become_so(member.node, State::Up, is_seen),
            MembersEvent::Cleared(member) => become_so(member.node, State::Up, true),
            MembersEvent::Suspect(member) => become_so(member.node, State::Suspect, is_seen),
            MembersEvent::Down(member, Departure::Failed) => {
                become_so(member.node, State::Failed, true);
            }
            MembersEvent::Down(member, Departure::Left) => {
                become_so(member.node, State::Left, true);
            }
            MembersEvent::Down(member, Departure::Unwatched) => {
                self.known.remove(&member.node);
            }
            _ => {}
        }
    }

    /// Opens the aggregates that others have open, and closes those that only this node has.
    async fn on_holdings(&mut self, holdings: &[Holding]) -> Result<(), Failure> {
        let me = self.node.member();
        let others: Vec<&Holding> =
            holdings.iter().filter(|holding| holding.holder != me).collect();
        self.kinds = kinds(others.iter().map(|it| (&it.name, &it.ty, it.holder.node)));
        let open = aggregates(others.iter().map(|it| (&it.name, &it.ty)));
        self.aggregates
            .retain(|name, aggregate| open.contains_key(name) && !aggregate.port.is_closed());
        for (name, (summary, ty)) in open {
            if !self.aggregates.contains_key(name) {
                let port = self.node.open_port(Spec::new(name.clone(), ty.clone())).await?;
                self.aggregates.insert(name.clone(), Aggregate { summary, port, last: None });
            }
        }
        Ok(())
    }

    async fn count(&mut self, now: Instant) -> Result<(), Failure> {
        let counts = self.node.counts().await?;
        let counted = COUNTERS.map(|name| counts.get(name).copied().unwrap_or(0));
        if let Some((at, before)) = self.counted {
            let seconds = (now - at).as_secs_f64();
            if seconds < RATE_SECONDS {
                return Ok(());
            }
            let rate = |of: usize| counted[of].saturating_sub(before[of]) as f64 / seconds;
            let [bytes_out, packets_out, bytes_in, packets_in] = [0, 1, 2, 3].map(rate);
            self.traffic = Some(Traffic { bytes_out, packets_out, bytes_in, packets_in });
        }
        self.counted = Some((now, counted));
        Ok(())
    }

    async fn snapshot(&mut self, now: Instant) -> Result<Snapshot, Failure> {
        let heard = self.members.heard().await?;
        let member = |(node, known): (&NodeId, &Known)| {
            let answered = heard.get(node);
            let (state, span) = (known.state, now - known.at);
            let since = if known.is_seen { Since::Seen(span) } else { Since::AtLeast(span) };
            MemberRow {
                node: *node,
                state,
                since,
                answered: answered.map(|answered| answered.ago),
                round_trip: answered.and_then(|answered| answered.took),
            }
        };
        let mut members: Vec<MemberRow> = self.known.iter().map(member).collect();
        // The few that are otherwise stand first.
        members.sort_by_key(|row| (row.state == State::Up, row.state != State::Here, row.node));
        let up = members.iter().filter(|row| !matches!(row.state, State::Failed | State::Left));
        let up: Vec<_> = up.map(|row| (row.node, row.state == State::Suspect)).collect();
        let aggregate = |(name, aggregate): (&Name, &Aggregate)| {
            let last = aggregate.last.as_ref();
            let estimate = last.map(|(_, estimate)| estimate);
            AggregateRow {
                name: name.to_string(),
                summary: aggregate.summary.to_string(),
                value: estimate.and_then(|estimate| estimate.value),
                members: estimate.map_or(0, |estimate| estimate.members),
                age: last.map_or(Duration::ZERO, |(at, estimate)| estimate.age + (now - *at)),
                spread: estimate.map_or(0.0, |estimate| estimate.spread),
            }
        };
        Ok(Snapshot {
            watched: now - self.begun,
            zones: zones(&up),
            members,
            aggregates: self.aggregates.iter().map(aggregate).collect(),
            kinds: self.kinds.clone(),
            traffic: self.traffic,
        })
    }
}

/// The aggregates among some objects: as many as are opened.
fn aggregates<'a>(
    objects: impl Iterator<Item = (&'a Name, &'a ObjectType)>,
) -> BTreeMap<&'a Name, (Summary, &'a ObjectType)> {
    let mut aggregates = BTreeMap::new();
    for (name, ty) in objects {
        if let Kind::Aggregate(summary) = ty.kind
            && (aggregates.len() < AGGREGATES_MAX || aggregates.contains_key(name))
        {
            aggregates.insert(name, (summary, ty));
        }
    }
    aggregates
}

/// How many objects there are of each kind, and how many have one open.
fn kinds<'a>(holdings: impl Iterator<Item = (&'a Name, &'a ObjectType, NodeId)>) -> Vec<KindRow> {
    let mut kinds: BTreeMap<String, BTreeMap<&Name, BTreeSet<NodeId>>> = BTreeMap::new();
    for (name, ty, holder) in holdings {
        let kind = match &ty.kind {
            Kind::Aggregate(_) => "Aggregate".to_owned(),
            Kind::Query(_) => "Query".to_owned(),
            kind => kind.to_string(),
        };
        kinds.entry(kind).or_default().entry(name).or_default().insert(holder);
    }
    let row = |(kind, objects): (String, BTreeMap<_, BTreeSet<_>>)| KindRow {
        kind,
        objects: objects.len(),
        holders: objects.values().map(BTreeSet::len).sum(),
        or_more: objects.values().any(|holders| holders.len() >= Gossip::HOLDERS_MAX),
    };
    kinds.into_iter().map(row).collect()
}

/// How long a member that is gone is shown.
const GONE: Duration = Duration::from_secs(60);

/// For how long it is not known of what is heard first how old it is: a newcomer's table comes in
/// pieces.
pub(super) const SETTLING: Duration = Duration::from_secs(3);

/// How many aggregates are opened at most.
const AGGREGATES_MAX: usize = 32;

/// Out and in, each as bytes and packets.
const COUNTERS: [&str; 4] =
    ["net.bytes_sent", "net.packets_sent", "net.bytes_received", "net.packets_received"];

/// Over how many seconds rates are taken at least: an exchange a second is no even stream.
const RATE_SECONDS: f64 = 2.9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_counted_by_kind() {
        let node = |number| NodeId::from_bytes([number; NodeId::LEN]);
        let [load, sum, all, said]: [Name; 4] =
            ["/load", "/sum", "/all", "/said"].map(|it| it.parse().unwrap());
        let topic = ObjectType::best_effort_topic();
        let mean = ObjectType::aggregate(Summary::Average);
        let total = ObjectType::aggregate(Summary::Sum);
        let directory = ObjectType::directory();
        let held = [
            (&load, &mean, node(1)),
            (&load, &mean, node(2)),
            (&sum, &total, node(1)),
            (&all, &directory, node(3)),
            (&all, &directory, node(3)),
        ];
        let many = (0..Gossip::HOLDERS_MAX as u8).map(|at| (&said, &topic, node(at)));
        let row = |kind: &str, objects, holders, or_more| {
            let kind = kind.into();
            KindRow { kind, objects, holders, or_more }
        };
        let told = kinds(held.into_iter().chain(many));
        let few = [row("Aggregate", 2, 3, false), row("Directory", 1, 1, false)];
        assert_eq!(told[..2], few);
        assert_eq!(told[2..], [row("Topic", 1, Gossip::HOLDERS_MAX, true)]);
    }

    #[test]
    fn so_many_aggregates_are_opened() {
        let names: Vec<Name> =
            (0..AGGREGATES_MAX + 9).map(|at| format!("/{at:03}").parse().unwrap()).collect();
        let (mean, topic) = (ObjectType::aggregate(Summary::Average), ObjectType::directory());
        let objects = names.iter().flat_map(|name| [(name, &mean), (name, &mean)]);
        let opened = aggregates(objects);
        assert!(opened.keys().copied().eq(&names[..AGGREGATES_MAX]));
        assert!(aggregates(names.iter().map(|name| (name, &topic))).is_empty());
    }
}
