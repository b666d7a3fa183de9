//! The state of a watch inside its own process: what its parts share, and what the endpoint may ask.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
#[cfg(feature = "http")]
use std::time::{Instant, SystemTime};

#[cfg(feature = "http")]
use super::number_history::NumberHistory;
use super::profile_sessions::Sessions;
use super::task_window::TaskWindow;
use crate::error::Error;
use crate::model::check::SelfCheck;
#[cfg(feature = "http")]
use crate::model::task_stats::RuntimeTasks;
use crate::model::worker::WorkerNow;
use crate::probe::{Registry, Runtimes};
use crate::process::{PollExamples, PollStarts};
use crate::report::StallLog;
use crate::sys::StackSignal;

/// The state of a watch.
#[derive(Debug)]
pub(crate) struct WatchState {
    pub(crate) log: Arc<StallLog>,
    /// The watched workers. Workers write to it, the watchdog and profilers read it.
    pub(crate) registry: Arc<Registry>,
    /// When each worker began what it does now, written by the watchdog.
    pub(crate) since: Arc<PollStarts>,
    /// Stacks from inside polls, written by workers at their start and read by the watchdog.
    pub(crate) poll_examples: Arc<PollExamples>,
    pub(crate) self_check: SelfCheck,
    #[cfg(feature = "http")]
    pub(crate) started: (Instant, SystemTime),
    /// Profiles that are being collected.
    pub(crate) profiles: Sessions,
    /// Numbers of the last minutes, written by the endpoint.
    #[cfg(feature = "http")]
    pub(crate) numbers: NumberHistory,
    /// Watched runtimes, for the number of their tasks.
    pub(crate) runtimes: Arc<Runtimes>,
    /// Gone once the watch is dropped: its runtimes may outlive it.
    pub(crate) signal: Weak<StackSignal>,
    /// Answers for the heap while holdup does not sample it.
    #[cfg(feature = "heap")]
    pub(crate) jemalloc: Option<crate::heap::JemallocProfile>,
    unnamed_runtimes: AtomicU64,
    /// The file that keeps the peak of the heap, if one was asked for.
    #[cfg(feature = "heap")]
    pub(super) heap_peak: std::sync::OnceLock<std::path::PathBuf>,
}

impl WatchState {
    /// The state of a watch that has seen nothing yet.
    pub(crate) fn new(log: Arc<StallLog>, self_check: SelfCheck, signal: Weak<StackSignal>) -> Self {
        Self {
            log,
            registry: Arc::default(),
            since: Arc::default(),
            poll_examples: Arc::default(),
            self_check,
            #[cfg(feature = "http")]
            started: (Instant::now(), SystemTime::now()),
            profiles: Sessions::default(),
            #[cfg(feature = "http")]
            numbers: NumberHistory::default(),
            runtimes: Arc::default(),
            signal,
            #[cfg(feature = "heap")]
            jemalloc: None,
            unnamed_runtimes: AtomicU64::new(0),
            #[cfg(feature = "heap")]
            heap_peak: std::sync::OnceLock::new(),
        }
    }

    /// A name for a runtime that has none: `runtime-1`, `runtime-2` and so on.
    pub(crate) fn next_runtime_name(&self) -> Arc<str> {
        format!("runtime-{}", self.unnamed_runtimes.fetch_add(1, Ordering::Relaxed) + 1).into()
    }

    /// See [`Watch::workers`](crate::Watch::workers).
    pub(crate) fn workers(&self) -> Vec<WorkerNow> {
        self.since.workers_now(&self.registry)
    }

    /// Opens a window in which polls are counted.
    pub(crate) fn count_tasks(&self) -> Result<TaskWindow, Error> {
        TaskWindow::open(Arc::clone(&self.registry))
    }

    /// Each runtime with the number of its tasks.
    #[cfg(feature = "http")]
    pub(crate) fn runtime_tasks(&self) -> Vec<RuntimeTasks> {
        self.runtimes.tasks()
    }
}
