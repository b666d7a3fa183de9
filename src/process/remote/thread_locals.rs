//! The thread pointer of every thread of another process: the base of its thread-local variables. It is found once per thread,
//! because it never changes.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::stops::Stops;
use super::thread_count::{MAX_REMOTE_THREADS, ThreadCount};
use super::thread_pointer;
use crate::sys::{self, KernelState, Mapping, Process, StopError, ThreadProbe};

/// How long a running thread may take to stop.
const POINTER_STOP_LIMIT: Duration = Duration::from_millis(20);

/// A thread that was running in this many attempts is stopped once, because the kernel reports the thread pointer of
/// stopped threads only.
const STOP_AFTER_ATTEMPTS: u32 = 2;

/// Attempts per thread at most.
const MAX_ATTEMPTS: u32 = 10;

/// The thread pointers of one process.
#[derive(Debug)]
pub(crate) struct ThreadLocals {
    process: Process,
    /// The first address of the program's image.
    program: u64,
    threads: HashMap<i32, PointerSearch>,
    count: ThreadCount,
    stops: Stops,
    /// Threads beyond the limit.
    left_out: usize,
}

/// The search for one thread's pointer.
#[derive(Debug, Default)]
struct PointerSearch {
    thread_pointer: Option<u64>,
    attempts: u32,
}

impl PointerSearch {
    /// Whether the search is over.
    fn is_settled(&self) -> bool {
        self.thread_pointer.is_some() || self.attempts >= MAX_ATTEMPTS
    }
}

impl ThreadLocals {
    /// A process with the first address of its program's image. No thread is known yet.
    pub(crate) fn of(process: Process, program: u64, stops: Stops) -> Self {
        Self { process, program, threads: HashMap::new(), count: ThreadCount::default(), stops, left_out: 0 }
    }

    /// Finds new threads. Returns false once the process has ended or runs another program.
    pub(crate) fn refresh(&mut self) -> bool {
        // Another program would be loaded at another address; an ended process has no memory.
        let replaced = self.process.read_word(self.program).is_none();
        let changed = self.count.changed(self.process, Instant::now());
        if !replaced && !changed && self.threads.values().all(PointerSearch::is_settled) {
            return true;
        }
        let ended = self.process.status().is_none_or(|status| sys::has_ended(status.state));
        let tids = self.process.thread_ids().ok().filter(|_| !ended && !replaced);
        let there = tids.is_some();
        let mut tids = tids.unwrap_or_default();
        self.left_out = tids.len().saturating_sub(MAX_REMOTE_THREADS);
        tids.truncate(MAX_REMOTE_THREADS);
        self.threads.retain(|tid, _| tids.contains(tid));
        self.learn(&tids);
        there
    }

    /// The number of threads whose variables were not found, or that were left out.
    pub(crate) fn unlocated(&self) -> usize {
        self.left_out + self.threads.values().filter(|known| known.thread_pointer.is_none()).count()
    }

    /// The known thread pointers, with thread ids, in order.
    pub(crate) fn pointers(&self) -> Vec<(i32, u64)> {
        let mut pointers: Vec<_> =
            self.threads.iter().filter_map(|(tid, known)| Some((*tid, known.thread_pointer?))).collect();
        pointers.sort_unstable();
        pointers
    }

    fn learn(&mut self, tids: &[i32]) {
        let mut mappings: Option<Vec<Mapping>> = None;
        for tid in tids {
            let known = self.threads.entry(*tid).or_default();
            if known.is_settled() {
                continue;
            }
            known.attempts += 1;
            let probe = ThreadProbe::open(self.process, *tid);
            if let Some((stack_pointer, _)) = probe.kernel_state().and_then(KernelState::asleep_at) {
                let mappings = mappings.get_or_insert_with(|| self.process.mappings().unwrap_or_default());
                known.thread_pointer = thread_pointer::find(self.process, mappings, *tid, stack_pointer);
            } else if known.attempts >= STOP_AFTER_ATTEMPTS {
                known.thread_pointer = by_stop(*tid, &probe, &self.stops);
            }
        }
    }
}

/// The thread pointer of a running thread, which is stopped to read it.
fn by_stop(tid: i32, probe: &ThreadProbe, stops: &Stops) -> Option<u64> {
    let still = |_| probe.kernel_state() == Some(KernelState::Running);
    let pointer = stops.hold(&[tid], POINTER_STOP_LIMIT, still, |stopped| {
        let thread = stopped.first().ok_or(StopError::Gone)?;
        thread.registers.map(|_| thread.thread_pointer)
    });
    pointer.ok()?.0.ok().filter(|pointer| *pointer != 0)
}
