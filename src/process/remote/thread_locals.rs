//! Where the variables of each thread of another process are, looked up once a thread: they stay where they are as long as
//! it lives.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::thread_count::ThreadCount;
use super::thread_pointer;
use crate::sys::{self, KernelState, Mapping, Process, StopError, ThreadProbe};

/// Threads that are looked at.
const MAX_THREADS: usize = 4096;

/// How long a running thread may take to stand still.
const STOP_LIMIT: Duration = Duration::from_millis(20);

/// A running thread is stopped, once, when it was not seen to sleep so often: only then does the kernel tell where its
/// variables are.
const TRIES: u32 = 2;

/// A thread that could not be stopped is asked again so often.
const MOST_TRIES: u32 = 10;

/// All threads of one process.
#[derive(Debug)]
pub(crate) struct ThreadLocals {
    process: Process,
    /// Where its program lies.
    program: u64,
    threads: HashMap<i32, Known>,
    count: ThreadCount,
    held: u32,
}

/// What is known of a thread.
#[derive(Debug, Default)]
struct Known {
    thread_pointer: Option<u64>,
    tries: u32,
}

impl Known {
    /// It will not be asked again.
    fn is_settled(&self) -> bool {
        self.thread_pointer.is_some() || self.tries >= MOST_TRIES
    }
}

impl ThreadLocals {
    /// Of a process whose program begins at that address.
    pub(crate) fn of(process: Process, program: u64) -> Self {
        Self { process, program, threads: HashMap::new(), count: ThreadCount::default(), held: 0 }
    }

    /// Looks for new threads. False once the process has ended, or runs another program.
    pub(crate) fn refresh(&mut self) -> bool {
        // A process that runs another program has that elsewhere, and one that has ended nowhere.
        let replaced = self.process.read_word(self.program).is_none();
        let changed = self.count.changed(self.process, Instant::now());
        if !replaced && !changed && self.threads.values().all(Known::is_settled) {
            return true;
        }
        let ended = self.process.status().is_none_or(|status| sys::has_ended(status.state));
        let tids = self.process.thread_ids().ok().filter(|_| !ended && !replaced);
        let there = tids.is_some();
        let mut tids = tids.unwrap_or_default();
        tids.truncate(MAX_THREADS);
        self.threads.retain(|tid, _| tids.contains(tid));
        self.learn(&tids);
        there
    }

    /// Threads that were never seen asleep, and were held for a moment once.
    pub(crate) fn held(&self) -> u32 {
        self.held
    }

    /// The control block of every thread where it is known, by the thread's number.
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
            known.tries += 1;
            let probe = ThreadProbe::open(self.process, *tid);
            if let Some((stack_pointer, _)) = probe.kernel_state().and_then(KernelState::asleep_at) {
                let mappings = mappings.get_or_insert_with(|| self.process.mappings().unwrap_or_default());
                known.thread_pointer = thread_pointer::find(self.process, mappings, *tid, stack_pointer);
            } else if known.tries >= TRIES {
                known.thread_pointer = by_stop(*tid, &probe);
                self.held += u32::from(known.thread_pointer.is_some());
            }
        }
    }
}

/// Where the variables of a running thread are, which it must be stopped for.
fn by_stop(tid: i32, probe: &ThreadProbe) -> Option<u64> {
    let still = |_| probe.kernel_state() == Some(KernelState::Running);
    let told = sys::while_stopped(&[tid], STOP_LIMIT, still, |stopped| {
        let thread = stopped.first().ok_or(StopError::Gone)?;
        thread.registers.map(|_| thread.thread_pointer)
    });
    told.ok()?.0.ok().filter(|pointer| *pointer != 0)
}
