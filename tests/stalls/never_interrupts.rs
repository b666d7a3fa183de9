//! holdup never interrupts a thread that is parked in `epoll_wait`, neither to capture stacks by signal nor to sample
//! CPU time. A counter in this program sees every call.
#![allow(unsafe_code, reason = "replaces libc's epoll_wait, to see the results that the runtime sees")]

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

/// The results of `epoll_wait` since an earlier reading.
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

/// Replaces libc's function in the whole program, including mio, and counts its results.
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

/// One worker computes, and its stack is captured by signal. The other one parks with the I/O driver, wakes for timers and
/// parks again.
#[test]
fn a_parked_worker_sees_no_eintr_while_stacks_are_captured_by_signal() {
    no_eintr(Hooks::new(), true);
}

/// The same for uninstrumented polls: the watchdog does not know whether the worker is in a poll.
#[test]
fn a_parked_worker_sees_no_eintr_while_long_polls_are_inferred() {
    no_eintr(Hooks::new().without_task_hooks(), false);
}

fn no_eintr(hooks: Hooks, instrumented: bool) {
    let _alone = alone();
    let before = Counted::now();
    let events = Events::default();
    let watch = events.builder().threshold(Duration::from_millis(2)).start().expect("starts");
    let mut builder = Builder::new_multi_thread();
    let runtime = watch.runtime_with(builder.worker_threads(2).enable_all(), hooks).expect("builds");
    runtime.block_on(async {
        let ticking = spawn(instrumented, async {
            loop {
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        });
        let stalling = spawn(instrumented, async {
            for round in 0..150 {
                compute(Duration::from_millis(4 + round % 5));
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        stalling.await.expect("it ends");
        ticking.abort();
    });
    let by_signal = events.wait_for("a stack captured by signal", |_, stall| {
        function_of(stall) == "stalls_never_interrupts::compute"
            && stall.stack.as_ref().is_ok_and(|stack| stack.method == CaptureMethod::Signal)
    });
    assert_eq!(by_signal.detection == Detection::Instrumented, instrumented);
    drop(runtime);
    let taken = events
        .all_of(watch)
        .iter()
        .filter(|(_, stall)| stall.stack.as_ref().is_ok_and(|stack| stack.method == CaptureMethod::Signal))
        .count();
    let counted = Counted::now().since(before);
    println!("{taken} stacks captured by signal; {counted:?}");
    // The first polls are missed, because their return address is not known yet.
    let enough = if instrumented { 50 } else { 20 };
    assert!(taken >= enough, "only {taken} stacks were captured by signal");
    assert!(counted.waited >= 50, "the runtime parks in this function");
    assert_eq!(counted.interrupted, 0);
}

fn spawn(instrumented: bool, future: impl Future<Output = ()> + Send + 'static) -> tokio::task::JoinHandle<()> {
    if instrumented { holdup::spawn(future) } else { tokio::spawn(future) }
}

const CPU_PROFILES: usize = 15;

/// Sends a message back and forth through the I/O driver. Each side wakes, computes for some microseconds and waits.
async fn ping_pong(going: Arc<AtomicBool>) -> u64 {
    let (mut ours, mut theirs) = tokio::net::UnixStream::pair().expect("sockets");
    let echo = holdup::spawn(async move {
        let mut byte = [0];
        while theirs.read_exact(&mut byte).await.is_ok() {
            compute(Duration::from_micros(20));
            theirs.write_all(&byte).await.expect("the other side is connected");
        }
    });
    let (mut byte, mut rounds) = ([0], 0);
    while going.load(Ordering::Relaxed) {
        ours.write_all(&byte).await.expect("the other side is connected");
        ours.read_exact(&mut byte).await.expect("the other side is connected");
        compute(Duration::from_micros(20));
        rounds += 1;
    }
    drop(ours);
    echo.await.expect("it ends");
    rounds
}

/// Two workers park thousands of times a second, so sampling periods end at every point of their loops. Meanwhile profiles start
/// and stop, and stacks are captured by signal.
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
    drop(runtime);
    let taken = events.all_of(watch).iter().filter(|(_, stall)| by_signal(stall)).count();
    println!("{rounds} rounds, {sampled} periods, {of_workers} samples of workers, {taken} stacks; {counted:?}");
    assert!(of_workers > 100, "{of_workers} samples of workers");
    assert!(taken > 10, "only {taken} stacks were captured by signal");
    assert!(counted.waited > 1_000, "the runtime parks in this function: {counted:?}");
    assert_eq!(counted.interrupted, 0, "{counted:?}");
}

/// The signals that a thread of this process blocks, one bit each.
fn blocked_signals(tid: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/self/task/{tid}/status")).expect("the thread exists");
    let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).expect("/proc is mounted");
    u64::from_str_radix(mask.trim(), 16).expect("it is a number")
}

/// Newer kernels send the signal of a CPU timer only on return to user space, so it interrupts no wait. Older kernels send it at
/// the tick. For them a worker blocks the signal while it is parked.
#[test]
fn a_parked_worker_blocks_the_sampling_signal() {
    let _alone = alone();
    let watch = Events::default().watch();
    let mut builder = Builder::new_multi_thread();
    let runtime = watch.runtime(builder.worker_threads(1).enable_all()).expect("builds");
    let in_polls = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&in_polls);
    let ticking = async move {
        loop {
            let tid = std::fs::read_link("/proc/thread-self").expect("/proc is mounted");
            let tid = tid.file_name().and_then(|name| name.to_str()).expect("it is a number");
            seen.fetch_or(blocked_signals(tid), Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let ticking = runtime.spawn(ticking.watched());
    wait_until("the worker is known", || !watch.workers().is_empty());
    let tid = watch.workers()[0].tid.to_string();
    assert_eq!(blocked_signals(&tid), 0, "nothing is sampled yet");
    for _ in 0..3 {
        std::thread::scope(|scope| {
            let profiling = scope.spawn(|| {
                let options = ProfileOptions::new(ProfileMode::Cpu).duration(Duration::from_secs(1));
                watch.profile_blocking(&options).expect("profiles")
            });
            wait_until("one signal is blocked", || blocked_signals(&tid).count_ones() == 1);
            profiling.join().expect("no panic");
        });
        wait_until("it is unblocked again", || blocked_signals(&tid) == 0);
    }
    ticking.abort();
    assert_eq!(in_polls.load(Ordering::Relaxed), 0, "no signal is blocked in a poll");
}
