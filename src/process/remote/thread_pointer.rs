//! The thread pointer of a thread (its `fs` register), found without stopping the thread. The kernel reports the register of
//! stopped threads only, and a parked thread must not be stopped.
//!
//! On x86-64 the register points to the thread's control block. The block's first word points to the block itself (System V
//! ABI, "variant II"), and the C library keeps the thread's id in it. The block lies above the thread's stack in the same
//! mapping; the main thread's block lies in an anonymous mapping.

use crate::sys::{Mapping, Process};
use crate::tokio_internals::libc::CONTROL_BLOCK_BYTES;

/// Bytes per read.
const CHUNK: u64 = 64 * 1024;

/// The largest distance between a thread's stack pointer and its control block.
const MAX_DISTANCE: u64 = 64 << 20;

/// Bytes that are searched for the main thread's control block.
const MAX_SEARCHED_BYTES: u64 = 256 << 20;

/// The address of a thread's control block, searched from the thread's stack pointer.
pub(super) fn find(process: Process, mappings: &[Mapping], tid: i32, stack_pointer: u64) -> Option<u64> {
    let stack = Mapping::of(mappings, stack_pointer)?;
    if let Some(found) =
        search(process, stack_pointer & !7, stack.end.min(stack_pointer.saturating_add(MAX_DISTANCE)), tid)
    {
        return Some(found);
    }
    if u32::try_from(tid) != Ok(process.id()) {
        return None;
    }
    let mut places: Vec<_> = mappings
        .iter()
        .filter(|mapping| !mapping.executable && (mapping.path.is_empty() || mapping.path == "[heap]"))
        .collect();
    // Small mappings first, because the block has a mapping of its own.
    places.sort_by_key(|mapping| mapping.end - mapping.start);
    let mut left = MAX_SEARCHED_BYTES;
    places.into_iter().find_map(|mapping| {
        left = left.checked_sub(mapping.end - mapping.start)?;
        search(process, mapping.start, mapping.end, tid)
    })
}

fn search(process: Process, start: u64, end: u64, tid: i32) -> Option<u64> {
    let mut bytes = vec![0; usize::try_from(CHUNK).ok()?];
    let mut at = start;
    while at < end {
        let length = usize::try_from((end - at).min(CHUNK)).ok()?;
        let read = process.read_memory(at, bytes.get_mut(..length)?);
        // Guard pages and holes cannot be read.
        for (position, word) in bytes.get(..read)?.chunks_exact(8).enumerate() {
            let address = at + 8 * position as u64;
            if word == address.to_le_bytes() && is_control_block(process, address, tid) {
                return Some(address);
            }
        }
        at += CHUNK;
    }
    None
}

fn is_control_block(process: Process, address: u64, tid: i32) -> bool {
    let mut bytes = [0; CONTROL_BLOCK_BYTES];
    let read = process.read_memory(address, &mut bytes);
    bytes.get(..read).is_some_and(|bytes| bytes.chunks_exact(4).any(|word| word == tid.to_le_bytes()))
}

#[cfg(all(test, target_os = "linux", target_arch = "x86_64", not(holdup_unsupported)))]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::sys;

    #[test]
    fn a_stack_pointer_leads_to_the_control_block() {
        let (sender, receiver) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        let helper = std::thread::spawn(move || {
            let local = 0_u8;
            sender.send((sys::current_tid(), (&raw const local).addr() as u64)).expect("the test receives");
            let _ended = ended.recv();
        });
        let (tid, stack_pointer) = receiver.recv().expect("the thread sends");
        let mappings = Process::own().mappings().expect("/proc is mounted");
        let block = find(Process::own(), &mappings, tid, stack_pointer).expect("the thread has a control block");
        assert_eq!(Process::own().read_word(block), Some(block));
        assert_eq!(find(Process::own(), &mappings, tid + 1_000_000, stack_pointer), None, "another thread's id");
        drop(end);
        helper.join().expect("the thread ends");
    }
}
