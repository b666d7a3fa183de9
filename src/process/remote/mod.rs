//! Another process, read from outside. Nothing in it is changed.

/// The observed process: handles that its readers share.
mod remote_process;

/// Snapshots of Tokio's thread-local context.
mod contexts;

/// CPU samples of its threads.
mod cpu;

/// Descriptions of its file descriptors.
mod descriptors;

/// All of its threads and memory at one moment, with running threads held.
mod freeze;

/// A search of its heap for words.
mod heap_search;

/// A copy of its memory.
mod snapshot;

/// Stacks of its threads.
mod stacks;

/// The stacks of all threads at that moment.
mod moment_stacks;

/// Stops of its threads.
mod stops;

/// The number of its threads: the limit, and when to list them again.
mod thread_count;

/// The thread pointer of every thread.
mod thread_locals;

/// The thread pointer of one thread.
mod thread_pointer;

/// Its workers, if debug information describes types.
mod typed_workers;

/// Its workers, if debug information describes no types.
mod untyped_workers;

/// What is known of one untyped worker.
mod untyped_worker_state;

/// The untyped workers as the watchdog last sampled them.
mod worker_snapshot;

pub(crate) use cpu::RemoteCpu;
pub(crate) use descriptors::Descriptors;
pub(crate) use freeze::{FrozenProcess, FrozenThread};
pub(crate) use heap_search::HeapMatches;
pub(crate) use moment_stacks::MomentStack;
pub(crate) use remote_process::RemoteProcess;
pub(crate) use snapshot::{LiveMemory, Snapshot};
pub(crate) use stacks::RemoteStacks;
pub(crate) use stops::Stops;
pub(crate) use thread_locals::ThreadLocals;
pub(crate) use typed_workers::{TypedWorkers, WorkerFinder};
pub(crate) use untyped_workers::UntypedWorkers;
pub(crate) use worker_snapshot::{UntypedSnapshot, UntypedWorker};
