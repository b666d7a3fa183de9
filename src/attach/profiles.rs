//! Profiles of another process: its CPU time, what its threads do, what its tasks wait for, its stalled time.

use std::fmt;
use std::ops::ControlFlow;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use super::debug_info::{DebugInfo, program_of};
use super::error::AttachError;
use super::live_reader::LiveReader;
use super::open_process::OpenProcess;
use super::stall_watch::{Observer, WatchRequest, watch};
use super::stalls::WatchedStalls;
use super::watching::Watching;
use crate::inprocess::{ProfileError, ProfileMode, ProfileOptions, Stop};
use crate::model::census::SourcePlace;
use crate::model::profile::Profile;
use crate::process::{RemoteCpu, RemoteStacks, ThreadLocals};
use crate::profilers::{Awaiting, Cpu, Profiler, Threads, Window};

/// Between two checks whether a profile of stalled time is to end.
const STOP_CHECK: Duration = Duration::from_millis(20);

/// Between two searches for new threads.
const THREAD_SEARCH_INTERVAL: Duration = Duration::from_millis(250);

/// Reading tasks takes at most one part in this many of the time.
const READ_TIME_DIVISOR: u32 = 4;

/// What a profile of another process measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// CPU time of every thread.
    Cpu,
    /// The native stack of every thread over time.
    Wall,
    /// The await path of every task over time.
    Tasks,
    /// Time inside polls that stalled.
    Stalled,
}

impl Mode {
    /// Every mode.
    pub const ALL: [Self; 4] = [Self::Cpu, Self::Wall, Self::Tasks, Self::Stalled];

    /// The word used on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => ProfileMode::Cpu.as_str(),
            Self::Wall => ProfileMode::Wall.as_str(),
            Self::Tasks => "tasks",
            Self::Stalled => ProfileMode::Stalled.as_str(),
        }
    }
}

/// The error of a word that is no [`Mode`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseModeError(String);

impl fmt::Display for ParseModeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no profile mode \"{}\"; the modes of a process are cpu, wall, tasks and stalled", self.0)
    }
}

impl std::error::Error for ParseModeError {}

impl FromStr for Mode {
    type Err = ParseModeError;

    fn from_str(word: &str) -> Result<Self, ParseModeError> {
        let found = Self::ALL.into_iter().find(|mode| mode.as_str() == word);
        found.ok_or_else(|| ParseModeError(word.to_owned()))
    }
}

/// Collects a profile on the calling thread. `stop` ends its window early, as the end of the process does. The mode of the
/// options is ignored; polls longer than `threshold` are stalls.
///
/// # Errors
/// When the options are out of range, or the process cannot be sampled.
pub(crate) fn collect(
    open: &OpenProcess,
    mode: Mode,
    options: &ProfileOptions,
    threshold: Duration,
    stop: &Stop,
) -> Result<Profile, AttachError> {
    options.check().map_err(AttachError::Profile)?;
    let process = open.process;
    match mode {
        Mode::Cpu => collect_samples(open, options, stop, || {
            let source = RemoteCpu::start(process, options.rate);
            let source = source.map_err(|error| AttachError::of_sampling(process, &error))?;
            Ok(Cpu::new(source, options.rate))
        }),
        Mode::Wall if open.options.never_stop => Err(AttachError::NeverStop),
        Mode::Wall => collect_samples(open, options, stop, || {
            let stacks = RemoteStacks::open(process, open.stops());
            let stacks = stacks.map_err(|error| AttachError::Profile(ProfileError::Unavailable(error)))?;
            Ok(Threads::new(stacks, options.rate))
        }),
        Mode::Tasks => collect_tasks(open, options, stop),
        Mode::Stalled => collect_stalled(open, options, threshold, stop),
    }
}

/// Samples native stacks.
fn collect_samples<P: Profiler>(
    open: &OpenProcess,
    options: &ProfileOptions,
    stop: &Stop,
    start: impl FnOnce() -> Result<P, AttachError>,
) -> Result<Profile, AttachError> {
    let mut symbolizer = open.symbolizer()?;
    // Before the window: afterwards the process, and its files, may be gone.
    symbolizer.open_all();
    let mut profiler = start()?;
    let window = Window::begin(options.duration, stop.flag());
    let collected = profiler.run(&window).map_err(|error| AttachError::Profile(ProfileError::Failed(error)))?;
    let mappings = symbolizer.mappings();
    Ok(collected.resolve(&open.program, open.process.id(), mappings, |address| symbolizer.frames_at(address)))
}

/// Takes one census after the other. The process runs on; only a thread that never sleeps is stopped, once.
fn collect_tasks(open: &OpenProcess, options: &ProfileOptions, stop: &Stop) -> Result<Profile, AttachError> {
    let process = open.process;
    let pid = process.id();
    let mut symbolizer = open.symbolizer()?;
    symbolizer.open_all();
    let DebugInfo { images, sections, packed, missing, origin } = DebugInfo::read(open)?;
    let image = images.program().ok_or(AttachError::NoProcess { pid })?;
    let program = program_of(packed, &sections);
    let reader = LiveReader::of(process, image, &program, &missing)?;
    symbolizer.add_source_roots(program.source_roots());
    let symbolizer = &symbolizer;
    let frame_of = |future: &str, place: Option<&SourcePlace>| {
        let file = place.map(|place| &*place.file);
        symbolizer.described(future.to_owned(), file, place.map(|place| place.line))
    };
    let mut awaiting = Awaiting::new(&frame_of);
    let stops = open.stops();
    let mut threads = ThreadLocals::of(process, image.range.start, stops.clone());
    let interval = Duration::from_secs(1) / options.rate.max(1);
    let window = Window::begin(options.duration, stop.flag());
    let (mut last, mut searched, mut pause) = (Duration::ZERO, None, interval);
    let (mut readings, mut took) = (0_u32, Duration::ZERO);
    while window.sleep(pause) {
        let begun = window.elapsed();
        if searched.is_none_or(|searched| begun.saturating_sub(searched) >= THREAD_SEARCH_INTERVAL) {
            searched = Some(begun);
            if !threads.refresh() {
                awaiting
                    .note(format!("the process ended, or runs another program, after {:.1} s", begun.as_secs_f64()));
                break;
            }
        }
        awaiting.add(&reader.census(&threads.pointers()), begun.saturating_sub(last));
        last = begun;
        let reading = window.elapsed().saturating_sub(begun);
        (readings, took) = (readings + 1, took + reading);
        // Reading takes its share of the time only.
        pause = interval.saturating_sub(reading).max(reading * (READ_TIME_DIVISOR - 1));
    }
    for missing in missing {
        awaiting.note(missing);
    }
    if let Some(each) = took.checked_div(readings) {
        let each = each.as_secs_f64() * 1e3;
        let held = stops.so_far().sentence();
        awaiting.note(format!("each of {readings} readings of all tasks took {each:.2} ms; {held}"));
    }
    let profile = awaiting.finish(&open.program, pid, window.elapsed());
    origin.cache(&program);
    Ok(profile)
}

/// Watches for stalls, and folds their time by stack and cause.
fn collect_stalled(
    open: &OpenProcess,
    options: &ProfileOptions,
    threshold: Duration,
    stop: &Stop,
) -> Result<Profile, AttachError> {
    let request = WatchRequest { threshold, interval: STOP_CHECK, callback: None };
    let pid = open.process.id();
    watch(open, request, &mut StalledObserver { pid, options, stop, started_at: SystemTime::now(), window: None })
}

struct StalledObserver<'s> {
    pid: u32,
    options: &'s ProfileOptions,
    stop: &'s Stop,
    started_at: SystemTime,
    /// Begins with the first check, because reading debug information takes its time.
    window: Option<Window>,
}

impl Observer for StalledObserver<'_> {
    type Summary = Profile;

    fn check(&mut self, _watching: &Watching<'_, '_>) -> ControlFlow<()> {
        let begin = || Window::begin(self.options.duration, self.stop.flag());
        match self.window.get_or_insert_with(begin).sleep(Duration::ZERO) {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    }

    fn finish(&mut self, watching: &Watching<'_, '_>) -> Profile {
        let stalled = watching.log.history().stalled_time();
        let elapsed = self.started_at.elapsed().unwrap_or(self.options.duration);
        let mut profile = watching.log.stalled_profile(self.pid, &stalled, self.started_at, elapsed);
        let state = WatchedStalls::of(watching);
        if state.gone {
            let after = elapsed.as_secs_f64();
            profile.quality.notes.push(format!("the process ended, or runs another program, after {after:.1} s"));
        } else if state.workers == 0 {
            profile.quality.notes.push("no worker of a Tokio runtime was found".to_owned());
        }
        profile.quality.notes.extend(state.unknown_threads.into_iter().chain(state.notes));
        profile.quality.notes.push(state.stops.sentence());
        profile
    }
}
