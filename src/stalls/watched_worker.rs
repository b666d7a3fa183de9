//! What the watchdog remembers of a worker between two samples.

use std::time::Instant;

use super::evidence::EvidenceCollector;
use super::inferred_poll::PollInference;
use super::ongoing_stall::OngoingStall;
use super::queue_history::QueueHistory;
use super::sample::SampleContext;
use crate::model::worker::Progress;

/// One worker, as long as its progress does not change.
pub(super) struct WatchedWorker {
    pub(super) progress: Progress,
    /// The estimated start of the poll, or of the time between two polls.
    pub(super) poll_start: Instant,
    /// From when the poll counts towards the threshold.
    pub(super) counting_start: Instant,
    pub(super) evidence: Option<EvidenceCollector>,
    pub(super) stall: Option<OngoingStall>,
    /// Only for an uninstrumented worker.
    pub(super) inference: Option<PollInference>,
    /// The earliest time of the next breakpoint, taken over from the previous inference.
    pub(super) next_breakpoint: Option<Instant>,
    /// The tasks queued during the poll. Only filled for an instrumented poll.
    pub(super) queues: QueueHistory,
}

impl WatchedWorker {
    pub(super) fn new(sample: SampleContext) -> Self {
        let poll_start = sample.midpoint();
        Self {
            progress: sample.progress,
            poll_start,
            counting_start: sample.event_time(),
            evidence: None,
            stall: None,
            inference: None,
            next_breakpoint: None,
            queues: QueueHistory::new(poll_start),
        }
    }

    /// An uninstrumented worker that runs on. Its present poll began at `start`.
    pub(super) fn inferred(progress: Progress, start: Instant, inference: PollInference) -> Self {
        Self {
            progress,
            poll_start: start,
            counting_start: start,
            evidence: None,
            stall: None,
            inference: Some(inference),
            next_breakpoint: None,
            queues: QueueHistory::new(start),
        }
    }

    pub(super) fn next_breakpoint(&self) -> Option<Instant> {
        self.inference.as_ref().map(PollInference::next_breakpoint).or(self.next_breakpoint)
    }
}
