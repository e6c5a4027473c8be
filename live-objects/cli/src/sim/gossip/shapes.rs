//! In how many rounds overlays take the shape that their ranks say, and at what cost.
//!
//! When all nodes know each other the network begins to lose packets, and all open an overlay and
//! take their places in it at once: that is round 0, in which nobody knows who stands where. After
//! each round every node's neighbours are compared with those that the rank chooses for it of all
//! members. First that is a ring of all by their ids; then, when everybody has closed that, the
//! tree by ids; then the eight nearest of each in a square, in which all stand at random.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use gossip::Config;
use live_objects::overlay::{Descriptor, KNearest, Profile, Ranking, Ring, Tree};
use live_objects::{Command, Event, Name, ObjectId, ObjectType, Spec};
use live_objects_sim::{Fault, What, World};
use rand::RngExt;

use super::cluster::{Sent, settled};
use super::setting::Setting;
use crate::join;
use crate::sim::figures::{Figure, Outcome, Sample, Told};
use crate::sim::plot::{Curve, Panel, Plot, Scale};

/// What the story of shapes is told.
#[derive(Args)]
pub(crate) struct Shapes {
    #[command(flatten)]
    setting: Setting,
    /// For how many rounds to watch each overlay.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: u32,
}

/// What came of one overlay.
#[derive(Clone)]
struct Measured {
    /// From which round on all neighbours were right.
    round: Option<u32>,
    /// What a node sent in a round, until then.
    bytes: f64,
    datagram_max: u64,
    /// How many nodes had their right neighbours after each round, in percent, and what a node sent
    /// in it.
    right: Vec<f64>,
    sent: Vec<f64>,
}

impl Shapes {
    pub(crate) fn run(&self) -> ExitCode {
        let story = |seed, threads| self.story(seed, threads);
        self.setting.tell("shapes", usize::MAX, story, is_good)
    }

    fn story(&self, seed: u64, threads: usize) -> Told {
        let nodes = self.setting.nodes;
        let mut world = settled(seed, nodes, threads);
        world.apply(&Fault::Loss(self.setting.loss));
        let ids: Vec<Profile> = (0..world.nodes())
            .map(|node| Profile::of_node(world.member(node).expect("it runs").node))
            .collect();
        let mut rng = world.rng("places");
        let mut point = || [rng.random_range(0.0..1.0), rng.random_range(0.0..1.0)];
        let points: Vec<Profile> =
            ids.iter().map(|_| Profile::new(&point()).expect("two finite numbers")).collect();
        let shapes = [
            ("/ring", Ranking::new(Ring), &ids),
            ("/tree", Ranking::new(Tree), &ids),
            ("/near", Ranking::new(KNearest::<8>), &points),
        ];
        let measured = shapes.map(|(name, ranking, places)| {
            let overlay = Overlay::open(&mut world, name, ranking, places);
            let measured = self.watch(seed, &mut world, &overlay);
            overlay.close(&mut world);
            measured
        });
        Overlay::open(&mut world, "/rest", Ranking::new(Ring), &ids);
        world.run(RESTED);
        let before = Sent::by(&world);
        world.run(RESTING);
        let rest = Sent::by(&world).since(before).rate(nodes, RESTING);
        let plot = plot(&measured);
        let samples = vec![sample(&measured, rest)];
        Told::new(samples, world.trace_hash()).plotted(plot)
    }

    fn watch(&self, seed: u64, world: &mut World, overlay: &Overlay) -> Measured {
        let before = Sent::by(world);
        let mut last: Vec<Vec<Descriptor>> = vec![Vec::new(); world.nodes()];
        let (mut round_right, mut bytes) = (None, 0);
        let (mut shares, mut rates, mut sent_before) = (Vec::new(), Vec::new(), before);
        for round in 1..=self.rounds {
            world.run(Config::default().period);
            for record in world.take_history() {
                if let What::Event(of, Event::Neighbours { neighbours, .. }) = record.what
                    && of == overlay.object
                {
                    last[record.node] = neighbours;
                }
            }
            let right = overlay.right.iter().zip(&last).filter(|(right, told)| right == told);
            let right = right.count();
            let nodes = world.nodes() as f64;
            shares.push(100.0 * right as f64 / nodes);
            let sent = Sent::by(world);
            rates.push(sent.since(sent_before).datagrams as f64 / nodes);
            sent_before = sent;
            if right < world.nodes() {
                round_right = None;
            } else if round_right.is_none() {
                round_right = Some(round);
                bytes = Sent::by(world).since(before).datagrams;
            }
            join::complain(&format!(
                "seed {seed}: {:?} round {round}: right at {right} nodes, {} bytes each",
                overlay.ranking,
                Sent::by(world).since(before).datagrams / world.nodes() as u64,
            ));
        }
        let sent = Sent::by(world).since(before);
        if round_right.is_none() {
            bytes = sent.datagrams;
        }
        let rounds = f64::from(round_right.unwrap_or(self.rounds));
        Measured {
            round: round_right,
            bytes: bytes as f64 / rounds / f64::from(self.setting.nodes),
            datagram_max: sent.datagram_max,
            right: shares,
            sent: rates,
        }
    }
}

/// An overlay that all have open, and their right neighbours in it.
struct Overlay {
    object: ObjectId,
    ranking: Ranking,
    right: Vec<Vec<Descriptor>>,
}

impl Overlay {
    /// All open it, and take their places.
    fn open(world: &mut World, name: &str, ranking: Ranking, places: &[Profile]) -> Self {
        let name: Name = name.parse().expect("a name");
        let mut all: Vec<Descriptor> = Vec::new();
        for (node, profile) in places.iter().copied().enumerate() {
            let spec = Spec::new(name.clone(), ObjectType::overlay(&ranking.name()));
            world.open(node, spec).expect("gossip carries it");
            let stand = Command::Stand { profile: Some(profile), ranking: ranking.clone() };
            world.send(node, name.id(), stand).expect("the feed is empty");
            all.push(Descriptor { member: world.member(node).expect("it runs"), profile });
        }
        let mut by_id = all.clone();
        by_id.sort_by_key(|it| it.member.node);
        let right = all.iter().map(|me| {
            let mut others = by_id.clone();
            others.retain(|it| it.member != me.member);
            let chosen = ranking.choose(me, &others);
            chosen.into_iter().map(|index| others[index]).collect()
        });
        Self { object: name.id(), right: right.collect(), ranking }
    }

    /// All close it, and forget it.
    fn close(self, world: &mut World) {
        (0..world.nodes()).for_each(|node| world.close(node, self.object));
        world.run(FORGETTING);
        world.take_history();
    }
}

fn sample(measured: &[Measured; 3], rest: f64) -> Sample {
    let round = |at: usize| Figure::new(ROUNDS[at].0, measured[at].round.map(f64::from));
    let most = |of: fn(&Measured) -> f64| Some(measured.iter().map(of).fold(0.0, f64::max));
    vec![
        round(0),
        round(1),
        round(2),
        Figure::new(DATAGRAM_BYTES, most(|it| it.datagram_max as f64)),
        Figure::new(BYTES, most(|it| it.bytes)),
        Figure::new("rest_bytes_per_node_s", Some(rest)),
    ]
}

/// The three overlays over their own rounds, one above the other.
fn plot(measured: &[Measured; 3]) -> Plot {
    let curves = |of: fn(&Measured) -> &Vec<f64>| {
        let curve =
            |(name, one): (&&'static str, &Measured)| Curve { name, values: of(one).clone() };
        SHAPES.iter().zip(measured).map(curve).collect()
    };
    let panel = |title, scale, curves| Panel { title, scale, curves };
    Plot {
        panels: vec![
            panel("nodes with the right neighbours, %", Scale::Percent, curves(|it| &it.right)),
            panel("bytes sent, of a node in the round", Scale::Linear, curves(|it| &it.sent)),
        ],
    }
}

/// Whether the goals are met.
fn is_good(outcome: &Outcome) -> bool {
    let worst = |key: &str| outcome.figure(&format!("{key}_worst"));
    ROUNDS.iter().all(|(key, goal)| outcome.figure(key).is_some_and(|round| round <= *goal))
        && worst(DATAGRAM_BYTES).is_some_and(|bytes| bytes <= 1_200.0)
        && worst(BYTES).is_some_and(|bytes| bytes <= 2_400.0)
}

/// Each shape's figure, and its goal.
const ROUNDS: [(&str, f64); 3] =
    [("ring_round", 16.0), ("tree_round", 12.0), ("nearest_round", 16.0)];
/// How they are called in a plot.
const SHAPES: [&str; 3] = ["ring", "tree", "eight nearest"];
const DATAGRAM_BYTES: &str = "datagram_bytes_max";
const BYTES: &str = "bytes_per_node_round_max";

/// Longer than anybody hurries to tell that he left, and than withdrawn claims travel.
const FORGETTING: Duration = Duration::from_secs(15);

/// How long an overlay has to come to rest, and for how long it is watched then.
const RESTED: Duration = Duration::from_secs(30);
const RESTING: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::gossip::setting;

    #[test]
    fn small_overlays_take_their_shapes_soon() {
        let story = Shapes { setting: setting(40, 0.05), rounds: 30 };
        let outcome =
            story.setting.outcome("shapes", 1, |seed, threads| story.story(seed, threads));
        assert!(outcome.is_complete() && is_good(&outcome));
        let plot = outcome.plot().expect("it went by rounds");
        assert!(plot.is_whole(30));
        assert!(SHAPES.iter().all(|shape| plot.last(shape).is_some()));
    }
}
