//! A CPU that threads share: pinned threads, and one that keeps it busy.
#![allow(unsafe_code, reason = "pins threads to a CPU")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use holdup::Watch;
use tokio::runtime::Builder;

use super::waiting::DEADLINE;

/// Pins the calling thread to a CPU. Threads that it starts are pinned too.
pub(crate) fn pin(cpu: usize) {
    // SAFETY: an all-zero set is a valid empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the number is below the size of the set, which libc checks too.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: the set is live and has this size; 0 is the calling thread.
    let answer = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) };
    assert_eq!(answer, 0, "CPU {cpu}: {}", std::io::Error::last_os_error());
}

/// The last CPU that the calling thread may use.
pub(crate) fn last_cpu() -> usize {
    // SAFETY: an all-zero set is a valid empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the result goes into a live set of this size.
    let answer = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) };
    assert_eq!(answer, 0, "{}", std::io::Error::last_os_error());
    let limit = usize::try_from(libc::CPU_SETSIZE).expect("is positive");
    // SAFETY: the numbers are below the size of the set.
    (0..limit).rev().find(|cpu| unsafe { libc::CPU_ISSET(*cpu, &set) }).expect("a thread may use a CPU")
}

/// A thread that keeps a CPU busy until it is dropped.
pub(crate) struct Hog {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Hog {
    pub(crate) fn on(cpu: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            pin(cpu);
            while !stopped.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

/// Polls `poll` on a CPU with a hog, until the machine has made this many of its polls long.
pub(crate) fn poll_beside_a_hog(watch: &Watch, count: u64, poll: impl Fn() + Copy + Send + Sync + 'static) {
    let hog = Hog::on(last_cpu());
    let run = || {
        pin(last_cpu());
        let runtime = watch.runtime(Builder::new_current_thread().enable_all()).expect("builds");
        runtime.block_on(async {
            let limit = Instant::now() + DEADLINE;
            while watch.counters().not_scheduled < count {
                assert!(Instant::now() < limit, "the machine makes polls long: {:?}", watch.counters());
                holdup::spawn(async move { poll() }).await.expect("it ends");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
    };
    std::thread::scope(|scope| scope.spawn(run).join()).expect("the runtime ends");
    drop(hog);
}

impl Drop for Hog {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the hog ends");
        }
    }
}
