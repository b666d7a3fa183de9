//! The workers of a program without type information. Their progress cannot be read from memory. Threads that run a scheduler
//! are found by their stacks. Sleeps and breakpoints show whether a worker is inside a poll.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::contexts::ContextReader;
use super::remote_process::RemoteProcess;
use super::thread_count::{MAX_REMOTE_THREADS, ThreadCount};
use super::untyped_worker_state::UntypedWorkerState;
use super::worker_snapshot::{Unseen, UntypedSnapshot, UntypedWorker};
use crate::model::evidence::Throttling;
use crate::model::holds::Holds;
use crate::model::stack::{RawStack, StackUnavailable};
use crate::model::task::Task;
use crate::model::worker::{Activity, Progress, Thread, Worker};
use crate::process::return_breakpoints::ReturnBreakpoints;
use crate::process::sleep::Sleep;
use crate::process::thread_sample::{self, ThreadSample};
use crate::process::worker_source::{BreakpointError, PollInStack, WorkerSample, WorkerSource, count_missed};
use crate::sys::{Breakpoint, CpuQuota, StealTime};
use crate::unwind::{PollFrames, ThreadRole};

/// The interval between two searches for threads that run a scheduler.
const SEARCH_INTERVAL: Duration = Duration::from_millis(250);

/// The shortest interval between two stops of a thread to find its role.
const STOP_INTERVAL: Duration = Duration::from_secs(2);

/// The workers of a process without type information.
pub(crate) struct UntypedWorkers {
    remote: RemoteProcess,
    frames: Arc<PollFrames>,
    searched: Option<Instant>,
    count: ThreadCount,
    /// Threads beyond the limit.
    left_out: usize,
    /// By thread id.
    threads: HashMap<i32, SchedulerThread>,
    workers: Vec<Arc<Worker>>,
    states: RefCell<Vec<UntypedWorkerState>>,
    next_key: u64,
    breakpoints: ReturnBreakpoints,
    contexts: Option<ContextReader>,
    steal: Option<StealTime>,
    quota: Option<CpuQuota>,
    snapshot: Arc<UntypedSnapshot>,
}

/// A thread that may run a scheduler.
#[derive(Clone, Debug)]
struct SchedulerThread {
    name: Arc<str>,
    role: Option<ThreadRole>,
    /// When the thread was last stopped to find its role.
    stopped: Option<Instant>,
    /// Why the thread may run a scheduler all the same, if it has no role.
    unseen: Option<Unseen>,
}

impl UntypedWorkers {
    pub(crate) fn new(remote: RemoteProcess, frames: Arc<PollFrames>, snapshot: Arc<UntypedSnapshot>) -> Self {
        let contexts = ContextReader::of(remote.process, remote.program, remote.stops.clone(), &frames);
        Self {
            quota: CpuQuota::open(remote.process),
            remote,
            frames,
            contexts,
            searched: None,
            count: ThreadCount::default(),
            left_out: 0,
            threads: HashMap::new(),
            workers: Vec::new(),
            states: RefCell::default(),
            next_key: 0,
            breakpoints: ReturnBreakpoints::default(),
            steal: StealTime::open(),
            snapshot,
        }
    }

    /// Updates the roles of threads and the list of workers; returns whether that list changed.
    fn search(&mut self, now: Instant) -> bool {
        if self.count.changed(self.remote.process, now) && !self.list() {
            return false;
        }
        let tids: Vec<i32> = self.threads.keys().copied().collect();
        for tid in tids {
            if let Some(known) = self.threads.remove(&tid) {
                let thread = self.with_role(tid, known, now);
                self.threads.insert(tid, thread);
            }
        }
        let changed = self.update_workers();
        self.find_contexts();
        changed
    }

    /// Updates the list of threads. Returns false once the process is gone.
    fn list(&mut self) -> bool {
        let Ok(threads) = self.remote.stacks.threads() else {
            self.remote.gone.store(true, Ordering::Relaxed);
            return false;
        };
        let mut known = std::mem::take(&mut self.threads);
        self.left_out = threads.len().saturating_sub(MAX_REMOTE_THREADS);
        for thread in threads.into_iter().take(MAX_REMOTE_THREADS) {
            let before = known.remove(&thread.tid).filter(|before| before.name == thread.name);
            let current = before.unwrap_or(SchedulerThread {
                name: thread.name,
                role: None,
                stopped: None,
                unseen: Some(Unseen::NoStack),
            });
            self.threads.insert(thread.tid, current);
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
        states.iter_mut().for_each(UntypedWorkerState::before_context_read);
        contexts.read(states.iter_mut().map(|state| &mut state.context));
    }

    /// The thread with its current role. The stack of a sleeping thread costs little, because it is cached per sleep. A
    /// running thread is stopped only if its role is unknown.
    fn with_role(&mut self, tid: i32, known: SchedulerThread, now: Instant) -> SchedulerThread {
        let asleep = self.remote.stacks.is_asleep(tid);
        let may_stop = known.role.is_none() && known.stopped.is_none_or(|at| now.duration_since(at) >= STOP_INTERVAL);
        if !asleep && !may_stop {
            return known;
        }
        let stopped = if asleep { known.stopped } else { Some(now) };
        let mut taken = self.remote.stacks.capture_stack(tid);
        let is_cut = taken.as_ref().is_ok_and(|stack| !stack.complete && self.frames.role(&stack.addresses).is_none());
        let stopped = if is_cut && may_stop {
            // With all registers, the stack may be followed further.
            taken = self.remote.stacks.capture_stack_in_poll(tid);
            Some(now)
        } else {
            stopped
        };
        let (role, unseen) = match taken {
            Ok(stack) => match self.frames.role(&stack.addresses) {
                role if stack.complete => (role, None),
                // Outer frames may show that a thread inside `block_on` is a worker, but never the reverse.
                Some(role @ (ThreadRole::Worker | ThreadRole::CurrentThread)) => (Some(role), None),
                _ => (known.role, Some(Unseen::CutStack)),
            },
            Err(StackUnavailable::Gone) => (known.role, None),
            Err(_) => (known.role, known.unseen),
        };
        SchedulerThread { role, stopped, unseen: unseen.filter(|_| role.is_none()), ..known }
    }

    /// The threads that run a scheduler, as workers. Only a thread's name shows which runtime it belongs to.
    fn workers_by_role(&self) -> Vec<Worker> {
        let mut threads: Vec<_> =
            self.threads.iter().filter_map(|(tid, thread)| Some((thread.role?, *tid, thread))).collect();
        // Tokio starts its workers in the order of their indices.
        threads.sort_by_key(|(role, tid, _)| (*role, *tid));
        // Worker pools by thread name, with their number of workers.
        let mut pools: Vec<(&Arc<str>, usize)> = Vec::new();
        let mut others = 0;
        let mut workers = Vec::new();
        for (role, tid, thread) in threads {
            let (runtime, index) = match role {
                ThreadRole::Worker => {
                    let known = pools.iter().position(|(name, _)| **name == thread.name);
                    let at = known.unwrap_or(pools.len());
                    if known.is_none() {
                        pools.push((&thread.name, 0));
                    }
                    pools[at].1 += 1;
                    (at, Some(pools[at].1 - 1))
                }
                ThreadRole::BlockOn if pools.len() == 1 => (0, None),
                ThreadRole::CurrentThread | ThreadRole::BlockOn => {
                    others += 1;
                    (pools.len() + others - 1, (role == ThreadRole::CurrentThread).then_some(0))
                }
            };
            workers.push(Worker {
                key: 0,
                runtime: format!("runtime-{}", runtime + 1).into(),
                index,
                thread: Thread { tid, name: Arc::clone(&thread.name), stack: None },
                holds: match role {
                    ThreadRole::Worker => Holds::Worker,
                    ThreadRole::CurrentThread => Holds::CurrentThread,
                    ThreadRole::BlockOn => Holds::BlockOn,
                },
                uninstrumented: true,
            });
        }
        workers
    }

    fn update_workers(&mut self) -> bool {
        let current = self.workers_by_role();
        let same = |a: &Worker, b: &Worker| (&a.runtime, a.index, &a.thread) == (&b.runtime, b.index, &b.thread);
        let unchanged =
            current.len() == self.workers.len() && current.iter().zip(&self.workers).all(|(a, b)| same(a, b));
        if unchanged {
            return false;
        }
        let mut before: Vec<_> = self.workers.drain(..).zip(self.states.get_mut().drain(..)).collect();
        for worker in current {
            let known = before.iter().position(|(known, _)| is_same_worker(known, &worker));
            let (key, state) = match known {
                Some(known) => {
                    let (known, state) = before.swap_remove(known);
                    (known.key, state)
                }
                None => {
                    self.next_key += 1;
                    (self.next_key, UntypedWorkerState::of(self.remote.process, worker.thread.tid))
                }
            };
            self.workers.push(Arc::new(Worker { key, ..worker }));
            self.states.get_mut().push(state);
        }
        self.breakpoints.set_workers(&self.workers);
        true
    }

    fn tid(&self, worker: usize) -> i32 {
        self.workers[worker].thread.tid
    }

    /// The last known role of a worker's thread.
    fn role(&self, worker: usize) -> Option<ThreadRole> {
        self.threads.get(&self.tid(worker))?.role
    }
}

/// A worker whose number changes, because another one comes before it, stays the same: it may be inside a stall.
fn is_same_worker(before: &Worker, now: &Worker) -> bool {
    before.thread == now.thread
}

impl WorkerSource for UntypedWorkers {
    fn refresh(&mut self) -> bool {
        let now = Instant::now();
        let due = self.searched.is_none_or(|searched| now.duration_since(searched) >= SEARCH_INTERVAL);
        let changed = due && self.search(now);
        if due {
            self.searched = Some(now);
            self.snapshot.note_unseen(self.left_out, self.threads.values().filter_map(|thread| thread.unseen));
        }
        self.read_contexts();
        let workers = self.workers.iter().zip(self.states.get_mut());
        self.snapshot.replace(workers.map(|(worker, state)| UntypedWorker {
            worker: Arc::clone(worker),
            parked: !state.is_awake(),
            awake: state.awake_time(),
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
        thread_sample::sample(self.remote.process, &mut self.states.get_mut()[worker].probe, self.steal.as_mut())
    }

    fn throttling(&mut self) -> Option<Throttling> {
        self.quota.as_mut()?.throttling()
    }

    fn capture_stack(&mut self, worker: usize, progress: Progress) -> Result<RawStack, StackUnavailable> {
        let stack = self.try_capture_stack(worker, progress);
        count_missed(stack, &self.remote.stacks_missed)
    }

    fn try_capture_stack(&mut self, worker: usize, progress: Progress) -> Result<RawStack, StackUnavailable> {
        if self.progress(worker) != progress || progress.activity == Activity::Parked {
            return Err(StackUnavailable::TooLate);
        }
        // The stack of a parked worker can be unwound without stopping it.
        self.remote.stacks.capture_stack_in_poll(self.tid(worker))
    }

    fn current_sleep(&mut self, worker: usize) -> Option<Sleep> {
        self.states.get_mut()[worker].sample_sleep()
    }

    fn context_changed(&self, worker: usize) -> Option<bool> {
        self.states.borrow()[worker].context.changed()
    }

    fn watch_poll_returns(&mut self, worker: usize) -> Result<(), BreakpointError> {
        let in_block_on = self.states.get_mut()[worker].sleeps_in_block_on();
        if in_block_on { Err(BreakpointError::Refused) } else { self.breakpoints.set(&self.workers[worker]) }
    }

    fn poll_returned(&self, worker: usize) -> Option<bool> {
        let parked = self.states.borrow()[worker].sleeps_at_park_site();
        if parked { Some(true) } else { self.breakpoints.passed(self.workers[worker].key) }
    }

    fn poll_in_stack(&mut self, worker: usize, stack: &RawStack) -> PollInStack {
        let tid = self.tid(worker);
        let poll = self.breakpoints.poll_in_stack(&self.workers[worker], stack, Some(&self.frames));
        if poll == PollInStack::Unknown {
            return poll;
        }
        if poll != PollInStack::None {
            self.states.get_mut()[worker].note_poll();
            // Probes whether the kernel allows breakpoints at all.
            let refused = poll == PollInStack::Unwatched
                && Breakpoint::set(tid, stack.addresses.first().map_or(0, |address| address.0)).is_err();
            self.snapshot.note_breakpoint(refused);
            return poll;
        }
        // A park or a poll of `block_on` is noted only if the stack belongs to one known sleep.
        let Some(sleep) = self.remote.stacks.sleep_of(tid, stack) else { return PollInStack::None };
        let in_block_on =
            self.role(worker) != Some(ThreadRole::Worker) && self.frames.sleeps_in_block_on(&stack.addresses);
        let state = &mut self.states.get_mut()[worker];
        if in_block_on {
            state.note_block_on(sleep);
            PollInStack::Unwatched
        } else {
            state.note_park(sleep);
            PollInStack::None
        }
    }

    /// Stacks have shown where the worker parks, and it sleeps elsewhere.
    fn sleeps_outside_parks(&self, worker: usize) -> bool {
        let parks = self.states.borrow()[worker].sleeps_outside_park_sites();
        parks && matches!(self.role(worker), Some(ThreadRole::Worker | ThreadRole::CurrentThread))
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

    /// Readers of the workers' state sample the process themselves.
    fn note_progress(&mut self, _worker: usize, _progress: Progress, _since: Instant) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_with_another_number_is_the_same() {
        let worker = |tid, runtime: &str, index| {
            let thread = Thread { tid, name: "tokio-rt-worker".into(), stack: None };
            Worker { key: 0, runtime: runtime.into(), index, thread, holds: Holds::Worker, uninstrumented: true }
        };
        assert!(is_same_worker(&worker(12, "runtime-1", Some(2)), &worker(12, "runtime-2", Some(1))));
        assert!(!is_same_worker(&worker(12, "runtime-1", Some(1)), &worker(13, "runtime-1", Some(1))));
    }
}
