//! A callback of your own for every stall: to count it, to log it your way, or to call somebody.
//!
//! Shows: `on_stall` with its three phases, what a stall holds, and how to get out of the callback quickly.
//!
//! ```console
//! $ cargo run --example stall_callback
//! ```
//! Look for: `noticed` lines *before* the poll has ended (the sleep of 400 ms is noticed after some 10 ms), `still`
//! lines at 4 and 16 times the threshold, and at the end a table of what was counted. It ends by itself.

use std::{
    collections::BTreeMap,
    sync::mpsc::{SyncSender, sync_channel},
    thread,
    time::{Duration, Instant},
};

use holdup::stall::Phase;
use holdup::{Print, StallEvent};

/// Stalls that may wait to be handled; further ones are dropped here, and holdup still counts them.
const QUEUE: usize = 1024;

/// What we want to know of a stall. The event itself is only lent to the callback.
struct Told {
    phase: Phase,
    culprit: String,
    cause: String,
    duration: Duration,
}

fn main() -> anyhow::Result<()> {
    let (tell, told) = sync_channel(QUEUE);
    // The callback runs on holdup's reporter thread, and while it runs, further reports wait. So it hands on what it
    // needs, and a thread of our own takes its time (here it prints; it might send a message).
    let handler = thread::spawn(move || {
        let mut ended: BTreeMap<String, (u32, Duration)> = BTreeMap::new();
        for Told { phase, culprit, cause, duration } in told {
            match phase {
                Phase::Noticed => println!("noticed after {duration:>7.1?}: {culprit}"),
                Phase::Updated => println!("still, after  {duration:>7.1?}: {culprit} ({cause})"),
                Phase::Ended => {
                    println!("ended after   {duration:>7.1?}: {culprit} ({cause})");
                    let (times, longest) = ended.entry(format!("{culprit}, {cause}")).or_default();
                    *times += 1;
                    *longest = duration.max(*longest);
                }
                // Phases of later versions.
                _ => {}
            }
        }
        ended
    });

    let watch = holdup::Watch::builder()
        .threshold(Duration::from_millis(10))
        .print(Print::Never)
        .on_stall(move |event| hand_on(&tell, event))
        .start()?;
    let runtime = watch.runtime(tokio::runtime::Builder::new_multi_thread().enable_all())?;
    runtime.block_on(async {
        for _ in 0..3 {
            wait_for(holdup::spawn_named("naps", async { nap() })).await;
            wait_for(holdup::spawn_named("counts", async { count() })).await;
        }
    });
    drop(runtime);
    // Ends the reporter, and with it the callback and its end of the queue.
    drop(watch);

    println!("\ntimes  longest  what");
    for (what, (times, longest)) in handler.join().unwrap_or_default() {
        println!("{times:>5}  {longest:>7.1?}  {what}");
    }
    Ok(())
}

fn hand_on(tell: &SyncSender<Told>, event: &StallEvent<'_>) {
    let stall = event.stall;
    let culprit = match &stall.culprit {
        Some(culprit) => culprit.frame.function.to_string(),
        None => "nothing of ours".to_owned(),
    };
    let told = Told { phase: event.phase, culprit, cause: stall.cause.class.to_string(), duration: stall.duration };
    // Never wait here: a full queue loses this one.
    let _lost_if_full = tell.try_send(told);
}

async fn wait_for(task: tokio::task::JoinHandle<()>) {
    if let Err(error) = task.await {
        println!("a task ended early: {error}");
    }
}

#[inline(never)]
fn nap() {
    thread::sleep(Duration::from_millis(400));
}

#[inline(never)]
fn count() {
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(100) {
        std::hint::spin_loop();
    }
}
