//! Notices workers that stopped moving, gathers evidence while they are stuck, and takes their stacks.
//!
//! Everything here works on numbers and addresses. Names, causes and reports are made elsewhere and on another
//! thread, so that reading debug information never makes the watchdog blind.

/// What is known of one stuck poll while it lasts.
mod evidence;

/// Who waits behind a stuck worker.
mod backlog;

/// Since when tasks have been queued behind it.
mod queue_history;

/// Stalls that are over, and whose worker is followed.
mod pending_ends;

/// Polls that do not tell: is a worker that runs on inside a long one?
mod inferred_poll;

/// What the watchdog tells.
mod observation;

/// How often it looks.
mod interval;

/// The thread that looks once a millisecond.
mod watchdog;

/// Polls longer than this are stalls, unless another threshold is set.
pub(crate) const DEFAULT_THRESHOLD: std::time::Duration = std::time::Duration::from_millis(10);

/// The shortest poll that can be told from the time between two samples of the watchdog.
pub(crate) const SMALLEST_THRESHOLD: std::time::Duration = std::time::Duration::from_millis(1);

pub(crate) use observation::{Life, Noticed, Observation, Update};
pub(crate) use watchdog::{Totals, Watchdog};
