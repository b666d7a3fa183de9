//! Tasks that wait for each other in a cycle (a deadlock).

use std::collections::{HashMap, HashSet};

use crate::model::census::{Await, Census, WaitsFor};
use crate::model::task::TaskId;

/// The maximum number of cycles that are reported.
const MAX_CYCLES: usize = 64;

/// Futures that continue when one of several events happens. Waiting for one of them is not a deadlock.
const ALTERNATIVES: [&str; 3] = ["select!", "Timeout", "Select"];

/// The cycles, each starting at its smallest task id. A lock counts if it has exactly one known holder.
pub(crate) fn cycles(census: &Census) -> Vec<Vec<TaskId>> {
    let mut waits: HashMap<TaskId, Vec<TaskId>> = HashMap::new();
    for task in &census.tasks {
        if let (Some(id), Some(path)) = (task.id, &task.path) {
            let mut targets = Vec::new();
            collect(path, &mut targets);
            if !targets.is_empty() {
                waits.insert(id, targets);
            }
        }
    }
    let mut starts: Vec<TaskId> = waits.keys().copied().collect();
    starts.sort_unstable();
    let (mut found, mut done) = (Vec::new(), HashSet::new());
    for start in starts {
        follow(start, &waits, &mut done, &mut found);
    }
    found.truncate(MAX_CYCLES);
    found
}

/// A depth-first search. It uses no recursion, because chains of tasks may be long. Each task is visited once.
fn follow(
    start: TaskId,
    waits: &HashMap<TaskId, Vec<TaskId>>,
    done: &mut HashSet<TaskId>,
    found: &mut Vec<Vec<TaskId>>,
) {
    if !done.insert(start) {
        return;
    }
    let mut path = vec![(start, 0)];
    let mut positions = HashMap::from([(start, 0)]);
    while let Some((task, next)) = path.last_mut() {
        let target = waits.get(task).and_then(|targets| targets.get(*next)).copied();
        *next += 1;
        let Some(target) = target else {
            let left = path.pop();
            left.and_then(|(task, _)| positions.remove(&task));
            continue;
        };
        if let Some(position) = positions.get(&target) {
            let mut cycle: Vec<TaskId> = path.iter().skip(*position).map(|(task, _)| *task).collect();
            let smallest = cycle.iter().enumerate().min_by_key(|(_, task)| **task).map_or(0, |(index, _)| index);
            cycle.rotate_left(smallest);
            if found.len() < MAX_CYCLES && !found.contains(&cycle) {
                found.push(cycle);
            }
        } else if done.insert(target) {
            positions.insert(target, path.len());
            path.push((target, 0));
        }
    }
}

/// Adds the tasks that a path waits for.
fn collect(node: &Await, targets: &mut Vec<TaskId>) {
    let last = node.future.rsplit("::").next().unwrap_or_default();
    if ALTERNATIVES.iter().any(|name| last.starts_with(name)) {
        return;
    }
    match &node.waits_for {
        Some(WaitsFor::Task(task)) => targets.push(*task),
        Some(WaitsFor::Permits { holders, .. }) => {
            if let [holder] = holders.as_slice() {
                targets.push(holder.task);
            }
        }
        _ => {}
    }
    for child in &node.children {
        collect(child, targets);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::census::{TaskNow, TaskState};

    fn task(id: u64, name: &str, waits_for: &[u64]) -> TaskNow {
        let leaf = |target: &u64| Await { waits_for: Some(WaitsFor::Task(TaskId(*target))), ..Await::default() };
        let children = waits_for.iter().map(leaf).collect();
        TaskNow {
            id: Some(TaskId(id)),
            runtime: 0,
            state: TaskState::Idle,
            cancelled: false,
            future: name.to_owned(),
            spawned_at: None,
            thread: None,
            path: Some(Await { future: name.to_owned(), children, ..Await::default() }),
            unpolled: Vec::new(),
            unknown: None,
        }
    }

    fn found(tasks: Vec<TaskNow>) -> Vec<Vec<u64>> {
        let census = Census { tasks, ..Census::default() };
        cycles(&census).into_iter().map(|cycle| cycle.into_iter().map(|task| task.0).collect()).collect()
    }

    #[test]
    fn cycles_are_found_once_and_chains_are_ignored() {
        let tasks = vec![task(1, "a", &[2]), task(2, "a", &[4]), task(3, "a", &[]), task(4, "a", &[3, 2])];
        assert_eq!(found(tasks), [[2, 4]]);
        assert_eq!(found(vec![task(7, "a", &[7])]), [[7]]);
        assert!(found(vec![task(1, "a", &[2]), task(2, "a", &[9])]).is_empty());
    }

    #[test]
    fn waiting_for_one_of_several_events_is_not_a_deadlock() {
        assert!(found(vec![task(1, "select!", &[2]), task(2, "a", &[1])]).is_empty());
        assert!(found(vec![task(1, "tokio::time::timeout::Timeout", &[2]), task(2, "a", &[1])]).is_empty());
    }

    #[test]
    fn a_long_chain_does_not_overflow_the_stack() {
        let chain = (1..100_000).map(|id| task(id, "a", &[id + 1])).collect();
        assert!(found(chain).is_empty());
    }
}
