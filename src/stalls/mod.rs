//! The watchdog: notices workers that are stuck in one poll, collects evidence meanwhile, and captures their stacks.
//!
//! Everything here works on numbers and addresses. Another thread makes names, causes and reports of them, because reading
//! debug information takes so long that the watchdog would miss stalls.
//!
//! # A stall, from its start to its end
//!
//! ```text
//!  worker (`probe`)                    watchdog                                      reporter (`report`)
//!  ─────────────────                   ────────────────────────────────────────      ───────────────────
//!  the poll begins ──▶ slot ─────────▶ [`sample`]: the same poll again
//!                                      [`evidence`], [`queue_history`]
//!  the threshold is crossed ─────────▶ notice: stack, [`backlog`] ─────────────────▶ Observation::Noticed
//!  a recorder waits in the slot ◀───── record_post_stall
//!  the poll goes on ─────────────────▶ update: stack again ────────────────────────▶ Observation::Updated
//!  the poll ends ────────────────────▶ end: evidence and queue history
//!                                      wait in [`pending_ends`]
//!  polls the queued tasks ──▶ recorder
//!  queues are empty, or it parks ────▶ post_stall_polls: recorder and queue
//!                                      history give the victims ───────────────────▶ Observation::Ended
//! ```
//!
//! Workers whose polls are not instrumented take one step more: [`inferred_poll`] must first prove that they are in one poll.
//! Within a poll of the future given to `block_on`, [`local_polls`] tells the polls of a `LocalSet` apart.

/// The evidence on one poll while it runs.
mod evidence;

/// The parts of a window as disjoint times.
mod window_parts;

/// The worker, its progress, and the times of one sample.
mod sample;

/// What is remembered of a worker between two samples.
mod watched_worker;

/// The tasks and workers behind a stuck worker.
mod backlog;

/// When tasks were queued behind a stuck worker.
mod queue_history;

/// Ended stalls whose victims are not known yet.
mod pending_ends;

/// Long polls of workers whose polls are not instrumented.
mod inferred_poll;

/// Polls by a `LocalSet` within another poll.
mod local_polls;

/// A stall while its poll still runs.
mod ongoing_stall;

/// What each worker did in the last minutes.
#[cfg(feature = "http")]
mod lane_recorder;

/// What the watchdog sends to the reporter.
mod observation;

/// The time between two samples.
mod interval;

/// What the watchdog is at.
mod sampling_now;

/// Counts of the watchdog.
mod totals;

/// The thread that samples the workers.
mod watchdog;

/// The shortest threshold. Shorter polls are lost in the time between two samples.
pub(crate) const SMALLEST_THRESHOLD: std::time::Duration = std::time::Duration::from_millis(1);

/// The threshold, unless another one is set.
pub(crate) const DEFAULT_THRESHOLD: std::time::Duration = std::time::Duration::from_millis(10);

#[cfg(feature = "http")]
pub(crate) use lane_recorder::LaneHistory;
pub(crate) use observation::{Change, EndedStall, Life, Noticed, Observation, Update};
pub(crate) use sampling_now::SamplingNow;
pub(crate) use totals::Totals;
pub(crate) use watchdog::Watchdog;
