//! Task statistics as the endpoint's JSON. Durations are milliseconds, rounded to the nanosecond.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::task_table::{Table, place};
use crate::model::task_stats::TaskUse;

/// The answer of `/debug/holdup/tasks`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct TasksAnswer {
    /// The time in which polls were counted.
    pub window_ms: f64,
    /// What a row stands for: `name`, `spawn` or `task`.
    pub by: String,
    /// The column that the rows are sorted by.
    pub sort: String,
    /// The tasks polled in the window; see [`TaskUse`].
    pub rows: Vec<TaskUseJson>,
    /// The number of rows beyond the limit.
    pub left_off: usize,
    /// Polls of tasks beyond the limit of separate tasks; they are counted by spawn location.
    pub polls_not_kept_apart: u64,
    /// Sentences about polls that are not counted, and why there are no rows.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// The statistics of a task, or of all polls of one name or one spawn location.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct TaskUseJson {
    /// The runtime's name.
    pub runtime: String,
    /// Tokio's id; null for several tasks, and for the future given to `block_on`.
    pub task: Option<u64>,
    /// The name given to holdup; null without one, or if the tasks of a row have different names.
    pub name: Option<String>,
    /// `file:line` of the spawn.
    pub spawned_at: String,
    /// The number of tasks; 0 beyond the limit of separate tasks.
    pub tasks: u64,
    /// How many of them ended in the window.
    pub ended: u64,
    /// The number of polls.
    pub polls: u64,
    /// The time inside polls.
    pub busy_ms: f64,
    /// The average duration of a poll.
    pub mean_ms: f64,
    /// The longest poll.
    pub max_ms: f64,
    /// The time since the end of the last poll; 0 inside one.
    pub idle_ms: f64,
    /// The average delay from ready to poll; null if Tokio does not measure it.
    pub delay_mean_ms: Option<f64>,
    /// The longest such delay.
    pub delay_max_ms: Option<f64>,
    /// The workers that polled it; empty for the thread in `block_on` of a multi-thread runtime.
    pub workers: Vec<usize>,
}

impl From<&Table> for TasksAnswer {
    fn from(table: &Table) -> Self {
        Self {
            window_ms: ms(table.window),
            by: table.by.as_str().to_owned(),
            sort: table.sort.as_str().to_owned(),
            rows: table.rows.iter().map(TaskUseJson::from).collect(),
            left_off: table.left_off,
            polls_not_kept_apart: table.polls_not_kept_apart,
            notes: table.notes.clone(),
        }
    }
}

impl From<&TaskUse> for TaskUseJson {
    fn from(task: &TaskUse) -> Self {
        Self {
            runtime: task.runtime.to_string(),
            task: task.id.map(|id| id.0),
            name: task.name.as_ref().map(ToString::to_string),
            spawned_at: place(task),
            tasks: task.tasks,
            ended: task.ended,
            polls: task.polls,
            busy_ms: ms(task.busy),
            mean_ms: ms(task.mean()),
            max_ms: ms(task.longest),
            idle_ms: ms(task.idle),
            delay_mean_ms: task.delay.map(|delay| ms(delay.mean())),
            delay_max_ms: task.delay.map(|delay| ms(delay.longest)),
            workers: task.workers.clone(),
        }
    }
}

/// Milliseconds, rounded to the nanosecond: many polls take less than a microsecond.
fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e9).round() / 1e6
}
