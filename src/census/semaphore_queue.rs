//! The queue of a semaphore, which Tokio's locks and channels are made of.

use crate::dwarf::{Unknown, Value, Values};
use crate::model::census::LockStage;
use crate::tokio_internals::debug_info::{LINKED_LIST, LINKED_LIST_POINTERS};

/// The maximum number of waiters that are checked in one queue. The step budget usually ends the search earlier.
const MAX_QUEUE: usize = 100_000;

/// Whether an `Acquire` future waits in the queue of its semaphore, or has been granted its permits. `None` if neither.
pub(super) fn stage_of(values: &Values<'_, '_>, acquire: Value) -> Result<Option<LockStage>, Unknown> {
    if values.scalar(values.member(acquire, "queued")?)? & 0xff == 0 {
        return Ok(None);
    }
    let node = values.member(acquire, "node")?;
    let missing = values.scalar(values.member(node, "state")?)?;
    if missing == 0 {
        return Ok(Some(LockStage::Granted));
    }
    let semaphore = values.pointee(values.member(acquire, "semaphore")?)?;
    Ok(is_queued(values, semaphore, node)?.then_some(LockStage::Queued))
}

/// Whether the queue contains the waiter. The memory of a dropped future may still say so itself.
fn is_queued(values: &Values<'_, '_>, semaphore: Value, waiter: Value) -> Result<bool, Unknown> {
    let queue = values.find_named(values.member(semaphore, "waiters")?, 10, LINKED_LIST)?;
    let mut next = values.address(values.member(queue, "head")?)?;
    for _ in 0..MAX_QUEUE {
        if next == 0 || next == waiter.address {
            return Ok(next != 0);
        }
        let pointers = values.member(Value { ty: waiter.ty, address: next }, "pointers")?;
        let pointers = values.find_named(pointers, 6, LINKED_LIST_POINTERS)?;
        next = values.address(values.member(pointers, "next")?)?;
    }
    Err(Unknown::new("the queue is too long"))
}
