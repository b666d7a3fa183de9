//! Which profile to collect, and why one could not be collected.

use std::fmt;
use std::io;
use std::time::Duration;

/// The default rate in samples per second. It is no multiple of the periods of 10 and 100 ms that services often have.
const DEFAULT_RATE: u32 = 99;

const HIGHEST_RATE: u32 = 1000;

const DEFAULT_DURATION: Duration = Duration::from_secs(30);

const LONGEST: Duration = Duration::from_secs(300);

/// What a profile measures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProfileMode {
    /// CPU time of every thread of the process, by one timer per thread. One at a time in a process. Where threads have no
    /// timers, the package `pprof` samples with one timer for the process, if the feature `formats` is on. It takes SIGPROF,
    /// and knows no tasks.
    #[default]
    Cpu,
    /// What every worker does over time, on the CPU and off it.
    Wall,
    /// Time inside polls that stalled, by stack and cause. Costs nothing, because the watchdog measures it anyway.
    Stalled,
    /// Live memory, at once. This mode and those below need holdup's allocator, `holdup::heap::Allocator`.
    Heap,
    /// Memory that is allocated in the window.
    Allocs,
    /// Memory that was live at the peak since sampling began, at once.
    Peak,
    /// Memory that is allocated in the first half of the window and lives at its end.
    Leaks,
    /// Memory that is freed in the poll that allocated it, or within 10 ms.
    Temporary,
}

impl ProfileMode {
    /// Every mode.
    pub const ALL: [Self; 8] =
        [Self::Cpu, Self::Wall, Self::Stalled, Self::Heap, Self::Allocs, Self::Peak, Self::Leaks, Self::Temporary];

    /// The word used on the command line and in URLs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Wall => "wall",
            Self::Stalled => "stalled",
            Self::Heap => "heap",
            Self::Allocs => "allocs",
            Self::Peak => "peak",
            Self::Leaks => "leaks",
            Self::Temporary => "temporary",
        }
    }

    /// Whether a profile measures a window of time. Others are answered at once.
    #[must_use]
    pub fn has_window(self) -> bool {
        !matches!(self, Self::Heap | Self::Peak)
    }
}

impl std::str::FromStr for ProfileMode {
    type Err = ProfileError;

    fn from_str(word: &str) -> Result<Self, ProfileError> {
        let found = Self::ALL.into_iter().find(|mode| mode.as_str() == word);
        found.ok_or_else(|| ProfileError::Mode { asked: word.to_owned() })
    }
}

/// Which profile to collect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProfileOptions {
    /// What to measure.
    pub mode: ProfileMode,
    /// The length of the window: 30 s unless set, 5 minutes at most.
    pub duration: Duration,
    /// Samples per second, for modes that sample: 99 unless set, 1000 at most. The kernel checks CPU timers at its ticks,
    /// often 250 a second; at higher rates a sample stands for several periods.
    pub rate: u32,
}

impl ProfileOptions {
    /// The defaults for a mode: 30 s at 99 samples per second.
    #[must_use]
    pub fn new(mode: ProfileMode) -> Self {
        Self { mode, duration: DEFAULT_DURATION, rate: DEFAULT_RATE }
    }

    /// Sets the length of the window.
    #[must_use]
    pub fn duration(mut self, duration: Duration) -> Self {
        self.duration = duration;
        self
    }

    /// Sets the number of samples per second.
    #[must_use]
    pub fn rate(mut self, rate: u32) -> Self {
        self.rate = rate;
        self
    }

    /// Checks rate and duration.
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

impl Default for ProfileOptions {
    fn default() -> Self {
        Self::new(ProfileMode::default())
    }
}

/// Why a profile could not be collected.
#[non_exhaustive]
pub enum ProfileError {
    /// There is no such mode.
    Mode {
        /// The requested value.
        asked: String,
    },
    /// The rate is 0 or too high.
    Rate {
        /// The requested value.
        asked: u32,
        /// The highest allowed rate.
        highest: u32,
    },
    /// The window is empty or too long.
    Duration {
        /// The requested value.
        asked: Duration,
        /// The longest allowed window.
        longest: Duration,
    },
    /// CPU time of this process is being sampled already, or too many profiles are being collected.
    Busy {
        /// What is going on, as the beginning of a sentence.
        what: &'static str,
    },
    /// The heap cannot be sampled.
    Heap {
        /// Why, as a sentence without its end.
        reason: String,
    },
    /// This platform or this process does not allow it.
    Unavailable(io::Error),
    /// The collection failed during the window.
    Failed(io::Error),
}

/// The message, because a `main` that returns an error prints its `Debug` form.
impl fmt::Debug for ProfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for ProfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mode { asked } => {
                let all = ProfileMode::ALL.map(ProfileMode::as_str).join(", ");
                write!(f, "there is no profile mode \"{asked}\"; there are {all}")
            }
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
            Self::Heap { reason } => write!(f, "the heap is not sampled: {reason}"),
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
