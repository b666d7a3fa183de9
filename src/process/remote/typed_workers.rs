//! The workers of another process, read by the types in its debug information. Their progress is read from memory, for all
//! workers in one call, and no thread is stopped for it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::remote_process::RemoteProcess;
use super::thread_locals::ThreadLocals;
use crate::model::evidence::Throttling;
use crate::model::stack::{RawStack, StackUnavailable};
use crate::model::task::{Task, TaskId};
use crate::model::worker::{Activity, CorePlace, Progress, Thread, Worker, WorkerPlace};
use crate::process::sleep::Sleep;
use crate::process::thread_sample::{self, ThreadSample};
use crate::process::worker_source::{PollInStack, WorkerSample, WorkerSource, count_missed};
use crate::sys::{CpuQuota, Process, StealTime, ThreadProbe};

/// The interval between two searches for threads that have become workers.
const SEARCH_INTERVAL: Duration = Duration::from_millis(250);

/// One search in this many is made even if no marker has changed.
const FORCED_SEARCH_PERIOD: u32 = 8;

/// Words that are read of each worker.
const WORDS_PER_WORKER: usize = 6;

/// Finds workers and names by debug information. Threads are given by their id and the address of their control block.
pub(crate) trait WorkerFinder: Sync {
    /// The workers among these threads.
    fn workers(&self, threads: &[(i32, u64)]) -> Vec<WorkerPlace>;

    /// Notes how many threads of the process are not among the given ones, because their variables were not found.
    fn note_unlocated(&self, threads: usize);

    /// The addresses of words that change when one of these threads becomes a worker, another worker or no worker.
    fn markers(&self, threads: &[(i32, u64)]) -> Vec<u64>;

    /// The name of a task's future, if it is known at once.
    fn future_of(&self, threads: &[(i32, u64)], task: TaskId) -> Option<String>;

    /// Whether the runtime at this address has had a task. `None` if it is not known.
    fn has_had_tasks(&self, threads: &[(i32, u64)], runtime: u64) -> Option<bool>;
}

/// The workers of a process with type information.
pub(crate) struct TypedWorkers<'f> {
    remote: RemoteProcess,
    finder: &'f dyn WorkerFinder,
    threads: ThreadLocals,
    searched: Option<Instant>,
    markers: WorkerMarkers,
    places: Vec<WorkerPlace>,
    workers: Vec<Arc<Worker>>,
    next_key: u64,
    /// The addresses of runtimes, in the order in which they were found.
    runtimes: Vec<u64>,
    probes: HashMap<u64, ThreadProbe>,
    steal: Option<StealTime>,
    quota: Option<CpuQuota>,
    last_read: RefCell<LastRead>,
}

/// Words that show whether threads have become workers since the last search.
#[derive(Debug, Default)]
struct WorkerMarkers {
    threads: Vec<(i32, u64)>,
    addresses: Vec<u64>,
    words: Vec<Option<u64>>,
    searches: u32,
}

impl WorkerMarkers {
    /// Whether a search for workers is due.
    fn changed(&mut self, process: Process, finder: &dyn WorkerFinder, threads: &[(i32, u64)]) -> bool {
        let moved = self.threads != threads;
        if moved {
            self.threads = threads.to_vec();
            self.addresses = finder.markers(threads);
        }
        let before = std::mem::take(&mut self.words);
        process.read_words(&self.addresses, &mut self.words);
        self.searches = self.searches.wrapping_add(1);
        moved || self.words != before || self.searches.is_multiple_of(FORCED_SEARCH_PERIOD)
    }
}

/// The words and states of all workers at the last read.
#[derive(Debug, Default)]
struct LastRead {
    addresses: Vec<u64>,
    words: Vec<Option<u64>>,
    states: Vec<WorkerState>,
}

/// The state of one worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct WorkerState {
    core: u64,
    poll: PollIdentity,
    sequence: u64,
    /// Whether it was read for all workers at once and not used since.
    fresh: bool,
}

impl WorkerState {
    fn activity(self) -> Activity {
        match self.poll.phase {
            Phase::Polling => Activity::Polling,
            // Between two polls, or inside one of several indistinguishable polls. The watchdog samples uninstrumented
            // workers more closely.
            Phase::Between | Phase::Uninstrumented => Activity::Between,
            Phase::Parked | Phase::Gone => Activity::Parked,
        }
    }
}

/// Differs from one poll to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct PollIdentity {
    phase: Phase,
    task: u64,
    tick: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// The thread is no longer a worker, or cannot be read.
    #[default]
    Gone,
    Between,
    Parked,
    Polling,
    /// Polling the `block_on` future of a multi-thread runtime. Its polls are indistinguishable.
    Uninstrumented,
}

impl<'f> TypedWorkers<'f> {
    pub(crate) fn new(remote: RemoteProcess, finder: &'f dyn WorkerFinder) -> Self {
        Self {
            threads: ThreadLocals::of(remote.process, remote.program, remote.stops.clone()),
            quota: CpuQuota::open(remote.process),
            remote,
            finder,
            searched: None,
            markers: WorkerMarkers::default(),
            places: Vec::new(),
            workers: Vec::new(),
            next_key: 0,
            runtimes: Vec::new(),
            probes: HashMap::new(),
            steal: StealTime::open(),
            last_read: RefCell::default(),
        }
    }

    /// Updates the list of workers; returns whether it changed.
    fn search(&mut self) -> bool {
        if !self.threads.refresh() {
            self.remote.gone.store(true, Ordering::Relaxed);
        }
        let pointers = self.threads.pointers();
        self.finder.note_unlocated(self.threads.unlocated());
        if !self.markers.changed(self.remote.process, self.finder, &pointers) {
            return false;
        }
        let mut places = self.finder.workers(&pointers);
        places.sort_by_key(|place| (place.runtime, place.index, place.tid));
        if places == self.places {
            return false;
        }
        self.set_places(places);
        true
    }

    fn set_places(&mut self, places: Vec<WorkerPlace>) {
        let mut workers = Vec::new();
        let mut states = Vec::new();
        for place in &places {
            let before = self.places.iter().position(|before| before == place);
            workers.push(match before.and_then(|before| self.workers.get(before)) {
                Some(worker) => Arc::clone(worker),
                None => self.new_worker(place),
            });
            let state = before.and_then(|before| self.last_read.borrow().states.get(before).copied());
            states.push(state.unwrap_or_default());
        }
        self.places = places;
        self.workers = workers;
        self.last_read.borrow_mut().states = states;
        self.probes.retain(|key, _| self.workers.iter().any(|worker| worker.key == *key));
    }

    fn new_worker(&mut self, place: &WorkerPlace) -> Arc<Worker> {
        self.next_key += 1;
        let known = self.runtimes.iter().position(|runtime| *runtime == place.runtime);
        let number = known.unwrap_or_else(|| {
            self.runtimes.push(place.runtime);
            self.runtimes.len() - 1
        });
        let name = self.remote.process.thread_name(place.tid).unwrap_or_default();
        Arc::new(Worker {
            uninstrumented: place.core.is_none(),
            key: self.next_key,
            runtime: format!("runtime-{}", number + 1).into(),
            index: place.index,
            holds: place.holds,
            thread: Thread { tid: place.tid, name: name.into(), stack: None },
        })
    }

    /// Reads the states of all workers at once.
    fn read_all(&self) {
        let mut last_read = self.last_read.borrow_mut();
        let LastRead { addresses, words, states } = &mut *last_read;
        addresses.clear();
        addresses.extend(self.places.iter().zip(&*states).flat_map(|(place, state)| words_of(place, state.core)));
        self.remote.process.read_words(addresses, words);
        for ((place, state), words) in self.places.iter().zip(states).zip(words.chunks_exact(WORDS_PER_WORKER)) {
            self.advance(place, state, words);
            state.fresh = true;
        }
    }

    fn advance(&self, place: &WorkerPlace, state: &mut WorkerState, words: &[Option<u64>]) {
        let poll = self.poll_identity(place, state, words).unwrap_or_default();
        if poll != state.poll {
            state.poll = poll;
            state.sequence += 1;
        }
    }

    /// The current poll; `None` if the thread is no longer a worker.
    fn poll_identity(
        &self,
        place: &WorkerPlace,
        state: &mut WorkerState,
        words: &[Option<u64>],
    ) -> Option<PollIdentity> {
        let &[pointer, task_marker, task, budget, core, tick] = words else { return None };
        let (pointer, task_marker, budget, core) = (pointer?, task_marker?, budget?, core?);
        if pointer != place.context {
            return None;
        }
        let Some(of_core) = &place.core else {
            let phase = if place.budget.is_some(budget) { Phase::Uninstrumented } else { Phase::Parked };
            return Some(PollIdentity { phase, ..PollIdentity::default() });
        };
        if !of_core.option.is_some(core) {
            return Some(PollIdentity { phase: Phase::Between, ..PollIdentity::default() });
        }
        // The core stays at the same address, so its tick is part of the words unless the worker has just got the core.
        let tick = if state.core == core { tick } else { self.remote.process.read_word(tick_address(of_core, core)) };
        state.core = core;
        let phase = if place.budget.is_some(budget) { Phase::Polling } else { Phase::Parked };
        let task = if place.task.is_some(task_marker) { task? } else { 0 };
        // The upper half of the word belongs to another field.
        let tick = u32::try_from(tick? & u64::from(u32::MAX)).ok()?;
        Some(PollIdentity { phase, task, tick })
    }

    /// The state of one worker: that of the last read of all workers, or a new one.
    fn state(&self, worker: usize) -> WorkerState {
        let mut last_read = self.last_read.borrow_mut();
        let (Some(state), Some(place)) = (last_read.states.get_mut(worker), self.places.get(worker)) else {
            return WorkerState::default();
        };
        if !std::mem::take(&mut state.fresh) {
            let mut words = Vec::new();
            self.remote.process.read_words(&words_of(place, state.core), &mut words);
            self.advance(place, state, &words);
        }
        *state
    }

    /// The worker's activity and the task that it polls.
    pub(crate) fn activity(&self, worker: usize) -> (Activity, Option<TaskId>) {
        let state = self.state(worker);
        (state.activity(), Some(TaskId(state.poll.task)).filter(|id| id.0 != 0))
    }

    /// The threads with known thread-local variables, each with the address of its control block.
    pub(crate) fn threads(&self) -> Vec<(i32, u64)> {
        self.threads.pointers()
    }

    /// The name of a task's future, if it is known at once.
    pub(crate) fn future_of(&self, task: TaskId) -> Option<String> {
        self.finder.future_of(&self.threads(), task)
    }

    fn tid(&self, worker: usize) -> i32 {
        self.workers.get(worker).map_or(0, |worker| worker.thread.tid)
    }
}

/// The addresses of a worker's words.
fn words_of(place: &WorkerPlace, core: u64) -> [u64; WORDS_PER_WORKER] {
    // Without a known core, a readable address takes its place.
    let tick = place.core.filter(|_| core != 0).map_or(place.pointer, |of_core| tick_address(&of_core, core));
    let marker = place.core.map_or(place.pointer, |of_core| of_core.option.marker);
    [place.pointer, place.task.marker, place.task.content, place.budget.marker, marker, tick]
}

fn tick_address(place: &CorePlace, core: u64) -> u64 {
    core.wrapping_add(place.tick_offset)
}

impl WorkerSource for TypedWorkers<'_> {
    fn refresh(&mut self) -> bool {
        let due = self.searched.is_none_or(|at| at.elapsed() >= SEARCH_INTERVAL);
        let changed = due && self.search();
        if due {
            self.searched = Some(Instant::now());
        }
        self.read_all();
        changed
    }

    fn workers(&self) -> &[Arc<Worker>] {
        &self.workers
    }

    fn progress(&self, worker: usize) -> Progress {
        let state = self.state(worker);
        Progress { sequence: state.sequence, parks: 0, activity: state.activity() }
    }

    fn task(&self, worker: usize, progress: Progress) -> Option<Task> {
        let state = self.state(worker);
        if state.sequence != progress.sequence || state.poll.phase != Phase::Polling {
            return None;
        }
        let id = Some(TaskId(state.poll.task)).filter(|id| id.0 != 0);
        let name = id.and_then(|id| self.future_of(id));
        Some(Task { id, name: name.map(Into::into), spawned_at: None })
    }

    fn has_had_tasks(&self, worker: usize) -> bool {
        let runtime = self.places.get(worker).map(|place| place.runtime);
        runtime.and_then(|runtime| self.finder.has_had_tasks(&self.threads(), runtime)).unwrap_or(true)
    }

    fn sample_thread(&mut self, worker: usize) -> ThreadSample {
        let (process, tid) = (self.remote.process, self.tid(worker));
        let Some(key) = self.workers.get(worker).map(|worker| worker.key) else { return ThreadSample::default() };
        let probe = self.probes.entry(key).or_insert_with(|| ThreadProbe::open(process, tid));
        thread_sample::sample(process, probe, self.steal.as_mut())
    }

    fn throttling(&mut self) -> Option<Throttling> {
        self.quota.as_mut()?.throttling()
    }

    fn capture_stack(&mut self, worker: usize, progress: Progress) -> Result<RawStack, StackUnavailable> {
        // A thread that is about to park must not be stopped.
        let stack = match self.progress(worker) == progress {
            true => self.remote.stacks.capture_stack_in_poll(self.tid(worker)),
            false => Err(StackUnavailable::TooLate),
        };
        let stack = stack.and_then(|stack| match self.progress(worker) == progress {
            true => Ok(stack),
            false => Err(StackUnavailable::TooLate),
        });
        count_missed(stack, &self.remote.stacks_missed)
    }

    /// A running thread is stopped for a stall only.
    fn try_capture_stack(&mut self, _worker: usize, _progress: Progress) -> Result<RawStack, StackUnavailable> {
        Err(StackUnavailable::Unavailable)
    }

    /// The worker's sleep inside a poll. The budget is read after the sleep. If the same sleep is sampled again, the thread
    /// has not run in between, so it was inside that poll when the budget was read.
    fn current_sleep(&mut self, worker: usize) -> Option<Sleep> {
        let (process, tid) = (self.remote.process, self.tid(worker));
        let (key, budget) = (self.workers.get(worker)?.key, self.places.get(worker)?.budget);
        let probe = self.probes.entry(key).or_insert_with(|| ThreadProbe::open(process, tid));
        let sleep = Sleep::of(probe).filter(Sleep::is_unique)?;
        process.read_word(budget.marker).filter(|word| budget.is_some(*word)).map(|_| sleep)
    }

    /// A sleep as above is inside a poll, whatever the stack shows.
    fn poll_in_stack(&mut self, worker: usize, _stack: &RawStack) -> PollInStack {
        if self.current_sleep(worker).is_some() { PollInStack::Unwatched } else { PollInStack::None }
    }

    fn queue_lengths(&self, _worker: usize) -> (Option<usize>, Option<usize>) {
        (None, None)
    }

    fn sample_worker(&mut self, worker: usize) -> WorkerSample {
        let progress = self.progress(worker);
        if progress.activity != Activity::Polling {
            return WorkerSample { progress, task: None, asleep: false, stack: None };
        }
        let task = self.task(worker, progress);
        let asleep = self.sample_thread(worker).sleeps_in.is_some();
        WorkerSample { progress, task, asleep, stack: Some(self.capture_stack(worker, progress)) }
    }

    /// Readers of the workers' state sample the process themselves.
    fn note_progress(&mut self, _worker: usize, _progress: Progress, _since: Instant) {}
}
