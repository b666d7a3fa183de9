//! Dumps of a program with known tasks (`awaiting`).
#![allow(dead_code, reason = "each test file uses its own part")]

use std::process::{Command, Output};

use serde_json::Value;

use crate::awaiting::Awaiting;
use crate::support;

/// Runs `holdup dump` with a cache for the tests.
pub(crate) fn dump(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdup"));
    command.arg("dump").args(arguments).env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"));
    command.output().expect("the command runs")
}

/// What a dump of the program prints.
pub(crate) fn printed(program: &Awaiting, arguments: &[&str]) -> String {
    let output = dump(&[&["--pid", &program.pid().to_string()], arguments].concat());
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The same as JSON.
pub(crate) fn json(pid: &str, arguments: &[&str]) -> Value {
    let output = dump(&[&["--pid", pid, "--json"], arguments].concat());
    // On a busy machine, a running thread is not stopped in time and so not seen.
    assert!(matches!(output.status.code(), Some(0 | 3)), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// A census after the start of the program: one task runs, and all others wait.
pub(crate) fn settled(program: &Awaiting) -> Value {
    let mut census = Value::Null;
    support::wait_until("all tasks but one wait", || {
        census = json(&program.pid().to_string(), &[]);
        let tasks = census["tasks"].as_array().expect("a list");
        tasks.iter().filter(|task| task["state"] != "idle" && task["state"] != "lost").count() == 1
    });
    census
}
