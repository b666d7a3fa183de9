//! Numbers of the process and its runtimes, second by second.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// What Tokio counts of a runtime now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RuntimeNow {
    /// The runtime's number in its watch.
    pub(crate) number: u32,
    pub(crate) name: Arc<str>,
    pub(crate) workers: usize,
    pub(crate) alive_tasks: usize,
    /// Tasks in the shared queue.
    pub(crate) global_queue: usize,
    /// Tasks in the workers' own queues. `None` without `tokio_unstable`, as the next two.
    pub(crate) local_queue: Option<usize>,
    /// Threads of the blocking pool.
    pub(crate) blocking_threads: Option<usize>,
    /// Blocking functions that wait for a thread.
    pub(crate) blocking_queue: Option<usize>,
    /// The time in which its workers were not parked, in total since its start.
    pub(crate) busy: Option<Duration>,
}

/// A runtime in one second.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RuntimeSecond {
    pub(crate) now: RuntimeNow,
    /// The percentage of all workers' time in which they were not parked.
    pub(crate) busy_percent: Option<f64>,
    /// The longest poll that was seen in this second, so far.
    pub(crate) longest_poll_ms: u32,
}

/// The process in one second.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Second {
    pub(crate) at: SystemTime,
    /// Physical memory.
    pub(crate) memory_bytes: Option<u64>,
    /// CPU time of the process, in percent of one core.
    pub(crate) cpu_percent: Option<f64>,
    /// CPU time of holdup's threads, in percent of one core.
    pub(crate) holdup_cpu_percent: Option<f64>,
    pub(crate) runtimes: Vec<RuntimeSecond>,
}
