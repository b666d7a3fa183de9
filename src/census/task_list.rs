//! From runtimes to tasks. A runtime keeps its tasks in linked lists.

use std::collections::HashSet;

use super::subject::STEPS;
use super::task_layout::{RawTask, TaskLayout};
use crate::dwarf::{Unknown, Value, Values};
use crate::model::address_hash::BuildAddressHasher;
use crate::tokio_internals::debug_info::{LINKED_LIST, SHARDED_LIST};

/// The maximum number of tasks of one runtime.
const MAX_TASKS: usize = 1_000_000;

/// The maximum number of lists of one runtime. A larger number means invalid memory.
const MAX_LISTS: u64 = 1 << 16;

/// Calls `visit` for the newest tasks of each list of a runtime, at most `newest` per list.
///
/// # Errors
/// If a list is damaged. The tasks before the damage were visited.
pub(super) fn walk(
    values: &Values<'_, '_>,
    layout: &TaskLayout,
    owned: Value,
    newest: usize,
    visit: &mut dyn FnMut(RawTask),
) -> Result<(), Unknown> {
    let mut seen: HashSet<u64, BuildAddressHasher> = HashSet::default();
    let mut outcome = Ok(());
    values.set_budget(STEPS);
    for list in lists(values, owned)? {
        values.set_budget(STEPS);
        let head = values.find_named(list, 8, LINKED_LIST)?;
        let mut next = values.address(values.member(head, "head")?)?;
        let mut visited = 0;
        // Tokio inserts new tasks at the head.
        while next != 0 && visited < newest {
            visited += 1;
            if seen.len() >= MAX_TASKS {
                return Err(Unknown::new(format!("only the first {MAX_TASKS} tasks are shown")));
            }
            if !seen.insert(next) {
                outcome = Err(Unknown::new("a list of tasks is circular; tasks are missing"));
                break;
            }
            values.set_budget(STEPS);
            match layout.task_and_next(values, next) {
                Ok((task, following)) => {
                    visit(task);
                    next = following;
                }
                Err(unknown) => {
                    outcome = Err(Unknown::new(format!("a list of tasks is damaged ({unknown}); tasks are missing")));
                    break;
                }
            }
        }
    }
    outcome
}

/// The number of tasks that a runtime has ever had, in newer versions of Tokio.
pub(super) fn added(values: &Values<'_, '_>, owned: Value) -> Result<u64, Unknown> {
    values.scalar(values.member(values.find_named(owned, 6, SHARDED_LIST)?, "added")?)
}

/// The lists of a runtime: one list, or a boxed slice of lists in newer versions of Tokio.
fn lists(values: &Values<'_, '_>, owned: Value) -> Result<Vec<Value>, Unknown> {
    let Ok(sharded) = values.find_named(owned, 6, SHARDED_LIST) else {
        return Ok(vec![owned]);
    };
    let slice = values.member(sharded, "lists")?;
    let first = values.pointee(values.member(slice, "data_ptr")?)?;
    let count = values.scalar(values.member(slice, "length")?)?;
    let size = values.ty(first)?.size;
    if count > MAX_LISTS {
        return Err(Unknown::new(format!("a runtime seems to have {count} lists of tasks")));
    }
    Ok((0..count).map(|index| Value { ty: first.ty, address: first.address.wrapping_add(index * size) }).collect())
}
