//! Notices workers that stopped moving, gathers evidence while they are stuck, and takes their stacks.
//!
//! Everything here works on numbers and addresses. Names, causes and reports are made elsewhere and on another
//! thread, so that reading debug information never makes the watchdog blind.

/// What is known of one stuck poll while it lasts.
mod gathering;

/// Who waits behind a stuck worker.
mod behind;

/// Since when tasks have been queued behind it.
mod queues;

/// Stalls that are over, and whose worker is followed.
mod endings;

/// Polls that do not tell: is a worker that runs on inside a long one?
mod stretch;

/// What the watchdog tells.
mod observation;

/// How often it looks.
mod pace;

/// The thread that looks once a millisecond.
mod watchdog;

pub(crate) use observation::{Life, Noticed, Observation, Update};
pub(crate) use watchdog::{Totals, Watchdog};
