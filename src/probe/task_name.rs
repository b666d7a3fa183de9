//! A task name that comes from a tracing span. Every poll of the task writes it to the worker's slot.

use super::names::NameId;
use super::thread_slot;

/// The name of one task.
#[derive(Debug)]
pub(crate) struct TaskName {
    name: NameId,
    /// The name of the outer poll, while this task is polled.
    outer: Option<NameId>,
}

impl TaskName {
    /// `None` for an empty name, or if the limit of names is reached.
    pub(crate) fn new(name: &str) -> Option<Self> {
        NameId::of(name).map(|name| Self { name, outer: None })
    }

    /// The span was entered on this thread. That is a poll, or the drop of the task, which sets no name.
    pub(crate) fn enter(&mut self) {
        self.outer = thread_slot::current().filter(|slot| slot.polls()).map(|slot| slot.rename(self.name));
    }

    /// The span was exited on this thread.
    pub(crate) fn exit(&mut self) {
        if let (Some(outer), Some(slot)) = (self.outer.take(), thread_slot::current()) {
            slot.rename(outer);
        }
    }
}
