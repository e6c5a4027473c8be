//! Queries on real sockets.

use live_objects::{Attributes, Command, ObjectType, Port, Scalar, Spec};

use super::{nodes, soon};
use crate::{Node, QueryError, RowsError};

async fn describe(node: &Node, name: &str, role: &str, load: f64) -> Port {
    let spec = Spec::new(name.parse().unwrap(), ObjectType::catalog());
    let port = soon(node.open_port(spec)).await.unwrap();
    let own = Attributes::default().with("role", role).unwrap().with("load", load).unwrap();
    port.try_send(Command::Describe(own)).unwrap();
    port
}

fn text(text: &str) -> Option<Scalar> {
    Some(text.into())
}

fn number(number: f64) -> Option<Scalar> {
    Some(number.into())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_who_describe_themselves_are_asked() {
    let folder = tempfile::tempdir().unwrap();
    let [one, other] = nodes(folder.path()).await;
    let _ams = describe(&one, "/dc/ams", "db", 1.0).await;
    let _fra = describe(&one, "/dc/fra", "db", 4.0).await;
    let _lon = describe(&other, "/dc/ams", "db", 3.0).await;
    let sql = "SELECT zone, count(*) AS n, avg(load) FROM '/dc/*' WHERE role = 'db' \
               GROUP BY zone ORDER BY n DESC";
    let mut query = soon(other.query(sql)).await.unwrap();
    assert_eq!(query.columns(), ["zone", "n", "avg(load)"]);
    let answer = soon(query.once()).await.unwrap();
    let ams = vec![text("ams"), number(2.0), number(2.0)];
    assert_eq!(answer.rows, [ams.clone(), vec![text("fra"), number(1.0), number(4.0)]]);
    assert_eq!((answer.members, answer.is_whole(), answer.nodes), (3, true, 2));
    // It goes on, and says what is new.
    let _more = describe(&one, "/dc/lon", "db", 9.0).await;
    let lon = vec![text("lon"), number(1.0), number(9.0)];
    while !soon(query.next()).await.unwrap().rows.contains(&lon) {}
    let limited = format!("{sql} LIMIT 1");
    let again = soon(other.query(&limited)).await.err();
    assert_eq!(again, Some(QueryError::AlreadyAsked), "the limit is all that differs");
    let answer = soon(query.once()).await.unwrap();
    assert_eq!(soon(one.missing(&query, &answer)).await, Ok(vec![]));
    drop(query);
    let mut limited = soon(other.query(&limited)).await.unwrap();
    let answer = soon(limited.once()).await.unwrap();
    assert_eq!((answer.rows, answer.members), (vec![ams], 4), "a limit is of what is shown");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_and_zones_are_left_out_as_asked() {
    let folder = tempfile::tempdir().unwrap();
    let [one, other] = nodes(folder.path()).await;
    let _ams = describe(&one, "/dc/ams", "db", 1.0).await;
    let _fra = describe(&one, "/dc/fra", "db", 4.0).await;
    let _lon = describe(&other, "/dc/ams", "db", 3.0).await;
    let _ber = describe(&other, "/dc/ber", "db", 9.0).await;
    let sql = "SELECT zone, max(load) FROM '/dc/*' WHERE zone <> 'ber' GROUP BY zone \
               HAVING max(load) > 3";
    let mut query = soon(other.query(sql)).await.unwrap();
    let answer = soon(query.once()).await.unwrap();
    assert_eq!(answer.rows, [vec![text("fra"), number(4.0)]]);
    assert_eq!(answer.members, 3, "all rows that match, whatever groups they are in");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_describe_themselves_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let [one, other] = nodes(folder.path()).await;
    let looks = super::node(&folder.path().join("cluster")).await;
    let _ams = describe(&one, "/dc/ams", "db", 1.0).await;
    let fra = describe(&one, "/dc/fra", "web", 4.0).await;
    let _lon = describe(&other, "/dc/ams", "db", 3.0).await;
    let all = async |sql: &str| {
        let mut rows = soon(looks.rows(sql)).await.unwrap();
        let mut all = Vec::new();
        while let Some(row) = soon(rows.next()).await.unwrap() {
            all.push(row);
        }
        all
    };
    // What was just said may not be known yet.
    let sql = "SELECT node, zone, load AS l, cpu FROM '/dc/*' WHERE load > 0 ORDER BY l DESC";
    let told = soon(async {
        loop {
            let told = all(sql).await;
            if told.len() == 3 {
                return told;
            }
        }
    });
    let told = told.await;
    let row = |node: &Node, zone: &str, load: f64| {
        vec![text(&node.member().node.to_string()), text(zone), number(load), None]
    };
    assert_eq!(told, [row(&one, "fra", 4.0), row(&other, "ams", 3.0), row(&one, "ams", 1.0)]);
    assert_eq!(all(&format!("{sql} LIMIT 2")).await, told[..2]);
    let first = all("SELECT role FROM '/dc/*' LIMIT 1").await;
    assert_eq!(first.len(), 1, "{first:?}");
    let zone = "SELECT load FROM '/dc/*' WHERE zone = 'ams' AND role = 'db' ORDER BY load";
    assert_eq!(all(zone).await, [[number(1.0)], [number(3.0)]]);
    // Who has a catalog open searches it by that.
    let error = soon(one.rows("SELECT role FROM '/dc/fra'")).await.unwrap().next().await;
    assert_eq!(error, Err(RowsError::OpenHere("/dc/fra".parse().unwrap())));
    drop(fra);
    let wrong = soon(looks.rows("SELECT count(*) FROM '/dc/*'")).await.err().unwrap();
    assert!(wrong.to_string().contains("this sums up"), "{wrong}");
    let wrong = soon(looks.query("SELECT role FROM '/dc/*'")).await.err().unwrap();
    assert!(wrong.to_string().contains("this lists rows"), "{wrong}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let [one, other] = nodes(folder.path()).await;
    let _said = describe(&one, "/dc/ams", "db", 1.0).await;
    let nowhere = soon(other.query("SELECT count(*) FROM '/db/*'")).await.err().unwrap();
    let told = nowhere.to_string();
    assert_eq!(told, "nobody has a catalog open whose name fits /db/*: there are /dc/ams");
    let wrong = soon(other.query("SELECT cuont(*) FROM '/dc/*'")).await.err().unwrap();
    let QueryError::Sql(error) = wrong else { panic!("{wrong}") };
    assert_eq!((error.column, error.len), (8, 5));
    assert!(error.what.contains("did you mean `count`"), "{error}");
    let sql = "SELECT count(*), max(lood) FROM '/dc/*' WHERE rol = 'db'";
    let mut query = soon(other.query(sql)).await.unwrap();
    let answer = soon(query.once()).await.unwrap();
    assert_eq!((answer.members, answer.rows), (0, vec![vec![number(0.0), None]]));
    let answer = soon(query.once()).await.unwrap();
    let missing = soon(other.missing(&query, &answer)).await.unwrap();
    assert_eq!(missing, ["lood", "rol"]);
}
