//! The endpoint of tokio-console shows the tasks of a runtime in this process.

// Without `tokio_unstable`, `Console::listen` is an error and `tokio::task::Builder` does not exist.
#![cfg(tokio_unstable)]

mod support;

#[path = "support/console_client.rs"]
mod console_client;

use std::net::{SocketAddr, TcpListener};
use std::sync::OnceLock;
use std::time::Duration;

use console_client::{Shown, wait_for_tasks};
use holdup::check::{Check, Coverage};
use holdup::{Console, Error};
use support::{Events, alone, wait_until};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;

/// The console of this test program, with its global subscriber.
fn console() -> SocketAddr {
    static CONSOLE: OnceLock<SocketAddr> = OnceLock::new();
    *CONSOLE.get_or_init(|| {
        let console = Console::listen("127.0.0.1:0").expect("it is an address");
        let address = console.address();
        assert_eq!(console.init().expect("no other subscriber is set"), address);
        address.expect("there is a free port")
    })
}

fn check_of(watch: &holdup::Watch, address: SocketAddr) -> Option<&Check> {
    let mut checks = watch.self_check().checks.iter();
    checks.find(|check| check.subject == "tokio-console" && check.detail.contains(&address.to_string()))
}

#[test]
fn tasks_of_a_watched_runtime_are_shown_with_name_and_place() {
    let _alone = alone();
    let address = console();
    let watch = Events::default().watch();
    assert_eq!(
        check_of(&watch, address).map(|check| check.coverage),
        Some(Coverage::Full),
        "{:#?}",
        watch.self_check()
    );
    let runtime = watch.runtime(tokio::runtime::Builder::new_multi_thread().worker_threads(1)).expect("builds");
    let (lines, stop) = runtime.block_on(async {
        let (stop, stopped) = tokio::sync::watch::channel(());
        let waits = |mut stopped: tokio::sync::watch::Receiver<()>| async move { drop(stopped.changed().await) };
        holdup::spawn_named("ingest", waits(stopped.clone()));
        holdup::spawn(waits(stopped.clone()));
        tokio::spawn(waits(stopped));
        let last = line!() - 1;
        ([last - 2, last - 1, last], stop)
    });
    wait_for_tasks(address, "three tasks", |tasks| {
        let at = |line: u32, name: &str| {
            let fits = |task: &Shown| task.file.ends_with("tests/console.rs") && task.line == line && task.name == name;
            tasks.iter().any(fits)
        };
        let [named, spawned, tokios] = lines;
        at(named, "ingest") && at(spawned, "") && at(tokios, "")
    });
    drop(stop);
}

#[test]
fn a_name_given_to_tokio_is_in_the_report() {
    let _alone = alone();
    let _address = console();
    let events = Events::default();
    let watch = events.watch();
    let runtime = watch.runtime(tokio::runtime::Builder::new_multi_thread().worker_threads(1)).expect("builds");
    runtime.block_on(async {
        let stall = || async { std::thread::sleep(Duration::from_millis(60)) };
        let named = tokio::task::Builder::new().name("given to Tokio").spawn(stall()).expect("spawns");
        named.await.expect("it ends");
        tokio::spawn(stall()).await.expect("it ends");
    });
    events.wait_for("the task with a name", |_, stall| stall.task.name.as_deref() == Some("given to Tokio"));
    events.wait_for("the next poll of that worker has none", |_, stall| {
        stall.task.name.is_none() && stall.task.spawned_at.is_some_and(|place| place.file().ends_with("console.rs"))
    });
}

/// A port that is in use, as an address.
fn taken() -> (TcpListener, String) {
    let taken = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    (taken, address)
}

#[test]
fn an_address_in_use_is_a_warning_with_the_remedies() {
    let _alone = alone();
    let (_taken, address) = taken();
    let console = Console::listen(&address).expect("the service runs");
    assert_eq!(console.address(), None);
    let subscriber = tracing_subscriber::registry().with(console.layer());
    let check = tracing::subscriber::with_default(subscriber, || {
        let watch = Events::default().watch();
        watch.self_check().checks.iter().find(|check| check.detail.contains(&address)).cloned()
    });
    let check = check.expect("it is in the self-check");
    assert_eq!((check.subject, check.coverage), ("tokio-console", Coverage::Missing), "{check}");
    assert!(check.detail.contains("in use by this process"), "{check}");
    assert!(check.remedy.as_deref().is_some_and(|remedy| remedy.contains("listen_or_next")), "{check}");
    let gone = Events::default().watch();
    assert!(gone.self_check().checks.iter().all(|check| !check.detail.contains(&address)), "{:#?}", gone.self_check());
}

#[test]
fn names_are_in_reports_without_the_endpoint_too() {
    let _alone = alone();
    let (_taken, address) = taken();
    let subscriber = tracing_subscriber::registry().with(Console::listen(&address).expect("the service runs").layer());
    let events = Events::default();
    let watch = events.watch();
    tracing::subscriber::with_default(subscriber, || {
        let runtime = watch.runtime(&mut tokio::runtime::Builder::new_current_thread()).expect("builds");
        runtime.block_on(async {
            let stall = async { std::thread::sleep(Duration::from_millis(60)) };
            let named = tokio::task::Builder::new().name("without a port").spawn(stall).expect("spawns");
            named.await.expect("it ends");
        });
    });
    events.wait_for("the task with a name", |_, stall| stall.task.name.as_deref() == Some("without a port"));
}

#[test]
fn an_address_in_use_is_an_error_on_request() {
    let (_taken, address) = taken();
    let error = Console::listen(&address).and_then(Console::require_endpoint).expect_err("it is taken");
    assert!(matches!(error, Error::Console { .. }), "{error}");
    assert!(error.to_string().contains(&address), "{error}");
    assert!(Console::listen("127.0.0.1:0").and_then(Console::require_endpoint).is_ok());
    assert!(matches!(Console::listen("not an address"), Err(Error::Console { .. })));
}

#[test]
fn the_next_free_port_is_taken_on_request() {
    let _alone = alone();
    let (_taken, address) = taken();
    let asked: SocketAddr = address.parse().expect("is an address");
    let console = Console::listen_or_next(&address).and_then(Console::require_endpoint).expect("another port is free");
    let bound = console.address().expect("it listens");
    assert!((1..16).contains(&(bound.port() - asked.port())), "{bound} after {asked}");
    let subscriber = tracing_subscriber::registry().with(console.layer());
    let watch = tracing::subscriber::with_default(subscriber, || Events::default().watch());
    let check = check_of(&watch, bound).expect("it is in the self-check");
    assert_eq!(check.coverage, Coverage::Limited, "{check}");
    assert!(check.detail.contains(&format!("port {} is in use by this process", asked.port())), "{check}");
}

#[test]
fn a_second_subscriber_is_an_error_and_frees_its_address() {
    let _alone = alone();
    let first = console();
    let second = Console::listen("127.0.0.1:0").expect("it is an address");
    let address = second.address().expect("there is a free port");
    assert_ne!(address, first);
    assert!(matches!(second.init(), Err(Error::SubscriberTaken)));
    wait_until("the address is free", || TcpListener::bind(address).is_ok());
    wait_until("it is in no self-check", || check_of(&Events::default().watch(), address).is_none());
}

#[test]
fn a_subscriber_that_filters_tokios_spans_is_reported() {
    let _alone = alone();
    let console = Console::listen("127.0.0.1:0").expect("it is an address");
    let address = console.address().expect("there is a free port");
    let subscriber = tracing_subscriber::registry().with(console.layer()).with(LevelFilter::INFO);
    let watch = tracing::subscriber::with_default(subscriber, || Events::default().watch());
    let check = check_of(&watch, address).expect("it listens");
    assert_eq!(check.coverage, Coverage::Missing, "{check}");
    assert!(check.remedy.as_deref().is_some_and(|remedy| remedy.contains("with_filter")), "{check}");
}
