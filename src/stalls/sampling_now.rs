//! What the watchdog is at, for the thread that sees that the watchdog is stuck. Nothing here allocates.

use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The samples of the watchdog as they are taken.
#[derive(Debug)]
pub(crate) struct SamplingNow {
    start: Instant,
    /// When the sample began, in nanoseconds since `start`. 0 between two samples.
    since: AtomicU64,
    /// The thread that the sample looks at. 0: none.
    looks_at: AtomicI32,
}

impl Default for SamplingNow {
    fn default() -> Self {
        let (since, looks_at) = Default::default();
        Self { start: Instant::now(), since, looks_at }
    }
}

impl SamplingNow {
    pub(super) fn begin(&self) {
        let since = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.looks_at.store(0, Ordering::Relaxed);
        self.since.store(since.max(1), Ordering::Relaxed);
    }

    pub(super) fn look_at(&self, tid: i32) {
        self.looks_at.store(tid, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        self.since.store(0, Ordering::Relaxed);
    }

    /// How long the present sample takes. `None` between two samples.
    pub(crate) fn lasts(&self) -> Option<Duration> {
        let since = Some(self.since.load(Ordering::Relaxed)).filter(|since| *since != 0)?;
        Some(self.start.elapsed().saturating_sub(Duration::from_nanos(since)))
    }

    /// The thread that the present sample looks at.
    pub(crate) fn looks_at(&self) -> Option<i32> {
        Some(self.looks_at.load(Ordering::Relaxed)).filter(|tid| *tid != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_sample_lasts() {
        let now = SamplingNow::default();
        assert_eq!((now.lasts(), now.looks_at()), (None, None));
        now.begin();
        now.look_at(8);
        assert!(now.lasts().is_some());
        assert_eq!(now.looks_at(), Some(8));
        now.end();
        assert_eq!(now.lasts(), None);
        now.begin();
        assert_eq!(now.looks_at(), None, "the next sample has looked at no thread yet");
    }
}
