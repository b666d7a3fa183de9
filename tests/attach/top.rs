//! `holdup top --pid` of programs with known tasks and polls.
#![cfg(all(feature = "cli", target_os = "linux", target_arch = "x86_64"))]

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/awaiting.rs"]
mod awaiting;
#[path = "../support/stalling.rs"]
mod stalling;

use std::process::Command;

use awaiting::{Awaiting, MANY};
use stalling::Stalling;

fn top(pid: u32, arguments: &[&str]) -> String {
    run(Command::new(env!("CARGO_BIN_EXE_holdup")).args(["top", "--pid", &pid.to_string()]).args(arguments))
}

fn run(command: &mut Command) -> String {
    let output = command.output().expect("the command runs");
    // On a busy machine, a running thread is not stopped in time and so not seen.
    assert!(matches!(output.status.code(), Some(0 | 3)), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("is text")
}

/// The lines between a heading and the next empty line.
fn table<'t>(text: &'t str, heading: &str) -> Vec<&'t str> {
    let lines = text.lines().skip_while(|line| !line.contains(heading)).skip(1);
    lines.take_while(|line| !line.is_empty()).collect()
}

fn line(mark: &str) -> usize {
    let source = include_str!("../fixtures/awaiting/src/main.rs");
    source.lines().position(|line| line.ends_with(&format!("// {mark}"))).expect("is marked") + 1
}

#[test]
fn busy_workers_and_waiting_tasks_are_shown() {
    for flavor in ["multi_thread", "current_thread"] {
        let program = Awaiting::with(flavor);
        let mut text = String::new();
        // On a busy machine, it takes longer to stop the running thread, and to explain the stall.
        let mut seconds = 0;
        support::wait_until("the busy worker is shown", || {
            seconds += 1;
            text = top(program.pid(), &["--once", "--interval", &format!("{seconds}s"), "-n", "30"]);
            let busy = table(&text, "TASKS BY CPU TIME").len() == 1 && text.contains("1 running, 30 idle");
            busy && !table(&text, "STALLS: 1 so far").is_empty()
        });
        let busy = table(&text, "TASKS BY CPU TIME")[0];
        let share: f64 = busy.split_whitespace().nth(2).expect("a share").parse().expect("a number");
        assert!(busy.ends_with("  awaiting::runs") && share > 50.0, "it is always being polled: {text}");
        let waiting = table(&text, "TASKS BY WHAT THEY WAIT FOR");
        let leaf = line("leaf");
        assert_eq!(waiting[0].trim(), format!("{MANY}  awaiting::many at src/main.rs:{leaf}: a timer"), "{text}");
        for expected in [
            format!("1  awaiting::selects at src/main.rs:{leaf}: a notification (Notify) or a timer"),
            format!("1  awaiting::wrapped at src/main.rs:{leaf}: a timer"),
            format!("2  awaiting::crosses at src/main.rs:{}: a permit", line("crosses")),
            format!("1  awaiting::accepts at src/main.rs:{}: I/O", line("accepts")),
        ] {
            assert!(waiting.iter().any(|line| line.trim() == expected), "{expected} is not in {text}");
        }
        let counts = waiting.iter().map(|line| line.split_whitespace().next().expect("a number"));
        assert_eq!(counts.map(|count| count.parse::<usize>().expect("a number")).sum::<usize>(), 30, "{text}");
        let workers = table(&text, "POLLS NOW");
        let stuck: Vec<_> = workers.iter().filter(|line| line.contains(" stuck ")).collect();
        assert!(stuck.len() == 1 && stuck[0].ends_with(" awaiting::runs"), "{text}");
        let parked = workers.iter().filter(|line| line.contains(" parked ")).count();
        assert_eq!(parked, usize::from(flavor == "multi_thread"), "{text}");
        let stalls = table(&text, "STALLS: 1 so far");
        assert!(stalls[0].trim().starts_with("awaiting::compute: 1 stall, "), "{text}");
        assert!(stalls[0].ends_with(" lost, 100 %, 1 still running"), "{text}");
    }
}

#[test]
fn tasks_of_a_local_set_are_shown() {
    let program = Awaiting::with("heap_tasks");
    let mut text = String::new();
    support::wait_until("all tasks of the set wait", || {
        text = top(program.pid(), &["--once", "-n", "30"]);
        let set = format!("1  awaiting::waits_in_set at src/main.rs:{}: a notification (Notify)", line("waits_in_set"));
        table(&text, "TASKS BY WHAT THEY WAIT FOR").iter().any(|line| line.trim() == set)
    });
    assert!(text.contains(" in 2 runtimes, "), "the set is not a runtime: {text}");
}

#[test]
fn count_and_interval_are_obeyed_and_workers_stay_parked() {
    let mut program = Stalling::with("multi_thread");
    let mut text = String::new();
    // Workers of a new program may not be parked yet. If `top` woke them, this would never succeed.
    support::wait_until("no worker wakes up", || {
        let before = program.ask("parks");
        text = top(program.pid(), &["--count", "3", "--interval", "300ms"]);
        program.ask("parks") == before
    });
    assert_eq!(text.matches("POLLS NOW").count(), 3, "{text}");
    assert!(!text.contains('\x1b'), "no terminal, no control sequences: {text:?}");
    assert_eq!(text.matches(" parked ").count(), 6, "two workers, three times: {text}");
    assert!(text.contains("STALLS: 0 so far"), "{text}");
}

#[test]
fn without_types_workers_and_stalls_are_shown() {
    let mut program = Stalling::bare("multi_thread");
    let pid = program.pid().to_string();
    let top = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdup"));
        // The usual cache may have the types of the unstripped program, which has the same build id.
        let empty_cache = concat!(env!("CARGO_TARGET_TMPDIR"), "/top-without-types");
        run(command.args(["top", "--once", "--pid", &pid]).env("XDG_CACHE_HOME", empty_cache))
    };
    let mut text = String::new();
    support::wait_until("both workers are parked", || {
        text = top();
        text.matches(" parked ").count() == 2
    });
    assert!(text.lines().next().is_some_and(|line| line.ends_with(": tasks unknown")), "{text}");
    assert!(text.contains("2 workers in 1 runtime, ") && text.contains("STALLS: 0 so far"), "{text}");
    assert!(!text.contains("TASKS") && !text.contains("POLLS"), "{text}");
    assert!(text.contains("without descriptions of types"), "{text}");

    program.send("sleep 120000");
    support::wait_until("the worker is stuck", || {
        text = top();
        text.contains(" stuck ")
    });
    let workers = table(&text, "WORKER");
    let stuck = workers.iter().find(|line| line.contains(" stuck ")).expect("it was shown");
    let columns: Vec<_> = stuck.split_whitespace().collect();
    // Name, thread, `stuck 1.2 s`, and then the fractions of time.
    let busy: f64 = columns[5].parse().expect("a number");
    assert!(busy > 50.0, "it is always asleep inside a poll: {text}");
    assert!(workers.iter().any(|line| line.contains(" parked ")), "the other worker is parked: {text}");
    let stalls = table(&text, "STALLS: 1 so far");
    assert!(stalls[0].trim().starts_with("stalling::naps: 1 stall, "), "{text}");
    assert!(stalls[0].ends_with(" lost, 100 %, 1 still running"), "{text}");
    assert!(stalls[2].trim().starts_with("at       (line unknown): sleeping, 1 poll, "), "{text}");
}

#[test]
fn missing_processes_are_reported() {
    let output = Command::new(env!("CARGO_BIN_EXE_holdup")).arg("top").output().expect("the command runs");
    assert_eq!(output.status.code(), Some(2));
    // Above the largest process id (`PID_MAX_LIMIT`).
    let output = Command::new(env!("CARGO_BIN_EXE_holdup"))
        .args(["top", "--pid", "4194999"])
        .output()
        .expect("the command runs");
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && message.contains("there is no process 4194999"), "{message}");
}
