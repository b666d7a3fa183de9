//! holdup's allocator around the system's.

use holdup::heap::Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator::system();

mod around;

#[test]
fn the_system_allocates_and_every_sample_is_known() {
    around::check(&ALLOCATOR);
}
