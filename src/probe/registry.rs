//! The workers of one watch, and how they wake its watchdog.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread as OsThread;
use std::time::{Duration, Instant};

use tokio::runtime::RuntimeFlavor;

use super::own_tasks::OwnTasks;
use super::poll_stats_merge::MergedStats;
use super::pool_threads::PoolThreads;
use super::slot::{NO_RUNTIME, Slot};
use crate::model::holds::Holds;
use crate::model::task_stats::TaskStats;
use crate::model::worker::{Activity, Thread, Worker};
use crate::sys;

static NEXT_RUNTIME: AtomicU32 = AtomicU32::new(NO_RUNTIME + 1);
static NEXT_WORKER: AtomicU64 = AtomicU64::new(1);

/// One watched runtime, shared by its hooks and wrapped futures.
#[derive(Debug)]
pub(crate) struct RuntimeProbe {
    /// Unique in the process.
    pub(super) number: u32,
    pub(super) registry: Arc<Registry>,
    /// The name of a runtime that the user did not name.
    fallback_name: Arc<str>,
    built: OnceLock<Built>,
    /// It has thread hooks and no task hooks: its workers report parks and no polls.
    uninstrumented: AtomicBool,
    own_tasks: Arc<OwnTasks>,
    pool: PoolThreads,
}

/// Properties that are known once the runtime is built. Its workers may register earlier.
#[derive(Debug)]
struct Built {
    name: Arc<str>,
    /// On a current-thread runtime the thread inside `block_on` is the worker. Otherwise it only polls the root future.
    current_thread: bool,
}

impl RuntimeProbe {
    pub(crate) fn new(fallback_name: Arc<str>, registry: Arc<Registry>) -> Arc<Self> {
        let number = NEXT_RUNTIME.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self {
            number,
            registry,
            fallback_name,
            built: OnceLock::new(),
            uninstrumented: AtomicBool::new(false),
            own_tasks: Arc::default(),
            pool: PoolThreads::default(),
        })
    }

    /// The threads of its pool.
    pub(crate) fn pool(&self) -> &PoolThreads {
        &self.pool
    }

    /// The tasks that holdup itself spawns on it.
    pub(crate) fn own_tasks(&self) -> &Arc<OwnTasks> {
        &self.own_tasks
    }

    /// Unique in the process.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// Called once, when the runtime is built.
    pub(crate) fn set_built(&self, current_thread: bool, name: Option<&str>) {
        let name = name.map_or_else(|| Arc::clone(&self.fallback_name), Arc::from);
        let _already_set = self.built.set(Built { name, current_thread });
    }

    /// Whether polls of its tasks are not instrumented.
    pub(crate) fn is_uninstrumented(&self) -> bool {
        self.uninstrumented.load(Ordering::Relaxed)
    }

    /// Called before the runtime is built, where it gets no task hooks.
    pub(super) fn set_uninstrumented(&self) {
        self.uninstrumented.store(true, Ordering::Relaxed);
    }

    fn is_current_thread(&self) -> bool {
        self.built.get().is_some_and(|built| built.current_thread)
    }

    /// The worker index of the thread inside `block_on`.
    pub(super) fn root_index(&self) -> Option<usize> {
        self.is_current_thread().then_some(0)
    }

    /// The runtime's name. A worker that registers while the runtime is being built gets it from Tokio.
    pub(crate) fn name(&self) -> Arc<str> {
        if let Some(built) = self.built.get() {
            return Arc::clone(&built.name);
        }
        let name = tokio::runtime::Handle::try_current().ok().and_then(|handle| handle.name().map(Arc::from));
        name.unwrap_or_else(|| Arc::clone(&self.fallback_name))
    }
}

/// The number of workers of the current runtime that are threads of its pool. A multi-thread runtime starts them first, then
/// the threads of blocking functions.
pub(super) fn number_of_pool_workers() -> usize {
    match tokio::runtime::Handle::try_current() {
        Ok(handle) if handle.runtime_flavor() == RuntimeFlavor::MultiThread => handle.metrics().num_workers(),
        _ => 0,
    }
}

/// A worker and its slot.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) slot: &'static Slot,
    /// The slot's sequence number when this worker got the slot.
    pub(crate) first_sequence: u64,
    pub(crate) worker: Arc<Worker>,
    /// Set while a worker does not know its index: the number of its runtime's workers.
    starting_among: Option<usize>,
}

/// Gives a worker its index where it is the only one of its runtime that has not registered with an index.
fn name_only_starting(entries: &mut [Entry]) {
    let named: Vec<_> = (0..entries.len()).filter_map(|at| Some((at, only_missing_index(entries, at)?))).collect();
    for (at, index) in named {
        let worker = Worker { index: Some(index), ..Worker::clone(&entries[at].worker) };
        entries[at].worker = Arc::new(worker);
    }
}

fn only_missing_index(entries: &[Entry], at: usize) -> Option<usize> {
    let workers = entries[at].starting_among?;
    let runtime = entries[at].slot.runtime();
    let known: Vec<_> = entries.iter().filter(|entry| entry.slot.runtime() == runtime).collect();
    let mut missing = (0..workers).filter(|index| known.iter().all(|entry| entry.worker.index != Some(*index)));
    missing.next().filter(|_| missing.next().is_none())
}

/// The limit of concurrent windows for task statistics. Each costs a worker up to 1.5 MB.
pub(crate) const MAX_WINDOWS: usize = 4;

/// A time window that collects task statistics.
#[derive(Debug)]
struct Window {
    number: u64,
    stats: MergedStats,
}

#[derive(Debug, Default)]
struct Windows {
    open: Vec<Window>,
    /// Threads that `block_in_place` took the worker from, until they register again or end. Their slots keep recording:
    /// such a thread may be about to begin a poll as the worker that it no longer is.
    displaced: Vec<Entry>,
}

impl Windows {
    /// Every open window records the polls of this worker from now on.
    fn add_worker(&self, entry: &Entry) {
        for window in &self.open {
            entry.slot.open_window(window.number);
        }
    }

    /// Keeps the statistics of a worker that ends.
    fn remove_worker(&mut self, entry: &Entry) {
        for window in &mut self.open {
            if let Some(stats) = entry.slot.close_window(window.number) {
                window.stats.add(&entry.worker, stats);
            }
        }
    }

    /// The same for the workers that this thread was displaced from. It ends, or registers again.
    fn remove_displaced(&mut self, slot: &'static Slot) {
        let all = std::mem::take(&mut self.displaced).into_iter();
        let (removed, others): (Vec<_>, Vec<_>) = all.partition(|entry| entry.has_slot(slot));
        self.displaced = others;
        for entry in &removed {
            self.remove_worker(entry);
        }
    }
}

impl Entry {
    fn has_slot(&self, slot: &'static Slot) -> bool {
        std::ptr::eq(self.slot, slot)
    }
}

/// The workers of one watch.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    entries: Mutex<Vec<Entry>>,
    /// Always locked after `entries`.
    windows: Mutex<Windows>,
    next_window: AtomicU64,
    /// Incremented with each change of `entries`, so that the watchdog copies them only then.
    version: AtomicU64,
    /// Set while the watchdog sleeps because every worker is parked.
    watchdog_sleeps: AtomicBool,
    watchdog: OnceLock<OsThread>,
}

impl Registry {
    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn windows(&self) -> MutexGuard<'_, Windows> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts to record the polls of every worker, and returns the window's number. `None` when [`MAX_WINDOWS`] are open.
    pub(crate) fn open_window(&self) -> Option<u64> {
        let entries = self.entries();
        let mut windows = self.windows();
        if windows.open.len() >= MAX_WINDOWS {
            return None;
        }
        let number = self.next_window.fetch_add(1, Ordering::Relaxed);
        windows.open.push(Window { number, stats: MergedStats::new() });
        for entry in entries.iter() {
            entry.slot.open_window(number);
        }
        Some(number)
    }

    /// Ends a window, and returns its statistics. `None` when it has ended before.
    pub(crate) fn close_window(&self, number: u64) -> Option<TaskStats> {
        let entries = self.entries();
        let mut windows = self.windows();
        let at = windows.open.iter().position(|window| window.number == number)?;
        let Window { stats: mut merged, .. } = windows.open.swap_remove(at);
        let end = Instant::now();
        let close = |entry: &Entry| Some((Arc::clone(&entry.worker), entry.slot.close_window(number)?));
        let closed: Vec<_> = entries.iter().chain(&windows.displaced).filter_map(close).collect();
        drop(windows);
        drop(entries);
        // Merging takes time, and workers can register meanwhile.
        for (worker, stats) in closed {
            merged.add(&worker, stats);
        }
        Some(merged.finish(end))
    }

    /// The present workers.
    pub(crate) fn snapshot(&self) -> Vec<Entry> {
        let mut entries = self.entries().clone();
        name_only_starting(&mut entries);
        entries
    }

    /// A number that changes whenever the result of `snapshot` changes.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Adds the calling thread as a worker. If another thread has this index, `block_in_place` took the worker from it:
    /// the rest of that thread's poll stalls no worker.
    pub(super) fn add(&self, slot: &'static Slot, runtime: &RuntimeProbe, index: Option<usize>) {
        self.add_worker(slot, runtime, index, None);
    }

    /// Adds the calling thread as one of `workers` that does not know its index yet.
    pub(super) fn add_starting(&self, slot: &'static Slot, runtime: &RuntimeProbe, workers: usize) {
        self.add_worker(slot, runtime, None, Some(workers));
    }

    fn add_worker(
        &self,
        slot: &'static Slot,
        runtime: &RuntimeProbe,
        index: Option<usize>,
        starting_among: Option<usize>,
    ) {
        let worker = Arc::new(Worker {
            key: NEXT_WORKER.fetch_add(1, Ordering::Relaxed),
            runtime: runtime.name(),
            index,
            thread: current_thread(),
            holds: match (index, starting_among) {
                (None, None) => Holds::BlockOn,
                _ if runtime.is_current_thread() => Holds::CurrentThread,
                _ => Holds::Worker,
            },
            uninstrumented: starting_among.is_some() || runtime.is_uninstrumented() && index.is_some(),
        });
        {
            let mut entries = self.entries();
            let mut windows = self.windows();
            entries.retain(|other| {
                let is_replaced =
                    index.is_some() && other.worker.index == index && other.slot.runtime() == runtime.number;
                if is_replaced && !other.has_slot(slot) {
                    other.slot.detach();
                    other.slot.record_poll_so_far();
                    windows.displaced.push(other.clone());
                }
                !is_replaced
            });
            let entry = Entry { slot, first_sequence: slot.progress().sequence, worker, starting_among };
            windows.add_worker(&entry);
            entries.push(entry);
            self.version.fetch_add(1, Ordering::Release);
        }
        fence(Ordering::SeqCst);
        self.wake_watchdog();
    }

    pub(super) fn remove(&self, slot: &'static Slot) {
        let mut entries = self.entries();
        let mut windows = self.windows();
        entries.retain(|entry| {
            let is_removed = entry.has_slot(slot);
            if is_removed {
                windows.remove_worker(entry);
            }
            !is_removed
        });
        windows.remove_displaced(slot);
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Called by a worker that has become active, after the store that says so and a full fence.
    #[inline]
    pub(super) fn wake_watchdog(&self) {
        if self.watchdog_sleeps.load(Ordering::Relaxed) {
            self.unpark_watchdog();
        }
    }

    #[cold]
    fn unpark_watchdog(&self) {
        self.watchdog_sleeps.store(false, Ordering::Relaxed);
        if let Some(watchdog) = self.watchdog.get() {
            watchdog.unpark();
        }
    }

    /// Wakes the watchdog even if no worker is active, so that it sees the request to stop.
    pub(crate) fn wake_watchdog_to_stop(&self) {
        self.unpark_watchdog();
    }

    /// Sets the thread that sleeps in [`sleep_until_active`](Self::sleep_until_active).
    pub(crate) fn set_watchdog(&self, thread: OsThread) {
        let _already_set = self.watchdog.set(thread);
    }

    /// Whether any worker is awake.
    pub(crate) fn any_active(&self) -> bool {
        self.entries().iter().any(|entry| match entry.slot.progress().activity {
            Activity::Polling => true,
            // The thread inside `block_on` of a multi-thread runtime does not report its parks, only its polls.
            Activity::Between => entry.worker.polls_tasks(),
            Activity::Parked => false,
        })
    }

    /// Sleeps while every worker is parked. May return early.
    pub(crate) fn sleep_until_active(&self, at_most: Duration) {
        self.watchdog_sleeps.store(true, Ordering::Relaxed);
        // Pairs with the fence of a worker that becomes active and then reads `watchdog_sleeps`.
        fence(Ordering::SeqCst);
        if !self.any_active() {
            std::thread::park_timeout(at_most);
        }
        self.watchdog_sleeps.store(false, Ordering::Relaxed);
    }
}

fn current_thread() -> Thread {
    let thread = std::thread::current();
    Thread { tid: sys::current_tid(), name: thread.name().unwrap_or("unnamed").into(), stack: sys::current_stack() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaked_slot(runtime: &RuntimeProbe) -> &'static Slot {
        let slot: &'static Slot = Box::leak(Box::new(Slot::new()));
        slot.attach(runtime.number);
        slot
    }

    #[test]
    fn a_worker_that_moves_to_another_thread_belongs_to_that_thread() {
        let registry = Arc::new(Registry::default());
        let runtime = RuntimeProbe::new("test".into(), Arc::clone(&registry));
        let (first, second) = (leaked_slot(&runtime), leaked_slot(&runtime));
        registry.add(first, &runtime, Some(0));
        registry.add(second, &runtime, Some(0));
        let entries = registry.snapshot();
        assert_eq!(entries.len(), 1);
        assert!(std::ptr::eq(entries[0].slot, second));
        assert_eq!(first.runtime(), NO_RUNTIME, "the first thread must register again");
    }

    #[test]
    fn threads_in_block_on_do_not_displace_each_other() {
        let registry = Arc::new(Registry::default());
        let runtime = RuntimeProbe::new("test".into(), Arc::clone(&registry));
        registry.add(leaked_slot(&runtime), &runtime, None);
        registry.add(leaked_slot(&runtime), &runtime, None);
        assert_eq!(registry.snapshot().len(), 2);
        assert!(!registry.any_active(), "between polls they only wait for the root future");
    }

    #[test]
    fn a_starting_worker_has_the_only_index_that_is_missing() {
        let registry = Arc::new(Registry::default());
        let runtime = RuntimeProbe::new("test".into(), Arc::clone(&registry));
        for _ in 0..2 {
            registry.add_worker(leaked_slot(&runtime), &runtime, None, Some(3));
        }
        let indices = || registry.snapshot().iter().map(|entry| entry.worker.index).collect::<Vec<_>>();
        assert_eq!(indices(), [None, None]);
        registry.add(leaked_slot(&runtime), &runtime, Some(1));
        assert_eq!(indices(), [None, None, Some(1)], "either may be worker 0");
        registry.add(leaked_slot(&runtime), &runtime, Some(2));
        assert_eq!(indices()[2..], [Some(1), Some(2)]);
        assert!(registry.any_active(), "a starting worker may be in a poll");
    }

    #[test]
    fn an_open_window_records_polls_and_keeps_them_after_the_worker_ends() {
        let registry = Arc::new(Registry::default());
        let runtime = RuntimeProbe::new("test".into(), Arc::clone(&registry));
        let (first, second) = (leaked_slot(&runtime), leaked_slot(&runtime));
        registry.add(first, &runtime, Some(0));
        assert!(!first.is_recording());
        let window = registry.open_window().expect("there is room");
        let other = registry.open_window().expect("there is room");
        assert!(first.is_recording());
        registry.add(second, &runtime, Some(1));
        assert!(second.is_recording(), "a worker that registers later is recorded too");
        for slot in [first, second] {
            slot.begin(7, std::panic::Location::caller());
            slot.end();
        }
        registry.remove(first);
        assert!(!first.is_recording(), "its polls no longer belong to this watch");
        let stats = registry.close_window(window).expect("it was open");
        assert!(second.is_recording(), "the other window is open");
        let tasks: Vec<_> = stats.tasks.iter().map(|task| (task.polls, task.workers.clone())).collect();
        assert_eq!(tasks, [(2, vec![0, 1])]);
        assert!(registry.close_window(other).is_some() && registry.close_window(other).is_none());
        assert!(!second.is_recording());
    }

    #[test]
    fn the_number_of_windows_is_bounded() {
        let registry = Registry::default();
        let windows: Vec<_> = std::iter::from_fn(|| registry.open_window()).take(MAX_WINDOWS + 1).collect();
        assert_eq!(windows.len(), MAX_WINDOWS);
        assert!(registry.close_window(windows[0]).is_some() && registry.open_window().is_some());
    }
}
