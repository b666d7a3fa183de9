//! What a guarded test allocates, with names.

use super::profile_options::ProfileError;
use super::state::WatchState;
use crate::heap::{MemoryLimits, OtherThreads, Recorded, Recorder, Sampling};
use crate::model::profile::Profile;
use crate::profilers::Collection;
use crate::sys::heap::without_sampling;

/// What a test has allocated so far. The values of each profile are samples, objects and bytes. Stacks have all frames.
#[derive(Debug)]
pub(crate) struct TestHeap {
    /// If it exceeds the limit.
    pub(crate) allocated: Option<Profile>,
    /// What of it lives, if that exceeds the limit.
    pub(crate) kept: Option<Profile>,
    /// Each poll that allocated more than the limit.
    pub(crate) polls: Vec<Profile>,
    /// Polls that are not in the list.
    pub(crate) further_polls: u64,
    /// Samples of the process that found no room.
    pub(crate) lost: u64,
    /// Whether every allocation is sampled.
    pub(crate) is_exact: bool,
}

impl WatchState {
    /// Records what the threads of this watch allocate, and the others.
    pub(crate) fn record_heap(
        &self,
        sampling: Sampling,
        others: OtherThreads,
        limits: MemoryLimits,
    ) -> Result<Recorder, ProfileError> {
        without_sampling(|| {
            Recorder::start(sampling, &self.registry, others, limits)
                .map_err(|error| ProfileError::Heap { reason: error.to_string() })
        })
    }

    /// What was recorded. `None` if the collector has gone.
    pub(crate) fn recorded_heap(&self, recorder: &Recorder) -> Option<TestHeap> {
        without_sampling(|| {
            let Recorded { allocated, kept, polls, further_polls, lost, is_exact } = recorder.read()?;
            let named = |collection: Collection| self.resolve(collection);
            let polls = polls.into_iter().map(named).collect();
            let (allocated, kept) = (allocated.map(named), kept.map(named));
            Some(TestHeap { allocated, kept, polls, further_polls, lost, is_exact })
        })
    }
}
