//! What is watched in a test, and how strictly.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::guarded::Guarded;
use super::verdict::{HeldUp, Rules, Seen, Verdict};
use super::{allowed, self_test};
use crate::watch::{Print, Watch};

/// Tests are not optimised, and many run at a time.
const DEFAULT_THRESHOLD: Duration = Duration::from_millis(50);

/// Shorter holds do not count against a budget unless asked for.
const DEFAULT_BUDGET_FROM: Duration = Duration::from_millis(2);

/// How long the end of a test waits for stalls that have just ended to be told.
const SETTLE_LIMIT: Duration = Duration::from_millis(500);

/// How long it waits for their stacks to be named. The first name out of a large test program may take seconds.
const EXPLAIN_LIMIT: Duration = Duration::from_secs(20);

/// Describes what a test's runtime may do; see the [module](super).
#[derive(Clone, Debug)]
#[must_use = "a guard watches what is given to block_on, block_on_with or guard"]
pub struct Guard {
    rules: Rules,
    warn_only: bool,
}

impl Default for Guard {
    fn default() -> Self {
        Self::new()
    }
}

impl Guard {
    /// No poll may take 50 ms or longer.
    pub fn new() -> Self {
        let rules = Rules { threshold: DEFAULT_THRESHOLD, budget: None, functions: Vec::new() };
        Self { rules, warn_only: false }
    }

    /// From how long on one poll fails the test: 50 ms unless set, at least 1 ms.
    pub fn threshold(mut self, threshold: Duration) -> Self {
        self.rules.threshold = threshold.max(Duration::from_millis(1));
        self
    }

    /// How long all polls of at least 2 ms may take together. Many short holds make a service as slow as a long one.
    pub fn budget(mut self, total: Duration) -> Self {
        self.rules.budget = Some((total, DEFAULT_BUDGET_FROM));
        self
    }

    /// Lets stalls pass whose stack goes through a function with this in its name, such as `my_crate::migrate`.
    pub fn allow_function(mut self, name: impl Into<String>, reason: impl Into<String>) -> Self {
        self.rules.functions.push((name.into(), reason.into()));
        self
    }

    /// Prints what it would fail for to standard error, and lets the test pass.
    pub fn warn_only(mut self) -> Self {
        self.warn_only = true;
        self
    }

    /// Runs a future on a current-thread runtime of its own.
    ///
    /// # Panics
    /// When the runtime was held up; when it cannot be built; when stalls are not noticed in this environment.
    #[track_caller]
    pub fn block_on<F: Future>(self, future: F) -> F::Output {
        self.block_on_with(tokio::runtime::Builder::new_current_thread().enable_all(), future)
    }

    /// Runs a future on the runtime that this builder makes.
    ///
    /// # Panics
    /// As [`block_on`](Self::block_on).
    #[track_caller]
    pub fn block_on_with<F: Future>(self, builder: &mut tokio::runtime::Builder, future: F) -> F::Output {
        let watching = self.start();
        let runtime = watching.watch.runtime(builder).unwrap_or_else(|error| panic!("{error}"));
        let output = runtime.block_on(future);
        // What still runs may hold it up too, but is not waited for: a test ends with its future.
        runtime.shutdown_background();
        watching.end();
        output
    }

    /// Guards a future inside a runtime that somebody else built, such as that of `#[tokio::test]`. It is meant for the
    /// outermost future, which stays on one thread.
    ///
    /// # Panics
    /// When the future is done, if it held up its thread; at the first poll, when stalls are not noticed in this
    /// environment.
    #[track_caller]
    pub fn guard<F: Future>(self, future: F) -> Guarded<F> {
        Guarded::new(self, future)
    }

    #[track_caller]
    pub(super) fn start(self) -> Watching {
        self.start_after(self_test())
    }

    #[track_caller]
    fn start_after(self, self_test: Result<(), String>) -> Watching {
        if let Err(problem) = self_test {
            let text = format!("holdup cannot guard tests here: {problem}");
            assert!(self.warn_only, "{text}");
            eprintln!("{text}");
        }
        self.start_untested().unwrap_or_else(|error| panic!("holdup cannot guard this test: {error}"))
    }

    pub(super) fn start_untested(self) -> Result<Watching, crate::error::Error> {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let told = Arc::clone(&seen);
        let from = self.rules.budget.map_or(self.rules.threshold, |(_, from)| from.min(self.rules.threshold));
        let watch = Watch::builder()
            .threshold(from)
            .print(Print::Never)
            .on_stall(move |event| lock(&told).take(event))
            .start()?;
        Ok(Watching { watch, seen, guard: self })
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A test that is being watched.
#[derive(Debug)]
pub(super) struct Watching {
    pub(super) watch: Watch,
    seen: Arc<Mutex<Seen>>,
    guard: Guard,
}

impl Watching {
    /// Fails the test if its runtime was held up.
    #[track_caller]
    pub(super) fn end(self) {
        let warn_only = self.guard.warn_only;
        let verdict = self.judge();
        for warning in &verdict.warnings {
            eprintln!("holdup: {warning}");
        }
        match verdict.held_up {
            Some(held_up) if warn_only => eprintln!("holdup: {held_up}"),
            Some(held_up) => fail(&held_up),
            None => {}
        }
    }

    /// Waits until everything that happened is told, and judges it.
    pub(super) fn judge(self) -> Verdict {
        let Self { watch, seen, guard } = self;
        let limit = Instant::now() + SETTLE_LIMIT;
        // The watchdog sees the end of the last poll at its next look.
        std::thread::sleep(Duration::from_millis(3));
        while Instant::now() < limit && (watch.counters().stalls > lock(&seen).len() || !lock(&seen).all_ended()) {
            std::thread::sleep(Duration::from_millis(2));
        }
        let registry = watch.registry_key();
        watch.finish(EXPLAIN_LIMIT);
        Verdict::of(&lock(&seen), &guard.rules, &allowed::take(registry))
    }
}

#[track_caller]
fn fail(held_up: &HeldUp) -> ! {
    panic!("{held_up}")
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn where_nothing_would_be_noticed_no_test_passes_unnoticed() {
        let blind = || Err("nobody looks".to_owned());
        let panic =
            catch_unwind(AssertUnwindSafe(|| Guard::new().start_after(blind()))).expect_err("it does not start");
        let text = panic.downcast_ref::<String>().map(String::as_str);
        assert_eq!(text, Some("holdup cannot guard tests here: nobody looks"));
        let warns = Guard::new().warn_only().start_after(blind());
        assert!(warns.judge().held_up.is_none(), "it starts all the same");
    }
}
