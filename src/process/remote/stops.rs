//! Stops of another process's threads: whether they are allowed, how many there were, and the longest one.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::model::thread_stops::ThreadStops;
use crate::sys::{self, StopError, Stopped};

/// The stops of one observation. Copies share one record.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stops(Arc<Record>);

#[derive(Debug, Default)]
struct Record {
    forbidden: bool,
    threads: AtomicU64,
    /// In nanoseconds.
    longest: AtomicU64,
    /// A thread was not stopped because it is forbidden.
    renounced: AtomicBool,
}

impl Stops {
    /// Stops that are allowed, or none.
    pub(crate) fn new(allowed: bool) -> Self {
        Self(Arc::new(Record { forbidden: !allowed, ..Record::default() }))
    }

    /// Stops threads as [`sys::while_stopped`] does. If stops are forbidden, `work` gets every thread with that reason.
    ///
    /// # Errors
    /// Those of [`sys::while_stopped`].
    pub(crate) fn hold<T: Send>(
        &self,
        tids: &[i32],
        limit: Duration,
        still: impl Fn(i32) -> bool + Send,
        work: impl FnOnce(&[Stopped]) -> T + Send,
    ) -> io::Result<(T, Duration)> {
        if self.0.forbidden {
            self.0.renounced.fetch_or(!tids.is_empty(), Ordering::Relaxed);
            let refused: Vec<Stopped> = tids.iter().map(|tid| Stopped::failed(*tid, StopError::Forbidden)).collect();
            return Ok((work(&refused), Duration::ZERO));
        }
        let counted = |stopped: &[Stopped]| {
            let held = stopped.iter().filter(|thread| thread.registers.is_ok()).count();
            self.0.threads.fetch_add(held as u64, Ordering::Relaxed);
            work(stopped)
        };
        let (outcome, pause) = sys::while_stopped(tids, limit, still, counted)?;
        self.0.longest.fetch_max(u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        Ok((outcome, pause))
    }

    /// The stops so far.
    pub(crate) fn so_far(&self) -> ThreadStops {
        let record = &self.0;
        ThreadStops {
            threads: record.threads.load(Ordering::Relaxed),
            longest: Duration::from_nanos(record.longest.load(Ordering::Relaxed)),
            forbidden: record.forbidden,
            renounced: record.renounced.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forbidden_stop_is_renounced() {
        let stops = Stops::new(false);
        assert!(!stops.so_far().renounced);
        let hold = |tids: &[i32]| {
            let work =
                |stopped: &[Stopped]| stopped.iter().map(|thread| (thread.tid, thread.registers)).collect::<Vec<_>>();
            stops.hold(tids, Duration::ZERO, |_| true, work).expect("nothing is started")
        };
        assert_eq!(hold(&[]), (vec![], Duration::ZERO));
        assert!(!stops.so_far().renounced);
        // No thread has this number, and the answer is not that it is gone.
        assert_eq!(hold(&[i32::MAX]), (vec![(i32::MAX, Err(StopError::Forbidden))], Duration::ZERO));
        let so_far = stops.so_far();
        assert!(so_far.renounced && so_far.forbidden && so_far.threads == 0, "{so_far:?}");
    }
}
