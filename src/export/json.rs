//! The endpoint's JSON, which the `holdup` command also reads.
//!
//! Fields are only added, never renamed. Durations are milliseconds with fractions, in fields that end in `_ms`. Times
//! of day are milliseconds since the Unix epoch, without fractions unless a field says otherwise.

use serde::{Deserialize, Serialize};

use super::cause_json::{CauseJson, CulpritJson, StallPartJson};
use super::group_json::StallGroupJson;
use super::{to_ms as ms, unix_ms, unix_ms_exact};
use crate::model::check::SelfCheck;
use crate::model::counters::Counters;
use crate::model::stack::Frame;
use crate::model::stall::{Detection, StallEntry, Stalls};
use crate::model::task::Task;
use crate::model::victims::{self, Victim, Victims, VictimsUnknown, Waited};
use crate::model::worker::WorkerNow;

/// The answer of `/debug/holdup/stalls`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct StallsAnswer {
    /// Stalls that are still running, and equal stalls counted together, in the order of `groups`. Inside a group, those
    /// that are running come first, then those that took most time.
    pub stalls: Vec<StallJson>,
    /// The stalls by the user's function, those that took most time first.
    #[serde(default)]
    pub groups: Vec<StallGroupJson>,
    /// Reports held back by the rate limit. `counters` counts their stalls too.
    pub suppressed: u64,
    /// Counts since the start of the watch.
    pub counters: CountersJson,
    /// What holds up the delivery of reports now, as sentences.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// Equal stalls. The fields describe the newest one.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct StallJson {
    /// The number of the first one.
    pub id: u64,
    /// The runtime's name.
    pub runtime: String,
    /// Tokio's worker index; null for the thread in `block_on` of a multi-thread runtime.
    pub worker: Option<usize>,
    /// What the poll holds up: `worker`, `current_thread`, `local_set`, `block_on` or `start_up`; see
    /// [`Holds`](crate::stall::Holds). Empty from older versions.
    #[serde(default)]
    pub holds: String,
    /// The thread's name.
    pub thread: String,
    /// The kernel's thread id.
    pub tid: i32,
    /// The polled task.
    pub task: TaskJson,
    /// The threshold: a longer poll is a stall.
    pub threshold_ms: f64,
    /// The duration of the poll, so far or in all. A lower bound for an inferred stall.
    pub duration_ms: f64,
    /// How the stall was detected: `instrumented`, inferred from `same_sleep` or `no_return`, or a poll of a `local_set`; see
    /// [`Detection`](crate::stall::Detection).
    #[serde(default = "instrumented")]
    pub detection: String,
    /// Whether the poll has returned.
    pub ended: bool,
    /// Why the worker was stuck.
    pub cause: CauseJson,
    /// What waited meanwhile.
    #[serde(default)]
    pub waiting: WaitingJson,
    /// The frame in the user's code that caused it; null if there is none.
    pub culprit: Option<CulpritJson>,
    /// How to build the program so that reports name your function. It is null if the culprit is yours, if there is no stack,
    /// or if the build names every function.
    #[serde(default)]
    pub build_advice: Option<String>,
    /// What the worker did, in order; one part if it did one thing all the time. Empty from older versions.
    #[serde(default)]
    pub parts: Vec<StallPartJson>,
    /// Further parts, each joined with its neighbor.
    #[serde(default)]
    pub parts_joined: u64,
    /// The newest stack, innermost frame first. Empty if none was captured.
    pub stack: Vec<FrameJson>,
    /// How the stack was captured, or why there is none.
    pub stack_quality: StackQualityJson,
    /// The number of equal stalls.
    pub count: u64,
    /// Their total duration.
    pub total_ms: f64,
    /// The longest of their durations.
    pub longest_ms: f64,
    /// The approximate start of the newest poll, with fractions; 0 if the service does not report it.
    #[serde(default)]
    pub began_unix_ms: f64,
    /// When the first one was noticed.
    pub first_noticed_unix_ms: u64,
    /// When the newest one was noticed.
    pub noticed_unix_ms: u64,
}

/// See [`Waiting`](crate::stall::Waiting).
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct WaitingJson {
    /// Tasks in the stuck worker's local queue; null without `tokio_unstable`.
    pub local_queue: Option<usize>,
    /// Tasks in the global queue.
    pub global_queue: Option<usize>,
    /// Who drives I/O and timers: `attended`, `in_passing`, `unattended` or `unknown`.
    pub driver: String,
    /// The number of other workers of the runtime.
    pub others: usize,
    /// How many of them were parked.
    pub others_parked: usize,
    /// How many of them were stalled too.
    pub others_stalled: usize,
    /// The tasks that waited; known when the stall has ended.
    #[serde(default)]
    pub victims: VictimsJson,
}

/// See [`Victims`](crate::stall::Victims).
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct VictimsJson {
    /// A summary in one line.
    pub sentence: String,
    /// Why the victims are unknown: `running`, `not_instrumented`, `no_worker`, `outside` or `missed`; null if they are
    /// known.
    pub missing: Option<String>,
    /// The number of tasks; null if it is unknown.
    pub count: Option<u64>,
    /// The longest wait.
    pub longest: Option<WaitedJson>,
    /// The sum of all waits.
    pub total: Option<WaitedJson>,
    /// Up to 64 tasks, the longest wait first.
    pub tasks: Vec<VictimJson>,
}

/// See [`Waited`](crate::stall::Waited).
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct WaitedJson {
    /// The lower bound; 0 if the task may have become ready only at the end of the stall.
    pub at_least_ms: f64,
    /// The upper bound.
    pub at_most_ms: f64,
}

/// See [`Victim`](crate::stall::Victim).
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct VictimJson {
    /// The task.
    pub task: TaskJson,
    /// The duration of its wait.
    pub waited: WaitedJson,
}

/// A task.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct TaskJson {
    /// Tokio's id; null for the future given to `block_on`.
    pub id: Option<u64>,
    /// The name given to holdup.
    pub name: Option<String>,
    /// `file:line` of the spawn.
    pub spawned_at: Option<String>,
}

/// A frame.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct FrameJson {
    /// The function.
    pub function: String,
    /// Its file; null without line tables.
    pub file: Option<String>,
    /// The line in it; null without line tables.
    pub line: Option<u32>,
    /// `user`, `std`, `runtime`, `dependency`, `system` or `unknown`.
    pub origin: String,
    /// The package or library, such as `tokio` or `libc.so.6`; null if it is unknown.
    #[serde(default)]
    pub package: Option<String>,
}

/// The quality of a stack.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct StackQualityJson {
    /// How it was captured; null without a stack.
    pub method: Option<String>,
    /// Whether it reaches the thread's first function.
    pub complete: bool,
    /// How long the stall had been running by then; null without a stack.
    pub taken_after_ms: Option<f64>,
    /// Why there is no stack.
    pub missing: Option<String>,
}

/// See [`Counters`].
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct CountersJson {
    /// Every long poll that was noticed. 0 from older versions.
    #[serde(default)]
    pub noticed: u64,
    /// Long polls that were noticed and are not explained yet. It falls again.
    #[serde(default)]
    pub pending: u64,
    /// Stalls of the code: long polls that tasks had to wait for. Includes `unexplained`.
    pub stalls: u64,
    /// Long polls of the future given to `block_on` of a multi-thread runtime.
    #[serde(default)]
    pub block_on: u64,
    /// Long polls of the future given to `block_on` before the runtime had a task.
    #[serde(default)]
    pub start_up: u64,
    /// Long polls that are long only because the machine did not run their thread.
    #[serde(default)]
    pub not_scheduled: u64,
    /// Reports held back by the rate limit.
    pub suppressed: u64,
    /// Stalls without an explanation, because the reporter was busy.
    pub unexplained: u64,
    /// Entries dropped from the bounded history.
    pub forgotten: u64,
    /// Long polls that had handed over their worker with `block_in_place`.
    pub dismissed: u64,
    /// Stacks that could not be captured.
    pub stacks_missed: u64,
    /// Reports that neither standard error nor the program's `tracing` subscriber took in time.
    #[serde(default)]
    pub unprinted: u64,
    /// Events that the user's callback did not get in time.
    #[serde(default)]
    pub callbacks_missed: u64,
    /// Panics of the user's callback.
    pub callback_panics: u64,
}

/// The answer of `/debug/holdup/workers`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct WorkersAnswer {
    /// Every worker of every watched runtime.
    pub workers: Vec<WorkerJson>,
}

/// The current state of a worker.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct WorkerJson {
    /// The runtime's name.
    pub runtime: String,
    /// Tokio's worker index; null for the thread in `block_on` of a multi-thread runtime.
    pub worker: Option<usize>,
    /// The thread's name.
    pub thread: String,
    /// The kernel's thread id.
    pub tid: i32,
    /// `parked`, `between polls` or `polling`.
    pub activity: String,
    /// The polled task.
    pub task: Option<TaskJson>,
    /// The duration of the poll so far.
    pub polling_for_ms: Option<f64>,
    /// The number of polls started so far.
    pub polls: u64,
}

/// The answer of `/debug/holdup/self-check`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct SelfCheckAnswer {
    /// One line for each subject.
    pub checks: Vec<CheckJson>,
}

/// One line of the self-check.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct CheckJson {
    /// The subject, such as `task polls`.
    pub subject: String,
    /// `full`, `limited` or `missing`.
    pub coverage: String,
    /// How holdup sees it, or why it does not.
    pub detail: String,
    /// The setting that lets holdup see more.
    pub remedy: Option<String>,
}

impl From<&Stalls> for StallsAnswer {
    fn from(stalls: &Stalls) -> Self {
        Self {
            stalls: stalls.entries.iter().map(StallJson::from).collect(),
            groups: stalls.groups().iter().map(StallGroupJson::from).collect(),
            suppressed: stalls.counters.suppressed,
            counters: stalls.counters.into(),
            notes: stalls.notes.clone(),
        }
    }
}

/// The value for answers of versions before stalls were inferred.
fn instrumented() -> String {
    Detection::Instrumented.as_str().to_owned()
}

impl From<&StallEntry> for StallJson {
    fn from(entry: &StallEntry) -> Self {
        let stall = &entry.stall;
        let stack = stall.stack.as_ref();
        Self {
            id: stall.id.0,
            runtime: stall.runtime.to_string(),
            worker: stall.worker,
            holds: stall.holds.as_str().to_owned(),
            thread: stall.thread.to_string(),
            tid: stall.tid,
            task: (&stall.task).into(),
            threshold_ms: ms(stall.threshold),
            duration_ms: ms(stall.duration),
            detection: stall.detection.as_str().to_owned(),
            ended: stall.ended,
            waiting: WaitingJson {
                local_queue: stall.waiting.local_queue,
                global_queue: stall.waiting.global_queue,
                driver: stall.waiting.driver.as_str().to_owned(),
                others: stall.waiting.others,
                others_parked: stall.waiting.others_parked,
                others_stalled: stall.waiting.others_stalled,
                victims: (&stall.waiting.victims).into(),
            },
            cause: (&stall.cause).into(),
            culprit: stall.culprit.as_ref().map(CulpritJson::from),
            build_advice: stall.build_advice.map(str::to_owned),
            parts: stall.parts.iter().map(StallPartJson::from).collect(),
            parts_joined: stall.parts_joined,
            stack: stack.map_or_else(|_| Vec::new(), |stack| stack.frames.iter().map(FrameJson::from).collect()),
            stack_quality: StackQualityJson {
                method: stack.ok().map(|stack| stack.method.as_str().to_owned()),
                complete: stack.is_ok_and(|stack| stack.complete),
                taken_after_ms: stack.ok().map(|stack| ms(stack.taken_after)),
                missing: stack.err().map(ToString::to_string),
            },
            count: entry.count,
            total_ms: ms(entry.total),
            longest_ms: ms(entry.longest),
            began_unix_ms: unix_ms_exact(stall.began_at),
            first_noticed_unix_ms: unix_ms(entry.first_noticed_at),
            noticed_unix_ms: unix_ms(stall.noticed_at),
        }
    }
}

impl From<&Result<Victims, VictimsUnknown>> for VictimsJson {
    fn from(victims: &Result<Victims, VictimsUnknown>) -> Self {
        let known = victims.as_ref().ok();
        let json = |victim: &Victim| VictimJson { task: (&victim.task).into(), waited: victim.waited.into() };
        Self {
            sentence: victims::sentence(victims),
            missing: victims.as_ref().err().map(|reason| reason.as_str().to_owned()),
            count: known.map(Victims::count),
            longest: known.map(|known| known.longest.into()),
            total: known.map(|known| known.total.into()),
            tasks: known.map_or_else(Vec::new, |known| known.tasks.iter().map(json).collect()),
        }
    }
}

impl From<Waited> for WaitedJson {
    fn from(waited: Waited) -> Self {
        Self { at_least_ms: ms(waited.at_least), at_most_ms: ms(waited.at_most) }
    }
}

impl From<&Task> for TaskJson {
    fn from(task: &Task) -> Self {
        Self { id: task.id.map(|id| id.0), name: task.name.as_ref().map(ToString::to_string), spawned_at: task.place() }
    }
}

impl From<&Frame> for FrameJson {
    fn from(frame: &Frame) -> Self {
        Self {
            function: frame.function.to_string(),
            file: frame.file.as_ref().map(ToString::to_string),
            line: frame.line,
            origin: frame.origin.as_str().to_owned(),
            package: frame.package.as_ref().map(ToString::to_string),
        }
    }
}

impl From<Counters> for CountersJson {
    fn from(counters: Counters) -> Self {
        let Counters {
            noticed,
            pending,
            stalls,
            block_on,
            start_up,
            not_scheduled,
            suppressed,
            unexplained,
            forgotten,
            dismissed,
            stacks_missed,
            unprinted,
            callbacks_missed,
            callback_panics,
        } = counters;
        Self {
            noticed,
            pending,
            stalls,
            block_on,
            start_up,
            not_scheduled,
            suppressed,
            unexplained,
            forgotten,
            dismissed,
            stacks_missed,
            unprinted,
            callbacks_missed,
            callback_panics,
        }
    }
}

#[cfg(feature = "cli")]
impl CountersJson {
    /// The counters with numbers for people.
    pub(crate) fn for_people(&self) -> Counters {
        let Self { pending, stalls, block_on, start_up, not_scheduled, unprinted, callbacks_missed, .. } = *self;
        Counters {
            pending,
            stalls,
            block_on,
            start_up,
            not_scheduled,
            unprinted,
            callbacks_missed,
            ..Counters::default()
        }
    }
}

impl From<&[WorkerNow]> for WorkersAnswer {
    fn from(workers: &[WorkerNow]) -> Self {
        let worker = |now: &WorkerNow| WorkerJson {
            runtime: now.runtime.to_string(),
            worker: now.worker,
            thread: now.thread.to_string(),
            tid: now.tid,
            activity: now.activity.as_str().to_owned(),
            task: now.task.as_ref().map(TaskJson::from),
            polling_for_ms: now.polling_for.map(ms),
            polls: now.polls,
        };
        Self { workers: workers.iter().map(worker).collect() }
    }
}

impl From<&SelfCheck> for SelfCheckAnswer {
    fn from(check: &SelfCheck) -> Self {
        let line = |check: &crate::model::check::Check| CheckJson {
            subject: check.subject.to_owned(),
            coverage: check.coverage.as_str().to_owned(),
            detail: check.detail.clone(),
            remedy: check.remedy.clone(),
        };
        Self { checks: check.checks.iter().map(line).collect() }
    }
}
