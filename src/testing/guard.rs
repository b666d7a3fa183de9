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

    /// Allows stalls whose stack contains a function with this text in its name, such as `my_crate::migrate`.
    pub fn allow_function(mut self, name: impl Into<String>, reason: impl Into<String>) -> Self {
        self.settings.rules.functions.push((name.into(), reason.into()));
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
        let output = runtime.block_on(future);
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
