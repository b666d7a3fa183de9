//! holdup's allocator around mimalloc.

use holdup::heap::Allocator;
use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: Allocator<MiMalloc> = Allocator::new(MiMalloc);

mod around;

#[test]
fn mimalloc_allocates_and_every_sample_is_known() {
    around::check(&ALLOCATOR);
}
