//! What is to be known beside the watchdog of the workers of a program that describes no types.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::model::worker::Worker;

/// The workers as the watchdog found them, for whoever asks.
#[derive(Debug, Default)]
pub(crate) struct SilentFound {
    workers: Mutex<Vec<SilentWorker>>,
    /// Only polls that sleep are seen.
    no_breakpoints: AtomicBool,
}

/// One of them, at the last look.
#[derive(Clone, Debug)]
pub(crate) struct SilentWorker {
    pub(crate) worker: Arc<Worker>,
    /// Waits for something to do, as far as is known.
    pub(crate) parked: bool,
    /// How long it has run, or slept inside a poll, since it was found.
    pub(crate) awake: Duration,
}

impl SilentFound {
    /// The workers of multi-thread runtimes, threads that run a current-thread one, and those in `block_on`.
    pub(crate) fn workers(&self) -> Vec<SilentWorker> {
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
    pub(super) fn breakpoint(&self, refused: bool) {
        self.no_breakpoints.fetch_or(refused, Ordering::Relaxed);
    }

    /// Others are there now.
    pub(super) fn take_over(&self, workers: &[Arc<Worker>]) {
        let found =
            |worker: &Arc<Worker>| SilentWorker { worker: Arc::clone(worker), parked: false, awake: Duration::ZERO };
        *self.lock() = workers.iter().map(found).collect();
    }

    /// How each of them stood at the last look, in the same order.
    pub(super) fn looked(&self, states: impl Iterator<Item = (bool, Duration)>) {
        for (found, (parked, awake)) in self.lock().iter_mut().zip(states) {
            (found.parked, found.awake) = (parked, awake);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<SilentWorker>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
