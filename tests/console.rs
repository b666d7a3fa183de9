//! tokio-console's protocol, spoken to a runtime in this process and to the reference service: both show their tasks.
//!
//! The reference service has to be built with `--features console`; see `support/service.rs` for where it is looked for.

// Elsewhere `Console::listen` is an error, and there is no `tokio::task::Builder`.
#![cfg(tokio_unstable)]

mod support;

use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use console_api::instrument::InstrumentRequest;
use console_api::instrument::instrument_client::InstrumentClient;
use console_api::tasks::Task;
use holdup::{Check, Console, Coverage, Error};
use support::service::{Service, program};
use support::{DEADLINE, Events, alone, wait_until};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;

/// The console of this test program, which has one global subscriber.
fn console() -> SocketAddr {
    static CONSOLE: OnceLock<SocketAddr> = OnceLock::new();
    *CONSOLE.get_or_init(|| {
        let console = Console::listen("127.0.0.1:0").expect("there is a free port");
        let address = console.address();
        assert_eq!(console.init().expect("nobody else sets a subscriber"), address);
        address
    })
}

/// What tokio-console shows of a task.
#[derive(Debug)]
struct Shown {
    name: String,
    file: String,
    line: u32,
}

impl Shown {
    fn of(task: Task) -> Self {
        let named = |field: &&console_api::Field| {
            field
                .name
                .as_ref()
                .is_some_and(|name| matches!(name, console_api::field::Name::StrName(name) if name == "task.name"))
        };
        let value = task.fields.iter().find(named).and_then(|field| field.value.as_ref());
        let location = task.location.unwrap_or_default();
        Self {
            name: value.map(ToString::to_string).unwrap_or_default(),
            file: location.file.unwrap_or_default(),
            line: location.line.unwrap_or_default(),
        }
    }
}

/// Connects as `tokio-console` does, and reads updates until the tasks that were told satisfy a condition.
fn wait_for_tasks(address: SocketAddr, what: &str, enough: impl Fn(&[Shown]) -> bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("builds");
    let mut shown = Vec::new();
    let read = async {
        let mut client = InstrumentClient::connect(format!("http://{address}")).await.expect("it accepts");
        let mut updates = client.watch_updates(InstrumentRequest {}).await.expect("it answers").into_inner();
        while let Some(update) = updates.message().await.expect("the stream goes on") {
            let new = update.task_update.map(|tasks| tasks.new_tasks).unwrap_or_default();
            shown.extend(new.into_iter().map(Shown::of));
            if enough(&shown) {
                return;
            }
        }
        panic!("the stream ended: {what}");
    };
    let in_time = runtime.block_on(async { tokio::time::timeout(DEADLINE, read).await.is_ok() });
    assert!(in_time, "not in {DEADLINE:?}: {what}; there were {shown:#?}");
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
fn a_name_that_tokio_was_told_is_in_the_report() {
    let _alone = alone();
    let _address = console();
    let events = Events::default();
    let watch = events.watch();
    let runtime = watch.runtime(tokio::runtime::Builder::new_multi_thread().worker_threads(1)).expect("builds");
    runtime.block_on(async {
        let stall = || async { std::thread::sleep(Duration::from_millis(60)) };
        let told = tokio::task::Builder::new().name("told to Tokio").spawn(stall()).expect("spawns");
        told.await.expect("it ends");
        tokio::spawn(stall()).await.expect("it ends");
    });
    events.wait_for("the task with a name", |_, stall| stall.task.name.as_deref() == Some("told to Tokio"));
    events.wait_for("the next poll of that worker has none", |_, stall| {
        stall.task.name.is_none() && stall.task.spawned_at.is_some_and(|place| place.file().ends_with("console.rs"))
    });
}

#[test]
fn an_address_that_is_taken_is_a_clear_error() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let error = Console::listen(&address).expect_err("it is taken");
    assert!(matches!(error, Error::Console { .. }), "{error}");
    assert!(error.to_string().contains(&address), "{error}");
    assert!(matches!(Console::listen("not an address"), Err(Error::Console { .. })));
}

#[test]
fn a_second_subscriber_is_refused_and_its_address_is_free_again() {
    let _alone = alone();
    let first = console();
    let second = Console::listen("127.0.0.1:0").expect("there is a free port");
    let address = second.address();
    assert_ne!(address, first);
    assert!(matches!(second.init(), Err(Error::SubscriberTaken)));
    wait_until("the address is free", || TcpListener::bind(address).is_ok());
    wait_until("it is in no self-check", || check_of(&Events::default().watch(), address).is_none());
}

#[test]
fn a_subscriber_that_drops_what_tokio_traces_is_told() {
    let _alone = alone();
    let console = Console::listen("127.0.0.1:0").expect("there is a free port");
    let address = console.address();
    let subscriber = tracing_subscriber::registry().with(console.layer()).with(LevelFilter::INFO);
    let watch = tracing::subscriber::with_default(subscriber, || Events::default().watch());
    let check = check_of(&watch, address).expect("it listens");
    assert_eq!(check.coverage, Coverage::Missing, "{check}");
    assert!(check.remedy.as_deref().is_some_and(|remedy| remedy.contains("with_filter")), "{check}");
}

#[test]
fn the_tasks_of_the_reference_service_are_shown() {
    let _alone = alone();
    let service = Service::start(&["--console", "127.0.0.1:0"]);
    wait_for_tasks(service.address("console"), "the parts of the service", |tasks| {
        ["publish", "consume", "feed server", "ingest", "api", "readers"].iter().all(|part| {
            let fits = |task: &Shown| task.name == *part && task.file.ends_with("examples/news_pipeline/service.rs");
            tasks.iter().any(fits)
        })
    });
}

#[test]
fn the_reference_service_says_that_the_address_is_taken() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let output =
        Command::new(program()).args(["--api", "127.0.0.1:0", "--console", &address]).output().expect("it runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(told.contains(&address) && told.contains("--console"), "{told}");
}
