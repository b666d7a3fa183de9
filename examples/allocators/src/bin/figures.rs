//! How exact the profiles of the heap are, against known truth: `figures totals`, `figures frees` and `figures frames`. The
//! results are in `docs/measurements/heap.md`. `figures serve` keeps memory and serves its profiles until its standard input
//! ends.

use std::collections::{BTreeMap, HashMap};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::mpsc;

use allocators::{MIXES, Mix, Random, live, through, watch};
use anyhow::{bail, ensure};
use holdup::heap::{Allocator, Sampling};
use holdup::profile::Labels;
use holdup::stall::Origin;
use holdup::{Watch, WatchFutureExt};

#[global_allocator]
static ALLOCATOR: Allocator = Allocator::system();

fn main() -> anyhow::Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("totals") => totals(),
        Some("frees") => frees(),
        Some("frames") => frames(),
        Some("serve") => serve(),
        _ => bail!("figures totals | frees | frames | serve"),
    }
}

const RUNS: u64 = 30;

/// The estimates of live memory against the truth.
fn totals() -> anyhow::Result<()> {
    println!(
        "| distance | sizes | samples per run | error of the mean of {RUNS} runs | largest error of a run | inside their ± |"
    );
    println!("|---|---|---|---|---|---|");
    for (distance, bytes) in [(64 << 10, 256 << 20), (512 << 10, 1 << 30)] {
        let watch = watch(Sampling::bytes(distance))?;
        for mix in MIXES {
            let runs = (0..RUNS).map(|run| Run::of(&watch, mix, bytes, run)).collect::<anyhow::Result<Vec<_>>>()?;
            let count = runs.len() as f64;
            let mean = runs.iter().map(|run| run.error).sum::<f64>() / count;
            let largest = runs.iter().map(|run| run.error.abs()).fold(0.0, f64::max);
            let inside = runs.iter().filter(|run| run.error.abs() <= 1.96 / run.samples.sqrt()).count();
            let samples = runs.iter().map(|run| run.samples).sum::<f64>() / count;
            println!(
                "| {} | {} | {samples:.0} | {:+.2} % | {:.2} % | {inside} of {RUNS} |",
                Sampling::bytes(distance),
                mix.name,
                mean * 100.0,
                largest * 100.0
            );
        }
    }
    Ok(())
}

struct Run {
    samples: f64,
    /// Relative to the truth.
    error: f64,
}

impl Run {
    fn of(watch: &Watch, mix: Mix, bytes: usize, seed: u64) -> anyhow::Result<Self> {
        let sizes = mix.sizes(&mut Random::new(seed + 1), bytes);
        let mut held: Vec<Vec<u8>> = Vec::with_capacity(sizes.len());
        let before = live(watch)?;
        held.extend(sizes.iter().map(|size| black_box(Vec::with_capacity(*size as usize))));
        let after = live(watch)?;
        let truth: f64 = held.iter().map(|block| block.capacity() as f64).sum();
        let gained = |value| (after.total(value) - before.total(value)) as f64;
        ensure!(after.quality.lost == before.quality.lost, "samples were lost");
        Ok(Self { samples: gained(0), error: gained(2) / truth - 1.0 })
    }
}

const FREED_ELSEWHERE: usize = 10_000_000;
const THREADS: usize = 4;
const BATCH: usize = 1_000;

#[inline(never)]
fn produce(mix: Mix, random: &mut Random) -> Vec<Vec<u8>> {
    (0..BATCH).map(|_| black_box(Vec::with_capacity(mix.size(random)))).collect()
}

/// Objects that are freed on other threads.
fn frees() -> anyhow::Result<()> {
    let watch = watch(Sampling::SMALLEST)?;
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (sender, receiver) = mpsc::sync_channel(8);
            scope.spawn(move || receiver.into_iter().for_each(drop::<Vec<Vec<u8>>>));
            scope.spawn(move || {
                let mut random = Random::new(thread as u64 + 1);
                for _ in 0..FREED_ELSEWHERE / THREADS / BATCH {
                    // The receiver ends after this thread.
                    let _ended = sender.send(produce(MIXES[1], &mut random));
                }
            });
        }
    });
    let profile = live(&watch)?;
    let [samples, _, bytes, _] = through(&profile, "produce", |_| true);
    println!(
        "{FREED_ELSEWHERE} objects, one sample per {}: {samples} samples of {bytes} bytes live",
        Sampling::SMALLEST
    );
    println!("{} samples found no room; {:?}", profile.quality.lost, profile.quality.notes);
    Ok(())
}

#[inline(never)]
fn parse_orders(round: usize) -> usize {
    let text: String = (0..2_000).map(|number| format!("{number}={}, ", number * round)).collect();
    let orders: HashMap<&str, String> =
        text.split(", ").filter_map(|part| part.split_once('=')).map(|(key, value)| (key, value.to_owned())).collect();
    black_box(orders).len()
}

#[inline(never)]
fn price_baskets(round: usize) -> usize {
    let baskets: BTreeMap<usize, Arc<[u64]>> =
        (0..500).map(|number| (number, (0..200).map(|item| item * round as u64).collect())).collect();
    let mut sorted: Vec<_> = black_box(baskets).into_values().collect();
    sorted.sort();
    sorted.dedup();
    sorted.len()
}

#[inline(never)]
fn print_receipts(round: usize) -> usize {
    let lines: Vec<Box<dyn Fn() -> String + Send>> =
        (0..3_000).map(|number| Box::new(move || format!("{number:>20} × {round}")) as _).collect();
    let receipt = lines.iter().map(|line| line()).collect::<Vec<_>>().join("\n");
    black_box(receipt).len()
}

/// Rounds of each task. Some live until the end, so that a profile of what lives has all that was kept.
const ROUNDS: usize = 1_500;

async fn repeat(work: fn(usize) -> usize, keep: fn(usize) -> Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut kept = Vec::new();
    for round in 0..ROUNDS {
        black_box(work(round));
        kept.extend(keep(round));
        tokio::task::yield_now().await;
    }
    kept
}

/// Blocks of the standard library's collections, which are kept.
macro_rules! keeper {
    ($name:ident, $work:ident) => {
        #[inline(never)]
        fn $name(round: usize) -> Vec<Vec<u8>> {
            (0..40).map(|number| format!("{:>9000}", number * round + $work(1) % 2).into_bytes()).collect()
        }
    };
}
keeper!(keep_orders, one);
keeper!(keep_baskets, one);
keeper!(keep_receipts, one);

fn one(number: usize) -> usize {
    number
}

/// Frames and labels of samples.
fn frames() -> anyhow::Result<()> {
    let watch = watch(Sampling::bytes(64 << 10))?;
    let runtime =
        watch.runtime(tokio::runtime::Builder::new_multi_thread().worker_threads(2).name("shop").enable_all())?;
    let (orders, baskets, receipts) = (line!() + 3, line!() + 4, line!() + 5);
    let kept = runtime.block_on(async {
        let tasks = [
            tokio::spawn(repeat(parse_orders, keep_orders).watched_as("orders")),
            tokio::spawn(repeat(price_baskets, keep_baskets).watched_as("baskets")),
            tokio::spawn(repeat(print_receipts, keep_receipts).watched_as("receipts")),
        ];
        let mut kept = Vec::new();
        for task in tasks {
            kept.push(task.await);
        }
        kept
    });
    let profile = live(&watch)?;
    let all = profile.total(0);
    let is_of_user =
        |sample: &&holdup::profile::Sample| profile.frames_of(sample).any(|frame| frame.frame.origin == Origin::User);
    let with_user: i64 = profile.samples.iter().filter(is_of_user).map(|sample| sample.values[0]).sum();
    println!("user frames: {with_user} of {all} samples; {:?}", profile.quality.notes);
    let (mut right, mut of) = (0, 0);
    for (function, task, line) in [
        ("keep_orders", "orders", orders),
        ("keep_baskets", "baskets", baskets),
        ("keep_receipts", "receipts", receipts),
    ] {
        let place = format!("figures.rs:{line}");
        let is_right = |labels: &Labels| {
            labels.task_name.as_deref() == Some(task)
                && labels.spawned_at.as_deref().is_some_and(|spawned| spawned.ends_with(&place))
        };
        right += through(&profile, function, is_right)[0];
        of += through(&profile, function, |_| true)[0];
    }
    println!("task and spawn location: {right} of {of} samples are right");
    drop(kept);
    Ok(())
}

/// A service that keeps memory.
fn serve() -> anyhow::Result<()> {
    let watch = Watch::builder().listen("127.0.0.1:6060").heap(Sampling::bytes(64 << 10)).start()?;
    let runtime =
        watch.runtime(tokio::runtime::Builder::new_multi_thread().worker_threads(2).name("shop").enable_all())?;
    let tasks = [
        runtime.spawn(repeat(parse_orders, keep_orders).watched_as("orders")),
        runtime.spawn(repeat(price_baskets, keep_baskets).watched_as("baskets")),
        runtime.spawn(repeat(print_receipts, keep_receipts).watched_as("receipts")),
    ];
    println!("http://127.0.0.1:6060/debug/pprof/heap");
    let ended = std::io::read_to_string(std::io::stdin());
    drop((tasks, ended));
    Ok(())
}
