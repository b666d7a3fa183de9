//! What the parts of a watch share, and what faces may ask. Faces know nothing of the parts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
#[cfg(feature = "http")]
use std::time::{Instant, SystemTime};

use super::profiling::Profiling;
use super::task_window::TaskWindow;
use crate::error::Error;
use crate::model::check::SelfCheck;
use crate::model::stall::{Counters, Stalls};
use crate::model::worker::WorkerNow;
use crate::probe::{Registry, Runtimes};
use crate::process::PollStarts;
use crate::report::History;
use crate::stalls::Totals;
use crate::symbols::Symbolizer;
use crate::sys::StackSignal;

/// The state of a watch.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) registry: Arc<Registry>,
    pub(crate) since: Arc<PollStarts>,
    pub(crate) totals: Arc<Totals>,
    pub(crate) stacks_missed: Arc<AtomicU64>,
    pub(crate) history: Mutex<History>,
    pub(crate) self_check: SelfCheck,
    pub(crate) threshold: Duration,
    /// Names for addresses, shared by all who need them, so that each is looked up once. Lock it for one stack at a
    /// time: the reporter waits for it.
    pub(crate) symbolizer: Mutex<Symbolizer>,
    pub(crate) program: Arc<str>,
    #[cfg(feature = "http")]
    pub(crate) started: (Instant, SystemTime),
    pub(crate) profiling: Profiling,
    pub(crate) runtimes_seen: Arc<Runtimes>,
    /// Gone once the watch is dropped, which its runtimes may outlive.
    pub(crate) signal: Weak<StackSignal>,
    /// Crates of futures given to `block_on`, for the symbolizer.
    pub(crate) user_crates: Mutex<Vec<String>>,
    pub(crate) runtimes: AtomicU64,
}

impl View {
    /// Of a watch that has seen nothing yet.
    pub(crate) fn new(
        threshold: Duration,
        symbolizer: Symbolizer,
        program: Arc<str>,
        self_check: SelfCheck,
        signal: Weak<StackSignal>,
    ) -> Self {
        Self {
            registry: Arc::default(),
            since: Arc::default(),
            totals: Arc::default(),
            stacks_missed: Arc::default(),
            history: Mutex::default(),
            self_check,
            threshold,
            symbolizer: symbolizer.into(),
            program,
            #[cfg(feature = "http")]
            started: (Instant::now(), SystemTime::now()),
            profiling: Profiling::default(),
            runtimes_seen: Arc::default(),
            signal,
            user_crates: Mutex::default(),
            runtimes: AtomicU64::new(0),
        }
    }

    pub(crate) fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The symbolizer, told of every crate that is known to be the user's.
    pub(crate) fn symbolizer(&self) -> MutexGuard<'_, Symbolizer> {
        let crates = self.user_crates.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut symbolizer = self.names();
        for name in &crates {
            symbolizer.add_user_crate(name);
        }
        symbolizer
    }

    /// The symbolizer as it is, for whoever has just asked for [`symbolizer`](Self::symbolizer).
    pub(crate) fn names(&self) -> MutexGuard<'_, Symbolizer> {
        self.symbolizer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn next_runtime_name(&self) -> Arc<str> {
        format!("runtime-{}", self.runtimes.fetch_add(1, Ordering::Relaxed) + 1).into()
    }

    /// See [`Watch::stalls`](crate::Watch::stalls).
    pub(crate) fn stalls(&self) -> Stalls {
        let entries = self.history().entries();
        Stalls { entries, counters: self.counters() }
    }

    /// See [`Watch::counters`](crate::Watch::counters).
    pub(crate) fn counters(&self) -> Counters {
        let told = self.history().counters();
        Counters {
            stalls: self.totals.noticed.load(Ordering::Relaxed).saturating_sub(told.dismissed),
            unexplained: self.totals.lost.load(Ordering::Relaxed),
            stacks_missed: self.stacks_missed.load(Ordering::Relaxed),
            ..told
        }
    }

    /// See [`Watch::workers`](crate::Watch::workers).
    pub(crate) fn workers(&self) -> Vec<WorkerNow> {
        self.since.workers_now(&self.registry)
    }

    /// Starts to count polls.
    pub(crate) fn count_tasks(&self) -> Result<TaskWindow, Error> {
        TaskWindow::open(Arc::clone(&self.registry))
    }

    /// How many tasks each runtime has.
    #[cfg(feature = "http")]
    pub(crate) fn alive_tasks(&self) -> Vec<(Arc<str>, usize)> {
        self.runtimes_seen.alive_tasks()
    }

    /// What can be seen.
    #[cfg(feature = "http")]
    pub(crate) fn self_check(&self) -> &SelfCheck {
        &self.self_check
    }
}
