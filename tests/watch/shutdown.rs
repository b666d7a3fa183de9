//! A runtime whose shutdown waits for blocking functions is reported, with what they do.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

#[path = "../support/mod.rs"]
mod support;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use holdup::{Print, Runtime, Watch};
use support::{alone, wait_until};
use tokio::io::AsyncReadExt;
use tokio::runtime::Builder;
use tracing::dispatcher::{self, Dispatch};
use tracing_subscriber::layer::SubscriberExt;

/// Lines of the log.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    fn wait_for(&self, part: &str) {
        let limit = Instant::now() + support::DEADLINE;
        while !self.text().contains(part) {
            assert!(Instant::now() < limit, "{part:?} is not in {:?}", self.text());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// A watch whose events are logged here, as long as the subscriber exists.
    fn watch(&self) -> (Watch, Dispatch) {
        let log = self.clone();
        let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || log.clone());
        let subscriber = Dispatch::new(tracing_subscriber::registry().with(layer));
        (dispatcher::with_default(&subscriber, quiet), subscriber)
    }
}

fn runtime(watch: &Watch, name: &str) -> Runtime {
    watch.runtime(Builder::new_multi_thread().worker_threads(2).name(name).enable_all()).expect("builds")
}

fn quiet() -> Watch {
    Watch::builder().print(Print::Never).start().expect("starts")
}

#[inline(never)]
fn upload(release: &Receiver<()>) {
    let _released = release.recv();
    std::hint::black_box(());
}

#[inline(never)]
fn compress(release: &Receiver<()>) {
    while release.try_recv().is_err() {
        std::hint::spin_loop();
    }
}

/// Starts a blocking function, and returns once it runs.
fn start(runtime: &Runtime, function: fn(&Receiver<()>)) -> Sender<()> {
    let (release, released) = mpsc::channel();
    let (begin, begun) = mpsc::channel();
    runtime.spawn_blocking(move || {
        begin.send(()).expect("the test waits");
        function(&released);
    });
    begun.recv_timeout(support::DEADLINE).expect("it begins");
    release
}

#[test]
fn a_shutdown_that_waits_names_the_blocking_functions() {
    let _alone = alone();
    let log = Log::default();
    let (watch, _subscriber) = log.watch();
    let runtime = runtime(&watch, "api");
    let mut releases: Vec<_> = (0..3).map(|_| start(&runtime, upload)).collect();
    releases.push(start(&runtime, compress));
    let shutdown = std::thread::spawn(move || drop(runtime));
    log.wait_for("advice: ");
    let text = log.text();
    assert!(text.contains("shutdown of runtime \"api\" has waited for 4 blocking functions for 1."), "{text}");
    assert!(text.contains("3 threads, such as ") && text.contains("watch_shutdown::upload at tests/"), "{text}");
    assert!(text.contains(" waits in futex\n") && text.contains("watch_shutdown::compress at tests/"), "{text}");
    assert!(text.contains(" runs, or is ready to run\n"), "{text}");
    drop(releases.drain(..3));
    releases[0].send(()).expect("it runs");
    shutdown.join().expect("it ends");
    log.wait_for("shutdown of runtime \"api\" ended after ");
    wait_until("the thread has ended", || !threads().contains(&"holdup-shutdown".to_owned()));
}

/// A task owns it. Its drop lasts until the test has seen the report.
struct Connection(Receiver<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        close(&self.0);
        std::hint::black_box(());
    }
}

#[inline(never)]
fn close(release: &Receiver<()>) {
    let _released = release.recv();
    std::hint::black_box(());
}

/// A worker drops the tasks of a multi-thread runtime. Those of a current-thread runtime are dropped by the thread that drops the
/// runtime.
#[test]
fn a_shutdown_that_waits_for_a_drop_names_it() {
    let _alone = alone();
    for mut builder in [Builder::new_multi_thread(), Builder::new_current_thread()] {
        let log = Log::default();
        let (watch, _subscriber) = log.watch();
        let runtime = watch.runtime(builder.worker_threads(1).name("api").enable_all()).expect("builds");
        let (release, released) = mpsc::channel();
        let connection = Connection(released);
        runtime.spawn(async move {
            let _connection = connection;
            std::future::pending::<()>().await;
        });
        let shutdown = std::thread::spawn(move || drop(runtime));
        log.wait_for("advice: ");
        let text = log.text();
        assert!(text.contains("shutdown of runtime \"api\" has waited for the drop of 1 task for 1."), "{text}");
        assert!(text.contains("watch_shutdown::close at tests/") && text.contains(" waits in futex\n"), "{text}");
        assert!(text.contains("advice: Tokio drops the tasks that are left"), "{text}");
        drop(release);
        shutdown.join().expect("it ends");
        log.wait_for("shutdown of runtime \"api\" ended after ");
    }
}

#[test]
fn short_shutdowns_and_those_that_do_not_wait_are_silent() {
    let _alone = alone();
    let log = Log::default();
    let (watch, _subscriber) = log.watch();
    let short = runtime(&watch, "short");
    short.block_on(async { tokio::task::spawn_blocking(|| ()).await.expect("it ends") });
    let (background, taken) = (runtime(&watch, "background"), runtime(&watch, "taken"));
    let releases = [start(&background, upload), start(&taken, upload)];
    let shutdown = std::thread::spawn(move || {
        drop(short);
        background.shutdown_background();
        taken.into_tokio().shutdown_timeout(Duration::from_millis(1300));
    });
    shutdown.join().expect("it ends");
    drop(releases);
    assert!(!log.text().contains("shutdown"), "{}", log.text());
}

#[test]
fn a_shutdown_with_a_limit_is_reported_while_it_waits() {
    let _alone = alone();
    let log = Log::default();
    let (watch, _subscriber) = log.watch();
    let runtime = runtime(&watch, "limited");
    let release = start(&runtime, upload);
    std::thread::spawn(move || runtime.shutdown_timeout(Duration::from_millis(1300))).join().expect("it ends");
    drop(release);
    log.wait_for("shutdown of runtime \"limited\" ended after 1.");
    assert!(log.text().contains("watch_shutdown::upload at tests/"), "{}", log.text());
}

#[test]
fn a_shutdown_after_the_end_of_the_watch_is_reported() {
    let _alone = alone();
    let log = Log::default();
    let (watch, _subscriber) = log.watch();
    let runtime = runtime(&watch, "outlives");
    let release = start(&runtime, upload);
    drop(watch);
    let shutdown = std::thread::spawn(move || drop(runtime));
    log.wait_for("advice: ");
    let text = log.text();
    assert!(text.contains("shutdown of runtime \"outlives\" has waited for 1 blocking function for 1."), "{text}");
    assert!(text.contains("watch_shutdown::upload at tests/"), "{text}");
    drop(release);
    shutdown.join().expect("it ends");
    log.wait_for("shutdown of runtime \"outlives\" ended after ");
    wait_until("the threads have ended", || !threads().iter().any(|name| name.starts_with("holdup-")));
}

/// A subscriber that is stuck for good.
struct Stuck;

impl std::io::Write for Stuck {
    fn write(&mut self, _line: &[u8]) -> std::io::Result<usize> {
        loop {
            std::thread::park();
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_subscriber_that_is_stuck_gets_no_shutdown_and_standard_error_does() {
    if std::env::var_os(CHILD).is_some() {
        return shut_down_with_a_stuck_subscriber();
    }
    let _alone = alone();
    let mut child = child_of("a_subscriber_that_is_stuck_gets_no_shutdown_and_standard_error_does");
    let mut lines = BufReader::new(child.stderr.take().expect("is piped")).lines().map_while(Result::ok);
    let waits = |line: &String| line.contains("has waited for 1 blocking function");
    let mut said: Vec<String> = Vec::new();
    while !said.last().is_some_and(waits) {
        said.push(lines.next().expect("the shutdown is reported"));
    }
    // The end of standard input ends the blocking function.
    drop(child.stdin.take());
    said.extend(lines);
    assert!(child.wait().expect("it ends").success(), "{said:#?}");
    let count = |part: &str| said.iter().filter(|line| line.contains(part)).count();
    assert_eq!(count("holdup: shutdown of runtime \"stuck\" has waited for 1 blocking function"), 1, "{said:#?}");
    assert_eq!(count("holdup: shutdown of runtime \"stuck\" ended after "), 1, "{said:#?}");
}

/// The blocking function ends with standard input.
fn shut_down_with_a_stuck_subscriber() {
    tracing_subscriber::fmt().with_writer(|| Stuck).init();
    let watch = Watch::builder().start().expect("starts");
    let runtime = runtime(&watch, "stuck");
    let read = || std::io::stdin().read_line(&mut String::new()).expect("is piped");
    runtime.spawn_blocking(read);
    drop(runtime);
    drop(watch);
}

fn threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("/proc is mounted");
    let name = |entry: std::fs::DirEntry| std::fs::read_to_string(entry.path().join("comm")).ok();
    tasks.flatten().filter_map(name).map(|name| name.trim_end().to_owned()).collect()
}

const CHILD: &str = "HOLDUP_TEST_READS_STANDARD_INPUT";

/// Runs a test as a child process that reads a pipe.
fn child_of(test: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("it exists"));
    command.args(["--exact", test, "--nocapture"]).env(CHILD, "1");
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts")
}

#[test]
fn a_program_that_reads_standard_input_says_why_it_does_not_end() {
    if std::env::var_os(CHILD).is_some() {
        return read_standard_input();
    }
    let _alone = alone();
    let mut child = child_of("a_program_that_reads_standard_input_says_why_it_does_not_end");
    let lines = BufReader::new(child.stderr.take().expect("is piped")).lines();
    let said: Vec<String> =
        lines.map_while(Result::ok).skip_while(|line| !line.contains("shutdown of runtime")).take(3).collect();
    // The end of standard input ends the read.
    drop(child.stdin.take());
    assert!(child.wait().expect("it ends").success());
    let [first, thread, advice] = said.as_slice() else { panic!("{said:?}") };
    assert!(
        first.starts_with("holdup: shutdown of runtime \"console\" has waited for 1 blocking function for 1."),
        "{first}"
    );
    assert!(thread.ends_with("waits in read on pipe (standard input)"), "{thread}");
    assert!(thread.contains(": std::"), "{thread}");
    assert!(advice.starts_with("  advice: a read of standard input cannot be cancelled"), "{advice}");
}

fn read_standard_input() {
    let watch = Watch::builder().print(Print::Always).start().expect("starts");
    let runtime = runtime(&watch, "console");
    runtime.block_on(async {
        let read = async { tokio::io::stdin().read_u8().await };
        let given_up = tokio::time::timeout(Duration::from_millis(100), read).await;
        assert!(given_up.is_err(), "nobody writes");
    });
    drop(runtime);
}
