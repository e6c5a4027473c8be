//! The command as a user meets it: nodes in a runtime folder of their own, and what it says.

#![cfg(unix)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
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

/// A node that runs until it is dropped.
struct Node(Child);

impl Node {
    /// Starts one, and waits until it says that it holds the table.
    fn start(runtime: &Path) -> Self {
        let mut command = logo(runtime, &["node", "--table", "/config", "--json"]);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the command runs");
        let mut out = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut line = String::new();
        while !line.contains("/config") {
            line.clear();
            assert!(out.read_line(&mut line).is_ok_and(|len| len > 0), "it says what it holds");
        }
        Self(child)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_table_is_set_and_got_and_explained() {
    let runtime = tempfile::tempdir().expect("a folder");
    let runtime = runtime.path();
    let _nodes = [Node::start(runtime), Node::start(runtime)];
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
    assert!(why.contains("Replicated"), "{why}");
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
    says(&["node", "--cluster", "../up"], 1, "does not name a cluster");
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
    let mut command = logo(runtime, &["node", "--identity", &one, "--json"]);
    command.args(["--listen", "0.0.0.0:0", "--advertise", "127.0.0.1:1", "--found"]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("the command runs");
    let mut first = String::new();
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped"));
    lines.read_line(&mut first).expect("it says who it is");
    let started: Value = serde_json::from_str(&first).expect("a line of JSON");
    assert_eq!(started["node"], signed[0]["node"]);
    drop(Node(child));
}
