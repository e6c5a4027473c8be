//! The rows of a query that lists them: one catalog after the other is searched.
//!
//! Each search is led by what zones tell of their terms, so that few are asked if what is looked
//! for is seldom; see `Catalog`. Rows come as they are found. In an order they come when all are
//! there, of which there may be [`Rows::SORTED_MAX`].

use std::collections::VecDeque;

use live_objects::{
    CatalogEvent, Command, Described, Event, Name, ObjectType, PredicateError, Scalar, Spec, Told,
};
use live_objects_net::{Node, NodeError};
use thiserror::Error;

use super::answer::order;
use super::listing::{Field, Listing};
use super::sql::{Sorting, ZONE};
use crate::channel::Channel;
use crate::error::{OpenError, SendError};
use crate::object::opened;

/// Those who describe themselves as was asked, row by row: [`Node::rows`] asks for them.
///
/// [`Node::rows`]: crate::Node::rows
///
/// ```no_run
/// # async fn story() -> Result<(), Box<dyn std::error::Error>> {
/// use logo::prelude::*;
///
/// let node = Node::local("shop").await?;
/// let sql = "SELECT node, zone, load FROM '/dc/*' WHERE role = 'db' AND load < 0.5 LIMIT 10";
/// let mut rows = node.rows(sql).await?;
/// while let Some(row) = rows.next().await? {
///     println!("{row:?}");
/// }
/// # Ok(())
/// # }
/// ```
pub struct Rows<'a> {
    net: &'a Node,
    listing: Listing,
    /// Catalogs that are to be searched.
    waiting: VecDeque<Name>,
    search: Option<Search>,
    found: VecDeque<Vec<Option<Scalar>>>,
    /// How many more are to be told.
    left: usize,
    is_sorted: bool,
}

/// A search that is under way.
struct Search {
    channel: Channel,
    zone: Scalar,
    command: u64,
}

impl<'a> Rows<'a> {
    /// How many rows can be told in an order.
    pub const SORTED_MAX: usize = 10_000;

    pub(crate) fn new(net: &'a Node, listing: Listing, catalogs: Vec<Name>) -> Self {
        let left = listing.limit.unwrap_or(usize::MAX);
        let is_sorted = listing.order.is_none();
        let (waiting, found) = (catalogs.into(), VecDeque::new());
        Self { net, listing, waiting, search: None, found, left, is_sorted }
    }

    /// What the columns are called.
    pub fn columns(&self) -> &[String] {
        &self.listing.names
    }

    /// The next row, with a value a column; none where a node does not say it. None when there are
    /// no more.
    pub async fn next(&mut self) -> Result<Option<Vec<Option<Scalar>>>, RowsError> {
        if self.left == 0 {
            return Ok(None);
        }
        if !self.is_sorted {
            self.sort().await?;
        }
        let row = match self.found.pop_front() {
            None if self.listing.order.is_none() => self.find().await?,
            row => row,
        };
        self.left -= usize::from(row.is_some());
        Ok(row)
    }

    /// Finds all, and puts them in order.
    async fn sort(&mut self) -> Result<(), RowsError> {
        let mut rows = Vec::new();
        while let Some(row) = self.find().await? {
            if rows.len() == Self::SORTED_MAX {
                return Err(RowsError::TooMany);
            }
            rows.push(row);
        }
        if let Some(Sorting { column, is_descending }) = self.listing.order {
            rows.sort_by(|one, other| order(&one[column], &other[column], is_descending));
        }
        self.found = rows.into();
        self.is_sorted = true;
        Ok(())
    }

    /// The next row that is found.
    async fn find(&mut self) -> Result<Option<Vec<Option<Scalar>>>, RowsError> {
        loop {
            if let Some(row) = self.found.pop_front() {
                return Ok(Some(row));
            }
            let Some(search) = &self.search else {
                let Some(name) = self.waiting.pop_front() else { return Ok(None) };
                self.search = Some(self.begin(&name).await?);
                continue;
            };
            let event = search.channel.next().await.ok_or(SendError::Closed)?;
            let Event::Catalog(CatalogEvent::Found { command, holders, told }) = event else {
                continue;
            };
            if command == search.command {
                let rows = holders.iter().map(|one| row(&self.listing.fields, one, &search.zone));
                self.found.extend(rows);
                match told {
                    Told::Part => {}
                    Told::All => self.search = None,
                    Told::Some => {
                        self.search = None;
                        self.waiting.clear();
                        return Err(RowsError::Incomplete);
                    }
                }
            }
        }
    }

    async fn begin(&self, name: &Name) -> Result<Search, RowsError> {
        let zone = self.listing.pattern.zone(name).expect("all that are searched fit");
        let zone = Scalar::Text(zone);
        let matching = self.listing.matching.clone().given(ZONE, &zone)?;
        let opening = self.net.open(Spec::new(name.clone(), ObjectType::catalog())).await;
        let port = opening.map_err(|error| match error {
            NodeError::Open(live_objects::OpenError::AlreadyOpen { .. }) => {
                RowsError::OpenHere(name.clone())
            }
            error => RowsError::Node(error),
        })?;
        let channel = opened(name, port).await?;
        // In an order any of them may come first.
        let limit = if self.listing.order.is_some() { usize::MAX } else { self.left };
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let command = channel.send(Command::Search { matching, limit }).await?;
        Ok(Search { channel, zone, command })
    }
}

fn row(fields: &[Field], one: &Described, zone: &Scalar) -> Vec<Option<Scalar>> {
    let shown = |field: &Field| match field {
        Field::Node => Some(Scalar::Text(one.member.node.to_string())),
        Field::Zone => Some(zone.clone()),
        Field::Attribute(name) => one.attributes.get(name).cloned(),
    };
    fields.iter().map(shown).collect()
}

/// Why there are no more rows, though there may be more who match.
#[derive(Clone, PartialEq, Debug, Error)]
pub enum RowsError {
    /// This node searches that catalog by a handle of its own.
    #[error("this node has {0} open itself: search it by that handle, or drop it first")]
    OpenHere(Name),
    /// Some that were found are not told.
    #[error(
        "some members did not answer, or there were too many to ask, so more may match: ask again, \
         or for something more seldom"
    )]
    Incomplete,
    /// There are too many to be put in order.
    #[error(
        "more than {max} match, and cannot be put in order: say more in WHERE, or leave ORDER BY out",
        max = Rows::SORTED_MAX
    )]
    TooMany,
    /// With its zone in it the condition is too long.
    #[error(transparent)]
    Condition(#[from] PredicateError),
    /// The catalog was not opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The search was not begun, or not answered to its end.
    #[error(transparent)]
    Send(#[from] SendError),
    /// This node cannot ask.
    #[error(transparent)]
    Node(#[from] NodeError),
}
