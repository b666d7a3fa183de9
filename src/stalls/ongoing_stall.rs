//! A stall while its poll still runs: when its stack is captured again.

use std::sync::Arc;
use std::time::Duration;

use super::evidence::EvidenceCollector;
use super::observation::Life;
use crate::model::stall::StallId;
use crate::model::victims::VictimsUnknown;

/// The stack is captured again when the stall is this many times as long.
const RECAPTURE_FACTOR: u32 = 4;

/// After a change of what the thread does, the stack is captured if the stall has grown by this part since the last capture.
const CHANGE_PART: u32 = 16;

/// A stall whose poll still runs.
pub(super) struct OngoingStall {
    pub(super) id: StallId,
    pub(super) life: Arc<Life>,
    /// Whether the worker's polls after the stall will be recorded, or why not.
    pub(super) victims: Result<(), VictimsUnknown>,
    threshold: Duration,
    /// The duration at which the stack is captured next.
    next_capture: Duration,
    /// The duration at the newest capture.
    captured: Duration,
}

impl OngoingStall {
    /// A stall that was noticed, and its stack captured, after it had lasted for this long.
    pub(super) fn new(
        id: StallId,
        life: Arc<Life>,
        victims: Result<(), VictimsUnknown>,
        threshold: Duration,
        lasted: Duration,
    ) -> Self {
        Self { id, life, victims, threshold, next_capture: threshold * RECAPTURE_FACTOR, captured: lasted }
    }

    /// Whether the stack is to be captured now. Either the stall has become much longer, or the thread has done something
    /// else since the newest capture, for a threshold.
    pub(super) fn is_capture_due(&self, evidence: Option<&EvidenceCollector>, lasted: Duration) -> bool {
        let is_spaced = lasted.saturating_sub(self.captured) >= self.threshold.max(lasted / CHANGE_PART);
        let since = evidence.and_then(|evidence| Some((evidence.until(), evidence.change()?.0)));
        let has_changed = since.is_some_and(|(now, since)| now.duration_since(since) >= self.threshold);
        lasted >= self.next_capture || (is_spaced && has_changed)
    }

    /// The stack was captured after the stall had lasted for this long.
    pub(super) fn capture(&mut self, lasted: Duration) {
        self.captured = lasted;
        while self.next_capture <= lasted {
            self.next_capture *= RECAPTURE_FACTOR;
        }
    }
}
