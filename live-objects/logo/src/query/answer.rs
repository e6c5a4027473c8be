//! Answers: what a query came to, in rows and columns as it asked for them.

use core::cmp::Ordering;
use core::time::Duration;

use live_objects::{Column, Function, Group, Scalar, Tally};

use super::condition::column_of;
use super::sql::{Output, Sorting, Sql};

/// The answer to a query, as far as this node knows it.
#[derive(Clone, PartialEq, Debug)]
pub struct Answer {
    /// What the columns are called.
    pub columns: Vec<String>,
    /// A row a group, each with a value a column; none where there is no value.
    pub rows: Vec<Vec<Option<Scalar>>>,
    /// What there is no room for beside those groups, as one row without keys, and how many
    /// describe themselves in it. None if there is no more. It is told whatever the limit, and
    /// whatever HAVING says: of the groups in it nobody knows what is true.
    pub others: Option<(Vec<Option<Scalar>>, u64)>,
    /// How many that match describe themselves, in all of it.
    pub members: u64,
    /// How old the oldest word in it is.
    pub age: Duration,
    /// How many nodes have been heard, of how many that are up.
    pub heard: u64,
    /// How many nodes are up.
    pub nodes: u64,
    /// By how much percentiles may be off, as a part of them; 0 if there are none.
    pub error: f64,
}

impl Answer {
    pub(super) fn new(sql: &Sql, tally: &Tally) -> Self {
        let mut rows: Vec<_> = tally.groups.iter().map(|group| row(sql, group)).collect();
        if rows.is_empty() && sql.query.keys().is_empty() {
            // Without GROUP BY SQL has one row, of nothing if there is nothing.
            rows.push(sql.outputs.iter().map(|of| nothing(sql, *of)).collect());
        }
        if let Some(having) = &sql.having {
            rows.retain(|row| having.holds(|name| row[column_of(name)?].as_ref()));
        }
        if let Some(Sorting { column, is_descending }) = sql.order {
            rows.sort_by(|one, other| order(&one[column], &other[column], is_descending));
        }
        rows.truncate(sql.limit.unwrap_or(usize::MAX));
        Self {
            columns: sql.names.clone(),
            rows,
            others: tally.others.as_ref().map(|group| (row(sql, group), group.members)),
            members: tally.members,
            age: tally.age,
            heard: tally.heard,
            nodes: tally.nodes,
            error: tally.error,
        }
    }

    /// Whether all nodes that are up have been heard.
    pub fn is_whole(&self) -> bool {
        self.heard >= self.nodes
    }

    /// Whether as many are in it, in as many groups; `is_some` of them are shown, if it goes by
    /// what they say at the moment which.
    pub(super) fn is_as_wide(&self, other: &Self, is_some: bool) -> bool {
        let rows = |of: &Self| if is_some { 0 } else { of.rows.len() };
        let groups = |of: &Self| (rows(of), of.others.as_ref().map(|(_, members)| *members));
        self.members == other.members && groups(self) == groups(other)
    }

    /// Whether it says the same, whatever it is made of.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.rows == other.rows && self.others == other.others && self.members == other.members
    }
}

fn row(sql: &Sql, group: &Group) -> Vec<Option<Scalar>> {
    let shown = sql.outputs.iter().map(|of| match of {
        Output::Key(at) => group.key.get(*at).cloned().flatten(),
        Output::Value(at) => group.values[*at].map(Scalar::Number),
    });
    shown.collect()
}

/// Of no rows: counts are 0, and there is no other value.
fn nothing(sql: &Sql, of: Output) -> Option<Scalar> {
    let Output::Value(at) = of else { return None };
    match sql.query.columns()[at] {
        Column::Members | Column::Of(Function::Count, _) => Some(Scalar::Number(0.0)),
        Column::Of(..) => None,
    }
}

/// Numbers before texts; what has no value last, whichever way round.
pub(super) fn order(one: &Option<Scalar>, other: &Option<Scalar>, is_descending: bool) -> Ordering {
    let (Some(one), Some(other)) = (one, other) else {
        return one.is_none().cmp(&other.is_none());
    };
    let kinds = one.number().is_none().cmp(&other.number().is_none());
    let order = one.order(other).unwrap_or(kinds);
    if is_descending { order.reverse() } else { order }
}
