//! Blocks that are allowed to stall the runtime, each for a given reason.

use std::panic::Location;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use crate::probe;

/// The limit of recorded blocks. Further ones are not allowed to stall.
const MAX_BLOCKS: usize = 100_000;

/// An allowed block that has ended.
#[derive(Clone, Debug)]
pub(super) struct AllowedBlock {
    /// The registry of the watch to which the thread belongs.
    registry: usize,
    pub(super) tid: i32,
    pub(super) start: SystemTime,
    pub(super) end: SystemTime,
    pub(super) reason: &'static str,
    pub(super) location: &'static Location<'static>,
}

/// Each block is kept until the guard of its test ends.
static BLOCKS: Mutex<Vec<AllowedBlock>> = Mutex::new(Vec::new());

fn blocks() -> MutexGuard<'static, Vec<AllowedBlock>> {
    BLOCKS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a block that may stall the runtime, for the given reason. The guard of the test does not count its time.
/// Without a guard, it only runs the block.
///
/// ```
/// let config = holdup::testing::allow("read once at start, before anything else runs", || std::fs::read("/dev/null"));
/// # config.unwrap();
/// ```
#[track_caller]
pub fn allow<R>(reason: &'static str, block: impl FnOnce() -> R) -> R {
    let location = Location::caller();
    let Some((registry, tid)) = probe::current_watch() else { return block() };
    // A guard, because the block may panic and the test may expect that.
    let _running = RunningBlock { registry, tid, start: SystemTime::now(), reason, location };
    block()
}

struct RunningBlock {
    registry: usize,
    tid: i32,
    start: SystemTime,
    reason: &'static str,
    location: &'static Location<'static>,
}

impl Drop for RunningBlock {
    fn drop(&mut self) {
        let Self { registry, tid, start, reason, location } = *self;
        let mut blocks = blocks();
        if blocks.len() < MAX_BLOCKS {
            blocks.push(AllowedBlock { registry, tid, start, end: SystemTime::now(), reason, location });
        }
    }
}

impl AllowedBlock {
    #[cfg(test)]
    #[track_caller]
    pub(super) fn new(tid: i32, start: SystemTime, end: SystemTime, reason: &'static str) -> Self {
        Self { registry: 0, tid, start, end, reason, location: Location::caller() }
    }

    /// The part of the time between two moments that lies in the block.
    pub(super) fn overlap(&self, start: SystemTime, end: SystemTime) -> Duration {
        self.end.min(end).duration_since(self.start.max(start)).unwrap_or_default()
    }
}

/// Removes and returns the blocks that ran on the threads of one watch.
pub(super) fn take(registry: usize) -> Vec<AllowedBlock> {
    blocks().extract_if(.., |block| block.registry == registry).collect()
}
