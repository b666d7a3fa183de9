//! A census as JSON.

use std::collections::HashMap;

use serde::Serialize;

use super::to_ms;
use crate::model::census::{
    Await, Census, Futurelock, HeldKind, Holder, RuntimeNow, SourcePlace, TaskNow, ThreadNow, WaitCycle, WaitStep,
    Waiter, WaitsFor,
};
use crate::model::task::TaskId;

/// A census.
#[derive(Debug, Serialize)]
pub(crate) struct CensusJson {
    pid: u32,
    program: String,
    /// `none`, `symbols`, `lines` or `full`.
    debug_info: &'static str,
    /// What is unknown without more debug information, and the setting that adds it.
    debug_info_note: Option<String>,
    runtimes: Vec<RuntimeJson>,
    threads: Vec<ThreadJson>,
    tasks: Vec<TaskJson>,
    /// Futures that wait for each other in a cycle.
    cycles: Vec<CycleJson>,
    /// Unpolled futures that tasks wait for.
    futurelocks: Vec<FuturelockJson>,
    quality: QualityJson,
}

#[derive(Debug, Serialize)]
struct RuntimeJson {
    /// From 1 on. Threads and tasks refer to it.
    number: usize,
    flavor: String,
    threads: usize,
    unknown: Option<String>,
}

#[derive(Debug, Serialize)]
struct ThreadJson {
    tid: i32,
    name: String,
    runs: bool,
    runtime: Option<usize>,
    task: Option<u64>,
    block_on: bool,
    /// The future given to `block_on`, with its await path.
    block_on_future: Option<AwaitJson>,
    stack: Vec<FrameJson>,
    stack_complete: bool,
    unknown: Option<String>,
}

#[derive(Debug, Serialize)]
struct FrameJson {
    function: String,
    file: Option<String>,
    line: Option<u32>,
}

#[derive(Debug, Serialize)]
struct TaskJson {
    id: Option<u64>,
    runtime: usize,
    state: &'static str,
    cancelled: bool,
    future: String,
    spawned_at: Option<PlaceJson>,
    thread: Option<i32>,
    /// If the task runs and its thread is not known: the threads that may run it.
    #[serde(skip_serializing_if = "Option::is_none")]
    thread_candidates: Option<Vec<i32>>,
    path: Option<AwaitJson>,
    unknown: Option<String>,
}

#[derive(Debug, Serialize)]
struct PlaceJson {
    file: String,
    line: u32,
}

#[derive(Debug, Serialize)]
struct AwaitJson {
    future: String,
    place: Option<PlaceJson>,
    note: Option<String>,
    waits_for: Option<WaitsForJson>,
    children: Vec<Self>,
}

#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum WaitsForJson {
    Timer { in_ms: i64 },
    Task { task: u64 },
    Message { channel: String, senders: u64, what: String },
    Permits { address: String, wanted: u64, free: Option<u64>, holders: Vec<HolderJson> },
    Io { fd: Option<i32>, what: Option<String> },
    Other { what: String },
}

#[derive(Debug, Serialize)]
struct CycleJson {
    tasks: Vec<u64>,
    /// All that could release what is waited for was seen.
    certain: bool,
    /// Why it is a guess.
    doubt: Option<&'static str>,
    /// Each step waits for what the next one holds, and the last for what the first one holds.
    steps: Vec<StepJson>,
    /// The number of other tasks, or threads, that wait for what the cycle holds.
    behind: usize,
    advice: &'static str,
}

#[derive(Debug, Serialize)]
struct StepJson {
    /// `None` for a future given to `block_on`, and for a thread whose task is not known.
    task: Option<u64>,
    /// The thread inside `block_on`.
    block_on_thread: Option<i32>,
    /// The thread that waits for a lock of threads.
    thread: Option<i32>,
    function: String,
    place: Option<PlaceJson>,
    /// `None` if the end of its task is waited for.
    holds: Option<String>,
    waits_for: String,
}

#[derive(Debug, Serialize)]
struct HolderJson {
    /// `guard`, `permit`, `receiver` or `sender`.
    kind: &'static str,
    task: u64,
    function: String,
    place: Option<PlaceJson>,
}

#[derive(Debug, Serialize)]
struct FuturelockJson {
    /// The task that does not poll it.
    task: u64,
    future: String,
    future_place: Option<PlaceJson>,
    /// The `async fn` that keeps it in a variable.
    function: String,
    /// What that function awaits instead.
    place: Option<PlaceJson>,
    semaphore: String,
    /// `queued`, `granted` or `holds`.
    stage: &'static str,
    waiting: Vec<u64>,
}

#[derive(Debug, Serialize)]
struct QualityJson {
    /// The longest time that a thread was stopped.
    pause_ms: f64,
    stopped_threads: usize,
    copied_bytes: u64,
    late_reads: u64,
    woken_threads: usize,
    /// Threads that may run a worker and could not be seen.
    unseen_threads: usize,
    index_ms: f64,
    index_origin: String,
    missing: Vec<String>,
}

impl From<&Census> for CensusJson {
    fn from(census: &Census) -> Self {
        let quality = &census.quality;
        let runtimes = census.runtimes.iter().map(|runtime| RuntimeJson {
            number: RuntimeNow::number(runtime.index),
            flavor: runtime.flavor.clone(),
            threads: runtime.threads,
            unknown: runtime.unknown.clone(),
        });
        Self {
            pid: census.pid,
            program: census.program.clone(),
            debug_info: census.tier.as_str(),
            debug_info_note: census.tier_note.clone(),
            runtimes: runtimes.collect(),
            threads: census.threads.iter().map(ThreadJson::from).collect(),
            tasks: tasks(census),
            cycles: census.cycles.iter().map(CycleJson::from).collect(),
            futurelocks: census.futurelocks.iter().map(FuturelockJson::from).collect(),
            quality: QualityJson {
                pause_ms: to_ms(quality.stops.longest),
                stopped_threads: quality.stopped_threads,
                copied_bytes: quality.copied,
                late_reads: quality.late_reads,
                woken_threads: quality.woken_threads,
                unseen_threads: quality.unseen_threads,
                index_ms: to_ms(quality.index_time),
                index_origin: quality.index_origin.clone(),
                missing: quality.missing.clone(),
            },
        }
    }
}

impl From<&ThreadNow> for ThreadJson {
    fn from(thread: &ThreadNow) -> Self {
        let stack = thread.stack.as_ref().ok();
        let frames = stack.map(|stack| stack.frames.as_slice()).unwrap_or_default();
        Self {
            tid: thread.tid,
            name: thread.name.clone(),
            runs: thread.runs,
            runtime: thread.runtime.map(RuntimeNow::number),
            task: thread.task.map(|task| task.0),
            block_on: thread.block_on,
            block_on_future: thread.block_on_future.as_ref().map(AwaitJson::from),
            stack: frames
                .iter()
                .map(|frame| FrameJson {
                    function: frame.function.to_string(),
                    file: frame.file.as_deref().map(str::to_owned),
                    line: frame.line,
                })
                .collect(),
            stack_complete: stack.is_some_and(|stack| stack.complete),
            unknown: thread.unknown.clone(),
        }
    }
}

impl From<&Futurelock> for FuturelockJson {
    fn from(found: &Futurelock) -> Self {
        let unpolled = &found.unpolled;
        Self {
            task: found.task.0,
            future: unpolled.future.clone(),
            future_place: unpolled.future_place.as_ref().map(PlaceJson::from),
            function: unpolled.function.clone(),
            place: unpolled.place.as_ref().map(PlaceJson::from),
            semaphore: format!("{:#x}", unpolled.semaphore),
            stage: unpolled.stage.as_str(),
            waiting: found.waiting.iter().map(|task| task.0).collect(),
        }
    }
}

fn tasks(census: &Census) -> Vec<TaskJson> {
    let unplaced: HashMap<TaskId, &Vec<i32>> =
        census.unplaced.iter().map(|unplaced| (unplaced.task, &unplaced.threads)).collect();
    let tasks = census.tasks.iter().map(|task| {
        let candidates = task.id.and_then(|id| unplaced.get(&id)).map(|threads| (*threads).clone());
        TaskJson { thread_candidates: candidates, ..TaskJson::from(task) }
    });
    tasks.collect()
}

impl From<&TaskNow> for TaskJson {
    fn from(task: &TaskNow) -> Self {
        Self {
            id: task.id.map(|id| id.0),
            runtime: RuntimeNow::number(task.runtime),
            state: task.state.as_str(),
            cancelled: task.cancelled,
            future: task.future.clone(),
            spawned_at: task.spawned_at.as_ref().map(PlaceJson::from),
            thread: task.thread,
            thread_candidates: None,
            path: task.path.as_ref().map(AwaitJson::from),
            unknown: task.unknown.clone(),
        }
    }
}

impl From<&SourcePlace> for PlaceJson {
    fn from(place: &SourcePlace) -> Self {
        Self { file: crate::model::task::short_source(&place.file).to_owned(), line: place.line }
    }
}

impl From<&Await> for AwaitJson {
    fn from(node: &Await) -> Self {
        Self {
            future: node.future.clone(),
            place: node.place.as_ref().map(PlaceJson::from),
            note: node.note.clone(),
            waits_for: node.waits_for.as_ref().map(WaitsForJson::from),
            children: node.children.iter().map(Self::from).collect(),
        }
    }
}

impl From<&WaitsFor> for WaitsForJson {
    fn from(reason: &WaitsFor) -> Self {
        match reason {
            WaitsFor::Timer { in_ms } => Self::Timer { in_ms: *in_ms },
            WaitsFor::Task(task) => Self::Task { task: task.0 },
            WaitsFor::Message { channel, senders, what } => {
                Self::Message { channel: format!("{channel:#x}"), senders: *senders, what: what.clone() }
            }
            WaitsFor::Permits { address, wanted, missing: _, free, holders } => Self::Permits {
                address: format!("{address:#x}"),
                wanted: *wanted,
                free: *free,
                holders: holders.iter().map(HolderJson::from).collect(),
            },
            WaitsFor::Io { fd, what } => Self::Io { fd: *fd, what: what.clone() },
            WaitsFor::Other(what) => Self::Other { what: what.clone() },
        }
    }
}

impl From<&WaitCycle> for CycleJson {
    fn from(cycle: &WaitCycle) -> Self {
        Self {
            tasks: cycle.tasks().iter().map(|task| task.0).collect(),
            certain: cycle.doubt.is_none(),
            doubt: cycle.doubt,
            steps: cycle.steps.iter().map(StepJson::from).collect(),
            behind: cycle.behind,
            advice: cycle.advice,
        }
    }
}

impl From<&WaitStep> for StepJson {
    fn from(step: &WaitStep) -> Self {
        let (task, block_on_thread, thread) = match step.waiting {
            Waiter::Task(id) => (Some(id), None, None),
            Waiter::BlockOn(thread) => (None, Some(thread), None),
            Waiter::Thread { tid, task } => (task, None, Some(tid)),
        };
        Self {
            task: task.map(|id| id.0),
            block_on_thread,
            thread,
            function: step.function.clone(),
            place: step.place.as_ref().map(PlaceJson::from),
            holds: step.holds.clone(),
            waits_for: step.waits_for.clone(),
        }
    }
}

impl From<&Holder> for HolderJson {
    fn from(holder: &Holder) -> Self {
        Self {
            kind: match holder.kind {
                HeldKind::Mutex | HeldKind::ReadLock | HeldKind::WriteLock => "guard",
                HeldKind::Permit | HeldKind::Reserved => "permit",
                HeldKind::Receiver => "receiver",
                HeldKind::Sender => "sender",
            },
            task: holder.task.0,
            function: holder.function.clone(),
            place: holder.place.as_ref().map(PlaceJson::from),
        }
    }
}
