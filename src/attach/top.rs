//! What another process does, again and again: its workers many times a second, its tasks once a window.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::process::{AttachError, Attached};
use super::stalls::{Asked, StallsSoFar, Watching};
use crate::inprocess::Stop;
use crate::model::activity::{ActivityNow, PolledTasks, WaitingTasks, WorkerActivity};
use crate::model::census::{Await, Census, TaskNow, TaskState};
use crate::model::task::TaskId;
use crate::model::worker::{Activity, Worker};
use crate::process::{TypedWorkers, UntypedWorker, WorkerSource};
use crate::sys::{Process, ThreadProbe};

/// Between two looks at workers.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Reading all tasks takes no more than one part in so many of the time.
const SHARE: u32 = 4;

/// Where variables of running threads are is not found at once. The first window begins when no worker is new any more, but
/// so soon at the latest.
const FIRST_WORKERS: Duration = Duration::from_secs(2);

/// Tasks whose names are kept. Emptied when full.
const MAX_NAMES: usize = 16 * 1024;

/// Kinds of tasks that are told apart.
const MAX_KINDS: usize = 4096;

impl Attached {
    /// Calls `show` once an interval with what happened in it, until it says that it is enough, `stop` does, or the process has
    /// ended. Returns how it stands then.
    ///
    /// # Errors
    /// When its memory may not be read, or its debug information does not tell where its workers are.
    pub(crate) fn top(
        self,
        threshold: Duration,
        interval: Duration,
        stop: &Stop,
        show: &mut dyn FnMut(ActivityNow) -> ControlFlow<()>,
    ) -> Result<StallsSoFar, AttachError> {
        let (process, program) = (self.process, self.program.to_string());
        let mut looker: Option<Looker> = None;
        self.watch(
            Asked { threshold, tell_every: LOOK_EVERY, callback: None },
            &mut |watching| {
                if stop.is_set() {
                    return ControlFlow::Break(());
                }
                let looker = looker.get_or_insert_with(|| Looker::new(process, threshold));
                looker.look(watching);
                if looker.window.elapsed() < interval {
                    return ControlFlow::Continue(());
                }
                show(looker.tell(&program, watching))
            },
            StallsSoFar::of,
        )
    }
}

/// Adds up looks at workers.
struct Looker {
    process: Process,
    threshold: Duration,
    began: Instant,
    window: Instant,
    looks: u32,
    last_look: Instant,
    /// By the worker's key.
    workers: HashMap<u64, Seen>,
    /// What was polled, by the task's number; `None` for the future given to `block_on`.
    polled: HashMap<Option<TaskId>, Shares>,
    names: HashMap<TaskId, Option<Arc<str>>>,
    census: Census,
    census_taken: Option<(Instant, Duration)>,
    shown: Vec<WorkerActivity>,
}

/// A worker, in this window.
struct Seen {
    tid: i32,
    probe: ThreadProbe,
    cpu_before: Option<Duration>,
    cpu: Duration,
    tells_cpu: bool,
    busy: Duration,
    /// How long the watchdog has seen it awake by the last look, where that is what tells.
    awake: Option<Duration>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Shares {
    cpu: Duration,
    busy: Duration,
}

impl Looker {
    fn new(process: Process, threshold: Duration) -> Self {
        let now = Instant::now();
        Self {
            process,
            threshold,
            began: now,
            window: now,
            looks: 0,
            last_look: now,
            workers: HashMap::new(),
            polled: HashMap::new(),
            names: HashMap::new(),
            census: Census::default(),
            census_taken: None,
            shown: Vec::new(),
        }
    }

    /// Looks at every worker once. The time since the last look counts for what is seen now.
    fn look(&mut self, watching: &Watching<'_, '_>) {
        let now = Instant::now();
        let since = now.duration_since(std::mem::replace(&mut self.last_look, now));
        self.looks += 1;
        let found_new = match watching.silent_workers() {
            Some(workers) => self.look_at_silent(&workers),
            None => watching.with_target(|target| self.look_at_target(target, since)).unwrap_or(false),
        };
        if found_new && self.began.elapsed() < FIRST_WORKERS {
            self.begin_window();
        }
    }

    /// Returns whether there is a new worker.
    fn look_at_target(&mut self, target: &mut TypedWorkers<'_>, since: Duration) -> bool {
        target.refresh();
        let workers = target.workers().to_vec();
        let found_new = self.begin_look(workers.iter());
        for (position, worker) in workers.iter().enumerate().filter(|(_, worker)| worker.index.is_some()) {
            let (activity, task) = target.activity(position);
            let task = Some(task).filter(|_| activity == Activity::Polling);
            self.look_at_worker(worker, activity, task, since);
            if let Some(task) = task.flatten().filter(|task| !self.names.contains_key(task)) {
                if self.names.len() >= MAX_NAMES {
                    self.names.clear();
                }
                self.names.insert(task, target.future_of(task).map(Into::into));
            }
        }
        found_new
    }

    /// The same where the watchdog itself is all that tells.
    fn look_at_silent(&mut self, workers: &[UntypedWorker]) -> bool {
        let found_new = self.begin_look(workers.iter().map(|found| &found.worker));
        for found in workers.iter().filter(|found| found.worker.index.is_some()) {
            let seen = self.seen(&found.worker);
            seen.used();
            let before = seen.awake.replace(found.awake).unwrap_or(found.awake);
            seen.busy += found.awake.saturating_sub(before);
            let now = if found.parked { Activity::Parked } else { Activity::Between };
            self.show(&found.worker, now, None);
        }
        found_new
    }

    /// Forgets what is not among these; returns whether one of them is new.
    fn begin_look<'w>(&mut self, present: impl Iterator<Item = &'w Arc<Worker>> + Clone) -> bool {
        self.shown.clear();
        let keys: HashSet<u64> = present.clone().map(|worker| worker.key).collect();
        self.workers.retain(|key, _| keys.contains(key));
        let mut shown = present.filter(|worker| worker.index.is_some());
        shown.any(|worker| !self.workers.contains_key(&worker.key))
    }

    /// What it is inside of a poll of, if it is: a task, or the future given to `block_on`.
    fn look_at_worker(&mut self, worker: &Worker, now: Activity, polls: Option<Option<TaskId>>, since: Duration) {
        let seen = self.seen(worker);
        let cpu = seen.used();
        if let Some(task) = polls {
            seen.busy += since;
            let shares = self.polled.entry(task).or_default();
            shares.cpu += cpu;
            shares.busy += since;
        }
        self.show(worker, now, polls.flatten());
    }

    fn seen(&mut self, worker: &Worker) -> &mut Seen {
        let (process, tid) = (self.process, worker.thread.tid);
        self.workers.entry(worker.key).or_insert_with(|| {
            let probe = ThreadProbe::open(process, tid);
            let cpu_before = probe.cpu_time();
            let (tells_cpu, none) = (cpu_before.is_some(), Duration::ZERO);
            Seen { tid, probe, cpu_before, tells_cpu, cpu: none, busy: none, awake: None }
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

    /// What was seen since the last time, and begins anew.
    fn tell(&mut self, program: &str, watching: &Watching<'_, '_>) -> ActivityNow {
        self.take_census(watching);
        let window = self.window.elapsed();
        let so_far = StallsSoFar::of(watching);
        let mut workers = std::mem::take(&mut self.shown);
        for worker in &mut workers {
            let seen = self.workers.values().find(|seen| seen.tid == worker.tid);
            worker.busy = seen.map_or(0.0, |seen| part(seen.busy, window));
            worker.cpu = seen.filter(|seen| seen.tells_cpu).map(|seen| part(seen.cpu, window));
            if let Some((task, name)) = &mut worker.task {
                *name = self.names.get(task).cloned().flatten().map(|name| name.to_string());
            }
        }
        let states = TaskState::ALL.map(|state| {
            let tasks = self.census.tasks.iter().filter(|task| task.state == state);
            (state, tasks.count())
        });
        let tells_tasks = watching.reader().is_some();
        let runtimes = match tells_tasks {
            true => self.census.runtimes.iter().filter(|runtime| !runtime.is_local_set()).count(),
            false => workers.iter().map(|worker| &worker.runtime).collect::<HashSet<_>>().len(),
        };
        let now = ActivityNow {
            pid: self.process.id(),
            program: program.to_owned(),
            window,
            looks: self.looks,
            runtimes,
            tells_tasks,
            states: states.into_iter().filter(|(_, tasks)| *tasks > 0).collect(),
            workers,
            polled: self.polled_by_kind(window),
            waiting: waiting(&self.census),
            stalls: so_far.stalls,
            threshold: self.threshold,
            missing: so_far.missing.into_iter().chain(so_far.notes).collect(),
        };
        self.begin_window();
        now
    }

    fn begin_window(&mut self) {
        self.polled.clear();
        for seen in self.workers.values_mut() {
            (seen.busy, seen.cpu) = (Duration::ZERO, Duration::ZERO);
        }
        (self.window, self.looks, self.last_look) = (Instant::now(), 0, Instant::now());
    }

    /// Of many tasks, not every time.
    fn take_census(&mut self, watching: &Watching<'_, '_>) {
        if let Some((taken, took)) = self.census_taken
            && taken.elapsed() < took * (SHARE - 1)
        {
            return;
        }
        let begun = Instant::now();
        let pointers = watching.with_target(|target| target.threads());
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

impl Seen {
    /// CPU time since the last time.
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

/// Tasks that wait, by what they wait for.
fn waiting(census: &Census) -> Vec<WaitingTasks> {
    let mut kinds: HashMap<(&str, Option<String>, String), usize> = HashMap::new();
    for task in census.tasks.iter().filter(|task| task.state == TaskState::Idle) {
        let (at, reason) = place_and_reason(task);
        let key = (task.future.as_str(), at, reason);
        if kinds.len() < MAX_KINDS || kinds.contains_key(&key) {
            *kinds.entry(key).or_default() += 1;
        }
    }
    let told = |((future, at, reason), tasks): ((&str, Option<String>, String), usize)| WaitingTasks {
        future: future.to_owned(),
        at,
        reason,
        tasks,
    };
    let mut kinds: Vec<WaitingTasks> = kinds.into_iter().map(told).collect();
    kinds.sort_by(|one, other| {
        other.tasks.cmp(&one.tasks).then_with(|| (&one.future, &one.at).cmp(&(&other.future, &other.at)))
    });
    kinds
}

/// The innermost await in the program's own code, and what is waited for there.
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

/// Of several branches, the first tells the place.
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
