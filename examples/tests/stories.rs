//! The examples end well, each in a runtime folder of its own.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

fn start(program: &str, runtime: &Path) -> Child {
    let mut command = Command::new(program);
    command.arg("--json").env("XDG_RUNTIME_DIR", runtime).stdout(Stdio::piped());
    command.spawn().expect("the example starts")
}

fn end(child: Child) -> Output {
    let output = child.wait_with_output().expect("the example ends");
    assert!(output.status.success(), "{output:?}");
    output
}

#[test]
fn hello_meets_another_thrice() {
    let runtime = tempfile::tempdir().expect("a folder");
    let hello = || start(env!("CARGO_BIN_EXE_hello"), runtime.path());
    let (first, second) = (hello(), hello());
    // Which of the two founded the cluster, and leaves first, is up to chance.
    let [first, second] = [first, second].map(|child| std::thread::spawn(move || end(child)));
    while !first.is_finished() && !second.is_finished() {
        // Polling, since there is nothing to wait for both.
        std::thread::yield_now();
    }
    let third = hello();
    for output in [first.join(), second.join()].map(|joined| joined.expect("it ended well")) {
        check(&output);
    }
    check(&end(third));
}

fn check(output: &Output) {
    let line = String::from_utf8_lossy(&output.stdout);
    let told: serde_json::Value = serde_json::from_str(line.trim()).expect("a line of JSON");
    assert!(told["members"].as_u64() >= Some(2), "{told}");
    assert!(told["received"].as_u64() >= Some(1), "{told}");
    assert!(told["average"].is_number(), "{told}");
}

#[test]
fn mixed_ends_well() {
    end(start(env!("CARGO_BIN_EXE_mixed"), Path::new("/nonexistent")));
}

#[test]
fn references_end_well() {
    end(start(env!("CARGO_BIN_EXE_references"), Path::new("/nonexistent")));
}

#[test]
fn write_a_plugin_ends_well() {
    end(start(env!("CARGO_BIN_EXE_write_a_plugin"), Path::new("/nonexistent")));
}
