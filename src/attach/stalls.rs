//! The watchdog on another process: the same watchdog, reporter and history as inside, over another target.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak, mpsc};
use std::time::Duration;

use super::debug_info::{Known, described};
use super::live_reader::Reader;
use super::polled_task_type::PolledTasks;
use super::process::{AttachError, Attached};
use crate::dwarf::Memory;
use crate::error::Error;
use crate::inprocess::View;
use crate::model::check::SelfCheck;
use crate::model::process::{DebugTier, ProgramFacts};
use crate::model::stack::{Address, Frame};
use crate::model::stall::{Phase, Stall, StallEvent, Stalls};
use crate::model::task::TaskId;
use crate::model::worker::WorkerPlace;
use crate::process::{
    RemoteStacks, Snapshot, TypedWorkers, UntypedSnapshot, UntypedWorker, UntypedWorkers, WorkerFinder, WorkerSource,
    cpu_of_this_thread,
};
use crate::report::{Callback, QUEUE, Sinks};
use crate::report::{FutureOn, Reporter};
use crate::stalls::SMALLEST_THRESHOLD;
use crate::stalls::Watchdog;
use crate::sys::Process;
use crate::unwind::PollFrames;

/// How often the caller is told.
const TELL_EVERY: Duration = Duration::from_millis(200);

/// Stalls that began or ended, on their way to the caller.
const NEWS: usize = 1024;

/// Said where the kernel refuses.
const NO_BREAKPOINTS: &str = "only polls that sleep are seen, not those that compute: perf events are forbidden here; allow them with \
                              `sudo sysctl kernel.perf_event_paranoid=2`, start a container with `--cap-add PERFMON`, or run \
                              holdup as root";

/// The watchdog is blind while a task's name is looked up, which may take so much CPU time.
const NAME_LIMIT: Duration = Duration::from_millis(50);

/// How it stands.
#[derive(Debug)]
pub(crate) struct StallsSoFar {
    pub(crate) stalls: Stalls,
    /// The process has ended, or runs another program now.
    pub(crate) gone: bool,
    /// Workers of it.
    pub(crate) workers: usize,
    /// Why of some threads it cannot be told what they do.
    pub(crate) missing: Vec<String>,
    /// What else is to be known.
    pub(crate) notes: Vec<String>,
    /// Each stall that began or ended since the caller was told last, in order, as it was then.
    pub(crate) news: Vec<Stall>,
    /// News that came faster than the caller took them, and are lost.
    pub(crate) news_lost: u64,
}

/// How another process is watched.
pub(crate) struct Asked {
    pub(crate) threshold: Duration,
    /// How often the caller is told.
    pub(crate) tell_every: Duration,
    /// Called by the thread that explains stalls.
    pub(crate) callback: Option<Callback>,
}

/// A watch on another process, as long as it lasts.
pub(crate) struct Watching<'w, 'd> {
    pub(crate) view: &'w View,
    process: Process,
    missing: &'w [String],
    gone: &'w AtomicBool,
    means: Means<'w, 'd>,
}

/// By what workers are told.
enum Means<'w, 'd> {
    Types {
        workers: &'w Workers<'w, 'd>,
        /// Where the program lies.
        start: u64,
        /// The workers once more, for whoever looks at them beside the watchdog.
        target: RefCell<Option<Box<TypedWorkers<'w>>>>,
    },
    Stacks(Arc<UntypedSnapshot>),
}

impl<'d> Watching<'_, 'd> {
    /// The process has ended, or runs another program now.
    pub(crate) fn gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// `None` where no types are described.
    pub(crate) fn reader(&self) -> Option<&Reader<'_, 'd>> {
        match &self.means {
            Means::Types { workers, .. } => Some(&workers.reader),
            Means::Stacks(_) => None,
        }
    }

    /// The workers as the watchdog finds them; `None` where types are described.
    pub(crate) fn silent_workers(&self) -> Option<Vec<UntypedWorker>> {
        match &self.means {
            Means::Types { .. } => None,
            Means::Stacks(found) => Some(found.workers()),
        }
    }

    /// Looks at workers independently of the watchdog; `None` once the process is gone, and where no types are described.
    pub(crate) fn with_target<R>(&self, look: impl FnOnce(&mut TypedWorkers<'_>) -> R) -> Option<R> {
        let Means::Types { workers, start, target } = &self.means else { return None };
        let mut target = target.borrow_mut();
        if target.is_none() {
            let stacks = RemoteStacks::open(self.process).ok()?;
            let (missed, gone) = (Arc::default(), Arc::default());
            *target = Some(Box::new(TypedWorkers::new(self.process, *start, stacks, *workers, missed, gone)));
        }
        target.as_deref_mut().map(look)
    }

    /// Workers that were found, and why others were not.
    fn found(&self) -> Found {
        match &self.means {
            Means::Types { workers, .. } => workers.found(),
            Means::Stacks(found) => Found { workers: found.count(), unknown: Vec::new() },
        }
    }

    /// What else is to be known.
    fn notes(&self) -> Vec<String> {
        let mut notes = self.missing.to_vec();
        if let Means::Stacks(found) = &self.means
            && found.no_breakpoints()
        {
            notes.push(NO_BREAKPOINTS.to_owned());
        }
        notes
    }
}

impl StallsSoFar {
    pub(crate) fn of(watching: &Watching<'_, '_>) -> Self {
        let found = watching.found();
        Self {
            stalls: watching.view.stalls(),
            gone: watching.gone(),
            workers: found.workers,
            missing: found.unknown,
            notes: watching.notes(),
            news: Vec::new(),
            news_lost: 0,
        }
    }
}

impl Attached {
    /// Watches until `tell`, which is called a few times a second and whenever a stall begins or ends, says that it is enough,
    /// or the process has ended.
    ///
    /// # Errors
    /// When its memory may not be read, or its debug information does not tell where its workers are.
    pub(crate) fn watch_stalls(
        self,
        threshold: Duration,
        tell: &mut dyn FnMut(&StallsSoFar) -> ControlFlow<()>,
    ) -> Result<StallsSoFar, AttachError> {
        let (send, news) = mpsc::sync_channel(NEWS);
        let lost = Arc::new(AtomicU64::new(0));
        let uncounted = Arc::clone(&lost);
        let hear = move |event: &StallEvent<'_>| {
            if event.phase != Phase::Updated && send.try_send(event.stall.clone()).is_err() {
                uncounted.fetch_add(1, Ordering::Relaxed);
            }
        };
        let so_far = |watching: &Watching<'_, '_>, first: Option<Stall>| StallsSoFar {
            news: first.into_iter().chain(news.try_iter()).collect(),
            news_lost: lost.load(Ordering::Relaxed),
            ..StallsSoFar::of(watching)
        };
        // The caller waits for news instead.
        let tell_every = Duration::ZERO;
        let asked = Asked { threshold, tell_every, callback: Some(Arc::new(hear)) };
        self.watch(
            asked,
            &mut |watching| {
                let first = news.recv_timeout(TELL_EVERY).ok();
                tell(&so_far(watching, first))
            },
            |watching| so_far(watching, None),
        )
    }

    /// Watches until `tell` says that it is enough, or the process has ended. `last` is asked how it stands then, with
    /// stalls that last.
    pub(crate) fn watch<T>(
        mut self,
        asked: Asked,
        tell: &mut dyn FnMut(&Watching<'_, '_>) -> ControlFlow<()>,
        last: impl Fn(&Watching<'_, '_>) -> T,
    ) -> Result<T, AttachError> {
        let Asked { threshold, tell_every, callback } = asked;
        if threshold < SMALLEST_THRESHOLD {
            return Err(AttachError::Watch(Error::Threshold { asked: threshold, smallest: SMALLEST_THRESHOLD }));
        }
        let Known { images, sections, packed, mut missing, origin } = self.read_program()?;
        let process = self.process;
        let pid = process.id();
        let image = images.program().ok_or(AttachError::NoProcess { pid })?;
        let program = described(packed, &sections);
        self.symbolizer.add_source_roots(program.source_roots());
        let stacks = || RemoteStacks::open(process).map_err(|error| AttachError::Unreadable { pid, error });
        let check = SelfCheck::default();
        let view = Arc::new(View::new(threshold, self.symbolizer, Arc::clone(&self.program), check, Weak::new()));
        let gone = Arc::new(AtomicBool::new(false));
        let watcher = Watcher { view: &view, threshold, gone: &gone, callback, future_on: None };
        let (missed, over) = (Arc::clone(&view.stacks_missed), Arc::clone(&gone));
        let frames = program.contexts().is_empty().then(|| PollFrames::of(image)).filter(PollFrames::any);
        if let Some(frames) = frames {
            let found = Arc::new(UntypedSnapshot::default());
            missing.push(without_tasks(&image.name, ProgramFacts::of(image).debug));
            let means = Means::Stacks(Arc::clone(&found));
            let watching = Watching { view: &view, process, missing: &missing, gone: &gone, means };
            let frames = Arc::new(frames);
            let tasks = PolledTasks::of(process, image, &program, Arc::clone(&frames));
            let future_on = |stack: &[Address], frames: &[Frame]| tasks.future_on(stack, frames);
            let watcher = Watcher { future_on: Some(&future_on), ..watcher };
            let target = UntypedWorkers::new(process, image.range.start, stacks()?, frames, found, missed, over);
            let go_on = &mut || tell(&watching).is_continue();
            return Ok(watcher.run(target, || tasks.warm_up(), tell_every, go_on, || last(&watching)));
        }
        let reader = Reader::of(process, image, &program, &missing)?;
        let workers = Workers { reader, found: Mutex::default() };
        let start = image.range.start;
        let means = Means::Types { workers: &workers, start, target: RefCell::new(None) };
        let watching = Watching { view: &view, process, missing: &missing, gone: &gone, means };
        let target = TypedWorkers::new(process, start, stacks()?, &workers, missed, over);
        let keep = || origin.keep(&program);
        let go_on = &mut || {
            let go_on = tell(&watching).is_continue();
            // For their names in reports.
            workers.reader.search_unlisted();
            go_on
        };
        Ok(watcher.run(target, keep, tell_every, go_on, || last(&watching)))
    }
}

/// The watchdog on another process and the thread that explains what it sees, whatever tells the workers.
struct Watcher<'w> {
    view: &'w Arc<View>,
    threshold: Duration,
    gone: &'w AtomicBool,
    callback: Option<Callback>,
    future_on: Option<&'w FutureOn<'w>>,
}

impl Watcher<'_> {
    /// Runs until `go_on` says no, or nothing is left to be watched. `beside` runs meanwhile; `last` is asked
    /// before the end, or, where the process is gone, behind it.
    fn run<T, R>(
        self,
        target: T,
        beside: impl FnOnce() + Send,
        tell_every: Duration,
        go_on: &mut dyn FnMut() -> bool,
        last: impl Fn() -> R,
    ) -> R
    where
        T: WorkerSource + Send,
    {
        let stop = Arc::new(AtomicBool::new(false));
        let (observations, queue) = mpsc::sync_channel(QUEUE);
        let totals = Arc::clone(&self.view.totals);
        let watchdog = Watchdog::new(target, self.threshold, totals, observations, Arc::clone(&stop));
        let reporter = Reporter::new(Arc::clone(self.view), queue, Sinks { print: None, callback: self.callback });
        let reporter = reporter.with_futures(self.future_on);
        std::thread::scope(|scope| {
            scope.spawn(beside);
            let watchdog = scope.spawn(|| watchdog.run());
            let reporter = scope.spawn(|| reporter.run());
            while !watchdog.is_finished() && !reporter.is_finished() && !self.gone.load(Ordering::Relaxed) && go_on() {
                std::thread::sleep(tell_every);
            }
            // As it stands, with stalls that last.
            let before = (!self.gone.load(Ordering::Relaxed)).then(&last);
            stop.store(true, Ordering::Relaxed);
            for thread in [watchdog, reporter] {
                if thread.join().is_err() {
                    tracing::error!(target: "holdup", "a thread of holdup panicked; please report this");
                }
            }
            before.unwrap_or_else(last)
        })
    }
}

/// What is not told without types, and how to get it.
fn without_tasks(program: &str, tier: DebugTier) -> String {
    let lines = if tier < DebugTier::Lines { ", nor lines" } else { "" };
    format!(
        "{program} was built without descriptions of types: stalls are inferred from stacks, which tell a task's type and not its number{lines}, and \
         what computes in the future given to block_on is not seen; `debug = 2` in `[profile.release]`, or \
         CARGO_PROFILE_RELEASE_DEBUG=2, would tell"
    )
}

/// Finds workers by the program's debug information.
struct Workers<'a, 'd> {
    reader: Reader<'a, 'd>,
    found: Mutex<Found>,
}

/// What the last search found.
#[derive(Clone, Debug, Default)]
struct Found {
    workers: usize,
    unknown: Vec<String>,
}

impl Workers<'_, '_> {
    fn found(&self) -> Found {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl WorkerFinder for Workers<'_, '_> {
    fn workers(&self, threads: &[(i32, u64)]) -> Vec<WorkerPlace> {
        // Read anew each time, and each page once.
        let memory = Snapshot::of(self.reader.process);
        let (workers, mut unknown) = self.reader.subject(&self.reader.starts(threads), &memory).workers();
        unknown.sort();
        unknown.dedup();
        let count = workers.iter().filter(|worker| worker.index.is_some()).count();
        let found = Found { workers: count, unknown };
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = found;
        workers
    }

    fn markers(&self, threads: &[(i32, u64)]) -> Vec<u64> {
        let memory = Snapshot::of(self.reader.process);
        self.reader.subject(&self.reader.starts(threads), &memory).scheduler_pointers()
    }

    fn future_of(&self, threads: &[(i32, u64)], task: TaskId) -> Option<String> {
        let until = cpu_of_this_thread().map(|used| used + NAME_LIMIT);
        let memory = Hurried { memory: Snapshot::of(self.reader.process), until };
        self.reader.future_of(threads, &memory, task)
    }
}

/// Memory that is closed once the thread that reads it has used so much CPU time. By the clock on the wall a name would be missing
/// wherever the machine is busy.
struct Hurried {
    memory: Snapshot,
    until: Option<Duration>,
}

impl Memory for Hurried {
    fn read(&self, address: u64, into: &mut [u8]) -> bool {
        cpu_of_this_thread() < self.until && self.memory.read(address, into)
    }
}
