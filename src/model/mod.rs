//! What is observed and reported, as plain data: no clocks, no I/O, no globals.
//!
//! A *target* produces these values, pure code turns them into findings and files, thin faces show them.

/// Counts with their nouns.
pub(crate) mod plural;

/// Tasks, by Tokio's own id.
pub(crate) mod task;

/// What tasks did in a window of time.
pub(crate) mod task_stats;

/// Names of types as the compiler writes them.
#[cfg(feature = "attach")]
pub(crate) mod type_name;

/// Workers: threads that poll tasks.
pub(crate) mod worker;

/// Addresses, frames and stacks.
pub(crate) mod stack;

/// Numbers that tell what a stuck thread was doing.
pub(crate) mod evidence;

/// What a stuck thread was doing, in one word, with a sentence of advice.
pub(crate) mod cause;

/// Who waits behind a stall.
pub(crate) mod waiting;

/// Which tasks had to wait.
pub(crate) mod victims;

/// What a worker does after a stall.
pub(crate) mod post_stall;

/// Stalls, from notice to end.
pub(crate) mod stall;

/// What holdup can see in this process, and what would let it see more.
pub(crate) mod check;

/// Processes of this machine.
#[cfg(feature = "attach")]
pub(crate) mod process;

/// Profiles: weighted stacks with names.
pub(crate) mod profile;

/// What a process has done since a moment ago.
#[cfg(feature = "attach")]
pub(crate) mod activity;

/// All tasks at one moment, and what they await.
#[cfg(feature = "attach")]
pub(crate) mod census;
