//! The `holdup` command against a live endpoint.
#![cfg(feature = "cli")]

#[path = "../support/mod.rs"]
mod support;

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use holdup::WatchFutureExt;
use holdup::stall::{Counted, StallEntry};
use support::{Events, wait_until};
use tokio::runtime::Builder;

fn holdup(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_holdup")).args(arguments).output().expect("the command runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[inline(never)]
fn nap() {
    std::thread::sleep(Duration::from_millis(60));
}

#[test]
fn stalls_and_workers_of_an_endpoint_are_shown() {
    let watch = Events::default().builder().listen("127.0.0.1:0").start().expect("starts");
    let url = watch.endpoint().expect("it listens").to_string();
    let before = holdup(&["stalls", &url]);
    assert_eq!((before.status.code(), text(&before.stdout).starts_with("No stall so far.")), (Some(0), true));

    let mut builder = Builder::new_multi_thread();
    let runtime = watch.runtime(builder.name("api").worker_threads(1).enable_all()).expect("builds");
    runtime.block_on(async { holdup::spawn_named("napping", async { nap() }).await.expect("it ends") });
    wait_until("the stall is in the history", || watch.stalls().entries.iter().any(|entry| entry.stall.ended));

    let stalls = holdup(&["stalls", "--stacks", &url]);
    let shown = text(&stalls.stdout);
    assert_eq!(stalls.status.code(), Some(0), "{shown}");
    for part in [
        "command_endpoint::nap at tests/command/endpoint.rs:",
        "sleeping",
        "\"napping\"",
        "tokio::time::sleep",
        "worker 0 of runtime \"api\" was held for ",
        " by nap (sleeping)",
        "nobody drives I/O and timers",
    ] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
    let json: serde_json::Value = serde_json::from_slice(&holdup(&["stalls", "--json", &url]).stdout).expect("JSON");
    assert_eq!(json["stalls"][0]["culprit"]["function"], "command_endpoint::nap");
    let workers = text(&holdup(&["workers", &url]).stdout);
    assert!(workers.contains("api") && workers.contains("parked"), "{workers}");
}

/// Three mistakes, each reached in three ways: other lines, and other causes.
mod mistakes {
    use std::time::{Duration, Instant};

    #[inline(never)]
    pub(crate) fn longest(way: usize) {
        match way {
            0 => std::thread::sleep(Duration::from_millis(120)),
            1 => std::thread::sleep(Duration::from_millis(121)),
            _ => {
                let start = Instant::now();
                while start.elapsed() < Duration::from_millis(122) {
                    std::hint::spin_loop();
                }
            }
        }
        std::hint::black_box(way);
    }

    #[inline(never)]
    pub(crate) fn middle(way: usize) {
        match way {
            0 => std::thread::sleep(Duration::from_millis(70)),
            1 => std::thread::sleep(Duration::from_millis(71)),
            _ => std::thread::sleep(Duration::from_millis(72)),
        }
        std::hint::black_box(way);
    }

    #[inline(never)]
    pub(crate) fn shortest(way: usize) {
        match way {
            0 => std::thread::sleep(Duration::from_millis(30)),
            1 => std::thread::sleep(Duration::from_millis(31)),
            _ => std::thread::sleep(Duration::from_millis(32)),
        }
        std::hint::black_box(way);
    }
}

/// The positions of the functions in a text. Each is one heading.
fn order(text: &str, functions: &[&str], heading: impl Fn(&str) -> String) -> Vec<usize> {
    let headings: Vec<String> = functions.iter().map(|function| heading(function)).collect();
    for heading in &headings {
        assert_eq!(text.matches(heading.as_str()).count(), 1, "{heading}: {text}");
    }
    headings.iter().filter_map(|heading| text.find(heading.as_str())).collect()
}

#[test]
fn three_mistakes_are_three_groups_in_one_order_everywhere() {
    let watch = Events::default().builder().listen("127.0.0.1:0").start().expect("starts");
    let url = watch.endpoint().expect("it listens").to_string();
    let runtime = watch.runtime(Builder::new_multi_thread().worker_threads(1).enable_all()).expect("builds");
    let is_ended = |entry: &&StallEntry| entry.stall.ended && entry.stall.counted_as() == Counted::Stall;
    let ended = || watch.stalls().entries.iter().filter(is_ended).map(|entry| entry.count).sum::<u64>();
    for way in 0..3 {
        for mistake in [mistakes::shortest, mistakes::longest, mistakes::middle] {
            let before = ended();
            // A busy machine may not run the watchdog during a stall, so it is repeated until it is seen.
            wait_until("a stall has ended", || {
                runtime.block_on(async { holdup::spawn(async move { mistake(way) }).await.expect("it ends") });
                let limit = Instant::now() + Duration::from_secs(1);
                while ended() == before && Instant::now() < limit {
                    std::thread::sleep(Duration::from_millis(1));
                }
                ended() > before
            });
        }
    }
    assert!(watch.stalls().entries.len() > 3, "lines and causes are told apart in the history");

    let json = text(&holdup(&["stalls", "--json", &url]).stdout);
    let answer: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    // Beside other tests, the machine may make polls long. They are groups of their own.
    let all = answer["groups"].as_array().expect("a list");
    let groups: Vec<_> = all.iter().filter(|group| group["counted_as"] == "stall").collect();
    let functions: Vec<&str> = groups
        .iter()
        .filter_map(|group| group["function"].as_str())
        .filter(|function| function.starts_with("command_endpoint::mistakes::"))
        .collect();
    let mut names = functions.clone();
    names.sort_unstable();
    assert_eq!(names, ["longest", "middle", "shortest"].map(|name| format!("command_endpoint::mistakes::{name}")));
    let totals: Vec<f64> = groups.iter().filter_map(|group| group["total_ms"].as_f64()).collect();
    assert!(totals.len() == groups.len() && totals.is_sorted_by(|a, b| a >= b), "{groups:#?}");
    let count = |function: &str| groups.iter().find(|group| group["function"] == function)?["count"].as_u64();
    assert!(functions.iter().all(|function| count(function) >= Some(3)), "{groups:#?}");
    let shares: f64 = groups.iter().filter_map(|group| group["share"].as_f64()).sum();
    assert!((shares - 1.0).abs() < 1e-6, "{groups:#?}");
    let longest = groups.iter().find(|group| group["function"] == "command_endpoint::mistakes::longest");
    let causes: Vec<&str> = longest.expect("is a group")["parts"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|part| part["cause"].as_str())
        .collect();
    // Beside other tests, the machine may be the cause of a loop's stall.
    assert!(causes.contains(&"sleeping") && causes.iter().any(|cause| *cause != "sleeping"), "{groups:#?}");
    let first = answer["stalls"][0]["culprit"]["function"].as_str().expect("a culprit");
    assert_eq!(first, groups[0]["function"], "stalls have the order of groups");

    let shown = text(&holdup(&["stalls", &url]).stdout);
    assert!(
        order(&shown, &functions, |function| format!("{function}: {} stalls, ", count(function).unwrap_or_default()))
            .is_sorted(),
        "{shown}"
    );
}

#[test]
fn tasks_are_shown_in_a_table_that_fits_a_terminal() {
    let watch = Events::default().builder().listen("127.0.0.1:0").start().expect("starts");
    let url = watch.endpoint().expect("it listens").to_string();
    let mut builder = Builder::new_multi_thread();
    let runtime = watch.runtime(builder.name("api").worker_threads(1).enable_all()).expect("builds");
    runtime.spawn(
        async {
            loop {
                tokio::task::yield_now().await;
            }
        }
        .watched_as("yields"),
    );
    for by in ["task", "spawn", "name"] {
        let output = holdup(&["tasks", &url, "-d", "200ms", "--by", by, "--sort", "polls", "-n", "5"]);
        let shown = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        for part in ["polls of", "yields", "tests/command/endpoint.rs:", "spawned at"] {
            assert!(shown.contains(part), "{part} is not in {shown}");
        }
        assert!(shown.lines().all(|line| line.chars().count() <= 120), "{shown}");
    }
    let output = holdup(&["tasks", &url, "-d", "0.1", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&json["by"], &json["rows"][0]["name"]), (&"name".into(), &"yields".into()), "{json:#}");
}

#[test]
fn a_table_without_tasks_has_a_reason() {
    let watch = Events::default().builder().listen("127.0.0.1:0").start().expect("starts");
    let url = watch.endpoint().expect("it listens").to_string();
    let shown = || text(&holdup(&["tasks", &url, "-d", "100ms"]).stdout);
    let without_runtime = shown();
    assert!(without_runtime.contains("No runtime is watched now"), "{without_runtime}");
    let hooks = holdup::Hooks::new().without_task_hooks();
    let mut builder = Builder::new_multi_thread();
    let without_hooks = watch.runtime_with(builder.name("plain").worker_threads(1), hooks).expect("builds");
    let uninstrumented = shown();
    assert!(uninstrumented.contains("plain: no poll was counted. Its polls are not instrumented"), "{uninstrumented}");
    drop(without_hooks);
    let mut builder = Builder::new_multi_thread();
    let runtime = watch.runtime(builder.name("api").worker_threads(1)).expect("builds");
    runtime.spawn(std::future::pending::<()>());
    std::thread::sleep(std::time::Duration::from_millis(50));
    let idle = shown();
    let reason = if cfg!(tokio_unstable) { "api: no poll began, ended or ran in" } else { "api: no poll was counted" };
    assert!(idle.starts_with("0 polls of 0 tasks in") && idle.contains(reason), "{idle}");
}

/// A running command, and the lines it has printed.
struct Following {
    command: std::process::Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Following {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdup"));
        let mut command =
            command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command runs");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (out, seen) = (command.stdout.take().expect("is piped"), Arc::clone(&lines));
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                seen.lock().expect("no thread panics").push(line);
            }
        });
        Self { command, lines }
    }

    fn printed(&self, part: &str) -> usize {
        self.lines.lock().expect("no thread panics").iter().filter(|line| line.contains(part)).count()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ended_before = self.command.kill();
        let _reaped = self.command.wait();
    }
}

#[test]
fn stalls_are_followed_until_the_service_goes_away() {
    let watch = Events::default().builder().listen("127.0.0.1:0").start().expect("starts");
    let url = watch.endpoint().expect("it listens").to_string();
    let runtime = watch.runtime(Builder::new_multi_thread().worker_threads(2)).expect("builds");
    let stall = |name: &str, released: &Arc<AtomicBool>| {
        let released = Arc::clone(released);
        drop(runtime.spawn(async move { nap_until(&released) }.watched_as(name)));
    };
    let first = Arc::new(AtomicBool::new(false));
    stall("first", &first);
    wait_until("it is noticed", || !watch.stalls().entries.is_empty());
    let shown = Following::start(&["stalls", &url, "--follow"]);
    let mut json = Following::start(&["stalls", &url, "--follow", "--json"]);
    for (follower, running) in [(&shown, " so far by "), (&json, "\"ended\":false")] {
        wait_until("the running stall is printed", || follower.printed(running) == 1);
    }
    first.store(true, Ordering::Relaxed);
    for (follower, ended) in [(&shown, " was held for "), (&json, "\"ended\":true")] {
        wait_until("its end is printed", || follower.printed(ended) == 1);
    }
    let second = Arc::new(AtomicBool::new(false));
    stall("second", &second);
    wait_until("the next stall is printed", || {
        shown.printed(" so far by ") == 2 && json.printed("\"name\":\"second\"") == 1
    });
    assert_eq!(json.printed("{"), 3, "one object per line, each once");
    second.store(true, Ordering::Relaxed);

    drop(watch);
    wait_until("the command ends", || json.command.try_wait().expect("it is a child").is_some());
    let code = json.command.wait().expect("it is a child").code();
    let mut stderr = String::new();
    json.command.stderr.take().expect("is piped").read_to_string(&mut stderr).expect("text");
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("does not answer; trying again") && stderr.contains("the service went away"), "{stderr}");
}

#[inline(never)]
fn nap_until(released: &AtomicBool) {
    let start = Instant::now();
    while !released.load(Ordering::Relaxed) && start.elapsed() < support::DEADLINE {
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn top_shows_the_functions_of_an_endpoint_and_check_its_self_check() {
    let watch = Events::default().builder().listen("127.0.0.1:0").start().expect("starts");
    let address = support::address_of(&watch).to_string();
    let stop = Arc::new(AtomicBool::new(false));
    let ends = Arc::clone(&stop);
    let busy = std::thread::spawn(move || spin(&ends));
    let top = holdup(&["top", &address, "-d", "1s"]);
    stop.store(true, Ordering::Relaxed);
    busy.join().expect("it ends");
    let shown = text(&top.stdout);
    assert_eq!(top.status.code(), Some(0), "{}", text(&top.stderr));
    assert!(shown.contains("CPU time") && shown.contains("command_endpoint::spin"), "{shown}");

    let check = holdup(&["check", &address]);
    let shown = text(&check.stdout);
    assert!(shown.contains("task polls: "), "{shown}");
    let missing = shown.lines().any(|line| line.starts_with("missing"));
    assert_eq!(check.status.code(), Some(i32::from(missing)), "{shown}");
    let json: serde_json::Value = serde_json::from_slice(&holdup(&["check", &address, "--json"]).stdout).expect("JSON");
    assert!(json["checks"].as_array().is_some_and(|checks| !checks.is_empty()), "{json:#}");
}

#[inline(never)]
fn spin(stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        std::hint::spin_loop();
    }
}

#[test]
fn causes_are_explained() {
    let all = text(&holdup(&["explain"]).stdout);
    for class in holdup::stall::CauseClass::ALL {
        assert!(all.contains(class.advice()), "{class}");
    }
    for object in holdup::stall::CauseObject::ALL {
        assert!(all.contains(object.advice()) && all.contains(object.seen()), "{object}");
    }
    let object = text(&holdup(&["explain", "python_lock"]).stdout);
    assert!(object.contains("Python::detach") && !object.contains("SQLite"), "{object}");
    let unknown = holdup(&["explain", "blocked"]);
    let error = text(&unknown.stderr);
    assert!(!unknown.status.success() && error.contains("not_scheduled") && error.contains("stdout_pipe"), "{error}");
    let one = text(&holdup(&["explain", "lock"]).stdout);
    assert!(one.contains("waiting for a lock") && !one.contains("sleeping"), "{one}");
}

#[test]
fn errors_name_the_object_and_the_remedy() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
    let nobody = format!("http://{}", listener.local_addr().expect("it is bound"));
    drop(listener);
    let watch = Events::default().builder().listen("127.0.0.1:0").start().expect("starts");
    let service = watch.endpoint().expect("it listens").to_string();
    for (arguments, part) in [
        (&["stalls", nobody.as_str()][..], "is the service running"),
        (&["stalls", "--follow", &nobody], "is the service running"),
        (&["stalls", "https://example.invalid"], "not a plain http address"),
        (&["explain", "nonsense"], "the causes are computing"),
        (&["tasks", "--sort", "cost"], "choose one of busy, polls"),
        (&["tasks", "-d", "1h"], "\"1h\" is not a duration; write seconds, or a number with ms, s or m"),
        (&["top", &nobody], "is the service running"),
        (&["check", &nobody], "is the service running"),
        (&["dump", "-p", "abc"], "\"abc\" is not a number"),
        (&["tasks", "-d", "61", &service], "400 Bad Request: seconds=61 is invalid: it must be more than 0"),
    ] {
        let output = holdup(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).contains(part), "{}", text(&output.stderr));
    }
}
