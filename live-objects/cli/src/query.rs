//! `logo query` and `logo describe`: SQL asked of all who describe themselves, and how a node does.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use live_objects::{Attributes, Name, Scalar};
use logo::{Answer, Answers, Catalog, Node, Query, QueryError};
use serde_json::{Map, Value, json};

use crate::join::{Cluster, Failure, complain, line, print};

/// What to ask.
#[derive(Args)]
pub(crate) struct QueryArgs {
    /// The query: "SELECT zone, avg(load) FROM '/dc/*' WHERE role = 'db' GROUP BY zone".
    sql: String,
    /// Tell each answer that says something else, until it is interrupted.
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    cluster: Cluster,
    /// A line of JSON an answer.
    #[arg(long)]
    json: bool,
}

/// What to say of this node.
#[derive(Args)]
pub(crate) struct DescribeArgs {
    /// The name of a catalog, such as /dc/ams.
    name: Name,
    /// What it is to say, such as role=db load=0.4. What is a number is said as one.
    #[arg(required = true, value_name = "NAME=VALUE", value_parser = attribute)]
    attributes: Vec<(String, Scalar)>,
    /// For how many seconds: what is said lasts as long as its node.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    #[command(flatten)]
    cluster: Cluster,
    /// Tell how it went as one line of JSON.
    #[arg(long)]
    json: bool,
}

impl QueryArgs {
    pub(crate) fn run(self) -> ExitCode {
        // What is no query is said before anything starts.
        match Query::check(&self.sql) {
            Ok(Answers::Rows) if self.watch => {
                let what = "a list of rows is told once: leave --watch out, or ask for a function";
                Failure::usage(what).tell()
            }
            Ok(Answers::Rows) => self.cluster.visit(async |node| self.list(node).await),
            Ok(Answers::Groups) => self.cluster.visit(async |node| self.work(node).await),
            Err(error) => Failure::usage(error).tell(),
        }
    }

    async fn work(&self, node: &Node) -> Result<(), Failure> {
        let mut query = node.query(&self.sql).await?;
        if self.watch {
            while let Some(answer) = query.next().await {
                if self.tell(&answer).is_err() {
                    break;
                }
            }
            return Ok(());
        }
        let answer = query.once().await.map_err(Failure::new)?;
        let _ = self.tell(&answer);
        let missing = node.missing(&query, &answer).await?;
        if !missing.is_empty() {
            let names = missing.join(", ");
            complain(&format!("nobody in {} has an attribute {names}", query.pattern()));
        }
        Ok(())
    }

    /// Tells rows as they come; as a table, when all have come.
    async fn list(&self, node: &Node) -> Result<(), Failure> {
        let mut rows = node.rows(&self.sql).await?;
        let (columns, mut all) = (rows.columns().to_vec(), Vec::new());
        let ended = loop {
            match rows.next().await {
                Ok(None) => break Ok(()),
                Err(error) => break Err(Failure::new(error)),
                Ok(Some(row)) if !self.json => all.push(row),
                Ok(Some(row)) => {
                    let row: Map<String, Value> =
                        columns.iter().cloned().zip(row.iter().map(json_of)).collect();
                    if line(&Value::from(row).to_string()).is_err() {
                        break Ok(());
                    }
                }
            }
        };
        if !self.json {
            let mut lines = aligned(&columns, &all, None);
            lines.push(format!("({} row{})", all.len(), if all.len() == 1 { "" } else { "s" }));
            let _ = line(&lines.join("\n"));
        }
        ended
    }

    fn tell(&self, answer: &Answer) -> std::io::Result<()> {
        line(&if self.json { told(answer).to_string() } else { table(answer) })
    }
}

impl DescribeArgs {
    pub(crate) fn run(self) -> ExitCode {
        let mut own = Attributes::default();
        for (name, value) in &self.attributes {
            if let Err(error) = own.set(name, value.clone()) {
                return Failure::usage(error).tell();
            }
        }
        self.cluster.visit(async |node| self.work(node, own).await)
    }

    async fn work(&self, node: &Node, own: Attributes) -> Result<(), Failure> {
        let catalog: Catalog = node.open(self.name.as_str()).await?;
        catalog.describe(own).await.map_err(Failure::new)?;
        let told = json!({ "described": self.name.as_str(), "seconds": self.seconds });
        print(self.json, &told, || format!("described for {} seconds", self.seconds));
        tokio::time::sleep(Duration::from_secs(self.seconds)).await;
        Ok(())
    }
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Self {
        if let QueryError::Sql(error) = error { Self::usage(error) } else { Self::new(error) }
    }
}

fn attribute(text: &str) -> Result<(String, Scalar), String> {
    let (name, value) = text.split_once('=').ok_or("write a name and a value, as in role=db")?;
    let number = value.parse::<f64>().ok().filter(|number| number.is_finite());
    Ok((name.to_owned(), number.map_or_else(|| Scalar::from(value), Scalar::from)))
}

/// An answer as JSON: each row by the names of the columns.
fn told(answer: &Answer) -> Value {
    let row = |row: &Row| -> Map<String, Value> {
        answer.columns.iter().cloned().zip(row.iter().map(json_of)).collect()
    };
    let mut told = json!({
        "rows": answer.rows.iter().map(row).collect::<Vec<_>>(),
        "members": answer.members,
        "heard": answer.heard,
        "nodes": answer.nodes,
        "age_ms": u64::try_from(answer.age.as_millis()).unwrap_or(u64::MAX),
    });
    if let Some((others, members)) = &answer.others {
        told["others"] = row(others).into();
        told["others_members"] = (*members).into();
    }
    if answer.error > 0.0 {
        told["error"] = answer.error.into();
    }
    told
}

fn json_of(value: &Option<Scalar>) -> Value {
    match value {
        None => Value::Null,
        Some(Scalar::Text(text)) => text.as_str().into(),
        // A count is a whole number.
        Some(Scalar::Number(number)) if number.fract() == 0.0 && number.abs() < 1e15 => {
            (*number as i64).into()
        }
        Some(Scalar::Number(number)) => (*number).into(),
    }
}

/// An answer as a table, with a line below that says what it is made of.
fn table(answer: &Answer) -> String {
    let others = answer.others.as_ref().map(|(others, _)| others);
    let mut told = aligned(&answer.columns, &answer.rows, others);
    let Answer { members, heard, nodes, age, .. } = answer;
    let mut says = format!("{members} members match; {heard} of {nodes} nodes heard");
    says += &format!(", within {:.1} s", age.as_secs_f64());
    if answer.error > 0.0 {
        says += &format!("; percentiles to {:.0} %", 100.0 * answer.error);
    }
    if let Some((_, others)) = &answer.others {
        says += &format!("; the last row is of {others} others");
    }
    told.push(format!("({says})"));
    told.join("\n")
}

/// The lines of a table: what the columns are called, a rule, the rows, and what else there is.
fn aligned(columns: &[String], rows: &[Row], others: Option<&Row>) -> Vec<String> {
    let shown = |row: &Row| row.iter().map(text_of).collect::<Vec<_>>();
    let mut lines = vec![columns.to_vec()];
    lines.extend(rows.iter().chain(others).map(shown));
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
    let widths: Vec<usize> = (0..columns.len()).map(|column| width(column).unwrap_or(0)).collect();
    let is_number = |column: usize| {
        let values = rows.iter().filter_map(|row| row[column].as_ref());
        values.clone().count() > 0 && values.clone().all(|value| value.number().is_some())
    };
    let aligned = |line: &Vec<String>| {
        let cells = line.iter().enumerate().map(|(column, text)| {
            let width = widths[column];
            if is_number(column) { format!("{text:>width$}") } else { format!("{text:<width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let rule = widths.iter().map(|width| "-".repeat(*width)).collect::<Vec<_>>().join("  ");
    let mut told: Vec<String> = lines.iter().map(aligned).collect();
    told.insert(1, rule);
    told
}

/// A value a column; none where there is none.
type Row = Vec<Option<Scalar>>;

fn text_of(value: &Option<Scalar>) -> String {
    match value {
        None => "-".to_owned(),
        Some(Scalar::Text(text)) => {
            text.chars().map(|of| if of.is_control() { ' ' } else { of }).collect()
        }
        Some(Scalar::Number(number)) => {
            let whole = format!("{number}");
            let is_long = whole.len() > 9 && number.fract() != 0.0;
            if is_long { format!("{number:.4}") } else { whole }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> Answer {
        let row = |zone: &str, number: f64| vec![Some(zone.into()), Some(number.into()), None];
        Answer {
            columns: ["zone", "avg(load)", "p99(x)"].map(str::to_owned).to_vec(),
            rows: vec![row("ams", 0.5), row("frankfurt", 12.0)],
            others: Some((vec![None, Some(1.25.into()), Some((1.0 / 3.0).into())], 4)),
            members: 9,
            age: Duration::from_millis(1_250),
            heard: 8,
            nodes: 8,
            error: 0.02,
        }
    }

    #[test]
    fn an_answer_is_a_table() {
        let shown = "\
zone       avg(load)  p99(x)
---------  ---------  ------
ams              0.5  -
frankfurt         12  -
-               1.25  0.3333
(9 members match; 8 of 8 nodes heard, within 1.2 s; percentiles to 2 %; \
the last row is of 4 others)";
        assert_eq!(table(&answer()), shown);
    }

    #[test]
    fn an_answer_is_json() {
        let told = told(&answer());
        assert_eq!(
            told["rows"][1],
            json!({ "zone": "frankfurt", "avg(load)": 12, "p99(x)": null })
        );
        assert_eq!((&told["others_members"], &told["error"]), (&json!(4), &json!(0.02)));
    }

    #[test]
    fn what_is_a_number_is_said_as_one() {
        let of = |text: &str| attribute(text).unwrap().1;
        assert_eq!([of("a=1.5"), of("a=-2")], [1.5.into(), (-2.0).into()]);
        assert_eq!([of("a=db"), of("a=nan"), of("a=")], ["db".into(), "nan".into(), "".into()]);
        assert!(attribute("role").is_err());
    }
}
