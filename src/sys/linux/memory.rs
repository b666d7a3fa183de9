//! Reading memory, our own or another process's, through the kernel, which answers a bad address with an error instead of
//! a crash.

use std::ops::Range;

use crate::sys::{MAX_STACK_BYTES, Process, Registers, StackCopy};

impl Process {
    /// Reads as many bytes as are mapped from `address` on, up to `into.len()`; returns how many.
    pub(crate) fn read_memory(self, address: u64, into: &mut [u8]) -> usize {
        let Ok(process) = libc::pid_t::try_from(self.id()) else { return 0 };
        let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
        let remote =
            libc::iovec { iov_base: std::ptr::with_exposed_provenance_mut(address as usize), iov_len: into.len() };
        // SAFETY: `local` describes a live, writable slice; the kernel checks `remote` page by page.
        let read = unsafe { libc::process_vm_readv(process, &raw const local, 1, &raw const remote, 1, 0) };
        usize::try_from(read).unwrap_or(0)
    }

    /// The word at an address, where one is mapped.
    pub(crate) fn read_word(self, address: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        (self.read_memory(address, &mut bytes) == bytes.len()).then(|| u64::from_ne_bytes(bytes))
    }

    /// Copies the stack of a thread that stands still with these registers, up to the end of what is known of it. Whether
    /// a sleeping thread slept all the while is for the caller to check, by looking at its state before and after.
    pub(crate) fn copy_stack(self, registers: Registers, stack: Option<Range<u64>>, into: &mut StackCopy) {
        into.registers = registers;
        let inside = stack.filter(|stack| stack.contains(&registers.stack_pointer));
        let length = inside.map_or(u64::MAX, |stack| stack.end - registers.stack_pointer);
        into.bytes.resize(usize::try_from(length).unwrap_or(usize::MAX).min(MAX_STACK_BYTES), 0);
        let read = self.read_memory(registers.stack_pointer, &mut into.bytes);
        into.bytes.truncate(read);
    }
}
