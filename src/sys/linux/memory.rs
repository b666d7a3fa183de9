//! Reading our own memory through the kernel, which answers a bad address with an error instead of a crash.

use crate::sys::{MAX_STACK_BYTES, Registers, StackCopy};

/// Reads as many bytes as are mapped from `address` on, up to `into.len()`; returns how many.
pub(crate) fn read_memory(address: u64, into: &mut [u8]) -> usize {
    let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    let remote = libc::iovec { iov_base: std::ptr::with_exposed_provenance_mut(address as usize), iov_len: into.len() };
    // SAFETY: getpid has no preconditions.
    let process = unsafe { libc::getpid() };
    // SAFETY: `local` describes a live, writable slice; the kernel checks `remote` page by page.
    let read = unsafe { libc::process_vm_readv(process, &raw const local, 1, &raw const remote, 1, 0) };
    usize::try_from(read).unwrap_or(0)
}

/// The word at an address, where one is mapped.
pub(crate) fn read_word(address: u64) -> Option<u64> {
    let mut bytes = [0; 8];
    (read_memory(address, &mut bytes) == bytes.len()).then(|| u64::from_ne_bytes(bytes))
}

/// Copies the stack of a thread that sleeps at `stack_pointer`, up to `high`. Whether it slept all the while is for
/// the caller to check, by looking at its state before and after.
pub(crate) fn copy_sleeping_stack(instruction: u64, stack_pointer: u64, high: u64, into: &mut StackCopy) {
    into.registers = Registers { instruction, stack_pointer, frame_pointer: None };
    let length = usize::try_from(high.saturating_sub(stack_pointer)).unwrap_or(0).min(MAX_STACK_BYTES);
    into.bytes.resize(length, 0);
    let read = read_memory(stack_pointer, &mut into.bytes);
    into.bytes.truncate(read);
}
