//! Tasks that no runtime has a list of: those of a `LocalSet`, and those given to `spawn_blocking`. They are found in
//! memory. A task begins with a header, which points to a table of functions, and the function in it that polls tells the
//! task's type: so the tables are looked for among the program's constants, and what points to one of them is a header,
//! if all else fits.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;

use super::Subject;
use super::lock_owners::Held;
use super::tasks::{self, RawTask, TaskLayout, TaskReader};
use crate::dwarf::{Unknown, Value, Values, type_name};
use crate::model::census::{RuntimeNow, TaskNow};
use crate::model::task::TaskId;

/// Words of the program's constants that are read at a time.
const CHUNK: u64 = 64 * 1024;

/// Constants that are looked through.
const MAX_CONSTANTS: u64 = 256 << 20;

/// Tables of functions that are looked for.
const MAX_TABLES: usize = 100_000;

/// What wraps a function that is given to `spawn_blocking`.
const BLOCKING: &str = "tokio::runtime::blocking::task::BlockingTask<";

/// The workers of a runtime run on threads of its blocking pool. They are no tasks to anybody.
const WORKERS: &str = "tokio::runtime::scheduler::";

/// More references to one task are no references.
const MOST_REFERENCES: u64 = 1 << 24;

/// Which of them are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// Tasks of a `LocalSet`.
    LocalSets,
    /// Those, and functions on the blocking pool.
    All,
}

/// Whose a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Owner {
    /// The set, by its address.
    LocalSet(u64),
    BlockingPool,
}

impl Owner {
    fn flavor(self) -> &'static str {
        match self {
            Self::LocalSet(_) => RuntimeNow::LOCAL_SET,
            Self::BlockingPool => "blocking_pool",
        }
    }
}

impl Subject<'_, '_> {
    /// The tables of such tasks, in the program's constants; and how far the address of one lies behind the beginning of
    /// a header.
    pub(crate) fn unlisted_tables(&self, constants: &[Range<u64>], whose: Whose) -> Option<(HashSet<u64>, u64)> {
        let values = self.values();
        let layout = TaskLayout::of(&values).ok()?;
        let mut tables = HashSet::new();
        let mut bytes = vec![0; usize::try_from(CHUNK).ok()?];
        let mut left = MAX_CONSTANTS;
        for range in constants {
            let mut at = range.start & !7;
            while at < range.end && left > 0 && tables.len() < MAX_TABLES {
                let length = CHUNK.min(range.end - at);
                let chunk = bytes.get_mut(..usize::try_from(length).ok()?)?;
                // What cannot be read holds none.
                if self.memory.read(at, chunk) {
                    for (position, word) in chunk.chunks_exact(8).enumerate() {
                        let poll = word.try_into().map(u64::from_le_bytes).unwrap_or(0);
                        let table = (at + 8 * position as u64).wrapping_sub(layout.poll_offset());
                        if is_table(&values, &layout, table, poll, whose) {
                            tables.insert(table);
                        }
                    }
                }
                at += length;
                left = left.saturating_sub(length);
            }
        }
        Some((tables, layout.vtable_offset()))
    }

    /// The tasks at the headers that were found, with what they hold; and what they belong to, counted on from `first`.
    pub(super) fn unlisted_tasks(
        &self,
        reader: &TaskReader<'_, '_, '_>,
        first: usize,
        listed: &HashSet<TaskId>,
        held: &mut Vec<Held>,
    ) -> (Vec<TaskNow>, Vec<RuntimeNow>) {
        let mut owners: BTreeMap<Owner, Vec<TaskNow>> = BTreeMap::new();
        let mut seen: HashMap<TaskId, ()> = HashMap::new();
        for header in self.unlisted {
            reader.values.allow(super::STEPS);
            let Ok((raw, owner, id)) = reader.unlisted(*header) else { continue };
            if listed.contains(&id) || seen.insert(id, ()).is_some() {
                continue;
            }
            let (mut task, holds) = reader.read(raw);
            if owner == Owner::BlockingPool {
                let Some(function) = reader.blocking_function(raw) else { continue };
                // It has no awaits, and its stack tells the rest.
                (task.future, task.path) = (function, None);
            }
            held.extend(holds.into_iter().map(|holds| Held { holds, task: id }));
            owners.entry(owner).or_default().push(task);
        }
        let (mut tasks, mut runtimes) = (Vec::new(), Vec::new());
        for (position, (owner, own)) in owners.into_iter().enumerate() {
            let address = match owner {
                Owner::LocalSet(address) => address,
                Owner::BlockingPool => 0,
            };
            let index = first + position;
            let threads = own.iter().filter(|task| task.state == crate::model::census::TaskState::Running).count();
            runtimes.push(RuntimeNow { index, flavor: owner.flavor().to_owned(), address, threads, unknown: None });
            tasks.extend(own.into_iter().map(|task| TaskNow { runtime: index, ..task }));
        }
        (tasks, runtimes)
    }
}

/// Whether this is the table of a task of a `LocalSet`, or of a function on the blocking pool that is no worker.
fn is_table(values: &Values<'_, '_>, layout: &TaskLayout, table: u64, poll: u64, whose: Whose) -> bool {
    let types = values.program.tasks_polled_by(values.in_file(poll));
    let wanted = types.iter().any(|types| {
        let scheduler = values.program.name(types.scheduler);
        scheduler.contains("tokio::task::local::Shared")
            || (whose == Whose::All
                && scheduler.contains("tokio::runtime::blocking::schedule::")
                && blocking_type(&values.program.name(types.future)).is_some())
    });
    values.allow(super::STEPS);
    wanted && layout.trailer_of(values, table).is_ok()
}

/// The type of the function inside, unless it is a worker.
fn blocking_type(future: &str) -> Option<&str> {
    let inside = future.strip_prefix(BLOCKING)?.strip_suffix('>')?;
    (!inside.starts_with(WORKERS)).then_some(inside)
}

impl TaskReader<'_, '_, '_> {
    /// The task whose header lies there, and whose it is. Memory that is free again, or holds a copy from before the task
    /// was put where it is, has something that does not fit.
    fn unlisted(&self, header: u64) -> Result<(RawTask, Owner, TaskId), Unknown> {
        let values = self.values;
        let raw = tasks::at(values, self.layout, header)?;
        let references = self.layout.references(values, header)?;
        if !(1..MOST_REFERENCES).contains(&references) {
            return Err(Unknown::new("nobody refers to it"));
        }
        let id = tasks::id_of(values, self.layout, header)?;
        if id.0 == 0 {
            return Err(Unknown::new("it has no number"));
        }
        let mut name = String::new();
        let cell = self.cell(raw, &mut name)?;
        let scheduler = values.member(values.member(cell, "core")?, "scheduler")?;
        let scheduler_type = values.ty(scheduler)?;
        if scheduler_type.name.contains("tokio::task::local::Shared") {
            if self.layout.list(values, header)? == Some(0) {
                return Err(Unknown::new("it is in no set"));
            }
            return Ok((raw, Owner::LocalSet(self.local_set(scheduler)?), id));
        }
        Ok((raw, Owner::BlockingPool, id))
    }

    fn local_set(&self, scheduler: Value) -> Result<u64, Unknown> {
        Ok(self.values.behind(scheduler)?.address)
    }

    /// The name of a function on the blocking pool; `None` for a worker.
    fn blocking_function(&self, raw: RawTask) -> Option<String> {
        let types = tasks::types_of(self.values, self.layout, raw).ok()?;
        let names = types.iter().map(|types| self.values.program.name(types.future));
        let names: Vec<_> = names.filter_map(|name| Some(type_name(blocking_type(&name)?, None))).collect();
        // The linker found the code of several to be the same.
        if names.is_empty() { None } else { Some(names.join(" or ")) }
    }
}
