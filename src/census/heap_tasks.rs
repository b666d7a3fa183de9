//! Tasks that are in no runtime's list: those of a `LocalSet`, and those given to `spawn_blocking`. They are found by a
//! search of the heap.
//!
//! A task begins with a header that points to a vtable. The poll function in the vtable identifies the type of the task. So
//! the vtables are searched for among the program's constants. Words on the heap that point to one of them belong to headers,
//! if everything else fits.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use super::lock_owners::{self, LockOwner};
use super::subject::{STEPS, Subject};
use super::task_layout::{RawTask, TaskLayout};
use super::task_reader::TaskReader;
use crate::dwarf::{Unknown, Value, Values, type_name};
use crate::model::census::{Census, RuntimeNow, TaskNow, TaskState};
use crate::model::task::TaskId;
use crate::tokio_internals::debug_info::{BLOCKING_POOL, BLOCKING_TASK, LOCAL_SET, STAGE, WORKERS};

/// The number of bytes of the program's constants that are read at a time.
const CHUNK: u64 = 64 * 1024;

/// The maximum number of bytes of constants that are searched.
const MAX_CONSTANTS: u64 = 256 << 20;

/// The maximum number of vtables that are found.
const MAX_VTABLES: usize = 100_000;

/// A larger reference count means invalid memory.
const MAX_REFERENCES: u64 = 1 << 24;

/// Which tasks are searched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeapTaskKinds {
    /// Tasks of a `LocalSet`.
    LocalSets,
    /// Tasks of a `LocalSet`, and functions on the blocking pool.
    All,
}

/// The owner of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    /// A `LocalSet`, with its address.
    LocalSet(u64),
    BlockingPool,
}

impl Owner {
    fn flavor(self) -> &'static str {
        match self {
            Self::LocalSet(_) => RuntimeNow::LOCAL_SET,
            Self::BlockingPool => RuntimeNow::BLOCKING_POOL,
        }
    }

    fn address(self) -> u64 {
        match self {
            Self::LocalSet(address) => address,
            Self::BlockingPool => 0,
        }
    }
}

impl Subject<'_, '_> {
    /// The vtables of such tasks among the program's constants, and the offset of a vtable's address in a header.
    pub(crate) fn heap_task_vtables(
        &self,
        constants: &[Range<u64>],
        kinds: HeapTaskKinds,
    ) -> Option<(HashSet<u64>, u64)> {
        let values = self.values();
        let layout = TaskLayout::of(&values).ok()?;
        let mut vtables = HashSet::new();
        let mut bytes = vec![0; usize::try_from(CHUNK).ok()?];
        let mut left = MAX_CONSTANTS;
        for range in constants {
            let mut at = range.start & !7;
            while at < range.end && left > 0 && vtables.len() < MAX_VTABLES {
                let length = CHUNK.min(range.end - at);
                let chunk = bytes.get_mut(..usize::try_from(length).ok()?)?;
                // A chunk that cannot be read is skipped.
                if self.memory.read(at, chunk) {
                    for (position, word) in chunk.chunks_exact(8).enumerate() {
                        let poll = word.try_into().map(u64::from_le_bytes).unwrap_or(0);
                        let vtable = (at + 8 * position as u64).wrapping_sub(layout.poll_offset());
                        if is_vtable(&values, &layout, vtable, poll, kinds) {
                            vtables.insert(vtable);
                        }
                    }
                }
                at += length;
                left = left.saturating_sub(length);
            }
        }
        Some((vtables, layout.vtable_offset()))
    }
}

/// Adds the tasks with these headers, unless they are in the census already, and adds their owners as runtimes.
pub(super) fn add_tasks(
    reader: &TaskReader<'_, '_, '_>,
    headers: &[u64],
    census: &mut Census,
    lock_owners: &mut Vec<LockOwner>,
) {
    let mut seen: HashSet<TaskId> = census.tasks.iter().filter_map(|task| task.id).collect();
    let mut by_owner: BTreeMap<Owner, Vec<TaskNow>> = BTreeMap::new();
    for header in headers {
        reader.values.set_budget(STEPS);
        let Ok((raw, owner, id)) = reader.heap_task(*header) else { continue };
        if !seen.insert(id) {
            continue;
        }
        let (mut task, held) = reader.read(raw);
        if owner == Owner::BlockingPool {
            let Some(function) = reader.blocking_function(raw) else { continue };
            // A function has no awaits. The stack of its thread shows where it is.
            (task.future, task.path) = (function, None);
        }
        lock_owners.extend(lock_owners::owned_by(id, held));
        by_owner.entry(owner).or_default().push(task);
    }
    for (owner, tasks) in by_owner {
        let index = census.runtimes.len();
        let threads = tasks.iter().filter(|task| task.state == TaskState::Running).count();
        let flavor = owner.flavor().to_owned();
        census.runtimes.push(RuntimeNow { index, flavor, address: owner.address(), threads, unknown: None });
        census.tasks.extend(tasks.into_iter().map(|task| TaskNow { runtime: index, ..task }));
    }
}

/// Whether this is the vtable of a task of the wanted kinds. Workers are not wanted.
fn is_vtable(values: &Values<'_, '_>, layout: &TaskLayout, vtable: u64, poll: u64, kinds: HeapTaskKinds) -> bool {
    let types = values.program.tasks_polled_by(values.file_address(poll));
    let wanted = types.iter().any(|types| {
        let scheduler = values.program.name(types.scheduler);
        scheduler.contains(LOCAL_SET)
            || (kinds == HeapTaskKinds::All
                && scheduler.contains(BLOCKING_POOL)
                && blocking_type(&values.program.name(types.future)).is_some())
    });
    values.set_budget(STEPS);
    wanted && layout.trailer_of(values, vtable).is_ok()
}

/// The type of the function in a blocking task. `None` for a worker.
fn blocking_type(future: &str) -> Option<&str> {
    let inside = future.strip_prefix(BLOCKING_TASK)?.strip_suffix('>')?;
    (!inside.starts_with(WORKERS)).then_some(inside)
}

impl TaskReader<'_, '_, '_> {
    /// The task with its header at an address, with its owner. Freed memory, and a copy from before the task was moved to
    /// its place, fail one of the checks.
    fn heap_task(&self, header: u64) -> Result<(RawTask, Owner, TaskId), Unknown> {
        let values = self.values;
        let raw = self.layout.task_at(values, header)?;
        let references = self.layout.references(values, header)?;
        if !(1..MAX_REFERENCES).contains(&references) {
            return Err(Unknown::new("its reference count is invalid"));
        }
        let id = self.layout.task_id(values, header)?;
        if id.0 == 0 {
            return Err(Unknown::new("it has no id"));
        }
        let cell = self.cell(raw)?;
        let scheduler = values.member(values.member(cell, "core")?, "scheduler")?;
        let scheduler_type = values.ty(scheduler)?;
        // Freed memory keeps its header for a while, and not its future.
        values.active_variant(values.find_named(values.member(cell, "core")?, 8, STAGE)?)?;
        if scheduler_type.name.contains(LOCAL_SET) {
            if self.layout.list_id(values, header)? == Some(0) {
                return Err(Unknown::new("it is in no list"));
            }
            return Ok((raw, Owner::LocalSet(self.local_set(scheduler)?), id));
        }
        Ok((raw, Owner::BlockingPool, id))
    }

    /// The address of a `LocalSet`.
    fn local_set(&self, scheduler: Value) -> Result<u64, Unknown> {
        Ok(self.values.dereference(scheduler)?.address)
    }

    /// The name of a function on the blocking pool. `None` for a worker.
    fn blocking_function(&self, raw: RawTask) -> Option<String> {
        let types = self.layout.types_of(self.values, raw).ok()?;
        let names = types.iter().map(|types| self.values.program.name(types.future));
        let names: Vec<_> = names.filter_map(|name| Some(type_name(blocking_type(&name)?, None))).collect();
        // The linker may have merged several functions.
        if names.is_empty() { None } else { Some(names.join(" or ")) }
    }
}
