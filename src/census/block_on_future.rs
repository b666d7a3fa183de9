//! Futures given to `block_on`, which are not tasks. No list leads to them. Such a future lies on the stack of the thread
//! that polls it, or in a box with its address on that stack.
//!
//! Addresses of code on the stack reveal the type of the future. Its address is found by trying every position on the
//! stack: at a wrong position, the state of the future and its variables are invalid. If several positions fit, the
//! future stays unknown.

use std::ops::Range;
use std::time::Duration;

use super::await_path::Walker;
use super::future_parts::is_coroutine;
use super::runtimes::Runtimes;
use super::subject::{BlockOnFutures, STEPS, Subject};
use super::task_layout::TaskLayout;
use crate::dwarf::{Shape, Value, Values};
use crate::model::census::{Await, WaitsFor};
use crate::model::type_name::is_wrapper;

/// The maximum number of bytes of a stack that are searched, from the stack pointer outwards.
const MAX_STACK: u64 = 1 << 20;

/// The maximum number of types that are tried.
const MAX_TYPES: usize = 64;

/// The maximum depth of the search for the first coroutine, and of the check of its variables.
const MAX_DEPTH: u32 = 12;

/// No value lies below this address.
const FIRST_PAGE: u64 = 4096;

/// The alignment of values on a stack.
const ALIGNMENT: usize = 8;

impl Subject<'_, '_> {
    /// Finds the futures given to `block_on`. This reads many addresses: use memory that is not copied.
    pub(crate) fn find_block_on_futures(&self) -> BlockOnFutures {
        let values = self.values();
        let Ok(layout) = TaskLayout::of(&values) else { return BlockOnFutures::new() };
        let runtimes = Runtimes::of(&values, self.threads);
        let threads = self.threads.iter().zip(runtimes.threads).filter(|(_, entered)| entered.block_on);
        let found = threads.filter_map(|(start, _)| Some((start.tid, find(&values, &layout, start.stack.as_ref()?)?)));
        found.collect()
    }
}

/// The await path of a future. `None` if the memory at its address is no longer a valid future.
pub(super) fn path(values: &Values<'_, '_>, layout: &TaskLayout, now: Duration, future: Value) -> Option<Await> {
    values.set_budget(STEPS);
    if !is_suspended(values, future, MAX_DEPTH) {
        return None;
    }
    let mut walker = Walker::new(values, layout, now);
    let path = walker.future(future).ok()?;
    let suspended = walker.take_suspended();
    // The path may have used up the budget.
    values.set_budget(STEPS);
    let is_valid = is_possible(&path) && suspended.iter().all(|function| is_sound(values, function.state, MAX_DEPTH));
    is_valid.then(|| without_wrappers(path))
}

/// The path from the first future that is not a wrapper on: the future that the user gave to `block_on`.
fn without_wrappers(mut path: Await) -> Await {
    while is_wrapper(&path.future) && path.children.len() == 1 {
        path = path.children.remove(0);
    }
    path
}

fn find(values: &Values<'_, '_>, layout: &TaskLayout, stack: &Range<u64>) -> Option<Value> {
    let end = stack.end.min(stack.start.saturating_add(MAX_STACK));
    let positions = || ((stack.start & !7)..end).step_by(ALIGNMENT);
    let mut types = Vec::new();
    for address in positions() {
        values.set_budget(STEPS);
        let Ok(word) = values.word(address) else { continue };
        // A return address is the one after the call.
        for ty in values.program.block_on_futures_at(values.file_address(word).wrapping_sub(1)) {
            if types.len() < MAX_TYPES && !types.contains(&ty) {
                types.push(ty);
            }
        }
    }
    let mut found: Vec<(Value, Await)> = Vec::new();
    for ty in types {
        let futures = positions().map(|address| Value { ty, address });
        found.extend(futures.filter_map(|future| Some((future, path(values, layout, Duration::ZERO, future)?))));
    }
    // The same future may be found through a pointer, and again inside of a wrapper.
    let is_inside =
        |path: &Await| found.iter().any(|(_, other)| other.children.iter().any(|child| contains(child, path)));
    let outermost: Vec<&(Value, Await)> = found.iter().filter(|(_, path)| !is_inside(path)).collect();
    let ((future, path), others) = outermost.split_first()?;
    others.iter().all(|(_, other)| other == path).then_some(*future)
}

/// Whether `path` is this path or a part of it.
fn contains(node: &Await, path: &Await) -> bool {
    node == path || node.children.iter().any(|child| contains(child, path))
}

/// Whether the first coroutine in a future is suspended at an await. The search follows pointers.
fn is_suspended(values: &Values<'_, '_>, future: Value, depth: u32) -> bool {
    let (Some(depth), Ok(ty)) = (depth.checked_sub(1), values.ty(future)) else { return false };
    match &ty.shape {
        _ if is_coroutine(values, future.ty, &ty) => {
            values.active_variant(future).is_ok_and(|state| is_await(&state.name))
        }
        Shape::Variants { .. } => {
            values.active_variant(future).is_ok_and(|state| is_suspended(values, state.content, depth))
        }
        Shape::Pointer(Some(_)) => values.pointee(future).is_ok_and(|target| is_suspended(values, target, depth)),
        Shape::Structure(_) => values
            .members(future)
            .is_ok_and(|members| members.iter().any(|(_, member)| is_suspended(values, *member, depth))),
        _ => false,
    }
}

/// Whether this is the compiler's name of a coroutine's state at an await, such as `Suspend0`.
fn is_await(state: &str) -> bool {
    state.starts_with("Suspend")
}

/// Whether all of a path could be read, and is possible: an awaited future was polled and is not finished.
fn is_possible(path: &Await) -> bool {
    let unknown = |text: &str| text.starts_with("unknown") || text.starts_with("more futures");
    let awaited = match &*path.children {
        [only] if path.place.is_some() => only.place.is_some() || only.note.is_none(),
        _ => true,
    };
    awaited
        && !path.note.as_deref().is_some_and(unknown)
        && !matches!(&path.waits_for, Some(WaitsFor::Other(what)) if unknown(what))
        && path.children.iter().all(is_possible)
}

/// Whether the references in a value point to memory, and its enums have valid discriminants. Memory that may be
/// uninitialized is not checked.
fn is_sound(values: &Values<'_, '_>, value: Value, depth: u32) -> bool {
    let Some(depth) = depth.checked_sub(1) else { return true };
    let Ok(ty) = values.ty(value) else { return true };
    if ty.name.starts_with("core::mem::maybe_uninit::MaybeUninit<") {
        return true;
    }
    match &ty.shape {
        Shape::Variants { .. } => {
            values.active_variant(value).is_ok_and(|active| is_sound(values, active.content, depth))
        }
        Shape::Structure(_) => values
            .members(value)
            .is_ok_and(|members| members.iter().all(|(_, member)| is_sound(values, *member, depth))),
        Shape::Pointer(Some(target)) => {
            let sized = values.program.ty(*target).is_some_and(|target| target.size > 0);
            match values.word(value.address) {
                // Null, or the dangling pointer of an empty vector.
                Ok(0..FIRST_PAGE) => !ty.name.starts_with('&') || !sized,
                Ok(address) => !sized || values.number(address, 1).is_ok(),
                Err(_) => false,
            }
        }
        _ => true,
    }
}
