//! A program's debug information, and the process that it describes.

use super::attached::AttachError;
use crate::census::{Start, Subject};
use crate::images::Image;
use crate::layout::{Memory, Program};
use crate::model::census::Census;
use crate::sys::{self, Process};
use crate::target::Snapshot;

/// Reads a process that runs on meanwhile. What changes while it is read may be unknown, or torn.
#[derive(Debug)]
pub(super) struct Reader<'a, 'd> {
    pub(super) process: Process,
    program: &'a Program<'d>,
    bias: u64,
    /// From where a thread's variables begin to its control block.
    before: Option<u64>,
}

impl<'a, 'd> Reader<'a, 'd> {
    /// # Errors
    /// When the program has no Tokio, or no descriptions of types.
    pub(super) fn of(
        process: Process,
        image: &Image,
        program: &'a Program<'d>,
        missing: &[String],
    ) -> Result<Self, AttachError> {
        if program.contexts().is_empty() {
            return Err(match image.has_name("tokio") {
                true => AttachError::NoTypes { program: image.name.to_string(), missing: missing.to_vec() },
                false => AttachError::NoTokio { pid: process.id(), program: image.name.to_string() },
            });
        }
        Ok(Self { process, program, bias: image.bias, before: image.thread_locals() })
    }

    /// Threads to begin at, given by their number and the address of their control block.
    pub(super) fn starts(&self, threads: &[(i32, u64)]) -> Vec<Start> {
        let start = |(tid, pointer): &(i32, u64)| Start {
            tid: *tid,
            name: String::new(),
            runs: false,
            thread_locals: self.before.and_then(|before| pointer.checked_sub(before)),
        };
        threads.iter().map(start).collect()
    }

    pub(super) fn subject<'s>(&'s self, threads: &'s [Start], memory: &'s dyn Memory) -> Subject<'s, 'd> {
        Subject { program: self.program, memory, bias: self.bias, threads, unlisted: &[], now: sys::monotonic_time() }
    }

    /// Every task, read while the process runs on.
    pub(super) fn census(&self, threads: &[(i32, u64)]) -> Census {
        let memory = Snapshot::of(self.process);
        self.subject(&self.starts(threads), &memory).take()
    }
}
