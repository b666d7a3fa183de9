//! The page's files and events: what is held up is pushed to it while every worker is stuck.

#[path = "../support/mod.rs"]
mod support;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use holdup::Watch;
use serde_json::Value;
use support::{DEADLINE, Events, alone, wait_until};
use tokio::runtime::Builder;

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder().timeout_global(Some(DEADLINE)).http_status_as_error(false).build();
    ureq::Agent::new_with_config(config)
}

/// The status, the headers that matter, and the text.
fn get(address: SocketAddr, path: &str) -> (u16, String, String, String) {
    let mut answer = agent().get(format!("http://{address}{path}")).call().expect("the endpoint answers");
    let header = |name: &str| answer.headers().get(name).map_or("", |value| value.to_str().expect("text")).to_owned();
    let (kind, policy) = (header("content-type"), header("content-security-policy"));
    let body = answer.body_mut().read_to_string().expect("text");
    (answer.status().as_u16(), kind, policy, body)
}

/// Reads events until the stream ends.
struct Page(BufReader<Box<dyn std::io::Read>>);

impl Page {
    fn open(address: SocketAddr) -> Self {
        let answer = agent().get(format!("http://{address}/debug/holdup/live")).call().expect("the endpoint answers");
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Self(BufReader::new(Box::new(answer.into_body().into_reader())))
    }

    fn next(&mut self) -> Option<(String, Value)> {
        let (mut name, mut line) = (String::new(), String::new());
        loop {
            line.clear();
            if self.0.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if let Some(event) = line.strip_prefix("event: ") {
                event.trim_end().clone_into(&mut name);
            } else if let Some(data) = line.strip_prefix("data: ") {
                return Some((name, serde_json::from_str(data).expect("it is JSON")));
            }
        }
    }

    /// The next event of a kind that fits.
    fn wait_for(&mut self, kind: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + DEADLINE;
        while let Some((name, value)) = self.next() {
            if name == kind && fits(&value) {
                return value;
            }
            assert!(Instant::now() < deadline, "no such {kind}; the last one: {value}");
        }
        panic!("the stream ended");
    }
}

#[inline(never)]
fn wait_for_release(release: &Receiver<()>) {
    release.recv().expect("it is released");
}

fn stalled(timeline: &Value) -> bool {
    let lanes = timeline["lanes"].as_array().expect("a list");
    let sum = |lane: &Value| lane["stalled"].as_array().expect("a list").iter().filter_map(Value::as_u64).sum::<u64>();
    lanes.iter().any(|lane| sum(lane) > 0)
}

#[test]
fn a_stall_is_pushed_to_the_page_while_every_worker_is_stuck() {
    let _alone = alone();
    let watch = Events::default().builder().listen("127.0.0.1:0").start().expect("starts");
    let address = support::address_of(&watch);
    let runtime = watch.runtime(Builder::new_multi_thread().worker_threads(1).name("main")).expect("builds");
    let mut page = Page::open(address);
    let first = page.wait_for("held", |_| true);
    assert_eq!(first["held"], Value::Array(Vec::new()), "a new page is told at once");
    let (release, wait) = channel();
    let task = runtime.spawn(async move { wait_for_release(&wait) });
    let held = page.wait_for("held", |event| event["held"][0]["culprit"] == "endpoint_live::wait_for_release");
    let stall = &held["held"][0];
    assert_eq!((&stall["runtime"], &stall["worker"], &stall["class"]), (&"main".into(), &0.into(), &"lock".into()));
    assert!(stall["location"].as_str().is_some_and(|place| place.starts_with("tests/endpoint/live.rs:")), "{stall}");
    assert!(
        stall["held_ms"].as_f64() >= Some(10.0) && stall["task"].as_str().is_some_and(|task| task.contains("live.rs:"))
    );
    for text in ["cause", "advice"] {
        assert!(stall[text].as_str().is_some_and(|text| !text.is_empty()), "{stall}");
    }
    let timeline = page.wait_for("timeline", stalled);
    assert_eq!(timeline["lanes"][0]["runtime"], "main");
    release.send(()).expect("it waits");
    runtime.block_on(task).expect("the task ends");
    let after = page.wait_for("held", |event| event["held"] == Value::Array(Vec::new()));
    assert!(after["stalls_version"].as_u64() > held["stalls_version"].as_u64(), "{after}");
    // What a page that opens later asks for.
    let (status, kind, _, body) = get(address, "/debug/holdup/timeline");
    assert_eq!((status, kind.as_str()), (200, "application/json"));
    let whole: Value = serde_json::from_str(&body).expect("it is JSON");
    assert!(stalled(&whole), "{whole}");
    let length = |lane: &Value, list: &str| lane[list].as_array().map(Vec::len);
    let lane = &whole["lanes"][0];
    assert!(["between", "stalled", "task"].iter().all(|list| length(lane, list) == length(lane, "polling")), "{lane}");
    drop(runtime);
    drop(watch);
    assert_eq!(page.wait_for("bye", |_| true), Value::Null, "the page is told that the watch ends");
    assert_eq!(page.next(), None);
}

#[test]
fn numbers_of_the_last_seconds_are_kept_while_no_page_is_open() {
    let _alone = alone();
    let watch = Watch::builder().listen("127.0.0.1:0").start().expect("starts");
    let address = support::address_of(&watch);
    let runtime = watch.runtime(Builder::new_multi_thread().worker_threads(2).name("main")).expect("builds");
    let (release, wait) = tokio::sync::oneshot::channel::<()>();
    let task = runtime.spawn(wait);
    let numbers = || {
        serde_json::from_str::<Value>(&get(address, "/debug/holdup/timeline").3).expect("it is JSON")["numbers"].clone()
    };
    wait_until("two samples", || {
        numbers()["runtimes"][0]["busy_percent"].as_array().is_some_and(|list| list.len() >= 2)
    });
    let numbers = numbers();
    let count = numbers["unix_ms"].as_array().map(Vec::len);
    for list in ["memory_bytes", "cpu_percent", "holdup_cpu_percent"] {
        assert_eq!(numbers[list].as_array().map(Vec::len), count, "{list}");
    }
    assert!(numbers["memory_bytes"][0].as_u64() > Some(1 << 20), "{numbers}");
    let own = &numbers["runtimes"][0];
    assert_eq!((&own["runtime"], &own["workers"]), (&"main".into(), &2.into()));
    assert!(own["alive_tasks"].as_array().expect("a list").last().and_then(Value::as_u64) >= Some(1), "{own}");
    assert_eq!(own["blocking_queue"].is_array(), cfg!(tokio_unstable), "{own}");
    release.send(()).expect("it waits");
    runtime.block_on(task).expect("the task ends").expect("it was told");
}

#[test]
fn the_page_needs_nothing_but_the_endpoint() {
    let watch = Watch::builder().listen("127.0.0.1:0").start().expect("starts");
    let address = support::address_of(&watch);
    let (status, kind, policy, page) = get(address, "/");
    assert_eq!((status, kind.as_str()), (200, "text/html; charset=utf-8"));
    assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"), "{policy}");
    for part in ["=\"http", "=\"//", "<style", "style=", " onclick"] {
        assert!(!page.contains(part), "the policy forbids {part}: {page}");
    }
    let mut files: Vec<String> = attributes(&page);
    assert!(files.len() >= 3, "{page}");
    let mut next = 0;
    while let Some(file) = files.get(next).cloned() {
        let (status, kind, ..) = get(address, &file);
        let expected =
            if file.ends_with(".css") { "text/css; charset=utf-8" } else { "text/javascript; charset=utf-8" };
        assert_eq!((status, kind.as_str()), (200, expected), "{file}");
        let script = get(address, &file).3;
        for module in imports(&script) {
            let path = format!("/debug/holdup/page/{module}");
            if !files.contains(&path) {
                files.push(path);
            }
        }
        next += 1;
    }
    assert_eq!(get(address, "/debug/holdup/page/absent.js").0, 404);
    assert_eq!(get(address, "/debug/holdup/page/..%2f..%2fCargo.toml").0, 404);
}

/// The files that a page refers to.
fn attributes(page: &str) -> Vec<String> {
    let values = page.split(['"', '\'', '>', ' ', '=']);
    values.filter(|value| value.starts_with("/debug/holdup/page/")).map(str::to_owned).collect()
}

/// The modules that a script imports.
fn imports(script: &str) -> Vec<String> {
    let lines = script.lines().filter(|line| line.contains("from ") || line.contains("import("));
    let values = lines.flat_map(|line| line.split(['"', '\'']));
    values
        .filter_map(|value| value.strip_prefix("./"))
        .filter(|name| name.ends_with(".js"))
        .map(str::to_owned)
        .collect()
}
