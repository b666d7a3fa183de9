//! The sampler of Linux on x86_64.

/// Lock-free lists.
mod lists;

/// The address space of small sampled objects.
mod region;

/// The table of other sampled objects.
mod table;

/// Copies of stacks.
mod stack_record;

/// What each thread counts.
mod thread;

/// Sampled objects.
mod objects;

use std::alloc::Layout;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

pub(crate) use stack_record::{SMALL_BYTES, expect_deep_stacks};
#[cfg(test)]
pub(crate) use thread::{SEEDED_MEAN, seeded};
pub(super) use thread::{count_failed, count_free, is_due};
pub(crate) use thread::{enter_worker, leave_worker, totals, without_sampling};

use super::facts::{Allocated, Freed, StartError};
use crate::sys::StackCopy;
use table::TakenOut;
use thread::{GENERATION, MEAN};

/// Objects whose size or alignment reaches it are looked up in the table when they are freed. It never changes once sampling
/// has begun: an object is looked up where it was put.
static TABLE_FROM: AtomicUsize = AtomicUsize::new(usize::MAX);
/// Samples that found no room.
static LOST: AtomicU64 = AtomicU64::new(0);
static LAST_GENERATION: AtomicU32 = AtomicU32::new(0);
/// Set in a child of `fork`.
static FORKED: AtomicBool = AtomicBool::new(false);
static PREPARE: Once = Once::new();

extern "C" fn on_fork_in_child() {
    FORKED.store(true, Ordering::Relaxed);
    GENERATION.store(0, Ordering::Relaxed);
}

/// Begins to sample, or changes the mean distance between two samples. 0 samples every allocation.
///
/// # Errors
/// In a child of `fork`.
pub(crate) fn start(mean: u64) -> Result<(), StartError> {
    PREPARE.call_once(|| {
        thread::make_key();
        // SAFETY: the handler stores two atomics, which is allowed after a fork.
        let _no_memory = unsafe { libc::pthread_atfork(None, None, Some(on_fork_in_child)) };
        // Without a region, every sampled object is in the table, and every free looks there.
        let table_from = if region::reserve().is_ok() { region::SMALL } else { 0 };
        TABLE_FROM.store(table_from, Ordering::Relaxed);
    });
    if is_forked() {
        return Err(StartError::Forked);
    }
    MEAN.store(mean, Ordering::Relaxed);
    // A sampling thread acquires this. Who frees its object got the pointer from it, and so sees the stores above.
    GENERATION.store(LAST_GENERATION.fetch_add(1, Ordering::Relaxed).wrapping_add(1).max(1), Ordering::Release);
    Ok(())
}

/// Ends sampling. Objects that live are still known.
pub(crate) fn stop() {
    GENERATION.store(0, Ordering::Relaxed);
}

/// Whether this process is a child of `fork`. Locks may be held there by threads that do not exist.
pub(crate) fn is_forked() -> bool {
    FORKED.load(Ordering::Relaxed)
}

pub(crate) fn is_on() -> bool {
    GENERATION.load(Ordering::Relaxed) != 0
}

/// Whether the program's allocations come through the wrapper. Known while sampling is on.
pub(crate) fn is_installed() -> bool {
    drop(std::hint::black_box(Box::new(0_u8)));
    is_on() && thread::generation() == GENERATION.load(Ordering::Relaxed)
}

/// Whether small objects have a region. Known once sampling has begun.
pub(crate) fn has_region() -> bool {
    TABLE_FROM.load(Ordering::Relaxed) != 0
}

/// Samples that found no room.
pub(crate) fn lost() -> u64 {
    LOST.load(Ordering::Relaxed)
}

/// See [`objects::drain`].
pub(crate) fn drain(stack: &mut StackCopy, allocated: impl FnMut(Allocated, &StackCopy), freed: impl FnMut(Freed)) {
    objects::drain(stack, allocated, freed);
}

/// Whether a block may belong to a sampled object.
#[inline]
pub(super) fn may_be_sampled(block: *mut u8, layout: Layout) -> bool {
    region::contains(block.addr()) || (layout.size() | layout.align()) >= TABLE_FROM.load(Ordering::Relaxed)
}

/// Whether a block lies in the region, so that the inner allocator does not know it.
#[inline]
pub(super) fn is_in_region(block: *mut u8) -> bool {
    region::contains(block.addr())
}

/// Whether a block of this layout comes from the region if it is sampled.
pub(super) fn would_be_in_region(layout: Layout) -> bool {
    (layout.size() | layout.align()) < TABLE_FROM.load(Ordering::Relaxed)
}

/// A sampled allocation. Small blocks come from the region, others from `inner`. Null if `inner` returns null.
#[cold]
#[inline(never)]
pub(super) fn sampled(layout: Layout, inner: impl FnOnce() -> *mut u8) -> *mut u8 {
    let block = sampled_block(layout, inner);
    if !block.is_null() {
        thread::count_due(layout.size());
    }
    block
}

fn sampled_block(layout: Layout, inner: impl FnOnce() -> *mut u8) -> *mut u8 {
    let Some(_inside) = thread::enter() else { return inner() };
    // Pairs with the store of the setting: who frees the object sees where it is looked up.
    fence(Ordering::Acquire);
    if !would_be_in_region(layout) {
        let block = inner();
        hold(block, layout.size());
        return block;
    }
    let Some(object) = objects::claim() else {
        LOST.fetch_add(1, Ordering::Relaxed);
        return inner();
    };
    let Some(block) = region::take(layout, object) else {
        objects::give_back(object);
        LOST.fetch_add(1, Ordering::Relaxed);
        return inner();
    };
    objects::publish(object, block.addr(), layout.size());
    block
}

/// Makes a block of the inner allocator a sampled object.
pub(super) fn sample_block(block: *mut u8, size: usize) {
    if let Some(_inside) = thread::enter() {
        fence(Ordering::Acquire);
        hold(block, size);
    }
    thread::count_due(size);
}

/// Adds a block to the table.
fn hold(block: *mut u8, size: usize) {
    if block.is_null() {
        return;
    }
    let held = objects::claim().filter(|object| {
        let inserted = table::insert(block.addr(), *object);
        if !inserted {
            objects::give_back(*object);
        }
        inserted
    });
    match held {
        Some(object) => objects::publish(object, block.addr(), size),
        None => drop(LOST.fetch_add(1, Ordering::Relaxed)),
    }
}

/// Ends the sampled object that a block belongs to, if it does. Returns whether its memory lies in the region.
pub(super) fn release(block: *mut u8) -> bool {
    if region::contains(block.addr()) {
        if let Some((_, object)) = region::find(block.addr()) {
            objects::post_freed(object);
        }
        return true;
    }
    if let Some(object) = table::remove(block.addr()) {
        objects::post_freed(object);
    }
    false
}

/// Takes a block out of the table before the inner allocator moves it.
pub(super) fn take_out(block: *mut u8) -> Option<TakenOut> {
    table::take_out(block.addr())
}

/// Ends an object that was taken out: its block was moved.
pub(super) fn end(taken_out: TakenOut) {
    let object = taken_out.object;
    taken_out.clear();
    objects::post_freed(object);
}

/// Puts back an object that was taken out: its block stays.
pub(super) fn put_back(block: *mut u8, taken_out: TakenOut) {
    taken_out.put_back(block.addr());
}
