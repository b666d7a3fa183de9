//! A runtime with known tasks. One computes in short polls, one sleeps in its polls, one waits for a lock that a thread
//! holds, and five wait forever.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use holdup::{Runtime, Watch, WatchFutureExt};
use tokio::runtime::Builder;

use super::Events;

/// Well above the threshold, so that most of a stall is sleep or lock.
const STALL: Duration = Duration::from_millis(60);

/// Pause between two stalls.
const PAUSE: Duration = Duration::from_millis(20);

/// Dropped from top to bottom, because a stuck task must be released before its runtime is dropped.
pub(crate) struct Scene {
    _stuck: Sender<()>,
    _lock: Arc<Mutex<()>>,
    _runtime: Runtime,
    _watch: Watch,
    pub(crate) address: SocketAddr,
}

#[inline(never)]
pub(crate) fn sleep_in_poll() {
    std::thread::sleep(STALL);
    std::hint::black_box(());
}

#[inline(never)]
pub(crate) fn wait_for_lock(lock: &Mutex<()>) {
    drop(lock.lock().unwrap_or_else(PoisonError::into_inner));
    std::hint::black_box(());
}

/// Shorter than the threshold, so it is no stall.
#[inline(never)]
pub(crate) fn compute_briefly() {
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(2) {
        std::hint::spin_loop();
    }
    std::hint::black_box(());
}

/// Tests find the line of the call by its text.
#[inline(never)]
pub(crate) fn stay_stuck(until: &Receiver<()>) {
    let _ended = until.recv();
    std::hint::black_box(());
}

impl Scene {
    /// Starts it, watched and with an endpoint. `stuck` adds a task with a poll that never returns.
    pub(crate) fn start(stuck: bool) -> Self {
        let watch = Events::default().builder().threshold(STALL / 2).listen("127.0.0.1:0").start().expect("starts");
        let mut builder = Builder::new_multi_thread();
        let runtime = watch.runtime(builder.worker_threads(4).enable_all().name("scene")).expect("builds");
        let lock = Arc::new(Mutex::new(()));
        hold(&lock);
        let computes = async {
            loop {
                compute_briefly();
                tokio::task::yield_now().await;
            }
        };
        let sleeps = async {
            loop {
                sleep_in_poll();
                tokio::time::sleep(PAUSE).await;
            }
        };
        let lock_of_task = Arc::clone(&lock);
        let locks = async move {
            loop {
                wait_for_lock(&lock_of_task);
                tokio::time::sleep(PAUSE).await;
            }
        };
        runtime.spawn(computes.watched_as("computes"));
        runtime.spawn(sleeps.watched_as("sleeps"));
        runtime.spawn(locks.watched_as("locks"));
        for _ in 0..5 {
            runtime.spawn(std::future::pending::<()>());
        }
        let (free, until) = channel();
        if stuck {
            runtime.spawn(async move { stay_stuck(&until) }.watched_as("stuck"));
        }
        let address = super::address_of(&watch);
        Self { _stuck: free, _lock: lock, _runtime: runtime, _watch: watch, address }
    }
}

/// Holds the lock most of the time, until all other owners are gone.
fn hold(lock: &Arc<Mutex<()>>) {
    let lock = Arc::downgrade(lock);
    std::thread::spawn(move || {
        while let Some(lock) = lock.upgrade() {
            let held = lock.lock().unwrap_or_else(PoisonError::into_inner);
            std::thread::sleep(STALL);
            drop(held);
            drop(lock);
            std::thread::sleep(PAUSE / 2);
        }
    });
}
