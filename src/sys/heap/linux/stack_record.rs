//! Copies of stacks on their way from an allocating thread to the collector.
//!
//! A thread owns a record from taking its number until it posts the object. The collector owns it from then on, until it
//! gives the number back.
//!
//! Most stacks are shallow, so most records are small, and a few have room for the deepest stacks.

use std::arch::asm;
use std::cell::UnsafeCell;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use super::lists::Pool;
use crate::sys::{Errno, MAX_STACK_BYTES, Process, Registers, StackCopy};

/// Small records. The collector empties them every 10 ms, and later on a busy machine. So there are enough for a burst.
const SMALL: usize = 1024;

/// Small records that keep their memory. The others give it back after each burst.
const KEPT: usize = 256;

/// Records for deeper stacks. Their numbers follow those of the small ones.
const LARGE: usize = 32;

/// Bytes of a stack in a small record. A deeper stack without a large record is cut at its outer end.
pub(crate) const SMALL_BYTES: usize = 32 * 1024;

struct Content<const BYTES: usize> {
    registers: Registers,
    length: usize,
    bytes: [u8; BYTES],
}

/// Aligned to pages, so that its memory can be given back alone.
#[repr(align(4096))]
struct Record<const BYTES: usize>(UnsafeCell<Content<BYTES>>);

// SAFETY: one thread at a time owns a record, as described above.
unsafe impl<const BYTES: usize> Sync for Record<BYTES> {}

impl<const BYTES: usize> Record<BYTES> {
    const fn new() -> Self {
        let registers = Registers { instruction: 0, stack_pointer: 0, frame_pointer: None };
        Self(UnsafeCell::new(Content { registers, length: 0, bytes: [0; BYTES] }))
    }
}

// Both lie in zeroed memory of the program, so pages that no stack has reached are never touched.
static SMALL_RECORDS: [Record<SMALL_BYTES>; SMALL] = [const { Record::new() }; SMALL];
static LARGE_RECORDS: [Record<MAX_STACK_BYTES>; LARGE] = [const { Record::new() }; LARGE];
static FREE_SMALL: Pool<SMALL> = Pool::new();
static FREE_LARGE: Pool<LARGE> = Pool::new();

/// Whether stacks with unknown bounds get large records.
static DEEP: AtomicBool = AtomicBool::new(false);

/// Gives stacks with unknown bounds large records from now on, because a stack was cut.
pub(crate) fn expect_deep_stacks() {
    DEEP.store(true, Ordering::Relaxed);
}

/// A number for [`fill`], unless every record is in use. `stack` has the bounds of the calling thread's stack.
pub(super) fn take(stack: &Range<usize>) -> Option<u32> {
    let here = std::ptr::from_ref(&stack).addr();
    let is_deep = if stack.contains(&here) { stack.end - here > SMALL_BYTES } else { DEEP.load(Ordering::Relaxed) };
    let large = if is_deep { FREE_LARGE.take(LARGE) } else { None };
    large.map(|number| number + SMALL as u32).or_else(|| FREE_SMALL.take(SMALL))
}

/// Copies the calling thread's stack into a taken record.
#[inline(never)]
pub(super) fn fill(record: u32, stack: &Range<usize>) {
    let (instruction, stack_pointer, frame_pointer): (u64, u64, u64);
    // SAFETY: it reads three registers.
    unsafe {
        asm!(
            "lea {}, [rip]", "mov {}, rsp", "mov {}, rbp",
            out(reg) instruction, out(reg) stack_pointer, out(reg) frame_pointer,
            options(nomem, nostack, preserves_flags)
        );
    }
    let registers = Registers { instruction, stack_pointer, frame_pointer: Some(frame_pointer) };
    if let Some(small) = SMALL_RECORDS.get(record as usize) {
        // SAFETY: the caller took the record, so no other thread uses it.
        unsafe { &mut *small.0.get() }.copy(registers, stack);
    } else if let Some(large) = large(record) {
        // SAFETY: the caller took the record, so no other thread uses it.
        unsafe { &mut *large.0.get() }.copy(registers, stack);
    }
}

fn large(record: u32) -> Option<&'static Record<MAX_STACK_BYTES>> {
    LARGE_RECORDS.get((record as usize).checked_sub(SMALL)?)
}

impl<const BYTES: usize> Content<BYTES> {
    /// Without known bounds, the kernel copies: it reports an unmapped address as an error.
    #[inline(always)]
    fn copy(&mut self, registers: Registers, stack: &Range<usize>) {
        self.registers = registers;
        let from = registers.stack_pointer as usize;
        if !stack.contains(&from) {
            // A program may read its error number after an allocation.
            let errno = Errno::save();
            self.length = Process::own().read_memory(registers.stack_pointer, &mut self.bytes);
            errno.restore();
            return;
        }
        self.length = (stack.end - from).min(BYTES);
        let from: *const u8 = std::ptr::with_exposed_provenance(from);
        // SAFETY: `length` bytes from the stack pointer belong to this thread's own mapped stack, and the record is this
        // thread's.
        unsafe { std::ptr::copy_nonoverlapping(from, self.bytes.as_mut_ptr(), self.length) };
    }

    fn pass_on(&self, into: &mut StackCopy) {
        into.registers = self.registers;
        into.bytes.clear();
        into.bytes.extend_from_slice(self.bytes.get(..self.length).unwrap_or_default());
    }
}

/// Passes the copy in a record on, and gives the record back. Returns whether there is a copy.
pub(super) fn empty(record: u32, into: &mut StackCopy) -> bool {
    if let Some(small) = SMALL_RECORDS.get(record as usize) {
        // SAFETY: the caller took the record's object out of the mailbox, so no other thread uses it.
        unsafe { &*small.0.get() }.pass_on(into);
        if record as usize >= KEPT {
            give_memory_back(small, into.bytes.len());
        }
        FREE_SMALL.give(record);
    } else if let Some(large) = large(record) {
        // SAFETY: the caller took the record's object out of the mailbox, so no other thread uses it.
        unsafe { &*large.0.get() }.pass_on(into);
        FREE_LARGE.give(record - SMALL as u32);
    } else {
        return false;
    }
    !into.bytes.is_empty()
}

/// Gives back the pages that a copy of this length has touched. They are zero when the record is used again.
fn give_memory_back<const BYTES: usize>(record: &Record<BYTES>, length: usize) {
    let (start, head) = (record.0.get(), size_of::<Content<BYTES>>() - BYTES);
    // SAFETY: the pages belong to this record alone, which the caller owns, and every bit pattern of it is valid.
    let _kept_on_error = unsafe { libc::madvise(start.cast(), head + length, libc::MADV_DONTNEED) };
}
