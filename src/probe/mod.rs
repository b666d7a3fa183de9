//! The hot path: workers publish their progress on every poll, and the watchdog reads it.
//!
//! # Contract
//! Per poll: no clock, no lock, no allocation, no system call, no read-modify-write. A few plain stores go into one cache
//! line that only this worker writes. `benches/poll_cost.rs` measures them. Registering, parking and unparking are rare, so
//! they may cost more.
//!
//! While a window of task statistics is open (`Watch::count_tasks`), a worker also reads the clock before and after each poll.
//! It adds the time to its [`poll_stats::PollStats`]. After a stall, a [`post_stall_recorder::PostStallRecorder`] records a few
//! polls, to find the victims. One flag in that cache line says whether either is needed.
//!
//! # Who writes what
//! Only the thread that owns a [`slot::Slot`] writes it, with two exceptions. [`registry::Registry`] detaches the slot of a
//! thread that lost its worker to another one (`block_in_place`). And a thread that opens a window, or notices a stall, turns
//! the recording of polls on and off. Otherwise the watchdog only reads.

/// The progress of a worker, in one pair of cache lines.
mod slot;

/// Statistics of a worker's polls, while a window is open.
mod poll_stats;

/// The polls of a worker right after a stall.
mod post_stall_recorder;

/// Queue depths, and which polls take tasks out of the queues.
mod queue_drain;

/// Task statistics, merged from all workers.
mod poll_stats_merge;

/// The slot of the current thread.
mod thread_slot;

/// The threads of a runtime's pool.
mod pool_threads;

/// Tasks of holdup's own.
mod own_tasks;

/// The workers of one watch.
mod registry;

/// The runtimes of one watch, for Tokio's metrics.
mod runtimes;

/// Hooks given to Tokio's runtime builder.
mod hooks;

/// The future wrapper, which works without `tokio_unstable`.
mod watched;

/// Interned task names.
mod names;

/// A task name that comes from a tracing span.
#[cfg(feature = "console")]
mod task_name;

pub use hooks::Hooks;
pub use watched::{WatchFutureExt, Watched, spawn, spawn_named};

#[cfg(any(feature = "http", feature = "console"))]
pub(crate) use hooks::hold_samples_while_parked;
pub(crate) use hooks::install;
#[cfg(feature = "tower")]
pub(crate) use names::NameId;
pub(crate) use own_tasks::OwnTask;
pub(crate) use registry::{Entry, MAX_WINDOWS, Registry, RuntimeProbe};
pub(crate) use runtimes::Runtimes;
pub(crate) use slot::{Slot, task_of};
#[cfg(feature = "console")]
pub(crate) use task_name::TaskName;
pub(crate) use thread_slot::RootThread;
#[cfg(feature = "testing")]
pub(crate) use thread_slot::current_watch;
pub(crate) use watched::root;
#[cfg(feature = "tower")]
pub(crate) use watched::run_named;
#[cfg(feature = "testing")]
pub(crate) use watched::{Root, root_at};
