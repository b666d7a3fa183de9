//! A census of another process: who is asked for what, in which order.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::debug_info::{Known, described};
use super::heap_tasks::UnlistedTables;
use super::process::{AttachError, Attached};
use crate::census::{Roots, Start, Subject, Whose};
use crate::diagnose;
use crate::dwarf::Program;
use crate::images::Image;
use crate::model::census::{Census, WaitsFor};
use crate::model::process::DebugTier;
use crate::model::stack::{CaptureMethod, RawStack, Stack, StackUnavailable};
use crate::process::{Descriptors, FrozenProcess, FrozenThread, RemoteStacks, Snapshot};
use crate::unwind::Unwinder;

/// Tasks of each list that are looked for while threads are held: those that came since the rehearsal stand in front.
const NEWEST: usize = 32;

impl Attached {
    /// Shows every task of the process at one moment.
    ///
    /// # Errors
    /// When its memory may not be read, or it runs no Tokio.
    pub(crate) fn census<T>(mut self, show: impl FnOnce(Census) -> T) -> Result<T, AttachError> {
        let process = self.process;
        let pid = process.id();
        let started = Instant::now();
        let Known { images, sections, packed, mut missing, origin } = self.read_program()?;
        let image = images.program().ok_or(AttachError::NoProcess { pid })?;
        let program = described(packed, &sections);
        let index_time = started.elapsed();
        let typed = !program.contexts().is_empty();
        let (mut census, moment) = match typed {
            true => self.census_by_types(image, &program, &mut missing)?,
            false => self.census_by_shape(image, &program, &mut missing)?,
        };
        census.pid = pid;
        census.program = image.name.to_string();
        self.symbolizer.add_source_roots(program.source_roots());
        self.name_stacks(&moment, &mut census);
        let mut descriptors = Descriptors::of(process);
        let paths = census.tasks.iter_mut().filter_map(|task| task.path.as_mut());
        for path in paths.chain(census.threads.iter_mut().filter_map(|thread| thread.root.as_mut())) {
            path.each(&mut |node| {
                if let Some(WaitsFor::Io { fd: Some(fd), what }) = &mut node.waits_for {
                    *what = descriptors.describe(*fd);
                }
            });
        }
        census.cycles = diagnose::cycles(&census);
        census.futurelocks = diagnose::futurelocks(&census);
        let quality = &mut census.quality;
        quality.index_time = index_time;
        quality.index_origin.clone_from(&origin.told);
        quality.pause = quality.pause.max(moment.pause);
        quality.held_threads = moment.held;
        quality.copied = moment.copied;
        quality.late_reads = moment.memory.late_reads();
        quality.woken_threads = moment.woken;
        for (tid, why) in &moment.refused {
            missing.push(format!("thread {tid} ran and could not be held ({why:?}); what it polled then may be torn"));
        }
        quality.missing.splice(0..0, missing);
        let shown = show(census);
        // Whoever asked need not wait for it.
        origin.keep(&program);
        Ok(shown)
    }

    /// Tasks with all that they await.
    fn census_by_types(
        &self,
        image: &Image,
        program: &Program<'_>,
        missing: &mut Vec<String>,
    ) -> Result<(Census, FrozenProcess), AttachError> {
        let before = image.thread_locals();
        let bias = image.bias;
        let unlisted = UnlistedTables::of(self.process, image, program, Whose::All).search(self.process);
        let (process, roots) = (self.process, Mutex::new(Roots::new()));
        let lock = || roots.lock().unwrap_or_else(PoisonError::into_inner);
        let rehearse = |memory: &Snapshot, threads: &[FrozenThread]| {
            let (starts, headers) = (starts(threads, before), unlisted.headers(pointers(threads)));
            let subject = Subject { threads: &starts, unlisted: &headers, ..Subject::of(program, memory, bias) };
            subject.touch(usize::MAX);
            let mut roots = lock();
            *roots = Subject { memory: &Snapshot::of(process), ..subject }.find_roots();
            // For the memory that it reads.
            let _rehearsed = Subject { roots: Some(&roots), ..subject }.take();
        };
        let touch = |memory: &Snapshot, threads: &[FrozenThread]| {
            Subject { threads: &starts(threads, before), ..Subject::of(program, memory, bias) }.touch(NEWEST);
        };
        let moment = FrozenProcess::freeze(self.process, &rehearse, &touch).map_err(|error| self.failed(error))?;
        let starts = starts(&moment.threads, before);
        let (memory, headers) = (&moment.memory, unlisted.headers(pointers(&moment.threads)));
        let roots = lock();
        let subject = Subject {
            threads: &starts,
            unlisted: &headers,
            roots: Some(&roots),
            now: moment.now,
            ..Subject::of(program, memory, bias)
        };
        missing.extend(unlisted.missing());
        Ok((Census { tier: DebugTier::Full, ..subject.take() }, moment))
    }

    pub(crate) fn failed(&self, error: io::Error) -> AttachError {
        let pid = self.process.id();
        match self.process.file("maps").exists() {
            true => AttachError::Unreadable { pid, error },
            false => AttachError::NoProcess { pid },
        }
    }

    /// Stacks of what was held as they were then; of what sleeps, as they are now.
    fn name_stacks(&mut self, moment: &FrozenProcess, census: &mut Census) {
        let (Ok(mut unwinder), Ok(mut other)) = (Unwinder::of(self.process), RemoteStacks::open(self.process)) else {
            return;
        };
        for (thread, at) in census.threads.iter_mut().zip(&moment.threads) {
            let stack = match &at.stack {
                Some(copy) => {
                    let walk = unwinder.walk_now(copy);
                    Ok(RawStack { addresses: walk.addresses, method: CaptureMethod::Stop, complete: walk.complete })
                }
                // It could not be held then, and is not disturbed now.
                None if at.runs => Err(StackUnavailable::TooLate),
                None => other.capture_stack(at.tid),
            };
            thread.stack = stack.map(|stack| Stack {
                frames: self.symbolizer.frames(&stack.addresses),
                method: stack.method,
                complete: stack.complete,
                taken_after: Duration::ZERO,
            });
        }
        // What slept then may run now.
        census.quality.pause = other.longest_stop();
    }
}

/// The control blocks of threads.
pub(crate) fn pointers(threads: &[FrozenThread]) -> impl Iterator<Item = u64> {
    threads.iter().filter_map(|thread| thread.thread_pointer)
}

/// Where each thread's variables of the program begin.
pub(crate) fn starts(threads: &[FrozenThread], before: Option<u64>) -> Vec<Start> {
    let start = |thread: &FrozenThread| Start {
        tid: thread.tid,
        name: thread.name.clone(),
        runs: thread.runs,
        thread_locals: thread.thread_pointer.and_then(|pointer| pointer.checked_sub(before?)),
        stack: thread.bounds.clone(),
    };
    threads.iter().map(start).collect()
}

/// Its map may be read, but not its memory: ptrace(2), "Ptrace access mode checking", and the Yama documentation of Linux.
pub(crate) fn remedy() -> String {
    let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    match scope.trim() {
        "" | "0" => "its memory may not be read; run holdup as root, or with CAP_SYS_PTRACE".to_owned(),
        "3" => {
            "the setting kernel.yama.ptrace_scope is 3, which forbids it to everybody until the machine is started anew"
                .to_owned()
        }
        scope => format!(
            "the setting kernel.yama.ptrace_scope is {scope}; run holdup as root, or allow it with \
             `sudo sysctl kernel.yama.ptrace_scope=0`"
        ),
    }
}
