//! The threads of a runtime's pool: its workers, and the threads of `spawn_blocking`. Tokio bounds their number.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::sys;

/// The threads of a pool. Each adds itself when it starts, and removes itself when it ends.
#[derive(Debug, Default)]
pub(crate) struct PoolThreads(Mutex<Threads>);

#[derive(Debug, Default)]
struct Threads {
    ids: BTreeSet<i32>,
    /// How many have ever started.
    started: usize,
}

impl PoolThreads {
    /// Adds the calling thread, and returns how many had started before.
    pub(super) fn add_current(&self) -> usize {
        let mut threads = self.lock();
        threads.ids.insert(sys::current_tid());
        threads.started += 1;
        threads.started - 1
    }

    pub(super) fn remove_current(&self) {
        self.lock().ids.remove(&sys::current_tid());
    }

    /// The ids of all threads.
    pub(crate) fn ids(&self) -> Vec<i32> {
        self.lock().ids.iter().copied().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Threads> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_listed_from_its_start_to_its_end() {
        let threads = PoolThreads::default();
        assert_eq!(threads.add_current(), 0);
        let other = std::thread::scope(|scope| {
            let run = || {
                assert_eq!(threads.add_current(), 1);
                let ids = threads.ids();
                threads.remove_current();
                ids
            };
            scope.spawn(run).join().expect("it ends")
        });
        assert_eq!((other.len(), threads.ids()), (2, vec![sys::current_tid()]));
    }
}
