//! The first guard of a process, inside an existing runtime. There is one test, because the guard's self-test runs once per
//! process: `cargo nextest` runs each test in its own process.

use holdup::testing::Guard;

#[test]
fn the_first_guard_of_a_process_works_inside_a_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("builds");
    assert_eq!(runtime.block_on(async { Guard::new().guard(async { 7 }).await }), 7);
}
