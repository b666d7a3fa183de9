//! What cannot be seen from outside is said and changes the exit code, and no thread is stopped if that is forbidden.
#![cfg(all(feature = "cli", target_os = "linux", target_arch = "x86_64"))]

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/stalling.rs"]
mod stalling;

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use stalling::Stalling;

/// The exit code for threads that could not be seen.
const UNSEEN: Option<i32> = Some(3);

/// Runs the command with a cache of types in a folder of this name. A copy without types would find those of the program in
/// the same cache.
fn holdup_with(cache: &str, program: &Stalling, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdup"));
    command.args(arguments).args(["--pid", &program.pid().to_string()]);
    command.env("XDG_CACHE_HOME", Path::new(env!("CARGO_TARGET_TMPDIR")).join("unseen").join(cache));
    command.output().expect("the command runs")
}

/// Runs the command on a program with types.
fn holdup(program: &Stalling, arguments: &[&str]) -> Output {
    holdup_with("types", program, arguments)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Every verb that says whether something is wrong.
const VERBS: [&[&str]; 3] = [&["stalls", "-d", "1s"], &["dump"], &["top", "--once", "-i", "1s"]];

#[test]
fn a_thread_that_cannot_be_seen_changes_the_exit_code() {
    let _alone = support::alone();
    let mut program = Stalling::bare("multi_thread");
    for verb in VERBS {
        // On a busy machine, a running thread may not answer in time.
        support::wait_until("every thread is seen", || holdup_with("bare", &program, verb).status.code() == Some(0));
    }
    program.ask("hides 600000");
    for verb in VERBS {
        let mut said = String::new();
        support::wait_until("the thread is not seen", || {
            let output = holdup_with("bare", &program, verb);
            said = text(&output.stdout) + &text(&output.stderr);
            output.status.code() == UNSEEN
        });
        let is_said = said.contains("1 thread was not seen, and may run a worker")
            || said.contains("1 thread could not be seen and may run workers");
        assert!(is_said, "{verb:?}: {said}");
    }
    let json: Value = serde_json::from_slice(&holdup_with("bare", &program, &["dump", "--json"]).stdout).expect("JSON");
    assert_eq!(json["quality"]["unseen_threads"], 1, "{json:#}");
}

#[test]
fn types_show_that_such_a_thread_is_no_worker() {
    let _alone = support::alone();
    let mut program = Stalling::with("multi_thread");
    program.ask("hides 600000");
    for verb in VERBS {
        support::wait_until("every thread is seen", || holdup(&program, verb).status.code() == Some(0));
    }
}

#[test]
fn a_process_without_workers_is_no_success() {
    let _alone = support::alone();
    // It uses Tokio, but its runtime has no worker.
    let program = Stalling::with("no_runtime");
    let output = holdup(&program, &["stalls", "-d", "1s"]);
    assert_eq!(output.status.code(), UNSEEN, "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("no worker of a Tokio runtime"));
}

#[test]
fn no_thread_is_stopped_if_that_is_forbidden() {
    let _alone = support::alone();
    let mut program = Stalling::with("multi_thread");
    program.send("compute 600000");
    let dump = |arguments: &[&str]| -> Value {
        serde_json::from_slice(&holdup(&program, &[&["dump", "--json"], arguments].concat()).stdout).expect("JSON")
    };
    support::wait_until("the thread is stopped", || {
        let quality = &dump(&[])["quality"];
        quality["stopped_threads"].as_u64() > Some(0) && quality["pause_ms"].as_f64() > Some(0.0)
    });
    let census = dump(&["--never-stop"]);
    let quality = &census["quality"];
    assert_eq!((&quality["stopped_threads"], &quality["pause_ms"]), (&0.into(), &0.0.into()), "{census:#}");
    let said = text(&holdup(&program, &["dump", "--never-stop", "--stacks"]).stdout);
    assert!(said.contains("the thread runs, and --never-stop forbids to stop it"), "{said}");
    assert!(said.contains("no thread was stopped; what running threads do is missing"), "{said}");
    let said = text(&holdup(&program, &["stalls", "-d", "1s", "--never-stop"]).stdout);
    assert!(said.contains("no thread was stopped"), "{said}");
    let refused =
        holdup(&program, &["record", "--mode", "wall", "-d", "1s", "--never-stop", "-o", "-", "--format", "folded"]);
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused.stdout));
    assert!(text(&refused.stderr).contains("which --never-stop forbids"), "{}", text(&refused.stderr));
}

#[test]
fn a_watch_says_how_long_threads_were_stopped() {
    let _alone = support::alone();
    let mut program = Stalling::with("multi_thread");
    program.send("compute 600000");
    let mut said = String::new();
    support::wait_until("the worker is stopped for its stack", || {
        said = text(&holdup(&program, &["stalls", "-d", "2s"]).stdout);
        said.contains(" ms at most") || said.contains("a thread was stopped once, for ")
    });
    assert!(!said.contains("no thread was stopped"), "{said}");
}
