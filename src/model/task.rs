//! Which task a worker polls: Tokio's id, the place that spawned it and the name the user gave it.

use std::panic::Location;
use std::sync::Arc;

/// Tokio's id of a task, as `tokio::task::Id` prints it. Never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId(pub u64);

impl std::fmt::Display for TaskId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The task inside a poll. Every part may be unknown: the future given to `block_on` is no task and has no id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Task {
    /// Tokio's id, `None` for the future given to `block_on`.
    pub id: Option<TaskId>,
    /// The name given with [`spawn_named`](crate::spawn_named) or [`watched_as`](crate::WatchFutureExt::watched_as);
    /// the innermost one that was being polled. Of another process's task: the name of its future's type.
    pub name: Option<Arc<str>>,
    /// Where the task was spawned, or where the future was given to holdup.
    pub spawned_at: Option<&'static Location<'static>>,
}

impl Task {
    /// Where it was spawned, as `file:line`.
    pub fn place(&self) -> Option<String> {
        self.spawned_at.map(|place| format!("{}:{}", short_source(place.file()), place.line()))
    }
}

/// The path of a dependency without the folders of the registry.
pub(crate) fn short_source(file: &str) -> &str {
    file.split_once("/registry/src/").and_then(|(_, rest)| rest.split_once('/')).map_or(file, |(_, rest)| rest)
}
