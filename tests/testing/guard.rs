//! The test guard: which tests pass, which fail, and the messages.

#[path = "../support/mod.rs"]
mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use holdup::testing::{self, Guard};
use support::alone;
use tokio::runtime::Builder;

/// Far longer than any delay of a loaded machine.
const HOLD: Duration = Duration::from_millis(300);

#[inline(never)]
fn hold_up() {
    std::thread::sleep(HOLD);
}

#[inline(never)]
fn nap(time: Duration) {
    std::thread::sleep(time);
    std::hint::black_box(());
}

#[inline(never)]
fn compute(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// The message of the panic, if there is one.
fn message<R>(test: impl FnOnce() -> R) -> Option<String> {
    let panic = catch_unwind(AssertUnwindSafe(test)).err()?;
    Some(panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "not a string".to_owned()))
}

#[test]
fn a_test_that_stalls_its_runtime_fails_and_reports_where() {
    let _alone = alone();
    let text = message(|| testing::block_on(async { hold_up() })).expect("it fails");
    let first = text.lines().next().expect("has a line");
    assert!(first.starts_with("this test held up its runtime: sleeping for "), "{text}");
    assert!(first.contains("testing_guard::hold_up at tests/testing/guard.rs:20"), "{text}");
    assert!(text.contains("std::thread::sleep") && text.contains("stack") && text.contains("advice"), "{text}");
    assert_eq!(testing::block_on(async { 7 }), 7, "and the next one passes");
}

#[test]
fn tasks_on_a_runtime_of_the_users_builder_are_watched() {
    let _alone = alone();
    let on_two_workers = |test: fn() -> tokio::task::JoinHandle<()>| {
        let mut builder = Builder::new_multi_thread();
        let outcome = async move { test().await.expect("it ends") };
        message(|| Guard::new().block_on_with(builder.worker_threads(2).enable_all(), outcome))
    };
    let text = on_two_workers(|| holdup::spawn(async { hold_up() })).expect("it fails");
    assert!(text.contains("testing_guard::hold_up at tests/testing/guard.rs:20"), "{text}");
    // Without task hooks, an unwrapped task is found only where the kernel allows a breakpoint.
    #[cfg(tokio_unstable)]
    assert!(on_two_workers(|| tokio::spawn(async { hold_up() })).is_some());
    assert_eq!(on_two_workers(|| tokio::spawn(async { tokio::time::sleep(HOLD).await })), None);
}

#[test]
fn tests_without_stalls_pass() {
    let _alone = alone();
    testing::block_on(async {
        tokio::time::sleep(HOLD).await;
        tokio::task::spawn_blocking(hold_up).await.expect("it ends");
        for _ in 0..20 {
            compute(Duration::from_millis(2));
            tokio::task::yield_now().await;
        }
    });
    Guard::new().block_on_with(Builder::new_multi_thread().worker_threads(2).enable_all(), async {
        tokio::spawn(async { tokio::task::block_in_place(hold_up) }).await.expect("it ends");
    });
}

#[test]
fn the_threshold_decides() {
    let _alone = alone();
    assert_eq!(message(|| Guard::new().threshold(HOLD * 20).block_on(async { hold_up() })), None);
    assert!(message(|| Guard::new().threshold(HOLD / 3).block_on(async { hold_up() })).is_some());
}

#[test]
fn many_short_stalls_exceed_a_budget() {
    let _alone = alone();
    let cuts = || async {
        // It sleeps: on a busy machine a computation may count as not scheduled, which fails no test.
        for _ in 0..40 {
            nap(Duration::from_millis(8));
            tokio::task::yield_now().await;
        }
    };
    let strict = Guard::new().threshold(Duration::from_secs(5));
    assert_eq!(message(|| strict.clone().block_on(cuts())), None, "each is short");
    let text = message(|| strict.clone().budget(Duration::from_millis(100)).block_on(cuts())).expect("it fails");
    assert!(text.contains("all holds together") && text.contains("of at most 100 ms"), "{text}");
    assert!(text.contains("testing_guard::nap"), "{text}");
    assert_eq!(message(|| strict.budget(Duration::from_secs(60)).block_on(cuts())), None, "within the budget");
}

#[test]
fn only_allowed_stalls_pass() {
    let _alone = alone();
    let allowed = || async { testing::allow("it is what this test is about", hold_up) };
    assert_eq!(message(|| testing::block_on(allowed())), None);
    let both = || async {
        testing::allow("one of two", hold_up);
        tokio::task::yield_now().await;
        hold_up();
    };
    assert!(message(|| testing::block_on(both())).is_some(), "the other one is not allowed");
    let function = Guard::new().allow_function("testing_guard::hold_up", "known");
    assert_eq!(message(|| function.clone().block_on(async { hold_up() })), None);
    assert!(message(|| function.block_on(async { std::thread::sleep(HOLD) })).is_some(), "another function");
    assert_eq!(message(|| Guard::new().warn_only().block_on(async { hold_up() })), None, "it only warns");
}

#[test]
fn concurrent_tests_are_independent() {
    let _alone = alone();
    let outcomes: Vec<bool> = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..6)
            .map(|number| {
                scope.spawn(move || {
                    let test = async move {
                        for _ in 0..10 {
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                        if number == 3 {
                            hold_up();
                        }
                    };
                    message(|| Guard::new().threshold(HOLD / 2).block_on(test)).is_some()
                })
            })
            .collect();
        runs.into_iter().map(|run| run.join().expect("caught")).collect()
    });
    assert_eq!(outcomes, [false, false, false, true, false, false]);
}

#[test]
fn an_allowed_block_counts_only_for_its_own_test() {
    let _alone = alone();
    let (allowed, ended) = (AtomicBool::new(false), AtomicBool::new(false));
    let until = |flag: &'static str, set: &AtomicBool| support::wait_until(flag, || set.load(Ordering::Acquire));
    std::thread::scope(|scope| {
        let first = scope.spawn(|| {
            message(|| {
                Guard::new().block_on(async {
                    testing::allow("it is what this test is about", hold_up);
                    allowed.store(true, Ordering::Release);
                    while !ended.load(Ordering::Acquire) {
                        tokio::time::sleep(Duration::from_millis(2)).await;
                    }
                });
            })
        });
        // It begins before the first test has been judged, and is judged first.
        until("the first has held its runtime up", &allowed);
        let second = message(|| Guard::new().block_on(async { hold_up() }));
        ended.store(true, Ordering::Release);
        assert!(second.is_some(), "nobody has allowed that");
        assert_eq!(first.join().expect("caught"), None, "that was allowed");
    });
}

/// Runs one of the tests below in another process. Returns whether it passed, and its standard error.
fn output_of(test: &str) -> (bool, String) {
    let mut command = Command::new(std::env::current_exe().expect("it has a path"));
    let output = command.args([test, "--exact", "--ignored", "--nocapture"]).output().expect("it starts");
    let ran = String::from_utf8_lossy(&output.stdout).contains("running 1 test");
    assert!(ran, "{output:?}");
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn the_first_line_of_a_failure_names_the_stall() {
    let _alone = alone();
    let (passed, text) = output_of("shown::a_failure");
    assert!(!passed, "{text}");
    // JUnit files take their message and the start of their text from these two lines.
    let mut lines = text.lines().skip_while(|line| !line.contains("panicked at"));
    let place = lines.next().unwrap_or_default();
    assert!(place.contains("shown::a_failure") && place.contains("tests/testing/guard.rs"), "{text}");
    let first = lines.next().unwrap_or_default();
    assert!(first.starts_with("this test held up its runtime: sleeping for "), "{text}");
    assert!(first.ends_with("testing_guard::hold_up at tests/testing/guard.rs:20 (threshold 50.0 ms)"), "{text}");
}

#[test]
fn warn_only_prints_the_same_message() {
    let _alone = alone();
    let (passed, text) = output_of("shown::a_warning");
    assert!(passed, "{text}");
    assert!(text.contains("holdup: this test held up its runtime: sleeping for "), "{text}");
    assert!(text.contains("testing_guard::hold_up at tests/testing/guard.rs:20"), "{text}");
}

#[test]
fn only_exceptions_that_never_applied_give_a_warning() {
    let _alone = alone();
    let (passed, text) = output_of("shown::exceptions");
    assert!(passed, "{text}");
    let warnings: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("holdup: ")).collect();
    let [function, block] = &*warnings else { panic!("two are expected: {text}") };
    assert_eq!(*function, "allow_function(\"testing_guard::nobody\", \"gone\") never applied; remove it");
    assert!(block.starts_with("the allow at tests/testing/guard.rs:"), "{text}");
    assert!(block.ends_with("(\"short\") held nothing up; remove it"), "{text}");
}

/// Tests that the ones above run in another process.
mod shown {
    use super::*;

    #[test]
    #[ignore = "fails on purpose, for a test of its message"]
    fn a_failure() {
        testing::block_on(async { hold_up() });
    }

    #[test]
    #[ignore = "for a test of its message"]
    fn a_warning() {
        Guard::new().warn_only().block_on(async { hold_up() });
    }

    #[test]
    #[ignore = "for a test of its message"]
    fn exceptions() {
        let guard = Guard::new()
            .allow_function("testing_guard::nobody", "gone")
            .allow_function("testing_guard::hold_up", "known");
        guard.block_on(async {
            hold_up();
            tokio::task::yield_now().await;
            testing::allow("short", || ());
            tokio::task::yield_now().await;
            testing::allow("long", || std::thread::sleep(HOLD));
        });
    }
}

#[tokio::test]
async fn a_guard_works_inside_tokios_test_macro() {
    let passes = testing::guard(async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        7
    });
    assert_eq!(passes.await, 7);
}

#[tokio::test]
#[should_panic(expected = "testing_guard::hold_up at tests/testing/guard.rs:20")]
async fn a_wrapped_task_inside_tokios_test_macro_is_watched() {
    testing::guard(async {
        holdup::spawn(async { hold_up() }).await.expect("it ends");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[should_panic(expected = "sleeping for")]
async fn the_outermost_future_of_a_multi_thread_test_is_watched() {
    testing::guard(async {
        tokio::task::yield_now().await;
        hold_up();
    })
    .await;
}

/// A guard that sees no allocation would let every test pass.
#[cfg(feature = "heap")]
#[test]
fn without_the_allocator_a_limit_on_memory_fails() {
    let _alone = alone();
    let text = message(|| Guard::new().allocates_at_most(1 << 30).block_on(async {})).expect("it fails");
    assert!(text.starts_with("holdup cannot guard the memory of this test: "), "{text}");
    assert!(text.contains("#[global_allocator]"), "{text}");
    assert_eq!(message(|| Guard::new().allocates_at_most(1).warn_only().block_on(async {})), None, "it only warns");
}

#[test]
fn a_panic_of_the_test_is_not_changed() {
    let _alone = alone();
    let text = catch_unwind(|| testing::block_on(async { panic!("its own") })).expect_err("it panics");
    assert_eq!(text.downcast_ref::<&str>(), Some(&"its own"));
}
