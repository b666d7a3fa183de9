//! The activity of another process, window by window: workers are sampled many times a second, tasks once a window.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::AttachError;
use super::open_process::OpenProcess;
use super::stall_watch::{Observer, WatchRequest, watch};
use super::stalls::WatchedStalls;
use super::watching::Watching;
use crate::inprocess::Stop;
use crate::model::activity::{ActivityNow, PolledTasks, WaitingTasks, WorkerActivity};
use crate::model::census::{Await, Census, TaskNow, TaskState};
use crate::model::task::TaskId;
use crate::model::worker::{Activity, Worker};
use crate::process::{TypedWorkers, UntypedWorker, WorkerSource};
use crate::sys::{Process, ThreadProbe};

/// Between two samples of all workers.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(10);

/// Reading all tasks takes at most one part in this many of the time.
const READ_TIME_DIVISOR: u32 = 4;

/// The variables of running threads are found late. The first window begins when no new worker appears, at the latest after
/// this time.
const FIRST_WORKERS: Duration = Duration::from_secs(2);

/// The limit on cached task names. A full cache is emptied.
const MAX_NAMES: usize = 16 * 1024;

/// The limit on kinds of waiting tasks.
const MAX_KINDS: usize = 4096;

/// Calls `show` once an interval with what happened in it, until `show` or `stop` ends it, or the process has ended.
///
/// # Errors
/// When the memory of the process cannot be read, or nothing shows its workers.
pub(crate) fn top(
    open: &OpenProcess,
    threshold: Duration,
    interval: Duration,
    stop: &Stop,
    show: &mut dyn FnMut(ActivityNow) -> ControlFlow<()>,
) -> Result<WatchedStalls, AttachError> {
    let request = WatchRequest { threshold, interval: SAMPLE_INTERVAL, callback: None };
    let (process, program) = (open.process, open.program.to_string());
    watch(open, request, &mut TopObserver { process, program, threshold, interval, stop, show, sampler: None })
}

struct TopObserver<'t> {
    process: Process,
    program: String,
    threshold: Duration,
    interval: Duration,
    stop: &'t Stop,
    show: &'t mut dyn FnMut(ActivityNow) -> ControlFlow<()>,
    /// Starts with the first sample, because reading debug information takes its time.
    sampler: Option<ActivitySampler>,
}

impl Observer for TopObserver<'_> {
    type Summary = WatchedStalls;

    fn check(&mut self, watching: &Watching<'_, '_>) -> ControlFlow<()> {
        if self.stop.is_set() {
            return ControlFlow::Break(());
        }
        let sampler = self.sampler.get_or_insert_with(|| ActivitySampler::new(self.process, self.threshold));
        sampler.sample(watching);
        if sampler.window.elapsed() < self.interval {
            return ControlFlow::Continue(());
        }
        (self.show)(sampler.finish_window(&self.program, watching))
    }

    fn finish(&mut self, watching: &Watching<'_, '_>) -> WatchedStalls {
        WatchedStalls::of(watching)
    }
}

/// Adds up samples of workers over a window.
struct ActivitySampler {
    process: Process,
    threshold: Duration,
    began: Instant,
    window: Instant,
    samples: u32,
    last_sample: Instant,
    /// Sums by the worker's key.
    workers: HashMap<u64, WorkerSums>,
    /// Time in polls by task id; `None` for the future given to `block_on`.
    polled: HashMap<Option<TaskId>, Shares>,
    names: HashMap<TaskId, Option<Arc<str>>>,
    census: Census,
    census_taken: Option<(Instant, Duration)>,
    shown: Vec<WorkerActivity>,
}

/// The sums of a worker in this window.
struct WorkerSums {
    tid: i32,
    probe: ThreadProbe,
    cpu_before: Option<Duration>,
    cpu: Duration,
    tells_cpu: bool,
    busy: Duration,
    /// The time awake by the last sample. Known for workers without descriptions of types only.
    awake: Option<Duration>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Shares {
    cpu: Duration,
    busy: Duration,
}

impl ActivitySampler {
    fn new(process: Process, threshold: Duration) -> Self {
        let now = Instant::now();
        Self {
            process,
            threshold,
            began: now,
            window: now,
            samples: 0,
            last_sample: now,
            workers: HashMap::new(),
            polled: HashMap::new(),
            names: HashMap::new(),
            census: Census::default(),
            census_taken: None,
            shown: Vec::new(),
        }
    }

    /// Samples every worker once. The time since the last sample counts for the state that is seen now.
    fn sample(&mut self, watching: &Watching<'_, '_>) {
        let now = Instant::now();
        let since = now.duration_since(std::mem::replace(&mut self.last_sample, now));
        self.samples += 1;
        let has_new = match watching.untyped_workers() {
            Some(workers) => self.sample_untyped(&workers),
            None => watching.with_workers(|typed| self.sample_typed(typed, since)).unwrap_or(false),
        };
        if has_new && self.began.elapsed() < FIRST_WORKERS {
            self.begin_window();
        }
    }

    /// Samples workers through descriptions of types. Returns whether a worker is new.
    fn sample_typed(&mut self, typed: &mut TypedWorkers<'_>, since: Duration) -> bool {
        typed.refresh();
        let workers = typed.workers().to_vec();
        let has_new = self.begin_sample(workers.iter());
        for (position, worker) in workers.iter().enumerate().filter(|(_, worker)| worker.index.is_some()) {
            let (activity, task) = typed.activity(position);
            let task = Some(task).filter(|_| activity == Activity::Polling);
            self.sample_worker(worker, activity, task, since);
            if let Some(task) = task.flatten().filter(|task| !self.names.contains_key(task)) {
                if self.names.len() >= MAX_NAMES {
                    self.names.clear();
                }
                self.names.insert(task, typed.future_of(task).map(Into::into));
            }
        }
        has_new
    }

    /// Samples workers through what the watchdog has found. Returns whether a worker is new.
    fn sample_untyped(&mut self, workers: &[UntypedWorker]) -> bool {
        let has_new = self.begin_sample(workers.iter().map(|found| &found.worker));
        for found in workers.iter().filter(|found| found.worker.index.is_some()) {
            let sums = self.sums(&found.worker);
            sums.used();
            let before = sums.awake.replace(found.awake).unwrap_or(found.awake);
            sums.busy += found.awake.saturating_sub(before);
            let now = if found.parked { Activity::Parked } else { Activity::Between };
            self.show(&found.worker, now, None);
        }
        has_new
    }

    /// Forgets workers that are gone; returns whether one is new.
    fn begin_sample<'w>(&mut self, present: impl Iterator<Item = &'w Arc<Worker>> + Clone) -> bool {
        self.shown.clear();
        let keys: HashSet<u64> = present.clone().map(|worker| worker.key).collect();
        self.workers.retain(|key, _| keys.contains(key));
        let mut shown = present.filter(|worker| worker.index.is_some());
        shown.any(|worker| !self.workers.contains_key(&worker.key))
    }

    /// Adds a sample. `polls` is the polled task, or the future given to `block_on` as `Some(None)`.
    fn sample_worker(&mut self, worker: &Worker, now: Activity, polls: Option<Option<TaskId>>, since: Duration) {
        let sums = self.sums(worker);
        let cpu = sums.used();
        if let Some(task) = polls {
            sums.busy += since;
            let shares = self.polled.entry(task).or_default();
            shares.cpu += cpu;
            shares.busy += since;
        }
        self.show(worker, now, polls.flatten());
    }

    fn sums(&mut self, worker: &Worker) -> &mut WorkerSums {
        let (process, tid) = (self.process, worker.thread.tid);
        self.workers.entry(worker.key).or_insert_with(|| {
            let probe = ThreadProbe::open(process, tid);
            let cpu_before = probe.cpu_time();
            let (tells_cpu, none) = (cpu_before.is_some(), Duration::ZERO);
            WorkerSums { tid, probe, cpu_before, tells_cpu, cpu: none, busy: none, awake: None }
        })
    }

    fn show(&mut self, worker: &Worker, now: Activity, task: Option<TaskId>) {
        self.shown.push(WorkerActivity {
            runtime: worker.runtime.to_string(),
            index: worker.index,
            tid: worker.thread.tid,
            now,
            busy: 0.0,
            cpu: None,
            task: task.map(|task| (task, None)),
        });
    }

    /// The activity of this window. Begins the next one.
    fn finish_window(&mut self, program: &str, watching: &Watching<'_, '_>) -> ActivityNow {
        self.take_census(watching);
        let window = self.window.elapsed();
        let so_far = WatchedStalls::of(watching);
        let mut workers = std::mem::take(&mut self.shown);
        for worker in &mut workers {
            let sums = self.workers.values().find(|sums| sums.tid == worker.tid);
            worker.busy = sums.map_or(0.0, |sums| part(sums.busy, window));
            worker.cpu = sums.filter(|sums| sums.tells_cpu).map(|sums| part(sums.cpu, window));
            if let Some((task, name)) = &mut worker.task {
                *name = self.names.get(task).cloned().flatten().map(|name| name.to_string());
            }
        }
        let states = TaskState::ALL.map(|state| {
            let tasks = self.census.tasks.iter().filter(|task| task.state == state);
            (state, tasks.count())
        });
        let has_tasks = watching.reader().is_some();
        let runtimes = match has_tasks {
            true => self.census.runtimes.iter().filter(|runtime| !runtime.is_local_set()).count(),
            false => workers.iter().map(|worker| &worker.runtime).collect::<HashSet<_>>().len(),
        };
        let now = ActivityNow {
            pid: self.process.id(),
            program: program.to_owned(),
            window,
            samples: self.samples,
            runtimes,
            has_tasks,
            states: states.into_iter().filter(|(_, tasks)| *tasks > 0).collect(),
            workers,
            polled: self.polled_by_kind(window),
            waiting: waiting(&self.census),
            stalls: so_far.stalls,
            threshold: self.threshold,
            stops: so_far.stops,
            missing: so_far.unknown_threads.into_iter().chain(so_far.notes).collect(),
        };
        self.begin_window();
        now
    }

    fn begin_window(&mut self) {
        self.polled.clear();
        for sums in self.workers.values_mut() {
            (sums.busy, sums.cpu) = (Duration::ZERO, Duration::ZERO);
        }
        (self.window, self.samples, self.last_sample) = (Instant::now(), 0, Instant::now());
    }

    /// Skips the census where many tasks make it slow.
    fn take_census(&mut self, watching: &Watching<'_, '_>) {
        if let Some((taken, took)) = self.census_taken
            && taken.elapsed() < took * (READ_TIME_DIVISOR - 1)
        {
            return;
        }
        let begun = Instant::now();
        let pointers = watching.with_workers(|typed| typed.threads());
        if let Some((reader, pointers)) = watching.reader().zip(pointers) {
            self.census = reader.census(&pointers);
        }
        self.census_taken = Some((Instant::now(), begun.elapsed()));
    }

    fn polled_by_kind(&self, window: Duration) -> Vec<PolledTasks> {
        let mut kinds: HashMap<Option<Arc<str>>, Shares> = HashMap::new();
        for (task, shares) in &self.polled {
            let name = match task {
                Some(task) => self.names.get(task).cloned().flatten(),
                None => Some("the future given to block_on".into()),
            };
            let known = kinds.entry(name).or_default();
            known.cpu += shares.cpu;
            known.busy += shares.busy;
        }
        let mut polled: Vec<PolledTasks> = kinds
            .into_iter()
            .map(|(future, shares)| PolledTasks {
                future: future.map(|future| future.to_string()),
                cpu: part(shares.cpu, window),
                busy: part(shares.busy, window),
            })
            .collect();
        polled.sort_by(|one, other| {
            let (first, second) = ((other.cpu, other.busy), (one.cpu, one.busy));
            first.partial_cmp(&second).unwrap_or(std::cmp::Ordering::Equal).then_with(|| one.future.cmp(&other.future))
        });
        polled
    }
}

impl WorkerSums {
    /// CPU time since the last call.
    fn used(&mut self) -> Duration {
        let now = self.probe.cpu_time();
        let used = now.zip(self.cpu_before).map_or(Duration::ZERO, |(now, before)| now.saturating_sub(before));
        (self.cpu_before, self.cpu) = (now, self.cpu + used);
        used
    }
}

fn part(time: Duration, of: Duration) -> f64 {
    time.as_secs_f64() / of.as_secs_f64().max(1e-9)
}

/// Waiting tasks by function, place and reason.
fn waiting(census: &Census) -> Vec<WaitingTasks> {
    let mut kinds: HashMap<(&str, Option<String>, String), usize> = HashMap::new();
    for task in census.tasks.iter().filter(|task| matches!(task.state, TaskState::Idle | TaskState::Lost)) {
        let (at, reason) = place_and_reason(task);
        let key = (task.future.as_str(), at, reason);
        if kinds.len() < MAX_KINDS || kinds.contains_key(&key) {
            *kinds.entry(key).or_default() += 1;
        }
    }
    let kind = |((future, at, reason), tasks): ((&str, Option<String>, String), usize)| WaitingTasks {
        future: future.to_owned(),
        at,
        reason,
        tasks,
    };
    let mut kinds: Vec<WaitingTasks> = kinds.into_iter().map(kind).collect();
    kinds.sort_by(|one, other| {
        other.tasks.cmp(&one.tasks).then_with(|| (&one.future, &one.at).cmp(&(&other.future, &other.at)))
    });
    kinds
}

/// The innermost await in the program's own code, and the reasons for the wait.
fn place_and_reason(task: &TaskNow) -> (Option<String>, String) {
    const MOST: usize = 3;
    let Some(path) = &task.path else {
        let unknown = if task.unknown.is_some() { "unknown: it cannot be read" } else { "its end" };
        return (None, unknown.to_owned());
    };
    let (mut at, mut reasons) = (None, Vec::new());
    walk(path, &mut at, &mut reasons);
    let more = reasons.len().saturating_sub(MOST);
    reasons.truncate(MOST);
    let mut reason = reasons.join(" or ");
    if more > 0 {
        reason += &format!(" or {more} more");
    }
    (at, reason)
}

/// The first of several branches gives the place.
fn walk(node: &Await, at: &mut Option<String>, reasons: &mut Vec<String>) {
    if node.children.is_empty() {
        let reason = node.reason().unwrap_or_else(|| node.future.clone());
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }
    for child in &node.children {
        walk(child, at, reasons);
    }
    let own = node
        .place
        .as_ref()
        .filter(|place| !place.file.contains("/registry/src/") && !place.file.starts_with("/rustc/"));
    if let Some(place) = own.filter(|_| at.is_none()) {
        *at = Some(place.to_string());
    }
}
