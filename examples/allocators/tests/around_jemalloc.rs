//! holdup's allocator around jemalloc.

use allocators::{dump, live};
use holdup::heap::{Allocator, Sampling};
use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Allocator<Jemalloc> = Allocator::new(Jemalloc);

mod around;

#[test]
fn jemalloc_allocates_and_every_sample_is_known() {
    around::check(&ALLOCATOR);
    // jemalloc's own sampling is off, so it has no profile to pass on.
    assert!(dump().is_err());
    let watch = holdup::Watch::builder().print(holdup::Print::Never).jemalloc_profile(dump).start().expect("starts");
    let error = live(&watch).expect_err("nothing samples").to_string();
    assert!(error.starts_with("the profile broke off"), "{error}");
    watch.sample_heap(Sampling::default()).expect("the allocator is holdup's");
    let profile = live(&watch).expect("holdup answers while it samples");
    assert!(profile.quality.notes.iter().all(|note| !note.contains("jemalloc")), "{:?}", profile.quality);
}
