//! The cost of capturing a stack, step by step. All steps run on the watchdog's or profiler's thread, except for the signal
//! handler, which copies the stack on the observed thread.
//!
//! If another thread takes part, an iteration is the median of [`ROUNDS`]. On a busy machine a few rounds wait for a CPU and
//! would dominate a mean.
//!
//! - `copy`: a signal makes a computing thread copy its own stack; the time includes both directions.
//! - `unwind`: copied bytes to addresses.
//! - `name`: addresses to functions, files and lines, including inlined ones. `cold` opens the program's debug information
//!   first, which happens once. `new addresses` has it open. `cached` is the cost of each further sample in a profile.
//! - `sample`: all steps but the names, of a worker inside a poll. The stack of a sleeping worker is read from memory.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use holdup::bench_support::{BusyWorker, Observed, Stacks};
use support::profiler::Flamegraph;

/// Frames above the poll, as handlers, middleware and clients of a service.
const DEPTH: u32 = 50;

/// Rounds per iteration.
const ROUNDS: usize = 301;

#[inline(never)]
fn descend(depth: u32, at_the_bottom: &mut dyn FnMut()) -> u32 {
    if depth == 0 {
        at_the_bottom();
        return 0;
    }
    // The call must leave a frame, so it must not become a jump.
    std::hint::black_box(descend(depth - 1, at_the_bottom)) + 1
}

fn compute(going: &AtomicBool) {
    while going.load(Ordering::Relaxed) {
        std::hint::spin_loop();
    }
}

/// Computes at the bottom of a deep stack until `going` is false.
fn deep_thread(going: &Arc<AtomicBool>) -> (Observed, std::thread::JoinHandle<()>) {
    let (sender, receiver): (Sender<Observed>, _) = channel();
    let going = Arc::clone(going);
    let body = move || {
        let mut bottom = || {
            sender.send(Observed::current()).expect("the benchmark receives");
            compute(&going);
        };
        std::hint::black_box(descend(DEPTH, &mut bottom));
    };
    let thread = std::thread::spawn(body);
    (receiver.recv().expect("the thread starts"), thread)
}

/// The median of all rounds, times the iterations.
fn median(iterations: u64, mut round: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let began = Instant::now();
        round();
        times.push(began.elapsed());
    }
    times.sort_unstable();
    times[ROUNDS / 2].mul_f64(iterations as f64)
}

fn parts(criterion: &mut Criterion) {
    let mut stacks = Stacks::new().expect("the signal is free");
    let going = Arc::new(AtomicBool::new(true));
    let (thread, joined) = deep_thread(&going);
    let mut group = criterion.benchmark_group("stack");
    let bytes = stacks.copy_by_signal(thread);
    let frames = stacks.walk();
    assert!(bytes > 0 && frames >= DEPTH as usize, "{bytes} bytes and {frames} frames");
    println!("a stack of {bytes} bytes, {frames} frames, {} with inlined ones", stacks.name());
    group.bench_function("copy by signal", |bencher| {
        bencher.iter_custom(|iterations| median(iterations, || assert!(stacks.copy_by_signal(thread) > 0)));
    });
    // The last copy is from any place in the loop.
    group.bench_function("unwind", |bencher| bencher.iter(|| assert!(stacks.walk() > 0)));
    group.bench_function("name, cold", |bencher| bencher.iter(|| stacks.name_without_cache()));
    group.bench_function("name, new addresses", |bencher| {
        bencher.iter(|| {
            stacks.clear_names();
            stacks.name()
        });
    });
    group.bench_function("name, cached", |bencher| bencher.iter(|| stacks.name()));
    group.finish();
    going.store(false, Ordering::Relaxed);
    joined.join().expect("the thread ends");
}

fn samples(criterion: &mut Criterion) {
    let stacks = Stacks::new().expect("the signal is free");
    let mut group = criterion.benchmark_group("sample");
    for (name, sleeps) in [("a worker that computes", false), ("a worker that sleeps", true)] {
        let going = Arc::new(AtomicBool::new(true));
        let body = Arc::clone(&going);
        let at_the_bottom = move || {
            if sleeps {
                while body.load(Ordering::Relaxed) {
                    std::thread::park_timeout(Duration::from_secs(1));
                }
            } else {
                compute(&body);
            }
        };
        let descends = move || {
            std::hint::black_box(descend(DEPTH, &mut { at_the_bottom }));
        };
        let mut worker = BusyWorker::start(&stacks, descends).expect("starts");
        while worker.sample() <= DEPTH as usize {
            std::thread::sleep(Duration::from_millis(1));
        }
        println!("{name}: {} frames", worker.sample());
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                median(iterations, || {
                    std::hint::black_box(worker.sample());
                })
            });
        });
        going.store(false, Ordering::Relaxed);
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(30).warm_up_time(Duration::from_millis(500)).without_plots().with_profiler(Flamegraph::new());
    targets = parts, samples
}
criterion_main!(benches);
