//! Uninstrumented polls: tasks given to `tokio::spawn` without task hooks. A long poll is found and reported as inferred, and
//! many short polls in a row are not taken for one. Tests that need hardware breakpoints (`perf_event_open`) run only where
//! they are allowed.

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/perf_events.rs"]
mod perf_events;

use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use holdup::stall::{CauseClass, Detection, Phase};
use holdup::{Hooks, Runtime, Stall, Watch};
use support::{DEADLINE, Events, alone, function_of};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Builder;

const THRESHOLD: Duration = Duration::from_millis(10);
const LONG: Duration = Duration::from_millis(60);

/// By how much a poll may be longer than its measured call: it seems to begin too early, or the machine delays the thread
/// before or after the call. Two polls of 6 ms in one are longer.
const UNSURE: Duration = Duration::from_millis(5);

/// By how much a loaded machine may delay a sample.
const LATE: Duration = Duration::from_millis(100);

/// The longest call of the present test so far, in microseconds.
static LONGEST: AtomicU32 = AtomicU32::new(0);

fn timed(act: impl FnOnce()) {
    let start = Instant::now();
    act();
    LONGEST.fetch_max(u32::try_from(start.elapsed().as_micros()).expect("short"), Ordering::Relaxed);
}

#[inline(never)]
fn nap() {
    timed(|| std::thread::sleep(LONG));
}

#[inline(never)]
fn compute(length: Duration) {
    let start = Instant::now();
    let mut sum = 0_u64;
    while start.elapsed() < length {
        sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(7));
    }
}

#[inline(never)]
fn compute_long() {
    timed(|| compute(LONG));
    std::hint::black_box(());
}

#[inline(never)]
fn wait_for_lock(lock: &Mutex<()>) {
    timed(|| drop(lock.lock()));
}

/// Sleeps in one poll, each shorter than the threshold.
#[inline(never)]
fn nap_often() {
    timed(|| {
        for _ in 0..20 {
            std::thread::sleep(THRESHOLD / 4);
        }
    });
}

fn runtimes(watch: &Watch) -> [(&'static str, Runtime); 2] {
    let mut multi = Builder::new_multi_thread();
    let mut current = Builder::new_current_thread();
    [("multi-thread", multi.worker_threads(2)), ("current-thread", &mut current)].map(|(name, builder)| {
        let silent = Hooks::new().without_task_hooks();
        (name, watch.runtime_with(builder.enable_all().name(name), silent).expect("builds"))
    })
}

/// Runs `act` in an unwrapped task repeatedly until its stall has ended, and returns the stalls.
fn caught(function: &str, class: CauseClass, act: impl Fn() + Clone + Send + 'static) -> Vec<Stall> {
    let _alone = alone();
    if !perf_events::allowed() {
        return Vec::new();
    }
    let mut found = Vec::new();
    let events = Events::default();
    let watch = events.watch();
    for (flavor, runtime) in runtimes(&watch) {
        LONGEST.store(0, Ordering::Relaxed);
        let act = act.clone();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let running = std::thread::spawn(move || {
            runtime.block_on(async {
                let acting = tokio::spawn(async move {
                    loop {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                        timed(&act);
                    }
                });
                let _told = stopped.await;
                acting.abort();
            });
        });
        let name = format!("stalls_inference::{function}");
        let what = format!("{name}, {class}, {flavor}");
        let stall = events.wait_for(&what, |phase, stall| {
            phase == Phase::Ended
                && function_of(stall) == name
                && stall.cause.class == class
                && &*stall.runtime == flavor
        });
        stop.send(()).expect("the runtime waits for it");
        running.join().expect("the runtime ends");
        assert!(stall.detection.is_inferred(), "{what}");
        assert_eq!((stall.task.id, stall.task.spawned_at), (None, None), "{what}: the poll is not instrumented");
        assert!(stall.worker.is_some(), "{what}");
        // With the evidence of no return, interruptions between two polls may count.
        let longest = Duration::from_micros(LONGEST.load(Ordering::Relaxed).into());
        assert!(stall.duration >= THRESHOLD, "{what}: {:?}", stall.duration);
        // The end is as exact as the samples are frequent.
        let bounded = stall.detection != Detection::SameSleep || stall.duration <= longest + LATE;
        assert!(bounded, "{what}: {:?} of {longest:?}", stall.duration);
        found.push(stall);
    }
    found
}

#[test]
fn a_sleep_is_found() {
    caught("nap", CauseClass::Sleeping, nap);
}

#[test]
fn a_computation_is_found() {
    let stalls = caught("compute", CauseClass::Computing, compute_long);
    assert!(stalls.iter().all(|stall| stall.detection == Detection::NoReturn), "it never slept");
}

#[test]
fn a_lock_is_found() {
    let lock: &'static Mutex<()> = Box::leak(Box::new(Mutex::new(())));
    caught("wait_for_lock", CauseClass::Lock, move || {
        let (held, holds) = std::sync::mpsc::channel();
        let holder = std::thread::spawn(move || {
            let _guard = lock.lock();
            held.send(()).expect("the test waits");
            std::thread::sleep(LONG);
        });
        holds.recv().expect("the thread takes the lock");
        wait_for_lock(lock);
        holder.join().expect("the thread ends");
    });
}

#[test]
fn sleeps_in_one_poll_are_one_stall() {
    let stalls = caught("nap_often", CauseClass::Sleeping, nap_often);
    assert!(stalls.iter().all(|stall| stall.detection == Detection::NoReturn), "no sleep was long enough");
}

/// On both runtimes `act` causes no stall except by a busy machine, while a long poll beside it is found.
fn healthy<F>(what: &str, act: impl Fn() -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let _alone = alone();
    if !perf_events::allowed() {
        return;
    }
    let events = Events::default();
    let watch = events.watch();
    for (flavor, runtime) in runtimes(&watch) {
        let began = events.all().len();
        let mut longest = Duration::ZERO;
        // Long polls before and after show that return addresses are known and inference works.
        for _ in 0..2 {
            runtime.block_on(async { tokio::spawn(found_for_sure(events.clone())).await.expect("it ends") });
            let act = act();
            runtime.block_on(async { tokio::spawn(act).await.expect("it ends") });
            longest = longest.max(Duration::from_micros(LONGEST.load(Ordering::Relaxed).into()));
        }
        runtime.block_on(async { tokio::spawn(found_for_sure(events.clone())).await.expect("it ends") });
        events.wait_for("the last long poll", |phase, stall| {
            phase == Phase::Ended && in_control(stall) && &*stall.runtime == flavor
        });
        for (_, stall) in events.all().into_iter().skip(began) {
            let sure = in_control(&stall);
            // A busy machine makes polls longer, also outside of what they measure, but does not merge two polls.
            let ran = stall.duration.saturating_sub(stall.machine_time());
            let one_poll = longest.is_zero() || ran <= longest * 2 + THRESHOLD * 3;
            let machine = stall.cause.class == CauseClass::NotScheduled && one_poll;
            // A sleep that took too long is a stall, but no longer than was measured.
            let too_long = longest + UNSURE >= THRESHOLD && stall.duration <= longest + UNSURE;
            assert!(sure || machine || too_long, "{what}, {flavor}: {longest:?}, {stall:#?}");
        }
    }
}

/// Computes in a poll, and measures it: a busy machine may make it longer.
fn compute_measured(length: Duration) {
    timed(|| compute(length));
}

/// Whether this is the intended stall, which has `compute_long` on its stack.
fn in_control(stall: &Stall) -> bool {
    stall.stack.as_ref().is_ok_and(|stack| stack.frames.iter().any(|frame| frame.function.contains("compute_long")))
}

/// Makes long polls until one is found, which can take long on a busy machine.
async fn found_for_sure(events: Events) {
    let found = || events.all().iter().filter(|(_, stall)| in_control(stall)).count();
    let (before, limit) = (found(), Instant::now() + DEADLINE);
    while found() == before {
        assert!(Instant::now() < limit, "a long poll is found");
        tokio::time::sleep(Duration::from_millis(3)).await;
        compute_long();
    }
    // The next calls are measured again.
    LONGEST.store(0, Ordering::Relaxed);
}

#[test]
fn short_polls_are_not_a_stall() {
    healthy("60 polls of 1 ms", || async {
        for _ in 0..60 {
            compute_measured(Duration::from_millis(1));
            tokio::task::yield_now().await;
        }
    });
}

/// The polls are long enough for a stack to be captured, and sleep and compute in turn.
#[test]
fn polls_just_below_the_threshold_are_not_a_stall() {
    healthy("40 polls of 6 ms", || async {
        for round in 0..40 {
            let length = THRESHOLD * 6 / 10;
            if round % 2 == 0 {
                compute_measured(length);
            } else {
                timed(|| std::thread::sleep(length));
            }
            tokio::task::yield_now().await;
        }
    });
}

struct SelfWaking {
    left: u32,
}

impl Future for SelfWaking {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.left == 0 {
            return Poll::Ready(());
        }
        self.left -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

#[test]
fn tasks_that_wake_themselves_are_not_a_stall() {
    healthy("8 tasks that wake themselves", || async {
        let tasks: Vec<_> = (0..8).map(|_| tokio::spawn(SelfWaking { left: 20_000 })).collect();
        for task in tasks {
            task.await.expect("it ends");
        }
    });
}

#[test]
fn a_busy_service_is_not_a_stall() {
    healthy("a busy service", || async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("it is bound");
        let server = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut byte = [0];
                    while stream.read_exact(&mut byte).await.is_ok() {
                        compute(Duration::from_micros(100));
                        stream.write_all(&byte).await.expect("the client reads");
                    }
                });
            }
        });
        let client = move || async move {
            let mut stream = tokio::net::TcpStream::connect(address).await.expect("it listens");
            let mut byte = [1];
            for _ in 0..250 {
                stream.write_all(&byte).await.expect("it reads");
                stream.read_exact(&mut byte).await.expect("it answers");
            }
        };
        let clients: Vec<_> = (0..8).map(|_| tokio::spawn(client())).collect();
        for client in clients {
            client.await.expect("it ends");
        }
        server.abort();
    });
}

#[test]
fn block_in_place_is_not_a_stall() {
    let _alone = alone();
    let events = Events::default();
    let watch = events.watch();
    let silent = Hooks::new().without_task_hooks();
    let mut builder = Builder::new_multi_thread();
    let runtime = watch.runtime_with(builder.worker_threads(2).enable_all(), silent).expect("builds");
    runtime.block_on(async {
        for _ in 0..5 {
            let handed_on = tokio::spawn(async {
                tokio::time::sleep(Duration::from_millis(3)).await;
                tokio::task::block_in_place(|| std::thread::sleep(LONG));
                tokio::task::yield_now().await;
                tokio::task::block_in_place(|| compute(LONG));
            });
            handed_on.await.expect("it ends");
        }
        tokio::spawn(found_for_sure(events.clone())).await.expect("it ends");
    });
    drop(runtime);
    for (_, stall) in events.all_of(watch) {
        let fine = in_control(&stall) || stall.cause.class == CauseClass::NotScheduled;
        assert!(fine, "{stall:#?}");
    }
}

#[test]
fn runtimes_that_start_and_end_are_not_a_stall() {
    let _alone = alone();
    let events = Events::default();
    let watch = events.watch();
    for _ in 0..10 {
        for (_, runtime) in runtimes(&watch) {
            runtime.spawn(std::future::pending::<()>());
            runtime.block_on(async {
                tokio::spawn(tokio::time::sleep(Duration::from_millis(5))).await.expect("it ends");
                tokio::time::sleep(Duration::from_millis(5)).await;
            });
        }
    }
    for (_, stall) in events.all_of(watch) {
        assert_eq!(stall.cause.class, CauseClass::NotScheduled, "{stall:#?}");
    }
}

#[test]
fn an_inferred_stall_is_reported_as_inferred() {
    let _alone = alone();
    let events = Events::default();
    let watch = events.builder().listen("127.0.0.1:0").start().expect("starts");
    let address = support::address_of(&watch);
    let mut builder = Builder::new_current_thread();
    let silent = Hooks::new().without_task_hooks();
    let runtime = watch.runtime_with(builder.enable_all(), silent).expect("builds");
    runtime.block_on(async {
        let limit = Instant::now() + support::DEADLINE;
        while watch.counters().noticed == 0 {
            assert!(Instant::now() < limit, "no sleep was found");
            let sleeps = async {
                tokio::time::sleep(Duration::from_millis(5)).await;
                nap();
            };
            tokio::spawn(sleeps).await.expect("it ends");
        }
    });
    let found = events.wait_for("a sleep", |phase, stall| {
        phase == Phase::Ended && stall.detection.is_inferred() && function_of(stall) == "stalls_inference::nap"
    });
    assert!(found.detection.explanation().is_some_and(|text| text.starts_with("the thread ")));
    let answer = support::http::get(address, "/debug/holdup/stalls").text();
    let answer: serde_json::Value = serde_json::from_str(&answer).expect("it is JSON");
    let stalls = answer["stalls"].as_array().expect("it is a list");
    let inferred = stalls.iter().any(|stall| {
        ["same_sleep", "no_return"].iter().any(|word| stall["detection"] == *word) && stall["task"]["id"].is_null()
    });
    assert!(inferred, "{answer:#}");
}
