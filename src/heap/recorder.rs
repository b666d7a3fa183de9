//! A recording for a test: profiles without names of what was allocated, of what lives, and of polls that allocated too much.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::collector::{StartError, begin_recording, forget_recording, with_recording};
use super::ledger::{Ledger, Sums};
use super::recording::OtherThreads;
use super::sampling::Sampling;
use super::snapshot::{View, add_site};
use crate::probe::Registry;
use crate::profilers::Collection;
use crate::sys::heap::lost;

/// Limits in bytes. Only what exceeds one is read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MemoryLimits {
    pub(crate) allocated: Option<u64>,
    /// Of what lives.
    pub(crate) kept: Option<u64>,
    /// In one poll.
    pub(crate) poll: Option<u64>,
}

/// Records what the threads of one watch allocate, until it is dropped.
#[derive(Debug)]
pub(crate) struct Recorder {
    number: u64,
    limits: MemoryLimits,
}

/// A recording at one moment.
#[derive(Debug)]
pub(crate) struct Recorded {
    /// What was allocated, if it exceeds the limit.
    pub(crate) allocated: Option<Collection>,
    /// What of it lives, if that exceeds the limit.
    pub(crate) kept: Option<Collection>,
    /// Each poll that allocated more than the limit.
    pub(crate) polls: Vec<Collection>,
    /// Polls that are not in the list.
    pub(crate) further_polls: u64,
    /// Samples of the process that found no room.
    pub(crate) lost: u64,
    /// Whether every allocation is sampled.
    pub(crate) is_exact: bool,
}

impl Recorder {
    /// Begins. The threads are those of the watch, and the others.
    pub(crate) fn start(
        sampling: Sampling,
        registry: &Arc<Registry>,
        others: OtherThreads,
        limits: MemoryLimits,
    ) -> Result<Self, StartError> {
        begin_recording(sampling, registry, others, limits.poll).map(|number| Self { number, limits })
    }

    /// Records no further allocation. What was recorded may still be freed.
    pub(crate) fn end(&self) {
        let _ended = with_recording(self.number, |recording, _, _| recording.end());
    }

    /// The present. `None` if the collector has gone.
    pub(crate) fn read(&self) -> Option<Recorded> {
        with_recording(self.number, |recording, ledger, sampling| {
            let (polls, further_polls) = recording.polls();
            Recorded {
                allocated: above(self.limits.allocated, ledger, View::Allocated, recording.all()),
                kept: above(self.limits.kept, ledger, View::Live, &recording.kept()),
                polls: polls.iter().map(|poll| collection(ledger, View::Allocated, &poll.sites)).collect(),
                further_polls,
                lost: lost().saturating_sub(recording.lost_before),
                is_exact: sampling == Sampling::EVERY_ALLOCATION,
            }
        })
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        forget_recording(self.number);
    }
}

/// The sums, if they exceed the limit. To name them takes seconds in a large program, and most tests stay below.
fn above(limit: Option<u64>, ledger: &Ledger, view: View, sums: &HashMap<usize, Sums>) -> Option<Collection> {
    let bytes: f64 = sums.values().map(|sums| sums.bytes).sum();
    (bytes > limit? as f64).then(|| collection(ledger, view, sums))
}

fn collection(ledger: &Ledger, view: View, sums: &HashMap<usize, Sums>) -> Collection {
    let mut collection = view.collection();
    for (position, sums) in sums {
        if let Some(site) = ledger.sites().get(*position) {
            add_site(&mut collection, site, site.labels.clone(), sums.values());
        }
    }
    collection.end(Duration::ZERO);
    collection
}
