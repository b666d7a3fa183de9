//! A thread parked in `epoll_wait` is never interrupted by holdup, neither when stacks are taken by signal nor while
//! CPU time is sampled: every call of this program goes through a counter.
#![allow(unsafe_code, reason = "stands in for libc's epoll_wait, to see what the runtime sees")]

#[path = "../support/mod.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use holdup::profile::Sample;
use holdup::stall::{CaptureMethod, Detection};
use holdup::{Hooks, ProfileMode, ProfileOptions, Stall, WatchFutureExt};
use support::{Events, alone, function_of, wait_until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Builder;

static CALLS: AtomicU64 = AtomicU64::new(0);
static WAITED: AtomicU64 = AtomicU64::new(0);
static INTERRUPTED: AtomicU64 = AtomicU64::new(0);

/// What the program did in `epoll_wait` since an earlier reading.
#[derive(Clone, Copy, Debug)]
struct Counted {
    calls: u64,
    waited: u64,
    interrupted: u64,
}

impl Counted {
    fn now() -> Self {
        let [calls, waited, interrupted] =
            [&CALLS, &WAITED, &INTERRUPTED].map(|counter| counter.load(Ordering::Relaxed));
        Self { calls, waited, interrupted }
    }

    fn since(self, earlier: Self) -> Self {
        Self {
            calls: self.calls - earlier.calls,
            waited: self.waited - earlier.waited,
            interrupted: self.interrupted - earlier.interrupted,
        }
    }
}

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
    no_eintr(Hooks::new(), true);
}

/// The same where the watchdog does not know whether the worker is inside a poll.
#[test]
fn a_parked_worker_sees_no_eintr_while_long_polls_are_inferred() {
    no_eintr(Hooks::new().without_task_hooks(), false);
}

fn no_eintr(hooks: Hooks, told: bool) {
    let _alone = alone();
    let before = Counted::now();
    let events = Events::default();
    let watch = events.builder().threshold(Duration::from_millis(2)).start().expect("starts");
    let mut builder = Builder::new_multi_thread();
    let runtime = watch.runtime_with(builder.worker_threads(2).enable_all(), hooks).expect("builds");
    runtime.block_on(async {
        let ticking = spawn(told, async {
            loop {
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        });
        let stalling = spawn(told, async {
            for round in 0..150 {
                compute(Duration::from_millis(4 + round % 5));
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        stalling.await.expect("it ends");
        ticking.abort();
    });
    let by_signal = events.wait_for("a stack taken by signal", |_, stall| {
        function_of(stall) == "stalls_never_interrupts::compute"
            && stall.stack.as_ref().is_ok_and(|stack| stack.method == CaptureMethod::Signal)
    });
    assert_eq!(by_signal.detection == Detection::Instrumented, told);
    let taken = events
        .all()
        .iter()
        .filter(|(_, stall)| stall.stack.as_ref().is_ok_and(|stack| stack.method == CaptureMethod::Signal))
        .count();
    let counted = Counted::now().since(before);
    println!("{taken} stacks taken by signal; {counted:?}");
    // Until it is known where polls return to, the first ones go by.
    let enough = if told { 50 } else { 20 };
    assert!(taken >= enough, "only {taken} stacks were taken by signal");
    assert!(counted.waited >= 50, "the runtime parks in this function");
    assert_eq!(counted.interrupted, 0);
}

fn spawn(told: bool, future: impl Future<Output = ()> + Send + 'static) -> tokio::task::JoinHandle<()> {
    if told { holdup::spawn(future) } else { tokio::spawn(future) }
}

const CPU_PROFILES: usize = 15;

/// Passes a message to and fro through the I/O driver: each side is woken, computes for some microseconds and waits.
async fn ping_pong(going: Arc<AtomicBool>) -> u64 {
    let (mut ours, mut theirs) = tokio::net::UnixStream::pair().expect("sockets");
    let echo = holdup::spawn(async move {
        let mut byte = [0];
        while theirs.read_exact(&mut byte).await.is_ok() {
            compute(Duration::from_micros(20));
            theirs.write_all(&byte).await.expect("the other side lives");
        }
    });
    let (mut byte, mut rounds) = ([0], 0);
    while going.load(Ordering::Relaxed) {
        ours.write_all(&byte).await.expect("the other side lives");
        ours.read_exact(&mut byte).await.expect("the other side lives");
        compute(Duration::from_micros(20));
        rounds += 1;
    }
    drop(ours);
    echo.await.expect("it ends");
    rounds
}

/// Sampling periods end in every place of two workers that park thousands of times a second, while profiles start and
/// stop, and stacks are taken by signal at the same time.
#[test]
fn a_parked_worker_sees_no_eintr_while_cpu_time_is_sampled() {
    let _alone = alone();
    let events = Events::default();
    let watch = events.builder().threshold(Duration::from_millis(2)).start().expect("starts");
    let mut builder = Builder::new_multi_thread();
    let runtime = watch.runtime(builder.worker_threads(2).enable_all()).expect("builds");
    let going = Arc::new(AtomicBool::new(true));
    let before = Counted::now();
    let players: Vec<_> = (0..2).map(|_| runtime.spawn(ping_pong(Arc::clone(&going)).watched())).collect();
    let stalls = Arc::clone(&going);
    let stalling = async move {
        while stalls.load(Ordering::Relaxed) {
            compute(Duration::from_millis(4));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let stalling = runtime.spawn(stalling.watched());
    let profile = |mode, rate, milliseconds| {
        let options = ProfileOptions::new(mode).rate(rate).duration(Duration::from_millis(milliseconds));
        watch.profile_blocking(&options).expect("profiles")
    };
    let (mut sampled, mut of_workers) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while going.load(Ordering::Relaxed) {
                profile(ProfileMode::Wall, 1000, 300);
            }
        });
        for _ in 0..CPU_PROFILES {
            let profile = profile(ProfileMode::Cpu, 999, 400);
            sampled += profile.sample_count();
            let worker = |sample: &&Sample| profile.labels_of(sample).is_some_and(|labels| labels.worker.is_some());
            of_workers += profile.samples.iter().filter(worker).count();
        }
        going.store(false, Ordering::Relaxed);
    });
    let rounds: u64 = runtime.block_on(async {
        stalling.await.expect("it ends");
        let mut rounds = 0;
        for player in players {
            rounds += player.await.expect("it ends");
        }
        rounds
    });
    let counted = Counted::now().since(before);
    let by_signal = |stall: &Stall| stall.stack.as_ref().is_ok_and(|stack| stack.method == CaptureMethod::Signal);
    let taken = events.all().iter().filter(|(_, stall)| by_signal(stall)).count();
    println!("{rounds} rounds, {sampled} periods, {of_workers} samples of workers, {taken} stacks; {counted:?}");
    assert!(of_workers > 100, "{of_workers} samples of workers");
    assert!(taken > 10, "only {taken} stacks were taken by signal");
    assert!(counted.waited > 1_000, "the runtime parks in this function: {counted:?}");
    assert_eq!(counted.interrupted, 0, "{counted:?}");
}

/// The signals that a thread of this process holds back, one bit each.
fn held_back(tid: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/self/task/{tid}/status")).expect("the thread lives");
    let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).expect("the kernel tells");
    u64::from_str_radix(mask.trim(), 16).expect("it is a number")
}

/// Newer kernels send a CPU timer's signal on the way back to the program only, and so interrupt no wait; others do it
/// at the tick, wherever the thread is. For them a worker holds the signal back while it is parked.
#[test]
fn a_parked_worker_holds_the_sampling_signal_back() {
    let _alone = alone();
    let watch = Events::default().watch();
    let mut builder = Builder::new_multi_thread();
    let runtime = watch.runtime(builder.worker_threads(1).enable_all()).expect("builds");
    let in_polls = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&in_polls);
    let ticking = async move {
        loop {
            let tid = std::fs::read_link("/proc/thread-self").expect("the kernel tells");
            let tid = tid.file_name().and_then(|name| name.to_str()).expect("it is a number");
            seen.fetch_or(held_back(tid), Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let ticking = runtime.spawn(ticking.watched());
    wait_until("the worker is known", || !watch.workers().is_empty());
    let tid = watch.workers()[0].tid.to_string();
    assert_eq!(held_back(&tid), 0, "nothing is sampled yet");
    for _ in 0..3 {
        std::thread::scope(|scope| {
            let profiling = scope.spawn(|| {
                let options = ProfileOptions::new(ProfileMode::Cpu).duration(Duration::from_secs(1));
                watch.profile_blocking(&options).expect("profiles")
            });
            wait_until("one signal is held back", || held_back(&tid).count_ones() == 1);
            profiling.join().expect("no panic");
        });
        wait_until("it is let through again", || held_back(&tid) == 0);
    }
    ticking.abort();
    assert_eq!(in_polls.load(Ordering::Relaxed), 0, "inside a poll nothing is held back");
}
