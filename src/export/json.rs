//! The endpoint's JSON: what it sends, and what the `holdup` command reads back.
//!
//! Fields are only added, never renamed. Times of day are milliseconds since the Unix epoch, whole ones but where a field says
//! otherwise; lengths of time are
//! milliseconds with fractions, in fields that end in `_ms`.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::to_ms as ms;
use crate::model::check::SelfCheck;
use crate::model::evidence::Evidence;
use crate::model::stack::Frame;
use crate::model::stall::{Counters, Detection, StallEntry, Stalls};
use crate::model::task::Task;
use crate::model::victims::{self, Victim, Victims, VictimsUnknown, Waited};
use crate::model::waiting::{Driver, Waiting};
use crate::model::worker::WorkerNow;

/// The answer of `/debug/holdup/stalls`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct StallsAnswer {
    /// Stalls that last, then equal stalls counted together, the newest first.
    pub stalls: Vec<StallJson>,
    /// Reports held back by the rate limit. Every stall is counted in `counters.stalls` all the same.
    pub suppressed: u64,
    /// Counts since the start of the watch.
    pub counters: CountersJson,
}

/// Equal stalls; the fields describe the newest of them.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct StallJson {
    /// The number of the first of them.
    pub id: u64,
    /// The runtime's name.
    pub runtime: String,
    /// Tokio's worker index; null for the thread in `block_on` of a multi-thread runtime.
    pub worker: Option<usize>,
    /// The thread's name.
    pub thread: String,
    /// The kernel's thread id.
    pub tid: i32,
    /// The task whose poll it is.
    pub task: TaskJson,
    /// From how long on a poll counts as a stall.
    pub threshold_ms: f64,
    /// How long it lasted, or has lasted; at least that where it is inferred.
    pub duration_ms: f64,
    /// How it is known to be one poll: `told`, or inferred from a `sleep` or a missing `return`; see
    /// [`Detection`](crate::Detection).
    #[serde(default = "instrumented")]
    pub detection: String,
    /// Whether its poll has returned.
    pub ended: bool,
    /// Why the worker was stuck.
    pub cause: CauseJson,
    /// Who waited behind it.
    #[serde(default)]
    pub waiting: WaitingJson,
    /// The frame in the user's own code that leads to it; null where there is none.
    pub culprit: Option<CulpritJson>,
    /// The newest stack, innermost frame first. Empty where it could not be taken.
    pub stack: Vec<FrameJson>,
    /// How the stack was taken, or why there is none.
    pub stack_quality: StackQualityJson,
    /// How many equal stalls there were.
    pub count: u64,
    /// Their time together.
    pub total_ms: f64,
    /// The longest of them.
    pub longest_ms: f64,
    /// About when the poll of the newest of them began, with fractions; 0 where the service does not tell.
    #[serde(default)]
    pub began_unix_ms: f64,
    /// When the first of them was noticed.
    pub first_noticed_unix_ms: u64,
    /// When the newest of them was noticed.
    pub noticed_unix_ms: u64,
}

/// See [`Waiting`](crate::Waiting).
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct WaitingJson {
    /// Tasks in the stuck worker's own queue; null without `tokio_unstable`.
    pub local_queue: Option<usize>,
    /// Tasks in the queue that all workers share.
    pub global_queue: Option<usize>,
    /// Who looked after I/O and timers: `attended`, `in_passing`, `unattended` or `unknown`.
    pub driver: String,
    /// Other workers of the runtime.
    pub others: usize,
    /// How many of those were parked.
    pub others_parked: usize,
    /// How many of those were stalled too.
    pub others_stalled: usize,
    /// Which tasks waited; known once the stall is over.
    #[serde(default)]
    pub victims: VictimsJson,
}

/// See [`Victims`](crate::Victims).
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct VictimsJson {
    /// All of this in one line.
    pub sentence: String,
    /// Why it is not known who waited: `lasting`, `untold`, `no_worker`, `outside` or `missed`; null where it is.
    pub missing: Option<String>,
    /// How many tasks; null where that is not known.
    pub count: Option<u64>,
    /// The longest wait.
    pub longest: Option<WaitedJson>,
    /// All waits together.
    pub total: Option<WaitedJson>,
    /// Those who waited longest, the longest first; up to 64.
    pub tasks: Vec<VictimJson>,
}

/// See [`Waited`](crate::Waited).
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct WaitedJson {
    /// At least so long; 0 where the task may have become ready only at the end of the stall.
    pub at_least_ms: f64,
    /// At most so long.
    pub at_most_ms: f64,
}

/// See [`Victim`](crate::Victim).
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct VictimJson {
    /// The task.
    pub task: TaskJson,
    /// How long it waited.
    pub waited: WaitedJson,
}

/// A task.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct TaskJson {
    /// Tokio's id; null for the future given to `block_on`.
    pub id: Option<u64>,
    /// The name given to holdup.
    pub name: Option<String>,
    /// `file:line` of the spawn.
    pub spawned_at: Option<String>,
}

/// A cause.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct CauseJson {
    /// One of the classes that `holdup explain` lists.
    pub class: String,
    /// What to do about it.
    pub advice: String,
    /// The numbers behind it.
    pub evidence: EvidenceJson,
}

/// See [`Evidence`].
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct EvidenceJson {
    /// How long the thread was looked at.
    pub window_ms: f64,
    /// How often.
    pub looks: u32,
    /// CPU time used in the window.
    pub on_cpu_ms: Option<f64>,
    /// Time ready but not run.
    pub run_queue_ms: Option<f64>,
    /// Time taken from its CPU by a hypervisor; null where none takes any.
    pub stolen_ms: Option<f64>,
    /// Further time runnable without CPU time.
    pub starved_ms: f64,
    /// What it waited in, the longest first.
    pub waits: Vec<WaitJson>,
    /// Page faults served without reading from disk.
    pub minor_faults: Option<u64>,
    /// Page faults that read from disk.
    pub major_faults: Option<u64>,
    /// The thread's scheduler state at the last look.
    pub state: Option<char>,
    /// By how much the watchdog itself was late.
    pub watchdog_late_ms: f64,
}

/// A wait.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct WaitJson {
    /// The system call and the file, or `a page fault`.
    pub place: String,
    /// For how long.
    pub ms: f64,
}

/// A culprit.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct CulpritJson {
    /// The function.
    pub function: String,
    /// Its file; null without line tables.
    pub file: Option<String>,
    /// The line in it; null without line tables.
    pub line: Option<u32>,
    /// The function that it called; null where it computed by itself.
    pub call: Option<String>,
}

/// A frame.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct FrameJson {
    /// The function.
    pub function: String,
    /// Its file; null without line tables.
    pub file: Option<String>,
    /// The line in it; null without line tables.
    pub line: Option<u32>,
    /// `user`, `std`, `runtime`, `dependency`, `system` or `unknown`.
    pub origin: String,
}

/// The quality of a stack.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct StackQualityJson {
    /// How it was taken; null where it was not.
    pub method: Option<String>,
    /// Whether it reaches the thread's first function.
    pub complete: bool,
    /// How long the stall had lasted by then; null where there is no stack.
    pub taken_after_ms: Option<f64>,
    /// Why there is no stack.
    pub missing: Option<String>,
}

/// See [`Counters`].
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct CountersJson {
    /// Every stall.
    pub stalls: u64,
    /// Reports held back by the rate limit.
    pub suppressed: u64,
    /// Stalls that could not be explained in time.
    pub unexplained: u64,
    /// Entries dropped from the bounded history.
    pub forgotten: u64,
    /// Polls that had handed their worker on with `block_in_place`.
    pub dismissed: u64,
    /// Stacks that could not be taken.
    pub stacks_missed: u64,
    /// Panics in the user's callback.
    pub callback_panics: u64,
}

/// The answer of `/debug/holdup/workers`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct WorkersAnswer {
    /// Every worker of every watched runtime.
    pub workers: Vec<WorkerJson>,
}

/// What one worker does now.
#[derive(Clone, Debug, Deserialize, Serialize)]
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
    /// The task inside the poll.
    pub task: Option<TaskJson>,
    /// How long this poll has lasted.
    pub polling_for_ms: Option<f64>,
    /// Polls started so far.
    pub polls: u64,
}

/// The answer of `/debug/holdup/self-check`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct SelfCheckAnswer {
    /// One line a subject.
    pub checks: Vec<CheckJson>,
}

/// One line of the self-check.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct CheckJson {
    /// What is looked at.
    pub subject: String,
    /// `full`, `limited` or `missing`.
    pub coverage: String,
    /// By which means, or why not.
    pub detail: String,
    /// The setting that would let holdup see more.
    pub remedy: Option<String>,
}

fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    u64::try_from(since).unwrap_or(u64::MAX)
}

impl From<&Stalls> for StallsAnswer {
    fn from(stalls: &Stalls) -> Self {
        Self {
            stalls: stalls.entries.iter().map(StallJson::from).collect(),
            suppressed: stalls.counters.suppressed,
            counters: stalls.counters.into(),
        }
    }
}

/// Of files from before stalls were inferred.
fn instrumented() -> String {
    Detection::Instrumented.as_str().to_owned()
}

impl From<&StallEntry> for StallJson {
    fn from(entry: &StallEntry) -> Self {
        let stall = &entry.stall;
        let culprit = stall.culprit.as_ref().map(|culprit| CulpritJson {
            function: culprit.frame.function.to_string(),
            file: culprit.frame.file.as_ref().map(ToString::to_string),
            line: culprit.frame.line,
            call: culprit.call.as_ref().map(ToString::to_string),
        });
        let stack = stall.stack.as_ref();
        Self {
            id: stall.id.0,
            runtime: stall.runtime.to_string(),
            worker: stall.worker,
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
            cause: CauseJson {
                class: stall.cause.class.as_str().to_owned(),
                advice: stall.cause.class.advice().to_owned(),
                evidence: (&stall.cause.evidence).into(),
            },
            culprit,
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
            began_unix_ms: stall.began_at.duration_since(UNIX_EPOCH).map_or(0.0, ms),
            first_noticed_unix_ms: unix_ms(entry.first_noticed_at),
            noticed_unix_ms: unix_ms(stall.noticed_at),
        }
    }
}

impl From<&Result<Victims, VictimsUnknown>> for VictimsJson {
    fn from(victims: &Result<Victims, VictimsUnknown>) -> Self {
        let known = victims.as_ref().ok();
        let told = |victim: &Victim| VictimJson { task: (&victim.task).into(), waited: victim.waited.into() };
        Self {
            sentence: victims::sentence(victims),
            missing: victims.as_ref().err().map(|reason| reason.as_str().to_owned()),
            count: known.map(Victims::count),
            longest: known.map(|known| known.longest.into()),
            total: known.map(|known| known.total.into()),
            tasks: known.map_or_else(Vec::new, |known| known.tasks.iter().map(told).collect()),
        }
    }
}

impl From<Waited> for WaitedJson {
    fn from(waited: Waited) -> Self {
        Self { at_least_ms: ms(waited.at_least), at_most_ms: ms(waited.at_most) }
    }
}

/// Without the victims, of whom JSON has the sentence.
impl From<&WaitingJson> for Waiting {
    fn from(json: &WaitingJson) -> Self {
        Self {
            local_queue: json.local_queue,
            global_queue: json.global_queue,
            driver: Driver::of_word(&json.driver),
            others: json.others,
            others_parked: json.others_parked,
            others_stalled: json.others_stalled,
            ..Self::default()
        }
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
        }
    }
}

impl From<&Evidence> for EvidenceJson {
    fn from(evidence: &Evidence) -> Self {
        let waits = evidence.waits.iter().map(|wait| WaitJson { place: wait.site.to_string(), ms: ms(wait.time) });
        Self {
            window_ms: ms(evidence.window),
            looks: evidence.looks,
            on_cpu_ms: evidence.on_cpu.map(ms),
            run_queue_ms: evidence.run_queue.map(ms),
            stolen_ms: evidence.stolen.map(ms),
            starved_ms: ms(evidence.starved),
            waits: waits.collect(),
            minor_faults: evidence.minor_faults,
            major_faults: evidence.major_faults,
            state: evidence.state,
            watchdog_late_ms: ms(evidence.watchdog_late),
        }
    }
}

impl From<Counters> for CountersJson {
    fn from(counters: Counters) -> Self {
        let Counters { stalls, suppressed, unexplained, forgotten, dismissed, stacks_missed, callback_panics } =
            counters;
        Self { stalls, suppressed, unexplained, forgotten, dismissed, stacks_missed, callback_panics }
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
