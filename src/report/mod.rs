//! What happens after a stall is noticed, inside and outside alike: explain it, keep it, report it.

/// A bounded queue to a thread that may be stuck.
mod handover;

/// The captures of one stall, and its parts.
mod captures;

/// Stalls so far, in bounded memory.
mod history;

/// What is said, as text and as an event.
mod news;

/// Standard error.
mod printer;

/// How often equal stalls are reported.
mod rate_limit;

/// Explains observations and reports them.
mod reporter;

/// A shutdown that waits.
mod shutdown;

/// What it waits for, in numbers.
mod shutdown_waits;

/// Where reports go.
mod sinks;

/// Everything that is known of a watch's stalls.
mod stall_log;

/// Stalled time by stack.
mod stalled_time;

/// Says that the watchdog is stuck.
mod stuck_watchdog;

/// The program's `tracing` subscriber.
mod subscriber;

/// One line for each kind of stall.
mod summary;

/// Counts of what was not delivered.
mod undelivered;

pub(crate) use news::News;
pub(crate) use printer::Printing;
#[cfg(feature = "attach")]
pub(crate) use reporter::FutureOn;
pub(crate) use reporter::{QUEUE, Reporter};
pub(crate) use shutdown::{KnownWork, ShutdownReport, WaitedFor};
pub(crate) use sinks::{Audience, Callback, Sinks};
pub(crate) use stall_log::StallLog;
pub(crate) use stuck_watchdog::check_watchdog;
pub(crate) use summary::summary;
