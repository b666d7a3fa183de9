//! The guard of a test, and its rules.

use std::future::Future;
use std::time::Duration;

use super::guarded::Guarded;
use super::self_test::start_session;
use super::session::Settings;

/// Shorter polls do not count against a budget.
const SHORTEST_IN_BUDGET: Duration = Duration::from_millis(2);

/// The rules for a test's runtime. See the [module](super).
#[derive(Clone, Debug, Default)]
#[must_use = "a guard watches what is given to block_on, block_on_with or guard"]
pub struct Guard {
    settings: Settings,
}

impl Guard {
    /// A guard that fails a test whose polls take 50 ms or longer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the duration from which on one poll fails the test: 50 ms by default, at least 1 ms.
    pub fn threshold(mut self, threshold: Duration) -> Self {
        self.settings.rules.set_threshold(threshold);
        self
    }

    /// Limits the total time of all polls that take 2 ms or longer. Many short stalls make a service as slow as a long one.
    pub fn budget(mut self, total: Duration) -> Self {
        self.settings.rules.budget = Some((total, SHORTEST_IN_BUDGET));
        self
    }

    /// Allows stalls and allocations whose stack contains a function with this text in its name, such as `my_crate::migrate`.
    pub fn allow_function(mut self, name: impl Into<String>, reason: impl Into<String>) -> Self {
        self.settings.rules.functions.push((name.into(), reason.into()));
        self
    }

    /// Fails a test that allocates more bytes, whether they are freed or not.
    ///
    /// What counts is what the threads of the guard's runtime allocate while the future runs, also those of `spawn_blocking`.
    /// The test program needs [`Allocator`](crate::heap::Allocator) as its global allocator. Every allocation is recorded,
    /// which is slow; see [`sample_heap`](Self::sample_heap).
    ///
    /// ```
    /// #[global_allocator]
    /// static ALLOCATOR: holdup::heap::Allocator = holdup::heap::Allocator::system();
    ///
    /// # fn main() {
    /// # if cfg!(all(target_os = "linux", target_arch = "x86_64")) {
    /// // In a `#[test]`:
    /// holdup::testing::Guard::new().allocates_at_most(64 * 1024).block_on(async {
    ///     assert_eq!(vec![1, 2, 3].len(), 3);
    /// });
    /// # }
    /// # }
    /// ```
    #[cfg(feature = "heap")]
    pub fn allocates_at_most(mut self, bytes: u64) -> Self {
        self.settings.memory.limits.allocated = Some(bytes);
        self
    }

    /// Fails a test that leaks more bytes: what it allocated, and what lives after its future and its runtime have ended. What
    /// the future returns lives.
    ///
    /// It has the conditions of [`allocates_at_most`](Self::allocates_at_most).
    #[cfg(feature = "heap")]
    pub fn leaks_at_most(mut self, bytes: u64) -> Self {
        self.settings.memory.limits.kept = Some(bytes);
        self
    }

    /// Fails a test in which one poll allocates more bytes, whether they are freed or not.
    ///
    /// It has the conditions of [`allocates_at_most`](Self::allocates_at_most). Only polls that holdup sees count: those of the
    /// future, of [`holdup::spawn`](crate::spawn), and of all tasks where the runtime has task hooks.
    #[cfg(feature = "heap")]
    pub fn poll_allocates_at_most(mut self, bytes: u64) -> Self {
        self.settings.memory.limits.poll = Some(bytes);
        self
    }

    /// Samples the heap instead of recording every allocation, for tests with very many. The numbers are estimates then, and
    /// the message says from how many samples.
    #[cfg(feature = "heap")]
    pub fn sample_heap(mut self, sampling: crate::heap::Sampling) -> Self {
        self.settings.memory.sampling = Some(sampling);
        self
    }

    /// Prints failures to standard error, and lets the test pass.
    pub fn warn_only(mut self) -> Self {
        self.settings.warn_only = true;
        self
    }

    /// Runs a future on a new current-thread runtime.
    ///
    /// # Panics
    /// If the runtime was stalled, cannot be built, or stalls are not noticed in this environment.
    #[track_caller]
    pub fn block_on<F: Future>(self, future: F) -> F::Output {
        self.block_on_with(tokio::runtime::Builder::new_current_thread().enable_all(), future)
    }

    /// Runs a future on a runtime from the given builder.
    ///
    /// # Panics
    /// As [`block_on`](Self::block_on).
    #[track_caller]
    pub fn block_on_with<F: Future>(self, builder: &mut tokio::runtime::Builder, future: F) -> F::Output {
        let session = start_session(self.settings);
        let runtime = session.watch.runtime(builder).unwrap_or_else(|error| panic!("{error}"));
        #[cfg(feature = "heap")]
        let session = session.recording_memory(runtime.pool_threads());
        let output = runtime.block_on(future);
        #[cfg(feature = "heap")]
        session.end_recording();
        // A test ends with its future. Tasks that still run are not awaited, although they may stall the runtime too.
        runtime.shutdown_background();
        session.end();
        output
    }

    /// Guards a future inside an existing runtime, such as that of `#[tokio::test]`. Use it for the outermost future, which
    /// stays on one thread.
    ///
    /// # Panics
    /// When the future is ready, if it stalled its thread. At the first poll, if stalls are not noticed in this environment.
    #[track_caller]
    pub fn guard<F: Future>(self, future: F) -> Guarded<F> {
        Guarded::new(self.settings, future)
    }
}
