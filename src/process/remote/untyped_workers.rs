//! The workers of a program that describes no types: nothing of its memory tells how far one has come. Threads that run a scheduler
//! are found by their stacks; whether one is in a poll is told by where it sleeps, and by breakpoints that count.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::contexts::{Context, Contexts};
use super::thread_count::ThreadCount;
use crate::model::stack::{RawStack, StackUnavailable};
use crate::model::task::Task;
use crate::model::worker::{Activity, Progress, Thread, Worker};
use crate::process::return_breakpoints::ReturnBreakpoints;
use crate::process::{
    BreakpointError, PollInStack, RemoteStacks, Sleep, ThreadSample, UntypedSnapshot, UntypedWorker, WorkerSample,
    WorkerSource, counted, thread_sample,
};
use crate::sys::{Breakpoint, Process, StealTime, ThreadProbe};
use crate::unwind::{PollFrames, Role};

/// How often threads are looked for that have begun to run a scheduler.
const SEARCH_EVERY: Duration = Duration::from_millis(250);

/// A thread that runs whenever it is looked at is stopped for its stack so often at most, as long as it is not known.
const STOP_EVERY: Duration = Duration::from_secs(2);

/// Places in which a worker waits: for others, and for events.
const MAX_PARKS: usize = 4;

/// Threads that are looked at.
const MAX_THREADS: usize = 4096;

/// Another process, as the watchdog sees it.
pub(crate) struct UntypedWorkers {
    process: Process,
    stacks: RemoteStacks,
    frames: Arc<PollFrames>,
    searched: Option<Instant>,
    count: ThreadCount,
    /// By thread: the role it was seen in, and when it was stopped for that.
    threads: HashMap<i32, Seen>,
    workers: Vec<Arc<Worker>>,
    states: RefCell<Vec<State>>,
    next_key: u64,
    returns: ReturnBreakpoints,
    contexts: Option<Contexts>,
    steal: Option<StealTime>,
    found: Arc<UntypedSnapshot>,
    stacks_missed: Arc<AtomicU64>,
    gone: Arc<AtomicBool>,
}

/// What is known of a thread.
#[derive(Clone, Debug)]
struct Seen {
    name: Arc<str>,
    role: Option<Role>,
    stopped: Option<Instant>,
}

/// How far a worker has come, as far as looks at its thread tell.
#[derive(Debug)]
struct State {
    probe: ThreadProbe,
    /// Where it slept when that was read last.
    slept: Option<Sleep>,
    /// The sleep in which it waits for something to do.
    parked: Option<Sleep>,
    /// Where it has done so.
    parks: Vec<Sleep>,
    /// The sleep in which it is inside the future given to `block_on`, whose polls return to no place that is watched.
    in_root: Option<Sleep>,
    /// The last sleep that it was seen in inside a poll.
    in_poll: Option<Sleep>,
    activity: Activity,
    sequence: u64,
    context: Context,
    /// It had been seen parked when its context was read last.
    was_parked: bool,
    /// When it was looked at last, and how long it has been awake.
    looked: Instant,
    awake: Duration,
}

impl State {
    fn of(process: Process, tid: i32) -> Self {
        let probe = ThreadProbe::open(process, tid);
        Self {
            probe,
            slept: None,
            parked: None,
            parks: Vec::new(),
            in_root: None,
            in_poll: None,
            activity: Activity::Between,
            sequence: 0,
            context: Context::default(),
            was_parked: false,
            looked: Instant::now(),
            awake: Duration::ZERO,
        }
    }

    fn sleep(&mut self) -> Option<Sleep> {
        self.slept = Sleep::of(&self.probe).filter(Sleep::is_unique);
        self.slept
    }

    fn parks_in(&mut self, sleep: Sleep) {
        self.parked = Some(sleep);
        if self.parks.len() < MAX_PARKS && !self.parks.iter().any(|known| known.is_at(&sleep)) {
            self.parks.push(sleep);
        }
    }

    /// It sleeps where it has waited for something to do, and so has left every poll.
    fn seems_parked(&self) -> bool {
        self.slept.is_some_and(|sleep| self.parks.iter().any(|known| known.is_at(&sleep)))
    }

    /// It runs, or sleeps where it was seen inside a poll. It mostly sleeps where it waits for something to do, before that
    /// was seen too.
    fn is_awake(&self) -> bool {
        self.slept.is_none_or(|sleep| self.in_poll.is_some_and(|known| known.is_at(&sleep)))
    }

    /// It is known to wait for something to do. Its context is asked first, which has been read already.
    fn is_parked(&mut self) -> bool {
        if self.parked.is_some() && self.context.is_in_park() {
            self.slept = self.parked;
            return true;
        }
        let parked = self.sleep().is_some() && self.slept == self.parked;
        // Since before its context was read.
        if parked && self.was_parked {
            self.context.was_in_park();
        }
        parked
    }

    fn progress(&mut self) -> Progress {
        let activity = if self.is_parked() { Activity::Parked } else { Activity::Between };
        if activity != self.activity {
            self.activity = activity;
            self.sequence += 1;
        }
        let before = std::mem::replace(&mut self.looked, Instant::now());
        if self.is_awake() {
            self.awake += self.looked.duration_since(before);
        }
        Progress { sequence: self.sequence, parks: 0, activity }
    }
}

impl UntypedWorkers {
    pub(crate) fn new(
        process: Process,
        program: u64,
        stacks: RemoteStacks,
        frames: Arc<PollFrames>,
        found: Arc<UntypedSnapshot>,
        stacks_missed: Arc<AtomicU64>,
        gone: Arc<AtomicBool>,
    ) -> Self {
        let contexts = Contexts::of(process, program, &frames);
        Self {
            process,
            stacks,
            frames,
            contexts,
            searched: None,
            count: ThreadCount::default(),
            threads: HashMap::new(),
            workers: Vec::new(),
            states: RefCell::default(),
            next_key: 0,
            returns: ReturnBreakpoints::default(),
            steal: StealTime::open(),
            found,
            stacks_missed,
            gone,
        }
    }

    /// Looks which threads run a scheduler now.
    fn search(&mut self, now: Instant) -> bool {
        if self.count.changed(self.process, now) && !self.list() {
            return false;
        }
        let tids: Vec<i32> = self.threads.keys().copied().collect();
        for tid in tids {
            if let Some(known) = self.threads.remove(&tid) {
                let seen = self.role_of(tid, known, now);
                self.threads.insert(tid, seen);
            }
        }
        let changed = self.take_over();
        self.find_contexts();
        changed
    }

    /// Brings the list of threads up to date. False once the process is gone.
    fn list(&mut self) -> bool {
        let Ok(threads) = self.stacks.threads() else {
            self.gone.store(true, Ordering::Relaxed);
            return false;
        };
        let mut known = std::mem::take(&mut self.threads);
        for thread in threads.into_iter().take(MAX_THREADS) {
            let before = known.remove(&thread.tid).filter(|before| before.name == thread.name);
            let seen = before.unwrap_or(Seen { name: thread.name, role: None, stopped: None });
            self.threads.insert(thread.tid, seen);
        }
        true
    }

    fn find_contexts(&mut self) {
        let Some(contexts) = &mut self.contexts else { return };
        let tids = self.workers.iter().map(|worker| worker.thread.tid);
        contexts.find(tids.zip(self.states.get_mut().iter_mut().map(|state| &mut state.context)));
    }

    fn read_contexts(&mut self) {
        let Some(contexts) = &mut self.contexts else { return };
        let states = self.states.get_mut();
        for state in &mut *states {
            state.was_parked = state.activity == Activity::Parked;
        }
        contexts.read(states.iter_mut().map(|state| &mut state.context));
    }

    /// A thread that sleeps is asked each time, because the stack of the same sleep is at hand.
    fn role_of(&mut self, tid: i32, known: Seen, now: Instant) -> Seen {
        let sleeps = self.stacks.sleeps(tid);
        let may_stop = known.role.is_none() && known.stopped.is_none_or(|at| now.duration_since(at) >= STOP_EVERY);
        if !sleeps && !may_stop {
            return known;
        }
        let stopped = if sleeps { known.stopped } else { Some(now) };
        let role = match self.stacks.capture_stack(tid) {
            Ok(stack) if stack.complete => self.frames.role(&stack.addresses),
            _ => known.role,
        };
        Seen { role, stopped, ..known }
    }

    /// The threads that run a scheduler, as workers. Which runtime a thread belongs to is told by nothing but its name.
    fn wanted(&self) -> Vec<Worker> {
        let mut threads: Vec<_> =
            self.threads.iter().filter_map(|(tid, seen)| Some((seen.role?, *tid, seen))).collect();
        // Tokio starts its workers in the order of their numbers.
        threads.sort_by_key(|(role, tid, _)| (*role, *tid));
        // By name, with the number of workers.
        let mut pools: Vec<(&Arc<str>, usize)> = Vec::new();
        let mut others = 0;
        let mut workers = Vec::new();
        for (role, tid, seen) in threads {
            let (runtime, index) = match role {
                Role::Worker => {
                    let known = pools.iter().position(|(name, _)| **name == seen.name);
                    let at = known.unwrap_or(pools.len());
                    if known.is_none() {
                        pools.push((&seen.name, 0));
                    }
                    pools[at].1 += 1;
                    (at, Some(pools[at].1 - 1))
                }
                Role::BlockOn if pools.len() == 1 => (0, None),
                Role::CurrentThread | Role::BlockOn => {
                    others += 1;
                    (pools.len() + others - 1, (role == Role::CurrentThread).then_some(0))
                }
            };
            workers.push(Worker {
                key: 0,
                runtime: format!("runtime-{}", runtime + 1).into(),
                index,
                thread: Thread { tid, name: Arc::clone(&seen.name), stack: None },
                uninstrumented: true,
            });
        }
        workers
    }

    fn take_over(&mut self) -> bool {
        let wanted = self.wanted();
        let same = |a: &Worker, b: &Worker| (&a.runtime, a.index, &a.thread) == (&b.runtime, b.index, &b.thread);
        let unchanged = wanted.len() == self.workers.len() && wanted.iter().zip(&self.workers).all(|(a, b)| same(a, b));
        if unchanged {
            return false;
        }
        let mut before: Vec<_> = self.workers.drain(..).zip(self.states.get_mut().drain(..)).collect();
        for worker in wanted {
            let (worker, state) = match before.iter().position(|(known, _)| same(known, &worker)) {
                Some(known) => before.swap_remove(known),
                None => {
                    self.next_key += 1;
                    let state = State::of(self.process, worker.thread.tid);
                    (Arc::new(Worker { key: self.next_key, ..worker }), state)
                }
            };
            self.workers.push(worker);
            self.states.get_mut().push(state);
        }
        self.returns.take_over(&self.workers);
        true
    }

    fn tid(&self, worker: usize) -> i32 {
        self.workers[worker].thread.tid
    }

    /// The role of a worker's thread, as it was seen last.
    fn role(&self, worker: usize) -> Option<Role> {
        self.threads.get(&self.tid(worker))?.role
    }
}

impl WorkerSource for UntypedWorkers {
    fn refresh(&mut self) -> bool {
        let now = Instant::now();
        let due = self.searched.is_none_or(|searched| now.duration_since(searched) >= SEARCH_EVERY);
        let changed = due && self.search(now);
        if due {
            self.searched = Some(now);
        }
        self.read_contexts();
        let seen = self.workers.iter().zip(self.states.get_mut());
        self.found.tell(seen.map(|(worker, state)| UntypedWorker {
            worker: Arc::clone(worker),
            parked: !state.is_awake(),
            awake: state.awake,
        }));
        changed
    }

    fn workers(&self) -> &[Arc<Worker>] {
        &self.workers
    }

    fn progress(&self, worker: usize) -> Progress {
        self.states.borrow_mut()[worker].progress()
    }

    fn task(&self, _worker: usize, _progress: Progress) -> Option<Task> {
        None
    }

    fn sample_thread(&mut self, worker: usize) -> ThreadSample {
        thread_sample::sample(self.process, &mut self.states.get_mut()[worker].probe, self.steal.as_mut())
    }

    fn capture_stack(&mut self, worker: usize, progress: Progress) -> Result<RawStack, StackUnavailable> {
        let stack = self.try_capture_stack(worker, progress);
        counted(stack, &self.stacks_missed)
    }

    fn try_capture_stack(&mut self, worker: usize, progress: Progress) -> Result<RawStack, StackUnavailable> {
        if self.progress(worker) != progress || progress.activity == Activity::Parked {
            return Err(StackUnavailable::TooLate);
        }
        // A worker that waits for something to do has a stack that can be walked, so that it is not stopped for it.
        self.stacks.capture_stack_in_poll(self.tid(worker))
    }

    fn current_sleep(&mut self, worker: usize) -> Option<Sleep> {
        self.states.get_mut()[worker].sleep()
    }

    fn context_changed(&self, worker: usize) -> Option<bool> {
        self.states.borrow()[worker].context.moved()
    }

    fn watch_poll_returns(&mut self, worker: usize) -> Result<(), BreakpointError> {
        let state = &self.states.get_mut()[worker];
        let in_root = state.in_root.is_some() && state.in_root == state.slept;
        if in_root { Err(BreakpointError::Refused) } else { self.returns.watch(&self.workers[worker]) }
    }

    fn poll_returned(&self, worker: usize) -> Option<bool> {
        let parked = self.states.borrow()[worker].seems_parked();
        if parked { Some(true) } else { self.returns.returned(self.workers[worker].key) }
    }

    fn poll_in_stack(&mut self, worker: usize, stack: &RawStack) -> PollInStack {
        let tid = self.tid(worker);
        let on = self.returns.poll_in_stack(&self.workers[worker], stack, Some(&self.frames));
        if on == PollInStack::Unknown {
            return on;
        }
        if on != PollInStack::None {
            let state = &mut self.states.get_mut()[worker];
            state.in_poll = state.slept;
            let refused = on == PollInStack::Unwatched
                && Breakpoint::set(tid, stack.addresses.first().map_or(0, |address| address.0)).is_err();
            self.found.breakpoint(refused);
            return on;
        }
        // Only of a stack that is known to be of one sleep.
        let Some(sleep) = self.stacks.sleep_of(tid, stack) else { return PollInStack::None };
        let in_root = self.role(worker) != Some(Role::Worker) && self.frames.sleeps_in_root(&stack.addresses);
        let state = &mut self.states.get_mut()[worker];
        if in_root {
            (state.in_root, state.in_poll) = (Some(sleep), Some(sleep));
            PollInStack::Unwatched
        } else {
            state.parks_in(sleep);
            PollInStack::None
        }
    }

    fn queue_lengths(&self, _worker: usize) -> (Option<usize>, Option<usize>) {
        (None, None)
    }

    fn sample_worker(&mut self, worker: usize) -> WorkerSample {
        let progress = self.progress(worker);
        if progress.activity == Activity::Parked {
            return WorkerSample { progress, task: None, asleep: false, stack: None };
        }
        let asleep = self.current_sleep(worker).is_some();
        WorkerSample { progress, task: None, asleep, stack: Some(self.capture_stack(worker, progress)) }
    }

    /// Who asks for the state of workers looks at the process himself.
    fn note_progress(&mut self, _worker: usize, _progress: Progress, _since: Instant) {}
}
