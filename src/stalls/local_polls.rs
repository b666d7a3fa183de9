//! Polls within the poll of the future given to `block_on`: a `LocalSet` in it polls up to 61 of its tasks in a row.
//!
//! The set is the scheduler of its tasks, as a runtime is of its own. So each of these polls is a poll of its own, and many short
//! ones are no stall. Tokio has no hooks for them. Breakpoints at the addresses to which they return tell one from the next.

use std::time::Instant;

use super::sample::{MAX_BACKDATING, SampleContext};
use crate::model::stack::{RawStack, StackUnavailable};
use crate::model::stall::Detection;
use crate::process::{BreakpointError, PollInStack, WorkerSource};

/// What is known of the present poll by a `LocalSet`, if there is one.
#[derive(Debug)]
pub(super) struct LocalPolls {
    returns: Returns,
    /// Since when.
    since: Instant,
}

/// Whether returns of such polls are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Returns {
    Watched,
    /// No return address is known yet.
    NoAddress,
    /// The kernel refuses breakpoints.
    Refused,
}

impl LocalPolls {
    /// Watches the returns of such polls from now on.
    pub(super) fn watch<S: WorkerSource>(source: &mut S, sample: SampleContext) -> Self {
        let returns = match source.watch_local_polls(sample.worker) {
            Ok(()) => Returns::Watched,
            Err(BreakpointError::NoReturnAddress) => Returns::NoAddress,
            Err(BreakpointError::Refused) => Returns::Refused,
        };
        Self { returns, since: sample.taken() }
    }

    /// Whether such a poll has returned. An address that was not known before may be by now.
    pub(super) fn returned<S: WorkerSource>(&mut self, source: &mut S, sample: SampleContext) -> bool {
        if self.returns == Returns::NoAddress {
            *self = Self::watch(source, sample);
        }
        self.returns == Returns::Watched && source.poll_returned(sample.worker) == Some(true)
    }

    /// The earliest start of the present poll: a moment before its return was watched. Others may have returned before.
    pub(super) fn earliest_start(&self) -> Instant {
        self.since.checked_sub(MAX_BACKDATING).unwrap_or(self.since)
    }

    /// How it is known that the poll with this stack is one. `None` if such a poll has returned, so that the stack may show the next.
    pub(super) fn detection<S: WorkerSource>(
        &mut self,
        source: &mut S,
        sample: SampleContext,
        stack: &Result<RawStack, StackUnavailable>,
    ) -> Option<Detection> {
        let in_stack = |stack: &RawStack| source.local_poll_in_stack(sample.worker, stack);
        match stack.as_ref().map_or(PollInStack::Unknown, in_stack) {
            PollInStack::Watched => (!self.returned(source, sample)).then_some(Detection::NoReturn),
            PollInStack::Unwatched => {
                // It may have returned before. From now on its return is seen.
                *self = Self::watch(source, sample);
                Some(Detection::LocalSet)
            }
            PollInStack::None | PollInStack::Unknown => Some(Detection::Instrumented),
        }
    }
}
