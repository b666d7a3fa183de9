//! What was not delivered, because the program did not take it in time.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::plural::plural;

/// Counts of what was not delivered.
#[derive(Debug, Default)]
pub(crate) struct Undelivered {
    /// Reports that neither standard error nor a subscriber took.
    pub(crate) unprinted: AtomicU64,
    /// Events that the callback did not get, because it had not returned from earlier ones.
    pub(crate) callbacks_missed: AtomicU64,
    pub(crate) callback_panics: AtomicU64,
}

/// How many unprinted reports a reader already knows of.
#[derive(Debug, Default)]
pub(crate) struct Gap {
    known: u64,
}

impl Gap {
    /// A sentence about the reports that were not printed since the last one.
    pub(crate) fn sentence(&mut self, undelivered: &Undelivered) -> Option<String> {
        let unprinted = undelivered.unprinted.load(Ordering::Relaxed);
        let new = unprinted.saturating_sub(std::mem::replace(&mut self.known, unprinted));
        let reports = plural(new, "report");
        (new > 0).then(|| format!("{reports} could not be printed; Watch::stalls() and the endpoint have their stalls"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_gap_is_said_once() {
        let (undelivered, mut gap) = (Undelivered::default(), Gap::default());
        assert_eq!(gap.sentence(&undelivered), None);
        undelivered.unprinted.store(2, Ordering::Relaxed);
        assert!(gap.sentence(&undelivered).is_some_and(|sentence| sentence.starts_with("2 reports")));
        assert_eq!(gap.sentence(&undelivered), None);
    }
}
