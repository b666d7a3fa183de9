//! A load of two functions that share CPU time 1:2, sampled by holdup and then by the package `pprof`. Both results are
//! printed, and holdup's is checked.
//!
//! `pprof` unwinds in its signal handler, which in rare cases crashes or never returns. So it samples in a separate process,
//! and a failure of that process is printed without failing the test.
#![cfg(all(target_os = "linux", target_arch = "x86_64", not(holdup_unsupported)))]

#[path = "../support/mod.rs"]
mod support;

use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use holdup::{ProfileMode, ProfileOptions};
use pprof::{Frames, ProfilerGuardBuilder};
use support::cpu_load::{LoadedThreads, cpu_in};
use support::{Events, alone};

/// Samples per second of CPU time: fewer than kernel ticks, so that both profilers take every sample.
const RATE: u32 = 199;

/// The CPU seconds of a thread that has its own CPU.
const LOAD: Duration = Duration::from_secs(6);

/// The time that one function computes before the other one does.
const PART: Duration = Duration::from_millis(7);

/// The time after which the process of `pprof` is killed.
const LIMIT: Duration = Duration::from_secs(60);

/// The environment variable with the number of threads, for the process that `pprof` samples.
const THREADS: &str = "HOLDUP_TEST_PPROF_THREADS";

/// The text before its printed numbers.
const MARK: &str = "pprof found ";

/// The result of a profiler.
#[derive(Debug)]
struct Opinion {
    /// CPU seconds in the function that uses one part.
    one: f64,
    /// CPU seconds in the function that uses two parts.
    two: f64,
    /// CPU seconds of the threads by their own clocks.
    used: f64,
    /// The number of samples with a time.
    samples: usize,
}

impl Opinion {
    fn share(&self) -> f64 {
        self.one / (self.one + self.two)
    }

    /// The tolerance of the share: three points, or three sigma if the machine gave so little CPU time that chance alone may
    /// exceed that.
    fn tolerance(&self) -> f64 {
        let chance = 3.0 * (2.0 / 9.0 / self.samples as f64).sqrt();
        chance.max(0.03)
    }

    fn total(&self) -> f64 {
        (self.one + self.two) / self.used
    }

    fn print(&self, who: &str, threads: usize) {
        println!(
            "{threads} threads, {who}: {} samples, share {:.3} of 0.333, total {:.3} of {:.2} s",
            self.samples,
            self.share(),
            self.total(),
            self.used
        );
    }
}

fn threads(number: usize) -> LoadedThreads {
    LoadedThreads::new(number, PART, Duration::ZERO, LOAD)
}

fn of_holdup(number: usize) -> Opinion {
    let watch = Events::default().watch();
    let options = ProfileOptions::new(ProfileMode::Cpu).rate(RATE).duration(LOAD + Duration::from_secs(2));
    let loads = threads(number);
    let profiled = std::thread::spawn(move || watch.profile_blocking(&options));
    // The load runs inside the window.
    std::thread::sleep(Duration::from_millis(300));
    let used = loads.run().as_secs_f64();
    let profile = profiled.join().expect("no panic").expect("profiles");
    let seconds = |function| cpu_in(&profile, function) / 1e9;
    Opinion { one: seconds("one_part"), two: seconds("two_parts"), used, samples: profile.samples.len() }
}

/// `None` if `pprof` did not finish.
fn of_pprof(number: usize) -> Option<Opinion> {
    let this = std::env::current_exe().expect("the test has a path");
    let child = Command::new(this)
        .args(["--exact", "load_under_pprof", "--ignored", "--nocapture", "--test-threads=1"])
        .env(THREADS, number.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let (status, output) = finish(child);
    let text = String::from_utf8_lossy(&output.stdout);
    let Some((_, numbers)) = text.split_once(MARK) else {
        println!("{number} threads, pprof: no opinion, {status}: {}", String::from_utf8_lossy(&output.stderr));
        return None;
    };
    let mut numbers = numbers.split_whitespace().map(|number| number.parse::<f64>().expect("is a number"));
    let mut next = || numbers.next().expect("there are three");
    let (one, two, used) = (next(), next(), next());
    let samples = (one + two) * f64::from(RATE);
    Some(Opinion { one, two, used, samples: samples as usize })
}

/// Waits for a process, and kills it if it takes too long. Its output fits into a pipe.
fn finish(mut child: Child) -> (ExitStatus, Output) {
    let limit = Instant::now() + LIMIT;
    while child.try_wait().expect("it is our child").is_none() {
        if Instant::now() > limit {
            child.kill().expect("it is our child");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output().expect("its output can be read");
    (output.status, output)
}

#[test]
#[ignore = "the other tests run it in a separate process, with the number of threads in its environment"]
fn load_under_pprof() {
    let number = std::env::var(THREADS).expect("is set").parse().expect("is a number");
    let rate = i32::try_from(RATE).expect("is small");
    let unwound = ProfilerGuardBuilder::default().frequency(rate).blocklist(&["libc", "libgcc", "pthread", "vdso"]);
    let loads = threads(number);
    let guard = unwound.build().expect("samples");
    let used = loads.run();
    let report = guard.report().build().expect("reports");
    let seconds = |function: &str| {
        let through = |frames: &Frames| frames.frames.iter().flatten().any(|symbol| symbol.name().contains(function));
        let samples: isize = report.data.iter().filter(|(frames, _)| through(frames)).map(|(_, count)| *count).sum();
        samples as f64 / f64::from(RATE)
    };
    println!("{MARK}{} {} {}", seconds("one_part"), seconds("two_parts"), used.as_secs_f64());
}

fn check(number: usize) {
    let _alone = alone();
    let holdup = of_holdup(number);
    holdup.print("holdup", number);
    let pprof = of_pprof(number);
    if let Some(pprof) = &pprof {
        pprof.print("pprof", number);
    }
    assert!((holdup.share() - 1.0 / 3.0).abs() < holdup.tolerance(), "{holdup:?}");
    assert!((holdup.total() - 1.0).abs() < 0.05, "{holdup:?}");
    assert!(pprof.is_none_or(|pprof| pprof.one > 0.0 && pprof.two > 0.0), "pprof sees both functions");
}

#[test]
fn on_one_thread() {
    check(1);
}

#[test]
fn on_several_threads() {
    check(4);
}
