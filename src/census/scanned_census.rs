//! The census of a program without descriptions of types, from the tasks that a scan found.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;

use super::lock_owners::{self, LockOwner};
use super::runtimes::Entered;
use super::semaphore_queue::Queues;
use super::subject::Subject;
use super::task_layout::TaskLayout;
use super::task_reader::TaskReader;
use super::task_scan::{CHUNK, ScannedTask, word};
use super::threads::threads;
use crate::dwarf::Memory;
use crate::model::census::{Census, RuntimeNow, TaskNow, TaskState};
use crate::model::task::TaskId;

/// Returns the names of future and scheduler of a task, by the address of its vtable.
type TypeNames<'a> = dyn Fn(u64) -> Option<(String, String)> + 'a;

/// The task that each thread polls: the thread-local word that is the id of a running task, or 0, in every thread. `None`
/// if no word or several words fit.
pub(crate) fn polled_tasks(
    memory: &dyn Memory,
    thread_locals: &[Option<Range<u64>>],
    tasks: &[ScannedTask],
) -> Option<Vec<Option<TaskId>>> {
    let running: HashSet<u64> =
        tasks.iter().filter(|task| task.state == TaskState::Running).map(|task| task.id.0).collect();
    let lengths = thread_locals.iter().flatten().map(|block| block.end.saturating_sub(block.start));
    let length = lengths.min()?.min(CHUNK);
    let mut found: Option<Vec<Option<TaskId>>> = None;
    let mut best = 0;
    for offset in (0..length).step_by(8) {
        let read = |block: &Option<Range<u64>>| block.as_ref().and_then(|block| word(memory, block.start + offset));
        let words: Vec<u64> = thread_locals.iter().map(|block| read(block).unwrap_or(0)).collect();
        let ids: Vec<u64> = words.iter().copied().filter(|word| *word != 0).collect();
        let different: HashSet<u64> = ids.iter().copied().collect();
        if ids.len() < best.max(1) || different.len() < ids.len() || !different.is_subset(&running) {
            continue;
        }
        let tasks: Vec<_> = words.iter().map(|word| Some(TaskId(*word)).filter(|id| id.0 != 0)).collect();
        match &found {
            // Two words fit equally well and contradict each other.
            Some(known) if ids.len() == best && *known != tasks => return None,
            _ => (best, found) = (ids.len(), Some(tasks)),
        }
    }
    found
}

/// The census of the tasks that a scan found. Await paths are included as far as the program describes types.
pub(crate) fn scanned_census(
    subject: &Subject<'_, '_>,
    tasks: Vec<ScannedTask>,
    polled: Option<Vec<Option<TaskId>>>,
    type_names: &TypeNames<'_>,
) -> Census {
    let mut census = Census::default();
    add_tasks(subject, &mut census, tasks, type_names);
    add_threads(subject, &mut census, polled);
    census.tasks.sort_by_cached_key(|task| (task.runtime, task.id));
    census
}

/// Adds the tasks, with a runtime for each of their lists.
fn add_tasks(subject: &Subject<'_, '_>, census: &mut Census, tasks: Vec<ScannedTask>, type_names: &TypeNames<'_>) {
    let values = subject.values();
    let layout = TaskLayout::of(&values).ok();
    let (mut owners, queues) = (Vec::new(), Queues::default());
    let mut runtimes: BTreeMap<u64, usize> = BTreeMap::new();
    // A task in no list is a blocking function or a worker.
    for task in tasks.into_iter().filter(|task| task.list != 0) {
        let (future, scheduler) = type_names(task.vtable).unzip();
        let runtime = *runtimes.entry(task.list).or_insert_with(|| {
            let index = census.runtimes.len();
            let flavor = scheduler.as_deref().map_or("flavor not known", flavor).to_owned();
            census.runtimes.push(RuntimeNow { index, flavor, address: task.list, threads: 0, unknown: None });
            index
        });
        let described = layout.as_ref().and_then(|layout| {
            let reader = TaskReader { values: &values, layout, queues: &queues, runtime, now: subject.now };
            described_task(&reader, &task, &mut owners)
        });
        census.tasks.push(described.unwrap_or_else(|| undescribed_task(task, runtime, future)));
    }
    census.quality.missing.extend(queues.missing());
    lock_owners::add_owners(&mut census.tasks, &owners);
}

/// A task with its await path. `None` if the program does not describe its type.
fn described_task(reader: &TaskReader<'_, '_, '_>, task: &ScannedTask, owners: &mut Vec<LockOwner>) -> Option<TaskNow> {
    let (read, held) = reader.read_at(task.header)?;
    owners.extend(lock_owners::owned_by(task.id, held));
    read.path.is_some().then_some(read)
}

/// A task with what its header says.
fn undescribed_task(task: ScannedTask, runtime: usize, future: Option<String>) -> TaskNow {
    TaskNow {
        id: Some(task.id),
        runtime,
        state: task.state,
        cancelled: task.cancelled,
        future: future.unwrap_or_else(|| "type not known".to_owned()),
        spawned_at: task.spawned_at,
        thread: None,
        path: None,
        unpolled: Vec::new(),
        unknown: None,
    }
}

/// Adds the threads, each in the runtime of the task that it polls.
fn add_threads(subject: &Subject<'_, '_>, census: &mut Census, polled: Option<Vec<Option<TaskId>>>) {
    let polled = polled.unwrap_or_else(|| vec![None; subject.threads.len()]);
    let runtimes: HashMap<TaskId, usize> =
        census.tasks.iter().filter_map(|task| Some((task.id?, task.runtime))).collect();
    let runtime = |id: Option<TaskId>| runtimes.get(&id?).copied();
    let entered: Vec<Entered> =
        polled.into_iter().map(|id| Entered { runtime: runtime(id), task: id, ..Entered::default() }).collect();
    census.threads = threads(subject.threads, &entered, &mut census.tasks);
    for runtime in &mut census.runtimes {
        runtime.threads = entered.iter().filter(|entered| entered.runtime == Some(runtime.index)).count();
    }
}

/// The flavor of a runtime, by the type of its scheduler.
fn flavor(scheduler: &str) -> &'static str {
    ["multi_thread_alt", "multi_thread", "current_thread"]
        .into_iter()
        .find(|flavor| scheduler.contains(flavor))
        .unwrap_or(if scheduler.is_empty() { "flavor not known" } else { "local" })
}

#[cfg(test)]
mod tests {
    use super::super::test_memory::TestMemory;
    use super::*;

    #[test]
    fn the_task_of_a_thread_is_the_only_id_of_a_running_task() {
        let task = |id, state| ScannedTask {
            header: 0,
            id: TaskId(id),
            state,
            cancelled: false,
            list: 1,
            vtable: 0,
            spawned_at: None,
        };
        let tasks = [task(5, TaskState::Running), task(6, TaskState::Running), task(7, TaskState::Idle)];
        // Two threads of three words each.
        let blocks = [Some(0x1000..0x1018), Some(0x1018..0x1030)];
        let memory = TestMemory(vec![9, 5, 7, 5, 6, 0]);
        assert_eq!(polled_tasks(&memory, &blocks, &tasks), Some(vec![Some(TaskId(5)), Some(TaskId(6))]));
        let ambiguous = TestMemory(vec![5, 6, 0, 6, 5, 0]);
        assert_eq!(polled_tasks(&ambiguous, &blocks, &tasks), None);
    }
}
