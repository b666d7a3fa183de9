//! The life of threads and of the process: allocations before `main`, in thousands of threads, beside signals, in a child of
//! `fork`, in destructors and after `main`.

#![allow(
    unsafe_code,
    reason = "forks, runs code before and after main, and calls an allocator through its raw interface"
)]

#[path = "../support/mod.rs"]
mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::RefCell;
use std::hint::black_box;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use holdup::heap::{Allocator, Sampling};
use holdup::{Print, ProfileMode, ProfileOptions, Watch};
use support::heap::{counted, now, through, watch};
use support::{Events, alone, wait_until};

#[global_allocator]
static ALLOCATOR: Allocator = Allocator::system();

#[inline(never)]
fn short() -> Vec<u8> {
    black_box(vec![1; 300])
}

/// So large that it is always sampled at the smallest distance: it is missed once in 10^13 times.
#[inline(never)]
fn large() -> Vec<u8> {
    black_box(vec![1; 128 << 10])
}

/// What was allocated before `main`.
static BEFORE_MAIN: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
static EARLY_WATCH: OnceLock<Watch> = OnceLock::new();

/// In the process that this variable names, the part of a test that needs a process of its own runs.
const CHILD: &str = "HOLDUP_TEST_CHILD";

#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = constructor;

extern "C" fn constructor() {
    let mut kept = BEFORE_MAIN.lock().expect("no other thread runs");
    drop(short());
    kept.extend((0..10).map(|_| short()));
    if std::env::var_os(CHILD).is_some_and(|child| child == "early") {
        let watch = Watch::builder().print(Print::Never).start().expect("it starts before main");
        watch.sample_heap(Sampling::EVERY_ALLOCATION).expect("the allocator is holdup's");
        drop(short());
        kept.push(short());
        let _first = EARLY_WATCH.set(watch);
    }
}

/// Runs a test of this file in a process of its own. Returns what it prints.
fn in_a_process(test: &str, child: &str) -> String {
    let mut command = Command::new(std::env::current_exe().expect("it exists"));
    let output =
        command.args(["--exact", test, "--nocapture", "--test-threads=2"]).env(CHILD, child).output().expect("it runs");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}: {printed}{}", output.status, String::from_utf8_lossy(&output.stderr));
    printed
}

fn is_child(child: &str) -> bool {
    std::env::var_os(CHILD).is_some_and(|is| is == child)
}

#[test]
fn memory_from_before_main_is_unknown_and_can_be_freed() {
    let _alone = alone();
    let watch = watch(Sampling::EVERY_ALLOCATION);
    let mut kept = std::mem::take(&mut *BEFORE_MAIN.lock().expect("it is not poisoned"));
    assert_eq!(kept.len(), 10);
    kept.iter_mut().for_each(|block| block.resize(100, 2));
    assert!(kept.iter().all(|block| block.iter().all(|byte| *byte == 1)));
    drop(kept);
    assert_eq!(through(&now(&watch, ProfileMode::Heap), "short"), [0; 3]);
}

#[test]
fn sampling_may_begin_before_main() {
    if is_child("early") {
        let watch = EARLY_WATCH.get().expect("it started before main");
        // The last block, and the list that grew for it.
        assert_eq!(through(&now(watch, ProfileMode::Heap), "constructor")[0], 2);
        drop(std::mem::take(&mut *BEFORE_MAIN.lock().expect("it is not poisoned")));
        assert_eq!(through(&now(watch, ProfileMode::Heap), "constructor"), [0; 3]);
        return;
    }
    assert!(in_a_process("sampling_may_begin_before_main", "early").contains("1 passed"));
}

/// What lives when `main` ends.
static UNTIL_THE_END: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

extern "C" fn after_main() {
    let mut kept = UNTIL_THE_END.lock().expect("it is not poisoned");
    let right = kept.len() == 100 && kept.iter().all(|block| block.len() == 300);
    kept.clear();
    let more: Vec<_> = (0..1_000).map(|_| (short(), large())).collect();
    let right = right && more.iter().all(|(short, large)| short.len() == 300 && large.len() == 128 << 10);
    drop(more);
    let said: &[u8] = if right { b"after main\n" } else { b"wrong\n" };
    // SAFETY: the bytes are live.
    unsafe { libc::write(1, said.as_ptr().cast(), said.len()) };
}

#[test]
fn exit_handlers_may_allocate_and_free() {
    if is_child("exits") {
        let watch = watch(Sampling::EVERY_ALLOCATION);
        UNTIL_THE_END.lock().expect("it is not poisoned").extend((0..100).map(|_| short()));
        // SAFETY: the handler is a function of this program.
        assert_eq!(unsafe { libc::atexit(after_main) }, 0);
        // It watches until the end.
        std::mem::forget(watch);
        return;
    }
    let printed = in_a_process("exit_handlers_may_allocate_and_free", "exits");
    assert!(printed.ends_with("after main\n"), "{printed}");
}

struct Late(RefCell<Vec<Vec<u8>>>);

impl Drop for Late {
    fn drop(&mut self) {
        self.0.borrow_mut().push(short());
        LATE.fetch_add(self.0.borrow().len(), Ordering::Relaxed);
    }
}

static LATE: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static DROPPED_AT_THE_END: Late = const { Late(RefCell::new(Vec::new())) };
}

#[test]
fn destructors_of_thread_locals_may_allocate() {
    let _alone = alone();
    let watch = watch(Sampling::EVERY_ALLOCATION);
    LATE.store(0, Ordering::Relaxed);
    for _ in 0..20 {
        std::thread::spawn(|| DROPPED_AT_THE_END.with(|late| late.0.borrow_mut().push(short())))
            .join()
            .expect("it ends");
    }
    wait_until("the destructors have run", || LATE.load(Ordering::Relaxed) == 40);
    wait_until("nothing lives", || through(&now(&watch, ProfileMode::Heap), "short") == [0; 3]);
}

/// The last code of a thread. Rust's thread-local variables are gone.
extern "C" fn last_of_a_thread(_value: *mut libc::c_void) {
    // Each free of so much would add what was counted.
    (0..10).for_each(|_| std::mem::forget(large()));
}

#[test]
fn what_a_thread_allocates_last_is_counted() {
    let _alone = alone();
    // So rarely that a thread adds what it has counted when it ends, and not before.
    let watch = watch(Sampling::LARGEST);
    let mut key = 0;
    // SAFETY: the key is a live variable, and the destructor is a function of this program.
    assert_eq!(unsafe { libc::pthread_key_create(&raw mut key, Some(last_of_a_thread)) }, 0);
    let before = counted(&now(&watch, ProfileMode::Heap));
    for _ in 0..10 {
        std::thread::spawn(move || {
            // The sampler knows the thread now, and its destructor runs before the one of the later key.
            drop(short());
            let value = std::ptr::without_provenance(1);
            // SAFETY: the key exists, and its value is never followed.
            assert_eq!(unsafe { libc::pthread_setspecific(key, value) }, 0);
        })
        .join()
        .expect("it ends");
    }
    let counted = counted(&now(&watch, ProfileMode::Heap)) - before;
    assert!(counted >= 10 * 10 * (128 << 10), "{counted} bytes");
}

#[test]
fn ten_thousand_threads_are_sampled_and_leave_nothing() {
    let _alone = alone();
    let watch = watch(Sampling::SMALLEST);
    let before = now(&watch, ProfileMode::Heap);
    for wave in 0..100 {
        let threads: Vec<_> = (0..100).map(|_| std::thread::spawn(large)).collect();
        let held: Vec<_> = threads.into_iter().map(|thread| thread.join().expect("it ends")).collect();
        let live = now(&watch, ProfileMode::Heap);
        assert_eq!(through(&live, "large")[0], 100, "wave {wave}: {:?}", live.quality);
        drop(held);
    }
    let live = now(&watch, ProfileMode::Heap);
    assert_eq!((through(&live, "large"), live.quality.lost), ([0; 3], before.quality.lost));
    // Threads that have ended count with all they allocated.
    let counted = counted(&live) - counted(&before);
    assert!(counted >= 10_000 * (128 << 10), "{counted} bytes");
}

#[test]
fn signals_and_allocations_do_not_disturb_each_other() {
    let _alone = alone();
    let events = Events::default();
    let watch = events.watch();
    watch.sample_heap(Sampling::SMALLEST).expect("the allocator is holdup's");
    let runtime =
        watch.runtime(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all()).expect("it builds");
    let done = AtomicBool::new(false);
    let cpu = std::thread::scope(|scope| {
        let profile = scope.spawn(|| {
            let options = ProfileOptions::new(ProfileMode::Cpu).duration(Duration::from_secs(2));
            let profile = watch.profile_blocking(&options);
            done.store(true, Ordering::Relaxed);
            profile.expect("it is collected")
        });
        while !done.load(Ordering::Relaxed) {
            // Each stall lasts long enough for signals to interrupt its allocations.
            runtime.block_on(async { tokio::spawn(async { churn() }).await }).expect("it ends");
        }
        profile.join().expect("it ends")
    });
    let in_churn = |profile: &holdup::Profile| through(profile, "churn")[0];
    assert!(in_churn(&cpu) > 10, "{:?}", cpu.quality);
    events.wait_for("a stall that allocates", |_, stall| stall.stack.is_ok());
    let live = now(&watch, ProfileMode::Heap);
    assert_eq!(in_churn(&live), 0, "{:?}", live.quality);
}

/// Allocates for many polls' time.
#[inline(never)]
fn churn() {
    for _ in 0..20_000 {
        drop(black_box((short(), vec![0_u8; 9_000])));
    }
}

#[test]
fn a_forked_child_allocates_and_frees_while_other_threads_sample() {
    let _alone = alone();
    let watch = watch(Sampling::EVERY_ALLOCATION);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    drop(short());
                }
            });
        }
        for round in 0..50 {
            let before = (short(), large());
            let status = status_of_child(|| {
                drop(before);
                let held: Vec<_> = (0..100).map(|_| short()).collect();
                let right = held.iter().all(|block| block.len() == 300);
                // Another thread may hold a lock of the collector, for ever.
                right && watch.sample_heap(Sampling::default()).is_err()
            });
            assert_eq!(status, 0, "round {round}");
        }
        done.store(true, Ordering::Relaxed);
    });
    wait_until("nothing lives", || through(&now(&watch, ProfileMode::Heap), "short") == [0; 3]);
}

/// Forks. Returns 0 if the child found all right, and the signal if it hung.
fn status_of_child(is_right: impl FnOnce() -> bool) -> i32 {
    // SAFETY: the child only allocates with the system's allocator, which is made for it, and ends at once.
    let child = unsafe { libc::fork() };
    if child == 0 {
        end_child(is_right());
    }
    wait_for(child)
}

fn end_child(is_right: bool) -> ! {
    // SAFETY: it has no preconditions.
    unsafe { libc::_exit(i32::from(!is_right)) }
}

fn wait_for(child: i32) -> i32 {
    assert!(child > 0, "the process forks");
    let mut status = -1;
    wait_until("the child ends", || {
        // SAFETY: the status is a live variable.
        let ended = unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) };
        assert!(ended >= 0);
        ended == child
    });
    status
}

/// An allocator that forks in the middle of an allocation.
struct Forks;

static FORKS: AtomicBool = AtomicBool::new(false);
static CHILD_OF_ALLOCATION: AtomicI32 = AtomicI32::new(-1);

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Forks {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if FORKS.swap(false, Ordering::Relaxed) {
            // SAFETY: as in `status_of_child`.
            CHILD_OF_ALLOCATION.store(unsafe { libc::fork() }, Ordering::Relaxed);
        }
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(block, layout) }
    }
}

static FORKING: Allocator<Forks> = Allocator::new(Forks);

#[test]
fn a_process_forks_in_the_middle_of_a_sampled_allocation() {
    let _alone = alone();
    let watch = watch(Sampling::EVERY_ALLOCATION);
    let layout = Layout::from_size_align(100_000, 8).expect("it is one");
    for round in 0..20 {
        let before = (short(), large());
        FORKS.store(true, Ordering::Relaxed);
        // SAFETY: the layout is not empty.
        let block = unsafe { FORKING.alloc(layout) };
        assert!(!block.is_null());
        let child = CHILD_OF_ALLOCATION.load(Ordering::Relaxed);
        if child == 0 {
            drop(before);
            // SAFETY: the block was made with this layout.
            unsafe { FORKING.dealloc(block, layout) };
            end_child((0..100).all(|_| short().len() == 300 && large().len() == 128 << 10));
        }
        // SAFETY: the block was made with this layout.
        unsafe { FORKING.dealloc(block, layout) };
        assert_eq!(wait_for(child), 0, "round {round}");
    }
    let live = now(&watch, ProfileMode::Heap);
    assert_eq!((through(&live, "short"), through(&live, "large")), ([0; 3], [0; 3]));
}
