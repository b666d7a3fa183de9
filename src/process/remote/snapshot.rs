//! A copy of the parts of a process's memory that matter, made in two steps so that the process stands still as shortly as
//! can be: what is read while it runs is remembered by page, and those pages are read again, all at once, at the moment
//! that counts.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::dwarf::Memory;
use crate::sys::Process;

/// A page, or a part of one where pages are larger.
const PAGE: u64 = 4096;

/// [`PAGE`] as a length.
const PAGE_BYTES: usize = 4096;

/// Pages that are kept, half a gibibyte of them. What is beyond is read when it is needed.
const MAX_PAGES: usize = 1 << 17;

/// The copy.
#[derive(Debug)]
pub(crate) struct Snapshot {
    process: Process,
    pages: Mutex<Pages>,
}

#[derive(Debug, Default)]
struct Pages {
    /// Where in `bytes` a page is, counted in pages; `None` for one that could not be read.
    places: HashMap<u64, Option<usize>>,
    /// In the order of `bytes`.
    addresses: Vec<u64>,
    bytes: Vec<u8>,
    sealed: bool,
    late_reads: u64,
}

impl Snapshot {
    /// Of nothing yet.
    pub(crate) fn of(process: Process) -> Self {
        Self { process, pages: Mutex::default() }
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads every page again that was read so far, in as few calls as there can be. Returns how many bytes.
    pub(crate) fn renew(&self) -> u64 {
        let mut pages = self.pages();
        let pages = &mut *pages;
        let absent = self.process.read_pages(&pages.addresses, &mut pages.bytes);
        for address in absent {
            pages.places.insert(address, None);
        }
        // What was not there may be now.
        pages.places.retain(|_, place| place.is_some());
        pages.bytes.len() as u64
    }

    /// From here on, what is missing is read late, and that is counted.
    pub(crate) fn seal(&self) {
        self.pages().sealed = true;
    }

    /// Reads of memory that was missing when the copy was sealed.
    pub(crate) fn late_reads(&self) -> u64 {
        self.pages().late_reads
    }
}

/// A process's memory as it is, for what need not be of one moment and is too much to be copied.
#[derive(Debug)]
pub(crate) struct LiveMemory(Process);

impl LiveMemory {
    pub(crate) fn of(process: Process) -> Self {
        Self(process)
    }
}

impl Memory for LiveMemory {
    fn read(&self, address: u64, into: &mut [u8]) -> bool {
        self.0.read_memory(address, into) == into.len()
    }
}

impl Memory for Snapshot {
    fn read(&self, address: u64, into: &mut [u8]) -> bool {
        let mut pages = self.pages();
        let (mut at, mut done) = (address, 0);
        while let Some(rest) = into.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let page = at & !(PAGE - 1);
            let inside = usize::try_from(at - page).unwrap_or(0);
            let length = (PAGE_BYTES - inside).min(rest.len());
            let Some(bytes) = pages.get(self.process, page) else { return false };
            let Some(part) = bytes.get(inside..inside + length) else { return false };
            rest[..length].copy_from_slice(part);
            done += length;
            let Some(next) = at.checked_add(length as u64) else { return done == into.len() };
            at = next;
        }
        true
    }
}

impl Pages {
    fn get(&mut self, process: Process, page: u64) -> Option<&[u8]> {
        let place = match self.places.get(&page) {
            Some(place) => (*place)?,
            None => {
                self.late_reads += u64::from(self.sealed);
                self.fetch(process, page)?
            }
        };
        self.bytes.get(place * PAGE_BYTES..(place + 1) * PAGE_BYTES)
    }

    fn fetch(&mut self, process: Process, page: u64) -> Option<usize> {
        // When there are too many, the last place is used again and again.
        let full = self.addresses.len() >= MAX_PAGES;
        let place = if full { MAX_PAGES - 1 } else { self.addresses.len() };
        self.bytes.resize((place + 1) * PAGE_BYTES, 0);
        let bytes = self.bytes.get_mut(place * PAGE_BYTES..)?;
        let there = process.read_memory(page, bytes) == PAGE_BYTES;
        if full {
            if let Some(before) = self.addresses.get_mut(place) {
                self.places.remove(before);
                *before = page;
            }
        } else if there {
            self.addresses.push(page);
        } else {
            self.bytes.truncate(place * PAGE_BYTES);
        }
        self.places.insert(page, there.then_some(place));
        there.then_some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_once_is_renewed_and_what_is_new_is_late() {
        let mut value = vec![1_u8; 3 * PAGE_BYTES];
        let other = vec![7_u8; 3 * PAGE_BYTES];
        let (address, other) = (value.as_ptr().addr() as u64, other.as_ptr().addr() as u64);
        let snapshot = Snapshot::of(Process::own());
        let mut read = vec![0; 2 * PAGE_BYTES];
        assert!(snapshot.read(address, &mut read) && read.iter().all(|byte| *byte == 1));
        std::hint::black_box(&mut value).fill(2);
        assert!(snapshot.read(address, &mut read) && read.iter().all(|byte| *byte == 1), "still the copy");
        assert!(snapshot.renew() >= 2 * PAGE);
        snapshot.seal();
        std::hint::black_box(&mut value).fill(3);
        assert!(snapshot.read(address, &mut read) && read.iter().all(|byte| *byte == 2), "the copy of that moment");
        assert_eq!(snapshot.late_reads(), 0);
        assert!(snapshot.read(other + PAGE, &mut read[..1]) && read[0] == 7);
        assert_eq!(snapshot.late_reads(), 1);
    }

    #[test]
    fn memory_that_is_not_there_is_no_memory() {
        let snapshot = Snapshot::of(Process::own());
        for address in [0, 8, u64::MAX - 7, u64::MAX, 1 << 63] {
            assert!(!snapshot.read(address, &mut [0; 64]), "{address:#x}");
        }
        assert!(snapshot.read(0, &mut []));
    }
}
