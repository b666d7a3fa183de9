//! A guard that is the first of its process, inside a runtime that somebody else built. One test, because the guard's
//! self-test runs once in a process: `cargo nextest` gives each test a process of its own.

use holdup::testing::Guard;

#[test]
fn the_first_guard_of_a_process_may_be_inside_a_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("builds");
    assert_eq!(runtime.block_on(async { Guard::new().guard(async { 7 }).await }), 7);
}
