//! The untyped workers as the watchdog last sampled them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::model::worker::Worker;

/// The untyped workers, for readers on other threads.
#[derive(Debug, Default)]
pub(crate) struct UntypedSnapshot {
    workers: Mutex<Vec<UntypedWorker>>,
    /// The kernel refuses breakpoints, so only polls that sleep are seen.
    no_breakpoints: AtomicBool,
}

/// One worker at the last sample.
#[derive(Clone, Debug)]
pub(crate) struct UntypedWorker {
    pub(crate) worker: Arc<Worker>,
    /// Whether the worker is parked, as far as is known.
    pub(crate) parked: bool,
    /// Time running or asleep inside a poll, since the worker was found.
    pub(crate) awake: Duration,
}

impl UntypedSnapshot {
    /// Workers of multi-thread runtimes, threads that run a current-thread runtime, and threads in `block_on`.
    pub(crate) fn workers(&self) -> Vec<UntypedWorker> {
        self.lock().clone()
    }

    /// The number of workers, without threads in `block_on`.
    pub(crate) fn count(&self) -> usize {
        self.lock().iter().filter(|found| found.worker.index.is_some()).count()
    }

    /// Whether the kernel has refused a breakpoint.
    pub(crate) fn no_breakpoints(&self) -> bool {
        self.no_breakpoints.load(Ordering::Relaxed)
    }

    /// Notes the outcome of setting a breakpoint.
    pub(super) fn note_breakpoint(&self, refused: bool) {
        self.no_breakpoints.fetch_or(refused, Ordering::Relaxed);
    }

    /// Replaces all workers at once, so that readers never see a partial update.
    pub(super) fn replace(&self, workers: impl Iterator<Item = UntypedWorker>) {
        let mut list = self.lock();
        list.clear();
        list.extend(workers);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<UntypedWorker>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
