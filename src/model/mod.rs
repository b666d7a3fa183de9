//! Observations and reports as plain data: no clocks, no I/O, no globals.
//!
//! `process` produces these values, pure code turns them into findings and files, and thin front ends show them.

/// A fast hash of addresses.
#[cfg(feature = "attach")]
pub(crate) mod address_hash;

/// Stops of another process's threads.
#[cfg(feature = "attach")]
pub(crate) mod thread_stops;

/// Counts with their nouns.
pub(crate) mod plural;

/// Tasks and their ids.
pub(crate) mod task;

/// Statistics of tasks in a window of time.
pub(crate) mod task_stats;

/// Type names as the compiler writes them.
#[cfg(feature = "attach")]
pub(crate) mod type_name;

/// Threads of holdup's own.
pub(crate) mod own_thread;

/// What each worker did in the last minutes.
#[cfg(feature = "http")]
pub(crate) mod lanes;

/// Numbers of runtimes, second by second.
#[cfg(feature = "http")]
pub(crate) mod numbers;

/// Workers: threads that poll tasks.
pub(crate) mod worker;

/// Addresses, frames and stacks.
pub(crate) mod stack;

/// Numbers about a stuck thread.
pub(crate) mod evidence;

/// Sums and differences of evidence.
mod evidence_sum;

/// Classes of causes, with advice.
mod cause_class;

/// Causes of stalls.
pub(crate) mod cause;

/// What exactly a worker waited for, with advice.
pub(crate) mod cause_object;

/// The work that waits for a stuck worker.
pub(crate) mod waiting;

/// The tasks that waited for a stuck worker.
pub(crate) mod victims;

/// The polls of a worker after a stall.
pub(crate) mod post_stall;

/// What a long poll holds up.
pub(crate) mod holds;

/// Counts of a watch.
pub(crate) mod counters;

/// Stalls.
pub(crate) mod stall;

/// Stalls by the user's function.
pub(crate) mod stall_group;

/// Build settings that name more functions.
pub(crate) mod remedy;

/// The self-check.
pub(crate) mod check;

/// Processes of this machine.
#[cfg(feature = "attach")]
pub(crate) mod process;

/// Profiles: weighted stacks with names.
pub(crate) mod profile;

/// The memory of a process by kind.
#[cfg(feature = "cli")]
pub(crate) mod memory;

/// The activity of a process since the last sample.
#[cfg(feature = "attach")]
pub(crate) mod activity;

/// All tasks at one moment, and their await paths.
#[cfg(feature = "attach")]
pub(crate) mod census;
