//! A callback for every stall: to count it, to log it in your format, or to send an alert.
//!
//! Shows `on_stall` with its three phases, the contents of a stall, and a callback that returns quickly.
//!
//! ```console
//! $ cargo run --example stall_callback
//! ```
//! `noticed` lines appear *before* the end of the poll: the sleep of 400 ms is noticed after about 10 ms. `still` lines
//! appear at 4 and 16 times the threshold. The end is a table of counts. It ends by itself.

use std::{
    collections::BTreeMap,
    sync::mpsc::{SyncSender, sync_channel},
    thread,
    time::{Duration, Instant},
};

use holdup::stall::Phase;
use holdup::{Print, StallEvent};

/// Capacity of the queue. Further stalls are dropped here, but holdup counts them.
const QUEUE: usize = 1024;

/// The needed parts of a stall. The callback only borrows the event.
struct Event {
    phase: Phase,
    culprit: String,
    cause: String,
    duration: Duration,
}

fn main() -> anyhow::Result<()> {
    let (sender, events) = sync_channel(QUEUE);
    // The callback runs on holdup's reporter thread, and further reports wait for it. So it only passes the needed parts
    // on, and a separate thread does the slow work (here it prints; it could send a message).
    let handler = thread::spawn(move || {
        let mut ended: BTreeMap<String, (u32, Duration)> = BTreeMap::new();
        for Event { phase, culprit, cause, duration } in events {
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
        .on_stall(move |event| pass_on(&sender, event))
        .start()?;
    let runtime = watch.runtime(tokio::runtime::Builder::new_multi_thread().enable_all())?;
    runtime.block_on(async {
        for _ in 0..3 {
            wait_for(holdup::spawn_named("naps", async { nap() })).await;
            wait_for(holdup::spawn_named("counts", async { count() })).await;
        }
    });
    drop(runtime);
    // Ends the reporter, and with it the callback and its sender.
    drop(watch);

    println!("\ntimes  longest  what");
    for (what, (times, longest)) in handler.join().unwrap_or_default() {
        println!("{times:>5}  {longest:>7.1?}  {what}");
    }
    Ok(())
}

fn pass_on(sender: &SyncSender<Event>, event: &StallEvent<'_>) {
    let stall = event.stall;
    let culprit = match &stall.culprit {
        Some(culprit) => culprit.frame.function.to_string(),
        None => "nothing of ours".to_owned(),
    };
    let parts = Event { phase: event.phase, culprit, cause: stall.cause.class.to_string(), duration: stall.duration };
    // Never wait here: with a full queue, this stall is dropped.
    let _lost_if_full = sender.try_send(parts);
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
