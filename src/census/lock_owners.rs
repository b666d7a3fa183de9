//! Who holds what others wait for: guards and permits that live in a task's futures.

use std::collections::HashMap;

use super::await_path::Holds;
use crate::dwarf::{Shape, Value, Values};
use crate::model::census::{Holder, TaskNow, WaitsFor};
use crate::model::task::TaskId;

/// Tokio's guards and permits, which point to their semaphore or to what has one.
const GUARDS: [&str; 9] = [
    "tokio::sync::mutex::MutexGuard<",
    "tokio::sync::mutex::OwnedMutexGuard<",
    "tokio::sync::mutex::MappedMutexGuard<",
    "tokio::sync::semaphore::SemaphorePermit",
    "tokio::sync::semaphore::OwnedSemaphorePermit",
    "tokio::sync::rwlock::read_guard::RwLockReadGuard<",
    "tokio::sync::rwlock::write_guard::RwLockWriteGuard<",
    "tokio::sync::rwlock::owned_read_guard::OwnedRwLockReadGuard<",
    "tokio::sync::rwlock::owned_write_guard::OwnedRwLockWriteGuard<",
];

/// Holders of one semaphore that are told.
const MAX_HOLDERS: usize = 8;

/// Something that a task holds.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) holds: Holds,
    pub(super) task: TaskId,
}

/// The semaphores whose guards are variables of a suspended `async fn`.
pub(super) fn held_in(values: &Values<'_, '_>, state: Value) -> Vec<u64> {
    let Ok(members) = values.members(state) else { return Vec::new() };
    let variables = members.into_iter().filter(|(name, _)| &**name != "__awaitee");
    variables.filter_map(|(_, variable)| semaphore(values, variable)).collect()
}

fn semaphore(values: &Values<'_, '_>, variable: Value) -> Option<u64> {
    let is_guard = |name: &str| GUARDS.iter().any(|guard| name.starts_with(guard));
    let guard = values.find(variable, 4, &|ty| is_guard(&ty.name))?;
    let members = values.members(guard).ok()?;
    members.into_iter().find_map(|(_, member)| {
        let pointer = values.find(member, 6, &|ty| matches!(ty.shape, Shape::Pointer(_)))?;
        let target = values.pointee(pointer).ok()?;
        Some(values.find_named(target, 6, "tokio::sync::batch_semaphore::Semaphore").ok()?.address)
    })
}

/// Writes to everything that waits for a semaphore who holds it.
pub(super) fn tell(tasks: &mut [TaskNow], held: &[Held]) {
    let mut by_semaphore: HashMap<u64, Vec<&Held>> = HashMap::new();
    for held in held {
        by_semaphore.entry(held.holds.semaphore).or_default().push(held);
    }
    for path in tasks.iter_mut().filter_map(|task| task.path.as_mut()) {
        path.each(&mut |node| {
            if let Some(WaitsFor::Permits { address, holders, .. }) = &mut node.waits_for {
                let holding = by_semaphore.get(address).into_iter().flatten().take(MAX_HOLDERS);
                holders.extend(holding.map(|held| Holder {
                    task: held.task,
                    function: held.holds.function.clone(),
                    place: held.holds.place.clone(),
                }));
            }
        });
    }
}
