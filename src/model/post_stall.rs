//! What a worker polled right after a stall. `stalls` decides which of these tasks were victims.

use std::time::{Duration, Instant};

use super::task::Task;

/// The queue that a task came from when a worker polled it after a stall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queued {
    /// The worker's own queue at the end of the stall, with the number of tasks before it.
    Own(usize),
    /// Tokio's LIFO slot, which no metric covers.
    Next,
    /// The queue shared by all workers, with the number of tasks before it.
    Shared(usize),
    /// Elsewhere: the task became ready later, or was stolen from another worker.
    Elsewhere,
}

/// A poll after a stall.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PolledAfter {
    pub(crate) task: Task,
    pub(crate) at: Instant,
    pub(crate) queued: Queued,
    /// How long the task had been ready, if Tokio reports it.
    pub(crate) delay: Option<Duration>,
}

/// The polls of a worker after a stall.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PostStallPolls {
    /// When the stall ended.
    pub(crate) ended: Instant,
    /// The length of the worker's own queue at that time.
    pub(crate) own: usize,
    /// The length of the shared queue at that time.
    pub(crate) shared: usize,
    /// The polls of tasks that had been queued.
    pub(crate) polls: Vec<PolledAfter>,
    /// The number of such polls that did not fit.
    pub(crate) dropped: u64,
    /// Tasks of the worker's own queue that are not polled yet: the position of the first, and their number.
    pub(crate) own_left: (usize, usize),
    /// The same for the shared queue.
    pub(crate) shared_left: (usize, usize),
}

/// The state of a post-stall recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Followed {
    /// The worker may still poll a task that waited.
    NotYet,
    /// The end of the stall was not seen.
    Missed,
    Seen(PostStallPolls),
}
