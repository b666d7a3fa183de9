//! The `holdup` command against a live endpoint.
#![cfg(feature = "cli")]

mod support;

use std::process::{Command, Output};
use std::time::Duration;

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
fn shows_what_the_endpoint_knows() {
    let watch = Events::default().builder().listen("127.0.0.1:0").start().expect("starts");
    let url = format!("http://{}", watch.endpoint().expect("it listens"));
    let before = holdup(&["stalls", &url]);
    assert_eq!((before.status.code(), text(&before.stdout).starts_with("No stall so far.")), (Some(0), true));

    let mut builder = Builder::new_multi_thread();
    let runtime = watch.runtime(builder.name("api").worker_threads(1).enable_all()).expect("builds");
    runtime.block_on(async { holdup::spawn_named("napping", async { nap() }).await.expect("it ends") });
    wait_until("it is in the history", || watch.stalls().entries.iter().any(|entry| entry.stall.ended));

    let stalls = holdup(&["stalls", "--stacks", &url]);
    let shown = text(&stalls.stdout);
    assert_eq!(stalls.status.code(), Some(0), "{shown}");
    for part in
        ["command::nap at tests/command.rs:", "sleeping", "\"napping\"", "tokio::time::sleep", "worker 0 of api"]
    {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
    let json: serde_json::Value = serde_json::from_slice(&holdup(&["stalls", "--json", &url]).stdout).expect("JSON");
    assert_eq!(json["stalls"][0]["culprit"]["function"], "command::nap");
    let workers = text(&holdup(&["workers", &url]).stdout);
    assert!(workers.contains("api") && workers.contains("parked"), "{workers}");
}

#[test]
fn explains_causes() {
    let all = text(&holdup(&["explain"]).stdout);
    for class in holdup::CauseClass::ALL {
        assert!(all.contains(class.advice()), "{class}");
    }
    let one = text(&holdup(&["explain", "lock"]).stdout);
    assert!(one.contains("waiting for a lock") && !one.contains("sleeping"), "{one}");
}

#[test]
fn errors_name_the_object_and_the_remedy() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
    let nobody = format!("http://{}", listener.local_addr().expect("it is bound"));
    drop(listener);
    for (arguments, part) in [
        (["stalls", nobody.as_str()], "is the service running"),
        (["stalls", "https://example.invalid"], "not a plain http address"),
        (["explain", "nonsense"], "the causes are computing"),
    ] {
        let output = holdup(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).contains(part), "{}", text(&output.stderr));
    }
}
