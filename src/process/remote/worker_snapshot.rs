//! What is to be known beside the watchdog of the workers of a program that describes no types.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::model::worker::Worker;

/// The workers as the watchdog found them, for whoever asks.
#[derive(Debug, Default)]
pub(crate) struct UntypedSnapshot {
    workers: Mutex<Vec<UntypedWorker>>,
    /// Only polls that sleep are seen.
    no_breakpoints: AtomicBool,
}

/// One of them, at the last look.
#[derive(Clone, Debug)]
pub(crate) struct UntypedWorker {
    pub(crate) worker: Arc<Worker>,
    /// Waits for something to do, as far as is known.
    pub(crate) parked: bool,
    /// How long it has run, or slept inside a poll, since it was found.
    pub(crate) awake: Duration,
}

impl UntypedSnapshot {
    /// The workers of multi-thread runtimes, threads that run a current-thread one, and those in `block_on`.
    pub(crate) fn workers(&self) -> Vec<UntypedWorker> {
        self.lock().clone()
    }

    /// The same without those in `block_on`, counted.
    pub(crate) fn count(&self) -> usize {
        self.lock().iter().filter(|found| found.worker.index.is_some()).count()
    }

    /// The kernel allows none.
    pub(crate) fn no_breakpoints(&self) -> bool {
        self.no_breakpoints.load(Ordering::Relaxed)
    }

    /// Whether it refused one.
    pub(in crate::process) fn breakpoint(&self, refused: bool) {
        self.no_breakpoints.fetch_or(refused, Ordering::Relaxed);
    }

    /// All of them as they stood at the last look, in one go: whoever asks never sees one that has just begun to count.
    pub(in crate::process) fn tell(&self, workers: impl Iterator<Item = UntypedWorker>) {
        let mut list = self.lock();
        list.clear();
        list.extend(workers);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<UntypedWorker>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
