//! Statistics of tasks in a window of time: every poll is counted. Rows can be grouped and sorted.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt;
use std::panic::Location;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::task::TaskId;

/// The statistics of a window; see [`Watch::count_tasks`](crate::Watch::count_tasks).
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct TaskStats {
    /// The length of the window.
    pub window: Duration,
    /// One entry for each task that was polled in the window, in no particular order.
    pub tasks: Vec<TaskUse>,
    /// The same polls with one entry for each task and name: a connection's task serves requests of several names.
    pub(crate) by_name: Vec<TaskUse>,
    /// The number of polls beyond the limit of separate tasks. Entries without an id hold their sum per spawn location.
    pub polls_not_kept_apart: u64,
}

/// A watched runtime and its tasks.
#[cfg(feature = "http")]
#[derive(Clone, Debug)]
pub(crate) struct RuntimeTasks {
    pub(crate) name: Arc<str>,
    /// The number of its tasks.
    pub(crate) alive: usize,
    /// Whether every poll of its tasks is counted.
    pub(crate) is_instrumented: bool,
}

/// The statistics of one task in a window, or the sum of all tasks of one spawn location.
///
/// A poll that crosses an end of the window counts with the part inside; `longest` may be such a part. Time inside
/// `block_in_place` is not counted, because it holds no worker.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TaskUse {
    /// The runtime's name.
    pub runtime: Arc<str>,
    /// Tokio's id. `None` for several tasks together, and for the future given to `block_on`.
    pub id: Option<TaskId>,
    /// The name given to holdup: the outermost one of the newest poll with a name. `None` if the summed tasks have
    /// different names.
    pub name: Option<Arc<str>>,
    /// Where the task was spawned, or where its future was given to holdup.
    pub spawned_at: &'static Location<'static>,
    /// The number of tasks; 0 beyond the limit of separate tasks.
    pub tasks: u64,
    /// The number of tasks that ended in the window. A task that is dropped outside a poll is not counted.
    pub ended: u64,
    /// The number of polls.
    pub polls: u64,
    /// The total time inside polls.
    pub busy: Duration,
    /// The longest poll.
    pub longest: Duration,
    /// The time from the end of the last poll to the end of the window. Zero if the window ended inside a poll.
    pub idle: Duration,
    /// The delay from ready to polled. `None` without the feature `schedule-latency`.
    pub delay: Option<Delay>,
    /// The indices of the workers that polled it, in ascending order. Empty for a thread in `block_on` of a multi-thread
    /// runtime.
    pub workers: Vec<usize>,
}

/// How long ready tasks waited for their poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delay {
    /// The number of polls with a known delay.
    pub polls: u64,
    /// The sum of their delays.
    pub total: Duration,
    /// The longest delay.
    pub longest: Duration,
}

impl Delay {
    pub(crate) fn new(polls: u64, total: Duration, longest: Duration) -> Option<Self> {
        (polls > 0).then_some(Self { polls, total, longest })
    }

    /// The average delay of a poll.
    #[must_use]
    pub fn mean(&self) -> Duration {
        mean(self.total, self.polls)
    }
}

impl TaskUse {
    /// The average duration of a poll.
    #[must_use]
    pub fn mean(&self) -> Duration {
        mean(self.busy, self.polls)
    }

    /// Adds the statistics of another task, or of the same task on another worker.
    pub(crate) fn add(&mut self, other: &Self) {
        self.tasks += other.tasks;
        self.ended += other.ended;
        self.polls += other.polls;
        self.busy += other.busy;
        self.longest = self.longest.max(other.longest);
        self.idle = self.idle.min(other.idle);
        self.delay = match (self.delay, other.delay) {
            (Some(one), Some(two)) => {
                Delay::new(one.polls + two.polls, one.total + two.total, one.longest.max(two.longest))
            }
            (one, two) => one.or(two),
        };
        self.workers.extend(&other.workers);
        self.workers.sort_unstable();
        self.workers.dedup();
    }
}

fn mean(total: Duration, polls: u64) -> Duration {
    Duration::from_nanos(u64::try_from(total.as_nanos() / u128::from(polls.max(1))).unwrap_or(u64::MAX))
}

/// The meaning of one row in a table of tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TaskGroup {
    /// One task.
    Task,
    /// All tasks of one runtime and one spawn location.
    Spawn,
    /// All polls of one runtime and one name, such as a request's route. Polls without a name are grouped by spawn
    /// location.
    #[default]
    Name,
}

/// A column to sort a table of tasks by. Numbers sort in descending order, names and locations in ascending order, and
/// unknown values come last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TaskColumn {
    /// The time inside polls.
    #[default]
    Busy,
    /// The number of polls.
    Polls,
    /// The longest poll.
    Max,
    /// The average duration of a poll.
    Mean,
    /// The time since the last poll.
    Idle,
    /// The average delay of a poll.
    Delay,
    /// Tokio's id, or the number of tasks in a row of several.
    Task,
    /// The spawn location.
    Spawn,
    /// The name given to holdup.
    Name,
}

impl TaskGroup {
    /// Every group.
    pub const ALL: [Self; 3] = [Self::Task, Self::Spawn, Self::Name];

    /// The word for it in requests.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Task => "task",
            Self::Spawn => "spawn",
            Self::Name => "name",
        }
    }
}

impl TaskColumn {
    /// Every column.
    pub const ALL: [Self; 9] =
        [Self::Busy, Self::Polls, Self::Max, Self::Mean, Self::Idle, Self::Delay, Self::Task, Self::Spawn, Self::Name];

    /// The word for it in requests.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Polls => "polls",
            Self::Max => "max",
            Self::Mean => "mean",
            Self::Idle => "idle",
            Self::Delay => "delay",
            Self::Task => "task",
            Self::Spawn => "spawn",
            Self::Name => "name",
        }
    }

    fn compare(self, a: &TaskUse, b: &TaskUse) -> Ordering {
        match self {
            Self::Busy => b.busy.cmp(&a.busy),
            Self::Polls => b.polls.cmp(&a.polls),
            Self::Max => b.longest.cmp(&a.longest),
            Self::Mean => b.mean().cmp(&a.mean()),
            Self::Idle => b.idle.cmp(&a.idle),
            Self::Delay => b.delay.map(|delay| delay.mean()).cmp(&a.delay.map(|delay| delay.mean())),
            Self::Task => (a.id.is_none(), a.id, b.tasks).cmp(&(b.id.is_none(), b.id, a.tasks)),
            Self::Spawn => a.spawned_at.cmp(b.spawned_at),
            Self::Name => (a.name.is_none(), &a.name).cmp(&(b.name.is_none(), &b.name)),
        }
    }
}

/// The error of parsing a word that is no [`TaskGroup`] or [`TaskColumn`]. Its message lists the known words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseWordError {
    word: String,
    known: String,
}

impl ParseWordError {
    fn new<const N: usize>(word: &str, known: [&str; N]) -> Self {
        Self { word: word.to_owned(), known: known.join(", ") }
    }
}

impl fmt::Display for ParseWordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown word {:?}; choose one of {}", self.word, self.known)
    }
}

impl std::error::Error for ParseWordError {}

impl FromStr for TaskGroup {
    type Err = ParseWordError;

    fn from_str(word: &str) -> Result<Self, ParseWordError> {
        let known = Self::ALL.into_iter().find(|group| group.as_str() == word);
        known.ok_or_else(|| ParseWordError::new(word, Self::ALL.map(Self::as_str)))
    }
}

impl FromStr for TaskColumn {
    type Err = ParseWordError;

    fn from_str(word: &str) -> Result<Self, ParseWordError> {
        let known = Self::ALL.into_iter().find(|column| column.as_str() == word);
        known.ok_or_else(|| ParseWordError::new(word, Self::ALL.map(Self::as_str)))
    }
}

impl TaskStats {
    /// The rows of a table, sorted.
    ///
    /// ```
    /// use holdup::tasks::{TaskColumn, TaskGroup, TaskStats};
    ///
    /// let rows = TaskStats::default().rows(TaskGroup::Spawn, TaskColumn::Busy);
    /// assert!(rows.is_empty());
    /// ```
    #[must_use]
    pub fn rows(&self, by: TaskGroup, sort: TaskColumn) -> Vec<TaskUse> {
        let mut rows = match by {
            TaskGroup::Task => self.tasks.clone(),
            TaskGroup::Spawn => summed(&self.tasks, |task| (&task.runtime, None, Some(task.spawned_at))),
            TaskGroup::Name => self.by_name(),
        };
        // Equal rows need a stable order too.
        rows.sort_by(|a, b| {
            sort.compare(a, b).then_with(|| (&a.runtime, a.spawned_at, a.id).cmp(&(&b.runtime, b.spawned_at, b.id)))
        });
        rows
    }

    fn by_name(&self) -> Vec<TaskUse> {
        // Statistics that a program made itself have only tasks.
        let all = if self.by_name.is_empty() { &self.tasks } else { &self.by_name };
        summed(all, |task| {
            let name = task.name.as_deref();
            (&task.runtime, name, name.is_none().then_some(task.spawned_at))
        })
    }
}

/// What the tasks of a row have in common: the runtime, the name, the spawn location.
type RowKey<'a> = (&'a str, Option<&'a str>, Option<&'static Location<'static>>);

/// One row for each key. The spawn location is that of the task with the most busy time.
fn summed<'a>(tasks: &'a [TaskUse], key: impl Fn(&'a TaskUse) -> RowKey<'a>) -> Vec<TaskUse> {
    let mut rows: HashMap<RowKey<'_>, (TaskUse, Duration)> = HashMap::new();
    for task in tasks {
        let first = || (TaskUse { id: None, ..task.clone() }, task.busy);
        let add = |(row, most): &mut (TaskUse, Duration)| {
            row.add(task);
            row.name = row.name.take().filter(|name| task.name.as_ref() == Some(name));
            // The location decides between equal times, because the order of tasks is random.
            if (task.busy, task.spawned_at) > (*most, row.spawned_at) {
                (*most, row.spawned_at) = (task.busy, task.spawned_at);
            }
        };
        rows.entry(key(task)).and_modify(add).or_insert_with(first);
    }
    rows.into_values().map(|(row, _)| row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(id: u64, spawned_at: &'static Location<'static>, polls: u64, busy_ms: u64) -> TaskUse {
        TaskUse {
            runtime: "test".into(),
            id: Some(TaskId(id)),
            name: Some("a".into()),
            spawned_at,
            tasks: 1,
            ended: 0,
            polls,
            busy: Duration::from_millis(busy_ms),
            longest: Duration::from_millis(busy_ms),
            idle: Duration::from_millis(id),
            delay: None,
            workers: vec![0],
        }
    }

    fn stats() -> TaskStats {
        let (here, there) = (Location::caller(), other_place());
        let mut tasks = vec![one(1, here, 10, 5), one(2, there, 1, 9), one(3, here, 4, 7)];
        tasks[2].name = Some("b".into());
        tasks[2].workers = vec![1];
        tasks[2].delay = Delay::new(2, Duration::from_millis(4), Duration::from_millis(3));
        TaskStats { window: Duration::from_secs(1), tasks, ..TaskStats::default() }
    }

    fn other_place() -> &'static Location<'static> {
        Location::caller()
    }

    fn ids(sort: TaskColumn) -> Vec<u64> {
        stats().rows(TaskGroup::Task, sort).iter().filter_map(|row| row.id).map(|id| id.0).collect()
    }

    #[test]
    fn tasks_of_one_spawn_location_are_summed() {
        let rows = stats().rows(TaskGroup::Spawn, TaskColumn::Busy);
        assert_eq!(rows.len(), 2);
        let row = &rows[0];
        assert_eq!((row.id, row.tasks, row.polls, &row.name), (None, 2, 14, &None));
        assert_eq!((row.busy, row.longest), (Duration::from_millis(12), Duration::from_millis(7)));
        assert_eq!((row.idle, row.workers.as_slice()), (Duration::from_millis(1), &[0, 1][..]));
        assert_eq!(row.delay.map(|delay| delay.mean()), Some(Duration::from_millis(2)));
        assert_eq!(rows[1].name.as_deref(), Some("a"), "both have this name");
    }

    #[test]
    fn polls_of_one_name_are_summed_and_others_by_spawn_location() {
        let mut stats = stats();
        stats.tasks[2].name = None;
        let rows = stats.rows(TaskGroup::Name, TaskColumn::Busy);
        let shown: Vec<_> = rows.iter().map(|row| (row.name.as_deref(), row.tasks, row.polls)).collect();
        assert_eq!(shown, [(Some("a"), 2, 11), (None, 1, 4)]);
        assert_eq!(rows[0].spawned_at, stats.tasks[1].spawned_at, "the place of the busiest task");
        let (here, name) = (Location::caller(), |name: &str| Some(name.into()));
        stats.by_name = vec![one(1, here, 3, 1), one(1, here, 4, 2), one(2, here, 5, 3)];
        stats.by_name[1].name = name("GET /news");
        stats.by_name[2].name = name("GET /news");
        let rows = stats.rows(TaskGroup::Name, TaskColumn::Polls);
        let shown: Vec<_> = rows.iter().map(|row| (row.name.as_deref(), row.tasks, row.polls)).collect();
        assert_eq!(shown, [(Some("GET /news"), 2, 9), (Some("a"), 1, 3)], "requests of one connection are apart");
    }

    #[test]
    fn every_column_sorts() {
        assert_eq!(ids(TaskColumn::Busy), [2, 3, 1]);
        assert_eq!(ids(TaskColumn::Polls), [1, 3, 2]);
        assert_eq!(ids(TaskColumn::Max), [2, 3, 1]);
        assert_eq!(ids(TaskColumn::Mean), [2, 3, 1]);
        assert_eq!(ids(TaskColumn::Idle), [3, 2, 1]);
        assert_eq!(ids(TaskColumn::Delay)[0], 3, "unknown is last");
        assert_eq!(ids(TaskColumn::Task), [1, 2, 3]);
        assert_eq!(ids(TaskColumn::Spawn), [1, 3, 2]);
        assert_eq!(ids(TaskColumn::Name)[2], 3);
    }

    #[test]
    fn words_parse_and_unknown_words_list_the_choice() {
        for column in TaskColumn::ALL {
            assert_eq!(column.as_str().parse(), Ok(column));
        }
        for group in TaskGroup::ALL {
            assert_eq!(group.as_str().parse(), Ok(group));
        }
        let error = "cost".parse::<TaskColumn>().expect_err("no column").to_string();
        assert!(error.contains("\"cost\"") && error.contains("busy, polls"), "{error}");
    }
}
