//! The model of a census: all tasks of a process at one moment, and what each of them waits for.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::plural::plural;
use super::process::DebugTier;
use super::stack::{Stack, StackUnavailable};
use super::task::TaskId;
use super::thread_stops::ThreadStops;

/// A line of a source file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SourcePlace {
    pub(crate) file: Arc<str>,
    /// From 1 on.
    pub(crate) line: u32,
}

impl std::fmt::Display for SourcePlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", super::task::short_source(&self.file), self.line)
    }
}

/// A census.
#[derive(Clone, Debug, Default)]
pub(crate) struct Census {
    pub(crate) pid: u32,
    /// The file name of the program.
    pub(crate) program: String,
    /// How much debug information the program has.
    pub(crate) tier: DebugTier,
    /// What is unknown without more debug information, and the setting that adds it. One sentence.
    pub(crate) tier_note: Option<String>,
    pub(crate) runtimes: Vec<RuntimeNow>,
    pub(crate) threads: Vec<ThreadNow>,
    pub(crate) tasks: Vec<TaskNow>,
    /// Running tasks whose thread is not known.
    pub(crate) unplaced: Vec<UnplacedTask>,
    /// Futures that wait for each other in a cycle.
    pub(crate) cycles: Vec<WaitCycle>,
    /// Unpolled futures that tasks wait for.
    pub(crate) futurelocks: Vec<Futurelock>,
    pub(crate) quality: CensusQuality,
}

/// What is said of threads that may run a worker and were not seen. `None` if every thread was seen.
pub(crate) fn unseen_threads(threads: usize) -> Option<String> {
    (threads > 0).then(|| format!("{} could not be seen and may run workers", plural(threads, "thread")))
}

/// How the census was taken, and what is missing from it.
#[derive(Clone, Debug, Default)]
pub(crate) struct CensusQuality {
    /// The stops of running threads.
    pub(crate) stops: ThreadStops,
    /// The number of running threads that were stopped at the moment of the dump.
    pub(crate) stopped_threads: usize,
    /// How long reading the debug information took.
    pub(crate) index_time: Duration,
    /// The source of the debug information, in words.
    pub(crate) index_origin: String,
    /// The number of bytes that were copied while threads were stopped.
    pub(crate) copied: u64,
    /// The number of reads that missed the copy and read the memory of the running process.
    pub(crate) late_reads: u64,
    /// The number of parked threads that woke up while memory was copied. What they polled may be inconsistent.
    pub(crate) woken_threads: usize,
    /// The number of threads that may run a worker and could not be seen.
    pub(crate) unseen_threads: usize,
    /// What could not be read, each with its remedy if there is one.
    pub(crate) missing: Vec<String>,
}

/// A Tokio runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RuntimeNow {
    /// From 0 on, in the order of addresses.
    pub(crate) index: usize,
    /// `multi_thread` or `current_thread`; `local_set` for a `LocalSet`; `blocking_pool` for all functions given to
    /// `spawn_blocking`, because their runtime is unknown.
    pub(crate) flavor: String,
    /// The address of the runtime's handle.
    pub(crate) address: u64,
    /// The number of threads that entered the runtime. For `local_set` and `blocking_pool`: threads that poll its tasks.
    pub(crate) threads: usize,
    /// Why some of its tasks could not be read.
    pub(crate) unknown: Option<String>,
}

impl RuntimeNow {
    /// The flavor of a `LocalSet`.
    pub(crate) const LOCAL_SET: &str = "local_set";

    /// The flavor of functions given to `spawn_blocking`.
    pub(crate) const BLOCKING_POOL: &str = "blocking_pool";

    /// The number that users see. It counts from 1, like the names `runtime-1`, `runtime-2` in stall reports.
    pub(crate) fn number(index: usize) -> usize {
        index + 1
    }

    /// Whether it is a `LocalSet`, which is not a runtime.
    pub(crate) fn is_local_set(&self) -> bool {
        self.flavor == Self::LOCAL_SET
    }
}

/// A thread of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ThreadNow {
    pub(crate) tid: i32,
    pub(crate) name: String,
    /// The thread was running or runnable.
    pub(crate) runs: bool,
    /// The position of its runtime in [`Census::runtimes`].
    pub(crate) runtime: Option<usize>,
    /// The task that it polls.
    pub(crate) task: Option<TaskId>,
    /// It is inside `block_on`.
    pub(crate) block_on: bool,
    /// The future given to `block_on`, if it was found. It is not a task. If the thread runs: its last await.
    pub(crate) block_on_future: Option<Await>,
    /// Its call stack.
    pub(crate) stack: Result<Stack, StackUnavailable>,
    /// What its stack and its system call show of locks.
    pub(crate) locks: ThreadLocks,
    /// Why its runtime and task are unknown.
    pub(crate) unknown: Option<String>,
}

/// The locks of threads, such as those of the standard library and of parking_lot, that a thread has to do with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ThreadLocks {
    /// The address that it waits for in the kernel (`futex`). Locks of the standard library and of C are there.
    pub(crate) futex: Option<u64>,
    /// Words beside that address that are on its stack too. A thread that parks in parking_lot has its lock's address there.
    pub(crate) near_futex: Vec<u64>,
    /// The addresses of all those locks, of whatever thread, that are on its stack or in its registers.
    pub(crate) on_stack: Vec<u64>,
}

/// A running task whose thread is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UnplacedTask {
    pub(crate) task: TaskId,
    /// The threads that may poll it. All others are ruled out.
    pub(crate) threads: Vec<i32>,
}

/// A task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TaskNow {
    pub(crate) id: Option<TaskId>,
    /// The position of its runtime in [`Census::runtimes`].
    pub(crate) runtime: usize,
    pub(crate) state: TaskState,
    /// It was aborted.
    pub(crate) cancelled: bool,
    /// The type of its future, usually the name of an `async fn`.
    pub(crate) future: String,
    /// Only known if the program was built with `tokio_unstable`.
    pub(crate) spawned_at: Option<SourcePlace>,
    /// The thread that polls it.
    pub(crate) thread: Option<i32>,
    /// Its await path. If the task is running: its last await.
    pub(crate) path: Option<Await>,
    /// Futures that it does not poll, and that hold a lock or wait for one.
    pub(crate) unpolled: Vec<UnpolledFuture>,
    /// Why there is no path.
    pub(crate) unknown: Option<String>,
}

impl TaskNow {
    /// A task of which only its runtime and the name of its future are known.
    pub(crate) fn unread(runtime: usize, future: String) -> Self {
        Self {
            id: None,
            runtime,
            state: TaskState::Unknown,
            cancelled: false,
            future,
            spawned_at: None,
            thread: None,
            path: None,
            unpolled: Vec::new(),
            unknown: None,
        }
    }

    /// Whether the name of the task's future, or of a future on its await path, contains the text.
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

/// The state of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum TaskState {
    /// A thread polls it.
    Running,
    /// It is ready and waits for a worker.
    Scheduled,
    /// It waits, and nothing in the process can wake it: no waker of it exists.
    Lost,
    /// It waits for something.
    Idle,
    /// It is finished, but a handle still refers to it.
    Complete,
    /// Its memory is invalid.
    Unknown,
}

impl TaskState {
    /// All states.
    pub(crate) const ALL: [Self; 6] =
        [Self::Running, Self::Scheduled, Self::Lost, Self::Idle, Self::Complete, Self::Unknown];

    /// The word in text and JSON.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Scheduled => "scheduled",
            Self::Idle => "idle",
            Self::Lost => "lost",
            Self::Complete => "complete",
            Self::Unknown => "unknown",
        }
    }
}

/// A future that its task keeps in a variable and does not poll, with the lock that it holds or waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UnpolledFuture {
    pub(crate) future: String,
    /// The innermost await in the program's own code at which it is suspended.
    pub(crate) future_place: Option<SourcePlace>,
    /// The `async fn` with the variable.
    pub(crate) function: String,
    /// What that function awaits instead.
    pub(crate) place: Option<SourcePlace>,
    /// The address of the semaphore, or of the semaphore inside the lock.
    pub(crate) semaphore: u64,
    pub(crate) stage: LockStage,
}

/// How far a future has come in acquiring a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LockStage {
    /// It waits in the queue.
    Queued,
    /// The lock was granted to it, and it was not polled since.
    Granted,
    /// It holds a guard or permit.
    Holds,
}

impl LockStage {
    /// The word in JSON.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Granted => "granted",
            Self::Holds => "holds",
        }
    }
}

/// An unpolled future that tasks wait for, possibly its own task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Futurelock {
    /// The task that does not poll it.
    pub(crate) task: TaskId,
    pub(crate) unpolled: UnpolledFuture,
    /// The tasks that wait for its lock.
    pub(crate) waiting: Vec<TaskId>,
}

/// Futures or threads that wait for each other. None continues, unless somebody from outside releases what one waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WaitCycle {
    /// Each step waits for what the next one holds, and the last for what the first one holds.
    pub(crate) steps: Vec<WaitStep>,
    /// Why it is a guess, in one sentence. `None` if all that could release what is waited for was seen.
    pub(crate) doubt: Option<&'static str>,
    /// The number of other tasks, or threads, that wait for what the cycle holds.
    pub(crate) behind: usize,
    /// What to do. One sentence without a full stop.
    pub(crate) advice: &'static str,
}

impl WaitCycle {
    /// Its tasks, each once, in their order.
    pub(crate) fn tasks(&self) -> Vec<TaskId> {
        let mut seen = HashSet::new();
        let tasks = self.steps.iter().filter_map(|step| match step.waiting {
            Waiter::Task(id) => Some(id),
            Waiter::Thread { task, .. } => task,
            Waiter::BlockOn(_) => None,
        });
        tasks.filter(|id| seen.insert(*id)).collect()
    }
}

/// A future or a thread that holds what another one in the cycle waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WaitStep {
    pub(crate) waiting: Waiter,
    /// The `async fn` that holds it. Of a thread, the function of the program that waits.
    pub(crate) function: String,
    /// The await at which that function is suspended, or its call.
    pub(crate) place: Option<SourcePlace>,
    /// What it holds, in words, such as `the Mutex at 0x7f12a4000b70`. `None` if its own end is waited for.
    pub(crate) holds: Option<String>,
    /// What it waits for, in words.
    pub(crate) waits_for: String,
}

/// Whose future it is, or which thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Waiter {
    Task(TaskId),
    /// The future given to `block_on` on this thread.
    BlockOn(i32),
    /// A thread that waits for a lock of threads, and the task that it polls.
    Thread {
        tid: i32,
        task: Option<TaskId>,
    },
}

/// A future on an await path, with the futures that it awaits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Await {
    /// The name of the `async fn`, or the type of the future.
    pub(crate) future: String,
    /// The await at which it is suspended.
    pub(crate) place: Option<SourcePlace>,
    /// More about its state, such as `not polled yet` or `finished`.
    pub(crate) note: Option<String>,
    pub(crate) waits_for: Option<WaitsFor>,
    /// What it keeps in its variables and others may wait for.
    pub(crate) holds: Box<[Held]>,
    /// The futures that it awaits: one, or several for `join!` and `select!`.
    pub(crate) children: Vec<Self>,
}

/// Something that a future keeps while others may wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Held {
    pub(crate) kind: HeldKind,
    /// The address of the semaphore: inside the lock, or inside the channel. For a sender: of the channel.
    pub(crate) address: u64,
}

/// The kinds of things that futures keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum HeldKind {
    /// The guard of a mutex.
    Mutex,
    /// A guard for reading.
    ReadLock,
    /// A guard for writing.
    WriteLock,
    /// Permits of a semaphore.
    Permit,
    /// Reserved room in a bounded channel.
    Reserved,
    /// The receiver of a bounded channel, which makes room in it.
    Receiver,
    /// A sender of a channel.
    Sender,
}

impl Await {
    /// Calls `change` for this future and all futures that it awaits. The reader of the path limits its depth.
    pub(crate) fn each(&mut self, change: &mut dyn FnMut(&mut Self)) {
        change(self);
        for child in &mut self.children {
            child.each(change);
        }
    }

    /// What a future without children waits for, without the details that differ between tasks.
    pub(crate) fn reason(&self) -> Option<String> {
        Some(match (&self.waits_for, &self.note) {
            (Some(WaitsFor::Timer { .. }), _) => "a timer".to_owned(),
            (Some(WaitsFor::Task(_)), _) => "the end of a task".to_owned(),
            (Some(WaitsFor::Permits { .. }), _) => "a permit".to_owned(),
            (Some(WaitsFor::Io { .. }), _) => "I/O".to_owned(),
            (Some(WaitsFor::Message { what, .. }), _) => what.clone(),
            (Some(WaitsFor::Other(what)), _) if what.starts_with("unknown") => "something unknown".to_owned(),
            (Some(WaitsFor::Other(what)), _) => what.clone(),
            (None, Some(note)) if note.starts_with("unknown") => "something that cannot be read".to_owned(),
            // `not polled yet` or `finished`.
            (None, Some(note)) => format!("nothing: {note}"),
            (None, None) => return None,
        })
    }
}

/// What the last future of an await path waits for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum WaitsFor {
    /// A timer, with the time until it fires. Negative if it is overdue.
    Timer { in_ms: i64 },
    /// The end of another task.
    Task(TaskId),
    /// A semaphore, or something with a semaphore inside: a mutex, the capacity of a channel.
    Permits {
        /// The address of the semaphore.
        address: u64,
        wanted: u64,
        /// The number of permits that are not yet assigned to it. `None` if it is in no queue.
        missing: Option<u64>,
        /// The number of free permits.
        free: Option<u64>,
        /// The tasks that hold a guard, a permit or the channel's receiver, as far as they were found.
        holders: Vec<Holder>,
    },
    /// A message of an mpsc channel, or the value of a oneshot channel.
    Message {
        /// The address of the channel.
        channel: u64,
        /// The number of its senders.
        senders: u64,
        /// The channel in words.
        what: String,
    },
    /// Readiness of a socket or pipe.
    Io {
        fd: Option<i32>,
        /// Its kind and addresses, such as `TCP, 127.0.0.1:80 to 10.0.0.1:4242`.
        what: Option<String>,
    },
    /// Something else, in words.
    Other(String),
}

/// A task that holds what another task waits for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Holder {
    pub(crate) kind: HeldKind,
    pub(crate) task: TaskId,
    /// The `async fn` with the guard as a variable.
    pub(crate) function: String,
    /// The await at which that function is suspended.
    pub(crate) place: Option<SourcePlace>,
}
