//! A running watch on another process: what may be asked while it lasts.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::live_reader::LiveReader;
use super::remedies::NO_BREAKPOINTS;
use super::worker_finder::{TypedWorkerFinder, WorkersFound};
use crate::process::{RemoteProcess, Stops, TypedWorkers, UntypedSnapshot, UntypedWorker};
use crate::report::StallLog;
use crate::sys::Process;

/// A watch on another process, as long as it lasts.
pub(crate) struct Watching<'w, 'd> {
    pub(crate) log: &'w StallLog,
    pub(crate) process: Process,
    pub(crate) stops: Stops,
    pub(crate) missing: &'w [String],
    pub(crate) gone: &'w AtomicBool,
    pub(crate) workers: WorkerSight<'w, 'd>,
}

/// How workers are seen.
pub(crate) enum WorkerSight<'w, 'd> {
    /// Through descriptions of types.
    Typed {
        finder: &'w TypedWorkerFinder<'w, 'd>,
        /// The address where the program begins in memory.
        start: u64,
        /// A second view of the workers, for samples beside the watchdog's. Opened when it is first needed.
        beside: RefCell<Option<Box<TypedWorkers<'w>>>>,
    },
    /// Through stacks: what the watchdog has found.
    Untyped(Arc<UntypedSnapshot>),
}

impl<'d> Watching<'_, 'd> {
    /// Whether the process has ended, or runs another program now.
    pub(crate) fn gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// A reader of tasks; `None` without descriptions of types.
    pub(crate) fn reader(&self) -> Option<&LiveReader<'_, 'd>> {
        match &self.workers {
            WorkerSight::Typed { finder, .. } => Some(&finder.reader),
            WorkerSight::Untyped(_) => None,
        }
    }

    /// The workers that the watchdog has found by stacks; `None` with descriptions of types.
    pub(crate) fn untyped_workers(&self) -> Option<Vec<UntypedWorker>> {
        match &self.workers {
            WorkerSight::Typed { .. } => None,
            WorkerSight::Untyped(found) => Some(found.workers()),
        }
    }

    /// Samples workers independently of the watchdog; `None` once the process is gone, and without descriptions of types.
    pub(crate) fn with_workers<R>(&self, sample: impl FnOnce(&mut TypedWorkers<'_>) -> R) -> Option<R> {
        let WorkerSight::Typed { finder, start, beside } = &self.workers else { return None };
        let mut beside = beside.borrow_mut();
        if beside.is_none() {
            let remote = RemoteProcess::open(self.process, *start, self.stops.clone()).ok()?;
            *beside = Some(Box::new(TypedWorkers::new(remote, *finder)));
        }
        beside.as_deref_mut().map(sample)
    }

    /// The workers that were found, and why others were not.
    pub(crate) fn found(&self) -> WorkersFound {
        match &self.workers {
            WorkerSight::Typed { finder, .. } => finder.last(),
            WorkerSight::Untyped(found) => {
                let unseen = found.unseen();
                WorkersFound {
                    workers: found.count(),
                    unknown: unseen.iter().map(|(why, _)| why.as_str().to_owned()).collect(),
                    unseen: unseen.iter().map(|(_, threads)| threads).sum(),
                }
            }
        }
    }

    /// What limits the view of the process, as sentences.
    pub(crate) fn notes(&self) -> Vec<String> {
        let mut notes = self.missing.to_vec();
        if let WorkerSight::Untyped(found) = &self.workers
            && found.no_breakpoints()
        {
            notes.push(NO_BREAKPOINTS.to_owned());
        }
        notes
    }
}
