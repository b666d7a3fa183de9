//! Observation from outside does not disturb a process: idle threads are not woken, and a killed recorder leaves no thread
//! stopped.
#![cfg(all(feature = "cli", target_os = "linux", target_arch = "x86_64"))]

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/perf_events.rs"]
mod perf_events;

use std::time::{Duration, Instant};

use support::alone;
use support::observed::{KnownProgram, file, finished, record};

/// A program with idle workers and a computing thread.
#[test]
#[ignore = "the program that the other tests observe"]
fn idle_program() {
    let compute = || {
        let mut value = 1_u64;
        loop {
            value = std::hint::black_box(value.wrapping_mul(6_364_136_223_846_793_005));
        }
    };
    std::thread::Builder::new().name("computes".into()).spawn(compute).expect("a thread starts");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("builds");
    println!("\nready");
    runtime.block_on(std::future::pending::<()>());
}

/// How often each thread with this name was put on a CPU, in the order of their ids.
fn runs_of(pid: u32, name: &str) -> Vec<u64> {
    let mut runs: Vec<(u32, u64)> = threads(pid, name)
        .into_iter()
        .map(|tid| {
            let text = std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/schedstat")).expect("it lives");
            (tid, text.split_whitespace().nth(2).expect("has three fields").parse().expect("is a number"))
        })
        .collect();
    runs.sort_unstable();
    runs.into_iter().map(|(_, runs)| runs).collect()
}

fn threads(pid: u32, name: &str) -> Vec<u32> {
    let all = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it lives").flatten();
    let all = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let named = |tid: &u32| {
        std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/comm")).is_ok_and(|found| found.trim_end() == name)
    };
    all.filter(named).collect()
}

fn cpu_of(pid: u32, tid: u32) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/schedstat")).expect("it lives");
    Duration::from_nanos(text.split_whitespace().next().expect("is there").parse().expect("is a number"))
}

/// Starts the program and waits until its workers stay parked.
fn idle() -> KnownProgram {
    let program = KnownProgram::start(&[], "idle_program");
    let mut before = Vec::new();
    support::wait_until("its workers are parked", || {
        std::thread::sleep(Duration::from_millis(200));
        let now = runs_of(program.id(), "tokio-rt-worker");
        let parked = now.len() == 2 && now == before;
        before = now;
        parked
    });
    program
}

#[test]
fn parked_workers_are_not_woken() {
    let _alone = alone();
    if !perf_events::allowed() {
        return;
    }
    let program = idle();
    let before = runs_of(program.id(), "tokio-rt-worker");
    for (mode, name) in [("wall", "parked-wall.json"), ("cpu", "parked-cpu.json")] {
        let path = file(name);
        let output = path.to_str().expect("is text");
        let arguments = ["--pid", &program.pid(), "-m", mode, "-d", "2", "-r", "99", "-o", output];
        let (code, stdout, stderr) = finished(record(&[], &arguments).spawn().expect("starts"));
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{mode}: {stdout}");
        assert_eq!(runs_of(program.id(), "tokio-rt-worker"), before, "{mode}: workers ran");
    }
}

/// The recorder is killed at several moments while it stops a thread repeatedly.
#[test]
fn a_recorder_that_is_killed_leaves_the_target_running() {
    let _alone = alone();
    let program = idle();
    let tid = threads(program.id(), "computes")[0];
    let path = file("killed.json");
    let output = path.to_str().expect("is text");
    for round in 0..8 {
        let arguments = ["--pid", &program.pid(), "-m", "wall", "-d", "60", "-r", "1000", "-o", output];
        let mut recording = record(&[], &arguments).spawn().expect("starts");
        // The kernel reports the tracer thread, which lives for one stop.
        let traced = || {
            let status = std::fs::read_to_string(format!("/proc/{}/task/{tid}/status", program.id()));
            let status = status.expect("it lives");
            status.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|tracer| tracer.trim() != "0"))
        };
        // The thread is seized and released a thousand times per second.
        let limit = Instant::now() + support::DEADLINE;
        while !traced() {
            assert!(Instant::now() < limit, "round {round}: it is never stopped");
        }
        recording.kill().expect("it is our own child");
        recording.wait().expect("it ended");
        let before = cpu_of(program.id(), tid);
        support::wait_until("the thread goes on", || cpu_of(program.id(), tid) > before + Duration::from_millis(20));
    }
    assert!(!path.exists(), "nothing was written");
}
