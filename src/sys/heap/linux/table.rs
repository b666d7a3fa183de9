//! The table of sampled objects outside the region: from an address to the number of its object.
//!
//! An address belongs to one bucket, which is one cache line. A full bucket takes no further address, so a sample is lost
//! and not a free. Between two threads, the program itself orders the insertion of an address and its removal: it passes the
//! pointer on.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// Addresses of a bucket.
const BUCKET: usize = 8;

const BUCKETS: usize = 16 * 1024;

const EMPTY: usize = 0;

#[repr(align(64))]
struct Bucket([AtomicUsize; BUCKET]);

static ADDRESSES: [Bucket; BUCKETS] = [const { Bucket([const { AtomicUsize::new(EMPTY) }; BUCKET]) }; BUCKETS];

static OBJECTS: [[AtomicU32; BUCKET]; BUCKETS] = [const { [const { AtomicU32::new(0) }; BUCKET] }; BUCKETS];

/// The bucket of an address: the upper bits of a multiplication by the golden ratio.
fn bucket_of(address: usize) -> usize {
    ((address >> 4) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) as usize >> (usize::BITS - BUCKETS.trailing_zeros())
}

/// Adds an address. Returns false if its bucket is full.
pub(super) fn insert(address: usize, object: u32) -> bool {
    let bucket = bucket_of(address);
    let (Some(addresses), Some(objects)) = (ADDRESSES.get(bucket), OBJECTS.get(bucket)) else { return false };
    for (known, number) in addresses.0.iter().zip(objects) {
        let free = known.load(Ordering::Relaxed) == EMPTY;
        if free && known.compare_exchange(EMPTY, address, Ordering::Acquire, Ordering::Relaxed).is_ok() {
            number.store(object, Ordering::Relaxed);
            return true;
        }
    }
    false
}

/// Removes an address, if it is there. Called before its memory is given back, so that nobody can insert it meanwhile.
pub(super) fn remove(address: usize) -> Option<u32> {
    let bucket = bucket_of(address);
    let (addresses, objects) = (ADDRESSES.get(bucket)?, OBJECTS.get(bucket)?);
    let at = addresses.0.iter().position(|known| known.load(Ordering::Relaxed) == address)?;
    let object = objects.get(at)?.load(Ordering::Relaxed);
    addresses.0.get(at)?.store(EMPTY, Ordering::Release);
    Some(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_until_they_are_removed() {
        // No allocation has these addresses, so other tests do not disturb.
        let address = |number: usize| (1 << 62) | (number << 4);
        let inserted: Vec<usize> = (0..20_000).filter(|number| insert(address(*number), *number as u32)).collect();
        assert!(inserted.len() > 19_900, "{} of 20000 found room", inserted.len());
        assert_eq!(remove(address(20_001)), None);
        for number in inserted {
            assert_eq!(remove(address(number)), Some(number as u32));
            assert_eq!(remove(address(number)), None);
        }
    }
}
