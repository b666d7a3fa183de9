//! What is known of one untyped worker: its sleeps, its context and its progress, from samples of its thread.

use std::time::{Duration, Instant};

use super::contexts::ThreadContext;
use crate::model::worker::{Activity, Progress};
use crate::process::sleep::Sleep;
use crate::sys::{Process, ThreadProbe};

/// Park sites that are kept per worker. A worker parks on a condition variable or in the I/O driver.
const MAX_PARK_SITES: usize = 4;

/// What is known of one untyped worker.
#[derive(Debug)]
pub(super) struct UntypedWorkerState {
    pub(super) probe: ThreadProbe,
    sleeps: KnownSleeps,
    pub(super) context: ThreadContext,
    /// The worker was known to be parked when its context was last read.
    parked_at_read: bool,
    activity: Activity,
    sequence: u64,
    awake: AwakeTime,
}

/// Sleeps of the worker's thread.
#[derive(Debug, Default)]
struct KnownSleeps {
    /// The sleep at the last sample.
    current: Option<Sleep>,
    /// The sleep in which the worker is parked.
    parked: Option<Sleep>,
    /// Sleeps at the places where the worker parks.
    park_sites: Vec<Sleep>,
    /// The sleep inside the `block_on` future. Its polls return to no watched address.
    in_block_on: Option<Sleep>,
    /// The last sleep that was sampled inside a poll.
    in_poll: Option<Sleep>,
}

/// How long the worker has been awake.
#[derive(Debug)]
struct AwakeTime {
    sampled_at: Instant,
    total: Duration,
}

impl UntypedWorkerState {
    pub(super) fn of(process: Process, tid: i32) -> Self {
        Self {
            probe: ThreadProbe::open(process, tid),
            sleeps: KnownSleeps::default(),
            context: ThreadContext::default(),
            parked_at_read: false,
            activity: Activity::Between,
            sequence: 0,
            awake: AwakeTime { sampled_at: Instant::now(), total: Duration::ZERO },
        }
    }

    /// Samples the thread's current sleep.
    pub(super) fn sample_sleep(&mut self) -> Option<Sleep> {
        self.sleeps.current = Sleep::of(&self.probe).filter(Sleep::is_unique);
        self.sleeps.current
    }

    /// Notes that the worker is parked in this sleep.
    pub(super) fn note_park(&mut self, sleep: Sleep) {
        self.sleeps.parked = Some(sleep);
        let sites = &mut self.sleeps.park_sites;
        if sites.len() < MAX_PARK_SITES && !sites.iter().any(|known| known.is_at(&sleep)) {
            sites.push(sleep);
        }
    }

    /// Notes that the worker is inside a poll in its current sleep.
    pub(super) fn note_poll(&mut self) {
        self.sleeps.in_poll = self.sleeps.current;
    }

    /// Notes that the worker is inside the `block_on` future in this sleep.
    pub(super) fn note_block_on(&mut self, sleep: Sleep) {
        (self.sleeps.in_block_on, self.sleeps.in_poll) = (Some(sleep), Some(sleep));
    }

    /// Notes whether the worker is parked, before its context is read.
    pub(super) fn before_context_read(&mut self) {
        self.parked_at_read = self.activity == Activity::Parked;
    }

    /// Whether the current sleep is inside the `block_on` future.
    pub(super) fn sleeps_in_block_on(&self) -> bool {
        self.sleeps.in_block_on.is_some() && self.sleeps.in_block_on == self.sleeps.current
    }

    /// Whether the worker sleeps at a place where it has parked before. It is inside no poll then.
    pub(super) fn sleeps_at_park_site(&self) -> bool {
        let sleeps = &self.sleeps;
        sleeps.current.is_some_and(|sleep| sleeps.park_sites.iter().any(|known| known.is_at(&sleep)))
    }

    /// Whether the worker sleeps, and not at one of the places where it has parked.
    pub(super) fn sleeps_outside_park_sites(&self) -> bool {
        let known = !self.sleeps.park_sites.is_empty();
        known && self.sleeps.current.is_some() && !self.sleeps_at_park_site()
    }

    /// Whether the worker runs, or sleeps where it was sampled inside a poll. Any other sleep is most likely a park.
    pub(super) fn is_awake(&self) -> bool {
        let in_poll = |sleep: Sleep| self.sleeps.in_poll.is_some_and(|known| known.is_at(&sleep));
        self.sleeps.current.is_none_or(in_poll)
    }

    /// Time running or asleep inside a poll.
    pub(super) fn awake_time(&self) -> Duration {
        self.awake.total
    }

    /// The worker's progress, from a new sample.
    pub(super) fn progress(&mut self) -> Progress {
        let activity = if self.is_parked() { Activity::Parked } else { Activity::Between };
        if activity != self.activity {
            self.activity = activity;
            self.sequence += 1;
        }
        let before = std::mem::replace(&mut self.awake.sampled_at, Instant::now());
        if self.is_awake() {
            self.awake.total += self.awake.sampled_at.duration_since(before);
        }
        Progress { sequence: self.sequence, parks: 0, activity }
    }

    /// Whether the worker is known to be parked. The context is checked first, because it has been read already.
    fn is_parked(&mut self) -> bool {
        if self.sleeps.parked.is_some() && self.context.is_in_park() {
            self.sleeps.current = self.sleeps.parked;
            return true;
        }
        let parked = self.sample_sleep().is_some() && self.sleeps.current == self.sleeps.parked;
        // The park began before the context was read.
        if parked && self.parked_at_read {
            self.context.was_in_park();
        }
        parked
    }
}
