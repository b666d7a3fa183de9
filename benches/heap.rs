//! The cost of holdup's allocator: one allocation and its free.
//!
//! The time of [`PAIRS`] pairs is measured, and the fastest of many alternating rounds counts. An iteration is one pair.
//!
//! - `system`: the system's allocator alone.
//! - `added by the wrapper, off`: what the wrapper adds while nothing is sampled.
//! - `added by the wrapper, at …`: what it adds while the heap is sampled, with stacks unwound on another thread.
//! - `added by realloc, …`: the same for a pair with one `realloc` in it.
//! - `added by nothing`: the system's allocator against itself, which shows the noise of the other numbers.

#![allow(unsafe_code, reason = "calls allocators through their raw interface, so that both are called alike")]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use holdup::heap::{Allocator, Sampling};
use support::profiler::Flamegraph;
use support::rounds::{Way, bench_added, bench_alone};

#[global_allocator]
static ALLOCATOR: Allocator = Allocator::system();

/// Pairs per round. Each round has samples: 12 of them at 512 KiB. It takes a millisecond, so some rounds are undisturbed.
const PAIRS: u32 = 100_000;

#[inline(never)]
fn pairs(allocator: &impl GlobalAlloc, size: usize) -> Duration {
    let layout = Layout::from_size_align(black_box(size), 8).expect("it is one");
    let began = Instant::now();
    for _ in 0..PAIRS {
        // SAFETY: the layout is not empty.
        let block = black_box(unsafe { allocator.alloc(layout) });
        // SAFETY: the block was made with this layout.
        unsafe { allocator.dealloc(block, layout) };
    }
    began.elapsed()
}

#[inline(never)]
fn grown(allocator: &impl GlobalAlloc) -> Duration {
    let (small, large) = (black_box(64), black_box(160));
    let layout = |size| Layout::from_size_align(size, 8).expect("it is one");
    let began = Instant::now();
    for _ in 0..PAIRS {
        // SAFETY: the layout is not empty.
        let block = black_box(unsafe { allocator.alloc(layout(small)) });
        // SAFETY: the block was made with this layout, and the new size is not 0.
        let block = black_box(unsafe { allocator.realloc(block, layout(small), large) });
        // SAFETY: the block has this layout now.
        unsafe { allocator.dealloc(block, layout(large)) };
    }
    began.elapsed()
}

fn heap(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("heap");
    let system: Way<'_> = &|| pairs(&System, 64);
    bench_alone(&mut group, "system", PAIRS, system);
    let mut added = |name: &str, bare: Way<'_>, way: Way<'_>| bench_added(&mut group, name, PAIRS, bare, way);
    let wrapped: Way<'_> = &|| pairs(&ALLOCATOR, 64);
    let realloc: (Way<'_>, Way<'_>) = (&|| grown(&System), &|| grown(&ALLOCATOR));
    added("added by nothing", system, system);
    added("added by the wrapper, off", system, wrapped);
    added("added by realloc, off", realloc.0, realloc.1);
    let watch = holdup::Watch::builder().print(holdup::Print::Never).start().expect("starts");
    for sampling in [Sampling::default(), Sampling::bytes(64 << 10)] {
        watch.sample_heap(sampling).expect("the allocator is holdup's");
        added(&format!("added by the wrapper, at {sampling}"), system, wrapped);
        added(&format!("added by realloc, at {sampling}"), realloc.0, realloc.1);
    }
    watch.stop_sampling_heap();
    added("added by the wrapper, off again", system, wrapped);
    group.finish();
}

criterion_group! {
    name = benches;
    // An iteration takes as long as its rounds, whatever time it reports. So few samples suffice.
    config = Criterion::default().sample_size(20).warm_up_time(Duration::from_millis(500)).without_plots().with_profiler(Flamegraph::new());
    targets = heap
}
criterion_main!(benches);
