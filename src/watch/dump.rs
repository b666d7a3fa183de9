//! A census of another process: who is asked for what, in which order.

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use crate::census::{Start, Subject};
use crate::images::{Image, Images};
use crate::layout::{Program, Sections};
use crate::model::census::Census;
use crate::model::stack::{Method, NoStack, Stack};
use crate::symbols::{Origins, Symbolizer};
use crate::sys::{self, Process};
use crate::target::{Moment, OtherProcess, Snapshot, ThreadAt};
use crate::unwind::Unwinder;

/// Why there is no census.
#[derive(Debug)]
pub(crate) enum DumpError {
    /// Other systems than Linux on x86-64.
    Unsupported,
    NoProcess(u32),
    /// With what to do about it.
    Refused(u32, String),
    /// A kernel thread, or a process that has ended.
    NoProgram(u32),
    NoTokio(u32, String),
    Unreadable(u32, io::Error),
}

impl fmt::Display for DumpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsupported => f.write_str("other processes can be looked at on Linux on x86_64 only"),
            Self::NoProcess(pid) => write!(f, "there is no process {pid}"),
            Self::Refused(pid, remedy) => write!(f, "process {pid} may not be looked at: {remedy}"),
            Self::NoProgram(pid) => {
                write!(f, "process {pid} runs no program: it is a thread of the kernel, or has just ended")
            }
            Self::NoTokio(pid, program) => write!(
                f,
                "no Tokio runtime is known in process {pid} ({program}): it does not use Tokio, or its file is stripped of \
                 all names"
            ),
            Self::Unreadable(pid, error) => write!(f, "process {pid} cannot be read: {error}"),
        }
    }
}

impl std::error::Error for DumpError {}

/// Takes a census of a process.
///
/// # Errors
/// When the process does not exist, may not be looked at, or runs no Tokio.
pub(crate) fn dump(pid: u32) -> Result<Census, DumpError> {
    if !sys::SUPPORTED {
        return Err(DumpError::Unsupported);
    }
    let process = Process::with_id(pid);
    let error = |error| explain(process, error);
    let mut images = Images::of(process);
    images.load_new().map_err(error)?;
    let image = images.program().ok_or_else(|| no_program(process))?;
    if process.read_word(image.range.start).is_none() {
        return Err(error(io::ErrorKind::PermissionDenied.into()));
    }
    let mut missing = Vec::new();
    let started = Instant::now();
    let sections = image.path.as_deref().map_or_else(|| Ok(Sections::default()), Sections::read);
    let sections = sections.unwrap_or_else(|error| {
        missing.push(format!("the debug information of {} cannot be read: {error}", image.name));
        Sections::default()
    });
    let program = Program::of(&sections);
    let index_time = started.elapsed();
    if program.contexts().is_empty() {
        if !image.has_name("tokio") {
            return Err(DumpError::NoTokio(pid, image.name.to_string()));
        }
        missing.push(format!(
            "tasks: {} was built without descriptions of types. Build it with `debug = 2` in its profile \
             (`[profile.release]`), or with CARGO_PROFILE_RELEASE_DEBUG=2",
            image.name
        ));
    }
    let before = image.thread_locals();
    let take = |memory: &Snapshot, threads: &[ThreadAt], whole: bool| {
        let starts = starts(threads, before);
        let subject =
            Subject { program: &program, memory, bias: image.bias, threads: &starts, now: sys::monotonic_time() };
        subject.touch();
        if whole {
            // For the memory that it reads.
            let _rehearsed = subject.take();
        }
    };
    let rehearse = |memory: &Snapshot, threads: &[ThreadAt]| take(memory, threads, true);
    let touch = |memory: &Snapshot, threads: &[ThreadAt]| take(memory, threads, false);
    let moment = Moment::take(process, &rehearse, &touch).map_err(error)?;

    let starts = starts(&moment.threads, before);
    let memory = &moment.memory;
    let subject = Subject { program: &program, memory, bias: image.bias, threads: &starts, now: moment.now };
    let mut census = subject.take();
    census.pid = pid;
    census.program = image.name.to_string();
    name_stacks(process, image, program.source_roots(), &moment, &mut census);
    let quality = &mut census.quality;
    quality.index_time = index_time;
    quality.pause = quality.pause.max(moment.pause);
    quality.held_threads = moment.held;
    quality.copied = moment.copied;
    quality.late_reads = moment.memory.late_reads();
    quality.woken_threads = moment.woken;
    for (tid, why) in &moment.refused {
        missing.push(format!("thread {tid} ran and could not be held ({why:?}); what it polled then may be torn"));
    }
    if program.contexts().is_empty() {
        quality.missing.clear();
    }
    quality.missing.splice(0..0, missing);
    Ok(census)
}

fn starts(threads: &[ThreadAt], before: Option<u64>) -> Vec<Start> {
    let start = |thread: &ThreadAt| Start {
        tid: thread.tid,
        name: thread.name.clone(),
        runs: thread.runs,
        thread_locals: thread.thread_pointer.and_then(|pointer| pointer.checked_sub(before?)),
    };
    threads.iter().map(start).collect()
}

/// Stacks of what was held as they were then; of what sleeps, as they are now.
fn name_stacks(process: Process, program: &Image, roots: Vec<String>, moment: &Moment, census: &mut Census) {
    let user = program.name.replace('-', "_");
    let origins = Origins { user_crates: vec![user], source_roots: roots };
    let mut names = Symbolizer::of(process, origins);
    let (Ok(mut unwinder), Ok(mut other)) = (Unwinder::of(process), OtherProcess::open(process)) else { return };
    for (thread, at) in census.threads.iter_mut().zip(&moment.threads) {
        let (addresses, method, complete) = match &at.stack {
            Some(copy) => {
                let walk = unwinder.walk_now(copy);
                (walk.addresses, Method::Stop, walk.complete)
            }
            // It was not to be disturbed then, and is not now.
            None if at.runs => {
                thread.stack = Err(NoStack::TooLate);
                continue;
            }
            None => match other.take_stack(at.tid) {
                Ok(stack) => (stack.addresses, stack.method, stack.complete),
                Err(why) => {
                    thread.stack = Err(why);
                    continue;
                }
            },
        };
        thread.stack = Ok(Stack { frames: names.frames(&addresses), method, complete, taken_after: Duration::ZERO });
    }
    // What slept then may run now.
    census.quality.pause = other.longest_stop();
}

/// What an error of the system means for somebody who asked for a process.
fn explain(process: Process, error: io::Error) -> DumpError {
    let pid = process.id();
    if !process.file("").exists() {
        return DumpError::NoProcess(pid);
    }
    match error.kind() {
        io::ErrorKind::PermissionDenied => DumpError::Refused(pid, remedy(process)),
        _ => DumpError::Unreadable(pid, error),
    }
}

/// Without any mapping: a thread of the kernel, or the list was empty because we may not see it.
fn no_program(process: Process) -> DumpError {
    match std::fs::read_link(process.file("exe")) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => explain(process, error),
        _ if !process.file("").exists() => DumpError::NoProcess(process.id()),
        _ => DumpError::NoProgram(process.id()),
    }
}

/// Who may look at a process is told in ptrace(2), "Ptrace access mode checking".
fn remedy(process: Process) -> String {
    let user = |process: Process| -> Option<String> {
        let status = std::fs::read_to_string(process.file("status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
        line.split_whitespace().nth(1).map(str::to_owned)
    };
    let (its, ours) = (user(process), user(Process::own()));
    if let (Some(its), Some(ours)) = (&its, &ours)
        && its != ours
    {
        return format!("it belongs to user {its} and this is user {ours}. Run holdup as user {its} or as root");
    }
    let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    match scope.trim() {
        "" | "0" => "it has more rights than holdup, or has made itself not dumpable. Run holdup as root, or with \
                     CAP_SYS_PTRACE"
            .to_owned(),
        scope => format!(
            "the setting kernel.yama.ptrace_scope is {scope}. Run holdup as root, or `sudo sysctl \
             kernel.yama.ptrace_scope=0`"
        ),
    }
}
