//! Tasks that holdup itself spawns on a watched runtime. They are not the program's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of such tasks on one runtime.
#[derive(Debug, Default)]
pub(crate) struct OwnTasks {
    spawned: AtomicU64,
    ended: AtomicU64,
}

/// One such task, as long as its future exists.
#[derive(Debug)]
pub(crate) struct OwnTask(Arc<OwnTasks>);

impl OwnTasks {
    /// Called before a task is spawned. The future keeps the result.
    pub(crate) fn add(self: &Arc<Self>) -> OwnTask {
        self.spawned.fetch_add(1, Ordering::Relaxed);
        OwnTask(Arc::clone(self))
    }

    /// How many there have been.
    #[cfg(tokio_unstable)]
    pub(super) fn spawned(&self) -> u64 {
        self.spawned.load(Ordering::Relaxed)
    }

    /// How many there are.
    #[cfg(not(tokio_unstable))]
    pub(super) fn alive(&self) -> u64 {
        let ended = self.ended.load(Ordering::Relaxed);
        self.spawned.load(Ordering::Relaxed).saturating_sub(ended)
    }
}

impl OwnTask {
    /// The count that it belongs to.
    pub(crate) fn all(&self) -> &Arc<OwnTasks> {
        &self.0
    }
}

impl Drop for OwnTask {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}
