//! From threads to runtimes. Tokio's thread-local `CONTEXT` has the handle of the runtime that the thread entered.

use std::collections::BTreeMap;

use super::subject::{STEPS, ThreadStart};
use crate::dwarf::{Unknown, Value, Values};
use crate::model::census::RuntimeNow;
use crate::model::task::TaskId;
use crate::tokio_internals::debug_info::{CONTEXT, CURRENT_HANDLE, ENTER_RUNTIME, OWNED_TASKS};

/// The maximum number of runtimes. Further runtimes are ignored.
const MAX_RUNTIMES: usize = 1024;

/// A runtime with its list of tasks.
#[derive(Debug)]
pub(super) struct RuntimeList {
    pub(super) runtime: RuntimeNow,
    /// Tokio's `OwnedTasks`.
    pub(super) owned: Value,
}

/// The runtime and task of a thread, from its `CONTEXT`.
#[derive(Clone, Debug, Default)]
pub(super) struct Entered {
    /// The position of its runtime.
    pub(super) runtime: Option<usize>,
    /// The task that it polls. Between polls, a worker has the id of no task here.
    pub(super) task: Option<TaskId>,
    /// The thread is inside `block_on` and polls a future that is not a task.
    pub(super) block_on: bool,
    /// Why this is unknown.
    pub(super) unknown: Option<String>,
}

/// The runtimes of a process.
#[derive(Debug, Default)]
pub(super) struct Runtimes {
    /// In the order of their addresses.
    pub(super) list: Vec<RuntimeList>,
    /// In the order of the given threads.
    pub(super) threads: Vec<Entered>,
}

impl Runtimes {
    pub(super) fn of(values: &Values<'_, '_>, starts: &[ThreadStart]) -> Self {
        let mut found: BTreeMap<u64, (String, Value)> = BTreeMap::new();
        let mut threads = Vec::new();
        for start in starts {
            values.set_budget(STEPS);
            let entered = match start.thread_locals {
                None => Err(Unknown::new("the address of its thread-local variables is unknown")),
                Some(block) => entered(values, block),
            };
            threads.push(match entered {
                Ok(Some((flavor, handle, task)))
                    if found.len() < MAX_RUNTIMES || found.contains_key(&handle.address) =>
                {
                    found.insert(handle.address, (flavor, handle));
                    let block_on = start.thread_locals.is_some_and(|block| in_block_on(values, block) == Ok(true));
                    (Some(handle.address), Entered { task, block_on, ..Entered::default() })
                }
                Ok(_) => (None, Entered::default()),
                Err(unknown) => (None, Entered { unknown: Some(unknown.to_string()), ..Entered::default() }),
            });
        }
        let addresses: Vec<u64> = found.keys().copied().collect();
        let position = |address: u64| addresses.binary_search(&address).ok();
        let threads: Vec<Entered> = threads
            .into_iter()
            .map(|(address, entered)| Entered { runtime: address.and_then(position), ..entered })
            .collect();
        let mut list = Vec::new();
        for (index, (address, (flavor, handle))) in found.into_iter().enumerate() {
            let count = threads.iter().filter(|thread| thread.runtime == Some(index)).count();
            let mut runtime = RuntimeNow { index, flavor, address, threads: count, unknown: None };
            values.set_budget(STEPS);
            let owned = values.find_named(handle, 8, OWNED_TASKS).unwrap_or_else(|unknown| {
                runtime.unknown = Some(unknown.to_string());
                handle
            });
            list.push(RuntimeList { runtime, owned });
        }
        Self { list, threads }
    }
}

/// Tokio's `Context` of a thread.
///
/// Each Tokio in a program has such a variable. Debug information may also describe one that the linker has left out, at the
/// offset 0, where other variables lie. So the one with a runtime is preferred, then one that can be read.
pub(super) fn context(values: &Values<'_, '_>, thread_locals: u64) -> Result<Value, Unknown> {
    let contexts = values.program.contexts();
    let mut found = contexts.iter().filter_map(|variable| {
        let storage = Value { ty: variable.ty, address: thread_locals.wrapping_add(variable.offset) };
        Some((variable.offset == 0, values.find_named(storage, 6, CONTEXT).ok()?))
    });
    let likeliest = match contexts {
        [_] => found.next(),
        _ => found.min_by_key(|(may_be_left_out, context)| {
            let entered = runtime_in(values, *context);
            (entered.is_err(), !matches!(entered, Ok(Some(_))), *may_be_left_out)
        }),
    };
    let (_, context) = likeliest.ok_or_else(|| Unknown::new("Tokio's CONTEXT was not found in the program"))?;
    Ok(context)
}

/// Whether a thread is inside `block_on` and not a worker of a multi-thread runtime.
fn in_block_on(values: &Values<'_, '_>, thread_locals: u64) -> Result<bool, Unknown> {
    let context = context(values, thread_locals)?;
    let entered = values.active_variant(values.find_named(values.member(context, "runtime")?, 4, ENTER_RUNTIME)?)?;
    if &*entered.name != "Entered" {
        return Ok(false);
    }
    let scheduler = values.dereference(values.member(context, "scheduler")?)?;
    // The thread inside `block_on` drives a current-thread runtime.
    Ok(scheduler.address == 0 || &*values.active_variant(scheduler)?.name == "CurrentThread")
}

/// The flavor and handle of the runtime that a thread entered, and the task that it polls.
pub(super) fn entered(
    values: &Values<'_, '_>,
    thread_locals: u64,
) -> Result<Option<(String, Value, Option<TaskId>)>, Unknown> {
    runtime_in(values, context(values, thread_locals)?)
}

/// The same, from Tokio's `Context`.
fn runtime_in(values: &Values<'_, '_>, context: Value) -> Result<Option<(String, Value, Option<TaskId>)>, Unknown> {
    let current = values.member(context, "current")?;
    let handle = values.find_named(current, 6, CURRENT_HANDLE)?;
    let handle = values.active_variant(handle)?;
    if &*handle.name != "Some" {
        return Ok(None);
    }
    let scheduler = values.active_variant(values.member(handle.content, "__0")?)?;
    let flavor = match &*scheduler.name {
        "MultiThread" => "multi_thread",
        "MultiThreadAlt" => "multi_thread_alt",
        "CurrentThread" => "current_thread",
        other => other,
    };
    let shared = values.dereference(values.member(scheduler.content, "__0")?)?;
    let handle = values.member(shared, "data")?;
    // Fails if there is no runtime at this address.
    values.word(handle.address)?;
    let task = values.member(context, "current_task_id").and_then(|cell| {
        let id = values.active_variant(values.find_named(cell, 4, "core::option::Option<")?)?;
        if &*id.name == "Some" { values.scalar(id.content).map(|id| Some(TaskId(id))) } else { Ok(None) }
    });
    Ok(Some((flavor.to_owned(), handle, task.ok().flatten())))
}
