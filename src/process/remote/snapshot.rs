//! A copy of selected memory of a process. It is made in two steps to keep the freeze short. Pages read before the freeze are
//! remembered. All of them are read again at once during the freeze.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::dwarf::Memory;
use crate::model::address_hash::BuildAddressHasher;
use crate::sys::Process;

/// Bytes per page. A larger page counts as several.
const PAGE: u64 = 4096;

/// [`PAGE`] as a length.
const PAGE_BYTES: usize = 4096;

/// Pages that are kept at most: half a gibibyte. Further pages are read on demand.
const MAX_PAGES: usize = 1 << 17;

/// A copy of a process's memory.
#[derive(Debug)]
pub(crate) struct Snapshot {
    process: Process,
    pages: Mutex<Pages>,
}

#[derive(Debug, Default)]
struct Pages {
    /// The index of each page in `bytes`; `None` for a page that could not be read.
    places: HashMap<u64, Option<usize>, BuildAddressHasher>,
    /// Pages that were read lately, with their indices in `bytes`.
    recent: Recent,
    /// Page addresses, in the order of `bytes`.
    addresses: Vec<u64>,
    bytes: Vec<u8>,
    sealed: bool,
    late_reads: u64,
}

/// Pages that were read lately. Most reads are of one of them.
#[derive(Debug)]
struct Recent(Box<[(u64, usize); Self::PLACES]>);

impl Default for Recent {
    fn default() -> Self {
        Self(Box::new([(Self::NO_PAGE, 0); Self::PLACES]))
    }
}

impl Recent {
    const PLACES: usize = 256;

    /// No page begins at an odd address.
    const NO_PAGE: u64 = 1;

    fn place(&mut self, page: u64) -> &mut (u64, usize) {
        &mut self.0[(page / PAGE) as usize % Self::PLACES]
    }
}

impl Snapshot {
    /// An empty copy.
    pub(crate) fn of(process: Process) -> Self {
        Self { process, pages: Mutex::default() }
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads every known page again, in as few calls as possible. Returns the number of bytes.
    pub(crate) fn renew(&self) -> u64 {
        let mut pages = self.pages();
        let pages = &mut *pages;
        let absent = self.process.read_pages(&pages.addresses, &mut pages.bytes);
        for address in absent {
            pages.places.insert(address, None);
        }
        pages.recent = Recent::default();
        // A page that was absent may be present now.
        pages.places.retain(|_, place| place.is_some());
        pages.bytes.len() as u64
    }

    /// Ends the freeze. Later reads of missing pages count as late.
    pub(crate) fn seal(&self) {
        self.pages().sealed = true;
    }

    /// The number of pages read after the copy was sealed.
    pub(crate) fn late_reads(&self) -> u64 {
        self.pages().late_reads
    }
}

/// A process's live memory, for reads that are too large to copy and need not be of one moment.
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
        let place = match *self.recent.place(page) {
            (recent, place) if recent == page => place,
            _ => {
                let place = self.find(process, page)?;
                *self.recent.place(page) = (page, place);
                place
            }
        };
        self.bytes.get(place * PAGE_BYTES..(place + 1) * PAGE_BYTES)
    }

    fn find(&mut self, process: Process, page: u64) -> Option<usize> {
        if let Some(place) = self.places.get(&page) {
            return *place;
        }
        self.late_reads += u64::from(self.sealed);
        self.fetch(process, page)
    }

    fn fetch(&mut self, process: Process, page: u64) -> Option<usize> {
        // Pages beyond the limit share the last place.
        let full = self.addresses.len() >= MAX_PAGES;
        let place = if full { MAX_PAGES - 1 } else { self.addresses.len() };
        self.bytes.resize((place + 1) * PAGE_BYTES, 0);
        let bytes = self.bytes.get_mut(place * PAGE_BYTES..)?;
        let there = process.read_memory(page, bytes) == PAGE_BYTES;
        if full {
            if let Some(before) = self.addresses.get_mut(place) {
                self.places.remove(before);
                *self.recent.place(*before) = (Recent::NO_PAGE, 0);
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
    fn known_pages_are_renewed_and_new_pages_are_late() {
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
    fn unmapped_memory_cannot_be_read() {
        let snapshot = Snapshot::of(Process::own());
        for address in [0, 8, u64::MAX - 7, u64::MAX, 1 << 63] {
            assert!(!snapshot.read(address, &mut [0; 64]), "{address:#x}");
        }
        assert!(snapshot.read(0, &mut []));
    }
}
