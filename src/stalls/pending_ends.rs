//! Stalls that are over, until their workers have polled who waited: which takes a moment, and is not waited for long.

use std::time::{Duration, Instant};

use super::queue_history::Queues;
use crate::model::evidence::Evidence;
use crate::model::post_stall::Followed;
use crate::model::stall::StallId;
use crate::model::victims::{Victims, VictimsUnknown};
use crate::model::worker::Progress;
use crate::process::WorkerSource;

/// The end of a stall is told so long after it at the latest.
const AT_MOST: Duration = Duration::from_millis(100);

/// A stall that is over.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) id: StallId,
    pub(super) worker: u64,
    /// The stall's poll.
    pub(super) progress: Progress,
    pub(super) at: Instant,
    pub(super) evidence: Evidence,
    pub(super) queues: Queues,
}

/// A stall whose end can be told.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) id: StallId,
    pub(super) evidence: Evidence,
    pub(super) victims: Result<Victims, VictimsUnknown>,
}

/// All of them; at most one for each worker.
#[derive(Debug, Default)]
pub(crate) struct Endings(Vec<Ending>);

impl Endings {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A stall is over. The one before of the same worker has waited long enough.
    pub(super) fn add<T: WorkerSource>(&mut self, target: &mut T, ending: Ending) -> Option<Ended> {
        let before = self.of(target, ending.worker);
        self.0.push(ending);
        before
    }

    /// The one of this worker, as far as it is known.
    pub(super) fn of<T: WorkerSource>(&mut self, target: &mut T, worker: u64) -> Option<Ended> {
        let at = self.0.iter().position(|ending| ending.worker == worker)?;
        let ending = self.0.swap_remove(at);
        let followed = followed(target, &ending, true);
        Some(ending.told(followed))
    }

    /// Those whose victims are known by now, or will not be.
    pub(super) fn known<T: WorkerSource>(&mut self, target: &mut T, now: Instant) -> Vec<Ended> {
        let mut known = Vec::new();
        let mut waiting = Vec::with_capacity(self.0.len());
        for ending in self.0.drain(..) {
            let late = now.saturating_duration_since(ending.at) >= AT_MOST;
            match followed(target, &ending, late) {
                Followed::NotYet => waiting.push(ending),
                followed => known.push(ending.told(followed)),
            }
        }
        self.0 = waiting;
        known
    }

    /// All that are left: nobody will ask again.
    pub(super) fn all<T: WorkerSource>(&mut self, target: &mut T) -> Vec<Ended> {
        let ended = self.0.drain(..).map(|ending| {
            let followed = followed(target, &ending, true);
            ending.told(followed)
        });
        ended.collect()
    }
}

fn followed<T: WorkerSource>(target: &mut T, ending: &Ending, now: bool) -> Followed {
    target.post_stall_polls(ending.worker, ending.progress, now)
}

impl Ending {
    fn told(self, followed: Followed) -> Ended {
        let victims = match followed {
            Followed::Seen(polls) => Ok(self.queues.victims(&polls)),
            Followed::Missed | Followed::NotYet => Err(VictimsUnknown::Missed),
        };
        Ended { id: self.id, evidence: self.evidence, victims }
    }
}
