//! Where a thread's thread-local variables are, found without stopping it: the kernel tells no thread's `fs` register
//! unless the thread stands still, and a parked thread must not be made to.
//!
//! On x86-64 the register points to the thread's control block, whose first word points to the block itself (System V
//! ABI, "variant II"), and in which the C library keeps the thread's number. The block lies above the thread's stack in
//! the same mapping; that of the first thread lies in some anonymous mapping.

use crate::sys::{Mapping, Process};

/// The thread's number lies in the first bytes of its control block (glibc: at 720, musl: at 48).
const BLOCK: usize = 0x800;

/// Read at a time.
const CHUNK: u64 = 64 * 1024;

/// How far above the stack pointer the block of a thread may lie.
const MAX_ABOVE: u64 = 64 << 20;

/// How much is searched for the block of the first thread.
const MAX_SEARCHED: u64 = 256 << 20;

/// The control block of a thread whose stack pointer is known.
pub(in crate::process) fn find(process: Process, mappings: &[Mapping], tid: i32, stack_pointer: u64) -> Option<u64> {
    let stack = Mapping::of(mappings, stack_pointer)?;
    if let Some(found) =
        search(process, stack_pointer & !7, stack.end.min(stack_pointer.saturating_add(MAX_ABOVE)), tid)
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
    // It was mapped early, and for itself.
    places.sort_by_key(|mapping| mapping.end - mapping.start);
    let mut left = MAX_SEARCHED;
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
        // Guard pages and holes have nothing to read.
        for (position, word) in bytes.get(..read)?.chunks_exact(8).enumerate() {
            let address = at + 8 * position as u64;
            if word == address.to_le_bytes() && is_block(process, address, tid) {
                return Some(address);
            }
        }
        at += CHUNK;
    }
    None
}

fn is_block(process: Process, address: u64, tid: i32) -> bool {
    let mut bytes = [0; BLOCK];
    let read = process.read_memory(address, &mut bytes);
    bytes.get(..read).is_some_and(|bytes| bytes.chunks_exact(4).any(|word| word == tid.to_le_bytes()))
}

#[cfg(all(test, target_os = "linux", target_arch = "x86_64", not(holdup_unsupported)))]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::sys;

    #[test]
    fn finds_the_block_of_a_thread_by_its_stack() {
        let (tell, told) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        let helper = std::thread::spawn(move || {
            let local = 0_u8;
            tell.send((sys::current_tid(), (&raw const local).addr() as u64)).expect("somebody listens");
            let _ended = ended.recv();
        });
        let (tid, stack_pointer) = told.recv().expect("it tells");
        let mappings = Process::own().mappings().expect("/proc is mounted");
        let block = find(Process::own(), &mappings, tid, stack_pointer).expect("it has one");
        assert_eq!(Process::own().read_word(block), Some(block));
        assert_eq!(find(Process::own(), &mappings, tid + 1_000_000, stack_pointer), None, "another's number");
        drop(end);
        helper.join().expect("it ends");
    }
}
