//! Our own process.

/// CPU samples of its threads.
mod cpu;

/// Stacks from inside polls, taken before the first stall.
mod poll_examples;

/// Any of its threads.
mod waiting_thread;

/// Its workers.
mod workers;

pub(crate) use cpu::LocalCpu;
pub(crate) use poll_examples::{PollExamples, PolledBy};
pub(crate) use waiting_thread::{ThreadNow, look_at_thread};
pub(crate) use workers::{LocalWorkers, LocalWorkersConfig, PollStarts};
