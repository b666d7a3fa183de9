//! Polls by a `LocalSet`, which happen within one poll of the future given to `block_on`. Each counts alone. Tokio has no hooks
//! for them, so these tests run only where hardware breakpoints (`perf_event_open`) are allowed.

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/perf_events.rs"]
mod perf_events;

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use holdup::stall::{Detection, Phase};
use holdup::{Hooks, Runtime, Stall, Watch};
use support::{DEADLINE, Events, alone, function_of};
use tokio::runtime::Builder;
use tokio::task::{LocalSet, spawn_local};

const THRESHOLD: Duration = Duration::from_millis(10);

/// Well above the threshold.
const LONG: Duration = Duration::from_millis(60);

/// Well below it.
const SHORT: Duration = Duration::from_millis(2);

/// Polls in a row. A `LocalSet` makes up to 61 of them within one poll of its own future.
const POLLS: u32 = 40;

/// By how much a poll may be longer than its measured call, see `tests/stalls/inference.rs`.
const UNSURE: Duration = Duration::from_millis(5);

/// How often a scene is run that a busy machine may disturb.
const ATTEMPTS: usize = 6;

/// The longest call so far, in microseconds.
static LONGEST: AtomicU64 = AtomicU64::new(0);

fn timed(act: impl FnOnce()) {
    let start = Instant::now();
    act();
    LONGEST.fetch_max(u64::try_from(start.elapsed().as_micros()).expect("short"), Ordering::Relaxed);
}

fn take_longest() -> Duration {
    Duration::from_micros(LONGEST.swap(0, Ordering::Relaxed))
}

#[inline(never)]
fn compute() {
    timed(|| {
        let start = Instant::now();
        let mut sum = 0_u64;
        while start.elapsed() < SHORT {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(7));
        }
    });
}

#[inline(never)]
fn control() {
    std::thread::sleep(LONG);
    std::hint::black_box(());
}

#[inline(never)]
fn nap() {
    timed(|| std::thread::sleep(LONG));
    std::hint::black_box(());
}

/// Computes in each poll and wakes itself, so that the set polls it again at once. Tokio's `yield_now` would wait for the end of the
/// set's own poll on a current-thread runtime.
struct Busy {
    polls: u32,
}

impl Future for Busy {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.polls == 0 {
            return Poll::Ready(());
        }
        self.polls -= 1;
        compute();
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Runtimes of both flavors, with and without task hooks.
fn runtimes(watch: &Watch) -> Vec<(String, Runtime)> {
    let mut built = Vec::new();
    for (hooks, with) in [(Hooks::new as fn() -> Hooks, "hooks"), (|| Hooks::new().without_task_hooks(), "none")] {
        let mut multi = Builder::new_multi_thread();
        let mut current = Builder::new_current_thread();
        for (flavor, builder) in [("multi", multi.worker_threads(2)), ("current", &mut current)] {
            let name = format!("{flavor}-{with}");
            let runtime = watch.runtime_with(builder.enable_all().name(&name), hooks()).expect("builds");
            built.push((name, runtime));
        }
    }
    built
}

/// Runs a future as a task of a `LocalSet`.
fn run_local(runtime: &Runtime, future: impl Future<Output = ()> + 'static) {
    runtime.block_on(LocalSet::new().run_until(async { spawn_local(future).await.expect("it ends") }));
}

/// Makes long polls until one is reported. Then every stall before it is, and returns of these polls are watched.
fn find_control(runtime: &Runtime, events: &Events) {
    let is_control = |stall: &Stall| function_of(stall).ends_with("::control");
    let ended = || events.all().iter().filter(|(phase, stall)| *phase == Phase::Ended && is_control(stall)).count();
    let (before, limit) = (ended(), Instant::now() + DEADLINE);
    while ended() == before {
        assert!(Instant::now() < limit, "a long poll is found");
        run_local(runtime, async { control() });
    }
}

/// The ended stalls of the functions above since `began`, except for those of the control.
fn others(events: &Events, began: usize) -> Vec<Stall> {
    let stalls = events.all().into_iter().skip(began).filter(|(phase, _)| *phase == Phase::Ended);
    stalls.map(|(_, stall)| stall).filter(|stall| !function_of(stall).ends_with("::control")).collect()
}

/// Polls a future as a task of a `LocalSet`. Returns its longest poll, and the stalls that are reported of it.
fn polls_of(future: impl Future<Output = ()> + 'static, runtime: &Runtime, events: &Events) -> (Duration, Vec<Stall>) {
    let began = events.all().len();
    take_longest();
    run_local(runtime, future);
    let longest = take_longest();
    find_control(runtime, events);
    (longest, others(events, began))
}

/// Checks each runtime, after a control has shown that its stalls are reported.
fn on_each_runtime(check: impl Fn(&str, &Runtime, &Events)) {
    let _alone = alone();
    if !perf_events::allowed() {
        return;
    }
    let events = Events::default();
    let watch = events.watch();
    for (name, runtime) in runtimes(&watch) {
        find_control(&runtime, &events);
        check(&name, &runtime, &events);
    }
}

#[test]
fn many_short_polls_of_a_local_set_are_no_stall() {
    on_each_runtime(|name, runtime, events| {
        let (longest, stalls) = polls_of(Busy { polls: POLLS }, runtime, events);
        for stall in stalls {
            // A busy machine makes a poll longer, but does not merge many.
            assert!(stall.duration <= longest * 2 + THRESHOLD, "{name}: {longest:?}, {stall:#?}");
        }
    });
}

/// The report would otherwise claim that the function ran for the time of the other polls too.
#[test]
fn polls_in_a_local_set_are_told_apart() {
    on_each_runtime(|name, runtime, events| {
        let napped = (0..ATTEMPTS).find_map(|_| {
            let naps = async {
                Busy { polls: POLLS / 2 }.await;
                nap();
                Busy { polls: POLLS / 2 }.await;
            };
            let (longest, stalls) = polls_of(naps, runtime, events);
            let is_nap = |stall: &&Stall| {
                function_of(stall).ends_with("::nap")
                    && stall.duration + UNSURE >= LONG
                    && stall.duration <= longest + UNSURE
            };
            stalls.iter().find(is_nap).cloned()
        });
        let stall = napped.unwrap_or_else(|| panic!("{name}: {:#?}", others(events, 0)));
        assert_eq!(stall.detection, Detection::NoReturn, "{name}: {stall:#?}");
    });
}
