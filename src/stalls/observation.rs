//! What the watchdog tells: numbers and addresses, to be explained on another thread.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use crate::model::evidence::Evidence;
use crate::model::stack::{RawStack, StackUnavailable};
use crate::model::stall::{Detection, StallId};
use crate::model::task::Task;
use crate::model::victims::{Victims, VictimsUnknown};
use crate::model::waiting::Waiting;
use crate::model::worker::Worker;

/// Something happened to a stall.
#[derive(Debug)]
pub(crate) enum Observation {
    /// A poll crossed the threshold.
    Noticed(Box<Noticed>),
    /// It lasts, and its stack was taken again.
    Updated(StallId, Update),
    /// Its poll returned; the evidence covers all of it, and who waited is known as far as it will be.
    Ended(StallId, Evidence, Result<Victims, VictimsUnknown>),
}

/// A stall that has just been noticed.
#[derive(Debug)]
pub(crate) struct Noticed {
    pub(crate) id: StallId,
    pub(crate) worker: Arc<Worker>,
    pub(crate) task: Task,
    pub(crate) at: SystemTime,
    pub(crate) detection: Detection,
    pub(crate) life: Arc<Life>,
    pub(crate) first: Update,
}

/// The state of a stall at one moment of it.
#[derive(Debug)]
pub(crate) struct Update {
    /// How long it had lasted.
    pub(crate) after: Duration,
    pub(crate) stack: Result<RawStack, StackUnavailable>,
    pub(crate) evidence: Evidence,
    pub(crate) waiting: Waiting,
}

/// How long a stall lasts, readable at any time and also when the observation of its end was lost.
#[derive(Debug)]
pub(crate) struct Life {
    started: Instant,
    ended_after: OnceLock<Duration>,
}

impl Life {
    pub(crate) fn begun(started: Instant) -> Self {
        Self { started, ended_after: OnceLock::new() }
    }

    pub(super) fn end(&self, at: Instant) {
        let _ended_before = self.ended_after.set(at.duration_since(self.started));
    }

    /// How long ago it ended; `None` while it lasts.
    pub(crate) fn ended_ago(&self) -> Option<Duration> {
        Some(self.started.elapsed().saturating_sub(*self.ended_after.get()?))
    }

    /// Until its end, or until now.
    pub(crate) fn duration(&self) -> Duration {
        self.ended_after.get().copied().unwrap_or_else(|| self.started.elapsed())
    }
}
