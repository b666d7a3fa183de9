//! Uses of the allocator that no program should have and some do: sizes and alignments at the limits, a failing inner
//! allocator, and blocks that move between the allocators.

#![allow(unsafe_code, reason = "calls an allocator through its raw interface")]

#[path = "../support/mod.rs"]
mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use holdup::heap::{Allocator, Sampling};
use holdup::{ProfileMode, Watch};
use support::alone;
use support::heap::{counted, now, through, watch};

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
        let live = now(&watch, ProfileMode::Heap);
        assert_eq!(through(&live, "use_limits"), [0; 3]);
        // What failed is not counted, as large as it was.
        assert!(counted(&live) < 1 << 50, "{:?}", live.quality);
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

#[test]
fn what_an_inner_allocator_refuses_is_not_counted() {
    let _alone = alone();
    let watch = watch(Sampling::LARGEST);
    let before = counted(&now(&watch, ProfileMode::Heap));
    // A thread that ends has added all that it counted. Most of these calls are not sampled, and some are.
    let refused = || {
        let (small, large) = (layout(100, 8), layout(1 << 20, 8));
        let block = allocates(small);
        FAILS.store(true, Ordering::Relaxed);
        for _ in 0..1_000 {
            assert!(allocates(large).is_null());
            // SAFETY: the layout is not empty.
            assert!(unsafe { FAILING.alloc_zeroed(large) }.is_null());
            // SAFETY: the block was made with this layout.
            assert!(unsafe { FAILING.realloc(block, small, large.size()) }.is_null());
        }
        FAILS.store(false, Ordering::Relaxed);
        // SAFETY: the block was made with this layout.
        unsafe { FAILING.dealloc(block, small) };
    };
    std::thread::spawn(refused).join().expect("it ends");
    let counted = counted(&now(&watch, ProfileMode::Heap)) - before;
    assert!(counted < 100 << 20, "{counted} bytes are counted, and 3000 MiB were refused");
    assert_eq!(HELD.load(Ordering::Relaxed), 0);
}

#[inline(never)]
fn stays(layout: Layout, allocator: &impl GlobalAlloc) -> *mut u8 {
    // SAFETY: the layout is not empty.
    let block = unsafe { allocator.alloc(layout) };
    assert!(!block.is_null());
    // SAFETY: the block has this many bytes.
    unsafe { block.write_bytes(0x5a, layout.size()) };
    block
}

#[inline(never)]
fn moves(block: *mut u8, from: Layout, to: usize) -> *mut u8 {
    // SAFETY: the block was made with this layout by the same allocator.
    let moved = unsafe { ALLOCATOR.realloc(block, from, to) };
    assert!(!moved.is_null() && moved.addr().is_multiple_of(from.align()));
    // SAFETY: the block has that many bytes, and they were written before it moved.
    let kept = unsafe { std::slice::from_raw_parts(moved, to.min(from.size())) };
    assert!(kept.iter().all(|byte| *byte == 0x5a), "the content moved along");
    moved
}

/// Samples of [`stays`] and of [`moves`].
fn known(watch: &Watch) -> (i64, i64) {
    let live = now(watch, ProfileMode::Heap);
    (through(&live, "stays")[0], through(&live, "moves")[0])
}

#[test]
fn blocks_move_across_the_border_of_the_region_in_both_directions() {
    let _alone = alone();
    let watch = watch(Sampling::EVERY_ALLOCATION);
    // Below 8 KiB a sampled block lies in the region, and all others with the inner allocator.
    for (from, to) in [(100, 200), (100, 50), (100, 100_000), (100_000, 100), (100_000, 200_000)] {
        for align in [1, 8, 64, 4096] {
            let from = layout(from, align);
            let freed = |block: *mut u8| {
                // SAFETY: the block has this layout now.
                unsafe { ALLOCATOR.dealloc(block, layout(to, align)) };
                assert_eq!(known(&watch), (0, 0), "{from:?} to {to}");
            };
            // Sampled before and after.
            let block = stays(from, &ALLOCATOR);
            assert_eq!(known(&watch), (1, 0), "{from:?}");
            let block = moves(block, from, to);
            assert_eq!(known(&watch), (0, 1), "{from:?} to {to}");
            freed(block);
            // Sampled before and not after.
            let block = stays(from, &ALLOCATOR);
            watch.stop_sampling_heap();
            let block = moves(block, from, to);
            watch.sample_heap(Sampling::EVERY_ALLOCATION).expect("it began before");
            assert_eq!(known(&watch), (0, 0), "{from:?} to {to}");
            freed(block);
            // Sampled after and not before.
            watch.stop_sampling_heap();
            let block = stays(from, &ALLOCATOR);
            watch.sample_heap(Sampling::EVERY_ALLOCATION).expect("it began before");
            let block = moves(block, from, to);
            assert_eq!(known(&watch), (0, 1), "{from:?} to {to}");
            freed(block);
        }
    }
}

#[test]
fn a_sandbox_costs_the_stacks_and_leaves_the_error_number_alone() {
    let _alone = alone();
    let watch = watch(Sampling::EVERY_ALLOCATION);
    let in_sandbox = || {
        refuse(libc::SYS_process_vm_readv);
        for size in [8, 300, 9_000, 100_000] {
            set_errno(77);
            let block = stays(layout(size, 8), &ALLOCATOR);
            assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(77), "{size} bytes");
            let live = now(&watch, ProfileMode::Heap);
            assert!(live.quality.notes.iter().any(|note| note.contains("have no stack")), "{:?}", live.quality);
            set_errno(77);
            // SAFETY: the block was made with this layout.
            unsafe { ALLOCATOR.dealloc(block, layout(size, 8)) };
            assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(77), "{size} bytes");
        }
    };
    std::thread::scope(|scope| scope.spawn(in_sandbox).join().expect("it ends"));
}

fn set_errno(number: i32) {
    // SAFETY: it has no preconditions, and the pointer is to this thread's own error number.
    let location = unsafe { libc::__errno_location() };
    // SAFETY: see above.
    unsafe { *location = number };
}

/// Makes a system call fail in the calling thread, for good.
fn refuse(call: libc::c_long) {
    let line = |code: u32, k: u32, jt: u8, jf: u8| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut filter = [
        // The number of the call.
        line(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        line(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, call as u32, 0, 1),
        line(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned(), 0, 0),
        line(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: it changes what this thread may do, and nothing else.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    // SAFETY: the program and its lines are live.
    let refused = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    assert_eq!(refused, 0, "{}", std::io::Error::last_os_error());
}
