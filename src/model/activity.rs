//! What a process has done since a moment ago: its workers, its tasks, its stalls.

use std::time::Duration;

use super::census::TaskState;
use super::stall::Stalls;
use super::task::TaskId;
use super::worker::Activity;

/// All of it, of one short window.
#[derive(Clone, Debug)]
pub(crate) struct ActivityNow {
    pub(crate) pid: u32,
    pub(crate) program: String,
    /// How long the window was.
    pub(crate) window: Duration,
    /// How often workers were looked at in it.
    pub(crate) looks: u32,
    pub(crate) runtimes: usize,
    /// Without descriptions of types, nothing is told of tasks, and of workers not what they poll.
    pub(crate) tells_tasks: bool,
    /// How many tasks are in each state.
    pub(crate) states: Vec<(TaskState, usize)>,
    pub(crate) workers: Vec<WorkerActivity>,
    /// The kinds of tasks that were polled, the busiest first.
    pub(crate) polled: Vec<PolledTasks>,
    /// The kinds of tasks that wait, the most first.
    pub(crate) waiting: Vec<WaitingTasks>,
    /// Since the beginning.
    pub(crate) stalls: Stalls,
    pub(crate) threshold: Duration,
    /// What cannot be seen, and why.
    pub(crate) missing: Vec<String>,
}

/// A worker.
#[derive(Clone, Debug)]
pub(crate) struct WorkerActivity {
    pub(crate) runtime: String,
    pub(crate) index: Option<usize>,
    pub(crate) tid: i32,
    /// At the end of the window.
    pub(crate) now: Activity,
    /// The part of the window that it was inside polls, from 0 to 1, by looks. Where nothing tells polls: that its thread ran, or
    /// was seen asleep inside a poll.
    pub(crate) busy: f64,
    /// How much of one CPU its thread used, where the kernel tells.
    pub(crate) cpu: Option<f64>,
    /// What it polls at the end of the window.
    pub(crate) task: Option<(TaskId, Option<String>)>,
}

/// Tasks of one type that were polled.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PolledTasks {
    /// `None` where they ended before they could be named.
    pub(crate) future: Option<String>,
    /// CPU time of workers while they polled them, in CPUs.
    pub(crate) cpu: f64,
    /// Time of workers inside their polls, in workers.
    pub(crate) busy: f64,
}

/// Tasks of one type that wait at one place for one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WaitingTasks {
    pub(crate) future: String,
    /// The innermost await in the program's own code.
    pub(crate) at: Option<String>,
    pub(crate) reason: String,
    pub(crate) tasks: usize,
}
