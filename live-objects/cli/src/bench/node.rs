//! A node that is measured: a process that gives its shares, reads what it is told, and rests.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use logo::prelude::*;
use serde::{Deserialize, Serialize};

use crate::process::{listen, say};

/// What a node is asked.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum Ask {
    /// How it stands.
    Standing,
}

/// How a node stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Standing {
    /// How many members it believes up.
    pub(super) members: usize,
    /// How many of its aggregates are those of all nodes, to the last share.
    pub(super) exact: usize,
    /// What it counted since its start: of packets and bytes among others.
    pub(super) counts: BTreeMap<String, u64>,
}

/// Runs one of so many nodes until nobody is there to ask it any more.
pub(super) async fn run(
    folder: &Path,
    number: usize,
    nodes: usize,
    aggregates: usize,
) -> Result<(), Box<dyn Error>> {
    let mut asked = listen::<Ask>();
    let node = Node::local_at(folder, Vec::new()).await?;
    let mut members: Members = node.open("/bench/members").await?;
    let mut loads: Vec<Arc<Aggregate<Average>>> = Vec::new();
    for part in 0..aggregates {
        let load: Aggregate<Average> = node.open(&format!("/bench/load-{part}")).await?;
        load.set(share(number, part))?;
        let load = Arc::new(load);
        let reader = load.clone();
        // As an application does that wants to know.
        tokio::spawn(async move { while reader.next().await.is_some() {} });
        loads.push(load);
    }
    loop {
        tokio::select! {
            // Changes are taken in as they come, so that none wait to be told.
            event = members.next() => {
                event.ok_or("the node has stopped")?;
            }
            ask = asked.recv() => match ask {
                Some(Ask::Standing) => {
                    let counts = node.counts().await?.into_iter();
                    let exact = |(part, load): &(usize, &Arc<_>)| is_exact(load, *part, nodes);
                    say(&Standing {
                        members: members.now().len(),
                        exact: loads.iter().enumerate().filter(exact).count(),
                        counts: counts.map(|(name, count)| (name.to_owned(), count)).collect(),
                    });
                }
                None => break,
            }
        }
    }
    node.stop().await;
    Ok(())
}

/// What a node gives to an aggregate: whole numbers, so that their sum is the same in any order.
fn share(number: usize, part: usize) -> f64 {
    (number * (part + 1)) as f64
}

fn is_exact(load: &Aggregate<Average>, part: usize, nodes: usize) -> bool {
    let mean = (0..nodes).map(|number| share(number, part)).sum::<f64>() / nodes as f64;
    let is_near = |value: f64| (value - mean).abs() <= mean * ROUNDING;
    load.get()
        .is_some_and(|known| known.members == nodes as u64 && known.value.is_some_and(is_near))
}

/// By how much of it a mean may be off that lacks nothing.
const ROUNDING: f64 = 1e-9;
