//! The observed process: handles that its readers share.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use super::stacks::RemoteStacks;
use super::stops::Stops;
use crate::sys::Process;

/// Another process under observation.
pub(crate) struct RemoteProcess {
    pub(crate) process: Process,
    /// The first address of the program's image.
    pub(crate) program: u64,
    pub(crate) stacks: RemoteStacks,
    pub(crate) stops: Stops,
    /// Counts failed captures.
    pub(crate) stacks_missed: Arc<AtomicU64>,
    /// Set when the process has ended or runs another program.
    pub(crate) gone: Arc<AtomicBool>,
}

impl RemoteProcess {
    /// Opens a process, with counters of its own.
    ///
    /// # Errors
    /// Those of [`RemoteStacks::open`].
    pub(crate) fn open(process: Process, program: u64, stops: Stops) -> io::Result<Self> {
        let stacks = RemoteStacks::open(process, stops.clone())?;
        Ok(Self { process, program, stacks, stops, stacks_missed: Arc::default(), gone: Arc::default() })
    }
}
