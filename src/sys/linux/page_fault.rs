//! What a page fault costs on this machine.

use std::sync::OnceLock;
use std::time::Duration;

use super::{current_tid, thread_cpu_time};

/// The smallest page, and so the distance at which every page is touched.
const PAGE: usize = 4096;

/// Pages of one measurement: too few for a huge page.
const PAGES: usize = 64;

/// The smallest of these measurements counts: others were disturbed.
const MEASUREMENTS: usize = 3;

/// Less than this is no fault: the memory was there already, as in a process that locks all its memory.
const LEAST: Duration = Duration::from_nanos(50);

/// The least CPU time of a page fault without a disk read, measured once. It is mostly the kernel clearing the page, which the
/// CPU's caches hold here. `None` where writing to fresh memory causes no faults.
pub(crate) fn minor_fault_cost() -> Option<Duration> {
    static COST: OnceLock<Option<Duration>> = OnceLock::new();
    *COST.get_or_init(|| {
        let measured: Option<Vec<Duration>> = (0..MEASUREMENTS).map(|_| measure()).collect();
        measured?.into_iter().min().filter(|cost| *cost >= LEAST)
    })
}

fn measure() -> Option<Duration> {
    let size = PAGE * PAGES;
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping at an address of the kernel's choice.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), size, protection, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return None;
    }
    let used = || thread_cpu_time(current_tid());
    let before = used();
    for page in 0..PAGES {
        // SAFETY: inside the mapping, which nobody else knows.
        let byte = unsafe { start.cast::<u8>().add(page * PAGE) };
        // SAFETY: the mapping is writable.
        unsafe { byte.write_volatile(1) };
    }
    let after = used();
    // SAFETY: the mapping is ours, and no reference to it is left.
    unsafe { libc::munmap(start, size) };
    Some((after? - before?) / PAGES as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_costs_less_than_a_disk_and_more_than_a_write() {
        let cost = minor_fault_cost().expect("memory is not locked");
        assert!((LEAST..Duration::from_millis(1)).contains(&cost), "{cost:?}");
    }
}
