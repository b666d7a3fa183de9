//! The process we live in.

/// What its threads do with their CPU time.
mod cpu;

/// Its workers.
mod workers;

pub(crate) use cpu::LocalCpu;
pub(crate) use workers::{LocalWorkers, PollStarts};
