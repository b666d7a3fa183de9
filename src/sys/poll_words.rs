//! The words in which a worker publishes its current poll.

use std::panic::Location;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use super::StaticRef;

/// The current poll of a worker. Only the worker's thread writes it. Other threads and a signal handler on the same thread
/// read it; because of the handler it belongs to this module.
///
/// The sequence number is odd inside a poll. A poll stores the task first and the odd number last. So a reader that finds
/// the same odd number before and after reading the rest has a consistent view.
#[derive(Debug)]
pub(crate) struct PollWords {
    pub(crate) sequence: AtomicU64,
    /// Tokio's id of the task, 0 for a future that is not a task.
    pub(crate) task: AtomicU64,
    pub(crate) spawned_at: StaticRef<Location<'static>>,
    /// The index of the task's name, 0 for none.
    pub(crate) name: AtomicU32,
}

/// The content of the words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PollNow {
    pub(crate) task: u64,
    pub(crate) spawned_at: Option<&'static Location<'static>>,
    pub(crate) name: u32,
}

impl PollWords {
    pub(crate) const fn new() -> Self {
        Self {
            sequence: AtomicU64::new(0),
            task: AtomicU64::new(0),
            spawned_at: StaticRef::empty(),
            name: AtomicU32::new(0),
        }
    }

    /// The poll with this sequence number, if it still runs.
    pub(crate) fn read(&self, sequence: u64) -> Option<PollNow> {
        if sequence & 1 == 0 || self.sequence.load(Ordering::Acquire) != sequence {
            return None;
        }
        let now = PollNow {
            task: self.task.load(Ordering::Relaxed),
            spawned_at: self.spawned_at.get(),
            name: self.name.load(Ordering::Relaxed),
        };
        fence(Ordering::Acquire);
        (self.sequence.load(Ordering::Relaxed) == sequence).then_some(now)
    }

    /// The current poll.
    pub(crate) fn now(&self) -> Option<PollNow> {
        self.read(self.sequence.load(Ordering::Relaxed))
    }
}
