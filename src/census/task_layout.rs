//! The layout of a task: header, vtable and trailer.

use crate::dwarf::{TaskTypes, Unknown, Value, Values};
use crate::model::census::TaskState;
use crate::model::task::TaskId;
use crate::tokio_internals::debug_info::{HEADER, LINKED_LIST_POINTERS, TRAILER, VTABLE, task_state};

/// The maximum number of bytes of a task that are copied in advance. The rest is read when it is needed.
const MAX_COPIED: u64 = 64 * 1024;

/// The maximum distance from a task's header to its trailer.
const MAX_TRAILER: u64 = 1 << 30;

/// The state that the bits of a task's header encode, and whether the task was cancelled.
pub(super) fn state_of(state: u64) -> (TaskState, bool) {
    let what = match state {
        state if state & task_state::COMPLETE != 0 => TaskState::Complete,
        state if state & task_state::RUNNING != 0 => TaskState::Running,
        state if state & task_state::NOTIFIED != 0 => TaskState::Scheduled,
        // The list of the runtime is one reference, and a handle another one. Each waker is one more.
        state if state >> task_state::REFERENCES_SHIFT == 1 + u64::from(state & task_state::JOIN_INTEREST != 0) => {
            TaskState::Lost
        }
        _ => TaskState::Idle,
    };
    (what, state & task_state::CANCELLED != 0)
}

/// Offsets from the debug information. They are the same for all tasks.
#[derive(Clone, Copy, Debug)]
pub(super) struct TaskLayout {
    /// In the header.
    state: u64,
    /// In the header.
    vtable: u64,
    /// In the header: the id of the list that contains the task.
    owner_id: Option<u64>,
    /// In the vtable.
    poll: u64,
    /// In the vtable.
    trailer_offset: u64,
    /// In the vtable.
    id_offset: u64,
    /// In the trailer: the next task of the list.
    next: u64,
    trailer_size: u64,
}

/// A task with a plausible header.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawTask {
    pub(super) header: u64,
    pub(super) vtable: u64,
    /// The distance from the header to the trailer.
    pub(super) trailer: u64,
    pub(super) size: u64,
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
        let header = named(HEADER)?;
        let vtable = named(VTABLE)?;
        let trailer = named(TRAILER)?;
        let offset = |value, name| values.member(value, name).map(|member| member.address);
        let pointers = values.member(trailer, "owned")?;
        let pointers = values.find_named(pointers, 6, LINKED_LIST_POINTERS)?;
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

    /// The offset of the poll function in a vtable.
    pub(super) fn poll_offset(&self) -> u64 {
        self.poll
    }

    /// The offset of the vtable's address in a header.
    pub(super) fn vtable_offset(&self) -> u64 {
        self.vtable
    }

    /// The distance from a task's header to its trailer, which its vtable has.
    pub(super) fn trailer_of(&self, values: &Values<'_, '_>, vtable: u64) -> Result<u64, Unknown> {
        let trailer = values.word(vtable.wrapping_add(self.trailer_offset))?;
        if !trailer.is_multiple_of(8) || trailer > MAX_TRAILER {
            return Err(Unknown::new(format!("there is no vtable of a task at {vtable:#x}")));
        }
        Ok(trailer)
    }

    /// The bits of a task's state.
    pub(super) fn state_bits(&self, values: &Values<'_, '_>, header: u64) -> Result<u64, Unknown> {
        values.word(header.wrapping_add(self.state))
    }

    /// The reference count of a task.
    pub(super) fn references(&self, values: &Values<'_, '_>, header: u64) -> Result<u64, Unknown> {
        Ok(self.state_bits(values, header)? >> task_state::REFERENCES_SHIFT)
    }

    /// The id of the list that contains a task, 0 for none. `None` if this version of Tokio does not store it.
    pub(super) fn list_id(&self, values: &Values<'_, '_>, header: u64) -> Result<Option<u64>, Unknown> {
        self.owner_id.map(|offset| values.word(header.wrapping_add(offset))).transpose()
    }

    /// The task with its header at an address.
    pub(super) fn task_at(&self, values: &Values<'_, '_>, header: u64) -> Result<RawTask, Unknown> {
        let vtable = values.word(header.wrapping_add(self.vtable))?;
        let trailer = self.trailer_of(values, vtable)?;
        if !header.is_multiple_of(8) {
            return Err(Unknown::new(format!("there is no task at {header:#x}")));
        }
        Ok(RawTask { header, vtable, trailer, size: trailer.saturating_add(self.trailer_size) })
    }

    /// A task, and the header of the next task in its list. Fails if the trailer is not in memory.
    pub(super) fn task_and_next(&self, values: &Values<'_, '_>, header: u64) -> Result<(RawTask, u64), Unknown> {
        let task = self.task_at(values, header)?;
        let next = values.word(header.wrapping_add(task.trailer).wrapping_add(self.next))?;
        Ok((task, next))
    }

    /// The offset of a task's id from its header, unless it lies outside of the task.
    pub(super) fn id_offset(&self, values: &Values<'_, '_>, task: RawTask) -> Result<Option<u64>, Unknown> {
        let offset = values.word(task.vtable.wrapping_add(self.id_offset))?;
        Ok(Some(offset).filter(|offset| *offset < task.trailer))
    }

    /// The id of the task with its header at an address.
    pub(super) fn task_id(&self, values: &Values<'_, '_>, header: u64) -> Result<TaskId, Unknown> {
        let (task, _) = self.task_and_next(values, header)?;
        let offset = self.id_offset(values, task)?.ok_or_else(|| Unknown::new("the task has no id"))?;
        values.word(header.wrapping_add(offset)).map(TaskId)
    }

    /// The possible types of a task. There are several if the linker merged their poll functions.
    pub(super) fn types_of<'p>(&self, values: &Values<'p, '_>, task: RawTask) -> Result<&'p [TaskTypes], Unknown> {
        let poll = values.word(task.vtable.wrapping_add(self.poll))?;
        Ok(values.program.tasks_polled_by(values.file_address(poll)))
    }
}

impl RawTask {
    /// Reads the task's memory without using it, so that a copy of memory contains it.
    pub(super) fn touch(self, values: &Values<'_, '_>) {
        let mut bytes = vec![0; usize::try_from(self.size.min(MAX_COPIED)).unwrap_or(0)];
        // If it cannot be read, reading the task later reports that.
        let _readable = values.memory.read(self.header, &mut bytes);
    }
}
