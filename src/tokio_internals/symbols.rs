//! Parts of the symbols of Tokio's functions and variables, and texts in its binaries.
//!
//! Legacy and v0 mangling both write a path segment as its length and its name, so one fragment matches both.
//! `scripts/tokio_versions.sh` runs the named tests with every supported version of Tokio.

/// Any symbol of Tokio.
///
/// Test: `unwind::polls::tests::this_program_polls_tasks`.
pub(crate) const TOKIO: &str = "5tokio";

/// Any symbol of `tokio::runtime`.
///
/// Test: `symbols::facts::tests::this_test_program_holds_tokio_and_can_be_named`.
pub(crate) const RUNTIME: &str = "5tokio7runtime";

/// Any symbol of `tokio::runtime::task`, in a symbol that is known to be Tokio's.
///
/// Test: `stalls_are_inferred_without_types` in `tests/attach/stalls.rs`.
pub(crate) const TASK: &str = "7runtime4task";

/// `tokio::runtime::task::raw::poll`, the function that polls tasks of one type. Its v0 symbol names that type.
///
/// Test: `symbols::task_types::tests::types_are_in_the_symbols_of_both_manglings`.
pub(crate) const RAW_POLL: &str = "7runtime4task3raw4poll";

/// `tokio::runtime::task::{raw, harness}`, which poll one task if the symbol also contains [`POLL`].
///
/// Test: `unwind::polls::tests::this_program_polls_tasks`.
pub(crate) const TASK_POLLS: [&str; 2] = ["5tokio7runtime4task3raw4poll", "5tokio7runtime4task7harness"];

/// A function named `poll`.
///
/// Test: `unwind::polls::tests::this_program_polls_tasks`.
pub(crate) const POLL: &str = "4poll";

/// Schedulers and the ways into a runtime: `tokio::runtime::{scheduler, runtime, context::runtime}` and
/// `tokio::task::local`.
///
/// Test: `stalls_are_inferred_without_types` in `tests/attach/stalls.rs`.
pub(crate) const SCHEDULERS: [&str; 4] =
    ["5tokio7runtime9scheduler", "5tokio7runtime7runtime", "5tokio7runtime7context7runtime", LOCAL_SET];

/// Functions of a `LocalSet`: `tokio::task::local`.
///
/// Test: `polls_in_a_local_set_are_told_apart` in `tests/stalls/local_set.rs`.
pub(crate) const LOCAL_SET: &str = "5tokio4task5local";

/// Functions of a multi-thread worker.
///
/// Test: `stalls_are_inferred_without_types` in `tests/attach/stalls.rs`.
pub(crate) const MULTI_THREAD_WORKER: &str = "12multi_thread6worker";

/// Functions of a current-thread runtime.
///
/// Test: `stalls_are_inferred_without_types` in `tests/attach/stalls.rs`.
pub(crate) const CURRENT_THREAD: &str = "14current_thread";

/// The `block_on` of a multi-thread runtime. It polls, although its path contains `park`.
///
/// Test: `stalls_are_inferred_without_types` in `tests/attach/stalls.rs`.
pub(crate) const PARKER_BLOCK_ON: &str = "16CachedParkThread8block_on";

/// Functions of `tokio::runtime` that wait: every `park`, and `tokio::runtime::{driver, io::driver, time}`.
///
/// Test: `stalls_are_inferred_without_types` in `tests/attach/stalls.rs`.
pub(crate) const PARKS: [&str; 6] =
    ["4park", "12park_timeout", "13park_internal", "7runtime6driver", "2io6driver", "7runtime4time"];

/// `tokio::runtime::context::CONTEXT`, the thread-local variable with a thread's runtime, task and budget.
///
/// Test: `unwind::polls::tests::this_program_polls_tasks`.
pub(crate) const CONTEXT: &str = "5tokio7runtime7context7CONTEXT";

/// The largest size of [`CONTEXT`] in bytes.
///
/// Test: `unwind::polls::tests::this_program_polls_tasks`.
pub(crate) const MAX_CONTEXT_BYTES: u64 = 1024;

/// The demangled v0 name of [`RAW_POLL`] up to the types of future and scheduler.
///
/// Test: `symbols::task_types::tests::types_are_in_the_symbols_of_both_manglings`.
pub(crate) const DEMANGLED_RAW_POLL: &str = "tokio::runtime::task::raw::poll::<";

/// The module of the parts of a task, as demangled. `Cell<F, S>` is a whole task; `Stage<F>` and `CoreStage<F>` hold its
/// future.
///
/// Test: `symbols::task_types::tests::types_are_in_the_symbols_of_both_manglings`.
pub(crate) const TASK_PARTS: &str = "tokio::runtime::task::core::";

/// A whole task in [`TASK_PARTS`].
pub(crate) const TASK_CELL: &str = "Cell<";

/// The part of a task that holds its future, in [`TASK_PARTS`].
pub(crate) const TASK_STAGES: [&str; 2] = ["Stage<", "CoreStage<"];

/// The default names of worker threads: since Tokio 1.23, and before.
///
/// Test: `programs_that_run_tokio_are_found` in `tests/attach/ps.rs`.
pub(crate) const WORKER_THREADS: [&str; 2] = ["tokio-rt-worker", "tokio-runtime-worker"];

/// Whether the kernel's name of a thread is the default name of a worker. The kernel keeps 15 bytes.
pub(crate) fn is_worker_thread(name: &str) -> bool {
    WORKER_THREADS.iter().any(|worker| worker.get(..15) == Some(name))
}

/// Precedes the version in the source paths of Tokio's panic messages: `…/tokio-1.54.1/src/runtime/…`.
///
/// Test: `symbols::facts::tests::this_test_program_holds_tokio_and_can_be_named`.
pub(crate) const SOURCE_FOLDER: &str = "/tokio-";

/// Whether a demangled function is the loop of a multi-thread worker. It runs as a blocking function.
///
/// Test: `a_shutdown_that_waits_for_a_drop_names_it` in `tests/watch/shutdown.rs`.
pub(crate) fn is_worker_loop(function: &str) -> bool {
    function.contains("scheduler::multi_thread::worker::")
}

/// Whether a demangled function drops the tasks of a runtime that shuts down.
///
/// Test: `a_shutdown_that_waits_for_a_drop_names_it` in `tests/watch/shutdown.rs`.
pub(crate) fn drops_tasks(function: &str) -> bool {
    function.contains("tokio::runtime::task::") && function.contains("::close_and_shutdown_all")
}
