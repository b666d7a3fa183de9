//! One watch for several runtimes: a multi-thread one for requests, and a current-thread one on a separate thread.
//!
//! Shows that the same watch builds each runtime, and that reports distinguish them by name.
//!
//! ```console
//! $ cargo run --example several_runtimes
//! ```
//! The first table has the workers of both runtimes. A stall of `requests` blocks one of two workers, and the other goes
//! on. A stall of `ticker` blocks its only worker, and so the whole runtime. It ends by itself.

use std::{
    thread,
    time::{Duration, Instant},
};

use holdup::{Print, Runtime, Watch};
use tokio::runtime::Builder;

fn main() -> anyhow::Result<()> {
    let watch = Watch::builder().threshold(Duration::from_millis(10)).print(Print::Never).start()?;
    // Reports show this name of the runtime.
    let requests = watch.runtime(Builder::new_multi_thread().worker_threads(2).name("requests").enable_all())?;
    let ticker = watch.runtime(Builder::new_current_thread().name("ticker").enable_all())?;

    let ticking = thread::Builder::new().name("ticker".to_owned()).spawn(move || tick(&ticker))?;
    let answered = requests.block_on(async {
        let slow = holdup::spawn_named("slow request", async { look_into_archive() });
        let quick = holdup::spawn_named("quick requests", answer_while(slow));
        quick.await
    })?;
    println!("{answered} quick requests were answered beside the slow one\n");

    println!("{:<9} {:<7} {:<16} state", "runtime", "worker", "thread");
    for now in watch.workers() {
        let index = now.worker.map_or_else(|| "-".to_owned(), |index| index.to_string());
        println!("{:<9} {index:<7} {:<16} {:?}", now.runtime, now.thread, now.activity);
    }

    let longest = ticking.join().unwrap_or_default();
    println!("\nthe ticker's longest wait for a tick of 10 ms: {longest:.0?}\n");
    drop(requests);
    for entry in watch.stalls().entries {
        let stall = entry.stall;
        let culprit = stall.culprit.map_or_else(|| "?".to_owned(), |culprit| culprit.frame.function.to_string());
        println!("{} of {}: {culprit}, {} ({:.0?})", entry.count, stall.runtime, stall.cause.class, stall.duration);
    }
    Ok(())
}

/// Ticks for a second, with one mistake in between. Returns the longest time between two ticks.
fn tick(runtime: &Runtime) -> Duration {
    runtime.block_on(async {
        let started = Instant::now();
        let mut longest = Duration::ZERO;
        let mut last = started;
        holdup::spawn_named("clean up", async { clean_up() });
        while started.elapsed() < Duration::from_secs(1) {
            tokio::time::sleep(Duration::from_millis(10)).await;
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
        longest
    })
}

async fn answer_while(slow: tokio::task::JoinHandle<()>) -> u32 {
    let mut answered = 0;
    while !slow.is_finished() {
        tokio::time::sleep(Duration::from_millis(1)).await;
        answered += 1;
    }
    answered
}

#[inline(never)]
fn look_into_archive() {
    thread::sleep(Duration::from_millis(300));
}

#[inline(never)]
fn clean_up() {
    thread::sleep(Duration::from_millis(200));
}
