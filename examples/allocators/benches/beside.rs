//! What an allocation, a `realloc` and a free cost with holdup's allocator and beside it: other allocators and other heap
//! profilers, in alternating rounds of one process. Prints the table of `docs/measurements/heap.md`.
//!
//! A round allocates 64 bytes [`BLOCKS`] times, moves each block to 160 bytes, and frees all of them. So every free has a
//! live set, and every round has samples. The fastest of [`ROUNDS`] rounds counts: other load can only slow one down.

#![allow(
    unsafe_code,
    reason = "calls allocators through their raw interface, and jemalloc reads a symbol of the program"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::time::{Duration, Instant};

use allocators::sample;
use anyhow::Context;
use holdup::heap::{Allocator, Sampling};
use holdup::{Print, Watch};
use mimalloc::MiMalloc;
use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator::system();

static AROUND_JEMALLOC: Allocator<Jemalloc> = Allocator::new(Jemalloc);
static AROUND_MIMALLOC: Allocator<MiMalloc> = Allocator::new(MiMalloc);

/// One sample per 2^19 bytes, once it is switched on.
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static OPTIONS: &[u8] = b"prof:true,prof_active:false,lg_prof_sample:19\0";

const BLOCKS: usize = 50_000;
const ROUNDS: usize = 40;
/// dhat takes a stack at each call, so its rounds are long.
const ROUNDS_OF_DHAT: usize = 3;

/// The times of a round: allocations, moves, frees.
type Times = [Duration; 3];

#[inline(never)]
fn round(allocator: &impl GlobalAlloc, blocks: &mut [*mut u8]) -> Times {
    let layout = |size| Layout::from_size_align(black_box(size), 8).expect("it is one");
    let (small, large) = (layout(64), layout(160));
    let began = Instant::now();
    for block in &mut *blocks {
        // SAFETY: the layout is not empty.
        *block = black_box(unsafe { allocator.alloc(small) });
    }
    let allocated = Instant::now();
    for block in &mut *blocks {
        // SAFETY: the block was made with this layout.
        *block = black_box(unsafe { allocator.realloc(*block, small, large.size()) });
    }
    let moved = Instant::now();
    for block in &mut *blocks {
        // SAFETY: the block has this layout now.
        unsafe { allocator.dealloc(*block, large) };
    }
    [allocated - began, moved - allocated, moved.elapsed()]
}

/// A way to allocate.
struct Way<'a> {
    name: &'static str,
    /// Its own wrapper or profiler is compared with this way.
    beside: Option<usize>,
    rounds: usize,
    prepare: Prepare<'a>,
    run: fn(&mut [*mut u8]) -> Times,
    fastest: Times,
}

fn main() -> anyhow::Result<()> {
    let watch = Watch::builder().print(Print::Never).start()?;
    let mut ways = ways(&watch);
    let mut blocks = vec![std::ptr::null_mut(); BLOCKS];
    for number in 0..ROUNDS {
        for way in ways.iter_mut().filter(|way| number < way.rounds) {
            (way.prepare)().context(way.name)?;
            let times = (way.run)(&mut blocks);
            way.fastest = std::array::from_fn(|at| way.fastest[at].min(times[at]));
        }
    }
    println!("| | alloc | realloc | dealloc | added |\n|---|---|---|---|---|");
    for way in &ways {
        let nanos = |time: Duration| time.as_nanos() as f64 / BLOCKS as f64;
        let own = way.fastest.map(nanos);
        let added = way.beside.and_then(|beside| ways.get(beside)).map_or_else(
            || "–".to_owned(),
            |beside| {
                let added: Vec<String> =
                    (0..3).map(|at| format!("{:+.1}", own[at] - nanos(beside.fastest[at]))).collect();
                added.join(" / ")
            },
        );
        println!("| {} | {:.1} | {:.1} | {:.1} | {added} |", way.name, own[0], own[1], own[2]);
    }
    Ok(())
}

/// Prepares a round.
type Prepare<'a> = Box<dyn Fn() -> anyhow::Result<()> + 'a>;

fn way<'a>(
    name: &'static str,
    beside: Option<usize>,
    prepare: Prepare<'a>,
    run: fn(&mut [*mut u8]) -> Times,
) -> Way<'a> {
    Way { name, beside, rounds: ROUNDS, prepare, run, fastest: [Duration::MAX; 3] }
}

fn ways(watch: &Watch) -> Vec<Way<'_>> {
    let off = || {
        watch.stop_sampling_heap();
        Ok(sample(false)?)
    };
    let every = |kib: u64| {
        move || {
            sample(false)?;
            Ok(watch.sample_heap(Sampling::bytes(kib << 10))?)
        }
    };
    let of_jemalloc = || {
        watch.stop_sampling_heap();
        Ok(sample(true)?)
    };
    vec![
        way("the system's allocator", None, Box::new(off), |blocks| round(&System, blocks)),
        way("the same again, which is the noise", Some(0), Box::new(off), |blocks| round(&System, blocks)),
        way("holdup, off", Some(0), Box::new(off), |blocks| round(&ALLOCATOR, blocks)),
        way("holdup at 512 KiB", Some(0), Box::new(every(512)), |blocks| round(&ALLOCATOR, blocks)),
        way("holdup at 64 KiB", Some(0), Box::new(every(64)), |blocks| round(&ALLOCATOR, blocks)),
        way("jemalloc, `prof_active:false`", None, Box::new(off), |blocks| round(&Jemalloc, blocks)),
        way("jemalloc's profile at 512 KiB", Some(5), Box::new(of_jemalloc), |blocks| round(&Jemalloc, blocks)),
        way("holdup around jemalloc, off", Some(5), Box::new(off), |blocks| round(&AROUND_JEMALLOC, blocks)),
        way("holdup around jemalloc at 512 KiB", Some(5), Box::new(every(512)), |blocks| {
            round(&AROUND_JEMALLOC, blocks)
        }),
        way("mimalloc", None, Box::new(off), |blocks| round(&MiMalloc, blocks)),
        way("holdup around mimalloc at 512 KiB", Some(9), Box::new(every(512)), |blocks| {
            round(&AROUND_MIMALLOC, blocks)
        }),
        Way {
            rounds: ROUNDS_OF_DHAT,
            ..way("dhat, which takes every call", Some(0), Box::new(off), |blocks| {
                let profiler = dhat::Profiler::builder().testing().build();
                let times = round(&dhat::Alloc, blocks);
                drop(profiler);
                times
            })
        },
    ]
}
