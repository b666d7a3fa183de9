//! Finds causes and culprits from evidence and stacks. Pure: values in, values out.

/// The cause of a stall.
mod cause;

/// The culprit of a stall.
mod culprit;

/// What exactly a worker waited for.
mod object;

/// Who waits for whom, between futures.
#[cfg(feature = "attach")]
mod wait_graph;

/// Unpolled futures that hold locks.
#[cfg(feature = "attach")]
mod futurelock;

pub(crate) use cause::classify;
#[cfg(feature = "export")]
pub(crate) use culprit::is_poll_of_runtime;
#[cfg(feature = "attach")]
pub(crate) use futurelock::futurelocks;
pub(crate) use object::objects;
#[cfg(feature = "attach")]
pub(crate) use wait_graph::cycles;

pub(crate) use culprit::{find_culprit, is_in_local_set, is_in_task, poll_boundary, worker_handed_over};

pub(crate) use cause::{PollTime, own_cause};
