//! Reads one task: its state, the type of its future, and what it awaits.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use super::await_path::Walker;
use super::futurelock;
use super::lock_owners::HeldLock;
use super::semaphore_queue::Queues;
use super::subject::STEPS;
use super::task_layout::{RawTask, TaskLayout, state_of};
use crate::dwarf::{Shape, TypeId, Unknown, Value, Values, task_name, type_name};
use crate::model::address_hash::BuildAddressHasher;
use crate::model::census::{Await, SourcePlace, TaskNow, TaskState};
use crate::model::task::TaskId;
use crate::model::type_name::is_wrapper;
use crate::tokio_internals::debug_info::{CELL, STAGE};

/// The types of tasks that were read before, by the addresses of their vtables.
#[derive(Debug, Default)]
pub(super) struct KnownTypes(RefCell<HashMap<u64, Rc<CellType>, BuildAddressHasher>>);

/// The type of a task.
#[derive(Debug)]
struct CellType {
    /// Why it is unknown, otherwise.
    ty: Result<TypeId, Unknown>,
    /// The name of its future.
    future: String,
    /// Whether it keeps its spawn location.
    has_location: bool,
}

/// Reads the tasks of one runtime.
#[derive(Debug)]
pub(super) struct TaskReader<'v, 'a, 'd> {
    pub(super) values: &'v Values<'a, 'd>,
    pub(super) layout: &'v TaskLayout,
    pub(super) queues: &'v Queues,
    pub(super) types: &'v KnownTypes,
    /// The position of the runtime in the census.
    pub(super) runtime: usize,
    /// The monotonic clock.
    pub(super) now: Duration,
}

impl TaskReader<'_, '_, '_> {
    /// The task with its header at an address. `None` if there is no task.
    pub(super) fn read_at(&self, header: u64) -> Option<(TaskNow, Vec<HeldLock>)> {
        self.values.set_budget(STEPS);
        let (raw, _) = self.layout.task_and_next(self.values, header).ok()?;
        Some(self.read(raw))
    }

    /// A task, and the locks and permits that its futures hold.
    pub(super) fn read(&self, raw: RawTask) -> (TaskNow, Vec<HeldLock>) {
        let mut task = TaskNow::unread(self.runtime, "unknown".to_owned());
        let mut held = Vec::new();
        if let Err(unknown) = self.fill(raw, &mut task, &mut held) {
            task.unknown = Some(unknown.to_string());
        }
        (task, held)
    }

    /// Fills in the fields of a task in the order in which they can be read, up to the first that cannot.
    fn fill(&self, raw: RawTask, task: &mut TaskNow, held: &mut Vec<HeldLock>) -> Result<(), Unknown> {
        let values = self.values;
        values.keep_near(raw.header, raw.size);
        (task.state, task.cancelled) = state_of(self.layout.state_bits(values, raw.header)?);
        if let Some(offset) = self.layout.id_offset(values, raw)? {
            task.id = Some(TaskId(values.word(raw.header.wrapping_add(offset))?)).filter(|id| id.0 != 0);
        }
        let known = self.type_of(raw)?;
        known.future.clone_into(&mut task.future);
        let cell = Value { ty: known.ty.clone()?, address: raw.header };
        let core = values.member(cell, "core")?;
        if known.has_location {
            task.spawned_at = values.member(core, "spawned_at").and_then(|place| location(values, place)).ok();
        }
        let stage = values.find_named(core, 8, STAGE)?;
        let stage = values.active_variant(stage)?;
        if &*stage.name != "Running" {
            return Ok(());
        }
        let future = values.member(stage.content, "__0")?;
        let mut walker = Walker::new(values, self.layout, self.now);
        let path = walker.future(future)?;
        // Which futures a running task polls is not known.
        if task.state != TaskState::Running {
            task.unpolled = futurelock::unpolled_futures(&mut walker, self.queues);
        }
        *held = walker.into_held_locks();
        // The future inside a wrapper says more about a task than the wrapper.
        if let Some(future) = inside_wrappers(&path) {
            future.clone_into(&mut task.future);
        }
        task.path = Some(path);
        Ok(())
    }

    /// The task's memory as a value of its type.
    ///
    /// # Errors
    /// If the type is not described, or does not match the vtable.
    pub(super) fn cell(&self, raw: RawTask) -> Result<Value, Unknown> {
        Ok(Value { ty: self.type_of(raw)?.ty.clone()?, address: raw.header })
    }

    /// The type of a task. All tasks with one vtable have the same.
    fn type_of(&self, raw: RawTask) -> Result<Rc<CellType>, Unknown> {
        if let Some(known) = self.types.0.borrow().get(&raw.vtable) {
            return Ok(Rc::clone(known));
        }
        let found = Rc::new(self.read_type(raw)?);
        self.types.0.borrow_mut().insert(raw.vtable, Rc::clone(&found));
        Ok(found)
    }

    fn read_type(&self, raw: RawTask) -> Result<CellType, Unknown> {
        let values = self.values;
        let mut found = CellType {
            ty: Err(Unknown::new("the debug information does not describe its type: build with `debug = 2`")),
            future: "unknown".to_owned(),
            has_location: false,
        };
        for types in self.layout.types_of(values, raw)? {
            let future = values.program.name(types.future);
            let scheduler = values.program.name(types.scheduler);
            found.future = task_name(&future);
            let name = format!("{CELL}{future}, {scheduler}>");
            let Some(ty) = values.program.named(&name) else {
                found.ty =
                    Err(Unknown::new(format!("the debug information does not describe {}", type_name(&name, None))));
                continue;
            };
            let cell = Value { ty, address: raw.header };
            match values.member(cell, "trailer") {
                Ok(trailer) if trailer.address.wrapping_sub(raw.header) == raw.trailer => {
                    found.ty = Ok(ty);
                    let core = values.member(cell, "core");
                    found.has_location = core.and_then(|core| values.member(core, "spawned_at")).is_ok();
                    return Ok(found);
                }
                _ => found.ty = Err(Unknown::new("its type does not match its size")),
            }
        }
        Ok(found)
    }
}

/// The first future of a path that is not a wrapper.
fn inside_wrappers(path: &Await) -> Option<&str> {
    let mut node = path;
    while is_wrapper(&node.future) {
        node = node.children.first()?;
    }
    Some(&node.future)
}

/// The id of a task, and the name of its future's type.
pub(super) fn id_and_name(
    values: &Values<'_, '_>,
    layout: &TaskLayout,
    task: RawTask,
) -> Result<(TaskId, String), Unknown> {
    let id = layout.task_id(values, task.header)?;
    let types = layout.types_of(values, task)?.first();
    let types = types.ok_or_else(|| Unknown::new("the debug information does not describe its type"))?;
    Ok((id, task_name(&values.program.name(types.future))))
}

/// The source location in a `&'static Location`.
fn location(values: &Values<'_, '_>, reference: Value) -> Result<SourcePlace, Unknown> {
    const MAX_PATH: u64 = 4096;
    let place = values.dereference(reference)?;
    let line = values.scalar(values.member(place, "line")?)?;
    let is_path = |name: &str| matches!(name, "file" | "filename" | "file_bytes_with_nul");
    let members = values.members(place)?;
    let path = members.iter().find(|(name, _)| is_path(name));
    let path = path.ok_or_else(|| Unknown::new("a location without a file"))?.1;
    let slice = values
        .find(path, 4, &|ty| matches!(&ty.shape, Shape::Structure(parts) if parts.len() == 2))
        .ok_or_else(|| Unknown::new("a file without a name"))?;
    let start = values.word(values.member(slice, "data_ptr")?.address)?;
    let length = values.scalar(values.member(slice, "length")?)?.min(MAX_PATH);
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    if !values.memory.read(start, &mut bytes) {
        return Err(Unknown::new("the name of a file cannot be read"));
    }
    let file = String::from_utf8(bytes).ok().filter(|file| !file.trim_end_matches('\0').contains(char::is_control));
    let file = file.ok_or_else(|| Unknown::new("the name of a file is damaged"))?.trim_end_matches('\0').into();
    Ok(SourcePlace { file, line: u32::try_from(line).map_err(|_| Unknown::new("an invalid line number"))? })
}
