//! What happens after a stall is noticed, inside and outside alike: explain it, keep it, report it.

/// Stalls so far, in bounded memory.
mod history;

/// How often equal stalls are reported.
mod rate_limit;

/// Explains observations and reports them.
mod reporter;

/// Where reports go.
mod sinks;

/// Everything that is known of a watch's stalls.
mod stall_log;

/// Stalled time by stack.
mod stalled_time;

#[cfg(feature = "attach")]
pub(crate) use reporter::FutureOn;
pub(crate) use reporter::{QUEUE, Reporter};
pub(crate) use sinks::{Callback, Sinks};
pub(crate) use stall_log::StallLog;
