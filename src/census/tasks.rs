//! From runtimes to tasks: a runtime keeps its tasks in lists that run through the tasks themselves.

use std::collections::HashSet;
use std::time::Duration;

use super::STEPS;
use super::await_path::{Holds, Walker};
use crate::dwarf::{TaskTypes, Unknown, Value, Values, task_name, type_name};
use crate::model::census::{Await, SourcePlace, TaskNow, TaskState};
use crate::model::task::TaskId;
use crate::model::type_name::is_wrapper;

/// Tasks of one runtime.
const MAX_TASKS: usize = 1_000_000;

/// A task's memory is copied up to this size; what is beyond is read when it is needed.
const MAX_TOUCHED: u64 = 64 * 1024;

/// A longer list of lists is no list.
const MAX_SHARDS: u64 = 1 << 16;

/// Offsets that the debug information gives; the same for every task.
#[derive(Clone, Copy, Debug)]
pub(super) struct TaskLayout {
    state: u64,
    vtable: u64,
    /// Which list it is in.
    owner_id: Option<u64>,
    /// In the vtable.
    poll: u64,
    trailer_offset: u64,
    id_offset: u64,
    /// In the trailer.
    next: u64,
    trailer_size: u64,
}

impl TaskLayout {
    pub(super) fn of(values: &Values<'_, '_>) -> Result<Self, Unknown> {
        let named = |name: &str| {
            let ty = values
                .program
                .named(name)
                .ok_or_else(|| Unknown::new(format!("the program's debug information does not describe {name}")))?;
            Ok(Value { ty, address: 0 })
        };
        let header = named("tokio::runtime::task::core::Header")?;
        let vtable = named("tokio::runtime::task::raw::Vtable")?;
        let trailer = named("tokio::runtime::task::core::Trailer")?;
        let offset = |value, name| values.member(value, name).map(|member| member.address);
        let pointers = values.member(trailer, "owned")?;
        let pointers = values.find_named(pointers, 6, "tokio::util::linked_list::PointersInner<")?;
        Ok(Self {
            state: offset(header, "state")?,
            vtable: offset(header, "vtable")?,
            owner_id: offset(header, "owner_id").ok(),
            poll: offset(vtable, "poll")?,
            trailer_offset: offset(vtable, "trailer_offset")?,
            id_offset: offset(vtable, "id_offset")?,
            next: offset(pointers, "next")?,
            trailer_size: values.ty(trailer)?.size,
        })
    }
}

impl TaskLayout {
    pub(super) fn poll_offset(&self) -> u64 {
        self.poll
    }

    pub(super) fn vtable_offset(&self) -> u64 {
        self.vtable
    }

    /// How far a task's trailer lies behind its header, by its table of functions.
    pub(super) fn trailer_of(&self, values: &Values<'_, '_>, vtable: u64) -> Result<u64, Unknown> {
        let trailer = values.word(vtable.wrapping_add(self.trailer_offset))?;
        if !trailer.is_multiple_of(8) || trailer > 1 << 30 {
            return Err(Unknown::new(format!("{vtable:#x} is no table of a task")));
        }
        Ok(trailer)
    }

    /// How many refer to a task.
    pub(super) fn references(&self, values: &Values<'_, '_>, header: u64) -> Result<u64, Unknown> {
        Ok(values.word(header.wrapping_add(self.state))? >> bits::REFERENCES)
    }

    /// The number of the list that a task is in, 0 for none; `None` where that is not told.
    pub(super) fn list(&self, values: &Values<'_, '_>, header: u64) -> Result<Option<u64>, Unknown> {
        self.owner_id.map(|offset| values.word(header.wrapping_add(offset))).transpose()
    }
}

/// A task whose place in memory makes sense.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawTask {
    header: u64,
    vtable: u64,
    /// From the header to the trailer.
    trailer: u64,
    size: u64,
}

/// Calls `visit` for every task in a runtime's lists, or for the newest so many of each list.
///
/// # Errors
/// When a list leads to where no task is; the tasks before that were visited.
pub(super) fn walk(
    values: &Values<'_, '_>,
    layout: &TaskLayout,
    owned: Value,
    newest: usize,
    visit: &mut dyn FnMut(RawTask),
) -> Result<(), Unknown> {
    let mut seen = HashSet::new();
    let mut outcome = Ok(());
    values.allow(STEPS);
    for list in lists(values, owned)? {
        values.allow(STEPS);
        let head = values.find_named(list, 8, "tokio::util::linked_list::LinkedList<")?;
        let mut next = values.address(values.member(head, "head")?)?;
        let mut visited = 0;
        // A new task is put in front.
        while next != 0 && visited < newest {
            visited += 1;
            if seen.len() >= MAX_TASKS {
                return Err(Unknown::new(format!("only the first {MAX_TASKS} tasks are shown")));
            }
            if !seen.insert(next) {
                outcome = Err(Unknown::new("a list of tasks runs in a circle; tasks are missing"));
                break;
            }
            values.allow(STEPS);
            match step(values, layout, next) {
                Ok((task, behind)) => {
                    visit(task);
                    next = behind;
                }
                Err(unknown) => {
                    outcome = Err(Unknown::new(format!("a list of tasks is broken ({unknown}); tasks are missing")));
                    break;
                }
            }
        }
    }
    outcome
}

/// A runtime has one list, or a boxed slice of them.
fn lists(values: &Values<'_, '_>, owned: Value) -> Result<Vec<Value>, Unknown> {
    let Ok(sharded) = values.find_named(owned, 6, "tokio::util::sharded_list::ShardedList<") else {
        return Ok(vec![owned]);
    };
    let slice = values.member(sharded, "lists")?;
    let first = values.pointee(values.member(slice, "data_ptr")?)?;
    let count = values.scalar(values.member(slice, "length")?)?;
    let size = values.ty(first)?.size;
    if count > MAX_SHARDS {
        return Err(Unknown::new(format!("{count} lists of tasks")));
    }
    Ok((0..count).map(|index| Value { ty: first.ty, address: first.address.wrapping_add(index * size) }).collect())
}

/// A task, and the header of the next.
fn step(values: &Values<'_, '_>, layout: &TaskLayout, header: u64) -> Result<(RawTask, u64), Unknown> {
    let task = at(values, layout, header)?;
    let next = values.word(header.wrapping_add(task.trailer).wrapping_add(layout.next))?;
    Ok((task, next))
}

/// The task whose header lies there.
pub(super) fn at(values: &Values<'_, '_>, layout: &TaskLayout, header: u64) -> Result<RawTask, Unknown> {
    let vtable = values.word(header.wrapping_add(layout.vtable))?;
    let trailer = layout.trailer_of(values, vtable)?;
    if !header.is_multiple_of(8) {
        return Err(Unknown::new(format!("{header:#x} is no task")));
    }
    Ok(RawTask { header, vtable, trailer, size: trailer.saturating_add(layout.trailer_size) })
}

/// What its table of functions says it is: several types, where the linker found their code to be the same.
pub(super) fn types_of<'p>(
    values: &Values<'p, '_>,
    layout: &TaskLayout,
    task: RawTask,
) -> Result<&'p [TaskTypes], Unknown> {
    let poll = values.word(task.vtable.wrapping_add(layout.poll))?;
    Ok(values.program.tasks_polled_by(values.in_file(poll)))
}

/// Reads a task's memory.
pub(super) fn touch(values: &Values<'_, '_>, task: RawTask) {
    let mut bytes = vec![0; usize::try_from(task.size.min(MAX_TOUCHED)).unwrap_or(0)];
    // What is not there is told when the task is read.
    let _there = values.memory.read(task.header, &mut bytes);
}

/// Reads tasks of one runtime.
#[derive(Debug)]
pub(super) struct TaskReader<'v, 'a, 'd> {
    pub(super) values: &'v Values<'a, 'd>,
    pub(super) layout: &'v TaskLayout,
    pub(super) runtime: usize,
    pub(super) now: Duration,
}

/// Bits of a task's state, as in Tokio's `runtime/task/state.rs`; they are no part of the debug information.
mod bits {
    pub(super) const RUNNING: u64 = 1;
    pub(super) const COMPLETE: u64 = 1 << 1;
    pub(super) const NOTIFIED: u64 = 1 << 2;
    pub(super) const CANCELLED: u64 = 1 << 5;
    /// Above these, the number of references.
    pub(super) const REFERENCES: u32 = 6;
}

/// What the bits of a task's state mean, and whether it was told to end.
pub(super) fn state_of(state: u64) -> (TaskState, bool) {
    let what = match state {
        state if state & bits::COMPLETE != 0 => TaskState::Complete,
        state if state & bits::RUNNING != 0 => TaskState::Running,
        state if state & bits::NOTIFIED != 0 => TaskState::Scheduled,
        _ => TaskState::Idle,
    };
    (what, state & bits::CANCELLED != 0)
}

impl TaskReader<'_, '_, '_> {
    /// The task whose header is at an address; `None` where there is none.
    pub(super) fn read_at(&self, header: u64) -> Option<(TaskNow, Vec<Holds>)> {
        self.values.allow(STEPS);
        let (raw, _) = step(self.values, self.layout, header).ok()?;
        Some(self.read(raw))
    }

    /// A task, and the locks and permits that its futures hold.
    pub(super) fn read(&self, raw: RawTask) -> (TaskNow, Vec<Holds>) {
        let mut task = TaskNow {
            id: None,
            runtime: self.runtime,
            state: TaskState::Unknown,
            cancelled: false,
            future: "unknown".to_owned(),
            spawned_at: None,
            thread: None,
            path: None,
            unpolled: Vec::new(),
            unknown: None,
        };
        let mut holds = Vec::new();
        if let Err(unknown) = self.fill(raw, &mut task, &mut holds) {
            task.unknown = Some(unknown.to_string());
        }
        (task, holds)
    }

    fn fill(&self, raw: RawTask, task: &mut TaskNow, holds: &mut Vec<Holds>) -> Result<(), Unknown> {
        let values = self.values;
        let state = values.word(raw.header.wrapping_add(self.layout.state))?;
        (task.state, task.cancelled) = state_of(state);
        let id_offset = values.word(raw.vtable.wrapping_add(self.layout.id_offset))?;
        if id_offset < raw.trailer {
            task.id = Some(TaskId(values.word(raw.header.wrapping_add(id_offset))?)).filter(|id| id.0 != 0);
        }
        let cell = self.cell(raw, &mut task.future)?;
        let core = values.member(cell, "core")?;
        task.spawned_at = values.member(core, "spawned_at").and_then(|place| location(values, place)).ok();
        let stage = values.find_named(core, 8, "tokio::runtime::task::core::Stage<")?;
        let stage = values.active(stage)?;
        if stage.name != "Running" {
            return Ok(());
        }
        let future = values.member(stage.content, "__0")?;
        let mut walker = Walker::new(values, self.layout, self.now);
        let path = walker.future(future)?;
        // What a running task polls now is not known.
        if task.state != TaskState::Running {
            task.unpolled = walker.unpolled();
        }
        *holds = walker.into_holds();
        // A wrapper that tells nothing of what is inside is known by its type.
        if let Some(future) = inside_wrappers(&path) {
            future.clone_into(&mut task.future);
        }
        task.path = Some(path);
        Ok(())
    }

    /// The task's memory with its type, which must fit what the vtable says.
    pub(super) fn cell(&self, raw: RawTask, told: &mut String) -> Result<Value, Unknown> {
        let values = self.values;
        let candidates = types_of(values, self.layout, raw)?;
        let mut why = Unknown::new("the debug information does not describe its type: build with `debug = 2`");
        for types in candidates {
            let future = values.program.name(types.future);
            let scheduler = values.program.name(types.scheduler);
            *told = task_name(&future);
            let name = format!("tokio::runtime::task::core::Cell<{future}, {scheduler}>");
            let Some(ty) = values.program.named(&name) else {
                why = Unknown::new(format!("the debug information does not describe {}", type_name(&name, None)));
                continue;
            };
            let cell = Value { ty, address: raw.header };
            match values.member(cell, "trailer") {
                Ok(trailer) if trailer.address.wrapping_sub(raw.header) == raw.trailer => return Ok(cell),
                _ => why = Unknown::new("its type does not fit its size"),
            }
        }
        Err(why)
    }
}

/// The first future of a path that is no wrapper.
fn inside_wrappers(path: &Await) -> Option<&str> {
    let mut node = path;
    while is_wrapper(&node.future) {
        node = node.children.first()?;
    }
    Some(&node.future)
}

/// A task's number, and the name of its future's type.
pub(super) fn named(values: &Values<'_, '_>, layout: &TaskLayout, task: RawTask) -> Result<(TaskId, String), Unknown> {
    let id = id_of(values, layout, task.header)?;
    let types = types_of(values, layout, task)?.first();
    let types = types.ok_or_else(|| Unknown::new("the debug information does not describe its type"))?;
    Ok((id, task_name(&values.program.name(types.future))))
}

/// Looks up the number of the task that a handle points to.
pub(super) fn id_of(values: &Values<'_, '_>, layout: &TaskLayout, header: u64) -> Result<TaskId, Unknown> {
    let (raw, _) = step(values, layout, header)?;
    let id_offset = values.word(raw.vtable.wrapping_add(layout.id_offset))?;
    if id_offset >= raw.trailer {
        return Err(Unknown::new("no task's number"));
    }
    values.word(header.wrapping_add(id_offset)).map(TaskId)
}

/// A `&'static Location`.
fn location(values: &Values<'_, '_>, reference: Value) -> Result<SourcePlace, Unknown> {
    const LONGEST: u64 = 4096;
    let place = values.behind(reference)?;
    let line = values.scalar(values.member(place, "line")?)?;
    let is_text = |name: &str| matches!(name, "file" | "filename" | "file_bytes_with_nul");
    let members = values.members(place)?;
    let text = members.iter().find(|(name, _)| is_text(name)).ok_or_else(|| Unknown::new("a place without file"))?.1;
    let text = values
        .find(text, 4, &|ty| matches!(&ty.shape, crate::dwarf::Shape::Structure(parts) if parts.len() == 2))
        .ok_or_else(|| Unknown::new("a file without name"))?;
    let start = values.word(values.member(text, "data_ptr")?.address)?;
    let length = values.scalar(values.member(text, "length")?)?.min(LONGEST);
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    if !values.memory.read(start, &mut bytes) {
        return Err(Unknown::new("a file's name is not in memory"));
    }
    let file = String::from_utf8_lossy(&bytes).trim_end_matches('\0').into();
    Ok(SourcePlace { file, line: u32::try_from(line).map_err(|_| Unknown::new("no line"))? })
}
