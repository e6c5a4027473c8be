//! Queries that list rows: who describes itself so, and what it says.
//!
//! ```text
//!  SELECT   node, zone and attributes, each AS a name
//!  FROM     one pattern of names, in quotes
//!  WHERE    what must be true of a row
//!  ORDER BY one of these columns, DESC; LIMIT so many rows
//! ```
//!
//! `node` is who says it, and `zone` what the stars of the pattern stand for: attributes of these
//! names are hidden by that.

use live_objects::{Attributes, Pattern, Predicate};
use sqlparser::ast::{Expr, Ident, SelectItem, Spanned};
use sqlparser::tokenizer::Span;

use super::fault::SqlError;
use super::sql::{Sorting, ZONE, attribute};

/// Which rows, and what is shown of each.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Listing {
    pub(crate) pattern: Pattern,
    pub(crate) matching: Predicate,
    /// What each column is called.
    pub(crate) names: Vec<String>,
    /// And what it shows.
    pub(crate) fields: Vec<Field>,
    pub(crate) order: Option<Sorting>,
    pub(crate) limit: Option<usize>,
}

/// What is shown of a row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Field {
    /// Who says it.
    Node,
    /// What the stars stand for in the name of the catalog.
    Zone,
    Attribute(String),
}

/// Whether nothing of it sums up: all columns are names.
pub(super) fn is_listing(projection: &[SelectItem]) -> bool {
    !projection.is_empty() && projection.iter().all(|item| named(item).is_some())
}

/// What is listed, if it [is](is_listing) so.
pub(super) fn read(
    sql: &str,
    pattern: Pattern,
    matching: Predicate,
    projection: &[SelectItem],
) -> Result<Listing, SqlError> {
    if let Some(over) = projection.get(FIELDS_MAX) {
        return Err(SqlError::at(
            sql,
            over.span(),
            format!("a row has {FIELDS_MAX} columns at most"),
        ));
    }
    let (mut names, mut fields) = (Vec::new(), Vec::new());
    for (name, alias) in projection.iter().filter_map(named) {
        let field = match attribute(sql, name)? {
            node if node == NODE => Field::Node,
            zone if zone == ZONE => Field::Zone,
            other => Field::Attribute(other),
        };
        let called = match &field {
            Field::Node => NODE,
            Field::Zone => ZONE,
            Field::Attribute(name) => name,
        };
        names.push(alias.unwrap_or(called).to_owned());
        fields.push(field);
    }
    Ok(Listing { pattern, matching, names, fields, order: None, limit: None })
}

fn named(item: &SelectItem) -> Option<(&Ident, Option<&str>)> {
    match item {
        SelectItem::UnnamedExpr(Expr::Identifier(name)) => Some((name, None)),
        SelectItem::ExprWithAlias { expr: Expr::Identifier(name), alias } => {
            Some((name, Some(&alias.value)))
        }
        _ => None,
    }
}

/// Of `SELECT *`.
pub(super) fn all_refused(sql: &str, span: Span) -> SqlError {
    let what = "rows need not have the same attributes: name those that you want to see, as in \
                SELECT node, zone, role, or sum up, as in SELECT count(*)";
    SqlError::at(sql, span, what)
}

/// The column that says who describes itself.
pub(super) const NODE: &str = "node";

/// The most columns of a row: as many as a node can have attributes.
const FIELDS_MAX: usize = Attributes::COUNT_MAX;

#[cfg(test)]
mod tests {
    use super::super::sql::{Asks, parse};
    use super::*;

    fn listing(sql: &str) -> Listing {
        match parse(sql) {
            Ok(Asks::Rows(listing)) => listing,
            other => panic!("{sql}: {other:?}"),
        }
    }

    #[test]
    fn names_without_a_function_are_a_list() {
        let sql = "SELECT NODE, zone AS dc, role FROM '/dc/*' WHERE zone = 'ams' AND load < 1 \
                   ORDER BY DC DESC LIMIT 3";
        let Listing { names, fields, order, limit, matching, .. } = listing(sql);
        assert_eq!(names, ["node", "dc", "role"]);
        assert_eq!(fields, [Field::Node, Field::Zone, Field::Attribute("role".to_owned())]);
        assert_eq!(order, Some(Sorting { column: 1, is_descending: true }));
        assert_eq!(limit, Some(3));
        assert_eq!(matching.attributes().collect::<Vec<_>>(), ["zone", "load"]);
        let many = vec!["a"; FIELDS_MAX].join(", ");
        assert_eq!(listing(&format!("SELECT {many} FROM '/a'")).fields.len(), FIELDS_MAX);
        let error = parse(&format!("SELECT {many}, b FROM '/a'")).unwrap_err();
        assert!(error.what.contains("32 columns"), "{error}");
    }

    #[test]
    fn who_groups_or_sums_up_gets_no_list() {
        for sql in ["SELECT role FROM '/a' GROUP BY role", "SELECT count(*) FROM '/a'"] {
            assert!(matches!(parse(sql), Ok(Asks::Groups(_))), "{sql}");
        }
    }
}
