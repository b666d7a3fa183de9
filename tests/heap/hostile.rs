//! Uses of the allocator that no program should have and some do: sizes and alignments at the limits, a failing inner
//! allocator, short threads, the end of a thread, and `fork`.

#![allow(unsafe_code, reason = "calls an allocator through its raw interface, and forks")]

#[path = "../support/mod.rs"]
mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::RefCell;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use holdup::ProfileMode;
use holdup::heap::{Allocator, Sampling};
use support::heap::{counted, now, through, watch, window};
use support::{alone, wait_until};

#[global_allocator]
static ALLOCATOR: Allocator = Allocator::system();

/// An allocator that fails on demand, and counts what it holds.
struct Fails;

static FAILS: AtomicBool = AtomicBool::new(false);
static HELD: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator does the work; null is allowed as an answer.
unsafe impl GlobalAlloc for Fails {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if FAILS.load(Ordering::Relaxed) {
            return std::ptr::null_mut();
        }
        HELD.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        HELD.fetch_sub(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(block, layout) }
    }
}

static FAILING: Allocator<Fails> = Allocator::new(Fails);

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).expect("it is one")
}

#[test]
fn sizes_and_alignments_at_the_limits() {
    let _alone = alone();
    for sampling in [Sampling::EVERY_ALLOCATION, Sampling::default()] {
        let watch = watch(sampling);
        use_limits();
        assert_eq!(through(&now(&watch, ProfileMode::Heap), "use_limits"), [0; 3]);
    }
}

#[inline(never)]
fn use_limits() {
    let most = layout(isize::MAX.cast_unsigned(), 1);
    // SAFETY: the layout is valid and not empty.
    assert!(unsafe { ALLOCATOR.alloc(most) }.is_null(), "no machine has that much");
    // SAFETY: the layout is valid and not empty.
    assert!(unsafe { ALLOCATOR.alloc_zeroed(most) }.is_null());
    for shift in 0..=30 {
        let layout = layout(64, 1 << shift);
        // SAFETY: the layout is valid and not empty.
        let block = unsafe { ALLOCATOR.alloc(layout) };
        assert!(!block.is_null() && block.addr().is_multiple_of(layout.align()), "{layout:?}");
        // SAFETY: the block has 64 bytes.
        unsafe { block.write_bytes(0xa5, 64) };
        // SAFETY: the block was made with this layout, and the size is valid for its alignment.
        let moved = unsafe { ALLOCATOR.realloc(block, layout, 10_000) };
        assert!(!moved.is_null() && moved.addr().is_multiple_of(layout.align()), "{layout:?}");
        // SAFETY: the block has 10 000 bytes, of which 64 were written.
        let kept = unsafe { std::slice::from_raw_parts(moved, 64) };
        assert!(kept.iter().all(|byte| *byte == 0xa5), "{layout:?}");
        // SAFETY: the block has this layout.
        unsafe { ALLOCATOR.dealloc(moved, Layout::from_size_align(10_000, layout.align()).expect("it is one")) };
    }
    let empty = layout(0, 1);
    // SAFETY: the system's allocator takes empty layouts too, and the region has a smallest size.
    let block = unsafe { ALLOCATOR.alloc(empty) };
    // SAFETY: the block was made with this layout.
    unsafe { ALLOCATOR.dealloc(block, empty) };
}

#[inline(never)]
fn allocates(layout: Layout) -> *mut u8 {
    // SAFETY: the layout is valid and not empty.
    unsafe { FAILING.alloc(layout) }
}

#[test]
fn a_failing_inner_allocator_stays_the_owner_of_its_blocks() {
    let _alone = alone();
    let watch = watch(Sampling::EVERY_ALLOCATION);
    let large = layout(100_000, 8);
    let block = allocates(large);
    assert!(!block.is_null());
    FAILS.store(true, Ordering::Relaxed);
    // SAFETY: as above.
    assert!(unsafe { FAILING.alloc(large) }.is_null());
    // SAFETY: the block was made with this layout.
    assert!(unsafe { FAILING.realloc(block, large, 200_000) }.is_null(), "the block stays");
    assert_eq!(through(&now(&watch, ProfileMode::Heap), "allocates"), [1, 1, 100_000]);
    FAILS.store(false, Ordering::Relaxed);
    // SAFETY: the block was made with this layout.
    unsafe { FAILING.dealloc(block, large) };
    assert_eq!(HELD.load(Ordering::Relaxed), 0);
    assert_eq!(through(&now(&watch, ProfileMode::Heap), "allocates"), [0; 3]);
}

#[inline(never)]
fn short() -> Vec<u8> {
    black_box(vec![1; 300])
}

static THREADS: AtomicUsize = AtomicUsize::new(0);

fn threads_started() -> u64 {
    THREADS.load(Ordering::Relaxed) as u64
}

#[test]
fn thousands_of_short_threads_leave_nothing() {
    let _alone = alone();
    let watch = watch(Sampling::bytes(16 << 10));
    let allocated = std::thread::scope(|scope| {
        let profile = scope.spawn(|| window(&watch, ProfileMode::Allocs, Duration::from_secs(3)));
        while threads_started() < 2_000 || !profile.is_finished() {
            let work = || (0..20).map(|_| short()).collect::<Vec<_>>().pop();
            let some: Vec<_> = (0..20).map(|_| scope.spawn(work)).collect();
            THREADS.fetch_add(some.len(), Ordering::Relaxed);
            some.into_iter().for_each(|thread| drop(thread.join().expect("it ends")));
        }
        profile.join().expect("it is collected")
    });
    assert!(through(&allocated, "short")[0] > 10, "{:?}", allocated.quality);
    let live = now(&watch, ProfileMode::Heap);
    assert_eq!((through(&live, "short"), live.quality.lost), ([0; 3], 0));
    let bytes = counted(&live);
    // Threads that have ended count with all they allocated: 300 bytes in each of 20 rounds.
    assert!(bytes > threads_started() * 6_000, "{bytes} bytes in {} threads", threads_started());
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
            let before = short();
            // SAFETY: the child only allocates with the system's allocator, which is made for it, and ends at once.
            let child = unsafe { libc::fork() };
            if child == 0 {
                drop(before);
                let held: Vec<_> = (0..100).map(|_| short()).collect();
                let right = held.iter().all(|block| block.len() == 300);
                // Another thread may hold a lock of the collector, for ever.
                let right = right && watch.sample_heap(Sampling::default()).is_err();
                drop(held);
                // SAFETY: it has no preconditions.
                unsafe { libc::_exit(if right { 0 } else { 1 }) };
            }
            assert!(child > 0, "the process forks");
            let mut status = 0;
            // SAFETY: the status is a live variable.
            let ended = unsafe { libc::waitpid(child, &raw mut status, 0) };
            assert_eq!((ended, status), (child, 0), "round {round}");
        }
        done.store(true, Ordering::Relaxed);
    });
    wait_until("nothing lives", || through(&now(&watch, ProfileMode::Heap), "short") == [0; 3]);
}
