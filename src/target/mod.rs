//! A target: the process that is observed. What is above it does not know whether that is our own or another.

/// The process we live in.
mod own;

pub(crate) use own::{OwnProcess, Since};

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::model::evidence::Place;
use crate::model::stack::{NoStack, RawStack};
use crate::model::task::Task;
use crate::model::worker::{Progress, Worker};

/// What can be asked of an observed process. Workers are named by their position in [`workers`](Self::workers).
pub(crate) trait Target {
    /// Brings the list of workers up to date; returns whether it changed.
    fn refresh(&mut self) -> bool;

    /// The workers, in an order that lasts until `refresh` returns true.
    fn workers(&self) -> &[Arc<Worker>];

    /// How far a worker has come. Cheap: asked of every worker about once a millisecond.
    fn progress(&self, worker: usize) -> Progress;

    /// The task of the poll that `progress` shows, if that poll still lasts.
    fn task(&self, worker: usize, progress: Progress) -> Option<Task>;

    /// What the worker's thread is doing for the kernel now.
    fn look(&mut self, worker: usize) -> Look;

    /// The thread's stack inside the poll that `progress` shows.
    fn take_stack(&mut self, worker: usize, progress: Progress) -> Result<RawStack, NoStack>;

    /// Tells who asks for a worker's state that its present `progress` has been seen since `since`.
    fn note_progress(&mut self, worker: usize, progress: Progress, since: Instant);

    /// Sleeps while every worker is parked, at most for the given time.
    fn sleep_until_active(&self, at_most: Duration);
}

/// One passive look at a thread: running totals, and where it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Look {
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
    pub(crate) sleeps_in: Option<Place>,
}

impl Look {
    /// The kernel has it on a CPU, or in the queue for one.
    pub(crate) fn runs(&self) -> bool {
        self.state == Some('R') && self.sleeps_in.is_none() && self.cpu.is_some()
    }
}
