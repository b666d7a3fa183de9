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

/// Keeps the place of an address whose block may move. No block has this address.
const TAKEN_OUT: usize = 1;

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

/// A place of the table whose address is taken out.
pub(crate) struct TakenOut {
    bucket: usize,
    at: usize,
    pub(super) object: u32,
}

/// Takes an address out, if it is there. Called before its memory is given back, so that nobody can insert it meanwhile.
/// Its place stays taken.
pub(super) fn take_out(address: usize) -> Option<TakenOut> {
    let bucket = bucket_of(address);
    let (addresses, objects) = (ADDRESSES.get(bucket)?, OBJECTS.get(bucket)?);
    let at = addresses.0.iter().position(|known| known.load(Ordering::Relaxed) == address)?;
    let object = objects.get(at)?.load(Ordering::Relaxed);
    addresses.0.get(at)?.store(TAKEN_OUT, Ordering::Relaxed);
    Some(TakenOut { bucket, at, object })
}

impl TakenOut {
    /// Puts the address back: its block stayed.
    pub(super) fn put_back(self, address: usize) {
        self.store(address);
    }

    /// Gives the place free: the block is gone.
    pub(super) fn clear(self) {
        self.store(EMPTY);
    }

    fn store(self, address: usize) {
        if let Some(known) = ADDRESSES.get(self.bucket).and_then(|bucket| bucket.0.get(self.at)) {
            known.store(address, Ordering::Release);
        }
    }
}

/// Removes an address, if it is there. Called before its memory is given back.
pub(super) fn remove(address: usize) -> Option<u32> {
    let taken_out = take_out(address)?;
    let object = taken_out.object;
    taken_out.clear();
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

    #[test]
    fn an_address_that_is_taken_out_keeps_its_place() {
        // Addresses of one bucket, which no allocation has.
        let bucket = bucket_of(1 << 61);
        let of_bucket = (0..).map(|number| (1 << 61) | (number << 4)).filter(|address| bucket_of(*address) == bucket);
        let addresses: Vec<usize> = of_bucket.take(BUCKET + 1).collect();
        let inserted = addresses.iter().filter(|address| insert(**address, 7)).count();
        let (first, last) = (addresses[0], addresses[BUCKET]);
        let taken_out = take_out(first).expect("it is there");
        assert!(inserted >= 1 && !insert(last, 8), "no other address gets the place");
        assert!(remove(first).is_none(), "it is out");
        taken_out.put_back(first);
        assert_eq!(remove(first), Some(7));
        let left = addresses.into_iter().filter_map(remove).count();
        assert_eq!(left, inserted - 1);
    }
}
