//! `holdup ps` with a process that runs Tokio, and one that does not.
#![cfg(all(feature = "cli", target_os = "linux", target_arch = "x86_64"))]

#[path = "../support/mod.rs"]
mod support;

use std::process::{Child, Command};

use serde_json::Value;
use support::observed::KnownProgram;

/// A program that runs Tokio.
#[test]
#[ignore = "the program that the other test finds"]
fn tokio_program() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(3).enable_all().build().expect("builds");
    println!("\nready");
    runtime.block_on(std::future::pending::<()>());
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _status = self.0.wait();
    }
}

fn holdup_ps(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_holdup")).arg("ps").args(arguments).output().expect("runs");
    let errors = String::from_utf8(output.stderr).expect("is text");
    assert_eq!((output.status.code(), errors.as_str()), (Some(0), ""));
    String::from_utf8(output.stdout).expect("is text")
}

/// The version of Tokio in these tests.
fn tokio_version() -> String {
    let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.lock")).expect("is there");
    let after = lock.split("name = \"tokio\"\nversion = \"").nth(1).expect("is locked");
    after.split('"').next().expect("is quoted").to_owned()
}

#[test]
fn programs_that_run_tokio_are_found() {
    let with_tokio = KnownProgram::start(&[], "tokio_program");
    let without = Killed(Command::new("sleep").arg("600").spawn().expect("starts"));
    let answer: Value = serde_json::from_str(&holdup_ps(&["--json"])).expect("is JSON");
    let processes = answer["processes"].as_array().expect("is a list");
    let find = |pid: u32| processes.iter().find(|process| process["pid"] == pid);
    assert!(find(without.0.id()).is_none(), "sleep(1) runs no Tokio: {answer}");
    let found = find(with_tokio.id()).unwrap_or_else(|| panic!("the program is missing: {answer}"));
    let versions = found["tokio_versions"].as_array().expect("is a list");
    assert!(versions.iter().any(|version| *version == *tokio_version()), "{found}");
    // The main thread, the thread of the test, and the workers.
    assert!(found["tokio_threads"] == 3 && found["threads"].as_u64() >= Some(4), "{found}");
    assert!(["symbols", "lines", "full"].iter().any(|tier| found["debug_info"] == *tier), "{found}");
    for verb in found["verbs"].as_array().expect("is a list") {
        assert!(verb["works"] == true || verb["reason"].as_str().is_some_and(|reason| reason.len() > 20), "{found}");
    }
    let table = holdup_ps(&[]);
    let pid = with_tokio.pid();
    let line = table.lines().find(|line| line.split_whitespace().next() == Some(&pid));
    assert!(line.is_some_and(|line| line.contains(&tokio_version())), "{table}");
}
