//! `holdup record --pid` in the modes `tasks` and `stalled`, with programs of known tasks and polls.
#![cfg(all(feature = "cli", target_os = "linux", target_arch = "x86_64"))]

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/awaiting.rs"]
mod awaiting;
#[path = "../support/stalling.rs"]
mod stalling;

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use awaiting::{Awaiting, MANY};
use holdup::Profile;
use stalling::Stalling;

fn record(pid: u32, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdup"));
    command.args(["record", "--pid", &pid.to_string(), "-o", "-"]).args(arguments);
    command.output().expect("the command runs")
}

fn profile(pid: u32, arguments: &[&str]) -> Profile {
    let output = record(pid, &[&["--format", "json"], arguments].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Profile::read(&output.stdout).expect("it is a profile")
}

/// The stacks, outermost frame first, each with its time in seconds.
fn stacks(profile: &Profile) -> Vec<(String, f64)> {
    let time = profile.value_named("time").expect("has time");
    let stack = |sample: &holdup::profile::Sample| {
        let names: Vec<String> =
            profile.frames_of(sample).rev().map(|frame| frame.frame.function.to_string()).collect();
        (names.join(";"), sample.values[time] as f64 / 1e9)
    };
    profile.samples.iter().map(stack).collect()
}

#[test]
fn tasks_are_folded_by_what_they_await_and_weighed_by_time() {
    for flavor in ["multi_thread", "current_thread"] {
        let program = Awaiting::with(flavor);
        let profile = profile(program.pid(), &["--mode", "tasks", "-d", "2"]);
        assert_eq!((&*profile.kind, profile.pid), ("tasks", program.pid()));
        let stacks = stacks(&profile);
        let time = |stack: &str| stacks.iter().filter(|(found, _)| found == stack).map(|(_, time)| time).sum::<f64>();
        // All tasks lived all the time, so their times have the ratio of their numbers.
        let one =
            time("awaiting::nested;awaiting::middle;awaiting::leaf;tokio::time::sleep::Sleep;[waits for a timer]");
        // On a busy machine the first reading takes most of the window.
        assert!(one > 0.0 && one <= 10.0, "one task in 2 s, {one}: {stacks:#?}");
        for (stack, tasks) in [
            ("awaiting::many;awaiting::leaf;tokio::time::sleep::Sleep;[waits for a timer]", MANY as f64),
            ("awaiting::joins;join!;awaiting::leaf;tokio::time::sleep::Sleep;[waits for a timer]", 0.5),
            ("awaiting::selects;select!;tokio::sync::notify::Notified;[waits for a notification (Notify)]", 0.5),
            ("awaiting::waits_for_task;tokio::runtime::task::join::JoinHandle;[waits for the end of a task]", 1.0),
            (
                "awaiting::waits_for_permit;tokio::sync::semaphore::Semaphore::acquire;\
                 tokio::sync::batch_semaphore::Acquire;[waits for a permit]",
                1.0,
            ),
            ("awaiting::runs;[is polled]", 1.0),
        ] {
            let share = time(stack) / one;
            assert!((share / tasks - 1.0).abs() < 0.1, "{stack} has {share} times that of one task: {stacks:#?}");
        }
        assert_await_site(&profile);
        assert!(
            profile.quality.notes.iter().any(|note| note.contains("readings of all tasks")),
            "{:?}",
            profile.quality
        );
    }
}

#[test]
fn tasks_of_a_local_set_are_included() {
    let program = Awaiting::with("heap_tasks");
    let profile = profile(program.pid(), &["--mode", "tasks", "-d", "2"]);
    let stacks = stacks(&profile);
    for stack in [
        "awaiting::waits_in_set;tokio::sync::notify::Notified;[waits for a notification (Notify)]",
        "awaiting::sets_child;tokio::runtime::task::join::JoinHandle;[waits for the end of a task]",
        "awaiting::leaf;tokio::time::sleep::Sleep;[waits for a timer]",
    ] {
        assert!(stacks.iter().any(|(found, time)| found == stack && *time > 0.0), "{stack} is not in {stacks:#?}");
    }
    // A function on the blocking pool is not a task. It awaits nothing.
    assert!(!stacks.iter().any(|(stack, _)| stack.contains("blocking_functions")), "{stacks:#?}");
    let sets = profile.samples.iter().filter_map(|sample| profile.labels_of(sample)?.runtime.clone());
    assert!(sets.filter(|runtime| runtime.starts_with("local-set-")).count() >= 3);
}

/// Frames have the line of the await, and samples have the task's type and state.
fn assert_await_site(profile: &Profile) {
    let source = include_str!("../fixtures/awaiting/src/main.rs");
    let line = source.lines().position(|line| line.ends_with("// many")).expect("is marked") + 1;
    let sample = profile.samples.iter().find(|sample| {
        let outermost = profile.frames_of(sample).next_back();
        outermost.is_some_and(|frame| &*frame.frame.function == "awaiting::many")
    });
    let sample = sample.expect("there are many");
    let frame = &profile.frames_of(sample).next_back().expect("has frames").frame;
    assert_eq!((frame.file.as_deref(), frame.line), (Some("src/main.rs"), u32::try_from(line).ok()));
    assert_eq!(frame.origin, holdup::stall::Origin::User);
    let labels = profile.labels_of(sample).expect("has labels");
    let of = (labels.task_name.as_deref(), labels.state.as_deref(), labels.runtime.as_deref());
    assert_eq!(of, (Some("awaiting::many"), Some("idle"), Some("runtime-1")));
}

#[test]
fn a_running_stall_is_stalled_time_with_its_cause() {
    for (word, function, cause) in
        [("sleep", "stalling::naps", "[sleeping]"), ("compute", "stalling::computes", "[computing]")]
    {
        let mut program = Stalling::with("multi_thread");
        program.send(&format!("{word} 60000"));
        let arguments = ["--mode", "stalled", "--threshold", "100ms", "-d", "3"];
        let mut recorded = None;
        support::wait_until("the stall is recorded", || {
            let output = record(program.pid(), &[&["--format", "json"], &arguments[..]].concat());
            recorded = Profile::read(&output.stdout).ok().filter(|profile| profile.sample_count() == 1);
            // On a busy machine the cause may be that the thread was not scheduled.
            let is_cause = |profile: &Profile| {
                let sample = profile.samples.first().expect("has one");
                profile.frames_of(sample).next().is_some_and(|frame| &*frame.frame.function == cause)
            };
            recorded.as_ref().is_some_and(is_cause)
        });
        let profile = recorded.expect("the stall was recorded");
        assert_eq!((&*profile.kind, profile.pid), ("stalled", program.pid()));
        // A running stall is captured again, and a computing function is then at another line.
        for sample in &profile.samples {
            assert!(profile.frames_of(sample).any(|frame| &*frame.frame.function == function), "{profile:#?}");
        }
        let stalled = profile.total(profile.value_named("stalled").expect("has stalled time")) as f64 / 1e9;
        assert!((0.1..=profile.duration.as_secs_f64() + 1.0).contains(&stalled), "{stalled} s of {profile:#?}");
    }
}

#[test]
fn a_program_without_stalls_has_no_stalled_time() {
    let program = Stalling::with("multi_thread");
    let output = record(program.pid(), &["--mode", "stalled", "-d", "500ms", "--format", "folded"]);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]), "it has no samples");
}

#[test]
fn a_recording_of_tasks_ends_with_the_process() {
    // The process may be killed before the first sample or later.
    let mut after = Duration::from_millis(250);
    support::wait_until("it ends while it is recorded", || {
        let mut program = Stalling::with("multi_thread");
        let pid = program.pid().to_string();
        let arguments = ["record", "--pid", &pid, "-o", "-", "--format", "json", "--mode", "tasks", "-d", "250"];
        let recording = Command::new(env!("CARGO_BIN_EXE_holdup"))
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the command runs");
        std::thread::sleep(after);
        after *= 2;
        program.kill();
        let output = recording.wait_with_output().expect("it ends");
        let profile = Profile::read(&output.stdout);
        profile.is_ok_and(|profile| profile.quality.notes.iter().any(|note| note.contains("the process ended")))
    });
}

#[test]
fn unknown_modes_are_refused_with_a_list() {
    let program = Stalling::with("multi_thread");
    let output = record(program.pid(), &["--mode", "heap", "--format", "folded"]);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && errors.contains("cpu, wall, tasks and stalled"), "{errors}");
    let outside = ["record", "127.0.0.1:1", "--mode", "tasks", "--format", "folded", "-o", "-"];
    let output = Command::new(env!("CARGO_BIN_EXE_holdup")).args(outside).output().expect("the command runs");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && errors.contains("--pid"), "{errors}");
}
