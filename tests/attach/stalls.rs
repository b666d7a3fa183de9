//! `holdup stalls --pid`: the stalls of a program with known polls, observed from outside.
#![cfg(all(feature = "cli", target_os = "linux", target_arch = "x86_64"))]

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/stalling.rs"]
mod stalling;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver};

use serde_json::{Value, json};
use stalling::Stalling;

/// A stall of 500 ms is reported with at least this many milliseconds: on a busy machine its start is seen late. The threshold
/// is the same time.
const LEAST: f64 = 100.0;

fn stalls(pid: u32, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdup"));
    command
        .args(["stalls", "--pid", &pid.to_string()])
        .args(arguments)
        .env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"));
    command
}

/// A running `holdup stalls --pid N --follow --json`. Another thread reads its output.
struct Follower {
    command: Child,
    stalls: Receiver<Value>,
}

impl Follower {
    /// Starts the command and waits for a first stall, which shows that it watches. The threshold is 100 ms, because some
    /// machines are slow.
    fn of(program: &mut Stalling) -> Self {
        Self::with(program, &[])
    }

    fn with(program: &mut Stalling, arguments: &[&str]) -> Self {
        let mut follower = Self::start(program, arguments);
        support::wait_until("it watches", || {
            program.ask("sleep 300");
            follower.stalls.try_iter().count() > 0
        });
        follower.drain();
        follower
    }

    /// Starts the command, which may not watch yet.
    fn start(program: &Stalling, arguments: &[&str]) -> Self {
        let mut command = stalls(program.pid(), &["--threshold", "100ms", "--follow", "--json"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the command runs");
        let output = BufReader::new(command.stdout.take().expect("is piped"));
        let (sender, stalls) = mpsc::channel();
        std::thread::spawn(move || {
            for line in output.lines() {
                let stall = serde_json::from_str(&line.expect("text")).expect("JSON");
                if sender.send(stall).is_err() {
                    return;
                }
            }
        });
        Self { command, stalls }
    }

    /// Waits until all earlier stalls have been reported.
    fn drain(&mut self) {
        while self.stalls.recv_timeout(std::time::Duration::from_secs(1)).is_ok() {}
    }

    /// The next stall that has ended. On a busy machine there are others, in which the thread did not run.
    fn ended(&self) -> Value {
        loop {
            let stall = self.stalls.recv_timeout(support::DEADLINE).expect("a stall is reported");
            let is_machines = stall["cause"]["class"] == "not_scheduled" && stall["culprit"].is_null();
            if stall["ended"] == true && !is_machines {
                return stall;
            }
        }
    }

    /// The output of the command, which must end without a kill.
    fn output(self) -> Output {
        self.command.wait_with_output().expect("it ends")
    }

    fn interrupt(&mut self) {
        let pid = self.command.id().to_string();
        let sent = Command::new("kill").args(["-INT", &pid]).status().expect("kill runs");
        assert!(sent.success());
    }
}

fn culprit(stall: &Value) -> &str {
    stall["culprit"]["function"].as_str().unwrap_or("none")
}

#[test]
fn a_task_of_a_local_set_is_named() {
    let _alone = support::alone();
    let mut program = Stalling::with("local_set");
    let follower = Follower::of(&mut program);
    // The command searches for the task once per second.
    let mut stall = Value::Null;
    support::wait_until("its task has a name", || {
        program.ask("nap 300");
        stall = follower.ended();
        assert_eq!(culprit(&stall), "stalling::naps", "{stall:#}");
        stall["task"]["name"] == "stalling::naps_when_asked"
    });
    assert_eq!(stall["cause"]["class"], "sleeping", "{stall:#}");
}

#[test]
fn sleeping_and_computing_polls_are_distinguished() {
    let _alone = support::alone();
    for flavor in ["multi_thread", "current_thread"] {
        let mut program = Stalling::with(flavor);
        let mut follower = Follower::of(&mut program);
        let took = program.ask("sleep 500");
        let stall = follower.ended();
        assert_eq!(culprit(&stall), "stalling::naps", "{stall:#}");
        assert_eq!(stall["cause"]["class"], "sleeping", "{stall:#}");
        assert_eq!(stall["task"]["name"], "stalling::sleeps_in_poll", "{stall:#}");
        assert_eq!(
            stall["stack_quality"]["method"], "without touching the thread",
            "a sleeping thread is not stopped: {stall:#}"
        );
        let lasted = stall["duration_ms"].as_f64().expect("a time");
        assert!((LEAST..=took as f64 + 100.0).contains(&lasted), "{lasted} of {took} ms");

        program.ask("compute 500");
        let stall = follower.ended();
        assert_eq!(culprit(&stall), "stalling::computes", "{stall:#}");
        assert_eq!(stall["task"]["name"], "stalling::computes_in_poll", "{stall:#}");
        // On a busy machine the thread may not be scheduled.
        let cause = stall["cause"]["class"].as_str().expect("a word");
        assert!(["computing", "not_scheduled"].contains(&cause), "{stall:#}");
        assert!(stall["cause"]["evidence"]["on_cpu_ms"].as_f64() > Some(50.0), "{stall:#}");
        follower.interrupt();
        assert!(follower.output().status.success(), "Ctrl-C is the normal end");
    }
}

/// Cargo builds releases without types. Memory does not show the progress of a worker, but stacks and breakpoints do.
#[test]
fn stalls_are_inferred_without_types() {
    let _alone = support::alone();
    // Link-time optimization removes the stack frames that show `block_in_place` and the `block_on` future.
    let lto = std::env::var_os("HOLDUP_LTO").is_some();
    // With optimization, the linker keeps one function for all types that are dropped in the same way.
    let merged = std::env::var_os("HOLDUP_STALLING_BARE").is_some();
    let of = |stall: &Value, name: &str| {
        let task = &stall["task"];
        assert_eq!((&task["id"], &task["spawned_at"]), (&Value::Null, &Value::Null), "{stall:#}");
        let unsure =
            task["name"].as_str().is_none_or(|name| name.ends_with(", or one that is dropped in the same way"));
        assert!(task["name"] == name || merged && unsure, "{stall:#}");
    };
    for flavor in ["multi_thread", "current_thread"] {
        let mut program = Stalling::bare(flavor);
        // The cache may have types from the program with debug information.
        let mut follower = Follower::with(&mut program, &["--no-cache"]);
        program.ask("healthy 300");
        if flavor == "multi_thread" && !lto {
            program.ask("handed 500");
        }
        // The command searches for new workers four times per second.
        program.ask("waits 600");
        let took = program.ask("sleep 500");
        let stall = follower.ended();
        assert_eq!((culprit(&stall), &stall["culprit"]["line"]), ("stalling::naps", &Value::Null), "{stall:#}");
        assert_eq!(stall["cause"]["class"], "sleeping", "{stall:#}");
        // The detection that proves the longer duration is reported.
        assert!(stall["detection"] == "same_sleep" || stall["detection"] == "no_return", "{stall:#}");
        of(&stall, "stalling::sleeps_in_poll");
        assert_eq!(stall["stack_quality"]["method"], "without touching the thread", "{stall:#}");
        let lasted = stall["duration_ms"].as_f64().expect("a time");
        assert!((LEAST..=took as f64 + 100.0).contains(&lasted), "{lasted} of {took} ms");
        let of_task = if flavor == "multi_thread" { "worker" } else { flavor };
        assert!(stall["worker"].is_u64() && stall["holds"] == of_task, "{stall:#}");

        let took = program.ask("compute 500");
        let stall = follower.ended();
        assert_eq!((culprit(&stall), &stall["detection"]), ("stalling::computes", &json!("no_return")), "{stall:#}");
        of(&stall, "stalling::computes_in_poll");
        let cause = stall["cause"]["class"].as_str().expect("a word");
        assert!(["computing", "not_scheduled"].contains(&cause), "{stall:#}");
        let lasted = stall["duration_ms"].as_f64().expect("a time");
        assert!((LEAST..=took as f64 + 100.0).contains(&lasted), "{lasted} of {took} ms");

        if !lto {
            let took = program.ask("root 500");
            let stall = follower.ended();
            let worker = if flavor == "multi_thread" { Value::Null } else { json!(0) };
            assert_eq!((culprit(&stall), &stall["worker"]), ("stalling::naps", &worker), "{stall:#}");
            assert_eq!(stall["task"]["name"], Value::Null, "the block_on future is not a task: {stall:#}");
            let of_block_on = if flavor == "multi_thread" { "block_on" } else { flavor };
            assert_eq!(stall["holds"], of_block_on, "{stall:#}");
            let lasted = stall["duration_ms"].as_f64().expect("a time");
            assert!((LEAST..=took as f64 + 100.0).contains(&lasted), "{lasted} of {took} ms");
        }
        follower.interrupt();
        let output = follower.output();
        let output_text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{output_text}");
        // Another note says how often threads were stopped.
        let notes = output_text.lines().filter(|line| line.starts_with("note: ") && !line.contains("stopped"));
        assert_eq!(notes.count(), 1, "{output_text}");
        assert!(
            output_text.contains("without descriptions of types") && output_text.contains("`debug = 2`"),
            "{output_text}"
        );
    }
}

/// Code without unwind tables is followed, with and without type information.
#[test]
fn sleeps_in_code_without_unwind_tables_have_a_culprit() {
    let _alone = support::alone();
    for mut program in [Stalling::with("multi_thread"), Stalling::bare("multi_thread")] {
        let mut follower = Follower::with(&mut program, &["--no-cache"]);
        // On a busy machine a poll may end before its stack is taken.
        let with_stack = |program: &mut Stalling, word: &str| {
            let mut stall = Value::Null;
            support::wait_until("its stack is taken", || {
                program.ask("waits 600");
                program.ask(&format!("{word} 500"));
                stall = follower.ended();
                stall["stack_quality"]["missing"].is_null() && stall["cause"]["class"] == "sleeping"
            });
            stall
        };
        for word in ["leaf", "pushes", "wide", "nested"] {
            let stall = with_stack(&mut program, word);
            assert_eq!(culprit(&stall), format!("stalling::tableless::calls_{word}"), "{stall:#}");
            assert_eq!(stall["stack_quality"]["complete"], true, "{stall:#}");
        }
        // Its stack cannot be followed, and it is reported all the same.
        let stall = with_stack(&mut program, "aligned");
        assert!(stall["culprit"].is_null(), "{stall:#}");
        assert_eq!(stall["stack_quality"]["complete"], false, "{stall:#}");
        follower.interrupt();
        assert!(follower.output().status.success(), "Ctrl-C is the normal end");
    }
}

#[test]
fn parked_workers_are_not_woken_without_types() {
    let _alone = support::alone();
    let mut program = Stalling::bare("multi_thread");
    program.ask("waits 100");
    let before = program.ask("parks");
    let output = stalls(program.pid(), &["--duration", "2", "--no-cache"]).output().expect("the command runs");
    let output_text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && output_text.starts_with("No stall so far."), "{output_text}");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.starts_with(&format!("watching process {}: 2 workers, ", program.pid())), "{errors}");
    assert_eq!(program.ask("parks"), before, "a woken worker would park again");
}

/// The polls of the `block_on` future are indistinguishable. But an uninterrupted sleep lies inside one poll.
#[test]
fn sleeps_in_the_block_on_future_are_stalls() {
    let _alone = support::alone();
    let mut program = Stalling::with("multi_thread");
    let mut follower = Follower::of(&mut program);
    program.ask("waits 300");
    let took = program.ask("root 500");
    let stall = follower.ended();
    assert_eq!(culprit(&stall), "stalling::naps", "{stall:#}");
    assert_eq!((&stall["cause"]["class"], &stall["worker"]), (&json!("sleeping"), &Value::Null), "{stall:#}");
    assert_eq!(stall["detection"], "same_sleep", "{stall:#}");
    let lasted = stall["duration_ms"].as_f64().expect("a time");
    assert!((LEAST..=took as f64 + 100.0).contains(&lasted), "{lasted} of {took} ms");
    follower.interrupt();
    assert!(follower.output().status.success());
}

#[test]
fn healthy_parked_and_handed_over_workers_have_no_stalls() {
    let _alone = support::alone();
    for flavor in ["multi_thread", "current_thread"] {
        let mut program = Stalling::with(flavor);
        let mut follower = Follower::of(&mut program);
        program.ask("healthy 300");
        program.ask("waits 300");
        if flavor == "multi_thread" {
            program.ask("handed 500");
        }
        // The next reported stall must be the last command's.
        program.ask("sleep 400");
        let stall = follower.ended();
        assert_eq!(culprit(&stall), "stalling::naps", "{stall:#}");
        assert_eq!(stall["task"]["name"], "stalling::sleeps_in_poll", "{stall:#}");
        assert!(stall["duration_ms"].as_f64() < Some(5_000.0));
        follower.interrupt();
        assert!(follower.output().status.success());
    }
}

#[test]
fn parked_workers_are_not_woken() {
    let _alone = support::alone();
    let mut program = Stalling::with("multi_thread");
    program.ask("waits 100");
    let before = program.ask("parks");
    let output = stalls(program.pid(), &["--duration", "1"]).output().expect("the command runs");
    let output_text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && output_text.starts_with("No stall so far."), "{output_text}");
    let errors = String::from_utf8_lossy(&output.stderr);
    let watching = format!("watching process {}: ", program.pid());
    assert!(errors.starts_with(&watching) && errors.lines().count() == 1, "nothing else is reported: {errors}");
    assert_eq!(program.ask("parks"), before, "a woken worker would park again");
}

#[test]
fn a_running_stall_sets_the_exit_code() {
    let _alone = support::alone();
    let mut program = Stalling::with("multi_thread");
    // The stall begins long before the watch.
    program.send("compute 30000");
    let output = stalls(program.pid(), &["--duration", "5", "--json"]).output().expect("the command runs");
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let stall = &answer["stalls"][0];
    assert_eq!((&stall["ended"], culprit(stall)), (&Value::Bool(false), "stalling::computes"), "{answer:#}");
    assert_eq!(stall["stack_quality"]["method"], "by stopping the thread for a moment", "{answer:#}");
}

/// What a long poll holds up: nothing before the first task, then a current-thread runtime or only its own future.
#[test]
fn polls_of_block_on_are_told_apart_from_stalls_of_workers() {
    let _alone = support::alone();
    for (flavor, of_task, of_block_on) in
        [("multi_thread", "worker", "block_on"), ("current_thread", "current_thread", "current_thread")]
    {
        let mut program = Stalling::with(flavor);
        let mut follower = Follower::start(&program, &[]);
        let mut first = Value::Null;
        support::wait_until("it watches", || {
            program.ask("root 400");
            first = follower.stalls.try_iter().last().unwrap_or_default();
            !first.is_null()
        });
        assert_eq!((&first["holds"], culprit(&first)), (&json!("start_up"), "stalling::naps"), "{flavor}: {first:#}");
        follower.drain();
        program.ask("sleep 400");
        let stall = follower.ended();
        assert_eq!(stall["holds"], of_task, "{flavor}: {stall:#}");
        program.ask("root 400");
        let stall = follower.ended();
        assert_eq!(stall["holds"], of_block_on, "{flavor}: {stall:#}");
        follower.interrupt();
        assert!(follower.output().status.success());
    }
}

#[test]
fn a_running_poll_of_block_on_sets_no_exit_code_if_no_task_waits() {
    let _alone = support::alone();
    for (flavor, code) in [("multi_thread", 0), ("current_thread", 1)] {
        let mut program = Stalling::with(flavor);
        program.ask("waits 1");
        program.send("root 30000");
        let output = stalls(program.pid(), &["--duration", "2", "--json"]).output().expect("the command runs");
        assert_eq!(output.status.code(), Some(code), "{flavor}: {}", String::from_utf8_lossy(&output.stderr));
        let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(answer["stalls"][0]["ended"], false, "{flavor}: {answer:#}");
    }
}

#[test]
fn the_end_of_the_process_is_reported() {
    let _alone = support::alone();
    let mut program = Stalling::with("multi_thread");
    let follower = Follower::of(&mut program);
    program.send("sleep 60000");
    let stall = follower.stalls.recv_timeout(support::DEADLINE).expect("the stall is reported");
    assert_eq!((&stall["ended"], culprit(&stall)), (&Value::Bool(false), "stalling::naps"));
    program.kill();
    let output = follower.output();
    let output_text = String::from_utf8_lossy(&output.stderr);
    assert!(output_text.contains(&format!("process {} has ended", program.pid())), "{output_text}");
    assert_eq!(output.status.code(), Some(0), "no stall is running: {output_text}");
}

#[test]
fn exec_of_another_program_ends_the_watch() {
    let _alone = support::alone();
    let mut program = Stalling::with("multi_thread");
    let follower = Follower::of(&mut program);
    program.send("exec");
    let output = follower.output();
    let output_text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && output_text.contains("started another program"), "{output_text}");
}

#[test]
fn unwatchable_processes_are_refused_with_a_reason() {
    let output = stalls(u32::MAX >> 1, &[]).output().expect("the command runs");
    let output_text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && output_text.contains("there is no process"), "{output_text}");
    let mut other = Command::new("sleep").arg("60").spawn().expect("sleep runs");
    let output = stalls(other.id(), &[]).output().expect("the command runs");
    let output_text = String::from_utf8_lossy(&output.stderr);
    other.kill().expect("it lives");
    other.wait().expect("it is ours");
    assert!(output.status.code() == Some(2) && output_text.contains("no Tokio runtime is known"), "{output_text}");
    let output = stalls(std::process::id(), &["--threshold", "10us"]).output().expect("the command runs");
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
}
