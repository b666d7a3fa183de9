//! The wrapper of a program's allocator.

use std::alloc::{GlobalAlloc, Layout, System};

use super::platform as sampler;

/// A global allocator that samples allocations, around any other allocator.
///
/// It is off until a [`Watch`](crate::Watch) starts it, and costs one load and one branch until then. While it is on, most
/// allocations cost a few instructions more. A sampled one also costs a copy of the stack.
///
/// ```
/// #[global_allocator]
/// static ALLOCATOR: holdup::heap::Allocator = holdup::heap::Allocator::system();
/// # fn main() {}
/// ```
///
/// Around another allocator:
///
/// ```
/// use std::alloc::System;
///
/// #[global_allocator]
/// static ALLOCATOR: holdup::heap::Allocator<System> = holdup::heap::Allocator::new(System);
/// # fn main() {}
/// ```
#[derive(Debug, Default)]
pub struct Allocator<A = System> {
    inner: A,
}

impl Allocator {
    /// Around the system's allocator.
    #[must_use]
    pub const fn system() -> Self {
        Self::new(System)
    }
}

impl<A> Allocator<A> {
    /// Around an allocator of the program's choice.
    #[must_use]
    pub const fn new(inner: A) -> Self {
        Self { inner }
    }
}

impl<A: GlobalAlloc> Allocator<A> {
    /// Moves a block that is sampled, or that becomes sampled.
    ///
    /// # Safety
    /// As for [`GlobalAlloc::realloc`].
    #[cold]
    unsafe fn realloc_sampled(&self, block: *mut u8, layout: Layout, new_size: usize, due: bool) -> *mut u8 {
        // SAFETY: the caller promises that the size does not overflow with this alignment.
        let new_layout = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        let to_region = due && sampler::would_be_in_region(new_layout);
        if sampler::is_in_region(block) || to_region {
            // SAFETY: the caller's promises hold.
            return unsafe { self.copy(block, layout, new_layout, due) };
        }
        let held = sampler::take_out(block);
        // SAFETY: the inner allocator made this block with this layout.
        let new = unsafe { self.inner.realloc(block, layout, new_size) };
        if new.is_null() {
            held.into_iter().for_each(|object| sampler::put_back(block, object));
            if !due {
                sampler::count_failed(new_size);
            }
            return new;
        }
        held.into_iter().for_each(sampler::end);
        sampler::count_free(layout.size());
        if due {
            sampler::sample_block(new, new_size);
        }
        new
    }

    /// Moves a block between the region and the inner allocator.
    ///
    /// # Safety
    /// As for [`GlobalAlloc::realloc`].
    unsafe fn copy(&self, block: *mut u8, layout: Layout, new_layout: Layout, due: bool) -> *mut u8 {
        let new = if due {
            // SAFETY: the caller promises a valid layout.
            sampler::sampled(new_layout, || unsafe { self.inner.alloc(new_layout) })
        } else {
            // SAFETY: the caller promises a valid layout.
            unsafe { self.inner.alloc(new_layout) }
        };
        if new.is_null() {
            if !due {
                sampler::count_failed(new_layout.size());
            }
        } else {
            let length = layout.size().min(new_layout.size());
            // SAFETY: both blocks are live and have at least `length` bytes.
            unsafe { std::ptr::copy_nonoverlapping(block, new, length) };
            // SAFETY: this allocator made the block with this layout, and the caller gives it up.
            unsafe { self.dealloc(block, layout) };
        }
        new
    }
}

// SAFETY: a block comes from the inner allocator, which keeps the contract, or from the region. The region's memory is
// reserved for good. A block there has its class's size and alignment, and its place is not taken again before it is freed.
// Nothing here unwinds or allocates.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Allocator<A> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if sampler::is_due(layout.size()) {
            // SAFETY: the caller's promises are those of the inner allocator.
            return sampler::sampled(layout, || unsafe { self.inner.alloc(layout) });
        }
        // SAFETY: the caller's promises are those of the inner allocator.
        let block = unsafe { self.inner.alloc(layout) };
        if block.is_null() {
            sampler::count_failed(layout.size());
        }
        block
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !sampler::is_due(layout.size()) {
            // SAFETY: the caller's promises are those of the inner allocator.
            let block = unsafe { self.inner.alloc_zeroed(layout) };
            if block.is_null() {
                sampler::count_failed(layout.size());
            }
            return block;
        }
        // SAFETY: the caller's promises are those of the inner allocator.
        let block = sampler::sampled(layout, || unsafe { self.inner.alloc_zeroed(layout) });
        if sampler::is_in_region(block) {
            // SAFETY: the block is new and has this many bytes. An earlier object may have used them.
            unsafe { block.write_bytes(0, layout.size()) };
        }
        block
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        sampler::count_free(layout.size());
        if sampler::may_be_sampled(block, layout) && sampler::release(block) {
            return;
        }
        // SAFETY: the inner allocator made every block outside the region, with this layout.
        unsafe { self.inner.dealloc(block, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let due = sampler::is_due(new_size);
        if due || sampler::may_be_sampled(block, layout) {
            // SAFETY: the caller's promises are passed on.
            return unsafe { self.realloc_sampled(block, layout, new_size, due) };
        }
        // SAFETY: the inner allocator made this block with this layout.
        let new = unsafe { self.inner.realloc(block, layout, new_size) };
        if new.is_null() {
            sampler::count_failed(new_size);
        } else {
            sampler::count_free(layout.size());
        }
        new
    }
}
