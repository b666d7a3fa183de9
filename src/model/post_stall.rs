//! What a worker polled right after a stall, as it told itself. Who of them were victims is decided in `stalls`.

use std::time::{Duration, Instant};

use super::task::Task;

/// Where a task was queued that a worker polls after a stall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queued {
    /// In the worker's own queue when the stall ended: how many were before it.
    Own(usize),
    /// In the one place before that queue (Tokio's LIFO slot), which tells nobody that it is taken.
    Next,
    /// In the queue that all workers share, likewise.
    Shared(usize),
    /// Anywhere else: it came later, or was taken from another worker.
    Elsewhere,
}

/// A poll after a stall.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PolledAfter {
    pub(crate) task: Task,
    pub(crate) at: Instant,
    pub(crate) queued: Queued,
    /// How long it was ready by then, where Tokio tells.
    pub(crate) delay: Option<Duration>,
}

/// What a worker did after a stall.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PostStallPolls {
    /// When the stall ended.
    pub(crate) ended: Instant,
    /// How many tasks were in the worker's own queue then.
    pub(crate) own: usize,
    /// And in the shared one.
    pub(crate) shared: usize,
    /// Those that had been queued.
    pub(crate) polls: Vec<PolledAfter>,
    /// Polls of tasks that had been queued, for which there was no room.
    pub(crate) dropped: u64,
    /// Tasks that had been in the worker's own queue, and are not polled yet: where the first of them stood, and how many.
    pub(crate) own_left: (usize, usize),
    /// Likewise of those in the shared queue.
    pub(crate) shared_left: (usize, usize),
}

/// How far following a worker has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Followed {
    /// It may still poll a task that waited.
    NotYet,
    /// It was not seen to end the stall.
    Missed,
    Seen(PostStallPolls),
}
