//! The threads of a runtime's pool: its workers, and the threads of `spawn_blocking`. Tokio bounds their number.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::sys;

/// The ids of a pool's threads. Each adds itself when it starts, and removes itself when it ends.
#[derive(Debug, Default)]
pub(crate) struct PoolThreads(Mutex<BTreeSet<i32>>);

impl PoolThreads {
    pub(super) fn add_current(&self) {
        self.lock().insert(sys::current_tid());
    }

    pub(super) fn remove_current(&self) {
        self.lock().remove(&sys::current_tid());
    }

    /// The ids of all threads.
    pub(crate) fn ids(&self) -> Vec<i32> {
        self.lock().iter().copied().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<i32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_listed_from_its_start_to_its_end() {
        let threads = PoolThreads::default();
        threads.add_current();
        let other = std::thread::scope(|scope| {
            let run = || {
                threads.add_current();
                let ids = threads.ids();
                threads.remove_current();
                ids
            };
            scope.spawn(run).join().expect("it ends")
        });
        assert_eq!((other.len(), threads.ids()), (2, vec![sys::current_tid()]));
    }
}
