//! The workers of an observed process: their progress, their threads and their stacks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::sleep::Sleep;
use super::thread_sample::ThreadSample;
use crate::model::evidence::Throttling;
use crate::model::post_stall::Followed;
use crate::model::stack::{RawStack, StackUnavailable};
use crate::model::task::Task;
use crate::model::victims::VictimsUnknown;
use crate::model::worker::{Progress, Worker};

/// The workers of an observed process. A worker is named by its position in [`workers`](Self::workers).
pub(crate) trait WorkerSource {
    /// Updates the list of workers; returns whether it changed.
    fn refresh(&mut self) -> bool;

    /// The workers. Their order stays the same until `refresh` returns true.
    fn workers(&self) -> &[Arc<Worker>];

    /// A worker's progress. Cheap, because the watchdog reads it of every worker about once a millisecond.
    fn progress(&self, worker: usize) -> Progress;

    /// The task of the poll in `progress`, if that poll still runs.
    fn task(&self, worker: usize, progress: Progress) -> Option<Task>;

    /// Whether the worker's runtime has had a task. True where nothing shows it.
    fn has_had_tasks(&self, _worker: usize) -> bool {
        true
    }

    /// A sample of the worker's thread from the kernel's files.
    fn sample_thread(&mut self, worker: usize) -> ThreadSample;

    /// How much a CPU quota has held back the process so far. `None` without a quota.
    fn throttling(&mut self) -> Option<Throttling> {
        None
    }

    /// The thread's stack inside the poll in `progress`.
    fn capture_stack(&mut self, worker: usize, progress: Progress) -> Result<RawStack, StackUnavailable>;

    /// The thread's stack, also between two polls. A failure is not counted as a missed stack.
    ///
    /// This method and those up to `poll_in_stack` are used for uninstrumented workers only. Some sources have none.
    fn try_capture_stack(&mut self, worker: usize, progress: Progress) -> Result<RawStack, StackUnavailable> {
        self.capture_stack(worker, progress)
    }

    /// The thread's current sleep. Two equal values mean that the thread has not run in between.
    fn current_sleep(&mut self, _worker: usize) -> Option<Sleep> {
        None
    }

    /// Whether Tokio's thread-local context has changed since the previous sample; `None` if it cannot be read.
    /// It hints that a running worker has begun other work, which saves breakpoints.
    fn context_changed(&self, _worker: usize) -> Option<bool> {
        None
    }

    /// Sets breakpoints at the known return addresses of polls of the worker's runtime.
    ///
    /// # Errors
    /// When no return address is known, or the kernel refuses breakpoints.
    fn watch_poll_returns(&mut self, _worker: usize) -> Result<(), BreakpointError> {
        Err(BreakpointError::Refused)
    }

    /// Whether a poll has returned since its returns are watched; `None` without breakpoints.
    fn poll_returned(&self, _worker: usize) -> Option<bool> {
        None
    }

    /// The poll that a stack of this worker is inside of. Remembers its return address.
    fn poll_in_stack(&mut self, _worker: usize, _stack: &RawStack) -> PollInStack {
        PollInStack::None
    }

    /// Sets breakpoints at the known return addresses of polls by a `LocalSet`. Then `poll_returned` is about those polls.
    ///
    /// # Errors
    /// When no return address is known, or the kernel refuses breakpoints.
    fn watch_local_polls(&mut self, _worker: usize) -> Result<(), BreakpointError> {
        Err(BreakpointError::Refused)
    }

    /// The poll by a `LocalSet` that a stack of this worker is inside of. Remembers its return address.
    fn local_poll_in_stack(&mut self, _worker: usize, _stack: &RawStack) -> PollInStack {
        PollInStack::None
    }

    /// Whether the worker's present sleep is no park, whatever its stack shows.
    fn sleeps_outside_parks(&self, _worker: usize) -> bool {
        false
    }

    /// Lengths of the worker's local queue and of its runtime's global queue, where known.
    fn queue_lengths(&self, worker: usize) -> (Option<usize>, Option<usize>);

    /// Starts to record the polls of a worker that follow the poll in `progress`: those tasks had to wait for it.
    ///
    /// # Errors
    /// When this source cannot record them.
    fn record_post_stall(&mut self, _worker: usize, _progress: Progress) -> Result<(), VictimsUnknown> {
        Err(VictimsUnknown::Outside)
    }

    /// The recorded polls of the worker with this key, once the record is complete. `now` asks for the record as it is.
    /// The worker may have ended by then.
    fn post_stall_polls(&mut self, _key: u64, _progress: Progress, _now: bool) -> Followed {
        Followed::Missed
    }

    /// A sample of a worker, with the thread's stack if it is inside a poll. The poll need not be the one last seen.
    fn sample_worker(&mut self, worker: usize) -> WorkerSample;

    /// Publishes since when a worker has had its current `progress`.
    fn note_progress(&mut self, worker: usize, progress: Progress, since: Instant);

    /// Sleeps until a worker leaves its park, at most for the given time. Returns false at once if this source cannot
    /// be notified of that.
    fn sleep_until_active(&self, _at_most: Duration) -> bool {
        false
    }
}

/// Why returns of polls cannot be watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BreakpointError {
    /// No return address is known yet. A captured stack may show one.
    NoReturnAddress,
    /// The kernel refuses breakpoints, or they would not help.
    Refused,
}

/// The poll that a stack is inside of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PollInStack {
    /// No poll.
    None,
    /// Undecided: the unwind did not reach a scheduler.
    Unknown,
    /// A poll without a breakpoint at its return address.
    Unwatched,
    /// A poll with a breakpoint at its return address.
    Watched,
}

/// A sample of a worker.
#[derive(Debug)]
pub(crate) struct WorkerSample {
    pub(crate) progress: Progress,
    /// The polled task, if the stack belongs to the same poll.
    pub(crate) task: Option<Task>,
    /// Whether the thread slept in the kernel.
    pub(crate) asleep: bool,
    /// `None` between two polls.
    pub(crate) stack: Option<Result<RawStack, StackUnavailable>>,
}

/// Counts a failed capture in `missed`.
pub(super) fn count_missed(
    stack: Result<RawStack, StackUnavailable>,
    missed: &AtomicU64,
) -> Result<RawStack, StackUnavailable> {
    if stack.is_err() {
        missed.fetch_add(1, Ordering::Relaxed);
    }
    stack
}
