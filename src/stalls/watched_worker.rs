//! What the watchdog remembers of a worker between two samples.

use std::time::{Duration, Instant};

use super::evidence::EvidenceCollector;
use super::inferred_poll::PollInference;
use super::local_polls::LocalPolls;
use super::observation::Update;
use super::ongoing_stall::OngoingStall;
use super::queue_history::QueueHistory;
use super::sample::SampleContext;
use crate::model::stack::{RawStack, StackUnavailable};
use crate::model::stall::Detection;
use crate::model::worker::{Activity, Progress};
use crate::process::WorkerSource;

/// As long as a stall is younger, the watchdog samples at the shortest interval, to date its end exactly.
const YOUNG: Duration = Duration::from_millis(100);

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
    /// Only for a poll of the future given to `block_on`.
    pub(super) local_polls: Option<LocalPolls>,
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
            local_polls: None,
            next_breakpoint: None,
            queues: QueueHistory::new(poll_start),
        }
    }

    /// An uninstrumented worker that runs on.
    pub(super) fn inferred(sample: SampleContext, inference: PollInference) -> Self {
        Self { inference: Some(inference), ..Self::next_poll(sample) }
    }

    /// A worker whose previous poll by a `LocalSet` has just returned.
    pub(super) fn in_next_local_poll(sample: SampleContext, local_polls: LocalPolls) -> Self {
        Self { local_polls: Some(local_polls), ..Self::next_poll(sample) }
    }

    /// A worker whose present poll began since the previous sample, without a change of its progress.
    fn next_poll(sample: SampleContext) -> Self {
        let start = sample.event_time();
        Self { poll_start: start, counting_start: start, queues: QueueHistory::new(start), ..Self::new(sample) }
    }

    /// How the poll is known to be one, now that its first stack is. `None` if that stack does not show the inferred poll.
    pub(super) fn confirmed<S: WorkerSource>(
        &mut self,
        source: &mut S,
        sample: SampleContext,
        first: &Update,
        detection: Detection,
        threshold: Duration,
    ) -> Option<Detection> {
        if !detection.is_inferred() {
            return self.confirm_local(source, sample, &first.stack, threshold);
        }
        let is_confirmed = match (&mut self.inference, &first.stack) {
            (Some(inference), Ok(stack)) => inference.confirm(source, sample.worker, stack, detection),
            _ => false,
        };
        is_confirmed.then_some(detection)
    }

    /// How it is known that a poll of the future given to `block_on` is one, by its first stack. `None` if it is a shorter poll by a
    /// `LocalSet`.
    fn confirm_local<S: WorkerSource>(
        &mut self,
        source: &mut S,
        sample: SampleContext,
        stack: &Result<RawStack, StackUnavailable>,
        threshold: Duration,
    ) -> Option<Detection> {
        let Some(local_polls) = &mut self.local_polls else { return Some(Detection::Instrumented) };
        let detection = local_polls.detection(source, sample, stack)?;
        if detection == Detection::NoReturn {
            let earliest = local_polls.earliest_start();
            (self.poll_start, self.counting_start) = (self.poll_start.max(earliest), self.counting_start.max(earliest));
        }
        (sample.now.saturating_duration_since(self.counting_start) >= threshold).then_some(detection)
    }

    /// The time until the next sample that this worker needs: it will cross the threshold, or its stall is young.
    pub(super) fn next_sample(&self, now: Instant, threshold: Duration, shortest: Duration) -> Option<Duration> {
        let next = match (&self.stall, &self.inference) {
            (Some(_), _) => return (now.duration_since(self.poll_start) < YOUNG).then_some(shortest),
            (None, Some(inference)) => inference.next_sample()?,
            (None, None) if self.progress.activity == Activity::Polling => self.counting_start + threshold,
            (None, None) => return None,
        };
        let wanted = next.saturating_duration_since(now);
        (!wanted.is_zero()).then_some(wanted)
    }

    pub(super) fn next_breakpoint(&self) -> Option<Instant> {
        self.inference.as_ref().map(PollInference::next_breakpoint).or(self.next_breakpoint)
    }
}
