//! Functions of attributes, as SQL calls them.

use live_objects::{Column, Function};
use sqlparser::ast::{
    Expr, Function as Call, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments,
    Ident, ObjectNamePart, Spanned,
};

use super::fault::{SqlError, nearest};
use super::sql::{ZONE, attribute};

/// What a call asks for.
pub(super) fn column(sql: &str, call: &Call) -> Result<Column, SqlError> {
    let Call {
        name,
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(list),
        within_group,
        filter: None,
        null_treatment: None,
        over: None,
    } = call
    else {
        return Err(SqlError::at(sql, call.span(), PLAIN_CALL));
    };
    let ([ObjectNamePart::Identifier(word)], []) = (&name.0[..], &within_group[..]) else {
        return Err(SqlError::at(sql, call.span(), PLAIN_CALL));
    };
    let function = function(sql, word)?;
    let FunctionArgumentList { duplicate_treatment: None, args, clauses } = list else {
        let what = "DISTINCT is not known here: open an aggregate Distinct for that";
        return Err(SqlError::at(sql, call.span(), what));
    };
    let ([FunctionArg::Unnamed(argument)], []) = (&args[..], &clauses[..]) else {
        let what = format!("{}() takes the name of one attribute", word.value);
        return Err(SqlError::at(sql, call.span(), what));
    };
    match argument {
        FunctionArgExpr::Wildcard if function == Function::Count => Ok(Column::Members),
        FunctionArgExpr::Expr(Expr::Identifier(of)) => {
            let of_name = attribute(sql, of)?;
            if of_name == ZONE {
                let what = "`zone` is no attribute: count(*) counts the rows of a zone";
                return Err(SqlError::at(sql, of.span, what));
            }
            Ok(Column::Of(function, of_name))
        }
        FunctionArgExpr::Wildcard => {
            let what = format!("only count takes *: name an attribute, as {}(load)", word.value);
            Err(SqlError::at(sql, call.span(), what))
        }
        _ => {
            let what = format!("{}() takes the name of one attribute", word.value);
            Err(SqlError::at(sql, call.span(), what))
        }
    }
}

fn function(sql: &str, word: &Ident) -> Result<Function, SqlError> {
    let name = word.value.to_ascii_lowercase();
    let digits = name.strip_prefix('p').filter(|rest| (1..=2).contains(&rest.len()));
    let percentile = digits.and_then(|digits| digits.parse().ok());
    Ok(match (name.as_str(), percentile) {
        ("count", _) => Function::Count,
        ("sum", _) => Function::Sum,
        ("avg", _) => Function::Average,
        ("min", _) => Function::Min,
        ("max", _) => Function::Max,
        ("variance", _) => Function::Variance,
        ("stddev", _) => Function::Deviation,
        ("median", _) => Function::Percentile(50),
        (_, Some(of @ 1..=99)) => Function::Percentile(of),
        _ => {
            let is_percentile = name
                .strip_prefix('p')
                .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|of| of.is_ascii_digit()));
            if is_percentile {
                let what = format!("`{}` is no percentile: there are p1 to p99", word.value);
                return Err(SqlError::at(sql, word.span, what));
            }
            let same = SAME.iter().find(|(other, _)| *other == name).map(|(_, same)| *same);
            let meant = same.or_else(|| nearest(&name, FUNCTIONS));
            let what = match meant {
                Some(meant) => {
                    format!("unknown function `{}`: did you mean `{meant}`?", word.value)
                }
                None => {
                    let all = FUNCTIONS.join(", ");
                    format!("unknown function `{}`: there are {all}", word.value)
                }
            };
            return Err(SqlError::at(sql, word.span, what));
        }
    })
}

/// What a column is called that was given no name.
pub(super) fn shown_as(column: &Column) -> String {
    let (function, name) = match column {
        Column::Members => return "count(*)".to_owned(),
        Column::Of(function, name) => (function, name),
    };
    let function = match function {
        Function::Count => "count",
        Function::Sum => "sum",
        Function::Average => "avg",
        Function::Min => "min",
        Function::Max => "max",
        Function::Variance => "variance",
        Function::Deviation => "stddev",
        Function::Percentile(of) => return format!("p{of}({name})"),
    };
    format!("{function}({name})")
}

const PLAIN_CALL: &str = "a function takes the name of one attribute, and nothing beside that";

const FUNCTIONS: [&str; 12] = [
    "count", "sum", "avg", "min", "max", "variance", "stddev", "median", "p50", "p90", "p95", "p99",
];

/// What others call some of them.
const SAME: [(&str, &str); 8] = [
    ("mean", "avg"),
    ("average", "avg"),
    ("var", "variance"),
    ("var_pop", "variance"),
    ("std", "stddev"),
    ("stddev_pop", "stddev"),
    ("total", "sum"),
    ("percentile_cont", "p50"),
];
