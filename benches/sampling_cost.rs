//! The cost of profiling for a service without spare CPU time.
//!
//! Eight tasks on two workers are polled all the time, and each poll computes for about a microsecond. The result is the
//! number of polls of both workers while a profile is collected, including the cost of the profiler's thread. An iteration
//! is one poll of one worker. On a machine with more than three CPUs the profiler's thread has its own CPU, and the numbers
//! show the cost of the signals.
//!
//! - `bare`: a watched runtime, no profile.
//! - `added by …`: the time that a profile adds. Windows with and without it alternate. The fastest of [`ROUNDS`] counts,
//!   because other load can only slow a window down.
//! - `nothing`: bare against bare, which shows the noise of the other numbers.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use holdup::{Print, ProfileMode, ProfileOptions, Watch};
use support::profiler::Flamegraph;
use tokio::runtime::Builder;

const WORKERS: u32 = 2;

const TASKS: usize = 8;

/// The length of a window: some samples of each worker at 99 Hz.
const WINDOW: Duration = Duration::from_millis(250);

/// The time by which a profile begins before the window and ends after it.
const MARGIN: Duration = Duration::from_millis(60);

const ROUNDS: usize = 4;

/// A counter on its own cache lines.
#[derive(Default)]
#[repr(align(128))]
struct Polls(AtomicU64);

fn work() {
    let mut value = 1_u64;
    for _ in 0..1_000 {
        value = std::hint::black_box(value.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
}

/// The time per poll of a worker, averaged over one window.
fn window(polls: &[Polls; TASKS]) -> Duration {
    let count = || polls.iter().map(|polls| polls.0.load(Ordering::Relaxed)).sum::<u64>();
    let (began, before) = (Instant::now(), count());
    std::thread::sleep(WINDOW);
    let done = count() - before;
    began.elapsed().mul_f64(f64::from(WORKERS) / done.max(1) as f64)
}

fn window_in_profile(watch: &Watch, options: &ProfileOptions, polls: &[Polls; TASKS]) -> Duration {
    std::thread::scope(|scope| {
        let profiling = scope.spawn(|| watch.profile_blocking(options).expect("no other profile runs"));
        std::thread::sleep(MARGIN);
        let time = window(polls);
        assert!(profiling.join().expect("no panic").sample_count() > 0);
        time
    })
}

fn sampling_cost(criterion: &mut Criterion) {
    let watch = Watch::builder().print(Print::Never).start().expect("starts");
    let mut builder = Builder::new_multi_thread();
    let runtime = watch.runtime(builder.worker_threads(WORKERS as usize)).expect("builds");
    let polls: Arc<[Polls; TASKS]> = Arc::default();
    for task in 0..TASKS {
        let polls = Arc::clone(&polls);
        runtime.spawn(async move {
            loop {
                work();
                polls[task].0.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        });
    }
    let bare = || window(&polls);
    let mut group = criterion.benchmark_group("sampling");
    let scaled = |time: Duration, iterations: u64| time.mul_f64(iterations as f64).max(Duration::from_nanos(1));
    group.bench_function("bare", |bencher| {
        bencher.iter_custom(|iterations| {
            let fastest = (0..ROUNDS).map(|_| bare()).min();
            scaled(fastest.expect("there are rounds"), iterations)
        });
    });
    let mut added = |name: &str, way: &dyn Fn() -> Duration| {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                let rounds: Vec<_> = (0..ROUNDS).map(|_| (bare(), way())).collect();
                let without = rounds.iter().map(|(without, _)| *without).min();
                let with = rounds.iter().map(|(_, with)| *with).min();
                scaled(with.unwrap_or_default().saturating_sub(without.unwrap_or_default()), iterations)
            });
        });
    };
    added("added by nothing", &bare);
    for (mode, rate) in [(ProfileMode::Cpu, 99), (ProfileMode::Cpu, 999), (ProfileMode::Wall, 99)] {
        let options = ProfileOptions::new(mode).rate(rate).duration(WINDOW + MARGIN * 2);
        let name = format!("added by a {} profile at {rate} Hz", mode.as_str());
        added(&name, &|| window_in_profile(&watch, &options, &polls));
    }
    group.finish();
}

criterion_group! {
    name = benches;
    // An iteration takes as long as its windows, whatever time it reports. So few samples suffice.
    config = Criterion::default().sample_size(10).warm_up_time(Duration::from_millis(500)).without_plots().with_profiler(Flamegraph::new());
    targets = sampling_cost
}
criterion_main!(benches);
