//! A census: all tasks of a process at one moment, and what each of them waits for.
//!
//! Threads lead to runtimes, runtimes to lists of tasks, tasks to their futures, and futures to the futures they await.
//! The memory may hold anything. What is invalid makes one task unknown and does not affect the others. The number of
//! tasks, the depth of a path and the steps for one task are limited.

/// The process, its memory and its threads.
mod subject;

/// From threads to runtimes.
mod runtimes;

/// The parts of a task that Tokio reaches from its header.
mod task_layout;

/// From runtimes to tasks.
mod task_list;

/// Sets of futures: `JoinSet` and `FuturesUnordered`.
mod collections;

/// The queue of a semaphore.
mod semaphore_queue;

/// Channels behind their ends.
mod channels;

/// What functions keep in their variables.
mod held_things;

/// Which tasks own the locks and permits that others wait for.
mod lock_owners;

/// What the last future of an await path waits for.
mod wait_reasons;

/// The futures inside a future.
mod future_parts;

/// From a future to all futures that it awaits.
mod await_path;

/// Futures that their task keeps in a variable and does not poll.
mod futurelock;

/// Reads one task.
mod task_reader;

/// Futures given to `block_on`.
mod block_on_future;

/// Tasks that are in no runtime's list, found by a search of the heap.
mod heap_tasks;

/// The threads of a census, with the tasks that they poll.
mod threads;

/// The census of a program with descriptions of types.
mod typed_census;

/// The search for tasks of a program without descriptions of types.
mod task_scan;

/// The threads that poll these tasks, as far as their stacks prove it.
mod stack_proof;

/// The census of a program without descriptions of types.
mod scanned_census;

/// From threads to workers.
mod workers;

/// Memory for tests of scans.
#[cfg(test)]
mod test_memory;

pub(crate) use heap_tasks::HeapTaskKinds;
pub(crate) use scanned_census::{add_threads, scanned_census};
pub(crate) use stack_proof::{PolledTasks, StackEvidence};
pub(crate) use subject::{BlockOnFutures, Subject, ThreadStart};
pub(crate) use task_scan::{ScanRanges, TaskScan};
