//! The threads of a census, with the tasks that they poll.

use std::collections::HashMap;

use super::runtimes::Entered;
use super::subject::ThreadStart;
use crate::model::census::{Census, TaskNow, TaskState, ThreadLocks, ThreadNow, UnplacedTask};
use crate::model::stack::StackUnavailable;
use crate::model::task::TaskId;

/// The threads. Each thread that polls a task is also noted in that task.
pub(super) fn threads(starts: &[ThreadStart], entered: &[Entered], tasks: &mut [TaskNow]) -> Vec<ThreadNow> {
    let running = tasks.iter_mut().filter(|task| task.state == TaskState::Running);
    let mut by_id: HashMap<TaskId, &mut TaskNow> = running.filter_map(|task| Some((task.id?, task))).collect();
    let mut list = Vec::new();
    for (start, entered) in starts.iter().zip(entered) {
        let mut thread = ThreadNow {
            tid: start.tid,
            name: start.name.clone(),
            runs: start.runs,
            runtime: entered.runtime,
            task: None,
            block_on: entered.block_on,
            block_on_future: None,
            stack: Err(StackUnavailable::Unavailable),
            locks: ThreadLocks::default(),
            unknown: entered.unknown.clone(),
        };
        // Between polls, a worker's context has the worker's own id, which is not the id of a listed task.
        if let Some(id) = entered.task
            && let Some(task) = by_id.get_mut(&id)
        {
            thread.task = Some(id);
            task.thread = Some(start.tid);
        }
        list.push(thread);
    }
    list
}

/// The running tasks whose thread is not known, of a program with descriptions of types. Every thread whose task could
/// not be read may poll them.
pub(super) fn unplaced(census: &Census) -> Vec<UnplacedTask> {
    let candidates = census.threads.iter().filter(|thread| thread.task.is_none() && thread.unknown.is_some());
    let candidates: Vec<i32> = candidates.map(|thread| thread.tid).collect();
    let running = census.tasks.iter().filter(|task| task.state == TaskState::Running && task.thread.is_none());
    running.filter_map(|task| Some(UnplacedTask { task: task.id?, threads: candidates.clone() })).collect()
}
