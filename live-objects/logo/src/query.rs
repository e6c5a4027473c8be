//! Queries: SQL asked of all who describe themselves, answered by each node for itself.

mod answer;
mod condition;
mod fault;
mod function;
mod listing;
mod misread;
mod rows;
mod sql;

use core::time::Duration;

use live_objects::{
    Column, Event, Function, GroupKey, Kind, Name, ObjectType, Pattern, Predicate, Scalar, Spec,
    Tally,
};
use live_objects_net::NodeError;
use thiserror::Error;
use tokio::time::sleep;

pub use self::answer::Answer;
pub use self::fault::SqlError;
use self::listing::Listing;
pub use self::rows::{Rows, RowsError};
use self::sql::{Asks, Output, Sql, ZONE};
use crate::channel::Channel;
use crate::error::OpenError;
use crate::names::Holding;
use crate::object::opened;

/// A query that all nodes answer together for as long as this is held: [`Node::query`] asks one.
///
/// [`Node::query`]: crate::Node::query
///
/// ```no_run
/// # async fn story() -> Result<(), Box<dyn std::error::Error>> {
/// use logo::prelude::*;
///
/// let node = Node::local("shop").await?;
/// let sql = "SELECT zone, avg(load), p99(latency) FROM '/dc/*' WHERE role = 'db' GROUP BY zone";
/// let mut query = node.query(sql).await?;
/// let answer = query.once().await?;
/// println!("{:?}: {:?} of {} members", answer.columns, answer.rows, answer.members);
/// while let Some(answer) = query.next().await {
///     println!("now {:?}", answer.rows);
/// }
/// # Ok(())
/// # }
/// ```
pub struct Query {
    sql: Sql,
    channel: Channel,
    last: Option<Answer>,
}

impl Query {
    /// Whether the text is a query, and whether it lists rows, which [`Node::rows`] does, or sums
    /// them up: it asks nobody.
    ///
    /// [`Node::rows`]: crate::Node::rows
    pub fn check(sql: &str) -> Result<Answers, SqlError> {
        Ok(match sql::parse(sql)? {
            Asks::Groups(_) => Answers::Groups,
            Asks::Rows(_) => Answers::Rows,
        })
    }

    /// What the columns of answers are called.
    pub fn columns(&self) -> &[String] {
        &self.sql.names
    }

    /// The next answer that says something else than the one before: at first what this node
    /// knows, and then more. None when there is nothing to come.
    pub async fn next(&mut self) -> Option<Answer> {
        loop {
            let answer = self.heard().await?;
            let is_same = self.last.as_ref().is_some_and(|last| last.is_same(&answer));
            self.last = Some(answer.clone());
            if !is_same {
                return Some(answer);
            }
        }
    }

    /// The answer, once it stands: all nodes that are up have been heard, and as many members
    /// match, in as many groups, for [`Query::STANDS`]. What they say may change all the time.
    pub async fn once(&mut self) -> Result<Answer, AnswerError> {
        let (mut best, mut same) = (self.last.take(), Duration::ZERO);
        let mut waited = Duration::ZERO;
        while waited < Self::PATIENCE {
            sleep(LOOKING).await;
            waited += LOOKING;
            same += LOOKING;
            while let Some(event) = self.channel.try_next() {
                let Event::Query(tally) = event else { continue };
                let answer = self.answer(&tally);
                let is_some = self.sql.having.is_some();
                if best.as_ref().is_none_or(|best| !best.is_as_wide(&answer, is_some)) {
                    same = Duration::ZERO;
                }
                best = Some(answer);
            }
            if self.channel.port().is_closed() {
                return Err(AnswerError::Gone);
            }
            let stands = |known: &mut Answer| match known.members {
                // Where nobody matches, or nobody is heard yet.
                0 => waited >= NOBODY,
                _ => known.is_whole() && same >= Self::STANDS,
            };
            if let Some(known) = best.take_if(stands) {
                self.last = Some(known.clone());
                return Ok(known);
            }
        }
        let got = best.as_ref().map(|best| (best.members, best.heard, best.nodes));
        let (members, heard, nodes) = got.unwrap_or_default();
        self.last = best;
        Err(AnswerError::Unsettled { members, heard, nodes })
    }

    /// For how long an answer must be of the same members to stand.
    pub const STANDS: Duration = Duration::from_secs(2);
    /// How long it is waited for at most.
    pub const PATIENCE: Duration = Duration::from_secs(60);

    /// Which catalogs it is asked of.
    pub fn pattern(&self) -> &Pattern {
        self.sql.query.pattern()
    }

    async fn heard(&self) -> Option<Answer> {
        loop {
            if let Event::Query(tally) = self.channel.next().await? {
                return Some(self.answer(&tally));
            }
        }
    }

    fn answer(&self, tally: &Tally) -> Answer {
        Answer::new(&self.sql, tally)
    }
}

/// The attributes that a query asks for and that an answer has nothing of, each once.
fn suspects(query: &live_objects::Query, answer: &Answer) -> Vec<String> {
    let of = |column: &Column| match column {
        Column::Of(_, name) => Some(name.clone()),
        Column::Members => None,
    };
    let by = |key: &GroupKey| match key {
        GroupKey::Attribute(name) => Some(name.clone()),
        GroupKey::Zone => None,
    };
    let mut all: Vec<String> = query.columns().iter().filter_map(of).collect();
    all.extend(query.keys().iter().filter_map(by));
    if answer.members == 0 {
        let names = query.matching().attributes();
        all.extend(names.filter(|name| *name != ZONE).map(str::to_owned));
    }
    all.sort();
    all.dedup();
    all.truncate(live_objects::Query::COLUMNS_MAX);
    all
}

/// Of the attributes that a query asks for, those that nobody has: another query tells.
pub(crate) async fn missing(
    net: &live_objects_net::Node,
    query: &Query,
    answer: &Answer,
) -> Result<Vec<String>, QueryError> {
    let has_nothing = |row: &Vec<Option<Scalar>>| row.iter().any(Option::is_none);
    if answer.members > 0 && !answer.rows.iter().all(has_nothing) {
        return Ok(Vec::new());
    }
    let asked = &query.sql.query;
    let names = suspects(asked, answer);
    let counts = names.iter().map(|name| Column::Of(Function::Count, name.clone())).collect();
    let counts =
        live_objects::Query::new(asked.pattern().clone(), Predicate::all(), vec![], counts);
    // Without an attribute there is none that can be missing.
    let Ok(counts) = counts else { return Ok(Vec::new()) };
    let outputs = (0..names.len()).map(Output::Value).collect();
    let sql = Sql {
        query: counts,
        names: names.clone(),
        outputs,
        having: None,
        order: None,
        limit: None,
    };
    let Ok(mut counts) = ask(net, sql).await else { return Ok(Vec::new()) };
    let Ok(told) = counts.once().await else { return Ok(Vec::new()) };
    let row = told.rows.into_iter().next().unwrap_or_default();
    let counted = names.into_iter().zip(row);
    Ok(counted.filter(|(_, count)| *count == Some(0.0.into())).map(|(name, _)| name).collect())
}

/// Asks a query. One that was just dropped may take a moment to be closed.
pub(crate) async fn ask(net: &live_objects_net::Node, sql: Sql) -> Result<Query, QueryError> {
    let name = sql.query.name();
    let mut waited = Duration::ZERO;
    let port = loop {
        match net.open(Spec::new(name.clone(), ObjectType::query(sql.query.clone()))).await {
            Err(NodeError::Open(live_objects::OpenError::AlreadyOpen { .. })) => {
                if waited >= CLOSING {
                    return Err(QueryError::AlreadyAsked);
                }
            }
            opened => break opened?,
        }
        sleep(LOOKING).await;
        waited += LOOKING;
    };
    let channel = opened(&name, port).await?;
    Ok(Query { sql, channel, last: None })
}

/// What a query is answered with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answers {
    /// With what rows come to, in groups.
    Groups,
    /// With rows.
    Rows,
}

/// Reads a query that sums up.
pub(crate) fn read(sql: &str) -> Result<Sql, SqlError> {
    match sql::parse(sql)? {
        Asks::Groups(groups) => Ok(groups),
        Asks::Rows(_) => Err(SqlError::at_word(
            sql,
            1,
            1,
            "this lists rows, and sums nothing up: ask for rows, or for a function, as count(*)",
        )),
    }
}

/// Reads a query that lists rows.
pub(crate) fn read_listing(sql: &str) -> Result<Listing, SqlError> {
    match sql::parse(sql)? {
        Asks::Rows(rows) => Ok(rows),
        Asks::Groups(_) => Err(SqlError::at_word(
            sql,
            1,
            1,
            "this sums up, and lists no rows: name what to list of each, as SELECT node, role",
        )),
    }
}

/// Looks whether there are catalogs of a pattern, until there is one, or has been none for long.
pub(crate) async fn find(
    pattern: &Pattern,
    begin: &str,
    names: impl AsyncFn(&str) -> Result<Vec<Holding>, NodeError>,
) -> Result<(), QueryError> {
    let mut waited = Duration::ZERO;
    loop {
        let mut begin_so = names(begin).await?.into_iter().filter_map(catalog);
        if begin_so.any(|name| pattern.zone(&name).is_some()) {
            return Ok(());
        }
        if waited >= FINDING {
            let mut catalogs: Vec<Name> =
                names("/").await?.into_iter().filter_map(catalog).collect();
            catalogs.dedup();
            // Those whose names begin alike come first.
            let alike = |name: &Name| {
                let both = name.as_str().bytes().zip(pattern.as_str().bytes());
                both.take_while(|(one, other)| one == other).count()
            };
            catalogs.sort_by_key(|name| core::cmp::Reverse(alike(name)));
            let more = catalogs.len().saturating_sub(NAMED_MAX);
            catalogs.truncate(NAMED_MAX);
            return Err(NoCatalog { pattern: pattern.clone(), catalogs, more }.into());
        }
        sleep(LOOKING).await;
        waited += LOOKING;
    }
}

/// All catalogs of a pattern, once there is one and as many have been for a while: a node that has
/// just come hears of them one by one.
pub(crate) async fn catalogs(
    pattern: &Pattern,
    begin: &str,
    names: impl AsyncFn(&str) -> Result<Vec<Holding>, NodeError>,
) -> Result<Vec<Name>, QueryError> {
    find(pattern, begin, &names).await?;
    let (mut all, mut same, mut waited) = (Vec::new(), Duration::ZERO, Duration::ZERO);
    while same < NAMED_FOR && waited < FINDING {
        let begin_so = names(begin).await?.into_iter().filter_map(catalog);
        let mut known: Vec<Name> = begin_so.filter(|name| pattern.zone(name).is_some()).collect();
        known.sort_unstable();
        known.dedup();
        same = if known == all { same + LOOKING } else { Duration::ZERO };
        all = known;
        sleep(LOOKING).await;
        waited += LOOKING;
    }
    Ok(all)
}

fn catalog(holding: Holding) -> Option<Name> {
    (holding.ty.kind == Kind::Catalog).then_some(holding.name)
}

/// Why a query was not asked. Nothing was.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum QueryError {
    /// The text is no query.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// There is nobody to ask.
    #[error(transparent)]
    NoCatalog(#[from] NoCatalog),
    /// This node asks it already.
    #[error(
        "this node asks this query already, but perhaps for its HAVING, its LIMIT, its order and what \
         its columns are called: read that handle, or drop it first"
    )]
    AlreadyAsked,
    /// Its object was not opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// This node cannot ask.
    #[error(transparent)]
    Node(#[from] NodeError),
}

/// Nobody describes itself under a name that the pattern is of.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error(
    "nobody has a catalog open whose name fits {pattern}: {}",
    if catalogs.is_empty() {
        "there is no catalog at all; open one, and describe this node in it".to_owned()
    } else {
        let names: Vec<&str> = catalogs.iter().map(Name::as_str).collect();
        let more = if *more > 0 { format!(" and {more} more") } else { String::new() };
        format!("there are {}{more}", names.join(", "))
    }
)]
pub struct NoCatalog {
    /// What was asked for.
    pub pattern: Pattern,
    /// Which catalogs there are: those whose names are nearest.
    pub catalogs: Vec<Name>,
    /// How many more there are.
    pub more: usize,
}

/// Why there is no answer that stands.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum AnswerError {
    /// It took too long.
    #[error(
        "the answer does not stand after {} s: {members} members that match are in it, and {heard} \
         of {nodes} nodes have been heard; watch it instead, or ask again",
        Query::PATIENCE.as_secs()
    )]
    Unsettled {
        /// How many that match are in it.
        members: u64,
        /// How many nodes have been heard.
        heard: u64,
        /// Of how many.
        nodes: u64,
    },
    /// The object was closed, or the node has stopped.
    #[error("the query is closed, or the node has stopped")]
    Gone,
}

/// How long it is waited for the first who matches.
const NOBODY: Duration = Duration::from_secs(6);

/// How long a node that has just come is given to hear of catalogs, and how often it looks.
const FINDING: Duration = Duration::from_secs(4);
const LOOKING: Duration = Duration::from_millis(250);
/// For how long no catalog more must have been heard of.
const NAMED_FOR: Duration = Duration::from_secs(1);

/// How long a query that was dropped may take to be closed.
const CLOSING: Duration = Duration::from_secs(2);

/// How many catalogs an error names.
const NAMED_MAX: usize = 5;
