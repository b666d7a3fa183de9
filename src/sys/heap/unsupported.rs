//! Other platforms: the wrapper passes every call on, and nothing is sampled.

use std::alloc::Layout;
use std::ops::Range;

use super::facts::{Allocated, Freed, HeapTotals, StartError};
use crate::sys::{PollWords, StackCopy};

pub(crate) fn start(_mean: u64) -> Result<(), StartError> {
    Err(StartError::Unsupported)
}

pub(crate) fn stop() {}

pub(crate) fn is_forked() -> bool {
    false
}

pub(crate) fn is_on() -> bool {
    false
}

pub(crate) fn is_installed() -> bool {
    false
}

pub(crate) fn has_region() -> bool {
    false
}

pub(crate) fn lost() -> u64 {
    0
}

pub(crate) fn totals() -> HeapTotals {
    HeapTotals::default()
}

pub(crate) fn without_sampling<T>(run: impl FnOnce() -> T) -> T {
    run()
}

pub(crate) fn enter_worker(_words: &'static PollWords, _stack: Option<Range<u64>>) {}

pub(crate) fn leave_worker() {}

pub(crate) const SMALL_BYTES: usize = 0;

pub(crate) fn expect_deep_stacks() {}

pub(crate) fn drain(_stack: &mut StackCopy, _allocated: impl FnMut(Allocated, &StackCopy), _freed: impl FnMut(Freed)) {}

#[inline]
pub(super) fn is_due(_size: usize) -> bool {
    false
}

pub(super) fn count_failed(_size: usize) {}

#[inline]
pub(super) fn count_free(_size: usize) {}

#[inline]
pub(super) fn may_be_sampled(_block: *mut u8, _layout: Layout) -> bool {
    false
}

#[inline]
pub(super) fn is_in_region(_block: *mut u8) -> bool {
    false
}

pub(super) fn would_be_in_region(_layout: Layout) -> bool {
    false
}

pub(super) fn sampled(_layout: Layout, inner: impl FnOnce() -> *mut u8) -> *mut u8 {
    inner()
}

pub(super) fn sample_block(_block: *mut u8, _size: usize) {}

pub(super) fn release(_block: *mut u8) -> bool {
    false
}

/// No object is taken out.
pub(super) enum TakenOut {}

pub(super) fn take_out(_block: *mut u8) -> Option<TakenOut> {
    None
}

pub(super) fn end(taken_out: TakenOut) {
    match taken_out {}
}

pub(super) fn put_back(_block: *mut u8, taken_out: TakenOut) {
    match taken_out {}
}
