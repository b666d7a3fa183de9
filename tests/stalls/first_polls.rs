//! The first polls of a worker, without task hooks: where polls return to is known before the first stall, a worker that is in a
//! poll since its start is watched, and so is the first poll after a pause.

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/perf_events.rs"]
mod perf_events;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use holdup::stall::Phase;
use holdup::{Hooks, Runtime, Stall, Watch};
use support::{DEADLINE, Events, alone, function_of};
use tokio::runtime::Builder;

const THRESHOLD: Duration = Duration::from_millis(30);

/// A threshold of a few samples.
const SHORT: Duration = Duration::from_millis(10);

fn runtime(watch: &Watch, hooks: Hooks) -> Runtime {
    let mut builder = Builder::new_multi_thread();
    watch.runtime_with(builder.worker_threads(1).enable_all(), hooks.without_task_hooks()).expect("builds")
}

/// The number of stalls in each test.
const STALLS: usize = 12;

/// Each runtime has one stall that is little longer than the threshold. The empty tasks at its start have shown where polls
/// return to.
#[test]
fn the_first_stall_of_a_runtime_is_found() {
    let _alone = alone();
    if !perf_events::allowed() {
        return;
    }
    let (events, watch) = warmed_up(THRESHOLD);
    for _ in 0..STALLS {
        stall_once(&runtime(&watch, Hooks::new()), compute);
    }
    assert_found(&events, watch, "stalls_first_polls::compute");
}

/// A runtime has nothing to do before each stall, so all its workers are parked and the watchdog sleeps. The poll then sleeps for
/// little more than the threshold.
#[test]
fn a_short_stall_after_a_pause_is_found() {
    let _alone = alone();
    if !perf_events::allowed() {
        return;
    }
    let (events, watch) = warmed_up(SHORT);
    let runtime = runtime(&watch, Hooks::new());
    for _ in 0..STALLS {
        stall_once(&runtime, nap);
    }
    drop(runtime);
    assert_found(&events, watch, "stalls_first_polls::nap");
}

/// A watch that has read the functions of Tokio: it has found a stall.
fn warmed_up(threshold: Duration) -> (Events, Watch) {
    let events = Events::default();
    let watch = events.builder().threshold(threshold).start().expect("starts");
    let limit = Instant::now() + DEADLINE;
    while !events.all().iter().any(|(_, stall)| function_of(stall) == "stalls_first_polls::warm_up") {
        assert!(Instant::now() < limit, "a stall is found");
        stall_once(&runtime(&watch, Hooks::new()), warm_up);
    }
    (events, watch)
}

/// At least a third of the stalls are found in this function. A busy machine hides some.
fn assert_found(events: &Events, watch: Watch, function: &str) {
    let all = events.all_of(watch);
    let found = all.iter().filter(|(phase, stall)| *phase == Phase::Ended && function_of(stall) == function).count();
    println!("{found} of {STALLS} stalls in {function}");
    assert!(found * 3 >= STALLS, "{found} of {STALLS} stalls were found");
}

fn stall_once(runtime: &Runtime, stall: fn()) {
    let stall = async move {
        tokio::time::sleep(THRESHOLD).await;
        stall();
    };
    runtime.block_on(async { tokio::spawn(stall).await.expect("it ends") });
}

#[inline(never)]
fn warm_up() {
    std::thread::sleep(THRESHOLD * 3);
}

/// Computes for little more than the threshold.
#[inline(never)]
fn compute() {
    let start = Instant::now();
    while start.elapsed() < THRESHOLD * 4 / 3 {
        std::hint::spin_loop();
    }
}

/// Sleeps for little more than the short threshold.
#[inline(never)]
fn nap() {
    std::thread::sleep(SHORT * 7 / 5);
}

/// A worker that begins a poll before it has ever parked, and never ends it. Without task hooks nothing has shown that the
/// thread is a worker.
#[test]
fn a_worker_that_is_stuck_since_its_start_is_found() {
    let _alone = alone();
    if !perf_events::allowed() {
        return;
    }
    let events = Events::default();
    let watch = events.watch();
    // The thread starts after its task is there, so it does not park first.
    let start = Arc::new(Barrier::new(2));
    let started = Arc::clone(&start);
    let hooks = Hooks::new().on_thread_start(move || {
        started.wait();
    });
    let runtime = runtime(&watch, hooks);
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    runtime.spawn(async move { compute_until(&stopped) });
    start.wait();
    let found = |stall: &Stall| function_of(stall) == "stalls_first_polls::compute_until";
    let stall = events.wait_for("the stall", |phase, stall| phase == Phase::Noticed && found(stall));
    stop.store(true, Ordering::Relaxed);
    assert_eq!(stall.worker, Some(0), "the runtime has one worker: {stall:#?}");
    events.wait_for("its end", |phase, stall| phase == Phase::Ended && found(stall));
}

#[inline(never)]
fn compute_until(stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        std::hint::spin_loop();
    }
}
