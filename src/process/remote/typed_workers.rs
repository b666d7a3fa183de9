//! The workers of another process: how far each has come is read from its memory, all of them in one call, and nothing of
//! it is stopped for that.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::model::stack::{RawStack, StackUnavailable};
use crate::model::task::{Task, TaskId};
use crate::model::worker::{Activity, CorePlace, Progress, Thread, Worker, WorkerPlace};
use crate::process::{
    PollInStack, RemoteStacks, Sleep, ThreadLocals, ThreadSample, WorkerSample, WorkerSource, counted, thread_sample,
};
use crate::sys::{Process, StealTime, ThreadProbe};

/// How often threads are looked for that have become workers.
const SEARCH_EVERY: Duration = Duration::from_millis(250);

/// One search in so many finds the workers anew even where nothing has changed that tells.
const WHOLE_SEARCH: u32 = 8;

/// What is read of a worker at a time.
const WORDS: usize = 6;

/// Finds workers and names by debug information, of which nothing is known here.
pub(crate) trait WorkerFinder: Sync {
    /// The workers among threads, given by their number and the address of their control block.
    fn workers(&self, threads: &[(i32, u64)]) -> Vec<WorkerPlace>;

    /// Where each of these threads says which worker it is. What is there is another value, or none, when it is another or
    /// none.
    fn markers(&self, threads: &[(i32, u64)]) -> Vec<u64>;

    /// The name of a task's future, if it can be told at once.
    fn future_of(&self, threads: &[(i32, u64)], task: TaskId) -> Option<String>;
}

/// Another process, as the watchdog sees it.
pub(crate) struct TypedWorkers<'f> {
    process: Process,
    stacks: RemoteStacks,
    finder: &'f dyn WorkerFinder,
    threads: ThreadLocals,
    searched: Option<Instant>,
    known: Markers,
    places: Vec<WorkerPlace>,
    workers: Vec<Arc<Worker>>,
    next_key: u64,
    /// The addresses of runtimes, in the order in which they were seen.
    runtimes: Vec<u64>,
    probes: HashMap<u64, ThreadProbe>,
    steal: Option<StealTime>,
    seen: RefCell<Seen>,
    stacks_missed: Arc<AtomicU64>,
    gone: Arc<AtomicBool>,
}

/// By what it is told that no thread has become a worker, or another one.
#[derive(Debug, Default)]
struct Markers {
    threads: Vec<(i32, u64)>,
    addresses: Vec<u64>,
    words: Vec<Option<u64>>,
    searches: u32,
}

impl Markers {
    /// Whether the workers are to be found anew.
    fn changed(&mut self, process: Process, finder: &dyn WorkerFinder, threads: &[(i32, u64)]) -> bool {
        let others = self.threads != threads;
        if others {
            self.threads = threads.to_vec();
            self.addresses = finder.markers(threads);
        }
        let before = std::mem::take(&mut self.words);
        process.read_words(&self.addresses, &mut self.words);
        self.searches = self.searches.wrapping_add(1);
        others || self.words != before || self.searches.is_multiple_of(WHOLE_SEARCH)
    }
}

/// What was read last.
#[derive(Debug, Default)]
struct Seen {
    addresses: Vec<u64>,
    words: Vec<Option<u64>>,
    states: Vec<State>,
}

/// One worker's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct State {
    core: u64,
    raw: Raw,
    sequence: u64,
    /// Read by the last round and not asked for since.
    fresh: bool,
}

impl State {
    fn activity(self) -> Activity {
        match self.raw.phase {
            Phase::Polling => Activity::Polling,
            // Between two polls, or in one of several that cannot be told apart: whoever has silent polls is looked at closer.
            Phase::Between | Phase::Silent => Activity::Between,
            Phase::Parked | Phase::Gone => Activity::Parked,
        }
    }
}

/// What tells one poll from the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Raw {
    phase: Phase,
    task: u64,
    tick: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// It is no worker any more, or cannot be read.
    #[default]
    Gone,
    Between,
    Parked,
    Polling,
    /// Polling the future given to `block_on` of a multi-thread runtime; nothing tells one poll from the next.
    Silent,
}

impl<'f> TypedWorkers<'f> {
    pub(crate) fn new(
        process: Process,
        program: u64,
        stacks: RemoteStacks,
        finder: &'f dyn WorkerFinder,
        stacks_missed: Arc<AtomicU64>,
        gone: Arc<AtomicBool>,
    ) -> Self {
        Self {
            process,
            stacks,
            finder,
            threads: ThreadLocals::of(process, program),
            searched: None,
            known: Markers::default(),
            places: Vec::new(),
            workers: Vec::new(),
            next_key: 0,
            runtimes: Vec::new(),
            probes: HashMap::new(),
            steal: StealTime::open(),
            seen: RefCell::default(),
            stacks_missed,
            gone,
        }
    }

    /// Looks which threads are workers now.
    fn search(&mut self) -> bool {
        if !self.threads.refresh() {
            self.gone.store(true, Ordering::Relaxed);
        }
        let pointers = self.threads.pointers();
        if !self.known.changed(self.process, self.finder, &pointers) {
            return false;
        }
        let mut places = self.finder.workers(&pointers);
        places.sort_by_key(|place| (place.runtime, place.index, place.tid));
        if places == self.places {
            return false;
        }
        self.take_over(places);
        true
    }

    fn take_over(&mut self, places: Vec<WorkerPlace>) {
        let mut workers = Vec::new();
        let mut states = Vec::new();
        for place in &places {
            let before = self.places.iter().position(|before| before == place);
            workers.push(match before.and_then(|before| self.workers.get(before)) {
                Some(worker) => Arc::clone(worker),
                None => self.new_worker(place),
            });
            let state = before.and_then(|before| self.seen.borrow().states.get(before).copied());
            states.push(state.unwrap_or_default());
        }
        self.places = places;
        self.workers = workers;
        self.seen.borrow_mut().states = states;
        self.probes.retain(|key, _| self.workers.iter().any(|worker| worker.key == *key));
    }

    fn new_worker(&mut self, place: &WorkerPlace) -> Arc<Worker> {
        self.next_key += 1;
        let known = self.runtimes.iter().position(|runtime| *runtime == place.runtime);
        let number = known.unwrap_or_else(|| {
            self.runtimes.push(place.runtime);
            self.runtimes.len() - 1
        });
        let name = self.process.thread_name(place.tid).unwrap_or_default();
        Arc::new(Worker {
            uninstrumented: place.core.is_none(),
            key: self.next_key,
            runtime: format!("runtime-{}", number + 1).into(),
            index: place.index,
            thread: Thread { tid: place.tid, name: name.into(), stack: None },
        })
    }

    /// Reads all workers at once.
    fn read_all(&self) {
        let mut seen = self.seen.borrow_mut();
        let Seen { addresses, words, states } = &mut *seen;
        addresses.clear();
        addresses.extend(self.places.iter().zip(&*states).flat_map(|(place, state)| words_of(place, state.core)));
        self.process.read_words(addresses, words);
        for ((place, state), words) in self.places.iter().zip(states).zip(words.chunks_exact(WORDS)) {
            self.advance(place, state, words);
            state.fresh = true;
        }
    }

    fn advance(&self, place: &WorkerPlace, state: &mut State, words: &[Option<u64>]) {
        let raw = self.raw(place, state, words).unwrap_or_default();
        if raw != state.raw {
            state.raw = raw;
            state.sequence += 1;
        }
    }

    /// `None` where it is a worker no more.
    fn raw(&self, place: &WorkerPlace, state: &mut State, words: &[Option<u64>]) -> Option<Raw> {
        let &[pointer, task_marker, task, budget, core, tick] = words else { return None };
        let (pointer, task_marker, budget, core) = (pointer?, task_marker?, budget?, core?);
        if pointer != place.context {
            return None;
        }
        let Some(of_core) = &place.core else {
            let phase = if place.budget.is_some(budget) { Phase::Silent } else { Phase::Parked };
            return Some(Raw { phase, ..Raw::default() });
        };
        if !of_core.option.is_some(core) {
            return Some(Raw { phase: Phase::Between, ..Raw::default() });
        }
        // Its core is the same box as long as it lives, so this is read once.
        let tick = if state.core == core { tick } else { self.process.read_word(tick_address(of_core, core)) };
        state.core = core;
        let phase = if place.budget.is_some(budget) { Phase::Polling } else { Phase::Parked };
        let task = if place.task.is_some(task_marker) { task? } else { 0 };
        // The upper half belongs to something else.
        let tick = u32::try_from(tick? & u64::from(u32::MAX)).ok()?;
        Some(Raw { phase, task, tick })
    }

    /// The state of one worker: of the round that has just been made, or read now.
    fn state(&self, worker: usize) -> State {
        let mut seen = self.seen.borrow_mut();
        let (Some(state), Some(place)) = (seen.states.get_mut(worker), self.places.get(worker)) else {
            return State::default();
        };
        if !std::mem::take(&mut state.fresh) {
            let mut words = Vec::new();
            self.process.read_words(&words_of(place, state.core), &mut words);
            self.advance(place, state, &words);
        }
        *state
    }

    /// What a worker does by the last round, and the task that it polls.
    pub(crate) fn activity(&self, worker: usize) -> (Activity, Option<TaskId>) {
        let state = self.state(worker);
        (state.activity(), Some(TaskId(state.raw.task)).filter(|id| id.0 != 0))
    }

    /// The threads whose variables can be read: each with the address of its control block.
    pub(crate) fn threads(&self) -> Vec<(i32, u64)> {
        self.threads.pointers()
    }

    /// The name of a task's future, if it can be told at once.
    pub(crate) fn future_of(&self, task: TaskId) -> Option<String> {
        self.finder.future_of(&self.threads(), task)
    }

    fn tid(&self, worker: usize) -> i32 {
        self.workers.get(worker).map_or(0, |worker| worker.thread.tid)
    }
}

/// What is to be read of a worker.
fn words_of(place: &WorkerPlace, core: u64) -> [u64; WORDS] {
    // Where no core was seen yet, or there is none, its place is taken by something that can be read.
    let tick = place.core.filter(|_| core != 0).map_or(place.pointer, |of_core| tick_address(&of_core, core));
    let marker = place.core.map_or(place.pointer, |of_core| of_core.option.marker);
    [place.pointer, place.task.marker, place.task.content, place.budget.marker, marker, tick]
}

fn tick_address(place: &CorePlace, core: u64) -> u64 {
    core.wrapping_add(place.tick_offset)
}

impl WorkerSource for TypedWorkers<'_> {
    fn refresh(&mut self) -> bool {
        let due = self.searched.is_none_or(|searched| searched.elapsed() >= SEARCH_EVERY);
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
        if state.sequence != progress.sequence || state.raw.phase != Phase::Polling {
            return None;
        }
        let id = Some(TaskId(state.raw.task)).filter(|id| id.0 != 0);
        let name = id.and_then(|id| self.future_of(id));
        Some(Task { id, name: name.map(Into::into), spawned_at: None })
    }

    fn sample_thread(&mut self, worker: usize) -> ThreadSample {
        let (process, tid) = (self.process, self.tid(worker));
        let Some(key) = self.workers.get(worker).map(|worker| worker.key) else { return ThreadSample::default() };
        let probe = self.probes.entry(key).or_insert_with(|| ThreadProbe::open(process, tid));
        thread_sample::sample(process, probe, self.steal.as_mut())
    }

    fn capture_stack(&mut self, worker: usize, progress: Progress) -> Result<RawStack, StackUnavailable> {
        // A thread that is about to park is not to be stopped.
        let stack = match self.progress(worker) == progress {
            true => self.stacks.capture_stack_in_poll(self.tid(worker)),
            false => Err(StackUnavailable::TooLate),
        };
        let stack = stack.and_then(|stack| match self.progress(worker) == progress {
            true => Ok(stack),
            false => Err(StackUnavailable::TooLate),
        });
        counted(stack, &self.stacks_missed)
    }

    /// What runs is stopped for a stall only.
    fn try_capture_stack(&mut self, _worker: usize, _progress: Progress) -> Result<RawStack, StackUnavailable> {
        Err(StackUnavailable::Unavailable)
    }

    /// Its sleep inside a poll. The budget is read after the sleep: where the same sleep is seen again, the thread has not
    /// run in between, and was inside that poll when the budget was read.
    fn current_sleep(&mut self, worker: usize) -> Option<Sleep> {
        let (process, tid) = (self.process, self.tid(worker));
        let (key, budget) = (self.workers.get(worker)?.key, self.places.get(worker)?.budget);
        let probe = self.probes.entry(key).or_insert_with(|| ThreadProbe::open(process, tid));
        let sleep = Sleep::of(probe).filter(Sleep::is_unique)?;
        process.read_word(budget.marker).filter(|word| budget.is_some(*word)).map(|_| sleep)
    }

    /// Who sleeps as above is in a poll, whatever its stack shows.
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

    /// Who asks for the state of workers looks at the process himself.
    fn note_progress(&mut self, _worker: usize, _progress: Progress, _since: Instant) {}
}
