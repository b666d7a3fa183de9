//! What each worker did in the last minutes, in bins of equal width.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::worker::Worker;

/// The width of a bin.
pub(crate) const BIN: Duration = Duration::from_millis(250);

/// Bins of a lane: five minutes.
pub(crate) const MAX_BINS: u64 = 1200;

/// Lanes at most. With all bins they take some megabytes.
pub(crate) const MAX_LANES: usize = 256;

/// What a worker did in one bin. The rest of the bin it was parked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LaneBin {
    /// The percentage of the bin in polls.
    pub(crate) polling: u8,
    /// The percentage between two polls.
    pub(crate) between: u8,
    /// The percentage in polls that had crossed the threshold; a part of `polling`.
    pub(crate) stalled: u8,
    /// The number of a task that was polled, in [`Lanes::tasks`].
    pub(crate) task: Option<u8>,
    /// The longest poll so far, in milliseconds.
    pub(crate) longest_poll_ms: u32,
}

/// One worker's bins.
#[derive(Clone, Debug)]
pub(crate) struct Lane {
    pub(crate) worker: Arc<Worker>,
    /// The number of the first bin.
    pub(crate) first: u64,
    pub(crate) bins: VecDeque<LaneBin>,
}

/// The bins of every worker.
#[derive(Clone, Debug)]
pub(crate) struct Lanes {
    /// When bin 0 began.
    pub(crate) origin: SystemTime,
    /// The number of the first bin.
    pub(crate) first: u64,
    /// The number of the bin after the last one.
    pub(crate) next: u64,
    pub(crate) lanes: Vec<Lane>,
    /// The tasks of the bins: their names, or where they were spawned.
    pub(crate) tasks: Vec<Arc<str>>,
    /// Workers that found no room.
    pub(crate) left_out: u64,
}

impl Lanes {
    /// Nothing is known yet.
    pub(crate) fn new(origin: SystemTime) -> Self {
        Self { origin, first: 0, next: 0, lanes: Vec::new(), tasks: Vec::new(), left_out: 0 }
    }
}

impl Lane {
    /// The lane from a bin on. `None` if it ends before.
    pub(crate) fn since(&self, bin: u64) -> Option<Self> {
        let skipped = usize::try_from(bin.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let bins: VecDeque<LaneBin> = self.bins.iter().skip(skipped).copied().collect();
        (!bins.is_empty()).then(|| Self { worker: Arc::clone(&self.worker), first: self.first.max(bin), bins })
    }
}
