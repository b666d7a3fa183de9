//! The untyped workers as the watchdog last sampled them.

use std::collections::BTreeMap;
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
    unseen: Mutex<Vec<(Unseen, usize)>>,
}

/// Why a thread may run a scheduler although none was found on its stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Unseen {
    /// Its stack was never taken.
    NoStack,
    /// Its stack could not be followed to the thread's first function.
    CutStack,
    /// The process has too many threads.
    LeftOut,
}

impl Unseen {
    /// The reason, as the end of a sentence.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::NoStack => "its stack could not be taken",
            Self::CutStack => "its stack could not be followed to its end",
            Self::LeftOut => "the process has more threads than are looked at",
        }
    }
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

    /// The threads that may run a scheduler and were not seen, by the reason.
    pub(crate) fn unseen(&self) -> Vec<(Unseen, usize)> {
        self.unseen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the threads that were not seen.
    pub(super) fn note_unseen(&self, left_out: usize, threads: impl Iterator<Item = Unseen>) {
        let mut counts = BTreeMap::from([(Unseen::LeftOut, left_out)]);
        for why in threads {
            *counts.entry(why).or_default() += 1;
        }
        let counts = counts.into_iter().filter(|(_, threads)| *threads > 0);
        *self.unseen.lock().unwrap_or_else(PoisonError::into_inner) = counts.collect();
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
