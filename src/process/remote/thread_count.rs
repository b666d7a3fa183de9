//! The number of threads of another process: the limit, and when to list them again. Counting threads costs far less than
//! listing them.

use std::time::{Duration, Instant};

use crate::sys::Process;

/// Threads of one process that are listed or sampled at most. Of a process with more, the rest is left out.
pub(super) const MAX_REMOTE_THREADS: usize = 4096;

/// The interval between two lists while the number of threads stays the same.
const LIST_INTERVAL: Duration = Duration::from_secs(1);

/// The time of the last list and the number of threads at that time.
#[derive(Debug, Default)]
pub(super) struct ThreadCount {
    listed: Option<(Instant, Option<u64>)>,
}

impl ThreadCount {
    /// Whether the number of threads has changed or the last list is old. If so, the caller lists the threads again.
    pub(super) fn changed(&mut self, process: Process, now: Instant) -> bool {
        let count = process.thread_count();
        let same = |(at, before): (Instant, Option<u64>)| before == count && now.duration_since(at) < LIST_INTERVAL;
        let changed = !self.listed.is_some_and(same);
        if changed {
            self.listed = Some((now, count));
        }
        changed
    }
}
