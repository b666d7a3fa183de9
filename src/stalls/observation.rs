//! Observations that the watchdog sends to the reporter: numbers and addresses without names.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use crate::model::evidence::Evidence;
use crate::model::stack::{RawStack, StackUnavailable};
use crate::model::stall::{Detection, StallId};
use crate::model::task::Task;
use crate::model::victims::{Victims, VictimsUnknown};
use crate::model::waiting::Waiting;
use crate::model::worker::Worker;

/// A change of a stall.
#[derive(Debug)]
pub(crate) enum Observation {
    /// A poll has crossed the threshold.
    Noticed(Box<Noticed>),
    /// The poll is still running, and its stack was captured again.
    Updated(StallId, Box<Update>),
    /// The poll has returned.
    Ended(Box<EndedStall>),
}

/// A stall that has just been noticed.
#[derive(Debug)]
pub(crate) struct Noticed {
    pub(crate) id: StallId,
    pub(crate) worker: Arc<Worker>,
    pub(crate) task: Task,
    pub(crate) at: SystemTime,
    /// The time from the start of the poll until then.
    pub(crate) after: Duration,
    pub(crate) detection: Detection,
    pub(crate) life: Arc<Life>,
    pub(crate) first: Update,
}

/// The state of a stall at one moment.
#[derive(Debug)]
pub(crate) struct Update {
    /// The time since the start of the poll.
    pub(crate) after: Duration,
    pub(crate) stack: Result<RawStack, StackUnavailable>,
    pub(crate) evidence: Evidence,
    /// Since when the thread does something else than in the previous update, if that was seen.
    pub(crate) change: Option<Change>,
    pub(crate) waiting: Waiting,
    /// The runtime has had a task.
    pub(crate) had_tasks: bool,
}

/// A moment at which a thread began to wait, to wait for something else, or to run.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    /// The time since the start of the poll.
    pub(crate) after: Duration,
    /// The evidence until then.
    pub(crate) evidence: Evidence,
}

/// A stall whose poll has returned.
#[derive(Debug)]
pub(crate) struct EndedStall {
    pub(crate) id: StallId,
    /// The evidence on the whole poll.
    pub(crate) evidence: Evidence,
    pub(crate) victims: Result<Victims, VictimsUnknown>,
}

/// The duration of a stall. It can be read at any time, even if the observation of the end was lost.
#[derive(Debug)]
pub(crate) struct Life {
    started: Instant,
    ended_after: OnceLock<Duration>,
    /// Set when the watchdog stops before the stall ends.
    last_seen_after: OnceLock<Duration>,
}

impl Life {
    pub(crate) fn begun(started: Instant) -> Self {
        Self { started, ended_after: OnceLock::new(), last_seen_after: OnceLock::new() }
    }

    pub(super) fn end(&self, at: Instant) {
        let _already_ended = self.ended_after.set(at.duration_since(self.started));
    }

    /// Nobody looks any more, so the duration stays what it is.
    pub(super) fn leave(&self, at: Instant) {
        let _already_left = self.last_seen_after.set(at.duration_since(self.started));
    }

    /// The time since the end of the stall. `None` while it lasts.
    pub(crate) fn ended_ago(&self) -> Option<Duration> {
        Some(self.started.elapsed().saturating_sub(*self.ended_after.get()?))
    }

    /// The duration until the end, until the last sample, or until now.
    pub(crate) fn duration(&self) -> Duration {
        let known = self.ended_after.get().or_else(|| self.last_seen_after.get());
        known.copied().unwrap_or_else(|| self.started.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_that_nobody_sees_any_more_does_not_grow() {
        let started = Instant::now();
        let seen = Duration::from_millis(20);
        let life = Life::begun(started);
        life.leave(started + seen);
        std::thread::sleep(Duration::from_millis(30));
        assert_eq!((life.duration(), life.ended_ago()), (seen, None), "it has not ended as far as anybody knows");
    }
}
