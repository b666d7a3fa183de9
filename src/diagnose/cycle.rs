//! Tasks that wait for each other in a circle, which no one of them ever leaves.

use std::collections::{HashMap, HashSet};

use crate::model::census::{Await, Census, WaitsFor};
use crate::model::task::TaskId;

/// Cycles that are told.
const MAX_CYCLES: usize = 64;

/// Futures that go on when one of several things happens: what they wait for does not hold them.
const ALTERNATIVES: [&str; 3] = ["select!", "Timeout", "Select"];

/// The cycles, each beginning at its smallest task. Locks count where one task is seen to hold them.
pub(crate) fn cycles(census: &Census) -> Vec<Vec<TaskId>> {
    let mut waits: HashMap<TaskId, Vec<TaskId>> = HashMap::new();
    for task in &census.tasks {
        if let (Some(id), Some(path)) = (task.id, &task.path) {
            let mut targets = Vec::new();
            collect(path, &mut targets);
            waits.insert(id, targets);
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

/// A walk in depth, without recursion because chains of tasks may be long. Every task is walked once.
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
    fn circles_are_found_once_and_chains_are_none() {
        let tasks = vec![task(1, "a", &[2]), task(2, "a", &[4]), task(3, "a", &[]), task(4, "a", &[3, 2])];
        assert_eq!(found(tasks), [[2, 4]]);
        assert_eq!(found(vec![task(7, "a", &[7])]), [[7]]);
        assert!(found(vec![task(1, "a", &[2]), task(2, "a", &[9])]).is_empty());
    }

    #[test]
    fn what_may_go_on_otherwise_is_not_held() {
        assert!(found(vec![task(1, "select!", &[2]), task(2, "a", &[1])]).is_empty());
        assert!(found(vec![task(1, "tokio::time::timeout::Timeout", &[2]), task(2, "a", &[1])]).is_empty());
    }

    #[test]
    fn a_long_chain_ends() {
        let chain = (1..100_000).map(|id| task(id, "a", &[id + 1])).collect();
        assert!(found(chain).is_empty());
    }
}
