//! Ended stalls whose victims are not known yet. The worker first polls the tasks that waited, which takes a moment.
//!
//! ```text
//!  Watchdog::end_stall ──add──▶ PendingEnd {evidence, queue history}
//!                                  │  WorkerSource::post_stall_polls: NotYet ──▶ stays, for at most 100 ms
//!                                  ▼  Seen: QueueHistory::victims    Missed: VictimsUnknown
//!                               EndedStall ──▶ Observation::Ended
//! ```

use std::time::{Duration, Instant};

use super::observation::EndedStall;
use super::queue_history::QueueHistory;
use crate::model::evidence::Evidence;
use crate::model::post_stall::Followed;
use crate::model::stall::StallId;
use crate::model::victims::VictimsUnknown;
use crate::model::worker::Progress;
use crate::process::WorkerSource;

/// The longest time between the end of a stall and its report.
const MAX_WAIT: Duration = Duration::from_millis(100);

/// An ended stall whose victims are not known yet.
#[derive(Debug)]
pub(super) struct PendingEnd {
    pub(super) id: StallId,
    /// The worker's key.
    pub(super) worker: u64,
    /// The worker's progress during the stall.
    pub(super) progress: Progress,
    /// When the stall ended.
    pub(super) at: Instant,
    pub(super) evidence: Evidence,
    pub(super) queues: QueueHistory,
}

/// At most one pending end for each worker.
#[derive(Debug, Default)]
pub(crate) struct PendingEnds(Vec<PendingEnd>);

impl PendingEnds {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds an end, and returns the previous one of the same worker with the polls recorded so far.
    pub(super) fn add<S: WorkerSource>(&mut self, source: &mut S, end: PendingEnd) -> Option<EndedStall> {
        let before = self.take_of_worker(source, end.worker);
        self.0.push(end);
        before
    }

    /// The end of this worker's stall, with the polls recorded so far.
    pub(super) fn take_of_worker<S: WorkerSource>(&mut self, source: &mut S, worker: u64) -> Option<EndedStall> {
        let at = self.0.iter().position(|end| end.worker == worker)?;
        let end = self.0.swap_remove(at);
        Some(end.complete_now(source))
    }

    /// The ends whose victims are known by now, or have been awaited for too long.
    pub(super) fn take_completed<S: WorkerSource>(&mut self, source: &mut S, now: Instant) -> Vec<EndedStall> {
        let mut completed = Vec::new();
        let mut waiting = Vec::with_capacity(self.0.len());
        for end in self.0.drain(..) {
            let is_late = now.saturating_duration_since(end.at) >= MAX_WAIT;
            match source.post_stall_polls(end.worker, end.progress, is_late) {
                Followed::NotYet => waiting.push(end),
                polls => completed.push(end.complete(polls)),
            }
        }
        self.0 = waiting;
        completed
    }

    /// All remaining ends, when the watchdog stops.
    pub(super) fn take_all<S: WorkerSource>(&mut self, source: &mut S) -> Vec<EndedStall> {
        self.0.drain(..).map(|end| end.complete_now(source)).collect()
    }
}

impl PendingEnd {
    fn complete_now<S: WorkerSource>(self, source: &mut S) -> EndedStall {
        let polls = source.post_stall_polls(self.worker, self.progress, true);
        self.complete(polls)
    }

    fn complete(self, polls: Followed) -> EndedStall {
        let victims = match polls {
            Followed::Seen(polls) => Ok(self.queues.victims(&polls)),
            Followed::Missed | Followed::NotYet => Err(VictimsUnknown::Missed),
        };
        EndedStall { id: self.id, evidence: self.evidence, victims }
    }
}
