//! Little address space: the region cannot be reserved, so every sampled object is in the table.

#![allow(unsafe_code, reason = "limits the address space")]

#[path = "../support/mod.rs"]
mod support;

use std::hint::black_box;

use holdup::ProfileMode;
use holdup::heap::{Allocator, Sampling};
use support::heap::{now, through, watch};

#[global_allocator]
static ALLOCATOR: Allocator = Allocator::system();

/// Less than the region, and enough to read debug information.
const MORE: u64 = 1000 << 20;

#[inline(never)]
fn carts(bytes: usize) -> Vec<Vec<u8>> {
    let mut carts = Vec::with_capacity(50);
    carts.extend((0..50).map(|_| black_box(vec![1_u8; bytes])));
    carts
}

/// The process's address space in bytes.
fn address_space() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc is mounted");
    let line = status.lines().find_map(|line| line.strip_prefix("VmSize:")).expect("it is there");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("it is a number") * 1024
}

#[test]
fn without_a_region_every_free_is_seen() {
    limit(address_space() + MORE);
    let watch = watch(Sampling::EVERY_ALLOCATION);
    for bytes in [1, 300, 100_000] {
        let mut held = carts(bytes);
        let live = now(&watch, ProfileMode::Heap);
        let said = live.quality.notes.iter().any(|note| note.contains("address space is limited"));
        assert!(said, "the limit refuses the region: {:?}", live.quality);
        assert_eq!(through(&live, "carts")[0], 51, "{bytes} bytes; {:?}", live.quality);
        held.iter_mut().for_each(|cart| cart.resize(bytes * 3, 2));
        assert!(held.iter().all(|cart| cart[..bytes].iter().all(|byte| *byte == 1)), "the content moved along");
        std::thread::spawn(move || drop(held)).join().expect("it ends");
        assert_eq!(through(&now(&watch, ProfileMode::Heap), "carts"), [0; 3], "{bytes} bytes");
    }
    // An object is looked up where it was put, even if there is room for a region now.
    let held = carts(300);
    watch.stop_sampling_heap();
    limit(libc::RLIM_INFINITY);
    watch.sample_heap(Sampling::EVERY_ALLOCATION).expect("it began before");
    assert_eq!(through(&now(&watch, ProfileMode::Heap), "carts")[0], 51);
    drop(held);
    assert_eq!(through(&now(&watch, ProfileMode::Heap), "carts"), [0; 3]);
}

/// Limits the address space, until the next limit.
fn limit(bytes: u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit is a live struct.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_AS, &raw mut limit) }, 0);
    limit.rlim_cur = bytes.min(limit.rlim_max);
    // SAFETY: the limit is a live struct.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) }, 0);
}
