//! Reads memory of our own or another process through the kernel, which reports a bad address as an error.

use std::ops::Range;

use crate::sys::{MAX_STACK_BYTES, Process, Registers, StackCopy};

/// Parts that the kernel reads per call (`UIO_MAXIOV`).
#[cfg(feature = "attach")]
const MAX_PARTS_PER_CALL: usize = 1024;

impl Process {
    /// Reads the mapped bytes from `address` on, up to `into.len()`; returns their number.
    pub(crate) fn read_memory(self, address: u64, into: &mut [u8]) -> usize {
        let Ok(process) = libc::pid_t::try_from(self.id()) else { return 0 };
        let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
        let remote =
            libc::iovec { iov_base: std::ptr::with_exposed_provenance_mut(address as usize), iov_len: into.len() };
        // SAFETY: `local` describes a live, writable slice; the kernel checks `remote` page by page.
        let read = unsafe { libc::process_vm_readv(process, &raw const local, 1, &raw const remote, 1, 0) };
        usize::try_from(read).unwrap_or(0)
    }

    /// The word at an address; `None` if it is not mapped.
    pub(crate) fn read_word(self, address: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        (self.read_memory(address, &mut bytes) == bytes.len()).then(|| u64::from_ne_bytes(bytes))
    }

    /// Reads words at any addresses in as few calls as possible; `None` for words that cannot be read. Consecutive addresses
    /// that lie close together are read as one part, because each part costs the kernel half a microsecond.
    #[cfg(feature = "attach")]
    pub(crate) fn read_words(self, addresses: &[u64], into: &mut Vec<Option<u64>>) {
        into.clear();
        let Ok(process) = libc::pid_t::try_from(self.id()) else { return into.resize(addresses.len(), None) };
        let mut bytes = Vec::new();
        while let Some(rest) = addresses.get(into.len()..).filter(|rest| !rest.is_empty()) {
            let parts = close_together(rest, MAX_PARTS_PER_CALL);
            bytes.resize(parts.iter().map(|part| part.length).sum(), 0_u8);
            let remotes: Vec<libc::iovec> = parts
                .iter()
                .map(|part| libc::iovec {
                    iov_base: std::ptr::with_exposed_provenance_mut(part.start as usize),
                    iov_len: part.length,
                })
                .collect();
            let local = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
            let count = remotes.len() as libc::c_ulong;
            // SAFETY: `local` describes a live, writable vector as long as all `remotes` together, which are live; the
            // kernel checks what they describe.
            let read = unsafe { libc::process_vm_readv(process, &raw const local, 1, remotes.as_ptr(), count, 0) };
            let mut read = bytes.get(..usize::try_from(read).unwrap_or(0)).unwrap_or_default();
            for part in parts {
                let Some((own, rest)) = read.split_at_checked(part.length) else {
                    // The read ends at the first unreadable part.
                    into.resize(into.len() + part.words, None);
                    break;
                };
                let words = rest_of(addresses, into.len(), part.words);
                into.extend(words.iter().map(|address| word_at(own, address - part.start)));
                read = rest;
            }
        }
    }

    /// Reads pages of 4096 bytes into `into`, one after another, in as few calls as possible. Returns the addresses of
    /// unreadable pages. Their bytes stay unchanged.
    #[cfg(feature = "attach")]
    pub(crate) fn read_pages(self, addresses: &[u64], into: &mut [u8]) -> Vec<u64> {
        const PAGE: usize = 4096;
        let Ok(process) = libc::pid_t::try_from(self.id()) else { return addresses.to_vec() };
        let count = addresses.len().min(into.len() / PAGE);
        let (mut absent, mut done) = (addresses.get(count..).unwrap_or_default().to_vec(), 0);
        let remote = |address: &u64| libc::iovec {
            iov_base: std::ptr::with_exposed_provenance_mut(*address as usize),
            iov_len: PAGE,
        };
        while done < count {
            let some = addresses.get(done..count.min(done + MAX_PARTS_PER_CALL)).unwrap_or_default();
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
            // The read ends at the first unreadable page.
            if whole < some.len() {
                absent.extend(addresses.get(done));
                done += 1;
            }
        }
        absent
    }

    /// Copies the stack of a stopped or sleeping thread with these registers, up to the known end of its stack. The caller
    /// must compare the state of a sleeping thread before and after, because it may have woken up.
    pub(crate) fn copy_stack(self, registers: Registers, stack: Option<Range<u64>>, into: &mut StackCopy) {
        into.registers = registers;
        let inside = stack.filter(|stack| stack.contains(&registers.stack_pointer));
        let length = inside.map_or(u64::MAX, |stack| stack.end - registers.stack_pointer);
        into.bytes.resize(usize::try_from(length).unwrap_or(usize::MAX).min(MAX_STACK_BYTES), 0);
        let read = self.read_memory(registers.stack_pointer, &mut into.bytes);
        into.bytes.truncate(read);
    }
}

/// Addresses that are read as one part.
#[cfg(feature = "attach")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    start: u64,
    /// In bytes.
    length: usize,
    /// The number of addresses in it.
    words: usize,
}

/// The first parts of a list of addresses, `most` at most. A part lies on one page, so it is readable as a whole or not at
/// all.
#[cfg(feature = "attach")]
fn close_together(addresses: &[u64], most: usize) -> Vec<Part> {
    /// The longest part in bytes. Addresses further apart are cheaper to read as two parts.
    const MAX_PART_BYTES: u64 = 512;
    const PAGE: u64 = 4096;
    let end_of = |address: u64| address.saturating_add(8);
    let mut parts: Vec<Part> = Vec::new();
    for address in addresses {
        let joined = parts.last().and_then(|part| {
            let end = part.start.saturating_add(part.length as u64).max(end_of(*address));
            let start = part.start.min(*address);
            (end - start <= MAX_PART_BYTES && start / PAGE == (end - 1) / PAGE).then_some((start, end - start))
        });
        if let Some((start, length)) = joined
            && let Some(part) = parts.last_mut()
        {
            *part = Part { start, length: usize::try_from(length).unwrap_or(8), words: part.words + 1 };
        } else if parts.len() < most {
            parts.push(Part { start: *address, length: 8, words: 1 });
        } else {
            break;
        }
    }
    parts
}

#[cfg(feature = "attach")]
fn rest_of(addresses: &[u64], from: usize, words: usize) -> &[u64] {
    addresses.get(from..from + words).unwrap_or_default()
}

#[cfg(feature = "attach")]
fn word_at(bytes: &[u8], offset: u64) -> Option<u64> {
    let offset = usize::try_from(offset).ok()?;
    let word = bytes.get(offset..)?.first_chunk::<8>()?;
    Some(u64::from_ne_bytes(*word))
}

#[cfg(all(test, feature = "attach"))]
mod tests {
    use super::*;

    #[test]
    fn words_that_lie_close_together_are_one_part() {
        let part = |start, length, words| Part { start, length, words };
        assert_eq!(close_together(&[4096, 4104, 4160, 8192], 9), [part(4096, 72, 3), part(8192, 8, 1)]);
        assert_eq!(close_together(&[4160, 4096], 9), [part(4096, 72, 2)], "backwards");
        assert_eq!(close_together(&[4096, 4096 + 512], 9).len(), 2, "too wide");
        assert_eq!(close_together(&[8184, 8192], 9).len(), 2, "on two pages");
        assert_eq!(close_together(&[8190, 8191], 9).len(), 2, "each on two pages");
        assert_eq!(close_together(&[0, u64::MAX, 0], 9).len(), 3);
        assert_eq!(close_together(&[1 << 20, 2 << 20, 3 << 20], 2).len(), 2, "the first of them");
    }

    #[test]
    fn words_are_read_in_the_order_of_their_addresses() {
        let words: Vec<u64> = (0..3000).map(|number| number * 7).collect();
        let at = |index: usize| (&raw const words[index]).addr() as u64;
        let mut addresses: Vec<u64> = (0..words.len()).map(|index| at((index * 37) % words.len())).collect();
        addresses.splice(10..10, [0, 8, u64::MAX - 3]);
        addresses.extend([at(1), at(0), 16]);
        let mut read = Vec::new();
        Process::own().read_words(&addresses, &mut read);
        let expected: Vec<Option<u64>> = addresses
            .iter()
            .map(|address| words.get(usize::try_from(address.wrapping_sub(at(0)) / 8).unwrap_or(usize::MAX)).copied())
            .collect();
        assert_eq!(read.len(), addresses.len());
        assert_eq!(read, expected);
        assert_eq!(read.iter().filter(|word| word.is_none()).count(), 4);
    }
}
