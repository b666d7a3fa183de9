//! A task's name that is known from outside the task: told to the worker's slot at every poll.

use super::names::{self, NameId};
use super::thread_slot;

/// The name of one task.
#[derive(Debug)]
pub(crate) struct TaskName {
    name: NameId,
    /// What the poll was called before, while this task's lasts.
    outer: Option<NameId>,
}

impl TaskName {
    /// `None` for an empty name, and when there is no room for another.
    pub(crate) fn new(name: &str) -> Option<Self> {
        let name = names::intern(name);
        (name != NameId::NONE).then_some(Self { name, outer: None })
    }

    /// The task's poll has begun on this thread. Tasks are also entered when they are dropped, which is no poll.
    pub(crate) fn enter(&mut self) {
        self.outer = thread_slot::current().filter(|slot| slot.polls()).map(|slot| slot.rename(self.name));
    }

    /// The task's poll ends on this thread.
    pub(crate) fn exit(&mut self) {
        if let (Some(outer), Some(slot)) = (self.outer.take(), thread_slot::current()) {
            slot.rename(outer);
        }
    }
}
