//! The current activity of a process as a screen of text: workers, tasks by CPU time, waiting tasks, and groups of stalls.

use super::group_text::GroupView;
use super::text::{Style, milliseconds, wrapped};
use crate::model::activity::{ActivityNow, WaitingTasks, WorkerActivity};
use crate::model::worker::Activity;

/// The size of the screen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// The maximum length of a line. Longer lines are cut.
    pub(crate) columns: usize,
    /// The maximum number of rows of each table.
    pub(crate) rows: usize,
}

/// A shorter part of a name is not useful.
const SHORTEST_NAME: usize = 16;

/// The number of columns before the task in the line of a worker.
const BEFORE_TASK: usize = 53;

/// The lines of the screen.
pub(crate) fn lines(now: &ActivityNow, size: Size) -> Vec<String> {
    let mut lines = Vec::new();
    let tasks = now.states.iter().map(|(_, tasks)| tasks).sum::<usize>();
    let states: Vec<String> = now.states.iter().map(|(state, tasks)| format!("{tasks} {}", state.as_str())).collect();
    let tasks = if now.has_tasks { counted(tasks, "task") } else { "tasks unknown".to_owned() };
    lines.push(format!("{} (process {}): {tasks}", now.program, now.pid));
    if let Some(line) = lines.last_mut().filter(|_| !states.is_empty()) {
        *line += &format!(": {}", states.join(", "));
    }
    let window = milliseconds(now.window);
    lines.push(format!(
        "{} in {}, {} in {window}",
        counted(now.workers.len(), "worker"),
        counted(now.runtimes, "runtime"),
        counted(now.samples as usize, "sample")
    ));
    lines.push(String::new());
    let polls = if now.has_tasks { "  POLLS NOW" } else { "" };
    lines.push(format!("{:<14} {:>7}  {:<13} {:>6} {:>6}{polls}", "WORKER", "TID", "STATE", "BUSY", "CPU"));
    let mut workers: Vec<&WorkerActivity> = now.workers.iter().collect();
    if workers.len() > size.rows {
        // Busy workers are the interesting ones.
        workers.sort_by(|one, other| other.busy.total_cmp(&one.busy));
    }
    lines.extend(workers.iter().take(size.rows).map(|worker| worker_line(worker, now, size.columns)));
    more(&mut lines, now.workers.len(), size.rows);

    if now.has_tasks {
        add_tasks(now, size, &mut lines);
    }
    lines.push(String::new());
    let threshold = milliseconds(now.threshold);
    let counters = &now.stalls.counters;
    let others = counters.other_long_polls().map_or_else(String::new, |others| format!("; {others}"));
    lines.push(format!("STALLS: {} so far, threshold {threshold}{others}", counters.stalls));
    let groups = now.stalls.groups();
    for group in groups.iter().take(size.rows) {
        let block = GroupView::from(group).block(Style::Plain);
        lines.extend(block.lines().map(|line| format!("  {line}")));
    }
    more(&mut lines, groups.len(), size.rows);
    lines.push(format!("from outside: {}", now.stops.sentence()));
    for missing in now.missing.iter().take(3) {
        let parts = wrapped(missing, size.columns.saturating_sub(2));
        lines.extend(parts.iter().enumerate().map(|(at, line)| format!("{} {line}", if at == 0 { "!" } else { " " })));
    }
    lines.iter().map(|line| cut(line, size.columns)).collect()
}

/// Adds tasks by CPU time, and tasks by what they wait for.
fn add_tasks(now: &ActivityNow, size: Size, lines: &mut Vec<String>) {
    lines.push(String::new());
    lines.push(format!("{:>7} {:>7}  TASKS BY CPU TIME", "CPU", "BUSY"));
    for polled in now.polled.iter().take(size.rows) {
        let name = polled.future.as_deref().unwrap_or("(finished before their names were read)");
        let name = fitting(name, size.columns.saturating_sub(17));
        lines.push(format!("{:>7} {:>7}  {name}", percent(polled.cpu), percent(polled.busy)));
    }
    more(lines, now.polled.len(), size.rows);

    lines.push(String::new());
    lines.push(format!("{:>7}  TASKS BY WHAT THEY WAIT FOR", "TASKS"));
    for waiting in now.waiting.iter().take(size.rows) {
        lines.push(format!("{:>7}  {}", waiting.tasks, waiting_line(waiting, size.columns.saturating_sub(9))));
    }
    more(lines, now.waiting.len(), size.rows);
}

fn worker_line(worker: &WorkerActivity, now: &ActivityNow, columns: usize) -> String {
    let name = match worker.index {
        Some(index) => format!("{}/{index}", worker.runtime),
        None => worker.runtime.clone(),
    };
    let stuck =
        now.stalls.entries.iter().map(|entry| &entry.stall).find(|stall| !stall.ended && stall.tid == worker.tid);
    let state = match stuck {
        Some(stall) => format!("stuck {}", milliseconds(stall.duration)),
        None if worker.now == Activity::Between && !now.has_tasks => "awake".to_owned(),
        None => worker.now.as_str().to_owned(),
    };
    let cpu = worker.cpu.map_or_else(|| "?".to_owned(), percent);
    let task = worker.task.as_ref().map_or_else(String::new, |(id, name)| match name {
        Some(name) => {
            let id = id.to_string();
            let left = columns.saturating_sub(BEFORE_TASK + id.len() + 1).max(SHORTEST_NAME);
            format!("{id} {}", fitting(name, left))
        }
        None => id.to_string(),
    });
    let line = format!("{name:<14} {:>7}  {state:<13} {:>6} {cpu:>6}  {task}", worker.tid, percent(worker.busy));
    line.trim_end().to_owned()
}

fn waiting_line(waiting: &WaitingTasks, columns: usize) -> String {
    let place = waiting.at.as_ref().map_or_else(String::new, |at| format!(" at {at}"));
    let rest = format!("{place}: {}", waiting.reason);
    let left = columns.saturating_sub(rest.chars().count()).max(SHORTEST_NAME);
    format!("{}{rest}", fitting(&waiting.future, left))
}

/// A fraction of one CPU or worker in percent.
fn percent(part: f64) -> String {
    let percent = part * 100.0;
    if percent < 10.0 { format!("{percent:.1} %") } else { format!("{percent:.0} %") }
}

/// A shortened name. The end of a name is its most specific part, so the beginning is cut.
fn fitting(name: &str, columns: usize) -> String {
    let length = name.chars().count();
    if length <= columns {
        return name.to_owned();
    }
    let kept: String = name.chars().skip(length - columns.saturating_sub(1).min(length)).collect();
    // Starts at a whole path segment, if possible.
    let word = kept.split_once("::").map(|(_, rest)| rest).filter(|rest| rest.len() >= SHORTEST_NAME);
    format!("…{}", word.unwrap_or(&kept))
}

fn cut(line: &str, columns: usize) -> String {
    if line.chars().count() <= columns {
        return line.to_owned();
    }
    let kept: String = line.chars().take(columns.saturating_sub(1)).collect();
    format!("{kept}…")
}

fn more(lines: &mut Vec<String>, all: usize, shown: usize) {
    if all > shown {
        lines.push(format!("{:>7}  … {} more", "", all - shown));
    }
}

fn counted(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::activity::PolledTasks;
    use crate::model::census::TaskState;
    use crate::model::stall::Stalls;
    use crate::model::task::TaskId;
    use crate::model::thread_stops::ThreadStops;

    fn activity() -> ActivityNow {
        let long = "news_pipeline::ingest::feeds::conditional::fetch_one_feed_with_backoff::{async block}";
        let worker = |index, busy: f64| WorkerActivity {
            runtime: "runtime-1".to_owned(),
            index: Some(index),
            tid: 4_194_304,
            now: Activity::Between,
            busy,
            cpu: Some(busy / 2.0),
            task: Some((TaskId(123_456), Some(long.to_owned()))),
        };
        ActivityNow {
            pid: 4711,
            program: "news".to_owned(),
            window: Duration::from_secs(1),
            samples: 99,
            runtimes: 1,
            has_tasks: true,
            states: vec![(TaskState::Running, 1), (TaskState::Idle, 1000)],
            workers: (0..5_u8).map(|index| worker(usize::from(index), f64::from(index) / 4.0)).collect(),
            polled: vec![PolledTasks { future: Some(long.to_owned()), cpu: 0.123, busy: 1.0 }],
            waiting: vec![WaitingTasks {
                future: long.to_owned(),
                at: Some("src/ingest/feeds/conditional.rs:231".to_owned()),
                reason: "a timer or I/O".to_owned(),
                tasks: 1000,
            }],
            stalls: Stalls::default(),
            threshold: Duration::from_millis(10),
            stops: ThreadStops::default(),
            missing: vec!["x".repeat(200)],
        }
    }

    #[test]
    fn lines_fit_the_terminal_and_keep_the_important_parts() {
        let lines = lines(&activity(), Size { columns: 80, rows: 3 });
        let text = lines.join("\n");
        for line in &lines {
            assert!(line.chars().count() <= 80, "{line}");
        }
        for part in [
            "1001 tasks: 1 running, 1000 idle",
            "at src/ingest/feeds/conditional.rs:231: a timer or I/O",
            "  12 %   100 %  …conditional::fetch_one_feed_with_backoff::{async block}",
            "… 2 more",
            "runtime-1/4",
            "STALLS: 0 so far, threshold 10.0 ms",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(!text.contains("runtime-1/0"), "the busiest workers are shown");
    }

    #[test]
    fn narrow_terminals_cut_all_lines() {
        for columns in 0..30 {
            let lines = lines(&activity(), Size { columns, rows: 1 });
            assert!(lines.iter().all(|line| line.chars().count() <= columns.max(1)), "{columns}");
        }
    }
}
