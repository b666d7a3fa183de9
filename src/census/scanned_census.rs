//! The census of a program without descriptions of types, from the tasks that a scan found.

use std::collections::{BTreeMap, HashMap};

use super::lock_owners::{self, LockOwner};
use super::runtimes::Entered;
use super::semaphore_queue::Queues;
use super::stack_proof::PolledTasks;
use super::subject::{Subject, ThreadStart};
use super::task_layout::TaskLayout;
use super::task_reader::{KnownTypes, TaskReader};
use super::task_scan::ScannedTask;
use super::threads::threads;
use crate::model::census::{Census, RuntimeNow, TaskNow, TaskState, UnplacedTask};
use crate::model::task::TaskId;

/// Returns the names of future and scheduler of a task, by the address of its vtable.
type TypeNames<'a> = dyn Fn(u64) -> Option<(String, String)> + 'a;

/// The census of the tasks that a scan found, without threads. Await paths are included as far as the program describes
/// types.
pub(crate) fn scanned_census(subject: &Subject<'_, '_>, tasks: Vec<ScannedTask>, type_names: &TypeNames<'_>) -> Census {
    let mut census = Census::default();
    add_tasks(subject, &mut census, tasks, type_names);
    census.tasks.sort_by_cached_key(|task| (task.runtime, task.id));
    census
}

/// Adds the tasks, with a runtime for each of their lists.
fn add_tasks(subject: &Subject<'_, '_>, census: &mut Census, tasks: Vec<ScannedTask>, type_names: &TypeNames<'_>) {
    let values = subject.values();
    let layout = TaskLayout::of(&values).ok();
    let (mut owners, queues, types) = (Vec::new(), Queues::default(), KnownTypes::default());
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
            let reader =
                TaskReader { values: &values, layout, queues: &queues, types: &types, runtime, now: subject.now };
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
        state: task.state,
        cancelled: task.cancelled,
        spawned_at: task.spawned_at,
        ..TaskNow::unread(runtime, future.unwrap_or_else(|| "type not known".to_owned()))
    }
}

/// Adds the threads, each in the runtime of the task that it polls.
pub(crate) fn add_threads(census: &mut Census, starts: &[ThreadStart], polled: &PolledTasks) {
    let runtimes: HashMap<TaskId, usize> =
        census.tasks.iter().filter_map(|task| Some((task.id?, task.runtime))).collect();
    let innermost = |ids: &Vec<TaskId>| {
        let task = ids.first().copied();
        Entered { runtime: task.and_then(|id| runtimes.get(&id).copied()), task, ..Entered::default() }
    };
    let entered: Vec<Entered> = polled.proven.iter().map(innermost).collect();
    census.threads = threads(starts, &entered, &mut census.tasks);
    let tid = |position: &usize| Some(starts.get(*position)?.tid);
    for task in census.tasks.iter_mut().filter(|task| task.state == TaskState::Running && task.thread.is_none()) {
        let Some(id) = task.id else { continue };
        // A task may poll others on its thread.
        let outer = polled.proven.iter().position(|ids| ids.contains(&id));
        task.thread = outer.as_ref().and_then(tid);
        if let Some(threads) = polled.candidates.get(&id) {
            census.unplaced.push(UnplacedTask { task: id, threads: threads.iter().filter_map(tid).collect() });
        }
    }
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
