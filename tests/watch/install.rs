//! What a watch installs, combines with and removes, and its errors.

#[path = "../support/mod.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use holdup::check::Coverage;
use holdup::{Error, Hooks, Print, Watch};
use support::{Events, alone, wait_until};
use tokio::runtime::Builder;

fn quiet() -> holdup::WatchBuilder {
    Watch::builder().print(Print::Never)
}

/// The signals of this process that have a handler or are ignored: `SigCgt` and `SigIgn` in proc(5).
fn signals_in_use() -> Vec<String> {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc is mounted");
    status.lines().filter(|line| line.starts_with("SigCgt") || line.starts_with("SigIgn")).map(str::to_owned).collect()
}

fn threads_of_holdup() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("/proc is mounted");
    let name = |entry: std::fs::DirEntry| std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
    tasks.flatten().map(name).filter(|name| name.starts_with("holdup-")).count()
}

#[test]
fn dropping_the_watch_removes_what_it_installed() {
    let _alone = alone();
    let before = signals_in_use();
    let watch = quiet().listen("127.0.0.1:0").start().expect("starts");
    let address = support::address_of(&watch);
    assert_ne!(signals_in_use(), before, "a signal is installed");
    let second = quiet().start().expect("watches share the signal");
    let runtime = watch.runtime(Builder::new_multi_thread().worker_threads(1)).expect("builds");
    drop(watch);
    assert_ne!(signals_in_use(), before, "the second watch still needs it");
    drop(second);
    assert_eq!(signals_in_use(), before);
    wait_until("no thread of holdup's is left", || threads_of_holdup() == 0);
    std::net::TcpListener::bind(address).expect("the address is free again");
    // The runtime continues without the watch.
    assert_eq!(runtime.block_on(async { tokio::spawn(async { 7 }).await.expect("it ends") }), 7);
}

#[test]
fn the_users_thread_hooks_are_called_in_addition() {
    let _alone = alone();
    let events = Events::default();
    let watch = events.watch();
    let calls: Arc<[AtomicU32; 4]> = Arc::default();
    let count = |which: usize| {
        let calls = Arc::clone(&calls);
        move || {
            calls[which].fetch_add(1, Ordering::Relaxed);
        }
    };
    let hooks = Hooks::new()
        .on_thread_start(count(0))
        .on_thread_park(count(1))
        .on_thread_unpark(count(2))
        .on_thread_stop(count(3));
    let runtime =
        watch.runtime_with(Builder::new_multi_thread().worker_threads(2).enable_all(), hooks).expect("builds");
    runtime.block_on(async {
        tokio::time::sleep(Duration::from_millis(5)).await;
        holdup::spawn(async { std::thread::sleep(Duration::from_millis(60)) }).await.expect("it ends");
    });
    events.wait_for("ours work", |_, stall| stall.task.id.is_some());
    drop(runtime);
    for (which, name) in ["start", "park", "unpark", "stop"].iter().enumerate() {
        assert!(calls[which].load(Ordering::Relaxed) > 0, "on_thread_{name} was called");
    }
}

#[cfg(tokio_unstable)]
#[test]
fn the_users_task_hooks_are_called_in_addition() {
    let _alone = alone();
    let events = Events::default();
    let watch = events.watch();
    let calls: Arc<[AtomicU32; 4]> = Arc::default();
    let count = |which: usize| {
        let calls = Arc::clone(&calls);
        move |_: &tokio::runtime::TaskMeta<'_>| {
            calls[which].fetch_add(1, Ordering::Relaxed);
        }
    };
    let hooks = Hooks::new()
        .on_task_spawn(count(0))
        .on_before_task_poll(count(1))
        .on_after_task_poll(count(2))
        .on_task_terminate(count(3));
    let runtime =
        watch.runtime_with(Builder::new_multi_thread().worker_threads(1).enable_all(), hooks).expect("builds");
    // An unwrapped task: task hooks need no wrapper.
    runtime.block_on(async {
        tokio::spawn(async { std::thread::sleep(Duration::from_millis(60)) }).await.expect("it ends");
    });
    let stall = events.wait_for("ours work", |_, stall| stall.task.id.is_some());
    let function = support::function_of(&stall);
    assert!(function.starts_with("watch_install::the_users_task_hooks"), "{function}");
    drop(runtime);
    let [spawned, before, after, terminated] = [0, 1, 2, 3].map(|which| calls[which].load(Ordering::Relaxed));
    assert!(spawned > 0 && terminated > 0, "{spawned} spawned, {terminated} terminated");
    assert!(before > 0 && before == after, "{before} before a poll, {after} after one");
}

#[test]
fn a_builder_with_a_hook_that_would_be_lost_is_refused() {
    let _alone = alone();
    let watch = quiet().start().expect("starts");
    let refused = watch.runtime(Builder::new_multi_thread().on_thread_park(|| {}));
    let error = refused.expect_err("holdup needs that hook");
    assert!(matches!(error, Error::HookTaken { hook: "on_thread_park" }), "{error}");
    assert!(error.to_string().contains("runtime_with"), "{error}");
    watch.runtime(Builder::new_multi_thread().on_thread_stop(|| {})).expect("holdup leaves that one alone");
}

#[test]
fn an_error_names_its_remedy() {
    let _alone = alone();
    let too_small = quiet().threshold(Duration::from_micros(10)).start().expect_err("too small");
    assert!(too_small.to_string().contains("choose 1ms or more"), "{too_small}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = taken.local_addr().expect("it is bound").to_string();
    let error = quiet().listen(address.as_str()).require_endpoint().start().expect_err("the address is taken");
    assert!(error.to_string().contains(&address) && error.to_string().contains("port 0"), "{error}");
    let error = quiet().listen("nonsense").start().expect_err("no address");
    assert!(matches!(error, Error::Listen { .. }), "{error}");
    let port_only = quiet().listen("0").start().expect("a port of loopback");
    let address = support::address_of(&port_only);
    assert!(address.ip().is_loopback() && address.port() > 0);
    drop(port_only);
    let error = quiet().signal(libc::SIGTERM).start().expect_err("not a real-time signal");
    assert!(error.to_string().contains("real-time"), "{error}");
    let own = quiet().signal(libc::SIGRTMAX()).start().expect("that one is free");
    let error = quiet().signal(libc::SIGRTMAX() - 1).start().expect_err("watches share one signal");
    assert!(matches!(error, Error::Signal { .. }), "{error}");
    drop(own);
}

fn endpoint_line(watch: &Watch) -> &holdup::check::Check {
    watch.self_check().checks.iter().find(|line| line.subject == "endpoint").expect("it has a line")
}

#[test]
fn an_endpoint_without_its_port_is_a_warning() {
    let _alone = alone();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = taken.local_addr().expect("it is bound");
    let watch = quiet().listen(address.to_string()).start().expect("the service goes on");
    assert_eq!(watch.endpoint(), None);
    let line = endpoint_line(&watch);
    assert_eq!(line.coverage, Coverage::Missing);
    for part in [address.to_string().as_str(), "by this process", "listen_or_next"] {
        assert!(line.to_string().contains(part), "{part}: {line}");
    }
    let runtime = watch.runtime(&mut Builder::new_current_thread()).expect("builds");
    wait_until("stalls are noticed without it", || {
        runtime.block_on(async { std::thread::sleep(Duration::from_millis(60)) });
        watch.counters().noticed > 0
    });
    let no_such_host = quiet().listen("192.0.2.1:6060").start().expect("the service goes on");
    assert!(endpoint_line(&no_such_host).detail.contains("192.0.2.1:6060"), "{}", no_such_host.self_check());
}

#[test]
fn an_endpoint_takes_the_next_free_port_on_request() {
    let _alone = alone();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
    let asked = taken.local_addr().expect("it is bound");
    let watch = quiet().listen_or_next(asked.to_string()).require_endpoint().start().expect("another port is free");
    let address = support::address_of(&watch);
    assert!((1..16).contains(&(address.port() - asked.port())), "{address} after {asked}");
    let answer = ureq::get(format!("http://{address}/healthz")).call().expect("it answers");
    assert_eq!(answer.status().as_u16(), 200);
    let line = endpoint_line(&watch);
    assert_eq!(line.coverage, Coverage::Limited);
    assert!(line.detail.contains(&format!("port {} is in use by this process", asked.port())), "{line}");
    let free = quiet().listen_or_next("127.0.0.1:0").start().expect("starts");
    assert_eq!(endpoint_line(&free).coverage, Coverage::Full);
}

#[test]
fn the_self_check_tests_its_claims() {
    let _alone = alone();
    let watch = quiet().start().expect("starts");
    let check = watch.self_check();
    let coverage = |subject: &str| check.checks.iter().find(|line| line.subject == subject).map(|line| line.coverage);
    assert_eq!(coverage("stacks of running workers"), Some(Coverage::Full), "{check}");
    assert_eq!(coverage("stacks of sleeping workers"), Some(Coverage::Full), "{check}");
    let expected = if cfg!(tokio_unstable) { Coverage::Full } else { Coverage::Limited };
    assert_eq!(coverage("task polls"), Some(expected), "{check}");
    for line in check.checks.iter().filter(|line| line.coverage != Coverage::Full) {
        assert!(line.remedy.is_some(), "{line}");
    }
}

#[test]
fn a_panic_of_a_callback_is_counted_and_does_no_harm() {
    let _alone = alone();
    let watch = quiet().on_stall(|_| panic!("a mistake of the user's")).start().expect("starts");
    let runtime = watch.runtime(Builder::new_multi_thread().worker_threads(1).enable_all()).expect("builds");
    runtime.block_on(async {
        holdup::spawn(async { std::thread::sleep(Duration::from_millis(60)) }).await.expect("it ends");
    });
    wait_until("noticed, updated and ended", || watch.counters().callback_panics >= 2);
    wait_until("it is in the history", || watch.stalls().entries.iter().any(|entry| entry.stall.ended));
}
