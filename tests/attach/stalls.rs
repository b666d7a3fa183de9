//! `holdup stalls --pid`: the stalls of a program whose polls are known, seen from outside.
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

fn stalls(pid: u32, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdup"));
    command
        .args(["stalls", "--pid", &pid.to_string()])
        .args(arguments)
        .env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"));
    command
}

/// `holdup stalls --pid N --follow --json`, which is read on a thread of its own.
struct Follower {
    command: Child,
    stalls: Receiver<Value>,
}

impl Follower {
    /// Starts it, and returns when it watches: a first stall was seen. Machines are slow at times, so a stall is one from
    /// 100 ms on.
    fn of(program: &mut Stalling) -> Self {
        Self::with(program, &[])
    }

    fn with(program: &mut Stalling, arguments: &[&str]) -> Self {
        let mut command = stalls(program.pid(), &["--threshold", "100ms", "--follow", "--json"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the command runs");
        let output = BufReader::new(command.stdout.take().expect("is piped"));
        let (tell, stalls) = mpsc::channel();
        std::thread::spawn(move || {
            for line in output.lines() {
                let stall = serde_json::from_str(&line.expect("text")).expect("JSON");
                if tell.send(stall).is_err() {
                    return;
                }
            }
        });
        let mut follower = Self { command, stalls };
        support::wait_until("it watches", || {
            program.ask("sleep 300");
            follower.stalls.try_iter().count() > 0
        });
        follower.drain();
        follower
    }

    /// Waits until nothing is told any more that happened before.
    fn drain(&mut self) {
        while self.stalls.recv_timeout(std::time::Duration::from_secs(1)).is_ok() {}
    }

    /// The next stall that has ended.
    fn ended(&self) -> Value {
        loop {
            let stall = self.stalls.recv_timeout(support::DEADLINE).expect("a stall is told");
            if stall["ended"] == true {
                return stall;
            }
        }
    }

    /// Its end, which must have come by itself.
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
    // It is searched for once a second.
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
fn polls_that_sleep_and_polls_that_compute_are_seen_and_told_apart() {
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
            "it slept, and was not stopped: {stall:#}"
        );
        let lasted = stall["duration_ms"].as_f64().expect("a time");
        assert!((350.0..=took as f64 + 100.0).contains(&lasted), "{lasted} of {took} ms");

        program.ask("compute 500");
        let stall = follower.ended();
        assert_eq!(culprit(&stall), "stalling::computes", "{stall:#}");
        assert_eq!(stall["task"]["name"], "stalling::computes_in_poll", "{stall:#}");
        // A machine that is busy with other things does not let it compute.
        let cause = stall["cause"]["class"].as_str().expect("a word");
        assert!(["computing", "not_scheduled"].contains(&cause), "{stall:#}");
        assert!(stall["cause"]["evidence"]["on_cpu_ms"].as_f64() > Some(50.0), "{stall:#}");
        follower.interrupt();
        assert!(follower.output().status.success(), "Ctrl-C is how it ends");
    }
}

/// As cargo builds releases: nothing in memory tells how far a worker has come, but stacks and breakpoints do.
#[test]
fn without_types_stalls_are_inferred() {
    let _alone = support::alone();
    // It takes functions from the stack that tell `block_in_place` and the future given to `block_on`.
    let lto = std::env::var_os("HOLDUP_LTO").is_some();
    // Where it optimises, the compiler keeps one piece of code for all that is dropped in the same way.
    let merged = std::env::var_os("HOLDUP_STALLING_BARE").is_some();
    let of = |stall: &Value, name: &str| {
        let task = &stall["task"];
        assert_eq!((&task["id"], &task["spawned_at"]), (&Value::Null, &Value::Null), "{stall:#}");
        let unsure =
            task["name"].as_str().is_none_or(|told| told.ends_with(", or one that is dropped in the same way"));
        assert!(task["name"] == name || merged && unsure, "{stall:#}");
    };
    for flavor in ["multi_thread", "current_thread"] {
        let mut program = Stalling::bare(flavor);
        // What was kept of the whole program has its types.
        let mut follower = Follower::with(&mut program, &["--no-cache"]);
        program.ask("healthy 300");
        if flavor == "multi_thread" && !lto {
            program.ask("handed 500");
        }
        // Threads that have become workers are looked for four times a second.
        program.ask("waits 600");
        let took = program.ask("sleep 500");
        let stall = follower.ended();
        assert_eq!((culprit(&stall), &stall["culprit"]["line"]), ("stalling::naps", &Value::Null), "{stall:#}");
        assert_eq!(stall["cause"]["class"], "sleeping", "{stall:#}");
        // Whichever proves more of it.
        assert!(stall["detection"] == "same_sleep" || stall["detection"] == "no_return", "{stall:#}");
        of(&stall, "stalling::sleeps_in_poll");
        assert_eq!(stall["stack_quality"]["method"], "without touching the thread", "{stall:#}");
        let lasted = stall["duration_ms"].as_f64().expect("a time");
        assert!((350.0..=took as f64 + 100.0).contains(&lasted), "{lasted} of {took} ms");
        assert!(stall["worker"].is_u64(), "{stall:#}");

        let took = program.ask("compute 500");
        let stall = follower.ended();
        assert_eq!((culprit(&stall), &stall["detection"]), ("stalling::computes", &json!("no_return")), "{stall:#}");
        of(&stall, "stalling::computes_in_poll");
        let cause = stall["cause"]["class"].as_str().expect("a word");
        assert!(["computing", "not_scheduled"].contains(&cause), "{stall:#}");
        // At least so long: a machine that is busy with other things does not let it be seen from its beginning.
        let lasted = stall["duration_ms"].as_f64().expect("a time");
        assert!((100.0..=took as f64 + 100.0).contains(&lasted), "{lasted} of {took} ms");

        if !lto {
            let took = program.ask("root 500");
            let stall = follower.ended();
            let worker = if flavor == "multi_thread" { Value::Null } else { json!(0) };
            assert_eq!((culprit(&stall), &stall["worker"]), ("stalling::naps", &worker), "{stall:#}");
            assert_eq!(stall["task"]["name"], Value::Null, "it is no task: {stall:#}");
            let lasted = stall["duration_ms"].as_f64().expect("a time");
            assert!((350.0..=took as f64 + 100.0).contains(&lasted), "{lasted} of {took} ms");
        }
        follower.interrupt();
        let output = follower.output();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{told}");
        assert_eq!(told.matches("note: ").count(), 1, "{told}");
        assert!(told.contains("without descriptions of types") && told.contains("`debug = 2`"), "{told}");
    }
}

#[test]
fn without_types_parked_workers_are_not_woken_either() {
    let _alone = support::alone();
    let mut program = Stalling::bare("multi_thread");
    program.ask("waits 100");
    let before = program.ask("parks");
    let output = stalls(program.pid(), &["--duration", "2", "--no-cache"]).output().expect("the command runs");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.starts_with("No stall so far."), "{told}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.starts_with(&format!("watching process {}: 2 workers, ", program.pid())), "{said}");
    assert_eq!(program.ask("parks"), before, "workers that are woken park again");
}

/// Nothing tells one poll of it from the next, but a thread that sleeps and is not run in between is in one.
#[test]
fn the_future_given_to_block_on_is_seen_where_it_sleeps() {
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
    assert!((350.0..=took as f64 + 100.0).contains(&lasted), "{lasted} of {took} ms");
    follower.interrupt();
    assert!(follower.output().status.success());
}

#[test]
fn healthy_polls_parked_workers_and_handed_on_workers_are_no_stalls() {
    let _alone = support::alone();
    for flavor in ["multi_thread", "current_thread"] {
        let mut program = Stalling::with(flavor);
        let mut follower = Follower::of(&mut program);
        program.ask("healthy 300");
        program.ask("waits 300");
        if flavor == "multi_thread" {
            program.ask("handed 500");
        }
        // What comes next is what was done last.
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
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.starts_with("No stall so far."), "{told}");
    let said = String::from_utf8_lossy(&output.stderr);
    let watching = format!("watching process {}: ", program.pid());
    assert!(said.starts_with(&watching) && said.lines().count() == 1, "it has nothing else to say: {said}");
    assert_eq!(program.ask("parks"), before, "workers that are woken park again");
}

#[test]
fn a_stall_that_lasts_is_the_exit_code() {
    let _alone = support::alone();
    let mut program = Stalling::with("multi_thread");
    // Also one that began long before.
    program.tell("compute 30000");
    let output = stalls(program.pid(), &["--duration", "2", "--json"]).output().expect("the command runs");
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let stall = &answer["stalls"][0];
    assert_eq!((&stall["ended"], culprit(stall)), (&Value::Bool(false), "stalling::computes"), "{answer:#}");
    assert_eq!(stall["stack_quality"]["method"], "by stopping the thread for a moment", "{answer:#}");
}

#[test]
fn it_ends_with_the_process_and_says_so() {
    let _alone = support::alone();
    let mut program = Stalling::with("multi_thread");
    let follower = Follower::of(&mut program);
    program.tell("sleep 60000");
    let stall = follower.stalls.recv_timeout(support::DEADLINE).expect("it is told");
    assert_eq!((&stall["ended"], culprit(&stall)), (&Value::Bool(false), "stalling::naps"));
    program.kill();
    let output = follower.output();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains(&format!("process {} has ended", program.pid())), "{told}");
    assert_eq!(output.status.code(), Some(0), "nothing lasts any more: {told}");
}

#[test]
fn it_ends_when_the_process_becomes_another_program() {
    let _alone = support::alone();
    let mut program = Stalling::with("multi_thread");
    let follower = Follower::of(&mut program);
    program.tell("exec");
    let output = follower.output();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.contains("started another program"), "{told}");
}

#[test]
fn what_cannot_be_watched_is_said() {
    let output = stalls(u32::MAX >> 1, &[]).output().expect("the command runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && told.contains("there is no process"), "{told}");
    let mut other = Command::new("sleep").arg("60").spawn().expect("sleep runs");
    let output = stalls(other.id(), &[]).output().expect("the command runs");
    let told = String::from_utf8_lossy(&output.stderr);
    other.kill().expect("it lives");
    other.wait().expect("it is ours");
    assert!(output.status.code() == Some(2) && told.contains("no Tokio runtime is known"), "{told}");
    let output = stalls(std::process::id(), &["--threshold", "10us"]).output().expect("the command runs");
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
}
