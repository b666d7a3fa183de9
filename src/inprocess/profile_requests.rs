//! Requests of the endpoint that are no profile over a window.

use std::sync::Arc;
#[cfg(not(feature = "heap"))]
use std::time::Duration;

use super::profile_options::{ProfileError, ProfileOptions};
use super::profile_sessions::Stop;
use super::state::WatchState;
use crate::model::profile::{Profile, ProfileBuilder, ProfileFrame, ValueType};
use crate::model::stack::Address;
use crate::process::WorkerSource;
use crate::profilers::{TasksNow, Wall};

/// Samples of each worker per second in a trace. They bound the accuracy of its slices.
const TRACE_SAMPLES: u32 = 1000;

impl WatchState {
    /// The function that an address lies in, if anything names it.
    pub(crate) fn name_of(&self, address: u64) -> Option<Arc<str>> {
        let frames = self.log.symbolizer().frames_at(Address(address));
        let frame = ProfileFrame::of(frames.last()?.clone());
        (!frame.is_nameless()).then(|| Arc::clone(&frame.frame.function))
    }

    /// The activity of every worker over time, sampled a thousand times a second, with stacks at the rate of the options.
    pub(crate) fn trace(&self, options: &ProfileOptions, stop: &Stop) -> Result<Profile, ProfileError> {
        options.check()?;
        let wall = Wall::new(self.own_process()?, options.rate, self.log.threshold);
        self.collect(&mut wall.checks_per_sample(TRACE_SAMPLES / options.rate.max(1)), options, stop)
    }

    /// Ends the windows with this name; returns their number.
    pub(crate) fn stop_profiles(&self, name: &str) -> usize {
        let sessions = self.profiles.lock();
        let named = sessions.values().filter(|stop| stop.is_named(name));
        named.map(Stop::stop).count()
    }

    /// The present activity of every worker, with its stack inside a poll, and the number of waiting tasks: one sample each.
    pub(crate) fn tasks_now(&self) -> Result<Profile, ProfileError> {
        let mut target = self.own_process()?;
        let mut tasks = TasksNow::default();
        target.refresh();
        for index in 0..target.workers().len() {
            let sampled = target.sample_worker(index);
            let worker = Arc::clone(&target.workers()[index]);
            tasks.add(&worker, sampled);
        }
        let alive: Vec<_> = self.runtime_tasks().into_iter().map(|runtime| (runtime.name, runtime.alive)).collect();
        Ok(self.resolve(tasks.finish(&alive)))
    }

    /// A program without the feature has no profile of memory.
    #[cfg(not(feature = "heap"))]
    pub(crate) fn go_heap(
        &self,
        _name: &str,
        _window: Option<Duration>,
        _stop: &Stop,
    ) -> Option<Result<Profile, ProfileError>> {
        None
    }

    /// A program without the feature has no profile of memory.
    #[cfg(not(feature = "heap"))]
    pub(crate) fn heap_list(&self, _name: &str, _stop: &Stop) -> Option<Result<Profile, ProfileError>> {
        None
    }

    /// Stalled time since the watch was started.
    pub(crate) fn stalled_so_far(&self) -> Profile {
        let stalled = self.log.history().stalled_time();
        let (started, at) = self.started;
        self.log.stalled_profile(std::process::id(), &stalled, at, started.elapsed())
    }

    /// An empty profile of this process, for a kind that holdup does not measure.
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
