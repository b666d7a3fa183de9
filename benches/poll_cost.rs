//! The cost of watching per poll.
//!
//! One task on a one-worker runtime wakes itself [`POLLS`] times per round and measures the time from its first poll to its
//! last. An iteration is one poll. The fastest of many rounds counts, because other load can only slow a round down.
//! A poll of this task does nothing else, so this is the worst case.
//!
//! - `bare`: the time of a poll on Tokio alone.
//! - `added by …`: the time that a kind of watching adds. Rounds with and without it alternate.
//! - `hooks`: a watched runtime with Tokio's task hooks (only with `tokio_unstable`). Budget: 5 ns.
//! - `empty hooks`: Tokio's own cost of calling hooks that do nothing.
//! - `the wrapper`: `watched()` on a runtime without task hooks. Budget: 3 ns.
//! - `… while tasks are counted`: the same during a window of exact task statistics.
//! - `two clock reads`: the cost of a detector that measures each poll itself.
//! - `nothing`: bare against bare, which shows the noise of the other numbers.

mod support;

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use holdup::WatchFutureExt;
use support::profiler::Flamegraph;
use support::rounds::{Way, bench_added, bench_alone};
use tokio::runtime::{Builder, Handle};

/// Polls per round. A round takes 0.2 ms, so some rounds are undisturbed.
const POLLS: u32 = 2_000;

#[derive(Default)]
struct WakesItself {
    polls: u32,
    began: Option<Instant>,
}

impl Future for WakesItself {
    /// The time of all polls but the first.
    type Output = Duration;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Duration> {
        let began = *self.began.get_or_insert_with(Instant::now);
        if self.polls == POLLS {
            return Poll::Ready(began.elapsed());
        }
        self.polls += 1;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

/// The hooks of a detector that measures each poll on the worker.
#[cfg(tokio_unstable)]
fn timed_hooks(builder: &mut Builder) -> &mut Builder {
    use std::cell::Cell;

    thread_local! {
        static BEGAN: Cell<Option<Instant>> = const { Cell::new(None) };
        static LONGEST: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    }
    builder.on_before_task_poll(|_| BEGAN.set(Some(Instant::now()))).on_after_task_poll(|_| {
        let took = BEGAN.take().map_or(Duration::ZERO, |began| began.elapsed());
        LONGEST.set(LONGEST.get().max(took));
    })
}

/// The same measurement as a future wrapper.
struct Timed<F> {
    inner: F,
    longest: Duration,
}

impl<F: Future + Unpin> Future for Timed<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let before = Instant::now();
        let outcome = Pin::new(&mut self.inner).poll(context);
        self.longest = self.longest.max(before.elapsed());
        outcome
    }
}

fn one_worker() -> Builder {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1);
    builder
}

/// One round: the time of [`POLLS`] polls.
fn round<F>(runtime: &Handle, task: F) -> Duration
where
    F: Future<Output = Duration> + Send + 'static,
{
    let handle = runtime.spawn(task);
    runtime.block_on(async { handle.await.expect("the task ends") })
}

/// Runs something while polls are counted, in consecutive windows. The gap between two windows is shorter than a round.
fn counting(watch: &holdup::Watch, run: impl FnOnce()) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                watch.count_tasks_blocking(Duration::from_millis(500)).expect("no other window is open");
            }
        });
        // The first window opens within microseconds.
        std::thread::sleep(Duration::from_millis(50));
        run();
        done.store(true, Ordering::Relaxed);
    });
}

fn poll_cost(criterion: &mut Criterion) {
    let watch = holdup::Watch::builder().print(holdup::Print::Never).start().expect("starts");
    let plain = one_worker().build().expect("builds");
    let bare: Way<'_> = &|| round(plain.handle(), WakesItself::default());

    let mut group = criterion.benchmark_group("poll");
    bench_alone(&mut group, "bare", POLLS, bare);
    let mut added = |name: &str, way: Way<'_>| bench_added(&mut group, name, POLLS, bare, way);
    // With task hooks the poll is marked already. The wrapper's own cost shows on a runtime without them.
    let without = watch.runtime_with(&mut one_worker(), holdup::Hooks::new().without_task_hooks()).expect("builds");
    added("added by the wrapper", &|| round(without.handle().tokio(), WakesItself::default().watched()));
    added("added by two clock reads in a wrapper", &|| {
        round(plain.handle(), Timed { inner: WakesItself::default(), longest: Duration::ZERO })
    });
    added("added by nothing", bare);
    // A separate watch, because a window counts the polls of all runtimes of its watch.
    let asked = holdup::Watch::builder().print(holdup::Print::Never).start().expect("starts");
    let without = asked.runtime_with(&mut one_worker(), holdup::Hooks::new().without_task_hooks()).expect("builds");
    counting(&asked, || {
        added("added by the wrapper while tasks are counted", &|| {
            round(without.handle().tokio(), WakesItself::default().watched())
        });
    });
    #[cfg(tokio_unstable)]
    {
        let counted = asked.runtime(&mut one_worker()).expect("builds");
        counting(&asked, || {
            added("added by hooks while tasks are counted", &|| {
                round(counted.handle().tokio(), WakesItself::default())
            });
        });
        let hooks = watch.runtime(&mut one_worker()).expect("builds");
        added("added by hooks", &|| round(hooks.handle().tokio(), WakesItself::default()));
        let empty = one_worker().on_before_task_poll(|_| {}).on_after_task_poll(|_| {}).build().expect("builds");
        added("added by empty hooks", &|| round(empty.handle(), WakesItself::default()));
        let timed = timed_hooks(&mut one_worker()).build().expect("builds");
        added("added by two clock reads in hooks", &|| round(timed.handle(), WakesItself::default()));
    }
    group.finish();
}

criterion_group! {
    name = benches;
    // An iteration takes as long as its rounds, whatever time it reports. So few samples suffice.
    config = Criterion::default().sample_size(30).warm_up_time(Duration::from_millis(500)).without_plots().with_profiler(Flamegraph::new());
    targets = poll_cost
}
criterion_main!(benches);
