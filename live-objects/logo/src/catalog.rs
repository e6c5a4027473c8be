//! Catalogs: who holds one, by what each says of itself.

use std::collections::VecDeque;

use live_objects::{
    Attributes, CatalogEvent, Command, Described, Event, Name, ObjectType, Port, Predicate, Told,
};
use thiserror::Error;
use tokio::sync::{Mutex, MutexGuard};

use crate::channel::Channel;
use crate::error::{OpenError, SendError};
use crate::object::{Object, opened};

/// Nodes that describe themselves by attributes, and are found by them. What a node says of itself
/// stays with it: it is found for as long as it lives and has the catalog open, some rounds after
/// it said so. A search asks the nodes that may match, few of them if what is looked for is seldom,
/// and each decides by what it says then.
///
/// Equality guides a search: of texts, and of numbers that are whole. Others are compared by each
/// node that the rest of the predicate leads to, so one of nothing but `load < 0.5` asks everybody.
///
/// ```no_run
/// # async fn story() -> Result<(), Box<dyn std::error::Error>> {
/// use logo::live_objects::Relation;
/// use logo::prelude::*;
///
/// let node = Node::local("shop").await?;
/// let fleet: Catalog = node.open("/fleet").await?;
/// let own = Attributes::default().with("role", "db")?.with("cores", 64.0)?.with("load", 0.2)?;
/// fleet.describe(own).await?;
/// let idle = Predicate::compare("load", Relation::Less, 0.5)?;
/// let mut search = fleet.search_each(Predicate::equal("role", "db")?.and(idle)?, 10).await?;
/// while let Some(found) = search.next().await {
///     println!("{} has {:?}", found.member.node, found.attributes.get("cores"));
/// }
/// # Ok(())
/// # }
/// ```
pub struct Catalog {
    channel: Channel,
    /// One searches at a time.
    searching: Mutex<()>,
}

impl Catalog {
    /// Says what this node is, in place of what it said before; nothing, if there are no
    /// attributes.
    pub async fn describe(&self, own: Attributes) -> Result<(), SendError> {
        self.channel.send(Command::Describe(own)).await.map(drop)
    }

    /// All who match, by member.
    pub async fn search(&self, matching: Predicate) -> Result<Vec<Described>, SearchError> {
        let mut search = self.search_each(matching, u32::MAX).await?;
        let mut found = Vec::new();
        while let Some(one) = search.next().await {
            found.push(one);
        }
        found.sort_by_key(|one| one.member);
        match search.told {
            Some(Told::All) => Ok(found),
            Some(_) => Err(SearchError::Incomplete(found)),
            None => Err(SendError::Closed.into()),
        }
    }

    /// Looks for those who match, so many at most, who can be had one after the other as they are
    /// found.
    pub async fn search_each(
        &self,
        matching: Predicate,
        limit: u32,
    ) -> Result<Search<'_>, SendError> {
        let turn = self.searching.lock().await;
        let command = self.channel.send(Command::Search { matching, limit }).await?;
        let (channel, found) = (&self.channel, VecDeque::new());
        Ok(Search { channel, _turn: turn, command, found, told: Some(Told::Part) })
    }
}

/// A search that is under way, or has ended. One that is dropped is of no use to anybody, and ends
/// by itself.
pub struct Search<'a> {
    channel: &'a Channel,
    _turn: MutexGuard<'a, ()>,
    command: u64,
    found: VecDeque<Described>,
    /// None if the object was closed meanwhile.
    told: Option<Told>,
}

impl Search<'_> {
    /// The next one that is found. None when the search has ended.
    pub async fn next(&mut self) -> Option<Described> {
        loop {
            if let Some(found) = self.found.pop_front() {
                return Some(found);
            }
            if self.told != Some(Told::Part) {
                return None;
            }
            match self.channel.next().await {
                Some(Event::Catalog(CatalogEvent::Found { command, holders, told }))
                    if command == self.command =>
                {
                    self.found.extend(holders);
                    self.told = Some(told);
                }
                // The answer to a search that was given up.
                Some(_) => {}
                None => self.told = None,
            }
        }
    }

    /// Whether it has ended with all who match, or as many as it was to find.
    pub fn is_complete(&self) -> bool {
        self.found.is_empty() && self.told == Some(Told::All)
    }
}

/// Why who was looked for was not found, or not all of them.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum SearchError {
    /// It was not asked for.
    #[error(transparent)]
    Send(#[from] SendError),
    /// These were found; but some did not answer, or there were too many to ask.
    #[error(
        "some members did not answer, or there were too many to ask, so more may match: search \
         again, or for something more seldom"
    )]
    Incomplete(Vec<Described>),
}

impl Object for Catalog {
    fn object_type() -> ObjectType {
        ObjectType::catalog()
    }

    async fn hold(name: &Name, port: Port) -> Result<Self, OpenError> {
        let channel = opened(name, port).await?;
        Ok(Self { channel, searching: Mutex::new(()) })
    }
}
