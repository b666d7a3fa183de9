//! The scores of the `holdup` command, which watches cases of the corpus from outside.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

/// The corpus that `HOLDUP_CORPUS` names; without it, the one that cargo built for this test.
fn corpus() -> PathBuf {
    std::env::var_os("HOLDUP_CORPUS").map_or_else(|| env!("CARGO_BIN_EXE_corpus").into(), PathBuf::from)
}

/// The command that `HOLDUP_COMMAND` names; without it, builds it. Another package's program is not built for a test.
fn command() -> PathBuf {
    if let Some(command) = std::env::var_os("HOLDUP_COMMAND") {
        return command.into();
    }
    let test = std::env::current_exe().expect("this program has a path");
    let folder = test.parent().and_then(|deps| deps.parent()).expect("tests lie in target/…/deps");
    let mut cargo = Command::new(env!("CARGO"));
    // The features of the README's command: then nothing is built twice. Tests of the command need its program.
    cargo.args(["test", "--no-run", "--locked", "--quiet", "--workspace", "--all-features"]);
    cargo.args(["--test", "command_record"]);
    cargo.arg("--target-dir").arg(folder.parent().expect("profiles lie in target"));
    if folder.ends_with("release") {
        cargo.arg("--release");
    }
    let output = cargo.output().expect("cargo runs");
    assert!(output.status.success(), "the command cannot be built:\n{}", String::from_utf8_lossy(&output.stderr));
    folder.join("holdup")
}

#[test]
fn the_corpus_is_scored_from_outside() {
    let mut corpus = Command::new(corpus());
    corpus.args(["card", "--json", "--place", "task", "--rounds", "2", "--hold", "250", "--outside"]).arg(command());
    let cases = ["thread-sleep", "mutex", "spawn-blocking"];
    let output = corpus.args(cases.iter().flat_map(|case| ["--case", *case])).output().expect("it starts");
    let messages = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{messages}");
    let card: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&card["runs"], &card["not_run"]), (&json!(6), &json!([])), "{messages}");
    let rows = card["rows"].as_array().expect("there are rows");
    let row = |class: &str| rows.iter().find(|row| row["class"] == class).expect("there is such a row");
    let total = row("total");
    assert_eq!((&total["stalls"], &total["invented"]), (&json!(8), &json!(0)), "{card:#}");
    // An unoptimized command takes up to 100 ms for the stack of a parked worker, and on a machine under load longer.
    assert!(total["found"].as_u64() >= Some(4), "{card:#}");
    // A stack that comes too late is not shown, and the report says that the function is not known. It may not be wrong.
    let faults = card["faults"].as_array().expect("there is a list");
    let said = |fault: &Value| fault["said"].as_str().expect("text").to_owned();
    let mut functions = faults.iter().filter(|fault| fault["wrong"] == "function").map(said);
    assert!(functions.all(|said| said.contains(" in unknown at ")), "{card:#}");
    assert!(total["function_right"].as_f64() > Some(0.0), "{card:#}");
    assert_eq!(total["line_right"], 1.0, "{card:#}");
}
