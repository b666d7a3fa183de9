//! Which tasks own the locks and permits that others wait for. An owner keeps a guard or permit in one of its futures.

use std::collections::HashMap;

use crate::model::census::{HeldKind, Holder, SourcePlace, TaskNow, WaitsFor};
use crate::model::task::TaskId;

/// The maximum number of owners that are shown for one semaphore.
const MAX_OWNERS: usize = 8;

/// A semaphore or lock that a future holds a permit or guard of.
#[derive(Clone, Debug)]
pub(super) struct HeldLock {
    /// The address of the semaphore.
    pub(super) semaphore: u64,
    pub(super) kind: HeldKind,
    /// The `async fn` with the guard as a variable.
    pub(super) function: String,
    /// The await at which that function is suspended.
    pub(super) place: Option<SourcePlace>,
}

/// A lock with the task that holds it.
#[derive(Debug)]
pub(super) struct LockOwner {
    pub(super) lock: HeldLock,
    pub(super) task: TaskId,
}

/// The locks of one task, with that task as their owner.
pub(super) fn owned_by(task: TaskId, locks: Vec<HeldLock>) -> impl Iterator<Item = LockOwner> {
    locks.into_iter().map(move |lock| LockOwner { lock, task })
}

/// Adds the owners to all futures that wait for their semaphores.
pub(super) fn add_owners(tasks: &mut [TaskNow], owners: &[LockOwner]) {
    let mut by_semaphore: HashMap<u64, Vec<&LockOwner>> = HashMap::new();
    for owner in owners {
        by_semaphore.entry(owner.lock.semaphore).or_default().push(owner);
    }
    for path in tasks.iter_mut().filter_map(|task| task.path.as_mut()) {
        path.each(&mut |node| {
            if let Some(WaitsFor::Permits { address, holders, .. }) = &mut node.waits_for {
                let owners = by_semaphore.get(address).map_or(&[][..], Vec::as_slice).iter().take(MAX_OWNERS);
                // A collected vector has no room for more. There may be one for each of many waiters.
                *holders = owners
                    .map(|owner| Holder {
                        kind: owner.lock.kind,
                        task: owner.task,
                        function: owner.lock.function.clone(),
                        place: owner.lock.place.clone(),
                    })
                    .collect();
            }
        });
    }
}
