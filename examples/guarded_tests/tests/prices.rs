//! The guard in use: each of these tests also fails when the runtime is held up for 50 ms or longer.

use std::path::PathBuf;

use guarded_tests::{prices, prices_on_the_worker};
use holdup::testing::{self, Guard};

fn list() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/prices.txt")
}

/// The guard creates the runtime.
#[test]
fn all_prices_are_read() {
    let prices = testing::block_on(prices(list())).expect("the list is there");
    assert_eq!(prices, [120, 80, 200]);
}

/// The guard inside of Tokio's macro.
#[tokio::test]
async fn a_list_that_is_missing_is_an_error() {
    testing::guard(async { assert!(prices("no such list".into()).await.is_err()) }).await;
}

/// A known stall is an exception. The guard reports an exception that never applies.
#[test]
fn the_old_way_reads_the_same() {
    let guard = Guard::new().allow_function("guarded_tests::read", "goes away with the old price list");
    let prices = guard.block_on(prices_on_the_worker(list())).expect("the list is there");
    assert_eq!(prices, [120, 80, 200]);
}

/// Shows a failure: `cargo test -- --ignored`.
#[test]
#[ignore = "fails, to show what a report looks like"]
fn the_old_way_holds_the_runtime_up() {
    let prices = testing::block_on(prices_on_the_worker(list())).expect("the list is there");
    assert_eq!(prices, [120, 80, 200]);
}
