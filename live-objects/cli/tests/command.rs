//! The command as a user meets it: nodes in a runtime folder of their own, and what it says.

#![cfg(unix)]

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use logo::{BestEffort, Topic, Total};
use serde_json::Value;

fn logo(runtime: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_logo"));
    command.args(arguments).env("XDG_RUNTIME_DIR", runtime);
    command
}

fn run(runtime: &Path, arguments: &[&str]) -> Output {
    logo(runtime, arguments).output().expect("the command runs")
}

/// The JSON that a command prints, which must end well.
fn told(runtime: &Path, arguments: &[&str]) -> Vec<Value> {
    let output = run(runtime, arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    let lines = String::from_utf8(output.stdout).expect("text");
    lines.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

/// A command that runs until it is dropped, and what it says.
struct Running {
    child: Child,
    /// The lines that it says.
    says: Receiver<String>,
}

impl Running {
    fn start(runtime: &Path, arguments: &[&str]) -> Self {
        let mut command = logo(runtime, arguments);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the command runs");
        let out = BufReader::new(child.stdout.take().expect("it is piped"));
        let (said, says) = channel();
        // It ends with what the command says, or when nobody wants to know.
        thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|it| said.send(it)));
        Self { child, says }
    }

    /// Starts a node, and waits until it says that it holds the table.
    fn node(runtime: &Path) -> Self {
        let node = Self::start(runtime, &["node", "--table", "/config", "--json"]);
        node.says(|told| told["table"] == "/config");
        node
    }

    /// Reads what it says up to the first line that is meant.
    fn says(&self, is_meant: impl Fn(&Value) -> bool) -> Value {
        loop {
            let line = self.says.recv_timeout(PATIENCE).expect("it says what is meant, in time");
            let told = serde_json::from_str(&line).expect("a line of JSON");
            if is_meant(&told) {
                return told;
            }
        }
    }

    fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status().expect("kill runs");
        assert!(sent.success());
    }

    fn code(&mut self) -> Option<i32> {
        while self.says.recv_timeout(PATIENCE).map_err(|end| assert_eq!(end, ENDED)).is_ok() {}
        self.child.wait().expect("it can be waited for").code()
    }
}

const PATIENCE: Duration = Duration::from_secs(60);
const ENDED: RecvTimeoutError = RecvTimeoutError::Disconnected;

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_table_is_set_and_got_and_explained() {
    let runtime = tempfile::tempdir().expect("a folder");
    let runtime = runtime.path();
    let _nodes = [Running::node(runtime), Running::node(runtime)];
    let set = told(runtime, &["set", "/config", "colour", "blue", "--json"]);
    assert_eq!(set[0]["set"], "colour");
    assert_eq!(told(runtime, &["get", "/config", "colour", "--json"]), ["blue"]);
    let missing = run(runtime, &["get", "/config", "shape"]);
    assert_eq!(missing.status.code(), Some(1));
    let members = told(runtime, &["members", "--json"]);
    assert_eq!(members[0]["members"].as_array().map(Vec::len), Some(2));
    let listed = told(runtime, &["ls", "/config", "--json"]);
    assert_eq!((&listed[0]["name"], &listed[0]["holders"]), (&"/config".into(), &2.into()));
    let explained = told(runtime, &["explain", "/config", "--json"]);
    assert_eq!(explained[0]["carrier"], "groupcomm");
    let why = explained[0]["modules"]["gossip"].as_str().expect("gossip says why not");
    assert!(why.contains("delivery: epidemic"), "{why}");
    let directory = run(runtime, &["watch", "/.logo/schemas"]);
    let error = String::from_utf8_lossy(&directory.stderr).into_owned();
    assert_eq!(directory.status.code(), Some(1), "{error}");
    assert!(error.contains("is a directory"), "{error}");
    let unknown = run(runtime, &["send", "/nowhere", "1"]);
    assert_eq!(unknown.status.code(), Some(1));
    let error = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(error.contains("nobody has /nowhere open"), "{error}");
}

/// What `send` says was sent is heard, though it is gone at once.
#[tokio::test]
async fn what_is_sent_is_heard() {
    let runtime = tempfile::tempdir().expect("a folder");
    let folder = runtime.path().join("logo/place");
    let node = logo::Node::local_at(&folder, Vec::new()).await.expect("it founds");
    let ordered: Topic<String, Total> = node.open("/words").await.expect("a topic");
    let weak: Topic<String, BestEffort> = node.open("/news").await.expect("a topic");
    for number in 0..3 {
        for name in ["/words", "/news"] {
            let (runtime, text) = (runtime.path().to_owned(), format!("\"{number}\""));
            let send =
                move || told(&runtime, &["send", "--cluster", "place", name, &text, "--json"]);
            let sent = tokio::task::spawn_blocking(send).await.expect("it is sent");
            assert_eq!(sent[0]["sent"], name);
        }
        let heard = async { [ordered.next_message().await, weak.next_message().await] };
        let heard = tokio::time::timeout(Duration::from_secs(30), heard).await;
        assert_eq!(heard.expect("in time"), [Some(number.to_string()), Some(number.to_string())]);
    }
    node.stop().await;
}

#[test]
fn what_cannot_be_done_is_said_before_anything_starts() {
    let runtime = tempfile::tempdir().expect("a folder");
    let runtime = runtime.path();
    let says = |arguments: &[&str], code: i32, text: &str| {
        let output = run(runtime, arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
        assert!(error.contains(text), "{arguments:?}: {error}");
    };
    says(&["members"], 1, "start one with `logo node`");
    says(&["node", "--listen", "0.0.0.0:0"], 1, "has no identity");
    says(&["node", "--cluster", "../up"], 2, "does not name a cluster");
    says(&["node", "--table", "config"], 2, "does not begin with a slash");
    let listen = ["node", "--listen", "127.0.0.1:0"];
    says(&[&listen[..], &["--expect", "0"]].concat(), 2, "1..=1024");
    says(&[&listen[..], &["--cluster", "other"]].concat(), 2, "cannot be used with");
    says(&["send", "/words", "hello"], 1, "not JSON");
    says(&["get", "words"], 2, "does not begin with a slash");
    says(&["demo", "--orders", "/nowhere/orders.txt"], 2, "/nowhere/orders.txt");
    let broken = runtime.join("orders.txt");
    std::fs::write(&broken, "customer_id date\n1 19970101 1 11.77\n1 19970101 one 1.00\n")
        .expect("the folder can be written");
    let broken = broken.to_str().expect("a path in text");
    says(&["demo", "--orders", broken], 2, "line 3 has no number of CDs third");
    says(&["demo", "--nodes", "2"], 2, "3..=32");
}

/// A node that said good-bye and one that was killed: those who stay can tell of both.
#[test]
fn who_is_gone_is_told_of_with_why() {
    let runtime = tempfile::tempdir().expect("a folder");
    let runtime = runtime.path();
    let start = || {
        let node = Running::start(runtime, &["node", "--json"]);
        let started = node.says(|told| told["node"].is_string());
        (node, started["node"].as_str().expect("an id").to_owned())
    };
    let (stays, _) = start();
    let ((mut leaves, left), (killed, failed)) = (start(), start());
    for other in [&left, &failed] {
        stays.says(|told| told["up"] == **other);
    }
    leaves.signal("-TERM");
    assert_eq!(leaves.code(), Some(0));
    stays.says(|told| told["left"] == *left);
    killed.signal("-KILL");
    stays.says(|told| told["failed"] == *failed);
    for (node, what) in [(&left, "left"), (&failed, "faulty")] {
        let told = told(runtime, &["why", &node[..12], "--json"]);
        assert_eq!((&told[0]["node"], &told[0]["up"]), (&Value::from(&**node), &false.into()));
        let testimonies = told[0]["testimonies"].as_array().expect("some");
        let evidence: Vec<&Value> = testimonies
            .iter()
            .flat_map(|testimony| testimony["evidence"].as_array().expect("all that it saw"))
            .collect();
        assert!(evidence.iter().any(|seen| seen["what"] == what), "{told:?}");
        let accused = evidence.iter().any(|seen| seen["silence"]["attempts"] == 7);
        assert_eq!(accused, what == "faulty", "{told:?}");
    }
    let is_other = |digit: &char| !left.starts_with(*digit) && !failed.starts_with(*digit);
    let nobody: String = "0123".chars().filter(is_other).take(1).collect::<String>() + "fffffff";
    let unknown = run(runtime, &["why", &nobody]);
    let error = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert_eq!(unknown.status.code(), Some(1), "{error}");
    assert!(error.contains("is one of these meant?"), "{error}");
    assert_eq!(run(runtime, &["why", "nobody"]).status.code(), Some(2), "no hex digits");
}

#[test]
fn top_shows_who_is_there_and_what_is_open() {
    let runtime = tempfile::tempdir().expect("a folder");
    let runtime = runtime.path();
    let _nodes = [Running::node(runtime), Running::node(runtime)];
    let told = told(runtime, &["top", "--once", "--json"]);
    let states: Vec<&Value> = told[0]["members"]
        .as_array()
        .expect("members")
        .iter()
        .map(|member| &member["state"])
        .collect();
    assert_eq!(states, ["here", "up", "up"]);
    let sent = told[0]["traffic"]["bytes_out_s"].as_f64();
    assert!(sent.is_some_and(|sent| sent > 10.0), "{told:?}");
    let kinds = told[0]["kinds"].as_array().expect("kinds");
    let table = kinds.iter().find(|row| row["kind"] == "Replicated").expect("the table");
    assert_eq!((&table["objects"], &table["holders"]), (&1.into(), &2.into()));
    let page = run(runtime, &["top", "--once"]);
    let page = String::from_utf8(page.stdout).expect("text");
    assert!(page.starts_with("3 members up; this node sends "), "{page}");
}

#[test]
fn those_who_describe_themselves_are_listed_and_summed_up() {
    let runtime = tempfile::tempdir().expect("a folder");
    let runtime = runtime.path();
    let _node = Running::node(runtime);
    let own = ["role=db", "load=0.5", "--seconds", "600", "--json"];
    let describes = Running::start(runtime, &[&["describe", "/dc/ams"][..], &own].concat());
    describes.says(|told| told["described"] == "/dc/ams");
    let sql = "SELECT node, zone, load FROM '/dc/*' WHERE role = 'db'";
    // What was just said may not be known yet.
    let mut asked = (0..20).map(|_| told(runtime, &["query", sql, "--json"]));
    let rows = asked.find(|rows| !rows.is_empty()).expect("it is known in time");
    assert_eq!((rows.len(), &rows[0]["zone"], &rows[0]["load"]), (1, &"ams".into(), &0.5.into()));
    let table = String::from_utf8(run(runtime, &["query", sql]).stdout).expect("text");
    assert!(table.contains("ams") && table.ends_with("(1 row)\n"), "{table}");
    let sum = "SELECT zone, count(*) AS n FROM '/dc/*' WHERE zone = 'ams' GROUP BY zone HAVING";
    for (having, groups) in [("n = 1", 1), ("n > 1", 0)] {
        let told = told(runtime, &["query", &format!("{sum} {having}"), "--json"]);
        assert_eq!(told[0]["rows"].as_array().map(Vec::len), Some(groups), "{told:?}");
        assert_eq!(told[0]["members"], 1);
    }
    let watched = run(runtime, &["query", sql, "--watch"]);
    assert_eq!(watched.status.code(), Some(2), "a list is told once");
}

#[test]
fn an_identity_lets_a_node_in_from_afar() {
    let runtime = tempfile::tempdir().expect("a folder");
    let runtime = runtime.path();
    let path = |name: &str| runtime.join(name).to_str().expect("a path in text").to_owned();
    let (authority, one) = (path("authority"), path("one"));
    told(runtime, &["cert", "new", &authority, "--json"]);
    let signed = told(runtime, &["cert", "sign", &authority, &one, "--json"]);
    let refused = run(runtime, &["cert", "new", &authority]);
    assert_eq!(refused.status.code(), Some(1), "what is there is not written over");
    let mut arguments = vec!["node", "--identity", &one, "--json", "--found"];
    arguments.extend(["--listen", "0.0.0.0:0", "--advertise", "127.0.0.1:1"]);
    let node = Running::start(runtime, &arguments);
    let started = node.says(|_| true);
    assert_eq!(started["node"], signed[0]["node"]);
    // Who founds alone expects nobody else.
    node.says(|told| told["ready"] == signed[0]["node"]);
}

#[test]
fn who_is_interrupted_says_good_bye() {
    let runtime = tempfile::tempdir().expect("a folder");
    let runtime = runtime.path();
    let mut node = Running::node(runtime);
    for (signal, code) in [("-INT", 130), ("-TERM", 143)] {
        let mut visitor = Running::start(runtime, &["members", "--watch", "--json"]);
        visitor.says(|told| !told["members"].is_null());
        visitor.signal(signal);
        assert_eq!(visitor.code(), Some(code), "{signal}");
        let gone = node.says(|told| !told["left"].is_null() || !told["failed"].is_null());
        assert!(gone["failed"].is_null(), "{signal}: {gone}");
    }
    node.signal("-TERM");
    node.says(|told| !told["stops"].is_null());
    assert_eq!(node.code(), Some(0));
}

#[test]
fn who_watches_ends_when_nobody_reads() {
    let runtime = tempfile::tempdir().expect("a folder");
    let runtime = runtime.path();
    let _node = Running::node(runtime);
    let mut watch = logo(runtime, &["members", "--watch", "--json"]);
    let mut child = watch.stdout(Stdio::piped()).spawn().expect("the command runs");
    let mut out = BufReader::new(child.stdout.take().expect("it is piped"));
    out.read_line(&mut String::new()).expect("it says who is there");
    drop(out);
    // Whoever comes is something to tell.
    let _other = Running::node(runtime);
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

#[test]
fn what_cannot_be_written_is_no_success() {
    let runtime = tempfile::tempdir().expect("a folder");
    let runtime = runtime.path();
    let _node = Running::node(runtime);
    let authority = runtime.join("authority");
    let authority = authority.to_str().expect("a path in text");
    let commands = [
        &["ls", "/config"][..],
        &["members"],
        &["set", "/config", "colour", "blue"],
        &["cert", "new", authority],
        &["sim", "membership", "--nodes", "2", "--seeds", "1"],
    ];
    for arguments in commands {
        let Ok(full) = File::options().write(true).open("/dev/full") else { return };
        let output = logo(runtime, arguments).stdout(full).output().expect("the command runs");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {error}");
        assert!(error.contains("could not be written"), "{arguments:?}: {error}");
    }
    let (reader, unread) = std::io::pipe().expect("a pipe");
    drop(reader);
    let set = ["set", "/config", "colour", "red"];
    let status = logo(runtime, &set).stdout(unread).status().expect("the command runs");
    assert_eq!(status.code(), Some(0), "who stops reading has read enough");
    assert_eq!(told(runtime, &["get", "/config", "colour", "--json"]), ["red"]);
}

#[test]
fn what_is_wrong_is_told_to_nobody_without_a_panic() {
    let runtime = tempfile::tempdir().expect("a folder");
    let (reader, unread) = std::io::pipe().expect("a pipe");
    drop(reader);
    let status = logo(runtime.path(), &["members"]).stderr(unread).status();
    assert_eq!(status.expect("the command runs").code(), Some(1));
}

#[cfg(target_os = "linux")]
#[test]
fn what_nodes_at_rest_cost_is_measured() {
    let runtime = tempfile::tempdir().expect("a folder");
    let runtime = runtime.path();
    let bench = ["bench", "gossip", "--nodes", "5", "--rest", "0", "--seconds", "2", "--json"];
    let told = told(runtime, &bench);
    assert_eq!((&told[0]["nodes"], &told[0]["aggregates"]), (&5.into(), &8.into()));
    let positive = ["seconds", "rss_mib_median", "own_mib_median", "wakes_s_median"];
    for key in positive.into_iter().chain(["threads_worst", "bytes_out_s_median"]) {
        assert!(told[0][key].as_f64().is_some_and(|value| value > 0.0), "{key}: {told:?}");
    }
    for [median, worst] in [
        ["cpu_percent_median", "cpu_percent_worst"],
        ["rss_mib_median", "rss_mib_worst"],
        ["own_mib_median", "rss_mib_median"],
    ] {
        assert!(told[0][median].as_f64() <= told[0][worst].as_f64(), "{median}: {told:?}");
    }
    let left = runtime.join("logo").read_dir().expect("its folder").map_while(Result::ok);
    assert_eq!(left.filter(|it| it.path().is_dir()).count(), 0, "the nodes' own folder is gone");
}

/// The nodes that are measured end with whoever measures, however that ends. They have its standard
/// error, which has an end when the last of them has ended.
#[cfg(target_os = "linux")]
#[test]
fn nodes_that_are_measured_end_with_the_command() {
    let runtime = tempfile::tempdir().expect("a folder");
    for (signal, code) in [("-TERM", Some(143)), ("-KILL", None)] {
        let bench = ["bench", "gossip", "--nodes", "3", "--rest", "600"];
        let mut command = logo(runtime.path(), &bench);
        let mut child = command.stderr(Stdio::piped()).spawn().expect("the command runs");
        let error = BufReader::new(child.stderr.take().expect("it is piped"));
        let (said, says) = channel();
        thread::spawn(move || error.lines().map_while(Result::ok).try_for_each(|it| said.send(it)));
        let running = Running { child, says };
        let line = running.says.recv_timeout(PATIENCE).expect("all nodes are up in time");
        assert!(line.contains("know each other"), "{line}");
        running.signal(signal);
        let mut running = running;
        assert_eq!(running.code(), code, "{signal}");
    }
}

/// Of two, the senior goes on alone; the other cannot know that it may.
#[test]
fn who_is_cut_off_says_so_and_when_it_is_back() {
    let runtime = tempfile::tempdir().expect("a folder");
    let runtime = runtime.path();
    let [senior, junior] = [(); 2].map(|()| Running::node(runtime));
    senior.signal("-STOP");
    junior.says(|told| told["cut_off"] == true);
    senior.signal("-CONT");
    junior.says(|told| told["back"] == true);
}

#[test]
fn certificates_that_are_made_at_once_are_all_kept() {
    let runtime = tempfile::tempdir().expect("a folder");
    let runtime = runtime.path();
    let path = |name: &str| runtime.join(name).to_str().expect("a path in text").to_owned();
    let at_once = |commands: &[Vec<&str>]| {
        let start = |arguments: &Vec<&str>| {
            let mut command = logo(runtime, arguments);
            command.stdout(Stdio::null()).stderr(Stdio::null());
            command.spawn().expect("the command runs")
        };
        let children: Vec<_> = commands.iter().map(start).collect();
        let ended = children.into_iter().map(|mut child| child.wait().expect("it ends"));
        ended.filter(|status| status.success()).count()
    };
    let authority = path("authority");
    assert_eq!(at_once(&vec![vec!["cert", "new", &authority]; 4]), 1, "one makes it");
    let one = path("one");
    assert_eq!(at_once(&vec![vec!["cert", "sign", &authority, &one]; 4]), 1, "one is in it");
    let sign = |at: usize| {
        let told = told(runtime, &["cert", "sign", &authority, &path(&at.to_string()), "--json"]);
        told[0]["node"].as_str().expect("an id").to_owned()
    };
    let nodes: Vec<_> = (0..8).map(sign).collect();
    let revoke = |node| vec!["cert", "revoke", &authority, node];
    let revoke: Vec<_> = nodes.iter().map(|node| revoke(node.as_str())).collect();
    assert_eq!(at_once(&revoke), 8);
    for arguments in revoke {
        let again = run(runtime, &arguments);
        let error = String::from_utf8_lossy(&again.stderr).into_owned();
        assert!(error.contains("is revoked already"), "{error}");
    }
    assert_eq!(at_once(&vec![vec!["cert", "rotate", &authority]; 4]), 4);
    let dropped = told(runtime, &["cert", "rotate", &authority, "--drop-old", "--json"]);
    assert_eq!(dropped[0]["dropped"], 4);
}

#[test]
fn a_folder_of_another_kind_is_not_written_over() {
    let runtime = tempfile::tempdir().expect("a folder");
    let runtime = runtime.path();
    let path = |name: &str| runtime.join(name).to_str().expect("a path in text").to_owned();
    let (authority, other, node) = (path("authority"), path("other"), path("node"));
    for folder in [&authority, &other] {
        told(runtime, &["cert", "new", folder, "--json"]);
    }
    told(runtime, &["cert", "sign", &authority, &node, "--json"]);
    let says = |arguments: &[&str], text: &str| {
        let output = run(runtime, arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {error}");
        assert!(error.contains(text), "{arguments:?}: {error}");
    };
    says(&["cert", "sign", &authority, &other], "other holds an authority: name another folder");
    says(&["cert", "sign", &authority, &authority], "authority holds an authority");
    says(&["cert", "new", &node], "node holds node.key");
    says(&["cert", "sign", &authority, &node], "keep its key with --again");
    let nowhere = path("nope");
    let make = format!("ca.key is not there: make an authority with `logo cert new {nowhere}`");
    says(&["cert", "sign", &nowhere, &path("two")], &make);
    says(&["cert", "rotate", &nowhere], &make);
    std::fs::remove_file(runtime.join("other/ca.pem")).expect("it is there");
    says(&["cert", "sign", &other, &path("two")], "ca.pem is not there: make it from ca.key");
    told(runtime, &["cert", "new", &other, "--json"]);
    told(runtime, &["cert", "sign", &other, &path("two"), "--json"]);
}
