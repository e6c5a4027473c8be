//! Tallies: what a query is answered with.

use core::time::Duration;

use super::{Column, Query};
use crate::attributes::Scalar;
use crate::sketch::Groups;
use crate::sketch::cell::Cell;
use crate::sketch::groups::Entry;

/// What a node knows of the answer to a query. Answers are local: reading one sends nothing.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Tally {
    /// The groups, in the order of their keys: numbers before texts, and those without one last.
    /// Without GROUP BY there is one if there is any row.
    pub groups: Vec<Group>,
    /// What does not fit beside those groups, as one without a key. None if there is no more.
    pub others: Option<Group>,
    /// How many rows are in all of it.
    pub members: u64,
    /// How old the oldest word in it is.
    pub age: Duration,
    /// How many nodes have been heard in it, where this node knows that so many are up. Who has
    /// just heard of the query may have been heard without its rows.
    pub heard: u64,
    /// How many nodes are up.
    pub nodes: u64,
    /// By how much percentiles may be off, as a part of them; 0 if there are none.
    pub error: f64,
}

/// What a query comes to in one group.
#[derive(Clone, PartialEq, Debug)]
pub struct Group {
    /// By what it is told from the others, as the query says. None where its rows do not have the
    /// attribute.
    pub key: Vec<Option<Scalar>>,
    /// As the query's columns. None where there is no value of which to tell.
    pub values: Vec<Option<f64>>,
    /// How many rows are in it.
    pub members: u64,
}

impl Tally {
    pub(super) fn new(query: &Query, parts: &[&Groups]) -> Self {
        let group = |key: Vec<Option<Scalar>>, entry: &Entry| Group {
            key,
            values: query.columns().iter().map(|column| value(query, column, entry)).collect(),
            members: entry.members.into(),
        };
        let all = parts.iter().flat_map(|part| part.groups());
        let mut groups: Vec<Group> = all.map(|(key, entry)| group(key, entry)).collect();
        groups.sort_by(|one, other| order(&one.key, &other.key));
        let others = Groups::all_others(parts.iter().copied());
        let entries = parts.iter().flat_map(|part| part.groups().map(|(_, entry)| entry));
        let cells = entries.chain(&others).flat_map(|entry| &entry.cells);
        let error = cells.filter_map(|cell| match cell {
            Cell::Percentiles(it) => Some(it.error()),
            _ => None,
        });
        Self {
            error: error.fold(0.0, f64::max),
            members: parts.iter().map(|part| part.members()).sum(),
            others: others.map(|others| group(Vec::new(), &others)),
            groups,
            ..Self::default()
        }
    }

    /// What it counts for in a byte budget, beside what every event does.
    pub(crate) fn size(&self) -> usize {
        let text = |scalar: &Option<Scalar>| scalar.as_ref().map_or(0, Scalar::size);
        let group = |group: &Group| {
            let keys: usize = group.key.iter().map(|key| size_of_val(key) + text(key)).sum();
            size_of::<Group>() + keys + size_of_val(&group.values[..])
        };
        self.groups.iter().chain(&self.others).map(group).sum()
    }
}

fn value(query: &Query, column: &Column, entry: &Entry) -> Option<f64> {
    let Column::Of(function, name) = column else { return Some(f64::from(entry.members)) };
    let measure = (function.measure(), name.as_str());
    let at = query.measures().iter().position(|it| *it == measure);
    function.value(&entry.cells[at.expect("all that columns need is measured")])
}

fn order(one: &[Option<Scalar>], other: &[Option<Scalar>]) -> core::cmp::Ordering {
    let rank = |scalar: &Option<Scalar>| match scalar {
        Some(Scalar::Number(_)) => 0,
        Some(Scalar::Text(_)) => 1,
        None => 2,
    };
    let pairs = one.iter().zip(other);
    let orders = pairs.map(|(one, other)| {
        let same = one.as_ref().zip(other.as_ref()).and_then(|(one, other)| one.order(other));
        rank(one).cmp(&rank(other)).then(same.unwrap_or(core::cmp::Ordering::Equal))
    });
    orders.fold(core::cmp::Ordering::Equal, core::cmp::Ordering::then)
}
