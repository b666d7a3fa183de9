//! A search for words in the private memory of another process: its heap and anonymous mappings. No thread is stopped.

use std::collections::HashSet;

use crate::sys::{Mapping, Process};

/// Bytes per read.
const CHUNK: usize = 256 * 1024;

/// Bytes that are searched at most; that takes about a second.
const MAX_SEARCHED_BYTES: u64 = 2 << 30;

/// Matches that are kept at most.
const MAX_MATCHES: usize = 1 << 20;

/// The addresses of the searched words.
#[derive(Clone, Debug, Default)]
pub(crate) struct HeapMatches {
    /// Addresses that hold one of the words, in order.
    pub(crate) places: Vec<u64>,
    /// Bytes that were not searched because of the limits.
    pub(crate) left_out: u64,
    mappings: Vec<Mapping>,
}

impl HeapMatches {
    /// Searches for any of these words at addresses that are multiples of 8.
    pub(crate) fn of(process: Process, wanted: &HashSet<u64>) -> Self {
        let mut found = Self::default();
        let (Some(first), Some(last)) = (wanted.iter().min(), wanted.iter().max()) else { return found };
        let all = process.mappings().unwrap_or_default();
        let private = |mapping: &Mapping| !mapping.executable && (mapping.path.is_empty() || mapping.path == "[heap]");
        found.mappings = all.into_iter().filter(private).collect();
        let mut bytes = vec![0; CHUNK];
        let mut left = MAX_SEARCHED_BYTES;
        for mapping in &found.mappings {
            let mut at = mapping.start;
            while at < mapping.end {
                if left == 0 || found.places.len() >= MAX_MATCHES {
                    found.left_out += mapping.end - at;
                    break;
                }
                let length = usize::try_from(mapping.end - at).unwrap_or(CHUNK).min(CHUNK);
                let read = process.read_memory(at, bytes.get_mut(..length).unwrap_or_default());
                if read == 0 {
                    // The rest of the mapping is reserved but not present.
                    break;
                }
                for (position, word) in bytes.get(..read).unwrap_or_default().chunks_exact(8).enumerate() {
                    let word = word.try_into().map(u64::from_le_bytes).unwrap_or(0);
                    if (*first..=*last).contains(&word) && wanted.contains(&word) {
                        found.places.push(at + 8 * position as u64);
                    }
                }
                at += length as u64;
                left = left.saturating_sub(length as u64);
            }
        }
        found
    }

    /// The addresses that are not on a stack, because stacks hold stale copies. A thread's stack ends at its control block
    /// (`pointers`), in the same mapping.
    pub(crate) fn off_stacks(&self, pointers: impl Iterator<Item = u64>) -> Vec<u64> {
        let stack = |pointer: u64| {
            let mapping = Mapping::of(&self.mappings, pointer)?;
            Some(mapping.start..pointer)
        };
        let stacks: Vec<_> = pointers.filter_map(stack).collect();
        self.places.iter().copied().filter(|place| !stacks.iter().any(|stack| stack.contains(place))).collect()
    }
}

#[cfg(all(test, target_os = "linux", target_arch = "x86_64", not(holdup_unsupported)))]
mod tests {
    use super::*;

    #[test]
    fn words_on_the_heap_are_found() {
        // The word is computed here, so that the program does not contain it elsewhere.
        let odd = std::hint::black_box(0x1234_5678_u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let heap = vec![0, odd, 0, odd].into_boxed_slice();
        let found = HeapMatches::of(Process::own(), &HashSet::from([odd, odd + 2]));
        for place in [&raw const heap[1], &raw const heap[3]] {
            assert!(found.places.contains(&(place.addr() as u64)), "{found:?}");
        }
        assert!(!found.places.contains(&((&raw const heap[0]).addr() as u64)));
        assert_eq!(HeapMatches::of(Process::own(), &HashSet::new()).places, Vec::<u64>::new());
    }
}
