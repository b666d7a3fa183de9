//! The region: address space of holdup's own, from which small sampled objects are served. So a free learns from the
//! address alone whether the object was sampled.
//!
//! Each class has objects of one size, a power of two, and lies aligned to it. Pages are backed when an object reaches them.

use std::alloc::Layout;
use std::io;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use super::lists::Pool;
use crate::sys::heap::facts::MAX_OBJECTS;

/// Objects whose size and alignment are below it lie in the region.
pub(super) const SMALL: usize = 8192;

/// The smallest size of a class, as a power of two: 16 bytes.
const SMALLEST: u32 = 4;

/// Sizes from 16 bytes to [`SMALL`].
const CLASSES: usize = 10;

/// Places of a class: as many as there are objects, so that a claimed object always finds one.
const SLOTS: usize = MAX_OBJECTS;

/// The address before the region is reserved. No object lies there.
const NOWHERE: usize = 1 << 63;

/// Where a class begins, in bytes. The classes before it have all smaller powers of two.
const fn start_of(class: usize) -> usize {
    SLOTS * ((1 << (SMALLEST as usize + class)) - (1 << SMALLEST))
}

const BYTES: usize = start_of(CLASSES);

static BASE: AtomicUsize = AtomicUsize::new(NOWHERE);
static FREE: [Pool<SLOTS>; CLASSES] = [const { Pool::new() }; CLASSES];
/// The number of each place's object.
static OBJECTS: [[AtomicU32; SLOTS]; CLASSES] = [const { [const { AtomicU32::new(0) }; SLOTS] }; CLASSES];

/// A place in the region.
#[derive(Clone, Copy)]
pub(super) struct Place {
    class: usize,
    slot: u32,
}

/// Reserves the region, once. Pages are not huge: an object would back two megabytes.
///
/// # Errors
/// When the address space is limited.
pub(super) fn reserve() -> io::Result<()> {
    if is_reserved() {
        return Ok(());
    }
    // Room to align the start to the largest class.
    let length = BYTES + SMALL;
    let (protection, flags) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE);
    // SAFETY: a new anonymous mapping at an address that the kernel chooses touches no memory of the program.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the range is the mapping from above, and the advice changes no content.
    unsafe { libc::madvise(start, length, libc::MADV_NOHUGEPAGE) };
    // Not every kernel has names for anonymous memory (CONFIG_ANON_VMA_NAME).
    // SAFETY: the range is the mapping from above, and the name is a string that lives on.
    unsafe { libc::prctl(libc::PR_SET_VMA, libc::PR_SET_VMA_ANON_NAME, start, length, c"holdup".as_ptr()) };
    BASE.store(start.expose_provenance().next_multiple_of(SMALL), Ordering::Release);
    Ok(())
}

pub(super) fn is_reserved() -> bool {
    BASE.load(Ordering::Relaxed) != NOWHERE
}

/// Whether an address lies in the region.
#[inline]
pub(super) fn contains(address: usize) -> bool {
    address.wrapping_sub(BASE.load(Ordering::Relaxed)) < BYTES
}

/// A free place for an object.
pub(super) fn take(layout: Layout, object: u32) -> Option<*mut u8> {
    let size = layout.size().max(layout.align()).next_power_of_two().trailing_zeros();
    let class = size.saturating_sub(SMALLEST) as usize;
    let slot = FREE.get(class)?.take(SLOTS)?;
    OBJECTS.get(class)?.get(slot as usize)?.store(object, Ordering::Relaxed);
    let offset = start_of(class) + ((slot as usize) << (SMALLEST as usize + class));
    Some(std::ptr::with_exposed_provenance_mut(BASE.load(Ordering::Acquire) + offset))
}

/// The place at an address of the region, and the number of its object.
pub(super) fn find(address: usize) -> Option<(Place, u32)> {
    let offset = address.wrapping_sub(BASE.load(Ordering::Relaxed));
    let class = (0..CLASSES).rev().find(|class| start_of(*class) <= offset)?;
    let slot = (offset - start_of(class)) >> (SMALLEST as usize + class);
    let object = OBJECTS.get(class)?.get(slot)?.load(Ordering::Relaxed);
    Some((Place { class, slot: u32::try_from(slot).ok()? }, object))
}

/// Gives the place at an address back.
pub(super) fn give(address: usize) {
    if let Some((place, _)) = find(address)
        && let Some(pool) = FREE.get(place.class)
    {
        pool.give(place.slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_have_their_size_and_alignment_and_are_found_by_address() {
        reserve().expect("the address space is not limited");
        let mut taken = Vec::new();
        for (number, (size, align)) in
            [(0, 1), (1, 1), (16, 16), (17, 8), (100, 4096), (4097, 1), (8191, 1)].into_iter().enumerate()
        {
            let layout = Layout::from_size_align(size, align).expect("it is one");
            let address = take(layout, number as u32).expect("there is room").addr();
            assert!(contains(address) && address.is_multiple_of(align), "{layout:?}");
            let last = address + size.max(1) - 1;
            assert_eq!(find(last).map(|(_, object)| object), Some(number as u32), "{layout:?}");
            taken.push((address, size.max(1)));
        }
        taken.sort_unstable();
        assert!(taken.windows(2).all(|two| two[0].0 + two[0].1 <= two[1].0), "no two overlap: {taken:?}");
        taken.iter().for_each(|(address, _)| give(*address));
        assert!(!contains(0) && !contains(BASE.load(Ordering::Relaxed) + BYTES));
    }
}
