//! A hash of addresses and small numbers, which are the keys of most tables here. It is faster than the standard library's and
//! does not resist an attacker, whose process would only make its own observation slow.

use std::hash::{BuildHasherDefault, Hasher};

/// Builds the hashers of a table.
pub(crate) type BuildAddressHasher = BuildHasherDefault<AddressHasher>;

/// A hasher of words.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AddressHasher(u64);

/// An odd number without pattern: 2^64 divided by the golden ratio.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

impl AddressHasher {
    fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(29) ^ word).wrapping_mul(MIX);
    }
}

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        // The upper bits depend on all others; tables use the lower bits too.
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.add(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, number: u8) {
        self.add(number.into());
    }

    fn write_u32(&mut self, number: u32) {
        self.add(number.into());
    }

    fn write_u64(&mut self, number: u64) {
        self.add(number);
    }

    fn write_usize(&mut self, number: usize) {
        self.add(number as u64);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::BuildHasher;

    use super::*;

    #[test]
    fn addresses_of_one_kind_have_different_hashes() {
        for distance in [8, 64, 4096, 1 << 20] {
            let hash = |number: u64| BuildAddressHasher::default().hash_one(0x7f00_0000_0000 + number * distance);
            // A table of 4096 places uses 12 bits, and a byte of the upper ones.
            let low: HashSet<u64> = (0..4096).map(|number| hash(number) & 0xfff).collect();
            let high: HashSet<u64> = (0..4096).map(|number| hash(number) >> 57).collect();
            assert!(low.len() > 2000, "{distance}: {}", low.len());
            assert_eq!(high.len(), 128, "{distance}");
        }
    }
}
