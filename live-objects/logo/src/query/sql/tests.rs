//! Texts that are queries, and texts that are not.

use super::*;
use live_objects::{Function, Name, Relation, Scalar};

fn of(sql: &str) -> Sql {
    match parse(sql).unwrap_or_else(|error| panic!("{sql}: {error}")) {
        Asks::Groups(groups) => groups,
        Asks::Rows(rows) => panic!("{sql}: {rows:?}"),
    }
}

fn matches(condition: &str, own: &Attributes) -> bool {
    let sql = of(&format!("SELECT count(*) FROM '/dc/*' WHERE {condition}"));
    sql.query.matching().matches(own)
}

#[test]
fn the_query_of_the_manual() {
    let sql =
        of("SELECT zone, avg(load), p99(latency) FROM '/dc/*' WHERE role = 'db' GROUP BY zone");
    let of = |function, name: &str| Column::Of(function, name.to_owned());
    let columns = vec![of(Function::Average, "load"), of(Function::Percentile(99), "latency")];
    let is_db = Predicate::equal("role", "db").unwrap();
    let pattern = "/dc/*".parse().unwrap();
    let query = Query::new(pattern, is_db, vec![GroupKey::Zone], columns).unwrap();
    assert_eq!(sql.query, query);
    assert_eq!(sql.names, ["zone", "avg(load)", "p99(latency)"]);
    assert_eq!(sql.outputs, [Output::Key(0), Output::Value(0), Output::Value(1)]);
    assert_eq!((sql.order, sql.limit), (None, None));
}

#[test]
fn names_orders_and_limits() {
    let sql =
        of("select role as \"What\", COUNT(*) n, Max(Load), min(load), median(load), stddev(load)
         from '/dc/*' group by role, zone order by N desc limit 3;");
    assert_eq!(sql.names[..3], ["What", "n", "max(load)"]);
    assert_eq!(sql.query.columns().len(), 5);
    assert_eq!(sql.query.columns()[1], Column::Of(Function::Max, "load".to_owned()));
    assert_eq!(sql.query.keys(), [GroupKey::Attribute("role".to_owned()), GroupKey::Zone]);
    assert_eq!(sql.order, Some(Sorting { column: 1, is_descending: true }));
    assert_eq!(sql.limit, Some(3));
    let sql = of("SELECT avg(load), sum(load) FROM '/a' ORDER BY sum(load)");
    assert_eq!(sql.order, Some(Sorting { column: 1, is_descending: false }));
    let sql = of("SELECT avg(load), sum(load) FROM '/a' ORDER BY 2 ASC");
    assert_eq!(sql.order, Some(Sorting { column: 1, is_descending: false }));
    let sql = of("SELECT zone FROM '/a/*' GROUP BY zone");
    assert_eq!((sql.query.columns(), sql.names), (&[Column::Members][..], vec!["zone".to_owned()]));
    let twice = of("SELECT p50(a), median(a), p50(a) FROM '/a'");
    assert_eq!((twice.query.columns().len(), twice.outputs.len()), (1, 3));
}

#[test]
fn conditions_are_what_they_say() {
    let own = Attributes::default().with("role", "db").unwrap();
    let own = own.with("load", -0.5).unwrap().with("note", "it's").unwrap();
    for is_so in [
        "role = 'db'",
        "'db' = role AND load < 0",
        "load > -0.75 AND NOT load >= 0",
        "0 > load",
        "load BETWEEN -1 AND -0.25",
        "load NOT BETWEEN 0 AND 1",
        "role IN ('web', 'db')",
        "role NOT IN ('web')",
        "role <> 'web' AND (load = 7 OR load != 7)",
        "cpu IS NULL AND load IS NOT NULL",
        "note = 'it''s'",
        "cpu = 1 OR role = 'db'",
        "(-5e-1) = load",
    ] {
        assert!(matches(is_so, &own), "{is_so}");
    }
    for is_not in ["cpu = 1", "NOT cpu = 1", "cpu NOT IN (1)", "role > 5", "load IS NULL"] {
        assert!(!matches(is_not, &own), "{is_not}");
    }
    let sql = of("SELECT count(*) FROM '/a' WHERE 3 <= load");
    let turned = Predicate::compare("load", Relation::GreaterOrEqual, 3.0).unwrap();
    assert_eq!(sql.query.matching(), &turned);
}

#[test]
fn groups_are_left_out_by_what_their_columns_say() {
    let sql = of("SELECT role, count(*) AS n, avg(load) FROM '/a' GROUP BY role \
                  HAVING n >= 2 AND (avg(load) > 0.5 OR role IN ('db')) AND role IS NOT NULL");
    let having = sql.having.unwrap();
    let holds = |role: Option<&str>, n: f64, load: Option<f64>| {
        let row = [role.map(Scalar::from), Some(n.into()), load.map(Scalar::from)];
        having.holds(|name| row[condition::column_of(name)?].as_ref())
    };
    assert!(holds(Some("web"), 2.0, Some(0.6)) && holds(Some("db"), 2.0, None));
    assert!(!holds(Some("web"), 1.0, Some(0.6)) && !holds(None, 2.0, Some(0.6)));
    assert!(!holds(Some("web"), 2.0, None), "what is unknown does not hold");
    let sql = of("SELECT count(*), zone FROM '/a/*' GROUP BY zone HAVING 1 < COUNT(*)");
    assert!(sql.having.unwrap().holds(|name| (name == "c0").then_some(&Scalar::Number(2.0))));
}

#[test]
fn errors_point_at_the_word_and_say_what_would_be_right() {
    for (sql, what, word) in BAD {
        let error = parse(sql).expect_err(sql);
        assert_eq!(error.what, *what, "{sql}");
        let shown = error.to_string();
        let lines: Vec<&str> = shown.lines().collect();
        let at = lines[2].find('^').expect("there is a mark");
        let len = lines[2].trim().len();
        let marked: String = lines[1].chars().skip(at).take(len).collect();
        assert_eq!(marked, *word, "{shown}");
    }
}

#[test]
fn a_long_text_is_not_read() {
    let long = format!("SELECT count(*) FROM '/a' WHERE a = '{}'", "x".repeat(TEXT_LEN_MAX));
    let error = parse(&long).unwrap_err().to_string();
    assert!(error.contains("and may have 4096") && error.len() < 400, "{error}");
    let ands = |of: usize| {
        let ands = vec!["a = 1"; of].join(" AND ");
        parse(&format!("SELECT count(*) FROM '/a' WHERE {ands}")).map_err(|error| error.to_string())
    };
    assert!(ands(32).is_ok());
    for (of, why) in [(70, "may have 64"), (400, "may have 320 words")] {
        let error = ands(of).unwrap_err();
        assert!(error.contains(why) && error.len() < 600, "{error}");
    }
    // As deep as the words go, and nested besides.
    for deep in ["+1".repeat(150), " IS NULL".repeat(150), "::a".repeat(150), "[1]".repeat(100)] {
        for sql in [
            format!("SELECT a{deep} FROM '/a'"),
            format!("SELECT count(*) FROM '/a' WHERE a{deep}"),
            format!("SELECT count(*) FROM '/a' GROUP BY a{deep}"),
        ] {
            assert!(parse(&sql).unwrap_err().to_string().len() < 800, "{sql}");
        }
    }
    let nested = format!("{}a{}", "(".repeat(20), ")+1+1+1".repeat(20));
    assert!(parse(&format!("SELECT count(*) FROM '/a' WHERE {nested}")).is_err());
    let name = "a".repeat(Name::LEN_MAX);
    assert!(parse(&format!("SELECT count(*) FROM '/{name}'")).is_err());
}

/// Whatever is put in the place of any byte of a query, it is one, or it is told why not.
#[test]
fn no_text_makes_it_panic() {
    let sql = "SELECT zone, p99(load) AS x FROM '/dc/*' WHERE a NOT IN (1, -2) AND b = 'é'\n\
               GROUP BY zone ORDER BY x DESC LIMIT 3";
    for at in (0..sql.len()).filter(|at| sql.is_char_boundary(*at)) {
        for with in ["", "'", "\"", "(", ")", "*", "/", ",", "-", "é", "\n", "NULL "] {
            let text = format!("{}{with}{}", &sql[..at], &sql[at..]);
            let _ = parse(&text).map_err(|error| error.to_string());
            let _ = parse(&text[..at]).map_err(|error| error.to_string());
        }
    }
}

/// What is no query, what is said of it, and the word that is marked.
const BAD: &[(&str, &str, &str)] = &[
    (
        "SELECT count(*) FROM '/a' TABLESAMPLE (10 ROWS)",
        "FROM takes one pattern of names in quotes, such as '/dc/*'",
        "'/a'",
    ),
    (
        "SELECT medain(load) FROM '/dc/*'",
        "unknown function `medain`: did you mean `median`?",
        "medain",
    ),
    (
        "SELECT frobnicate(load) FROM '/dc/*'",
        "unknown function `frobnicate`: there are count, sum, avg, min, max, variance, \
         stddev, median, p50, p90, p95, p99",
        "frobnicate",
    ),
    ("SELECT mean(load) FROM '/dc/*'", "unknown function `mean`: did you mean `avg`?", "mean"),
    ("SELECT p100(load) FROM '/dc/*'", "`p100` is no percentile: there are p1 to p99", "p100"),
    ("SELECT p0(load) FROM '/dc/*'", "`p0` is no percentile: there are p1 to p99", "p0"),
    (
        "SELECT p99999999999999999999(load) FROM '/dc/*'",
        "`p99999999999999999999` is no percentile: there are p1 to p99",
        "p99999999999999999999",
    ),
    (
        "SELECT role, count(*) FROM '/dc/*'",
        "`role` is different from row to row: add GROUP BY role, or take a function of it, \
         such as max(role)",
        "role",
    ),
    (
        "SELECT * FROM '/dc/*'",
        "rows need not have the same attributes: name those that you want to see, as in \
         SELECT node, zone, role, or sum up, as in SELECT count(*)",
        "*",
    ),
    (
        "SELECT role FROM '/dc/*' HAVING role = 'db'",
        "HAVING is of groups, and these are rows: ask that in WHERE",
        "role = 'db'",
    ),
    (
        "SELECT role FROM '/dc/*' WHERE node = '3fa9'",
        "`node` is who says it, and can only be listed: look for what it says",
        "node",
    ),
    (
        "SELECT role FROM '/dc/*' ORDER BY load",
        "the answer has no such column: it has role",
        "load",
    ),
    (
        "SELECT role, count(*) FROM '/dc/*' GROUP BY zone",
        "`role` is different from row to row: add GROUP BY role, or take a function of it, \
         such as max(role)",
        "role",
    ),
    (
        "SELECT zone, count(*) FROM '/dc/*'",
        "`zone` is only there in groups: add GROUP BY zone",
        "zone",
    ),
    ("SELECT count(*) FROM /dc/*", "a path stands in quotes, as in FROM '/dc/*'", "/"),
    (
        "SELECT count(*)\nFROM dc\n",
        "FROM takes one pattern of names in quotes, such as '/dc/*': `dc` is none",
        "dc",
    ),
    (
        "SELECT count(*) FROM '/dc/a*'",
        "in \"a*\" a star is a part of a segment: it stands for a whole one, as in /dc/*",
        "'/dc/a*'",
    ),
    (
        "SELECT count(*) FROM 'dc/*'",
        "the name \"dc/*\" does not begin with a slash: write an absolute path, \
         /shop/prices",
        "'dc/*'",
    ),
    (
        "SELECT count(*) FROM '/a', '/b'",
        "FROM takes one pattern of names in quotes, such as '/dc/*'",
        "'/b'",
    ),
    (
        "SELECT count(*) FROM '/a' JOIN '/b' ON x = y",
        "FROM takes one pattern of names in quotes, such as '/dc/*'",
        "'/b'",
    ),
    ("SELECT count(*) FORM '/dc/*'", "`FORM` is not known here: did you mean FROM?", "FORM"),
    (
        "SELECT count(*) FROM '/dc/*' WEHRE role = 'db'",
        "`WEHRE` is not known here: did you mean WHERE?",
        "WEHRE",
    ),
    (
        "SELECT count(*) FROM '/dc/*' GRUOP BY zone",
        "`GRUOP` is not known here: did you mean GROUP?",
        "GRUOP",
    ),
    (
        "SELECT count(*) FROM '/dc/*' ODRER BY zone",
        "`ODRER` is not known here: did you mean ORDER?",
        "ODRER",
    ),
    ("SELCT count(*) FROM '/dc/*'", "`SELCT` is not known here: did you mean SELECT?", "SELCT"),
    ("SELECT count(* FROM '/dc/*'", "expected ), found FROM", "FROM"),
    (
        "SELECT count(*) FROM '/dc",
        "a text begins here and does not end: close it with a single quote",
        "'",
    ),
    ("SELECT count(*) FROM", "expected identifier, and the query ends here", ""),
    (
        "SELECT count(*)",
        "the query does not say of whom: FROM takes one pattern of names in quotes, such \
         as '/dc/*'",
        "",
    ),
    (
        "",
        "the query is empty: ask for something, as in SELECT zone, avg(load) FROM '/dc/*' \
         WHERE role = 'db' GROUP BY zone",
        "",
    ),
    (
        "DELETE FROM '/dc/*'",
        "queries only ask, and begin with SELECT, as in SELECT zone, avg(load) FROM \
         '/dc/*' WHERE role = 'db' GROUP BY zone",
        "DELETE",
    ),
    (
        "SELECT count(*) FROM '/a'; SELECT count(*) FROM '/b'",
        "these are two queries: ask one at a time",
        "SELECT count(*) FROM '/b'",
    ),
    (
        "SELECT count(*) FROM '/a' UNION SELECT count(*) FROM '/b'",
        "a query is one SELECT, as in SELECT zone, avg(load) FROM '/dc/*' WHERE role = \
         'db' GROUP BY zone",
        "SELECT count(*) FROM '/a' UNION SELECT count(*) FROM '/b'",
    ),
    (
        "WITH x AS (SELECT 1) SELECT count(*) FROM '/a'",
        "WITH is not known here in this form: a query is SELECT … FROM '…' WHERE … GROUP \
         BY … HAVING … ORDER BY … LIMIT …",
        "WITH",
    ),
    (
        "SELECT DISTINCT role FROM '/a' GROUP BY role",
        "DISTINCT is not known here in this form: a query is SELECT … FROM '…' WHERE … \
         GROUP BY … HAVING … ORDER BY … LIMIT …",
        "DISTINCT",
    ),
    (
        "SELECT count(DISTINCT role) FROM '/a'",
        "DISTINCT is not known here: open an aggregate Distinct for that",
        "count(DISTINCT role",
    ),
    ("SELECT avg(*) FROM '/a'", "only count takes *: name an attribute, as avg(load)", "avg"),
    ("SELECT avg(load, cpu) FROM '/a'", "avg() takes the name of one attribute", "avg(load, cpu"),
    ("SELECT avg(load + 1) FROM '/a'", "avg() takes the name of one attribute", "avg(load + 1"),
    (
        "SELECT avg(zone) FROM '/a'",
        "`zone` is no attribute: count(*) counts the rows of a zone",
        "zone",
    ),
    (
        "SELECT avg(load) OVER () FROM '/a'",
        "a function takes the name of one attribute, and nothing beside that",
        "avg(load",
    ),
    (
        "SELECT avg(load) + 1 FROM '/a'",
        "a column is zone, an attribute, or a function of one, as avg(load)",
        "avg(load) + 1",
    ),
    (
        "SELECT 1 FROM '/a'",
        "a column is zone, an attribute, or a function of one, as avg(load)",
        "1",
    ),
    (
        "SELECT count(*) FROM '/a' HAVING avg(load) > 1",
        "HAVING is of columns of the answer, which has count(*)",
        "avg(load",
    ),
    (
        "SELECT count(*) AS n FROM '/a' HAVING m > 1",
        "HAVING is of columns of the answer, which has n",
        "m",
    ),
    (
        "SELECT count(*) FROM '/a' HAVING max(load, cpu) > 1",
        "max() takes the name of one attribute",
        "max(load, cpu",
    ),
    (
        "SELECT count(*), max(a) FROM '/a' HAVING count(*) > max(a)",
        "a column of the answer is compared with a value, as in count(*) > 1",
        "count",
    ),
    (
        "SELECT count(*) FROM '/a' HAVING count(*)",
        "this is no condition: compare a column with a value, as in count(*) > 1",
        "count",
    ),
    (
        "SELECT role, count(*) FROM '/a' GROUP BY role HAVING role = db",
        "attributes are compared with values: a text stands in single quotes, 'db'",
        "db",
    ),
    (
        "SELECT count(*) FROM '/a' HVAING count(*) > 1",
        "`HVAING` is not known here: did you mean HAVING?",
        "HVAING",
    ),
    (
        "SELECT count(*) FROM '/a' WHERE role = db",
        "attributes are compared with values: a text stands in single quotes, 'db'",
        "db",
    ),
    (
        "SELECT count(*) FROM '/a' WHERE role = \"db\"",
        "attributes are compared with values: a text stands in single quotes, 'db'",
        "\"db\"",
    ),
    (
        "SELECT count(*) FROM '/a' WHERE role = NULL",
        "nothing equals NULL: write IS NULL or IS NOT NULL",
        "NULL",
    ),
    (
        "SELECT count(*) FROM '/a' WHERE role LIKE 'd%'",
        "patterns are not known here: compare with = or IN",
        "role LIKE 'd%'",
    ),
    (
        "SELECT count(*) FROM '/a/*' WHERE zone > 7",
        "a zone is a text: write it in single quotes, as in zone = 'ams'",
        "7",
    ),
    (
        "SELECT count(*) FROM '/a' WHERE avg(load) > 1",
        "one side has to be the name of an attribute, as in load < 0.5",
        "avg(load",
    ),
    (
        "SELECT count(*) FROM '/a' WHERE load",
        "this is no condition: compare an attribute with a value, as in role = 'db'",
        "load",
    ),
    (
        "SELECT count(*) FROM '/a' WHERE load + 1 > 2",
        "one side has to be the name of an attribute, as in load < 0.5",
        "load + 1",
    ),
    (
        "SELECT count(*) FROM '/a' WHERE 1 = 1",
        "one side has to be the name of an attribute, as in load < 0.5",
        "1",
    ),
    (
        "SELECT count(*) FROM '/a' WHERE load > 1e999",
        "inf cannot be the value of an attribute: set a finite number",
        "1e999",
    ),
    (
        "SELECT count(*) FROM '/a' WHERE load > -1e999",
        "-inf cannot be the value of an attribute: set a finite number",
        "1e999",
    ),
    (
        "SELECT count(*) FROM '/a' WHERE load BETWEEN 1e999 AND 2",
        "inf cannot be the value of an attribute: set a finite number",
        "1e999",
    ),
    (
        "SELECT count(*) FROM '/a' WHERE load > NaN",
        "attributes are compared with values: a text stands in single quotes, 'NaN'",
        "NaN",
    ),
    (
        "SELECT count(*) FROM '/a' WHERE load % 2",
        "`%` is not known here: compare with = <> < <= > >=",
        "load % 2",
    ),
    (
        "SELECT count(*) FROM '/a' WHERE max(load)",
        "WHERE is asked of each row by itself, where there is nothing to sum up: compare an \
         attribute with a value",
        "max(load",
    ),
    (
        "SELECT count(*) FROM '/a' WHERE 5 IS NULL",
        "IS NULL is asked of an attribute: write its name",
        "5",
    ),
    (
        "SELECT count(*) FROM '/a' WHERE load > TRUE",
        "a value is a number, or a text in single quotes",
        "TRUE",
    ),
    (
        "SELECT count(*) FROM '/a' WHERE \"Role\" = 'db'",
        "\"Role\" is no name of an attribute: use lower-case letters, digits and _, a \
         letter first, 32 characters at most",
        "\"Role\"",
    ),
    (
        "SELECT count(*) FROM '/a' WHERE load IN (SELECT 1)",
        "this is no condition: compare an attribute with a value, as in role = 'db'",
        "load IN (SELECT 1",
    ),
    (
        "SELECT count(*) FROM '/a' GROUP BY role, zone, load",
        "rows are grouped by 2 keys at most",
        "load",
    ),
    (
        "SELECT count(*) FROM '/a' GROUP BY 1",
        "rows are grouped by zone, or by the name of an attribute",
        "1",
    ),
    (
        "SELECT count(*) FROM '/a' GROUP BY ROLLUP (zone)",
        "rows are grouped by zone, or by the name of an attribute",
        "zone",
    ),
    ("SELECT count(*) AS n FROM '/a' ORDER BY m", "the answer has no such column: it has n", "m"),
    (
        "SELECT count(*) AS n FROM '/a' ORDER BY n, n",
        "ORDER BY takes one column of the answer, and perhaps DESC",
        "n, n",
    ),
    (
        "SELECT count(*) AS n FROM '/a' ORDER BY n NULLS FIRST",
        "what has no value comes last here: leave NULLS out",
        "n",
    ),
    (
        "SELECT count(*) AS n FROM '/a' LIMIT x",
        "LIMIT takes a whole number, and nothing else, as in LIMIT 10",
        "x",
    ),
    (
        "SELECT count(*) AS n FROM '/a' LIMIT 99999999999999999999",
        "LIMIT takes a whole number, and nothing else, as in LIMIT 10",
        "99999999999999999999",
    ),
    (
        "SELECT count(*) AS n FROM '/a' LIMIT 3 OFFSET 2",
        "LIMIT takes a whole number, and nothing else, as in LIMIT 10",
        "3 OFFSET 2",
    ),
    (
        "SELECT count(*) FROM '/a' FETCH FIRST 3 ROWS ONLY",
        "FETCH is not known here in this form: a query is SELECT … FROM '…' WHERE … GROUP \
         BY … HAVING … ORDER BY … LIMIT …",
        "FETCH",
    ),
    (
        "SELECT count(*) FROM '/a' WHERE ((((((((((((((((((((((((((((((a = \
         1))))))))))))))))))))))))))))))",
        "the query is nested too deep: make it flat",
        "SELECT",
    ),
    (
        "SELECT sum(a), sum(b), sum(c), sum(d), sum(e), sum(f), sum(g), sum(h), sum(i) \
         FROM '/a'",
        "these are 9 columns, and there may be 8",
        "SELECT",
    ),
    (
        "SELECT a.b, count(*) FROM '/a' GROUP BY zone",
        "a column is zone, an attribute, or a function of one, as avg(load)",
        "a.b",
    ),
    ("SELECT count(*) FROM '/a' x", "`x` is not known here: a pattern takes no other name", "x"),
    ("hello", "expected an SQL statement, found hello", "hello"),
    (
        "SELECT count(*) FROM '/a' FOR UPDATE",
        "FOR is not known here in this form: a query is SELECT … FROM '…' WHERE … GROUP BY \
         … HAVING … ORDER BY … LIMIT …",
        "FOR",
    ),
];
