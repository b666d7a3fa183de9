//! The workers of our own process: the slots that they write, and passive samples of their threads.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::model::evidence::Throttling;
use crate::model::holds::Holds;
use crate::model::post_stall::Followed;
use crate::model::stack::{CaptureMethod, RawStack, StackUnavailable};
use crate::model::task::Task;
use crate::model::victims::VictimsUnknown;
use crate::model::worker::{Activity, Progress, Worker, WorkerNow};
use crate::probe::{Entry, Registry, Runtimes, Slot};
use crate::process::local::poll_examples::{PollExample, PollExamples, PolledBy};
use crate::process::return_breakpoints::ReturnBreakpoints;
use crate::process::sleep::{self, Sleep};
use crate::process::thread_sample::{self, ThreadSample};
use crate::process::worker_source::{BreakpointError, PollInStack, WorkerSample, WorkerSource, count_missed};
use crate::sys::{self, CpuQuota, Process, SignalError, StackCopy, StackSignal, StealTime, ThreadProbe};
use crate::unwind::{PollFrames, Unwinder};

/// How long a running thread may take to answer the signal. A scheduled thread answers within microseconds. The watchdog
/// samples no other worker while it waits.
const SIGNAL_LIMIT: Duration = Duration::from_millis(20);

/// Attempts to sample a worker. Polls may be too short for their stacks to be captured.
const SAMPLE_ATTEMPTS: usize = 4;

/// The sequence number of each worker's current poll and the time it was first seen, by the worker's key.
#[derive(Debug, Default)]
pub(crate) struct PollStarts(Mutex<HashMap<u64, (u64, Instant)>>);

impl PollStarts {
    /// The current activity of every worker in the registry.
    pub(crate) fn workers_now(&self, registry: &Registry) -> Vec<WorkerNow> {
        let starts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut workers: Vec<_> =
            registry.snapshot().iter().map(|entry| now(entry, starts.get(&entry.worker.key))).collect();
        workers.sort_by(|a, b| {
            (&a.runtime, a.worker.is_none(), a.worker).cmp(&(&b.runtime, b.worker.is_none(), b.worker))
        });
        workers
    }
}

fn now(entry: &Entry, start: Option<&(u64, Instant)>) -> WorkerNow {
    let progress = entry.slot.progress();
    let polling = progress.activity == Activity::Polling;
    let elapsed = start.filter(|(sequence, _)| *sequence == progress.sequence).map(|(_, start)| start.elapsed());
    WorkerNow {
        runtime: Arc::clone(&entry.worker.runtime),
        worker: entry.worker.index,
        thread: Arc::clone(&entry.worker.thread.name),
        tid: entry.worker.thread.tid,
        activity: progress.activity,
        task: entry.slot.task(progress.sequence),
        polling_for: polling.then(|| elapsed.unwrap_or_default()),
        polls: progress.sequence.saturating_sub(entry.first_sequence).div_ceil(2),
    }
}

/// What [`LocalWorkers`] needs.
pub(crate) struct LocalWorkersConfig {
    pub(crate) registry: Arc<Registry>,
    pub(crate) poll_starts: Arc<PollStarts>,
    pub(crate) poll_examples: Arc<PollExamples>,
    /// Without a signal, no stack of a running worker is captured. The self-check reports it.
    pub(crate) signal: Option<Arc<StackSignal>>,
    /// Without an unwinder, no stack is captured. The self-check reports it.
    pub(crate) unwinder: Option<Unwinder>,
    /// Counts failed captures.
    pub(crate) stacks_missed: Arc<AtomicU64>,
    pub(crate) runtimes: Arc<Runtimes>,
}

/// The workers of our own process.
pub(crate) struct LocalWorkers {
    registry: Arc<Registry>,
    version: u64,
    entries: Vec<Entry>,
    workers: Vec<Arc<Worker>>,
    probes: HashMap<u64, ThreadProbe>,
    poll_starts: Arc<PollStarts>,
    poll_examples: Arc<PollExamples>,
    signal: Option<Arc<StackSignal>>,
    unwinder: Option<Unwinder>,
    copy: StackCopy,
    steal: Option<StealTime>,
    quota: Option<CpuQuota>,
    stacks_missed: Arc<AtomicU64>,
    runtimes: Arc<Runtimes>,
    breakpoints: ReturnBreakpoints,
    /// Slots that record polls after a stall, by the worker's key. The worker may end before the record is read.
    recording: HashMap<u64, &'static Slot>,
}

impl LocalWorkers {
    pub(crate) fn new(config: LocalWorkersConfig) -> Self {
        let LocalWorkersConfig { registry, poll_starts, poll_examples, signal, unwinder, stacks_missed, runtimes } =
            config;
        Self {
            registry,
            version: u64::MAX,
            entries: Vec::new(),
            workers: Vec::new(),
            probes: HashMap::new(),
            poll_starts,
            poll_examples,
            signal,
            unwinder,
            copy: StackCopy::default(),
            steal: StealTime::open(),
            quota: CpuQuota::open(Process::own()),
            stacks_missed,
            runtimes,
            breakpoints: ReturnBreakpoints::default(),
            recording: HashMap::new(),
        }
    }
}

impl WorkerSource for LocalWorkers {
    fn refresh(&mut self) -> bool {
        self.runtimes.note_tasks();
        let version = self.registry.version();
        if version == self.version {
            self.learn_from_examples();
            return false;
        }
        self.version = version;
        self.entries = self.registry.snapshot();
        self.workers = self.entries.iter().map(|entry| Arc::clone(&entry.worker)).collect();
        self.probes.retain(|key, _| self.workers.iter().any(|worker| worker.key == *key));
        self.breakpoints.set_workers(&self.workers);
        let mut starts = self.poll_starts.0.lock().unwrap_or_else(PoisonError::into_inner);
        starts.retain(|key, _| self.workers.iter().any(|worker| worker.key == *key));
        drop(starts);
        self.learn_from_examples();
        true
    }

    fn workers(&self) -> &[Arc<Worker>] {
        &self.workers
    }

    fn progress(&self, worker: usize) -> Progress {
        self.entries[worker].slot.progress()
    }

    fn task(&self, worker: usize, progress: Progress) -> Option<Task> {
        self.entries[worker].slot.task(progress.sequence)
    }

    fn has_had_tasks(&self, worker: usize) -> bool {
        self.runtimes.have_had_tasks(self.entries[worker].slot.runtime())
    }

    fn sample_thread(&mut self, worker: usize) -> ThreadSample {
        let mut steal = self.steal.take();
        let sample = thread_sample::sample(Process::own(), self.probe(worker), steal.as_mut());
        self.steal = steal;
        sample
    }

    fn throttling(&mut self) -> Option<Throttling> {
        self.quota.as_mut()?.throttling()
    }

    fn capture_stack(&mut self, worker: usize, progress: Progress) -> Result<RawStack, StackUnavailable> {
        let stack = self.try_capture_stack(worker, progress);
        count_missed(stack, &self.stacks_missed)
    }

    fn try_capture_stack(&mut self, worker: usize, progress: Progress) -> Result<RawStack, StackUnavailable> {
        match self.capture_sleeping(worker, progress) {
            Some(Asleep { stack, enough: true }) => Ok(stack),
            Some(Asleep { stack, .. }) => Ok(self.capture_running(worker, progress).unwrap_or(stack)),
            None => self.capture_running(worker, progress),
        }
    }

    fn current_sleep(&mut self, worker: usize) -> Option<Sleep> {
        Sleep::of(self.probe(worker)).filter(|sleep| sleep.slices.is_some())
    }

    fn watch_poll_returns(&mut self, worker: usize) -> Result<(), BreakpointError> {
        self.breakpoints.set(&self.workers[worker])
    }

    fn poll_returned(&self, worker: usize) -> Option<bool> {
        self.breakpoints.passed(self.workers[worker].key)
    }

    fn poll_in_stack(&mut self, worker: usize, stack: &RawStack) -> PollInStack {
        self.breakpoints.poll_in_stack(&self.workers[worker], stack, PollFrames::get())
    }

    fn watch_local_polls(&mut self, worker: usize) -> Result<(), BreakpointError> {
        self.breakpoints.set_local(&self.workers[worker])
    }

    fn local_poll_in_stack(&mut self, worker: usize, stack: &RawStack) -> PollInStack {
        self.breakpoints.local_poll_in_stack(&self.workers[worker], stack, PollFrames::get())
    }

    /// A worker that has not announced a park is in none. The thread in `block_on` of a multi-thread runtime announces none.
    fn sleeps_outside_parks(&self, worker: usize) -> bool {
        let parks = matches!(self.workers[worker].holds, Holds::Worker | Holds::CurrentThread);
        parks && self.progress(worker).activity == Activity::Between
    }

    fn queue_lengths(&self, worker: usize) -> (Option<usize>, Option<usize>) {
        self.runtimes.queues(self.entries[worker].slot.runtime(), self.workers[worker].index)
    }

    fn record_post_stall(&mut self, worker: usize, progress: Progress) -> Result<(), VictimsUnknown> {
        if cfg!(not(tokio_unstable)) || self.workers[worker].uninstrumented {
            return Err(VictimsUnknown::NotInstrumented);
        }
        let slot = self.entries[worker].slot;
        slot.start_post_stall_recorder(progress.sequence);
        self.recording.insert(self.workers[worker].key, slot);
        Ok(())
    }

    fn post_stall_polls(&mut self, key: u64, progress: Progress, now: bool) -> Followed {
        let polls = self
            .recording
            .get(&key)
            .map_or(Followed::Missed, |slot| slot.take_post_stall_polls(progress.sequence, now));
        if polls != Followed::NotYet {
            self.recording.remove(&key);
        }
        polls
    }

    fn sample_worker(&mut self, worker: usize) -> WorkerSample {
        let slot = self.entries[worker].slot;
        for _ in 0..SAMPLE_ATTEMPTS {
            let progress = slot.progress();
            if progress.activity != Activity::Polling {
                return WorkerSample { progress, task: None, asleep: false, stack: None };
            }
            let task = slot.task(progress.sequence);
            let asleep = Sleep::of(self.probe(worker)).is_some();
            let taken = match self.capture_sleeping(worker, progress) {
                Some(Asleep { stack, enough: true }) => Ok(SignalCapture { stack, in_poll: true }),
                Some(Asleep { stack, .. }) => {
                    let cut = SignalCapture { stack, in_poll: true };
                    Ok(self.capture_by_signal(worker, progress).unwrap_or(cut))
                }
                None => self.capture_by_signal(worker, progress),
            };
            let (task, stack) = match taken {
                Err(StackUnavailable::TooLate) => continue,
                Err(error) => (task, Err(error)),
                Ok(taken) => (task.filter(|_| taken.in_poll), Ok(taken.stack)),
            };
            return WorkerSample { progress, task, asleep, stack: Some(stack) };
        }
        WorkerSample {
            progress: slot.progress(),
            task: None,
            asleep: false,
            stack: Some(Err(StackUnavailable::TooLate)),
        }
    }

    fn note_progress(&mut self, worker: usize, progress: Progress, since: Instant) {
        let key = self.workers[worker].key;
        self.poll_starts.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key, (progress.sequence, since));
    }

    fn sleep_until_active(&self, at_most: Duration) -> bool {
        self.registry.sleep_until_active(at_most);
        true
    }
}

impl LocalWorkers {
    /// Learns where polls return to from the stacks of empty tasks. Those of runtimes wait until the functions of Tokio are read.
    fn learn_from_examples(&mut self) {
        let Some(unwinder) = self.unwinder.as_mut() else { return };
        let (frames, workers) = (PollFrames::get(), &self.workers);
        let has_worker = |name: &str| workers.iter().any(|worker| worker.uninstrumented && &*worker.runtime == name);
        for PollExample { of, stack } in self.poll_examples.take(|name| frames.is_some() && has_worker(name)) {
            let addresses = unwinder.walk(&stack).addresses;
            match (of, frames) {
                (PolledBy::Runtime(runtime), Some(frames)) => self.breakpoints.learn(runtime, &addresses, frames),
                (PolledBy::Runtime(_), None) => {}
                (PolledBy::LocalSet, _) => self.breakpoints.learn_local(addresses),
            }
        }
    }

    fn probe(&mut self, worker: usize) -> &mut ThreadProbe {
        let worker = &self.workers[worker];
        self.probes.entry(worker.key).or_insert_with(|| ThreadProbe::open(Process::own(), worker.thread.tid))
    }

    fn still_in_poll(&self, worker: usize, progress: Progress) -> bool {
        progress.activity != Activity::Parked && self.progress(worker) == progress
    }

    /// Captures the stack of a sleeping thread without touching it. `None` if the thread does not sleep, or woke up
    /// meanwhile.
    fn capture_sleeping(&mut self, worker: usize, progress: Progress) -> Option<Asleep> {
        let known = self.workers[worker].thread.stack.clone();
        let mut copy = std::mem::take(&mut self.copy);
        let slept = sleep::copy(Process::own(), self.probe(worker), known, &mut copy);
        self.copy = copy;
        if !slept || !self.still_in_poll(worker, progress) {
            return None;
        }
        let (stack, enough) = sleep::walk(self.unwinder.as_mut()?, &self.copy);
        Some(Asleep { stack, enough })
    }

    /// Captures the stack of a running thread inside the poll, which must last until the stack is copied.
    fn capture_running(&mut self, worker: usize, progress: Progress) -> Result<RawStack, StackUnavailable> {
        let taken = self.capture_by_signal(worker, progress)?;
        if taken.in_poll { Ok(taken.stack) } else { Err(StackUnavailable::TooLate) }
    }

    /// Signals a thread to copy its own stack. The thread must be inside the poll, because a signal would interrupt the
    /// `epoll_wait` of a parked thread. So the signal is announced, and parking waits for it.
    fn capture_by_signal(&mut self, worker: usize, progress: Progress) -> Result<SignalCapture, StackUnavailable> {
        let slot = self.entries[worker].slot;
        let Some(announced) = slot.announce_signal(progress) else { return Err(StackUnavailable::TooLate) };
        let thread = self.workers[worker].thread.clone();
        let signal = self.signal.clone().ok_or(StackUnavailable::Unavailable)?;
        let bounds = thread.stack.map_or((0, 0), |stack| (stack.start, stack.end));
        let mut answer = signal.copy_stack(thread.tid, bounds, SIGNAL_LIMIT, &mut self.copy);
        if answer == Err(SignalError::ForeignStack) && self.still_in_poll(worker, progress) {
            // The poll runs on a stack that it allocated itself, as coroutine libraries and `stacker` do.
            let pointer = self.copy.registers.stack_pointer;
            let high = sleep::mapping_of(Process::own(), pointer).ok_or(StackUnavailable::Unavailable)?.end;
            let low = pointer.saturating_sub(sys::MAX_STACK_BYTES as u64);
            answer = signal.copy_stack(thread.tid, (low, high), SIGNAL_LIMIT, &mut self.copy);
        }
        // Let the thread park again before unwinding, which takes longer than copying.
        drop(announced);
        let in_poll = self.still_in_poll(worker, progress);
        match answer {
            Ok(()) => {
                let stack = self.walk(CaptureMethod::Signal).ok_or(StackUnavailable::Unavailable)?;
                Ok(SignalCapture { stack, in_poll })
            }
            Err(SignalError::Gone | SignalError::ForeignStack) => Err(StackUnavailable::TooLate),
            Err(SignalError::NoAnswer) => Err(StackUnavailable::NoAnswer),
            Err(SignalError::NotInstalled) => Err(StackUnavailable::Unavailable),
        }
    }

    /// Unwinds the copied stack.
    fn walk(&mut self, method: CaptureMethod) -> Option<RawStack> {
        let walk = self.unwinder.as_mut()?.walk_now(&self.copy);
        Some(RawStack { addresses: walk.addresses, method, complete: walk.complete })
    }
}

/// The stack of a sleeping thread.
struct Asleep {
    stack: RawStack,
    /// Whether a signal would get no further.
    enough: bool,
}

/// A stack that a thread copied in its signal handler.
struct SignalCapture {
    stack: RawStack,
    /// Whether the poll lasted until the stack was copied.
    in_poll: bool,
}
