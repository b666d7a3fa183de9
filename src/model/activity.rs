//! The recent activity of a process: its workers, tasks and stalls.

use std::time::Duration;

use super::census::TaskState;
use super::stall::Stalls;
use super::task::TaskId;
use super::thread_stops::ThreadStops;
use super::worker::Activity;

/// The activity within a short window of time.
#[derive(Clone, Debug)]
pub(crate) struct ActivityNow {
    pub(crate) pid: u32,
    pub(crate) program: String,
    /// The length of the window.
    pub(crate) window: Duration,
    /// The number of samples of the workers in it.
    pub(crate) samples: u32,
    pub(crate) runtimes: usize,
    /// Whether tasks, and the tasks that workers poll, are known. This requires descriptions of types.
    pub(crate) has_tasks: bool,
    /// The number of tasks in each state.
    pub(crate) states: Vec<(TaskState, usize)>,
    pub(crate) workers: Vec<WorkerActivity>,
    /// The types of tasks that were polled, the busiest first.
    pub(crate) polled: Vec<PolledTasks>,
    /// The types of tasks that wait, the most frequent first.
    pub(crate) waiting: Vec<WaitingTasks>,
    /// All stalls since the start.
    pub(crate) stalls: Stalls,
    pub(crate) threshold: Duration,
    /// The stops of the process's threads since the start.
    pub(crate) stops: ThreadStops,
    /// What is unknown, and why.
    pub(crate) missing: Vec<String>,
}

/// The activity of one worker.
#[derive(Clone, Debug)]
pub(crate) struct WorkerActivity {
    pub(crate) runtime: String,
    pub(crate) index: Option<usize>,
    pub(crate) tid: i32,
    /// Its activity at the end of the window.
    pub(crate) now: Activity,
    /// The fraction of samples inside polls, from 0 to 1. If polls are unknown: the fraction of samples in which its thread
    /// was running, or slept inside a poll.
    pub(crate) busy: f64,
    /// The CPU time of its thread as a fraction of one CPU, if the kernel provides it.
    pub(crate) cpu: Option<f64>,
    /// The task that it polls at the end of the window, with its name.
    pub(crate) task: Option<(TaskId, Option<String>)>,
}

/// Tasks of one type that were polled.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PolledTasks {
    /// `None` if the tasks finished before their names were read.
    pub(crate) future: Option<String>,
    /// The CPU time of workers inside polls of these tasks, in CPUs.
    pub(crate) cpu: f64,
    /// The time of workers inside polls of these tasks, in workers.
    pub(crate) busy: f64,
}

/// Tasks of one type that wait at the same await for the same reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WaitingTasks {
    pub(crate) future: String,
    /// The innermost await in the program's own code.
    pub(crate) at: Option<String>,
    pub(crate) reason: String,
    pub(crate) tasks: usize,
}
