//! From threads to runtimes: each thread keeps the handle of the runtime that it entered in Tokio's `CONTEXT`.

use std::collections::BTreeMap;

use super::{STEPS, Start};
use crate::dwarf::{Unknown, Value, Values};
use crate::model::census::RuntimeNow;
use crate::model::task::TaskId;

/// Runtimes that are looked at; the rest is unknown.
const MAX_RUNTIMES: usize = 1024;

/// A runtime, and where its list of tasks is.
#[derive(Debug)]
pub(super) struct RuntimeList {
    pub(super) told: RuntimeNow,
    pub(super) owned: Value,
}

/// What a thread says of itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Entered {
    /// The position of its runtime.
    pub(super) runtime: Option<usize>,
    /// What it says it polls.
    pub(super) task: Option<TaskId>,
    /// It is inside `block_on`, whose future is no task.
    pub(super) block_on: bool,
    pub(super) unknown: Option<String>,
}

/// All of both.
#[derive(Debug, Default)]
pub(super) struct Runtimes {
    pub(super) list: Vec<RuntimeList>,
    /// In the order of the threads that were given.
    pub(super) threads: Vec<Entered>,
}

impl Runtimes {
    pub(super) fn of(values: &Values<'_, '_>, starts: &[Start]) -> Self {
        let mut found: BTreeMap<u64, (String, Value)> = BTreeMap::new();
        let mut threads = Vec::new();
        for start in starts {
            values.allow(STEPS);
            let entered = match start.thread_locals {
                None => Err(Unknown::new("where its thread-local variables are is not known")),
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
            let mut told = RuntimeNow { index, flavor, address, threads: count, unknown: None };
            values.allow(STEPS);
            let owned =
                values.find_named(handle, 8, "tokio::runtime::task::list::OwnedTasks<").unwrap_or_else(|unknown| {
                    told.unknown = Some(unknown.to_string());
                    handle
                });
            list.push(RuntimeList { told, owned });
        }
        Self { list, threads }
    }
}

/// What Tokio knows about a thread.
pub(super) fn context(values: &Values<'_, '_>, block: u64) -> Result<Value, Unknown> {
    let contexts = values.program.contexts();
    let found = contexts.iter().find_map(|variable| {
        let storage = Value { ty: variable.ty, address: block.wrapping_add(variable.offset) };
        values.find_named(storage, 6, "tokio::runtime::context::Context").ok()
    });
    found.ok_or_else(|| Unknown::new("the program's Tokio keeps no CONTEXT that can be found"))
}

/// Whether a thread runs a runtime, and is no worker of a multi-thread one.
fn in_block_on(values: &Values<'_, '_>, block: u64) -> Result<bool, Unknown> {
    let context = context(values, block)?;
    let entered = values.active(values.find_named(
        values.member(context, "runtime")?,
        4,
        "tokio::runtime::context::runtime::EnterRuntime",
    )?)?;
    if entered.name != "Entered" {
        return Ok(false);
    }
    let scheduler = values.behind(values.member(context, "scheduler")?)?;
    // A current-thread runtime is run by whoever is inside `block_on`.
    Ok(scheduler.address == 0 || values.active(scheduler)?.name == "CurrentThread")
}

/// The flavor and handle of the runtime that a thread has entered, and the task it polls.
pub(super) fn entered(values: &Values<'_, '_>, block: u64) -> Result<Option<(String, Value, Option<TaskId>)>, Unknown> {
    let context = context(values, block)?;
    let current = values.member(context, "current")?;
    let handle = values.find_named(current, 6, "core::option::Option<tokio::runtime::scheduler::Handle>")?;
    let handle = values.active(handle)?;
    if handle.name != "Some" {
        return Ok(None);
    }
    let scheduler = values.active(values.member(handle.content, "__0")?)?;
    let flavor = match scheduler.name.as_str() {
        "MultiThread" => "multi_thread",
        "MultiThreadAlt" => "multi_thread_alt",
        "CurrentThread" => "current_thread",
        other => other,
    };
    let shared = values.behind(values.member(scheduler.content, "__0")?)?;
    let handle = values.member(shared, "data")?;
    // Readable, or it is no runtime.
    values.word(handle.address)?;
    let task = values.member(context, "current_task_id").and_then(|cell| {
        let id = values.active(values.find_named(cell, 4, "core::option::Option<")?)?;
        if id.name == "Some" { values.scalar(id.content).map(|id| Some(TaskId(id))) } else { Ok(None) }
    });
    Ok(Some((flavor.to_owned(), handle, task.ok().flatten())))
}
