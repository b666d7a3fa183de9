//! What watching costs per poll.
//!
//! One task on a one-worker runtime wakes itself and is polled again, [`POLLS`] times a round, and times itself from
//! its first poll to its last. An iteration is one poll: of [`ROUNDS`] rounds the fastest counts, because whatever
//! else the machine does can only make a round slower. A poll of this task does nothing else, so this is the worst
//! case.
//!
//! - `bare`: the time of a poll on Tokio alone.
//! - `added by …`: what a way of watching adds to it. Rounds with and without it are taken in turn.
//! - `hooks`: a watched runtime with Tokio's task hooks (only under `tokio_unstable`). Budget: 5 ns.
//! - `empty hooks`: what Tokio takes for calling hooks that do nothing.
//! - `the wrapper`: `watched()` on a runtime without task hooks. Budget: 3 ns.
//! - `… while tasks are counted`: the same while somebody asks for exact statistics (`Watch::tasks`).
//! - `two clock reads`: what a detector adds that times each poll itself.
//! - `nothing`: bare against bare, which shows how far the other numbers can be trusted.

mod support;

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use holdup::WatchFutureExt;
use support::profiler::Flamegraph;
use tokio::runtime::{Builder, Runtime};

/// A fifth of a millisecond: short enough that some rounds are not disturbed.
const POLLS: u32 = 2_000;

const ROUNDS: usize = 60;

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

/// What a detector does that times each poll on the worker, on the same hooks.
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

/// The same as a future wrapper.
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
fn round<F>(runtime: &Runtime, task: F) -> Duration
where
    F: Future<Output = Duration> + Send + 'static,
{
    let handle = runtime.spawn(task);
    runtime.block_on(async { handle.await.expect("the task ends") })
}

/// A way to poll: makes one round.
type Way<'a> = &'a dyn Fn() -> Duration;

/// The fastest of several rounds of each way, taken in turn, so that a machine whose speed drifts is fair to both.
fn fastest<const N: usize>(ways: [Way<'_>; N]) -> [Duration; N] {
    let mut fastest = [Duration::MAX; N];
    for _ in 0..ROUNDS {
        for (best, way) in fastest.iter_mut().zip(ways) {
            *best = (*best).min(way());
        }
    }
    fastest
}

fn per_poll(round: Duration, polls: u64) -> Duration {
    round.mul_f64(polls as f64 / f64::from(POLLS))
}

/// Runs something while polls are counted, in one window after the other. What is between two of them is shorter than
/// a round.
fn counting(watch: &holdup::Watch, run: impl FnOnce()) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                watch.tasks(Duration::from_millis(500)).expect("nobody else asks");
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
    let bare: Way<'_> = &|| round(&plain, WakesItself::default());

    let mut group = criterion.benchmark_group("poll");
    group.bench_function("bare", |bencher| {
        bencher.iter_custom(|polls| {
            let [bare] = fastest([bare]);
            per_poll(bare, polls)
        });
    });
    let mut added = |name: &str, way: Way<'_>| {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|polls| {
                let [bare, way] = fastest([bare, way]);
                // Criterion cannot work with no time at all.
                per_poll(way.saturating_sub(bare), polls).max(Duration::from_nanos(1))
            });
        });
    };
    // With task hooks the wrapper finds the poll already marked; its own cost shows on a runtime without them.
    let without = watch.runtime_with(&mut one_worker(), holdup::Hooks::new().without_task_hooks()).expect("builds");
    added("added by the wrapper", &|| round(&without, WakesItself::default().watched()));
    added("added by two clock reads in a wrapper", &|| {
        round(&plain, Timed { inner: WakesItself::default(), longest: Duration::ZERO })
    });
    added("added by nothing", bare);
    // A watch of its own: windows count the polls of all runtimes of a watch.
    let asked = holdup::Watch::builder().print(holdup::Print::Never).start().expect("starts");
    let without = asked.runtime_with(&mut one_worker(), holdup::Hooks::new().without_task_hooks()).expect("builds");
    counting(&asked, || {
        added("added by the wrapper while tasks are counted", &|| round(&without, WakesItself::default().watched()));
    });
    #[cfg(tokio_unstable)]
    {
        let counted = asked.runtime(&mut one_worker()).expect("builds");
        counting(&asked, || {
            added("added by hooks while tasks are counted", &|| round(&counted, WakesItself::default()));
        });
        let hooks = watch.runtime(&mut one_worker()).expect("builds");
        added("added by hooks", &|| round(&hooks, WakesItself::default()));
        let empty = one_worker().on_before_task_poll(|_| {}).on_after_task_poll(|_| {}).build().expect("builds");
        added("added by empty hooks", &|| round(&empty, WakesItself::default()));
        let timed = timed_hooks(&mut one_worker()).build().expect("builds");
        added("added by two clock reads in hooks", &|| round(&timed, WakesItself::default()));
    }
    group.finish();
}

criterion_group! {
    name = benches;
    // An iteration takes as long as its rounds, whatever time it reports; few samples will do.
    config = Criterion::default().sample_size(30).warm_up_time(Duration::from_millis(500)).without_plots().with_profiler(Flamegraph::new());
    targets = poll_cost
}
criterion_main!(benches);
