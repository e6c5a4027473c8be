//! What the conductor and the tills tell each other: lines of JSON over a till's standard input and
//! output.

use serde::{Deserialize, Serialize};

use super::orders::Order;

/// What a till is told to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Tell {
    /// Do these orders.
    Orders(Vec<Order>),
    /// Set this till's share of the load.
    Load(f64),
    /// Say which tills are found.
    FindTills,
    /// Say how the state stands.
    Count,
    /// Stop.
    Stop,
}

/// What a till says. Times are milliseconds since 1970, by the one clock that all have.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Say {
    /// It runs, and has all its objects open.
    Ready { node: String },
    /// It set its load, then.
    LoadSet { at_ms: u64 },
    /// What it knows of the load of all.
    Estimate { at_ms: u64, average: f64, members: u64 },
    /// These orders, by their lines, are done and stable.
    Done { lines: Vec<u32> },
    /// A node came up, as far as this till knows.
    Up { node: String },
    /// A node is gone, as far as this till knows.
    Down { node: String, at_ms: u64 },
    /// It is in this view of the shop.
    View { number: u64, members: usize },
    /// How many price notices it sent and heard so far.
    Notices { sent: u64, heard: u64 },
    /// The tills that it finds.
    Tills { names: Vec<String> },
    /// How the state stands here.
    Counted(Standing),
}

/// How a copy of the shop stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Standing {
    pub(crate) orders: u64,
    /// What the orders cost together, counted from the orders.
    pub(crate) cost_cents: u64,
    /// What was taken, counted as it was taken.
    pub(crate) takings_cents: u64,
    pub(crate) stock: u64,
    /// None if the copy is stale.
    pub(crate) hash: Option<u64>,
    pub(crate) best_customers: Vec<(u32, u64)>,
}
