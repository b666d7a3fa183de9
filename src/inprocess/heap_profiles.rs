//! Profiles of the heap. Sampling begins with the first request if it has not begun before, unless the program's jemalloc
//! samples.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::profile_options::{ProfileError, ProfileMode, ProfileOptions};
use super::profile_sessions::Stop;
use super::state::WatchState;
use crate::heap::{self, Dump, JemallocProfile, Moments, Sampling, Snapshot, StartError, View};
use crate::model::profile::Profile;
use crate::profilers::Collection;
use crate::report::News;
use crate::sys::heap::{is_on, without_sampling};

/// Between two checks whether a window is to end early.
const STOP_CHECK: Duration = Duration::from_millis(20);

impl WatchState {
    /// Begins to sample the heap, or changes how often. The peak is kept in a file if that was asked for.
    pub(crate) fn sample_heap(&self, sampling: Sampling) -> Result<(), ProfileError> {
        heap::start(sampling, &self.registry).map_err(|error| unavailable(&error))?;
        let Some(path) = self.heap_peak.get() else { return Ok(()) };
        let log = Arc::downgrade(&self.log);
        let kept = heap::keep_peak(path, move |text| {
            if let Some(log) = log.upgrade() {
                log.sinks.say(News::Notice(text));
            }
        });
        // The heap is sampled nevertheless.
        if let Err(reason) = kept {
            self.log.sinks.say(News::Notice(reason));
        }
        Ok(())
    }

    /// Keeps the peak in this file while the heap is sampled.
    pub(crate) fn keep_heap_peak(&self, path: PathBuf) {
        // A relative path must not change with the working folder.
        let _set_once = self.heap_peak.set(std::path::absolute(&path).unwrap_or(path));
    }

    /// Ends the sampling of the heap for this watch.
    pub(crate) fn stop_sampling_heap(&self) {
        heap::stop(&self.registry);
    }

    /// A profile of the heap: at once, or what a window adds.
    pub(super) fn heap_profile(&self, options: &ProfileOptions, stop: &Stop) -> Result<Profile, ProfileError> {
        let view = match options.mode {
            ProfileMode::Heap => View::Live,
            ProfileMode::Peak => View::Peak,
            ProfileMode::Leaks => View::Leaks,
            ProfileMode::Temporary => View::Temporary,
            _ => View::Allocated,
        };
        let window = options.mode.has_window().then_some(options.duration);
        self.heap_view(view, window, stop)
    }

    /// A view of the heap. With a window, what it adds. What it takes to name the stacks is not sampled.
    fn heap_view(&self, view: View, window: Option<Duration>, stop: &Stop) -> Result<Profile, ProfileError> {
        without_sampling(|| self.view_of_heap(view, window, stop))
    }

    fn view_of_heap(&self, view: View, window: Option<Duration>, stop: &Stop) -> Result<Profile, ProfileError> {
        let started_at = SystemTime::now();
        let collection = match self.jemalloc.as_ref().filter(|_| !is_on()) {
            Some(jemalloc) => self.view_of_jemalloc(jemalloc, view, window, stop)?,
            None => self.sampled_view(view, window, stop)?,
        };
        let mut profile = heap::without_allocator(self.resolve(collection));
        profile.started_at = started_at;
        Ok(profile)
    }

    fn sampled_view(&self, view: View, window: Option<Duration>, stop: &Stop) -> Result<Collection, ProfileError> {
        heap::ensure_started(&self.registry).map_err(|error| unavailable(&error))?;
        let missing = || unavailable(&StartError::NotInstalled);
        let Some(duration) = window else { return Ok(Snapshot::now().ok_or_else(missing)?.profile(view, None)) };
        let before = Snapshot::now().ok_or_else(missing)?;
        let mut moments = Moments::default();
        self.wait(duration, stop, &mut |elapsed| {
            if view == View::Leaks && elapsed >= moments.next(duration) {
                Snapshot::take_moment(&mut moments);
            }
        })?;
        let after = Snapshot::with_survivors_since(&before, moments).ok_or_else(missing)?;
        Ok(after.profile(view, Some(&before)))
    }

    fn view_of_jemalloc(
        &self,
        jemalloc: &JemallocProfile,
        view: View,
        window: Option<Duration>,
        stop: &Stop,
    ) -> Result<Collection, ProfileError> {
        let reason = match view {
            View::Live | View::Go { .. } => None,
            View::Allocated if now(jemalloc)?.has_allocated() => None,
            View::Allocated => Some("jemalloc counts all allocations only with prof_accum:true"),
            View::Peak | View::Leaks | View::Temporary => {
                Some("jemalloc's profile has only what lives; Watch::sample_heap switches holdup's sampling on")
            }
        };
        if let Some(reason) = reason {
            return Err(ProfileError::Heap { reason: reason.to_owned() });
        }
        let Some(duration) = window else { return Ok(now(jemalloc)?.profile(view, None)) };
        let before = now(jemalloc)?;
        self.wait(duration, stop, &mut |_| {})?;
        Ok(now(jemalloc)?.profile(view, Some(&before)))
    }

    /// Waits for the end of a window. Calls `meanwhile` now and then, with the time since its start.
    fn wait(&self, duration: Duration, stop: &Stop, meanwhile: &mut dyn FnMut(Duration)) -> Result<(), ProfileError> {
        let mut options = ProfileOptions::new(ProfileMode::Heap);
        options.duration = duration;
        let (_session, window) = self.begin(&options, stop)?;
        while window.sleep(STOP_CHECK) {
            meanwhile(window.elapsed());
        }
        Ok(())
    }

    /// Go's profile of this name, if it is one of the heap and the heap can be sampled. With a window, what it adds.
    #[cfg(feature = "http")]
    pub(crate) fn go_heap(
        &self,
        name: &str,
        window: Option<Duration>,
        stop: &Stop,
    ) -> Option<Result<Profile, ProfileError>> {
        let draws_allocated = is_of_allocations(name)?;
        unless_absent(self.heap_view(View::Go { draws_allocated }, window, stop))
    }

    /// The profile of this name for people, with the number of samples of each stack.
    #[cfg(feature = "http")]
    pub(crate) fn heap_list(&self, name: &str, stop: &Stop) -> Option<Result<Profile, ProfileError>> {
        let view = if is_of_allocations(name)? { View::Allocated } else { View::Live };
        unless_absent(self.heap_view(view, None, stop))
    }
}

/// Whether Go's profile of this name is about all allocations. `None` for profiles that are not about memory.
#[cfg(feature = "http")]
fn is_of_allocations(name: &str) -> Option<bool> {
    match name {
        "heap" => Some(false),
        "allocs" => Some(true),
        _ => None,
    }
}

/// `None` in a program without the allocator: Go's profiles are empty there.
#[cfg(feature = "http")]
fn unless_absent(found: Result<Profile, ProfileError>) -> Option<Result<Profile, ProfileError>> {
    Some(found).filter(|found| !matches!(found, Err(ProfileError::Heap { .. })))
}

fn unavailable(error: &StartError) -> ProfileError {
    ProfileError::Heap { reason: error.to_string() }
}

fn now(jemalloc: &JemallocProfile) -> Result<Dump, ProfileError> {
    jemalloc.now().map_err(ProfileError::Failed)
}
