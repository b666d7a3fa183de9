//! The reference service under everything at once, for a given time. Every fault is on in turn, and profiles of time and of
//! memory start and stop. The allocator takes a sample per 64 KiB. Requests are valid and invalid. Threads, child processes,
//! runtimes and libraries start and end.
//!
//! ```console
//! $ cargo build --release -p news_pipeline --examples
//! $ HOLDUP_SOAK=1h cargo test --release -p news_pipeline --test soak -- --nocapture
//! ```
//! Each flavor of runtime gets half of the time; the default is 20 seconds. The service must not crash, hang or reject a
//! request. No `epoll_wait` may be interrupted. Every fault that holds a worker must be noticed. Memory must stay flat,
//! and no signal may stay caught.

mod support;

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::http::{ask, get, request};
use support::service::{Service, program};
use support::{alone, wait_until};

/// All faults except those that never end, and those that take memory.
const FAULTS: [&str; 15] = [
    "sleep",
    "sync-read",
    "cpu",
    "json",
    "feed-parser",
    "lock",
    "lock-across-await",
    "block-on",
    "network",
    "producer-flush",
    "herd",
    "lost-waker",
    "starved-pool",
    "neighbour",
    "allocs",
];

/// Requests with the expected status 200, and requests with an expected client error.
const GOOD: [&str; 13] = [
    "/",
    "/healthz",
    "/debug/holdup/stalls",
    "/debug/holdup/stalls.svg",
    "/debug/holdup/workers",
    "/debug/holdup/self-check",
    "/debug/holdup/timeline",
    "/debug/holdup/tasks?seconds=0.2&format=text",
    "/debug/holdup/profile?mode=stalled&seconds=0.2&format=folded",
    "/debug/pprof/goroutine?debug=2",
    "/debug/pprof/block",
    "/debug/pprof/trace?seconds=0.2",
    "/debug/pprof/cmdline",
];
const BAD: [&str; 7] = [
    "/debug/holdup/nothing",
    "/debug/holdup/profile?seconds=-1",
    "/debug/holdup/profile?mode=%ff&format=exe",
    "/debug/holdup/tasks?seconds=1e99",
    "/debug/holdup/flamegraph.svg?rate=0",
    "/debug/pprof/nothing",
    "/debug/pprof/heap?seconds=x",
];

/// Queries of memory, beside the profiles of time.
const HEAP: [&str; 6] = [
    "holdup/profile?mode=heap",
    "holdup/profile?mode=allocs&seconds=1",
    "holdup/profile?mode=leaks&seconds=1&format=pprof",
    "holdup/profile?mode=temporary&seconds=1&format=folded",
    "holdup/profile?mode=peak",
    "pprof/heap?gc=1&seconds=1",
];

/// Number of clients that request news. Each request commits a fault.
const READERS: usize = 3;

/// Allocated memory settles in the first third. In the last third it may exceed the middle one by this factor plus this
/// many bytes. Resident memory is larger and grows for longer, because an allocator with many arenas keeps free blocks. It
/// has an upper bound.
const GROWTH: f64 = 1.1;
const GROWTH_BYTES: f64 = 8e6;
const MOST_BYTES: f64 = 1e9;

/// In shorter runs allocated memory still grows, while debug information is read.
const SETTLED_AFTER: Duration = Duration::from_secs(300);

fn time() -> Duration {
    let time = std::env::var("HOLDUP_SOAK").unwrap_or_else(|_| "20s".to_owned());
    humantime::parse_duration(&time).expect("HOLDUP_SOAK is a time such as 2m")
}

/// Counts of the preloaded library; see `support/soak_preload.rs`.
struct Counts(PathBuf);

impl Counts {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("holdup-soak-{}", std::process::id()));
        File::create(&path).and_then(|file| file.set_len(40)).expect("the temporary folder is writable");
        Self(path)
    }

    /// Waits, interrupted waits, loaded libraries, failed loads, allocated bytes.
    fn now(&self) -> [u64; 5] {
        let bytes = std::fs::read(&self.0).expect("it is there");
        let number = |index: usize| u64::from_ne_bytes(bytes[index * 8..][..8].try_into().expect("eight bytes"));
        [0, 1, 2, 3, 4].map(number)
    }
}

impl Drop for Counts {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.0);
    }
}

/// Memory and threads of a run, sampled every few seconds.
#[derive(Debug, Default)]
struct Memory {
    allocated: Vec<f64>,
    resident: Vec<f64>,
    threads: u64,
}

impl Memory {
    /// The medians of the middle third and of the last third.
    fn middle_and_last(values: &[f64]) -> (f64, f64) {
        let third = values.len() / 3;
        (median(&values[third..2 * third]), median(&values[2 * third..]))
    }
}

impl std::fmt::Display for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (values, what) in [(&self.allocated, "allocated"), (&self.resident, "resident")] {
            let (middle, last) = Self::middle_and_last(values);
            write!(f, "{:.0} MB {what}, then {:.0} MB; ", middle / 1e6, last / 1e6)?;
        }
        write!(f, "up to {} threads", self.threads)
    }
}

/// One service under load.
struct Soak {
    api: SocketAddr,
    diagnostics: SocketAddr,
    pid: u32,
    until: Instant,
    requests: AtomicU64,
    profiles: AtomicU64,
    heap_profiles: AtomicU64,
    asked: AtomicU64,
}

impl Soak {
    fn goes_on(&self) -> bool {
        Instant::now() < self.until
    }

    fn json(address: SocketAddr, path: &str) -> Value {
        serde_json::from_slice(&get(address, path).body).expect("it is JSON")
    }

    fn read_news(&self) {
        while self.goes_on() {
            let answer = get(self.api, "/latest-news");
            assert_eq!(answer.status, 200, "{}", answer.text());
            self.requests.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes CPU profiles at several rates. The client of the last disconnects early.
    fn profile(&self) {
        let whole = ["mode=cpu&rate=99&seconds=2", "mode=cpu&rate=999&seconds=1.3", "mode=wall&rate=99&seconds=1"];
        while self.goes_on() {
            for query in whole {
                let answer = get(self.diagnostics, &format!("/debug/holdup/profile?{query}"));
                assert_eq!(answer.status, 200, "{query}: {}", answer.text());
                assert!(!answer.body.is_empty(), "{query}");
                self.profiles.fetch_add(1, Ordering::Relaxed);
            }
            let left = ask(self.diagnostics, "GET", "/debug/pprof/profile?seconds=60", b"");
            std::thread::sleep(Duration::from_millis(500));
            drop(left);
            wait_until("the profile of the client that went away ends", || {
                get(self.diagnostics, "/debug/holdup/profile?mode=cpu&seconds=0.1").status == 200
            });
        }
    }

    fn profile_memory(&self) {
        while self.goes_on() {
            for query in HEAP {
                let answer = get(self.diagnostics, &format!("/debug/{query}"));
                assert_eq!(answer.status, 200, "{query}: {}", answer.text());
                self.heap_profiles.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn ask_good_and_bad(&self) {
        while self.goes_on() {
            for path in GOOD {
                let answer = get(self.diagnostics, path);
                assert_eq!(answer.status, 200, "{path}: {}", answer.text());
            }
            for path in BAD {
                let answer = get(self.diagnostics, path);
                assert!((400..500).contains(&answer.status), "{path}: {} {}", answer.status, answer.text());
            }
            assert_eq!(request(self.diagnostics, "DELETE", "/debug/holdup/stalls", b"").status, 405);
            // A client that disconnects at once, and one that sends nothing. The only CPU profile at a time is that of `profile`.
            drop(ask(self.diagnostics, "GET", "/debug/holdup/profile?mode=wall&seconds=30", b""));
            drop(std::net::TcpStream::connect(self.diagnostics).expect("connects"));
            self.asked.fetch_add((GOOD.len() + BAD.len() + 3) as u64, Ordering::Relaxed);
        }
    }

    /// Samples allocated memory and resident anonymous memory, in bytes, and the maximum of threads.
    fn watch_memory(&self, counts: &Counts) -> Memory {
        let mut memory = Memory::default();
        let pause = (self.until - Instant::now()) / 60;
        let mut printed = Instant::now();
        while self.goes_on() {
            let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).expect("the service lives");
            let value = |key: &str| -> u64 {
                let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("the kernel lists it");
                line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("it is a number")
            };
            let [waited, interrupted, _, _, allocated] = counts.now();
            memory.allocated.push(allocated as f64);
            memory.resident.push(value("RssAnon:") as f64 * 1024.0);
            memory.threads = memory.threads.max(value("Threads:"));
            if printed.elapsed() > Duration::from_secs(60) {
                printed = Instant::now();
                let left = self.until.saturating_duration_since(printed).as_secs();
                println!(
                    "{left} s left: {} MB allocated, {} MB resident, {} threads, {interrupted} of {waited} waits interrupted, {} requests, {} profiles",
                    allocated / 1_000_000,
                    value("RssAnon:") * 1024 / 1_000_000,
                    value("Threads:"),
                    self.requests.load(Ordering::Relaxed),
                    self.profiles.load(Ordering::Relaxed)
                );
            }
            std::thread::sleep(pause.clamp(Duration::from_millis(50), Duration::from_secs(10)));
        }
        memory
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// The library that `HOLDUP_SOAK_PRELOAD` names; without it, the example `soak_preload` as cargo built it.
fn preloaded_library() -> PathBuf {
    if let Some(library) = std::env::var_os("HOLDUP_SOAK_PRELOAD") {
        return library.into();
    }
    let test = std::env::current_exe().expect("this program has a path");
    let folder = test.parent().and_then(|deps| deps.parent()).expect("tests lie in target/…/deps");
    let library = folder.join("examples/libsoak_preload.so");
    assert!(library.exists(), "{} is missing: cargo build -p news_pipeline --examples", library.display());
    library
}

fn soak(runtime: &[&str], time: Duration) {
    let counts = Counts::new();
    let library = preloaded_library();
    let mut command = Command::new(program());
    command.env("LD_PRELOAD", library).env("HOLDUP_SOAK_COUNTS", &counts.0).env("HOLDUP_HEAP", "64KiB");
    command.args(["--churn", "--for", "24h", "--readers", "0", "--fault", &FAULTS.join(",")]).args(runtime);
    let mut service = Service::run(&mut command);
    let soak = Soak {
        api: service.address("news"),
        diagnostics: service.address("diagnostics"),
        pid: service.child.id(),
        until: Instant::now() + time,
        requests: AtomicU64::new(0),
        profiles: AtomicU64::new(0),
        heap_profiles: AtomicU64::new(0),
        asked: AtomicU64::new(0),
    };
    let memory = std::thread::scope(|scope| {
        for _ in 0..READERS {
            scope.spawn(|| soak.read_news());
        }
        scope.spawn(|| soak.profile());
        scope.spawn(|| soak.profile_memory());
        scope.spawn(|| soak.ask_good_and_bad());
        soak.watch_memory(&counts)
    });

    let faults = Soak::json(soak.api, "/counters")["faults"].clone();
    let faults = faults.as_array().expect("a list");
    let held: u64 = faults.iter().filter_map(|fault| fault["held"].as_u64()).sum();
    // Under this load the machine is the cause of some of them. They are no stalls, but they are noticed.
    let seen =
        || Soak::json(soak.diagnostics, "/debug/holdup/stalls")["counters"]["noticed"].as_u64().expect("a number");
    wait_until("every fault that held a worker is noticed", || seen() >= held);
    let [waited, interrupted, loaded, not_loaded, _] = counts.now();
    println!(
        "{runtime:?}, {time:?}: {} requests, {} profiles, {} of memory, {} other requests; {held} faults held a worker, {} long polls; \
         {interrupted} of {waited} waits interrupted; {loaded} libraries loaded; {memory}",
        soak.requests.load(Ordering::Relaxed),
        soak.profiles.load(Ordering::Relaxed),
        soak.heap_profiles.load(Ordering::Relaxed),
        soak.asked.load(Ordering::Relaxed),
        seen(),
    );
    for fault in faults {
        assert!(fault["committed"].as_u64() > Some(0), "{fault}");
    }
    assert!(held > 0 && soak.profiles.load(Ordering::Relaxed) > 0 && waited > 100, "it did something");
    assert_eq!(interrupted, 0, "of {waited} waits for events");
    assert!(loaded > 0 && not_loaded == 0, "{not_loaded} libraries could not be loaded");
    let most = memory.resident.iter().copied().fold(0.0, f64::max);
    assert!(most < MOST_BYTES, "memory: {memory:?}");
    let (middle, last) = Memory::middle_and_last(&memory.allocated);
    if time >= SETTLED_AFTER {
        assert!(last < middle * GROWTH + GROWTH_BYTES, "memory grows: {memory:?}");
    }

    let signaled = Command::new("kill").arg(soak.pid.to_string()).status().expect("`kill` is there");
    assert!(signaled.success());
    let mut status = None;
    wait_until("the service ends", || {
        status = service.child.try_wait().expect("it is our child");
        status.is_some()
    });
    // The exit code is also an error if a signal is still caught after the watch was dropped.
    assert_eq!(status.and_then(|status| status.code()), Some(0));
}

#[test]
fn on_several_workers() {
    let _alone = alone();
    soak(&["--workers", "4"], time() / 2);
}

#[test]
fn on_one_thread() {
    let _alone = alone();
    soak(&["--runtime", "current-thread"], time() / 2);
}
