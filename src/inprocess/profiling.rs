//! Profiles: asked for, collected, named.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use crate::inprocess::View;
use crate::model::profile::Profile;
use crate::process::{LocalCpu, LocalWorkers, PollStarts};
use crate::profilers::{Collection, Cpu, PprofSampler, Profiler, Wall, Window};
use crate::report::StalledTime;
use crate::sys::{self, Process};
use crate::unwind::Unwinder;

/// Samples per second unless another rate is asked for: not a divisor of what services do every 10 or 100 ms.
const DEFAULT_RATE: u32 = 99;

const HIGHEST_RATE: u32 = 1000;

const DEFAULT_DURATION: Duration = Duration::from_secs(30);

const LONGEST: Duration = Duration::from_secs(300);

/// Profiles that may be collected at a time.
const MAX_SESSIONS: usize = 8;

/// How often a profile of stalled time looks whether it shall end early.
const STOP_CHECK: Duration = Duration::from_millis(20);

/// What a profile measures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProfileMode {
    /// CPU time of every thread of the process, by one timer per thread. One at a time in a process. Where threads
    /// have no timers, the package `pprof` samples with one timer for the process, if the feature `formats` is on:
    /// it takes SIGPROF, and knows no tasks.
    #[default]
    Cpu,
    /// What every worker does over time, on the CPU and off it.
    Wall,
    /// Time inside polls that stalled, by stack and cause. Costs nothing: it is what the watchdog sees anyway.
    Stalled,
}

impl ProfileMode {
    /// Every mode.
    pub const ALL: [Self; 3] = [Self::Cpu, Self::Wall, Self::Stalled];

    /// The word used on the command line and in URLs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Wall => "wall",
            Self::Stalled => "stalled",
        }
    }
}

impl std::str::FromStr for ProfileMode {
    type Err = ProfileError;

    fn from_str(word: &str) -> Result<Self, ProfileError> {
        let found = Self::ALL.into_iter().find(|mode| mode.as_str() == word);
        found.ok_or_else(|| ProfileError::Mode { asked: word.to_owned() })
    }
}

/// What profile to collect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProfileOptions {
    /// What to measure.
    pub mode: ProfileMode,
    /// For how long: 30 s unless set, 5 minutes at most.
    pub duration: Duration,
    /// Samples per second, for modes that sample: 99 unless set, 1000 at most. A CPU timer is looked at when the kernel
    /// ticks, often 250 times a second; a sample then stands for several.
    pub rate: u32,
}

impl ProfileOptions {
    /// The defaults.
    #[must_use]
    pub fn new(mode: ProfileMode) -> Self {
        Self { mode, duration: DEFAULT_DURATION, rate: DEFAULT_RATE }
    }

    /// For how long.
    #[must_use]
    pub fn duration(mut self, duration: Duration) -> Self {
        self.duration = duration;
        self
    }

    /// How many samples per second.
    #[must_use]
    pub fn rate(mut self, rate: u32) -> Self {
        self.rate = rate;
        self
    }

    /// Whether it can be collected.
    pub(crate) fn check(&self) -> Result<(), ProfileError> {
        if !(1..=HIGHEST_RATE).contains(&self.rate) {
            return Err(ProfileError::Rate { asked: self.rate, highest: HIGHEST_RATE });
        }
        if self.duration.is_zero() || self.duration > LONGEST {
            return Err(ProfileError::Duration { asked: self.duration, longest: LONGEST });
        }
        Ok(())
    }
}

/// Why a profile could not be collected.
#[derive(Debug)]
#[non_exhaustive]
pub enum ProfileError {
    /// There is no such mode.
    Mode {
        /// What was asked for.
        asked: String,
    },
    /// The rate is 0 or too high.
    Rate {
        /// What was asked for.
        asked: u32,
        /// The highest one that is allowed.
        highest: u32,
    },
    /// The window is empty or too long.
    Duration {
        /// What was asked for.
        asked: Duration,
        /// The longest one that is allowed.
        longest: Duration,
    },
    /// CPU time of this process is being sampled already, or too many profiles are being collected.
    Busy {
        /// What to wait for.
        what: &'static str,
    },
    /// This platform or this process does not allow it.
    Unavailable(io::Error),
    /// The window broke off.
    Failed(io::Error),
}

impl fmt::Display for ProfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mode { asked } => write!(f, "there is no profile mode \"{asked}\"; there are cpu, wall and stalled"),
            Self::Rate { asked, highest } => {
                write!(f, "a rate of {asked} samples per second is not possible; choose 1 to {highest}")
            }
            Self::Duration { asked, longest } => write!(
                f,
                "a profile of {} s is not possible; choose more than 0 and at most {} s",
                asked.as_secs_f64(),
                longest.as_secs()
            ),
            Self::Busy { what } => write!(f, "{what} in this process already; try again when that has ended"),
            Self::Unavailable(source) => write!(
                f,
                "this profile cannot be collected here: {source}; it needs Linux on x86_64 and a readable /proc"
            ),
            Self::Failed(source) => write!(f, "the profile broke off: {source}"),
        }
    }
}

/// The causes are part of the messages.
impl std::error::Error for ProfileError {}

/// Ends a window early. Clones end the same one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop {
    flag: Arc<AtomicBool>,
    /// By which others may end it too.
    #[cfg(feature = "http")]
    name: Option<Arc<str>>,
}

impl Stop {
    #[cfg(feature = "http")]
    pub(crate) fn named(name: Option<&str>) -> Self {
        Self { flag: Arc::default(), name: name.map(Arc::from) }
    }

    #[cfg(feature = "http")]
    pub(crate) fn is_named(&self, name: &str) -> bool {
        self.name.as_deref() == Some(name)
    }

    /// Ends with a flag that somebody sets.
    #[cfg(feature = "attach")]
    pub(crate) fn with(flag: Arc<AtomicBool>) -> Self {
        Self {
            flag,
            #[cfg(feature = "http")]
            name: None,
        }
    }

    #[cfg(feature = "attach")]
    pub(crate) fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.flag)
    }

    #[cfg(feature = "attach")]
    pub(crate) fn is_set(&self) -> bool {
        self.flag.load(Ordering::Relaxed)
    }

    pub(crate) fn stop(&self) {
        self.flag.store(true, Ordering::Relaxed);
    }
}

/// The profiles that are being collected.
#[derive(Debug, Default)]
pub(crate) struct Profiling {
    sessions: Mutex<HashMap<u64, Stop>>,
    next: AtomicU64,
}

impl Profiling {
    pub(crate) fn sessions(&self) -> MutexGuard<'_, HashMap<u64, Stop>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, stop: &Stop) -> Result<Session<'_>, ProfileError> {
        let mut sessions = self.sessions();
        if sessions.len() >= MAX_SESSIONS {
            return Err(ProfileError::Busy { what: "as many profiles as are allowed at a time are being collected" });
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        sessions.insert(number, stop.clone());
        Ok(Session { profiling: self, number })
    }

    /// Ends every window early.
    pub(crate) fn stop_all(&self) {
        self.sessions().values().for_each(Stop::stop);
    }
}

/// A place among the sessions, given back when dropped.
struct Session<'p> {
    profiling: &'p Profiling,
    number: u64,
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        self.profiling.sessions().remove(&self.number);
    }
}

impl View {
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
                let mut wall = Wall::new(self.own_process()?, options.rate, self.threshold);
                self.collect(&mut wall, options, stop)
            }
            ProfileMode::Stalled => self.stalled_in_window(options, stop),
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
        let (since, missed) = (Arc::new(PollStarts::default()), Arc::new(AtomicU64::new(0)));
        Ok(LocalWorkers::new(
            Arc::clone(&self.registry),
            since,
            self.signal.upgrade(),
            Some(unwinder),
            missed,
            Arc::clone(&self.runtimes_seen),
        ))
    }

    /// Takes a place among the sessions, and begins the window.
    fn begin(&self, options: &ProfileOptions, stop: &Stop) -> Result<(Session<'_>, Window), ProfileError> {
        let session = self.profiling.begin(stop)?;
        Ok((session, Window::begin(options.duration, Arc::clone(&stop.flag))))
    }

    /// Names what was collected. The symbolizer is taken for one address at a time, because stalls are explained with
    /// it too.
    pub(crate) fn resolve(&self, collection: Collection) -> Profile {
        let mappings = self.symbolizer().mappings();
        collection.resolve(&self.program, std::process::id(), mappings, |address| self.names().frames_at(address))
    }

    /// CPU time where threads have no timers of their own.
    fn cpu_of_process(&self, options: &ProfileOptions, stop: &Stop) -> Result<Profile, ProfileError> {
        let sampler = PprofSampler::start(options.rate).map_err(cannot_start)?;
        let (_session, window) = self.begin(options, stop)?;
        let named = sampler.run(
            &window,
            || Process::own().cpu_time(),
            |found| self.symbolizer().named(found.mangled, found.file, found.line),
        );
        let mut profile = named.map_err(ProfileError::Failed)?;
        profile.program = Arc::clone(&self.program);
        profile.pid = std::process::id();
        Ok(profile)
    }

    fn stalled_in_window(&self, options: &ProfileOptions, stop: &Stop) -> Result<Profile, ProfileError> {
        let (_session, window) = self.begin(options, stop)?;
        let (before, started_at) = (self.history().stalled_time(), SystemTime::now());
        while window.sleep(STOP_CHECK) {}
        let stalled = self.history().stalled_time().since(&before);
        Ok(self.stalled_profile(&stalled, started_at, window.elapsed()))
    }

    pub(crate) fn stalled_profile(&self, stalled: &StalledTime, started_at: SystemTime, duration: Duration) -> Profile {
        let mut profile = stalled.profile(started_at, duration);
        profile.program = Arc::clone(&self.program);
        profile.pid = std::process::id();
        let counters = self.counters();
        profile.quality.lost = counters.unexplained;
        if counters.stacks_missed > 0 {
            let missed = counters.stacks_missed;
            profile.quality.notes.push(format!("{missed} stacks of stalls could not be taken since the start"));
        }
        profile
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
        let profile = watch.profile(&options).expect("profiles");
        load.join().expect("ends");
        let of_load = |sample: &&crate::Sample| {
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
        assert!(watch.profile(&options.duration(Duration::from_millis(50))).is_ok(), "it can be started again");
    }
}
