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

    /// Reads words at any addresses in as few calls as there can be; `None` for those that cannot be read.
    #[cfg(feature = "attach")]
    pub(crate) fn read_words(self, addresses: &[u64], into: &mut Vec<Option<u64>>) {
        /// What the kernel takes at a time (`UIO_MAXIOV`).
        const MAX_AT_ONCE: usize = 1024;
        into.clear();
        let Ok(process) = libc::pid_t::try_from(self.id()) else { return into.resize(addresses.len(), None) };
        let mut words = [0_u64; MAX_AT_ONCE];
        while let Some(rest) = addresses.get(into.len()..).filter(|rest| !rest.is_empty()) {
            let remotes: Vec<libc::iovec> = rest
                .iter()
                .take(MAX_AT_ONCE)
                .map(|address| libc::iovec {
                    iov_base: std::ptr::with_exposed_provenance_mut(*address as usize),
                    iov_len: size_of::<u64>(),
                })
                .collect();
            let local = libc::iovec { iov_base: words.as_mut_ptr().cast(), iov_len: remotes.len() * size_of::<u64>() };
            let count = remotes.len() as libc::c_ulong;
            // SAFETY: `local` describes a part of a live array of as many words as there are `remotes`, which are live;
            // the kernel checks what they describe.
            let read = unsafe { libc::process_vm_readv(process, &raw const local, 1, remotes.as_ptr(), count, 0) };
            let whole = usize::try_from(read).unwrap_or(0) / size_of::<u64>();
            into.extend(words.iter().take(whole).map(|word| Some(*word)));
            // It ends at the first word that it cannot read.
            if whole < remotes.len() {
                into.push(None);
            }
        }
    }

    /// Reads pages of 4096 bytes into `into`, one behind the other, in as few calls as there can be. Returns the addresses
    /// of those that cannot be read, whose bytes stay as they are.
    #[cfg(feature = "attach")]
    pub(crate) fn read_pages(self, addresses: &[u64], into: &mut [u8]) -> Vec<u64> {
        /// What the kernel takes at a time (`UIO_MAXIOV`).
        const MAX_AT_ONCE: usize = 1024;
        const PAGE: usize = 4096;
        let Ok(process) = libc::pid_t::try_from(self.id()) else { return addresses.to_vec() };
        let count = addresses.len().min(into.len() / PAGE);
        let (mut absent, mut done) = (addresses.get(count..).unwrap_or_default().to_vec(), 0);
        let remote = |address: &u64| libc::iovec {
            iov_base: std::ptr::with_exposed_provenance_mut(*address as usize),
            iov_len: PAGE,
        };
        while done < count {
            let some = addresses.get(done..count.min(done + MAX_AT_ONCE)).unwrap_or_default();
            let remotes: Vec<libc::iovec> = some.iter().map(remote).collect();
            let Some(room) = into.get_mut(done * PAGE..(done + some.len()) * PAGE) else { break };
            let local = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() };
            let remotes_count = remotes.len() as libc::c_ulong;
            // SAFETY: `local` describes a live, writable slice, and `remotes` as many live iovecs as are counted; the kernel
            // checks what they describe page by page.
            let read =
                unsafe { libc::process_vm_readv(process, &raw const local, 1, remotes.as_ptr(), remotes_count, 0) };
            let whole = usize::try_from(read).unwrap_or(0) / PAGE;
            done += whole;
            // It ends at the first page that it cannot read.
            if whole < some.len() {
                absent.extend(addresses.get(done));
                done += 1;
            }
        }
        absent
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
