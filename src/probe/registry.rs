//! The workers of one watch: who they are, and the bell that wakes their watchdog.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread as OsThread;
use std::time::{Duration, Instant};

use super::poll_stats_merge::Tally;
use super::slot::{NO_RUNTIME, Slot};
use crate::model::task_stats::TaskStats;
use crate::model::worker::{Activity, Thread, Worker};
use crate::sys;

static NEXT_RUNTIME: AtomicU32 = AtomicU32::new(NO_RUNTIME + 1);
static NEXT_WORKER: AtomicU64 = AtomicU64::new(1);

/// One runtime, as its hooks and wrapped futures know it.
#[derive(Debug)]
pub(crate) struct RuntimeProbe {
    /// Unique in the process.
    pub(super) number: u32,
    pub(super) registry: Arc<Registry>,
    /// For a runtime that the user gave no name.
    fallback_name: Arc<str>,
    built: OnceLock<Built>,
    /// Its workers tell when they park, but not when they poll.
    uninstrumented: AtomicBool,
}

/// What is known of a runtime once it is built. Its workers may register before.
#[derive(Debug)]
struct Built {
    name: Arc<str>,
    /// On a current-thread runtime the thread inside `block_on` is the worker; elsewhere it only polls the root.
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
        })
    }

    /// Unique in the process.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// Said once, when the runtime is built.
    pub(crate) fn built(&self, current_thread: bool, name: Option<&str>) {
        let name = name.map_or_else(|| Arc::clone(&self.fallback_name), Arc::from);
        let _said_before = self.built.set(Built { name, current_thread });
    }

    /// Whether its tasks are polled without a word.
    pub(crate) fn is_silent(&self) -> bool {
        self.uninstrumented.load(Ordering::Relaxed)
    }

    /// Said before the runtime is built: it has thread hooks, but no task hooks.
    pub(super) fn polls_silently(&self) {
        self.uninstrumented.store(true, Ordering::Relaxed);
    }

    /// The worker index of the thread inside `block_on`.
    pub(super) fn root_index(&self) -> Option<usize> {
        self.built.get().is_some_and(|built| built.current_thread).then_some(0)
    }

    /// A worker that registers while the runtime is being built asks Tokio, which knows already.
    pub(crate) fn name(&self) -> Arc<str> {
        if let Some(built) = self.built.get() {
            return Arc::clone(&built.name);
        }
        let told = tokio::runtime::Handle::try_current().ok().and_then(|handle| handle.name().map(Arc::from));
        told.unwrap_or_else(|| Arc::clone(&self.fallback_name))
    }
}

/// A worker and its slot.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) slot: &'static Slot,
    /// The slot's sequence number when this worker took it over.
    pub(crate) first_sequence: u64,
    pub(crate) worker: Arc<Worker>,
}

/// Windows in which polls are counted at a time. Each costs a worker up to 1.5 MB.
pub(crate) const MAX_WINDOWS: usize = 4;

/// A window in which polls are counted.
#[derive(Debug)]
struct Window {
    number: u64,
    tally: Tally,
}

#[derive(Debug, Default)]
struct Counting {
    windows: Vec<Window>,
    /// Threads that lost their worker to another one, until they register anew or end. What they were counting stays
    /// with them: they may be about to begin a poll that they still take for their worker's.
    handed_on: Vec<Entry>,
}

impl Counting {
    /// A worker comes: every window counts its polls from now on.
    fn count(&self, entry: &Entry) {
        for window in &self.windows {
            entry.slot.start_counting(window.number);
        }
    }

    /// A worker goes: what was counted stays.
    fn keep(&mut self, entry: &Entry) {
        for window in &mut self.windows {
            if let Some(table) = entry.slot.stop_counting(window.number) {
                window.tally.add(&entry.worker, table);
            }
        }
    }

    /// A thread goes, or registers anew.
    fn keep_handed_on(&mut self, slot: &'static Slot) {
        let all = std::mem::take(&mut self.handed_on).into_iter();
        let (gone, stay): (Vec<_>, Vec<_>) = all.partition(|entry| entry.is_of(slot));
        self.handed_on = stay;
        for entry in &gone {
            self.keep(entry);
        }
    }
}

impl Entry {
    fn is_of(&self, slot: &'static Slot) -> bool {
        std::ptr::eq(self.slot, slot)
    }
}

/// The workers of one watch.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    entries: Mutex<Vec<Entry>>,
    /// Locked after `entries` where both are.
    counting: Mutex<Counting>,
    next_window: AtomicU64,
    /// Grows with each change of `entries`, so that the watchdog copies them only then.
    version: AtomicU64,
    /// Set while the watchdog sleeps because every worker is parked.
    watchdog_sleeps: AtomicBool,
    watchdog: OnceLock<OsThread>,
}

impl Registry {
    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counting(&self) -> MutexGuard<'_, Counting> {
        self.counting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts to count the polls of every worker, and returns the window's number. `None` when there are
    /// [`MAX_WINDOWS`] already.
    pub(crate) fn open_window(&self) -> Option<u64> {
        let entries = self.entries();
        let mut counting = self.counting();
        if counting.windows.len() >= MAX_WINDOWS {
            return None;
        }
        let number = self.next_window.fetch_add(1, Ordering::Relaxed);
        counting.windows.push(Window { number, tally: Tally::new() });
        for entry in entries.iter() {
            entry.slot.start_counting(number);
        }
        Some(number)
    }

    /// Ends a window. `None` when it was ended before.
    pub(crate) fn close_window(&self, number: u64) -> Option<TaskStats> {
        let entries = self.entries();
        let mut counting = self.counting();
        let at = counting.windows.iter().position(|window| window.number == number)?;
        let Window { mut tally, .. } = counting.windows.swap_remove(at);
        let end = Instant::now();
        let table = |entry: &Entry| Some((Arc::clone(&entry.worker), entry.slot.stop_counting(number)?));
        let tables: Vec<_> = entries.iter().chain(&counting.handed_on).filter_map(table).collect();
        drop(counting);
        drop(entries);
        // Workers may come and go while the tables are put together.
        for (worker, table) in tables {
            tally.add(&worker, table);
        }
        Some(tally.finish(end))
    }

    /// The workers as they are now.
    pub(crate) fn snapshot(&self) -> Vec<Entry> {
        self.entries().clone()
    }

    /// Changes whenever `snapshot` would.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Adds the calling thread as a worker. A thread that held this index before has lost it: `block_in_place`
    /// handed the worker on, and what that thread still does holds nobody up.
    pub(super) fn add(&self, slot: &'static Slot, runtime: &RuntimeProbe, index: Option<usize>) {
        let worker = Arc::new(Worker {
            key: NEXT_WORKER.fetch_add(1, Ordering::Relaxed),
            runtime: runtime.name(),
            index,
            thread: current_thread(),
            uninstrumented: runtime.is_silent() && index.is_some(),
        });
        {
            let mut entries = self.entries();
            let mut counting = self.counting();
            entries.retain(|other| {
                let taken_over =
                    index.is_some() && other.worker.index == index && other.slot.runtime() == runtime.number;
                if taken_over && !other.is_of(slot) {
                    other.slot.detach();
                    other.slot.count_so_far();
                    counting.handed_on.push(other.clone());
                }
                !taken_over
            });
            let entry = Entry { slot, first_sequence: slot.progress().sequence, worker };
            counting.count(&entry);
            entries.push(entry);
            self.version.fetch_add(1, Ordering::Release);
        }
        fence(Ordering::SeqCst);
        self.wake_watchdog();
    }

    pub(super) fn remove(&self, slot: &'static Slot) {
        let mut entries = self.entries();
        let mut counting = self.counting();
        entries.retain(|entry| {
            let goes = entry.is_of(slot);
            if goes {
                counting.keep(entry);
            }
            !goes
        });
        counting.keep_handed_on(slot);
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Called by a worker after a full fence that follows the store which made it active.
    #[inline]
    pub(super) fn wake_watchdog(&self) {
        if self.watchdog_sleeps.load(Ordering::Relaxed) {
            self.ring();
        }
    }

    #[cold]
    fn ring(&self) {
        self.watchdog_sleeps.store(false, Ordering::Relaxed);
        if let Some(watchdog) = self.watchdog.get() {
            watchdog.unpark();
        }
    }

    /// Wakes the watchdog whatever the workers do, so that it sees that it shall stop.
    pub(crate) fn wake_watchdog_to_stop(&self) {
        self.ring();
    }

    /// Names the thread that sleeps in [`sleep_until_active`](Self::sleep_until_active).
    pub(crate) fn set_watchdog(&self, thread: OsThread) {
        let _set_before = self.watchdog.set(thread);
    }

    /// Whether any worker is awake.
    pub(crate) fn any_active(&self) -> bool {
        self.entries().iter().any(|entry| match entry.slot.progress().activity {
            Activity::Polling => true,
            // The thread inside `block_on` of a multi-thread runtime waits without telling; its polls tell.
            Activity::Between => entry.worker.index.is_some(),
            Activity::Parked => false,
        })
    }

    /// Sleeps while every worker is parked. May return early.
    pub(crate) fn sleep_until_active(&self, at_most: Duration) {
        self.watchdog_sleeps.store(true, Ordering::Relaxed);
        // Pairs with the fence between a worker's becoming active and its look at `watchdog_sleeps`.
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
    fn a_worker_that_was_handed_on_belongs_to_the_new_thread() {
        let registry = Arc::new(Registry::default());
        let runtime = RuntimeProbe::new("test".into(), Arc::clone(&registry));
        let (first, second) = (leaked_slot(&runtime), leaked_slot(&runtime));
        registry.add(first, &runtime, Some(0));
        registry.add(second, &runtime, Some(0));
        let entries = registry.snapshot();
        assert_eq!(entries.len(), 1);
        assert!(std::ptr::eq(entries[0].slot, second));
        assert_eq!(first.runtime(), NO_RUNTIME, "the first thread has to register anew");
    }

    #[test]
    fn threads_inside_block_on_do_not_displace_each_other() {
        let registry = Arc::new(Registry::default());
        let runtime = RuntimeProbe::new("test".into(), Arc::clone(&registry));
        registry.add(leaked_slot(&runtime), &runtime, None);
        registry.add(leaked_slot(&runtime), &runtime, None);
        assert_eq!(registry.snapshot().len(), 2);
        assert!(!registry.any_active(), "between polls they only wait");
    }

    #[test]
    fn polls_are_counted_while_a_window_is_open_and_outlive_their_worker() {
        let registry = Arc::new(Registry::default());
        let runtime = RuntimeProbe::new("test".into(), Arc::clone(&registry));
        let (first, second) = (leaked_slot(&runtime), leaked_slot(&runtime));
        registry.add(first, &runtime, Some(0));
        assert!(!first.noted());
        let window = registry.open_window().expect("there is room");
        let other = registry.open_window().expect("there is room");
        assert!(first.noted());
        registry.add(second, &runtime, Some(1));
        assert!(second.noted(), "a worker that comes later counts too");
        for slot in [first, second] {
            slot.begin(7, std::panic::Location::caller());
            slot.end();
        }
        registry.remove(first);
        assert!(!first.noted(), "its polls are no longer this watch's");
        let stats = registry.close_window(window).expect("it was open");
        assert!(second.noted(), "the other window is open");
        let tasks: Vec<_> = stats.tasks.iter().map(|task| (task.polls, task.workers.clone())).collect();
        assert_eq!(tasks, [(2, vec![0, 1])]);
        assert!(registry.close_window(other).is_some() && registry.close_window(other).is_none());
        assert!(!second.noted());
    }

    #[test]
    fn windows_are_bounded() {
        let registry = Registry::default();
        let windows: Vec<_> = std::iter::from_fn(|| registry.open_window()).take(MAX_WINDOWS + 1).collect();
        assert_eq!(windows.len(), MAX_WINDOWS);
        assert!(registry.close_window(windows[0]).is_some() && registry.open_window().is_some());
    }
}
