//! Whether the threads of another process are to be listed anew: counting them costs far less.

use std::time::{Duration, Instant};

use crate::sys::Process;

/// How often they are listed where there are as many as before.
const LIST_EVERY: Duration = Duration::from_secs(1);

/// How many there were when they were listed last.
#[derive(Debug, Default)]
pub(in crate::process) struct ThreadCount {
    listed: Option<(Instant, Option<u64>)>,
}

impl ThreadCount {
    /// Whether there are more or fewer by now, or the last list is old. They are then listed.
    pub(in crate::process) fn changed(&mut self, process: Process, now: Instant) -> bool {
        let count = process.thread_count();
        let same = |(at, before): (Instant, Option<u64>)| before == count && now.duration_since(at) < LIST_EVERY;
        let changed = !self.listed.is_some_and(same);
        if changed {
            self.listed = Some((now, count));
        }
        changed
    }
}
