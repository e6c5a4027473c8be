//! `logo why`: who suspected a node, when, on what evidence, and what came of it.
//!
//! The command's own node has just come and saw nothing, so it has others asked (`Members::why`).
//! What they tell is shown as one story, the first thing first. Their clocks are not compared: each
//! says how long ago it saw what it saw.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use live_objects::{Evidence, Finding, IdPrefix, NodeId, Silence, Testimony};
use logo::{Members, Node, Why, WhyError};
use serde_json::{Value, json};

use crate::join::{Cluster, Failure, print};

/// Which node.
#[derive(Args)]
pub(crate) struct WhyArgs {
    /// How the node's id begins, such as 3fa9.
    #[arg(value_name = "NODE")]
    node: IdPrefix,
    #[command(flatten)]
    cluster: Cluster,
    /// Tell it as one line of JSON.
    #[arg(long)]
    json: bool,
}

impl WhyArgs {
    pub(crate) fn run(self) -> ExitCode {
        self.cluster.visit(async |node| self.work(node).await)
    }

    async fn work(&self, node: &Node) -> Result<(), Failure> {
        let mut members: Members = node.open("/.logo/members").await?;
        let why = self.ask(&mut members).await?;
        let is_up = members.now().iter().any(|member| member.node == why.node);
        print(self.json, &told(&why, is_up), || story(&why, is_up));
        Ok(())
    }

    /// The table of a newcomer comes in pieces, those who are gone included.
    async fn ask(&self, members: &mut Members) -> Result<Why, WhyError> {
        for _ in 0..SETTLINGS {
            tokio::time::sleep(SETTLING).await;
            match members.why(self.node).await {
                Err(WhyError::Unknown(..)) => {}
                other => return other,
            }
        }
        members.why(self.node).await
    }
}

fn told(why: &Why, is_up: bool) -> Value {
    json!({
        "node": why.node.to_string(),
        "up": is_up,
        "whole": why.is_whole,
        "testimonies": why.testimonies.iter().map(testimony).collect::<Vec<_>>(),
    })
}

fn testimony(testimony: &Testimony) -> Value {
    let evidence: Vec<Value> = testimony.evidence.iter().map(evidence).collect();
    json!({ "witness": testimony.witness.to_string(), "evidence": evidence })
}

fn evidence(evidence: &Evidence) -> Value {
    let what = match &evidence.finding {
        Finding::Suspected { .. } => "suspected",
        Finding::Refuted => "refuted",
        Finding::Faulty => "faulty",
        Finding::Left => "left",
        Finding::Back => "back",
    };
    let life = evidence.member.incarnation.as_bytes();
    let life: String = life.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut value = json!({ "what": what, "ago_ms": ms(evidence.ago), "incarnation": life });
    if let Finding::Suspected { accuser, silence } = &evidence.finding {
        value["accuser"] = accuser.map(|accuser| accuser.to_string()).into();
        if let Some(silence) = silence {
            let helpers: Vec<_> = silence.helpers.iter().map(NodeId::to_string).collect();
            value["silence"] = json!({
                "since_ms": ms(silence.since),
                "attempts": silence.attempts,
                "helpers": helpers,
                "answered_ms_ago": silence.before.map(|before| ms(before.ago)),
                "round_trip_ms": silence.before.and_then(|before| before.took).map(ms),
            });
        }
    }
    value
}

/// What all tell, in the order in which it happened.
fn story(why: &Why, is_up: bool) -> String {
    let is = if is_up { "up" } else { "not up" };
    let mut lines = vec![format!("{} is {is}", why.node)];
    let of = |it: &'_ Testimony| it.witness;
    let all = why.testimonies.iter();
    let mut all: Vec<(NodeId, &Evidence)> =
        all.flat_map(|it| it.evidence.iter().map(move |seen| (of(it), seen))).collect();
    all.sort_by_key(|(_, seen)| std::cmp::Reverse(seen.ago));
    lines.extend(all.iter().map(|(witness, seen)| {
        format!("{:>9} ago  {witness:?} {}", seconds(seen.ago), words(*witness, why.node, seen))
    }));
    let asked = why.testimonies.len();
    if all.is_empty() {
        lines.push(format!("none of the {asked} members that were asked saw it doubted"));
    }
    if !why.is_whole {
        lines.push("(some of those who were asked did not answer)".to_owned());
    }
    lines.join("\n")
}

/// What a witness says that it saw.
fn words(witness: NodeId, node: NodeId, seen: &Evidence) -> String {
    let is_it = witness == node;
    match &seen.finding {
        Finding::Suspected { silence: Some(silence), .. } => {
            format!("suspected it: {}", grounds(seen, silence))
        }
        Finding::Suspected { accuser, .. } => {
            let by = accuser.map_or("somebody".to_owned(), |accuser| format!("{accuser:?}"));
            let whom = if is_it { "itself" } else { "it" };
            format!("heard {whom} suspected by {by}")
        }
        Finding::Refuted if is_it => "objected".to_owned(),
        Finding::Refuted => "heard it object".to_owned(),
        Finding::Faulty => "declared it faulty: it did not object in time".to_owned(),
        Finding::Left => "heard it say good-bye".to_owned(),
        Finding::Back => "heard that it is back".to_owned(),
    }
}

/// What the accuser went by, a line each.
fn grounds(seen: &Evidence, silence: &Silence) -> String {
    let Silence { since, attempts, helpers, before } = silence;
    let unanswered = seconds(since.saturating_sub(seen.ago));
    let mut grounds = vec![format!("{attempts} probes in {unanswered} had no answer")];
    if !helpers.is_empty() {
        let names: Vec<String> = helpers.iter().map(|helper| format!("{helper:?}")).collect();
        grounds.push(format!("nor had these, asked to probe it too: {}", names.join(", ")));
    }
    if let Some(before) = before {
        let took = before.took.map(|took| format!(", after {:.1} ms", ms(took)));
        let took = took.unwrap_or_default();
        grounds.push(format!("it last answered {} ago{took}", seconds(before.ago)));
    }
    grounds.join(INDENT)
}

fn seconds(span: Duration) -> String {
    format!("{:.1} s", span.as_secs_f64())
}

fn ms(span: Duration) -> f64 {
    span.as_micros() as f64 / 1_000.0
}

/// Beneath what a witness says.
const INDENT: &str = "\n                 ";
const SETTLING: Duration = Duration::from_secs(1);
const SETTLINGS: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use live_objects::{Answered, Incarnation, Member};

    fn node(number: u8) -> NodeId {
        NodeId::from_bytes([number; NodeId::LEN])
    }

    fn seen(ago_ms: u64, finding: Finding) -> Evidence {
        let incarnation = Incarnation::from_bytes([9; Incarnation::LEN]);
        let member = Member { node: node(0xaa), incarnation };
        Evidence { member, ago: Duration::from_millis(ago_ms), finding }
    }

    fn why() -> Why {
        let span = Duration::from_millis;
        let before = Some(Answered { ago: span(11_250), took: Some(span(12)) });
        let helpers = vec![node(2), node(3)];
        let silence = Silence { since: span(10_400), attempts: 5, helpers, before };
        let accuser = Some(node(1));
        let heard = Finding::Suspected { accuser, silence: None };
        let found = Finding::Suspected { accuser, silence: Some(Box::new(silence)) };
        let testimony = |witness, evidence| Testimony { witness: node(witness), evidence };
        Why {
            node: node(0xaa),
            testimonies: vec![
                testimony(2, vec![seen(9_700, heard), seen(7_700, Finding::Faulty)]),
                testimony(1, vec![seen(9_900, found), seen(7_900, Finding::Faulty)]),
            ],
            is_whole: false,
        }
    }

    #[test]
    fn what_all_tell_is_one_story() {
        let shown = "\
aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa is not up
    9.9 s ago  01010101 suspected it: 5 probes in 0.5 s had no answer
                 nor had these, asked to probe it too: 02020202, 03030303
                 it last answered 11.2 s ago, after 12.0 ms
    9.7 s ago  02020202 heard it suspected by 01010101
    7.9 s ago  01010101 declared it faulty: it did not object in time
    7.7 s ago  02020202 declared it faulty: it did not object in time
(some of those who were asked did not answer)";
        assert_eq!(story(&why(), false), shown);
        let nothing = Testimony { witness: node(1), evidence: Vec::new() };
        let calm = Why { node: node(0xaa), testimonies: vec![nothing], is_whole: true };
        assert!(
            story(&calm, true).ends_with("none of the 1 members that were asked saw it doubted")
        );
    }

    #[test]
    fn who_objected_says_so_itself() {
        let heard = Finding::Suspected { accuser: None, silence: None };
        let own = vec![seen(900, heard), seen(900, Finding::Refuted)];
        let own = Testimony { witness: node(0xaa), evidence: own };
        let why = Why { node: node(0xaa), testimonies: vec![own], is_whole: true };
        let told = story(&why, true);
        assert!(told.contains("aaaaaaaa heard itself suspected by somebody\n"), "{told}");
        assert!(told.ends_with("aaaaaaaa objected"), "{told}");
    }

    #[test]
    fn it_is_told_as_json() {
        let told = told(&why(), false);
        assert_eq!((&told["up"], &told["whole"]), (&json!(false), &json!(false)));
        let first = &told["testimonies"][1]["evidence"][0];
        assert_eq!((&first["what"], &first["ago_ms"]), (&json!("suspected"), &json!(9_900.0)));
        assert_eq!(first["accuser"], node(1).to_string());
        assert_eq!(first["silence"]["helpers"][1], node(3).to_string());
        assert_eq!(first["silence"]["round_trip_ms"], 12.0);
        assert_eq!(told["testimonies"][0]["evidence"][1]["what"], "faulty");
    }
}
