//! What watching costs per poll.
//!
//! One task on a one-worker runtime wakes itself and is polled again, [`POLLS`] times an iteration; the time of an
//! iteration divided by `POLLS` is the cost of a poll. A poll of this task does nothing else, so this is the worst
//! case. Read the differences to `bare`, taken in one run, not the times themselves:
//!
//! - `bare`: Tokio alone.
//! - `hooks`: a watched runtime with Tokio's task hooks (only under `tokio_unstable`). Budget: +5 ns.
//! - `wrapper`: `holdup::spawn` on a runtime whose hooks are holdup's thread hooks alone. Budget: +3 ns.
//! - `hooks, two clock reads` and `wrapper, two clock reads`: what a detector costs that times each poll itself.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tokio::runtime::{Builder, Runtime};

/// Enough that starting and awaiting the task does not count.
const POLLS: u64 = 100_000;

struct WakesItself {
    left: u64,
}

impl Future for WakesItself {
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
    type Output = Duration;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Duration> {
        let before = Instant::now();
        let outcome = Pin::new(&mut self.inner).poll(context);
        self.longest = self.longest.max(before.elapsed());
        outcome.map(|()| self.longest)
    }
}

fn one_worker() -> Builder {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1);
    builder
}

fn run<T: Send + 'static>(runtime: &Runtime, task: impl Future<Output = T> + Send + 'static) {
    let handle = runtime.spawn(task);
    runtime.block_on(async { handle.await.expect("the task ends") });
}

fn poll_cost(criterion: &mut Criterion) {
    let watch = holdup::Watch::builder().print(holdup::Print::Never).start().expect("starts");
    let bare = one_worker().build().expect("builds");
    let mut group = criterion.benchmark_group("poll");
    group.throughput(Throughput::Elements(POLLS));
    group.bench_function("bare", |bencher| bencher.iter(|| run(&bare, WakesItself { left: POLLS })));
    #[cfg(tokio_unstable)]
    {
        let hooks = watch.runtime(&mut one_worker()).expect("builds");
        group.bench_function("hooks", |bencher| bencher.iter(|| run(&hooks, WakesItself { left: POLLS })));
        let timed = timed_hooks(&mut one_worker()).build().expect("builds");
        group.bench_function("hooks, two clock reads", |bencher| {
            bencher.iter(|| run(&timed, WakesItself { left: POLLS }));
        });
    }
    // With task hooks the wrapper finds the poll already marked; its own cost shows on a runtime without them.
    let hooks = holdup::Hooks::new().without_task_hooks();
    let wrapper = watch.runtime_with(&mut one_worker(), hooks).expect("builds");
    group.bench_function("wrapper", |bencher| {
        bencher.iter(|| run(&wrapper, holdup::FutureExt::watched(WakesItself { left: POLLS })));
    });
    group.bench_function("wrapper, two clock reads", |bencher| {
        bencher.iter(|| run(&bare, Timed { inner: WakesItself { left: POLLS }, longest: Duration::ZERO }));
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(50).measurement_time(Duration::from_secs(5));
    targets = poll_cost
}
criterion_main!(benches);
