//! A process that is observed: the one we live in ([`local`]) or another one ([`remote`]). Nothing above this module
//! knows which of the two it is.

/// The process we live in.
mod local;

/// Another process.
#[cfg(feature = "attach")]
mod remote;

/// One sample of a thread: what the kernel says it is doing.
mod thread_sample;

/// Stacks of threads that sleep.
mod sleep;

/// Whether uninstrumented polls have returned.
mod return_breakpoints;

pub(crate) use local::{LocalCpu, LocalWorkers, PollStarts};
#[cfg(feature = "attach")]
pub(crate) use remote::{
    Descriptors, FrozenProcess, FrozenThread, HeapMatches, LiveMemory, RemoteCpu, RemoteStacks, Snapshot, ThreadLocals,
    TypedWorkers, UntypedSnapshot, UntypedWorker, UntypedWorkers, WorkerFinder,
};
pub(crate) use sleep::Sleep;
pub(crate) use thread_sample::cpu_of_this_thread;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::model::evidence::WaitSite;
use crate::model::post_stall::Followed;
use crate::model::profile::Labels;
use crate::model::stack::{RawStack, StackUnavailable};
use crate::model::task::Task;
use crate::model::victims::VictimsUnknown;
use crate::model::worker::{Progress, Worker};

/// What can be asked of an observed process. Workers are named by their position in [`workers`](Self::workers).
pub(crate) trait WorkerSource {
    /// Brings the list of workers up to date; returns whether it changed.
    fn refresh(&mut self) -> bool;

    /// The workers, in an order that lasts until `refresh` returns true.
    fn workers(&self) -> &[Arc<Worker>];

    /// How far a worker has come. Cheap: asked of every worker about once a millisecond.
    fn progress(&self, worker: usize) -> Progress;

    /// The task of the poll that `progress` shows, if that poll still lasts.
    fn task(&self, worker: usize, progress: Progress) -> Option<Task>;

    /// What the worker's thread is doing for the kernel now.
    fn sample_thread(&mut self, worker: usize) -> ThreadSample;

    /// The thread's stack inside the poll that `progress` shows.
    fn capture_stack(&mut self, worker: usize, progress: Progress) -> Result<RawStack, StackUnavailable>;

    /// The same of a worker that may be between two polls. A failure is no loss. This and what follows are asked of workers
    /// whose polls are silent only, which some targets do not have.
    fn try_capture_stack(&mut self, worker: usize, progress: Progress) -> Result<RawStack, StackUnavailable> {
        self.capture_stack(worker, progress)
    }

    /// Where the worker's thread sleeps, in such a way that an equal answer means that it has not run in between.
    fn current_sleep(&mut self, _worker: usize) -> Option<Sleep> {
        None
    }

    /// Whether a worker that runs has begun something else since the last look, as far as that can be seen without stopping it: a hint,
    /// which spares it breakpoints. `None` where nothing tells.
    fn context_changed(&self, _worker: usize) -> Option<bool> {
        None
    }

    /// Watches from now on whether a poll of this worker returns to where polls of its runtime are known to return.
    ///
    /// # Errors
    /// Why that cannot be watched.
    fn watch_poll_returns(&mut self, _worker: usize) -> Result<(), BreakpointError> {
        Err(BreakpointError::Refused)
    }

    /// Whether one has returned since `watch_poll_returns`; `None` where that is not watched.
    fn poll_returned(&self, _worker: usize) -> Option<bool> {
        None
    }

    /// The poll that a stack of this worker lies in. Remembers where it will return to.
    fn poll_in_stack(&mut self, _worker: usize, _stack: &RawStack) -> PollInStack {
        PollInStack::None
    }

    /// Tasks in the worker's own queue and in that of its whole runtime, where they are known.
    fn queue_lengths(&self, worker: usize) -> (Option<usize>, Option<usize>);

    /// Follows a worker from the end of the poll on that `progress` shows: what it polls then had to wait.
    ///
    /// # Errors
    /// Why that cannot be told here.
    fn record_post_stall(&mut self, _worker: usize, _progress: Progress) -> Result<(), VictimsUnknown> {
        Err(VictimsUnknown::Outside)
    }

    /// What the worker of this key did after that poll, once it has done everything of interest; `now`: as far as it has. It may
    /// be gone by then.
    fn post_stall_polls(&mut self, _key: u64, _progress: Progress, _now: bool) -> Followed {
        Followed::Missed
    }

    /// What a worker does now, with the thread's stack if it is inside a poll, whichever that is by then.
    fn sample_worker(&mut self, worker: usize) -> WorkerSample;

    /// Tells who asks for a worker's state that its present `progress` has been seen since `since`.
    fn note_progress(&mut self, worker: usize, progress: Progress, since: Instant);

    /// Sleeps while every worker is parked, at most for the given time. Returns false at once where nothing tells when one wakes up.
    fn sleep_until_active(&self, _at_most: Duration) -> bool {
        false
    }
}

/// Why it cannot be watched whether polls return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BreakpointError {
    /// No place to which they return is known yet; a stack may tell one.
    NoReturnAddress,
    /// The kernel does not allow it, or nothing is to be gained by it.
    Refused,
}

/// The poll that a stack lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PollInStack {
    /// None.
    None,
    /// The stack could not be followed as far as to a scheduler.
    Unknown,
    /// One that returns to where it is not watched.
    Unwatched,
    /// One whose return is watched.
    Watched,
}

/// What a worker was doing at one moment.
#[derive(Debug)]
pub(crate) struct WorkerSample {
    pub(crate) progress: Progress,
    /// The task it polled, where it was still that poll whose stack was taken.
    pub(crate) task: Option<Task>,
    /// Whether the thread slept in the kernel.
    pub(crate) asleep: bool,
    /// Of a worker inside a poll.
    pub(crate) stack: Option<Result<RawStack, StackUnavailable>>,
}

/// Samples of what an observed process's threads do with their CPU time.
pub(crate) trait CpuSource {
    /// Hands over the samples taken since the last time. To be called at every [`collect_interval`](Self::collect_interval).
    ///
    /// # Errors
    /// When the process's threads cannot be listed any more.
    fn collect(&mut self, take: &mut dyn FnMut(CpuSample)) -> io::Result<()>;

    /// CPU time that samples are to stand for beyond what they came with.
    fn unsampled_cpu(&self) -> UnsampledCpu;

    /// Why no samples will come any more, once the process has ended.
    fn end_reason(&self) -> Option<&'static str> {
        None
    }

    /// What else is to be known of the samples.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    /// How often samples are to be collected.
    fn collect_interval(&self) -> Duration;

    /// Steps that make one sampling period.
    fn steps_per_period(&self) -> u32;

    /// Samples that were due and could not be kept.
    fn lost_samples(&self) -> u64;

    /// Threads that could not be sampled.
    fn unsampled_threads(&self) -> u64;

    /// CPU time of the whole process so far.
    fn process_cpu_time(&self) -> Option<Duration>;
}

/// One sample of CPU time.
#[derive(Debug)]
pub(crate) struct CpuSample {
    /// Since the source was started.
    pub(crate) at: Duration,
    /// Steps of CPU time since the thread's last sample.
    pub(crate) steps: u32,
    pub(crate) labels: Labels,
    pub(crate) stack: RawStack,
}

/// Steps of CPU time that no sample came with.
#[derive(Debug, Default)]
pub(crate) struct UnsampledCpu {
    /// Of every thread that is still there, since its last sample.
    pub(crate) living: HashMap<i32, u64>,
    /// Of all that ended, together.
    pub(crate) ended: u64,
}

/// One passive look at a thread: running totals, and where it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ThreadSample {
    /// CPU time since the thread started.
    pub(crate) cpu: Option<Duration>,
    /// Time ready but not run, since the thread started.
    pub(crate) run_queue: Option<Duration>,
    pub(crate) minor_faults: Option<u64>,
    pub(crate) major_faults: Option<u64>,
    pub(crate) state: Option<char>,
    /// Time that a hypervisor took from each CPU that the thread was seen on; `None` where none does.
    pub(crate) stolen: Option<(u32, Duration)>,
    /// Where it sleeps; `None` where it runs, or where the kernel does not tell.
    pub(crate) sleeps_in: Option<WaitSite>,
}

/// Counts a stack that could not be taken.
fn counted(stack: Result<RawStack, StackUnavailable>, missed: &AtomicU64) -> Result<RawStack, StackUnavailable> {
    if stack.is_err() {
        missed.fetch_add(1, Ordering::Relaxed);
    }
    stack
}

/// The kernel's letters for a thread that waits for nothing and yet may not run.
fn is_stopped(state: char) -> bool {
    matches!(state, 'T' | 't')
}

impl ThreadSample {
    /// The kernel has it on a CPU, in the queue for one, or stopped (by SIGSTOP, or for a debugger) where it would be.
    pub(crate) fn runs(&self) -> bool {
        self.state.is_some_and(|state| state == 'R' || is_stopped(state))
            && self.sleeps_in.is_none()
            && self.cpu.is_some()
    }
}
