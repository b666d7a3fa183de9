//! The reference service commits every mistake of its catalogue, and holdup reports function, file, line and cause.
//!
//! `HOLDUP_NEWS_PIPELINE` names the program to test; without it, cargo builds it.

mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::DEADLINE;
use support::service::{Service, program};

/// The fault, the function that makes the mistake, and the expected cause.
const FAULTS: [(&str, &str, &str); 11] = [
    ("sleep", "sleep_in_handler", "sleeping"),
    ("sync-read", "read_with_fsync_in_handler", "file"),
    ("cpu", "compare_every_headline", "computing"),
    ("json", "parse_huge_article", "computing"),
    ("feed-parser", "parse_feed_on_worker", "computing"),
    ("lock", "wait_for_archive_lock", "lock"),
    ("lock-across-await", "wait_for_lock_held_across_await", "lock"),
    ("block-on", "block_on_inside_task", "lock"),
    ("network", "read_from_slow_peer", "network"),
    ("producer-flush", "flush_producer_in_handler", "lock"),
    ("never-ends", "lock_twice", "lock"),
];

/// Faults that hold no worker by themselves, so that there is no stall.
const NO_STALLS: [&str; 8] =
    ["herd", "unbounded-spawn", "starved-pool", "lost-waker", "cache-leak", "allocs", "big-alloc", "neighbour"];

/// Requests of this test.
trait Asked {
    fn stalls(&self) -> Value;

    fn wait_for_stall(&self, function: &str, class: &str) -> Value;

    /// Sends SIGTERM, and returns the exit code.
    fn terminate(self) -> Option<i32>;
}

impl Asked for Service {
    fn stalls(&self) -> Value {
        let config = ureq::Agent::config_builder().timeout_global(Some(DEADLINE)).build();
        let agent = ureq::Agent::new_with_config(config);
        let url = format!("http://{}/debug/holdup/stalls", self.address("diagnostics"));
        let body = agent.get(url).call().expect("the endpoint answers").body_mut().read_to_string().expect("text");
        serde_json::from_str(&body).expect("it is JSON")
    }

    fn wait_for_stall(&self, function: &str, class: &str) -> Value {
        let limit = Instant::now() + DEADLINE;
        loop {
            let answer = self.stalls();
            let stalls = answer["stalls"].as_array().expect("a list");
            let fits = |stall: &&Value| {
                let name = stall["culprit"]["function"].as_str().unwrap_or_default();
                name.ends_with(&format!("::{function}")) && stall["cause"]["class"] == class
            };
            if let Some(stall) = stalls.iter().find(fits) {
                return stall.clone();
            }
            assert!(Instant::now() < limit, "no stall in {function} for {class}: {answer:#}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn terminate(mut self) -> Option<i32> {
        let signaled = Command::new("kill").arg(self.child.id().to_string()).status().expect("`kill` is there");
        assert!(signaled.success());
        let limit = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return status.code();
            }
            assert!(Instant::now() < limit, "the service does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// This fault is tested alone, because it may stop all others: see its file.
const FOR_EVER: &str = "never-ends";

/// holdup reports the function, its file and line, the cause, the remedy, and the request.
fn is_named(service: &Service, (fault, function, class): (&str, &str, &str)) {
    let stall = service.wait_for_stall(function, class);
    let file = stall["culprit"]["file"].as_str().unwrap_or_default();
    assert!(file.starts_with("examples/news_pipeline/src/faults/"), "{fault}: {stall:#}");
    assert!(stall["culprit"]["line"].as_u64().is_some(), "{fault}: {stall:#}");
    assert!(stall["cause"]["advice"].as_str().is_some_and(|advice| !advice.is_empty()), "{fault}");
    assert_eq!(stall["task"]["name"], "GET /latest-news", "{fault}");
}

#[test]
fn every_fault_is_named() {
    let mut arguments = vec!["--workers", "3"];
    let faults = || FAULTS.into_iter().filter(|(fault, ..)| *fault != FOR_EVER);
    for (fault, ..) in faults() {
        arguments.extend(["--fault", fault]);
    }
    let service = Service::start(&arguments);
    faults().for_each(|fault| is_named(&service, fault));
    assert_eq!(service.terminate(), Some(0));
}

#[test]
fn a_fault_that_never_ends_is_named() {
    let service = Service::start(&["--workers", "3", "--fault", FOR_EVER]);
    FAULTS.into_iter().filter(|(fault, ..)| *fault == FOR_EVER).for_each(|fault| is_named(&service, fault));
    assert_eq!(service.terminate(), Some(0), "a stuck worker is what never-ends asks for");
}

#[test]
fn a_current_thread_service_that_is_stuck_for_good_is_reported() {
    let service = Service::start(&["--runtime", "current-thread", "--fault", "never-ends"]);
    let stall = service.wait_for_stall("lock_twice", "lock");
    assert_eq!(stall["ended"], false, "{stall:#}");
    assert_eq!(service.terminate(), Some(0), "it ends although its runtime is stuck");
}

#[test]
fn faults_are_listed() {
    let list = Command::new(program()).args(["--fault", "list"]).output().expect("it runs");
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    for fault in FAULTS.iter().map(|(fault, ..)| *fault).chain(NO_STALLS) {
        assert!(list.lines().any(|line| line.starts_with(&format!("{fault} "))), "{fault} is not in {list}");
    }
    let listed = list.lines().filter(|line| !line.starts_with(' ')).count();
    assert_eq!(listed, FAULTS.len() + NO_STALLS.len(), "each is tested: {list}");
}
