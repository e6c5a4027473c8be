//! WHERE and HAVING: conditions on attributes, or on columns of the answer, as a predicate.
//!
//! In a predicate of HAVING a column is named by its place, as [`column_name`] has it.

use live_objects::{Predicate, PredicateError, Relation, Scalar};
use sqlparser::ast::InTarget;
use sqlparser::ast::{BinaryOperator, Expr, Ident, Spanned, UnaryOperator, Value};

use super::fault::SqlError;
use super::listing::NODE;
use super::sql::{ZONE, attribute};

/// What a condition says.
pub(super) fn predicate(
    sql: &str,
    condition: &Expr,
    place: Place<'_>,
) -> Result<Predicate, SqlError> {
    Reading { sql, place }.condition(condition)
}

/// Where a condition stands, and so what it may speak of.
#[derive(Clone, Copy)]
pub(super) enum Place<'a> {
    /// Of attributes and the zone, where rows are summed up.
    Where,
    /// As well, where they are listed.
    WhereOfRows,
    /// Of columns of the answer, which this finds.
    Having(&'a dyn Fn(&Expr) -> Result<usize, SqlError>),
}

/// How a predicate calls a column of the answer.
pub(super) fn column_name(at: usize) -> String {
    format!("c{at}")
}

/// Which column that is.
pub(super) fn column_of(name: &str) -> Option<usize> {
    name.strip_prefix('c')?.parse().ok()
}

struct Reading<'a> {
    sql: &'a str,
    place: Place<'a>,
}

impl Reading<'_> {
    fn condition(&self, of: &Expr) -> Result<Predicate, SqlError> {
        match of {
            Expr::Nested(inner) => self.condition(inner),
            Expr::UnaryOp { op: UnaryOperator::Not, expr } => {
                self.negated(self.condition(expr)?, of)
            }
            Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
                let (left, right) = (self.condition(left)?, self.condition(right)?);
                self.checked(left.and(right), of)
            }
            Expr::BinaryOp { left, op: BinaryOperator::Or, right } => {
                let (left, right) = (self.condition(left)?, self.condition(right)?);
                self.checked(left.or(right), of)
            }
            Expr::BinaryOp { left, op, right } => {
                let relation = relation(op).ok_or_else(|| {
                    self.error(of, format!("`{op}` is not known here: compare with = <> < <= > >="))
                })?;
                self.comparison(left, relation, right)
            }
            Expr::Between { expr, negated, low, high } => {
                let (low, high) = (
                    self.comparison(expr, Relation::GreaterOrEqual, low)?,
                    self.comparison(expr, Relation::LessOrEqual, high)?,
                );
                let both = self.checked(low.and(high), of)?;
                if *negated { self.negated(both, of) } else { Ok(both) }
            }
            Expr::In { expr, target: InTarget::List(list), negated, global: false } => {
                let mut any = None;
                for value in list {
                    let one = self.comparison(expr, Relation::Equal, value)?;
                    any = Some(match any {
                        Some(before) => self.checked(Predicate::or(before, one), of)?,
                        None => one,
                    });
                }
                let any = any.ok_or_else(|| self.error(of, "IN takes one value at least"))?;
                if *negated { self.negated(any, of) } else { Ok(any) }
            }
            Expr::IsNotNull(inner) => self.is_set(inner),
            Expr::IsNull(inner) => self.negated(self.is_set(inner)?, of),
            Expr::Like { .. } | Expr::ILike { .. } | Expr::SimilarTo { .. } => {
                Err(self.error(of, "patterns are not known here: compare with = or IN"))
            }
            Expr::Function(_) if !self.is_having() => Err(self.error(
                of,
                "WHERE is asked of each row by itself, where there is nothing to sum up: compare \
                 an attribute with a value",
            )),
            _ if self.is_having() => Err(self.error(
                of,
                "this is no condition: compare a column with a value, as in count(*) > 1",
            )),
            _ => Err(self.error(
                of,
                "this is no condition: compare an attribute with a value, as in role = 'db'",
            )),
        }
    }

    /// One side is an attribute, and the other a value.
    fn comparison(
        &self,
        left: &Expr,
        relation: Relation,
        right: &Expr,
    ) -> Result<Predicate, SqlError> {
        let (name, relation, value) = match (left, right) {
            (Expr::Nested(inner), _) => return self.comparison(inner, relation, right),
            (_, Expr::Nested(inner)) => return self.comparison(left, relation, inner),
            (_, Expr::Identifier(other)) if self.is_name(left) => {
                return Err(self.error(right, no_value(other)));
            }
            (name, value) if self.is_name(name) && !self.is_name(value) => (name, relation, value),
            (value, name) if self.is_name(name) && !self.is_name(value) => {
                (name, turned(relation), value)
            }
            _ if self.is_having() => {
                let what = "a column of the answer is compared with a value, as in count(*) > 1";
                return Err(self.error(left, what));
            }
            _ => {
                let what = "one side has to be the name of an attribute, as in load < 0.5";
                return Err(self.error(left, what));
            }
        };
        let attribute = self.name(name)?;
        let with = self.value(value)?;
        if !self.is_having() && attribute == ZONE && with.number().is_some() {
            let what = "a zone is a text: write it in single quotes, as in zone = 'ams'";
            return Err(self.error(value, what));
        }
        let compared = Predicate::compare(&attribute, relation, with);
        self.checked(compared, value)
    }

    fn is_set(&self, of: &Expr) -> Result<Predicate, SqlError> {
        if !self.is_name(of) {
            return Err(self.error(of, "IS NULL is asked of an attribute: write its name"));
        }
        self.checked(Predicate::is_set(&self.name(of)?), of)
    }

    fn is_having(&self) -> bool {
        matches!(self.place, Place::Having(_))
    }

    /// Whether it names something that has a value.
    fn is_name(&self, of: &Expr) -> bool {
        match of {
            Expr::Identifier(_) => true,
            Expr::Function(_) => self.is_having(),
            _ => false,
        }
    }

    /// How the predicate calls it.
    fn name(&self, of: &Expr) -> Result<String, SqlError> {
        match (self.place, of) {
            (Place::Having(find), _) => find(of).map(column_name),
            (place, Expr::Identifier(name)) => {
                let attribute = attribute(self.sql, name)?;
                if matches!(place, Place::WhereOfRows) && attribute == NODE {
                    let what = "`node` is who says it, and can only be listed: look for what it \
                                says";
                    return Err(self.error(of, what));
                }
                Ok(attribute)
            }
            _ => unreachable!("only names are asked for theirs"),
        }
    }

    fn value(&self, of: &Expr) -> Result<Scalar, SqlError> {
        let (is_negative, value) = match of {
            Expr::UnaryOp { op: UnaryOperator::Minus, expr } => (true, &**expr),
            Expr::UnaryOp { op: UnaryOperator::Plus, expr } => (false, &**expr),
            other => (false, other),
        };
        match value {
            Expr::Value(value) => match &value.value {
                Value::Number(digits, false) => {
                    let number: f64 = digits.parse().map_err(|_| {
                        self.error(of, format!("`{digits}` is no number that is known here"))
                    })?;
                    Ok(if is_negative { -number } else { number }.into())
                }
                Value::SingleQuotedString(text) if !is_negative => Ok(text.as_str().into()),
                Value::Null => {
                    Err(self.error(of, "nothing equals NULL: write IS NULL or IS NOT NULL"))
                }
                _ => Err(self.error(of, "a value is a number, or a text in single quotes")),
            },
            _ => Err(self.error(of, "a value is a number, or a text in single quotes")),
        }
    }

    fn negated(&self, inner: Predicate, of: &Expr) -> Result<Predicate, SqlError> {
        self.checked(inner.negated(), of)
    }

    fn checked(
        &self,
        made: Result<Predicate, PredicateError>,
        of: &Expr,
    ) -> Result<Predicate, SqlError> {
        made.map_err(|error| self.error(of, error.to_string()))
    }

    fn error(&self, of: &Expr, what: impl Into<String>) -> SqlError {
        SqlError::at(self.sql, of.span(), what)
    }
}

/// Another attribute stands where a value has to.
fn no_value(name: &Ident) -> String {
    let text = name.value.replace('\'', "''");
    format!("attributes are compared with values: a text stands in single quotes, '{text}'")
}

const fn relation(op: &BinaryOperator) -> Option<Relation> {
    Some(match op {
        BinaryOperator::Eq => Relation::Equal,
        BinaryOperator::NotEq => Relation::NotEqual,
        BinaryOperator::Lt => Relation::Less,
        BinaryOperator::LtEq => Relation::LessOrEqual,
        BinaryOperator::Gt => Relation::Greater,
        BinaryOperator::GtEq => Relation::GreaterOrEqual,
        _ => return None,
    })
}

/// As it is from the other side.
const fn turned(relation: Relation) -> Relation {
    match relation {
        Relation::Equal => Relation::Equal,
        Relation::NotEqual => Relation::NotEqual,
        Relation::Less => Relation::Greater,
        Relation::LessOrEqual => Relation::GreaterOrEqual,
        Relation::Greater => Relation::Less,
        Relation::GreaterOrEqual => Relation::LessOrEqual,
    }
}
