//! How quiet the machine was: the delay of a thread that wakes every millisecond, and the time of this process's threads
//! in the run queue.
//!
//! A tool cannot notice a stall while the machine does not run it, so the card has a row for quiet moments.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::truth::nanoseconds;

const INTERVAL: Duration = Duration::from_millis(1);

/// The observations of the thread, in nanoseconds since its start.
#[derive(Debug)]
pub(crate) struct Witness {
    since: Instant,
    last_ran: AtomicU64,
    /// The longest time between two runs, since the last reset.
    longest: AtomicU64,
}

impl Witness {
    /// Starts the thread. It ends when this value is dropped.
    pub(crate) fn start() -> anyhow::Result<Arc<Self>> {
        let witness = Arc::new(Self { since: Instant::now(), last_ran: AtomicU64::new(0), longest: AtomicU64::new(0) });
        let asked = Arc::downgrade(&witness);
        std::thread::Builder::new().name("witness".to_owned()).spawn(move || {
            while let Some(witness) = asked.upgrade() {
                witness.ran();
                drop(witness);
                std::thread::sleep(INTERVAL);
            }
        })?;
        Ok(witness)
    }

    fn ran(&self) {
        let now = nanoseconds(self.since.elapsed());
        let before = self.last_ran.swap(now, Ordering::Relaxed);
        self.longest.fetch_max(now.saturating_sub(before), Ordering::Relaxed);
    }

    /// Resets the maximum.
    pub(crate) fn begin(&self) {
        self.longest.store(0, Ordering::Relaxed);
    }

    /// The largest delay since the reset, including a current one.
    pub(crate) fn late(&self) -> Duration {
        let now = nanoseconds(self.since.elapsed());
        let lasting = now.saturating_sub(self.last_ran.load(Ordering::Relaxed));
        Duration::from_nanos(self.longest.load(Ordering::Relaxed).max(lasting)).saturating_sub(INTERVAL)
    }
}

/// The time of each thread of this process in the run queue, in nanoseconds since its start, by its id. Empty without
/// these statistics.
pub(crate) fn ready_times() -> BTreeMap<u64, u64> {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let one = |task: std::fs::DirEntry| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        let ready = text.split_whitespace().nth(1)?.parse().ok()?;
        Some((task.file_name().to_str()?.parse().ok()?, ready))
    };
    tasks.filter_map(one).collect()
}
