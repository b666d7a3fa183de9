//! The process we live in.

/// What its threads do with their CPU time.
mod cpu;

/// Its workers.
mod workers;

pub(crate) use cpu::OwnCpu;
pub(crate) use workers::{OwnProcess, Since};
