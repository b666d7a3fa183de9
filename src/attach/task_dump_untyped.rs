//! A census of a program without descriptions of types: tasks are recognized by the shape of their headers, and named by
//! symbols.

use std::collections::BTreeMap;
use std::time::Duration;

use super::error::AttachError;
use super::remedies;
use super::taken_census::{Observed, Taken};
use super::thread_starts::starts;
use crate::census::{PolledTasks, ScanRanges, StackEvidence, Subject, TaskScan, add_threads, scanned_census};
use crate::dwarf::{Memory, Program, task_name};
use crate::images::Image;
use crate::model::census::ThreadNow;
use crate::model::process::{DebugTier, ProgramFacts};
use crate::model::stack::{RawStack, StackUnavailable};
use crate::process::{FrozenProcess, FrozenThread, LiveMemory, MomentStack, Snapshot};
use crate::symbols::{TaskFunctions, TaskType};
use crate::sys::Mapping;
use crate::unwind::PollFrames;

/// Tasks with ids and states, and with the types of their futures where symbols name them.
///
/// # Errors
/// When memory cannot be read, or no Tokio is found.
pub(super) fn census_by_scan(observed: Observed<'_, '_>) -> Result<Taken, AttachError> {
    let Observed { process, stops, image, program } = observed;
    let pid = process.id();
    let failed = |error| AttachError::of_read(process, error);
    let places = places(image, process.mappings().map_err(failed)?);
    let scan = TaskScan::run(&LiveMemory::of(process), &places);
    let facts = ProgramFacts::of(image);
    if scan.vtables.is_empty() && !facts.tokio {
        return Err(AttachError::NoTokio { pid, program: image.name.to_string() });
    }
    let before = image.thread_locals();
    let frames = PollFrames::of(image);
    let functions = TaskFunctions::of(process, image);
    let types: BTreeMap<u64, TaskType> = scan
        .vtables
        .iter()
        .filter_map(|(address, table)| Some((*address, task_type(&functions, program, &table.functions)?)))
        .collect();
    let name = |table: u64| types.get(&table).map(|ty| (ty.label(), ty.scheduler.clone()));
    let take = |memory: &Snapshot, tasks, now| {
        let subject = Subject { now, ..Subject::of(program, memory, image.bias) };
        scanned_census(&subject, tasks, &name)
    };
    // The rehearsal reads the memory that the census needs.
    let rehearse = |memory: &Snapshot, threads: &[FrozenThread]| {
        drop(take(memory, scan.tasks(memory), Duration::ZERO));
        threads.iter().for_each(|thread| drop(context(memory, thread, &frames)));
    };
    let moment = FrozenProcess::freeze(process, stops, &rehearse, &|_, _| {}).map_err(failed)?;
    let tasks = scan.tasks(&moment.memory);
    let running = scan.running(&tasks, &LiveMemory::of(process));
    // Sleeping threads may wake up soon, so their stacks are taken first.
    let headers = running.iter().map(|task| task.header).collect();
    let stacks = moment.stacks(process, stops, Some(&headers)).map_err(failed)?;
    let evidence: Vec<StackEvidence> = stacks
        .iter()
        .zip(&moment.threads)
        .map(|(stack, thread)| evidence(stack, &frames, context(&moment.memory, thread, &frames)))
        .collect();
    let mut census = take(&moment.memory, tasks, moment.now);
    add_threads(&mut census, &starts(&moment.threads, before), &PolledTasks::of(&evidence, &running));
    census.tier = facts.debug.min(DebugTier::Lines);
    let described = census.tasks.iter().any(|task| task.path.is_some());
    census.tier_note = Some(remedies::dump_without_types(&image.name, census.tier, described));
    let mut missing = Vec::new();
    if census.tasks.is_empty() {
        missing.push("no task was found by its shape".to_owned());
    }
    if scan.incomplete {
        missing.push("some tasks may be missing: not all memory was searched for them".to_owned());
    }
    let is_unseen = |(taken, thread): &(&MomentStack, &ThreadNow)| thread.task.is_none() && !shows_role(taken, &frames);
    let unseen = stacks.iter().zip(&census.threads).filter(is_unseen).count();
    Ok(Taken { census, moment, stacks, unseen, missing })
}

/// Whether it is known that a thread runs a scheduler, or that it runs none.
fn shows_role(taken: &MomentStack, frames: &PollFrames) -> bool {
    let shows = |stack: &RawStack| stack.complete || frames.role(&stack.addresses).is_some();
    let gone = taken.stack.as_ref().is_err_and(|why| *why == StackUnavailable::Gone);
    gone || taken.stack.as_ref().is_ok_and(shows) || taken.later.as_ref().is_some_and(shows)
}

/// What a thread's stack and context show.
fn evidence(taken: &MomentStack, frames: &PollFrames, context: Vec<u64>) -> StackEvidence {
    let stack = taken.stack.as_ref().ok();
    StackEvidence {
        complete: stack.is_some_and(|stack| stack.complete),
        functions: taken.functions.clone(),
        headers: taken.words.clone(),
        polls: stack.is_some_and(|stack| !frames.poll_functions(&stack.addresses).is_empty()),
        context,
    }
}

/// The words of a thread's `CONTEXT`. Empty if symbols do not name it, or the thread pointer is unknown.
fn context(memory: &Snapshot, thread: &FrozenThread, frames: &PollFrames) -> Vec<u64> {
    let words = || {
        let (before, size) = frames.context()?;
        let mut bytes = vec![0; size];
        let read = memory.read(thread.thread_pointer?.checked_sub(before)?, &mut bytes);
        read.then(|| bytes.as_chunks().0.iter().map(|word| u64::from_ne_bytes(*word)).collect())
    };
    words().unwrap_or_default()
}

/// The type of the tasks that these functions belong to. Symbols name it, or debug information that names functions with their
/// type arguments.
pub(crate) fn task_type(symbols: &TaskFunctions, program: &Program<'_>, functions: &[u64]) -> Option<TaskType> {
    symbols.task_type(functions).or_else(|| {
        let names = |function: &u64| program.task_names(symbols.in_file(*function));
        let (future, scheduler) = functions.iter().find_map(names)?;
        Some(TaskType { future: task_name(&future), scheduler, uncertain: false })
    })
}

fn places(image: &Image, mappings: Vec<Mapping>) -> ScanRanges {
    let mut places = ScanRanges::default();
    for mapping in mappings {
        let range = mapping.start..mapping.end;
        let anonymous = mapping.path.is_empty() || mapping.path == "[heap]" || mapping.path.starts_with("[anon");
        let inside = image.range.contains(&mapping.start);
        match mapping.executable {
            true if inside => places.code.push(range),
            false if inside => places.constants.push(range),
            false if anonymous => places.heap.push(range),
            _ => {}
        }
    }
    places
}
