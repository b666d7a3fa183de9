//! Every undocumented detail of Tokio that this crate relies on. Each entry names the test that fails when Tokio changes it.
//!
//! Tokio's public API and its documented behavior are not listed here.
//!
//! Some details are rules without a constant:
//!
//! | rule | used by | test that fails |
//! |---|---|---|
//! | A worker's queue and the shared queue are first in, first out. | `probe::queue_drain` | `tests/stalls/victims.rs` |
//! | A multi-thread worker polls the task in its LIFO slot first. A current-thread runtime has no LIFO slot. | `probe::queue_drain` | `tests/stalls/victims.rs` |
//! | `on_task_terminate` runs inside the last poll of a task, also after `abort`. | `probe::hooks` | `tests/watch/tasks.rs` |

/// Parts of the symbols of Tokio's functions.
#[cfg_attr(not(feature = "attach"), allow(dead_code, reason = "some are needed for other processes only"))]
pub(crate) mod symbols;

/// Names of Tokio's types in debug information.
#[cfg(feature = "attach")]
pub(crate) mod debug_info;

/// Details of the C library.
#[cfg(feature = "attach")]
pub(crate) mod libc;

use std::hash::{Hash, Hasher};

/// The number in a task id. `tokio::task::Id` offers it as text only, but its `Hash` implementation writes it as one `u64`.
///
/// Test: `a_task_number_is_the_printed_id`.
pub(crate) fn task_number(id: tokio::task::Id) -> u64 {
    struct Recorder(u64);

    impl Hasher for Recorder {
        fn write(&mut self, _bytes: &[u8]) {}

        fn write_u64(&mut self, number: u64) {
            self.0 = number;
        }

        fn finish(&self) -> u64 {
            self.0
        }
    }

    let mut recorder = Recorder(0);
    id.hash(&mut recorder);
    recorder.finish()
}

/// The fields of a runtime builder that its `Debug` output lists, and the method that sets each one.
///
/// Test: `thread_hooks_of_a_builder_are_found`.
const THREAD_HOOK_FIELDS: [(&str, &str); 3] =
    [("after_start", "on_thread_start"), ("before_park", "on_thread_park"), ("after_unpark", "on_thread_unpark")];

/// The thread hooks that a builder already has and that holdup would replace, named by the methods that set them.
///
/// The builder has no getters, so this reads its `Debug` output. The output does not list task hooks.
pub(crate) fn thread_hooks_of(builder: &tokio::runtime::Builder) -> Vec<&'static str> {
    let output = format!("{builder:?}");
    let is_set = |field: &str| output.contains(&format!("{field}: Some("));
    THREAD_HOOK_FIELDS.into_iter().filter(|(field, _)| is_set(field)).map(|(_, method)| method).collect()
}

/// A worker checks the shared queue after at most this many polls from its own queue. Polls from the LIFO slot come on top.
/// Tokio adapts the interval to the length of polls, up to this limit.
///
/// Test: `a_busy_worker_checks_the_shared_queue_within_the_limit`.
pub(crate) const MAX_POLLS_BETWEEN_SHARED_QUEUE_CHECKS: u32 = 127;

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    use super::*;

    #[test]
    fn a_task_number_is_the_printed_id() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let number = tokio::spawn(async { (task_number(tokio::task::id()), tokio::task::id().to_string()) }).await;
            let (number, printed) = number.expect("the task ends");
            assert_eq!(number.to_string(), printed);
        });
    }

    #[test]
    fn thread_hooks_of_a_builder_are_found() {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        assert_eq!(thread_hooks_of(&builder), Vec::<&str>::new());
        builder.on_thread_park(|| {}).on_thread_stop(|| {});
        assert_eq!(thread_hooks_of(&builder), ["on_thread_park"], "holdup leaves on_thread_stop alone");
        builder.on_thread_start(|| {}).on_thread_unpark(|| {});
        assert_eq!(thread_hooks_of(&builder).len(), THREAD_HOOK_FIELDS.len());
    }

    /// A task that is always ready, so that its worker's own queue is never empty.
    struct AlwaysReady {
        polls: Arc<AtomicU32>,
        stop: Arc<AtomicBool>,
        /// Runs once, after a thousand polls: by then Tokio has adapted the interval.
        after_warmup: Option<Box<dyn FnOnce(u32) + Send>>,
    }

    impl Future for AlwaysReady {
        type Output = ();

        fn poll(mut self: std::pin::Pin<&mut Self>, context: &mut std::task::Context<'_>) -> std::task::Poll<()> {
            let polls = self.polls.fetch_add(1, Ordering::Relaxed) + 1;
            if polls > 1000
                && let Some(run) = self.after_warmup.take()
            {
                run(polls);
            }
            if self.stop.load(Ordering::Relaxed) {
                return std::task::Poll::Ready(());
            }
            context.waker().wake_by_ref();
            std::task::Poll::Pending
        }
    }

    fn polls_until_a_shared_task_runs(runtime: &tokio::runtime::Runtime) -> u32 {
        let (polls, stop) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
        let handle = runtime.handle().clone();
        let (counted, stopped) = (Arc::clone(&polls), Arc::clone(&stop));
        let (sender, receiver) = std::sync::mpsc::channel();
        // A thread that is no worker spawns into the shared queue. The poll waits for it.
        let spawn = move |before: u32| {
            let task = async move {
                stopped.store(true, Ordering::Relaxed);
                sender.send(counted.load(Ordering::Relaxed) - before).expect("the test waits");
            };
            std::thread::spawn(move || drop(handle.spawn(task))).join().expect("it spawns");
        };
        runtime.block_on(async {
            let busy = AlwaysReady { polls, stop, after_warmup: Some(Box::new(spawn)) };
            tokio::spawn(busy).await.expect("it stops");
        });
        receiver.recv().expect("the shared task runs before the busy one stops")
    }

    #[test]
    fn a_busy_worker_checks_the_shared_queue_within_the_limit() {
        let mut one_worker = tokio::runtime::Builder::new_multi_thread();
        let mut current_thread = tokio::runtime::Builder::new_current_thread();
        for builder in [one_worker.worker_threads(1), &mut current_thread] {
            let runtime = builder.build().expect("a runtime");
            let waited = (0..20).map(|_| polls_until_a_shared_task_runs(&runtime)).max();
            assert!(waited.is_some_and(|polls| polls <= MAX_POLLS_BETWEEN_SHARED_QUEUE_CHECKS), "{waited:?}");
        }
    }
}
