//! From evidence and stacks to causes and culprits. Pure: values in, values out.

/// What a stuck worker was doing.
mod cause;

/// Which frame of the user's code leads to it.
mod culprit;

/// Tasks that wait for each other.
#[cfg(feature = "attach")]
mod cycle;

/// Futures that nobody polls and others wait for.
#[cfg(feature = "attach")]
mod futurelock;

pub(crate) use cause::classify;
#[cfg(any(feature = "http", all(test, feature = "formats")))]
pub(crate) use culprit::is_poll_of_runtime;
#[cfg(feature = "attach")]
pub(crate) use cycle::cycles;
#[cfg(feature = "attach")]
pub(crate) use futurelock::futurelocks;

pub(crate) use culprit::{find_culprit, handed_on, poll_boundary};
