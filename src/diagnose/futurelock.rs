//! Futurelocks: an unpolled future holds a lock, or is next in its queue. Tasks that wait for the lock wait until the
//! future is polled again, which may itself require the lock.

use std::collections::{HashMap, HashSet};

use crate::model::census::{Await, Census, Futurelock, HeldKind, LockStage, TaskNow, WaitsFor};
use crate::model::task::TaskId;

/// The maximum number of futurelocks that are reported.
const MAX_FOUND: usize = 64;

/// Unpolled futures that tasks wait for. A future that is only queued blocks nobody until its turn comes. It is reported if
/// its own task waits for the same lock, because its turn then comes first.
pub(crate) fn futurelocks(census: &Census) -> Vec<Futurelock> {
    let mut waiting: HashMap<u64, Vec<TaskId>> = HashMap::new();
    let mut held_by_others = HashSet::new();
    for task in &census.tasks {
        if let (Some(id), Some(path)) = (task.id, &task.path) {
            collect(path, &mut |semaphore, held| {
                if held {
                    held_by_others.insert(semaphore);
                }
                let all = waiting.entry(semaphore).or_default();
                if all.last() != Some(&id) {
                    all.push(id);
                }
            });
        }
    }
    let mut found = Vec::new();
    for task in &census.tasks {
        let Some(id) = task.id else { continue };
        for unpolled in &task.unpolled {
            // The list is copied only for what is reported: many unpolled futures may have the same lock.
            let waiting = waiting.get(&unpolled.semaphore).map_or(&[][..], Vec::as_slice);
            let is_blocking = match unpolled.stage {
                // A future that was dropped after it was granted a permit may have the same memory.
                LockStage::Granted => !waiting.is_empty() && !held_by_others.contains(&unpolled.semaphore),
                LockStage::Holds => !waiting.is_empty(),
                LockStage::Queued => waits_itself(task, unpolled.semaphore),
            };
            if is_blocking && found.len() < MAX_FOUND {
                found.push(Futurelock { task: id, unpolled: unpolled.clone(), waiting: waiting.to_vec() });
            }
        }
    }
    found
}

/// Whether the task waits for the semaphore with the futures that it polls.
fn waits_itself(task: &TaskNow, semaphore: u64) -> bool {
    let mut waits = false;
    if let Some(path) = &task.path {
        collect(path, &mut |other, _| waits |= other == semaphore);
    }
    waits
}

/// Reports the semaphores that a path waits for, and whether each has a holder or a free permit.
fn collect(node: &Await, waits: &mut impl FnMut(u64, bool)) {
    // If a permit is free, no future blocks it.
    if let Some(WaitsFor::Permits { address, free, holders, .. }) = &node.waits_for {
        let is_held = holders.iter().any(|holder| holder.kind != HeldKind::Receiver);
        waits(*address, is_held || free.is_some_and(|free| free > 0));
    }
    for child in &node.children {
        collect(child, waits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::census::{TaskState, UnpolledFuture};

    fn task(id: u64, waits_for: Option<u64>, unpolled: &[(u64, LockStage)]) -> TaskNow {
        let permits =
            |address| WaitsFor::Permits { address, wanted: 1, missing: Some(1), free: Some(0), holders: Vec::new() };
        let unpolled = unpolled.iter().map(|(semaphore, stage)| UnpolledFuture {
            future: "app::locks".to_owned(),
            future_place: None,
            function: "app::selects".to_owned(),
            place: None,
            semaphore: *semaphore,
            stage: *stage,
        });
        TaskNow {
            id: Some(TaskId(id)),
            state: TaskState::Idle,
            path: Some(Await { waits_for: waits_for.map(permits), ..Await::default() }),
            unpolled: unpolled.collect(),
            ..TaskNow::unread(0, "app".to_owned())
        }
    }

    fn found(tasks: Vec<TaskNow>) -> Vec<(u64, Vec<u64>)> {
        let found = futurelocks(&Census { tasks, ..Census::default() });
        found.into_iter().map(|one| (one.task.0, one.waiting.into_iter().map(|task| task.0).collect())).collect()
    }

    #[test]
    fn tasks_that_wait_for_an_unpolled_future_are_found() {
        use LockStage::{Granted, Holds, Queued};
        assert_eq!(found(vec![task(1, None, &[(7, Granted)]), task(2, Some(7), &[])]), [(1, vec![2])]);
        assert_eq!(found(vec![task(1, Some(7), &[(7, Holds)])]), [(1, vec![1])], "its own task");
        assert_eq!(found(vec![task(1, Some(7), &[(7, Queued)])]), [(1, vec![1])], "its turn comes first");
        assert_eq!(found(vec![task(1, None, &[(7, Queued)]), task(2, Some(7), &[])]), [], "not its turn");
        assert_eq!(found(vec![task(1, Some(8), &[(7, Granted)]), task(2, Some(8), &[])]), [], "nobody waits");
    }
}
