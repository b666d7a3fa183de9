//! Sentences about polls that a table of tasks does not have, and why.

use super::text::milliseconds;
use crate::model::plural::plural;
use crate::model::task_stats::{RuntimeTasks, TaskStats};

/// Nothing for statistics with polls of instrumented runtimes.
pub(crate) fn notes(stats: &TaskStats, runtimes: &[RuntimeTasks]) -> Vec<String> {
    if runtimes.is_empty() {
        return vec!["No runtime is watched now; build it with `Watch::runtime`.".to_owned()];
    }
    runtimes.iter().filter_map(|runtime| note(stats, runtime)).collect()
}

fn note(stats: &TaskStats, runtime: &RuntimeTasks) -> Option<String> {
    let RuntimeTasks { name, alive, is_instrumented } = runtime;
    let is_absent = !stats.tasks.iter().any(|task| task.runtime == *name);
    match (is_instrumented, alive) {
        (false, _) => Some(format!(
            "{name}: {} not instrumented, because the runtime has no task hooks. Only tasks of `holdup::spawn`, \
             `Runtime::spawn` and `watched()` are counted; build with `--cfg tokio_unstable` to count all.",
            if is_absent { "no poll was counted. Its polls are" } else { "polls of some tasks are" }
        )),
        (true, 0) if is_absent => Some(format!("{name}: it has no task now, and none was polled.")),
        (true, _) if is_absent => Some(format!(
            "{name}: no poll began, ended or ran in {}. {} waited; count for longer.",
            milliseconds(stats.window),
            plural(*alive as u64, "task")
        )),
        (true, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn runtime(alive: usize, is_instrumented: bool) -> Vec<RuntimeTasks> {
        vec![RuntimeTasks { name: "api".into(), alive, is_instrumented }]
    }

    #[test]
    fn an_empty_table_has_a_reason() {
        let stats = TaskStats { window: Duration::from_secs(1), ..TaskStats::default() };
        for (runtimes, reason) in [
            (vec![], "No runtime is watched now"),
            (runtime(3, false), "api: no poll was counted. Its polls are not instrumented, because the runtime has no"),
            (runtime(0, true), "api: it has no task now"),
            (runtime(3, true), "api: no poll began, ended or ran in 1.00 s. 3 tasks waited"),
        ] {
            let notes = notes(&stats, &runtimes);
            assert!(matches!(&notes[..], [note] if note.starts_with(reason)), "{notes:?}");
        }
    }
}
