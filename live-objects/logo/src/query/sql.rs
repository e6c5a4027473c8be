//! Queries in SQL: the part of it that all members can answer together.
//!
//! ```text
//!  SELECT   group keys, zone, and functions of attributes, each AS a name
//!  FROM     one pattern of names, in quotes
//!  WHERE    what must be true of a row: = <> < <= > >= AND OR NOT IN BETWEEN IS NULL
//!  GROUP BY zone or attributes
//!  HAVING   what must be true of a group, by its columns of the answer
//!  ORDER BY one column of the answer, DESC; LIMIT so many groups
//! ```
//!
//! Without a function and a group it lists rows instead (`listing`).
//!
//! The text is parsed by `sqlparser`, which knows far more. What is not in this list is refused,
//! with the place of the word and what would be right; nothing is passed over in silence.
//!
//! What stands in a row, as a + b + c, is a tree as deep as it is long, and walked in as deep a
//! recursion; so the words are counted before they are parsed.
//!
//! Invariant: the text is of [`TEXT_LEN_MAX`] bytes and [`TOKENS_MAX`] words at most, and nested no
//! deeper than [`DEPTH_MAX`].

use live_objects::{Attributes, Column, GroupKey, Pattern, Predicate, Query};
use sqlparser::ast::{
    Expr, GroupByExpr, Ident, LimitClause, ObjectName, ObjectNamePart, OrderBy, OrderByExpr,
    OrderByKind, OrderBySort, Query as Asked, Select, SelectFlavor, SelectItem, SetExpr, Spanned,
    Statement, TableFactor, TableWithJoins, Value,
};
use sqlparser::dialect::GenericDialect;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, Tokenizer};

use super::condition::Place;
use super::fault::{SqlError, nearest};
use super::listing::Listing;
use super::misread::{KEYWORDS, misread};
use super::{condition, function, listing};

/// A query, and how its answer is shown.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Sql {
    pub(crate) query: Query,
    /// What each column of the answer is called.
    pub(crate) names: Vec<String>,
    /// And what it shows.
    pub(crate) outputs: Vec<Output>,
    /// What must be true of a row of the answer, in which columns are named by their places.
    pub(crate) having: Option<Predicate>,
    pub(crate) order: Option<Sorting>,
    pub(crate) limit: Option<usize>,
}

/// What a column of the answer shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Output {
    /// A key of the groups.
    Key(usize),
    /// A column of the query.
    Value(usize),
}

/// By which column groups are in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sorting {
    pub(crate) column: usize,
    pub(crate) is_descending: bool,
}

/// What a text asks for.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Asks {
    /// What rows come to.
    Groups(Sql),
    /// The rows.
    Rows(Listing),
}

/// Reads a query.
pub(crate) fn parse(sql: &str) -> Result<Asks, SqlError> {
    if sql.len() > TEXT_LEN_MAX {
        let what = format!("the query is {} bytes long, and may have {TEXT_LEN_MAX}", sql.len());
        return Err(SqlError::at_word(sql, 1, 1, what));
    }
    let tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize_with_location();
    let tokens = tokens.map_err(|error| misread(sql, error.into()))?;
    let words = tokens.iter().filter(|token| !matches!(token.token, Token::Whitespace(_)));
    if let Some(over) = words.clone().nth(TOKENS_MAX) {
        let what = format!("the query is too long: it may have {TOKENS_MAX} words and signs");
        return Err(SqlError::at(sql, over.span, what));
    }
    let parsed = Parser::new(&GenericDialect {})
        .with_recursion_limit(DEPTH_MAX)
        .with_tokens_with_locations(tokens)
        .parse_statements();
    let statements = parsed.map_err(|error| misread(sql, error))?;
    let mut statements = statements.into_iter();
    match (statements.next(), statements.next()) {
        (Some(Statement::Query(asked)), None) => Reading { sql }.query(*asked),
        (None, _) => Err(SqlError::at_end(
            sql,
            format!("the query is empty: ask for something, as in {EXAMPLE}"),
        )),
        (Some(_), Some(other)) => {
            Err(SqlError::at(sql, other.span(), "these are two queries: ask one at a time"))
        }
        (Some(_), None) => {
            let what = format!("queries only ask, and begin with SELECT, as in {EXAMPLE}");
            Err(SqlError::at_word(sql, 1, 1 + leading(sql), what))
        }
    }
}

struct Reading<'a> {
    sql: &'a str,
}

impl Reading<'_> {
    fn query(&self, asked: Asked) -> Result<Asks, SqlError> {
        let Asked {
            with,
            body,
            order_by,
            limit_clause,
            fetch,
            locks,
            for_clause,
            settings,
            format_clause,
            pipe_operators,
        } = asked;
        self.none(with.is_some(), "WITH")?;
        self.none(fetch.is_some(), "FETCH")?;
        self.none(!locks.is_empty() || for_clause.is_some(), "FOR")?;
        self.none(settings.is_some(), "SETTINGS")?;
        self.none(format_clause.is_some(), "FORMAT")?;
        self.none(!pipe_operators.is_empty(), "|>")?;
        let span = body.span();
        let SetExpr::Select(select) = *body else {
            let what = format!("a query is one SELECT, as in {EXAMPLE}");
            return Err(SqlError::at(self.sql, span, what));
        };
        let mut all = self.select(*select)?;
        let order = order_by.map(|by| self.order(&by, &all)).transpose()?;
        let limit = limit_clause.map(|limit| self.limit(&limit)).transpose()?;
        match &mut all {
            Asks::Groups(groups) => (groups.order, groups.limit) = (order, limit),
            Asks::Rows(rows) => (rows.order, rows.limit) = (order, limit),
        }
        Ok(all)
    }

    fn select(&self, select: Select) -> Result<Asks, SqlError> {
        let Select {
            select_token: _,
            optimizer_hints,
            distinct,
            select_modifiers,
            top,
            top_before_distinct: _,
            projection,
            exclude,
            into,
            from,
            lateral_views,
            prewhere,
            selection,
            connect_by,
            group_by,
            cluster_by,
            distribute_by,
            sort_by,
            having,
            named_window,
            qualify,
            window_before_qualify: _,
            value_table_mode,
            flavor,
        } = select;
        self.none(distinct.is_some(), "DISTINCT")?;
        self.none(top.is_some(), "TOP")?;
        self.none(exclude.is_some(), "EXCLUDE")?;
        self.none(into.is_some(), "INTO")?;
        self.none(!lateral_views.is_empty(), "LATERAL")?;
        self.none(prewhere.is_some(), "PREWHERE")?;
        self.none(!connect_by.is_empty(), "CONNECT")?;
        self.none(!cluster_by.is_empty(), "CLUSTER")?;
        self.none(!distribute_by.is_empty(), "DISTRIBUTE")?;
        self.none(!sort_by.is_empty(), "SORT")?;
        self.none(!named_window.is_empty(), "WINDOW")?;
        self.none(qualify.is_some(), "QUALIFY")?;
        let is_odd = !optimizer_hints.is_empty()
            || select_modifiers.is_some()
            || value_table_mode.is_some()
            || flavor != SelectFlavor::Standard;
        self.none(is_odd, "SELECT")?;
        let pattern = self.pattern(&from)?;
        let keys = self.keys(&group_by)?;
        let is_listing = keys.is_empty() && listing::is_listing(&projection);
        let place = if is_listing { Place::WhereOfRows } else { Place::Where };
        let matching = match &selection {
            Some(condition) => condition::predicate(self.sql, condition, place)?,
            None => Predicate::all(),
        };
        if is_listing {
            if let Some(having) = having {
                let what = "HAVING is of groups, and these are rows: ask that in WHERE";
                return Err(SqlError::at(self.sql, having.span(), what));
            }
            return Ok(Asks::Rows(listing::read(self.sql, pattern, matching, &projection)?));
        }
        let (mut names, mut outputs, mut columns) = (Vec::new(), Vec::new(), Vec::new());
        for item in &projection {
            let (name, shown) = self.item(item, &keys)?;
            let shown = match shown {
                Shown::Key(at) => Output::Key(at),
                Shown::Column(column) => {
                    let at = columns.iter().position(|known| *known == column);
                    Output::Value(at.unwrap_or_else(|| {
                        columns.push(column);
                        columns.len() - 1
                    }))
                }
            };
            names.push(name);
            outputs.push(shown);
        }
        if columns.is_empty() {
            // The keys alone are asked for: which groups there are.
            columns.push(Column::Members);
        }
        let query = Query::new(pattern, matching, keys, columns);
        let query = query.map_err(|error| SqlError::at_word(self.sql, 1, 1, error.to_string()))?;
        let mut all = Sql { query, names, outputs, having: None, order: None, limit: None };
        if let Some(having) = &having {
            let find = |of: &Expr| {
                self.column(of, &all)?.ok_or_else(|| {
                    let names = all.names.join(", ");
                    let what = format!("HAVING is of columns of the answer, which has {names}");
                    SqlError::at(self.sql, of.span(), what)
                })
            };
            let having = condition::predicate(self.sql, having, Place::Having(&find))?;
            all.having = Some(having);
        }
        Ok(Asks::Groups(all))
    }

    fn pattern(&self, from: &[TableWithJoins]) -> Result<Pattern, SqlError> {
        const WHAT: &str = "FROM takes one pattern of names in quotes, such as '/dc/*'";
        let (first, more) = match from {
            [] => {
                let what = format!("the query does not say of whom: {WHAT}");
                return Err(SqlError::at_end(self.sql, what));
            }
            [first, more @ ..] => (first, more),
        };
        let whole = first.relation.span();
        if let Some(more) = more.first() {
            return Err(SqlError::at(self.sql, more.relation.span(), WHAT));
        }
        let TableFactor::Table { name, alias, .. } = &first.relation else {
            return Err(SqlError::at(self.sql, whole, WHAT));
        };
        if let Some(join) = first.joins.first() {
            return Err(SqlError::at(self.sql, join.relation.span(), WHAT));
        }
        if let Some(alias) = alias {
            return Err(self.misspelt(&alias.name, "a pattern takes no other name"));
        }
        // Nothing stands beside the name.
        if first.relation.to_string() != name.to_string() {
            return Err(SqlError::at(self.sql, whole, WHAT));
        }
        let ObjectName(parts) = name;
        let [ObjectNamePart::Identifier(path)] = &parts[..] else {
            return Err(SqlError::at(self.sql, whole, WHAT));
        };
        if path.quote_style.is_none() {
            let what = format!("{WHAT}: `{}` is none", path.value);
            return Err(SqlError::at(self.sql, path.span, what));
        }
        let pattern = path.value.parse::<Pattern>();
        pattern.map_err(|error| SqlError::at(self.sql, path.span, error.to_string()))
    }

    fn keys(&self, group_by: &GroupByExpr) -> Result<Vec<GroupKey>, SqlError> {
        let keys = match group_by {
            GroupByExpr::Expressions(keys, modifiers) if modifiers.is_empty() => keys,
            GroupByExpr::All(_) | GroupByExpr::Expressions(..) => {
                let what = "GROUP BY takes zone and the names of attributes, and nothing else";
                return Err(SqlError::at(self.sql, group_by.span(), what));
            }
        };
        if let Some(over) = keys.get(Query::KEYS_MAX) {
            let what = format!("rows are grouped by {} keys at most", Query::KEYS_MAX);
            return Err(SqlError::at(self.sql, over.span(), what));
        }
        let key = |key: &Expr| match key {
            Expr::Identifier(name) => self.key(name),
            _ => {
                let what = "rows are grouped by zone, or by the name of an attribute";
                Err(SqlError::at(self.sql, key.span(), what))
            }
        };
        keys.iter().map(key).collect()
    }

    fn key(&self, name: &Ident) -> Result<GroupKey, SqlError> {
        let name = attribute(self.sql, name)?;
        Ok(if name == ZONE { GroupKey::Zone } else { GroupKey::Attribute(name) })
    }

    /// A column of the answer: what it is called, and what it shows.
    fn item(&self, item: &SelectItem, keys: &[GroupKey]) -> Result<(String, Shown), SqlError> {
        let (of, alias) = match item {
            SelectItem::UnnamedExpr(of) => (of, None),
            SelectItem::ExprWithAlias { expr, alias } => (expr, Some(alias)),
            _ => return Err(listing::all_refused(self.sql, item.span())),
        };
        let (name, shown) = self.shown(of, keys)?;
        Ok((alias.map_or(name, |alias| alias.value.clone()), shown))
    }

    fn shown(&self, of: &Expr, keys: &[GroupKey]) -> Result<(String, Shown), SqlError> {
        match of {
            Expr::Nested(inner) => self.shown(inner, keys),
            Expr::Identifier(name) => {
                let key = self.key(name)?;
                let called = called(&key).to_owned();
                match keys.iter().position(|known| *known == key) {
                    Some(at) => Ok((called, Shown::Key(at))),
                    None => {
                        let what = format!(
                            "`{called}` is different from row to row: add GROUP BY {called}, or \
                             take a function of it, such as max({called})"
                        );
                        let zone = "`zone` is only there in groups: add GROUP BY zone".to_owned();
                        let what = if key == GroupKey::Zone { zone } else { what };
                        Err(SqlError::at(self.sql, name.span, what))
                    }
                }
            }
            Expr::Function(call) => {
                let column = function::column(self.sql, call)?;
                Ok((function::shown_as(&column), Shown::Column(column)))
            }
            _ => {
                let what = "a column is zone, an attribute, or a function of one, as avg(load)";
                Err(SqlError::at(self.sql, of.span(), what))
            }
        }
    }

    fn order(&self, by: &OrderBy, all: &Asks) -> Result<Sorting, SqlError> {
        const WHAT: &str = "ORDER BY takes one column of the answer, and perhaps DESC";
        let [OrderByExpr { expr, options, with_fill: None }] = (match &by.kind {
            OrderByKind::Expressions(all) if by.interpolate.is_none() => &all[..],
            OrderByKind::Expressions(_) | OrderByKind::All(_) => &[],
        }) else {
            return Err(SqlError::at(self.sql, by.span(), WHAT));
        };
        let is_descending = match options.sort {
            None | Some(OrderBySort::Asc) => false,
            Some(OrderBySort::Desc) => true,
            Some(OrderBySort::Using(_)) => return Err(SqlError::at(self.sql, by.span(), WHAT)),
        };
        if options.nulls_first.is_some() {
            let what = "what has no value comes last here: leave NULLS out";
            return Err(SqlError::at(self.sql, by.span(), what));
        }
        let (column, names) = match all {
            Asks::Groups(groups) => (self.column(expr, groups)?, &groups.names),
            Asks::Rows(rows) => (named(expr, &rows.names), &rows.names),
        };
        let column = column.ok_or_else(|| {
            let what = format!("the answer has no such column: it has {}", names.join(", "));
            SqlError::at(self.sql, expr.span(), what)
        })?;
        Ok(Sorting { column, is_descending })
    }

    /// Which column of the answer is meant, if one is.
    fn column(&self, of: &Expr, all: &Sql) -> Result<Option<usize>, SqlError> {
        let Expr::Function(call) = of else { return Ok(named(of, &all.names)) };
        let column = function::column(self.sql, call)?;
        let at = all.query.columns().iter().position(|known| *known == column);
        Ok(at.and_then(|at| all.outputs.iter().position(|it| *it == Output::Value(at))))
    }

    fn limit(&self, limit: &LimitClause) -> Result<usize, SqlError> {
        let number = match limit {
            LimitClause::LimitOffset {
                limit: Some(Expr::Value(value)),
                offset: None,
                limit_by,
            } if limit_by.is_empty() => match &value.value {
                Value::Number(digits, _) => digits.parse().ok(),
                _ => None,
            },
            LimitClause::LimitOffset { .. } | LimitClause::OffsetCommaLimit { .. } => None,
        };
        number.ok_or_else(|| {
            let what = "LIMIT takes a whole number, and nothing else, as in LIMIT 10";
            SqlError::at(self.sql, limit.span(), what)
        })
    }

    /// A word that stands where a keyword may have been meant.
    fn misspelt(&self, word: &Ident, what: &str) -> SqlError {
        let what = match nearest(&word.value, KEYWORDS) {
            Some(meant) => format!("`{}` is not known here: did you mean {meant}?", word.value),
            None => format!("`{}` is not known here: {what}", word.value),
        };
        SqlError::at(self.sql, word.span, what)
    }

    /// Something of SQL that is not known here.
    fn none(&self, is_there: bool, keyword: &str) -> Result<(), SqlError> {
        if !is_there {
            return Ok(());
        }
        let what = format!(
            "{keyword} is not known here in this form: a query is SELECT … FROM '…' WHERE … GROUP \
             BY … HAVING … ORDER BY … LIMIT …"
        );
        let (line, column) = place_of(self.sql, keyword);
        Err(SqlError::at_word(self.sql, line, column, what))
    }
}

/// The column of this name, or at this place, counted from 1.
fn named(of: &Expr, names: &[String]) -> Option<usize> {
    match of {
        Expr::Identifier(name) => {
            names.iter().position(|known| known.eq_ignore_ascii_case(&name.value))
        }
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) => {
                let at = digits.parse::<usize>().ok().and_then(|at| at.checked_sub(1));
                at.filter(|at| *at < names.len())
            }
            _ => None,
        },
        _ => None,
    }
}

enum Shown {
    Key(usize),
    Column(Column),
}

fn called(key: &GroupKey) -> &str {
    match key {
        GroupKey::Zone => ZONE,
        GroupKey::Attribute(name) => name,
    }
}

/// The attribute that a name without quotes means: SQL does not tell its letters' size apart.
pub(super) fn attribute(sql: &str, name: &Ident) -> Result<String, SqlError> {
    let is_quoted = name.quote_style.is_some();
    let value = if is_quoted { name.value.clone() } else { name.value.to_ascii_lowercase() };
    match Attributes::default().with(&value, 0.0) {
        Ok(_) => Ok(value),
        Err(error) => Err(SqlError::at(sql, name.span, error.to_string())),
    }
}

/// Where a keyword stands first.
fn place_of(sql: &str, keyword: &str) -> (usize, usize) {
    let found = sql.lines().enumerate().find_map(|(line, text)| {
        let at = text.to_ascii_uppercase().find(keyword)?;
        Some((line + 1, text[..at].chars().count() + 1))
    });
    found.unwrap_or((1, 1))
}

/// How many characters of white space a text begins with.
fn leading(sql: &str) -> usize {
    sql.chars().take_while(|of| of.is_whitespace()).count()
}

/// The key that is no attribute.
pub(super) const ZONE: &str = Query::ZONE;

/// How long the text of a query may be, in bytes.
pub(crate) const TEXT_LEN_MAX: usize = 4_096;

/// How many words and signs there may be: a few more than a query can have that is within its own
/// bounds.
const TOKENS_MAX: usize = 320;

/// How deep it may be nested.
const DEPTH_MAX: usize = 24;

const EXAMPLE: &str = "SELECT zone, avg(load) FROM '/dc/*' WHERE role = 'db' GROUP BY zone";

#[cfg(test)]
mod tests;
