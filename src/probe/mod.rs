//! The hot path: what workers themselves do, on every poll, so that the watchdog can see how far they have come.
//!
//! # Contract
//! Per poll: no clock, no lock, no allocation, no system call, no read-modify-write; a handful of plain stores into
//! one cache line that only this worker writes. `benches/poll_cost.rs` measures it. Registering a worker, parking
//! and unparking may cost more, because they are rare.
//!
//! While somebody counts polls (`Watch::tasks`), and only then, a worker reads the clock before and after each poll and
//! adds it to its own [`poll_stats::Ledger`]. After a stall a worker is followed for a few polls ([`post_stall_recorder::Follower`]), which
//! tells who waited behind it. Whether somebody wants either is one flag in that cache line.
//!
//! # Who writes what
//! A [`slot::Slot`] is written by the thread that holds it in its thread-local, with one exception:
//! [`registry::Registry`] detaches the slot of a thread that lost its worker to another (`block_in_place`).
//! The watchdog only reads. The beginning and end of a window raise and lower a slot's flag,
//! as the watchdog does when it notices a stall and has heard who waited.

/// One cache line per worker: how far it has come.
mod slot;

/// What a worker adds up while somebody counts polls.
mod poll_stats;

/// What a worker polls right after a stall.
mod post_stall_recorder;

/// How many tasks are queued, and which polls take them.
mod queue_drain;

/// The ledgers of all workers, put together.
mod poll_stats_merge;

/// The slot of the current thread, and who else holds one.
mod thread_slot;

/// The workers of one watch.
mod registry;

/// The runtimes of one watch, to ask Tokio about their tasks.
mod runtimes;

/// Hooks given to Tokio's runtime builder, composed with the user's own.
mod hooks;

/// The future wrapper, which works without `tokio_unstable`.
mod watched;

/// Names given to tasks, kept once each.
mod names;

/// A task's name that is known from outside the task.
#[cfg(feature = "console")]
mod task_name;

pub use hooks::Hooks;
pub use watched::{WatchFutureExt, Watched, spawn, spawn_named};

#[cfg(any(feature = "http", feature = "console"))]
pub(crate) use hooks::hold_samples_while_parked;
pub(crate) use hooks::install;
pub(crate) use registry::{Entry, MAX_WINDOWS, Registry, RuntimeProbe};
pub(crate) use runtimes::Runtimes;
pub(crate) use slot::{Slot, task_of};
#[cfg(feature = "console")]
pub(crate) use task_name::TaskName;
pub(crate) use thread_slot::RootThread;
#[cfg(feature = "testing")]
pub(crate) use thread_slot::current_watch;
pub(crate) use watched::root;
#[cfg(feature = "testing")]
pub(crate) use watched::{Root, root_at};
