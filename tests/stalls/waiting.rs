//! The backlog behind a stall: queued tasks, and I/O and timers without a driver.

#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

use holdup::stall::Driver;
use support::{Events, alone, function_of};
use tokio::runtime::Builder;

#[inline(never)]
fn hold_up() {
    std::thread::sleep(Duration::from_millis(300));
}

#[test]
fn tasks_that_a_stuck_worker_has_queued_are_counted() {
    let _alone = alone();
    let events = Events::default();
    let watch = events.watch();
    let mut builder = Builder::new_multi_thread();
    let runtime = watch.runtime(builder.worker_threads(1).enable_all()).expect("builds");
    runtime.block_on(async {
        holdup::spawn(async {
            let behind: Vec<_> = (0..6).map(|_| tokio::spawn(async {})).collect();
            hold_up();
            for task in behind {
                task.await.expect("it ends");
            }
        })
        .await
        .expect("it ends");
    });
    let stall = events.wait_for("the stall", |_, stall| function_of(stall) == "stalls_waiting::hold_up");
    assert_eq!((stall.waiting.others, stall.waiting.driver), (0, Driver::Unattended));
    assert_eq!(stall.waiting.global_queue, Some(0));
    // The task that was spawned last is in the LIFO slot, which Tokio does not count.
    let local = if cfg!(tokio_unstable) { Some(5) } else { None };
    assert_eq!(stall.waiting.local_queue, local);
}

/// The worker that waited for events polls the timer's task and blocks. The other worker sleeps until it is woken.
#[test]
fn a_stuck_worker_that_was_the_driver_leaves_it_unattended() {
    let _alone = alone();
    let events = Events::default();
    let watch = events.watch();
    let mut builder = Builder::new_multi_thread();
    let runtime = watch.runtime(builder.worker_threads(2).enable_all()).expect("builds");
    runtime.block_on(async {
        holdup::spawn(async {
            for _ in 0..5 {
                // Time for both workers to park.
                tokio::time::sleep(Duration::from_millis(100)).await;
                hold_up();
            }
        })
        .await
        .expect("it ends");
    });
    let stall = events.wait_for("a stall while the other worker sleeps", |_, stall| {
        function_of(stall) == "stalls_waiting::hold_up" && stall.waiting.driver == Driver::Unattended
    });
    assert_eq!((stall.waiting.others, stall.waiting.others_parked, stall.waiting.others_stalled), (1, 1, 0));
    assert!(
        stall.waiting.sentence().contains("nobody drives I/O and timers of this runtime"),
        "{}",
        stall.waiting.sentence()
    );
}
