//! Tasks: Tokio's id, the spawn location and the user's name.

use std::panic::Location;
use std::sync::Arc;

/// Tokio's id of a task, as [`tokio::task::Id`] prints it. Never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId(pub u64);

impl std::fmt::Display for TaskId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A task, as far as it is known. The future given to `block_on` is no task, and has no id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Task {
    /// Tokio's id. `None` for the future given to `block_on`.
    pub id: Option<TaskId>,
    /// The name given with [`spawn_named`](crate::spawn_named) or [`watched_as`](crate::WatchFutureExt::watched_as); of
    /// nested names, the innermost one in the poll. For a task of another process: the type name of its future.
    pub name: Option<Arc<str>>,
    /// Where the task was spawned, or where its future was given to holdup.
    pub spawned_at: Option<&'static Location<'static>>,
}

impl Task {
    /// The spawn location as `file:line`.
    #[must_use]
    pub fn place(&self) -> Option<String> {
        self.spawned_at.map(|place| format!("{}:{}", short_source(place.file()), place.line()))
    }
}

/// A source path without the folders of cargo's registry.
pub(crate) fn short_source(file: &str) -> &str {
    file.split_once("/registry/src/").and_then(|(_, rest)| rest.split_once('/')).map_or(file, |(_, rest)| rest)
}
