//! What is known about sampled objects, and about all others.

use std::time::Duration;

use crate::sys::PollNow;

/// Sampled objects that are kept at the same time.
pub(crate) const MAX_OBJECTS: usize = 64 * 1024;

/// What all threads have allocated and freed since sampling began. Each thread adds its part at its next sample and at its
/// end. So of each living thread, up to one distance between two samples is missing. Code that is not sampled does not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HeapTotals {
    pub(crate) allocated_bytes: u64,
    pub(crate) allocations: u64,
    pub(crate) freed_bytes: u64,
    pub(crate) frees: u64,
}

/// A sampled allocation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allocated {
    /// Its number while it lives.
    pub(crate) object: u32,
    /// In bytes, as the program asked.
    pub(crate) size: u64,
    /// The mean distance between two samples, in bytes; 0 if every allocation is sampled.
    pub(crate) mean: u64,
    /// By the monotonic clock.
    pub(crate) at: Duration,
    pub(crate) tid: i32,
    /// The current poll, on a worker inside a poll.
    pub(crate) poll: Option<PollNow>,
    /// The number of that poll.
    pub(crate) poll_number: Option<PollNumber>,
}

/// A poll of this process: a worker's slot, and a number that it never uses again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PollNumber {
    pub(crate) slot: usize,
    pub(crate) sequence: u64,
}

/// The end of a sampled allocation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Freed {
    pub(crate) object: u32,
    /// By the monotonic clock.
    pub(crate) at: Duration,
    /// It was freed in the poll that allocated it.
    pub(crate) in_same_poll: bool,
}

/// Why sampling cannot begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StartError {
    /// This platform has no sampler.
    #[allow(dead_code, reason = "another platform returns it")]
    Unsupported,
    /// This process was forked from one that sampled, and has no collector.
    Forked,
}
