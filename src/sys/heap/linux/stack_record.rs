//! Copies of stacks on their way from an allocating thread to the collector.
//!
//! A thread owns a record from taking its number until it posts the object. The collector owns it from then on, until it
//! gives the number back.

use std::arch::asm;
use std::cell::UnsafeCell;
use std::ops::Range;

use super::lists::Pool;
use crate::sys::{Errno, Process, Registers, StackCopy};

/// Records. They are emptied at least every 10 ms.
const RECORDS: usize = 256;

/// Bytes of a stack that are copied at most. A deeper stack is cut at its outer end.
const MAX_BYTES: usize = 32 * 1024;

struct Content {
    registers: Registers,
    length: usize,
    bytes: [u8; MAX_BYTES],
}

struct Record(UnsafeCell<Content>);

// SAFETY: one thread at a time owns a record, as described above.
unsafe impl Sync for Record {}

static FREE: Pool<RECORDS> = Pool::new();
static ALL: [Record; RECORDS] = [const {
    let registers = Registers { instruction: 0, stack_pointer: 0, frame_pointer: None };
    Record(UnsafeCell::new(Content { registers, length: 0, bytes: [0; MAX_BYTES] }))
}; RECORDS];

/// A number for [`fill`], unless every record is in use.
pub(super) fn take() -> Option<u32> {
    FREE.take(RECORDS)
}

/// Copies the calling thread's stack into a taken record. Without known bounds, the kernel copies: it reports an unmapped
/// address as an error.
#[inline(never)]
pub(super) fn fill(record: u32, stack: Range<usize>) {
    let Some(record) = ALL.get(record as usize) else { return };
    // SAFETY: the caller took the record, so no other thread uses it.
    let content = unsafe { &mut *record.0.get() };
    let (instruction, stack_pointer, frame_pointer): (u64, u64, u64);
    // SAFETY: it reads three registers.
    unsafe {
        asm!(
            "lea {}, [rip]", "mov {}, rsp", "mov {}, rbp",
            out(reg) instruction, out(reg) stack_pointer, out(reg) frame_pointer,
            options(nomem, nostack, preserves_flags)
        );
    }
    content.registers = Registers { instruction, stack_pointer, frame_pointer: Some(frame_pointer) };
    let from = stack_pointer as usize;
    if !stack.contains(&from) {
        // A program may read its error number after an allocation.
        let errno = Errno::save();
        content.length = Process::own().read_memory(stack_pointer, &mut content.bytes);
        errno.restore();
        return;
    }
    content.length = (stack.end - from).min(MAX_BYTES);
    let from: *const u8 = std::ptr::with_exposed_provenance(from);
    // SAFETY: `length` bytes from the stack pointer belong to this thread's own mapped stack, and the record is this
    // thread's.
    unsafe { std::ptr::copy_nonoverlapping(from, content.bytes.as_mut_ptr(), content.length) };
}

/// Passes the copy in a record on, and gives the record back. Returns whether there is a copy.
pub(super) fn empty(record: u32, into: &mut StackCopy) -> bool {
    let Some(found) = ALL.get(record as usize) else { return false };
    // SAFETY: the caller took the record's object out of the mailbox, so no other thread uses it.
    let content = unsafe { &*found.0.get() };
    into.registers = content.registers;
    into.bytes.clear();
    into.bytes.extend_from_slice(content.bytes.get(..content.length).unwrap_or_default());
    FREE.give(record);
    !into.bytes.is_empty()
}
