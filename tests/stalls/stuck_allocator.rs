//! A worker holds the lock of the program's allocator, which holdup needs too. It says so without an allocation.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(unsafe_code, reason = "an allocator is unsafe code")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use holdup::{Print, Watch};
use tokio::runtime::Builder;

/// The lock that every allocation takes, as in an allocator without arenas.
static LOCK: Mutex<()> = Mutex::new(());

struct OneLock;

// SAFETY: it is the system's allocator, and only waits before.
unsafe impl GlobalAlloc for OneLock {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _locked = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: OneLock = OneLock;

const DEADLINE: Duration = Duration::from_secs(60);

const CHILD: &str = "HOLDUP_TEST_HOLDS_ALLOCATOR";

#[test]
fn a_watchdog_that_waits_for_the_allocator_says_so() {
    if std::env::var_os(CHILD).is_some() {
        return hold_allocator_until_input_ends();
    }
    let mut command = Command::new(std::env::current_exe().expect("it exists"));
    command.args(["--exact", "a_watchdog_that_waits_for_the_allocator_says_so", "--nocapture"]).env(CHILD, "1");
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let input = child.stdin.take();
    let (say, said) = mpsc::channel();
    let mut lines = BufReader::new(child.stderr.take().expect("is piped")).lines().map_while(Result::ok);
    let reader = std::thread::spawn(move || lines.all(|line| say.send(line).is_ok()));
    let mut wait_for = |part: &str| {
        let limit = Instant::now() + DEADLINE;
        let mut before = Vec::new();
        loop {
            match said.recv_timeout(limit.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(part) => return,
                Ok(line) => before.push(line),
                Err(_) => {
                    child.kill().expect("it runs");
                    panic!("{part:?} is not said: {before:#?}");
                }
            }
        }
    };
    wait_for("holdup: the watchdog has waited for ");
    wait_for("such as the lock of the program's allocator");
    wait_for("holdup dump --pid ");
    // The worker lets the allocator go.
    drop(input);
    wait_for("holdup: the watchdog runs again, after at least ");
    assert!(child.wait().expect("it ends").success());
    drop(said);
    reader.join().expect("it reads");
}

fn hold_allocator_until_input_ends() {
    let watch = Watch::builder().print(Print::Always).start().expect("starts");
    let runtime = watch.runtime(Builder::new_multi_thread().worker_threads(1).enable_all()).expect("builds");
    runtime.block_on(async {
        tokio::spawn(async { hold_allocator() }).await.expect("it ends");
        tokio::time::sleep(Duration::from_secs(2)).await;
    });
}

#[inline(never)]
fn hold_allocator() {
    // Standard input allocates at its first use.
    let mut input = std::io::stdin().lock();
    let _locked = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
    while input.fill_buf().is_ok_and(|bytes| !bytes.is_empty()) {}
}
