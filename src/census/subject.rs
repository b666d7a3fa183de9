//! The process that is read, with its memory and its threads.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use crate::dwarf::{Memory, Program, Value, Values};

/// The step budget for the runtime of one thread, or for one list of tasks.
pub(super) const STEPS: u32 = 100_000;

/// The futures that threads poll inside `block_on`, by the id of the thread.
pub(crate) type BlockOnFutures = HashMap<i32, Value>;

/// A thread of the process, from which runtimes and tasks are found.
#[derive(Clone, Debug)]
pub(crate) struct ThreadStart {
    pub(crate) tid: i32,
    pub(crate) name: String,
    /// The thread was running or runnable.
    pub(crate) runs: bool,
    /// The start of the program's block of thread-local variables for this thread.
    pub(crate) thread_locals: Option<u64>,
    /// From the stack pointer to the end of the stack, if known.
    pub(crate) stack: Option<Range<u64>>,
}

/// The input of a census.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'a, 'd> {
    pub(crate) program: &'a Program<'d>,
    pub(crate) memory: &'a dyn Memory,
    /// The difference between an address in memory and the same address in the program's file.
    pub(crate) bias: u64,
    pub(crate) threads: &'a [ThreadStart],
    /// Possible addresses of task headers that are in no runtime's list.
    pub(crate) heap_headers: &'a [u64],
    /// The futures given to `block_on` that were found.
    pub(crate) block_on_futures: Option<&'a BlockOnFutures>,
    /// The monotonic clock.
    pub(crate) now: Duration,
}

impl std::fmt::Debug for Subject<'_, '_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subject").field("threads", &self.threads.len()).finish_non_exhaustive()
    }
}

impl<'a, 'd> Subject<'a, 'd> {
    /// A program without threads.
    pub(crate) fn of(program: &'a Program<'d>, memory: &'a dyn Memory, bias: u64) -> Self {
        Self { program, memory, bias, threads: &[], heap_headers: &[], block_on_futures: None, now: Duration::ZERO }
    }

    /// A reader of values, with the usual step budget.
    pub(super) fn values(&self) -> Values<'a, 'd> {
        let values = Values::new(self.program, self.memory, self.bias);
        values.set_budget(STEPS);
        values
    }
}
