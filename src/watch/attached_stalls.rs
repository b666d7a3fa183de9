//! The watchdog on another process: the same watchdog, reporter and history as inside, over another target.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak, mpsc};
use std::time::Duration;

use super::View;
use super::attached::{AttachError, Attached};
use super::builder::{Callback, QUEUE, SMALLEST_THRESHOLD};
use super::error::Error;
use super::reader::Reader;
use super::reporter::{Reporter, Tellers};
use super::sources::{Known, described};
use crate::layout::Memory;
use crate::model::check::SelfCheck;
use crate::model::stall::{Phase, Stall, StallEvent, Stalls};
use crate::model::task::TaskId;
use crate::model::worker::WorkerPlace;
use crate::stalls::{Endings, Limits, Watchdog};
use crate::target::{Finder, OtherProcess, OtherWorkers, Snapshot, cpu_of_this_thread};

/// How often the caller is told.
const TELL_EVERY: Duration = Duration::from_millis(200);

/// Stalls that began or ended, on their way to the caller.
const NEWS: usize = 1024;

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
    /// What cannot be seen, and why.
    pub(crate) missing: Vec<String>,
    /// Each stall that began or ended since the caller was told last, in order, as it was then.
    pub(crate) news: Vec<Stall>,
    /// News that came faster than the caller took them, and are lost.
    pub(crate) news_lost: u64,
}

/// A watch on another process, as long as it lasts.
pub(super) struct Watching<'w, 'd> {
    pub(super) view: &'w View,
    workers: &'w Workers<'w, 'd>,
    missing: &'w [String],
    gone: &'w AtomicBool,
    /// Where the program lies.
    start: u64,
    /// The workers once more, for whoever looks at them beside the watchdog.
    target: RefCell<Option<OtherWorkers<'w>>>,
}

impl<'d> Watching<'_, 'd> {
    /// The process has ended, or runs another program now.
    pub(super) fn gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    pub(super) fn reader(&self) -> &Reader<'_, 'd> {
        &self.workers.reader
    }

    /// Looks at workers independently of the watchdog; `None` once the process is gone.
    pub(super) fn with_target<R>(&self, look: impl FnOnce(&mut OtherWorkers<'_>) -> R) -> Option<R> {
        let mut target = self.target.borrow_mut();
        if target.is_none() {
            let process = self.workers.reader.process;
            let stacks = OtherProcess::open(process).ok()?;
            let (missed, gone) = (Arc::default(), Arc::default());
            *target = Some(OtherWorkers::new(process, self.start, stacks, self.workers, missed, gone));
        }
        target.as_mut().map(look)
    }
}

impl StallsSoFar {
    pub(super) fn of(watching: &Watching<'_, '_>) -> Self {
        let found = watching.workers.found();
        Self {
            stalls: watching.view.stalls(),
            gone: watching.gone(),
            workers: found.workers,
            missing: found.unknown.into_iter().chain(watching.missing.iter().cloned()).collect(),
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
        self.watch_with(
            threshold,
            Duration::ZERO,
            Some(Arc::new(hear)),
            &mut |watching| {
                let first = news.recv_timeout(TELL_EVERY).ok();
                tell(&so_far(watching, first))
            },
            |watching| so_far(watching, None),
        )
    }

    /// Watches until `tell` says that it is enough, or the process has ended. `last` is asked how it stands then, with
    /// stalls that last.
    pub(super) fn watch<T>(
        self,
        threshold: Duration,
        tell_every: Duration,
        tell: &mut dyn FnMut(&Watching<'_, '_>) -> ControlFlow<()>,
        last: impl Fn(&Watching<'_, '_>) -> T,
    ) -> Result<T, AttachError> {
        self.watch_with(threshold, tell_every, None, tell, last)
    }

    /// The same; the callback is called by the thread that explains stalls.
    fn watch_with<T>(
        mut self,
        threshold: Duration,
        tell_every: Duration,
        callback: Option<Callback>,
        tell: &mut dyn FnMut(&Watching<'_, '_>) -> ControlFlow<()>,
        last: impl Fn(&Watching<'_, '_>) -> T,
    ) -> Result<T, AttachError> {
        if threshold < SMALLEST_THRESHOLD {
            return Err(AttachError::Watch(Error::Threshold { asked: threshold, smallest: SMALLEST_THRESHOLD }));
        }
        let Known { images, sections, packed, missing, origin } = self.read_program()?;
        let pid = self.process.id();
        let image = images.program().ok_or(AttachError::NoProcess { pid })?;
        let program = described(packed, &sections);
        let reader = Reader::of(self.process, image, &program, &missing)?;
        self.symbolizer.add_source_roots(program.source_roots());
        let workers = Workers { reader, found: Mutex::default() };
        let stacks = OtherProcess::open(self.process).map_err(|error| AttachError::Unreadable { pid, error })?;
        let check = SelfCheck::default();
        let view = Arc::new(View::new(threshold, self.symbolizer, Arc::clone(&self.program), check, Weak::new()));
        let (stop, gone) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (observations, queue) = mpsc::sync_channel(QUEUE);
        let watchdog = Watchdog {
            target: OtherWorkers::new(
                self.process,
                image.range.start,
                stacks,
                &workers,
                Arc::clone(&view.stacks_missed),
                Arc::clone(&gone),
            ),
            limits: Limits::new(threshold),
            totals: Arc::clone(&view.totals),
            observations,
            stop: Arc::clone(&stop),
            stuck: std::collections::HashMap::new(),
            endings: Endings::default(),
        };
        let reporter = Reporter::new(Arc::clone(&view), queue, Tellers { print: None, callback });
        let (start, target) = (image.range.start, RefCell::new(None));
        let watching = Watching { view: &view, workers: &workers, missing: &missing, gone: &gone, start, target };
        std::thread::scope(|scope| {
            scope.spawn(|| origin.keep(&program));
            let watchdog = scope.spawn(|| watchdog.run());
            let reporter = scope.spawn(|| reporter.run());
            while !watchdog.is_finished() && !reporter.is_finished() && !watching.gone() {
                if tell(&watching).is_break() {
                    break;
                }
                // For their names in reports.
                workers.reader.search_unlisted();
                std::thread::sleep(tell_every);
            }
            // As it stands, with stalls that last.
            let before = (!watching.gone()).then(|| last(&watching));
            stop.store(true, Ordering::Relaxed);
            for thread in [watchdog, reporter] {
                if thread.join().is_err() {
                    tracing::error!(target: "holdup", "a thread of holdup panicked; please report this");
                }
            }
            Ok(before.unwrap_or_else(|| last(&watching)))
        })
    }
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

impl Finder for Workers<'_, '_> {
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
