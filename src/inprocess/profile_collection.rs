//! Collects profiles of the watched process and names their frames.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::profile_options::{ProfileError, ProfileMode, ProfileOptions};
use super::profile_sessions::{Session, Stop};
use super::state::WatchState;
use crate::model::profile::Profile;
use crate::process::{LocalCpu, LocalWorkers, LocalWorkersConfig};
use crate::profilers::{Collection, Cpu, PprofSampler, Profiler, Wall, Window};
use crate::sys::{self, Process};
use crate::unwind::Unwinder;

/// Said by a program without the feature.
#[cfg(not(feature = "heap"))]
const NO_HEAP: &str = "the program was built without holdup's feature \"heap\"";

/// Between two checks whether a profile of stalled time is to end early.
const STOP_CHECK: Duration = Duration::from_millis(20);

impl WatchState {
    /// Collects a profile on the calling thread. `stop` ends its window early.
    pub(crate) fn profile(&self, options: &ProfileOptions, stop: &Stop) -> Result<Profile, ProfileError> {
        options.check()?;
        match options.mode {
            ProfileMode::Cpu if !sys::SUPPORTED => self.cpu_of_process(options, stop),
            ProfileMode::Cpu => {
                let source = LocalCpu::start(Arc::clone(&self.registry), options.rate).map_err(cannot_start)?;
                self.collect(&mut Cpu::new(source, options.rate), options, stop)
            }
            ProfileMode::Wall => {
                let mut wall = Wall::new(self.own_process()?, options.rate, self.log.threshold);
                self.collect(&mut wall, options, stop)
            }
            ProfileMode::Stalled => self.stalled_in_window(options, stop),
            #[cfg(feature = "heap")]
            _ => self.heap_profile(options, stop),
            #[cfg(not(feature = "heap"))]
            _ => Err(ProfileError::Heap { reason: NO_HEAP.to_owned() }),
        }
    }

    /// Runs a profiler on the calling thread, and names what it collected.
    pub(crate) fn collect(
        &self,
        profiler: &mut dyn Profiler,
        options: &ProfileOptions,
        stop: &Stop,
    ) -> Result<Profile, ProfileError> {
        let (session, window) = self.begin(options, stop)?;
        let collected = profiler.run(&window);
        drop(session);
        Ok(self.resolve(collected.map_err(ProfileError::Failed)?))
    }

    pub(crate) fn own_process(&self) -> Result<LocalWorkers, ProfileError> {
        if !sys::SUPPORTED {
            return Err(ProfileError::Unavailable(io::ErrorKind::Unsupported.into()));
        }
        let unwinder = Unwinder::of(Process::own()).map_err(ProfileError::Unavailable)?;
        Ok(LocalWorkers::new(LocalWorkersConfig {
            registry: Arc::clone(&self.registry),
            poll_starts: Arc::default(),
            poll_examples: Arc::default(),
            signal: self.signal.upgrade(),
            unwinder: Some(unwinder),
            stacks_missed: Arc::default(),
            runtimes: Arc::clone(&self.runtimes),
        }))
    }

    /// Enters the list of sessions, and begins the window.
    pub(super) fn begin(&self, options: &ProfileOptions, stop: &Stop) -> Result<(Session<'_>, Window), ProfileError> {
        let session = self.profiles.begin(stop)?;
        Ok((session, Window::begin(options.duration, stop.flag())))
    }

    /// Names the collected addresses. The symbolizer is locked for one address at a time, because the reporter uses it too.
    pub(crate) fn resolve(&self, collection: Collection) -> Profile {
        let mappings = self.log.symbolizer().mappings();
        collection.resolve(&self.log.program, std::process::id(), mappings, |address| {
            self.log.current_symbolizer().frames_at(address)
        })
    }

    /// CPU time on platforms without timers per thread.
    fn cpu_of_process(&self, options: &ProfileOptions, stop: &Stop) -> Result<Profile, ProfileError> {
        let sampler = PprofSampler::start(options.rate).map_err(cannot_start)?;
        let (_session, window) = self.begin(options, stop)?;
        let named = sampler.run(
            &window,
            || Process::own().cpu_time(),
            |found| self.log.symbolizer().named(found.mangled, found.file, found.line),
        );
        let mut profile = named.map_err(ProfileError::Failed)?;
        profile.program = Arc::clone(&self.log.program);
        profile.pid = std::process::id();
        Ok(profile)
    }

    fn stalled_in_window(&self, options: &ProfileOptions, stop: &Stop) -> Result<Profile, ProfileError> {
        let (_session, window) = self.begin(options, stop)?;
        let (before, started_at) = (self.log.history().stalled_time(), SystemTime::now());
        while window.sleep(STOP_CHECK) {}
        let stalled = self.log.history().stalled_time().since(&before);
        Ok(self.log.stalled_profile(std::process::id(), &stalled, started_at, window.elapsed()))
    }
}

fn cannot_start(error: io::Error) -> ProfileError {
    match error.kind() {
        io::ErrorKind::ResourceBusy => ProfileError::Busy { what: "CPU time is being sampled" },
        _ => ProfileError::Unavailable(error),
    }
}

#[cfg(test)]
mod tests {
    #![cfg(all(holdup_unsupported, feature = "formats"))]

    use std::time::Instant;

    use super::*;
    use crate::{Print, Watch};

    #[inline(never)]
    fn known_load(time: Duration) {
        let (start, mut value) = (Instant::now(), 1_u64);
        while start.elapsed() < time {
            for _ in 0..100_000 {
                value = std::hint::black_box(value.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
            }
        }
    }

    #[test]
    fn without_timers_of_threads_pprof_samples() {
        let watch = Watch::builder().print(Print::Never).start().expect("starts");
        let load = || known_load(Duration::from_secs(4));
        let load = std::thread::Builder::new().name("loaded".into()).spawn(load).expect("a thread starts");
        let options = ProfileOptions::new(ProfileMode::Cpu).duration(Duration::from_secs(3));
        let profile = watch.profile_blocking(&options).expect("profiles");
        load.join().expect("ends");
        let of_load = |sample: &&crate::profile::Sample| {
            profile.frames_of(sample).any(|frame| frame.frame.function.ends_with("known_load"))
                && profile.labels_of(sample).and_then(|labels| labels.thread.as_deref()) == Some("loaded")
        };
        let found: i64 = profile.samples.iter().filter(of_load).map(|sample| sample.values[0]).sum();
        println!("{found} of {} samples, {:?}", profile.sample_count(), profile.quality);
        assert!(found >= 30, "{found} of 3 s at 99 samples per second, less what the machine did not run");
        let innermost = profile.samples.iter().filter(of_load).filter_map(|sample| profile.frames_of(sample).next());
        for frame in innermost {
            assert!(
                !frame.frame.function.contains("pprof") && !frame.frame.function.contains("backtrace"),
                "{frame:?}"
            );
        }
        assert!(profile.quality.notes.iter().any(|note| note.contains("by pprof")), "{:?}", profile.quality);
        assert!(
            watch.profile_blocking(&options.duration(Duration::from_millis(50))).is_ok(),
            "it can be started again"
        );
    }
}
