//! A census of a program without descriptions of types: tasks are recognized by the shape of their headers, and named by
//! symbols.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use super::error::AttachError;
use super::remedies;
use super::thread_starts::starts;
use crate::census::{ScanRanges, Subject, TaskScan, polled_tasks, scanned_census};
use crate::dwarf::{Program, task_name};
use crate::images::Image;
use crate::model::census::Census;
use crate::model::process::{DebugTier, ProgramFacts};
use crate::process::{FrozenProcess, FrozenThread, LiveMemory, Snapshot};
use crate::symbols::{TaskFunctions, TaskType};
use crate::sys::{Mapping, Process};

/// Tasks with ids and states, and with the types of their futures where symbols name them.
///
/// # Errors
/// When memory cannot be read, or no Tokio is found.
pub(crate) fn census_by_scan(
    process: Process,
    image: &Image,
    program: &Program<'_>,
    missing: &mut Vec<String>,
) -> Result<(Census, FrozenProcess), AttachError> {
    let pid = process.id();
    let failed = |error| AttachError::of_read(process, error);
    let places = places(image, process.mappings().map_err(failed)?);
    let scan = TaskScan::run(&LiveMemory::of(process), &places);
    let facts = ProgramFacts::of(image);
    if scan.vtables.is_empty() && !facts.tokio {
        return Err(AttachError::NoTokio { pid, program: image.name.to_string() });
    }
    let before = image.thread_locals();
    let functions = TaskFunctions::of(process, image);
    let types: BTreeMap<u64, TaskType> = scan
        .vtables
        .iter()
        .filter_map(|(address, table)| Some((*address, task_type(&functions, program, &table.functions)?)))
        .collect();
    let name = |table: u64| types.get(&table).map(|ty| (ty.label(), ty.scheduler.clone()));
    let take = |memory: &Snapshot, threads: &[FrozenThread], now| {
        let tasks = scan.tasks(memory);
        let polled = polled_tasks(memory, &blocks(threads, before), &tasks);
        let threads = &starts(threads, before);
        let subject = Subject { threads, now, ..Subject::of(program, memory, image.bias) };
        scanned_census(&subject, tasks, polled, &name)
    };
    // The rehearsal reads the memory that the census needs.
    let rehearse = |memory: &Snapshot, threads: &[FrozenThread]| drop(take(memory, threads, Duration::ZERO));
    let moment = FrozenProcess::freeze(process, &rehearse, &|_, _| {}).map_err(failed)?;
    let mut census = take(&moment.memory, &moment.threads, moment.now);
    census.tier = facts.debug.min(DebugTier::Lines);
    let described = census.tasks.iter().any(|task| task.path.is_some());
    census.tier_note = Some(remedies::dump_without_types(&image.name, census.tier, described));
    if census.tasks.is_empty() {
        missing.push("no task was found by its shape".to_owned());
    }
    if scan.incomplete {
        missing.push("some tasks may be missing: not all memory was searched for them".to_owned());
    }
    Ok((census, moment))
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

/// The program's variables of each thread.
fn blocks(threads: &[FrozenThread], before: Option<u64>) -> Vec<Option<Range<u64>>> {
    let block = |thread: &FrozenThread| {
        let pointer = thread.thread_pointer?;
        Some(pointer.checked_sub(before?)?..pointer)
    };
    threads.iter().map(block).collect()
}
