//! Profiles of another process: its CPU time, what its threads do, what its tasks wait for, what held its workers up.

use std::fmt;
use std::ops::ControlFlow;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use super::debug_info::{Known, described};
use super::live_reader::Reader;
use super::process::{AttachError, Attached, no_sampling};
use super::stalls::{Asked, StallsSoFar};
use crate::inprocess::{ProfileError, ProfileMode, ProfileOptions, Stop};
use crate::model::census::SourcePlace;
use crate::model::profile::Profile;
use crate::process::{RemoteCpu, RemoteStacks, ThreadLocals};
use crate::profilers::{Awaiting, Cpu, Profiler, Threads, Window};

/// How often a profile of stalled time looks whether it shall end.
const STOP_CHECK: Duration = Duration::from_millis(20);

/// How often threads are looked for that are new.
const THREADS_EVERY: Duration = Duration::from_millis(250);

/// Reading tasks takes no more than one part in so many of the time.
const SHARE: u32 = 4;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutsideMode {
    /// CPU time of every thread.
    Cpu,
    /// What every thread does over time: its native stack.
    Wall,
    /// What every task waits for over time: its await path.
    Tasks,
    /// Time inside polls that stalled.
    Stalled,
}

impl OutsideMode {
    const ALL: [Self; 4] = [Self::Cpu, Self::Wall, Self::Tasks, Self::Stalled];

    /// The word used on the command line.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => ProfileMode::Cpu.as_str(),
            Self::Wall => ProfileMode::Wall.as_str(),
            Self::Tasks => "tasks",
            Self::Stalled => ProfileMode::Stalled.as_str(),
        }
    }
}

/// There is no such mode.
#[derive(Debug)]
pub(crate) struct NoSuchMode(String);

impl fmt::Display for NoSuchMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no profile mode \"{}\"; of a process there are cpu, wall, tasks and stalled", self.0)
    }
}

impl std::error::Error for NoSuchMode {}

impl FromStr for OutsideMode {
    type Err = NoSuchMode;

    fn from_str(word: &str) -> Result<Self, NoSuchMode> {
        let found = Self::ALL.into_iter().find(|mode| mode.as_str() == word);
        found.ok_or_else(|| NoSuchMode(word.to_owned()))
    }
}

impl Attached {
    /// Collects a profile on the calling thread. `stop` ends its window early; so does the end of the process. Of the
    /// options, the mode is not looked at; polls longer than `threshold` are stalls.
    pub(crate) fn profile(
        mut self,
        mode: OutsideMode,
        options: &ProfileOptions,
        threshold: Duration,
        stop: &Stop,
    ) -> Result<Profile, AttachError> {
        options.check().map_err(AttachError::Profile)?;
        // Before the window, because the process may be gone behind it, and its files with it.
        self.symbolizer.open_all();
        let profiler: Box<dyn Profiler> = match mode {
            OutsideMode::Cpu => {
                let source = RemoteCpu::start(self.process, options.rate);
                let source = source.map_err(|error| no_sampling(self.process, &error))?;
                Box::new(Cpu::new(source, options.rate))
            }
            OutsideMode::Wall => {
                let process = RemoteStacks::open(self.process);
                let process = process.map_err(|error| AttachError::Profile(ProfileError::Unavailable(error)))?;
                Box::new(Threads::new(process, options.rate))
            }
            OutsideMode::Tasks => return self.profile_tasks(options, stop),
            OutsideMode::Stalled => return self.profile_stalled(options, threshold, stop),
        };
        self.run(profiler, options, stop)
    }

    fn run(
        self,
        mut profiler: Box<dyn Profiler>,
        options: &ProfileOptions,
        stop: &Stop,
    ) -> Result<Profile, AttachError> {
        let window = Window::begin(options.duration, stop.flag());
        let collected = profiler.run(&window).map_err(|error| AttachError::Profile(ProfileError::Failed(error)))?;
        let Self { process, program, mut symbolizer, .. } = self;
        let mappings = symbolizer.mappings();
        Ok(collected.resolve(&program, process.id(), mappings, |address| symbolizer.frames_at(address)))
    }

    /// One census after the other. Nothing of the process is stopped for it, but, once, a thread that never sleeps.
    fn profile_tasks(mut self, options: &ProfileOptions, stop: &Stop) -> Result<Profile, AttachError> {
        let Known { images, sections, packed, missing, origin } = self.read_program()?;
        let pid = self.process.id();
        let image = images.program().ok_or(AttachError::NoProcess { pid })?;
        let program = described(packed, &sections);
        let reader = Reader::of(self.process, image, &program, &missing)?;
        self.symbolizer.add_source_roots(program.source_roots());
        let symbolizer = &self.symbolizer;
        let frame_of = |future: &str, place: Option<&SourcePlace>| {
            let file = place.map(|place| &*place.file);
            symbolizer.described(future.to_owned(), file, place.map(|place| place.line))
        };
        let mut awaiting = Awaiting::new(&frame_of);
        let mut threads = ThreadLocals::of(self.process, image.range.start);
        let interval = Duration::from_secs(1) / options.rate.max(1);
        let window = Window::begin(options.duration, stop.flag());
        let (mut last, mut searched, mut pause) = (Duration::ZERO, None, interval);
        let (mut looks, mut took) = (0_u32, Duration::ZERO);
        while window.sleep(pause) {
            let begun = window.elapsed();
            if searched.is_none_or(|searched| begun.saturating_sub(searched) >= THREADS_EVERY) {
                searched = Some(begun);
                if !threads.refresh() {
                    awaiting.note(format!(
                        "the process ended, or runs another program, after {:.1} s",
                        begun.as_secs_f64()
                    ));
                    break;
                }
            }
            awaiting.add(&reader.census(&threads.pointers()), begun.saturating_sub(last));
            last = begun;
            let reading = window.elapsed().saturating_sub(begun);
            (looks, took) = (looks + 1, took + reading);
            // The time until the next look, of which reading may take its share only.
            pause = interval.saturating_sub(reading).max(reading * (SHARE - 1));
        }
        for missing in missing {
            awaiting.note(missing);
        }
        if let Some(each) = took.checked_div(looks) {
            let each = each.as_secs_f64() * 1e3;
            let held = match threads.held() {
                0 => "nothing was stopped".to_owned(),
                held => format!("{held} running threads were held for a moment, once, to find their variables"),
            };
            awaiting.note(format!("each of {looks} looks at all tasks took {each:.2} ms; {held}"));
        }
        let profile = awaiting.finish(&self.program, pid, window.elapsed());
        // The window does not wait for it.
        origin.keep(&program);
        Ok(profile)
    }

    /// What the watchdog sees.
    fn profile_stalled(
        self,
        options: &ProfileOptions,
        threshold: Duration,
        stop: &Stop,
    ) -> Result<Profile, AttachError> {
        let pid = self.process.id();
        let started_at = SystemTime::now();
        let mut window: Option<Window> = None;
        let begin = || Window::begin(options.duration, stop.flag());
        let mut profile = self.watch(
            Asked { threshold, tell_every: STOP_CHECK, callback: None },
            &mut |_| match window.get_or_insert_with(begin).sleep(Duration::ZERO) {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            },
            |watching| {
                let stalled = watching.view.history().stalled_time();
                let elapsed = started_at.elapsed().unwrap_or(options.duration);
                let mut profile = watching.view.stalled_profile(&stalled, started_at, elapsed);
                let so_far = StallsSoFar::of(watching);
                if so_far.gone {
                    profile.quality.notes.push(format!(
                        "the process ended, or runs another program, after {:.1} s",
                        elapsed.as_secs_f64()
                    ));
                } else if so_far.workers == 0 {
                    profile.quality.notes.push("no worker of a Tokio runtime was found".to_owned());
                }
                profile.quality.notes.extend(so_far.missing.into_iter().chain(so_far.notes));
                profile
            },
        )?;
        profile.pid = pid;
        Ok(profile)
    }
}
