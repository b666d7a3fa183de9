//! Counts of the watchdog.

use std::sync::atomic::AtomicU64;

/// Counters that other threads read while the watchdog runs.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    /// All stalls noticed.
    pub(crate) noticed: AtomicU64,
    /// Stalls that found the queue of observations full.
    pub(crate) lost: AtomicU64,
}
