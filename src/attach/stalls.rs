//! Stalls of another process.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use super::error::AttachError;
use super::open_process::OpenProcess;
use super::stall_watch::{Observer, WatchRequest, watch};
use super::watching::Watching;
use crate::model::census::unseen_threads;
use crate::model::stall::{Phase, Stall, StallEvent, Stalls};
use crate::model::thread_stops::ThreadStops;

/// The longest time between two reports to the caller.
const REPORT_INTERVAL: Duration = Duration::from_millis(200);

/// Stalls that began or ended, on their way to the caller.
const MAX_CHANGES: usize = 1024;

/// The state of a watch on another process.
///
/// # Examples
/// ```no_run
/// use std::time::Duration;
///
/// let process = holdup::attach::Process::open(4242)?;
/// let watched = process.stalls(Duration::from_millis(10), Duration::from_secs(5))?;
/// println!("{} workers, {} stalls", watched.workers, watched.stalls.counters.stalls);
/// # Ok::<(), holdup::attach::AttachError>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct WatchedStalls {
    /// The stalls so far.
    pub stalls: Stalls,
    /// Whether the process has ended, or runs another program now.
    pub gone: bool,
    /// The number of workers that were found.
    pub workers: usize,
    /// Why the state of some threads is unknown, as sentences.
    pub unknown_threads: Vec<String>,
    /// The number of threads that may run a worker and could not be seen.
    pub unseen_threads: usize,
    /// How often a thread of the process was stopped to read its stack or registers.
    pub thread_stops: u64,
    /// The longest time that a thread was stopped.
    pub longest_stop: Duration,
    /// The same, as a sentence.
    pub(crate) stops: ThreadStops,
    /// What limits the view of the process, as sentences that name the remedy.
    pub notes: Vec<String>,
    /// Each stall that began or ended since the last report, in order, as it was then.
    pub changes: Vec<Stall>,
    /// The number of changes that came too fast and are lost.
    pub changes_lost: u64,
}

impl WatchedStalls {
    pub(crate) fn of(watching: &Watching<'_, '_>) -> Self {
        let (found, stops) = (watching.found(), watching.stops.so_far());
        Self {
            stalls: watching.log.stalls(),
            gone: watching.gone(),
            workers: found.workers,
            unseen_threads: found.unseen,
            thread_stops: stops.threads,
            longest_stop: stops.longest,
            stops,
            notes: watching.notes().into_iter().chain(unseen_threads(found.unseen)).collect(),
            unknown_threads: found.unknown,
            changes: Vec::new(),
            changes_lost: 0,
        }
    }
}

/// Watches until `report` ends it, or the process has ended. `report` is called a few times a second, and whenever a stall
/// begins or ends.
///
/// # Errors
/// When the memory of the process cannot be read, or nothing shows its workers.
pub(crate) fn watch_stalls(
    open: &OpenProcess,
    threshold: Duration,
    report: &mut dyn FnMut(&WatchedStalls) -> ControlFlow<()>,
) -> Result<WatchedStalls, AttachError> {
    let (send, changes) = mpsc::sync_channel(MAX_CHANGES);
    let lost = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&lost);
    let collect = move |event: &StallEvent<'_>| {
        // A stall that is announced at its end is one change.
        let is_change = match event.phase {
            Phase::Noticed => !event.stall.ended,
            Phase::Updated => false,
            Phase::Ended => true,
        };
        if is_change && send.try_send(event.stall.clone()).is_err() {
            count.fetch_add(1, Ordering::Relaxed);
        }
    };
    // The observer waits for changes instead.
    let interval = Duration::ZERO;
    let request = WatchRequest { threshold, interval, callback: Some(Arc::new(collect)) };
    watch(open, request, &mut StallObserver { changes, lost, report })
}

struct StallObserver<'r> {
    changes: Receiver<Stall>,
    lost: Arc<AtomicU64>,
    report: &'r mut dyn FnMut(&WatchedStalls) -> ControlFlow<()>,
}

impl StallObserver<'_> {
    fn state(&self, watching: &Watching<'_, '_>, first: Option<Stall>) -> WatchedStalls {
        WatchedStalls {
            changes: first.into_iter().chain(self.changes.try_iter()).collect(),
            changes_lost: self.lost.load(Ordering::Relaxed),
            ..WatchedStalls::of(watching)
        }
    }
}

impl Observer for StallObserver<'_> {
    type Summary = WatchedStalls;

    fn check(&mut self, watching: &Watching<'_, '_>) -> ControlFlow<()> {
        let first = self.changes.recv_timeout(REPORT_INTERVAL).ok();
        let state = self.state(watching, first);
        (self.report)(&state)
    }

    fn finish(&mut self, watching: &Watching<'_, '_>) -> WatchedStalls {
        self.state(watching, None)
    }
}
