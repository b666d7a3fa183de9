//! The test guard's limits on memory: which tests pass, which fail, and the messages.

#[path = "../support/mod.rs"]
mod support;

use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use holdup::heap::{Allocator, Sampling};
use holdup::testing::Guard;
use support::alone;
use tokio::runtime::Builder;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator::system();

const KIB: usize = 1024;

/// A guard for memory only: the machine may be slow.
fn guard() -> Guard {
    Guard::new().threshold(Duration::from_secs(60))
}

#[inline(never)]
fn render(bytes: usize) -> Vec<u8> {
    let page = black_box(vec![b'x'; bytes]);
    assert_eq!(page.len(), bytes);
    page
}

static KEPT: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

#[inline(never)]
fn keep(page: Vec<u8>) {
    KEPT.lock().expect("nobody panics").push(page);
}

/// The message of the panic, if there is one.
fn message<R>(test: impl FnOnce() -> R) -> Option<String> {
    let panic = catch_unwind(AssertUnwindSafe(test)).err()?;
    Some(panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "not a string".to_owned()))
}

/// The place of the line in `render` that allocates.
const PLACE: &str = "testing_memory::render at tests/testing/memory.rs:29";

#[test]
fn a_test_that_allocates_too_much_fails_and_reports_where() {
    let _alone = alone();
    let pages = || async {
        for _ in 0..4 {
            drop(render(10 * KIB));
            tokio::task::yield_now().await;
        }
    };
    let text = message(|| guard().allocates_at_most(32 * KIB as u64).block_on(pages())).expect("it fails");
    let first = text.lines().next().expect("has a line");
    assert!(first.starts_with("this test allocated 40."), "{text}");
    assert!(first.contains(PLACE) && first.ends_with("(limit 32.0 KiB)"), "{text}");
    assert!(text.contains("memory   40.0 KiB in 4 allocations"), "{text}");
    assert!(text.contains("→ testing_memory::render") && text.contains("a_test_that_allocates_too_much"), "{text}");
    assert_eq!(message(|| guard().allocates_at_most(64 * KIB as u64).block_on(pages())), None, "within the limit");
    assert_eq!(guard().allocates_at_most(KIB as u64).block_on(async { 7 }), 7, "and the next one passes");
}

#[test]
fn a_test_that_leaks_fails_and_one_that_frees_passes() {
    let _alone = alone();
    let leaks = |keeps: bool| {
        message(move || {
            guard().leaks_at_most(KIB as u64).block_on(async move {
                let task = tokio::spawn(async move {
                    let (first, second) = (render(6 * KIB), render(3 * KIB));
                    tokio::task::yield_now().await;
                    if keeps {
                        keep(second);
                    }
                    drop(first);
                });
                task.await.expect("it ends");
            });
        })
    };
    assert_eq!(leaks(false), None);
    let text = leaks(true).expect("it fails");
    let first = text.lines().next().expect("has a line");
    assert!(first.starts_with("this test leaked 3.") && first.ends_with("(limit 1.0 KiB)"), "{text}");
    assert!(first.contains(PLACE), "{text}");
    assert!(text.contains("memory   3.0 KiB in 1 allocation\n"), "{text}");
    let returned = message(|| guard().leaks_at_most(KIB as u64).block_on(async { render(9 * KIB) }));
    assert!(returned.is_some_and(|text| text.starts_with("this test leaked 9.0 KiB in 1 allocation in ")));
}

#[test]
fn one_poll_that_allocates_too_much_fails_and_many_small_ones_pass() {
    let _alone = alone();
    let polls = |pages_at_once: usize| {
        let test = async move {
            holdup::spawn_named("render", async move {
                for _ in 0..(40 / pages_at_once) {
                    for _ in 0..pages_at_once {
                        drop(render(KIB));
                    }
                    tokio::task::yield_now().await;
                }
            })
            .await
            .expect("it ends");
        };
        message(move || guard().poll_allocates_at_most(12 * KIB as u64).block_on(test))
    };
    assert_eq!(polls(5), None, "5 KiB a poll");
    let text = polls(20).expect("it fails");
    let first = text.lines().next().expect("has a line");
    assert!(first.starts_with("a poll of this test allocated 20."), "{text}");
    assert!(first.contains(PLACE) && first.ends_with("; and so did 1 other poll (limit 12.0 KiB)"), "{text}");
    assert!(text.contains("memory   20.0 KiB in 20 allocations"), "{text}");
    assert!(text.contains("task     render, spawned at tests/testing/memory.rs:"), "{text}");
}

#[test]
fn allowed_functions_do_not_count() {
    let _alone = alone();
    let test = || async {
        drop(render(20 * KIB));
        keep(render(20 * KIB));
    };
    let limits = || guard().allocates_at_most(KIB as u64).leaks_at_most(KIB as u64).poll_allocates_at_most(KIB as u64);
    let text = message(|| limits().block_on(test())).expect("it fails");
    for limit in ["this test allocated 40.", "this test leaked 20.", "a poll of this test allocated 40."] {
        assert!(text.contains(limit), "{text}");
    }
    let allowed = limits().allow_function("testing_memory::render", "it is what this test is about");
    assert_eq!(message(|| allowed.block_on(test())), None);
    assert_eq!(message(|| limits().warn_only().block_on(test())), None, "it only warns");
}

#[test]
fn every_thread_of_the_runtime_counts() {
    let _alone = alone();
    let on_workers = || async {
        let tasks: Vec<_> = (0..4).map(|_| tokio::spawn(async { drop(render(20 * KIB)) })).collect();
        for task in tasks {
            task.await.expect("it ends");
        }
    };
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(2).enable_all();
    let strict = || guard().allocates_at_most(60 * KIB as u64);
    let text = message(|| strict().block_on_with(&mut builder, on_workers())).expect("it fails");
    // A scheduler polls from several places of its code, so the four may have different stacks.
    let all = text.contains("this test allocated 8") && text.contains("most of it in testing_memory::render");
    assert!(all, "{text}");
    let blocking = async {
        tokio::task::spawn_blocking(|| drop(render(80 * KIB))).await.expect("it ends");
    };
    let text = message(|| strict().block_on(blocking)).expect("it fails");
    assert!(text.contains("memory   80.0 KiB in 1 allocation\n"), "{text}");
}

#[test]
fn what_the_test_prints_is_no_leak() {
    let _alone = alone();
    let prints = async {
        for number in 0..200 {
            println!("The harness keeps this line until the test ends: {number}");
        }
    };
    assert_eq!(message(|| guard().leaks_at_most(0).block_on(prints)), None);
}

#[test]
fn concurrent_tests_are_independent() {
    let _alone = alone();
    let (running, ended) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let quiet = scope.spawn(|| {
            message(|| {
                guard().allocates_at_most(16 * KIB as u64).leaks_at_most(8 * KIB as u64).block_on(async {
                    running.store(true, Ordering::Release);
                    while !ended.load(Ordering::Acquire) {
                        tokio::time::sleep(Duration::from_millis(2)).await;
                    }
                });
            })
        });
        support::wait_until("the first test runs", || running.load(Ordering::Acquire));
        let loud = message(|| guard().leaks_at_most(KIB as u64).block_on(async { keep(render(500 * KIB)) }));
        ended.store(true, Ordering::Release);
        assert!(loud.is_some_and(|text| text.contains(PLACE)), "it leaks");
        assert_eq!(quiet.join().expect("caught"), None, "that was another test");
    });
}

#[test]
fn an_estimate_says_so() {
    let _alone = alone();
    let many = async {
        for _ in 0..1000 {
            drop(render(8 * KIB));
        }
    };
    let sampled = guard().allocates_at_most(KIB as u64).sample_heap(Sampling::bytes(64 << 10));
    let text = message(|| sampled.block_on(many)).expect("it fails");
    let first = text.lines().next().expect("has a line");
    assert!(first.contains(PLACE) && first.contains("(limit 1.0 KiB, estimated from "), "{text}");
}

#[tokio::test]
#[should_panic(expected = "testing_memory::render at tests/testing/memory.rs:29 (limit 4.0 KiB)")]
async fn a_guard_works_inside_tokios_test_macro() {
    guard()
        .leaks_at_most(4 * KIB as u64)
        .guard(async {
            drop(render(50 * KIB));
            keep(render(10 * KIB));
        })
        .await;
}
