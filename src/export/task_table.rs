//! Task statistics as a table that fits a terminal.

use std::fmt::Write as _;
use std::time::Duration;

use crate::model::plural::plural;
use crate::model::task::short_source;
use crate::model::task_stats::{TaskColumn, TaskGroup, TaskStats, TaskUse};

/// The maximal length of a line, in characters.
const WIDTH: usize = 120;

/// The maximal length of a task's name; longer ones are cut.
const MAX_NAME: usize = 24;

/// The same where a row stands for a name, such as a request's route.
const MAX_ROUTE: usize = 40;

/// The maximal length of a runtime's name; longer ones are cut.
const MAX_RUNTIME: usize = 12;

/// The minimal width for the place of a spawn. If it is longer, its end is shown.
const MIN_PLACE: usize = 20;

/// The rows of a request, with totals.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) window: Duration,
    pub(crate) by: TaskGroup,
    pub(crate) sort: TaskColumn,
    pub(crate) rows: Vec<TaskUse>,
    pub(crate) left_off: usize,
    pub(crate) polls_not_kept_apart: u64,
    /// Sentences about polls that are not counted, and why there are no rows.
    pub(crate) notes: Vec<String>,
    /// The totals include the rows beyond the limit.
    polls: u64,
    busy: Duration,
    tasks: u64,
}

impl Table {
    /// At most `limit` rows.
    pub(crate) fn new(stats: &TaskStats, by: TaskGroup, sort: TaskColumn, limit: usize) -> Self {
        let mut rows = stats.rows(by, sort);
        let left_off = rows.len().saturating_sub(limit);
        rows.truncate(limit);
        Self {
            window: stats.window,
            by,
            sort,
            rows,
            left_off,
            polls_not_kept_apart: stats.polls_not_kept_apart,
            notes: Vec::new(),
            polls: stats.tasks.iter().map(|task| task.polls).sum(),
            busy: stats.tasks.iter().map(|task| task.busy).sum(),
            tasks: stats.tasks.iter().map(|task| task.tasks).sum(),
        }
    }
}

/// A column.
struct Column {
    title: &'static str,
    width: usize,
    /// Aligned to the left.
    left: bool,
    cell: fn(&TaskUse, Duration) -> String,
}

const fn number(title: &'static str, width: usize, cell: fn(&TaskUse, Duration) -> String) -> Column {
    Column { title, width, left: false, cell }
}

const fn word(title: &'static str, width: usize, cell: fn(&TaskUse, Duration) -> String) -> Column {
    Column { title, width, left: true, cell }
}

/// The columns that have content for these rows.
fn columns(table: &Table) -> Vec<Column> {
    let mut columns = vec![
        number("polls", 9, |task, _| task.polls.to_string()),
        number("busy", 7, |task, _| short(task.busy)),
        number("%", 5, |task, window| share(task.busy, window)),
        number("mean", 7, |task, _| short(task.mean())),
        number("max", 7, |task, _| short(task.longest)),
        number("idle", 7, |task, _| short(task.idle)),
    ];
    if table.rows.iter().any(|task| task.delay.is_some()) {
        columns
            .push(number("delay", 7, |task, _| task.delay.map_or_else(|| "-".to_owned(), |delay| short(delay.mean()))));
    }
    match table.by {
        TaskGroup::Task => {
            columns.push(number("task", 8, |task, _| task.id.map_or_else(|| "-".to_owned(), |id| id.to_string())));
            columns.push(word("state", 5, |task, _| if task.ended > 0 { "ended" } else { "" }.to_owned()));
        }
        TaskGroup::Spawn | TaskGroup::Name => {
            columns.push(number("tasks", 6, |task, _| task.tasks.to_string()));
            columns.push(number("ended", 6, |task, _| task.ended.to_string()));
        }
    }
    columns.push(word("worker", 6, |task, _| workers(&task.workers)));
    let widest = |of: fn(&TaskUse) -> Option<&str>| {
        table.rows.iter().filter_map(of).map(|text| text.chars().count()).max().unwrap_or(0)
    };
    if table.rows.windows(2).any(|pair| matches!(pair, [a, b] if a.runtime != b.runtime)) {
        let width = widest(|task| Some(&task.runtime)).clamp("runtime".len(), MAX_RUNTIME);
        columns.push(word("runtime", width, |task, _| task.runtime.to_string()));
    }
    let names = widest(|task| task.name.as_deref());
    if names > 0 {
        let room = WIDTH.saturating_sub(total_width(&columns) + MIN_PLACE + 1);
        let limit = if table.by == TaskGroup::Name { MAX_ROUTE } else { MAX_NAME };
        let width = names.min(room).clamp("name".len(), limit);
        columns.push(word("name", width, |task, _| task.name.as_ref().map_or_else(String::new, ToString::to_string)));
    }
    columns
}

/// The width of all columns, each followed by a space.
fn total_width(columns: &[Column]) -> usize {
    columns.iter().map(|column| column.width + 1).sum()
}

/// The table, followed by the number of omitted rows.
pub(crate) fn text(table: &Table) -> String {
    let mut out = format!(
        "{} of {} in {}, {} inside polls in total\n",
        plural(table.polls, "poll"),
        plural(table.tasks, "task"),
        short(table.window),
        short(table.busy)
    );
    if !table.rows.is_empty() {
        let columns = columns(table);
        let room = WIDTH.saturating_sub(total_width(&columns));
        let titles = columns.iter().map(|column| (column, column.title.to_owned()));
        row(&mut out, titles, "spawned at");
        for task in &table.rows {
            let cells = columns.iter().map(|column| (column, (column.cell)(task, table.window)));
            row(&mut out, cells, &end_of(&place(task), room));
        }
    }
    if table.left_off > 0 {
        let _infallible = writeln!(out, "{} more", plural(table.left_off, "row"));
    }
    if table.polls_not_kept_apart > 0 {
        let polls = plural(table.polls_not_kept_apart, "poll");
        let _infallible = writeln!(out, "{polls} of tasks beyond the limit: counted by spawn location, without an id");
    }
    for note in &table.notes {
        let _infallible = writeln!(out, "{note}");
    }
    out
}

fn row<'a>(out: &mut String, cells: impl Iterator<Item = (&'a Column, String)>, last: &str) {
    for (column, cell) in cells {
        let (cell, width) = (start_of(&cell, column.width), column.width);
        let _infallible = if column.left { write!(out, "{cell:<width$} ") } else { write!(out, "{cell:>width$} ") };
    }
    out.push_str(last);
    out.push('\n');
}

/// `src/api.rs:88`, without the folders of the registry.
pub(super) fn place(task: &TaskUse) -> String {
    format!("{}:{}", short_source(task.spawned_at.file()), task.spawned_at.line())
}

/// `0,1,2`, or their number in parentheses.
fn workers(workers: &[usize]) -> String {
    let list = workers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    match workers.len() {
        0 => "-".to_owned(),
        many if list.len() > 6 => format!("({many})"),
        _ => list,
    }
}

fn share(busy: Duration, window: Duration) -> String {
    if window.is_zero() {
        return "-".to_owned();
    }
    format!("{:.1}", busy.as_secs_f64() / window.as_secs_f64() * 100.0)
}

/// Three significant digits in at most seven characters: `850 ns`, `12.3 µs`, `4.56 ms`, `78.9 s`, `12 min`.
fn short(time: Duration) -> String {
    let (value, unit) = match time.as_secs_f64() {
        s if s < 999.5e-9 => return format!("{} ns", time.as_nanos()),
        s if s < 999.5e-6 => (s * 1e6, "µs"),
        s if s < 999.5e-3 => (s * 1e3, "ms"),
        s if s < 999.5 => (s, "s"),
        s => return format!("{:.0} min", (s / 60.0).min(999.0)),
    };
    match value {
        v if v < 9.995 => format!("{v:.2} {unit}"),
        v if v < 99.95 => format!("{v:.1} {unit}"),
        v => format!("{v:.0} {unit}"),
    }
}

fn start_of(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

fn end_of(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return text.to_owned();
    }
    std::iter::once('…').chain(text.chars().skip(length - width.saturating_sub(1))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::task::TaskId;
    use crate::model::task_stats::Delay;

    fn task(id: u64, runtime: &str, name: &str) -> TaskUse {
        TaskUse {
            runtime: runtime.into(),
            id: Some(TaskId(id)),
            name: Some(name.into()),
            spawned_at: std::panic::Location::caller(),
            tasks: 1,
            ended: 1,
            polls: u64::MAX / 4,
            busy: Duration::from_secs(100_000_000),
            longest: Duration::from_micros(999_999),
            idle: Duration::from_nanos(12_345),
            delay: Delay::new(2, Duration::from_secs(1), Duration::from_secs(1)),
            workers: (0..40).collect(),
        }
    }

    #[test]
    fn no_line_is_longer_than_a_terminal() {
        let tasks = vec![task(u64::MAX, &"r".repeat(99), &"é".repeat(128)), task(1, "other", "b")];
        let window = Duration::from_secs(1);
        let stats = TaskStats { window, tasks, polls_not_kept_apart: 3, ..TaskStats::default() };
        for by in TaskGroup::ALL {
            let text = text(&Table::new(&stats, by, TaskColumn::Busy, 100));
            for line in text.lines() {
                assert!(line.chars().count() <= WIDTH, "{line}");
            }
            assert!(
                text.contains("runtime") && text.contains("delay") && text.contains("3 polls of tasks beyond"),
                "{text}"
            );
        }
    }

    #[test]
    fn rows_beyond_the_limit_are_counted() {
        let stats =
            TaskStats { tasks: vec![task(1, "a", "x"), task(2, "a", "y"), task(3, "a", "z")], ..TaskStats::default() };
        let table = Table::new(&stats, TaskGroup::Task, TaskColumn::Task, 1);
        assert_eq!((table.rows.len(), table.left_off), (1, 2));
        let text = text(&table);
        assert!(text.ends_with("2 rows more\n") && text.contains("of 3 tasks"), "{text}");
    }

    #[test]
    fn times_fit_their_column() {
        for (nanos, shown) in [
            (0, "0 ns"),
            (850, "850 ns"),
            (12_345, "12.3 µs"),
            (999_400, "999 µs"),
            (4_561_000, "4.56 ms"),
            (999_600_000, "1.00 s"),
            (78_912_000_000, "78.9 s"),
            (3_600_000_000_000, "60 min"),
        ] {
            assert_eq!(short(Duration::from_nanos(nanos)), shown);
        }
        assert!(short(Duration::MAX).chars().count() <= 7);
    }
}
