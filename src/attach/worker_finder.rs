//! Finds the workers of another process by its debug information.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::live_reader::LiveReader;
use crate::dwarf::Memory;
use crate::model::task::TaskId;
use crate::model::worker::WorkerPlace;
use crate::process::{Snapshot, WorkerFinder, cpu_of_this_thread};

/// The watchdog waits while a task is named. A name may take this much CPU time.
const NAME_LIMIT: Duration = Duration::from_millis(50);

/// Finds workers by the program's debug information.
pub(crate) struct TypedWorkerFinder<'a, 'd> {
    pub(crate) reader: LiveReader<'a, 'd>,
    last: Mutex<WorkersFound>,
    unlocated: AtomicUsize,
}

/// What the last search found.
#[derive(Clone, Debug, Default)]
pub(crate) struct WorkersFound {
    /// The number of workers.
    pub(crate) workers: usize,
    /// Why the state of some threads is unknown.
    pub(crate) unknown: Vec<String>,
    /// The number of these threads. Each may be a worker.
    pub(crate) unseen: usize,
}

impl<'a, 'd> TypedWorkerFinder<'a, 'd> {
    pub(crate) fn new(reader: LiveReader<'a, 'd>) -> Self {
        Self { reader, last: Mutex::default(), unlocated: AtomicUsize::new(0) }
    }

    /// What the last search found.
    pub(crate) fn last(&self) -> WorkersFound {
        let mut found = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let unlocated = self.unlocated.load(Ordering::Relaxed);
        if unlocated > 0 {
            found.unknown.push("the address of its thread-local variables is unknown".to_owned());
            found.unseen += unlocated;
        }
        found
    }
}

impl WorkerFinder for TypedWorkerFinder<'_, '_> {
    fn workers(&self, threads: &[(i32, u64)]) -> Vec<WorkerPlace> {
        // A new snapshot for each search: it reads each page once.
        let memory = Snapshot::of(self.reader.process);
        let (workers, mut unknown) = self.reader.subject(&self.reader.starts(threads), &memory).workers();
        let unseen = unknown.len();
        unknown.sort();
        unknown.dedup();
        let count = workers.iter().filter(|worker| worker.index.is_some()).count();
        let found = WorkersFound { workers: count, unknown, unseen };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = found;
        workers
    }

    fn note_unlocated(&self, threads: usize) {
        self.unlocated.store(threads, Ordering::Relaxed);
    }

    fn markers(&self, threads: &[(i32, u64)]) -> Vec<u64> {
        let memory = Snapshot::of(self.reader.process);
        self.reader.subject(&self.reader.starts(threads), &memory).scheduler_pointers()
    }

    fn has_had_tasks(&self, threads: &[(i32, u64)], runtime: u64) -> Option<bool> {
        let memory = Snapshot::of(self.reader.process);
        self.reader.subject(&self.reader.starts(threads), &memory).has_had_tasks(runtime)
    }

    fn future_of(&self, threads: &[(i32, u64)], task: TaskId) -> Option<String> {
        let until = cpu_of_this_thread().map(|used| used + NAME_LIMIT);
        let memory = LimitedMemory { memory: Snapshot::of(self.reader.process), until };
        self.reader.future_of(threads, &memory, task)
    }
}

/// Memory that cannot be read any more once the reading thread has used its CPU time. Wall-clock time would leave names
/// out on a busy machine.
struct LimitedMemory {
    memory: Snapshot,
    until: Option<Duration>,
}

impl Memory for LimitedMemory {
    fn read(&self, address: u64, into: &mut [u8]) -> bool {
        cpu_of_this_thread() < self.until && self.memory.read(address, into)
    }
}
