//! Finds futures that a suspended `async fn` keeps in a variable and does not poll, because it awaits something else. This
//! happens after a `select!` by reference, or in the body of a loop over a buffered stream. Such a future keeps its lock
//! or its place in the queue of a lock.

use super::await_path::{Suspended, Walker};
use super::future_parts::futures_in;
use super::semaphore_queue::Queues;
use crate::dwarf::{Shape, Value};
use crate::model::census::{Await, HeldKind, LockStage, SourcePlace, UnpolledFuture};

/// The maximum number of such futures of one task.
const MAX_FOUND: usize = 32;

/// The futures of a task that are not polled. The walker must have read the task's path, which is all that it polls.
pub(super) fn unpolled_futures<'v>(walker: &mut Walker<'v, '_, '_>, queues: &'v Queues) -> Vec<UnpolledFuture> {
    walker.collect_lock_stages(queues);
    let (mut found, suspended) = (Vec::new(), walker.take_suspended());
    for function in suspended {
        let Ok(ty) = walker.values.ty(function.state) else { continue };
        let Shape::Structure(variables) = &ty.shape else { continue };
        for variable in variables {
            if &*variable.name == "__awaitee" || found.len() >= MAX_FOUND {
                continue;
            }
            let Ok(futures) = futures_in(walker.values, function.state.part(variable)) else { continue };
            for future in futures {
                // Variables may share memory with variables that live at other times, so that one future is found twice.
                if !walker.was_walked(future) {
                    add_lock_stages(walker, future, &function, &mut found);
                }
            }
        }
    }
    found
}

/// Adds the locks that an unpolled future holds or waits for.
fn add_lock_stages(
    walker: &mut Walker<'_, '_, '_>,
    future: Value,
    function: &Suspended,
    found: &mut Vec<UnpolledFuture>,
) {
    let (held, stages) = (walker.held_locks().len(), walker.lock_stages().len());
    let Ok(node) = walker.future(future) else { return };
    let place = innermost_place(&node);
    let unpolled = |semaphore, stage| UnpolledFuture {
        future: node.future.clone(),
        future_place: place.clone(),
        function: function.function.clone(),
        place: function.place.clone(),
        semaphore,
        stage,
    };
    let stages = walker.lock_stages().iter().skip(stages);
    found.extend(stages.map(|(semaphore, stage)| unpolled(*semaphore, *stage)));
    // A receiver that is not polled makes its senders wait, as it should.
    let held = walker.held_locks().iter().skip(held).filter(|lock| lock.kind != HeldKind::Receiver);
    found.extend(held.map(|lock| unpolled(lock.semaphore, LockStage::Holds)));
}

/// The innermost await in the program's own code.
fn innermost_place(node: &Await) -> Option<SourcePlace> {
    let is_own = |place: &&SourcePlace| !place.file.contains("/registry/src/") && !place.file.starts_with("/rustc/");
    let inside = node.children.iter().find_map(innermost_place);
    inside.or_else(|| node.place.as_ref().filter(is_own).cloned())
}
