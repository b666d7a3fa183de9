//! Futures given to `block_on`, which are no tasks. No list leads to them: each lies on the stack of the thread that polls
//! it, or in a box that this stack has a pointer to. Addresses of code on the stack tell its type, and where it lies is found
//! by trying every place of the stack. Elsewhere its state, and all that it keeps in it, makes no sense; where more than one
//! place does, none is told.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use super::await_path::{Walker, is_coroutine};
use super::runtimes::Runtimes;
use super::tasks::TaskLayout;
use super::{STEPS, Subject};
use crate::dwarf::{Shape, Value, Values};
use crate::model::census::{Await, WaitsFor};

/// Bytes of a stack that are looked through, from where the thread is outwards.
const MAX_STACK: u64 = 1 << 20;

/// Types that are tried.
const MAX_TYPES: usize = 64;

/// How deep in a future is looked for the first coroutine, and for what makes no sense.
const DEPTH: u32 = 12;

/// Nothing lies before this address.
const FIRST_PAGE: u64 = 4096;

/// Where a value on a stack may begin.
const ALIGNMENT: usize = 8;

/// Where the future lies that a thread in `block_on` polls, by the thread's number.
pub(crate) type Roots = HashMap<i32, Value>;

impl Subject<'_, '_> {
    /// Looks for them, which reads memory all over: best through a copy that nobody else uses.
    pub(crate) fn find_roots(&self) -> Roots {
        let values = self.values();
        let Ok(layout) = TaskLayout::of(&values) else { return Roots::new() };
        let runtimes = Runtimes::of(&values, self.threads);
        let threads = self.threads.iter().zip(runtimes.threads).filter(|(_, entered)| entered.block_on);
        let found = threads.filter_map(|(start, _)| Some((start.tid, find(&values, &layout, start.stack.as_ref()?)?)));
        found.collect()
    }
}

/// What the future awaits that lies there, if it still does.
pub(super) fn path(values: &Values<'_, '_>, layout: &TaskLayout, now: Duration, future: Value) -> Option<Await> {
    values.allow(STEPS);
    if !is_suspended(values, future, DEPTH) {
        return None;
    }
    let mut walker = Walker::new(values, layout, now);
    let path = walker.future(future).ok()?;
    let kept = walker.take_suspended();
    // However much of them the path took.
    values.allow(STEPS);
    (is_known(&path) && kept.iter().all(|kept| makes_sense(values, kept.state, DEPTH))).then_some(path)
}

fn find(values: &Values<'_, '_>, layout: &TaskLayout, stack: &Range<u64>) -> Option<Value> {
    let end = stack.end.min(stack.start.saturating_add(MAX_STACK));
    let places = || ((stack.start & !7)..end).step_by(ALIGNMENT);
    let mut types = Vec::new();
    for address in places() {
        values.allow(STEPS);
        // A function returns behind its call.
        let Ok(word) = values.word(address) else { continue };
        for ty in values.program.polled_at(values.in_file(word).wrapping_sub(1)) {
            if types.len() < MAX_TYPES && !types.contains(&ty) {
                types.push(ty);
            }
        }
    }
    let mut found: Vec<(Value, Await)> = Vec::new();
    for ty in types {
        let futures = places().map(|address| Value { ty, address });
        found.extend(futures.filter_map(|future| Some((future, path(values, layout, Duration::ZERO, future)?))));
    }
    // The same one may be seen through a pointer, and from inside what wraps it.
    let is_inside = |path: &Await| found.iter().any(|(_, other)| other.children.iter().any(|child| leads(child, path)));
    let outermost: Vec<&(Value, Await)> = found.iter().filter(|(_, path)| !is_inside(path)).collect();
    let ((future, path), others) = outermost.split_first()?;
    others.iter().all(|(_, other)| other == path).then_some(*future)
}

/// Whether `path` is a part of what is awaited here.
fn leads(node: &Await, path: &Await) -> bool {
    node == path || node.children.iter().any(|child| leads(child, path))
}

/// Whether the first coroutine in a future, or behind its pointers, stands at an await.
fn is_suspended(values: &Values<'_, '_>, future: Value, depth: u32) -> bool {
    let (Some(depth), Ok(ty)) = (depth.checked_sub(1), values.ty(future)) else { return false };
    match &ty.shape {
        _ if is_coroutine(&ty) => values.active(future).is_ok_and(|state| is_await(&state.name)),
        Shape::Variants { .. } => values.active(future).is_ok_and(|state| is_suspended(values, state.content, depth)),
        Shape::Pointer(Some(_)) => values.pointee(future).is_ok_and(|target| is_suspended(values, target, depth)),
        Shape::Structure(_) => values
            .members(future)
            .is_ok_and(|members| members.iter().any(|(_, member)| is_suspended(values, *member, depth))),
        _ => false,
    }
}

/// The compiler calls them `Suspend0` and so on.
fn is_await(state: &str) -> bool {
    state.starts_with("Suspend")
}

/// Whether all of a path could be read, and can be true: what a coroutine awaits has been polled, and is not over.
fn is_known(path: &Await) -> bool {
    let unknown = |text: &str| text.starts_with("unknown") || text.starts_with("more futures");
    let awaited = match &*path.children {
        [only] if path.place.is_some() => only.place.is_some() || only.note.is_none(),
        _ => true,
    };
    awaited
        && !path.note.as_deref().is_some_and(unknown)
        && !matches!(&path.waits_for, Some(WaitsFor::Other(what)) if unknown(what))
        && path.children.iter().all(is_known)
}

/// Whether references lead to memory and enums are in a state that they have. What is not always there is not looked at.
fn makes_sense(values: &Values<'_, '_>, value: Value, depth: u32) -> bool {
    let Some(depth) = depth.checked_sub(1) else { return true };
    let Ok(ty) = values.ty(value) else { return true };
    if ty.name.starts_with("core::mem::maybe_uninit::MaybeUninit<") {
        return true;
    }
    match &ty.shape {
        Shape::Variants { .. } => values.active(value).is_ok_and(|active| makes_sense(values, active.content, depth)),
        Shape::Structure(_) => values
            .members(value)
            .is_ok_and(|members| members.iter().all(|(_, member)| makes_sense(values, *member, depth))),
        Shape::Pointer(Some(target)) => {
            let sized = values.program.ty(*target).is_some_and(|target| target.size > 0);
            match values.word(value.address) {
                // Null, or the place of an empty vector.
                Ok(0..FIRST_PAGE) => !ty.name.starts_with('&') || !sized,
                Ok(address) => !sized || values.number(address, 1).is_ok(),
                Err(_) => false,
            }
        }
        _ => true,
    }
}
