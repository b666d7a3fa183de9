//! Stalls: polls that hold a worker longer than the threshold.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::cause::Cause;
use super::stack::{Frame, Stack, StackUnavailable};
use super::task::Task;
use super::waiting::Waiting;

/// Numbers the stalls of one [`Watch`](crate::Watch) from 1, in the order they were noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StallId(pub u64);

impl std::fmt::Display for StallId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A poll that holds, or held, a worker longer than the threshold.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stall {
    /// Its number.
    pub id: StallId,
    /// The runtime's name.
    pub runtime: Arc<str>,
    /// Tokio's worker index. `None`: the thread that called `block_on` on a multi-thread runtime.
    pub worker: Option<usize>,
    /// The thread's name.
    pub thread: Arc<str>,
    /// The kernel's thread id.
    pub tid: i32,
    /// The task whose poll it is.
    pub task: Task,
    /// From how long on a poll counts as a stall.
    pub threshold: Duration,
    /// How long the poll has lasted, or lasted: within about a millisecond at either end.
    pub duration: Duration,
    /// How it is known that it is one poll. Unless the poll told itself, the duration may be too short, by what came before the first proof,
    /// and too long by 4 ms at most.
    pub detection: Detection,
    /// About when the poll began; where it is inferred, about from when on it is known.
    pub began_at: SystemTime,
    /// When it was noticed.
    pub noticed_at: SystemTime,
    /// Whether the poll has returned.
    pub ended: bool,
    /// Why the worker was stuck.
    pub cause: Cause,
    /// The frame in the user's own code that leads to it, where there is one.
    pub culprit: Option<Culprit>,
    /// The newest stack, or why there is none.
    pub stack: Result<Stack, StackUnavailable>,
    /// Who waited behind it when that was taken.
    pub waiting: Waiting,
}

/// How it is known that a stall is one poll, and not many short ones in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Detection {
    /// The poll told when it began: by Tokio's task hooks, or because its future is wrapped.
    #[default]
    Instrumented,
    /// Inferred: the worker's thread slept inside a poll, and was not run in between.
    SameSleep,
    /// Inferred: the worker was seen inside a poll, and nothing had returned for so long to where that poll returns to.
    /// Time before the poll in which the runtime itself was busy counts.
    NoReturn,
}

impl Detection {
    /// The word used in JSON and in events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Instrumented => "instrumented",
            Self::SameSleep => "same_sleep",
            Self::NoReturn => "no_return",
        }
    }

    /// The variant of a word, `Instrumented` of words from a later version.
    #[cfg(feature = "cli")]
    pub(crate) fn of_word(word: &str) -> Self {
        [Self::SameSleep, Self::NoReturn].into_iter().find(|detection| detection.as_str() == word).unwrap_or_default()
    }

    /// The poll did not tell; its task is unknown then, and the duration less exact.
    #[must_use]
    pub fn is_inferred(self) -> bool {
        self != Self::Instrumented
    }

    /// What a reader of a report should know of it; `None` for a poll that told.
    #[must_use]
    pub fn explanation(self) -> Option<&'static str> {
        match self {
            Self::Instrumented => None,
            Self::SameSleep => Some("the thread slept in this poll and was not run in between"),
            Self::NoReturn => Some("the thread was in this poll and no poll had returned"),
        }
    }
}

/// The innermost frame in the user's own code, and the call it made.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Culprit {
    /// The frame.
    pub frame: Frame,
    /// Its position in the stack.
    pub depth: usize,
    /// The function it called, such as `std::thread::sleep`; `None` where it computed by itself.
    pub call: Option<Arc<str>>,
}

/// Where a stall is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// It has just crossed the threshold and still holds its worker.
    Noticed,
    /// It lasts; its stack was taken again (at 4 and at 16 times the threshold).
    Updated,
    /// The poll has returned.
    Ended,
}

impl Phase {
    /// The word used in events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Noticed => "noticed",
            Self::Updated => "updated",
            Self::Ended => "ended",
        }
    }
}

/// What a callback is given.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct StallEvent<'a> {
    /// Where the stall is in its life.
    pub phase: Phase,
    /// The stall as it is known now.
    pub stall: &'a Stall,
}

/// Equal stalls: the same culprit reached the same way, for the same cause.
///
/// A stall that still lasts is an entry of its own until it ends.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StallEntry {
    /// The newest of them. Its id is that of the first.
    pub stall: Stall,
    /// How many.
    pub count: u64,
    /// Their time together.
    pub total: Duration,
    /// The longest of them.
    pub longest: Duration,
    /// When the first of them was noticed.
    pub first_noticed_at: SystemTime,
}

impl StallEntry {
    /// One stall by itself.
    pub(crate) fn alone(stall: Stall) -> Self {
        let (total, longest, first_noticed_at) = (stall.duration, stall.duration, stall.noticed_at);
        Self { stall, count: 1, total, longest, first_noticed_at }
    }
}

/// What a watch has seen so far: a bounded history, newest first, and what it left out.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stalls {
    /// Stalls that last, then equal stalls counted together, the newest first.
    pub entries: Vec<StallEntry>,
    /// Counts of every stall, also of those that are in no entry.
    pub counters: Counters,
}

/// Counts since the start of the watch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Every stall.
    pub stalls: u64,
    /// Reports (terminal blocks and tracing events) held back by the rate limit.
    pub suppressed: u64,
    /// Stalls that could not be explained because the reporter could not keep up.
    pub unexplained: u64,
    /// Entries dropped from the bounded history.
    pub forgotten: u64,
    /// Polls that looked like stalls, but had handed their worker on (`block_in_place`).
    pub dismissed: u64,
    /// Stacks that could not be taken.
    pub stacks_missed: u64,
    /// Calls of the user's callback that panicked.
    pub callback_panics: u64,
}
