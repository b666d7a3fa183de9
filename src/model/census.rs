//! Every task of a process at one moment, and what each waits for.

use std::sync::Arc;
use std::time::Duration;

use super::process::DebugTier;
use super::stack::{Stack, StackUnavailable};
use super::task::TaskId;

/// A line of a source file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SourcePlace {
    pub(crate) file: Arc<str>,
    /// Counted from 1.
    pub(crate) line: u32,
}

impl std::fmt::Display for SourcePlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", super::task::short_source(&self.file), self.line)
    }
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Census {
    pub(crate) pid: u32,
    /// The file name of the program.
    pub(crate) program: String,
    /// What debug information there is.
    pub(crate) tier: DebugTier,
    /// What is not known for want of more, and the setting that gives it, as a sentence.
    pub(crate) tier_note: Option<String>,
    pub(crate) runtimes: Vec<RuntimeNow>,
    pub(crate) threads: Vec<ThreadNow>,
    pub(crate) tasks: Vec<TaskNow>,
    /// Tasks that wait for each other.
    pub(crate) cycles: Vec<Vec<TaskId>>,
    /// Futures that nobody polls and others wait for.
    pub(crate) futurelocks: Vec<Futurelock>,
    pub(crate) quality: CensusQuality,
}

/// How the census was taken, and what it does not hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct CensusQuality {
    /// How long threads that ran were held; zero where none had to be.
    pub(crate) pause: Duration,
    /// How many were.
    pub(crate) held_threads: usize,
    /// How long it took to read the program's debug information.
    pub(crate) index_time: Duration,
    /// Where that was read from, in words.
    pub(crate) index_origin: String,
    /// Bytes copied in that time.
    pub(crate) copied: u64,
    /// Times that memory was needed that had not been copied, and was read while the process ran on.
    pub(crate) late_reads: u64,
    /// Parked threads that woke up while memory was copied; what they polled then may be torn.
    pub(crate) woken_threads: usize,
    /// What could not be seen, each with its remedy where there is one.
    pub(crate) missing: Vec<String>,
}

/// A Tokio runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RuntimeNow {
    /// Counted from 0 in the order of addresses.
    pub(crate) index: usize,
    /// `multi_thread` or `current_thread`; `local_set` for a `LocalSet`, and `blocking_pool` for all functions given to
    /// `spawn_blocking`, which belong to no runtime that can be told.
    pub(crate) flavor: String,
    /// Where its handle is in memory, which tells runtimes apart.
    pub(crate) address: u64,
    /// Threads that entered it; of the last two, those that poll a task of it.
    pub(crate) threads: usize,
    /// What part of its list of tasks could not be read, and why.
    pub(crate) unknown: Option<String>,
}

impl RuntimeNow {
    /// The word for what keeps tasks of its own on one thread of a runtime.
    pub(crate) const LOCAL_SET: &str = "local_set";

    /// The number that a user sees, which counts from 1 as in the names `runtime-1`, `runtime-2` of stalls.
    pub(crate) fn number(index: usize) -> usize {
        index + 1
    }

    /// Whether it is a `LocalSet`, which is no runtime of its own.
    pub(crate) fn is_local_set(&self) -> bool {
        self.flavor == Self::LOCAL_SET
    }
}

/// A thread of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ThreadNow {
    pub(crate) tid: i32,
    pub(crate) name: String,
    /// It was on a CPU or ready for one.
    pub(crate) runs: bool,
    /// The position of its runtime in [`Census::runtimes`].
    pub(crate) runtime: Option<usize>,
    /// The task it polls.
    pub(crate) task: Option<TaskId>,
    /// It is inside `block_on`.
    pub(crate) block_on: bool,
    /// The future given to that, which is no task, where it was found. Of a thread that runs: what it awaited last.
    pub(crate) root: Option<Await>,
    /// What it executes.
    pub(crate) stack: Result<Stack, StackUnavailable>,
    /// Why nothing is known about it.
    pub(crate) unknown: Option<String>,
}

/// A task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TaskNow {
    pub(crate) id: Option<TaskId>,
    /// The position of its runtime in [`Census::runtimes`].
    pub(crate) runtime: usize,
    pub(crate) state: TaskState,
    /// It was told to end.
    pub(crate) cancelled: bool,
    /// Its future's type: the name of the `async fn`, most often.
    pub(crate) future: String,
    /// Known of programs that are built with `tokio_unstable`.
    pub(crate) spawned_at: Option<SourcePlace>,
    /// The thread that polls it.
    pub(crate) thread: Option<i32>,
    /// What it awaits. Of a running task: what it awaited last.
    pub(crate) path: Option<Await>,
    /// Futures of it that have a place at a lock and are not polled.
    pub(crate) unpolled: Vec<Unpolled>,
    /// Why there is no path.
    pub(crate) unknown: Option<String>,
}

impl TaskNow {
    /// Whether the task's future, or one that it awaits, has a name that contains the text.
    pub(crate) fn is_in(&self, text: &str) -> bool {
        let mut rest: Vec<&Await> = self.path.iter().collect();
        let mut found = self.future.contains(text);
        while let Some(node) = rest.pop() {
            found |= node.future.contains(text);
            rest.extend(&node.children);
        }
        found
    }
}

/// What a task does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum TaskState {
    /// It is polled now.
    Running,
    /// It is ready and waits for a worker.
    Scheduled,
    /// It waits for something.
    Idle,
    /// It ended, but somebody holds on to its result.
    Complete,
    /// Its memory makes no sense.
    Unknown,
}

impl TaskState {
    /// Every state.
    pub(crate) const ALL: [Self; 5] = [Self::Running, Self::Scheduled, Self::Idle, Self::Complete, Self::Unknown];

    /// The word used in text and JSON.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Scheduled => "scheduled",
            Self::Idle => "idle",
            Self::Complete => "complete",
            Self::Unknown => "unknown",
        }
    }
}

/// A future that its task keeps and does not poll now, with its place at a lock or semaphore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unpolled {
    pub(crate) future: String,
    /// Where it is suspended, in the program's own code.
    pub(crate) future_place: Option<SourcePlace>,
    /// The `async fn` that keeps it.
    pub(crate) function: String,
    /// What that awaits instead.
    pub(crate) place: Option<SourcePlace>,
    /// Where the semaphore, or that of the lock, is in memory.
    pub(crate) semaphore: u64,
    pub(crate) stage: UnpolledPlace,
}

/// How far an unpolled future has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnpolledPlace {
    /// It stands in the queue, and will be given what it waits for when its turn comes.
    Queued,
    /// It has been given it, and does not know yet.
    Granted,
    /// It has it, in a guard or permit of its own.
    Holds,
}

impl UnpolledPlace {
    /// The word used in JSON.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Granted => "granted",
            Self::Holds => "holds",
        }
    }
}

/// An unpolled future that others wait for, or its own task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Futurelock {
    /// The task that should poll it.
    pub(crate) task: TaskId,
    pub(crate) unpolled: Unpolled,
    /// The tasks that wait for what it keeps.
    pub(crate) waiting: Vec<TaskId>,
}

/// One future on an await path, with what it awaits in turn.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Await {
    /// The `async fn`, or the type of the future.
    pub(crate) future: String,
    /// The await it is suspended at.
    pub(crate) place: Option<SourcePlace>,
    /// Of a future that does not wait: `not polled yet`, `finished`.
    pub(crate) note: Option<String>,
    pub(crate) waits_for: Option<WaitsFor>,
    /// What it awaits: one future, or several for `join!` and `select!`.
    pub(crate) children: Vec<Self>,
}

impl Await {
    /// Calls `change` for this future and all that it awaits. Paths are no deeper than they were read.
    pub(crate) fn each(&mut self, change: &mut dyn FnMut(&mut Self)) {
        change(self);
        for child in &mut self.children {
            child.each(change);
        }
    }

    /// What a future that awaits no other waits for, without what differs from task to task.
    pub(crate) fn reason(&self) -> Option<String> {
        Some(match (&self.waits_for, &self.note) {
            (Some(WaitsFor::Timer { .. }), _) => "a timer".to_owned(),
            (Some(WaitsFor::Task(_)), _) => "the end of a task".to_owned(),
            (Some(WaitsFor::Permits { .. }), _) => "a permit".to_owned(),
            (Some(WaitsFor::Io { .. }), _) => "I/O".to_owned(),
            (Some(WaitsFor::Other(what)), _) if what.starts_with("unknown") => "something unknown".to_owned(),
            (Some(WaitsFor::Other(what)), _) => what.clone(),
            (None, Some(note)) if note.starts_with("unknown") => "something that cannot be read".to_owned(),
            // `not polled yet`, `finished`.
            (None, Some(note)) => format!("nothing: {note}"),
            (None, None) => return None,
        })
    }
}

/// What a future at the end of an await path waits for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum WaitsFor {
    /// A timer that fires so much later than the census; negative where it is overdue.
    Timer { in_ms: i64 },
    /// The end of another task.
    Task(TaskId),
    /// A semaphore, or what is made of one: a mutex, a channel's capacity.
    Permits {
        /// Where it is in memory.
        address: u64,
        wanted: u64,
        /// How many it has now.
        free: Option<u64>,
        /// The tasks that hold a guard or permit of it, as far as they can be seen.
        holders: Vec<Holder>,
    },
    /// Readiness of a socket or pipe.
    Io {
        fd: Option<i32>,
        /// What it is: `tcp 127.0.0.1:80 → 10.0.0.1:4242`.
        what: Option<String>,
    },
    /// Something else, in words.
    Other(String),
}

/// A task that holds what another waits for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Holder {
    pub(crate) task: TaskId,
    /// The `async fn` in which the guard lives.
    pub(crate) function: String,
    /// Where that waits.
    pub(crate) place: Option<SourcePlace>,
}
