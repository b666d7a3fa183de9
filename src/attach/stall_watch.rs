//! The watchdog on another process: the same watchdog, reporter and history as inside.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use super::debug_info::{DebugInfo, TypeOrigin, program_of};
use super::error::AttachError;
use super::live_reader::LiveReader;
use super::open_process::OpenProcess;
use super::polled_task_type::PolledTasks;
use super::remedies;
use super::watching::{Watching, WorkerSight};
use super::worker_finder::TypedWorkerFinder;
use crate::dwarf::Program;
use crate::error::Error;
use crate::images::Image;
use crate::model::process::ProgramFacts;
use crate::model::stack::{Address, Frame};
use crate::process::{RemoteProcess, Stops, TypedWorkers, UntypedSnapshot, UntypedWorkers, WorkerSource};
use crate::report::{Audience, Callback, FutureOn, QUEUE, Reporter, Sinks, StallLog};
use crate::stalls::{SMALLEST_THRESHOLD, Watchdog};
use crate::sys::Process;
use crate::unwind::PollFrames;

/// Time for the caller's own `tracing` subscriber to take the last events.
const EVENTS_LIMIT: Duration = Duration::from_secs(1);

/// How another process is watched.
pub(crate) struct WatchRequest {
    pub(crate) threshold: Duration,
    /// Between two calls of [`Observer::check`].
    pub(crate) interval: Duration,
    /// Called on the thread that explains stalls. It never waits.
    pub(crate) callback: Option<Callback>,
}

/// The caller's part in a watch: it checks again and again, and sums up in the end.
pub(crate) trait Observer {
    /// What the observer has in the end.
    type Summary;

    /// Called again and again. Ends the watch by `Break`.
    fn check(&mut self, watching: &Watching<'_, '_>) -> ControlFlow<()>;

    /// Called once, while stalls that still last are open; where the process is gone, after they were closed.
    fn finish(&mut self, watching: &Watching<'_, '_>) -> Self::Summary;
}

/// Watches until the observer has seen enough, or the process has ended.
///
/// # Errors
/// When the memory of the process cannot be read, or neither debug information nor symbols show its workers.
pub(crate) fn watch<O: Observer>(
    open: &OpenProcess,
    request: WatchRequest,
    observer: &mut O,
) -> Result<O::Summary, AttachError> {
    let threshold = request.threshold;
    if threshold < SMALLEST_THRESHOLD {
        return Err(AttachError::Watch(Error::Threshold { asked: threshold, smallest: SMALLEST_THRESHOLD }));
    }
    let process = open.process;
    let pid = process.id();
    let DebugInfo { images, sections, packed, missing, origin } = DebugInfo::read(open)?;
    let image = images.program().ok_or(AttachError::NoProcess { pid })?;
    let program = program_of(packed, &sections);
    let mut symbolizer = open.symbolizer()?;
    symbolizer.add_source_roots(program.source_roots());
    let audience = Audience { direct: request.callback.clone(), ..Audience::default() };
    let sinks = Sinks::start(audience).map_err(|error| AttachError::Watch(Error::Thread(error)))?;
    let log = Arc::new(StallLog::new(threshold, symbolizer, Arc::clone(&open.program), sinks));
    let gone = Arc::default();
    let stops = open.stops();
    let mut session = Session { process, stops, image, program: &program, missing, log: &log, gone: &gone, request };
    let frames = program.contexts().is_empty().then(|| PollFrames::of(image)).filter(PollFrames::has_polls);
    match frames {
        Some(frames) => session.watch_untyped(frames, observer),
        None => session.watch_typed(&origin, observer),
    }
}

/// One watch on one process.
struct Session<'s, 'd> {
    process: Process,
    stops: Stops,
    image: &'s Image,
    program: &'s Program<'d>,
    missing: Vec<String>,
    log: &'s Arc<StallLog>,
    gone: &'s Arc<AtomicBool>,
    request: WatchRequest,
}

impl<'d> Session<'_, 'd> {
    /// Finds workers through descriptions of types.
    fn watch_typed<O: Observer>(&self, origin: &TypeOrigin, observer: &mut O) -> Result<O::Summary, AttachError> {
        let finder = TypedWorkerFinder::new(LiveReader::of(self.process, self.image, self.program, &self.missing)?);
        let start = self.image.range.start;
        let workers = TypedWorkers::new(self.remote_process()?, &finder);
        let watching = self.watching(WorkerSight::Typed { finder: &finder, start, beside: RefCell::new(None) });
        let cache_types = || origin.cache(self.program);
        // Reports name tasks that no runtime lists.
        Ok(self.run(workers, cache_types, None, &watching, &|| finder.reader.search_heap(), observer))
    }

    /// Infers stalls from stacks and breakpoints.
    fn watch_untyped<O: Observer>(&mut self, frames: PollFrames, observer: &mut O) -> Result<O::Summary, AttachError> {
        let tier = ProgramFacts::of(self.image).debug;
        self.missing.push(remedies::stalls_without_types(&self.image.name, tier));
        let (found, frames) = (Arc::new(UntypedSnapshot::default()), Arc::new(frames));
        let tasks = PolledTasks::of(self.process, self.image, self.program, Arc::clone(&frames));
        let future_on = |stack: &[Address], frames: &[Frame]| tasks.future_on(stack, frames);
        let workers = UntypedWorkers::new(self.remote_process()?, frames, Arc::clone(&found));
        let watching = self.watching(WorkerSight::Untyped(found));
        Ok(self.run(workers, || tasks.warm_up(), Some(&future_on), &watching, &|| {}, observer))
    }

    fn remote_process(&self) -> Result<RemoteProcess, AttachError> {
        let unreadable = |error| AttachError::Unreadable { pid: self.process.id(), error };
        let remote =
            RemoteProcess::open(self.process, self.image.range.start, self.stops.clone()).map_err(unreadable)?;
        let (stacks_missed, gone) = (Arc::clone(&self.log.stacks_missed), Arc::clone(self.gone));
        Ok(RemoteProcess { stacks_missed, gone, ..remote })
    }

    fn watching<'w>(&'w self, workers: WorkerSight<'w, 'd>) -> Watching<'w, 'd> {
        Watching {
            log: self.log,
            process: self.process,
            stops: self.stops.clone(),
            missing: &self.missing,
            gone: self.gone,
            workers,
        }
    }

    /// Runs watchdog and reporter until the observer ends the watch, or the process has ended. `prepare` runs beside
    /// them once, `after_check` after each check.
    fn run<W: WorkerSource + Send, O: Observer>(
        &self,
        workers: W,
        prepare: impl FnOnce() + Send,
        future_on: Option<&FutureOn<'_>>,
        watching: &Watching<'_, '_>,
        after_check: &dyn Fn(),
        observer: &mut O,
    ) -> O::Summary {
        let stop = Arc::new(AtomicBool::new(false));
        let (observations, queue) = mpsc::sync_channel(QUEUE);
        let totals = Arc::clone(&self.log.totals);
        let watchdog = Watchdog::new(workers, self.log.threshold, totals, observations, Arc::clone(&stop));
        let reporter = Reporter::new(Arc::clone(self.log), queue).with_futures(future_on);
        std::thread::scope(|scope| {
            scope.spawn(prepare);
            let watchdog = scope.spawn(|| watchdog.run());
            let reporter = scope.spawn(|| reporter.run());
            while !watchdog.is_finished() && !reporter.is_finished() && !watching.gone() {
                let next = observer.check(watching);
                after_check();
                if next.is_break() {
                    break;
                }
                std::thread::sleep(self.request.interval);
            }
            // With stalls that still last, unless the process is gone.
            let open = (!watching.gone()).then(|| observer.finish(watching));
            stop.store(true, Ordering::Relaxed);
            for thread in [watchdog, reporter] {
                if thread.join().is_err() {
                    tracing::error!(target: "holdup", "a thread of holdup panicked; please report this");
                }
            }
            let _all_ended = self.log.sinks.end_by(Instant::now() + EVENTS_LIMIT);
            open.unwrap_or_else(|| observer.finish(watching))
        })
    }
}
