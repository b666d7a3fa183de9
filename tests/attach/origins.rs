//! `holdup stalls --pid` names the user's function in programs without line tables. The programs are a workspace with two
//! crates, and a copy of the program with another name.
#![cfg(all(feature = "cli", target_os = "linux", target_arch = "x86_64"))]

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/stalling.rs"]
mod stalling;

#[path = "../support/two_crates.rs"]
mod two_crates;

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use stalling::Stalling;
use two_crates::{PROGRAM, Renamed};

/// The stalls while the program executes a command again and again.
fn stalls_of(program: &Path, command: &str) -> Vec<Value> {
    let mut program = Stalling::of(program, "");
    let watch = Command::new(env!("CARGO_BIN_EXE_holdup"))
        .args(["stalls", "--pid", &program.pid().to_string(), "--threshold", "100ms", "--duration", "6s", "--json"])
        .env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut watch = watch.expect("the command runs");
    while watch.try_wait().expect("it is ours").is_none() {
        program.ask(command);
    }
    let output = watch.wait_with_output().expect("it has ended");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    answer["stalls"].as_array().expect("a list").clone()
}

/// Whether every stall has this culprit, and there is one.
fn check(program: &Path, command: &str, culprit: &str) {
    let stalls = stalls_of(program, command);
    assert!(!stalls.is_empty(), "{command} stalls");
    for stall in &stalls {
        assert_eq!(stall["culprit"]["function"], culprit, "{stall:#}");
        let mut frames = stall["stack"].as_array().expect("a list").iter();
        assert!(frames.any(|frame| frame["function"] == culprit && frame["origin"] == "user"), "{stall:#}");
    }
}

#[test]
fn a_function_of_another_crate_of_the_workspace_is_the_culprit() {
    let _alone = support::alone();
    check(&PROGRAM, "sum 300", "price_book::sum");
}

#[test]
fn the_name_of_the_file_does_not_matter() {
    let _alone = support::alone();
    for program in Renamed::new().programs() {
        check(&program, "lock 300", "shop_app::reads_stock");
        check(&program, "sum 300", "price_book::sum");
    }
}
