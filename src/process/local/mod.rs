//! Our own process.

/// CPU samples of its threads.
mod cpu;

/// Its workers.
mod workers;

pub(crate) use cpu::LocalCpu;
pub(crate) use workers::{LocalWorkers, LocalWorkersConfig, PollStarts};
