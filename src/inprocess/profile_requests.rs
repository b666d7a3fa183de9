//! What the endpoint asks for besides profiles of a window.

use std::sync::Arc;

use super::profile_options::{ProfileError, ProfileOptions};
use super::profile_sessions::Stop;
use super::state::WatchState;
use crate::model::profile::{Profile, ProfileBuilder, ProfileFrame, ValueType};
use crate::model::stack::Address;
use crate::process::WorkerSource;
use crate::profilers::{TasksNow, Wall};

/// Looks per second of a trace: a slice is known to within the time between two.
const TRACE_LOOKS: u32 = 1000;

impl WatchState {
    /// The function that an address lies in, if anything names it.
    pub(crate) fn name_of(&self, address: u64) -> Option<Arc<str>> {
        let frames = self.log.symbolizer().frames_at(Address(address));
        let frame = ProfileFrame::of(frames.last()?.clone());
        (!frame.is_nameless()).then(|| Arc::clone(&frame.frame.function))
    }

    /// What every worker does over time, looked at a thousand times a second, with samples at the rate of the options.
    pub(crate) fn trace(&self, options: &ProfileOptions, stop: &Stop) -> Result<Profile, ProfileError> {
        options.check()?;
        let wall = Wall::new(self.own_process()?, options.rate, self.log.threshold);
        self.collect(&mut wall.checks_per_sample(TRACE_LOOKS / options.rate.max(1)), options, stop)
    }

    /// Ends the windows that were given this name; returns how many there were.
    pub(crate) fn stop_profiles(&self, name: &str) -> usize {
        let sessions = self.profiles.lock();
        let named = sessions.values().filter(|stop| stop.is_named(name));
        named.map(Stop::stop).count()
    }

    /// What every worker does at this moment, with its stack inside a poll, and how many tasks wait: one sample each.
    pub(crate) fn tasks_now(&self) -> Result<Profile, ProfileError> {
        let mut target = self.own_process()?;
        let mut tasks = TasksNow::default();
        target.refresh();
        for index in 0..target.workers().len() {
            let sampled = target.sample_worker(index);
            let worker = Arc::clone(&target.workers()[index]);
            tasks.add(&worker, sampled);
        }
        Ok(self.resolve(tasks.finish(&self.alive_tasks())))
    }

    /// Stalled time since the watch was started.
    pub(crate) fn stalled_so_far(&self) -> Profile {
        let stalled = self.log.history().stalled_time();
        let (started, at) = self.started;
        self.log.stalled_profile(std::process::id(), &stalled, at, started.elapsed())
    }

    /// A profile of this process of something that is not counted.
    pub(crate) fn empty_profile(&self, kind: &str, values: Vec<ValueType>) -> Profile {
        let mut builder = ProfileBuilder::new(kind, values);
        let (started, at) = self.started;
        let profile = builder.profile();
        profile.program = Arc::clone(&self.log.program);
        profile.pid = std::process::id();
        profile.started_at = at;
        profile.duration = started.elapsed();
        builder.build()
    }
}
