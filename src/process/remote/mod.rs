//! Another process: read from outside, never changed.

/// What each of its threads is busy with, by Tokio's thread-local variable.
mod contexts;

/// What its threads do with their CPU time.
mod cpu;

/// What its file descriptors are.
mod descriptors;

/// One moment of it, with running threads held.
mod freeze;

/// Searches its memory for words.
mod heap_search;

/// A copy of its memory.
mod snapshot;

/// Stacks of its threads.
mod stacks;

/// When its threads are listed.
mod thread_count;

/// Where each thread keeps its variables, looked up once.
mod thread_locals;

/// Where a thread keeps its variables.
mod thread_pointer;

/// Its workers, by the types that its debug information describes.
mod typed_workers;

/// Its workers, where debug information describes no types.
mod untyped_workers;

/// What the watchdog has seen of such workers, for others.
mod worker_snapshot;

pub(crate) use cpu::RemoteCpu;
pub(crate) use descriptors::Descriptors;
pub(crate) use freeze::{FrozenProcess, FrozenThread};
pub(crate) use heap_search::HeapMatches;
pub(crate) use snapshot::{LiveMemory, Snapshot};
pub(crate) use stacks::RemoteStacks;
pub(crate) use thread_locals::ThreadLocals;
pub(crate) use typed_workers::{TypedWorkers, WorkerFinder};
pub(crate) use untyped_workers::UntypedWorkers;
pub(crate) use worker_snapshot::{UntypedSnapshot, UntypedWorker};
