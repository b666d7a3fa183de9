//! Counts of the watchdog, and what it is at.

#[cfg(feature = "http")]
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::sampling_now::SamplingNow;

/// What other threads read while the watchdog runs.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    /// All stalls noticed.
    pub(crate) noticed: AtomicU64,
    /// Stalls that found the queue of observations full.
    pub(crate) lost: AtomicU64,
    pub(crate) sampling_now: SamplingNow,
    /// What each worker did in the last minutes.
    #[cfg(feature = "http")]
    pub(crate) lanes: Arc<super::LaneHistory>,
}
