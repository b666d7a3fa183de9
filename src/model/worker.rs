//! Workers: who they are, and what they are doing at one moment.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::task::Task;

/// A thread that polls tasks, as long as it does so for one runtime under one index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Worker {
    /// Unique in the process; never used again.
    pub(crate) key: u64,
    /// The runtime's name.
    pub(crate) runtime: Arc<str>,
    /// Tokio's worker index. `None`: the thread that called `block_on` on a multi-thread runtime.
    pub(crate) index: Option<usize>,
    pub(crate) thread: Thread,
    /// Its tasks are polled without a word, because task hooks are missing: what it does between two polls that were
    /// told may be a poll.
    pub(crate) uninstrumented: bool,
}

/// An operating system thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Thread {
    /// The kernel's thread id.
    pub(crate) tid: i32,
    pub(crate) name: Arc<str>,
    /// The addresses of its stack, where they could be told.
    pub(crate) stack: Option<Range<u64>>,
}

/// Where the memory of another process tells how far a worker has come.
#[cfg(feature = "attach")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WorkerPlace {
    pub(crate) tid: i32,
    /// The address of its runtime, which tells runtimes apart.
    pub(crate) runtime: u64,
    /// Tokio's worker index. `None`: a thread in `block_on` of a multi-thread runtime.
    pub(crate) index: Option<usize>,
    /// Where its thread points to its context, as long as it is this worker.
    pub(crate) pointer: u64,
    /// 0 for a thread in `block_on` of a multi-thread runtime.
    pub(crate) context: u64,
    /// The number of the task that its thread is busy with.
    pub(crate) task: OptionPlace,
    /// How much the poll may do before it should yield; there is such a budget inside a poll only.
    pub(crate) budget: OptionPlace,
    /// What tells one poll from the next. `None`: nothing does.
    pub(crate) core: Option<CorePlace>,
}

/// Where a worker keeps what it works with.
#[cfg(feature = "attach")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CorePlace {
    /// It gives it away inside `block_in_place`.
    pub(crate) option: OptionPlace,
    /// In it: a number of 32 bits that grows from task to task.
    pub(crate) tick_offset: u64,
}

/// Where an `Option` is, and how to tell whether it is `Some`.
#[cfg(feature = "attach")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OptionPlace {
    pub(crate) marker: u64,
    /// The bits of the word at `marker` that count.
    pub(crate) mask: u64,
    pub(crate) value: u64,
    /// Whether it is `Some` where the marker has that value, or where it has any other.
    pub(crate) value_is_some: bool,
    /// Where the value is, if there is one.
    pub(crate) content: u64,
}

#[cfg(feature = "attach")]
impl OptionPlace {
    /// Whether it is `Some`, by the word at its marker.
    pub(crate) fn is_some(&self, word: u64) -> bool {
        (word & self.mask == self.value) == self.value_is_some
    }
}

/// What a worker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Activity {
    /// It has nothing to do and waits in the runtime's own park.
    Parked,
    /// It runs, between two polls: looking for work, or driving I/O and timers. Where task hooks are missing, it may also
    /// be inside a poll that does not tell.
    Between,
    /// It is inside a poll.
    Polling,
}

impl Activity {
    /// The word used in JSON and on screens.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Parked => "parked",
            Self::Between => "between polls",
            Self::Polling => "polling",
        }
    }
}

/// How far a worker has come. Two equal values mean that it has not moved in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Grows by one when a poll starts and when it ends.
    pub(crate) sequence: u64,
    /// Grows by one when it parks and when it unparks.
    pub(crate) parks: u32,
    pub(crate) activity: Activity,
}

/// What one worker does now.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WorkerNow {
    /// The runtime's name.
    pub runtime: Arc<str>,
    /// Tokio's worker index. `None`: the thread that called `block_on` on a multi-thread runtime.
    pub worker: Option<usize>,
    /// The thread's name.
    pub thread: Arc<str>,
    /// The kernel's thread id.
    pub tid: i32,
    /// Parked, between polls, or polling.
    pub activity: Activity,
    /// The task inside the poll, where it polls.
    pub task: Option<Task>,
    /// How long this poll has lasted, within about a millisecond; `None` where it does not poll.
    pub polling_for: Option<Duration>,
    /// Polls that this worker has started since it was first seen.
    pub polls: u64,
}
