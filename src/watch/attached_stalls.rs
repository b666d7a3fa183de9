//! The watchdog on another process: the same watchdog, reporter and history as inside, over another target.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak, mpsc};
use std::time::{Duration, Instant};

use super::View;
use super::attached::{AttachError, Attached};
use super::builder::{QUEUE, SMALLEST_THRESHOLD};
use super::error::Error;
use super::reporter::{Reporter, Tellers};
use crate::census::{Start, Subject};
use crate::layout::{Memory, Program};
use crate::model::check::SelfCheck;
use crate::model::stall::Stalls;
use crate::model::task::TaskId;
use crate::model::worker::WorkerPlace;
use crate::stalls::{Endings, Limits, Watchdog};
use crate::sys::Process;
use crate::target::{Finder, OtherProcess, OtherWorkers, Snapshot};

/// How often the caller is told.
const TELL_EVERY: Duration = Duration::from_millis(200);

/// The watchdog is blind while a task's name is looked up.
const NAME_LIMIT: Duration = Duration::from_millis(5);

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
}

impl Attached {
    /// Watches until `tell`, which is called a few times a second, says that it is enough, or the process has ended.
    ///
    /// # Errors
    /// When its memory may not be read, or its debug information does not tell where its workers are.
    pub(crate) fn watch_stalls(
        mut self,
        threshold: Duration,
        tell: &mut dyn FnMut(&StallsSoFar) -> ControlFlow<()>,
    ) -> Result<StallsSoFar, AttachError> {
        if threshold < SMALLEST_THRESHOLD {
            return Err(AttachError::Watch(Error::Threshold { asked: threshold, smallest: SMALLEST_THRESHOLD }));
        }
        let (images, sections, missing) = self.read_program()?;
        let pid = self.process.id();
        let image = images.program().ok_or(AttachError::NoProcess { pid })?;
        let program = Program::of(&sections);
        if program.contexts().is_empty() {
            return Err(match image.has_name("tokio") {
                true => AttachError::NoTypes { program: image.name.to_string(), missing },
                false => AttachError::NoTokio { pid, program: image.name.to_string() },
            });
        }
        self.symbolizer.add_source_roots(program.source_roots());
        let reader = Reader {
            process: self.process,
            program: &program,
            bias: image.bias,
            before: image.thread_locals(),
            found: Mutex::default(),
        };
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
                &reader,
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
        let reporter = Reporter::new(Arc::clone(&view), queue, Tellers { print: None, callback: None });
        let so_far = || {
            let found = reader.found.lock().unwrap_or_else(PoisonError::into_inner).clone();
            StallsSoFar {
                stalls: view.stalls(),
                gone: gone.load(Ordering::Relaxed),
                workers: found.workers,
                missing: found.unknown.into_iter().chain(missing.iter().cloned()).collect(),
            }
        };
        std::thread::scope(|scope| {
            let watching = scope.spawn(|| watchdog.run());
            let reporting = scope.spawn(|| reporter.run());
            while !watching.is_finished() && !reporting.is_finished() && !gone.load(Ordering::Relaxed) {
                if tell(&so_far()).is_break() {
                    break;
                }
                std::thread::sleep(TELL_EVERY);
            }
            // As it stands, with stalls that last.
            let last = (!gone.load(Ordering::Relaxed)).then(so_far);
            stop.store(true, Ordering::Relaxed);
            for thread in [watching, reporting] {
                if thread.join().is_err() {
                    tracing::error!(target: "holdup", "a thread of holdup panicked; please report this");
                }
            }
            Ok(last.unwrap_or_else(so_far))
        })
    }
}

/// Finds workers by the program's debug information.
struct Reader<'a, 'd> {
    process: Process,
    program: &'a Program<'d>,
    bias: u64,
    /// From where a thread's variables begin to its control block.
    before: Option<u64>,
    found: Mutex<Found>,
}

/// What the last search found.
#[derive(Clone, Debug, Default)]
struct Found {
    workers: usize,
    unknown: Vec<String>,
}

impl<'d> Reader<'_, 'd> {
    fn starts(&self, threads: &[(i32, u64)]) -> Vec<Start> {
        let start = |(tid, pointer): &(i32, u64)| Start {
            tid: *tid,
            name: String::new(),
            runs: false,
            thread_locals: self.before.and_then(|before| pointer.checked_sub(before)),
        };
        threads.iter().map(start).collect()
    }

    fn subject<'s>(&'s self, threads: &'s [Start], memory: &'s dyn Memory) -> Subject<'s, 'd> {
        Subject { program: self.program, memory, bias: self.bias, threads, now: Duration::ZERO }
    }
}

impl Finder for Reader<'_, '_> {
    fn workers(&self, threads: &[(i32, u64)]) -> Vec<WorkerPlace> {
        // Read anew each time, and each page once.
        let memory = Snapshot::of(self.process);
        let (workers, mut unknown) = self.subject(&self.starts(threads), &memory).workers();
        unknown.sort();
        unknown.dedup();
        let found = Found { workers: workers.len(), unknown };
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = found;
        workers
    }

    fn future_of(&self, threads: &[(i32, u64)], task: TaskId) -> Option<String> {
        let memory = Hurried { memory: Snapshot::of(self.process), until: Instant::now() + NAME_LIMIT };
        self.subject(&self.starts(threads), &memory).future_of(task)
    }
}

/// Memory that is closed after some time.
struct Hurried {
    memory: Snapshot,
    until: Instant,
}

impl Memory for Hurried {
    fn read(&self, address: u64, into: &mut [u8]) -> bool {
        Instant::now() < self.until && self.memory.read(address, into)
    }
}
