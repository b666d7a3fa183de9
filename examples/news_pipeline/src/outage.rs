//! Limits the log lines of a repeating failure: the 1st, 2nd, 4th, 8th… failure in a row is logged, and then its
//! end. So no failure goes unnoticed, and none fills the disk.

use std::{
    fmt::Display,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use tracing::{info, warn};

/// The consecutive failures of one operation that is retried.
#[derive(Debug)]
pub(crate) struct Outage {
    what: String,
    failures: AtomicU64,
}

impl Outage {
    pub(crate) fn of(what: impl Into<String>) -> Self {
        Self { what: what.into(), failures: AtomicU64::new(0) }
    }

    pub(crate) fn failed(&self, error: &dyn Display) {
        let what = &self.what;
        match self.failures.fetch_add(1, Relaxed) + 1 {
            1 => warn!("{what}: {error}; trying again"),
            failures if failures.is_power_of_two() => {
                warn!("{what}: {error}; failed {failures} times in a row, trying again");
            }
            _ => {}
        }
    }

    pub(crate) fn worked(&self) {
        // A load first, because there is nearly always no failure.
        if self.failures.load(Relaxed) > 0 {
            let failures = self.failures.swap(0, Relaxed);
            info!("{}: works again (failed {failures} times before)", self.what);
        }
    }
}
