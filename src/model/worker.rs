//! Workers: their identity, and their activity at one moment.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::holds::Holds;
use super::task::Task;

/// A thread that polls tasks of one runtime under one worker index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Worker {
    /// Unique in the process, and never reused.
    pub(crate) key: u64,
    /// The runtime's name.
    pub(crate) runtime: Arc<str>,
    /// Tokio's worker index. `None` for a thread in `block_on` of a multi-thread runtime, and for an uninstrumented worker
    /// that has not parked yet.
    pub(crate) index: Option<usize>,
    pub(crate) thread: Thread,
    /// What a long poll on this thread holds up, once the runtime has tasks.
    pub(crate) holds: Holds,
    /// Its polls are not instrumented, because task hooks are missing. It may poll between two instrumented polls.
    pub(crate) uninstrumented: bool,
}

impl Worker {
    /// Whether it polls tasks. The thread in `block_on` of a multi-thread runtime polls only its future.
    pub(crate) fn polls_tasks(&self) -> bool {
        self.index.is_some() || self.uninstrumented
    }
}

/// An operating system thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Thread {
    /// The kernel's thread id.
    pub(crate) tid: i32,
    pub(crate) name: Arc<str>,
    /// The addresses of its stack, if known.
    pub(crate) stack: Option<Range<u64>>,
}

/// Where another process keeps the state of a worker in memory.
#[cfg(feature = "attach")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WorkerPlace {
    pub(crate) tid: i32,
    /// The address of its runtime, which identifies the runtime.
    pub(crate) runtime: u64,
    /// Tokio's worker index. `None`: a thread in `block_on` of a multi-thread runtime.
    pub(crate) index: Option<usize>,
    /// What a long poll on this thread holds up, once the runtime has tasks.
    pub(crate) holds: Holds,
    /// The address of the thread-local pointer to its context. It is set while the thread is this worker.
    pub(crate) pointer: u64,
    /// The context's address; 0 for a thread in `block_on` of a multi-thread runtime.
    pub(crate) context: u64,
    /// The id of the task that its thread polls.
    pub(crate) task: OptionPlace,
    /// The coop budget, which exists inside a poll only.
    pub(crate) budget: OptionPlace,
    /// The worker's core. Its tick differs from poll to poll. `None` if it cannot be read.
    pub(crate) core: Option<CorePlace>,
}

/// Where a worker keeps its core.
#[cfg(feature = "attach")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CorePlace {
    /// The core itself, which `block_in_place` hands on.
    pub(crate) option: OptionPlace,
    /// The offset of the tick, a 32-bit number that grows from task to task.
    pub(crate) tick_offset: u64,
}

/// The address of an `Option`, and its encoding of `Some`.
#[cfg(feature = "attach")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OptionPlace {
    pub(crate) marker: u64,
    /// The relevant bits of the word at `marker`.
    pub(crate) mask: u64,
    pub(crate) value: u64,
    /// Whether `value` means `Some`. Otherwise every other value does.
    pub(crate) value_is_some: bool,
    /// The address of the content.
    pub(crate) content: u64,
}

#[cfg(feature = "attach")]
impl OptionPlace {
    /// Whether a marker word means `Some`.
    pub(crate) fn is_some(&self, word: u64) -> bool {
        (word & self.mask == self.value) == self.value_is_some
    }
}

/// The activity of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Activity {
    /// It waits for work in the runtime's park.
    Parked,
    /// It runs between two polls: it searches for work, or drives I/O and timers. Without task hooks it may also be inside
    /// an uninstrumented poll.
    Between,
    /// It is inside a poll.
    Polling,
}

impl Activity {
    /// The word for it in JSON and on screens.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Parked => "parked",
            Self::Between => "between polls",
            Self::Polling => "polling",
        }
    }
}

/// The progress of a worker. Two equal values mean no progress in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Grows by one at the start and at the end of each poll.
    pub(crate) sequence: u64,
    /// Grows by one at each park and unpark.
    pub(crate) parks: u32,
    pub(crate) activity: Activity,
}

/// A worker's state at one moment; see [`Watch::workers`](crate::Watch::workers).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WorkerNow {
    /// The runtime's name.
    pub runtime: Arc<str>,
    /// Tokio's worker index. `None` for a thread in `block_on` of a multi-thread runtime.
    pub worker: Option<usize>,
    /// The thread's name.
    pub thread: Arc<str>,
    /// The kernel's thread id.
    pub tid: i32,
    /// Its activity.
    pub activity: Activity,
    /// The polled task. `None` outside a poll.
    pub task: Option<Task>,
    /// The duration of the current poll so far, to about a millisecond. `None` outside a poll.
    pub polling_for: Option<Duration>,
    /// The number of polls since the worker was first seen.
    pub polls: u64,
}
