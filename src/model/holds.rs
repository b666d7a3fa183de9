//! What a long poll holds up, and what it is counted as.

use std::fmt;

use super::cause::CauseClass;
use super::plural::plural;

/// What a long poll holds up: who waits until it returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Holds {
    /// A worker of a multi-thread runtime, with the tasks in its queue.
    #[default]
    Worker,
    /// The thread of a current-thread runtime, with every task, timer and socket of that runtime.
    CurrentThread,
    /// A `LocalSet` in the future given to `block_on` of a multi-thread runtime: its other tasks, but no worker.
    LocalSet,
    /// Only the future given to `block_on` of a multi-thread runtime. Its thread polls nothing else.
    BlockOn,
    /// Only the future given to `block_on`, before the runtime has had a task: start-up work in `main`, for instance.
    StartUp,
}

impl Holds {
    /// The word for it in JSON and in `tracing` events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::CurrentThread => "current_thread",
            Self::LocalSet => "local_set",
            Self::BlockOn => "block_on",
            Self::StartUp => "start_up",
        }
    }

    /// The variant of a word. `None` for words of later versions.
    #[cfg(feature = "cli")]
    pub(crate) fn of_word(word: &str) -> Option<Self> {
        [Self::Worker, Self::CurrentThread, Self::LocalSet, Self::BlockOn, Self::StartUp]
            .into_iter()
            .find(|holds| holds.as_str() == word)
    }

    /// What one poll on a thread of this kind holds. `had_tasks`: the runtime has had a task. `in_task`: the thread is in the
    /// poll of a task, and not in that of the future given to `block_on` alone.
    pub(crate) fn of_poll(self, had_tasks: bool, in_task: bool) -> Self {
        match self {
            Self::BlockOn if in_task => Self::LocalSet,
            Self::BlockOn | Self::CurrentThread if !had_tasks && !in_task => Self::StartUp,
            other => other,
        }
    }

    /// What the poll held, in a sentence about it.
    pub(crate) fn held(self) -> &'static str {
        match self {
            Self::Worker => "its worker",
            Self::CurrentThread => "its current-thread runtime",
            Self::LocalSet => "its LocalSet",
            Self::BlockOn => "the thread in block_on",
            Self::StartUp => "the start-up",
        }
    }

    /// Who waits, where the first line of a report does not say it.
    pub(crate) fn explanation(self) -> Option<&'static str> {
        match self {
            Self::Worker => None,
            Self::CurrentThread => Some("the whole runtime: its tasks, I/O and timers share this thread"),
            Self::LocalSet => Some("the other tasks of the LocalSet, and no worker"),
            Self::BlockOn => Some("no worker: only the future given to block_on waits"),
            Self::StartUp => Some("no task: the runtime has had none so far"),
        }
    }
}

impl fmt::Display for Holds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a long poll is counted as. Only stalls set an exit code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Counted {
    /// A stall of the code: tasks had to wait for it.
    #[default]
    Stall,
    /// A long poll of the future given to `block_on` of a multi-thread runtime; see [`Holds::BlockOn`].
    BlockOn,
    /// Start-up work; see [`Holds::StartUp`].
    StartUp,
    /// A poll that is long only because the machine did not run its thread; see
    /// [`CauseClass::NotScheduled`](crate::stall::CauseClass::NotScheduled).
    NotScheduled,
}

impl Counted {
    /// What a poll that holds this for this cause is counted as.
    pub(crate) fn of(holds: Holds, cause: CauseClass) -> Self {
        match holds {
            _ if cause == CauseClass::NotScheduled => Self::NotScheduled,
            Holds::Worker | Holds::CurrentThread | Holds::LocalSet => Self::Stall,
            Holds::BlockOn => Self::BlockOn,
            Holds::StartUp => Self::StartUp,
        }
    }

    /// The word for it in JSON and in `tracing` events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stall => "stall",
            Self::BlockOn => "block_on",
            Self::StartUp => "start_up",
            Self::NotScheduled => "not_scheduled",
        }
    }

    /// The variant of a word. Unknown words, of later versions, mean `Stall`.
    #[cfg(feature = "cli")]
    pub(crate) fn of_word(word: &str) -> Self {
        [Self::BlockOn, Self::StartUp, Self::NotScheduled]
            .into_iter()
            .find(|counted| counted.as_str() == word)
            .unwrap_or_default()
    }

    /// `2 stalls`, `1 long poll of block_on`, `3 long polls at start-up`.
    pub(crate) fn number(self, count: u64) -> String {
        match self {
            Self::Stall => plural(count, "stall"),
            Self::BlockOn => format!("{} of block_on", plural(count, "long poll")),
            Self::StartUp => format!("{} at start-up", plural(count, "long poll")),
            Self::NotScheduled => format!("{} without a CPU", plural(count, "long poll")),
        }
    }
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_poll_holds_what_its_thread_polls() {
        for (thread, had_tasks, in_task, holds) in [
            (Holds::Worker, false, true, Holds::Worker),
            (Holds::Worker, true, true, Holds::Worker),
            (Holds::BlockOn, true, false, Holds::BlockOn),
            (Holds::BlockOn, false, false, Holds::StartUp),
            // No runtime counts the tasks of a `LocalSet` as its own.
            (Holds::BlockOn, false, true, Holds::LocalSet),
            (Holds::CurrentThread, false, true, Holds::CurrentThread),
            (Holds::CurrentThread, false, false, Holds::StartUp),
            (Holds::CurrentThread, true, false, Holds::CurrentThread),
        ] {
            assert_eq!(thread.of_poll(had_tasks, in_task), holds, "{thread}, {had_tasks}, {in_task}");
        }
    }

    #[test]
    fn only_what_makes_tasks_wait_is_a_stall() {
        let counted = [Holds::Worker, Holds::CurrentThread, Holds::LocalSet, Holds::BlockOn, Holds::StartUp]
            .map(|holds| Counted::of(holds, CauseClass::File).number(2));
        assert_eq!(
            counted,
            ["2 stalls", "2 stalls", "2 stalls", "2 long polls of block_on", "2 long polls at start-up"]
        );
        let machines = Counted::of(Holds::Worker, CauseClass::NotScheduled);
        assert_eq!(machines.number(1), "1 long poll without a CPU");
    }
}
