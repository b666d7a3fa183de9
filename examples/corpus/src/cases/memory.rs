//! Page faults: memory that the kernel must provide first.

use std::hint::black_box;
use std::time::Instant;

use super::{Case, Scene};
use crate::truth::Cause;

/// Far above the size that an allocator keeps for reuse, so that every buffer is a new mapping.
const MAPPING: usize = 64 << 20;

const PAGE: usize = 4096;

pub(super) const CASES: &[Case] =
    &[Case::stall("page-faults", "touches every page of fresh memory", Cause::PageFaults, |scene| {
        Box::pin(async move {
            touch_fresh_memory(&scene);
            Ok(())
        })
    })];

#[inline(never)]
fn touch_fresh_memory(scene: &Scene) {
    let length = scene.length();
    let begun = scene.log.begin(here!());
    let since = Instant::now();
    while since.elapsed() < length {
        let mut fresh = vec![0_u8; MAPPING];
        for page in fresh.chunks_mut(PAGE) {
            if since.elapsed() >= length {
                break;
            }
            page.fill(black_box(1));
        }
        black_box(&fresh);
    }
    begun.end(line!());
}
