//! A task dump of another process: every task at one moment.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::debug_info::{DebugInfo, program_of};
use super::error::AttachError;
use super::heap_tasks::HeapTaskTables;
use super::open_process::OpenProcess;
use super::taken_census::{Observed, Taken};
use super::task_dump_untyped::census_by_scan;
use super::thread_starts::{pointers, starts};
use crate::census::{BlockOnFutures, HeapTaskKinds, Subject};
use crate::diagnose;
use crate::model::census::{Census, TaskState, WaitsFor};
use crate::model::process::DebugTier;
use crate::model::stack::Stack;
use crate::process::{Descriptors, FrozenProcess, FrozenThread, MomentStack, Snapshot};
use crate::symbols::Symbolizer;
use crate::sys::{Process, StopError};

/// Tasks of each list that are read again while threads are held: new tasks stand in front.
const NEWEST: usize = 32;

/// How often a dump is taken again because a thread was not seen, and for how long.
const MAX_ATTEMPTS: u32 = 5;
const LONGEST_ATTEMPTS: Duration = Duration::from_secs(2);

/// The time between two looks at a cycle or a lost task.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

const NO_SECOND_LOOK: &str = "the process ended before a second look";

/// Every task of the process at one moment. `show` gets the dump before it is cached, so that nobody waits for the cache.
///
/// # Errors
/// When the memory of the process cannot be read, or it runs no Tokio.
pub(crate) fn take<T>(open: &OpenProcess, show: impl FnOnce(Census) -> T) -> Result<T, AttachError> {
    let process = open.process;
    let pid = process.id();
    let mut symbolizer = open.symbolizer()?;
    let started = Instant::now();
    let DebugInfo { images, sections, packed, mut missing, origin } = DebugInfo::read(open)?;
    let image = images.program().ok_or(AttachError::NoProcess { pid })?;
    let program = program_of(packed, &sections);
    let index_time = started.elapsed();
    let stops = open.stops();
    let observed = Observed { process, stops: &stops, image, program: &program };
    let Taken { mut census, moment, stacks, unseen, missing: mut lacks } = census_of(observed)?;
    missing.append(&mut lacks);
    census.pid = pid;
    census.program = image.name.to_string();
    symbolizer.add_source_roots(program.source_roots());
    name_stacks(&mut symbolizer, stacks, &mut census);
    describe_descriptors(process, &mut census);
    census.cycles = diagnose::cycles(&census);
    if !census.cycles.is_empty() || census.tasks.iter().any(|task| task.state == TaskState::Lost) {
        keep_what_lasts(observed, &mut symbolizer, &mut census);
    }
    census.futurelocks = diagnose::futurelocks(&census);
    let quality = &mut census.quality;
    quality.index_time = index_time;
    quality.index_origin.clone_from(&origin.description);
    quality.stops = stops.so_far();
    quality.stopped_threads = moment.held;
    quality.copied = moment.copied;
    quality.late_reads = moment.memory.late_reads();
    quality.woken_threads = moment.woken;
    quality.unseen_threads = unseen + moment.left_out;
    for (tid, reason) in moment.refused.iter().filter(|(_, reason)| *reason != StopError::Forbidden) {
        missing.push(format!(
            "running thread {tid} could not be stopped ({reason:?}); the task that it polled may be inconsistent"
        ));
    }
    quality.missing.splice(0..0, missing);
    let shown = show(census);
    origin.cache(&program);
    Ok(shown)
}

/// A census in which every thread was seen, if one of a few has it. A thread that woke up in that moment is seen in another.
fn census_of(observed: Observed<'_, '_>) -> Result<Taken, AttachError> {
    let first = Instant::now();
    let mut taken = one_census(observed)?;
    for _ in 1..MAX_ATTEMPTS {
        if taken.unseen == 0 || first.elapsed() >= LONGEST_ATTEMPTS {
            break;
        }
        taken = one_census(observed)?;
    }
    Ok(taken)
}

fn one_census(observed: Observed<'_, '_>) -> Result<Taken, AttachError> {
    match observed.program.contexts().is_empty() {
        false => census_by_types(observed),
        true => census_by_scan(observed),
    }
}

/// Keeps the cycles and the lost tasks that a second look finds too. In the first one, a future may have been about to
/// continue. If the process has ended since, cycles are guesses.
fn keep_what_lasts(observed: Observed<'_, '_>, symbolizer: &mut Symbolizer, census: &mut Census) {
    std::thread::sleep(BETWEEN_LOOKS);
    let mut lost = HashSet::new();
    match one_census(observed) {
        Ok(Taken { census: mut second, stacks, .. }) => {
            name_stacks(symbolizer, stacks, &mut second);
            lost.extend(second.tasks.iter().filter(|task| task.state == TaskState::Lost).filter_map(|task| task.id));
            let second = diagnose::cycles(&second);
            census.cycles.retain(|cycle| second.iter().any(|other| other.steps == cycle.steps));
        }
        Err(_) => census.cycles.iter_mut().for_each(|cycle| cycle.doubt = Some(NO_SECOND_LOOK)),
    }
    for task in census.tasks.iter_mut().filter(|task| task.state == TaskState::Lost) {
        if task.id.is_none_or(|id| !lost.contains(&id)) {
            task.state = TaskState::Idle;
        }
    }
}

/// Names the files and sockets that tasks wait for.
fn describe_descriptors(process: Process, census: &mut Census) {
    let mut descriptors = Descriptors::of(process);
    let paths = census.tasks.iter_mut().filter_map(|task| task.path.as_mut());
    for path in paths.chain(census.threads.iter_mut().filter_map(|thread| thread.block_on_future.as_mut())) {
        path.each(&mut |node| {
            if let Some(WaitsFor::Io { fd: Some(fd), what }) = &mut node.waits_for {
                *what = descriptors.describe(*fd);
            }
        });
    }
}

/// A census with await paths, through descriptions of types.
fn census_by_types(observed: Observed<'_, '_>) -> Result<Taken, AttachError> {
    let Observed { process, stops, image, program } = observed;
    let before = image.thread_locals();
    let bias = image.bias;
    let unlisted = HeapTaskTables::of(process, image, program, HeapTaskKinds::All).search(process);
    let futures = Mutex::new(BlockOnFutures::new());
    let lock = || futures.lock().unwrap_or_else(PoisonError::into_inner);
    let rehearse = |memory: &Snapshot, threads: &[FrozenThread]| {
        let (starts, headers) = (starts(threads, before), unlisted.headers(pointers(threads)));
        let subject = Subject { threads: &starts, heap_headers: &headers, ..Subject::of(program, memory, bias) };
        subject.touch(usize::MAX);
        let mut futures = lock();
        *futures = Subject { memory: &Snapshot::of(process), ..subject }.find_block_on_futures();
        // The rehearsal reads the memory that the census needs.
        let _rehearsed = Subject { block_on_futures: Some(&futures), ..subject }.census();
    };
    let touch = |memory: &Snapshot, threads: &[FrozenThread]| {
        Subject { threads: &starts(threads, before), ..Subject::of(program, memory, bias) }.touch(NEWEST);
    };
    let moment = FrozenProcess::freeze(process, stops, &rehearse, &touch)
        .map_err(|error| AttachError::of_read(process, error))?;
    // Sleeping threads may wake up soon, so their stacks are taken first.
    let stacks = moment.stacks(process, stops, None).map_err(|error| AttachError::of_read(process, error))?;
    let starts = starts(&moment.threads, before);
    let (memory, headers) = (&moment.memory, unlisted.headers(pointers(&moment.threads)));
    let futures = lock();
    let subject = Subject {
        threads: &starts,
        heap_headers: &headers,
        block_on_futures: Some(&futures),
        now: moment.now,
        ..Subject::of(program, memory, bias)
    };
    let missing = unlisted.missing().into_iter().collect();
    let census = Census { tier: DebugTier::Full, ..subject.census() };
    let unseen = census.threads.iter().filter(|thread| thread.unknown.is_some()).count();
    Ok(Taken { census, moment, stacks, unseen, missing })
}

/// Names the functions of each thread's stack, and notes its locks.
fn name_stacks(symbolizer: &mut Symbolizer, stacks: Vec<MomentStack>, census: &mut Census) {
    for (thread, taken) in census.threads.iter_mut().zip(stacks) {
        thread.stack = taken.stack.map(|stack| Stack {
            frames: symbolizer.frames(&stack.addresses),
            method: stack.method,
            complete: stack.complete,
            taken_after: Duration::ZERO,
        });
        thread.locks = taken.locks;
    }
}
