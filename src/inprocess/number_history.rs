//! Numbers of the process and its runtimes in the last minutes, one sample a second.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::model::numbers::Second;

/// Samples that are kept: five minutes.
const MAX_SECONDS: usize = 300;

/// The samples.
#[derive(Debug, Default)]
pub(crate) struct NumberHistory {
    seconds: Mutex<VecDeque<Second>>,
}

impl NumberHistory {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Second>> {
        self.seconds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The samples that are newer than `at`; all of them for `None`.
    pub(crate) fn after(&self, at: Option<SystemTime>) -> Vec<Second> {
        self.lock().iter().filter(|second| at.is_none_or(|at| second.at > at)).cloned().collect()
    }

    pub(super) fn add(&self, second: Second) {
        let mut seconds = self.lock();
        if seconds.len() >= MAX_SECONDS {
            seconds.pop_front();
        }
        seconds.push_back(second);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn second(seconds: u64) -> Second {
        Second {
            at: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
            memory_bytes: None,
            cpu_percent: None,
            holdup_cpu_percent: None,
            runtimes: Vec::new(),
        }
    }

    #[test]
    fn the_history_is_bounded_and_read_from_a_moment_on() {
        let history = NumberHistory::default();
        (0..1000).for_each(|at| history.add(second(at)));
        assert_eq!(history.after(None).len(), MAX_SECONDS);
        let after = history.after(Some(second(997).at));
        assert_eq!(after.iter().map(|second| second.at).collect::<Vec<_>>(), [second(998).at, second(999).at]);
    }
}
