//! Reads tasks of a process while it runs on.

use super::error::AttachError;
use super::heap_tasks::HeapTaskSearch;
use crate::census::{Subject, ThreadStart};
use crate::dwarf::{Memory, Program};
use crate::images::Image;
use crate::model::census::Census;
use crate::model::process::{DebugTier, ProgramFacts};
use crate::model::task::TaskId;
use crate::process::Snapshot;
use crate::sys::{self, Process};

/// Reads a process that runs on. A value that changes during the read may be unknown, or torn.
#[derive(Debug)]
pub(crate) struct LiveReader<'a, 'd> {
    pub(crate) process: Process,
    image: &'a Image,
    program: &'a Program<'d>,
    /// The distance from the start of a thread's variables to its control block, in bytes.
    before: Option<u64>,
    /// Tasks of `LocalSet`s that were found in memory.
    heap_tasks: HeapTaskSearch,
}

impl<'a, 'd> LiveReader<'a, 'd> {
    /// # Errors
    /// When the program has no Tokio, or no descriptions of types.
    pub(crate) fn of(
        process: Process,
        image: &'a Image,
        program: &'a Program<'d>,
        missing: &[String],
    ) -> Result<Self, AttachError> {
        if program.contexts().is_empty() {
            let (facts, program) = (ProgramFacts::of(image), image.name.to_string());
            return Err(match facts.tokio {
                true => AttachError::NoTypes {
                    program,
                    stripped: facts.debug == DebugTier::None,
                    missing: missing.to_vec(),
                },
                false => AttachError::NoTokio { pid: process.id(), program },
            });
        }
        Ok(Self { process, image, program, before: image.thread_locals(), heap_tasks: HeapTaskSearch::default() })
    }

    /// Threads to start at, given by thread id and the address of the control block.
    pub(crate) fn starts(&self, threads: &[(i32, u64)]) -> Vec<ThreadStart> {
        let start = |(tid, pointer): &(i32, u64)| ThreadStart {
            tid: *tid,
            name: String::new(),
            runs: false,
            thread_locals: self.before.and_then(|before| pointer.checked_sub(before)),
            stack: None,
        };
        threads.iter().map(start).collect()
    }

    pub(crate) fn subject<'s>(&'s self, threads: &'s [ThreadStart], memory: &'s dyn Memory) -> Subject<'s, 'd> {
        Subject { threads, now: sys::monotonic_time(), ..Subject::of(self.program, memory, self.image.bias) }
    }

    /// Searches memory for tasks that no runtime lists, at most once a second. Later readings include them.
    pub(crate) fn search_heap(&self) {
        self.heap_tasks.search(self.process, self.image, self.program);
    }

    /// Every task except functions on the blocking pool, read while the process runs on.
    pub(crate) fn census(&self, threads: &[(i32, u64)]) -> Census {
        self.search_heap();
        let (unlisted, memory) = (self.heap_tasks.headers(threads), Snapshot::of(self.process));
        Subject { heap_headers: &unlisted, ..self.subject(&self.starts(threads), &memory) }.census()
    }

    /// The name of a task's future, as long as `memory` can be read.
    pub(crate) fn future_of(&self, threads: &[(i32, u64)], memory: &dyn Memory, task: TaskId) -> Option<String> {
        let unlisted = self.heap_tasks.headers(threads);
        Subject { heap_headers: &unlisted, ..self.subject(&self.starts(threads), memory) }.future_of(task)
    }
}
