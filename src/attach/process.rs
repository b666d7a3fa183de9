//! Another process, observed from outside: the public face of this module.

use std::fmt;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::error::AttachError;
use super::open_process::OpenProcess;
use super::options::Options;
use super::profiles::{self, Mode};
use super::stalls::{self, WatchedStalls};
use super::{task_dump, top};
use crate::export::census_json::CensusJson;
use crate::export::census_text;
use crate::inprocess::{ProfileOptions, Stop};
use crate::model::activity::ActivityNow;
use crate::model::census::Census;
use crate::model::profile::Profile;

/// Another process that exists and may be read.
///
/// Nothing of the process is run or changed. All methods block the calling thread: in async code, call them through
/// [`tokio::task::spawn_blocking`].
///
/// # Examples
/// ```no_run
/// use std::time::Duration;
///
/// use holdup::ProfileOptions;
/// use holdup::attach::{Mode, Process};
///
/// let process = Process::open(4242)?;
/// println!("{}", process.dump()?);
/// let watched = process.stalls(Duration::from_millis(10), Duration::from_secs(5))?;
/// println!("{} stalls", watched.stalls.counters.stalls);
/// let profile = process.profile(Mode::Cpu, &ProfileOptions::default())?;
/// println!("{} samples", profile.sample_count());
/// # Ok::<(), holdup::attach::AttachError>(())
/// ```
#[derive(Debug)]
pub struct Process(OpenProcess);

impl Process {
    /// Opens the process with this number, with the default [`Options`].
    ///
    /// # Errors
    /// When the process does not exist or may not be read. Each message names the remedy.
    pub fn open(pid: u32) -> Result<Self, AttachError> {
        Self::open_with(pid, Options::new())
    }

    /// Opens the process with this number.
    ///
    /// # Errors
    /// As [`open`](Self::open), and when the symbol file belongs to another program.
    pub fn open_with(pid: u32, options: Options) -> Result<Self, AttachError> {
        OpenProcess::open(pid, options).map(Self)
    }

    /// The number of the process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.process.id()
    }

    /// The file name of its program.
    #[must_use]
    pub fn program(&self) -> &str {
        &self.0.program
    }

    /// Every task at one moment, with what it awaits. Running threads stand still while memory is copied.
    ///
    /// # Errors
    /// When the memory of the process cannot be read, or it runs no Tokio.
    pub fn dump(&self) -> Result<TaskDump, AttachError> {
        self.with_census(|census| TaskDump { census })
    }

    /// Watches for polls longer than `threshold` for `duration`, or until the process ends.
    ///
    /// # Errors
    /// When the threshold is below 1 ms, the memory of the process cannot be read, or nothing shows its workers.
    pub fn stalls(&self, threshold: Duration, duration: Duration) -> Result<WatchedStalls, AttachError> {
        let mut deadline = None;
        self.watch_stalls(threshold, |_| {
            let now = Instant::now();
            match now < *deadline.get_or_insert(now + duration) {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        })
    }

    /// Watches for polls longer than `threshold` until `report` returns [`ControlFlow::Break`], or the process ends. `report`
    /// is called a few times a second, and whenever a stall begins or ends.
    ///
    /// # Errors
    /// As [`stalls`](Self::stalls).
    pub fn watch_stalls(
        &self,
        threshold: Duration,
        mut report: impl FnMut(&WatchedStalls) -> ControlFlow<()>,
    ) -> Result<WatchedStalls, AttachError> {
        stalls::watch_stalls(&self.0, threshold, &mut report)
    }

    /// Collects a profile. `mode` replaces the mode of the options; polls longer than 10 ms are stalls.
    ///
    /// # Errors
    /// When the options are out of range, or the process cannot be sampled.
    pub fn profile(&self, mode: Mode, options: &ProfileOptions) -> Result<Profile, AttachError> {
        self.profile_until(mode, options, crate::stalls::DEFAULT_THRESHOLD, &Stop::default())
    }

    /// The same with a threshold, ended early by `stop`.
    pub(crate) fn profile_until(
        &self,
        mode: Mode,
        options: &ProfileOptions,
        threshold: Duration,
        stop: &Stop,
    ) -> Result<Profile, AttachError> {
        profiles::collect(&self.0, mode, options, threshold, stop)
    }

    /// Calls `show` with a census before it is cached.
    pub(crate) fn with_census<T>(&self, show: impl FnOnce(Census) -> T) -> Result<T, AttachError> {
        task_dump::take(&self.0, show)
    }

    /// Calls `show` once an interval with what happened in it, until `show` or `stop` ends it, or the process has ended.
    pub(crate) fn top(
        &self,
        threshold: Duration,
        interval: Duration,
        stop: &Stop,
        show: &mut dyn FnMut(ActivityNow) -> ControlFlow<()>,
    ) -> Result<WatchedStalls, AttachError> {
        top::top(&self.0, threshold, interval, stop, show)
    }
}

/// Every task of a process at one moment. [`Display`](fmt::Display) writes what `holdup dump` prints.
#[derive(Debug)]
pub struct TaskDump {
    census: Census,
}

impl TaskDump {
    /// The number of tasks.
    #[must_use]
    pub fn task_count(&self) -> usize {
        self.census.tasks.len()
    }

    /// What could not be read, as sentences that name the remedy.
    #[must_use]
    pub fn missing(&self) -> &[String] {
        &self.census.quality.missing
    }

    /// The number of threads that may run a worker and could not be seen.
    #[must_use]
    pub fn unseen_threads(&self) -> usize {
        self.census.quality.unseen_threads
    }

    /// The JSON that `holdup dump --json` prints.
    ///
    /// # Errors
    /// When a value cannot be written as JSON, which no value of a dump is known to cause.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(&CensusJson::from(&self.census))
    }
}

impl fmt::Display for TaskDump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&census_text::text(&self.census, census_text::Options { all: false, stacks: false }))
    }
}
