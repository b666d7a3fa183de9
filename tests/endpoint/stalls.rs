//! The endpoint answers while the service is stuck forever, and reports the stall.

#[path = "../support/mod.rs"]
mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use holdup::WatchFutureExt;
use serde_json::Value;
use support::{DEADLINE, Events, alone, wait_until};
use tokio::runtime::Builder;

#[inline(never)]
fn lock_twice(mutex: &Mutex<()>) {
    let _first = mutex.lock();
    std::mem::forget(mutex.lock());
}

fn get(address: SocketAddr, path: &str) -> (u16, String, String) {
    let config = ureq::Agent::config_builder().timeout_global(Some(DEADLINE)).http_status_as_error(false).build();
    let agent = ureq::Agent::new_with_config(config);
    let mut answer = agent.get(format!("http://{address}{path}")).call().expect("the endpoint answers");
    let content_type = answer.headers().get("content-type").map(|value| value.to_str().expect("text").to_owned());
    let body = answer.body_mut().read_to_string().expect("text");
    (answer.status().as_u16(), content_type.unwrap_or_default(), body)
}

fn stalls(address: SocketAddr) -> Value {
    let (status, content_type, body) = get(address, "/debug/holdup/stalls");
    assert_eq!((status, content_type.as_str()), (200, "application/json"));
    serde_json::from_str(&body).expect("it is JSON")
}

fn deadlocked(value: &Value) -> Option<&Value> {
    let stalls = value["stalls"].as_array().expect("a list");
    stalls.iter().find(|stall| stall["culprit"]["function"] == "endpoint_stalls::lock_twice")
}

#[test]
fn a_worker_that_is_stuck_forever_is_reported() {
    let _alone = alone();
    let mut current = Builder::new_current_thread();
    let mut multi = Builder::new_multi_thread();
    for (flavor, builder) in [("current-thread", &mut current), ("multi-thread", multi.worker_threads(1))] {
        let events = Events::default();
        let watch = events.builder().listen("127.0.0.1:0").start().expect("starts");
        let address = support::address_of(&watch);
        let runtime = watch.runtime(builder.enable_all()).expect("builds");
        // It never returns, and ends with the process.
        std::thread::spawn(move || {
            runtime.block_on(async {
                let mutex = Arc::new(Mutex::new(()));
                let stuck = holdup::spawn_named("stuck", async move { lock_twice(&mutex) });
                stuck.await.expect("it never ends");
            });
        });
        wait_until(flavor, || deadlocked(&stalls(address)).is_some());
        let answer = stalls(address);
        let stall = deadlocked(&answer).expect("it is running");
        assert_eq!(stall["ended"], false, "{flavor}");
        assert_eq!(stall["cause"]["class"], "lock", "{flavor}");
        assert!(stall["cause"]["advice"].as_str().is_some_and(|advice| !advice.is_empty()), "{flavor}");
        assert!(stall["cause"]["evidence"].is_object(), "{flavor}");
        assert_eq!(stall["task"]["name"], "stuck", "{flavor}");
        assert!(stall["task"]["id"].as_u64().is_some(), "{flavor}");
        assert!(
            stall["task"]["spawned_at"].as_str().is_some_and(|place| place.contains("endpoint/stalls.rs:")),
            "{flavor}"
        );
        assert_eq!(stall["worker"], 0, "{flavor}");
        assert_eq!(stall["threshold_ms"], 10.0, "{flavor}");
        assert_eq!(stall["count"], 1, "{flavor}");
        assert_eq!(stall["culprit"]["file"], "tests/endpoint/stalls.rs", "{flavor}");
        assert!(stall["culprit"]["line"].as_u64().is_some(), "{flavor}");
        assert!(stall["stack"].as_array().is_some_and(|stack| stack.len() > 3), "{flavor}");
        assert!(answer["suppressed"].as_u64().is_some(), "{flavor}");
        for key in ["id", "runtime", "thread", "duration_ms"] {
            assert!(!stall[key].is_null(), "{flavor}: {key}");
        }
        let longer = || {
            deadlocked(&stalls(address)).is_some_and(|now| now["duration_ms"].as_f64() > stall["duration_ms"].as_f64())
        };
        wait_until("it grows", longer);

        let (status, content_type, svg) = get(address, "/debug/holdup/stalls.svg");
        assert_eq!((status, content_type.as_str()), (200, "image/svg+xml"));
        assert!(svg.contains("lock_twice") && svg.contains("waiting for a lock"), "{flavor}");
        let (_, _, workers) = get(address, "/debug/holdup/workers");
        let workers: Value = serde_json::from_str(&workers).expect("it is JSON");
        let held = workers["workers"].as_array().expect("a list").iter().find(|now| now["task"]["name"] == "stuck");
        let held = held.unwrap_or_else(|| panic!("{flavor}: {workers:#}"));
        assert_eq!(held["activity"], "polling", "{flavor}");
        assert!(held["polling_for_ms"].as_f64() >= Some(10.0), "{flavor}: {held:#}");
        // `endpoint_live` tests what is pushed to the page.
        assert_eq!(get(address, "/").0, 200, "{flavor}");
    }
}

#[test]
fn unknown_paths_are_answered_with_the_known_ones() {
    let _alone = alone();
    let watch = Events::default().builder().listen("127.0.0.1:0").start().expect("starts");
    let address = support::address_of(&watch);
    assert_eq!(get(address, "/healthz"), (200, "text/plain; charset=utf-8".into(), "ok\n".into()));
    let (status, _, body) = get(address, "/debug/holdup/heap");
    assert_eq!(status, 404);
    assert!(body.contains("/debug/holdup/stalls"), "{body}");
    let (status, content_type, body) = get(address, "/debug/holdup/stalls.svg");
    assert_eq!((status, content_type.as_str()), (200, "image/svg+xml"));
    assert!(body.contains("Nothing was measured"), "{body}");
    let (_, _, check) = get(address, "/debug/holdup/self-check");
    assert!(check.contains("\"task polls\""), "{check}");
}

#[test]
fn tasks_are_counted_while_the_client_waits() {
    let _alone = alone();
    let watch = Events::default().builder().listen("127.0.0.1:0").start().expect("starts");
    let address = support::address_of(&watch);
    let runtime = watch.runtime(Builder::new_multi_thread().worker_threads(1)).expect("builds");
    runtime.spawn(
        async {
            loop {
                tokio::task::yield_now().await;
            }
        }
        .watched_as("yields"),
    );
    let (status, content_type, body) = get(address, "/debug/holdup/tasks?seconds=0.2&by=task&sort=polls&limit=1");
    assert_eq!((status, content_type.as_str()), (200, "application/json"), "{body}");
    let answer: Value = serde_json::from_str(&body).expect("it is JSON");
    assert!(answer["window_ms"].as_f64() >= Some(200.0), "{answer:#}");
    let row = &answer["rows"][0];
    assert_eq!((&row["name"], &row["workers"]), (&"yields".into(), &serde_json::json!([0])), "{answer:#}");
    assert!(row["task"].as_u64().is_some() && row["polls"].as_u64() > Some(1), "{answer:#}");
    assert!(row["busy_ms"].as_f64() > Some(0.0) && row["delay_mean_ms"].is_null(), "{answer:#}");
    assert!(row["spawned_at"].as_str().is_some_and(|place| place.contains("endpoint/stalls.rs:")), "{answer:#}");

    let (status, content_type, table) = get(address, "/debug/holdup/tasks?seconds=0.1&format=text");
    assert_eq!((status, content_type.as_str()), (200, "text/plain; charset=utf-8"));
    assert!(table.contains("spawned at") && table.contains("yields"), "{table}");

    for (query, part) in [
        ("seconds=61", "at most 60"),
        ("seconds=soon", "seconds=soon is invalid"),
        ("by=worker", "choose one of task, spawn"),
        ("sort=cost", "choose one of busy, polls"),
        ("limit=all", "limit=all is invalid"),
        ("limit=10001", "at most 10000"),
        ("format=xml", "the formats are json and text"),
        ("second=1", "this path takes seconds, by, sort, limit, format"),
        ("seconds=1&seconds=2", "more than once"),
    ] {
        let (status, content_type, body) = get(address, &format!("/debug/holdup/tasks?{query}"));
        assert_eq!((status, content_type.as_str()), (400, "text/plain; charset=utf-8"), "{query}: {body}");
        assert!(body.contains(part) && body.lines().count() == 1, "{query}: {body}");
    }
}

#[test]
fn a_disconnected_client_frees_its_window() {
    let _alone = alone();
    let watch = Events::default().builder().listen("127.0.0.1:0").start().expect("starts");
    let address = support::address_of(&watch);
    let clients: Vec<TcpStream> = (0..4)
        .map(|_| {
            let mut stream = TcpStream::connect(address).expect("connects");
            stream
                .write_all(b"GET /debug/holdup/tasks?seconds=60 HTTP/1.1\r\nHost: localhost\r\n\r\n")
                .expect("is sent");
            stream
        })
        .collect();
    let ask = || get(address, "/debug/holdup/tasks?seconds=0.01");
    wait_until("a fifth request is rejected", || {
        let (status, _, body) = ask();
        status == 429 && body.contains("ask again")
    });
    drop(clients);
    wait_until("a window is free again", || ask().0 == 200);
    watch.count_tasks_blocking(Duration::ZERO).expect("a window is free inside too");
}

#[test]
fn slow_clients_do_not_block_others() {
    let _alone = alone();
    let watch = Events::default().builder().listen("127.0.0.1:0").start().expect("starts");
    let address = support::address_of(&watch);
    // More connections than the limit, each with half a request.
    let mut slow: Vec<TcpStream> = (0..100)
        .map(|_| {
            let mut stream = TcpStream::connect(address).expect("connects");
            stream.write_all(b"GET /healthz HT").expect("is sent");
            stream
        })
        .collect();
    let (status, _, body) = get(address, "/healthz");
    assert_eq!((status, body.as_str()), (200, "ok\n"));
    let stream = &mut slow[0];
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("is set");
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("the endpoint closes it");
    assert!(!rest.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&rest));
}
