//! A thread parked in `epoll_wait` is never interrupted by holdup: every call of this program goes through a counter.
#![allow(unsafe_code, reason = "stands in for libc's epoll_wait, to see what the runtime sees")]

mod support;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use holdup::Method;
use support::{Events, function_of};
use tokio::runtime::Builder;

static CALLS: AtomicU64 = AtomicU64::new(0);
static WAITED: AtomicU64 = AtomicU64::new(0);
static INTERRUPTED: AtomicU64 = AtomicU64::new(0);

/// Takes the place of libc's function for the whole program, mio included, and counts what it returns.
///
/// # Safety
/// As for epoll_wait(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn epoll_wait(epfd: i32, events: *mut libc::epoll_event, most: i32, timeout: i32) -> i32 {
    // SAFETY: the arguments are those of the caller, for the same system call.
    let result = unsafe { libc::syscall(libc::SYS_epoll_wait, epfd, events, most, timeout) };
    CALLS.fetch_add(1, Ordering::Relaxed);
    if timeout != 0 {
        WAITED.fetch_add(1, Ordering::Relaxed);
    }
    if result == -1 && std::io::Error::last_os_error().kind() == std::io::ErrorKind::Interrupted {
        INTERRUPTED.fetch_add(1, Ordering::Relaxed);
    }
    i32::try_from(result).unwrap_or(-1)
}

#[inline(never)]
fn compute(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// Two workers: one computes and is asked for its stack by signal, the other parks with the I/O driver, wakes for
/// timers and parks again.
#[test]
fn a_parked_worker_sees_no_eintr_while_stacks_are_taken_by_signal() {
    let events = Events::default();
    let watch = events.builder().threshold(Duration::from_millis(2)).start().expect("starts");
    let mut builder = Builder::new_multi_thread();
    let runtime = watch.runtime(builder.worker_threads(2).enable_all()).expect("builds");
    runtime.block_on(async {
        let ticking = holdup::spawn(async {
            loop {
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        });
        let stalling = holdup::spawn(async {
            for round in 0..150 {
                compute(Duration::from_millis(4 + round % 5));
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        stalling.await.expect("it ends");
        ticking.abort();
    });
    let by_signal = events.wait_for("a stack taken by signal", |_, stall| {
        function_of(stall) == "never_interrupts::compute"
            && stall.stack.as_ref().is_ok_and(|stack| stack.method == Method::Signal)
    });
    assert!(by_signal.tid > 0);
    let taken = events
        .all()
        .iter()
        .filter(|(_, stall)| stall.stack.as_ref().is_ok_and(|stack| stack.method == Method::Signal))
        .count();
    println!(
        "{taken} stacks taken by signal, {} calls of epoll_wait, {} of them waited, {} interrupted",
        CALLS.load(Ordering::Relaxed),
        WAITED.load(Ordering::Relaxed),
        INTERRUPTED.load(Ordering::Relaxed)
    );
    assert!(taken >= 50, "only {taken} stacks were taken by signal");
    assert!(WAITED.load(Ordering::Relaxed) >= 50, "the runtime parks in this function");
    assert_eq!(INTERRUPTED.load(Ordering::Relaxed), 0);
}
